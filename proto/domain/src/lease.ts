/**
 * A lease: one node's share of a budget, as four counters that only grow. This is escrow: rights to charge are handed out,
 * given back, used up or written off, never invented.
 */
import type { BudgetRef } from './budget.ts';

/** Counts in the unit of the lease's budget; each only grows. */
export interface LeaseCounters {
  /** Written by the control plane. */
  readonly granted: number;
  /** Written by the node, into its spool. */
  readonly returned: number;
  /** Σ of the charges of finals that name the lease. */
  readonly used: number;
  /** Written by the control plane: what it will not charge. Nodes know nothing of it, theirs is 0. */
  readonly writtenOff: number;
}

export const NO_COUNTERS: LeaseCounters = { granted: 0, returned: 0, used: 0, writtenOff: 0 };

/** granted − returned − used − written off: at the control plane what is held, on the node what is free or reserved. */
export function heldOf(lease: LeaseCounters): number {
  return lease.granted - lease.returned - lease.used - lease.writtenOff;
}

/** Above this a lease gets no more grants and is replaced, so that its counters stay exact in a double. */
export const MAX_GRANTED = 2 ** 52;

/** A lease at the node: in its spool, and as it is declared to a restored database. */
export interface LeaseRecord {
  /** Random 128 bits as 32 hexadecimal digits, so that no restored database hands one out again. */
  readonly leaseId: string;
  readonly budget: BudgetRef;
  /** As received, the highest. */
  readonly granted: number;
  readonly returned: number;
  /** The node's own sum over finals written before this record. The control plane only compares it with its own. */
  readonly used: number;
  /** The control plane has closed it: nothing is admitted on it any more. */
  readonly closed: boolean;
}
