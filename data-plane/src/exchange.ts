/** One request and the way its answer goes back: what the server hands to the pipeline, and what the pipeline asks of the server. */
import type { Operation } from '@meridian/domain/dialect';
import type { GatewayError } from '@meridian/domain/error';
import type { Final } from '@meridian/domain/usage-record';
import type { Principal } from './admission/authenticate.ts';
import type { RatePermit } from './admission/rate-limit.ts';
import type { Dialect, RequestPlace } from './dialect/dialect.ts';
import type { AnswerMeta, ClientStream } from './routing/commit.ts';

export interface Exchange {
  readonly requestId: string;
  readonly dialect: Dialect;
  readonly operation: Operation;
  readonly principal: Principal;
  /** Only of a key with rate limits. */
  readonly permit?: RatePermit | undefined;
  readonly body: Buffer;
  /** What the path and the headers say of it. */
  readonly place: RequestPlace;
  /** When the request arrived (ms since 1970). */
  readonly arrivedMs: number;
}

export interface Reply extends ClientStream {
  /** Only of a request that others with the same idempotency key wait for. */
  readonly once?: Once;
  /** Whether the client has closed its connection. */
  readonly gone: boolean;
  /** Calls at once when the client has already gone. */
  onGone(run: () => void): void;
  /** A whole answer: status 200. */
  answer(meta: AnswerMeta, body: readonly Buffer[]): void;
  /** An error before anything was sent: the catalogue's status, in the client's dialect. */
  fail(error: GatewayError): void;
}

/** What a request that may be charged once only, however often it is retried, tells whoever sees to that. */
export interface Once {
  /** Asked before a final that may charge. False: another request has taken the place of this one, which must come to nothing. Never rejects. */
  settling(): Promise<boolean>;
  /** Told when the final is written. */
  settled(final: Final): void;
}

/** An answer that is given again, as it was given first. */
export interface StoredAnswer {
  /** Of the request that was served. */
  readonly requestId: string;
  /** A stream of events, else JSON. */
  readonly stream: boolean;
  /** Absent for a stream whose head went out before it was known. */
  readonly meta?: AnswerMeta | undefined;
  readonly body: Buffer;
}
