/**
 * The delivery of a stream to its client, in three states.
 *
 * HELD: nothing has been sent; a failure is still an HTTP status, and another candidate may be tried unseen.
 * OPEN: nothing came for 10 s, so the head was sent and the connection is kept alive; another candidate may still be
 * tried, but a failure is now an error event.
 * COMMITTED: the first content was handed on; there is no other candidate any more.
 *
 * `progress` is the only method that moves to COMMITTED, the waiting timer the only one that moves to OPEN.
 */
import type { GatewayError } from '@meridian/domain/error';
import type { Loss } from '../canonical/loss.ts';
import type { AnswerStream } from '../dialect/dialect.ts';

export const OPEN_AFTER_MS = 10_000;
/** The longest silence towards a client, but for how exactly the timers run. */
export const KEEP_ALIVE_EVERY_MS = 15_000;
/** Looks at a silence so many times until it is that long: an event that is handed on moves no timer. */
const LOOKS_PER_SILENCE = 3;

export type DeliveryState = 'held' | 'open' | 'committed';

/** What is told in headers of an answer. */
export interface AnswerMeta {
  readonly providerId: string;
  readonly attempts: number;
  /** The concrete model, where it is known before the head. */
  readonly actualModel: string | undefined;
  readonly costUsdLiteral: string | undefined;
  /** What could not be carried between the dialects. */
  readonly losses?: readonly Loss[];
}

/** The client's side of a stream; the server satisfies it. */
export interface ClientStream {
  /** Takes the stream also after its client has left: it is kept for a retry. */
  readonly recording?: boolean;
  /** Status 200 and the headers of an event stream. */
  open(meta: AnswerMeta | undefined): void;
  /** Returns false when the client is slow: stop reading the upstream until `onDrain` calls. */
  write(events: readonly Buffer[]): boolean;
  onDrain(resume: () => void): void;
  keepAlive(): void;
  /** The last bytes, then the end. */
  finish(events: readonly Buffer[]): void;
  /** An error event in the client's dialect, then the end; `bytes` where the stream's own machine has written it. */
  breakOff(error: GatewayError, bytes?: readonly Buffer[]): void;
}

export interface Timers {
  after(delayMs: number, run: () => void): { cancel(): void };
}

/** Backpressure on whoever feeds the stream. */
export interface Feed {
  pause(): void;
  resume(): void;
}

export class Delivery {
  #state: DeliveryState = 'held';
  #timer: { cancel(): void } | undefined;
  #meta: AnswerMeta | undefined;
  #clientGone = false;
  /** Whose events the client has seen. */
  #stream: AnswerStream | undefined;
  /** Looks since something was last sent. */
  #silentLooks = 0;
  /** What waits for the client to read on. */
  #paused: Feed | undefined;
  readonly #client: ClientStream;
  readonly #timers: Timers;

  constructor(client: ClientStream, timers: Timers) {
    this.#client = client;
    this.#timers = timers;
    this.#timer = timers.after(OPEN_AFTER_MS, () => this.#waited());
  }

  get state(): DeliveryState {
    return this.#state;
  }

  /** The client has left: nothing is handed on any more but to a recording, and an upstream that waited for it is read on. */
  clientGone(): void {
    this.#clientGone = this.#client.recording !== true;
    this.#timer?.cancel();
    this.#resume();
  }

  /** An upstream has answered with a stream: its name goes into the head. */
  answeredBy(meta: AnswerMeta): void {
    this.#meta = meta;
  }

  /** Hands on what the stream has ready; commits when the first content is among it. */
  progress(stream: AnswerStream, feed: Feed): void {
    if (this.#clientGone) {
      stream.take();
      return;
    }
    if (this.#state !== 'committed') {
      if (!stream.committed) return;
      if (this.#state === 'held') this.#client.open(named(this.#meta, stream.facts.model));
      this.#state = 'committed';
      this.#stream = stream;
      this.#timer?.cancel();
      this.#keepAliveLater();
    }
    const events = stream.take();
    if (events.length === 0) return;
    this.#silentLooks = 0;
    if (!this.#client.write(events)) {
      this.#paused = feed;
      feed.pause();
      this.#client.onDrain(() => this.#resume());
    }
  }

  #resume(): void {
    const feed = this.#paused;
    this.#paused = undefined;
    feed?.resume();
  }

  /** The terminal bytes, after the final record was written. */
  finish(events: readonly Buffer[]): void {
    this.#timer?.cancel();
    if (this.#clientGone) return;
    if (this.#state === 'held') this.#client.open(this.#meta);
    this.#client.finish(events);
  }

  /** Ends a stream that has begun with an error event. In HELD the caller answers with a status instead. */
  breakOff(error: GatewayError): void {
    this.#timer?.cancel();
    if (!this.#clientGone) this.#client.breakOff(error, this.#stream?.failure?.(error));
  }

  /** Stops the timers of a delivery that ends without a stream. */
  dispose(): void {
    this.#timer?.cancel();
  }

  #waited(): void {
    if (this.#clientGone || this.#state !== 'held') return;
    this.#state = 'open';
    this.#client.open(this.#meta);
    this.#client.keepAlive();
    this.#keepAliveLater();
  }

  #keepAliveLater(): void {
    this.#timer = this.#timers.after(KEEP_ALIVE_EVERY_MS / LOOKS_PER_SILENCE, () => {
      if (this.#clientGone) return;
      this.#silentLooks++;
      if (this.#silentLooks === LOOKS_PER_SILENCE) {
        this.#silentLooks = 0;
        this.#client.keepAlive();
      }
      this.#keepAliveLater();
    });
  }
}

/** With the model's name as the upstream has told it by now. */
function named(meta: AnswerMeta | undefined, actualModel: string | undefined): AnswerMeta | undefined {
  return meta === undefined || actualModel === undefined ? meta : { ...meta, actualModel };
}
