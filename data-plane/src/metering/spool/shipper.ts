/**
 * Which records go up next: a state machine without I/O and without a clock of its own.
 *
 * *closed* → `open` → *opening* → `opened` (the control plane's cursors) → *open*; from anywhere `close` → *closed*. While open,
 * each incarnation has acked ≤ sent ≤ last; what was sent and not acknowledged is forgotten when the stream ends, and the next
 * one goes on from the control plane's cursor. Batches go out in order, older incarnations first, several in flight.
 */
import type { RetainedRange } from './spool.ts';

export interface ShipperLimits {
  readonly inFlightBatches: number;
  /** How long a durable final, or a lease's return, may wait for others to go with it. */
  readonly lingerMs: number;
  /** How long seqs without either among them may wait. */
  readonly quietMs: number;
}

export const SHIPPER_LIMITS: ShipperLimits = { inFlightBatches: 4, lingerMs: 50, quietMs: 5000 };

/** `read`: take a batch from there and tell `sent`. `wait`: ask again after that time. `idle`: ask again when something happened. */
export type ShipperStep =
  | { readonly kind: 'read'; readonly incarnation: bigint; readonly fromSeq: number }
  | { readonly kind: 'wait'; readonly waitMs: number }
  | { readonly kind: 'idle' };

/** What the control plane's cursor of an incarnation means for the spool. */
export interface Resumed {
  readonly incarnation: bigint;
  readonly ackedSeq: number;
  /** Seqs that the control plane lacks and that are no longer retained. */
  readonly lostSeqs: number;
}

interface Cursor {
  readonly incarnation: bigint;
  readonly firstSeq: number;
  lastSeq: number;
  sentSeq: number;
  ackedSeq: number;
}

export class Shipper {
  readonly #limits: ShipperLimits;
  #phase: 'closed' | 'opening' | 'open' = 'closed';
  #cursors: Cursor[] = [];
  #inFlight: { readonly incarnation: bigint; readonly lastSeq: number }[] = [];
  #durableAwaitedSeq = 0;
  /** What was durable when the stream began has waited long enough. */
  #backlogSeq = 0;
  /** Since when something of the current incarnation waits; undefined when nothing does. */
  #waitingSinceMs: number | undefined;
  #awaitedSinceMs: number | undefined;
  #urgentSeq = 0;

  constructor(limits: ShipperLimits = SHIPPER_LIMITS) {
    this.#limits = limits;
  }

  get inFlight(): number {
    return this.#inFlight.length;
  }

  get isOpen(): boolean {
    return this.#phase === 'open';
  }

  /** Durable seqs that are not acknowledged. */
  get unackedSeqs(): number {
    return this.#cursors.reduce((sum, cursor) => sum + Math.max(0, cursor.lastSeq - cursor.ackedSeq), 0);
  }

  /** What lies at or below the seq of the current incarnation waits for no company; without a seq (the node goes down) nothing does any more. */
  hurry(upToSeq = Number.POSITIVE_INFINITY): void {
    this.#urgentSeq = Math.max(this.#urgentSeq, upToSeq);
  }

  /** A stream begins; `ranges` is what was announced on it, oldest first, the current incarnation last. */
  open(ranges: readonly RetainedRange[]): void {
    this.#phase = 'opening';
    this.#inFlight = [];
    this.#cursors = ranges.map((range) => ({ ...range, sentSeq: 0, ackedSeq: 0 }));
    this.#backlogSeq = ranges.at(-1)?.lastSeq ?? 0;
    this.#waitingSinceMs = undefined;
    this.#awaitedSinceMs = undefined;
  }

  /** The control plane's cursors; an incarnation that it does not name stands at 0. */
  opened(acked: ReadonlyMap<bigint, number>): readonly Resumed[] {
    this.#phase = 'open';
    return this.#cursors.map((cursor) => {
      const ackedSeq = acked.get(cursor.incarnation) ?? 0;
      const lostSeqs = Math.max(0, cursor.firstSeq - 1 - ackedSeq);
      cursor.ackedSeq = ackedSeq + lostSeqs;
      cursor.sentSeq = cursor.ackedSeq;
      return { incarnation: cursor.incarnation, ackedSeq, lostSeqs };
    });
  }

  /** More of the current incarnation is durable; `awaitedSeq` is the last final, or return of a lease, among it. */
  durable(nowMs: number, seq: number, awaitedSeq: number): void {
    const current = this.#cursors.at(-1);
    if (current === undefined) return;
    current.lastSeq = Math.max(current.lastSeq, seq);
    this.#durableAwaitedSeq = Math.max(this.#durableAwaitedSeq, awaitedSeq);
    if (current.lastSeq > current.sentSeq) this.#waitingSinceMs ??= nowMs;
    if (this.#durableAwaitedSeq > current.sentSeq) this.#awaitedSinceMs ??= nowMs;
  }

  next(nowMs: number): ShipperStep {
    if (this.#phase !== 'open' || this.#inFlight.length >= this.#limits.inFlightBatches) return { kind: 'idle' };
    const cursor = this.#cursors.find((candidate) => candidate.sentSeq < candidate.lastSeq);
    if (cursor === undefined) return { kind: 'idle' };
    const waitMs = cursor === this.#cursors.at(-1) ? this.#waitMs(nowMs, cursor) : 0;
    return waitMs > 0 ? { kind: 'wait', waitMs } : { kind: 'read', incarnation: cursor.incarnation, fromSeq: cursor.sentSeq + 1 };
  }

  /** A batch was handed to the stream. Throws Error when it does not follow the one before: a gap would be a loss. */
  sent(nowMs: number, batch: { readonly incarnation: bigint; readonly firstSeq: number; readonly lastSeq: number }): void {
    const cursor = this.#cursors.find((candidate) => candidate.incarnation === batch.incarnation);
    if (cursor === undefined || batch.firstSeq !== cursor.sentSeq + 1) {
      throw new Error(`batch ${batch.firstSeq}..${batch.lastSeq} does not follow seq ${cursor?.sentSeq}`);
    }
    cursor.sentSeq = batch.lastSeq;
    this.#inFlight.push({ incarnation: batch.incarnation, lastSeq: batch.lastSeq });
    if (cursor !== this.#cursors.at(-1)) return;
    this.#waitingSinceMs = cursor.lastSeq > cursor.sentSeq ? nowMs : undefined;
    // What did not fit into this batch has waited already.
    if (this.#durableAwaitedSeq <= cursor.sentSeq) this.#awaitedSinceMs = undefined;
  }

  /** `stale`: nothing new. `ahead`: for seqs that were never sent on this stream; the stream is broken. */
  acknowledged(incarnation: bigint, seq: number): 'advanced' | 'stale' | 'ahead' {
    const cursor = this.#cursors.find((candidate) => candidate.incarnation === incarnation);
    if (this.#phase !== 'open' || cursor === undefined || seq > cursor.sentSeq) return 'ahead';
    if (seq <= cursor.ackedSeq) return 'stale';
    cursor.ackedSeq = seq;
    this.#inFlight = this.#inFlight.filter((batch) => batch.incarnation !== incarnation || batch.lastSeq > seq);
    return 'advanced';
  }

  close(): void {
    this.#phase = 'closed';
    this.#inFlight = [];
  }

  #waitMs(nowMs: number, cursor: Cursor): number {
    if (cursor.sentSeq < this.#urgentSeq || cursor.sentSeq < this.#backlogSeq) return 0;
    const awaited = this.#durableAwaitedSeq > cursor.sentSeq;
    const limitMs = awaited ? this.#limits.lingerMs : this.#limits.quietMs;
    const sinceMs = awaited ? this.#awaitedSinceMs : this.#waitingSinceMs;
    if (sinceMs === undefined || sinceMs > nowMs) return 0;
    return limitMs - (nowMs - sinceMs);
  }
}
