/**
 * The rules of escrow at the control plane, without a database: budgets and their leases, locked and read by whoever calls,
 * changed here, and written back by them in the same transaction.
 *
 * Kept on every step: settled + held never grows past the limit (a lowered limit may already lie below it), each counter of a
 * lease only grows, used + returned + written off ≤ granted, and a budget's held is the sum of its leases' held.
 */
import { type BudgetBook, type BudgetRef, type BudgetUnit, budgetId, grantable } from '@meridian/domain/budget';
import { heldOf, type LeaseCounters, type LeaseRecord, MAX_GRANTED, NO_COUNTERS } from '@meridian/domain/lease';
import type { LeaseAmount } from '@meridian/domain/usage-record';

/** One window of a cap. */
export interface Budget extends BudgetBook {
  readonly ref: BudgetRef;
  readonly accountId: string;
  readonly unit: BudgetUnit;
}

export interface Lease extends LeaseCounters {
  readonly id: string;
  /** As `budgetId` names it. */
  readonly budgetId: string;
  readonly spoolId: string;
  readonly closed: boolean;
  /** Gets no more grants; it is closed when nothing is held on it. */
  readonly retiring: boolean;
}

/** What became of a final's charge. */
export type ChargeVerdict =
  | { readonly charged: true }
  /** Charged to nobody: the final names no lease that could pay, or one that is closed, unknown or has no room. */
  | { readonly charged: false; readonly reason: string };

export class Escrow {
  readonly #budgets: Map<string, Budget>;
  readonly #leases: Map<string, Lease>;
  readonly #changedBudgets = new Set<string>();
  readonly #changedLeases = new Set<string>();

  /** What was locked. A lease whose budget is not among them must not be. */
  constructor(budgets: Iterable<Budget>, leases: Iterable<Lease>) {
    this.#budgets = new Map([...budgets].map((budget) => [budgetId(budget.ref), budget]));
    this.#leases = new Map([...leases].map((lease) => [lease.id, lease]));
    for (const lease of this.#leases.values()) this.#budgetOf(lease);
  }

  budget(id: string): Budget | undefined {
    return this.#budgets.get(id);
  }

  lease(id: string): Lease | undefined {
    return this.#leases.get(id);
  }

  leases(): IterableIterator<Lease> {
    return this.#leases.values();
  }

  /** What has to be written back. */
  changes(): { readonly budgets: readonly Budget[]; readonly leases: readonly Lease[] } {
    const found = <T>(ids: Iterable<string>, map: ReadonlyMap<string, T>): T[] =>
      [...ids].sort().flatMap((id) => {
        const value = map.get(id);
        return value === undefined ? [] : [value];
      });
    return { budgets: found(this.#changedBudgets, this.#budgets), leases: found(this.#changedLeases, this.#leases) };
  }

  /** Opens a lease without rights. Throws when the spool has an open one on this budget already: at most one is open. */
  open(lease: { readonly id: string; readonly budgetId: string; readonly spoolId: string }): void {
    for (const other of this.#leases.values()) {
      if (other.id === lease.id) throw new Error(`lease ${lease.id} exists`);
      if (!other.closed && other.budgetId === lease.budgetId && other.spoolId === lease.spoolId) {
        throw new Error(`spool ${lease.spoolId} has lease ${other.id} open on ${lease.budgetId}`);
      }
    }
    this.#putLease({ ...NO_COUNTERS, ...lease, closed: false, retiring: false });
  }

  /** Hands out rights, if the limit leaves room for all of them. This is the only place where a limit is checked. */
  grant(leaseId: string, amount: number): boolean {
    const lease = this.#required(leaseId);
    const budget = this.#budgetOf(lease);
    if (!Number.isSafeInteger(amount) || amount < 0) throw new Error(`a grant of ${amount}`);
    if (lease.closed || lease.retiring || lease.granted > MAX_GRANTED || amount > grantable(budget)) return false;
    this.#move(lease, { granted: lease.granted + amount });
    return true;
  }

  /**
   * Charges a final, one amount for each lease it names: all of them, or none. Where one is closed, unknown or has no
   * room, nobody is charged, and what open leases among them had set aside for it is written off as far as they have room.
   */
  charge(amounts: readonly LeaseAmount[]): ChargeVerdict {
    // A lease that is named twice would be checked against the same room twice.
    const sums = new Map<string, number>();
    for (const { leaseId, amount } of amounts) {
      if (amount < 0n || amount > BigInt(Number.MAX_SAFE_INTEGER)) return { charged: false, reason: `an amount of ${amount}` };
      sums.set(leaseId, (sums.get(leaseId) ?? 0) + Number(amount));
    }
    const reason = this.#refusal(sums);
    for (const [leaseId, amount] of sums) {
      const lease = this.#leases.get(leaseId);
      if (lease === undefined || lease.closed || amount === 0) continue;
      if (reason === undefined) this.#move(lease, { used: lease.used + amount });
      else this.#move(lease, { writtenOff: lease.writtenOff + Math.min(amount, heldOf(lease)) });
    }
    return reason === undefined ? { charged: true } : { charged: false, reason };
  }

  /** A later final of a request that has one: what it holds beyond the first was used at the provider, and nobody is charged for it. */
  writeOff(leaseId: string, amount: number): void {
    const lease = this.#leases.get(leaseId);
    if (lease === undefined || lease.closed || amount <= 0) return;
    this.#move(lease, { writtenOff: lease.writtenOff + Math.min(amount, heldOf(lease)) });
  }

  /** Takes back what the node's record says, as far as the lease has room. Returns what was cut off. */
  takeBack(record: Pick<LeaseRecord, 'leaseId' | 'returned'>): number {
    const lease = this.#leases.get(record.leaseId);
    if (lease === undefined || lease.closed) return 0;
    const more = record.returned - lease.returned;
    if (more <= 0) return 0;
    const taken = Math.min(more, heldOf(lease));
    if (taken > 0) this.#move(lease, { returned: lease.returned + taken });
    return more - taken;
  }

  /** No more grants; the lease is closed once nothing is held on it. */
  retire(leaseId: string): void {
    const lease = this.#required(leaseId);
    if (!lease.closed && !lease.retiring) this.#putLease({ ...lease, retiring: true });
  }

  /** Ends a lease: what it still held is written off, and later records on it count for nothing. Returns what was written off. */
  close(leaseId: string): number {
    const lease = this.#required(leaseId);
    if (lease.closed) return 0;
    const rest = heldOf(lease);
    if (rest > 0) this.#move(lease, { writtenOff: lease.writtenOff + rest });
    this.#putLease({ ...this.#required(leaseId), closed: true });
    return rest;
  }

  /**
   * A lease as its node declares it to a restored database, merged by the higher counters; used comes from the replay only.
   * With `checkLimit` (after the grants have been thawed) it is taken only if the limit leaves room for its rest, else it is
   * closed and written off. Returns whether it is open afterwards.
   */
  declare(record: LeaseRecord, spoolId: string, checkLimit: boolean): boolean {
    const id = budgetId(record.budget);
    const budget = this.#budgets.get(id);
    if (budget === undefined) throw new Error(`budget ${id} is not locked`);
    const known = this.#leases.get(record.leaseId);
    if (known !== undefined && (known.spoolId !== spoolId || known.budgetId !== id)) return false;
    if (known?.closed === true) return false;
    // One that was closed before the restore takes what the replay brings, and is closed again when that is over. So does one
    // that the node has another in the place of.
    const retiring = record.closed || known?.retiring === true;
    const lease: Lease = { ...(known ?? { ...NO_COUNTERS, id: record.leaseId, budgetId: id, spoolId, closed: false }), retiring };
    if (!retiring) this.#retireOthers(lease);
    const granted = Math.max(lease.granted, record.granted);
    const returned = Math.max(lease.returned, Math.min(record.returned, granted - lease.used - lease.writtenOff));
    const rest = heldOf({ ...lease, granted, returned }) - heldOf(lease);
    if (known?.retiring !== retiring) this.#putLease(lease);
    if (checkLimit && rest > grantable(budget)) {
      this.#putLease({
        ...this.#required(lease.id),
        granted,
        returned,
        writtenOff: lease.writtenOff + heldOf({ ...lease, granted, returned }),
      });
      this.#shiftHeld(id, -heldOf(lease));
      this.#putLease({ ...this.#required(lease.id), closed: true });
      return false;
    }
    this.#move(lease, { granted, returned });
    return true;
  }

  #retireOthers(lease: Lease): void {
    for (const other of this.#leases.values()) {
      if (other.id !== lease.id && other.budgetId === lease.budgetId && other.spoolId === lease.spoolId) this.retire(other.id);
    }
  }

  #refusal(sums: ReadonlyMap<string, number>): string | undefined {
    for (const [leaseId, amount] of sums) {
      const lease = this.#leases.get(leaseId);
      if (amount === 0) continue;
      if (lease === undefined) return `lease ${leaseId} is not known`;
      if (lease.closed) return `lease ${leaseId} is closed`;
      if (amount > heldOf(lease)) return `lease ${leaseId} has room for ${heldOf(lease)}, not for ${amount}`;
    }
    return undefined;
  }

  /** The one place where counters change, and the budget's sums with them. */
  #move(lease: Lease, to: Partial<LeaseCounters>): void {
    const moved = { ...lease, ...to };
    const budget = this.#budgetOf(lease);
    this.#putLease(moved);
    this.#putBudget({
      ...budget,
      settled: budget.settled + moved.used - lease.used,
      held: budget.held + heldOf(moved) - heldOf(lease),
    });
  }

  #shiftHeld(id: string, by: number): void {
    const budget = this.#budgets.get(id);
    if (budget !== undefined) this.#putBudget({ ...budget, held: budget.held + by });
  }

  #putLease(lease: Lease): void {
    this.#leases.set(lease.id, lease);
    this.#changedLeases.add(lease.id);
  }

  #putBudget(budget: Budget): void {
    const id = budgetId(budget.ref);
    this.#budgets.set(id, budget);
    this.#changedBudgets.add(id);
  }

  #required(leaseId: string): Lease {
    const lease = this.#leases.get(leaseId);
    if (lease === undefined) throw new Error(`lease ${leaseId} is not locked`);
    return lease;
  }

  #budgetOf(lease: Lease): Budget {
    const budget = this.#budgets.get(lease.budgetId);
    if (budget === undefined) throw new Error(`budget ${lease.budgetId} of lease ${lease.id} is not locked`);
    return budget;
  }
}
