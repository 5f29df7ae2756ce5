/** Messages and their parts, to and from the items of this protocol. */
import { boundedCallId, unpackCallId } from '../../canonical/call-id.ts';
import { unpackCarrier } from '../../canonical/carrier.ts';
import type { Loss } from '../../canonical/loss.ts';
import type {
  Citation,
  FilePart,
  ImagePart,
  MediaSource,
  Message,
  Part,
  ReasoningCarrier,
  ReasoningPart,
  Role,
  TextPart,
  ToolResultPart,
} from '../../canonical/message.ts';
import type { Request } from '../../canonical/request.ts';
import { boundedToolName } from '../../canonical/tool-name.ts';
import { readUrl, writeUrl } from '../data-url.ts';
import { invalid, isObject, type JsonObject, NO_REST, number, rest, text } from '../json.ts';
import { isCall } from './finish.ts';
import { MAX_CALL_ID_CHARACTERS } from './schema.ts';
import { readCall } from './tools.ts';

const DIALECT = 'openai-responses';

const ROLES: ReadonlyMap<unknown, Role> = new Map<unknown, Role>([
  ['system', 'system'],
  ['developer', 'developer'],
  ['user', 'user'],
  ['assistant', 'assistant'],
]);

/** A client's input. What the model said in one turn (thinking, text, calls) is one message. Throws GatewayError 400. */
export function readInput(input: unknown, instructions: unknown): readonly Message[] {
  const messages: Message[] = [];
  if (typeof instructions === 'string' && instructions !== '') messages.push(plainMessage('system', instructions));
  if (typeof input === 'string') messages.push(plainMessage('user', input));
  if (!Array.isArray(input)) return messages;
  let turn: Part[] | undefined;
  for (const [index, item] of input.entries()) {
    const param = `input[${index}]`;
    if (!isObject(item)) throw invalid(`The parameter '${param}' must be an object.`, param);
    const message = readItem(item, param);
    if (message.role !== 'assistant') {
      turn = undefined;
      messages.push(message);
    } else if (turn !== undefined) {
      for (const part of message.parts) turn.push(part);
    } else if (message.parts.length > 0) {
      turn = [...message.parts];
      messages.push({ ...message, parts: turn });
    }
  }
  return messages;
}

function plainMessage(role: Role, value: string): Message {
  return { role, parts: [plainText(value)], name: undefined, rest: NO_REST };
}

function plainText(value: string): TextPart {
  return { type: 'text', text: value, citations: [], rest: NO_REST };
}

function readItem(item: JsonObject, param: string): Message {
  switch (item.type ?? 'message') {
    case 'message': {
      const role = ROLES.get(item.role);
      if (role === undefined)
        throw invalid(`The parameter '${param}.role' must be one of system, developer, user, assistant.`, `${param}.role`);
      return { role, parts: readMessage(item), name: undefined, rest: NO_REST };
    }
    case 'function_call_output':
    case 'custom_tool_call_output': {
      const callId = text(item.call_id);
      if (callId === undefined) throw invalid(`The parameter '${param}.call_id' is missing.`, `${param}.call_id`);
      const result: Part = { type: 'tool_result', callId: unpackCallId(callId).id, parts: readContent(item.output), isError: false };
      return { role: 'tool', parts: [result], name: undefined, rest: NO_REST };
    }
    default:
      return { role: 'assistant', parts: readOutputItem(item), name: undefined, rest: NO_REST };
  }
}

/** The parts of an answer's item, or of one that the model put out in an earlier turn. */
export function readOutputItem(item: JsonObject): readonly Part[] {
  if (isCall(item)) return [readCall(item)];
  switch (item.type) {
    case 'message':
      return readMessage(item);
    case 'reasoning': {
      const part = readReasoning(item);
      return part.text === '' && part.carriers.length === 0 ? [] : [part];
    }
    case 'image_generation_call': {
      const data = text(item.result);
      if (data === undefined) return [];
      const source: MediaSource = { from: 'base64', mediaType: `image/${text(item.output_format) ?? 'png'}`, data };
      return [{ type: 'image', source, detail: undefined, rest: NO_REST }];
    }
    default:
      return [{ type: 'foreign', dialect: DIALECT, value: item }];
  }
}

/** Whether a text is on the way to the answer or the answer itself belongs to its message; here it is kept with the text. */
function readMessage({ content, phase }: JsonObject): readonly Part[] {
  const parts = readContent(content);
  if (typeof phase !== 'string') return parts;
  return parts.map((part) => (part.type === 'text' ? { ...part, rest: { ...part.rest, phase } } : part));
}

/** Summaries are paragraphs of their own; a model that shows all of its thinking writes one text. */
function readReasoning(item: JsonObject): ReasoningPart {
  const summary = textsOf(item.summary).join('\n\n');
  return { type: 'reasoning', text: summary === '' ? textsOf(item.content).join('') : summary, carriers: readCarriers(item) };
}

/** The opaque state of an item of reasoning: the issuer's own, or another dialect's that came back through a client. */
export function readCarriers(item: JsonObject): readonly ReasoningCarrier[] {
  const encrypted = text(item.encrypted_content) ?? '';
  if (encrypted === '') return [];
  return [unpackCarrier(encrypted) ?? { dialect: DIALECT, value: { id: text(item.id), encrypted_content: encrypted } }];
}

function textsOf(parts: unknown): readonly string[] {
  if (!Array.isArray(parts)) return [];
  return parts.map((part) => (isObject(part) ? (text(part.text) ?? '') : '')).filter((one) => one !== '');
}

function readContent(content: unknown): readonly Part[] {
  if (typeof content === 'string') return content === '' ? [] : [plainText(content)];
  return Array.isArray(content) ? content.map(readPart) : [];
}

function readPart(part: unknown): Part {
  if (typeof part === 'string') return plainText(part);
  if (!isObject(part)) return { type: 'foreign', dialect: DIALECT, value: { value: part } };
  switch (part.type) {
    case 'input_text':
    case 'output_text':
    case 'text':
      return {
        type: 'text',
        text: text(part.text) ?? '',
        citations: Array.isArray(part.annotations) ? part.annotations.filter(isObject).map(readCitation) : [],
        rest: rest(part, ['type', 'text', 'annotations', 'logprobs']),
      };
    case 'refusal':
      return { type: 'refusal', text: text(part.refusal) ?? '' };
    case 'input_image': {
      const id = text(part.file_id);
      const source: MediaSource = id === undefined ? readUrl(imageUrl(part.image_url)) : { from: 'id', id };
      return { type: 'image', source, detail: text(part.detail), rest: rest(part, ['type', 'image_url', 'file_id', 'detail']) };
    }
    case 'input_file':
      return readFile(part);
    case 'input_audio': {
      const audio = isObject(part.input_audio) ? part.input_audio : {};
      const source: MediaSource = { from: 'base64', mediaType: `audio/${text(audio.format) ?? 'wav'}`, data: text(audio.data) ?? '' };
      return { type: 'audio', source, transcript: undefined, rest: rest(part, ['type', 'input_audio']) };
    }
    case 'input_video':
      return { type: 'video', source: readUrl(text(part.video_url) ?? ''), rest: rest(part, ['type', 'video_url']) };
    default:
      return { type: 'foreign', dialect: DIALECT, value: part };
  }
}

/** Some clients write it as the older protocol does. */
function imageUrl(value: unknown): string {
  return text(isObject(value) ? value.url : value) ?? '';
}

function readFile(part: JsonObject): FilePart {
  const id = text(part.file_id);
  const source: MediaSource = id === undefined ? readUrl(text(part.file_url) ?? text(part.file_data) ?? '') : { from: 'id', id };
  return {
    type: 'file',
    source,
    name: text(part.filename),
    rest: rest(part, ['type', 'file_id', 'file_url', 'file_data', 'filename']),
  };
}

export function readCitation(annotation: JsonObject): Citation {
  return {
    url: text(annotation.url),
    title: text(annotation.title),
    start: number(annotation.start_index),
    end: number(annotation.end_index),
    rest: rest(annotation, ['url', 'title', 'start_index', 'end_index', annotation.type === 'url_citation' ? 'type' : '']),
  };
}

/** Undefined for a source that has no address: this protocol tells of files of its own provider only. `at` stands for an offset that was not told. */
export function writeAnnotation({ url, title, start, end }: Citation, at: number): JsonObject | undefined {
  if (url === undefined) return undefined;
  return { type: 'url_citation', url, title: title ?? '', start_index: start ?? at, end_index: end ?? at };
}

/** What an encoder of messages needs to know. */
export interface WriteTerms {
  readonly request: Request;
  readonly lose: (loss: Loss) => void;
}

/** Items for an upstream. Throws GatewayError 400 for what it cannot be given. */
export function writeInput(messages: readonly Message[], terms: WriteTerms): readonly JsonObject[] {
  const items: JsonObject[] = [];
  const custom = customCalls(messages);
  for (const [index, message] of messages.entries()) {
    const at = `messages[${index}]`;
    if (message.name !== undefined && message.role !== 'tool') terms.lose({ name: 'message_name', at });
    if (message.role === 'assistant') writeAssistant(message.parts, items, at, terms);
    else writeOther(message, items, custom, at, terms);
  }
  const followed = withFollowers(items);
  if (followed.length < items.length) terms.lose({ name: 'reasoning' });
  if (terms.request.dialect !== DIALECT && followed.at(-1)?.role === 'assistant') terms.lose({ name: 'prefill' });
  return followed;
}

/** Ids of the calls of custom tools, whose results are items of another type. */
function customCalls(messages: readonly Message[]): ReadonlySet<string> {
  const ids = new Set<string>();
  for (const { parts } of messages) {
    for (const part of parts) if (part.type === 'tool_call' && part.kind === 'custom') ids.add(part.id);
  }
  return ids;
}

/** Reasoning that nothing of the same turn follows is refused: its answer never came. */
function withFollowers(items: readonly JsonObject[]): readonly JsonObject[] {
  let isFollowed = false;
  const kept = items.toReversed().filter((item) => {
    if (item.type === 'reasoning') return isFollowed;
    isFollowed = isCall(item) || item.role === 'assistant';
    return true;
  });
  return kept.reverse();
}

function writeAssistant(parts: readonly Part[], items: JsonObject[], at: string, terms: WriteTerms): void {
  const isOurs = terms.request.dialect === DIALECT;
  let content: JsonObject[] = [];
  let phase: unknown;
  const images: JsonObject[] = [];
  const flush = (): void => {
    if (content.length > 0) items.push({ type: 'message', role: 'assistant', content, phase });
    content = [];
    phase = undefined;
  };
  for (const part of parts) {
    if ('cacheControl' in part && part.cacheControl !== undefined) terms.lose({ name: 'cache_control', at });
    switch (part.type) {
      case 'text':
        if (part.text === '') break;
        if (isOurs && part.rest.phase !== phase) flush();
        if (isOurs) phase = part.rest.phase;
        content.push({
          ...(isOurs ? rest(part.rest, ['phase']) : NO_REST),
          type: 'output_text',
          text: part.text,
          annotations: annotationsOf(part, at, terms),
        });
        break;
      case 'refusal':
        content.push({ type: 'refusal', refusal: part.text });
        break;
      case 'reasoning': {
        flush();
        const item = reasoningForUpstream(part);
        if (item !== undefined) items.push(item);
        else if (part.text !== '') terms.lose({ name: 'reasoning', at });
        break;
      }
      case 'tool_call': {
        flush();
        const call_id = boundedCallId(part.id, MAX_CALL_ID_CHARACTERS);
        const name = boundedToolName(part.name);
        const others = isOurs ? part.rest : NO_REST;
        if (part.kind === 'custom') items.push({ ...others, type: 'custom_tool_call', call_id, name, input: part.arguments });
        else items.push({ ...others, type: 'function_call', call_id, name, arguments: part.arguments });
        break;
      }
      case 'image':
        images.push(writeImage(part, terms));
        break;
      case 'foreign':
        flush();
        if (part.dialect === DIALECT) items.push(part.value);
        else terms.lose({ name: 'unknown_part', at: `${at}:${text(part.value.type) ?? 'unknown'}` });
        break;
      case 'audio':
        if (part.transcript === undefined) terms.lose({ name: 'unknown_part', at: `${at}:audio` });
        else content.push({ type: 'output_text', text: part.transcript, annotations: [] });
        break;
      case 'video':
      case 'file':
      case 'tool_result':
        terms.lose({ name: 'unknown_part', at: `${at}:${part.type}` });
        break;
      default:
        part satisfies never;
    }
  }
  flush();
  // A model's own pictures can only be shown to it again.
  if (images.length > 0) items.push({ type: 'message', role: 'user', content: images });
}

function annotationsOf(part: TextPart, at: string, terms: WriteTerms): readonly JsonObject[] {
  const annotations = part.citations.map((citation) => writeAnnotation(citation, part.text.length)).filter((one) => one !== undefined);
  if (annotations.length < part.citations.length) terms.lose({ name: 'citations', at });
  return annotations;
}

/** Only its issuer's own state is taken; the text alone would be refused. */
function reasoningForUpstream({ text: shown, carriers }: ReasoningPart): JsonObject | undefined {
  for (const { dialect, value } of carriers) {
    if (dialect !== DIALECT || !isObject(value) || typeof value.encrypted_content !== 'string') continue;
    return {
      type: 'reasoning',
      ...(typeof value.id === 'string' ? { id: value.id } : {}),
      summary: shown === '' ? [] : [{ type: 'summary_text', text: shown }],
      encrypted_content: value.encrypted_content,
    };
  }
  return undefined;
}

function writeOther({ role, parts }: Message, items: JsonObject[], custom: ReadonlySet<string>, at: string, terms: WriteTerms): void {
  const before = items.length;
  let content: JsonObject[] = [];
  const flush = (): void => {
    if (content.length > 0) items.push({ type: 'message', role: role === 'tool' ? 'user' : role, content: joined(content) });
    content = [];
  };
  for (const part of parts) {
    if (part.type === 'tool_result') {
      flush();
      items.push(writeResult(part, custom, at, terms));
    } else content.push(...writePart(part, at, terms));
  }
  flush();
  if (items.length === before && role !== 'tool') items.push({ type: 'message', role, content: '' });
}

/** One plain text is written as a string. */
function joined(content: readonly JsonObject[]): unknown {
  const [first] = content;
  return content.length === 1 && first?.type === 'input_text' && Object.keys(first).length === 2 ? first.text : content;
}

function writeResult(part: ToolResultPart, custom: ReadonlySet<string>, at: string, terms: WriteTerms): JsonObject {
  if (part.cacheControl !== undefined) terms.lose({ name: 'cache_control', at });
  const inner = part.parts.flatMap((one) => writePart(one, at, terms));
  if (inner.length === 0 && part.json !== undefined) inner.push({ type: 'input_text', text: JSON.stringify(part.json) });
  // A result that failed has no mark of its own here.
  if (part.isError) {
    const [first] = inner;
    if (first?.type === 'input_text') inner[0] = { ...first, text: `Error: ${String(first.text)}` };
    else inner.unshift({ type: 'input_text', text: 'Error' });
  }
  return {
    type: custom.has(part.callId) ? 'custom_tool_call_output' : 'function_call_output',
    call_id: boundedCallId(part.callId, MAX_CALL_ID_CHARACTERS),
    output: inner.length === 0 ? '' : joined(inner),
  };
}

/** A part of a message that is not the model's, or of a tool's result. */
function writePart(part: Part, at: string, terms: WriteTerms): JsonObject[] {
  const others = (value: JsonObject): JsonObject => (terms.request.dialect === DIALECT ? value : NO_REST);
  if ('cacheControl' in part && part.cacheControl !== undefined) terms.lose({ name: 'cache_control', at });
  switch (part.type) {
    case 'text':
      if (part.citations.length > 0) terms.lose({ name: 'citations', at });
      return [{ ...others(part.rest), type: 'input_text', text: part.text }];
    case 'image':
      return [{ ...others(part.rest), ...writeImage(part, terms) }];
    case 'file':
      return [{ ...others(part.rest), ...writeFile(part, terms) }];
    case 'audio': {
      if (part.source.from !== 'base64') throw invalid('This model can be given speech as data only.', at);
      const format = part.source.mediaType.replace(/^audio\/(x-)?/, '').replace('mpeg', 'mp3');
      return [{ ...others(part.rest), type: 'input_audio', input_audio: { data: part.source.data, format } }];
    }
    case 'video':
      if (terms.request.dialect !== DIALECT) throw invalid('This model cannot be given a video.', at);
      return [{ ...part.rest, type: 'input_video', video_url: writeUrl(part.source) }];
    case 'refusal':
      return [{ type: 'input_text', text: part.text }];
    case 'foreign':
      if (part.dialect === DIALECT) return [part.value];
      terms.lose({ name: 'unknown_part', at: `${at}:${text(part.value.type) ?? 'unknown'}` });
      return [];
    case 'reasoning':
    case 'tool_call':
    case 'tool_result':
      terms.lose({ name: 'unknown_part', at: `${at}:${part.type}` });
      return [];
    default:
      return part satisfies never;
  }
}

function writeImage({ source, detail }: ImagePart, terms: WriteTerms): JsonObject {
  const known = detail === 'low' || detail === 'high' || detail === 'original' ? detail : 'auto';
  if (source.from === 'id') return { type: 'input_image', file_id: ownFile(source.id, terms.request), detail: known };
  return { type: 'input_image', image_url: writeUrl(source), detail: known };
}

function writeFile({ source, name }: FilePart, terms: WriteTerms): JsonObject {
  switch (source.from) {
    case 'id':
      return { type: 'input_file', file_id: ownFile(source.id, terms.request), filename: name };
    case 'url':
      return { type: 'input_file', file_url: source.url, filename: name };
    case 'base64':
      // A name must be told, and its ending tells what the data are.
      return { type: 'input_file', filename: name ?? `document.${ending(source.mediaType)}`, file_data: writeUrl(source) };
    default:
      return source satisfies never;
  }
}

function ending(mediaType: string): string {
  const subtype = mediaType.split('/')[1] ?? '';
  if (subtype === 'plain' || subtype === '') return 'txt';
  return /^[a-z0-9]+$/.test(subtype) ? subtype : 'bin';
}

/** Files are stored with one provider, and none here. */
function ownFile(id: string, { dialect }: Request): string {
  if (dialect === DIALECT) return id;
  throw invalid(`The file '${id.slice(0, 64)}' is stored with another provider and cannot be used with this model.`);
}
