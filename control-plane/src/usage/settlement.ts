/**
 * What a batch does to leases and budgets, without a database: which finals can be charged, what is written off, what is
 * given back. The rows are locked by whoever calls, and changed through `escrow` only.
 */
import { budgetId, isPrepaidCapId } from '@meridian/domain/budget';
import { heldOf, type LeaseRecord } from '@meridian/domain/lease';
import type { Nano } from '@meridian/domain/money';
import type { LeaseAmount } from '@meridian/domain/usage-record';
import type { Escrow, Lease } from '../budgets/escrow.ts';

export type SettlementRecord =
  /** The first final of its request. */
  | {
      readonly seq: number;
      readonly kind: 'first';
      readonly accountId: string;
      readonly requestId: string;
      readonly chargeNano: Nano;
      readonly leases: readonly LeaseAmount[];
    }
  /** A later one; `counted` is what its request was counted with before on each lease. */
  | {
      readonly seq: number;
      readonly kind: 'duplicate';
      readonly leases: readonly LeaseAmount[];
      readonly counted: ReadonlyMap<string, bigint>;
    }
  /** A record that cannot be ingested, with the leases that could be read of it. */
  | { readonly seq: number; readonly kind: 'letter'; readonly leases: readonly LeaseAmount[] }
  | { readonly seq: number; readonly kind: 'lease'; readonly lease: LeaseRecord };

/** Something that a node with sound counters never reports. */
export type SettlementAlarm =
  | { readonly kind: 'written_off'; readonly requestId: string; readonly chargeNano: Nano; readonly reason: string }
  /** More was returned than the lease had room for. */
  | { readonly kind: 'return_cut'; readonly leaseId: string; readonly cut: number }
  /** The node's own sum of what it used is not ours. */
  | { readonly kind: 'lease_used_differs'; readonly leaseId: string; readonly nodeUsed: number; readonly used: number }
  /** A lease of another spool, or on another budget. */
  | { readonly kind: 'lease_foreign'; readonly leaseId: string }
  /** The node was granted more than is known here (0: the lease is not), where nothing is sent before it is committed. */
  | { readonly kind: 'lease_ahead'; readonly leaseId: string; readonly nodeGranted: number; readonly granted: number };

export interface Settlement {
  /** Why a first final is charged to nobody, by its seq. */
  readonly writtenOff: ReadonlyMap<number, string>;
  readonly alarms: readonly SettlementAlarm[];
}

/**
 * Settles records in the order of their seqs. `spoolIds` are the spool that reports them and the one that it replaces: a
 * record counts on no other spool's lease. It never fails: what cannot be charged is written off, and said.
 */
export function settle(escrow: Escrow, spoolIds: ReadonlySet<string>, records: readonly SettlementRecord[]): Settlement {
  const writtenOff = new Map<number, string>();
  const alarms: SettlementAlarm[] = [];
  for (const record of records) {
    switch (record.kind) {
      case 'first': {
        const reason = charge(escrow, spoolIds, record);
        if (reason === undefined) break;
        writtenOff.set(record.seq, reason);
        alarms.push({ kind: 'written_off', requestId: record.requestId, chargeNano: record.chargeNano, reason });
        break;
      }
      case 'duplicate':
        for (const [leaseId, amount] of sumsOf(record.leases)) {
          writeOff(escrow, spoolIds, leaseId, amount - (record.counted.get(leaseId) ?? 0n));
        }
        break;
      case 'letter':
        // The provider was used for it, and nobody will be charged.
        for (const [leaseId, amount] of sumsOf(record.leases)) writeOff(escrow, spoolIds, leaseId, amount);
        break;
      case 'lease':
        alarms.push(...takeBack(escrow, spoolIds, record.lease));
        break;
      default:
        record satisfies never;
    }
  }
  return { writtenOff, alarms };
}

type First = Extract<SettlementRecord, { kind: 'first' }>;

/** Charges a final on all its leases, or on none. Returns why nobody is charged. */
function charge(escrow: Escrow, spoolIds: ReadonlySet<string>, final: First): string | undefined {
  const sums = sumsOf(final.leases);
  const fault = faultOfLeases(escrow, spoolIds, final, sums);
  if (fault !== undefined) {
    for (const [leaseId, amount] of sums) writeOff(escrow, spoolIds, leaseId, amount);
    return fault;
  }
  const verdict = escrow.charge(final.leases);
  return verdict.charged ? undefined : verdict.reason;
}

/** What escrow cannot know: whose leases a request may name, and that each money budget is charged what the customer is. */
function faultOfLeases(escrow: Escrow, spoolIds: ReadonlySet<string>, final: First, sums: ReadonlyMap<string, bigint>): string | undefined {
  let isPaid = final.chargeNano === 0n;
  for (const [leaseId, amount] of sums) {
    const lease = escrow.lease(leaseId);
    const budget = lease === undefined ? undefined : escrow.budget(lease.budgetId);
    if (lease === undefined || budget === undefined) continue;
    if (amount > 0n && !spoolIds.has(lease.spoolId)) return `lease ${leaseId} belongs to another spool`;
    // The budget of a cap that a restored database does not have any more belongs to no account, and its unit is not known.
    if (budget.accountId === '') continue;
    if (amount > 0n && budget.accountId !== final.accountId) return `lease ${leaseId} belongs to another account`;
    if (budget.unit === 'nano_usd' && amount !== final.chargeNano) return `lease ${leaseId} was to pay ${amount} of ${final.chargeNano}`;
    if (isPrepaidCapId(budget.ref.capId)) isPaid = true;
  }
  return isPaid ? undefined : 'no lease on the credit of its account is named';
}

function writeOff(escrow: Escrow, spoolIds: ReadonlySet<string>, leaseId: string, amount: bigint): void {
  const lease = escrow.lease(leaseId);
  if (lease === undefined || !spoolIds.has(lease.spoolId) || amount <= 0n) return;
  escrow.writeOff(leaseId, amount > BigInt(lease.granted) ? lease.granted : Number(amount));
}

function takeBack(escrow: Escrow, spoolIds: ReadonlySet<string>, record: LeaseRecord): SettlementAlarm[] {
  const { leaseId } = record;
  const lease = escrow.lease(leaseId);
  const granted = lease?.granted ?? 0;
  const alarms: SettlementAlarm[] = [];
  if (record.granted > granted) alarms.push({ kind: 'lease_ahead', leaseId, nodeGranted: record.granted, granted });
  if (lease === undefined) return alarms;
  if (!spoolIds.has(lease.spoolId) || lease.budgetId !== budgetId(record.budget)) return [{ kind: 'lease_foreign', leaseId }];
  if (lease.closed) return [];
  if (!isOurSum(record.used, lease)) alarms.push({ kind: 'lease_used_differs', leaseId, nodeUsed: record.used, used: lease.used });
  const cut = escrow.takeBack(record);
  if (cut > 0) alarms.push({ kind: 'return_cut', leaseId, cut });
  const after = escrow.lease(leaseId);
  if (after?.retiring === true && heldOf(after) === 0) escrow.close(leaseId);
  return alarms;
}

/** What a node used and we wrote off is in its sum; what was written off for its second finals may not be. */
function isOurSum(nodeUsed: number, lease: Lease): boolean {
  return nodeUsed >= lease.used && nodeUsed <= lease.used + lease.writtenOff;
}

/** A lease that is named twice counts once, with the sum. */
function sumsOf(amounts: readonly LeaseAmount[]): Map<string, bigint> {
  const sums = new Map<string, bigint>();
  for (const { leaseId, amount } of amounts) sums.set(leaseId, (sums.get(leaseId) ?? 0n) + amount);
  return sums;
}
