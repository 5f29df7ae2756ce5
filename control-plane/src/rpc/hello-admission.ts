/** How many nodes may come back at once: a bucket of Hellos, and few that take a whole snapshot. */

const HELLOS_PER_SECOND = 25;
const MAX_SNAPSHOT_STREAMS = 4;

/** A node sent away for want of a snapshot's place comes back about when one is done. */
const SNAPSHOT_RETRY_MS = 1_000;

export class HelloAdmission {
  readonly #perSecond: number;
  readonly #maxSnapshots: number;
  #tokens: number;
  #filledAtMs: number;
  #snapshots = 0;

  constructor(nowMs: number, perSecond: number = HELLOS_PER_SECOND, maxSnapshots: number = MAX_SNAPSHOT_STREAMS) {
    this.#perSecond = perSecond;
    this.#maxSnapshots = maxSnapshots;
    this.#tokens = perSecond;
    this.#filledAtMs = nowMs;
  }

  get snapshotStreams(): number {
    return this.#snapshots;
  }

  /** Undefined when the Hello is admitted, else when to try again (ms). */
  hello(nowMs: number): number | undefined {
    const gained = (Math.max(0, nowMs - this.#filledAtMs) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + gained);
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) return Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1000) + 1_000;
    this.#tokens -= 1;
    return undefined;
  }

  /** Takes a snapshot's place until the returned function is called (once); a number is when to try again (ms). */
  snapshot(): (() => void) | number {
    if (this.#snapshots >= this.#maxSnapshots) return SNAPSHOT_RETRY_MS;
    this.#snapshots += 1;
    let held = true;
    return () => {
      if (held) this.#snapshots -= 1;
      held = false;
    };
  }
}
