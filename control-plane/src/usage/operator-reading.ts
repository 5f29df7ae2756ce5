/** What operators can ask about usage, and what is told of it: what customers pay, and what it costs us. */
import type { Nano } from '@meridian/domain/money';
import type { Attempt } from '@meridian/domain/usage-record';
import type { Receipt, Span } from './reading.ts';

export const BOOK_DIMENSIONS = ['day', 'model', 'provider', 'account', 'region'] as const;
export type BookDimension = (typeof BOOK_DIMENSIONS)[number];

/** A model is the one that answered. */
export interface BookFilters {
  readonly modelId?: string | undefined;
  readonly providerId?: string | undefined;
  readonly accountId?: string | undefined;
  readonly region?: string | undefined;
}

/** The span is of whole days (UTC): from the day that holds its begin to the last day that starts before its end. */
export interface BookQuery extends Span {
  readonly filters: BookFilters;
  readonly groupBy: readonly BookDimension[];
  /** The group of the last row of the page before. A group stays in its place whatever is added. */
  readonly after?: readonly string[] | undefined;
  readonly limit: number;
}

/** Whether a question is about providers, of which the hourly rows know nothing: it is answered from the requests themselves. */
export function asksProviders({ groupBy, filters }: Pick<BookQuery, 'groupBy' | 'filters'>): boolean {
  return groupBy.includes('provider') || filters.providerId !== undefined;
}

/**
 * Requests, charges and what was charged to nobody belong to the provider that was called last, calls and their cost to each that was
 * called; so the rows of all providers add up to what there is without them.
 */
export interface BookRow {
  /** The value of each dimension asked for; a day as `2026-05-04` (UTC), a model that never answered, or no provider, as an empty text. */
  readonly group: Readonly<Partial<Record<BookDimension, string>>>;
  readonly requests: bigint;
  readonly chargedRequests: bigint;
  readonly estimatedRequests: bigint;
  /** Calls to providers; undefined where the question is not about providers. */
  readonly attempts: bigint | undefined;
  /** What was charged, without the markup. */
  readonly listNano: Nano;
  readonly chargeNano: Nano;
  readonly costNano: Nano;
  /** The part of the cost that no charge pays for; undefined where it is not known by these dimensions. */
  readonly unchargedCostNano: Nano | undefined;
  /** Usage above max_cost, and usage that no lease could pay: charged to nobody. */
  readonly varianceNano: Nano;
  readonly writtenOffNano: Nano;
}

/** What became of one request: what the customer may see of it, and what it means to us. */
export interface OperatorReceipt extends Receipt {
  readonly accountId: string;
  readonly clientDialect: string;
  readonly nodeId: string;
  readonly ingestedAtMs: number;
  readonly listNano: Nano;
  readonly costNano: Nano;
  readonly unchargedCostNano: Nano;
  readonly varianceNano: Nano;
  readonly writtenOffNano: Nano;
}

/** What the attempts cost us that no charge pays for: all of them where nothing is charged, else those that failed. */
export function unchargedCost(attempts: readonly Pick<Attempt, 'costNano' | 'errorCode'>[], chargeNano: Nano): Nano {
  return attempts.filter(({ errorCode }) => chargeNano === 0n || errorCode !== undefined).reduce((sum, { costNano }) => sum + costNano, 0n);
}

/** A place in the records of batches, newest first; the last one of the page before. */
export interface RecordPlace {
  readonly batchId: bigint;
  readonly seq: bigint;
}

/** A record of a node that could not be ingested: charged to nobody. What could not be read of it is undefined. */
export interface DeadLetterRow extends RecordPlace {
  readonly reason: string;
  readonly accountId: string | undefined;
  readonly requestId: string | undefined;
  readonly chargeNano: Nano | undefined;
  readonly nodeId: string;
  readonly spoolId: string;
  readonly ingestedAtMs: number;
}

/** A charge that our own rating does not confirm: the node's figure stands. */
export interface MismatchRow extends RecordPlace {
  readonly accountId: string;
  readonly requestId: string;
  readonly admittedAtMs: number;
  readonly chargeNano: Nano;
  /** undefined: the price version was not known. */
  readonly ratedNano: Nano | undefined;
  readonly nodeId: string;
}
