// The errors of OpenAI and OpenRouter, in their own words and shapes.

import { ApiError } from '../api-error.ts';
import type { JsonObject } from '../json-value.ts';
import type { ProviderName } from '../provider.ts';
import { type Reply, type Segment, segment, wholeReply } from '../reply.ts';

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
  if (provider !== 'openrouter') return { message: error.message, type: error.type, param: error.param, code: error.code };
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

/** The whole error answer. */
export function errorReply(provider: ProviderName, error: ApiError): Reply {
  const object = errorObject(provider, error);
  if (provider !== 'openrouter') {
    const headers = ['content-type', 'application/json; charset=utf-8'];
    return wholeReply(error.status, headers, `${JSON.stringify({ error: object }, null, 2)}\n`);
  }
  const body = error.status === 401 ? { error: object } : { error: object, user_id: 'user_simulated' };
  return wholeReply(error.status, ['content-type', 'application/json'], JSON.stringify(body));
}

/** What a stream says when it fails in the middle. */
export function errorEvents(provider: ProviderName, error: ApiError): Segment[] {
  if (provider !== 'openrouter') return [segment(`data: ${JSON.stringify({ error: errorObject(provider, error) })}\n\n`)];
  const payload = {
    error: { code: error.status, message: error.message },
    choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: 'error', native_finish_reason: 'error' }],
  };
  // OpenRouter's recorded streams close with [DONE] also after an error; OpenAI's stop at the error.
  return [segment(`data: ${JSON.stringify(payload)}\n\n`), segment('data: [DONE]\n\n')];
}
