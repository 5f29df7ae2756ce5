// The answer to one call before it is sent: a head, and the body in the segments it will be written in.

/** A part of the body that goes out in one write. */
export interface Segment {
  bytes: Buffer;
  /** Output tokens that end in this segment. */
  pieces: number;
  /** `data:` events that end in this segment; a JSON body is one event. */
  events: number;
  /** Whether the last byte of the usage object lies in this segment. */
  usage: boolean;
}

/** How a reply ends after its last segment. */
export type Ending = 'end' | 'close' | 'reset' | 'silence';

export interface Reply {
  status: number;
  /** Names and values in turn, as `writeHead` takes them fastest. */
  headers: string[];
  segments: Segment[];
  /** The content-length to declare; null sends the body chunked. */
  length: number | null;
  ending: Ending;
  /** Whether a fault took away the end of the answer: such a reply never counts as completed. */
  shortened: boolean;
  /** What happens instead of the head. */
  instead: 'reset' | 'silence' | null;
}

/** A reply with a body of one piece, such as JSON. */
export function wholeReply(status: number, headers: string[], body: string, mark: { pieces?: number; usage?: boolean } = {}): Reply {
  const bytes = Buffer.from(body);
  const segment: Segment = { bytes, pieces: mark.pieces ?? 0, events: 1, usage: mark.usage ?? false };
  return { status, headers, segments: [segment], length: bytes.length, ending: 'end', shortened: false, instead: null };
}

/** A reply whose body is streamed. */
export function streamReply(status: number, headers: string[], segments: Segment[]): Reply {
  return { status, headers, segments, length: null, ending: 'end', shortened: false, instead: null };
}

/** A segment of a stream that holds one event or comment. */
export function segment(text: string, mark: { pieces?: number; events?: number; usage?: boolean } = {}): Segment {
  return { bytes: Buffer.from(text), pieces: mark.pieces ?? 0, events: mark.events ?? 1, usage: mark.usage ?? false };
}

/** Joins neighbours into one write; what they carry adds up. */
export function joinSegments(segments: Segment[]): Segment {
  return {
    bytes: Buffer.concat(segments.map((part) => part.bytes)),
    pieces: segments.reduce((sum, part) => sum + part.pieces, 0),
    events: segments.reduce((sum, part) => sum + part.events, 0),
    usage: segments.some((part) => part.usage),
  };
}
