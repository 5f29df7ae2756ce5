/**
 * The counters of this node's leases. Plain numbers in the unit of each budget, changed by one synchronous step at a time:
 * what a step cannot do in full, it does not do at all.
 *
 * Kept on every step: each counter but `reserved` only grows, and used + reserved + returned ≤ granted. The control plane
 * relies on it: nothing that a node charges on an open lease has to be written off. A step that would break it is a bug of
 * its caller, and throws before anything has changed.
 */
import type { BudgetRef } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';

export interface Lease {
  readonly id: string;
  readonly budget: BudgetRef;
  /** The highest total that the control plane has said. */
  readonly received: number;
  /** As much of it as is written down, which alone may be used, or went back before it was. */
  readonly granted: number;
  readonly returned: number;
  readonly used: number;
  /** What requests in flight may still charge. */
  readonly reserved: number;
  /** Reservations that are not settled. */
  readonly inFlight: number;
  readonly closed: boolean;
  /** Nothing more is admitted on it; what becomes free is given back. */
  readonly retiring: boolean;
}

/** A part of a lease that is set aside for one request. */
export interface LeaseShare {
  readonly lease: Lease;
  readonly amount: number;
}

/**
 * What the node could still admit on the lease, or give back: 0 once it is closed. Also 0 where damage has cost a folder the
 * record of a grant, until the control plane has said the total again.
 */
export function freeOf(lease: Lease): number {
  return lease.closed ? 0 : Math.max(0, lease.granted - lease.returned - lease.used - lease.reserved);
}

/** What may be reserved of it. */
export function usableOf(lease: Lease): number {
  return lease.retiring ? 0 : freeOf(lease);
}

export function leaseRecordOf(lease: Lease): LeaseRecord {
  const { id, budget, received, returned, used, closed } = lease;
  return { leaseId: id, budget, granted: received, returned, used, closed };
}

type Counters = { -readonly [Field in keyof Lease]: Lease[Field] };

export class LeaseBook {
  readonly #leases = new Map<string, Counters>();
  /** The open lease of each budget: by cap and not by the budget's text, which would have to be put together each time. */
  readonly #open = new Map<string, Counters[]>();
  /** Leases beside the open one of their budget: a folder whose last write failed may know two. */
  #beside = 0;

  /** What the spool has recovered; nothing of it is reserved. */
  constructor(recovered: Iterable<LeaseRecord> = []) {
    for (const record of recovered) {
      const lease: Counters = {
        id: record.leaseId,
        budget: record.budget,
        received: record.granted,
        granted: record.granted,
        returned: record.returned,
        used: record.used,
        reserved: 0,
        inFlight: 0,
        closed: record.closed,
        retiring: false,
      };
      if (this.#leases.has(lease.id)) throw new Error(`lease ${lease.id} was recovered twice`);
      this.#leases.set(lease.id, lease);
      if (lease.closed) continue;
      if (this.openOn(lease.budget) === undefined) this.#putOpen(lease);
      else this.#beside++;
    }
  }

  lease(id: string): Lease | undefined {
    return this.#leases.get(id);
  }

  leases(): IterableIterator<Lease> {
    return this.#leases.values();
  }

  /** The lease that counts for the budget, retiring or not. */
  openOn(budget: BudgetRef): Lease | undefined {
    const ofCap = this.#open.get(budget.capId);
    if (ofCap === undefined) return undefined;
    for (const lease of ofCap) if (lease.budget.windowStartMs === budget.windowStartMs) return lease;
    return undefined;
  }

  /** A new lease without rights. Throws when the budget has an open one. */
  open(id: string, budget: BudgetRef): Lease {
    if (this.#leases.has(id)) throw new Error(`lease ${id} exists`);
    const other = this.openOn(budget);
    if (other !== undefined) throw new Error(`lease ${other.id} is open on the budget of lease ${id}`);
    const lease: Counters = {
      id,
      budget,
      received: 0,
      granted: 0,
      returned: 0,
      used: 0,
      reserved: 0,
      inFlight: 0,
      closed: false,
      retiring: false,
    };
    this.#leases.set(id, lease);
    this.#putOpen(lease);
    return lease;
  }

  /** A total that the control plane has said; not usable before it is written down. Returns whether it is more than was known. */
  receive(lease: Lease, granted: number): boolean {
    if (!Number.isSafeInteger(granted) || granted < 0) throw new RangeError(`a grant of ${granted}`);
    if (lease.closed || granted <= lease.received) return false;
    own(lease).received = granted;
    return true;
  }

  /** As much as this of what was received is written down. */
  written(lease: Lease, granted: number): void {
    if (granted > lease.received) throw new RangeError(`${granted} written of ${lease.received} received on lease ${lease.id}`);
    if (granted > lease.granted) own(lease).granted = granted;
  }

  /** Sets aside all of the amounts (integers > 0), or none. A lease may be named twice. Returns whether all sufficed. */
  reserve(shares: readonly LeaseShare[]): boolean {
    let done = 0;
    for (const { lease, amount } of shares) {
      if (!(amount > 0 && amount <= usableOf(lease) && Number.isSafeInteger(amount))) break;
      own(lease).reserved += amount;
      own(lease).inFlight++;
      done++;
    }
    if (done === shares.length) return true;
    for (const { lease, amount } of shares) {
      if (done-- === 0) break;
      own(lease).reserved -= amount;
      own(lease).inFlight--;
    }
    return false;
  }

  /**
   * Replaces what was set aside by what is charged of each share (0 ≤ charge ≤ its amount), in their order. Throws on
   * anything else, and what was set aside stays so: rights that nobody can account for must not be used again.
   */
  settle(shares: readonly LeaseShare[], charges: readonly number[]): void {
    if (charges.length !== shares.length) throw new RangeError(`${charges.length} charges for ${shares.length} leases`);
    let i = 0;
    for (const { lease, amount } of shares) {
      const charge = charges[i++];
      if (charge === undefined || !Number.isSafeInteger(charge) || charge < 0 || charge > amount) {
        throw new RangeError(`a charge of ${charge} on ${amount} set aside of lease ${lease.id}`);
      }
      if (lease.reserved < amount || lease.inFlight === 0) throw new Error(`lease ${lease.id} has ${countersText(lease)}`);
    }
    i = 0;
    for (const { lease, amount } of shares) {
      own(lease).reserved -= amount;
      own(lease).inFlight--;
      own(lease).used += charges[i++] ?? 0;
      if (lease.used + lease.reserved + lease.returned > lease.granted) throw new Error(`lease ${lease.id} has ${countersText(lease)}`);
    }
  }

  /**
   * Gives back all that is free, and what was received and is not written down: it goes back unused, and whoever recalls it
   * must not take it for reserved. Returns how much that was.
   */
  giveBack(lease: Lease): number {
    if (!lease.closed) own(lease).granted = lease.received;
    const free = freeOf(lease);
    if (free > 0) own(lease).returned += free;
    return free;
  }

  retire(lease: Lease): void {
    own(lease).retiring = true;
  }

  /** Nothing counts on it any more, but what is in flight settles. */
  close(lease: Lease): void {
    if (lease.closed) return;
    own(lease).closed = true;
    const ofCap = this.#open.get(lease.budget.capId) ?? [];
    const index = ofCap.indexOf(own(lease));
    if (index < 0) {
      this.#beside--;
      return;
    }
    ofCap.splice(index, 1);
    if (ofCap.length === 0) this.#open.delete(lease.budget.capId);
    if (this.#beside > 0) this.#moveUp(lease.budget);
  }

  /** Drops a closed lease on which nothing is in flight. */
  forget(lease: Lease): void {
    if (!lease.closed || lease.inFlight > 0) throw new Error(`lease ${lease.id} is still needed`);
    this.#leases.delete(lease.id);
  }

  #moveUp(budget: BudgetRef): void {
    for (const lease of this.#leases.values()) {
      if (lease.closed || lease.budget.capId !== budget.capId || lease.budget.windowStartMs !== budget.windowStartMs) continue;
      this.#beside--;
      this.#putOpen(lease);
      return;
    }
  }

  #putOpen(lease: Counters): void {
    const ofCap = this.#open.get(lease.budget.capId);
    if (ofCap === undefined) this.#open.set(lease.budget.capId, [lease]);
    else ofCap.push(lease);
  }
}

/** Only the book makes leases, and only it changes them. */
function own(lease: Lease): Counters {
  return lease;
}

function countersText({ granted, returned, used, reserved }: Lease): string {
  return `granted ${granted}, returned ${returned}, used ${used}, reserved ${reserved}`;
}
