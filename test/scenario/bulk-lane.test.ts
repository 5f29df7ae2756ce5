/** How fast keys are created and revoked on every node while the tiers of very many accounts are pushed. */
import { textField } from '@meridian/local/operator';
import { keyWorks } from '@meridian/local/provision';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { REGIONS, until, World } from '../world/world.ts';

const ACCOUNTS = Number(process.env.MERIDIAN_TEST_BULK_ACCOUNTS ?? 30_000);
const RUN_WITHIN_MS = 60_000;

let world: World;
beforeAll(async () => {
  world = await World.start({ controlEnv: { MERIDIAN_SCHEDULER: 'on' } });
});
afterAll(() => world?.stop());

interface NodeRow {
  readonly id: string;
  readonly applied: { readonly bulk: number };
}

async function bulkOfNodes(): Promise<number[]> {
  const { data } = (await world.operator.get('/admin/v1/nodes')) as unknown as { readonly data: readonly NodeRow[] };
  return data.map((node) => node.applied.bulk);
}

function summary(name: string, times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(0);
  return `${name}: p50 ${at(0.5)} ms, most ${at(1)} ms over ${sorted.length}`;
}

it(`a revocation and a new key reach every node ahead of the tiers of ${ACCOUNTS} accounts`, async () => {
  // On a tier that nothing speaks for: the run takes each a step down.
  await sql`INSERT INTO tier_assignment (account_id, tier_id, window_to)
    SELECT 'acc_bulk_' || lpad(n::text, 20, '0'), 'strategic', now() FROM generate_series(1, ${ACCOUNTS}::int) n`.execute(
    world.database.db,
  );
  await until(
    async () => {
      await world.operator.post('/admin/v1/tier-runs', {});
      return true;
    },
    'the run to be asked for',
    RUN_WITHIN_MS,
  );
  await until(async () => Math.min(...(await bulkOfNodes())) > 0, 'tiers to arrive', RUN_WITHIN_MS);

  const created: number[] = [];
  const revoked: number[] = [];
  let ahead = 0;
  while (Math.min(...(await bulkOfNodes())) < ACCOUNTS) {
    const atCreation = performance.now();
    const made = await world.account.post('/v1/keys', { name: `round ${created.length}` });
    const key = textField(made, 'key');
    await Promise.all(REGIONS.map((region) => until(() => keyWorks(world.url(region), key), `the key to work in ${region}`)));
    created.push(performance.now() - atCreation);
    const atRevocation = performance.now();
    await world.account.delete(`/v1/keys/${textField(made, 'id')}`);
    await Promise.all(
      REGIONS.map((region) => until(async () => !(await keyWorks(world.url(region), key)), `the key to stop in ${region}`)),
    );
    revoked.push(performance.now() - atRevocation);
    if (Math.max(...(await bulkOfNodes())) < ACCOUNTS) ahead += 1;
  }
  console.log(summary('asked for → works on both nodes', created));
  console.log(summary('asked to revoke → stops on both nodes', revoked));
  console.log(`${ahead} rounds were over before the tiers had come in anywhere`);
  expect(ahead).toBeGreaterThan(0);

  const { data } = (await world.operator.get('/admin/v1/tier-runs')) as unknown as { readonly data: readonly object[] };
  expect(data).toMatchObject([{ lowered: ACCOUNTS, rev: ACCOUNTS }]);
  const told = await world.operator.get(`/admin/v1/propagation?lane=BULK&rev=${ACCOUNTS}`);
  expect(told).toMatchObject({ pending: [], unreachable: [] });
  expect(told.applied).toHaveLength(REGIONS.length);
});
