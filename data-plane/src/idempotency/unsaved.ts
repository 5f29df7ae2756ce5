/**
 * What finished requests leave for their retries while the store is away: tried again until the store has it. Its client has the answer
 * by then, and a retry is refused while the store is away, so what counts is that it is there when the store is back: the claim of a
 * request outlives an absence that is shorter than its lease, and this node asks for no key before it has saved what it owes to it.
 */
import type { Timers } from '../routing/commit.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Claim, Kept } from './record.ts';
import type { RecordStore } from './store.ts';

const MAX_UNSAVED_BYTES = 16 * 1024 * 1024;
const TRY_EVERY_MS = 1_000;
/** What a record takes beside its answer. */
const RECORD_BYTES = 512;

interface Owed {
  readonly by: Claim;
  readonly kept: Kept;
}

export class Unsaved {
  readonly #store: RecordStore;
  readonly #timers: Timers;
  readonly #log: Pick<Logger, 'error' | 'warn'>;
  readonly #maxBytes: number;
  readonly #owed = new Map<string, Owed>();
  #bytes = 0;
  #trying = false;

  constructor(store: RecordStore, timers: Timers, log: Pick<Logger, 'error' | 'warn'>, maxBytes = MAX_UNSAVED_BYTES) {
    this.#store = store;
    this.#timers = timers;
    this.#log = log;
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#owed.size;
  }

  add(name: string, by: Claim, kept: Kept): void {
    // Without room for the answer its receipt is owed: enough that there is no second call.
    const fits = this.#bytes + bytesOf(kept) <= this.#maxBytes;
    this.#remove(name);
    this.#put(name, { by, kept: fits ? kept : { kind: 'receipt', reason: 'too_large' } });
    for (const [oldest, { by: lost }] of this.#owed) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#remove(oldest);
      this.#log.error(
        { request_id: lost.requestId },
        'no room to owe an idempotency record: a retry of this request would be served again',
      );
    }
    this.#tryLater();
  }

  /** Saves what is owed to a key, if anything is. Rejects while the store is away. */
  async save(name: string): Promise<void> {
    const owed = this.#owed.get(name);
    if (owed === undefined) return;
    const saved = await this.#store.keep(name, owed.by, owed.kept);
    if (!saved) this.#log.warn({ request_id: owed.by.requestId }, 'a retry was served again while the store of idempotency keys was away');
    if (this.#owed.get(name) === owed) this.#remove(name);
  }

  #tryLater(): void {
    if (this.#trying || this.#owed.size === 0) return;
    this.#trying = true;
    this.#timers.after(TRY_EVERY_MS, () => {
      void this.#saveAll().finally(() => {
        this.#trying = false;
        this.#tryLater();
      });
    });
  }

  async #saveAll(): Promise<void> {
    try {
      for (const name of [...this.#owed.keys()]) await this.save(name);
    } catch {
      // Still away: the next try is due in a while.
    }
  }

  #put(name: string, owed: Owed): void {
    this.#owed.set(name, owed);
    this.#bytes += bytesOf(owed.kept);
  }

  #remove(name: string): void {
    const owed = this.#owed.get(name);
    if (owed === undefined) return;
    this.#owed.delete(name);
    this.#bytes -= bytesOf(owed.kept);
  }
}

function bytesOf(kept: Kept): number {
  return RECORD_BYTES + (kept.kind === 'answer' ? kept.sealed.length : 0);
}
