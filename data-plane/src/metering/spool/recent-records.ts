/**
 * The newest finals and leases of the current incarnation as they were written, so that their upload need not read them back:
 * in quiet times all of them go up from here. What has fallen out, and all of older incarnations, is read from the disk.
 */
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Final } from '@meridian/domain/usage-record';
import type { BatchLimits, SpoolBatch } from './reader.ts';
import type { SpoolRecord } from './record.ts';

/** What goes up to the control plane. */
export type UploadedRecord = Extract<SpoolRecord, { readonly type: 'final' | 'lease' }>;

/** About 12 MiB. */
export const MAX_RECENT_RECORDS = 8192;

interface Recent {
  readonly seq: number;
  readonly record: UploadedRecord;
  /** As it lies in the spool. */
  readonly bytes: number;
}

export class RecentRecords {
  readonly #incarnation: bigint;
  /** In ascending order of their seqs; those before `#start` are gone. */
  #records: Recent[] = [];
  #start = 0;
  /** Every final and lease from this seq on is here. */
  #fromSeq = 1;

  constructor(incarnation: bigint) {
    this.#incarnation = incarnation;
  }

  add(seq: number, record: UploadedRecord, bytes: number): void {
    this.#records.push({ seq, record, bytes });
    if (this.#records.length - this.#start > MAX_RECENT_RECORDS) this.#forget(this.#start + 1);
  }

  /** What is acknowledged up to the seq is not uploaded again, as a rule. */
  acknowledge(seq: number): void {
    let end = this.#start;
    while ((this.#records[end]?.seq ?? Number.POSITIVE_INFINITY) <= seq) end++;
    if (end > this.#start) this.#forget(end);
  }

  /** The run from `fromSeq` to `upToSeq`, as far as the limits allow; undefined when some of it is no longer here. */
  batch(fromSeq: number, upToSeq: number, limits: BatchLimits): SpoolBatch | undefined {
    if (fromSeq < this.#fromSeq) return undefined;
    const finals: { seq: number; final: Final }[] = [];
    const leases: { seq: number; lease: LeaseRecord }[] = [];
    let lastSeq = fromSeq - 1;
    let bytes = 0;
    for (let index = this.#start; index < this.#records.length; index++) {
      const recent = this.#records[index];
      if (recent === undefined || recent.seq > upToSeq) break;
      if (recent.seq < fromSeq) continue;
      bytes += recent.bytes;
      const count = finals.length + leases.length;
      if (count > 0 && (count === limits.maxRecords || bytes > limits.maxBytes)) {
        return { incarnation: this.#incarnation, firstSeq: fromSeq, lastSeq, finals, leases };
      }
      if (recent.record.type === 'final') finals.push({ seq: recent.seq, final: recent.record.final });
      else leases.push({ seq: recent.seq, lease: recent.record.lease });
      lastSeq = recent.seq;
    }
    return { incarnation: this.#incarnation, firstSeq: fromSeq, lastSeq: upToSeq, finals, leases };
  }

  #forget(end: number): void {
    this.#fromSeq = (this.#records[end - 1]?.seq ?? 0) + 1;
    this.#start = end;
    // Moving the rest for every record would cost more than they take up.
    if (this.#start < 1024 || this.#start * 2 < this.#records.length) return;
    this.#records = this.#records.slice(this.#start);
    this.#start = 0;
  }
}
