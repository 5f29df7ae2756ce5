/** The content of messages, to and from the canonical language. */
import type { Loss } from '../../canonical/loss.ts';
import type { CacheControl, Part, TextPart } from '../../canonical/message.ts';
import { isObject, type JsonObject, NO_REST, rest, text } from '../json.ts';
import { isMedia, isMediaType, readMedia, writeMedia } from './media.ts';

const DIALECT = 'openai-chat';

/** A text, or a list of parts; nothing for anything else. */
export function readContent(content: unknown): readonly Part[] {
  if (typeof content === 'string') return content === '' ? [] : [plainText(content)];
  return Array.isArray(content) ? content.map(readPart) : [];
}

export function plainText(value: string): TextPart {
  return { type: 'text', text: value, citations: [], rest: NO_REST };
}

export function readPart(part: unknown): Part {
  if (typeof part === 'string') return plainText(part);
  if (!isObject(part)) return { type: 'foreign', dialect: DIALECT, value: { value: part } };
  switch (part.type) {
    case 'text': {
      const cacheControl = isObject(part.cache_control) ? { cacheControl: part.cache_control } : {};
      return { type: 'text', text: text(part.text) ?? '', ...cacheControl, citations: [], rest: rest(part, TEXT_KEYS) };
    }
    case 'refusal':
      return { type: 'refusal', text: text(part.refusal) ?? '' };
    case 'thinking':
      return { type: 'reasoning', text: thinkingText(part.thinking), carriers: [] };
    default:
      return isMediaType(part.type) ? readMedia(part.type, part) : { type: 'foreign', dialect: DIALECT, value: part };
  }
}

const TEXT_KEYS = ['type', 'text', 'cache_control'];

/** A provider puts its thinking into the content, as a text or as text parts. */
function thinkingText(thinking: unknown): string {
  if (typeof thinking === 'string') return thinking;
  return Array.isArray(thinking) ? thinking.map((item) => (isObject(item) ? (text(item.text) ?? '') : '')).join('') : '';
}

/** For which upstream content is written, and where what it cannot be told is noted. */
export interface PartTerms {
  readonly isOurs: boolean;
  readonly takesCacheControl: boolean;
  readonly takesFileUrls: boolean;
  /** Several texts have to be one string. */
  readonly onlyText: boolean;
  /** Where the message stands in the request. */
  readonly at: string;
  readonly lose: (loss: Loss) => void;
}

/** A part of a message's content; undefined for what has no form there, which is noted. Throws GatewayError 400 for media that cannot be sent. */
export function writePart(part: Part, terms: PartTerms): JsonObject | undefined {
  const written = writeBare(part, terms);
  if (written === undefined) {
    terms.lose({ name: 'unknown_part', at: `${terms.at}:${part.type}` });
    return undefined;
  }
  const others = terms.isOurs && 'rest' in part ? part.rest : NO_REST;
  return { ...others, ...written, ...cacheControl('cacheControl' in part ? part.cacheControl : undefined, terms) };
}

function writeBare(part: Part, terms: PartTerms): JsonObject | undefined {
  if (isMedia(part)) {
    const written = writeMedia(part, terms);
    // Read as a text, a document has no name.
    if (part.type === 'file' && part.name !== undefined && written.type === 'text') terms.lose({ name: 'file_name', at: terms.at });
    return written;
  }
  switch (part.type) {
    case 'text':
      return { type: 'text', text: part.text };
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

/** The member that says where the prompt is to be cached; none, and a loss, for upstreams that do not take it. */
export function cacheControl(asked: CacheControl | undefined, { isOurs, takesCacheControl, lose }: PartTerms): JsonObject {
  if (asked === undefined) return NO_REST;
  if (isOurs || takesCacheControl) return { cache_control: asked };
  lose({ name: 'cache_control' });
  return NO_REST;
}

/** A content of one plain text as a string, of none as null; `between` joins texts where all have to be one. */
export function joined(content: readonly JsonObject[], onlyText: boolean, between: string): unknown {
  if (content.length === 0) return null;
  if (content.length > 1 && !onlyText) return content;
  return content.every(isPlainText) ? content.map((part) => part.text).join(between) : content;
}

function isPlainText(part: JsonObject): boolean {
  return part.type === 'text' && Object.keys(part).length === 2;
}
