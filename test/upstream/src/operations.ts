// Serves one call: from the bytes of a request to the reply, its pace, and the facts the journal keeps.

import { type AnswerWishes, generateAnswer } from './answer.ts';
import { ApiError, invalid, type ProviderName } from './api-error.ts';
import { applyFaults, errorReply, faultError, htmlReply } from './apply-faults.ts';
import { readChatRequest, readModel } from './chat-request.ts';
import { renderJson, renderStream } from './chat-wire.ts';
import type { Pace } from './delivery.ts';
import { embeddingUsage, readEmbeddingRequest, renderEmbeddings } from './embeddings.ts';
import type { CallFacts, FaultRules } from './fault-rules.ts';
import { isObject, type JsonObject, type JsonValue } from './json-value.ts';
import { describeKnobs, KnobError, type Knobs } from './knobs.ts';
import { refMark, simMarks } from './marker.ts';
import { checkModel, modelById, modelList } from './models.ts';
import type { PromptCache } from './prompt-cache.ts';
import type { ReplayLibrary } from './replay.ts';
import { type Reply, streamReply, wholeReply } from './reply.ts';
import { usageObject } from './usage.ts';

/** One call as it came in. */
export interface Call {
  method: string;
  path: string;
  provider: ProviderName;
  key: string | null;
  /** The x-sim header. */
  sim: string | null;
  body: Buffer;
}

/** What a served call leaves behind. */
export interface Served {
  reply: Reply;
  pace: Pace;
  id: string | null;
  model: string | null;
  stream: boolean;
  marker: string | null;
  fault: string | null;
  usage: JsonObject | null;
}

/** What serving needs beside the call. */
export interface Surroundings {
  rules: FaultRules;
  cache: PromptCache;
  replay: ReplayLibrary;
  /** Milliseconds between the pieces of a stream unless a knob says otherwise. */
  paceMs: number;
  now: () => number;
  /** A new answer id each time: letters and digits, `length` of them. */
  newId: (length: number) => string;
}

const JSON_HEADERS = ['content-type', 'application/json'];
const STREAM_HEADERS: Record<ProviderName, string[]> = {
  openai: ['content-type', 'text/event-stream; charset=utf-8'],
  openrouter: ['content-type', 'text/event-stream', 'cache-control', 'no-cache'],
};
const MISSING_KEY =
  "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys.";
const BAD_JSON =
  "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)";
const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** The path without the provider's prefix; null where the path belongs to neither provider. */
export function operationPath(path: string): { provider: ProviderName; operation: string } | null {
  const bare = path.split('?', 1)[0] ?? '';
  if (bare.startsWith('/api/v1/')) return { provider: 'openrouter', operation: bare.slice('/api/v1'.length) };
  if (bare.startsWith('/v1/')) return { provider: 'openai', operation: bare.slice('/v1'.length) };
  return null;
}

function checkKey(call: Call): void {
  if (call.key === null || call.key === '') {
    throw new ApiError(401, call.provider === 'openai' ? MISSING_KEY : 'Missing Authentication header');
  }
  if (!call.key.startsWith('sk-bad')) return;
  if (call.provider === 'openrouter') throw new ApiError(401, 'User not found.');
  const shown = `${call.key.slice(0, 6)}${'*'.repeat(Math.max(0, call.key.length - 10))}${call.key.slice(-4)}`;
  throw new ApiError(
    401,
    `Incorrect API key provided: ${shown}. You can find your API key at https://platform.openai.com/account/api-keys.`,
    { code: 'invalid_api_key' },
  );
}

function readBody(body: Buffer): JsonObject {
  let value: JsonValue;
  try {
    value = JSON.parse(UTF8.decode(body));
  } catch {
    throw invalid(BAD_JSON, null);
  }
  if (!isObject(value)) throw invalid(BAD_JSON, null);
  return value;
}

/** The text in which marks are looked for: the last user message, or the inputs of an embedding request. */
function markedText(body: JsonObject): string {
  const texts: string[] = [];
  const collect = (content: JsonValue | undefined): void => {
    if (typeof content === 'string') texts.push(content);
    else if (Array.isArray(content)) content.forEach(collect);
    else if (isObject(content)) collect(content.text ?? content.content);
  };
  const turns = Array.isArray(body.messages) ? body.messages : null;
  if (turns === null) collect(body.input ?? body.prompt ?? body.contents);
  else collect(turns.findLast((turn) => isObject(turn) && turn.role === 'user'));
  return texts.join('\n');
}

function markerOf(body: JsonObject, text: string): string | null {
  const mark = refMark(text);
  if (mark !== null) return mark;
  const { metadata, user } = body;
  if (isObject(metadata) && typeof metadata.ref === 'string') return metadata.ref;
  return typeof user === 'string' ? user : null;
}

function checkStrict(body: JsonObject, knobs: Knobs): void {
  if (knobs.strict !== true || body.max_tokens === undefined || !/^(o\d|gpt-5)/.test(String(body.model))) return;
  throw invalid(
    `Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.`,
    'max_tokens',
    'unsupported_parameter',
  );
}

function wishesOf(knobs: Knobs): AnswerWishes {
  return {
    ...(knobs.tokens === undefined ? {} : { tokens: knobs.tokens }),
    ...(knobs.reasoning === undefined ? {} : { reasoning: knobs.reasoning }),
    ...(knobs.extra_output === undefined ? {} : { extraOutput: knobs.extra_output }),
    ...(knobs.empty === undefined ? {} : { empty: knobs.empty }),
    ...(knobs.huge === undefined ? {} : { hugeBytes: knobs.huge }),
    ...(knobs.cache === undefined ? {} : { cache: knobs.cache }),
  };
}

interface Healthy {
  reply: Reply;
  id: string | null;
  usage: JsonObject | null;
  /** Whether segments are pieces of generated text, which are paced by default. */
  paced: boolean;
}

function serveChat(call: Call, body: JsonObject, knobs: Knobs, around: Surroundings): Healthy {
  const request = readChatRequest(body);
  checkModel(call.provider, request.model);
  checkStrict(body, knobs);
  const answer = generateAnswer(request, wishesOf(knobs), around.cache);
  const created = Math.floor(around.now() / 1000);
  const id = call.provider === 'openai' ? `chatcmpl-${around.newId(29)}` : `gen-${created}-${around.newId(20)}`;
  const usage = usageObject(call.provider, answer.counts);
  const hideUsage = knobs.no_usage === true || (request.stream && knobs.seed_usage === true);
  const seed = knobs.seed_usage === true ? usageObject(call.provider, { ...answer.counts, completion: 1, reasoning: 0 }) : null;
  const context = { provider: call.provider, id, created, usage, hideUsage, seed };
  if (request.stream) {
    const reply = streamReply(200, STREAM_HEADERS[call.provider], renderStream(request, answer, context));
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
  const reply = wholeReply(200, JSON_HEADERS, text, { usage: shown !== null });
  return { reply, id, usage, paced: false };
}

function replayName(call: Call, body: JsonObject): string | null {
  // Gemini names its model in the path.
  const named = /\/models\/sim\/([^:?]+)/.exec(call.path)?.[1] ?? (typeof body.model === 'string' ? body.model : '');
  if (named.startsWith('sim/')) return named.slice('sim/'.length);
  return /\/models\/sim\//.test(call.path) ? decodeURIComponent(named) : null;
}

function serveOperation(call: Call, body: JsonObject, knobs: Knobs, around: Surroundings): Healthy {
  const recorded = replayName(call, body);
  if (recorded !== null && call.method === 'POST') {
    const stream = body.stream === true || call.path.includes(':streamGenerateContent');
    return { ...around.replay.play(recorded, stream), paced: false };
  }
  const operation = operationPath(call.path)?.operation ?? null;
  const json = (value: JsonObject): Healthy => {
    const reply = wholeReply(200, JSON_HEADERS, `${JSON.stringify(value)}\n`);
    return { reply, id: null, usage: null, paced: false };
  };
  if (call.method === 'POST' && operation === '/chat/completions') return serveChat(call, body, knobs, around);
  if (call.method === 'POST' && operation === '/embeddings') return serveEmbeddings(call, body, knobs, around);
  if (call.method === 'GET' && operation === '/models') return json(modelList(call.provider));
  if (call.method === 'GET' && operation?.startsWith('/models/')) {
    return json(modelById(call.provider, decodeURIComponent(operation.slice('/models/'.length))));
  }
  throw new ApiError(404, `Invalid URL (${call.method} ${call.path})`);
}

function paceOf(knobs: Knobs, paced: boolean, around: Surroundings): Pace {
  // A cut that two writes of one turn would heal on the way is no cut.
  const fallback = knobs.recut === undefined ? (paced ? around.paceMs : 0) : 'turn';
  return {
    delayMs: knobs.delay_ms ?? 0,
    firstByteDelayMs: knobs.first_byte_delay_ms ?? 0,
    segmentMs: knobs.pace_ms ?? fallback,
  };
}

/** Serves a call. Never throws: whatever is wrong with the call becomes the provider's error answer. */
export function serve(call: Call, around: Surroundings): Served {
  const served: Served = {
    reply: wholeReply(500, [], ''),
    pace: { delayMs: 0, firstByteDelayMs: 0, segmentMs: 0 },
    id: null,
    model: null,
    stream: false,
    marker: null,
    fault: null,
    usage: null,
  };
  let knobs: Knobs = {};
  try {
    const body = call.method === 'POST' ? readBody(call.body) : {};
    const text = markedText(body);
    served.model = typeof body.model === 'string' ? body.model : null;
    served.stream = body.stream === true;
    served.marker = markerOf(body, text);
    const facts: CallFacts = {
      provider: call.provider,
      path: call.path,
      model: served.model,
      keyFingerprint: call.key?.slice(-4) ?? null,
      text,
    };
    knobs = around.rules.resolve(facts, [...(call.sim === null ? [] : [call.sim]), ...simMarks(text)]);
    served.fault = describeKnobs(knobs);
    served.pace = paceOf(knobs, false, around);
    if (operationPath(call.path) !== null) checkKey(call);
    if (call.method === 'POST' && operationPath(call.path) !== null) readModel(body);
    if (knobs.not_json === true) {
      served.reply = applyFaults(htmlReply(knobs.status ?? 200), knobs, call.provider);
      return served;
    }
    const asked = faultError(knobs);
    if (asked !== null && (knobs.error_event_after === undefined || !served.stream)) {
      served.reply = applyFaults(errorReply(call.provider, asked.error, asked.headers), knobs, call.provider);
      return served;
    }
    const healthy = serveOperation(call, body, knobs, around);
    served.id = healthy.id;
    served.usage = healthy.usage;
    served.pace = paceOf(knobs, healthy.paced, around);
    served.reply = applyFaults(healthy.reply, knobs, call.provider);
  } catch (error) {
    served.reply = errorReply(call.provider, asApiError(error), []);
  }
  return served;
}

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof KnobError) return invalid(`Simulated upstream: ${error.message}.`, 'x-sim', 'invalid_knob');
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError(500, `Simulated upstream failed: ${message}`, { code: 'simulator_failure' });
}
