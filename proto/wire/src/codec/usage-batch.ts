/** A run of a spool's seqs on the wire: the finals and leases in it as gzip of a UsageRecords. */
import { promisify } from 'node:util';
import { constants, gunzip, gzip } from 'node:zlib';
import { create, fromBinary } from '@bufbuild/protobuf';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Final } from '@meridian/domain/usage-record';
import type * as wire from '../gen/meridian/v1/usage_pb.js';
import { UsageBatchSchema, UsageRecordsSchema } from '../gen/meridian/v1/usage_pb.js';
import { readSafeInteger } from './field.ts';
import { finalFromWire } from './final.ts';
import { UsageRecordsWriter } from './final-writer.ts';
import { leaseRecordFromWire } from './lease.ts';
import { WireFormatError } from './wire-format-error.ts';

/** The most that a batch may grow to when it is unpacked. */
export const MAX_UNPACKED_BYTES = 8 * 1024 * 1024;

const pack = promisify(gzip);
const unpack = promisify(gunzip);

export interface UsageBatch {
  /** Random 64 bits of one boot of the node. */
  readonly incarnation: bigint;
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** In ascending order of their seqs, which lie in firstSeq … lastSeq. */
  readonly finals: readonly { readonly seq: number; readonly final: Final }[];
  /** Likewise; no seq is in both lists. */
  readonly leases: readonly { readonly seq: number; readonly lease: LeaseRecord }[];
}

/** One record of a received batch: a final, a lease, or what kept it from being read (with the message, for the dead letters). */
export type ReceivedRecord =
  | { readonly seq: number; readonly ok: true; readonly kind: 'final'; readonly final: Final }
  | { readonly seq: number; readonly ok: true; readonly kind: 'lease'; readonly lease: LeaseRecord }
  | { readonly seq: number; readonly ok: false; readonly error: WireFormatError; readonly message: wire.UsageRecord };

export interface ReceivedBatch {
  readonly incarnation: bigint;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly records: readonly ReceivedRecord[];
}

/** Records that are encoded at a time before others get a turn (some tenths of a millisecond). */
const SLICE_RECORDS = 128;

/** Encodes in slices, so that a node keeps answering meanwhile. */
export async function usageBatchToWire(batch: UsageBatch): Promise<wire.UsageBatch> {
  const writer = new UsageRecordsWriter();
  const parts: Buffer[] = [];
  const leases = [...batch.leases];
  const addLeasesBefore = (seq: number): void => {
    for (let next = leases[0]; next !== undefined && next.seq < seq; next = leases[0]) {
      writer.addLease(next.seq, next.lease);
      leases.shift();
    }
  };
  for (const [index, { seq, final }] of batch.finals.entries()) {
    addLeasesBefore(seq);
    writer.add(seq, final);
    if ((index + 1) % SLICE_RECORDS !== 0) continue;
    // Messages whose only field is repeated may be joined end to end.
    parts.push(writer.take());
    await new Promise((resolve) => setImmediate(resolve));
  }
  addLeasesBefore(Number.POSITIVE_INFINITY);
  parts.push(writer.take());
  return create(UsageBatchSchema, {
    incarnation: batch.incarnation,
    firstSeq: BigInt(batch.firstSeq),
    lastSeq: BigInt(batch.lastSeq),
    recordsGzip: await pack(Buffer.concat(parts), { level: constants.Z_BEST_SPEED }),
  });
}

/**
 * Unpacks a batch. Rejects with WireFormatError when the batch as a whole cannot be read; a single record that says
 * nothing sensible comes back as such, and the rest goes on.
 */
export async function usageBatchFromWire(message: wire.UsageBatch): Promise<ReceivedBatch> {
  const firstSeq = readSafeInteger('first_seq', message.firstSeq, 1);
  const lastSeq = readSafeInteger('last_seq', message.lastSeq, firstSeq);
  const { records } = await unpackRecords(message.recordsGzip);
  let previous = firstSeq - 1;
  const received: ReceivedRecord[] = [];
  for (const [index, record] of records.entries()) {
    const seq = readSafeInteger(`records[${index}].seq`, record.seq, previous + 1);
    if (seq > lastSeq) throw new WireFormatError(`records[${index}].seq`, `is behind last_seq: ${seq}`);
    previous = seq;
    received.push(readRecord(seq, record));
  }
  return { incarnation: message.incarnation, firstSeq, lastSeq, records: received };
}

function readRecord(seq: number, message: wire.UsageRecord): ReceivedRecord {
  try {
    switch (message.record.case) {
      case 'final':
        return { seq, ok: true, kind: 'final', final: finalFromWire(message.record.value) };
      case 'lease':
        return { seq, ok: true, kind: 'lease', lease: leaseRecordFromWire(message.record.value) };
      default:
        throw new WireFormatError('record', 'is of an unknown kind');
    }
  } catch (error) {
    if (error instanceof WireFormatError) return { seq, ok: false, error, message };
    throw error;
  }
}

async function unpackRecords(packed: Uint8Array): Promise<wire.UsageRecords> {
  try {
    return fromBinary(UsageRecordsSchema, await unpack(packed, { maxOutputLength: MAX_UNPACKED_BYTES }));
  } catch (error) {
    throw new WireFormatError('records_gzip', error instanceof Error ? error.message : String(error));
  }
}
