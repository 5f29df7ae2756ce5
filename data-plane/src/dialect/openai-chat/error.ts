/** Errors in this protocol's shape. */
import type { GatewayError } from '@meridian/domain/error';
import type { RenderedError } from '../dialect.ts';
import type { JsonObject } from '../json.ts';
import { openAiErrorCode } from '../openai-error-code.ts';

export function renderError(error: GatewayError, _requestId: string): RenderedError {
  const body = Buffer.from(JSON.stringify(errorObject(error)));
  const headers = ['content-type', 'application/json'];
  if (error.retryAfterSeconds !== undefined) headers.push('retry-after', String(Math.max(0, Math.ceil(error.retryAfterSeconds))));
  if (!error.retryable) headers.push('x-should-retry', 'false');
  return { status: error.status, headers, body };
}

/** An error event; the SDKs raise on it and stop reading. */
export function renderStreamError(error: GatewayError, _requestId: string): Buffer {
  return Buffer.from(`data: ${JSON.stringify(errorObject(error))}\n\n`);
}

function errorObject(error: GatewayError): JsonObject {
  return {
    error: { ...error.details, message: error.message, type: error.code, code: openAiErrorCode(error), param: error.param ?? null },
  };
}
