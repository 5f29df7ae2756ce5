/** Spend caps under concurrency: many clients in two regions on one key, also with the control plane cut off half-way. */
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { World } from '../world/world.ts';
import { cappedKey, falseRefusals, quotedNano, type Shape, type Spending, type Spent, spend } from './spending.ts';

const CAP_USD = Number(process.env.MERIDIAN_CAPS_USD ?? 0.1);
const CLIENTS = Number(process.env.MERIDIAN_CAPS_CLIENTS ?? 50);
const CAP_NANO = Math.round(CAP_USD * 1e9);
const WITHIN_MS = 180_000;

/** Their max_cost together stays under 0.5 % of a dollar for 50 clients. */
const SMALL: readonly Shape[] = [{ model: 'gpt-5-nano', tokens: 50, maxTokens: 56 }];
const MIXED: readonly Shape[] = [
  ...SMALL,
  { model: 'gpt-4o-mini', tokens: 60, maxTokens: 64 },
  { model: 'gpt-4.1-nano', tokens: 90, maxTokens: 96 },
  { model: 'gpt-4o-mini', tokens: 200, maxTokens: 256 },
  { model: 'gpt-4.1-mini', tokens: 150, maxTokens: 1_000 },
  { model: 'gpt-4.1', tokens: 300, maxTokens: 400 },
];
const UNLIMITED: readonly Shape[] = [
  { model: 'gpt-4o-mini', tokens: 100, maxTokens: undefined },
  { model: 'gpt-4.1-mini', tokens: 200, maxTokens: undefined },
];

/** A machine that is busy may not hear a holder in time: then nobody says that the budget is used up. */
function unforeseen({ status, code }: Spent): boolean {
  return status !== 200 && status !== 402 && code !== 'budget_unavailable';
}

describe('a daily cap', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  });
  afterAll(() => world?.stop());

  async function chargedNano(keyId: string): Promise<number> {
    await world.upstreamIdle();
    await world.reported();
    const { rows } = await sql<{ total: string }>`
      SELECT coalesce(sum(charge_nano), 0)::text AS total FROM usage_event WHERE key_id = ${keyId}`.execute(world.database.db);
    return Number(rows[0]?.total);
  }

  function report(what: string, { spent, beforeFirstRefusalNano }: Spending, charged: number): void {
    const count = (status: number): number => spent.filter((one) => one.status === status).length;
    const first =
      beforeFirstRefusalNano === undefined
        ? 'never refused'
        : `${((beforeFirstRefusalNano / CAP_NANO) * 100).toFixed(2)} % before the first 402`;
    console.log(
      `${what}: ${CLIENTS} clients, cap $${CAP_USD}: ${count(200)} answered, ${count(402)} refused, ${count(503)} unavailable; ${first}, ${((charged / CAP_NANO) * 100).toFixed(3)} % charged in the end`,
    );
  }

  it('is used up by small requests to 99.5 % before the first refusal, and never passed', { timeout: 240_000 }, async () => {
    const { id, key } = await cappedKey(world, 'small', CAP_USD);
    // So many clients that their max_cost together is at most 0.5 % of the cap, as the promise says.
    const largest = Math.max(...(await Promise.all(SMALL.map((shape) => quotedNano(world, key, shape)))));
    const clients = Math.max(1, Math.min(CLIENTS, Math.floor((0.005 * CAP_NANO) / largest)));
    const spending = await spend(world, { keyText: key, clients, shapes: SMALL, seed: 1, refusals: 3, withinMs: WITHIN_MS });
    const charged = await chargedNano(id);
    report(`small requests, ${clients} at once of at most ${largest} nano-USD`, spending, charged);
    expect(charged).toBeLessThanOrEqual(CAP_NANO);
    expect(falseRefusals(spending.spent, CAP_NANO)).toEqual([]);
    expect(spending.beforeFirstRefusalNano).toBeGreaterThanOrEqual(0.995 * CAP_NANO);
    expect(spending.spent.filter(unforeseen)).toEqual([]);
  });

  it('holds for small and large requests mixed, without a false refusal', { timeout: 240_000 }, async () => {
    const { id, key } = await cappedKey(world, 'mixed', CAP_USD);
    const spending = await spend(world, {
      keyText: key,
      clients: CLIENTS,
      shapes: MIXED,
      seed: 2,
      refusals: 5,
      asksAgain: true,
      withinMs: WITHIN_MS,
    });
    const charged = await chargedNano(id);
    report('mixed requests', spending, charged);
    expect(charged).toBeLessThanOrEqual(CAP_NANO);
    expect(falseRefusals(spending.spent, CAP_NANO)).toEqual([]);
    expect(spending.spent.filter((one) => one.status === 402).length).toBeGreaterThan(0);
    expect(spending.spent.filter(unforeseen)).toEqual([]);
    expect(charged).toBeGreaterThan(0.9 * CAP_NANO);
  });

  it('holds for requests without a limit of their own', { timeout: 240_000 }, async () => {
    const { id, key } = await cappedKey(world, 'unlimited', CAP_USD);
    const spending = await spend(world, { keyText: key, clients: CLIENTS, shapes: UNLIMITED, seed: 3, refusals: 5, withinMs: WITHIN_MS });
    const charged = await chargedNano(id);
    report('requests without max_tokens', spending, charged);
    expect(charged).toBeLessThanOrEqual(CAP_NANO);
    expect(charged).toBeGreaterThan(0);
  });

  it('holds with the control plane cut off half-way, and goes on when it is back', { timeout: 300_000 }, async () => {
    const { id, key } = await cappedKey(world, 'cut off', CAP_USD);
    let killed: Promise<unknown> | undefined;
    const alone = await spend(world, {
      keyText: key,
      clients: CLIENTS,
      shapes: MIXED,
      seed: 4,
      refusals: 3,
      withinMs: WITHIN_MS,
      onSpent: (totalNano) => {
        if (totalNano >= CAP_NANO / 2) killed ??= world.control.kill();
      },
    });
    expect(killed).toBeDefined();
    await killed;
    // What the nodes hold they may spend; then nobody can say what is left.
    const without = alone.spent.filter((one) => one.status !== 200).map((one) => one.status);
    expect(without.length).toBeGreaterThan(0);
    expect(without.every((status) => status === 503 || status === 402)).toBe(true);
    await world.startControl();
    // The nodes come back in their own time; until then they can only say that they do not know.
    const again = await spend(world, {
      keyText: key,
      clients: CLIENTS,
      shapes: MIXED,
      seed: 5,
      refusals: 5,
      asksAgain: true,
      withinMs: WITHIN_MS,
    });
    const charged = await chargedNano(id);
    report(
      'cut off half-way, alone',
      alone,
      alone.spent.reduce((sum, one) => sum + one.costNano, 0),
    );
    report('and afterwards', again, charged);
    expect(charged).toBeLessThanOrEqual(CAP_NANO);
    expect(charged).toBeGreaterThan(0.9 * CAP_NANO);
    expect(await world.operator.get('/admin/v1/audit')).toMatchObject({ ok: true });
  });
});
