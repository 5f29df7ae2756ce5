import { randomBytes } from 'node:crypto';
import { budgetId } from '@meridian/domain/budget';
import { windowStartMs } from '@meridian/domain/window';
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { connect, type Database } from '../database/connect.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { makeCap } from '../rpc/testing-leases.ts';
import { Leases } from './leases.ts';

const NOW_MS = Date.now();
const TODAY = windowStartMs('utc_day', NOW_MS);

let database: TestDatabase;
let narrow: Database;
let leases: Leases;

beforeEach(async () => {
  database = await testDatabase();
  narrow = connect(database.url, { maxConnections: 1 });
  const ids = { nowMs: () => NOW_MS, randomBytes: (count: number) => randomBytes(count) };
  leases = new Leases({ db: narrow, background: database.db, isFrozenIn: async () => false, ids });
});
afterEach(async () => {
  await narrow.destroy();
  await database.drop();
});

/** A replica grants from each of these caps to a spool in us, where another spool in eu has nothing. */
async function use(capIds: readonly string[]): Promise<void> {
  for (const region of ['us', 'eu']) await leases.open({ spoolId: `spl_${region}`, nodeId: `nod_${region}`, region }, []);
  for (const [index, capId] of capIds.entries()) {
    await makeCap(database.db, capId, { limit: 1_000 });
    const budget = { capId, windowStartMs: TODAY };
    await leases.attempt([{ spoolId: 'spl_us', streamId: 1, questionId: index + 1, budget, need: 10, want: 10, ratePer30s: 0 }]);
  }
}

it('takes no connection on which nodes wait for what nobody asked for', async () => {
  await use(['cap_1']);
  await leases.open({ spoolId: 'spl_silent', nodeId: 'nod_silent', region: 'us' }, []);
  await sql`UPDATE lease_spool SET silent_ms = 86400000 WHERE spool_id = 'spl_silent'`.execute(database.db);
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const asking = narrow.transaction().execute(() => asked);
  try {
    const seeded = await leases.seed();
    expect([...seeded.values()].flat().map(({ spoolId, budget }) => [spoolId, budgetId(budget)])).toEqual([['spl_eu', `cap_1@${TODAY}`]]);
    expect(await leases.closeSilent()).toMatchObject([{ spoolId: 'spl_silent' }]);
    expect(await leases.closeEnded()).toMatchObject({ closed: [] });
    expect(await leases.figures(0)).toMatchObject({ openLeases: 3 });
    await leases.tick([]);
  } finally {
    resolve();
    await asking;
  }
});
