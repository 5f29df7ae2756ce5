/**
 * Counters of the leases that a spool folder knows: granted and returned by the highest record, used as the sum over finals.
 *
 * A closed lease stays for the time that acknowledged segments are retained, and for as long as a retained segment is older
 * than its end: a restored database wants to be told of every lease that a replayed record names.
 */
import type { LeaseRecord } from '@meridian/domain/lease';
import type { LeaseAmount } from '@meridian/domain/usage-record';

/** A lease as a checkpoint carries it. */
export interface KeptLease extends LeaseRecord {
  /** When a record last named it after its end (ms since 1970); undefined while it is open. */
  readonly closedAtMs: number | undefined;
}

type Counted = { -readonly [Field in keyof KeptLease]: KeptLease[Field] };

export class SpoolLeases {
  readonly #leases = new Map<string, Counted>();

  /** Whether a LEASE record gives something back or ends the lease, which the control plane waits for. */
  isNews(record: LeaseRecord): boolean {
    const known = this.#leases.get(record.leaseId);
    return record.returned > (known?.returned ?? 0) || (record.closed && known?.closed !== true);
  }

  /** Merges a LEASE record. Its own sum of what was used is not taken: finals are counted here. */
  merge(record: LeaseRecord, nowMs: number): void {
    const known = this.#leases.get(record.leaseId);
    if (known === undefined) {
      this.#leases.set(record.leaseId, { ...record, used: 0, closedAtMs: record.closed ? nowMs : undefined });
      return;
    }
    known.granted = Math.max(known.granted, record.granted);
    known.returned = Math.max(known.returned, record.returned);
    known.closed ||= record.closed;
    if (known.closed) known.closedAtMs = nowMs;
  }

  /** Adds what a final took. Amounts of leases that the folder does not know, as those of a former spool id, are left out. */
  charge(amounts: readonly LeaseAmount[], nowMs: number): void {
    for (const { leaseId, amount } of amounts) {
      const known = this.#leases.get(leaseId);
      if (known === undefined) continue;
      known.used += Number(amount);
      if (known.closed) known.closedAtMs = nowMs;
    }
  }

  /** What the counters were without these finals' amounts. */
  without(amounts: readonly LeaseAmount[]): KeptLease[] {
    const less = new Map<string, number>();
    for (const { leaseId, amount } of amounts) less.set(leaseId, (less.get(leaseId) ?? 0) + Number(amount));
    return [...this.#leases.values()].map((lease) => ({ ...lease, used: lease.used - (less.get(lease.leaseId) ?? 0) }));
  }

  /** Takes the counters of a checkpoint in place of all that it has. */
  replace(leases: readonly KeptLease[]): void {
    this.#leases.clear();
    for (const lease of leases) this.#leases.set(lease.leaseId, { ...lease });
  }

  /** Forgets the leases that ended before both times: that of retention, and that of the oldest retained record. */
  forget(closedBeforeMs: number, oldestRecordMs: number): void {
    const limitMs = Math.min(closedBeforeMs, oldestRecordMs);
    for (const lease of this.#leases.values()) {
      if (lease.closedAtMs !== undefined && lease.closedAtMs < limitMs) this.#leases.delete(lease.leaseId);
    }
  }

  list(): LeaseRecord[] {
    return [...this.#leases.values()].map(({ closedAtMs: _, ...lease }) => lease);
  }
}
