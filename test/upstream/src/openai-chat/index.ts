// The wire of OpenAI's Chat Completions, which OpenRouter speaks, too: chat, embeddings, models.

import { generateAnswer } from '../answer.ts';
import { ApiError, invalid } from '../api-error.ts';
import { bearerKey } from '../bearer-key.ts';
import type { JsonObject } from '../json-value.ts';
import type { Knobs } from '../knobs.ts';
import type { ProviderName } from '../provider.ts';
import { streamReply, wholeReply } from '../reply.ts';
import { type Call, type Healthy, type Surroundings, type Wire, wishesOf } from '../wire.ts';
import { embeddingUsage, readEmbeddingRequest, renderEmbeddings } from './embeddings.ts';
import { errorEvents, errorForStatus, errorReply } from './error.ts';
import { renderJson } from './json.ts';
import { checkOpenAiKey } from './key.ts';
import { checkModel, modelById, modelList } from './models.ts';
import { readChatRequest, readModel } from './request.ts';
import { renderStream } from './stream.ts';
import { usageObject } from './usage.ts';

const JSON_HEADERS = ['content-type', 'application/json'];
const OPENAI_STREAM = ['content-type', 'text/event-stream; charset=utf-8'];
const OPENROUTER_STREAM = ['content-type', 'text/event-stream', 'cache-control', 'no-cache'];

/** OpenAI's refusal of a body that is no JSON object. */
export const BAD_JSON =
  "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)";

function streamHeaders(provider: ProviderName): string[] {
  return provider === 'openrouter' ? OPENROUTER_STREAM : OPENAI_STREAM;
}

function checkStrict(body: JsonObject, knobs: Knobs): void {
  if (knobs.strict !== true || body.max_tokens === undefined || !/^(o\d|gpt-5)/.test(String(body.model))) return;
  throw invalid(
    `Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.`,
    'max_tokens',
    'unsupported_parameter',
  );
}

function serveChat(call: Call, body: JsonObject, knobs: Knobs, around: Surroundings): Healthy {
  const request = readChatRequest(body);
  checkModel(call.provider, request.model);
  checkStrict(body, knobs);
  request.serviceTier = knobs.served_tier ?? request.serviceTier;
  const answer = generateAnswer(request, wishesOf(knobs), around.cache);
  const created = Math.floor(around.now() / 1000);
  const id = call.provider === 'openai' ? `chatcmpl-${around.newId(29)}` : `gen-${created}-${around.newId(20)}`;
  const usage = usageObject(call.provider, answer.counts);
  const hideUsage = knobs.no_usage === true || (request.stream && knobs.seed_usage === true);
  const seed = knobs.seed_usage === true ? usageObject(call.provider, { ...answer.counts, completion: 1, reasoning: 0 }) : null;
  const context = {
    provider: call.provider,
    id,
    created,
    usage,
    hideUsage,
    seed,
    finish: knobs.finish ?? null,
    citations: knobs.citations === true,
  };
  if (request.stream) {
    const reply = streamReply(200, streamHeaders(call.provider), renderStream(request, answer, context));
    return { reply, id, usage, paced: true };
  }
  const pieces = answer.choices.reduce((sum, choice) => sum + choice.pieces.length, 0);
  const reply = wholeReply(200, JSON_HEADERS, renderJson(request, answer, context), { pieces, usage: !hideUsage });
  return { reply, id, usage, paced: false };
}

function serveEmbeddings(call: Call, body: JsonObject, knobs: Knobs, around: Surroundings): Healthy {
  const request = readEmbeddingRequest(body);
  checkModel(call.provider, request.model);
  const usage = embeddingUsage(call.provider, request);
  const id = call.provider === 'openai' ? null : `gen-emb-${Math.floor(around.now() / 1000)}-${around.newId(20)}`;
  const shown = knobs.no_usage === true ? null : usage;
  const text = renderEmbeddings(call.provider, request, id ?? '', shown);
  return { reply: wholeReply(200, JSON_HEADERS, text, { usage: shown !== null }), id, usage, paced: false };
}

/** OpenAI's Chat Completions and OpenRouter's. */
export const openAiChat: Wire = {
  keyOf: bearerKey,
  glance: (_call, body) => ({ model: typeof body.model === 'string' ? body.model : null, stream: body.stream === true }),
  check(call, body) {
    checkOpenAiKey(call);
    if (call.method === 'POST') readModel(body);
  },
  serve(call, body, knobs, around) {
    const { method, operation, provider } = call;
    const json = (value: JsonObject): Healthy => {
      const reply = wholeReply(200, JSON_HEADERS, `${JSON.stringify(value)}\n`);
      return { reply, id: null, usage: null, paced: false };
    };
    if (method === 'POST' && operation === '/chat/completions') return serveChat(call, body, knobs, around);
    if (method === 'POST' && operation === '/embeddings') return serveEmbeddings(call, body, knobs, around);
    if (method === 'GET' && operation === '/models') return json(modelList(provider));
    if (method === 'GET' && operation.startsWith('/models/')) {
      return json(modelById(provider, decodeURIComponent(operation.slice('/models/'.length))));
    }
    throw new ApiError(404, `Invalid URL (${method} ${call.path})`);
  },
  tellsRetryInHeaders: true,
  errorForStatus: (status, knobs) => errorForStatus(status, knobs.code ?? null),
  errorReply: (error, call) => errorReply(call.provider, error),
  errorEvents: (error, call) => errorEvents(call.provider, error),
  badJson: () => invalid(BAD_JSON, null),
};
