/** Errors in this protocol's shape. */
import type { GatewayError } from '@meridian/domain/error';
import type { Request } from '../../canonical/request.ts';
import { answerId } from '../answer-id.ts';
import type { RenderedError } from '../dialect.ts';
import { type JsonObject, NO_REST } from '../json.ts';
import { openAiErrorCode } from '../openai-error-code.ts';
import { responseObject } from './response-object.ts';

export const RESPONSE_ID_PREFIX = 'resp_';

export function renderError(error: GatewayError, _requestId: string): RenderedError {
  const headers = ['content-type', 'application/json'];
  if (error.retryAfterSeconds !== undefined) headers.push('retry-after', String(Math.max(0, Math.ceil(error.retryAfterSeconds))));
  if (!error.retryable) headers.push('x-should-retry', 'false');
  return { status: error.status, headers, body: Buffer.from(JSON.stringify({ error: errorObject(error) })) };
}

/** As in `error` of an error answer. */
export function errorObject(error: GatewayError): JsonObject {
  const { code: _, ...details } = error.details ?? {};
  return { ...details, message: error.message, type: error.code, code: openAiErrorCode(error), param: error.param ?? null };
}

/**
 * The events that end a stream with an error, `sent` events of which the client has seen: an `error`, on which the SDKs raise, and the
 * terminal `response.failed`, for which agents wait. `response` is the object as far as it has come.
 */
export function failureEvents(error: GatewayError, sent: number, response: JsonObject): Buffer[] {
  const { message, type, code, param } = errorObject(error);
  return [
    sseEvent({ type: 'error', sequence_number: sent, code, message, param, error: { type, code, message, param } }),
    sseEvent({
      type: 'response.failed',
      sequence_number: sent + 1,
      response: { ...response, status: 'failed', error: { code: failureCode(error), message } },
    }),
  ];
}

/** A stream of nothing but an error: of the request nothing is known any more. */
export function renderStreamError(error: GatewayError, requestId: string): Buffer {
  const head = { id: answerId(RESPONSE_ID_PREFIX, requestId), createdSeconds: 0, model: '' };
  const state = { status: 'failed', incomplete_details: null, output: [], serviceTier: undefined };
  return Buffer.concat(failureEvents(error, 0, { ...responseObject(NOTHING_ASKED, head, state), usage: null }));
}

const NOTHING_ASKED: Request = {
  dialect: 'openai-responses',
  model: '',
  messages: [],
  tools: [],
  toolChoice: undefined,
  parallelToolCalls: undefined,
  stream: true,
  wantsStreamUsage: true,
  maxOutputTokens: undefined,
  sampling: {
    temperature: undefined,
    topP: undefined,
    topK: undefined,
    seed: undefined,
    frequencyPenalty: undefined,
    presencePenalty: undefined,
  },
  stop: [],
  choices: 1,
  logprobs: undefined,
  format: undefined,
  reasoning: undefined,
  serviceTier: 'standard',
  user: undefined,
  rest: NO_REST,
};

/** One event, whose name is its type. */
export function sseEvent(event: JsonObject & { readonly type: string }): Buffer {
  return Buffer.from(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
}

/** The words that agents know in `response.error.code`: they decide whether to try again by them. */
function failureCode(error: GatewayError): string {
  switch (error.code) {
    case 'rate_limit_exceeded':
    case 'daily_limit_exceeded':
      return 'rate_limit_exceeded';
    case 'insufficient_credits':
    case 'budget_exceeded':
      return 'insufficient_quota';
    case 'overloaded':
    case 'budget_unavailable':
      return 'server_is_overloaded';
    case 'invalid_request_error':
    case 'request_too_large':
      return openAiErrorCode(error) === 'context_length_exceeded' ? 'context_length_exceeded' : 'invalid_prompt';
    default:
      return 'server_error';
  }
}
