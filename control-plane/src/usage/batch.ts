/** What a node sends up: the records of a span of its spool. */
import type { GatewayErrorOptions } from '@meridian/domain/error';
import { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Final, LeaseAmount } from '@meridian/domain/usage-record';

/** Records in one batch, at most. */
export const MAX_BATCH_RECORDS = 10_000;

/** A record that could not be decoded, with what could be read of it. */
export interface Unreadable {
  readonly reason: string;
  readonly accountId: string | undefined;
  readonly requestId: string | undefined;
  readonly chargeNano: bigint | undefined;
  readonly leases: readonly LeaseAmount[];
  /** The record as it came. */
  readonly payload: Uint8Array;
}

export type BatchRecord =
  | { readonly seq: number; readonly final: Final }
  | { readonly seq: number; readonly lease: LeaseRecord }
  | { readonly seq: number; readonly unreadable: Unreadable };

/** `firstSeq..lastSeq` of one incarnation (a random unsigned 64-bit number): the records that the control plane needs of them, in order. */
export interface UsageBatch {
  readonly spoolId: string;
  /** The former id of the spool's folder, where it was given another: records may name leases of that one. */
  readonly replacesSpoolId?: string;
  readonly nodeId: string;
  readonly region: string;
  readonly incarnation: bigint;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly records: readonly BatchRecord[];
}

/** The batch does not follow what is acknowledged: its stream is to be closed, and the node resends from there. */
export class SequenceGapError extends GatewayError {
  readonly expectedSeq: number;

  constructor(expectedSeq: number, firstSeq: number, options: GatewayErrorOptions = {}) {
    super('conflict', { ...options, message: `the batch starts at ${firstSeq}, expected at most ${expectedSeq}` });
    this.name = 'SequenceGapError';
    this.expectedSeq = expectedSeq;
  }
}

/** Throws `invalid_request_error` unless the records lie in the span, in ascending order. */
export function assertBatch(batch: UsageBatch): void {
  const invalid = (message: string) => new GatewayError('invalid_request_error', { message });
  if (!isSeq(batch.firstSeq) || !isSeq(batch.lastSeq) || batch.lastSeq < batch.firstSeq)
    throw invalid('a batch covers first_seq..last_seq, from 1');
  if (batch.records.length > MAX_BATCH_RECORDS) throw invalid(`a batch has at most ${MAX_BATCH_RECORDS} records`);
  let previous = batch.firstSeq - 1;
  for (const { seq } of batch.records) {
    if (!isSeq(seq) || seq <= previous || seq > batch.lastSeq) throw invalid(`record ${seq} is out of its batch or out of order`);
    previous = seq;
  }
}

function isSeq(seq: number): boolean {
  return Number.isSafeInteger(seq) && seq >= 1;
}
