/** Pictures, sounds, films and documents, to and from the canonical language. */
import type { AudioPart, FilePart, ImagePart, MediaSource, Part, VideoPart } from '../../canonical/message.ts';
import { readUrl, writeUrl } from '../data-url.ts';
import { invalid, isObject, type JsonObject, rest, text } from '../json.ts';

/** Types of content parts that are media, each with the member of its name. */
export type MediaType = 'image_url' | 'video_url' | 'input_audio' | 'file';

export function isMediaType(type: unknown): type is MediaType {
  return type === 'image_url' || type === 'video_url' || type === 'input_audio' || type === 'file';
}

/** A content part that is a medium. */
export function readMedia(type: MediaType, part: JsonObject): ImagePart | VideoPart | AudioPart | FilePart {
  const cacheControl = isObject(part.cache_control) ? { cacheControl: part.cache_control } : {};
  const others = rest(part, ['type', type, 'cache_control']);
  const inner = part[type];
  const fields: JsonObject = isObject(inner) ? inner : { url: inner };
  switch (type) {
    case 'image_url':
      return { type: 'image', source: readUrl(text(fields.url) ?? ''), detail: text(fields.detail), ...cacheControl, rest: others };
    case 'video_url':
      return { type: 'video', source: readUrl(text(fields.url) ?? ''), rest: others };
    case 'input_audio': {
      const source: MediaSource = { from: 'base64', mediaType: `audio/${text(fields.format) ?? 'wav'}`, data: text(fields.data) ?? '' };
      return { type: 'audio', source, transcript: undefined, rest: others };
    }
    case 'file': {
      const id = text(fields.file_id);
      const source: MediaSource = id === undefined ? readUrl(text(fields.file_data) ?? '') : { from: 'id', id };
      return { type: 'file', source, name: text(fields.filename), ...cacheControl, rest: others };
    }
    default:
      return type satisfies never;
  }
}

/** An answer's audio, or the mention of one from an earlier turn. */
export function readAudio(audio: JsonObject): AudioPart {
  const id = text(audio.id);
  const data = text(audio.data);
  const source: MediaSource = data === undefined ? { from: 'id', id: id ?? '' } : { from: 'base64', mediaType: 'audio/*', data };
  const known = data === undefined ? ['id', 'transcript'] : ['data', 'transcript'];
  return { type: 'audio', source, transcript: text(audio.transcript), rest: rest(audio, known) };
}

/** An answer's audio; `isOurs` gives its other members back. */
export function writeAudio(part: AudioPart, isOurs: boolean): JsonObject {
  const { source, transcript } = part;
  const bytes = source.from === 'base64' ? { data: source.data } : source.from === 'id' ? { id: source.id } : { url: source.url };
  return { ...(isOurs ? part.rest : {}), ...bytes, transcript };
}

/** The part and the member that make up a picture of an answer. */
export function writeImage({ source, detail }: ImagePart): JsonObject {
  return { type: 'image_url', image_url: { url: writeUrl(source), detail } };
}

/** For whom a medium is written: an upstream, with what it takes. */
export interface MediaTerms {
  readonly isOurs: boolean;
  readonly takesFileUrls: boolean;
  /** Where it stands in the request. */
  readonly at: string;
}

/**
 * A medium of a request. Throws GatewayError 400 for what another provider keeps under an id, and for sounds and documents by URL, which
 * this protocol has no form for.
 */
export function writeMedia(part: ImagePart | AudioPart | VideoPart | FilePart, terms: MediaTerms): JsonObject {
  const { source } = part;
  const { isOurs, at } = terms;
  if (source.from === 'id' && !isOurs) {
    throw invalid(`The ${part.type} '${source.id.slice(0, 128)}' is kept by another provider and must be sent inline to this model.`, at);
  }
  switch (part.type) {
    case 'image':
      return writeImage(part);
    case 'video':
      return { type: 'video_url', video_url: { url: writeUrl(source) } };
    case 'audio':
      if (source.from !== 'base64') throw invalid('Audio must be sent inline to this model, as base64.', at);
      return { type: 'input_audio', input_audio: { data: source.data, format: audioFormat(source.mediaType) } };
    case 'file':
      return writeFile(part, terms);
    default:
      return part satisfies never;
  }
}

function writeFile({ source, name }: FilePart, { isOurs, takesFileUrls, at }: MediaTerms): JsonObject {
  if (source.from === 'id') return { type: 'file', file: { file_id: source.id, filename: name } };
  if (isOurs) return { type: 'file', file: { file_data: writeUrl(source), filename: name } };
  if (source.from === 'url') {
    if (!takesFileUrls) throw invalid('A document must be sent inline to this model, as base64.', at);
    return { type: 'file', file: { file_data: source.url, filename: name ?? DEFAULT_NAME } };
  }
  // Documents are PDF here; one that is a text can be read as such.
  if (source.mediaType.startsWith('text/')) return { type: 'text', text: Buffer.from(source.data, 'base64').toString('utf8') };
  return { type: 'file', file: { file_data: writeUrl(source), filename: name ?? DEFAULT_NAME } };
}

/** A name is wanted with the bytes. */
const DEFAULT_NAME = 'document.pdf';

/** As the protocol names formats: `wav`, `mp3`. */
function audioFormat(mediaType: string): string {
  const format = mediaType.replace(/^audio\//, '').replace(/;.*$/, '');
  return FORMATS[format] ?? format;
}

const FORMATS: Readonly<Partial<Record<string, string>>> = { mpeg: 'mp3', 'x-mp3': 'mp3', 'x-wav': 'wav', wave: 'wav', 'vnd.wave': 'wav' };

/** Whether a part is one of the media. */
export function isMedia(part: Part): part is ImagePart | AudioPart | VideoPart | FilePart {
  return part.type === 'image' || part.type === 'audio' || part.type === 'video' || part.type === 'file';
}
