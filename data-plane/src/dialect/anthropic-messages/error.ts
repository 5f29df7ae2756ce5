/** Errors in this protocol's shape. */
import type { GatewayError } from '@meridian/domain/error';
import type { RenderedError } from '../dialect.ts';
import type { JsonObject } from '../json.ts';

/** This protocol's own status for a service that takes nothing at the moment. */
const OVERLOADED_STATUS = 529;

const TYPES: ReadonlyMap<number, string> = new Map([
  [401, 'authentication_error'],
  [402, 'billing_error'],
  [403, 'permission_error'],
  [404, 'not_found_error'],
  [413, 'request_too_large'],
  [429, 'rate_limit_error'],
  [503, 'overloaded_error'],
  [504, 'timeout_error'],
]);

/** Programs that speak this protocol look for these words to make room and try again. */
const TOO_LONG = 'prompt is too long';

/** Where the SDKs of this protocol look for the id of a request. */
export const REQUEST_ID_HEADER = 'request-id';

export function renderError(error: GatewayError, requestId: string): RenderedError {
  const body = Buffer.from(JSON.stringify(errorObject(error, requestId)));
  const headers = ['content-type', 'application/json', REQUEST_ID_HEADER, requestId];
  if (error.retryAfterSeconds !== undefined) headers.push('retry-after', String(Math.max(0, Math.ceil(error.retryAfterSeconds))));
  if (!error.retryable) headers.push('x-should-retry', 'false');
  return { status: error.status === 503 ? OVERLOADED_STATUS : error.status, headers, body };
}

/** An error event; without its name the SDKs do not see it. */
export function renderStreamError(error: GatewayError, requestId: string): Buffer {
  return Buffer.from(`event: error\ndata: ${JSON.stringify(errorObject(error, requestId))}\n\n`);
}

function errorObject(error: GatewayError, requestId: string): JsonObject {
  const { param, code } = error;
  const type = TYPES.get(error.status) ?? (error.status < 499 ? 'invalid_request_error' : 'api_error');
  return {
    type: 'error',
    error: { ...error.details, type, message: messageOf(error), code, ...(param === undefined ? {} : { param }) },
    request_id: requestId,
  };
}

function messageOf({ message, details }: GatewayError): string {
  const isTooLong = details?.upstream_code === 'context_length_exceeded' && !message.includes(TOO_LONG);
  return isTooLong ? `${TOO_LONG}: ${message}` : message;
}
