/** How long to wait before the next attempt, with full jitter: nodes that lost one control plane come back spread out. */

export interface BackoffLimits {
  /** The ceiling after the first failure; it doubles with each further one. */
  readonly leastBackoffMs: number;
  readonly mostBackoffMs: number;
}

export class Backoff {
  readonly #limits: BackoffLimits;
  readonly #random: () => number;
  #ceilingMs: number;

  /** `random` gives numbers in [0, 1). */
  constructor(limits: BackoffLimits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
    this.#ceilingMs = limits.leastBackoffMs;
  }

  /** The pause (ms) after one more failure: anything from 0 up to the ceiling. */
  failed(): number {
    const ceilingMs = Math.min(this.#limits.mostBackoffMs, this.#ceilingMs);
    this.#ceilingMs = 2 * ceilingMs;
    return this.#random() * ceilingMs;
  }

  succeeded(): void {
    this.#ceilingMs = this.#limits.leastBackoffMs;
  }
}
