/** What admission asks of the node's leases; the lease desk satisfies it. */
import type { BudgetRef, BudgetUnit, CapScope } from '@meridian/domain/budget';
import type { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { WindowKind } from '@meridian/domain/window';

/** What one request may take from one budget at most; amount > 0. */
export interface BudgetAmount {
  readonly budget: BudgetRef;
  readonly scope: CapScope;
  readonly window: WindowKind;
  readonly unit: BudgetUnit;
  readonly amount: number;
}

/** Set aside in every budget that applies, until it is settled. */
export interface Reservation {
  readonly leases: readonly { readonly leaseId: string; readonly unit: BudgetUnit; readonly amount: number }[];
}

/** Why nothing was set aside. */
export type Refusal =
  /** The control plane's word: even with all that other nodes could give back, `left` is all there is for a request on this node. */
  | {
      readonly kind: 'exhausted';
      readonly short: BudgetAmount;
      readonly left: number;
      /** Of this, what the node does not have: what the denial has left. */
      readonly grantable: number;
      readonly limit: number;
    }
  /** Nobody could be asked, or not in time. */
  | { readonly kind: 'unavailable'; readonly short: BudgetAmount; readonly reason: string };

export type ReserveOutcome =
  | { readonly kind: 'reserved'; readonly reservation: Reservation }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export interface Grants {
  /**
   * Sets aside all of the amounts or none. `done` is called once: before this returns where the leases suffice, else
   * when the control plane has answered, when a reservation in flight has settled, or when the wait is over. The function
   * returned gives up the wait (the client has left); `done` is not called any more then.
   */
  reserve(amounts: readonly BudgetAmount[], nowMs: number, done: (outcome: ReserveOutcome) => void): () => void;
  /** Replaces a reservation by what was charged of each of its leases (0 ≤ charge ≤ amount), in their order. */
  settle(reservation: Reservation, charges: readonly number[], nowMs: number): void;
  /** The least that is free of these budgets on this node (0 without a lease), and the requests in flight on the one that has it. */
  room(budgets: readonly BudgetRef[]): { readonly free: number; readonly inFlight: number };
}

/** What the lease desk has others do. Each returns at once. */
export interface LeaseEffects {
  /**
   * Into the spool; `written` is called when its write() has returned (with the record's seq), or with what kept it from being
   * written, and with the time by then.
   */
  write(record: LeaseRecord, written: (error: GatewayError | undefined, seq: number, nowMs: number) => void): void;
  /** Up to the control plane; answered by a grant or a denial of the same id. */
  ask(question: LeaseQuestion): void;
  answerRecall(answer: { readonly recallId: bigint; readonly leaseId: string }): void;
  /** What is in the spool is wanted at the control plane without delay. */
  hurry(): void;
  /** `tick` is to be called at this time at the latest; a later call replaces an earlier one, undefined ends it. */
  wakeAt(atMs: number | undefined): void;
}

export interface LeaseQuestion {
  /** Ascending from 1 for each boot. */
  readonly questionId: number;
  readonly budget: BudgetRef;
  /** What the first waiting request lacks; 0 where the node only provides for later. */
  readonly need: number;
  /** What would be of use, need included. */
  readonly want: number;
  readonly ratePer30s: number;
}
