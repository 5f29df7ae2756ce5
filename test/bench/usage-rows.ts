/** Fills a database with the usage of many accounts over the last days, as ingest would have left it: events, hourly rows, transfers. */
import type pg from 'pg';

export interface UsageShape {
  readonly events: number;
  readonly days: number;
  /** The first of them makes `largeShare` of all events, the others share the rest. */
  readonly accountIds: readonly string[];
  readonly largeShare: number;
  /** The end of the last day that is filled. */
  readonly endMs: number;
}

const DAY_MS = 86_400_000;
const MODELS = ['gpt-5.4', 'gpt-5.4-mini', 'claude-opus-4.7', 'claude-haiku-4.5', 'gemini-3-pro', 'gemini-3-flash', 'gpt-4o-mini'];
const REGIONS = ['us', 'eu', 'sg'];
/** Of the large account, which has more of them than the others. */
const LARGE_KEYS = 12;
const KEYS = 3;
/** One transfer for so many requests of an account: what a batch of a busy account comes to. */
const REQUESTS_A_TRANSFER = 5;

/** A key that an account's events were made with, the busiest first. */
export function keyId(accountId: string, index: number): string {
  return `key_${accountId.slice(4, 28)}${String(index).padStart(2, '0')}`;
}

export function memberId(accountId: string, index: number): string {
  return `mem_${accountId.slice(4, 28)}${String(index % 4).padStart(2, '0')}`;
}

/** The session has to be the owner's. */
export async function fillUsage(client: pg.Client, shape: UsageShape): Promise<void> {
  await client.query('CREATE TEMPORARY TABLE asker (n int PRIMARY KEY, account_id text NOT NULL)');
  await client.query('INSERT INTO asker SELECT ordinality - 1, id FROM unnest($1::text[]) WITH ORDINALITY AS given (id, ordinality)', [
    shape.accountIds,
  ]);
  // Faults are of no interest, since the database is thrown away; it is vacuumed once, when it is full.
  await client.query('SET synchronous_commit = off; SELECT setseed(0.5)');
  await client.query('ALTER SYSTEM SET autovacuum = off');
  await client.query('SELECT pg_reload_conf()');
  for (let day = 0; day < shape.days; day++) {
    const fromMs = shape.endMs - (shape.days - day) * DAY_MS;
    const from = new Date(fromMs);
    const to = new Date(fromMs + DAY_MS);
    await client.query('SELECT make_usage_partitions($1, 1), make_ledger_partitions($1, 0)', [from]);
    await client.query(EVENTS_SQL, [from, Math.round(shape.events / shape.days), shape.accountIds.length, shape.largeShare]);
    await client.query(HOURLY_SQL, [from, to]);
    await client.query(TRANSFERS_SQL, [from, to]);
  }
  await client.query('ALTER SYSTEM RESET autovacuum');
  await client.query('SELECT pg_reload_conf()');
  await client.query('VACUUM (ANALYZE) usage_event, usage_hourly, ledger_transfer');
}

const textOf = (values: readonly string[], index: string): string => `(ARRAY['${values.join("','")}'])[${index}]`;

/** The first ten characters of an id, which are its time, from milliseconds in `ms`. */
const ID_TIME_SQL = Array.from(
  { length: 10 },
  (_, index) => `substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((ms >> ${(9 - index) * 5}) & 31)::int + 1, 1)`,
).join(' || ');

/** $1 the day's begin, $2 events, $3 accounts, $4 the share of the first. In the order of time, as they come in. */
const EVENTS_SQL = `
  INSERT INTO usage_event (admitted_at, request_id, batch_id, seq, region, account_id, member_id, key_id, operation, client_dialect,
    asked_model, answering_model_id, asked_price_version, answering_price_version, tier_id, markup_basis_points, service_tier, outcome,
    exactness, usage, leases, attempts, max_cost_nano, charge_nano, list_nano, variance_nano, cost_nano, stream, status, error_code,
    first_byte_ms, duration_ms)
  SELECT admitted_at, 'req_' || ${ID_TIME_SQL} || upper(substr(md5(random()::text), 1, 16)), g / 500, g,
    ${textOf(REGIONS, `1 + (n + CASE WHEN random() < 0.2 THEN 1 ELSE 0 END) % ${REGIONS.length}`)},
    account_id, 'mem_' || substr(account_id, 5, 24) || lpad((key_index % 4)::text, 2, '0'),
    'key_' || substr(account_id, 5, 24) || lpad(key_index::text, 2, '0'), 'chat', 'openai-chat', model,
    CASE WHEN failed THEN NULL ELSE model END, 1, CASE WHEN failed THEN 0 ELSE 1 END, 'starter', 4000, 'standard',
    CASE WHEN failed THEN 'failed' WHEN random() < 0.02 THEN 'client_gone' ELSE 'success' END, 'exact',
    CASE WHEN failed THEN '{}' ELSE jsonb_build_object('input', input, 'cached_input', input / 2, 'output', output) END,
    jsonb_build_array(jsonb_build_object('lease_id', md5(account_id), 'amount', (charge)::text)),
    jsonb_build_array(jsonb_build_object('endpointId', 'end_01KAJ3ZZZZZZZZZZZZZZZZZZZZ', 'providerId', 'openai', 'modelId', model,
      'status', 200, 'costNano', (charge / 2)::text, 'costVersion', 1, 'durationMs', 812, 'upstreamRequestId', 'chatcmpl-' || md5(g::text))),
    charge * 3, CASE WHEN failed THEN 0 ELSE charge END, CASE WHEN failed THEN 0 ELSE charge * 10 / 14 END, 0, charge / 2, random() < 0.5,
    CASE WHEN failed THEN 502 ELSE 200 END, CASE WHEN failed THEN 'upstream_error' END, 300, 1200
  FROM (
    SELECT made.*, asker.account_id, (extract(epoch FROM admitted_at) * 1000)::bigint AS ms, input::bigint * 1400 + output * 14000 AS charge,
      floor(CASE WHEN n = 0 THEN ${LARGE_KEYS} ELSE ${KEYS} END * key_luck * key_luck)::int AS key_index,
      ${textOf(MODELS, `1 + floor(${MODELS.length} * model_luck * model_luck)::int`)} AS model
    FROM (
      SELECT g, date_trunc('milliseconds', $1::timestamptz + g * (interval '1 day' / $2::int)) AS admitted_at,
        CASE WHEN random() < $4::float8 THEN 0 ELSE 1 + floor(random() * ($3::int - 1))::int END AS n,
        random() AS key_luck, random() AS model_luck, random() < 0.01 AS failed,
        floor(200 + 8000 * random() * random())::int AS input, floor(50 + 1500 * random() * random())::int AS output
      FROM generate_series(0, $2::int - 1) g) made
    JOIN asker USING (n) ORDER BY g) event`;

const HOURLY_SQL = `
  INSERT INTO usage_hourly
  SELECT account_id, date_trunc('hour', admitted_at, 'UTC'), coalesce(answering_model_id, ''), key_id, member_id, region,
    answering_price_version, tier_id, count(*), count(*) FILTER (WHERE outcome <> 'failed'), 0, coalesce(sum((usage ->> 'input')::bigint), 0),
    coalesce(sum((usage ->> 'cached_input')::bigint), 0), 0, 0, coalesce(sum((usage ->> 'output')::bigint), 0),
    0, 0, 0, 0, 0, 0, 0, 0, 0, sum(charge_nano), sum(list_nano), 0, sum(cost_nano)
  FROM usage_event WHERE admitted_at >= $1 AND admitted_at < $2 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8`;

const TRANSFERS_SQL = `
  INSERT INTO ledger_transfer (posted_at, code, debit, credit, amount_nano, account_id, batch_id)
  SELECT max(admitted_at), 'usage', 'paid:' || account_id, 'revenue', sum(charge_nano), account_id, min(batch_id)
  FROM (
    SELECT account_id, admitted_at, charge_nano, batch_id, row_number() OVER (PARTITION BY account_id ORDER BY admitted_at) AS nth
    FROM usage_event WHERE admitted_at >= $1 AND admitted_at < $2 AND charge_nano > 0) charged
  GROUP BY account_id, nth / ${REQUESTS_A_TRANSFER} ORDER BY max(admitted_at)`;
