/**
 * Cuts a byte stream into server-sent events, whatever the cuts it arrives in.
 *
 * Lines end in LF, CRLF or a lone CR; an event ends at an empty line. Each event keeps its own bytes, so that it can be
 * handed on as it came. Bytes are decoded only as whole events: a character that was cut in two is whole again by then.
 */
import { AnswerLimitError } from './answer-limit.ts';

/** A picture in base64 travels as one event; beyond this it is no event any more. */
export const MAX_EVENT_BYTES = 8 * 1024 * 1024;

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const SPACE = 0x20;
const NOTHING = Buffer.alloc(0);
const BLANK_LINE = Buffer.from('\n\n');
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);
const DATA_FIELD = Buffer.from('data');
const EVENT_FIELD = Buffer.from('event');

export interface SseEvent {
  /** The event as it came, up to and including its empty line; an unfinished last one is ended by an empty line of ours. */
  readonly raw: Buffer;
  /** The `event:` field. */
  readonly name: string | undefined;
  /** The `data:` lines joined by LF; undefined when there is none (comments only). */
  readonly data: Buffer | undefined;
  /** All of the data stands in one line of `raw`. */
  readonly singleLine: boolean;
  /** The stream ended inside this event. */
  readonly cutShort: boolean;
}

/** A synchronous machine: bytes in, whole events out. Throws AnswerLimitError past MAX_EVENT_BYTES. */
export class SseSplitter {
  /** Bytes of the event that has not ended yet. */
  #pending = NOTHING;
  #pendingBytes = 0;
  /** Nothing of the present line has been seen: a line end now ends the event. */
  #lineEmpty = true;
  /** The last byte was a CR: an LF now belongs to it. */
  #afterCr = false;
  /** The event has ended with a CR, and an LF that belongs to it may still come. */
  #endedByCr = false;
  #started = false;

  push(bytes: Buffer): SseEvent[] {
    const events: SseEvent[] = [];
    let from = 0;
    if (bytes.length === 0) return events;
    if (this.#endedByCr) {
      const end = bytes[0] === LF ? 1 : 0;
      this.#endedByCr = false;
      this.#cut(bytes, 0, end, events);
      from = end;
    }
    // JSON has no raw CR, so streams have none at all, or at line ends only.
    from = !this.#afterCr && hasOnlyCrlf(bytes, from) ? this.#pushLf(bytes, from, events) : this.#pushAny(bytes, from, events);
    if (from < bytes.length && !this.#endedByCr) this.#keep(bytes.subarray(from));
    return events;
  }

  /** The stream has ended: what is left is an event too, even without its last line end. */
  end(): SseEvent[] {
    const events: SseEvent[] = [];
    if (this.#endedByCr) {
      this.#endedByCr = false;
      this.#cut(NOTHING, 0, 0, events);
    } else if (this.#pendingBytes > 0) {
      // Two line ends: of the unfinished line, and of the event.
      this.#keep(BLANK_LINE);
      const raw = this.#pending.subarray(0, this.#pendingBytes);
      this.#reset();
      this.#emit(raw, true, events);
    }
    return events;
  }

  /** LF and CRLF only. Returns where the unfinished rest begins. */
  #pushLf(bytes: Buffer, start: number, events: SseEvent[]): number {
    let from = start;
    let at = start;
    while (at < bytes.length) {
      if (this.#lineEmpty) {
        const end = bytes[at] === CR ? at + 1 : at;
        if (bytes[end] === LF) {
          at = end + 1;
          this.#cut(bytes, from, at, events);
          from = at;
          continue;
        }
        this.#lineEmpty = false;
      }
      const lineEnd = bytes.indexOf(LF, at);
      if (lineEnd === -1) break;
      at = lineEnd + 1;
      this.#lineEmpty = true;
    }
    return from;
  }

  /** Any line ends, byte by byte. */
  #pushAny(bytes: Buffer, start: number, events: SseEvent[]): number {
    let from = start;
    for (let at = start; at < bytes.length; at++) {
      const byte = bytes[at];
      if (byte === LF && this.#afterCr) {
        this.#afterCr = false;
        continue;
      }
      this.#afterCr = byte === CR;
      if (byte !== LF && byte !== CR) {
        this.#lineEmpty = false;
        continue;
      }
      if (!this.#lineEmpty) {
        this.#lineEmpty = true;
        continue;
      }
      if (byte === CR) {
        this.#afterCr = false;
        if (at + 1 === bytes.length) {
          this.#keep(bytes.subarray(from));
          this.#endedByCr = true;
          return bytes.length;
        }
        if (bytes[at + 1] === LF) at++;
      }
      this.#cut(bytes, from, at + 1, events);
      from = at + 1;
    }
    return from;
  }

  /** Copies, so that a small rest does not pin the large read it came in; room doubles, so that each byte is moved few times. */
  #keep(rest: Buffer): void {
    const bytes = this.#pendingBytes + rest.length;
    this.#checkSize(bytes);
    if (bytes > this.#pending.length) {
      const larger = Buffer.allocUnsafe(Math.max(bytes, 2 * this.#pending.length));
      this.#pending.copy(larger, 0, 0, this.#pendingBytes);
      this.#pending = larger;
    }
    rest.copy(this.#pending, this.#pendingBytes);
    this.#pendingBytes = bytes;
  }

  #checkSize(bytes: number): void {
    if (bytes > MAX_EVENT_BYTES) {
      throw new AnswerLimitError(`an event of more than ${MAX_EVENT_BYTES} bytes`);
    }
  }

  #reset(): void {
    this.#pending = NOTHING;
    this.#pendingBytes = 0;
    this.#lineEmpty = true;
    this.#afterCr = false;
  }

  #cut(bytes: Buffer, from: number, to: number, events: SseEvent[]): void {
    let raw = bytes.subarray(from, to);
    if (this.#pendingBytes === 0) this.#checkSize(raw.length);
    else {
      this.#keep(raw);
      raw = this.#pending.subarray(0, this.#pendingBytes);
    }
    this.#reset();
    this.#emit(raw, false, events);
  }

  #emit(raw: Buffer, cutShort: boolean, events: SseEvent[]): void {
    const event = parseEvent(raw, !this.#started && raw.subarray(0, 3).equals(BYTE_ORDER_MARK) ? 3 : 0, cutShort);
    this.#started = true;
    if (event !== undefined) events.push(event);
  }
}

/** Reads the fields of one event; undefined for a block of empty lines. */
function parseEvent(raw: Buffer, start: number, cutShort: boolean): SseEvent | undefined {
  let name: string | undefined;
  let first: Buffer | undefined;
  let more: Buffer[] | undefined;
  let at = start;
  let isBlank = true;
  const hasCr = raw.includes(CR);
  while (at < raw.length) {
    const lineEnd = endOfLine(raw, at, hasCr);
    if (lineEnd > at) {
      isBlank = false;
      const data = fieldValue(raw, at, lineEnd, DATA_FIELD);
      if (data !== undefined) {
        if (first === undefined) first = data;
        else {
          more ??= [first];
          more.push(LINE_FEED, data);
        }
      } else name = fieldValue(raw, at, lineEnd, EVENT_FIELD)?.toString('utf8') ?? name;
    }
    at = lineEnd + (raw[lineEnd] === CR && raw[lineEnd + 1] === LF ? 2 : 1);
  }
  if (isBlank) return undefined;
  return { raw, name, data: more === undefined ? first : Buffer.concat(more), singleLine: more === undefined, cutShort };
}

const LINE_FEED = Buffer.from('\n');

function endOfLine(raw: Buffer, from: number, hasCr: boolean): number {
  const lf = raw.indexOf(LF, from);
  const end = lf === -1 ? raw.length : lf;
  const cr = hasCr ? raw.indexOf(CR, from) : -1;
  return cr === -1 || cr > end ? end : cr;
}

/** Each CR has its LF behind it. */
function hasOnlyCrlf(bytes: Buffer, from: number): boolean {
  for (let at = bytes.indexOf(CR, from); at !== -1; at = bytes.indexOf(CR, at + 1)) if (bytes[at + 1] !== LF) return false;
  return true;
}

/** The value after `field:`, without the one space that may lead it; undefined when the line has another field. */
function fieldValue(raw: Buffer, from: number, to: number, field: Buffer): Buffer | undefined {
  const afterName = from + field.length;
  for (let index = 0; index < field.length; index++) if (raw[from + index] !== field[index]) return undefined;
  if (afterName === to) return raw.subarray(to, to);
  if (afterName > to || raw[afterName] !== COLON) return undefined;
  const valueStart = raw[afterName + 1] === SPACE && afterName + 1 < to ? afterName + 2 : afterName + 1;
  return raw.subarray(valueStart, to);
}
