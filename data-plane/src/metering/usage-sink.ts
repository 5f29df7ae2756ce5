/** Where metering writes its records; the spool satisfies it. */
import type { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Final, Intent } from '@meridian/domain/usage-record';

/** Called once, when the write() that holds the record has returned, or with the error that kept it from being written. */
export type Written = (error: GatewayError | undefined) => void;

/** Likewise, with the seq under which a LEASE record was written; 0 with an error. */
export type LeaseWritten = (error: GatewayError | undefined, seq: number) => void;

/** Where the lease desk writes its records; the spool satisfies it. */
export interface LeaseSink {
  /** Counters of a lease as they are now. Taken also while new requests are refused: it is small and frees rights. */
  lease(record: LeaseRecord, written: LeaseWritten): void;
  /** All leases that the folder knows, with what its finals used of each. */
  leases(): readonly LeaseRecord[];
}

export interface UsageSink {
  /** Before the upstream is called. Fails with `overloaded` when the disk has no room for new requests. */
  intent(record: Intent, written: Written): void;
  /** Before the terminal bytes go to the client. */
  final(record: Final, written: Written): void;
}
