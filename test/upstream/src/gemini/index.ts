// The wire of Gemini: generate, count, embed, models.

import { generateAnswer, promptTokens } from '../answer.ts';
import { ApiError } from '../api-error.ts';
import { isObject, type JsonObject } from '../json-value.ts';
import type { Knobs } from '../knobs.ts';
import { streamReply, wholeReply } from '../reply.ts';
import { type Healthy, type Surroundings, type Wire, wishesOf } from '../wire.ts';
import { embeddingUsage, readEmbedRequest, renderEmbeddings } from './embeddings.ts';
import { badKey, errorForStatus, errorReply, refused } from './error.ts';
import { blockedAnswer, IMAGE_TOKENS, renderJson, type WireContext } from './json.ts';
import { checkModel, modelById, modelList } from './models.ts';
import { googleKey, type Target, targetOf } from './path.ts';
import { readGenerateRequest } from './request.ts';
import { errorEvents, renderBlocked, renderStream } from './stream.ts';
import { usageMetadata, wholeProgress } from './usage.ts';

const JSON_HEADERS = ['content-type', 'application/json; charset=UTF-8', 'x-gemini-service-tier', 'standard'];
const STREAM_HEADERS = ['content-type', 'text/event-stream', 'x-gemini-service-tier', 'standard'];

function serveGenerate(target: Target, body: JsonObject, knobs: Knobs, around: Surroundings): Healthy {
  const request = readGenerateRequest(body, target.model);
  const answer = generateAnswer(request, wishesOf(knobs), around.cache);
  const imageTokens = request.image === 'none' ? 0 : IMAGE_TOKENS * request.n;
  const unseen = request.image === 'only' ? answer.choices.reduce((sum, choice) => sum + choice.pieces.length, 0) : 0;
  const blocked = knobs.blocked === true;
  const counts = blocked
    ? { ...answer.counts, completion: 0, reasoning: 0 }
    : { ...answer.counts, completion: answer.counts.completion + imageTokens - unseen };
  const id = around.newId(23);
  const context: WireContext = {
    id,
    counts,
    imageTokens: blocked ? 0 : imageTokens,
    hideUsage: knobs.no_usage === true,
    onlyFirstUsage: knobs.seed_usage === true,
    finish: knobs.finish ?? null,
    citations: knobs.citations === true,
  };
  const usage = usageMetadata(counts, wholeProgress(counts, context.imageTokens));
  if (target.stream) {
    const { sse } = target;
    const segments = blocked ? renderBlocked(request, context, sse) : renderStream(request, answer, context, sse);
    return { reply: streamReply(200, sse ? STREAM_HEADERS : JSON_HEADERS, segments), id, usage, paced: true };
  }
  const text = blocked ? `${JSON.stringify(blockedAnswer(request, context), null, 2)}\n` : renderJson(request, answer, context);
  const pieces = blocked ? 0 : answer.choices.reduce((sum, choice) => sum + choice.pieces.length, 0);
  return { reply: wholeReply(200, JSON_HEADERS, text, { pieces, usage: !context.hideUsage }), id, usage, paced: false };
}

function told(value: JsonObject): Healthy {
  return { reply: wholeReply(200, JSON_HEADERS, `${JSON.stringify(value, null, 2)}\n`), id: null, usage: null, paced: false };
}

function serveEmbed(target: Target, body: JsonObject, knobs: Knobs): Healthy {
  const request = readEmbedRequest(body, target.method === 'batchEmbedContents');
  const usage = embeddingUsage(request);
  const shown = knobs.no_usage === true || !target.model.includes('embedding-2') ? null : usage;
  const text = renderEmbeddings(target.model, request, shown);
  return { reply: wholeReply(200, JSON_HEADERS, text, { usage: shown !== null }), id: null, usage, paced: false };
}

function serveCount(target: Target, body: JsonObject): Healthy {
  const inner = isObject(body.generateContentRequest) ? body.generateContentRequest : body;
  const { total } = promptTokens(readGenerateRequest(inner, target.model));
  return told({ totalTokens: total, promptTokensDetails: [{ modality: 'TEXT', tokenCount: total }] });
}

/** Google's Gemini API. */
export const gemini: Wire = {
  keyOf: googleKey,
  glance(call) {
    const { model, stream } = targetOf(call);
    return { model: model === '' ? null : model, stream };
  },
  check(call) {
    if (call.key === null || call.key === '') {
      throw new ApiError(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
      );
    }
    if (call.key.startsWith('sk-bad')) throw badKey();
  },
  serve(call, body, knobs, around) {
    const target = targetOf(call);
    if (call.method === 'GET' && call.operation === '/models') return told(modelList());
    if (call.method === 'GET' && target.model !== '' && target.method === '') return told(modelById(target.model));
    if (call.method === 'POST' && target.method !== '') checkModel(target.model, target.method);
    switch (call.method === 'POST' ? target.method : '') {
      case 'generateContent':
      case 'streamGenerateContent':
        return serveGenerate(target, body, knobs, around);
      case 'countTokens':
        return serveCount(target, body);
      case 'embedContent':
      case 'batchEmbedContents':
        return serveEmbed(target, body, knobs);
      default:
        throw new ApiError(404, 'Requested entity was not found.');
    }
  },
  tellsRetryInHeaders: false,
  errorForStatus: (status, knobs) => errorForStatus(status, knobs.code ?? null, knobs.retry_after ?? null),
  errorReply(error, call) {
    const { stream, sse } = targetOf(call);
    return errorReply(error, stream && !sse);
  },
  errorEvents: (error, call, before) => errorEvents(error, targetOf(call).sse, before),
  badJson: () => refused('Invalid JSON payload received. Unexpected token.'),
};
