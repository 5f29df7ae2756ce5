/**
 * How long it takes to reckon the tiers of all accounts anew, and whether each comes out as plain JavaScript has it from the hourly rows
 * alone. `node test/bench/tier-run.ts [accounts] [rows]`: 100,000 accounts and 4,000,000 hourly rows of the last 32 days unless told, on
 * an embedded PostgreSQL of its own. Measured are the first run, which raises most of those that spend much, the one six hours later, and
 * the five that are due after a day in which nobody was there.
 */
import { availableParallelism, loadavg } from 'node:os';
import { connect, type Database } from '@meridian/control-plane/database/connect';
import { migrate } from '@meridian/control-plane/database/migrate';
import { publish } from '@meridian/control-plane/snapshots/service';
import { TierRuns } from '@meridian/control-plane/tiers/runs';
import { createTierService } from '@meridian/control-plane/tiers/service';
import pg from 'pg';
import { onPostgres } from './scratch-postgres.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const DAYS_FILLED = 32;
const ROWS_A_FETCH = 50_000;
const ROUNDS_BEFORE_THE_GAP = 2;
const GAP_DAYS = 1;

interface Rung {
  readonly place: number;
  readonly loweredAtMs: number | undefined;
}

/** The rules in a few lines, from the numbers that the company publishes: nothing of ours is used. */
const LADDER_USD = [0n, 50n, 200n, 1_000n, 5_000n];
const TIER_IDS = ['starter', 'growth', 'scale', 'enterprise', 'strategic'];

function expectedRung(before: Rung, listNano: bigint, windowToMs: number): Rung {
  const product = listNano * 140n;
  const [whole, rest] = [product / 100n, product % 100n];
  const spendNano = rest > 50n || (rest === 50n && whole % 2n === 1n) ? whole + 1n : whole;
  const place = LADDER_USD.filter((usd) => usd * 1_000_000_000n <= spendNano).length - 1;
  if (place >= before.place) return { ...before, place };
  if (before.loweredAtMs !== undefined && windowToMs - before.loweredAtMs < 7 * DAY_MS) return before;
  return { place: before.place - 1, loweredAtMs: windowToMs };
}

/** Sums of the hourly rows of 30 days, each row read. */
async function sums(client: pg.Client, windowToMs: number): Promise<Map<string, bigint>> {
  const spent = new Map<string, bigint>();
  await client.query('BEGIN');
  await client.query({
    text: `DECLARE hours CURSOR FOR SELECT account_id, list_nano::text FROM usage_hourly
      WHERE hour >= '${new Date(windowToMs - 30 * DAY_MS).toISOString()}' AND hour < '${new Date(windowToMs).toISOString()}'`,
  });
  for (;;) {
    const { rows } = await client.query<[string, string]>({ text: `FETCH ${ROWS_A_FETCH} FROM hours`, rowMode: 'array' });
    for (const [accountId, listNano] of rows) spent.set(accountId, (spent.get(accountId) ?? 0n) + BigInt(listNano));
    if (rows.length < ROWS_A_FETCH) break;
  }
  await client.query('COMMIT');
  return spent;
}

/** Some accounts use much and all day, most use a little now and then; what an hour comes to spreads from cents to hundreds of dollars. */
async function fill(client: pg.Client, accounts: number, rows: number, endMs: number): Promise<void> {
  await client.query('SET synchronous_commit = off; SELECT setseed(0.5)');
  for (let day = 0; day < DAYS_FILLED; day++) {
    const from = new Date(endMs - (DAYS_FILLED - day) * DAY_MS);
    await client.query('SELECT make_usage_partitions($1, 1)', [from]);
    await client.query(
      `INSERT INTO usage_hourly
       SELECT 'acc_' || lpad(account::text, 26, '0'), $1::timestamptz + hour * interval '1 hour', 'gpt-5.4', 'key_' || lpad(account::text, 26, '0'),
         'mem_' || lpad(account::text, 26, '0'), 'us', 1, 'starter', 3, 3, 0, 9000, 0, 0, 0, 900, 0, 0, 0, 0, 0, 0, 0, 0, 0,
         list * 14 / 10, list, 0, list / 2
       FROM (SELECT floor($2::int * random() * random())::int AS account, floor(24 * random())::int AS hour,
         (power(10, 7 + 5 * random() * random()))::bigint AS list FROM generate_series(1, $3::int)) made
       ON CONFLICT DO NOTHING`,
      [from, accounts, Math.round(rows / DAYS_FILLED)],
    );
  }
  await client.query('VACUUM (ANALYZE) usage_hourly');
}

async function check(db: Database, expected: ReadonlyMap<string, Rung>, spent: ReadonlyMap<string, bigint>): Promise<Map<string, number>> {
  const tiers = new Map<string, number>();
  const rows = await db.selectFrom('tier_assignment').selectAll().execute();
  let wrong = Math.abs(rows.length - expected.size);
  for (const row of rows) {
    const rung = expected.get(row.account_id);
    const spendNano = ((spent.get(row.account_id) ?? 0n) * 140n) / 100n;
    const isRight =
      rung !== undefined &&
      row.tier_id === TIER_IDS[rung.place] &&
      row.lowered_at?.getTime() === rung.loweredAtMs &&
      row.spend_30d_nano - spendNano <= 1n &&
      row.spend_30d_nano >= spendNano;
    if (!isRight) wrong += 1;
    tiers.set(row.tier_id, (tiers.get(row.tier_id) ?? 0) + 1);
  }
  if (wrong > 0) throw new Error(`${wrong} of ${rows.length} accounts stand otherwise than they should`);
  return tiers;
}

async function main(accounts: number, rows: number): Promise<void> {
  const load = () => (loadavg()[0] ?? Number.NaN).toFixed(1);
  console.log(`${availableParallelism()} processors, load average ${load()}; ${accounts} accounts`);
  await onPostgres(async (url) => {
    await migrate(url);
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const db = connect(url, { maxConnections: 3 });
    try {
      let nowMs = Math.floor(Date.now() / (6 * HOUR_MS)) * 6 * HOUR_MS;
      const clock = { nowMs: () => nowMs };
      await fill(client, accounts, rows, nowMs + DAY_MS);
      const { rows: filled } = await client.query('SELECT count(*) AS n FROM usage_hourly');
      console.log(`${filled[0]?.n} hourly rows`);
      const tiers = createTierService({ db, clock, publish });
      const ids = Array.from({ length: accounts }, (_, index) => `acc_${String(index).padStart(26, '0')}`);
      for (let from = 0; from < ids.length; from += 5_000) await tiers.assignFirst(ids.slice(from, from + 5_000));
      const runs = new TierRuns({ db, clock, publish, slowestOnBulk: async () => undefined, pause: async () => undefined });
      let expected = new Map<string, Rung>(ids.map((id) => [id, { place: 0, loweredAtMs: undefined }]));
      const reckon = async (windowToMs: number): Promise<Map<string, bigint>> => {
        const spent = await sums(client, windowToMs);
        expected = new Map([...expected].map(([id, rung]) => [id, expectedRung(rung, spent.get(id) ?? 0n, windowToMs)]));
        return spent;
      };
      const report = async (made: number, tookMs: number, spent: ReadonlyMap<string, bigint>): Promise<void> => {
        const shares = [...(await check(db, expected, spent))].sort().map(([tier, count]) => `${tier} ${count}`);
        const [run] = await runs.list(1, undefined);
        console.log(
          `${made} run(s) to ${new Date(run?.windowToMs ?? 0).toISOString()}: ${(tookMs / 1_000).toFixed(1)} s, load ${load()}; the last: ` +
            `${run?.spendingAccounts} spent, ${run?.raised} raised, ${run?.lowered} lowered; as brute force has it: ${shares.join(', ')}`,
        );
      };
      const measured = async (): Promise<[number, number]> => {
        const startedAtMs = performance.now();
        const made = await runs.catchUp();
        return [made, performance.now() - startedAtMs];
      };
      for (let round = 0; round < ROUNDS_BEFORE_THE_GAP; round++) {
        const [made, tookMs] = await measured();
        await report(made, tookMs, await reckon(nowMs));
        nowMs += 6 * HOUR_MS;
      }
      const gapMs = GAP_DAYS * DAY_MS;
      const fromMs = nowMs;
      nowMs += gapMs;
      const [made, tookMs] = await measured();
      let spent = new Map<string, bigint>();
      for (let atMs = fromMs; atMs <= nowMs; atMs += 6 * HOUR_MS) spent = await reckon(atMs);
      await report(made, tookMs, spent);
    } finally {
      await db.destroy();
      await client.end();
    }
  });
}

const [accounts = 100_000, rows = 4_000_000] = process.argv.slice(2).map(Number);
await main(accounts, rows);
