// A refusal of the simulated providers, before a wire gives it its shape.

import type { JsonObject } from './json-value.ts';

/** A refusal that the provider answers instead of serving the call. */
export class ApiError extends Error {
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;
  /** What Google's errors tell beside the message; empty elsewhere. */
  readonly details: JsonObject[];

  constructor(
    status: number,
    message: string,
    detail: { type?: string; param?: string | null; code?: string | null; details?: JsonObject[] } = {},
  ) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.type = detail.type ?? (status >= 500 ? 'server_error' : 'invalid_request_error');
    this.param = detail.param ?? null;
    this.code = detail.code ?? null;
    this.details = detail.details ?? [];
  }
}

/** A 400 about one parameter. */
export function invalid(message: string, param: string | null, code: string | null = null): ApiError {
  return new ApiError(400, message, { param, code });
}
