// The error answers of the two providers, in their own shape.

import type { JsonObject } from './json-value.ts';

/** Whose wire is spoken: decided by the path's prefix. */
export type ProviderName = 'openai' | 'openrouter';

/** A refusal that the provider answers instead of serving the call. */
export class ApiError extends Error {
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;

  constructor(status: number, message: string, detail: { type?: string; param?: string | null; code?: string | null } = {}) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.type = detail.type ?? (status >= 500 ? 'server_error' : 'invalid_request_error');
    this.param = detail.param ?? null;
    this.code = detail.code ?? null;
  }
}

/** A 400 about one parameter. */
export function invalid(message: string, param: string | null, code: string | null = null): ApiError {
  return new ApiError(400, message, { param, code });
}

const OPENAI_TEXTS: Record<number, { message: string; type: string; code: string | null }> = {
  400: { message: 'Invalid request.', type: 'invalid_request_error', code: null },
  401: {
    message: 'Incorrect API key provided: sk-sim****. You can find your API key at https://platform.openai.com/account/api-keys.',
    type: 'invalid_request_error',
    code: 'invalid_api_key',
  },
  403: { message: 'Country, region, or territory not supported', type: 'request_forbidden', code: 'unsupported_country_region_territory' },
  404: {
    message: 'The model `sim` does not exist or you do not have access to it.',
    type: 'invalid_request_error',
    code: 'model_not_found',
  },
  408: { message: 'Request timed out.', type: 'timeout', code: null },
  413: { message: 'Maximum content size limit exceeded.', type: 'invalid_request_error', code: null },
  429: {
    message:
      'Rate limit reached for the model on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms. Visit https://platform.openai.com/account/rate-limits to learn more.',
    type: 'requests',
    code: 'rate_limit_exceeded',
  },
  500: {
    message:
      'The server had an error processing your request. Sorry about that! You can retry your request, or contact us through our help center at help.openai.com if you keep seeing this error.',
    type: 'server_error',
    code: null,
  },
  503: {
    message: 'That model is currently overloaded with other requests. You can retry your request.',
    type: 'server_error',
    code: null,
  },
};

const QUOTA = {
  message:
    'You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.',
  type: 'insufficient_quota',
  code: 'insufficient_quota',
};

/** The error a provider gives with this status when a fault asks for it. */
export function errorForStatus(status: number, code: string | null): ApiError {
  const known = code === 'insufficient_quota' ? QUOTA : OPENAI_TEXTS[status];
  const text = known ?? { message: `The request failed with status ${status}.`, type: undefined, code: null };
  return new ApiError(status, text.message, { ...(text.type === undefined ? {} : { type: text.type }), code: code ?? text.code });
}

/** The error object as the provider writes it into a body or a stream event. */
export function errorObject(provider: ProviderName, error: ApiError): JsonObject {
  if (provider === 'openai') return { message: error.message, type: error.type, param: error.param, code: error.code };
  // OpenRouter repeats the HTTP status as `code`, and wraps what an inference provider said.
  if (error.status === 429 || error.status >= 500) {
    return {
      message: 'Provider returned error',
      code: error.status,
      metadata: { provider_name: 'Simulated', raw: error.message },
    };
  }
  return { message: error.message, code: error.status };
}

/** The whole error body. */
export function errorBody(provider: ProviderName, error: ApiError): string {
  const object = errorObject(provider, error);
  if (provider === 'openai') return `${JSON.stringify({ error: object }, null, 2)}\n`;
  return JSON.stringify(error.status === 401 ? { error: object } : { error: object, user_id: 'user_simulated' });
}
