/** The records of a node that has no Redis: in the process, gone with it, and unknown to every other node. */
import { type Claim, claim, type Finding, type IdempotencyRecord, type Kept, keep, mayRelease, settle } from './record.ts';
import type { RecordStore } from './store.ts';

const MAX_KEPT_BYTES = 64 * 1024 * 1024;
/** What a record takes beside its answer. */
const RECORD_BYTES = 512;

export class MemoryStore implements RecordStore {
  /** Of requests that have not come to their end: as many as are being served. */
  readonly #unfinished = new Map<string, IdempotencyRecord>();
  /** In the order in which they ended. All are kept for the same time, so it is that of their expiry as well. */
  readonly #finished = new Map<string, IdempotencyRecord>();
  readonly #nowMs: () => number;
  readonly #maxKeptBytes: number;
  #keptBytes = 0;

  constructor(nowMs: () => number, maxKeptBytes = MAX_KEPT_BYTES) {
    this.#nowMs = nowMs;
    this.#maxKeptBytes = maxKeptBytes;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  async claim(name: string, by: Claim): Promise<Finding> {
    const { finding, record } = claim(this.#find(name), by, this.#nowMs());
    if (record !== undefined) {
      this.#forget(name);
      this.#unfinished.set(name, record);
    }
    return finding;
  }

  async settle(name: string, by: Claim): Promise<boolean> {
    const before = this.#find(name);
    const record = settle(before, by, this.#nowMs());
    if (record !== undefined && record !== before) {
      this.#forget(name);
      this.#unfinished.set(name, record);
    }
    return record !== undefined;
  }

  async keep(name: string, by: Claim, kept: Kept): Promise<boolean> {
    const before = this.#find(name);
    const record = keep(before, by, kept, this.#nowMs());
    if (record === undefined) return false;
    if (record === before) return true;
    this.#forget(name);
    this.#finished.set(name, record);
    this.#keptBytes += bytesOf(record);
    this.#makeRoom();
    return true;
  }

  async release(name: string, owner: string): Promise<void> {
    if (mayRelease(this.#find(name), owner)) this.#unfinished.delete(name);
  }

  #find(name: string): IdempotencyRecord | undefined {
    return this.#unfinished.get(name) ?? this.#finished.get(name);
  }

  #forget(name: string): void {
    this.#unfinished.delete(name);
    const finished = this.#finished.get(name);
    if (finished === undefined) return;
    this.#finished.delete(name);
    this.#keptBytes -= bytesOf(finished);
  }

  #makeRoom(): void {
    const nowMs = this.#nowMs();
    for (const [name, record] of this.#finished) {
      if (this.#keptBytes <= this.#maxKeptBytes && record.expiresAtMs > nowMs) return;
      this.#forget(name);
    }
  }
}

function bytesOf(record: IdempotencyRecord): number {
  return RECORD_BYTES + (record.state === 'kept' && record.kept.kind === 'answer' ? record.kept.sealed.length : 0);
}
