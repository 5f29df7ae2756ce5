/**
 * One call to a provider over undici's `dispatch`: a handler object per call, no promise, no stream, no timer of its own.
 *
 * A call goes through the stages waiting (for a connection) → sending → awaiting_head → reading, and is over after the
 * end, a failure, or `cancel`, whichever is first. Each stage has its deadline; the total runs beside them. Both share
 * one place on the wheel, which is only looked at when it comes round.
 */
import type { Dispatcher } from 'undici';
import type { Upstream, UpstreamCall, UpstreamFailureKind, UpstreamHandler, UpstreamRequest } from './call.ts';
import type { Deadline, Deadlines } from './deadline.ts';
import { type CallStage, failureOf } from './failure.ts';
import { DEFAULT_POOL_LIMITS, type OriginPool, type PoolLimits, Pools } from './pool.ts';

/** Bodies of several slices up to this size are joined: one write costs less than many. Larger ones are never copied. */
const MAX_JOINED_BODY_BYTES = 64 * 1024;

export interface UpstreamOptions extends Partial<PoolLimits> {
  /** The clock and the wheel of all waits; started and stopped by whoever made it. */
  readonly deadlines: Deadlines;
}

/** The calls to all providers. Limits that are not given are `DEFAULT_POOL_LIMITS`. */
export function createUpstream(options: UpstreamOptions): Upstream {
  const { deadlines, ...limits } = options;
  const pools = new Pools({ ...DEFAULT_POOL_LIMITS, ...limits }, deadlines);
  return {
    dispatch(request, handler) {
      return Call.start(pools, deadlines, request, handler);
    },
    close: () => pools.close(),
  };
}

class Call implements UpstreamCall, Dispatcher.DispatchHandler {
  readonly #handler: UpstreamHandler;
  readonly #timeouts: UpstreamRequest['timeouts'];
  readonly #deadlines: Deadlines;
  readonly #deadline: Deadline;
  readonly #totalDueMs: number;
  #stageDueMs: number;
  #stage: CallStage = 'waiting';
  #over = false;
  #pool: OriginPool | undefined;
  #hasSlot = false;
  #controller: Dispatcher.DispatchController | undefined;
  #paused = false;
  /** What undici hands over in spite of a pause: the rest of a read, or of a connection that was closed. */
  readonly #held: Buffer[] = [];
  #endHeld = false;
  /** `dispatch` has not returned yet: the caller does not have the call, so a failure waits for a microtask. */
  #starting = true;

  static start(pools: Pools, deadlines: Deadlines, request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const call = new Call(deadlines, request, handler);
    call.#dispatch(pools, request);
    call.#starting = false;
    return call;
  }

  private constructor(deadlines: Deadlines, request: UpstreamRequest, handler: UpstreamHandler) {
    this.#handler = handler;
    this.#timeouts = request.timeouts;
    this.#deadlines = deadlines;
    const nowMs = deadlines.nowMs();
    this.#totalDueMs = nowMs + request.timeouts.totalMs;
    this.#stageDueMs = nowMs + request.timeouts.connectMs;
    this.#deadline = deadlines.after(Math.min(request.timeouts.connectMs, request.timeouts.totalMs), () => this.#expired());
  }

  pause(): void {
    if (this.#over || this.#paused) return;
    this.#paused = true;
    this.#controller?.pause();
    // The client is slow, not the provider: only the total runs on.
    if (this.#stage === 'reading') this.#stageDueMs = Number.POSITIVE_INFINITY;
  }

  resume(): void {
    if (this.#over || !this.#paused) return;
    this.#paused = false;
    // A receiver may pause and resume from within: the inner call goes on where this one stands.
    for (let chunk = this.#held.shift(); chunk !== undefined; chunk = this.#held.shift()) {
      this.#handler.onData(chunk);
      if (this.#over || this.#paused) return;
    }
    if (this.#endHeld) {
      this.#end();
      return;
    }
    if (this.#stage === 'reading') this.#enter('reading', this.#timeouts.idleMs);
    this.#controller?.resume();
  }

  cancel(): void {
    if (this.#over) return;
    this.#finish();
    this.#abort();
  }

  // ——— undici's side ———

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#freeSlot();
    // Thrown rather than aborted: an abort would destroy the connection, which is as good as new.
    if (this.#over) throw new Error('cancelled before it was sent');
    this.#controller = controller;
    if (this.#paused) controller.pause();
    this.#enter('sending', this.#timeouts.idleMs);
  }

  onBodySent(): void {
    if (!this.#over) this.#stageDueMs = this.#deadlines.nowMs() + this.#timeouts.idleMs;
  }

  onRequestSent(): void {
    // An answer may come before the last byte of the request is written.
    if (!this.#over && this.#stage === 'sending') this.#enter('awaiting_head', this.#timeouts.firstByteMs);
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (this.#over || status < 200) return;
    this.#enter('reading', this.#timeouts.idleMs);
    this.#handler.onHead(status, joined(headers));
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#over) return;
    if (this.#paused) {
      this.#held.push(chunk);
      return;
    }
    this.#stageDueMs = this.#deadlines.nowMs() + this.#timeouts.idleMs;
    this.#handler.onData(chunk);
  }

  onResponseEnd(): void {
    this.#controller = undefined;
    if (this.#over) return;
    if (this.#paused) this.#endHeld = true;
    else this.#end();
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#freeSlot();
    this.#controller = undefined;
    this.#fail(error);
  }

  // ——— the stages ———

  #dispatch(pools: Pools, request: UpstreamRequest): void {
    let pool: OriginPool;
    try {
      pool = pools.of(request.origin);
      if (pool.isFull) throw new Error(`too many calls wait for a connection to ${request.origin}`);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#pool = pool;
    pool.calls++;
    pool.waiting++;
    this.#hasSlot = true;
    const body = bodyOf(request);
    pool.dispatcher.dispatch(
      {
        origin: request.origin,
        path: request.path,
        method: request.method,
        // undici only reads the array.
        headers: (Array.isArray(body)
          ? [...request.headers, 'content-length', String(totalBytes(request.body))]
          : request.headers) as string[],
        // undici takes any iterable of buffers; its types name only some of them.
        body: body as Buffer | null,
      },
      this,
    );
  }

  #enter(stage: CallStage, withinMs: number): void {
    this.#stage = stage;
    if (stage === 'reading' && this.#paused) {
      this.#stageDueMs = Number.POSITIVE_INFINITY;
      return;
    }
    const dueMs = this.#deadlines.nowMs() + withinMs;
    const sooner = dueMs < this.#stageDueMs;
    this.#stageDueMs = dueMs;
    if (sooner) this.#rearm();
  }

  #rearm(): void {
    this.#deadline.restart(Math.max(0, Math.min(this.#stageDueMs, this.#totalDueMs) - this.#deadlines.nowMs()));
  }

  #expired(): void {
    const nowMs = this.#deadlines.nowMs();
    if (nowMs >= this.#totalDueMs) this.#timedOut('total_timeout');
    else if (nowMs >= this.#stageDueMs) this.#timedOut(STAGE_TIMEOUT[this.#stage]);
    else this.#rearm();
  }

  #timedOut(kind: UpstreamFailureKind): void {
    const uncertain = this.#stage !== 'waiting';
    this.#finish();
    this.#abort();
    this.#handler.onFailure({ kind, uncertain, cause: undefined });
  }

  #end(): void {
    this.#finish();
    try {
      this.#handler.onEnd();
    } catch (error) {
      // undici would take it for an error of the exchange and tell nobody.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #fail(cause: unknown): void {
    if (this.#over) return;
    const failure = failureOf(cause, this.#stage);
    if (!this.#starting) {
      this.#finish();
      this.#handler.onFailure(failure);
      return;
    }
    queueMicrotask(() => {
      if (this.#over) return;
      this.#finish();
      this.#handler.onFailure(failure);
    });
  }

  #finish(): void {
    this.#over = true;
    this.#deadline.cancel();
    this.#held.length = 0;
    if (this.#pool !== undefined) this.#pool.calls--;
  }

  /** Destroys the exchange where it has begun; one that waits for its connection is dropped when its turn comes. */
  #abort(): void {
    const controller = this.#controller;
    this.#controller = undefined;
    controller?.abort(new Error('the call was ended'));
  }

  #freeSlot(): void {
    if (!this.#hasSlot) return;
    this.#hasSlot = false;
    if (this.#pool !== undefined) this.#pool.waiting--;
  }
}

const STAGE_TIMEOUT: Readonly<Record<CallStage, UpstreamFailureKind>> = {
  waiting: 'connect_timeout',
  sending: 'idle_timeout',
  awaiting_head: 'first_byte_timeout',
  reading: 'idle_timeout',
};

/** A single buffer where that is cheap or given, else the slices themselves, which undici writes one by one. */
function bodyOf(request: UpstreamRequest): Buffer | readonly Buffer[] | null {
  const { body } = request;
  if (body.length === 0) return null;
  if (body.length === 1) return body[0] ?? null;
  return totalBytes(body) <= MAX_JOINED_BODY_BYTES ? Buffer.concat(body) : body;
}

function totalBytes(slices: readonly Buffer[]): number {
  let bytes = 0;
  for (const slice of slices) bytes += slice.length;
  return bytes;
}

/** Repeated headers as one, in the way of RFC 9110 §5.3. */
function joined(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  for (const name in headers) {
    const value = headers[name];
    if (typeof value !== 'string') headers[name] = value === undefined ? '' : value.join(', ');
  }
  // Every value is a string now; the object is undici's fresh one for this call, so it need not be copied.
  return headers as Record<string, string>;
}
