/** The SQL of what customers read of their usage: sums of the hours, the log of requests, one request. */
import { COMPONENTS, type Component } from '@meridian/domain/usage';
import type { Attempt } from '@meridian/domain/usage-record';
import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { RequestFilters, RequestQuery, Span, UsageDimension, UsageFilters, UsageQuery, UsageRow } from './reading.ts';

const DAY = `(hour AT TIME ZONE 'UTC')::date`;
/** What rows are grouped and ordered by; days as days, which are cheaper than their texts. */
const DIMENSION_SQL: Readonly<Record<UsageDimension, string>> = {
  day: DAY,
  model: 'model_id',
  key: 'key_id',
  member: 'member_id',
  region: 'region',
};

const SUMS = ['requests', 'charged_requests', 'estimated_requests', ...COMPONENTS, 'charge_nano'] as const;

/** Sums of the hourly rows, in the order of their dimensions. */
export async function selectUsage(db: Database, query: UsageQuery): Promise<UsageRow[]> {
  const { groupBy } = query;
  const columns = groupBy.map((dimension) => `${DIMENSION_SQL[dimension]}${dimension === 'day' ? '::text' : ''} AS "${dimension}"`);
  const sums = SUMS.map((name) => `coalesce(sum(${name}), 0)::bigint AS ${name}`);
  const places = sql.raw(groupBy.map((dimension) => DIMENSION_SQL[dimension]).join(', '));
  type Row = Record<UsageDimension, string> & Record<(typeof SUMS)[number], bigint>;
  const { rows } = await sql<Row>`
    SELECT ${sql.raw([...columns, ...sums].join(', '))} FROM usage_hourly
    WHERE ${hoursWhere(query.accountId, query, query.filters ?? {})} ${afterGroup(query)}
    ${groupBy.length === 0 ? sql`` : sql`GROUP BY ${places} ORDER BY ${places}`} LIMIT ${query.limit}`.execute(db);
  return rows.map((row) => ({
    group: Object.fromEntries(groupBy.map((dimension) => [dimension, row[dimension]])),
    requests: row.requests,
    chargedRequests: row.charged_requests,
    estimatedRequests: row.estimated_requests,
    // COMPONENTS names each component once.
    units: Object.fromEntries(COMPONENTS.map((component) => [component, row[component]])) as Record<Component, bigint>,
    chargeNano: row.charge_nano,
  }));
}

/** The groups behind the last one that was seen. Days that are over are not even read. */
function afterGroup({ after, groupBy }: UsageQuery): RawBuilder<unknown> {
  if (after === undefined || groupBy.length === 0) return sql``;
  const columns = sql.raw(groupBy.map((dimension) => DIMENSION_SQL[dimension]).join(', '));
  const values = sql.join(groupBy.map((dimension, index) => (dimension === 'day' ? sql`${after[index]}::date` : sql`${after[index]}`)));
  const day = groupBy[0] === 'day' ? sql`AND hour >= ${new Date(`${after[0]}T00:00:00Z`)}` : sql``;
  return sql`AND (${columns}) > (${values}) ${day}`;
}

/** The whole hours of a span. */
function hoursWhere(accountId: string, { fromMs, toMs }: Span, filters: UsageFilters): RawBuilder<unknown> {
  const equals = [
    [sql.ref('model_id'), filters.modelId],
    [sql.ref('key_id'), filters.keyId],
    [sql.ref('member_id'), filters.memberId],
    [sql.ref('region'), filters.region],
    [sql.ref('tier_id'), filters.tierId],
  ] as const;
  return sql.join(
    [
      sql`account_id = ${accountId}`,
      sql`hour >= ${new Date(hourOf(fromMs))} AND hour < ${new Date(toMs)}`,
      ...equals.flatMap(([column, value]) => (value === undefined ? [] : [sql`${column} = ${value}`])),
    ],
    sql` AND `,
  );
}

const HOUR_MS = 3_600_000;

function hourOf(ms: number): number {
  return Math.floor(ms / HOUR_MS) * HOUR_MS;
}

/** The place of a request in the log. */
export interface Place {
  readonly admittedAt: Date;
  readonly requestId: string;
}

const LOG_COLUMNS = sql.raw(`e.request_id, e.admitted_at, e.region, e.key_id, e.member_id, e.operation, e.asked_model,
  e.answering_model_id, e.outcome, e.exactness, e.usage, e.service_tier, e.charge_nano, jsonb_array_length(e.attempts) AS attempt_count,
  e.stream, e.status, e.error_code, e.first_byte_ms, e.duration_ms`);

export interface LogRow {
  readonly request_id: string;
  readonly admitted_at: Date;
  readonly region: string;
  readonly key_id: string;
  readonly member_id: string;
  readonly operation: string;
  readonly asked_model: string;
  readonly answering_model_id: string | null;
  readonly outcome: string;
  readonly exactness: string;
  readonly usage: unknown;
  readonly service_tier: string;
  readonly charge_nano: bigint;
  readonly attempt_count: number;
  readonly stream: boolean;
  readonly status: number;
  readonly error_code: string | null;
  readonly first_byte_ms: bigint;
  readonly duration_ms: bigint;
}

/**
 * Requests of an account, newest first. Where they are narrowed down, the hourly rows tell which hours have any, newest first, and
 * only those are looked through until the page is full: a key that was used now and then is found without reading all that the
 * account's other keys did in between.
 */
export async function selectRequests(db: Database, query: Omit<RequestQuery, 'after'>, after: Place | undefined): Promise<LogRow[]> {
  const { accountId, filters, fromMs, limit } = query;
  // Said in full, since no partition is left out for the comparison of the pair.
  const toMs = after === undefined ? query.toMs : Math.min(query.toMs, after.admittedAt.getTime() + 1);
  const events = sql`usage_event e WHERE e.account_id = ${accountId}
    AND e.admitted_at >= ${new Date(fromMs)} AND e.admitted_at < ${new Date(toMs)}
    ${after === undefined ? sql`` : sql`AND (e.admitted_at, e.request_id) < (${after.admittedAt}, ${after.requestId})`}
    ${eventsWhere(filters)}`;
  const newestFirst = sql`ORDER BY e.admitted_at DESC, e.request_id DESC LIMIT ${limit}`;
  const hours = hoursWith(filters);
  const { rows } =
    hours === undefined
      ? await sql<LogRow>`SELECT ${LOG_COLUMNS} FROM ${events} ${newestFirst}`.execute(db)
      : await sql<LogRow>`
          SELECT e.* FROM (
            SELECT DISTINCT hour FROM usage_hourly WHERE ${hoursWhere(accountId, { fromMs, toMs }, filters)} ${hours} ORDER BY hour DESC) h
          CROSS JOIN LATERAL (
            SELECT ${LOG_COLUMNS} FROM ${events} AND e.admitted_at >= h.hour AND e.admitted_at < h.hour + interval '1 hour' ${newestFirst}) e
          ORDER BY h.hour DESC, e.admitted_at DESC, e.request_id DESC LIMIT ${limit}`.execute(db);
  return rows;
}

/** What the hourly rows of hours with such requests fulfil, besides what both kinds of rows have; undefined when nothing is asked for. */
function hoursWith(filters: RequestFilters): RawBuilder<unknown> | undefined {
  const { outcome, minChargeNano } = filters;
  const conditions = [
    // An empty answer may be charged.
    ...(outcome === 'failed' || outcome === 'recovered' ? [sql`AND requests > charged_requests`] : []),
    ...(minChargeNano !== undefined && minChargeNano > 0n ? [sql`AND charge_nano >= ${minChargeNano}`] : []),
  ];
  const isNarrow = conditions.length > 0 || (filters.modelId ?? filters.keyId ?? filters.memberId) !== undefined;
  return isNarrow ? sql.join(conditions, sql` `) : undefined;
}

function eventsWhere(filters: RequestFilters): RawBuilder<unknown> {
  const conditions = [
    filters.modelId === undefined ? undefined : sql`AND e.answering_model_id = ${filters.modelId}`,
    filters.keyId === undefined ? undefined : sql`AND e.key_id = ${filters.keyId}`,
    filters.memberId === undefined ? undefined : sql`AND e.member_id = ${filters.memberId}`,
    filters.outcome === undefined ? undefined : sql`AND e.outcome = ${filters.outcome}`,
    filters.status === undefined ? undefined : sql`AND e.status = ${filters.status}`,
    filters.minChargeNano === undefined ? undefined : sql`AND e.charge_nano >= ${filters.minChargeNano}`,
  ].filter((condition) => condition !== undefined);
  return conditions.length === 0 ? sql`` : sql.join(conditions, sql` `);
}

/** The request with this id that an account made in a span of time, which says in which partitions it can be. */
export async function selectEvent(db: Database, accountId: string, requestId: string, { fromMs, toMs }: Span) {
  return db
    .selectFrom('usage_event')
    .selectAll()
    .where('request_id', '=', requestId)
    .where('account_id', '=', accountId)
    .where('admitted_at', '>=', new Date(fromMs))
    .where('admitted_at', '<', new Date(toMs))
    .orderBy('admitted_at')
    .executeTakeFirst();
}

/** Attempts as they were written: their fields as in the domain, amounts as decimal texts. */
export function readAttempts(column: unknown): Attempt[] {
  // Only ingest writes the column.
  const attempts = column as (Omit<Attempt, 'costNano' | 'errorCode' | 'upstreamRequestId'> & {
    costNano: string;
    errorCode?: Attempt['errorCode'];
    upstreamRequestId?: string;
  })[];
  return attempts.map((attempt) => ({
    ...attempt,
    costNano: BigInt(attempt.costNano),
    errorCode: attempt.errorCode,
    upstreamRequestId: attempt.upstreamRequestId,
  }));
}
