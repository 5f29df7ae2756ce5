/** The claim of the request that is being served: renewed while it runs, and ended in exactly one of kept and released. */
import type { Timers } from '../routing/commit.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Claim, type Kept, LEASE_MS } from './record.ts';
import type { RecordStore } from './store.ts';
import type { Unsaved } from './unsaved.ts';

const RENEW_EVERY_MS = LEASE_MS / 3;

export interface HoldRooms {
  readonly store: RecordStore;
  readonly unsaved: Unsaved;
  readonly timers: Timers;
  readonly log: Pick<Logger, 'error' | 'warn'>;
}

export class Hold {
  readonly #rooms: HoldRooms;
  readonly #name: string;
  readonly #by: Claim;
  readonly #onEnd: () => void;
  #timer: { cancel(): void };
  #renewing = true;

  constructor(rooms: HoldRooms, name: string, by: Claim, onEnd: () => void) {
    this.#rooms = rooms;
    this.#name = name;
    this.#by = by;
    this.#onEnd = onEnd;
    this.#timer = this.#renewLater();
  }

  /**
   * Before the request is charged. False: its lease was over and another request has its place, so it must not be. Where the store is
   * away it may: who asks with this key meanwhile is refused, and the answer is owed to the store.
   */
  async settle(): Promise<boolean> {
    this.#stopRenewing();
    try {
      return await this.#rooms.store.settle(this.#name, this.#by);
    } catch (cause) {
      this.#rooms.log.warn({ request_id: this.#by.requestId, err: cause }, 'an idempotent request is settled while its store is away');
      return true;
    }
  }

  /** Ends the claim with what retries get. Never rejects: what cannot be stored now is stored later. */
  async keep(kept: Kept): Promise<void> {
    this.#stopRenewing();
    try {
      const mine = await this.#rooms.store.keep(this.#name, this.#by, kept);
      if (!mine) this.#rooms.log.warn({ request_id: this.#by.requestId }, 'another request has taken the idempotency key of this one');
    } catch (cause) {
      this.#rooms.log.error({ request_id: this.#by.requestId, err: cause }, 'an answer waits for the store of idempotency keys');
      this.#rooms.unsaved.add(this.#name, this.#by, kept);
    }
    this.#onEnd();
  }

  /** Ends the claim with nothing: a retry is served anew. Never rejects: what is not released is free when its lease is over. */
  async release(): Promise<void> {
    this.#stopRenewing();
    await this.#rooms.store.release(this.#name, this.#by.owner).catch(() => {});
    this.#onEnd();
  }

  #renewLater(): { cancel(): void } {
    return this.#rooms.timers.after(RENEW_EVERY_MS, () => {
      this.#rooms.store
        .claim(this.#name, this.#by)
        // Whoever has taken the place keeps it: `settle` tells.
        .catch(() => {})
        .finally(() => {
          if (this.#renewing) this.#timer = this.#renewLater();
        });
    });
  }

  #stopRenewing(): void {
    this.#renewing = false;
    this.#timer.cancel();
  }
}
