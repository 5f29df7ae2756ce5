/** The contract of a call to a provider. Routing knows this file; undici is behind it. */

export interface UpstreamTimeouts {
  readonly connectMs: number;
  /** From the request's last byte to the answer's head. */
  readonly firstByteMs: number;
  /** Between two pieces of the body; does not run while the call is paused. */
  readonly idleMs: number;
  readonly totalMs: number;
}

export interface UpstreamRequest {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly path: string;
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE' | 'PUT';
  /** Flat name, value, name, value …; content-length is added from the body. */
  readonly headers: readonly string[];
  /** Slices that make up the body; never copied together. */
  readonly body: readonly Buffer[];
  readonly timeouts: UpstreamTimeouts;
}

export type UpstreamFailureKind =
  | 'connect_failed'
  | 'connect_timeout'
  | 'first_byte_timeout'
  | 'idle_timeout'
  | 'total_timeout'
  | 'reset'
  | 'protocol_error'
  | 'cancelled';

export interface UpstreamFailure {
  readonly kind: UpstreamFailureKind;
  /** The provider may have begun the work: a repeat could cost twice. */
  readonly uncertain: boolean;
  readonly cause: unknown;
}

/** Events of one call, in order: head, data*, then exactly one of end and failure. Nothing comes after `cancel`. */
export interface UpstreamHandler {
  /** Header names are in lower case. */
  onHead(status: number, headers: Readonly<Record<string, string>>): void;
  /** The chunk is the receiver's to keep. */
  onData(chunk: Buffer): void;
  onEnd(): void;
  onFailure(failure: UpstreamFailure): void;
}

export interface UpstreamCall {
  /** Backpressure: no `onData` until `resume`. */
  pause(): void;
  resume(): void;
  /** Destroys the exchange; no event follows. Idempotent. */
  cancel(): void;
}

export interface Upstream {
  dispatch(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall;
  close(): Promise<void>;
}
