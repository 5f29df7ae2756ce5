/** What caps are to people: which there are on a key, a member or an account, how they stand, how they are published. */
import type { BudgetUnit, CapScope, CapWindow } from '@meridian/domain/budget';
import { GatewayError } from '@meridian/domain/error';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import { nextWindowStartMs, windowStartMs } from '@meridian/domain/window';

/** One cap of each window and unit may be set on a scope; these are their names in a request. */
export const CAP_KINDS = {
  daily_usd: { window: 'utc_day', unit: 'nano_usd' },
  monthly_usd: { window: 'utc_month', unit: 'nano_usd' },
  daily_chat_completions: { window: 'utc_day', unit: 'chat_completions' },
  monthly_chat_completions: { window: 'utc_month', unit: 'chat_completions' },
  daily_images: { window: 'utc_day', unit: 'images' },
  monthly_images: { window: 'utc_month', unit: 'images' },
} as const satisfies Record<string, { window: CapWindow; unit: BudgetUnit }>;

export type CapName = keyof typeof CAP_KINDS;

export const CAP_NAMES = [
  'daily_usd',
  'monthly_usd',
  'daily_chat_completions',
  'monthly_chat_completions',
  'daily_images',
  'monthly_images',
] as const satisfies readonly CapName[];

/** Limits (0 … 2^52, in the cap's unit) by name: null removes a cap, an absent name leaves it. */
export type CapsChange = { readonly [name in CapName]?: bigint | null | undefined };

/** Whom caps are set on. */
export interface CapOwner {
  readonly accountId: string;
  readonly scope: CapScope;
  /** The key, member or account. */
  readonly scopeId: string;
}

/** A cap with its limit, or without one where it was removed. */
export interface CapRow extends CapOwner {
  readonly id: string;
  readonly window: CapWindow;
  readonly unit: BudgetUnit;
  /** The lesser of what was chosen and of the ceiling; undefined where there is neither. */
  readonly limit: bigint | undefined;
  /** What the account has set. */
  readonly chosen: bigint | undefined;
  /**
   * Of a member: what the account's plan allows at most, or an operator in its place. Of a key: what an owner or admin has set last,
   * which the member who made the key cannot pass.
   */
  readonly ceiling: bigint | undefined;
  /** An operator's, which no change of plan moves. */
  readonly ceilingIsOwn: boolean;
  readonly version: number;
}

/** What a cap comes to: whoever may choose a limit cannot choose more than the ceiling. */
export function limitOf(chosen: bigint | undefined, ceiling: bigint | undefined): bigint | undefined {
  if (chosen === undefined || ceiling === undefined) return chosen ?? ceiling;
  return chosen < ceiling ? chosen : ceiling;
}

/** Who sets a cap: somebody who may set any of the account's, or the member who made the key. */
export type CapSetter = 'manager' | 'holder';

/** A holder may go below a manager's cap, not above it, nor remove it. Throws `permission_denied`. */
export function requireUnderCeiling(name: CapName, chosen: bigint | undefined, ceiling: bigint | undefined): void {
  if (ceiling === undefined || (chosen !== undefined && chosen <= ceiling)) return;
  const message = `${name} was set by an owner or admin of the account: you may lower it, not raise or remove it.`;
  throw new GatewayError('permission_denied', { message, param: `caps.${name}` });
}

/** The caps that plans set on members: counts a day. */
export const CEILING_UNITS = ['chat_completions', 'images'] as const satisfies readonly BudgetUnit[];

/** A count a day by unit; undefined is without limit. */
export type Ceilings = { readonly [unit in (typeof CEILING_UNITS)[number]]: bigint | undefined };

export function capEntry(row: CapRow): ConfigEntry {
  const { id, accountId, scope, scopeId, window, unit, limit, version } = row;
  if (limit === undefined) return { kind: 'cap', id, version, body: undefined };
  return { kind: 'cap', id, version, body: { kind: 'cap', value: { id, accountId, scope, scopeId, window, unit, limit: Number(limit) } } };
}

/** How a cap stands in its present window, in its unit. Spent, reserved and left sum to the limit, unless it is exceeded. */
export interface CapStanding extends CapOwner {
  readonly id: string;
  readonly window: CapWindow;
  readonly unit: BudgetUnit;
  readonly limit: bigint;
  /** Charged in this window. */
  readonly spent: bigint;
  /** Set aside on nodes, for requests under way and for the next ones. It comes back where it is not used. */
  readonly reserved: bigint;
  readonly left: bigint;
  /** What is spent and reserved above a limit that was lowered. */
  readonly over: bigint;
  /** When the next window begins. */
  readonly resetsAtMs: number;
}

export function standingOf(
  cap: CapOwner & { readonly id: string; readonly window: CapWindow; readonly unit: BudgetUnit; readonly limit: bigint },
  figures: { readonly settled: bigint; readonly held: bigint },
  nowMs: number,
): CapStanding {
  const room = cap.limit - figures.settled - figures.held;
  return {
    id: cap.id,
    accountId: cap.accountId,
    scope: cap.scope,
    scopeId: cap.scopeId,
    window: cap.window,
    unit: cap.unit,
    limit: cap.limit,
    spent: figures.settled,
    reserved: figures.held,
    left: room > 0n ? room : 0n,
    over: room < 0n ? -room : 0n,
    resetsAtMs: resetsAtMs(cap.window, nowMs),
  };
}

/** Days and months end. */
function resetsAtMs(window: CapWindow, nowMs: number): number {
  const next = nextWindowStartMs(window, windowStartMs(window, nowMs));
  if (next === undefined) throw new Error(`a ${window} has no end`);
  return next;
}

/** A limit that is another one now: what nodes hold is to be called back, or nodes that were refused may be granted more. */
export interface LimitChange {
  readonly budgetId: string;
  readonly direction: 'raised' | 'lowered';
}

/** `wanted`: a limit could not be lowered for what nodes hold. */
export type LimitNews = LimitChange['direction'] | 'wanted';

/** Told after the commit. */
export type LimitListener = (budgetIds: readonly string[], news: LimitNews) => void;

/** Tells each direction once, lowered limits first. */
export function announceLimits(changes: readonly LimitChange[], listener: LimitListener): void {
  for (const direction of ['lowered', 'raised'] as const) {
    const ids = changes.filter((change) => change.direction === direction).map((change) => change.budgetId);
    if (ids.length > 0) listener(ids, direction);
  }
}
