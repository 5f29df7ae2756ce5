/** Blocks of content, to and from the canonical language. */
import { unpackCallId } from '../../canonical/call-id.ts';
import { packCarrier, unpackCarrier } from '../../canonical/carrier.ts';
import type { Loss } from '../../canonical/loss.ts';
import type {
  CacheControl,
  Citation,
  FilePart,
  ImagePart,
  MediaSource,
  Part,
  ReasoningCarrier,
  ReasoningPart,
  TextPart,
} from '../../canonical/message.ts';
import { invalid, isObject, type JsonObject, NO_REST, rest, text } from '../json.ts';
import { sniffedMediaType } from '../media-type.ts';
import { DIALECT } from './schema.ts';
import { readToolCall, upstreamCallId, writeToolCall } from './tools.ts';

/** Stands where clients need a proof and nobody gave one. */
const UNSIGNED = packCarrier({ dialect: DIALECT, value: { type: 'unsigned' } });

export function plainText(value: string): TextPart {
  return { type: 'text', text: value, citations: [], rest: NO_REST };
}

/** The content of a message or of a result: a string, or blocks. Throws GatewayError 400. */
export function readContent(content: unknown, param: string): readonly Part[] {
  if (typeof content === 'string') return content === '' ? [] : [plainText(content)];
  if (!Array.isArray(content)) throw invalid(`The parameter '${param}' must be a string or an array.`, param);
  return content.flatMap((block, index) => readBlock(block, `${param}[${index}]`));
}

/** Most blocks are one part. Throws GatewayError 400. */
export function readBlock(block: unknown, param: string): readonly Part[] {
  if (!isObject(block)) throw invalid(`The parameter '${param}' must be an object.`, param);
  const cached = readCacheControl(block);
  switch (block.type) {
    case 'text':
      return [
        {
          type: 'text',
          text: text(block.text) ?? '',
          ...cached,
          citations: readCitations(block.citations),
          rest: rest(block, ['type', 'text', 'citations', 'cache_control']),
        },
      ];
    case 'image': {
      const source = readSource(block.source);
      if (source === undefined) return [foreign(block)];
      return [{ type: 'image', source, detail: undefined, ...cached, rest: rest(block, ['type', 'source', 'cache_control']) }];
    }
    case 'document':
      return readDocument(block, cached, param);
    case 'search_result':
      return [{ ...plainText(searchResultText(block)), ...cached, rest: rendered(block) }];
    case 'thinking':
      return [
        { type: 'reasoning', text: text(block.thinking) ?? '', carriers: readProof({ type: 'thinking', signature: block.signature }) },
      ];
    case 'redacted_thinking':
      return [{ type: 'reasoning', text: '', carriers: readProof({ type: 'redacted_thinking', data: block.data }) }];
    case 'tool_use':
      return [readToolCall(block, cached)];
    case 'tool_result':
      return [
        {
          type: 'tool_result',
          callId: unpackCallId(text(block.tool_use_id) ?? '').id,
          parts: block.content === undefined || block.content === null ? [] : readContent(block.content, `${param}.content`),
          isError: block.is_error === true,
          ...cached,
        },
      ];
    default:
      return [foreign(block)];
  }
}

function foreign(block: JsonObject): Part {
  return { type: 'foreign', dialect: DIALECT, value: block };
}

function readCacheControl(block: JsonObject): { readonly cacheControl?: CacheControl } {
  return isObject(block.cache_control) ? { cacheControl: block.cache_control } : {};
}

/** Undefined for a source that this dialect alone knows. */
function readSource(source: unknown): MediaSource | undefined {
  if (!isObject(source)) return undefined;
  if (source.type === 'base64') return { from: 'base64', mediaType: text(source.media_type) ?? '', data: text(source.data) ?? '' };
  if (source.type === 'url') return { from: 'url', url: text(source.url) ?? '' };
  if (source.type === 'file') return { from: 'id', id: text(source.file_id) ?? '' };
  if (source.type === 'text') {
    // It was admitted by its bytes, so it is a text whatever it says, or begins with.
    return { from: 'base64', mediaType: 'text/plain', data: Buffer.from(text(source.data) ?? '').toString('base64') };
  }
  return undefined;
}

/** One of plain texts and pictures has no place of its own elsewhere: its texts become one text, and it is kept whole beside it. */
function readDocument(block: JsonObject, cached: { readonly cacheControl?: CacheControl }, param: string): readonly Part[] {
  const source = readSource(block.source);
  if (source !== undefined) {
    const name = text(block.title);
    return [{ type: 'file', source, name, ...cached, rest: rest(block, ['type', 'source', 'title', 'cache_control']) }];
  }
  if (!isObject(block.source) || block.source.type !== 'content') return [foreign(block)];
  const inner = readContent(block.source.content, `${param}.source.content`);
  const title = text(block.title);
  const pictures = inner.filter((part) => part.type !== 'text');
  const texts = inner.flatMap((part) => (part.type === 'text' ? [part.text] : []));
  const joined = plainText([...(title === undefined ? [] : [title]), ...texts].join('\n\n'));
  return pictures.length > 0 ? [joined, ...pictures] : [{ ...joined, ...cached, rest: rendered(block) }];
}

/** The block of which a text is the rendering: beside the fields by name, which are what a rendering does not tell. */
const WHOLE = Symbol('block');
const RENDERED_KEYS = ['type', 'source', 'title', 'content', 'cache_control'];

function rendered(block: JsonObject): JsonObject {
  return Object.assign({ ...rest(block, RENDERED_KEYS) }, { [WHOLE]: rest(block, ['cache_control']) });
}

function wholeOf(others: { readonly [WHOLE]?: JsonObject }): JsonObject | undefined {
  return others[WHOLE];
}

function searchResultText(block: JsonObject): string {
  const texts = Array.isArray(block.content) ? block.content.map((item) => (isObject(item) ? (text(item.text) ?? '') : '')) : [];
  return [text(block.title), text(block.source), ...texts].filter((line) => line !== undefined && line !== '').join('\n');
}

/** The proof of a block of thinking: this dialect's own, another's on its way back, or none. */
export function readProof(value: {
  readonly type: 'thinking' | 'redacted_thinking';
  readonly [field: string]: unknown;
}): ReasoningCarrier[] {
  const proof = text(value.type === 'thinking' ? value.signature : value.data) ?? '';
  if (proof === '' || proof === UNSIGNED) return [];
  return [unpackCarrier(proof) ?? { dialect: DIALECT, value }];
}

const LOCATIONS: ReadonlySet<unknown> = new Set([
  'char_location',
  'page_location',
  'content_block_location',
  'web_search_result_location',
  'search_result_location',
]);

function readCitations(citations: unknown): readonly Citation[] {
  return Array.isArray(citations) ? citations.filter(isObject).map((citation) => readCitation(citation, undefined)) : [];
}

/** A citation belongs to its whole block: `supports` is where that stands in the text of the answer. */
export function readCitation(citation: JsonObject, supports: { readonly start: number; readonly end: number } | undefined): Citation {
  const isCarried = citation.encrypted_index === UNSIGNED;
  return {
    url: text(citation.url) ?? text(citation.source),
    title: text(citation.title) ?? text(citation.document_title),
    start: supports?.start,
    end: supports?.end,
    rest: isCarried ? NO_REST : citation,
  };
}

/**
 * A citation in an answer. One of another dialect is written as what a web search finds, which is the only kind here that has an address;
 * undefined where it has none.
 */
export function writeCitation({ url, title, rest: others }: Citation): JsonObject | undefined {
  if (LOCATIONS.has(others.type)) return others;
  if (url === undefined) return undefined;
  return { type: 'web_search_result_location', cited_text: '', url, title: title ?? null, encrypted_index: UNSIGNED };
}

/** A block of thinking in an answer to a client, whoever thought: each proof is a block, the first has the text. */
export function writeThinking({ text: shown, carriers }: ReasoningPart): readonly JsonObject[] {
  const [first, ...others] = carriers;
  const blocks: JsonObject[] = [];
  if (first === undefined) {
    if (shown !== '') blocks.push({ type: 'thinking', thinking: shown, signature: UNSIGNED });
  } else blocks.push(proven(shown, first));
  for (const carrier of others) blocks.push(proven('', carrier));
  return blocks;
}

function proven(shown: string, carrier: ReasoningCarrier): JsonObject {
  const { value } = carrier;
  if (carrier.dialect === DIALECT && isObject(value)) {
    if (value.type === 'redacted_thinking') return { type: 'redacted_thinking', data: value.data };
    return { type: 'thinking', thinking: shown, signature: value.signature };
  }
  const packed = packCarrier(carrier);
  return shown === '' ? { type: 'redacted_thinking', data: packed } : { type: 'thinking', thinking: shown, signature: packed };
}

/** The signature that ends a block of thinking in a stream; undefined for a proof that is a block of its own. */
export function signatureOf(carrier: ReasoningCarrier | undefined): string | undefined {
  if (carrier === undefined) return UNSIGNED;
  if (carrier.dialect !== DIALECT) return packCarrier(carrier);
  return isObject(carrier.value) && carrier.value.type === 'thinking' ? text(carrier.value.signature) : undefined;
}

/** For whom blocks are written: `isOurs`, the request came in this dialect; `at`, where the message stood in it. */
export interface BlockTerms {
  readonly isOurs: boolean;
  readonly at: string;
  readonly lose: (loss: Loss) => void;
}

/**
 * A part of a message for an upstream, as blocks: none for what is empty, or is lost. Throws GatewayError 400 on what another provider
 * keeps, and on what cannot be shown to this one.
 */
export function writeBlocks(part: Part, terms: BlockTerms): readonly JsonObject[] {
  switch (part.type) {
    case 'text':
      return writeText(part, terms);
    case 'image':
      return [{ ...othersOf(part, terms), type: 'image', source: imageSource(part, terms), ...cacheControl(part) }];
    case 'file':
      return [writeFile(part, terms)];
    case 'audio':
      if (part.transcript !== undefined) {
        terms.lose({ name: 'audio', at: terms.at });
        return part.transcript.trim() === '' ? [] : [{ type: 'text', text: part.transcript }];
      }
      throw invalid('This model cannot listen: leave out the audio, or send its transcript.', terms.at);
    case 'video':
      throw invalid('This model cannot watch: leave out the video.', terms.at);
    case 'reasoning':
      return ownThinking(part, terms);
    case 'refusal':
      return part.text.trim() === '' ? [] : [{ type: 'text', text: part.text }];
    case 'tool_call':
      return [{ ...othersOf(part, terms), ...writeToolCall(part, terms.lose), ...cacheControl(part) }];
    case 'tool_result': {
      const content = resultContent(part.parts, part.json, terms);
      return [
        {
          type: 'tool_result',
          tool_use_id: upstreamCallId(part.callId),
          ...(content.length === 0 ? {} : { content }),
          ...(part.isError ? { is_error: true } : {}),
          ...cacheControl(part),
        },
      ];
    }
    case 'foreign':
      if (part.dialect === DIALECT) return [part.value];
      terms.lose({ name: 'unknown_part', at: terms.at });
      return [];
    default:
      return part satisfies never;
  }
}

function cacheControl(part: { readonly cacheControl?: CacheControl }): JsonObject {
  return part.cacheControl === undefined ? {} : { cache_control: part.cacheControl };
}

function othersOf(part: { readonly rest: JsonObject }, { isOurs }: BlockTerms): JsonObject {
  return isOurs ? part.rest : NO_REST;
}

/** An empty text, or one of blanks, is refused. */
function writeText(part: TextPart, terms: BlockTerms): readonly JsonObject[] {
  if (part.text.trim() === '') return [];
  const others = othersOf(part, terms);
  const whole = wholeOf(others);
  if (whole !== undefined) return [{ ...whole, ...cacheControl(part) }];
  const citations = part.citations.map(({ rest: own }) => own).filter((own) => LOCATIONS.has(own.type));
  if (citations.length < part.citations.length) terms.lose({ name: 'citations', at: terms.at });
  return [{ ...others, type: 'text', text: part.text, ...(citations.length === 0 ? {} : { citations }), ...cacheControl(part) }];
}

const IMAGE_TYPES: ReadonlySet<string> = new Set(['image/jpeg', 'image/png', 'image/gif', 'image/webp']);

function imageSource({ source, detail }: ImagePart, terms: BlockTerms): JsonObject {
  if (detail !== undefined && detail !== 'auto') terms.lose({ name: 'image_detail', at: terms.at });
  if (source.from !== 'base64') return referred(source, terms);
  const mediaType = sniffedMediaType(source.data) ?? source.mediaType;
  if (!IMAGE_TYPES.has(mediaType)) throw invalid('Pictures for this model must be JPEG, PNG, GIF or WebP.', terms.at);
  return { type: 'base64', media_type: mediaType, data: source.data };
}

/** What is named and not given: an address, or a file that a provider keeps. */
function referred(source: MediaSource & { readonly from: 'url' | 'id' }, { isOurs, at }: BlockTerms): JsonObject {
  if (source.from === 'url') return { type: 'url', url: source.url };
  if (isOurs) return { type: 'file', file_id: source.id };
  throw invalid(`The file '${source.id}' is kept by another provider and cannot be used with this model.`, at);
}

function writeFile(part: FilePart, terms: BlockTerms): JsonObject {
  const { source, name } = part;
  const others = othersOf(part, terms);
  const titled = name === undefined || name === '' ? {} : { title: name.slice(0, MAX_TITLE_CHARACTERS) };
  if (source.from !== 'base64') return { ...others, type: 'document', source: referred(source, terms), ...titled, ...cacheControl(part) };
  // A text is bounded by its bytes; the pages of a document that is sent as one would not be.
  const mediaType = source.mediaType.startsWith('text/') ? source.mediaType : (sniffedMediaType(source.data) ?? source.mediaType);
  if (IMAGE_TYPES.has(mediaType)) {
    return { type: 'image', source: { type: 'base64', media_type: mediaType, data: source.data }, ...cacheControl(part) };
  }
  return { ...others, type: 'document', source: documentSource(mediaType, source.data, terms), ...titled, ...cacheControl(part) };
}

const MAX_TITLE_CHARACTERS = 500;
const TEXTUAL = /^(text\/|application\/(json|xml|x-yaml|yaml|javascript)\b)/;

function documentSource(mediaType: string, data: string, { at }: BlockTerms): JsonObject {
  if (mediaType === 'application/pdf') return { type: 'base64', media_type: mediaType, data };
  if (TEXTUAL.test(mediaType)) return { type: 'text', media_type: 'text/plain', data: Buffer.from(data, 'base64').toString('utf8') };
  throw invalid('Files for this model must be PDF or plain text.', at);
}

/** Thinking goes back to its issuer with its proof; what others have thought is refused there. */
function ownThinking(part: ReasoningPart, { at, lose }: BlockTerms): readonly JsonObject[] {
  const carriers = part.carriers.filter(({ dialect }) => dialect === DIALECT);
  if (carriers.length > 0) return writeThinking({ ...part, carriers });
  if (part.text !== '') lose({ name: 'reasoning', at });
  return [];
}

function resultContent(parts: readonly Part[], json: JsonObject | undefined, terms: BlockTerms): readonly JsonObject[] {
  if (parts.length === 0 && json !== undefined) return [{ type: 'text', text: JSON.stringify(json) }];
  return parts.flatMap((part) => writeBlocks(part, terms));
}
