/** The rate limits of one key, or of one key and model, on this node: requests and tokens a minute, requests under way. */
import type { RateLimits } from '@meridian/domain/rate-limit';
import { RateBucket, UNITS } from './rate-bucket.ts';
import type { KeyStanding, KeyUse } from './shared-counters.ts';

/** What the other nodes have under way is believed for so long. */
const ELSEWHERE_FOR_MS = 3_000;
/** Nobody knows when one of the requests under way will end. */
const RETRY_CONCURRENCY_MS = 1_000;

export interface RateRefusal {
  readonly limit: keyof RateLimits;
  /** Of the region. */
  readonly most: number;
  readonly retryAfterMs: number;
}

export class RateGate {
  requests: RateBucket | undefined;
  tokens: RateBucket | undefined;
  #concurrency: number | undefined;
  #running = 0;
  #elsewhere = 0;
  #elsewhereAtMs = 0;

  constructor(limits: RateLimits, nowMs: number, outage: number) {
    this.setLimits(limits, nowMs, outage);
  }

  setLimits(limits: RateLimits, nowMs: number, outage: number): void {
    const bucket = (present: RateBucket | undefined, limit: number | undefined): RateBucket | undefined => {
      if (limit === undefined) return undefined;
      present?.setLimit(limit);
      return present ?? new RateBucket(limit, nowMs, outage);
    };
    this.requests = bucket(this.requests, limits.requestsPerMinute);
    this.tokens = bucket(this.tokens, limits.tokensPerMinute);
    this.#concurrency = limits.concurrency;
  }

  get running(): number {
    return this.#running;
  }

  get limitsConcurrency(): boolean {
    return this.#concurrency !== undefined;
  }

  /** Why a further request is refused now; nothing is taken. */
  refusal(nowMs: number, share: number): RateRefusal | undefined {
    const { requests, tokens } = this;
    if (this.#concurrency !== undefined && this.#running >= this.#concurrencyHere(this.#concurrency, nowMs, share)) {
      return { limit: 'concurrency', most: this.#concurrency, retryAfterMs: RETRY_CONCURRENCY_MS };
    }
    if (requests !== undefined && requests.level(nowMs, share) < UNITS) {
      return { limit: 'requestsPerMinute', most: requests.limit, retryAfterMs: requests.untilMs(UNITS, share) };
    }
    if (tokens !== undefined && tokens.level(nowMs, share) <= 0) {
      return { limit: 'tokensPerMinute', most: tokens.limit, retryAfterMs: tokens.untilMs(1, share) };
    }
    return undefined;
  }

  #concurrencyHere(concurrency: number, nowMs: number, share: number): number {
    if (share < 1) return Math.max(1, Math.ceil(concurrency * share));
    return concurrency - this.#knownElsewhere(nowMs);
  }

  #knownElsewhere(nowMs: number): number {
    return nowMs - this.#elsewhereAtMs < ELSEWHERE_FOR_MS ? this.#elsewhere : 0;
  }

  /** After `refusal` of the same moment gave none. */
  enter(): void {
    this.requests?.take(1);
    this.#running++;
  }

  /** `served` is false for a request that another limit has refused: it counts as none. */
  leave(served: boolean): void {
    this.#running--;
    if (!served) this.requests?.take(-1);
  }

  isIdle(nowMs: number, share: number, tells: boolean): boolean {
    if (this.#running > 0 || this.#knownElsewhere(nowMs) > 0) return false;
    if (this.requests?.isIdle(nowMs, share, tells) === false) return false;
    return this.tokens?.isIdle(nowMs, share, tells) !== false;
  }

  /** Adds what is to be told, and who is to hear the answer. */
  tell(to: Telling, suffix: string, nowMs: number, share: number, outage: number, shareInOutage: number): void {
    const { requests, tokens } = this;
    for (const [name, bucket] of [
      ['r', requests],
      ['t', tokens],
    ] as const) {
      if (bucket === undefined) continue;
      to.use.buckets.push({ name: name + suffix, ...bucket.tell(nowMs, share, outage, shareInOutage) });
      to.buckets.push(bucket);
    }
    if (this.#concurrency === undefined) return;
    to.use.running.push({ name: `c${suffix}`, count: this.#running });
    to.gates.push(this);
  }

  /** What other nodes have under way. */
  told(elsewhere: number, nowMs: number): void {
    this.#elsewhere = elsewhere;
    this.#elsewhereAtMs = nowMs;
  }
}

/** A key's use while it is told: each bucket and gate hears the answer that has its place. */
export class Telling {
  readonly use: {
    readonly keyId: string;
    readonly seq: number;
    readonly buckets: KeyUse['buckets'][number][];
    readonly running: KeyUse['running'][number][];
  };
  readonly buckets: RateBucket[] = [];
  readonly gates: RateGate[] = [];

  constructor(keyId: string, seq: number) {
    this.use = { keyId, seq, buckets: [], running: [] };
  }

  told({ levels, elsewhere }: KeyStanding, nowMs: number, outage: number): void {
    for (const [index, bucket] of this.buckets.entries()) {
      const level = levels[index];
      if (level !== undefined) bucket.told(level, nowMs, outage);
    }
    for (const [index, gate] of this.gates.entries()) gate.told(elsewhere[index] ?? 0, nowMs);
  }
}
