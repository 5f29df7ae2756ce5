/**
 * The newest finals of the current incarnation as they were written, so that their upload need not read them back: in quiet
 * times every final goes up from here. What has fallen out, and all of older incarnations, is read from the disk.
 */
import type { Final } from '@meridian/domain/usage-record';
import type { BatchLimits, SpoolBatch } from './reader.ts';

/** About 12 MiB. */
export const MAX_RECENT_FINALS = 8192;

interface Recent {
  readonly seq: number;
  readonly final: Final;
  /** As it lies in the spool. */
  readonly bytes: number;
}

export class RecentFinals {
  readonly #incarnation: bigint;
  /** In ascending order of their seqs; those before `#start` are gone. */
  #finals: Recent[] = [];
  #start = 0;
  /** Every final from this seq on is here. */
  #fromSeq = 1;

  constructor(incarnation: bigint) {
    this.#incarnation = incarnation;
  }

  add(seq: number, final: Final, bytes: number): void {
    this.#finals.push({ seq, final, bytes });
    if (this.#finals.length - this.#start > MAX_RECENT_FINALS) this.#forget(this.#start + 1);
  }

  /** What is acknowledged up to the seq is not uploaded again, as a rule. */
  acknowledge(seq: number): void {
    let end = this.#start;
    while ((this.#finals[end]?.seq ?? Number.POSITIVE_INFINITY) <= seq) end++;
    if (end > this.#start) this.#forget(end);
  }

  /** The run from `fromSeq` to `upToSeq`, as far as the limits allow; undefined when some of it is no longer here. */
  batch(fromSeq: number, upToSeq: number, limits: BatchLimits): SpoolBatch | undefined {
    if (fromSeq < this.#fromSeq) return undefined;
    const finals: { seq: number; final: Final }[] = [];
    let bytes = 0;
    for (let index = this.#start; index < this.#finals.length; index++) {
      const recent = this.#finals[index];
      if (recent === undefined || recent.seq > upToSeq) break;
      if (recent.seq < fromSeq) continue;
      bytes += recent.bytes;
      if (finals.length > 0 && (finals.length === limits.maxRecords || bytes > limits.maxBytes)) {
        return { incarnation: this.#incarnation, firstSeq: fromSeq, lastSeq: finals.at(-1)?.seq ?? fromSeq, finals, leases: [] };
      }
      finals.push({ seq: recent.seq, final: recent.final });
    }
    return { incarnation: this.#incarnation, firstSeq: fromSeq, lastSeq: upToSeq, finals, leases: [] };
  }

  #forget(end: number): void {
    this.#fromSeq = (this.#finals[end - 1]?.seq ?? 0) + 1;
    this.#start = end;
    // Moving the rest for every final would cost more than they take up.
    if (this.#start < 1024 || this.#start * 2 < this.#finals.length) return;
    this.#finals = this.#finals.slice(this.#start);
    this.#start = 0;
  }
}
