/** Counts the tokens of texts in a worker thread, which is started when the first is to be counted. */
import { Worker } from 'node:worker_threads';
import type { Encoding } from './tokenizers.ts';

/** Jobs that wait for the worker; one more is not taken. */
export const MAX_WAITING_COUNTS = 64;
/** Nobody is kept waiting for a count any longer, the loading of an encoding included. */
export const COUNT_WITHIN_MS = 300;
/** A worker that has been at one job for so long is given up. */
export const WORKER_STUCK_MS = 5_000;
/** Both encodings take about 40 MB of heap; what grows beyond this has gone wrong, and dies alone. */
const WORKER_MAX_HEAP_MB = 256;

/** What admission asks for; the counter satisfies it. */
export interface TokenCounts {
  /**
   * The tokens of all texts together, each counted by itself. `done` is called once and never before this returns:
   * with the sum, or with undefined where it was not counted in time. The function returned gives up the wait; undefined where
   * too many are waiting.
   */
  count(encoding: Encoding, texts: readonly string[], done: (tokens: number | undefined) => void): (() => void) | undefined;
}

/** To the worker. */
export interface CountJob {
  readonly encoding: Encoding;
  readonly texts: readonly string[];
}

/** From the worker. Jobs are answered in their order. */
export type CountReport =
  | { readonly kind: 'loaded'; readonly encoding: Encoding; readonly heapBytes: number; readonly tookMs: number }
  | { readonly kind: 'counted'; readonly tokens: number | undefined };

export interface TokenCounterOptions {
  readonly after: (delayMs: number, expired: () => void) => { cancel(): void };
  readonly log: {
    info(fields: Readonly<Record<string, unknown>>, message: string): void;
    warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  };
  /** The worker's module; the one beside this file where none is given. */
  readonly worker?: URL;
}

interface Waiting {
  readonly job: CountJob;
  /** Undefined once it has been called, or nobody waits for it. */
  done: ((tokens: number | undefined) => void) | undefined;
  limit: { cancel(): void } | undefined;
}

export class TokenCounter implements TokenCounts {
  readonly #options: TokenCounterOptions;
  readonly #waiting: Waiting[] = [];
  #running: Waiting | undefined;
  #stuck: { cancel(): void } | undefined;
  #worker: Worker | undefined;
  #closed = false;

  constructor(options: TokenCounterOptions) {
    this.#options = options;
  }

  count(encoding: Encoding, texts: readonly string[], done: (tokens: number | undefined) => void): (() => void) | undefined {
    if (this.#closed || this.#waiting.length >= MAX_WAITING_COUNTS) return undefined;
    const waiting: Waiting = { job: { encoding, texts }, done, limit: undefined };
    waiting.limit = this.#options.after(COUNT_WITHIN_MS, () => {
      this.#leave(waiting);
      answer(waiting, undefined);
    });
    this.#waiting.push(waiting);
    this.#next();
    return () => {
      this.#leave(waiting);
      waiting.done = undefined;
      waiting.limit?.cancel();
    };
  }

  /** Ends the worker; who still waits is told that nothing was counted. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = undefined;
    this.#idle(undefined);
    for (const waiting of this.#waiting.splice(0)) answer(waiting, undefined);
    await worker?.terminate();
  }

  #leave(waiting: Waiting): void {
    const at = this.#waiting.indexOf(waiting);
    if (at !== -1) this.#waiting.splice(at, 1);
  }

  #next(): void {
    if (this.#running !== undefined || this.#closed) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return;
    this.#running = waiting;
    this.#worker ??= this.#start();
    const worker = this.#worker;
    worker.postMessage(waiting.job);
    this.#stuck = this.#options.after(WORKER_STUCK_MS, () => void worker.terminate());
  }

  /** The running job is over. */
  #idle(tokens: number | undefined): void {
    this.#stuck?.cancel();
    const running = this.#running;
    this.#running = undefined;
    if (running !== undefined) answer(running, tokens);
  }

  #start(): Worker {
    const worker = new Worker(this.#options.worker ?? new URL('./token-count-worker.ts', import.meta.url), {
      name: 'token-count',
      // It needs nothing of the process: neither its options nor its environment, in which there are secrets.
      execArgv: [],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: WORKER_MAX_HEAP_MB },
    });
    let failure: string | undefined;
    worker.unref();
    worker.on('message', (said: CountReport) => {
      if (this.#worker !== worker) return;
      if (said.kind === 'counted') {
        this.#idle(said.tokens);
        this.#next();
      } else {
        const { encoding, heapBytes, tookMs } = said;
        this.#options.log.info({ encoding, heap_mb: Math.round(heapBytes / 1e6), took_ms: Math.round(tookMs) }, 'a tokenizer was loaded');
      }
    });
    worker.on('error', (error: unknown) => {
      // The name alone: a message could quote what was being counted.
      failure = error instanceof Error ? error.name : 'unknown';
    });
    worker.on('exit', (code) => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#options.log.warn({ code, failure }, 'the token counter has ended; the next count starts it anew');
      this.#idle(undefined);
      this.#next();
    });
    return worker;
  }
}

function answer(waiting: Waiting, tokens: number | undefined): void {
  const { done } = waiting;
  waiting.done = undefined;
  waiting.limit?.cancel();
  done?.(tokens);
}
