/** Reads a request in one pass over its bytes, for the pass-through lane. */
import type { Operation } from '@meridian/domain/dialect';
import type { Meter } from '@meridian/domain/usage';
import type { PassThroughRequest, RequestEdits, RequestFacts, RequestPlace, ShownMeter } from '../dialect.ts';
import { AUDIO_BYTES_PER_TOKEN, IMAGE_MAX_TOKENS } from '../input-bounds.ts';
import { emptyTally, endMessage, type InputTally, inputTokensBound, noteReference } from '../input-tally.ts';
import { invalid, type JsonObject, modelName } from '../json.ts';
import { type Edit, JsonCursor, JsonKeyError, noteOnce, type Span, splice, valueAt } from '../json-scanner.ts';
import { openBody, readRequestBody } from '../request-body.ts';
import { isSteadyAudio } from '../steady-audio.ts';
import { camelName, enumWord, fieldsOf, integer, listOf, optionalPositive } from './proto-json.ts';
import { bareModel, CHAT_KEYS, MAX_CHOICES, MAX_EMBEDDING_INPUT_CHARACTERS, MAX_EMBEDDING_INPUTS, requestedTier } from './schema.ts';
import { readSingleEmbedding } from './single-embedding.ts';
import { eachItem, eachMember, eachText, stringAt } from './walk.ts';

interface ContentsTally extends InputTally {
  /** Tools that the provider runs, by the parameter that asks for them. */
  hostedTools: { readonly meter: Meter; readonly param: string }[];
}

/** Throws GatewayError 400 with the parameter at fault. The model, and whether the answer is a stream, stand in the path. */
export function readPassThrough(operation: Operation, body: Buffer, place: RequestPlace): PassThroughRequest {
  return readRequestBody(body, () => (operation === 'embeddings' ? readEmbeddings(body, place) : readChat(body, place)));
}

/** The member the cursor has just read the key of, in camelCase, if it is one of `names`. Throws JsonKeyError when it is written with escapes. */
function knownMember(cursor: JsonCursor, names: ReadonlySet<string>): string | undefined {
  const key = cursor.key();
  const name = key.includes('_') ? camelName(key) : key;
  if (!names.has(name)) return undefined;
  if (cursor.keyEscaped) throw new JsonKeyError(key, `The name '${key}' may not be written with escapes.`);
  return name;
}

function fieldAt(body: Buffer, spans: ReadonlyMap<string, Span>, key: string): unknown {
  const span = spans.get(key);
  return span === undefined ? undefined : valueAt(body, span);
}

/** The path names the model; a body may, too, and does alone where it is counted by itself. */
function readModel(place: RequestPlace, written: unknown): string {
  return bareModel(modelName(place.model ?? written ?? undefined));
}

function readChat(body: Buffer, place: RequestPlace): PassThroughRequest {
  const spans = new Map<string, Span>();
  const tally: ContentsTally = { ...emptyTally(), hostedTools: [] };
  const cursor = openBody(body);
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = knownMember(cursor, CHAT_KEYS);
    const start = cursor.position;
    if (key === 'contents') walkContents(cursor, tally);
    else if (key === 'systemInstruction') walkContent(cursor, key, tally);
    else if (key === 'tools') walkTools(cursor, tally);
    else cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, { start, end: cursor.position });
  }
  cursor.finish();
  const field = (key: string): unknown => fieldAt(body, spans, key);
  const model = readModel(place, field('model'));
  if (!spans.has('contents')) throw invalid("The parameter 'contents' is missing.", 'contents');
  if (tally.messages === 0) throw invalid("The parameter 'contents' may not be empty.", 'contents');
  const config = readConfig(body, spans.get('generationConfig'));
  const choices = optionalPositive(config.values.candidateCount, 'generationConfig.candidateCount', MAX_CHOICES) ?? 1;
  const maxOutputTokens = optionalPositive(config.values.maxOutputTokens, 'generationConfig.maxOutputTokens');
  const modalities = readModalities(config.values.responseModalities);
  if (modalities.includes('AUDIO')) tally.unbounded ??= 'generationConfig.responseModalities';
  const cached = field('cachedContent');
  if (cached !== undefined && cached !== null && cached !== '') noteReference(tally, 'cachedContent');
  const stream = place.stream === true;
  const facts: RequestFacts = {
    operation: 'chat',
    model,
    stream,
    // A stream of this protocol always tells.
    wantsStreamUsage: stream,
    maxOutputTokens,
    choices,
    serviceTier: requestedTier(field('serviceTier')),
    inputTokensBound: inputTokensBound(body, tally),
    longestMessageBytes: tally.longestMessageBytes,
    readsBeyondBody: tally.readsBeyondBody,
    unbounded: tally.unbounded,
    takesOutputLimit: true,
    images: modalities.includes('IMAGE') ? choices : 0,
    beyondText: beyondText(tally, modalities, choices),
    needs: readNeeds(tally, config.values),
  };
  return { facts, rewrite: (edits) => splice(body, chatEdits(body, spans, config, facts, edits)) };
}

/** In capitals. Google takes the numbers of an enumeration for its words, too; no client writes them. */
function readModalities(value: unknown): readonly string[] {
  return listOf(value).map((item) => {
    const word = enumWord(item);
    if (word !== undefined) return word;
    const param = 'generationConfig.responseModalities';
    throw invalid(`The parameter '${param}' must be an array of strings.`, param);
  });
}

/** A model calls a tool of its provider as often as it likes; more than this is seen with none. */
const HOSTED_TOOL_CALLS = 16;

function beyondText(tally: ContentsTally, modalities: readonly string[], choices: number): readonly ShownMeter[] {
  const shown: ShownMeter[] = [];
  if (tally.audio !== undefined) shown.push({ meter: 'audio_in', param: tally.audio, atMost: undefined });
  if (tally.vision !== undefined) shown.push({ meter: 'image_in', param: tally.vision, atMost: undefined });
  const param = 'generationConfig.responseModalities';
  if (modalities.includes('AUDIO')) shown.push({ meter: 'audio_out', param, atMost: undefined });
  if (modalities.includes('IMAGE')) shown.push({ meter: 'image_out', param, atMost: choices });
  for (const { meter, param: asked } of tally.hostedTools) shown.push({ meter, param: asked, atMost: HOSTED_TOOL_CALLS });
  return shown;
}

function readNeeds(tally: ContentsTally, config: JsonObject): readonly string[] {
  const needs: string[] = [];
  if (tally.tools > 0 || tally.hostedTools.length > 0) needs.push('tools');
  if (tally.vision !== undefined) needs.push('vision');
  if (tally.audio !== undefined) needs.push('audio_input');
  const isSchema = (config.responseSchema ?? config.responseJsonSchema ?? undefined) !== undefined;
  if (isSchema) needs.push('json_schema');
  else if (config.responseMimeType === 'application/json') needs.push('json_object');
  const { thinkingBudget, thinkingLevel } = fieldsOf(config.thinkingConfig);
  const budget = integer(thinkingBudget);
  if ((budget !== undefined && budget !== 0) || typeof thinkingLevel === 'string') needs.push('reasoning');
  return needs;
}

function walkContents(cursor: JsonCursor, tally: ContentsTally): void {
  const kind = cursor.peek();
  if (kind !== 'array' && kind !== 'object') throw invalid("The parameter 'contents' must be an array.", 'contents');
  eachItem(cursor, (index) => {
    const param = `contents[${index}]`;
    if (cursor.peek() !== 'object') throw invalid(`The parameter '${param}' must be an object.`, param);
    walkContent(cursor, param, tally);
  });
}

function walkContent(cursor: JsonCursor, param: string, tally: ContentsTally): void {
  tally.messages += param === 'systemInstruction' ? 0 : 1;
  tally.messageBytes = 0;
  eachMember(cursor, (name) => {
    if (name !== 'parts') {
      cursor.skipValue();
      return;
    }
    eachItem(cursor, (index) => {
      const part = `${param}.parts[${index}]`;
      eachMember(cursor, (member) => walkPart(cursor, member, part, tally));
    });
  });
  if (param !== 'systemInstruction') endMessage(tally);
}

/** One member of a part of a content. */
function walkPart(cursor: JsonCursor, name: string, param: string, tally: ContentsTally): void {
  switch (name) {
    case 'text': {
      const { start, end } = cursor.skipValue();
      tally.messageBytes += end - start;
      break;
    }
    case 'inlineData':
      walkBlob(cursor, param, tally);
      break;
    case 'fileData':
      cursor.skipValue();
      noteReference(tally, `${param}.fileData`);
      break;
    case 'functionResponse':
      eachMember(cursor, (member) => {
        if (member !== 'parts') {
          cursor.skipValue();
          return;
        }
        eachItem(cursor, () => eachMember(cursor, (inner) => walkPart(cursor, inner, param, tally)));
      });
      break;
    default:
      cursor.skipValue();
  }
}

/** Of a name written twice the bytes of the others stay in the count, which is a bound whichever one is read upstream. */
function walkBlob(cursor: JsonCursor, param: string, tally: ContentsTally): void {
  const { body } = cursor;
  let data: Span | undefined;
  let mediaType = '';
  let types = 0;
  eachMember(cursor, (name) => {
    const isText = cursor.peek() === 'string';
    const span = cursor.skipValue();
    if (name === 'data' && isText) data = span;
    if (name !== 'mimeType' || !isText) return;
    types++;
    mediaType = stringAt(body, span) ?? '';
  });
  const bytes = data === undefined ? 0 : data.end - data.start - 2;
  const family = types === 1 ? mediaType.slice(0, mediaType.indexOf('/')) : '';
  switch (family) {
    case 'image':
      tally.vision ??= param;
      tally.mediaBytes += bytes;
      tally.mediaTokens += IMAGE_MAX_TOKENS;
      break;
    case 'audio':
      tally.audio ??= param;
      tally.mediaBytes += bytes;
      tally.mediaTokens += Math.ceil(bytes / AUDIO_BYTES_PER_TOKEN);
      if (data !== undefined && !isSteadyAudio(body, data)) tally.readsBeyondBody = true;
      break;
    case 'text':
      break;
    // Pages and frames are counted as pictures, whatever few bytes they have.
    default:
      tally.readsBeyondBody = true;
  }
}

/** Tools that Google runs, and what their calls are counted on. The model reads what they bring. */
const HOSTED_TOOLS: ReadonlyMap<string, Meter> = new Map([
  ['googleSearch', 'per_tool_call:web_search'],
  ['googleSearchRetrieval', 'per_tool_call:web_search'],
  ['enterpriseWebSearch', 'per_tool_call:web_search'],
  ['googleMaps', 'per_tool_call:google_maps'],
  ['fileSearch', 'per_tool_call:file_search'],
]);
/** They cost what the model reads and writes for them, and no more. */
const FREE_TOOLS: ReadonlySet<string> = new Set(['urlContext', 'codeExecution']);
/** Each is noted, and priced, apart: a body of nothing else would take seconds of everybody's time. No provider has near so many. */
const MAX_HOSTED_TOOLS = 128;

function walkTools(cursor: JsonCursor, tally: ContentsTally): void {
  const kind = cursor.peek();
  if (kind !== 'array' && kind !== 'object' && kind !== 'null') throw invalid("The parameter 'tools' must be an array.", 'tools');
  eachItem(cursor, (index) => {
    if (cursor.peek() !== 'object') throw invalid("The items of 'tools' must be objects.", 'tools');
    eachMember(cursor, (name) => {
      if (name === 'functionDeclarations') {
        eachItem(cursor, () => {
          tally.tools++;
          cursor.skipValue();
        });
        return;
      }
      const isThere = cursor.peek() !== 'null';
      cursor.skipValue();
      // A screen is driven by the client.
      if (!isThere || name === 'computerUse') return;
      const param = `tools[${index}].${name}`;
      noteReference(tally, param);
      if (FREE_TOOLS.has(name)) return;
      const meter = HOSTED_TOOLS.get(name);
      if (meter === undefined) {
        // What is not told in the answer would be given away.
        throw invalid(`The tool '${param}' cannot be used: its calls cannot be counted in the provider's answers.`, param);
      }
      if (tally.hostedTools.length === MAX_HOSTED_TOOLS) {
        throw invalid(`A request may ask for at most ${MAX_HOSTED_TOOLS} tools that the provider runs.`, 'tools');
      }
      tally.hostedTools.push({ meter, param });
    });
  });
}

/** How `generationConfig` is written, for the edit that adds a limit. */
interface Config {
  readonly values: JsonObject;
  readonly span: Span | undefined;
  readonly limitSpan: Span | undefined;
  /** The object has members, so that a comma is due after an inserted one. */
  readonly hasMembers: boolean;
}

/** What bounds the cost of an answer: of one that stands twice, in whichever spelling, the upstream might read the other. */
const CONFIG_KEYS: ReadonlySet<string> = new Set(['maxOutputTokens', 'candidateCount', 'responseModalities']);

function readConfig(body: Buffer, span: Span | undefined): Config {
  if (span === undefined) return { values: {}, span, limitSpan: undefined, hasMembers: false };
  const value = valueAt(body, span);
  if (value === null) return { values: {}, span, limitSpan: undefined, hasMembers: false };
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw invalid("The parameter 'generationConfig' must be an object.", 'generationConfig');
  }
  const spans = new Map<string, Span>();
  const cursor = new JsonCursor(body, span);
  let members = 0;
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    members++;
    const key = knownMember(cursor, CONFIG_KEYS);
    const span = cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, span);
  }
  return { values: fieldsOf(value), span, limitSpan: spans.get('maxOutputTokens'), hasMembers: members > 0 };
}

function chatEdits(body: Buffer, spans: ReadonlyMap<string, Span>, config: Config, facts: RequestFacts, edits: RequestEdits): Edit[] {
  const list = modelEdit(spans.get('model'), edits.model);
  const limit = edits.maxOutputTokens;
  if (facts.maxOutputTokens !== undefined || limit === undefined) return list;
  const member = `"maxOutputTokens":${limit}`;
  const { span, limitSpan, hasMembers } = config;
  if (limitSpan !== undefined) list.push({ ...limitSpan, text: String(limit) });
  else if (span === undefined) {
    const start = body.indexOf('{') + 1;
    list.push({ start, end: start, text: `"generationConfig":{${member}},` });
  } else if (hasMembers) list.push({ start: span.start + 1, end: span.start + 1, text: `${member},` });
  else list.push({ ...span, text: `{${member}}` });
  return list;
}

/** A model that a body names beside the path must be the path's. */
function modelEdit(span: Span | undefined, model: string): Edit[] {
  return span === undefined ? [] : [{ ...span, text: JSON.stringify(resourceName(model)) }];
}

function resourceName(model: string): string {
  return `models/${bareModel(model)}`;
}

const EMBEDDINGS_KEYS: ReadonlySet<string> = new Set(['model', 'content', 'requests', 'outputDimensionality', 'taskType']);

/** What the walk over the inputs of an embedding adds up. */
interface EmbeddingTally {
  inputs: number;
  media: number;
  vision: string | undefined;
  readsBeyondBody: boolean;
  readonly modelSpans: Span[];
  /** Where inputs begin that name none. */
  readonly unnamed: number[];
  /** The first model that an input names. */
  model: unknown;
}

/** One input, or a list of them; a single one is put into a list, since upstreams are asked for lists. */
function readEmbeddings(body: Buffer, place: RequestPlace): PassThroughRequest {
  const isSingle = place.form === 'embedContent';
  const spans = new Map<string, Span>();
  const tally: EmbeddingTally = {
    inputs: 0,
    media: 0,
    vision: undefined,
    readsBeyondBody: false,
    modelSpans: [],
    unnamed: [],
    model: undefined,
  };
  const cursor = openBody(body);
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = knownMember(cursor, EMBEDDINGS_KEYS);
    const start = cursor.position;
    if (key === 'requests' && !isSingle) walkInputs(cursor, tally);
    else if (key === 'content' && isSingle) {
      tally.inputs++;
      walkInput(cursor, 'content', tally);
    } else cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, { start, end: cursor.position });
  }
  cursor.finish();
  const model = readModel(place, fieldAt(body, spans, 'model') ?? tally.model);
  const needed = isSingle ? 'content' : 'requests';
  if (!spans.has(needed)) throw invalid(`The parameter '${needed}' is missing.`, needed);
  if (tally.inputs === 0) throw invalid(`The parameter '${needed}' may not be empty.`, needed);
  optionalPositive(fieldAt(body, spans, 'outputDimensionality'), 'outputDimensionality');
  const facts: RequestFacts = {
    operation: 'embeddings',
    model,
    stream: false,
    wantsStreamUsage: false,
    maxOutputTokens: undefined,
    choices: 1,
    serviceTier: 'standard',
    inputTokensBound: body.length + tally.media * IMAGE_MAX_TOKENS,
    readsBeyondBody: tally.readsBeyondBody,
    unbounded: undefined,
    takesOutputLimit: false,
    images: 0,
    ...(tally.vision === undefined ? {} : { beyondText: [{ meter: 'image_in', param: tally.vision, atMost: undefined }] }),
    needs: tally.vision === undefined ? [] : ['vision'],
  };
  const ofBody = spans.get('model');
  const models = ofBody === undefined ? tally.modelSpans : [ofBody, ...tally.modelSpans];
  return {
    facts,
    ...(isSingle ? { readAnswer: readSingleEmbedding } : {}),
    rewrite: (edits) => {
      const list = models.flatMap((span) => modelEdit(span, edits.model));
      // Each request of a list must name its model.
      const named = `"model":${JSON.stringify(resourceName(edits.model))},`;
      for (const start of tally.unnamed) list.push({ start, end: start, text: named });
      if (!isSingle) return splice(body, list);
      const start = body.indexOf('{');
      const opened: Edit = { start, end: start + 1, text: `{"requests":[{${ofBody === undefined ? named : ''}` };
      return splice(body, [...list, opened, { start: body.length, end: body.length, text: ']}' }]);
    },
  };
}

function walkInputs(cursor: JsonCursor, tally: EmbeddingTally): void {
  const kind = cursor.peek();
  if (kind !== 'array' && kind !== 'object') throw invalid("The parameter 'requests' must be an array.", 'requests');
  eachItem(cursor, (index) => {
    const param = `requests[${index}]`;
    if (cursor.peek() !== 'object') throw invalid(`The parameter '${param}' must be an object.`, param);
    tally.inputs++;
    if (tally.inputs > MAX_EMBEDDING_INPUTS) {
      throw invalid(`The parameter 'requests' may have at most ${MAX_EMBEDDING_INPUTS} items.`, 'requests');
    }
    const seen = new Map<string, Span>();
    const { position } = cursor;
    cursor.openObject();
    for (let first = true; cursor.nextKey(first); first = false) {
      const key = knownMember(cursor, EMBEDDINGS_KEYS);
      const start = cursor.position;
      if (key === 'content') walkInput(cursor, `${param}.content`, tally);
      else cursor.skipValue();
      if (key !== undefined) noteOnce(seen, key, { start, end: cursor.position });
    }
    const model = seen.get('model');
    if (model !== undefined) {
      tally.modelSpans.push(model);
      tally.model ??= valueAt(cursor.body, model);
    } else tally.unnamed.push(position + 1);
    if (!seen.has('content')) throw invalid(`The parameter '${param}.content' is missing.`, `${param}.content`);
  });
}

/** The content of one input: its texts, and pictures in models that embed them. */
function walkInput(cursor: JsonCursor, param: string, tally: EmbeddingTally): void {
  const { position } = cursor;
  let characters = 0;
  eachText(cursor, (span) => {
    // A character is at least a byte, so a short span needs no decoding.
    const bytes = span.end - span.start - 2;
    characters += bytes <= MAX_EMBEDDING_INPUT_CHARACTERS ? bytes : (stringAt(cursor.body, span)?.length ?? bytes);
  });
  if (characters > MAX_EMBEDDING_INPUT_CHARACTERS && textLength(cursor.body, position) > MAX_EMBEDDING_INPUT_CHARACTERS) {
    throw invalid(`The parameter '${param}' may have at most ${MAX_EMBEDDING_INPUT_CHARACTERS} characters.`, param);
  }
  const again = new JsonCursor(cursor.body, { start: position, end: cursor.position });
  eachMember(again, (name) => {
    if (name !== 'parts') {
      again.skipValue();
      return;
    }
    eachItem(again, () => {
      eachMember(again, (member) => {
        if (member === 'inlineData' || member === 'fileData') {
          tally.media++;
          tally.vision ??= param;
          tally.readsBeyondBody = true;
        }
        again.skipValue();
      });
    });
  });
}

function textLength(body: Buffer, start: number): number {
  let characters = 0;
  eachText(new JsonCursor(body, { start, end: body.length }), (span) => {
    characters += stringAt(body, span)?.length ?? span.end - span.start;
  });
  return characters;
}
