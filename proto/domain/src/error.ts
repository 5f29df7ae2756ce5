/** The one error class of both planes: whose fault it is, whether a retry is safe, what the public may read. */
import { ERROR_CODES, type ErrorCode } from './error-code.ts';

export type ErrorSource = 'client' | 'upstream' | 'gateway';

export interface GatewayErrorOptions {
  readonly source?: ErrorSource;
  /** Public text; the catalogue's default when absent. Never a provider's key, never an internal cause. */
  readonly message?: string;
  /** The request's parameter that is at fault, where there is one. */
  readonly param?: string;
  /** Seconds after which a retry makes sense; becomes `retry-after`. */
  readonly retryAfterSeconds?: number;
  readonly retryable?: boolean;
  /** Further public fields of the error object, such as the attempts or the nearest model names. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** An upstream 4xx that is the client's own doing keeps the status the provider chose. */
  readonly status?: number;
  /** Private: for the log only. */
  readonly cause?: unknown;
}

export class GatewayError extends Error {
  readonly code: ErrorCode;
  readonly source: ErrorSource;
  readonly status: number;
  readonly retryable: boolean;
  readonly param: string | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, options: GatewayErrorOptions = {}) {
    const definition = ERROR_CODES[code];
    super(options.message ?? definition.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'GatewayError';
    this.code = code;
    this.source = options.source ?? (definition.status < 500 ? 'client' : 'gateway');
    this.status = options.status ?? definition.status;
    this.retryable = options.retryable ?? definition.retryable;
    this.param = options.param;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.details = options.details;
  }

  /** Turns anything thrown into a GatewayError; what is unknown becomes `internal_error` with the cause kept for the log. */
  static from(thrown: unknown): GatewayError {
    return thrown instanceof GatewayError ? thrown : new GatewayError('internal_error', { cause: thrown });
  }
}
