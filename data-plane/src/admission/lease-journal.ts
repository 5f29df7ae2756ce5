/**
 * The leases' records in the spool, and the recalls that wait for them.
 *
 * A grant is usable once a record that holds it is written. A return counts at the control plane when it has ingested the
 * record, so a recall is answered when what was returned by then is acknowledged: at once where nothing is under way.
 * A return or an end that could not be written stands all the same (whether the record is on the disk is not known), and is written
 * again until it is. A grant that could not be written comes again from the control plane.
 */
import type { GatewayError } from '@meridian/domain/error';
import type { LeaseEffects } from './grants.ts';
import { type Lease, type LeaseBook, leaseRecordOf } from './lease-book.ts';

/** The control plane ingests boot by boot: once it has a record of this one, it has all that earlier ones returned. */
const FIRST_SEQ = 1;

/** Of one lease. The control plane waits less than a second for an answer; older recalls are of no use to it. */
const MAX_RECALLS = 8;

type OnWritten = (lease: Lease, error: GatewayError | undefined, nowMs: number) => void;

interface Page {
  /** Records that are being written. */
  writing: number;
  /** The spool has a record of it. */
  known: boolean;
  returnedWritten: number;
  /** As much of what was returned is known to the control plane. */
  returnedAcked: number;
  readonly recalls: { readonly recallId: bigint; readonly returned: number }[];
}

export class LeaseJournal {
  readonly #book: LeaseBook;
  readonly #effects: LeaseEffects;
  readonly #onWritten: OnWritten;
  readonly #pages = new Map<string, Page>();
  /** Written returns that are not acknowledged, in the order of their seq. */
  readonly #awaited: { readonly seq: number; readonly lease: Lease; readonly returned: number }[] = [];
  readonly #recalled = new Set<Lease>();
  readonly #unwritten = new Set<Lease>();
  #ackedSeq = 0;

  /** What the book holds by now was recovered from earlier boots. `onWritten` is called after each record, written or not. */
  constructor(book: LeaseBook, effects: LeaseEffects, onWritten: OnWritten) {
    this.#book = book;
    this.#effects = effects;
    this.#onWritten = onWritten;
    for (const lease of book.leases()) {
      const { closed, returned } = lease;
      if (closed || returned === 0) continue;
      this.#pages.set(lease.id, { writing: 0, known: true, returnedWritten: returned, returnedAcked: 0, recalls: [] });
      this.#awaited.push({ seq: FIRST_SEQ, lease, returned });
    }
  }

  /** Returns or ends that could not be written, and wait for `writeAgain`. */
  get unwritten(): number {
    return this.#unwritten.size;
  }

  isWriting(lease: Lease): boolean {
    return (this.#pages.get(lease.id)?.writing ?? 0) > 0;
  }

  /** Whether the spool has a record of the lease, or is being given one: it is declared, and the control plane tells its end. */
  isKnown(lease: Lease): boolean {
    const { known, writing } = this.#page(lease);
    return known || writing > 0;
  }

  /** What was returned and may not have reached the control plane. */
  unackedReturn(lease: Lease): number {
    const page = this.#pages.get(lease.id);
    return page === undefined ? 0 : lease.returned - page.returnedAcked;
  }

  /** As much of what was returned is known to have reached the control plane. */
  ackedReturn(lease: Lease): number {
    return this.#pages.get(lease.id)?.returnedAcked ?? lease.returned;
  }

  /** Writes the lease's counters down as they are. */
  write(lease: Lease): void {
    const page = this.#page(lease);
    const record = leaseRecordOf(lease);
    page.writing++;
    this.#effects.write(record, (error, seq, nowMs) => {
      page.writing--;
      if (error === undefined) {
        page.known = true;
        this.#book.written(lease, record.granted);
        if (record.returned === lease.returned && record.closed === lease.closed) this.#unwritten.delete(lease);
        if (record.returned > page.returnedWritten) {
          page.returnedWritten = record.returned;
          this.#awaited.push({ seq, lease, returned: record.returned });
          if (page.recalls.length > 0) this.#effects.hurry();
          this.#takeAcks();
        }
      } else if (record.returned > page.returnedWritten || record.closed) {
        this.#unwritten.add(lease);
      }
      this.#onWritten(lease, error, nowMs);
    });
  }

  /** Returns all that is free. Returns how much that was. */
  giveBack(lease: Lease): number {
    // Before the counter grows: what was returned before this page was begun is taken as known.
    this.#page(lease);
    const amount = this.#book.giveBack(lease);
    if (amount > 0) this.write(lease);
    return amount;
  }

  writeAgain(): void {
    for (const lease of [...this.#unwritten]) {
      this.#unwritten.delete(lease);
      this.write(lease);
    }
  }

  /** Answers when all that is returned by now is known to the control plane. */
  answer(lease: Lease, recallId: bigint): void {
    const page = this.#page(lease);
    if (lease.closed || page.returnedAcked >= lease.returned) {
      this.#effects.answerRecall({ recallId, leaseId: lease.id });
      return;
    }
    if (page.recalls.length === MAX_RECALLS) page.recalls.shift();
    page.recalls.push({ recallId, returned: lease.returned });
    this.#recalled.add(lease);
    // A record that is still being written hurries once it is.
    if (page.returnedWritten >= lease.returned) this.#effects.hurry();
  }

  /** The control plane has ingested all records of this incarnation up to seq. */
  acknowledged(seq: number): void {
    if (seq > this.#ackedSeq) this.#ackedSeq = seq;
    this.#takeAcks();
  }

  /** The stream that the recalls came on is gone; the control plane sends those that still matter again. */
  dropRecalls(): void {
    for (const lease of this.#recalled) this.#page(lease).recalls.length = 0;
    this.#recalled.clear();
  }

  /** The lease has ended: there is nothing more to wait for. */
  answerAll(lease: Lease): void {
    this.#answerUpTo(lease, Number.POSITIVE_INFINITY);
  }

  forget(lease: Lease): void {
    this.#pages.delete(lease.id);
    this.#unwritten.delete(lease);
  }

  #takeAcks(): void {
    let taken = 0;
    for (const { seq, lease, returned } of this.#awaited) {
      if (seq > this.#ackedSeq) break;
      taken++;
      const page = this.#pages.get(lease.id);
      if (page === undefined) continue;
      if (returned > page.returnedAcked) page.returnedAcked = returned;
      this.#answerUpTo(lease, returned);
    }
    if (taken > 0) this.#awaited.splice(0, taken);
  }

  #answerUpTo(lease: Lease, returned: number): void {
    if (!this.#recalled.has(lease)) return;
    const { recalls } = this.#page(lease);
    let answered = 0;
    for (const recall of recalls) {
      if (recall.returned > returned) break;
      answered++;
      this.#effects.answerRecall({ recallId: recall.recallId, leaseId: lease.id });
    }
    recalls.splice(0, answered);
    if (recalls.length === 0) this.#recalled.delete(lease);
  }

  #page(lease: Lease): Page {
    let page = this.#pages.get(lease.id);
    if (page === undefined) {
      // What was recovered has rights, or had them.
      const known = lease.granted > 0;
      page = { writing: 0, known, returnedWritten: lease.returned, returnedAcked: lease.returned, recalls: [] };
      this.#pages.set(lease.id, page);
    }
    return page;
  }
}
