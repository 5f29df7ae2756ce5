/**
 * Watches over what waits for a client that reads slowly: one that takes nothing for a while, or is not done after a long while, is held
 * to be gone, since what waits for it is held in memory.
 */
import type { Timers } from '../../routing/commit.ts';
import { MAX_UNREAD_MS, STALL_MS } from './limits.ts';

export class UnreadWatch {
  readonly #timers: Timers;
  /** Bytes that the client's side has taken so far. */
  readonly #takenBytes: () => number;
  readonly #onGone: () => void;
  #timer: { cancel(): void } | undefined;
  #waitedMs = 0;

  constructor(timers: Timers, takenBytes: () => number, onGone: () => void) {
    this.#timers = timers;
    this.#takenBytes = takenBytes;
    this.#onGone = onGone;
  }

  /** Something waits. Without effect while something does. */
  begin(): void {
    if (this.#timer !== undefined) return;
    const takenBytes = this.#takenBytes();
    this.#timer = this.#timers.after(STALL_MS, () => {
      this.#timer = undefined;
      this.#waitedMs += STALL_MS;
      if (this.#takenBytes() === takenBytes || this.#waitedMs >= MAX_UNREAD_MS) this.#onGone();
      else this.begin();
    });
  }

  /** All of it was taken, or there is nobody any more. */
  end(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#waitedMs = 0;
  }
}
