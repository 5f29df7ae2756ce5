/** Media that a request only points at: where they are, and the request with what was found there in their place. */
import { GatewayError } from '@meridian/domain/error';
import type { MediaSource, Message, Part } from './message.ts';
import type { Request } from './request.ts';

/** What was found stands in a request as often as its address did; the request that is written holds no more of it than this. */
export const MAX_FOUND_CHARACTERS = 32 * 1024 * 1024;

/** A medium as it was found. */
export interface FoundMedium {
  /** `image/png`, as told by whoever has it, or by its bytes. */
  readonly mediaType: string;
  /** Base64. */
  readonly data: string;
}

/** The addresses that `wanted` names, each once, in their order. */
export function mediaUrls(request: Request, wanted: (url: string) => boolean): readonly string[] {
  const urls = new Set<string>();
  for (const { parts } of request.messages) {
    for (const source of sourcesIn(parts)) if (source.from === 'url' && wanted(source.url)) urls.add(source.url);
  }
  return [...urls];
}

function* sourcesIn(parts: readonly Part[]): Generator<MediaSource> {
  for (const part of parts) {
    if (part.type === 'tool_result') yield* sourcesIn(part.parts);
    else if (isMedium(part)) yield part.source;
  }
}

type Medium = Extract<Part, { readonly source: MediaSource }>;

function isMedium(part: Part): part is Medium {
  return part.type === 'image' || part.type === 'audio' || part.type === 'video' || part.type === 'file';
}

/** The request with each medium that was found in the place of its address. Throws GatewayError 413 where they are too much together. */
export function withFoundMedia(request: Request, found: ReadonlyMap<string, FoundMedium>): Request {
  if (found.size === 0) return request;
  const room = { characters: MAX_FOUND_CHARACTERS };
  return { ...request, messages: request.messages.map((message) => replaced(message, found, room)) };
}

function replaced(message: Message, found: ReadonlyMap<string, FoundMedium>, room: { characters: number }): Message {
  const one = (part: Part): Part => {
    if (part.type === 'tool_result') return { ...part, parts: part.parts.map(one) };
    if (!isMedium(part) || part.source.from !== 'url') return part;
    const medium = found.get(part.source.url);
    if (medium === undefined) return part;
    room.characters -= medium.data.length;
    if (room.characters < 0) {
      const message = `The media that this request points at have more than ${MAX_FOUND_CHARACTERS} characters in base64, each counted as often as it stands there.`;
      throw new GatewayError('request_too_large', { message });
    }
    return { ...part, source: { from: 'base64', ...medium } };
  };
  return { ...message, parts: message.parts.map(one) };
}
