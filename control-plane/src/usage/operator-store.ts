/** The SQL of what operators read of usage. */
import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import {
  asksProviders,
  type BookDimension,
  type BookQuery,
  type BookRow,
  type DeadLetterRow,
  type MismatchRow,
  type RecordPlace,
} from './operator-reading.ts';
import type { Span } from './reading.ts';

const DAY_MS = 86_400_000;

/** A source of sums: its rows, and the SQL of each dimension in them. */
interface Source {
  readonly from: RawBuilder<unknown>;
  readonly time: string;
  readonly dimensions: Readonly<Record<BookDimension, string>>;
  readonly sums: Readonly<Record<SumName, string>>;
}

type SumName =
  | 'requests'
  | 'charged_requests'
  | 'estimated_requests'
  | 'attempts'
  | 'list'
  | 'charge'
  | 'cost'
  | 'variance'
  | 'written_off';

const HOURS: Source = {
  from: sql`usage_hourly`,
  time: 'hour',
  dimensions: { day: `(hour AT TIME ZONE 'UTC')::date`, model: 'model_id', provider: `''`, account: 'account_id', region: 'region' },
  sums: {
    requests: 'sum(requests)',
    charged_requests: 'sum(charged_requests)',
    estimated_requests: 'sum(estimated_requests)',
    attempts: '0',
    list: 'sum(list_nano)',
    charge: 'sum(charge_nano)',
    cost: 'sum(cost_nano)',
    variance: 'sum(variance_nano)',
    written_off: 'sum(written_off_nano)',
  },
};

/** One row an attempt; what belongs to the request is told by the last one. A request that was never sent has one row without an attempt. */
const ATTEMPTS: Source = {
  from: sql`(
    SELECT e.*, a.attempt, coalesce(a.attempt ->> 'providerId', '') AS provider_id, (a.attempt ->> 'costNano')::bigint AS attempt_cost,
      coalesce(a.n = jsonb_array_length(e.attempts), true) AS is_last
    FROM usage_event e LEFT JOIN LATERAL jsonb_array_elements(e.attempts) WITH ORDINALITY AS a (attempt, n) ON true) each`,
  time: 'admitted_at',
  dimensions: {
    day: `(admitted_at AT TIME ZONE 'UTC')::date`,
    model: `coalesce(answering_model_id, '')`,
    provider: 'provider_id',
    account: 'account_id',
    region: 'region',
  },
  sums: {
    requests: 'count(*) FILTER (WHERE is_last)',
    charged_requests: `count(*) FILTER (WHERE is_last AND written_off_nano = 0
      AND (outcome IN ('success', 'client_gone', 'cut') OR (outcome = 'empty' AND charge_nano > 0)))`,
    estimated_requests: `count(*) FILTER (WHERE is_last AND exactness = 'estimated')`,
    attempts: 'count(attempt)',
    list: 'sum(list_nano) FILTER (WHERE is_last)',
    charge: 'sum(charge_nano) FILTER (WHERE is_last)',
    cost: 'sum(attempt_cost)',
    variance: 'sum(variance_nano) FILTER (WHERE is_last)',
    written_off: 'sum(written_off_nano) FILTER (WHERE is_last)',
  },
};
const UNCHARGED_ATTEMPTS = `sum(attempt_cost) FILTER (WHERE charge_nano = 0 OR attempt ? 'errorCode')`;

/** Sums in the order of their dimensions. */
export async function selectBooks(db: Database, query: BookQuery): Promise<BookRow[]> {
  const { groupBy } = query;
  const byAttempt = asksProviders(query);
  const source = byAttempt ? ATTEMPTS : HOURS;
  const keys = groupBy.map((dimension) => source.dimensions[dimension]);
  const columns = [
    ...groupBy.map((dimension, index) => `${keys[index]}${dimension === 'day' ? '::text' : ''} AS "${dimension}"`),
    ...Object.entries(source.sums).map(([name, sum]) => `coalesce(${sum}, 0)::bigint AS ${name}`),
    ...(byAttempt ? [`coalesce(${UNCHARGED_ATTEMPTS}, 0)::bigint AS uncharged`] : []),
  ];
  const places = sql.raw(keys.join(', '));
  type Row = Record<BookDimension, string> & Record<SumName, bigint> & { readonly uncharged?: bigint };
  const { rows } = await sql<Row>`
    SELECT ${sql.raw(columns.join(', '))} FROM ${source.from} WHERE ${booksWhere(source, query)} ${afterGroup(source, query)}
    ${groupBy.length === 0 ? sql`` : sql`GROUP BY ${places} ORDER BY ${places}`} LIMIT ${query.limit}`.execute(db);
  const uncharged = byAttempt ? undefined : await selectUncharged(db, query, rows);
  return rows.map((row, index) => ({
    group: Object.fromEntries(groupBy.map((dimension) => [dimension, row[dimension]])),
    requests: row.requests,
    chargedRequests: row.charged_requests,
    estimatedRequests: row.estimated_requests,
    attempts: byAttempt ? row.attempts : undefined,
    listNano: row.list,
    chargeNano: row.charge,
    costNano: row.cost,
    unchargedCostNano: byAttempt ? row.uncharged : uncharged?.[index],
    varianceNano: row.variance,
    writtenOffNano: row.written_off,
  }));
}

/** Of each row, where it is of days and accounts alone: by these it is summed at ingest. */
async function selectUncharged(
  db: Database,
  query: BookQuery,
  rows: readonly Record<BookDimension, string>[],
): Promise<bigint[] | undefined> {
  const { groupBy, filters } = query;
  if (filters.modelId !== undefined || filters.region !== undefined) return undefined;
  if (groupBy.some((dimension) => dimension !== 'day' && dimension !== 'account')) return undefined;
  const { fromMs, toMs } = daysOf(query);
  const columns = { day: 'day::text', account: 'account_id' } as const;
  const asked = groupBy.map((dimension) => columns[dimension as keyof typeof columns]);
  const wanted = asked.map((column, index) => {
    const values = [...new Set(rows.map((row) => row[groupBy[index] as BookDimension]))];
    return sql`AND ${sql.raw(column)} = ANY (${values}::text[])`;
  });
  const found = await sql<{ group: string[]; cost: bigint }>`
    SELECT ARRAY[${sql.raw(asked.join(', '))}]::text[] AS group, sum(cost_nano)::bigint AS cost FROM usage_uncharged_daily
    WHERE day >= ${dayOf(fromMs)}::date AND day < ${dayOf(toMs)}::date
    ${filters.accountId === undefined ? sql`` : sql`AND account_id = ${filters.accountId}`} ${sql.join(wanted, sql` `)}
    GROUP BY 1`.execute(db);
  const costs = new Map(found.rows.map(({ group, cost }) => [JSON.stringify(group), cost]));
  return rows.map((row) => costs.get(JSON.stringify(groupBy.map((dimension) => row[dimension]))) ?? 0n);
}

/** The groups behind the last one that was seen. Days that are over are not even read. */
function afterGroup({ dimensions, time }: Source, { after, groupBy }: BookQuery): RawBuilder<unknown> {
  if (after === undefined || groupBy.length === 0) return sql``;
  const columns = sql.raw(groupBy.map((dimension) => dimensions[dimension]).join(', '));
  const values = sql.join(groupBy.map((dimension, index) => (dimension === 'day' ? sql`${after[index]}::date` : sql`${after[index]}`)));
  const day = groupBy[0] === 'day' ? sql`AND ${sql.ref(time)} >= ${new Date(`${after[0]}T00:00:00Z`)}` : sql``;
  return sql`AND (${columns}) > (${values}) ${day}`;
}

function booksWhere({ dimensions, time }: Source, query: BookQuery): RawBuilder<unknown> {
  const { fromMs, toMs } = daysOf(query);
  const { modelId, providerId, accountId, region } = query.filters;
  const equals = [
    [dimensions.model, modelId],
    [dimensions.provider, providerId],
    [dimensions.account, accountId],
    [dimensions.region, region],
  ] as const;
  return sql.join(
    [
      sql`${sql.ref(time)} >= ${new Date(fromMs)} AND ${sql.ref(time)} < ${new Date(toMs)}`,
      ...equals.flatMap(([column, value]) => (value === undefined ? [] : [sql`${sql.raw(column)} = ${value}`])),
    ],
    sql` AND `,
  );
}

function daysOf({ fromMs, toMs }: Span): Span {
  return { fromMs: Math.floor(fromMs / DAY_MS) * DAY_MS, toMs: Math.ceil(toMs / DAY_MS) * DAY_MS };
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** The request with this id, whoever made it, in a span of time, which says in which partitions it can be. */
export async function selectAnyEvent(db: Database, requestId: string, { fromMs, toMs }: Span) {
  return db
    .selectFrom('usage_event')
    .innerJoin('usage_batch', 'usage_batch.id', 'usage_event.batch_id')
    .selectAll('usage_event')
    .select(['usage_batch.node_id', 'usage_batch.ingested_at'])
    .where('usage_event.request_id', '=', requestId)
    .where('usage_event.admitted_at', '>=', new Date(fromMs))
    .where('usage_event.admitted_at', '<', new Date(toMs))
    .orderBy('usage_event.admitted_at')
    .executeTakeFirst();
}

/** Newest first. */
export async function selectDeadLetters(db: Database, limit: number, after: RecordPlace | undefined): Promise<DeadLetterRow[]> {
  const { rows } = await sql<DeadLetterRow & { account: string | null; request: string | null; charge: string | null; at: Date }>`
    SELECT l.batch_id AS "batchId", l.seq, l.reason, l.account_id AS account, l.request_id AS request, trunc(l.charge_nano)::text AS charge,
      b.node_id AS "nodeId", b.spool_id AS "spoolId", b.ingested_at AS at
    FROM usage_dead_letter l JOIN usage_batch b ON b.id = l.batch_id
    ${afterPlace('l', after)} ORDER BY l.batch_id DESC, l.seq DESC LIMIT ${limit}`.execute(db);
  return rows.map(({ account, request, charge, at, ...row }) => ({
    ...row,
    accountId: account ?? undefined,
    requestId: request ?? undefined,
    chargeNano: charge === null ? undefined : BigInt(charge),
    ingestedAtMs: at.getTime(),
  }));
}

/** Newest first. */
export async function selectMismatches(db: Database, limit: number, after: RecordPlace | undefined): Promise<MismatchRow[]> {
  const { rows } = await sql<Omit<MismatchRow, 'ratedNano'> & { rated: bigint | null; at: Date }>`
    SELECT m.batch_id AS "batchId", m.seq, m.account_id AS "accountId", m.request_id AS "requestId", m.admitted_at AS at,
      m.charge_nano AS "chargeNano", m.rated_nano AS rated, b.node_id AS "nodeId"
    FROM usage_rating_mismatch m JOIN usage_batch b ON b.id = m.batch_id
    ${afterPlace('m', after)} ORDER BY m.batch_id DESC, m.seq DESC LIMIT ${limit}`.execute(db);
  return rows.map(({ rated, at, ...row }) => ({ ...row, ratedNano: rated ?? undefined, admittedAtMs: at.getTime() }));
}

function afterPlace(table: string, after: RecordPlace | undefined): RawBuilder<unknown> {
  return after === undefined ? sql`` : sql`WHERE (${sql.raw(`${table}.batch_id, ${table}.seq`)}) < (${after.batchId}, ${after.seq})`;
}
