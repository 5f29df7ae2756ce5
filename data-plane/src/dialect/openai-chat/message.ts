/** Messages of a conversation, to and from the canonical language. */
import { unpackCallId } from '../../canonical/call-id.ts';
import type { Citation, Message, Part, Role, ToolResultPart } from '../../canonical/message.ts';
import { invalid, isObject, type JsonObject, NO_REST, rest, text } from '../json.ts';
import { readCitation, writeCitation } from './citations.ts';
import { readAudio, writeAudio, writeImage } from './media.ts';
import { cacheControl, joined, type PartTerms, plainText, readContent, readPart, writePart } from './parts.ts';
import { ownDetails, readReasoning } from './reasoning.ts';
import { type CallTerms, readToolCall, upstreamCallId, writeToolCall } from './tools.ts';

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

/** A client's messages. Throws GatewayError 400 where one has no known role. */
export function readMessages(values: readonly unknown[]): readonly Message[] {
  const messages: Message[] = [];
  for (const [index, value] of values.entries()) messages.push(readMessage(value, `messages[${index}]`, messages));
  return messages;
}

function readMessage(value: unknown, param: string, before: readonly Message[]): Message {
  if (!isObject(value)) throw invalid(`The parameter '${param}' must be an object.`, param);
  const role = ROLES.get(value.role);
  if (role === undefined)
    throw invalid(`The parameter '${param}.role' must be one of system, developer, user, assistant, tool.`, `${param}.role`);
  const [name, others] = [text(value.name), rest(value, MESSAGE_KEYS)];
  if (role === 'tool') {
    const callId = value.role === 'function' ? lastCallOf(name, before) : text(value.tool_call_id);
    if (callId === undefined) throw invalid(`The parameter '${param}.tool_call_id' is missing.`, `${param}.tool_call_id`);
    const result: Part = { type: 'tool_result', callId: unpackCallId(callId).id, parts: readContent(value.content), isError: false };
    return { role, parts: [result], name, rest: others };
  }
  return { role, parts: readParts(value, true), name, rest: others };
}

/** The older form of a result names the function: it is the result of its last call. */
function lastCallOf(name: string | undefined, before: readonly Message[]): string | undefined {
  const last = before.findLast(({ role }) => role === 'assistant');
  const call = last?.parts.findLast((part) => part.type === 'tool_call' && part.name === name);
  return call?.type === 'tool_call' ? call.id : name;
}

/** The parts of a message, or of an answer: reasoning, content, refusal, media, calls. `fromClient`: ids and opaque state may be ours. */
export function readParts(message: JsonObject, fromClient: boolean): readonly Part[] {
  const reasoning = readReasoning(message, fromClient);
  const parts: Part[] = [...reasoning.before, ...readContent(message.content)];
  const citations = Array.isArray(message.annotations) ? message.annotations.filter(isObject).map(readCitation) : [];
  cite(parts, citations);
  if (typeof message.refusal === 'string' && message.refusal !== '') parts.push({ type: 'refusal', text: message.refusal });
  if (isObject(message.audio)) parts.push(readAudio(message.audio));
  if (Array.isArray(message.images)) parts.push(...message.images.map(readPart));
  parts.push(...reasoning.after);
  const calls: readonly unknown[] = Array.isArray(message.tool_calls)
    ? message.tool_calls
    : isObject(message.function_call)
      ? [{ type: 'function', id: fromClient ? text(message.function_call.name) : '', function: message.function_call }]
      : [];
  for (const call of calls) {
    const read = readToolCall(call, fromClient);
    if (read !== undefined) parts.push(read);
  }
  return parts;
}

/** Adds sources to the last text. */
export function cite(parts: Part[], citations: readonly Citation[]): void {
  if (citations.length === 0) return;
  const last = parts.findLastIndex((part) => part.type === 'text');
  const part = parts[last];
  if (part?.type === 'text') parts[last] = { ...part, citations: [...part.citations, ...citations] };
}

/** For which upstream messages are written. */
export interface MessageTerms extends Omit<PartTerms, 'at'>, CallTerms {
  readonly takesDeveloper: boolean;
  readonly takesReasoning: boolean;
}

/**
 * A conversation whose calls are answered, as an upstream's messages: each tool result is one. What is not text in results follows the last
 * of them in a user's message, since few upstreams take it there; a client of this dialect knows what it sends, and gets it as it was.
 */
export function writeMessages(messages: readonly Message[], terms: MessageTerms): JsonObject[] {
  const written: JsonObject[] = [];
  let hoisted: Part[] = [];
  for (const [index, message] of messages.entries()) {
    const at = `messages[${index}]`;
    if (message.role === 'tool') {
      for (const part of message.parts) {
        if (part.type !== 'tool_result') continue;
        written.push({ ...head(message, terms), ...writeResult(part, { ...terms, at }) });
        if (!terms.isOurs) hoisted.push(...part.parts.filter(({ type }) => type !== 'text'));
      }
      continue;
    }
    // A turn of which nothing has a word.
    if (!terms.isOurs && message.role === 'assistant' && message.parts.length === 0) continue;
    const parts = message.role === 'user' ? [...hoisted, ...message.parts] : message.parts;
    if (message.role !== 'user' && hoisted.length > 0) written.push(...writeHoisted(hoisted, { ...terms, at }));
    hoisted = [];
    const one = writeMessage({ ...message, parts }, { ...terms, at });
    // A turn of which nothing is left: a proof of thinking alone, which nobody here can read.
    if (terms.isOurs || message.role !== 'assistant' || !saysNothing(one)) written.push(one);
  }
  if (hoisted.length > 0) written.push(...writeHoisted(hoisted, { ...terms, at: `messages[${messages.length - 1}]` }));
  if (!terms.isOurs && written.at(-1)?.role === 'assistant') terms.lose({ name: 'prefill' });
  return written;
}

/** An empty text, and nothing beside it. */
function saysNothing({ role: _, name: __, content, ...others }: JsonObject): boolean {
  return content === '' && Object.keys(others).length === 0;
}

function writeHoisted(parts: readonly Part[], terms: MessageTerms & PartTerms): JsonObject[] {
  const content = parts.map((part) => writePart(part, terms)).filter((part) => part !== undefined);
  return content.length === 0 ? [] : [{ role: 'user', content }];
}

function head({ role, name, rest: others }: Message, { isOurs, takesDeveloper }: MessageTerms): JsonObject {
  return {
    ...(isOurs ? others : NO_REST),
    role: role === 'developer' && !takesDeveloper ? 'system' : role,
    ...(name === undefined ? {} : { name }),
  };
}

function writeMessage(message: Message, terms: MessageTerms & PartTerms): JsonObject {
  if (message.role === 'assistant') return { ...head(message, terms), ...writeAssistant(message.parts, terms) };
  const content = message.parts.map((part) => writePart(part, terms)).filter((part) => part !== undefined);
  const isSystem = message.role === 'system' || message.role === 'developer';
  // What the system says in several blocks is one text for all that take nothing else there.
  return { ...head(message, terms), content: joined(content, terms.onlyText || (isSystem && !terms.isOurs), '\n\n') ?? '' };
}

function writeResult(result: ToolResultPart, terms: MessageTerms & PartTerms): JsonObject {
  const stays = terms.isOurs ? result.parts : result.parts.filter(({ type }) => type === 'text');
  // This protocol has no other way to say that a tool has failed.
  const parts = result.isError ? [plainText('Error:'), ...stays] : stays;
  const content = parts.map((part) => writePart(part, terms)).filter((part) => part !== undefined);
  const cached = cacheControl(result.cacheControl, terms);
  const last = content.at(-1);
  if (cached !== NO_REST) {
    // There is nothing that it could stand on.
    if (last === undefined) terms.lose({ name: 'cache_control' });
    else content[content.length - 1] = { ...last, ...cached };
  }
  return {
    tool_call_id: upstreamCallId(result.callId),
    content: joined(content, terms.onlyText || !terms.isOurs, result.isError ? ' ' : '\n\n') ?? '',
  };
}

/** Members of an earlier answer. Opaque state of other dialects stays behind: it is refused here. */
function writeAssistant(parts: readonly Part[], terms: MessageTerms & PartTerms): JsonObject {
  const content: JsonObject[] = [];
  const images: JsonObject[] = [];
  const calls: JsonObject[] = [];
  const details: unknown[] = [];
  let reasoning = '';
  let refusal: string | undefined;
  let audio: JsonObject | undefined;
  const annotations: JsonObject[] = [];
  for (const part of parts) {
    switch (part.type) {
      case 'reasoning':
        reasoning += part.text;
        details.push(...part.carriers.flatMap(ownDetails));
        break;
      case 'refusal':
        refusal = (refusal ?? '') + part.text;
        break;
      case 'tool_call':
        calls.push(writeToolCall(part, terms));
        if (part.cacheControl !== undefined) terms.lose({ name: 'cache_control' });
        break;
      case 'audio':
        audio = writeSpoken(part, content, terms);
        break;
      case 'image':
        images.push(writeImage(part));
        break;
      default: {
        if (part.type === 'text') annotations.push(...part.citations.map((citation) => writeCitation(citation, true)));
        const written = writePart(part, terms);
        if (written !== undefined) content.push(written);
      }
    }
  }
  if (annotations.length > 0 && !terms.isOurs) terms.lose({ name: 'citations' });
  if (!terms.takesReasoning && (reasoning !== '' || details.length > 0)) terms.lose({ name: 'reasoning' });
  const isSaid = calls.length > 0 || refusal !== undefined || audio !== undefined;
  return {
    content: joined(content, terms.onlyText || !terms.isOurs, '') ?? (isSaid ? null : ''),
    ...(reasoning === '' || !terms.takesReasoning ? {} : { reasoning_content: reasoning }),
    ...(details.length === 0 || !terms.takesReasoning ? {} : { reasoning_details: details }),
    ...(refusal === undefined ? {} : { refusal }),
    ...(annotations.length === 0 || !terms.isOurs ? {} : { annotations }),
    ...(audio === undefined ? {} : { audio }),
    ...(images.length === 0 ? {} : { images }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

/** Speech of an earlier answer is known to its provider by an id; to any other its words have to do. */
function writeSpoken(part: Part & { readonly type: 'audio' }, content: JsonObject[], terms: PartTerms): JsonObject | undefined {
  if (terms.isOurs) return writeAudio(part, true);
  if (part.transcript === undefined) terms.lose({ name: 'unknown_part', at: `${terms.at}:audio` });
  else content.push({ type: 'text', text: part.transcript });
  return undefined;
}
