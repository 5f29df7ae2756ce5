// Google's errors, in its own words and shape.

import { ApiError } from '../api-error.ts';
import type { JsonObject } from '../json-value.ts';
import { type Reply, wholeReply } from '../reply.ts';

const STATUSES: Record<number, string> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  409: 'ABORTED',
  429: 'RESOURCE_EXHAUSTED',
  499: 'CANCELLED',
  500: 'INTERNAL',
  501: 'UNIMPLEMENTED',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
};

const MESSAGES: Record<number, string> = {
  400: 'Request contains an invalid argument.',
  401: 'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.',
  403: 'The caller does not have permission',
  404: 'Requested entity was not found.',
  429: 'You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.',
  500: 'An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting',
  503: 'The model is overloaded. Please try again later.',
  504: 'Deadline expired before operation could complete.',
};

const DEFAULT_RETRY_SECONDS = 34;
const RPC = 'type.googleapis.com/google.rpc.';

function quotaDetails(retrySeconds: number): JsonObject[] {
  return [
    {
      '@type': `${RPC}Help`,
      links: [{ description: 'Learn more about Gemini API quotas', url: 'https://ai.google.dev/gemini-api/docs/rate-limits' }],
    },
    {
      '@type': `${RPC}QuotaFailure`,
      violations: [
        {
          quotaMetric: 'generativelanguage.googleapis.com/generate_content_paid_tier_requests',
          quotaId: 'GenerateRequestsPerMinutePerProjectPerModel-PaidTier',
          quotaDimensions: { location: 'global' },
          quotaValue: '1000',
        },
      ],
    },
    { '@type': `${RPC}RetryInfo`, retryDelay: `${retrySeconds}s` },
  ];
}

function badKeyDetails(): JsonObject[] {
  const message = 'API key not valid. Please pass a valid API key.';
  return [
    {
      '@type': `${RPC}ErrorInfo`,
      reason: 'API_KEY_INVALID',
      domain: 'googleapis.com',
      metadata: { service: 'generativelanguage.googleapis.com' },
    },
    { '@type': `${RPC}LocalizedMessage`, locale: 'en-US', message },
  ];
}

/** The 400 by which Google refuses a key. */
export function badKey(): ApiError {
  return new ApiError(400, 'API key not valid. Please pass a valid API key.', { details: badKeyDetails() });
}

/** The error Google gives with this status when a fault asks for it; a 429 tells when to come back. */
export function errorForStatus(status: number, code: string | null, retrySeconds: number | null): ApiError {
  const message = MESSAGES[status] ?? `The request failed with status ${status}.`;
  const details = status === 429 ? quotaDetails(retrySeconds ?? DEFAULT_RETRY_SECONDS) : [];
  return new ApiError(status, message, { code, details });
}

/** A 400 about the request. */
export function refused(message: string): ApiError {
  return new ApiError(400, message);
}

/** The 400 for fields that the API does not have; `at` names the message they stand in, empty for the request itself. */
export function unknownFields(fields: Array<{ name: string; at: string }>): ApiError {
  const lines = fields.map(
    ({ name, at }) => `Invalid JSON payload received. Unknown name "${name}"${at === '' ? '' : ` at '${at}'`}: Cannot find field.`,
  );
  const fieldViolations = fields.map(
    ({ at }, index): JsonObject => ({ ...(at === '' ? {} : { field: at }), description: lines[index] ?? '' }),
  );
  return new ApiError(400, lines.join('\n'), { details: [{ '@type': `${RPC}BadRequest`, fieldViolations }] });
}

/** The error as Google writes it into a body or a stream. */
export function errorPayload(error: ApiError): JsonObject {
  const status = STATUSES[error.status] ?? (error.status >= 500 ? 'UNKNOWN' : 'FAILED_PRECONDITION');
  const told = { code: error.status, message: error.message, status };
  return { error: error.details.length > 0 ? { ...told, details: error.details } : told };
}

/** The whole error answer; where a JSON array was asked for, the error is its only entry. */
export function errorReply(error: ApiError, asArray: boolean): Reply {
  const payload = errorPayload(error);
  const body = JSON.stringify(asArray ? [payload] : payload, null, 2);
  return wholeReply(error.status, ['content-type', 'application/json; charset=UTF-8'], `${body}\n`);
}
