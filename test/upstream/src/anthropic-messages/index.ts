// The wire of Anthropic's Messages: answers, token counts, models.

import { generateAnswer, promptTokens } from '../answer.ts';
import { ApiError } from '../api-error.ts';
import { bearerKey } from '../bearer-key.ts';
import type { JsonObject } from '../json-value.ts';
import type { Knobs } from '../knobs.ts';
import { streamReply, wholeReply } from '../reply.ts';
import { hash32 } from '../seeded.ts';
import { type Call, type Healthy, type Surroundings, type Wire, wishesOf } from '../wire.ts';
import { errorEvents, errorForStatus, errorReply, refused } from './error.ts';
import { onlyChoice, renderJson } from './json.ts';
import { checkModel, modelById, modelList } from './models.ts';
import { readMessagesRequest, readModel } from './request.ts';
import { renderStream } from './stream.ts';
import { usageObject } from './usage.ts';

const JSON_HEADERS = ['content-type', 'application/json'];
const STREAM_HEADERS = ['content-type', 'text/event-stream; charset=utf-8', 'cache-control', 'no-cache'];
const REQUEST_ID_LETTERS = 20;

function serveMessages(body: JsonObject, knobs: Knobs, around: Surroundings): Healthy {
  const request = readMessagesRequest(body, false);
  checkModel(request.model);
  const answer = generateAnswer(request, wishesOf(knobs), around.cache);
  const id = `msg_01${around.newId(22)}`;
  const usage = usageObject(request.model, answer.counts, request.cacheTtl);
  const context = {
    id,
    usage,
    hideUsage: knobs.no_usage === true,
    onlyStartUsage: knobs.seed_usage === true,
    finish: knobs.finish ?? null,
    citations: knobs.citations === true,
    redacted: knobs.redacted === true,
  };
  if (request.stream) return { reply: streamReply(200, STREAM_HEADERS, renderStream(request, answer, context)), id, usage, paced: true };
  const pieces = onlyChoice(answer).pieces.length;
  const reply = wholeReply(200, JSON_HEADERS, renderJson(request, answer, context), { pieces, usage: !context.hideUsage });
  return { reply, id, usage, paced: false };
}

function told(value: JsonObject): Healthy {
  return { reply: wholeReply(200, JSON_HEADERS, JSON.stringify(value)), id: null, usage: null, paced: false };
}

/** The request's id, in the body of an error and in its header. */
function requestId(call: Call): string {
  const text = `${call.path} ${call.key ?? ''} ${call.body.length} ${hash32(call.body.toString('latin1'))}`;
  const digits = `${hash32(text).toString(36)}${hash32(`${text} more`).toString(36)}${hash32(`${text} again`).toString(36)}`;
  return `req_011C${digits.padEnd(REQUEST_ID_LETTERS, 'A').slice(0, REQUEST_ID_LETTERS)}`;
}

/** Anthropic's Messages API. */
export const anthropicMessages: Wire = {
  // The newer SDKs send their key as a bearer's.
  keyOf: (headers) => (typeof headers['x-api-key'] === 'string' ? headers['x-api-key'] : bearerKey(headers)),
  glance: (_call, body) => ({ model: typeof body.model === 'string' ? body.model : null, stream: body.stream === true }),
  check(call, body) {
    if (call.key === null || call.key === '') throw new ApiError(401, 'x-api-key header is required', { type: 'authentication_error' });
    if (call.key.startsWith('sk-bad')) throw new ApiError(401, 'invalid x-api-key', { type: 'authentication_error' });
    const version = call.headers['anthropic-version'];
    if (typeof version !== 'string' || version === '') throw refused('anthropic-version: header is required');
    if (!/^\d{4}-\d{2}-\d{2}$/.test(version)) {
      throw refused(`anthropic-version: "${version}" is not a valid version for the Messages API`);
    }
    if (call.method === 'POST') readModel(body);
  },
  serve(call, body, knobs, around) {
    const { method, operation } = call;
    if (method === 'POST' && operation === '/messages') return serveMessages(body, knobs, around);
    if (method === 'POST' && operation === '/messages/count_tokens') {
      const request = readMessagesRequest(body, true);
      checkModel(request.model);
      return told({ input_tokens: promptTokens(request).total });
    }
    if (method === 'GET' && operation === '/models') return told(modelList());
    if (method === 'GET' && operation.startsWith('/models/'))
      return told(modelById(decodeURIComponent(operation.slice('/models/'.length))));
    throw new ApiError(404, 'Not Found', { type: 'not_found_error' });
  },
  tellsRetryInHeaders: true,
  errorForStatus: (status, knobs) => errorForStatus(status, knobs.code ?? null),
  errorReply: (error, call) => errorReply(error, requestId(call)),
  errorEvents: (error) => errorEvents(error),
  badJson: () => refused('The request body is not valid JSON: expected an object.'),
};
