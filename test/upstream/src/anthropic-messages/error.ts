// Anthropic's errors, in its own words and shape.

import { ApiError } from '../api-error.ts';
import type { JsonObject } from '../json-value.ts';
import { type Reply, type Segment, segment, wholeReply } from '../reply.ts';

const TEXTS: Record<number, { type: string; message: string }> = {
  400: { type: 'invalid_request_error', message: 'Invalid request.' },
  401: { type: 'authentication_error', message: 'invalid x-api-key' },
  402: { type: 'billing_error', message: 'Your credit balance is too low to access the Anthropic API.' },
  403: { type: 'permission_error', message: 'Your API key does not have permission to use the specified resource.' },
  404: { type: 'not_found_error', message: 'model: claude-simulated' },
  413: { type: 'request_too_large', message: 'Request exceeds the maximum size' },
  429: {
    type: 'rate_limit_error',
    message:
      'This request would exceed your organization’s rate limit of 50 requests per minute. For details, refer to: https://docs.claude.com/en/api/rate-limits.',
  },
  500: { type: 'api_error', message: 'Internal server error' },
  503: { type: 'api_error', message: 'Service unavailable' },
  504: { type: 'timeout_error', message: 'Request timed out.' },
  529: { type: 'overloaded_error', message: 'Overloaded' },
};

/** The `error.type` of a status. */
function typeOf(status: number): string {
  return TEXTS[status]?.type ?? (status >= 500 ? 'api_error' : 'invalid_request_error');
}

/** The error Anthropic gives with this status when a fault asks for it; `code` chooses another type. */
export function errorForStatus(status: number, code: string | null): ApiError {
  const message = TEXTS[status]?.message ?? `The request failed with status ${status}.`;
  return new ApiError(status, message, { type: code ?? typeOf(status) });
}

/** A 400 about the request. */
export function refused(message: string): ApiError {
  return new ApiError(400, message, { type: 'invalid_request_error' });
}

function errorObject(error: ApiError): JsonObject {
  // Refusals of shared code carry OpenAI's types; a status has one type here.
  const known = Object.values(TEXTS).some(({ type }) => type === error.type);
  return { type: known ? error.type : typeOf(error.status), message: error.message };
}

/** The whole error answer. */
export function errorReply(error: ApiError, requestId: string): Reply {
  const body = JSON.stringify({ type: 'error', error: errorObject(error), request_id: requestId });
  const retry = error.status === 429 || error.status >= 500 ? 'true' : 'false';
  return wholeReply(error.status, ['content-type', 'application/json', 'x-should-retry', retry, 'request-id', requestId], body);
}

/** What a stream says when it fails in the middle. */
export function errorEvents(error: ApiError): Segment[] {
  const { type, message } = errorObject(error);
  const payload = JSON.stringify({ type: 'error', error: { details: null, type, message } });
  return [segment(`event: error\ndata: ${payload.slice(0, -1)}      }\n\n`)];
}
