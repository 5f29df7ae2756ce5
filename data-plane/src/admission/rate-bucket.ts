/**
 * A token bucket of so many a minute, which a minute's worth can be taken from at once.
 *
 * Levels count 60,000ths of a token, so that a limit of L a minute flows back as L units a millisecond: whole numbers, and sums in the
 * region stay exact (a node that is alone with a share of the limit has fractions). A level may be negative: what turned out dearer than it was thought is paid back by waiting.
 *
 * The bucket is a node's copy of one that the region shares. What was taken here and is not told yet is remembered; `told` puts the
 * region's level in its place. Where nobody can be told, the node keeps to a share of the limit.
 */

/** Units of one token. */
export const UNITS = 60_000;

/** While nodes cannot hear of each other they may take so many times their part: work is never spread evenly. */
export const SLACK = 1.2;

/** A debt is never more than so many minutes of the limit. */
export const MOST_DEBT_MINUTES = 10;

/** What is told of a bucket: the units taken since the last time, and the level that the node took them from. */
export interface BucketUse {
  readonly limit: number;
  readonly taken: number;
  readonly level: number;
}

export class RateBucket {
  #limit: number;
  #level: number;
  #atMs: number;
  #share = 1;
  /** Units taken since they were last told, less what was given back. */
  #taken = 0;
  /** Units that are being told, or were without an answer: whether they were heard is not known. */
  #telling: number | undefined;
  /** After an outage: what may be told of what was taken beside what is being told. */
  #mostToTell = Number.POSITIVE_INFINITY;
  /** The number of outages when the region was last heard. */
  #outage: number;

  /** Full. `outage` counts the times at which the region was out of reach. */
  constructor(limit: number, nowMs: number, outage: number) {
    this.#limit = limit;
    this.#level = limit * UNITS;
    this.#atMs = nowMs;
    this.#outage = outage;
  }

  get limit(): number {
    return this.#limit;
  }

  /** A changed limit holds from now on; what was taken stays taken. */
  setLimit(limit: number): void {
    this.#level += (limit - this.#limit) * UNITS;
    this.#limit = limit;
  }

  /** The level by now, of a node that may use this share of the limit (0 < share ≤ 1). */
  level(nowMs: number, share: number): number {
    const passedMs = nowMs - this.#atMs;
    if (passedMs > 0) {
      this.#level += passedMs * this.#limit * share;
      this.#atMs = nowMs;
    }
    if (share !== this.#share) {
      // What was left for all is left for each of them in part; what is owed is owed by each.
      if (share < this.#share && this.#level > 0) this.#level *= share / this.#share;
      this.#share = share;
    }
    const most = this.capacity(share);
    if (this.#level > most) this.#level = most;
    return this.#level;
  }

  /** At least one token fits in: a share of a small limit must not be none. */
  capacity(share: number): number {
    return Math.max(UNITS, Math.floor(this.#limit * UNITS * share));
  }

  /** Takes tokens, or gives back (below 0). To be called after `level` of the same moment. */
  take(tokens: number): void {
    this.#level = Math.max(-MOST_DEBT_MINUTES * this.capacity(1), this.#level - tokens * UNITS);
    this.#taken += tokens * UNITS;
  }

  /** Milliseconds until the level is at least `units`. */
  untilMs(units: number, share: number): number {
    return this.#level >= units ? 0 : Math.ceil((units - this.#level) / Math.max(1, this.#limit * share));
  }

  /** The bucket is as a new one would be, and nobody has to hear of it any more. */
  isIdle(nowMs: number, share: number, tells: boolean): boolean {
    if (tells && (this.#taken !== 0 || this.#telling !== undefined)) return false;
    return this.level(nowMs, share) >= this.capacity(share);
  }

  /**
   * What is to be told now: again what was told without an answer, else what was taken since. After an outage that is no more than
   * what is missing of the node's own share: the rest has flowed back meanwhile.
   */
  tell(nowMs: number, share: number, outage: number, shareInOutage: number): BucketUse {
    const present = this.level(nowMs, share);
    let level = present + this.#taken + (this.#telling ?? 0);
    if (this.#telling === undefined) {
      this.#telling = this.#taken;
      this.#taken = 0;
    }
    let taken = this.#telling;
    this.#mostToTell = Number.POSITIVE_INFINITY;
    if (this.#outage !== outage) {
      // For a region that has forgotten the bucket: the share that this node had is its picture of the whole.
      if (level > 0) level /= shareInOutage;
      // Together the nodes bring no more than the bucket holds: nobody waits for the slack that they had.
      const part = shareInOutage < 1 ? 1 / SLACK : 1;
      const missing = Math.max(0, Math.floor((this.capacity(shareInOutage) - present) * part));
      taken = Math.min(taken, missing);
      this.#mostToTell = missing - taken;
    }
    return { limit: this.#limit, taken, level: Math.floor(Math.min(this.capacity(1), level)) };
  }

  /** The region's level after what was told. */
  told(level: number, nowMs: number, outage: number): void {
    this.#outage = outage;
    this.#telling = undefined;
    this.#taken = Math.min(this.#taken, this.#mostToTell);
    this.#level = level - this.#taken;
    this.#atMs = nowMs;
  }
}
