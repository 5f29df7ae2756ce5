/**
 * The records of a node that has no Redis: in the process, gone with it, and unknown to every other node.
 *
 * Its room is shared by the accounts of all customers. Where answers have no more room, the oldest of the account that has most give way,
 * one by one, and leave their receipts. Of keys an account may have as many as are free, and a part of them is left to accounts that
 * have few. A key that was charged is forgotten by nothing but its age, so a retry is never served again for want of room.
 */
import type { Metrics } from '../telemetry/metrics.ts';
import { type Ranked, Ranking } from './ranking.ts';
import { type Claim, claim, type Finding, type IdempotencyRecord, type Kept, keep, mayRelease, settle } from './record.ts';
import type { RecordStore } from './store.ts';

const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** Each takes about half a KiB beside its answer. */
const MAX_RECORDS = 256 * 1024;
/** The part of all records that is left to accounts that hold few. */
const LEFT_TO_SMALL = 1 / 8;
/** So many accounts can hold few records each, however much the others take: 32 records each, of the default. */
const SMALL_ACCOUNTS = 1024;

export interface MemoryLimits {
  /** Of all answers that are kept, sealed. */
  readonly maxAnswerBytes?: number;
  /** Keys that are remembered, whatever became of them. What is charged already is remembered all the same. */
  readonly maxRecords?: number;
}

/** What one account has of the room. */
interface Holder extends Ranked {
  records: number;
  answerBytes: number;
  /** The names of its records with an answer, in the order in which they ended. */
  readonly answers: Set<string>;
  /** Which of all answers was its latest, counted from the first that was kept. */
  latest: number;
}

/** Who has more gives first, and of those that have the same, who got its latest answer before. */
function givesBefore(one: Holder, other: Holder): boolean {
  return one.answerBytes > other.answerBytes || (one.answerBytes === other.answerBytes && one.latest < other.latest);
}

export class MemoryStore implements RecordStore {
  /** Of requests that have not come to their end: as many as are being served. */
  readonly #unfinished = new Map<string, IdempotencyRecord>();
  /** In the order in which they ended. All are kept for the same time, so it is that of their expiry as well. */
  readonly #finished = new Map<string, IdempotencyRecord>();
  readonly #holders = new Map<string, Holder>();
  readonly #ranking = new Ranking<Holder>(givesBefore);
  readonly #nowMs: () => number;
  readonly #maxAnswerBytes: number;
  readonly #maxRecords: number;
  #answers = 0;
  #answerBytes = 0;
  #everKept = 0;
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
    const bytes = answerBytesOf(record);
    if (bytes !== undefined && bytes > this.#maxAnswerBytes) {
      this.#put(this.#finished, name, withoutRoom(record));
      this.#gaveWay++;
      return true;
    }
    this.#put(this.#finished, name, record.state === 'kept' ? { ...record, kept: ownBytes(record.kept) } : record);
    this.#makeRoom(name);
    return true;
  }

  async release(name: string, owner: string): Promise<void> {
    if (mayRelease(this.#find(name), owner)) this.#forget(name);
  }

  #find(name: string): IdempotencyRecord | undefined {
    return this.#unfinished.get(name) ?? this.#finished.get(name);
  }

  /** However much one account has, as much is left for the others, and the last places are for accounts that hold few. */
  #hasRoomFor(accountId: string): boolean {
    const held = this.#holders.get(accountId)?.records ?? 0;
    const free = this.#maxRecords - this.records;
    const left = Math.floor(this.#maxRecords * LEFT_TO_SMALL);
    return held < Math.max(1, Math.floor(left / SMALL_ACCOUNTS)) ? free > 0 : held < free - left;
  }

  #put(records: Map<string, IdempotencyRecord>, name: string, record: IdempotencyRecord): void {
    let holder = this.#holders.get(record.accountId);
    if (holder === undefined) {
      holder = { records: 0, answerBytes: 0, answers: new Set(), latest: 0, place: 0 };
      this.#holders.set(record.accountId, holder);
      this.#ranking.add(holder);
    }
    // Counted before the former record is forgotten, so that its holder stays.
    holder.records++;
    this.#forget(name);
    records.set(name, record);
    const bytes = answerBytesOf(record);
    if (bytes === undefined) return;
    holder.answers.add(name);
    holder.answerBytes += bytes;
    holder.latest = ++this.#everKept;
    this.#ranking.moved(holder);
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
    if (holder.records > 0) return;
    this.#holders.delete(record.accountId);
    this.#ranking.remove(holder);
  }

  #withoutAnswer(holder: Holder, name: string, record: IdempotencyRecord): void {
    const bytes = answerBytesOf(record);
    if (bytes === undefined) return;
    holder.answers.delete(name);
    holder.answerBytes -= bytes;
    this.#ranking.moved(holder);
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

  /** The newest answer stays: its retry is the likeliest. It is the last of its account, so nothing else of that is left where it is met. */
  #makeRoom(newest: string): void {
    while (this.#answerBytes > this.#maxAnswerBytes) {
      let holder = this.#ranking.first;
      if (holder?.answers.size === 1 && holder.answers.has(newest)) holder = this.#ranking.second;
      const oldest = holder?.answers.values().next().value;
      const record = oldest === undefined ? undefined : this.#finished.get(oldest);
      if (holder === undefined || oldest === undefined || record === undefined) return;
      this.#withoutAnswer(holder, oldest, record);
      // In its place, so that the order stays that of expiry.
      this.#finished.set(oldest, withoutRoom(record));
      this.#gaveWay++;
    }
  }
}

/** Charged as before, and its answer is not kept. */
function withoutRoom(record: IdempotencyRecord): IdempotencyRecord {
  return { ...record, state: 'kept', kept: { kind: 'receipt', reason: 'no_room' } };
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
