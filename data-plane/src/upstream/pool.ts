/**
 * Connections to providers: one undici pool for each origin, bounded in number, in connections and in calls that wait
 * for one. A pool that nobody has used for a while is closed.
 */
import { Pool } from 'undici';
import type { Deadline, Deadlines } from './deadline.ts';

export interface PoolLimits {
  readonly connectionsPerOrigin: number;
  /** Calls of one origin that wait for a connection; the next one is refused. */
  readonly maxWaitingCallsPerOrigin: number;
  readonly maxOrigins: number;
  /** An idle connection is closed after this; a provider's `keep-alive: timeout` that is shorter wins. */
  readonly connectionIdleMs: number;
  /** A pool without a call is closed after this. */
  readonly originIdleMs: number;
  /** The longest that one attempt to open a connection takes, whoever waits for it. */
  readonly connectionAttemptMs: number;
  readonly maxAnswerHeadBytes: number;
}

export const DEFAULT_POOL_LIMITS: PoolLimits = {
  connectionsPerOrigin: 512,
  maxWaitingCallsPerOrigin: 1024,
  maxOrigins: 256,
  connectionIdleMs: 30_000,
  originIdleMs: 300_000,
  connectionAttemptMs: 10_000,
  maxAnswerHeadBytes: 32 * 1024,
};

/** The connections to one origin, with what is under way on them. */
export class OriginPool {
  readonly dispatcher: Pool;
  /** Calls that have been dispatched and are not over. */
  calls = 0;
  /** Those of them that have no connection yet. */
  waiting = 0;
  readonly #maxWaiting: number;

  constructor(origin: string, limits: PoolLimits) {
    this.#maxWaiting = limits.maxWaitingCallsPerOrigin;
    this.dispatcher = new Pool(origin, {
      connections: limits.connectionsPerOrigin,
      pipelining: 1,
      allowH2: false,
      // The wheel counts the waits of a call; undici's own timers would cost one more a request.
      headersTimeout: 0,
      bodyTimeout: 0,
      connectTimeout: limits.connectionAttemptMs,
      keepAliveTimeout: limits.connectionIdleMs,
      keepAliveMaxTimeout: limits.connectionIdleMs,
      maxHeaderSize: limits.maxAnswerHeadBytes,
      // Providers answer on IPv4 and IPv6; a dead family must not cost the whole connect time.
      autoSelectFamily: true,
      connect: { noDelay: true, keepAlive: true },
    });
  }

  get isFull(): boolean {
    return this.waiting >= this.#maxWaiting;
  }
}

export class Pools {
  readonly #limits: PoolLimits;
  readonly #deadlines: Deadlines;
  readonly #pools = new Map<string, { readonly pool: OriginPool; readonly idle: Deadline }>();
  #closed = false;

  constructor(limits: PoolLimits, deadlines: Deadlines) {
    this.#limits = limits;
    this.#deadlines = deadlines;
  }

  get size(): number {
    return this.#pools.size;
  }

  /** The pool of an origin, made on first use. Throws when it cannot be: a bad origin, too many origins in use, or closed. */
  of(origin: string): OriginPool {
    const known = this.#pools.get(origin);
    if (known !== undefined) {
      known.idle.restart(this.#limits.originIdleMs);
      return known.pool;
    }
    if (this.#closed) throw new Error('the upstream is closed');
    if (this.#pools.size >= this.#limits.maxOrigins && !this.#closeAnIdleOne()) {
      throw new Error(`more than ${this.#limits.maxOrigins} origins are in use`);
    }
    const pool = new OriginPool(origin, this.#limits);
    const idle = this.#deadlines.after(this.#limits.originIdleMs, () => {
      if (pool.calls > 0) idle.restart(this.#limits.originIdleMs);
      else this.#close(origin);
    });
    this.#pools.set(origin, { pool, idle });
    return pool;
  }

  /** Closes every connection; running calls fail as `cancelled`. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#pools.values()];
    this.#pools.clear();
    for (const { idle } of all) idle.cancel();
    await Promise.all(all.map(({ pool }) => pool.dispatcher.destroy()));
  }

  #closeAnIdleOne(): boolean {
    for (const [origin, { pool }] of this.#pools) {
      if (pool.calls > 0) continue;
      this.#close(origin);
      return true;
    }
    return false;
  }

  #close(origin: string): void {
    const entry = this.#pools.get(origin);
    if (entry === undefined) return;
    this.#pools.delete(origin);
    entry.idle.cancel();
    // Nothing runs on it, so this is graceful; it cannot fail in a way that anybody could act on.
    void entry.pool.dispatcher.destroy();
  }
}
