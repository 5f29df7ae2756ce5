/**
 * Caps and budgets. A cap is a setting (scope, window, unit, limit); a budget is one window of it. Amounts are plain
 * integers in the cap's unit, at most 2^52: nano-USD, or a count.
 */
import type { WindowKind } from './window.ts';

export type CapScope = 'key' | 'member' | 'account';
export const CAP_SCOPES: readonly CapScope[] = ['key', 'member', 'account'];

export type BudgetUnit = 'nano_usd' | 'chat_completions' | 'images';
export const BUDGET_UNITS: readonly BudgetUnit[] = ['nano_usd', 'chat_completions', 'images'];

/** Prepaid credit is no setting. */
export type CapWindow = Exclude<WindowKind, 'prepaid'>;
export const CAP_WINDOWS: readonly CapWindow[] = ['utc_day', 'utc_month'];

/** The highest limit there is; nearly five million dollars. Sums of a few such amounts are still exact in a double. */
export const MAX_LIMIT = 2 ** 52;

export interface Cap {
  readonly id: string;
  readonly accountId: string;
  readonly scope: CapScope;
  /** The key, member or account that is capped. */
  readonly scopeId: string;
  readonly window: CapWindow;
  readonly unit: BudgetUnit;
  /** 0 … MAX_LIMIT. */
  readonly limit: number;
}

/** One window of a cap, or an account's prepaid credit (whose one window begins at 0). */
export interface BudgetRef {
  readonly capId: string;
  readonly windowStartMs: number;
}

const PREPAID_PREFIX = 'prepaid_';

/** Every account has one such cap, which is no setting: its limit is what was ever paid in, and less what was taken out. */
export function prepaidCapId(accountId: string): string {
  return `${PREPAID_PREFIX}${accountId}`;
}

export function isPrepaidCapId(capId: string): boolean {
  return capId.startsWith(PREPAID_PREFIX);
}

/** The account whose credit it is; undefined for the id of another cap. */
export function accountOfPrepaid(capId: string): string | undefined {
  return isPrepaidCapId(capId) ? capId.slice(PREPAID_PREFIX.length) : undefined;
}

/** The budget's name as one text: budgets are locked, and told apart, by it. */
export function budgetId(budget: BudgetRef): string {
  return `${budget.capId}@${budget.windowStartMs}`;
}

/** The reverse of `budgetId`; undefined for any other text. */
export function parseBudgetId(id: string): BudgetRef | undefined {
  const at = id.lastIndexOf('@');
  const windowStartMs = Number(id.slice(at + 1));
  if (at <= 0 || !Number.isSafeInteger(windowStartMs) || windowStartMs < 0 || String(windowStartMs) !== id.slice(at + 1)) return undefined;
  return { capId: id.slice(0, at), windowStartMs };
}

/** How a budget stands at the control plane. */
export interface BudgetBook {
  readonly limit: number;
  /** Σ of what was charged. */
  readonly settled: number;
  /** Σ of what nodes may still charge. */
  readonly held: number;
}

/** What may be granted at most; 0 where a lowered limit is exceeded already. */
export function grantable(budget: BudgetBook): number {
  return Math.max(0, budget.limit - budget.settled - budget.held);
}
