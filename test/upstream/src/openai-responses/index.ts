// The wire of OpenAI's Responses: answers, stored answers, token counts.

import { generateAnswer, promptTokens } from '../answer.ts';
import { ApiError, invalid } from '../api-error.ts';
import { bearerKey } from '../bearer-key.ts';
import type { JsonObject } from '../json-value.ts';
import type { Knobs } from '../knobs.ts';
import { errorEvents, errorForStatus, errorReply } from '../openai-chat/error.ts';
import { BAD_JSON } from '../openai-chat/index.ts';
import { checkOpenAiKey } from '../openai-chat/key.ts';
import { checkModel } from '../openai-chat/models.ts';
import { readModel } from '../openai-chat/request.ts';
import { streamReply, wholeReply } from '../reply.ts';
import { type Call, type Healthy, type Surroundings, type Wire, wishesOf } from '../wire.ts';
import { ID_LETTERS } from './items.ts';
import { endedResponse, onlyChoice, type WireContext } from './json.ts';
import { readResponsesRequest } from './request.ts';
import { failureEvents, renderStream } from './stream.ts';
import { usageObject } from './usage.ts';

const JSON_HEADERS = ['content-type', 'application/json'];
const STREAM_HEADERS = ['content-type', 'text/event-stream; charset=utf-8'];

function checkStrict(body: JsonObject, knobs: Knobs): void {
  if (knobs.strict !== true || !/^(o\d|gpt-5)/.test(String(body.model))) return;
  for (const name of ['temperature', 'top_p']) {
    if (body[name] === undefined || body[name] === null) continue;
    throw invalid(`Unsupported parameter: '${name}' is not supported with this model.`, name);
  }
}

function serveResponse(call: Call, body: JsonObject, knobs: Knobs, around: Surroundings): Healthy {
  const key = call.key ?? '';
  const request = readResponsesRequest(body, key, around.stored);
  checkModel('openai', request.model);
  checkStrict(body, knobs);
  request.serviceTier = knobs.served_tier ?? request.serviceTier;
  const answer = generateAnswer(request, wishesOf(knobs), around.cache);
  const usage = usageObject(answer.counts);
  const context: WireContext = {
    id: around.newId(ID_LETTERS),
    key,
    created: Math.floor(around.now() / 1000),
    usage,
    hideUsage: knobs.no_usage === true || (request.stream && knobs.seed_usage === true),
    seed: knobs.seed_usage === true ? usageObject({ ...answer.counts, completion: 1, reasoning: 0 }) : null,
    finish: knobs.finish ?? null,
    citations: knobs.citations === true,
  };
  const id = `resp_${context.id}`;
  const ended = endedResponse(request, answer, context);
  if (request.store) {
    const output = Array.isArray(ended.output) ? ended.output : [];
    around.stored.put(id, { body: ended, items: [...request.items, ...output] });
  }
  if (request.stream) {
    const reply = streamReply(200, STREAM_HEADERS, renderStream(request, answer, context));
    const failing = (error: ApiError, before: number) => failureEvents(request, answer, context, error, before);
    return { reply, id, usage, paced: true, errorEvents: failing };
  }
  const pieces = onlyChoice(answer).pieces.length;
  const reply = wholeReply(200, JSON_HEADERS, `${JSON.stringify(ended, null, 2)}\n`, { pieces, usage: !context.hideUsage });
  return { reply, id, usage, paced: false };
}

function told(value: JsonObject): Healthy {
  return { reply: wholeReply(200, JSON_HEADERS, `${JSON.stringify(value, null, 2)}\n`), id: null, usage: null, paced: false };
}

function serveStored(call: Call, around: Surroundings): Healthy {
  const [, , id = '', part] = call.operation.split('/');
  const found = around.stored.get(id);
  if (found === undefined) throw new ApiError(404, `Response with id '${id}' not found.`);
  if (call.method === 'DELETE') {
    around.stored.delete(id);
    return told({ id, object: 'response', deleted: true });
  }
  if (part === 'input_items') return told({ object: 'list', data: found.items, first_id: null, last_id: null, has_more: false });
  return told(found.body);
}

/** OpenAI's Responses API. */
export const openAiResponses: Wire = {
  keyOf: bearerKey,
  glance: (_call, body) => ({ model: typeof body.model === 'string' ? body.model : null, stream: body.stream === true }),
  check(call, body) {
    checkOpenAiKey(call);
    if (call.method === 'POST') readModel(body);
  },
  serve(call, body, knobs, around) {
    const { method, operation } = call;
    if (method === 'POST' && operation === '/responses') return serveResponse(call, body, knobs, around);
    if (method === 'POST' && operation === '/responses/input_tokens') {
      const { total } = promptTokens(readResponsesRequest(body, call.key ?? '', around.stored));
      return told({ object: 'response.input_tokens', input_tokens: total });
    }
    if ((method === 'GET' || method === 'DELETE') && operation.startsWith('/responses/')) return serveStored(call, around);
    throw new ApiError(404, `Invalid URL (${method} ${call.path})`);
  },
  tellsRetryInHeaders: true,
  errorForStatus: (status, knobs) => errorForStatus(status, knobs.code ?? null),
  errorReply: (error) => errorReply('openai', error),
  errorEvents: (error) => errorEvents('openai', error),
  badJson: () => invalid(BAD_JSON, null),
};
