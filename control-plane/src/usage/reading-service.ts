/** Usage as customers read it. Nothing here writes; whatever is asked, an account has one question answered at a time. */
import { GatewayError } from '@meridian/domain/error';
import { type ListPrice, SERVICE_TIERS, type ServiceTier } from '@meridian/domain/price';
import { priceItems } from '@meridian/domain/price-items';
import type { Exactness, Usage } from '@meridian/domain/usage';
import type { Outcome } from '@meridian/domain/usage-record';
import type { Database } from '../database/connect.ts';
import { QUERY_CANCELED, sqlState } from '../database/transaction.ts';
import { correctionsOf } from '../ledger/corrections.ts';
import { type Receipt, type RequestQuery, type RequestRow, spanOfRequest, type UsageQuery, type UsageRow } from './reading.ts';
import * as store from './reading-store.ts';
import { Turns } from './turns.ts';

/** A table for a spreadsheet, and one row that tells that there are more. */
const MAX_ROWS = 10_001;
/** Of one account on one replica: a page of figures asks several at once. */
const MAX_WAITING = 20;

export interface UsageReadingDependencies {
  /** Its statement timeout is what a question may take. */
  readonly db: Database;
  /** Where list prices are looked up. */
  readonly prices: {
    find(wanted: readonly { readonly modelId: string; readonly version: number }[]): Promise<readonly ListPrice[]>;
  };
}

/** Each throws `overloaded` for a question that takes longer than it may, and `rate_limit_exceeded` for too many at once. */
export interface UsageReading {
  /** Sums by day, model, key, member, region, from the hourly rows, in the order of these; at most 10,001 rows. */
  listUsage(query: UsageQuery): Promise<UsageRow[]>;
  /** The log, newest first; at most 10,001 rows. Throws `invalid_request_error` when `after` is no request of the account. */
  listRequests(query: RequestQuery): Promise<RequestRow[]>;
  /** Throws `not_found` when the account has no such request (or its usage has not arrived yet). */
  receipt(accountId: string, requestId: string): Promise<Receipt>;
}

export function createUsageReading({ db, prices }: UsageReadingDependencies): UsageReading {
  const turns = new Turns(MAX_WAITING);
  const ask = <T>(accountId: string, work: () => Promise<T>): Promise<T> => turns.take(accountId, () => work().catch(nameTimeout));
  const find = async (accountId: string, requestId: string) => {
    const span = spanOfRequest(requestId);
    return span === undefined ? undefined : store.selectEvent(db, accountId, requestId, span);
  };
  return {
    listUsage: (query) => ask(query.accountId, () => store.selectUsage(db, { ...query, limit: Math.min(query.limit, MAX_ROWS) })),
    listRequests: (query) =>
      ask(query.accountId, async () => {
        const last = query.after === undefined ? undefined : await find(query.accountId, query.after);
        if (query.after !== undefined && last === undefined) {
          throw new GatewayError('invalid_request_error', { message: 'after: must be the id of a request in the log.', param: 'after' });
        }
        const after = last === undefined ? undefined : { admittedAt: last.admitted_at, requestId: last.request_id };
        const rows = await store.selectRequests(db, { ...query, limit: Math.min(query.limit, MAX_ROWS) }, after);
        return rows.map((row) => ({ ...requestOf(row), attemptCount: row.attempt_count }));
      }),
    receipt: (accountId, requestId) =>
      ask(accountId, async () => {
        const event = await find(accountId, requestId);
        if (event === undefined) throw new GatewayError('not_found', { message: 'There is no usage of such a request.' });
        return { ...receiptOf(event, await priceOf(prices, event)), corrections: await correctionsOf(db, accountId, [requestId]) };
      }),
  };
}

/** Throws what a question that took too long is answered with, or else what was thrown. */
export function nameTimeout(error: unknown): never {
  if (sqlState(error) !== QUERY_CANCELED) throw error;
  const message = 'The answer would take too long: ask for a shorter time, for fewer dimensions, or narrow it down.';
  throw new GatewayError('overloaded', { message, retryAfterSeconds: 5, cause: error });
}

type Event = NonNullable<Awaited<ReturnType<typeof store.selectEvent>>>;

function requestOf(row: Omit<store.LogRow, 'attempt_count'>): Omit<RequestRow, 'attemptCount'> {
  return {
    requestId: row.request_id,
    admittedAtMs: row.admitted_at.getTime(),
    region: row.region,
    keyId: row.key_id,
    memberId: row.member_id,
    operation: row.operation,
    askedModel: row.asked_model,
    answeringModelId: row.answering_model_id ?? undefined,
    // Only ingest writes these columns, from values of these types.
    outcome: row.outcome as Outcome,
    exactness: row.exactness as Exactness,
    units: row.usage as Usage,
    serviceTier: row.service_tier,
    chargeNano: row.charge_nano,
    stream: row.stream,
    status: row.status,
    errorCode: row.error_code ?? undefined,
    firstByteMs: Number(row.first_byte_ms),
    durationMs: Number(row.duration_ms),
  };
}

/** What the request was charged by; undefined where it was not, or the version is not known here. */
export async function priceOf(prices: UsageReadingDependencies['prices'], event: Event): Promise<ListPrice | undefined> {
  const modelId = event.answering_model_id;
  if (modelId === null || event.charge_nano === 0n) return undefined;
  const [price] = await prices.find([{ modelId, version: event.answering_price_version }]);
  return price;
}

export function receiptOf(event: Event, price: ListPrice | undefined): Omit<Receipt, 'corrections'> {
  const request = requestOf(event);
  const { markup_basis_points: markupBasisPoints } = event;
  const serviceTier = serviceTierOf(event.service_tier);
  return {
    ...request,
    listPriceVersion: event.answering_price_version,
    tierId: event.tier_id,
    markupBasisPoints,
    maxCostNano: event.max_cost_nano,
    attempts: store.readAttempts(event.attempts),
    price: price === undefined ? undefined : priceItems(request.units, price.cards, { serviceTier, markupBasisPoints }),
  };
}

function serviceTierOf(text: string): ServiceTier {
  return SERVICE_TIERS.find((tier) => tier === text) ?? 'standard';
}
