/** Media that a request only points at: where they are, and the request with what was found there in their place. */
import type { MediaSource, Message, Part } from './message.ts';
import type { Request } from './request.ts';

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

/** The request with each medium that was found in the place of its address. */
export function withFoundMedia(request: Request, found: ReadonlyMap<string, FoundMedium>): Request {
  return found.size === 0 ? request : { ...request, messages: request.messages.map((message) => replaced(message, found)) };
}

function replaced(message: Message, found: ReadonlyMap<string, FoundMedium>): Message {
  const one = (part: Part): Part => {
    if (part.type === 'tool_result') return { ...part, parts: part.parts.map(one) };
    if (!isMedium(part) || part.source.from !== 'url') return part;
    const medium = found.get(part.source.url);
    return medium === undefined ? part : { ...part, source: { from: 'base64', ...medium } };
  };
  return { ...message, parts: message.parts.map(one) };
}
