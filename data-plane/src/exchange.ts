/** One request and the way its answer goes back: what the server hands to the pipeline, and what the pipeline asks of the server. */
import type { Operation } from '@meridian/domain/dialect';
import type { GatewayError } from '@meridian/domain/error';
import type { Principal } from './admission/authenticate.ts';
import type { Dialect } from './dialect/dialect.ts';
import type { AnswerMeta, ClientStream } from './routing/commit.ts';

export interface Exchange {
  readonly requestId: string;
  readonly dialect: Dialect;
  readonly operation: Operation;
  readonly principal: Principal;
  readonly body: Buffer;
  /** When the request arrived (ms since 1970). */
  readonly arrivedMs: number;
}

export interface Reply extends ClientStream {
  /** Whether the client has closed its connection. */
  readonly gone: boolean;
  /** Calls at once when the client has already gone. */
  onGone(run: () => void): void;
  /** A whole answer: status 200. */
  answer(meta: AnswerMeta, body: readonly Buffer[]): void;
  /** An error before anything was sent: the catalogue's status, in the client's dialect. */
  fail(error: GatewayError): void;
}
