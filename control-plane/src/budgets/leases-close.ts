/** Closing leases: what they hold is written off and held no more. */
import type { Transaction } from '../database/transaction.ts';
import { escrowOf, writeBack } from './store.ts';

export interface ClosedLease {
  readonly leaseId: string;
  readonly budgetId: string;
  /** What was written off. */
  readonly amount: number;
}

/** Locks the leases with their budgets and closes those that are open, which are returned. */
export async function closeLeases(trx: Transaction, leaseIds: readonly string[], nowMs: number): Promise<ClosedLease[]> {
  const escrow = await escrowOf(trx, { leaseIds }, { nowMs });
  const open = [...escrow.leases()].filter((lease) => !lease.closed);
  const closed = open.map((lease) => ({ leaseId: lease.id, budgetId: lease.budgetId, amount: escrow.close(lease.id) }));
  await writeBack(trx, escrow.changes(), nowMs);
  return closed;
}
