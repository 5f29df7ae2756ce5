/** The SQL of ingest: cursors, events, sums, what jobs read of them. */
import { COMPONENTS } from '@meridian/domain/usage';
import type { Final } from '@meridian/domain/usage-record';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Unreadable, UsageBatch } from './batch.ts';
import { type BatchSums, type CountedFinal, chargeOf, costOf, listOf, type RatedFinal, writtenOffOf } from './usage.ts';

type Reader = Database | Transaction;

const MAX_ROWS_A_STATEMENT = 5_000;
type Span = Pick<UsageBatch, 'spoolId' | 'nodeId' | 'region' | 'incarnation'>;

/** The same 64 bits as the signed number that the column holds. */
const toSigned = (incarnation: bigint) => BigInt.asIntN(64, incarnation);

export interface Cursor {
  readonly ackedSeq: number;
  /** The epoch of the database at this moment. */
  readonly dbEpoch: string;
}

/** Locks the cursor of an incarnation, making it when it is new. */
export async function lockCursor(trx: Transaction, span: Span, nowMs: number): Promise<Cursor> {
  await trx
    .insertInto('ingest_cursor')
    .values({
      spool_id: span.spoolId,
      incarnation: toSigned(span.incarnation),
      acked_seq: 0n,
      node_id: span.nodeId,
      region: span.region,
      updated_at: new Date(nowMs),
    })
    .onConflict((conflict) => conflict.columns(['spool_id', 'incarnation']).doNothing())
    .execute();
  const row = await trx
    .selectFrom('ingest_cursor')
    .select(['acked_seq', sql<string>`(SELECT db_epoch FROM config_head WHERE lane = 1)`.as('db_epoch')])
    .where('spool_id', '=', span.spoolId)
    .where('incarnation', '=', toSigned(span.incarnation))
    .forUpdate()
    .executeTakeFirstOrThrow();
  return { ackedSeq: Number(row.acked_seq), dbEpoch: row.db_epoch };
}

export async function advanceCursor(trx: Transaction, span: Span, ackedSeq: number, nowMs: number): Promise<void> {
  await trx
    .updateTable('ingest_cursor')
    .set({ acked_seq: BigInt(ackedSeq), node_id: span.nodeId, region: span.region, updated_at: new Date(nowMs) })
    .where('spool_id', '=', span.spoolId)
    .where('incarnation', '=', toSigned(span.incarnation))
    .execute();
}

export async function selectCursors(db: Reader, spoolId: string): Promise<{ incarnation: bigint; ackedSeq: number }[]> {
  const rows = await db.selectFrom('ingest_cursor').select(['incarnation', 'acked_seq']).where('spool_id', '=', spoolId).execute();
  return rows.map((row) => ({ incarnation: BigInt.asUintN(64, row.incarnation), ackedSeq: Number(row.acked_seq) }));
}

/** Records one step of a cursor and returns its number. */
export async function insertBatch(
  trx: Transaction,
  span: Span,
  step: { kind: 'ingested' | 'lost'; firstSeq: number; lastSeq: number },
  nowMs: number,
): Promise<bigint> {
  const row = await trx
    .insertInto('usage_batch')
    .values({
      kind: step.kind,
      spool_id: span.spoolId,
      incarnation: toSigned(span.incarnation),
      first_seq: BigInt(step.firstSeq),
      last_seq: BigInt(step.lastSeq),
      node_id: span.nodeId,
      region: span.region,
      ingested_at: new Date(nowMs),
    })
    .returning('id')
    .executeTakeFirstOrThrow();
  return row.id;
}

const EVENT_COLUMNS = `
  admitted_at timestamptz, request_id text, seq bigint, account_id text, member_id text, key_id text,
  operation text, client_dialect text, asked_model text, answering_model_id text, asked_price_version int, answering_price_version int,
  tier_id text, markup_basis_points int, service_tier text, outcome text, exactness text, usage jsonb, leases jsonb, attempts jsonb,
  max_cost_nano bigint, charge_nano bigint, list_nano bigint, variance_nano bigint, written_off_nano bigint, cost_nano bigint,
  stream boolean, status int, error_code text, first_byte_ms bigint, duration_ms bigint`;
const EVENT_NAMES = EVENT_COLUMNS.trim()
  .split(/,\s*/)
  .map((column) => column.split(' ')[0])
  .join(', ');

/**
 * Inserts the finals whose request has none yet, in this batch or before, and returns the seqs of those inserted. In one order
 * for all batches, so that two with the same requests never wait for each other.
 */
export async function insertEvents(
  trx: Transaction,
  batchId: bigint,
  region: string,
  finals: readonly CountedFinal[],
): Promise<Set<number>> {
  const { rows } = await sql<{ seq: bigint }>`
    INSERT INTO usage_event (batch_id, region, ${sql.raw(EVENT_NAMES)})
    SELECT ${batchId}::bigint, ${region}::text, ${sql.raw(EVENT_NAMES)}
    FROM json_to_recordset(${toJson(finals.map(eventRow))}::json) AS event (${sql.raw(EVENT_COLUMNS)})
    ORDER BY request_id, admitted_at, seq
    ON CONFLICT DO NOTHING RETURNING seq`.execute(trx);
  return new Set(rows.map((row) => Number(row.seq)));
}

function eventRow(counted: CountedFinal) {
  const { seq, final } = counted;
  return {
    admitted_at: new Date(final.admittedAtMs).toISOString(),
    request_id: final.requestId,
    seq,
    account_id: final.accountId,
    member_id: final.memberId,
    key_id: final.keyId,
    operation: final.operation,
    client_dialect: final.clientDialect,
    asked_model: final.askedModel,
    answering_model_id: final.answeringModelId,
    asked_price_version: final.askedPriceVersion,
    answering_price_version: final.answeringPriceVersion,
    tier_id: final.tierId,
    markup_basis_points: final.markupBasisPoints,
    service_tier: final.serviceTier,
    outcome: final.outcome,
    exactness: final.exactness,
    usage: final.usage,
    leases: leaseRows(final.leases),
    attempts: final.attempts,
    max_cost_nano: final.maxCostNano,
    charge_nano: chargeOf(counted),
    list_nano: listOf(counted),
    variance_nano: final.varianceNano,
    written_off_nano: writtenOffOf(counted),
    cost_nano: costOf(final),
    stream: final.stream,
    status: final.status,
    error_code: final.errorCode,
    first_byte_ms: final.firstByteMs,
    duration_ms: final.durationMs,
  };
}

/** The place that `undoEvents` goes back to. */
export async function markBeforeEvents(trx: Transaction): Promise<void> {
  await sql`SAVEPOINT before_events`.execute(trx);
}

/** Takes back what was inserted, and gives back what was locked, since `markBeforeEvents`. */
export async function undoEvents(trx: Transaction): Promise<void> {
  await sql`ROLLBACK TO SAVEPOINT before_events`.execute(trx);
}

/** The error with which the database refuses a final, or undefined when it would take it. Leaves no trace. */
export async function refusalOf(trx: Transaction, batchId: bigint, region: string, rated: RatedFinal): Promise<Error | undefined> {
  await sql`SAVEPOINT one_final`.execute(trx);
  try {
    await insertEvents(trx, batchId, region, [{ ...rated, refusal: undefined }]);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    await sql`ROLLBACK TO SAVEPOINT one_final`.execute(trx);
  }
}

/** Writes down finals of requests that already have one, and returns those that say something else than it. */
export async function insertDuplicates(trx: Transaction, batchId: bigint, finals: readonly RatedFinal[]): Promise<Set<number>> {
  const rows = finals.map((rated) => {
    const row = eventRow({ ...rated, refusal: undefined });
    return { ...row, payload: row };
  });
  const result = await sql<{ seq: bigint }>`
    INSERT INTO usage_duplicate (batch_id, seq, admitted_at, request_id, account_id, charge_nano, differs, payload)
    SELECT ${batchId}::bigint, late.seq, late.admitted_at, late.request_id, late.account_id, late.charge_nano,
      (first.account_id, first.key_id, first.charge_nano + first.written_off_nano, first.outcome, first.answering_model_id, first.usage, first.cost_nano)
      IS DISTINCT FROM
      (late.account_id, late.key_id, late.charge_nano, late.outcome, late.answering_model_id, late.usage, late.cost_nano),
      late.payload
    FROM json_to_recordset(${toJson(rows)}::json) AS late (payload jsonb, ${sql.raw(EVENT_COLUMNS)})
    JOIN usage_event first USING (request_id, admitted_at)
    RETURNING CASE WHEN differs THEN seq END AS seq`.execute(trx);
  return new Set(result.rows.flatMap((row) => (row.seq === null ? [] : [Number(row.seq)])));
}

/** A request, as its finals name it. */
export type RequestRef = Pick<Final, 'requestId' | 'admittedAtMs'>;

/** What finals that are stored name of each lease: the most, by request id and time of admission. */
export async function selectLeaseAmounts(
  trx: Transaction,
  requests: readonly RequestRef[],
): Promise<(RequestRef & { readonly leaseId: string; readonly amount: bigint })[]> {
  const { rows } = await sql<{ request_id: string; admitted_at: Date; lease_id: string; amount: bigint }>`
    WITH wanted AS (
      SELECT DISTINCT * FROM unnest(
        ${requests.map((request) => request.requestId)}::text[],
        ${requests.map((request) => new Date(request.admittedAtMs))}::timestamptz[]) AS request (request_id, admitted_at)),
    stored AS (
      SELECT request_id, admitted_at, leases FROM wanted JOIN usage_event USING (request_id, admitted_at)
      UNION ALL
      SELECT request_id, admitted_at, payload -> 'leases' FROM wanted JOIN usage_duplicate USING (request_id, admitted_at))
    SELECT request_id, admitted_at, lease ->> 'lease_id' AS lease_id, max((lease ->> 'amount')::bigint) AS amount
    FROM stored, jsonb_array_elements(leases) lease GROUP BY 1, 2, 3`.execute(trx);
  return rows.map((row) => ({
    requestId: row.request_id,
    admittedAtMs: row.admitted_at.getTime(),
    leaseId: row.lease_id,
    amount: row.amount,
  }));
}

export interface DeadLetter extends Unreadable {
  readonly seq: number;
}

export async function insertDeadLetters(trx: Transaction, batchId: bigint, letters: readonly DeadLetter[]): Promise<void> {
  for (const some of inPieces(letters)) {
    const rows = some.map((letter) => ({
      batch_id: batchId,
      seq: BigInt(letter.seq),
      reason: storable(letter.reason),
      account_id: letter.accountId === undefined ? null : storable(letter.accountId),
      request_id: letter.requestId === undefined ? null : storable(letter.requestId),
      charge_nano: letter.chargeNano?.toString() ?? null,
      leases: toJson(leaseRows(letter.leases)),
      payload: Buffer.from(letter.payload),
    }));
    await trx.insertInto('usage_dead_letter').values(rows).execute();
  }
}

/** A final as the payload of a dead letter: JSON in UTF-8, whatever its texts hold. */
export function finalPayload(final: Final): Uint8Array {
  return Buffer.from(toJson(final), 'utf8');
}

export async function insertMismatches(trx: Transaction, batchId: bigint, finals: readonly RatedFinal[]): Promise<void> {
  for (const some of inPieces(finals)) {
    const rows = some.map(({ seq, final, rating }) => ({
      batch_id: batchId,
      seq: BigInt(seq),
      admitted_at: new Date(final.admittedAtMs),
      request_id: final.requestId,
      account_id: final.accountId,
      charge_nano: final.chargeNano,
      rated_nano: rating.ratedNano ?? null,
    }));
    await trx.insertInto('usage_rating_mismatch').values(rows).execute();
  }
}

/** Rows as one statement takes them, which has room for 65,535 parameters. */
function* inPieces<T>(rows: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < rows.length; at += MAX_ROWS_A_STATEMENT) yield rows.slice(at, at + MAX_ROWS_A_STATEMENT);
}

const HOURLY_KEY = ['account_id', 'hour', 'model_id', 'key_id', 'member_id', 'price_version', 'tier_id'] as const;
const HOURLY_SUMS = [
  'requests',
  'charged_requests',
  'estimated_requests',
  ...COMPONENTS,
  'charge_nano',
  'list_nano',
  'variance_nano',
  'written_off_nano',
  'cost_nano',
] as const;
const HOURLY_COLUMNS = `account_id text, hour timestamptz, model_id text, key_id text, member_id text, price_version int, tier_id text,
  ${HOURLY_SUMS.map((name) => `${name} bigint`).join(', ')}`;
const HOURLY_NAMES = [...HOURLY_KEY, ...HOURLY_SUMS].join(', ');

/** Adds to the hourly rows, in the order given. */
export async function addHourly(trx: Transaction, region: string, sums: BatchSums['hourly']): Promise<void> {
  const rows = sums.map((sum) => ({
    account_id: sum.accountId,
    hour: new Date(sum.hourMs).toISOString(),
    model_id: sum.modelId,
    key_id: sum.keyId,
    member_id: sum.memberId,
    price_version: sum.priceVersion,
    tier_id: sum.tierId,
    requests: sum.requests,
    charged_requests: sum.chargedRequests,
    estimated_requests: sum.estimatedRequests,
    ...sum.units,
    charge_nano: sum.chargeNano,
    list_nano: sum.listNano,
    variance_nano: sum.varianceNano,
    written_off_nano: sum.writtenOffNano,
    cost_nano: sum.costNano,
  }));
  await sql`
    INSERT INTO usage_hourly AS h (region, ${sql.raw(HOURLY_NAMES)})
    SELECT ${region}::text, ${sql.raw(HOURLY_NAMES)} FROM json_to_recordset(${toJson(rows)}::json) AS sum (${sql.raw(HOURLY_COLUMNS)})
    ON CONFLICT (account_id, hour, model_id, key_id, member_id, region, price_version, tier_id) DO UPDATE SET
    ${sql.raw(HOURLY_SUMS.map((name) => `${name} = h.${name} + excluded.${name}`).join(', '))}`.execute(trx);
}

/** What an account's calls cost us without a charge in a day (UTC). */
export type UnchargedDay = BatchSums['uncharged'][number];

/** Adds to the daily rows of uncharged cost, in the order given, and returns what they have come to. */
export async function addUncharged(trx: Transaction, sums: readonly UnchargedDay[]): Promise<UnchargedDay[]> {
  const rows = sums.map((sum) => ({ account_id: sum.accountId, day: dayOf(sum.dayMs), cost_nano: sum.costNano }));
  const added = await sql<{ account_id: string; day: string; cost_nano: bigint }>`
    INSERT INTO usage_uncharged_daily AS d (account_id, day, cost_nano)
    SELECT account_id, day, cost_nano FROM json_to_recordset(${toJson(rows)}::json) AS sum (account_id text, day date, cost_nano bigint)
    ON CONFLICT (account_id, day) DO UPDATE SET cost_nano = d.cost_nano + excluded.cost_nano
    RETURNING account_id, day::text, cost_nano`.execute(trx);
  return added.rows.map((row) => ({ accountId: row.account_id, dayMs: Date.parse(row.day), costNano: row.cost_nano }));
}

/** What an account was charged in the hours of a window. */
export async function selectSpend(db: Reader, accountId: string, window: { fromMs: number; toMs: number }): Promise<bigint> {
  const { rows } = await sql<{ spend: bigint }>`
    SELECT coalesce(sum(charge_nano), 0)::bigint AS spend FROM usage_hourly
    WHERE account_id = ${accountId} AND hour >= ${new Date(window.fromMs)} AND hour < ${new Date(window.toMs)}`.execute(db);
  return rows[0]?.spend ?? 0n;
}

/** List amount of what was charged in the hours of a window, by account. */
export async function selectListSpend(
  db: Reader,
  window: { fromMs: number; toMs: number },
): Promise<{ accountId: string; listNano: bigint }[]> {
  const { rows } = await sql<{ accountId: string; listNano: bigint }>`
    SELECT account_id AS "accountId", sum(list_nano)::bigint AS "listNano" FROM usage_hourly
    WHERE hour >= ${new Date(window.fromMs)} AND hour < ${new Date(window.toMs)}
    GROUP BY account_id HAVING sum(list_nano) > 0 ORDER BY account_id`.execute(db);
  return rows;
}

/** Uncharged cost of an account by day, from a day on (UTC). */
export async function selectUncharged(db: Reader, accountId: string, fromMs: number): Promise<{ day: string; costNano: bigint }[]> {
  const { rows } = await sql<{ day: string; costNano: bigint }>`
    SELECT day::text AS day, cost_nano AS "costNano" FROM usage_uncharged_daily
    WHERE account_id = ${accountId} AND day >= ${dayOf(fromMs)}::date ORDER BY day`.execute(db);
  return rows;
}

export async function makePartitions(db: Reader, nowMs: number, daysAhead: number): Promise<number> {
  const { rows } = await sql<{ made: number }>`SELECT make_usage_partitions(${new Date(nowMs)}, ${daysAhead}) AS made`.execute(db);
  return rows[0]?.made ?? 0;
}

/** Events of a span of time that lie in no partition of their day. */
export async function countStrays(db: Reader, fromMs: number, toMs: number): Promise<number> {
  const { rows } = await sql<{ n: bigint }>`
    SELECT count(*) AS n FROM usage_event_default
    WHERE admitted_at >= ${new Date(fromMs)} AND admitted_at < ${new Date(toMs)}`.execute(db);
  return Number(rows[0]?.n ?? 0n);
}

function leaseRows(leases: Final['leases']) {
  return leases.map((lease) => ({ lease_id: storable(lease.leaseId), amount: lease.amount }));
}

/** JSON with amounts as decimal texts: a plain number would lose digits. */
function toJson(value: unknown): string {
  return JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? each.toString() : each));
}

/** Text as PostgreSQL takes it. */
function storable(text: string): string {
  return text.replaceAll('\0', '\ufffd').toWellFormed();
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
