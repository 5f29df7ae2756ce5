/** What requests on this node ask of one budget: how fast it is used, and how much one request may take. */

/** Use this long ago counts half. */
const HALF_LIFE_MS = 10_000;
const DECAY_PER_MS = Math.LN2 / HALF_LIFE_MS;
/** A request is recent for one to two of these. */
const RECENT_MS = 30_000;

export class LeaseDemand {
  #usedPerMs = 0;
  #usedAtMs = 0;
  #largest = 0;
  #largestBefore = 0;
  #recentSinceMs = 0;

  /** A request came that may take as much. */
  asked(amount: number, nowMs: number): void {
    if (nowMs - this.#recentSinceMs >= RECENT_MS) this.#turnOver(nowMs);
    if (amount > this.#largest) this.#largest = amount;
  }

  /** A request was charged as much. */
  used(charge: number, nowMs: number): void {
    this.#usedPerMs = this.usedPerMs(nowMs) + charge * DECAY_PER_MS;
    if (nowMs > this.#usedAtMs) this.#usedAtMs = nowMs;
  }

  /** An exponentially weighted mean. It starts from 0, so that a first request is not taken for a habit. */
  usedPerMs(nowMs: number): number {
    const pastMs = nowMs - this.#usedAtMs;
    return pastMs <= 0 || this.#usedPerMs === 0 ? this.#usedPerMs : this.#usedPerMs * Math.exp(-pastMs * DECAY_PER_MS);
  }

  largestRecent(nowMs: number): number {
    if (nowMs - this.#recentSinceMs >= RECENT_MS) this.#turnOver(nowMs);
    return Math.max(this.#largest, this.#largestBefore);
  }

  /** The clock shows an earlier time than before: what it called the future counts as of now, and fades from now on. */
  clockSetBack(nowMs: number): void {
    this.#usedAtMs = Math.min(this.#usedAtMs, nowMs);
    this.#recentSinceMs = Math.min(this.#recentSinceMs, nowMs);
  }

  #turnOver(nowMs: number): void {
    this.#largestBefore = nowMs - this.#recentSinceMs >= 2 * RECENT_MS ? 0 : this.#largest;
    this.#largest = 0;
    this.#recentSinceMs = nowMs;
  }
}
