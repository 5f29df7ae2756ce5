/**
 * Rate limits of API keys, decided on the node without waiting for anybody.
 *
 * Each limited key has its buckets here, as copies of those of the region. What is taken is told to the region some milliseconds later,
 * and the region's level comes back; between the two, nodes that do not know of each other can take more than there is, at most a
 * bucket's content each. That is a debt which all of them wait for, so that over longer times the limit holds exactly.
 *
 * While the region is out of reach, a node keeps to limit ÷ (nodes of the region) × 1.2.
 *
 * Order of a request: `enter` before its body is read, `RatePermit.plan` when its model is known, `used` when its usage is,
 * `release` at the end of whatever became of it.
 */
import { GatewayError } from '@meridian/domain/error';
import { type RateLimits, stricterLimits } from '@meridian/domain/rate-limit';
import type { ApiKey, Plan } from '@meridian/domain/snapshot';
import { SLACK } from './rate-bucket.ts';
import { RateGate, type RateRefusal, Telling } from './rate-gate.ts';
import { rateHeaders } from './rate-headers.ts';
import type { SharedCounters } from './shared-counters.ts';

/** Keys that are remembered at one time; those beyond take the place of one that rests. */
const MAX_LIMITED_KEYS = 100_000;
/** Where none of so many of the oldest rests, a further key is not limited. */
const MAX_LOOKED_AT = 64;
const TELL_AFTER_MS = 20;
/** Out of reach, the region is tried with one key at a time. */
const TRY_AGAIN_MS = 100;
const MAX_KEYS_A_MESSAGE = 128;
/** What runs is told anew, and what rests is forgotten, so often. */
const SWEEP_MS = 1_000;
const MAX_SWEPT_KEYS = 5_000;

export interface RateLimiterDeps {
  /** Undefined: the node has no region to tell. */
  readonly counters: SharedCounters | undefined;
  /** Monotonic, whole milliseconds. */
  readonly nowMs: () => number;
  /** Nodes of the region, this one included; the last that was known. */
  readonly regionNodes: () => number;
  /** Runs once after a time; the function returned keeps it from running. Timers of the process when absent. */
  readonly after?: (delayMs: number, run: () => void) => () => void;
  readonly maxKeys?: number;
}

/** Who asks, with the limits that hold. */
export interface RateLimited {
  readonly key: Pick<ApiKey, 'id' | 'rateLimits' | 'modelRateLimits'>;
  readonly plan: Pick<Plan, 'rateLimits' | 'modelRateLimits'>;
}

/** One key's limits on this node. */
interface LimitedKey {
  readonly keyId: string;
  /** As the limits below were made from. */
  who: RateLimited;
  modelLimits: RateLimits | undefined;
  /** Undefined before its limits are known. */
  whole: RateGate | undefined;
  /** Of what is told, or was without an answer. */
  seq: number;
  isUnheard: boolean;
  readonly models: Map<string, RateGate>;
}

export class RateLimiter {
  readonly #deps: RateLimiterDeps;
  readonly #keys = new Map<string, LimitedKey>();
  readonly #untold = new Set<LimitedKey>();
  #sweepOver: MapIterator<LimitedKey>;
  #share: number;
  /** How often the region went out of reach. */
  #outages = 0;
  #away = false;
  #telling = false;
  #cancelTelling: (() => void) | undefined;
  #cancelSweep: (() => void) | undefined;
  #closed = false;
  #unlimited = 0;
  #seq = 0;

  constructor(deps: RateLimiterDeps) {
    this.#deps = deps;
    this.#sweepOver = this.#keys.values();
    this.#share = deps.counters === undefined ? this.#shareAlone() : 1;
  }

  /** Keys that are remembered. */
  get keys(): number {
    return this.#keys.size;
  }

  /** Requests of keys for which there was no room. */
  get unlimited(): number {
    return this.#unlimited;
  }

  /** The part of each limit that this node may use: 1 while the region can be told. */
  get share(): number {
    return this.#share;
  }

  /** Undefined for a key without limits. Where a limit refuses the request, the permit says why and holds nothing. */
  enter(who: RateLimited): RatePermit | undefined {
    const { key, plan } = who;
    if (
      key.rateLimits === undefined &&
      plan.rateLimits === undefined &&
      key.modelRateLimits === undefined &&
      plan.modelRateLimits === undefined
    ) {
      return undefined;
    }
    const nowMs = this.#deps.nowMs();
    const limited = this.#keyOf(who, nowMs);
    if (limited === undefined) {
      this.#unlimited++;
      return undefined;
    }
    const refusal = limited.whole?.refusal(nowMs, this.#share);
    if (refusal === undefined) limited.whole?.enter();
    // After a refusal, too: what other nodes have given back since is heard before the client tries again.
    this.#toTell(limited);
    return new Permit(this, limited, refusal);
  }

  /** Why a request would be refused now by the rates of its key; nothing is taken, and what runs at the same time is not looked at. */
  refusal({ key }: RateLimited): GatewayError | undefined {
    const refusal = this.#keys.get(key.id)?.whole?.refusal(this.#deps.nowMs(), this.#share);
    return refusal === undefined || refusal.limit === 'concurrency' ? undefined : rateError(refusal, undefined);
  }

  /** @internal The gate of a model; undefined where models are not limited apart. */
  modelGate(limited: LimitedKey, modelId: string): RateGate | undefined {
    if (limited.modelLimits === undefined) return undefined;
    let gate = limited.models.get(modelId);
    if (gate === undefined) {
      gate = new RateGate(limited.modelLimits, this.#deps.nowMs(), this.#outages);
      limited.models.set(modelId, gate);
    }
    return gate;
  }

  /** @internal */
  refusalAt(gate: RateGate): RateRefusal | undefined {
    return gate.refusal(this.#deps.nowMs(), this.#share);
  }

  /** @internal */
  changed(limited: LimitedKey): void {
    this.#toTell(limited);
  }

  /** @internal */
  headers(gates: readonly (RateGate | undefined)[]): readonly string[] {
    return rateHeaders(gates, this.#deps.nowMs(), this.#share);
  }

  /** Tells nobody any more. */
  close(): void {
    this.#closed = true;
    this.#cancelTelling?.();
    this.#cancelSweep?.();
  }

  #keyOf(who: RateLimited, nowMs: number): LimitedKey | undefined {
    const present = this.#keys.get(who.key.id);
    if (present === undefined) return this.#newKey(who, nowMs);
    // Entities of the picture are replaced, never changed.
    if (present.who.key !== who.key || present.who.plan !== who.plan) this.#setLimits(present, who, nowMs);
    return present;
  }

  #newKey(who: RateLimited, nowMs: number): LimitedKey | undefined {
    if (this.#keys.size >= (this.#deps.maxKeys ?? MAX_LIMITED_KEYS) && !this.#makeRoom()) return undefined;
    const made: LimitedKey = {
      keyId: who.key.id,
      who,
      modelLimits: undefined,
      whole: undefined,
      seq: 0,
      isUnheard: false,
      models: new Map(),
    };
    this.#setLimits(made, who, nowMs);
    this.#keys.set(made.keyId, made);
    if (this.#cancelSweep === undefined) this.#sweepLater();
    return made;
  }

  #setLimits(limited: LimitedKey, who: RateLimited, nowMs: number): void {
    const limits = stricterLimits(who.plan.rateLimits, who.key.rateLimits) ?? {};
    limited.who = who;
    // Without limits the gate still counts those who entered before.
    if (limited.whole === undefined) limited.whole = new RateGate(limits, nowMs, this.#outages);
    else limited.whole.setLimits(limits, nowMs, this.#outages);
    limited.modelLimits = stricterLimits(who.plan.modelRateLimits, who.key.modelRateLimits);
    for (const gate of limited.models.values()) gate.setLimits(limited.modelLimits ?? {}, nowMs, this.#outages);
  }

  #makeRoom(): boolean {
    let looked = 0;
    for (const limited of this.#keys.values()) {
      if (runningOf(limited) === 0) {
        this.#forget(limited);
        return true;
      }
      if (++looked === MAX_LOOKED_AT) return false;
    }
    return false;
  }

  #forget(limited: LimitedKey): void {
    this.#keys.delete(limited.keyId);
    this.#untold.delete(limited);
  }

  #toTell(limited: LimitedKey): void {
    if (this.#deps.counters === undefined) return;
    this.#untold.add(limited);
    if (this.#cancelTelling === undefined && !this.#telling) this.#tellLater(TELL_AFTER_MS);
  }

  #tellLater(delayMs: number): void {
    if (this.#closed) return;
    this.#cancelTelling = this.#after(delayMs, () => {
      this.#cancelTelling = undefined;
      void this.#tellAll();
    });
  }

  /** Never rejects. */
  async #tellAll(): Promise<void> {
    const { counters } = this.#deps;
    if (counters === undefined || this.#telling) return;
    this.#telling = true;
    let reached = true;
    let left = this.#untold.size;
    while (reached && left > 0 && this.#untold.size > 0 && !this.#closed) {
      const most = this.#away ? 1 : MAX_KEYS_A_MESSAGE;
      reached = await this.#tellSome(counters, most);
      left -= most;
    }
    this.#telling = false;
    // What was taken meanwhile waits like the rest: told at once, a busy key would be told as often as the region can answer.
    if (this.#untold.size > 0) this.#tellLater(reached ? TELL_AFTER_MS : TRY_AGAIN_MS);
  }

  async #tellSome(counters: SharedCounters, most: number): Promise<boolean> {
    const nowMs = this.#deps.nowMs();
    const shareAlone = this.#shareAlone();
    const tellings: { readonly limited: LimitedKey; readonly telling: Telling }[] = [];
    for (const limited of this.#untold) {
      this.#untold.delete(limited);
      if (!limited.isUnheard) limited.seq = ++this.#seq;
      limited.isUnheard = true;
      const telling = new Telling(limited.keyId, limited.seq);
      limited.whole?.tell(telling, '', nowMs, this.#share, this.#outages, shareAlone);
      for (const [modelId, gate] of limited.models) gate.tell(telling, `/${modelId}`, nowMs, this.#share, this.#outages, shareAlone);
      tellings.push({ limited, telling });
      if (tellings.length === most) break;
    }
    try {
      const standings = await counters.share(tellings.map(({ telling }) => telling.use));
      const toldAtMs = this.#deps.nowMs();
      for (const [index, { limited, telling }] of tellings.entries()) {
        const standing = standings[index];
        if (standing === undefined) continue;
        limited.isUnheard = false;
        telling.told(standing, toldAtMs, this.#outages);
      }
      this.#reach(true);
      return true;
    } catch {
      for (const { limited } of tellings) {
        if (this.#keys.get(limited.keyId) === limited) this.#untold.add(limited);
      }
      // One answer that is late is no outage: what is known of the region still serves.
      if (counters.away) this.#reach(false);
      return false;
    }
  }

  #reach(reached: boolean): void {
    if (!reached && !this.#away) this.#outages++;
    this.#away = !reached;
    this.#share = reached ? 1 : this.#shareAlone();
  }

  #shareAlone(): number {
    return Math.min(1, SLACK / Math.max(1, this.#deps.regionNodes()));
  }

  #sweepLater(): void {
    if (this.#closed) return;
    this.#cancelSweep = this.#after(SWEEP_MS, () => {
      this.#cancelSweep = undefined;
      this.#sweep();
      if (this.#keys.size > 0) this.#sweepLater();
    });
  }

  #sweep(): void {
    const { counters } = this.#deps;
    if (counters === undefined) this.#share = this.#shareAlone();
    else if (this.#away || counters.away) this.#reach(false);
    const nowMs = this.#deps.nowMs();
    for (let looked = 0; looked < MAX_SWEPT_KEYS && looked < this.#keys.size; looked++) {
      const { value: limited, done } = this.#sweepOver.next();
      if (done === true) {
        this.#sweepOver = this.#keys.values();
        continue;
      }
      if (isIdle(limited, nowMs, this.#share, counters !== undefined)) this.#forget(limited);
      else if (runningOf(limited) > 0 && tellsRunning(limited)) this.#toTell(limited);
    }
  }

  #after(delayMs: number, run: () => void): () => void {
    if (this.#deps.after !== undefined) return this.#deps.after(delayMs, run);
    const timer = setTimeout(run, delayMs).unref();
    return () => clearTimeout(timer);
  }
}

function runningOf(limited: LimitedKey): number {
  return limited.whole?.running ?? 0;
}

function tellsRunning(limited: LimitedKey): boolean {
  return limited.whole?.limitsConcurrency === true || limited.modelLimits?.concurrency !== undefined;
}

function isIdle(limited: LimitedKey, nowMs: number, share: number, tells: boolean): boolean {
  if (limited.whole?.isIdle(nowMs, share, tells) === false) return false;
  for (const gate of limited.models.values()) if (!gate.isIdle(nowMs, share, tells)) return false;
  return true;
}

/** A request's place in the rate limits of its key. */
export interface RatePermit {
  /** Why the request is refused: it holds nothing then. */
  readonly refusal: GatewayError | undefined;
  /** When the model is known: enters its limits too, and sets the tokens aside that the request is thought to take. Throws GatewayError 429. */
  plan(modelId: string, tokens: number): void;
  /** What it took takes the place of what was set aside. */
  used(tokens: number): void;
  /** Ends it; tokens that were set aside and not used come back. Idempotent. */
  release(): void;
  /** `x-ratelimit-…`, flat, as it stands now. */
  headers(): readonly string[];
}

class Permit implements RatePermit {
  readonly refusal: GatewayError | undefined;
  readonly #limiter: RateLimiter;
  readonly #limited: LimitedKey;
  /** Entered. */
  #model: RateGate | undefined;
  /** Asked: entered, or the one that has refused. */
  #askedModel: RateGate | undefined;
  #tokens = 0;
  #open: boolean;
  #served = true;
  #used = false;

  constructor(limiter: RateLimiter, limited: LimitedKey, refusal: RateRefusal | undefined) {
    this.#limiter = limiter;
    this.#limited = limited;
    this.#open = refusal === undefined;
    this.refusal = refusal === undefined ? undefined : rateError(refusal, undefined);
  }

  plan(modelId: string, tokens: number): void {
    if (!this.#open) return;
    const gate = this.#limiter.modelGate(this.#limited, modelId);
    this.#askedModel = gate;
    if (gate !== undefined) {
      const refusal = this.#limiter.refusalAt(gate);
      if (refusal !== undefined) {
        this.#served = false;
        throw rateError(refusal, modelId);
      }
      gate.enter();
      this.#model = gate;
    }
    this.#take(tokens);
  }

  used(tokens: number): void {
    if (!this.#open) return;
    this.#used = true;
    this.#take(tokens);
  }

  release(): void {
    if (!this.#open) return;
    this.#open = false;
    if (!this.#used) this.#take(0);
    this.#limited.whole?.leave(this.#served);
    this.#model?.leave(true);
    this.#limiter.changed(this.#limited);
  }

  headers(): readonly string[] {
    return this.#limiter.headers([this.#limited.whole, this.#askedModel]);
  }

  #take(tokens: number): void {
    const more = tokens - this.#tokens;
    this.#tokens = tokens;
    this.#limited.whole?.tokens?.take(more);
    this.#model?.tokens?.take(more);
    this.#limiter.changed(this.#limited);
  }
}

const WORDS: Readonly<Record<keyof RateLimits, string>> = {
  requestsPerMinute: 'requests a minute',
  tokensPerMinute: 'tokens a minute',
  concurrency: 'requests at one time',
};

/**
 * Clients of the trade wait by themselves for as long as `retry-after` says up to a minute. Above it some come back within seconds, as if
 * nothing had been said, and some hold their caller for all of it: such a refusal is the caller's to know of.
 */
const LONGEST_RETRY_S = 60;

function rateError({ limit, most, retryAfterMs }: RateRefusal, modelId: string | undefined): GatewayError {
  const retryAfterSeconds = Math.max(1, Math.ceil(retryAfterMs / 1000));
  const where = modelId === undefined ? '' : ` for the model '${modelId}'`;
  return new GatewayError('rate_limit_exceeded', {
    message: `This API key may make ${most} ${WORDS[limit]}${where}. Try again in ${retryAfterSeconds} s.`,
    retryAfterSeconds,
    retryable: retryAfterSeconds <= LONGEST_RETRY_S,
    details: { limit: LIMIT_NAMES[limit] },
  });
}

const LIMIT_NAMES: Readonly<Record<keyof RateLimits, string>> = {
  requestsPerMinute: 'requests_per_minute',
  tokensPerMinute: 'tokens_per_minute',
  concurrency: 'concurrency',
};
