/** Messages and their parts, to and from the canonical language. */
import type { DialectName } from '@meridian/domain/dialect';
import { DIALECT_NAMES } from '@meridian/domain/dialect';
import type {
  AudioPart,
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
  ToolCallPart,
} from '../../canonical/message.ts';
import { invalid, isObject, type JsonObject, NO_REST, number, rest, text } from '../json.ts';
import { readToolCall, writeToolCall } from './tools.ts';

const DIALECT = 'openai-chat';
/** Our own kind of reasoning detail: another dialect's opaque state, on its way through a client of this one and back. */
const CARRIED = 'reasoning.carried';

const MESSAGE_KEYS = [
  'role',
  'content',
  'name',
  'tool_calls',
  'function_call',
  'tool_call_id',
  'refusal',
  'reasoning_content',
  'reasoning',
  'reasoning_details',
  'audio',
  'images',
  'annotations',
];

const ROLES: ReadonlyMap<unknown, Role> = new Map<unknown, Role>([
  ['system', 'system'],
  ['developer', 'developer'],
  ['user', 'user'],
  ['assistant', 'assistant'],
  ['tool', 'tool'],
  ['function', 'tool'],
]);

/** Throws GatewayError 400 where a message has no known role. */
export function readMessage(value: unknown, param: string): Message {
  if (!isObject(value)) throw invalid(`The parameter '${param}' must be an object.`, param);
  const role = ROLES.get(value.role);
  if (role === undefined)
    throw invalid(`The parameter '${param}.role' must be one of system, developer, user, assistant, tool.`, `${param}.role`);
  if (role === 'tool') {
    const callId = text(value.tool_call_id) ?? text(value.name);
    if (callId === undefined) throw invalid(`The parameter '${param}.tool_call_id' is missing.`, `${param}.tool_call_id`);
    const result: Part = { type: 'tool_result', callId, parts: readContent(value.content), isError: false };
    return { role, parts: [result], name: text(value.name), rest: rest(value, MESSAGE_KEYS) };
  }
  return { role, parts: readParts(value), name: text(value.name), rest: rest(value, MESSAGE_KEYS) };
}

/** The parts of a message or of an answer: reasoning, content, refusal, media, calls. */
export function readParts(message: JsonObject): readonly Part[] {
  const parts: Part[] = [...readReasoning(message), ...readContent(message.content)];
  const citations = Array.isArray(message.annotations) ? message.annotations.filter(isObject).map(readCitation) : [];
  if (citations.length > 0) cite(parts, citations);
  if (typeof message.refusal === 'string' && message.refusal !== '') parts.push({ type: 'refusal', text: message.refusal });
  if (isObject(message.audio)) parts.push(readAudio(message.audio));
  if (Array.isArray(message.images)) parts.push(...message.images.map(readPart));
  const calls = Array.isArray(message.tool_calls)
    ? message.tool_calls
    : isObject(message.function_call)
      ? [{ type: 'function', function: message.function_call }]
      : [];
  for (const call of calls) {
    const read = readToolCall(call);
    if (read !== undefined) parts.push(read);
  }
  return parts;
}

function cite(parts: Part[], citations: readonly Citation[]): void {
  const last = parts.findLastIndex((part) => part.type === 'text');
  const part = parts[last];
  if (part?.type === 'text') parts[last] = { ...part, citations };
}

export function readCitation(annotation: JsonObject): Citation {
  const inner = isObject(annotation.url_citation) ? annotation.url_citation : annotation;
  return {
    url: text(inner.url),
    title: text(inner.title),
    start: number(inner.start_index),
    end: number(inner.end_index),
    rest: rest(inner, ['type', 'url', 'title', 'start_index', 'end_index']),
  };
}

export function writeCitation({ url, title, start, end, rest: others }: Citation): JsonObject {
  return { type: 'url_citation', url_citation: { ...others, url, title, start_index: start, end_index: end } };
}

function readReasoning(message: JsonObject): readonly ReasoningPart[] {
  const shown = text(message.reasoning_content) ?? text(message.reasoning) ?? '';
  const details = Array.isArray(message.reasoning_details) ? message.reasoning_details : [];
  const carried = details.filter((detail) => isObject(detail) && detail.type === CARRIED);
  // With carried blocks the shown text is only their sum.
  if (carried.length > 0)
    return carried.map((detail) => ({ type: 'reasoning', text: text(detail.text) ?? '', carriers: [readCarrier(detail)] }));
  if (shown === '' && details.length === 0) return [];
  return [{ type: 'reasoning', text: shown, carriers: details.map(readCarrier) }];
}

/** An opaque block: another dialect's that came back through a client, or one of a provider that speaks this dialect. */
export function readCarrier(detail: unknown): ReasoningCarrier {
  if (isObject(detail) && detail.type === CARRIED && isDialectName(detail.dialect)) return { dialect: detail.dialect, value: detail.value };
  return { dialect: DIALECT, value: detail };
}

export function writeCarrier(carrier: ReasoningCarrier, shown: string): unknown {
  return carrier.dialect === DIALECT ? carrier.value : { type: CARRIED, dialect: carrier.dialect, text: shown, value: carrier.value };
}

function isDialectName(value: unknown): value is DialectName {
  return DIALECT_NAMES.some((name) => name === value);
}

export function readContent(content: unknown): readonly Part[] {
  if (typeof content === 'string') return content === '' ? [] : [plainText(content)];
  return Array.isArray(content) ? content.map(readPart) : [];
}

function plainText(value: string): TextPart {
  return { type: 'text', text: value, citations: [], rest: NO_REST };
}

function readPart(part: unknown): Part {
  if (typeof part === 'string') return plainText(part);
  if (!isObject(part)) return { type: 'foreign', dialect: DIALECT, value: { value: part } };
  switch (part.type) {
    case 'text':
      return { type: 'text', text: text(part.text) ?? '', citations: [], rest: rest(part, ['type', 'text']) };
    case 'refusal':
      return { type: 'refusal', text: text(part.refusal) ?? '' };
    case 'thinking':
      return { type: 'reasoning', text: thinkingText(part.thinking), carriers: [] };
    case 'image_url': {
      const image = isObject(part.image_url) ? part.image_url : { url: part.image_url };
      return { type: 'image', source: readUrl(text(image.url) ?? ''), detail: text(image.detail), rest: rest(part, ['type', 'image_url']) };
    }
    case 'video_url': {
      const video = isObject(part.video_url) ? part.video_url : { url: part.video_url };
      return { type: 'video', source: readUrl(text(video.url) ?? ''), rest: rest(part, ['type', 'video_url']) };
    }
    case 'input_audio': {
      const audio = isObject(part.input_audio) ? part.input_audio : {};
      const source: MediaSource = { from: 'base64', mediaType: `audio/${text(audio.format) ?? 'wav'}`, data: text(audio.data) ?? '' };
      return { type: 'audio', source, transcript: undefined, rest: rest(part, ['type', 'input_audio']) };
    }
    case 'file':
      return readFile(part);
    default:
      return { type: 'foreign', dialect: DIALECT, value: part };
  }
}

/** A provider puts its thinking into the content, as a text or as text parts. */
function thinkingText(thinking: unknown): string {
  if (typeof thinking === 'string') return thinking;
  return Array.isArray(thinking) ? thinking.map((item) => (isObject(item) ? (text(item.text) ?? '') : '')).join('') : '';
}

function readFile(part: JsonObject): FilePart {
  const file = isObject(part.file) ? part.file : {};
  const id = text(file.file_id);
  const data = text(file.file_data) ?? '';
  const source: MediaSource = id === undefined ? readUrl(data) : { from: 'id', id };
  return { type: 'file', source, name: text(file.filename), rest: rest(part, ['type', 'file']) };
}

/** An answer's audio, or the mention of one from an earlier turn. */
export function readAudio(audio: JsonObject): AudioPart {
  const id = text(audio.id);
  const data = text(audio.data);
  const source: MediaSource = data === undefined ? { from: 'id', id: id ?? '' } : { from: 'base64', mediaType: 'audio/*', data };
  const known = data === undefined ? ['id', 'transcript'] : ['data', 'transcript'];
  return { type: 'audio', source, transcript: text(audio.transcript), rest: rest(audio, known) };
}

export function writeAudio(part: AudioPart): JsonObject {
  const { source, transcript } = part;
  const bytes = source.from === 'base64' ? { data: source.data } : source.from === 'id' ? { id: source.id } : { url: source.url };
  return { ...part.rest, ...bytes, transcript };
}

const DATA_URL = /^data:([^;,]*);base64,/;

function readUrl(url: string): MediaSource {
  const mediaType = DATA_URL.exec(url.slice(0, 256));
  return mediaType === null
    ? { from: 'url', url }
    : { from: 'base64', mediaType: mediaType[1] ?? '', data: url.slice(mediaType[0].length) };
}

function writeUrl(source: MediaSource): string {
  switch (source.from) {
    case 'url':
      return source.url;
    case 'base64':
      return `data:${source.mediaType};base64,${source.data}`;
    case 'id':
      return source.id;
    default:
      return source satisfies never;
  }
}

export function writeImage(part: ImagePart): JsonObject {
  return { ...part.rest, type: 'image_url', image_url: { url: writeUrl(part.source), detail: part.detail } };
}

/** Members of an assistant's message. `toUpstream`: opaque state of other dialects stays behind, it is refused there. */
export function writeAssistant(parts: readonly Part[], toUpstream: boolean, lost: (what: string) => void = () => {}): JsonObject {
  const content: JsonObject[] = [];
  const images: JsonObject[] = [];
  const calls: JsonObject[] = [];
  const annotations: JsonObject[] = [];
  const details: unknown[] = [];
  let reasoning = '';
  let refusal: string | undefined;
  let audio: JsonObject | undefined;
  for (const part of parts) {
    switch (part.type) {
      case 'reasoning': {
        reasoning += part.text;
        const kept = toUpstream ? part.carriers.filter((carrier) => carrier.dialect === DIALECT) : part.carriers;
        details.push(...kept.map((carrier) => writeCarrier(carrier, part.text)));
        break;
      }
      case 'refusal':
        refusal = (refusal ?? '') + part.text;
        break;
      case 'tool_call':
        calls.push(writeToolCall(part satisfies ToolCallPart));
        break;
      case 'audio':
        audio = writeAudio(part);
        break;
      case 'image':
        images.push(writeImage(part));
        break;
      default: {
        if (part.type === 'text') annotations.push(...part.citations.map(writeCitation));
        const written = writePart(part);
        if (written === undefined) lost(part.type);
        else content.push(written);
      }
    }
  }
  return {
    content: joined(content),
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(details.length === 0 ? {} : { reasoning_details: details }),
    ...(refusal === undefined ? {} : { refusal }),
    ...(annotations.length === 0 ? {} : { annotations }),
    ...(audio === undefined ? {} : { audio }),
    ...(images.length === 0 ? {} : { images }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

/** One plain text is written as a string, none as null. */
function joined(content: readonly JsonObject[]): unknown {
  if (content.length === 0) return null;
  const [first] = content;
  if (content.length === 1 && first !== undefined && first.type === 'text' && Object.keys(first).length === 2) return first.text;
  return content;
}

/** A part of a user's message; undefined for what this dialect has no form for. */
function writePart(part: Part): JsonObject | undefined {
  switch (part.type) {
    case 'text':
      return { ...part.rest, type: 'text', text: part.text };
    case 'image':
      return writeImage(part);
    case 'video':
      return { ...part.rest, type: 'video_url', video_url: { url: writeUrl(part.source) } };
    case 'audio': {
      if (part.source.from !== 'base64') return undefined;
      return {
        ...part.rest,
        type: 'input_audio',
        input_audio: { data: part.source.data, format: part.source.mediaType.replace(/^audio\//, '') },
      };
    }
    case 'file': {
      const bytes = part.source.from === 'id' ? { file_id: part.source.id } : { file_data: writeUrl(part.source) };
      return { ...part.rest, type: 'file', file: { ...bytes, filename: part.name } };
    }
    case 'refusal':
      return { type: 'refusal', refusal: part.text };
    case 'foreign':
      return part.dialect === DIALECT ? part.value : undefined;
    case 'reasoning':
    case 'tool_call':
    case 'tool_result':
      return undefined;
    default:
      return part satisfies never;
  }
}

/**
 * A message as one or more of this dialect: each tool result is one. What is not text in a result follows in a user's
 * message, since few upstreams take it there; a client of this dialect knows what it sends and gets it as it was.
 */
export function writeMessages(message: Message, isOurs: boolean, lost: (what: string) => void): JsonObject[] {
  const { role, name } = message;
  const named = name === undefined ? {} : { name };
  if (role === 'assistant') return [{ ...message.rest, role, ...named, ...writeAssistant(message.parts, true, lost) }];
  const written: JsonObject[] = [];
  const content: JsonObject[] = [];
  for (const part of message.parts) {
    if (part.type !== 'tool_result') {
      const one = writePart(part);
      if (one === undefined) lost(part.type);
      else content.push(one);
      continue;
    }
    const stays = (inner: Part): boolean => isOurs || inner.type === 'text';
    const media = part.parts.filter((inner) => !stays(inner));
    const first: JsonObject[] = part.isError ? [{ type: 'text', text: 'Error:' }] : [];
    const inner = [
      ...first,
      ...part.parts
        .filter(stays)
        .map(writePart)
        .filter((one) => one !== undefined),
    ];
    written.push({ ...message.rest, role: 'tool', ...named, tool_call_id: part.callId, content: joined(inner) ?? '' });
    for (const one of media) {
      const hoisted = writePart(one);
      if (hoisted === undefined) lost(one.type);
      else content.push(hoisted);
    }
  }
  if (content.length > 0)
    written.push({ ...message.rest, role: role === 'tool' ? 'user' : role, ...(role === 'tool' ? {} : named), content: joined(content) });
  else if (written.length === 0) written.push({ ...message.rest, role, ...named, content: '' });
  return written;
}
