/** URLs of media, and those that hold the bytes themselves. */
import type { MediaSource } from '../canonical/message.ts';

const DATA_URL = /^data:([^;,]*)(?:;[^,]*)?;base64,/i;
/** Longer heads are no media types. */
const MAX_HEAD_CHARACTERS = 256;

/** A URL, `data:` ones of base64 taken apart. */
export function readUrl(url: string): MediaSource {
  const match = DATA_URL.exec(url.slice(0, MAX_HEAD_CHARACTERS));
  return match === null ? { from: 'url', url } : { from: 'base64', mediaType: match[1] ?? '', data: url.slice(match[0].length) };
}

/** An id stands for itself. */
export function writeUrl(source: MediaSource): string {
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
