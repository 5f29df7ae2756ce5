import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { publish } from '../snapshots/service.ts';
import { TierRuns, type TierRunsDeps } from './runs.ts';
import { createTierService, type TierService } from './service.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOON_MS = Date.UTC(2026, 4, 4, 12);
const USD = 1_000_000_000n;

let database: TestDatabase;
let tiers: TierService;
let nowMs: number;
const clock = { nowMs: () => nowMs };

beforeEach(async () => {
  nowMs = NOON_MS + 60_000;
  database = await testDatabase();
  tiers = createTierService({ db: database.db, clock, publish });
});
afterEach(() => database.drop());

function runs(overrides: Partial<TierRunsDeps> = {}): TierRuns {
  const pause = () => Promise.reject(new Error('there is nobody to wait for'));
  return new TierRuns({ db: database.db, clock, publish, slowestOnBulk: async () => undefined, pause, ...overrides });
}

/** Usage of an account in the hour of a moment, worth so much at list prices. */
async function use(accountId: string, atMs: number, listNano: bigint, modelId = 'm'): Promise<void> {
  await sql`
    INSERT INTO usage_hourly SELECT (jsonb_populate_record(NULL::usage_hourly, jsonb_build_object(
      'account_id', ${accountId}::text, 'hour', ${new Date(Math.floor(atMs / HOUR_MS) * HOUR_MS)}::timestamptz, 'model_id', ${modelId}::text,
      'list_nano', ${listNano.toString()}::bigint, 'key_id', 'k', 'member_id', 'b', 'region', 'us', 'tier_id', 'starter') ||
      (SELECT jsonb_object_agg(column_name, 0) FROM information_schema.columns
        WHERE table_name = 'usage_hourly' AND data_type IN ('bigint', 'integer') AND column_name <> 'list_nano'))).*`.execute(database.db);
}

async function published(): Promise<string[]> {
  const { rows } = await sql<{ entry: string }>`
    SELECT lane || ' ' || entity_id || ' ' || version AS entry FROM config_log WHERE kind = 'tier_assignment' ORDER BY lane, rev`.execute(
    database.db,
  );
  return rows.map((row) => row.entry);
}

async function standing(accountId: string): Promise<[string, bigint]> {
  const { tier, spend30dNano } = await tiers.standing(accountId);
  return [tier.id, spend30dNano];
}

describe('a run', () => {
  it('values usage at the first tier, whatever tier the account is on, and counts 30 days to the hour', async () => {
    await tiers.assignFirst(['acc_1', 'acc_2']);
    await use('acc_1', NOON_MS - HOUR_MS, 20n * USD);
    await use('acc_1', NOON_MS - 30 * DAY_MS, 10n * USD);
    await use('acc_1', NOON_MS - 30 * DAY_MS - HOUR_MS, 1_000n * USD);
    await use('acc_1', NOON_MS, 1_000n * USD);
    expect(await runs().catchUp()).toBe(1);
    expect(await standing('acc_1')).toEqual(['starter', 42n * USD]);
    await use('acc_1', NOON_MS + 5 * HOUR_MS, 500n * USD);
    nowMs = NOON_MS + 6 * HOUR_MS;
    await runs().catchUp();
    // The 10 have gone out of the window, the 1,000 are in it: (20 + 1,000 + 500) × 1.4.
    expect(await standing('acc_1')).toEqual(['enterprise', 2_128n * USD]);
    nowMs = NOON_MS + 12 * HOUR_MS;
    await runs().catchUp();
    expect(await standing('acc_1')).toEqual(['enterprise', 2_128n * USD]);
    expect(await standing('acc_2')).toEqual(['starter', 0n]);
  });

  it('tells nodes of changed tiers alone, on BULK, and writes changed spend without a word', async () => {
    await tiers.assignFirst(['acc_1', 'acc_2', 'acc_3']);
    await use('acc_1', NOON_MS - HOUR_MS, 100n * USD);
    await use('acc_2', NOON_MS - HOUR_MS, 1n * USD);
    await use('acc_4', NOON_MS - HOUR_MS, 100n * USD);
    await runs().catchUp();
    expect(await published()).toEqual(['2 acc_1 1', '2 acc_2 1', '2 acc_3 1', '4 acc_1 2', '4 acc_4 1']);
    expect(await standing('acc_2')).toEqual(['starter', (14n * USD) / 10n]);
    expect(await standing('acc_4')).toEqual(['growth', 140n * USD]);
    const [run] = await runs().list(10, undefined);
    expect(run).toMatchObject({
      windowToMs: NOON_MS,
      spendingAccounts: 3,
      accounts: 4,
      raised: 2,
      lowered: 0,
      rev: 2,
      finishedAtMs: nowMs,
    });
    expect(await database.db.selectFrom('tier_run_spend').selectAll().execute()).toEqual([]);
  });

  it('is made once for its 30 days', async () => {
    await use('acc_1', NOON_MS - HOUR_MS, 100n * USD);
    await runs().catchUp();
    await use('acc_1', NOON_MS - HOUR_MS, 100n * USD, 'late');
    expect(await runs().catchUp()).toBe(0);
    expect(await standing('acc_1')).toEqual(['growth', 140n * USD]);
    // Usage that came late is counted by the next.
    nowMs += 6 * HOUR_MS;
    expect(await runs().catchUp()).toBe(1);
    expect(await standing('acc_1')).toEqual(['scale', 280n * USD]);
  });

  it('that was missed is made up for, in order, so that a tier goes down a step for each week that has passed', async () => {
    await use('acc_1', NOON_MS - 29 * DAY_MS, 10_000n * USD);
    await runs().catchUp();
    expect(await standing('acc_1')).toEqual(['strategic', 14_000n * USD]);
    nowMs = NOON_MS + 9 * DAY_MS;
    expect(await runs().catchUp()).toBe(36);
    // The usage left the window after a day; a week later came the second step.
    expect(await standing('acc_1')).toEqual(['scale', 0n]);
    expect(await published()).toEqual(['4 acc_1 1', '4 acc_1 2', '4 acc_1 3']);
    const list = await runs().list(100, undefined);
    expect(list.map((run) => run.lowered).filter(Boolean)).toEqual([1, 1]);
    expect((await runs().list(2, NOON_MS + 6 * HOUR_MS)).map((run) => run.windowToMs)).toEqual([NOON_MS]);
  });

  it('that was broken off goes on where it stopped, with the sums it began with', async () => {
    const accounts = Array.from({ length: 4_500 }, (_, index) => `acc_${String(index).padStart(5, '0')}`);
    await tiers.assignFirst(accounts);
    await use(accounts[0] ?? '', NOON_MS - HOUR_MS, 100n * USD);
    await use(accounts[4_499] ?? '', NOON_MS - HOUR_MS, 100n * USD);
    const stop = new AbortController();
    const stopping = runs({
      publish: async (...args) => {
        stop.abort(new Error('this replica stops'));
        return publish(...args);
      },
    });
    await expect(stopping.catchUp(stop.signal)).rejects.toThrow('this replica stops');
    expect((await runs().list(1, undefined))[0]).toMatchObject({ accounts: 2_000, raised: 1, finishedAtMs: undefined });
    await use(accounts[4_499] ?? '', NOON_MS - HOUR_MS, 10_000n * USD, 'late');
    // By now another run is due, which comes after it.
    nowMs += 6 * HOUR_MS;
    expect(await runs().catchUp()).toBe(2);
    const [second, first] = await runs().list(2, undefined);
    expect([first, second]).toMatchObject([
      { accounts: 4_500, raised: 2 },
      { accounts: 4_500, raised: 1 },
    ]);
    expect(await standing(accounts[4_499] ?? '')).toEqual(['strategic', 14_140n * USD]);
  });

  it('is shared by replicas that make it together: nobody is told anything twice', async () => {
    const accounts = Array.from({ length: 5_000 }, (_, index) => `acc_${String(index).padStart(5, '0')}`);
    await tiers.assignFirst(accounts);
    await sql`UPDATE tier_assignment SET tier_id = 'growth'`.execute(database.db);
    await Promise.all([runs().catchUp(), runs().catchUp(), runs().catchUp()]);
    const [run, ...others] = await runs().list(10, undefined);
    expect(run).toMatchObject({ accounts: 5_000, lowered: 5_000, raised: 0 });
    expect(others).toEqual([]);
    expect((await published()).filter((entry) => entry.startsWith('4 '))).toHaveLength(5_000);
  });

  it('waits for nodes that are far behind, for a time', async () => {
    const accounts = Array.from({ length: 8_000 }, (_, index) => `acc_${String(index).padStart(5, '0')}`);
    await sql`INSERT INTO tier_assignment (account_id, tier_id, window_to) SELECT unnest(${accounts}::text[]), 'growth', now()`.execute(
      database.db,
    );
    let slowest = 0;
    const pauses: number[] = [];
    await runs({
      maxRevsAhead: 3_000,
      slowestOnBulk: async () => slowest,
      pause: async (ms) => {
        pauses.push(ms);
        if (pauses.length === 3) slowest = 2_000;
      },
    }).catchUp();
    // Three times at 4,000, then no more until 6,000, where it stays.
    expect(pauses.length * 250).toBe(30_000);
    expect((await runs().list(1, undefined))[0]).toMatchObject({ lowered: 8_000, rev: 8_000 });
  });
});

describe('the ladder', () => {
  const usd = (amount: bigint) => amount * USD;
  const starter = { id: 'starter', name: 'Starter', fromSpendNano: 0n, markupBasisPoints: 5_000 };

  it('that is set is published as a new version, kept, and holds in the next run', async () => {
    await tiers.publishLadder();
    await use('acc_1', NOON_MS - HOUR_MS, 10n * USD);
    const set = [starter, { id: 'plus', name: 'Plus', fromSpendNano: usd(15n), markupBasisPoints: 1_234 }];
    expect(await tiers.setLadder(set)).toEqual({ tiers: set, version: 2 });
    expect(await tiers.setLadder(set)).toEqual({ tiers: set, version: 2 });
    expect(await tiers.publishLadder()).toBe(false);
    await runs().catchUp();
    expect(await standing('acc_1')).toEqual(['plus', usd(15n)]);
    const { rows } = await sql<{ entry: string }>`
      SELECT lane || ' ' || version AS entry FROM config_log WHERE kind = 'ladder' ORDER BY rev`.execute(database.db);
    expect(rows.map((row) => row.entry)).toEqual(['3 1', '3 2']);
    const kept = await database.db.selectFrom('tier_ladder_version').select(['version', 'tiers']).orderBy('version').execute();
    expect(kept).toMatchObject([
      { version: 1, tiers: [{ id: 'starter', markup_basis_points: 4_000 }, {}, {}, {}, { id: 'strategic' }] },
      {
        version: 2,
        tiers: [
          { id: 'starter', markup_basis_points: 5_000 },
          { id: 'plus', from_spend_nano: '15000000000' },
        ],
      },
    ]);
    await expect(sql`UPDATE tier_ladder_version SET version = 9`.execute(database.db)).rejects.toThrow('permission denied');
  });

  it('cannot leave out a tier on which accounts stand, nor be no ladder', async () => {
    await tiers.assignFirst(['acc_1']);
    await expect(tiers.setLadder([{ ...starter, id: 'other' }])).rejects.toMatchObject({ code: 'conflict' });
    await expect(tiers.setLadder([{ ...starter, fromSpendNano: 1n }])).rejects.toMatchObject({ code: 'invalid_request_error' });
    expect((await tiers.ladderVersion()).version).toBe(1);
  });
});
