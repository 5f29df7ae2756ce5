/** Reads a request in one pass over its bytes, for the pass-through lane. */
import type { Operation } from '@meridian/domain/dialect';
import { isMeter } from '@meridian/domain/usage';
import { CACHE_CONTROL, type CacheTally, noteLifetime } from '../cache-lifetime.ts';
import type { PassThroughRequest, RequestEdits, RequestFacts, ShownMeter } from '../dialect.ts';
import { AUDIO_BYTES_PER_TOKEN, IMAGE_MAX_TOKENS, LOW_DETAIL_IMAGE_MAX_TOKENS } from '../input-bounds.ts';
import { emptyTally, endMessage, type InputTally, inputTokensBound, noteReference } from '../input-tally.ts';
import { invalid, isObject, modelName, optionalBoolean, optionalPositiveInteger } from '../json.ts';
import { type Edit, type JsonCursor, JsonKeyError, knownKey, noteOnce, type Span, scanObject, splice, valueAt } from '../json-scanner.ts';
import { requestedTier } from '../openai-tiers.ts';
import { openBody, readRequestBody } from '../request-body.ts';
import { isSteadyAudio } from '../steady-audio.ts';
import { carriedStateEdits, mayHoldCarriedState } from './carried-state.ts';
import { readPackedEmbeddings } from './packed-embeddings.ts';
import {
  asksForNothing,
  CHAT_KEYS,
  EMBEDDINGS_KEYS,
  INPUT_FROM_ELSEWHERE,
  MAX_CHOICES,
  MAX_EMBEDDING_INPUT_CHARACTERS,
  MAX_EMBEDDING_INPUTS,
} from './schema.ts';

const STREAM_OPTIONS_KEYS: ReadonlySet<string> = new Set(['include_usage']);
/** Tools of these types are called by the client; any other is the provider's own, and reads what nobody here can see. */
const CLIENT_TOOLS: ReadonlySet<unknown> = new Set(['function', 'custom']);

interface ChatTally extends InputTally, CacheTally {
  /** Roles that not every upstream has. */
  developers: Span[] | undefined;
  /** Tools that the provider runs, by the parameter that asks for them. */
  hostedTools: { readonly tool: string; readonly param: string; readonly atMost: number }[];
}

/** Throws GatewayError 400 with the parameter at fault. */
export function readPassThrough(operation: Operation, body: Buffer): PassThroughRequest {
  return readRequestBody(body, () => (operation === 'embeddings' ? readEmbeddings(body) : readChat(body)));
}

function readChat(body: Buffer): PassThroughRequest {
  const spans = new Map<string, Span>();
  const tally: ChatTally = { ...emptyTally(), developers: undefined, hourOfCache: undefined, hostedTools: [] };
  const cursor = openBody(body);
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = knownKey(cursor, CHAT_KEYS);
    const start = cursor.position;
    if (key === 'messages') walkMessages(cursor, tally);
    else if (key === 'tools' || key === 'functions') walkTools(cursor, key, tally);
    else if (key === CACHE_CONTROL) noteLifetime(cursor, tally, '');
    else cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, { start, end: cursor.position });
  }
  cursor.finish();

  const field = (key: string): unknown => fieldAt(body, spans, key);
  const model = modelName(field('model'));
  if (!spans.has('messages')) throw invalid("The parameter 'messages' is missing.", 'messages');
  if (tally.messages === 0) throw invalid("The parameter 'messages' may not be empty.", 'messages');
  const stream = optionalBoolean(field('stream'), 'stream');
  const streamOptions = readStreamOptions(body, spans.get('stream_options'));
  const limit = optionalPositiveInteger(field('max_tokens'), 'max_tokens');
  const completionLimit = optionalPositiveInteger(field('max_completion_tokens'), 'max_completion_tokens');
  const choices = optionalPositiveInteger(field('n'), 'n', MAX_CHOICES) ?? 1;
  const modalities = field('modalities');
  const makes = (modality: string): boolean => Array.isArray(modalities) && modalities.includes(modality);
  noteElsewhere(tally, field);
  if (makes('audio')) tally.unbounded ??= 'modalities';
  const facts: RequestFacts = {
    operation: 'chat',
    model,
    stream,
    wantsStreamUsage: stream && streamOptions.includeUsage,
    maxOutputTokens: completionLimit ?? limit,
    choices,
    serviceTier: requestedTier(field('service_tier')),
    inputTokensBound: inputTokensBound(body, tally),
    longestMessageBytes: tally.longestMessageBytes,
    readsBeyondBody: tally.readsBeyondBody,
    unbounded: tally.unbounded,
    // A prediction and a limit exclude each other upstream.
    takesOutputLimit: (field('prediction') ?? null) === null,
    images: makes('image') ? choices : 0,
    beyondText: beyondText(tally, makes, choices),
    needs: readNeeds(tally, field('response_format'), field('reasoning_effort')),
  };
  const read: ReadChat = { body, spans, streamOptions, facts, limit, completionLimit, developers: tally.developers ?? [] };
  return { facts, rewrite: (edits) => splice(body, chatEdits(read, edits)) };
}

/** Each is noted, and priced, apart: a body of nothing else would take seconds of everybody's time. No provider has near so many. */
const MAX_HOSTED_TOOLS = 128;
/** A model calls a tool of its provider as often as it likes; more than this is seen with none. */
const HOSTED_TOOL_CALLS = 16;
/** What a provider reads for one search where the request does not say. */
const SEARCH_SOURCES = 20;

/** Parameters by which a provider searches before or while the model answers, and what it counts of that. */
const SEARCHES: Readonly<Partial<Record<string, (value: unknown) => { readonly tool: string; readonly atMost: number } | undefined>>> = {
  web_search_options: () => ({ tool: 'web_search', atMost: HOSTED_TOOL_CALLS }),
  enable_search: () => ({ tool: 'web_search', atMost: HOSTED_TOOL_CALLS }),
  search_parameters: (value) => {
    if (!isObject(value) || value.mode === 'off') return undefined;
    const { max_search_results: most } = value;
    // A number may be written that is beyond all of them.
    const atMost = typeof most === 'number' && most >= 0 ? Math.min(Math.ceil(most), Number.MAX_SAFE_INTEGER) : SEARCH_SOURCES;
    return { tool: 'web_source', atMost };
  },
  plugins: (value) =>
    Array.isArray(value) && value.some((plugin) => isObject(plugin) && plugin.id === 'web')
      ? { tool: 'web_search', atMost: HOSTED_TOOL_CALLS }
      : undefined,
};

/** Names of one tool that change with its versions: `web_search_preview`, `web_search_20250305`. */
const TOOL_VERSIONS = /_(preview(_\d[\d_]*)?|\d{6,8})$/;

/** What is counted beside text; nothing for most requests. */
function beyondText(tally: ChatTally, makes: (modality: string) => boolean, choices: number): readonly ShownMeter[] {
  const shown: ShownMeter[] = [];
  if (tally.audio !== undefined) shown.push({ meter: 'audio_in', param: tally.audio, atMost: undefined });
  if (tally.vision !== undefined) shown.push({ meter: 'image_in', param: tally.vision, atMost: undefined });
  if (tally.hourOfCache !== undefined) shown.push({ meter: 'cache_write_1h', param: tally.hourOfCache, atMost: undefined });
  if (makes('audio')) shown.push({ meter: 'audio_out', param: 'modalities', atMost: undefined });
  if (makes('image')) shown.push({ meter: 'image_out', param: 'modalities', atMost: choices });
  for (const { tool, param, atMost } of tally.hostedTools) {
    const meter = `per_tool_call:${tool.toLowerCase().replace(TOOL_VERSIONS, '')}`;
    shown.push({ meter: isMeter(meter) ? meter : 'per_tool_call', param, atMost });
  }
  return shown;
}

function noteElsewhere(tally: ChatTally, field: (key: string) => unknown): void {
  for (const key of INPUT_FROM_ELSEWHERE) {
    const value = field(key);
    if (asksForNothing(value)) continue;
    noteReference(tally, key);
    const searched = SEARCHES[key]?.(value);
    if (searched !== undefined) tally.hostedTools.push({ ...searched, param: key });
  }
  const extra = field('extra_body');
  if (isObject(extra) && isObject(extra.google) && (extra.google.cached_content ?? null) !== null) {
    noteReference(tally, 'extra_body.google.cached_content');
  }
}

function fieldAt(body: Buffer, spans: ReadonlyMap<string, Span>, key: string): unknown {
  const span = spans.get(key);
  return span === undefined ? undefined : valueAt(body, span);
}

const DEVELOPER = Buffer.from('"developer"');

function walkMessages(cursor: JsonCursor, tally: ChatTally): void {
  if (cursor.peek() !== 'array') throw invalid("The parameter 'messages' must be an array.", 'messages');
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    if (cursor.peek() !== 'object') {
      const param = `messages[${tally.messages}]`;
      throw invalid(`The parameter '${param}' must be an object.`, param);
    }
    const param = `messages[${tally.messages}]`;
    tally.messages++;
    tally.messageBytes = 0;
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      // A message with a twice-written or escaped `content` is the upstream's to judge: nothing in it is edited, and only
      // media that was recognised is taken out of the byte count, each with its maximum put in.
      const key = cursor.key();
      const kind = cursor.peek();
      // Pictures of an earlier answer are parts like those of a content.
      if ((key === 'content' || key === 'images') && kind === 'array') {
        walkParts(cursor, tally, `${param}.${key}`);
        continue;
      }
      if (key === CACHE_CONTROL) {
        noteLifetime(cursor, tally, `${param}.`);
        continue;
      }
      // Speech of an earlier answer, which the provider has kept.
      if (key === 'audio' && kind === 'object') noteReference(tally, `${param}.audio`);
      const { start, end } = cursor.skipValue();
      if (key === 'content') tally.messageBytes += end - start;
      else if (key === 'role' && end - start === DEVELOPER.length && DEVELOPER.equals(cursor.body.subarray(start, end))) {
        tally.developers ??= [];
        tally.developers.push({ start, end });
      }
    }
    endMessage(tally);
  }
}

function walkParts(cursor: JsonCursor, tally: ChatTally, list: string): void {
  cursor.openArray();
  let parts = 0;
  for (let first = true; cursor.nextElement(first); first = false) {
    const param = `${list}[${parts++}]`;
    if (cursor.peek() !== 'object') {
      cursor.skipValue();
      continue;
    }
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) walkPart(cursor, tally, param);
  }
}

/** One member of a part of a message's content. */
function walkPart(cursor: JsonCursor, tally: ChatTally, param: string): void {
  switch (cursor.key()) {
    case 'text': {
      const { start, end } = cursor.skipValue();
      tally.messageBytes += end - start;
      break;
    }
    case 'image_url':
    case 'image':
    case 'image_file': {
      const { bytes, lowDetail } = walkMedium(cursor, 'url');
      tally.vision ??= param;
      tally.mediaTokens += lowDetail ? LOW_DETAIL_IMAGE_MAX_TOKENS : IMAGE_MAX_TOKENS;
      tally.mediaBytes += bytes;
      break;
    }
    case 'input_audio': {
      const { bytes, isSteady } = walkMedium(cursor, 'data');
      tally.audio ??= param;
      if (!isSteady) tally.readsBeyondBody = true;
      tally.mediaBytes += bytes;
      tally.mediaTokens += Math.ceil(bytes / AUDIO_BYTES_PER_TOKEN);
      break;
    }
    case 'file': {
      const { start, end } = cursor.skipValue();
      // A page is drawn and counted as a picture, whatever few bytes it has; inline text alone would be bounded by them.
      tally.readsBeyondBody = true;
      if (end - start < FILE_REFERENCE_BYTES) noteReference(tally, `${param}.file`);
      break;
    }
    case CACHE_CONTROL:
      noteLifetime(cursor, tally, `${param}.`);
      break;
    case 'audio_url':
      cursor.skipValue();
      tally.audio ??= param;
      noteReference(tally, param);
      break;
    case 'video_url':
    case 'file_url':
    case 'document_url':
    case 'input_file':
      cursor.skipValue();
      noteReference(tally, param);
      break;
    default:
      cursor.skipValue();
  }
}

/** A `file` part shorter than this holds no document, only the name of one. */
const FILE_REFERENCE_BYTES = 512;
const IMAGE_DATA_URL = Buffer.from('data:image/');

interface Medium {
  /** Of its inline data. */
  readonly bytes: number;
  readonly lowDetail: boolean;
  /** Of sound: its bytes bound its length. */
  readonly isSteady: boolean;
}

/** Goes over a medium, given as a string or as an object with `member`. */
function walkMedium(cursor: JsonCursor, member: 'url' | 'data'): Medium {
  const kind = cursor.peek();
  if (kind === 'string') return { bytes: inlineBytes(cursor.body, cursor.skipValue(), member), lowDetail: false, isSteady: false };
  if (kind !== 'object') {
    cursor.skipValue();
    return { bytes: 0, lowDetail: false, isSteady: false };
  }
  let bytes = 0;
  let details = 0;
  let low = false;
  let isSteady = false;
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    const isText = cursor.peek() === 'string';
    const span = cursor.skipValue();
    // Of a name written twice the bytes of the others stay in the count, which is a bound whichever one is read upstream.
    if (key === member && isText) {
      bytes = inlineBytes(cursor.body, span, member);
      isSteady = member === 'data' && isSteadyAudio(cursor.body, span);
    }
    if (key === 'detail') {
      details++;
      low = isText && valueAt(cursor.body, span) === 'low';
    }
  }
  return { bytes, lowDetail: low && details === 1, isSteady };
}

function inlineBytes(body: Buffer, { start, end }: Span, member: 'url' | 'data'): number {
  if (member === 'data') return end - start - 2;
  // Anything but an image in here (documents, plain text) may have a token for every few bytes, so it stays in the count.
  const prefix = body.subarray(start + 1, start + 1 + IMAGE_DATA_URL.length);
  return prefix.equals(IMAGE_DATA_URL) ? end - start - 2 : 0;
}

function walkTools(cursor: JsonCursor, key: string, tally: ChatTally): void {
  const kind = cursor.peek();
  if (kind === 'null') {
    cursor.skipValue();
    return;
  }
  if (kind !== 'array') throw invalid(`The parameter '${key}' must be an array.`, key);
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    if (cursor.peek() !== 'object') throw invalid(`The items of '${key}' must be objects.`, key);
    const param = `${key}[${tally.tools}]`;
    tally.tools++;
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      if (cursor.key() === CACHE_CONTROL) {
        noteLifetime(cursor, tally, `${param}.`);
        continue;
      }
      const isType = key === 'tools' && cursor.key() === 'type';
      const span = cursor.skipValue();
      if (!isType) continue;
      const type = valueAt(cursor.body, span);
      if (CLIENT_TOOLS.has(type)) continue;
      if (tally.hostedTools.length === MAX_HOSTED_TOOLS) {
        throw invalid(`A request may ask for at most ${MAX_HOSTED_TOOLS} tools that the provider runs.`, key);
      }
      noteReference(tally, param);
      tally.hostedTools.push({ tool: String(type), param, atMost: HOSTED_TOOL_CALLS });
    }
  }
}

function readNeeds(tally: ChatTally, responseFormat: unknown, reasoningEffort: unknown): readonly string[] {
  const needs: string[] = [];
  if (tally.tools > 0) needs.push('tools');
  if (tally.vision !== undefined) needs.push('vision');
  if (tally.audio !== undefined) needs.push('audio_input');
  if (responseFormat !== undefined && responseFormat !== null) {
    if (!isObject(responseFormat)) throw invalid("The parameter 'response_format' must be an object.", 'response_format');
    if (responseFormat.type === 'json_schema' || responseFormat.type === 'json_object') needs.push(responseFormat.type);
  }
  if (reasoningEffort !== undefined && reasoningEffort !== null) {
    if (typeof reasoningEffort !== 'string') throw invalid("The parameter 'reasoning_effort' must be a string.", 'reasoning_effort');
    if (reasoningEffort !== 'none') needs.push('reasoning');
  }
  return needs;
}

/** How `stream_options` is written, for the edit that asks for usage. */
interface StreamOptions {
  readonly includeUsage: boolean;
  readonly span: Span | undefined;
  readonly includeUsageSpan: Span | undefined;
  /** The object has members, so that a comma is due after an inserted one. */
  readonly hasMembers: boolean;
}

function readStreamOptions(body: Buffer, span: Span | undefined): StreamOptions {
  if (span === undefined) return { includeUsage: false, span: undefined, includeUsageSpan: undefined, hasMembers: false };
  const value = valueAt(body, span);
  if (value === null) return { includeUsage: false, span, includeUsageSpan: undefined, hasMembers: false };
  if (!isObject(value)) throw invalid("The parameter 'stream_options' must be an object.", 'stream_options');
  const includeUsageSpan = scanOptions(body, span).get('include_usage');
  const includeUsage = optionalBoolean(value.include_usage, 'stream_options.include_usage');
  return { includeUsage, span, includeUsageSpan, hasMembers: Object.keys(value).length > 0 };
}

function scanOptions(body: Buffer, span: Span): Map<string, Span> {
  try {
    return scanObject(body, STREAM_OPTIONS_KEYS, span);
  } catch (error) {
    if (error instanceof JsonKeyError) throw invalid(error.message, `stream_options.${error.key}`);
    throw error;
  }
}

/** A chat request that has been read, and where stands what may be edited. */
interface ReadChat {
  readonly body: Buffer;
  readonly spans: ReadonlyMap<string, Span>;
  readonly streamOptions: StreamOptions;
  readonly facts: RequestFacts;
  readonly limit: number | undefined;
  readonly completionLimit: number | undefined;
  readonly developers: readonly Span[];
}

function chatEdits(read: ReadChat, edits: RequestEdits): Edit[] {
  const { body, spans, facts } = read;
  const list = modelEdit(spans, facts.model, edits.model);
  const inserted: string[] = [];
  if (facts.stream) usageEdits(read, edits, list, inserted);
  limitEdits(read, edits, list, inserted);
  if (edits.quirks?.includes('system_role')) list.push(...read.developers.map((span) => ({ ...span, text: '"system"' })));
  const messages = spans.get('messages');
  if (messages !== undefined && mayHoldCarriedState(body)) list.push(...carriedStateEdits(body, messages));
  if (inserted.length > 0) {
    const start = body.indexOf('{') + 1;
    list.push({ start, end: start, text: `${inserted.join(',')},` });
  }
  return list;
}

/** Usage is asked for in every stream, unless the upstream refuses to be asked. */
function usageEdits({ body, streamOptions }: ReadChat, { quirks }: RequestEdits, list: Edit[], inserted: string[]): void {
  const { span, includeUsage, includeUsageSpan, hasMembers } = streamOptions;
  if (quirks?.includes('no_stream_options')) {
    if (span !== undefined) list.push({ ...memberAt(body, 'stream_options', span), text: '' });
    return;
  }
  if (includeUsage) return;
  if (includeUsageSpan !== undefined) list.push({ ...includeUsageSpan, text: 'true' });
  else if (span === undefined) inserted.push('"stream_options":{"include_usage":true}');
  else if (hasMembers) list.push({ start: span.start + 1, end: span.start + 1, text: '"include_usage":true,' });
  else list.push({ ...span, text: '{"include_usage":true}' });
}

/** One limit, by the name that the upstream knows: the client's, of two the newer one, else the one that has to be added. */
function limitEdits({ spans, limit, completionLimit }: ReadChat, edits: RequestEdits, list: Edit[], inserted: string[]): void {
  const [name, other] = edits.quirks?.includes('max_tokens')
    ? (['max_tokens', 'max_completion_tokens'] as const)
    : (['max_completion_tokens', 'max_tokens'] as const);
  const given = completionLimit ?? limit;
  const isTwice = limit !== undefined && completionLimit !== undefined;
  // A limit by the older name alone is left to it: most that know the newer one know both.
  const isUnknown = name === 'max_tokens' && completionLimit !== undefined;
  if (given !== undefined && !isTwice && !isUnknown) return;
  const wanted = given ?? edits.maxOutputTokens;
  if (wanted === undefined) return;
  const span = spans.get(name);
  if (span === undefined) inserted.push(`"${name}":${wanted}`);
  else list.push({ ...span, text: String(wanted) });
  const otherSpan = spans.get(other);
  // Taken back, so that no upstream reads it instead.
  if (given !== undefined && otherSpan !== undefined) list.push({ ...otherSpan, text: 'null' });
}

/** A member of the body with its comma; its key is written without escapes. */
function memberAt(body: Buffer, key: string, value: Span): Span {
  let start = body.lastIndexOf(`"${key}"`, value.start);
  let end = value.end;
  while (BLANKS.has(body[end] ?? 0)) end++;
  if (body[end] === COMMA) return { start, end: end + 1 };
  do start--;
  while (BLANKS.has(body[start] ?? 0));
  // The last member: the comma before it goes, unless it is the only one.
  return body[start] === COMMA ? { start, end: value.end } : { start: start + 1, end: value.end };
}

const COMMA = 0x2c;
const BLANKS: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);

function modelEdit(spans: ReadonlyMap<string, Span>, from: string, to: string): Edit[] {
  const span = spans.get('model');
  return span === undefined || from === to ? [] : [{ ...span, text: JSON.stringify(to) }];
}

function readEmbeddings(body: Buffer): PassThroughRequest {
  const spans = new Map<string, Span>();
  const cursor = openBody(body);
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = knownKey(cursor, EMBEDDINGS_KEYS);
    const start = cursor.position;
    if (key === 'input') walkInput(cursor);
    else cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, { start, end: cursor.position });
  }
  cursor.finish();
  const field = (key: string): unknown => fieldAt(body, spans, key);
  const model = modelName(field('model'));
  if (!spans.has('input')) throw invalid("The parameter 'input' is missing.", 'input');
  optionalPositiveInteger(field('dimensions'), 'dimensions');
  const format = field('encoding_format');
  if (format !== undefined && format !== null && format !== 'float' && format !== 'base64') {
    throw invalid("The parameter 'encoding_format' must be float or base64.", 'encoding_format');
  }
  const user = field('user');
  if (user !== undefined && user !== null && typeof user !== 'string') throw invalid("The parameter 'user' must be a string.", 'user');
  const facts: RequestFacts = {
    operation: 'embeddings',
    model,
    stream: false,
    wantsStreamUsage: false,
    maxOutputTokens: undefined,
    choices: 1,
    serviceTier: 'standard',
    inputTokensBound: body.length,
    readsBeyondBody: false,
    unbounded: undefined,
    takesOutputLimit: false,
    images: 0,
    needs: [],
  };
  return {
    facts,
    rewrite: (edits) => splice(body, modelEdit(spans, model, edits.model)),
    ...(format === 'base64' ? { readAnswer: readPackedEmbeddings } : {}),
  };
}

/** A text, an array of texts, an array of tokens, or an array of arrays of tokens. */
function walkInput(cursor: JsonCursor): void {
  const kind = cursor.peek();
  if (kind === 'string') {
    checkText(cursor, 'input');
    return;
  }
  if (kind !== 'array') throw invalid("The parameter 'input' must be a string or an array.", 'input');
  cursor.openArray();
  let inputs = 0;
  let items: string | undefined;
  for (let first = true; cursor.nextElement(first); first = false) {
    const item = cursor.peek();
    items ??= item;
    if (item !== items) throw invalid("The items of 'input' must all be of one kind.", 'input');
    if (item === 'string') checkText(cursor, `input[${inputs}]`);
    else if (item === 'array') walkTokens(cursor, `input[${inputs}]`);
    else checkToken(cursor, 'input');
    inputs++;
    if (item !== 'number' && inputs > MAX_EMBEDDING_INPUTS) {
      throw invalid(`The parameter 'input' may have at most ${MAX_EMBEDDING_INPUTS} items.`, 'input');
    }
  }
  if (inputs === 0) throw invalid("The parameter 'input' may not be empty.", 'input');
}

function walkTokens(cursor: JsonCursor, param: string): void {
  cursor.openArray();
  let tokens = 0;
  for (let first = true; cursor.nextElement(first); first = false) {
    checkToken(cursor, param);
    tokens++;
  }
  if (tokens === 0) throw invalid(`The parameter '${param}' may not be empty.`, param);
}

function checkToken(cursor: JsonCursor, param: string): void {
  if (cursor.peek() !== 'number') throw invalid(`The items of '${param}' must be strings, tokens, or arrays of tokens.`, param);
  const { start, end } = cursor.skipValue();
  for (let at = start; at < end; at++) {
    const byte = cursor.body[at] ?? 0;
    if (byte < 0x30 || byte > 0x39) throw invalid(`The tokens of '${param}' must be integers ≥ 0.`, param);
  }
}

function checkText(cursor: JsonCursor, param: string): void {
  const { start, end } = cursor.skipValue();
  // A character is at least a byte, so a short span needs no decoding.
  if (end - start - 2 <= MAX_EMBEDDING_INPUT_CHARACTERS) return;
  const text = valueAt(cursor.body, { start, end });
  if (typeof text === 'string' && text.length > MAX_EMBEDDING_INPUT_CHARACTERS) {
    throw invalid(`The parameter '${param}' may have at most ${MAX_EMBEDDING_INPUT_CHARACTERS} characters.`, param);
  }
}
