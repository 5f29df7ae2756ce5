/** Reads a request in one pass over its bytes, for the pass-through lane. */
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { isMeter } from '@meridian/domain/usage';
import { boundedCallId, unpackCallId } from '../../canonical/call-id.ts';
import { CARRIER_MARK } from '../../canonical/carrier.ts';
import type { PassThroughRequest, RequestEdits, RequestFacts, ShownMeter } from '../dialect.ts';
import { AUDIO_BYTES_PER_TOKEN, IMAGE_MAX_TOKENS, LOW_DETAIL_IMAGE_MAX_TOKENS, MESSAGE_OVERHEAD_TOKENS } from '../input-bounds.ts';
import { emptyTally, endMessage, type InputTally, inputTokensBound, noteReference } from '../input-tally.ts';
import { invalid, isObject, modelName, optionalBoolean, optionalPositiveInteger } from '../json.ts';
import { type Edit, type JsonCursor, JsonKeyError, knownKey, noteOnce, type Span, scanObject, splice, valueAt } from '../json-scanner.ts';
import { requestedTier } from '../openai-tiers.ts';
import { openBody, readRequestBody } from '../request-body.ts';
import { isSteadyAudio } from '../steady-audio.ts';
import {
  CLIENT_ITEMS,
  CLIENT_TOOLS,
  DEFAULT_EFFORT,
  ITEM_KEYS,
  MAX_CALL_ID_CHARACTERS,
  MAX_REPEATED_BYTES,
  REQUEST_KEYS,
} from './schema.ts';

const REASONING_KEYS: ReadonlySet<string> = new Set(['effort']);

interface ItemsTally extends InputTally {
  /** Tools that the provider runs, by the parameter that asks for them. */
  hostedTools: { readonly tool: string; readonly param: string }[];
  /** The calls that come next were reasoned about in an item that stays. */
  reasoned: boolean;
  /** What must change in the input before an upstream of this dialect gets it. */
  readonly edits: Edit[];
}

/** Throws GatewayError 400 with the parameter at fault. */
export function readPassThrough(_operation: Operation, body: Buffer): PassThroughRequest {
  return readRequestBody(body, () => read(body));
}

function read(body: Buffer): PassThroughRequest {
  const spans = new Map<string, Span>();
  const tally: ItemsTally = { ...emptyTally(), hostedTools: [], reasoned: false, edits: [] };
  const cursor = openBody(body);
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = knownKey(cursor, REQUEST_KEYS);
    const start = cursor.position;
    if (key === 'input') walkInput(cursor, tally);
    else if (key === 'tools') walkTools(cursor, tally);
    else cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, { start, end: cursor.position });
  }
  cursor.finish();

  const field = (key: string): unknown => {
    const span = spans.get(key);
    return span === undefined ? undefined : valueAt(body, span);
  };
  const model = modelName(field('model'));
  refuseStored(field);
  const prompt = field('prompt') ?? null;
  if (prompt !== null) noteReference(tally, 'prompt');
  else if (tally.messages === 0) {
    if (spans.has('input')) throw invalid("The parameter 'input' may not be empty.", 'input');
    throw invalid("The parameter 'input' is missing.", 'input');
  }
  const input = spans.get('input');
  if (body.length - (input === undefined ? 0 : input.end - input.start) > MAX_REPEATED_BYTES) {
    throw new GatewayError('request_too_large', {
      message: `All of the request but 'input' may have at most ${MAX_REPEATED_BYTES} bytes.`,
    });
  }
  const instructions = spans.get('instructions');
  if (instructions !== undefined) tally.longestMessageBytes = Math.max(tally.longestMessageBytes, instructions.end - instructions.start);
  const stream = optionalBoolean(field('stream'), 'stream');
  const reasoning = readReasoning(body, spans.get('reasoning'));
  const facts: RequestFacts = {
    operation: 'chat',
    model,
    stream,
    // Of this protocol every stream tells its usage.
    wantsStreamUsage: stream,
    maxOutputTokens: optionalPositiveInteger(field('max_output_tokens'), 'max_output_tokens'),
    choices: 1,
    serviceTier: requestedTier(field('service_tier')),
    // Instructions are a message too.
    inputTokensBound: inputTokensBound(body, tally) + MESSAGE_OVERHEAD_TOKENS,
    longestMessageBytes: tally.longestMessageBytes,
    readsBeyondBody: tally.readsBeyondBody,
    unbounded: tally.unbounded,
    takesOutputLimit: true,
    images: 0,
    beyondText: beyondText(tally),
    needs: readNeeds(tally, field('text'), reasoning.effort),
  };
  return { facts, rewrite: (edits) => splice(body, requestEdits(body, spans, facts, reasoning, tally.edits, edits)) };
}

/** Nothing is kept here between requests, so what a request asks to keep, or to find, is refused. */
function refuseStored(field: (key: string) => unknown): void {
  if (optionalBoolean(field('store'), 'store')) throw invalid('Store must be set to false', 'store');
  if (optionalBoolean(field('background'), 'background')) {
    throw invalid(
      'Background responses are stored until they are fetched, and nothing is stored here: leave out `background`.',
      'background',
    );
  }
  if ((field('conversation') ?? null) !== null) {
    throw invalid('Conversations are not stored here: send the whole conversation as `input`.', 'conversation');
  }
  const previous = field('previous_response_id') ?? null;
  if (previous === null) return;
  throw new GatewayError('invalid_request_error', {
    message: `Previous response with id '${String(previous).slice(0, 64)}' not found. Responses are not stored: send the whole conversation as \`input\`.`,
    param: 'previous_response_id',
    details: { code: 'previous_response_not_found' },
  });
}

/** Each is noted, and priced, apart: a body of nothing else would take seconds of everybody's time. No provider has near so many. */
const MAX_HOSTED_TOOLS = 128;
/** A model calls a tool of its provider as often as it likes; more than this is seen with none. */
const HOSTED_TOOL_CALLS = 16;
/** Names of one tool that change with its versions: `web_search_preview`, `web_search_2025_08_26`. */
const TOOL_VERSIONS = /_(preview(_\d[\d_]*)?|\d{4}_\d\d_\d\d|\d{6,8})$/;

/** What is counted beside text; nothing for most requests. */
function beyondText(tally: ItemsTally): readonly ShownMeter[] {
  const shown: ShownMeter[] = [];
  if (tally.audio !== undefined) shown.push({ meter: 'audio_in', param: tally.audio, atMost: undefined });
  if (tally.vision !== undefined) shown.push({ meter: 'image_in', param: tally.vision, atMost: undefined });
  for (const { tool, param } of tally.hostedTools) {
    const meter = `per_tool_call:${tool.toLowerCase().replace(TOOL_VERSIONS, '')}`;
    shown.push({ meter: isMeter(meter) ? meter : 'per_tool_call', param, atMost: HOSTED_TOOL_CALLS });
  }
  return shown;
}

function walkInput(cursor: JsonCursor, tally: ItemsTally): void {
  const kind = cursor.peek();
  if (kind === 'null') {
    cursor.skipValue();
    return;
  }
  if (kind === 'string') {
    const { start, end } = cursor.skipValue();
    tally.messages = 1;
    tally.longestMessageBytes = end - start;
    return;
  }
  if (kind !== 'array') throw invalid("The parameter 'input' must be a string or an array.", 'input');
  let keptEnd = cursor.position + 1;
  let end = keptEnd;
  /** Where a run of items begins that are taken out. */
  let dropped: number | undefined;
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    const param = `input[${tally.messages}]`;
    if (cursor.peek() !== 'object') throw invalid(`The parameter '${param}' must be an object.`, param);
    const start = cursor.position;
    tally.messages++;
    const stays = walkItem(cursor, tally, param);
    end = cursor.position;
    if (!stays) {
      dropped ??= start;
      continue;
    }
    if (dropped !== undefined) tally.edits.push({ start: dropped, end: start, text: '' });
    dropped = undefined;
    keptEnd = end;
  }
  if (dropped !== undefined) tally.edits.push({ start: keptEnd, end, text: '' });
}

/** Goes over one item; false for one that an upstream of this dialect would refuse, and that is taken out. */
function walkItem(cursor: JsonCursor, tally: ItemsTally, param: string): boolean {
  const { body } = cursor;
  const spans = new Map<string, Span>();
  tally.messageBytes = 0;
  cursor.openObject();
  /** The member `id` with the comma before it, or behind it where it is the first. */
  let id: { readonly start: number; readonly first: boolean; end: number } | undefined;
  for (let first = true, before = cursor.position; cursor.nextKey(first); first = false, before = cursor.position) {
    if (id?.first === true && id.end === before) id.end = cursor.keyStart - 1;
    const key = itemKey(cursor, param);
    const start = cursor.position;
    if ((key === 'content' || key === 'output') && cursor.peek() === 'array') walkParts(cursor, tally, `${param}.${key}`);
    else {
      const span = cursor.skipValue();
      if (key === 'content' || key === 'output') tally.messageBytes += span.end - span.start;
    }
    if (key === undefined) continue;
    if (spans.has(key)) throw invalid(`The name '${key}' stands twice in the same object.`, `${param}.${key}`);
    spans.set(key, { start, end: cursor.position });
    if (key === 'id') id = { start: before, first, end: cursor.position };
  }
  endMessage(tally);
  const typeSpan = spans.get('type');
  const type = typeSpan === undefined ? undefined : (valueAt(body, typeSpan) ?? undefined);
  if (type === 'item_reference') {
    throw invalid('Items are not stored here: send the item itself instead of a reference to it.', param);
  }
  if (!CLIENT_ITEMS.has(type)) walkForeign(tally, type, spans, param);
  const callId = spans.get('call_id');
  if (callId !== undefined) editCallId(body, callId, tally);
  if (CALLS.has(type)) {
    if (!tally.reasoned && id !== undefined) tally.edits.push({ start: id.start, end: id.end, text: '' });
    return true;
  }
  if (type !== 'reasoning') {
    tally.reasoned = false;
    return true;
  }
  const stays = holdsReasoning(body, spans);
  tally.reasoned ||= stays;
  return stays;
}

/** By its id a call asks for the reasoning behind it; where a client has not kept that, or it is taken out, the call goes without its id. */
const CALLS: ReadonlySet<unknown> = new Set(['function_call', 'custom_tool_call']);

function itemKey(cursor: JsonCursor, param: string): string | undefined {
  try {
    return knownKey(cursor, ITEM_KEYS);
  } catch (error) {
    if (error instanceof JsonKeyError) throw invalid(error.message, `${param}.${error.key}`);
    throw error;
  }
}

/** What the provider has made or read before: a picture of its own comes back as one, of anything else only a mention. */
function walkForeign(tally: ItemsTally, type: unknown, spans: ReadonlyMap<string, Span>, param: string): void {
  const result = spans.get('result');
  if (type !== 'image_generation_call') {
    noteReference(tally, param);
    return;
  }
  tally.vision ??= param;
  tally.mediaTokens += IMAGE_MAX_TOKENS;
  if (result !== undefined) tally.mediaBytes += Math.max(0, result.end - result.start - 2);
}

const QUOTE = 0x22;
/** What the encrypted content begins with that this gateway has made of another dialect's state. */
const CARRIED_PREFIX = Buffer.from(CARRIER_MARK);

/**
 * Whether an item of reasoning can be read by its issuer: with nothing stored, its id alone names nothing, and another dialect's state
 * is nothing to it. Models that show all of their thinking take it as text.
 */
function holdsReasoning(body: Buffer, spans: ReadonlyMap<string, Span>): boolean {
  const encrypted = spans.get('encrypted_content');
  if (encrypted !== undefined && body[encrypted.start] === QUOTE && encrypted.end - encrypted.start > 2) {
    return !body.subarray(encrypted.start + 1, encrypted.start + 1 + CARRIED_PREFIX.length).equals(CARRIED_PREFIX);
  }
  const content = spans.get('content');
  return content !== undefined && content.end - content.start > EMPTY_LIST_BYTES && Array.isArray(valueAt(body, content));
}

const EMPTY_LIST_BYTES = 4;

const PACKED = Buffer.from('mrd_');

/** An id that holds another dialect's state, or is too long, as it is taken upstream; the same at the call and at its output. */
function editCallId(body: Buffer, span: Span, tally: ItemsTally): void {
  const bytes = span.end - span.start - 2;
  if (bytes <= MAX_CALL_ID_CHARACTERS && !body.subarray(span.start, span.end).includes(PACKED)) return;
  const id = valueAt(body, span);
  if (typeof id !== 'string') return;
  const bounded = boundedCallId(unpackCallId(id).id, MAX_CALL_ID_CHARACTERS);
  if (bounded !== id) tally.edits.push({ ...span, text: JSON.stringify(bounded) });
}

function walkParts(cursor: JsonCursor, tally: ItemsTally, within: string): void {
  cursor.openArray();
  let parts = 0;
  for (let first = true; cursor.nextElement(first); first = false) {
    const param = `${within}[${parts++}]`;
    if (cursor.peek() === 'object') walkPart(cursor, tally, param);
    else cursor.skipValue();
  }
}

const IMAGE_DATA_URL = Buffer.from('data:image/');
/** File data shorter than this holds no document, only the name of one. */
const FILE_REFERENCE_BYTES = 512;

/** One part. Of a name that stands twice in it all values are counted: a bound whichever is read upstream. */
function walkPart(cursor: JsonCursor, tally: ItemsTally, param: string): void {
  const { body } = cursor;
  const types = new Set<unknown>();
  let images = 0;
  let details = 0;
  let isLow = false;
  let fileBytes = 0;
  let isNamed = false;
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    if (key === 'input_audio') {
      walkAudio(cursor, tally, param);
      continue;
    }
    const isText = cursor.peek() === 'string';
    const span = cursor.skipValue();
    const bytes = span.end - span.start - 2;
    if (key === 'type') types.add(isText ? valueAt(body, span) : undefined);
    else if (key === 'text' || key === 'refusal') tally.messageBytes += bytes;
    else if (key === 'detail') {
      details++;
      isLow = isText && valueAt(body, span) === 'low';
    } else if (key === 'image_url' && isText) {
      images++;
      const prefix = body.subarray(span.start + 1, span.start + 1 + IMAGE_DATA_URL.length);
      // Anything but an image in here may have a token for every few bytes, so it stays in the count.
      if (prefix.equals(IMAGE_DATA_URL)) tally.mediaBytes += bytes;
    } else if (key === 'file_data' && isText) fileBytes += bytes;
    else if ((key === 'file_id' || key === 'file_url') && isText) isNamed = true;
    else if (key === 'video_url') noteReference(tally, param);
  }
  if (images > 0 || types.has('input_image')) {
    tally.vision ??= param;
    tally.mediaTokens += Math.max(1, images) * (isLow && details === 1 ? LOW_DETAIL_IMAGE_MAX_TOKENS : IMAGE_MAX_TOKENS);
  }
  // A page is drawn and counted as a picture, whatever few bytes it has; inline text alone would be bounded by them.
  if (types.has('input_file') || fileBytes > 0) {
    tally.readsBeyondBody = true;
    if (fileBytes < FILE_REFERENCE_BYTES) noteReference(tally, param);
  } else if (isNamed && !(types.size === 1 && types.has('input_image'))) noteReference(tally, param);
}

function walkAudio(cursor: JsonCursor, tally: ItemsTally, param: string): void {
  tally.audio ??= param;
  if (cursor.peek() !== 'object') {
    cursor.skipValue();
    return;
  }
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const isData = cursor.key() === 'data' && cursor.peek() === 'string';
    const span = cursor.skipValue();
    if (!isData) continue;
    const bytes = span.end - span.start - 2;
    tally.mediaBytes += bytes;
    tally.mediaTokens += Math.ceil(bytes / AUDIO_BYTES_PER_TOKEN);
    if (!isSteadyAudio(cursor.body, span)) tally.readsBeyondBody = true;
  }
}

function walkTools(cursor: JsonCursor, tally: ItemsTally): void {
  const kind = cursor.peek();
  if (kind === 'null') {
    cursor.skipValue();
    return;
  }
  if (kind !== 'array') throw invalid("The parameter 'tools' must be an array.", 'tools');
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    if (cursor.peek() !== 'object') throw invalid("The items of 'tools' must be objects.", 'tools');
    const param = `tools[${tally.tools}]`;
    tally.tools++;
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      const isType = cursor.key() === 'type';
      const span = cursor.skipValue();
      if (!isType) continue;
      const type = valueAt(cursor.body, span);
      if (CLIENT_TOOLS.has(type)) continue;
      if (tally.hostedTools.length === MAX_HOSTED_TOOLS) {
        throw invalid(`A request may ask for at most ${MAX_HOSTED_TOOLS} tools that the provider runs.`, 'tools');
      }
      noteReference(tally, param);
      tally.hostedTools.push({ tool: String(type), param });
    }
  }
}

function readNeeds(tally: ItemsTally, text: unknown, effort: string | undefined): readonly string[] {
  const needs: string[] = [];
  if (tally.tools > 0) needs.push('tools');
  if (tally.vision !== undefined) needs.push('vision');
  if (tally.audio !== undefined) needs.push('audio_input');
  if (text !== undefined && text !== null) {
    if (!isObject(text)) throw invalid("The parameter 'text' must be an object.", 'text');
    const { format } = text;
    if (isObject(format) && (format.type === 'json_schema' || format.type === 'json_object')) needs.push(format.type);
  }
  if (effort !== undefined && effort !== 'none') needs.push('reasoning');
  return needs;
}

/** How `reasoning` is written, for the edit that sets its effort. */
interface ReasoningSpans {
  readonly effort: string | undefined;
  readonly span: Span | undefined;
  readonly effortSpan: Span | undefined;
  /** The object has members, so that a comma is due after an inserted one. */
  readonly hasMembers: boolean;
}

function readReasoning(body: Buffer, span: Span | undefined): ReasoningSpans {
  const value = span === undefined ? null : valueAt(body, span);
  if (span === undefined || value === null) return { effort: undefined, span, effortSpan: undefined, hasMembers: false };
  if (!isObject(value)) throw invalid("The parameter 'reasoning' must be an object.", 'reasoning');
  const { effort } = value;
  if (effort !== undefined && effort !== null && typeof effort !== 'string') {
    throw invalid("The parameter 'reasoning.effort' must be a string.", 'reasoning.effort');
  }
  try {
    const effortSpan = scanObject(body, REASONING_KEYS, span).get('effort');
    return { effort: effort ?? undefined, span, effortSpan, hasMembers: Object.keys(value).length > 0 };
  } catch (error) {
    if (error instanceof JsonKeyError) throw invalid(error.message, `reasoning.${error.key}`);
    throw error;
  }
}

function requestEdits(
  body: Buffer,
  spans: ReadonlyMap<string, Span>,
  facts: RequestFacts,
  reasoning: ReasoningSpans,
  inputEdits: readonly Edit[],
  edits: RequestEdits,
): Edit[] {
  const list = [...inputEdits];
  const inserted: string[] = [];
  const write = (key: string, json: string): void => {
    const span = spans.get(key);
    if (span === undefined) inserted.push(`"${key}":${json}`);
    else list.push({ ...span, text: json });
  };
  if (facts.model !== edits.model) write('model', JSON.stringify(edits.model));
  if (facts.maxOutputTokens === undefined && edits.maxOutputTokens !== undefined) write('max_output_tokens', String(edits.maxOutputTokens));
  const store = spans.get('store');
  // Providers store by default.
  if (store === undefined || body[store.start] !== LETTER_F) write('store', 'false');
  if (reasoning.effort === undefined && edits.capabilities?.includes('reasoning') === true) {
    const { span, effortSpan, hasMembers } = reasoning;
    const effort = `"effort":"${DEFAULT_EFFORT}"`;
    if (effortSpan !== undefined) list.push({ ...effortSpan, text: `"${DEFAULT_EFFORT}"` });
    else if (span !== undefined && hasMembers) list.push({ start: span.start + 1, end: span.start + 1, text: `${effort},` });
    else write('reasoning', `{${effort}}`);
  }
  if (inserted.length > 0) {
    const start = body.indexOf('{') + 1;
    list.push({ start, end: start, text: `${inserted.join(',')},` });
  }
  return list;
}

const LETTER_F = 0x66;
