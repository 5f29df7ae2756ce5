/** How much of a budget a node is granted at a time. Amounts are integers in the budget's unit. */
import type { BudgetUnit } from '@meridian/domain/budget';

/** The part of a node's share of what is free that one grant hands out. Smaller where all that is free is the customer's own money. */
export const POSTPAID_PART = 0.5;
export const PREPAID_PART = 0.2;

/** No seed is more than this part of its budget's limit. */
const SEED_PART = 0.01;
/** Some requests' worth, so that the first ones in a region are served while the control plane cannot be asked. */
const SEED_AMOUNT: Readonly<Record<BudgetUnit, number>> = { nano_usd: 200_000_000, chat_completions: 20, images: 5 };

export interface GrantDemand {
  /** What a waiting request lacks; 0 when the node only provides for later. */
  readonly need: number;
  /** What would be of use, need included. */
  readonly want: number;
  /** What the node has been using in 30 seconds. */
  readonly ratePer30s: number;
  /** What may be granted at most. */
  readonly free: number;
  /** The node's share of what is free, above 0 and at most 1. */
  readonly share: number;
  readonly prepaid: boolean;
}

/**
 * What to grant: the largest of what is asked for, 30 seconds of the node's rate, and a part of the node's share of what is
 * free, as far as that goes. Since the part is of what is left, grants shrink with it, so that little is stranded on nodes
 * when a budget runs out. 0 where the need cannot be met: less would serve no request.
 */
export function grantAmount({ need, want, ratePer30s, free, share, prepaid }: GrantDemand): number {
  if (need > free) return 0;
  const part = Math.floor((prepaid ? PREPAID_PART : POSTPAID_PART) * share * free);
  return Math.min(free, Math.max(need, want, ratePer30s, part));
}

/**
 * A node's share among those that have leases: by rate, a holder of unknown rate counting as much as the node itself. A node
 * without a rate of its own counts as one among equals. `otherRates` has an entry for each other holder.
 */
export function shareOf(ratePer30s: number, otherRates: readonly (number | undefined)[]): number {
  if (ratePer30s <= 0) return 1 / (otherRates.length + 1);
  let sum = ratePer30s;
  for (const rate of otherRates) sum += rate ?? ratePer30s;
  return ratePer30s / sum;
}

/**
 * By how much a node's lease on the next window is raised, so that it begins that window with as much as it holds of this
 * one. Raised to, never added: what is asked for many times a day would otherwise pile up.
 */
export function nextWindowRaise({ held, nextHeld, nextFree }: { held: number; nextHeld: number; nextFree: number }): number {
  return Math.max(0, Math.min(nextFree, held - nextHeld));
}

/** What a region's node is given before it has asked. */
export function seedAmount(budget: { readonly unit: BudgetUnit; readonly limit: number }, free: number): number {
  return Math.max(0, Math.min(free, Math.floor(budget.limit * SEED_PART), SEED_AMOUNT[budget.unit]));
}
