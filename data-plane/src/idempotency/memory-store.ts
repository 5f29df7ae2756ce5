/**
 * The records of a node that has no Redis: in the process, gone with it, and unknown to every other node.
 *
 * Its room is shared by the accounts of all customers, and what one of them sends takes nothing from the others but what is more than
 * their share: of answers the largest holders' oldest give way and leave their receipts, and of keys an account may have as many as are
 * free. A key that was charged is forgotten by nothing but its age, so a retry is never served again for want of room.
 */
import type { Metrics } from '../telemetry/metrics.ts';
import { type Claim, claim, type Finding, type IdempotencyRecord, type Kept, keep, mayRelease, settle } from './record.ts';
import type { RecordStore } from './store.ts';

const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** Each takes about half a KiB beside its answer. */
const MAX_RECORDS = 256 * 1024;
/** Room is made for so much of all answers at once, so that who must give way is not looked for with each of them. */
const MADE_AT_ONCE = 1 / 16;

export interface MemoryLimits {
  /** Of all answers that are kept, sealed. */
  readonly maxAnswerBytes?: number;
  /** Keys that are remembered, whatever became of them. What is charged already is remembered all the same. */
  readonly maxRecords?: number;
}

/** What one account has of the room. */
interface Holder {
  records: number;
  answerBytes: number;
  /** The names of its records with an answer, in the order in which they ended. */
  readonly answers: Set<string>;
}

export class MemoryStore implements RecordStore {
  /** Of requests that have not come to their end: as many as are being served. */
  readonly #unfinished = new Map<string, IdempotencyRecord>();
  /** In the order in which they ended. All are kept for the same time, so it is that of their expiry as well. */
  readonly #finished = new Map<string, IdempotencyRecord>();
  readonly #holders = new Map<string, Holder>();
  readonly #nowMs: () => number;
  readonly #maxAnswerBytes: number;
  readonly #maxRecords: number;
  #answers = 0;
  #answerBytes = 0;
  #gaveWay = 0;

  constructor(nowMs: () => number, { maxAnswerBytes = MAX_ANSWER_BYTES, maxRecords = MAX_RECORDS }: MemoryLimits = {}) {
    this.#nowMs = nowMs;
    this.#maxAnswerBytes = maxAnswerBytes;
    this.#maxRecords = maxRecords;
  }

  /** Keys that are remembered. */
  get records(): number {
    return this.#unfinished.size + this.#finished.size;
  }

  /** Those of them whose answer is kept. */
  get answers(): number {
    return this.#answers;
  }

  get answerBytes(): number {
    return this.#answerBytes;
  }

  reportTo(metrics: Pick<Metrics, 'gauge' | 'counter'>): void {
    metrics.gauge('meridian_idempotency_memory_records', 'Idempotency keys that are remembered in the process', () => this.records);
    metrics.gauge('meridian_idempotency_memory_answers', 'Answers that are kept in the process for retries', () => this.#answers);
    metrics.gauge('meridian_idempotency_memory_answer_bytes', 'Bytes of these answers', () => this.#answerBytes);
    metrics.counter(
      'meridian_idempotency_memory_gave_way_total',
      'Answers of which only the receipt was left, for want of room in the process',
      () => this.#gaveWay,
    );
  }

  async claim(name: string, by: Claim): Promise<Finding> {
    this.#forgetExpired();
    const before = this.#find(name);
    const { finding, record } = claim(before, by, this.#nowMs());
    if (record === undefined) return finding;
    if (before === undefined && !this.#hasRoomFor(by.accountId)) return { kind: 'full' };
    this.#put(this.#unfinished, name, record);
    return finding;
  }

  async settle(name: string, by: Claim): Promise<boolean> {
    const before = this.#find(name);
    const record = settle(before, by, this.#nowMs());
    if (record !== undefined && record !== before) this.#put(this.#unfinished, name, record);
    return record !== undefined;
  }

  async keep(name: string, by: Claim, kept: Kept): Promise<boolean> {
    this.#forgetExpired();
    const before = this.#find(name);
    const record = keep(before, by, kept, this.#nowMs());
    if (record === undefined) return false;
    if (record === before) return true;
    this.#put(this.#finished, name, record.state === 'kept' ? { ...record, kept: ownBytes(record.kept) } : record);
    if (this.#answerBytes > this.#maxAnswerBytes) this.#makeRoom();
    return true;
  }

  async release(name: string, owner: string): Promise<void> {
    if (mayRelease(this.#find(name), owner)) this.#forget(name);
  }

  #find(name: string): IdempotencyRecord | undefined {
    return this.#unfinished.get(name) ?? this.#finished.get(name);
  }

  /** However much one account has, as much is left for the others, and for those of them that come later. */
  #hasRoomFor(accountId: string): boolean {
    return (this.#holders.get(accountId)?.records ?? 0) < this.#maxRecords - this.records;
  }

  #put(records: Map<string, IdempotencyRecord>, name: string, record: IdempotencyRecord): void {
    this.#forget(name);
    records.set(name, record);
    let holder = this.#holders.get(record.accountId);
    if (holder === undefined) {
      holder = { records: 0, answerBytes: 0, answers: new Set() };
      this.#holders.set(record.accountId, holder);
    }
    holder.records++;
    const bytes = answerBytesOf(record);
    if (bytes === undefined) return;
    holder.answers.add(name);
    holder.answerBytes += bytes;
    this.#answers++;
    this.#answerBytes += bytes;
  }

  #forget(name: string): void {
    const record = this.#find(name);
    if (record === undefined) return;
    this.#unfinished.delete(name);
    this.#finished.delete(name);
    const holder = this.#holders.get(record.accountId);
    if (holder === undefined) return;
    this.#withoutAnswer(holder, name, record);
    holder.records--;
    if (holder.records === 0) this.#holders.delete(record.accountId);
  }

  #withoutAnswer(holder: Holder, name: string, record: IdempotencyRecord): void {
    const bytes = answerBytesOf(record);
    if (bytes === undefined) return;
    holder.answers.delete(name);
    holder.answerBytes -= bytes;
    this.#answers--;
    this.#answerBytes -= bytes;
  }

  #forgetExpired(): void {
    const nowMs = this.#nowMs();
    for (const [name, record] of this.#finished) {
      if (record.expiresAtMs > nowMs) return;
      this.#forget(name);
    }
  }

  /** Who has more than the share that all can have keeps the latest of it, and receipts of the rest. */
  #makeRoom(): void {
    const wanted = Math.floor(this.#maxAnswerBytes * (1 - MADE_AT_ONCE));
    const share = fairShare(
      Float64Array.from(this.#holders.values(), ({ answerBytes }) => answerBytes),
      wanted,
    );
    for (const holder of this.#holders.values()) {
      for (const name of holder.answers) {
        if (holder.answerBytes <= share) break;
        const record = this.#finished.get(name);
        if (record?.state !== 'kept') continue;
        this.#withoutAnswer(holder, name, record);
        // In its place, so that the order stays that of expiry.
        this.#finished.set(name, { ...record, kept: { kind: 'receipt', reason: 'no_room' } });
        this.#gaveWay++;
      }
    }
  }
}

/** The most that each may have, so that all together have no more than `total`; sorts `held`. */
function fairShare(held: Float64Array, total: number): number {
  held.sort();
  let left = total;
  for (const [index, bytes] of held.entries()) {
    const share = left / (held.length - index);
    if (bytes > share) return share;
    left -= bytes;
  }
  return total;
}

/** A small buffer is a part of a larger one, which would be held with it. */
function ownBytes(kept: Kept): Kept {
  if (kept.kind !== 'answer' || kept.sealed.buffer.byteLength === kept.sealed.length) return kept;
  const sealed = Buffer.allocUnsafeSlow(kept.sealed.length);
  kept.sealed.copy(sealed);
  return { kind: 'answer', sealed };
}

/** undefined for a record without an answer. */
function answerBytesOf(record: IdempotencyRecord): number | undefined {
  return record.state === 'kept' && record.kept.kind === 'answer' ? record.kept.sealed.length : undefined;
}
