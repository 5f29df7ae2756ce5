/** The rules of a restored database: what a spool's declaration does to leases, and when grants go on. */
import { budgetId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Escrow } from '../budgets/escrow.ts';

/** How the database stands. */
export interface DatabaseState {
  readonly dbEpoch: string;
  /** Undefined: it was never set back. */
  readonly restored: RestoredEpoch | undefined;
}

export interface RestoredEpoch {
  readonly declaredAtMs: number;
  readonly reason: string;
  readonly thawedAtMs: number | undefined;
  readonly thawReason: string | undefined;
}

/** Nothing is granted. */
export function isFrozen({ restored }: DatabaseState): boolean {
  return restored !== undefined && restored.thawedAtMs === undefined;
}

/**
 * Refusals of before are taken while nothing is granted, and in any case for so long after the epoch began: where few nodes have
 * little to replay, grants go on before any of them has the snapshot, which is where it sees what was forgotten.
 */
export const DENIALS_TAKEN_FOR_MS = 15 * 60_000;

/** Whether nodes may say what is to be refused. At any other time a node could put anybody out of service. */
export function takesDenials(state: DatabaseState, nowMs: number): boolean {
  return isFrozen(state) || (state.restored !== undefined && nowMs < state.restored.declaredAtMs + DENIALS_TAKEN_FOR_MS);
}

/** A spool, and what it has done in the present epoch. */
export interface SpoolState {
  readonly spoolId: string;
  readonly nodeId: string;
  readonly region: string;
  readonly lastSeenAtMs: number;
  /** Given up: nobody waits for it. */
  readonly retired: boolean;
  readonly declared: boolean;
  readonly replayed: boolean;
}

/** Grants go on when every spool that was not given up has said what it holds and sent again what it has. */
export function mayThaw(spools: readonly SpoolState[]): boolean {
  return spools.every((spool) => spool.retired || (spool.declared && spool.replayed));
}

export interface Merged {
  /** Declared and not open here: the node is told that they are closed. */
  readonly closed: readonly string[];
  /** Open until everything is replayed, and closed then: the node has done with them. */
  readonly closing: readonly string[];
}

/**
 * Merges all that a spool declares. Locked in `escrow` are the budgets that the records name, the leases that they name and the spool's
 * open ones. An open lease that the node does not declare is of no use to it any more, and neither is a second one on a budget.
 */
export function mergeDeclared(escrow: Escrow, spoolId: string, records: readonly LeaseRecord[], checkLimit: boolean): Merged {
  const closed: string[] = [];
  const closing = new Set<string>();
  const taken = new Set<string>();
  const usable = new Set<string>();
  for (const record of records) {
    const id = budgetId(record.budget);
    if (escrow.budget(id) === undefined || !escrow.declare(record, spoolId, checkLimit)) {
      closed.push(record.leaseId);
      continue;
    }
    taken.add(record.leaseId);
    if (record.closed || usable.has(id)) closing.add(record.leaseId);
    else usable.add(id);
  }
  for (const lease of escrow.leases()) {
    if (lease.spoolId === spoolId && !lease.closed && !taken.has(lease.id)) closing.add(lease.id);
  }
  for (const leaseId of closing) escrow.retire(leaseId);
  return { closed, closing: [...closing].toSorted() };
}
