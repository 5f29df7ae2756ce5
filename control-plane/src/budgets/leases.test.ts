import { randomBytes } from 'node:crypto';
import { budgetId } from '@meridian/domain/budget';
import { windowStartMs } from '@meridian/domain/window';
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { connect, type Database } from '../database/connect.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { makeCap } from '../rpc/testing-leases.ts';
import { Leases } from './leases.ts';
import { grantTo } from './testing.ts';

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

it('reads for a first lease in a region where a budget is served, not by how many nodes', async () => {
  await use(['cap_1', 'cap_2']);
  const id = `cap_1@${TODAY}`;
  for (let n = 0; n < 40; n++) await grantTo(database.db, `spl_us_${n}`, { budgetId: id, amount: 1, nowMs: NOW_MS });
  await sql`UPDATE lease_spool SET retired_at = now() WHERE spool_id LIKE 'spl_us_%' AND spool_id <> 'spl_us_0'`.execute(database.db);
  let mostRows = 0;
  const ids = { nowMs: () => NOW_MS, randomBytes: (count: number) => randomBytes(count) };
  const watched = database.db.withPlugin({
    transformQuery: ({ node }) => node,
    transformResult: async ({ result }) => {
      mostRows = Math.max(mostRows, result.rows.length);
      return result;
    },
  });
  const another = new Leases({ db: database.db, background: watched, isFrozenIn: async () => false, ids });
  for (const capId of ['cap_1', 'cap_2']) {
    const budget = { capId, windowStartMs: TODAY };
    await another.attempt([{ spoolId: 'spl_us', streamId: 1, questionId: 9, budget, need: 1, want: 1, ratePer30s: 0 }]);
  }
  // Nothing is held in eu yet; in us two nodes are heard of, and many were before.
  const seeded = [...(await another.seed()).values()].flat();
  expect(seeded.map(({ spoolId, budget }) => [spoolId, budget.capId])).toEqual([
    ['spl_eu', 'cap_1'],
    ['spl_eu', 'cap_2'],
  ]);
  expect(mostRows).toBeLessThan(10);
});
