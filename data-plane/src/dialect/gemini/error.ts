/** Errors in Google's shape. */
import type { GatewayError } from '@meridian/domain/error';
import type { RenderedError } from '../dialect.ts';
import type { JsonObject } from '../json.ts';
import type { Framing } from './framing.ts';

/** Google's own words for a status; others are told by their class. */
const STATUSES: Readonly<Partial<Record<number, string>>> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  402: 'FAILED_PRECONDITION',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  409: 'ABORTED',
  422: 'FAILED_PRECONDITION',
  429: 'RESOURCE_EXHAUSTED',
  499: 'CANCELLED',
  500: 'INTERNAL',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
};

export function renderError(error: GatewayError, requestId: string): RenderedError {
  const body = Buffer.from(JSON.stringify(errorObject(error, requestId)));
  const headers = ['content-type', 'application/json; charset=utf-8'];
  const delaySeconds = retryDelaySeconds(error);
  if (delaySeconds !== undefined) headers.push('retry-after', String(delaySeconds));
  return { status: error.status, headers, body };
}

/** An error in a stream that ends with it; `isFirst`: nothing was sent before. */
export function streamError(error: GatewayError, requestId: string, framing: Framing, isFirst: boolean): Buffer[] {
  const framed = framing.frame(Buffer.from(JSON.stringify(errorObject(error, requestId))), isFirst);
  const end = framing.end(false);
  return end === undefined ? [framed] : [framed, end];
}

/** The code of ours is the reason; what else is public stands in its metadata, whose values are strings in this protocol. */
function errorObject(error: GatewayError, requestId: string): JsonObject {
  const { details = {}, param } = error;
  const metadata: Record<string, string> = requestId === '' ? {} : { request_id: requestId };
  for (const [key, value] of Object.entries(details)) metadata[key] = typeof value === 'string' ? value : JSON.stringify(value);
  const about: JsonObject[] = [
    { '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: error.code.toUpperCase(), domain: 'gateway', metadata },
  ];
  if (param !== undefined) {
    about.push({
      '@type': 'type.googleapis.com/google.rpc.BadRequest',
      fieldViolations: [{ field: param, description: error.message }],
    });
  }
  const delaySeconds = retryDelaySeconds(error);
  if (delaySeconds !== undefined) about.push({ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: `${delaySeconds}s` });
  return { error: { code: error.status, message: error.message, status: statusWord(error.status), details: about } };
}

function retryDelaySeconds({ retryAfterSeconds }: GatewayError): number | undefined {
  return retryAfterSeconds === undefined ? undefined : Math.max(0, Math.ceil(retryAfterSeconds));
}

function statusWord(status: number): string {
  return STATUSES[status] ?? (status < 500 ? 'INVALID_ARGUMENT' : 'INTERNAL');
}
