/** Request + plan → a reservation in every budget that applies, or the reason why there is none. */
import { type BudgetUnit, type Cap, MAX_LIMIT, prepaidCapId } from '@meridian/domain/budget';
import type { GatewayError } from '@meridian/domain/error';
import { windowStartMs } from '@meridian/domain/window';
import type { Principal } from './authenticate.ts';
import { type Asked, type Estimate, estimate, type Ways } from './estimate.ts';
import type { BudgetAmount, Grants, Reservation } from './grants.ts';
import type { KeyTable } from './key-table.ts';
import { refusalError } from './refusal.ts';

export interface Admitted {
  readonly terms: Estimate;
  readonly reservation: Reservation;
}

export type Verdict =
  | ({ readonly kind: 'admitted' } & Admitted)
  /** Money that is not there (402), a count that is used up (429), or nobody to ask (503). */
  | { readonly kind: 'refused'; readonly terms: Estimate; readonly error: GatewayError };

export interface AdmitRooms {
  readonly grants: Grants;
  readonly keys: Pick<KeyTable, 'capsOf'>;
  readonly nowMs: () => number;
}

/**
 * Sets aside what the request can cost, and what it counts for, in all caps of its key, member and account and in the
 * account's prepaid credit; all of them or none. `done` is called once, before this returns where the leases suffice; the
 * function returned gives up a wait. Throws GatewayError 400 for a request whose cost has no bound.
 */
export function admit(rooms: AdmitRooms, principal: Principal, asked: Asked, ways: Ways, done: (verdict: Verdict) => void): () => void {
  const { grants, nowMs } = rooms;
  const atMs = nowMs();
  const budgets = budgetsOf(principal, rooms.keys, atMs);
  const terms = estimate(asked, ways, principal.standing.tier.markupBasisPoints, () =>
    grants.room(budgets.filter((each) => each.unit === 'nano_usd').map((each) => each.budget)),
  );
  const amounts: BudgetAmount[] = [];
  for (const each of budgets) {
    const amount = amountOf(each.unit, asked, terms);
    if (amount > 0) amounts.push({ ...each, amount });
  }
  return grants.reserve(amounts, atMs, (outcome) =>
    done(
      outcome.kind === 'reserved'
        ? { kind: 'admitted', terms, reservation: outcome.reservation }
        : { kind: 'refused', terms, error: refusalError(outcome.refusal, terms, nowMs()) },
    ),
  );
}

/** A budget that applies to a request, without an amount. */
export type ApplyingBudget = Omit<BudgetAmount, 'amount'>;

/** The present windows of the caps of a key, its member and its account, and the account's prepaid credit. */
export function budgetsOf({ key, account }: Principal, keys: Pick<KeyTable, 'capsOf'>, atMs: number): ApplyingBudget[] {
  const budgets: ApplyingBudget[] = [];
  for (const cap of keys.capsOf(key.id)) budgets.push(budgetOf(cap, atMs));
  for (const cap of keys.capsOf(key.memberId)) budgets.push(budgetOf(cap, atMs));
  for (const cap of keys.capsOf(account.id)) budgets.push(budgetOf(cap, atMs));
  budgets.push({
    budget: { capId: prepaidCapId(account.id), windowStartMs: 0 },
    scope: 'account',
    window: 'prepaid',
    unit: 'nano_usd',
  });
  return budgets;
}

function budgetOf({ id, scope, window, unit }: Cap, atMs: number): ApplyingBudget {
  return { budget: { capId: id, windowStartMs: windowStartMs(window, atMs) }, scope, window, unit };
}

function amountOf(unit: BudgetUnit, asked: Asked, terms: Estimate): number {
  switch (unit) {
    case 'nano_usd':
      // Above the highest limit there is, any amount is as unreachable as another; a larger one would not be exact.
      return Number(terms.maxCostNano > MAX_NANO ? MAX_NANO : terms.maxCostNano);
    case 'chat_completions':
      return asked.operation === 'chat' ? 1 : 0;
    case 'images':
      return asked.images;
    default:
      return unit satisfies never;
  }
}

const MAX_NANO = 2n * BigInt(MAX_LIMIT) - 1n;
