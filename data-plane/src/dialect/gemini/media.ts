/** Pictures, sounds, films and documents, to and from parts of a content. */
import type { AudioPart, FilePart, ImagePart, MediaSource, Rest, VideoPart } from '../../canonical/message.ts';
import { invalid, type JsonObject, NO_REST, text } from '../json.ts';
import { sniffedMediaType } from '../media-type.ts';
import { fieldsOf, standardBase64 } from './proto-json.ts';

export type MediaPart = ImagePart | AudioPart | VideoPart | FilePart;

/** `inlineData`. `others`: members of the part beside it. */
export function readInlineData(value: unknown, others: Rest): MediaPart {
  const blob = fieldsOf(value);
  const mediaType = text(blob.mimeType) ?? '';
  const source: MediaSource = { from: 'base64', mediaType, data: standardBase64(text(blob.data) ?? '') };
  return mediaPart(mediaType, source, text(blob.displayName), others);
}

/** `fileData`: a file that Google keeps, or something that is found at an address. */
export function readFileData(value: unknown, others: Rest): MediaPart {
  const file = fieldsOf(value);
  const uri = text(file.fileUri) ?? '';
  const mediaType = text(file.mimeType);
  const source: MediaSource = isGoogleFile(uri) ? { from: 'id', id: uri } : { from: 'url', url: uri };
  return mediaPart(mediaType ?? '', source, text(file.displayName), mediaType === undefined ? others : { ...others, mimeType: mediaType });
}

function mediaPart(mediaType: string, source: MediaSource, name: string | undefined, others: Rest): MediaPart {
  if (mediaType.startsWith('image/')) return { type: 'image', source, detail: readDetail(others), rest: others };
  if (mediaType.startsWith('audio/')) return { type: 'audio', source, transcript: undefined, rest: others };
  if (mediaType.startsWith('video/')) return { type: 'video', source, rest: others };
  return { type: 'file', source, name, rest: others };
}

const DETAILS: readonly (readonly [string, string])[] = [
  ['low', 'MEDIA_RESOLUTION_LOW'],
  ['auto', 'MEDIA_RESOLUTION_MEDIUM'],
  ['high', 'MEDIA_RESOLUTION_HIGH'],
];

function readDetail({ mediaResolution }: Rest): string | undefined {
  const level = fieldsOf(mediaResolution).level;
  return DETAILS.find(([, resolution]) => resolution === level)?.[0];
}

/** Whatever is not Google's own has to be sent along. */
export function mustInline(url: string): boolean {
  return !isGoogleFile(url) && !isYoutube(url);
}

/** Where Google keeps files of its own. */
function isGoogleFile(uri: string): boolean {
  return uri.startsWith('gs://') || uri.startsWith('files/') || /^https:\/\/generativelanguage\.googleapis\.com\//.test(uri);
}

/** Films there are read by their address. */
function isYoutube(url: string): boolean {
  return /^https:\/\/(www\.)?(youtube\.com|youtu\.be)\//.test(url);
}

/**
 * A part of a content. `isOurs`: its other members are of this dialect. Throws GatewayError 400 for what would have to be fetched first,
 * for what another provider keeps, and for what is not of the kind that it is sent as.
 */
export function writeMedia(part: MediaPart, isOurs: boolean, param: string): JsonObject {
  const { mimeType, ...others } = isOurs ? part.rest : NO_REST;
  return { ...others, ...writeSource(part, isOurs, text(mimeType), param) };
}

/** A part of an answer; undefined for what the client could not get at: a file that another provider keeps, or nothing at all. */
export function writeAnswerMedia(part: MediaPart): JsonObject | undefined {
  const { source } = part;
  switch (source.from) {
    case 'base64':
      return source.data === '' ? undefined : { inlineData: { mimeType: mediaTypeOf(part, source), data: source.data } };
    case 'url':
      return source.url === '' ? undefined : { fileData: { fileUri: source.url } };
    case 'id':
      return isGoogleFile(source.id) ? { fileData: { fileUri: source.id } } : undefined;
    default:
      return source satisfies never;
  }
}

function writeSource(part: MediaPart, isOurs: boolean, toldType: string | undefined, param: string): JsonObject {
  const { source } = part;
  // Another protocol's picture was admitted as one: what Google keeps, or finds on YouTube, can be a film of hours.
  const mayRefer = isOurs || part.type === 'file' || part.type === 'video';
  switch (source.from) {
    case 'base64': {
      const mimeType = mediaTypeOf(part, source);
      if (part.type !== 'file' && !mimeType.toLowerCase().startsWith(`${part.type}/`)) {
        throw invalid(`What is sent as ${part.type} is of the type '${mimeType.slice(0, 128)}'. Send it as what it is.`, param);
      }
      return { inlineData: { mimeType, data: source.data } };
    }
    case 'id':
      if (mayRefer && isGoogleFile(source.id)) return { fileData: { fileUri: source.id, mimeType: toldType } };
      throw invalid(`The file '${source.id.slice(0, 128)}' is kept by another provider. Send what is in it inline.`, param);
    case 'url':
      if (mayRefer && (isGoogleFile(source.url) || isYoutube(source.url))) {
        return { fileData: { fileUri: source.url, mimeType: toldType } };
      }
      throw invalid(`This model does not fetch '${source.url.slice(0, 256)}'. Send what is there inline, as a data URL in base64.`, param);
    default:
      return source satisfies never;
  }
}

/** As the bytes say, where they do: a wrong type is refused. */
function mediaTypeOf(part: MediaPart, { mediaType, data }: MediaSource & { readonly from: 'base64' }): string {
  const family = part.type === 'file' ? '' : `${part.type}/`;
  const isPlausible = mediaType !== '' && !mediaType.endsWith('/*') && mediaType !== 'application/octet-stream';
  if (part.type === 'audio' && isPlausible) return mediaType;
  // A text was admitted by its bytes: no pages are drawn of it, whatever it begins with.
  if (mediaType.startsWith('text/')) return mediaType;
  const sniffed = sniffedMediaType(data);
  if (sniffed?.startsWith(family) === true && (part.type === 'image' || !isPlausible)) return sniffed;
  if (isPlausible) return mediaType;
  return part.type === 'file' ? 'application/pdf' : `${family}${DEFAULT_TYPES[part.type]}`;
}

const DEFAULT_TYPES = { image: 'png', audio: 'wav', video: 'mp4' } as const;

/** The resolution that a picture is asked to be read in; undefined where the model decides. */
export function resolutionOf(detail: string | undefined): JsonObject | undefined {
  const resolution = DETAILS.find(([word]) => word === detail && word !== 'auto')?.[1];
  return resolution === undefined ? undefined : { level: resolution };
}
