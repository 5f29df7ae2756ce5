/** What can be asked about usage, and what is told of it. */
import { isId, timeOfId } from '@meridian/domain/ids';
import type { Nano } from '@meridian/domain/money';
import type { PriceItems } from '@meridian/domain/price-items';
import type { Component, Exactness, Usage } from '@meridian/domain/usage';
import type { Attempt, Outcome } from '@meridian/domain/usage-record';

export const USAGE_DIMENSIONS = ['day', 'model', 'key', 'member', 'region'] as const;
export type UsageDimension = (typeof USAGE_DIMENSIONS)[number];

/** Half open: from this moment to before that one. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** What the hourly rows can be narrowed to; a model is the one that answered, a tier the account's volume tier. */
export interface UsageFilters {
  readonly modelId?: string | undefined;
  readonly keyId?: string | undefined;
  readonly memberId?: string | undefined;
  readonly region?: string | undefined;
  readonly tierId?: string | undefined;
}

/** The span is of whole hours: from the hour that holds its begin to the last hour that starts before its end. */
export interface UsageQuery extends Span {
  readonly accountId: string;
  readonly filters?: UsageFilters;
  readonly groupBy: readonly UsageDimension[];
  /** The group of the last row of the page before. A group stays in its place whatever is added. */
  readonly after?: readonly string[] | undefined;
  readonly limit: number;
}

export interface UsageRow {
  /** The value of each dimension asked for; a day as `2026-05-04` (UTC), a model that never answered as an empty text. */
  readonly group: Readonly<Partial<Record<UsageDimension, string>>>;
  readonly requests: bigint;
  readonly chargedRequests: bigint;
  readonly estimatedRequests: bigint;
  readonly units: Readonly<Record<Component, bigint>>;
  readonly chargeNano: bigint;
}

/** The name of a row among those of the same dimensions, from which `groupOfId` has its group back. */
export function idOfGroup(group: readonly string[]): string {
  return group.map(encodeURIComponent).join(',');
}

/** The group that a row's id names; undefined where it is no id of a row of these dimensions. */
export function groupOfId(id: string, groupBy: readonly string[]): string[] | undefined {
  const parts = id.split(',');
  if (parts.length !== groupBy.length) return undefined;
  try {
    const group = parts.map(decodeURIComponent);
    const isGroup = group.every((value, index) => !value.includes('\0') && (groupBy[index] !== 'day' || isDay(value)));
    return isGroup ? group : undefined;
  } catch {
    return undefined;
  }
}

/** PostgreSQL has no year 0000. */
function isDay(text: string): boolean {
  const ms = Date.parse(`${text}T00:00:00Z`);
  return /^(?!0000)\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text);
}

export interface RequestFilters extends Omit<UsageFilters, 'region' | 'tierId'> {
  readonly outcome?: Outcome | undefined;
  /** HTTP status that the client saw. */
  readonly status?: number | undefined;
  readonly minChargeNano?: Nano | undefined;
}

export interface RequestQuery extends Span {
  readonly accountId: string;
  readonly filters: RequestFilters;
  /** The id of the last request of the page before. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** One request of the log: what it was, how it ended, what it cost; no content. */
export interface RequestRow {
  readonly requestId: string;
  readonly admittedAtMs: number;
  readonly region: string;
  readonly keyId: string;
  readonly memberId: string;
  readonly operation: string;
  readonly askedModel: string;
  readonly answeringModelId: string | undefined;
  readonly outcome: Outcome;
  readonly exactness: Exactness;
  readonly units: Usage;
  readonly serviceTier: string;
  readonly chargeNano: Nano;
  readonly attemptCount: number;
  readonly stream: boolean;
  readonly status: number;
  readonly errorCode: string | undefined;
  readonly firstByteMs: number;
  readonly durationMs: number;
}

/** What became of one request: what the customer may see of it, and our cost. */
export interface Receipt extends Omit<RequestRow, 'attemptCount'> {
  /** Of the answering model; 0 where nothing answered. */
  readonly listPriceVersion: number;
  readonly tierId: string;
  readonly markupBasisPoints: number;
  readonly maxCostNano: Nano;
  readonly attempts: readonly Attempt[];
  /** What the charge is made of; undefined where nothing is charged, or the price version is not known here. */
  readonly price: PriceItems | undefined;
  /** What was given back of the charge since, oldest first. */
  readonly corrections: readonly { readonly amountNano: Nano; readonly createdAtMs: number }[];
}

const HOUR_MS = 3_600_000;
/** For clocks that were set, and for what is admitted long after it was given its id. */
const ADMITTED_BEFORE_ID_MS = HOUR_MS;
const ADMITTED_AFTER_ID_MS = 25 * HOUR_MS;

/** When a request with this id can have been admitted; undefined for a text that is no request's id. */
export function spanOfRequest(requestId: string): Span | undefined {
  if (!isId('req', requestId)) return undefined;
  const timeMs = timeOfId(requestId);
  return { fromMs: timeMs - ADMITTED_BEFORE_ID_MS, toMs: timeMs + ADMITTED_AFTER_ID_MS };
}
