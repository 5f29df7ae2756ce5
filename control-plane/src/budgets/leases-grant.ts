/** What a question is answered with, over budgets that are locked: the rules between sizing and escrow. */
import { type BudgetRef, budgetId, grantable, isPrepaidCapId } from '@meridian/domain/budget';
import { heldOf, MAX_GRANTED } from '@meridian/domain/lease';
import { nextWindowStartMs, type WindowKind, windowStartMs } from '@meridian/domain/window';
import type { Escrow, Lease } from './escrow.ts';
import type { Attempt, Grant, OtherHolder, Question } from './questions.ts';
import { grantAmount, nextWindowRaise, seedAmount, shareOf } from './sizing.ts';

export interface GrantTerms {
  /** What the holder of a lease has been using in 30 seconds, where it is known. */
  rateOf(leaseId: string): number | undefined;
  /** The budget of the next window, where a grant is to provide for it as well; it is locked too. */
  readonly next: BudgetRef | undefined;
  /** 32 random hexadecimal digits. */
  newLeaseId(): string;
}

/** The window after this one, while this one is the present window of a day or month. */
export function nextBudget(budget: BudgetRef, kind: WindowKind, nowMs: number): BudgetRef | undefined {
  const next = nextWindowStartMs(kind, budget.windowStartMs);
  if (next === undefined || windowStartMs(kind, nowMs) !== budget.windowStartMs) return undefined;
  return { capId: budget.capId, windowStartMs: next };
}

/**
 * Grants what the limit leaves room for, or changes nothing (but for a lease that is full: it is retired). All open leases of
 * the question's budget are in the escrow, and those of the spool on the next one.
 */
export function answerQuestion(escrow: Escrow, question: Question, terms: GrantTerms): Attempt {
  const { spoolId, budget: ref, need, want, ratePer30s } = question;
  const id = budgetId(ref);
  const budget = escrow.budget(id);
  if (budget === undefined) return { type: 'refused', reason: 'there is no such budget' };
  const usable = usableLease(escrow, id, spoolId);
  if (usable?.retiring === true) return { type: 'refused', reason: 'the lease is to be replaced', retire: usable.id };
  const others = holdersOf(escrow, id, spoolId);
  const amount = grantAmount({
    need,
    want: Math.max(need, want),
    ratePer30s,
    free: grantable(budget),
    share: shareOf(
      ratePer30s,
      others.map(({ leaseId }) => terms.rateOf(leaseId)),
    ),
    prepaid: isPrepaidCapId(ref.capId),
  });
  if (amount === 0) {
    const { limit, settled, held } = budget;
    return { type: 'short', book: { limit, settled, held }, own: usable && grantOf(usable, ref), others };
  }
  const lease = raise(escrow, usable, { id, spoolId, amount, newLeaseId: terms.newLeaseId });
  const grants = [grantOf(lease, ref)];
  if (terms.next !== undefined) grants.push(...raiseNext(escrow, spoolId, heldOf(lease), terms.next, terms.newLeaseId));
  return { type: 'granted', grants };
}

/** A first lease for a node that has not asked; undefined where it has one already, or nothing is to be had. */
export function grantSeed(escrow: Escrow, ref: BudgetRef, spoolId: string, newLeaseId: () => string): Grant | undefined {
  const id = budgetId(ref);
  const budget = escrow.budget(id);
  const own = openLease(escrow, id, spoolId);
  if (budget === undefined || own?.retiring === true || (own !== undefined && heldOf(own) > 0)) return undefined;
  const amount = seedAmount(budget, grantable(budget));
  if (amount === 0) return undefined;
  return grantOf(raise(escrow, usableLease(escrow, id, spoolId), { id, spoolId, amount, newLeaseId }), ref);
}

/** Other spools' leases on which something is held. */
function holdersOf(escrow: Escrow, id: string, spoolId: string): OtherHolder[] {
  const holders: OtherHolder[] = [];
  for (const lease of escrow.leases()) {
    if (lease.budgetId !== id || lease.spoolId === spoolId || heldOf(lease) <= 0) continue;
    holders.push({ leaseId: lease.id, spoolId: lease.spoolId, held: heldOf(lease), granted: lease.granted });
  }
  return holders;
}

/** One that is to be replaced only where there is no other. */
function openLease(escrow: Escrow, id: string, spoolId: string): Lease | undefined {
  const open = [...escrow.leases()].filter((lease) => !lease.closed && lease.budgetId === id && lease.spoolId === spoolId);
  return open.find((lease) => !lease.retiring) ?? open[0];
}

/** The spool's open lease. A full one is retired, and closed once nothing is held on it, so that another can take its place. */
function usableLease(escrow: Escrow, id: string, spoolId: string): Lease | undefined {
  const lease = openLease(escrow, id, spoolId);
  if (lease === undefined) return undefined;
  if (lease.granted > MAX_GRANTED) escrow.retire(lease.id);
  if (escrow.lease(lease.id)?.retiring !== true) return lease;
  if (heldOf(lease) > 0) return escrow.lease(lease.id);
  escrow.close(lease.id);
  return undefined;
}

function raise(
  escrow: Escrow,
  lease: Lease | undefined,
  { id, spoolId, amount, newLeaseId }: { id: string; spoolId: string; amount: number; newLeaseId: () => string },
): Lease {
  const leaseId = lease?.id ?? newLeaseId();
  if (lease === undefined) escrow.open({ id: leaseId, budgetId: id, spoolId });
  if (!escrow.grant(leaseId, amount)) throw new Error(`${amount} of ${id} were free and could not be granted`);
  const raised = escrow.lease(leaseId);
  if (raised === undefined) throw new Error(`lease ${leaseId} was granted and is not there`);
  return raised;
}

function raiseNext(escrow: Escrow, spoolId: string, held: number, ref: BudgetRef, newLeaseId: () => string): Grant[] {
  const id = budgetId(ref);
  const budget = escrow.budget(id);
  const lease = openLease(escrow, id, spoolId);
  if (budget === undefined || lease?.retiring === true || (lease?.granted ?? 0) > MAX_GRANTED) return [];
  const amount = nextWindowRaise({ held, nextHeld: lease === undefined ? 0 : heldOf(lease), nextFree: grantable(budget) });
  return amount === 0 ? [] : [grantOf(raise(escrow, lease, { id, spoolId, amount, newLeaseId }), ref)];
}

function grantOf({ id, spoolId, granted }: Lease, budget: BudgetRef): Grant {
  return { leaseId: id, spoolId, budget, granted };
}
