/** Request + plan → a reservation in every budget that applies, or the reason why there is none. */
import { type BudgetUnit, type Cap, MAX_LIMIT, prepaidCapId } from '@meridian/domain/budget';
import type { GatewayError } from '@meridian/domain/error';
import { windowStartMs } from '@meridian/domain/window';
import type { Principal } from './authenticate.ts';
import { countInput, type NamedWays, type TextSource } from './count-input.ts';
import { type Asked, type Estimate, estimate } from './estimate.ts';
import type { BudgetAmount, Grants, Refusal, Reservation } from './grants.ts';
import type { KeyTable } from './key-table.ts';
import { refusalError } from './refusal.ts';
import type { TokenCounts } from './token-counter.ts';

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
  /** Without it, no input is counted exactly. */
  readonly counter?: TokenCounts;
}

/** The control plane's word, under which a smaller request may still fit. */
type Exhausted = Extract<Refusal, { readonly kind: 'exhausted' }>;

/** An input that was counted exactly, after it did not fit by its bytes. */
interface Counted {
  readonly inputTokens: number;
  readonly refusal: Exhausted;
}

/**
 * Sets aside what the request can cost, and what it counts for, in all caps of its key, member and account and in the
 * account's prepaid credit; all of them or none. `done` is called once, before this returns where the leases suffice; the
 * function returned gives up a wait. Where money is short and the source's text can be counted exactly, that is done and
 * admission tried once more with it. Throws GatewayError 400 for a request whose cost has no bound.
 */
export function admit(
  rooms: AdmitRooms,
  principal: Principal,
  asked: Asked,
  ways: NamedWays,
  done: (verdict: Verdict) => void,
  source?: TextSource,
  counted?: Counted,
): () => void {
  const { grants, nowMs } = rooms;
  const atMs = nowMs();
  const budgets = budgetsOf(principal, rooms.keys, atMs);
  const terms = estimate(
    asked,
    ways,
    principal.standing.tier.markupBasisPoints,
    () => grants.room(budgets.filter((each) => each.unit === 'nano_usd').map((each) => each.budget)),
    counted?.inputTokens,
  );
  const amounts: BudgetAmount[] = [];
  for (const each of budgets) {
    const amount = amountOf(each.unit, asked, terms);
    if (amount > 0) amounts.push({ ...each, amount });
  }
  if (counted !== undefined && amountOf('nano_usd', asked, terms) > counted.refusal.left) {
    done(refused(counted.refusal, terms, atMs));
    return NOTHING_TO_GIVE_UP;
  }
  let decided = false;
  let stopCounting: (() => void) | undefined;
  const giveUp = grants.reserve(amounts, atMs, (outcome) => {
    if (outcome.kind === 'refused' && outcome.refusal.kind === 'exhausted' && source !== undefined) {
      stopCounting = admitCounted(rooms, principal, asked, ways, done, source, terms, outcome.refusal);
      if (stopCounting !== undefined) return;
    }
    decided = true;
    done(
      outcome.kind === 'reserved'
        ? { kind: 'admitted', terms, reservation: outcome.reservation }
        : refused(outcome.refusal, terms, nowMs()),
    );
  });
  if (decided) return giveUp;
  return () => {
    giveUp();
    stopCounting?.();
  };
}

const NOTHING_TO_GIVE_UP = (): void => {};

/** Undefined where nothing is counted: the refusal stands. */
function admitCounted(
  rooms: AdmitRooms,
  principal: Principal,
  asked: Asked,
  ways: NamedWays,
  done: (verdict: Verdict) => void,
  source: TextSource,
  terms: Estimate,
  refusal: Exhausted,
): (() => void) | undefined {
  if (rooms.counter === undefined || refusal.short.unit !== 'nano_usd') return undefined;
  let giveUp = countInput(rooms.counter, source, asked, ways, terms, refusal.left, (inputTokens) => {
    if (inputTokens === undefined || inputTokens >= terms.demand.inputTokens) done(refused(refusal, terms, rooms.nowMs()));
    else giveUp = admit(rooms, principal, asked, ways, done, undefined, { inputTokens, refusal });
  });
  return giveUp === undefined ? undefined : () => giveUp?.();
}

function refused(refusal: Refusal, terms: Estimate, nowMs: number): Verdict {
  return { kind: 'refused', terms, error: refusalError(refusal, terms, nowMs) };
}

/** A budget that applies to a request, without an amount. */
export type ApplyingBudget = Omit<BudgetAmount, 'amount'>;

/** The present windows of the caps of a key, its member and its account, and the account's prepaid credit. */
function budgetsOf({ key, account }: Principal, keys: Pick<KeyTable, 'capsOf'>, atMs: number): ApplyingBudget[] {
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
