/**
 * The one reader of JSON that is forwarded by its bytes: a cursor that goes over a buffer once and tells where values stand.
 *
 * It checks all of the grammar on the way, with one exception: inside documents over `JUMP_ABOVE_BYTES` the middle of a
 * long string is jumped over with `Buffer.indexOf`, so raw control characters and bad escapes in there are left for the
 * upstream to refuse. They cannot move a boundary: only an unescaped quote ends a string.
 */

/** Documents up to this size are checked byte by byte. */
const JUMP_ABOVE_BYTES = 64 * 1024;
/** Bytes of a string that are read one by one before jumping: a native call costs about as much as this loop. */
const WALK_BEFORE_JUMP_BYTES = 48;
/** Deeper documents are refused: no request or answer of the trade comes near, and the call stack is finite. */
export const MAX_NESTING_LEVELS = 256;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const ZERO = 0x30;
const NINE = 0x39;
const END = -1;

/** Where a value stands: `[start, end)` in bytes, quotes and brackets included. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** The document breaks the grammar at `position` (bytes from its start). */
export class JsonSyntaxError extends Error {
  readonly position: number;

  constructor(reason: string, position: number) {
    super(`${reason} at byte ${position}`);
    this.name = 'JsonSyntaxError';
    this.position = position;
  }
}

/** The document may be in order, and goes deeper than it is read. */
export class JsonDepthError extends JsonSyntaxError {
  constructor(position: number) {
    super(`More than ${MAX_NESTING_LEVELS} levels of nesting`, position);
  }
}

/** One of the names that are read or written stands twice in an object, or is written with escapes. */
export class JsonKeyError extends Error {
  readonly key: string;

  constructor(key: string, reason: string) {
    super(reason);
    this.name = 'JsonKeyError';
    this.key = key;
  }
}

export type JsonKind = 'object' | 'array' | 'string' | 'number' | 'true' | 'false' | 'null';

/** A pull reader. All methods throw JsonSyntaxError where the grammar is broken. */
export class JsonCursor {
  readonly body: Buffer;
  /** Next byte to be read. */
  position: number;
  /** The key last read by `nextKey`, without quotes, as it is written. */
  keyStart = 0;
  keyEnd = 0;
  keyEscaped = false;
  readonly #end: number;
  readonly #jumps: boolean;
  #depth = 0;
  #escaped = false;

  constructor(body: Buffer, span: Span = { start: 0, end: body.length }) {
    this.body = body;
    this.position = span.start;
    this.#end = span.end;
    this.#jumps = span.end - span.start > JUMP_ABOVE_BYTES;
  }

  /** What kind of value comes next; the cursor stands on its first byte then. */
  peek(): JsonKind {
    switch (this.#skipSpace()) {
      case OPEN_BRACE:
        return 'object';
      case OPEN_BRACKET:
        return 'array';
      case QUOTE:
        return 'string';
      case 0x74:
        return 'true';
      case 0x66:
        return 'false';
      case 0x6e:
        return 'null';
      case 0x2d:
        return 'number';
      default: {
        const byte = this.body[this.position];
        if (this.position < this.#end && byte !== undefined && byte >= ZERO && byte <= NINE) return 'number';
        throw this.#unexpected();
      }
    }
  }

  /** Enters the object the cursor stands before. */
  openObject(): void {
    if (this.#skipSpace() !== OPEN_BRACE) throw this.#unexpected();
    this.position++;
    this.#enter();
  }

  /** Enters the array the cursor stands before. */
  openArray(): void {
    if (this.#skipSpace() !== OPEN_BRACKET) throw this.#unexpected();
    this.position++;
    this.#enter();
  }

  /** Reads the next key of the open object and its colon, or leaves the object. `first`: nothing has been read of it yet. */
  nextKey(first: boolean): boolean {
    let byte = this.#skipSpace();
    if (byte === CLOSE_BRACE) {
      this.position++;
      this.#depth--;
      return false;
    }
    if (!first) {
      if (byte !== COMMA) throw this.#unexpected();
      this.position++;
      byte = this.#skipSpace();
    }
    if (byte !== QUOTE) throw this.#unexpected();
    this.keyStart = this.position + 1;
    this.#skipString();
    this.keyEnd = this.position - 1;
    this.keyEscaped = this.#escaped;
    if (this.#skipSpace() !== COLON) throw this.#unexpected();
    this.position++;
    this.#skipSpace();
    return true;
  }

  /** Stands before the next element of the open array, or leaves the array. */
  nextElement(first: boolean): boolean {
    const byte = this.#skipSpace();
    if (byte === CLOSE_BRACKET) {
      this.position++;
      this.#depth--;
      return false;
    }
    if (!first) {
      if (byte !== COMMA) throw this.#unexpected();
      this.position++;
      this.#skipSpace();
    }
    return true;
  }

  /** The key last read, decoded. */
  key(): string {
    // A name with bytes above 0x7f cannot equal any of ours, so latin1 will do to compare it.
    if (!this.keyEscaped) return nameAt(this.body, this.keyStart, this.keyEnd);
    return String(JSON.parse(this.body.toString('utf8', this.keyStart - 1, this.keyEnd + 1)));
  }

  /** Goes over one value of any kind. */
  skipValue(): Span {
    const kind = this.peek();
    const start = this.position;
    switch (kind) {
      case 'object':
        this.openObject();
        for (let first = true; this.nextKey(first); first = false) this.skipValue();
        break;
      case 'array':
        this.openArray();
        for (let first = true; this.nextElement(first); first = false) this.skipValue();
        break;
      case 'string':
        this.#skipString();
        break;
      case 'number':
        this.#skipNumber();
        break;
      default:
        this.#skipLiteral(kind);
    }
    return { start, end: this.position };
  }

  /** After the document's value there is nothing but white space. */
  finish(): void {
    if (this.#skipSpace() !== END) throw this.#unexpected();
  }

  #enter(): void {
    this.#depth++;
    if (this.#depth > MAX_NESTING_LEVELS) {
      throw new JsonDepthError(this.position - 1);
    }
  }

  #skipSpace(): number {
    while (this.position < this.#end) {
      const byte = this.body[this.position];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte ?? END;
      this.position++;
    }
    return END;
  }

  #skipString(): void {
    const { body } = this;
    const end = this.#end;
    let at = this.position + 1;
    this.#escaped = false;
    for (;;) {
      const walkEnd = this.#jumps ? Math.min(end, at + WALK_BEFORE_JUMP_BYTES) : end;
      while (at < walkEnd) {
        const byte = body[at] ?? 0;
        if (byte === QUOTE) {
          this.position = at + 1;
          return;
        }
        if (byte === BACKSLASH) {
          this.#escaped = true;
          at = this.#skipEscape(at);
        } else if (byte < 0x20) {
          throw new JsonSyntaxError('Control character in a string', at);
        } else at++;
      }
      if (at >= end) throw new JsonSyntaxError('Unterminated string', this.position);
      at = this.#jump(at);
    }
  }

  /** From inside a string to its next quote, escaped or not; not past an escape that the quote belongs to. */
  #jump(from: number): number {
    const { body } = this;
    const quote = body.indexOf(QUOTE, from);
    if (quote === -1 || quote >= this.#end) throw new JsonSyntaxError('Unterminated string', this.position);
    let backslashes = 0;
    while (quote - backslashes > from && body[quote - backslashes - 1] === BACKSLASH) backslashes++;
    if (backslashes > 0) this.#escaped = true;
    return backslashes % 2 === 0 ? quote : quote + 1;
  }

  #skipEscape(at: number): number {
    switch (this.body[at + 1]) {
      case QUOTE:
      case BACKSLASH:
      case 0x2f:
      case 0x62:
      case 0x66:
      case 0x6e:
      case 0x72:
      case 0x74:
        return at + 2;
      case 0x75:
        for (let digit = at + 2; digit < at + 6; digit++) {
          if (!isHex(this.body[digit])) throw new JsonSyntaxError('Bad escape in a string', at);
        }
        return at + 6;
      default:
        throw new JsonSyntaxError('Bad escape in a string', at);
    }
  }

  #skipNumber(): void {
    if (this.#byte() === 0x2d) this.position++;
    if (this.#byte() === ZERO) this.position++;
    else this.#skipDigits();
    if (this.#byte() === 0x2e) {
      this.position++;
      this.#skipDigits();
    }
    if (this.#byte() === 0x65 || this.#byte() === 0x45) {
      this.position++;
      if (this.#byte() === 0x2b || this.#byte() === 0x2d) this.position++;
      this.#skipDigits();
    }
  }

  #skipDigits(): void {
    const start = this.position;
    for (let byte = this.#byte(); byte >= ZERO && byte <= NINE; byte = this.#byte()) this.position++;
    if (this.position === start) throw this.#unexpected();
  }

  #skipLiteral(word: 'true' | 'false' | 'null'): void {
    for (let index = 1; index < word.length; index++) {
      this.position++;
      if (this.#byte() !== word.charCodeAt(index)) throw this.#unexpected();
    }
    this.position++;
  }

  #byte(): number {
    return this.position < this.#end ? (this.body[this.position] ?? END) : END;
  }

  #unexpected(): JsonSyntaxError {
    return new JsonSyntaxError(this.position >= this.#end ? 'Unexpected end' : 'Unexpected character', this.position);
  }
}

/** Longer names are not kept. */
const MAX_KEPT_NAME_BYTES = 32;
/** A power of two: the names of all dialects together are some hundreds. */
const KEPT_NAMES = 1024;
/** Names of members come again and again, and to compare one with its bytes costs a fraction of making it anew. */
const keptNames: string[] = new Array<string>(KEPT_NAMES).fill('');

/** The latin1 text of `[start, end)`. */
function nameAt(body: Buffer, start: number, end: number): string {
  const length = end - start;
  if (length > MAX_KEPT_NAME_BYTES) return body.toString('latin1', start, end);
  let hash = length;
  for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + (body[at] ?? 0)) | 0;
  const place = hash & (KEPT_NAMES - 1);
  const kept = keptNames[place] ?? '';
  if (kept.length === length) {
    let same = 0;
    while (same < length && kept.charCodeAt(same) === body[start + same]) same++;
    if (same === length) return kept;
  }
  const name = body.toString('latin1', start, end);
  keptNames[place] = name;
  return name;
}

function isHex(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return (byte >= ZERO && byte <= NINE) || (lower >= 0x61 && lower <= 0x66);
}

/** The member the cursor has just read the key of, if it is one of `names`. Throws JsonKeyError when it is written with escapes. */
export function knownKey(cursor: JsonCursor, names: ReadonlySet<string>): string | undefined {
  const key = cursor.key();
  if (!names.has(key)) return undefined;
  if (cursor.keyEscaped) throw new JsonKeyError(key, `The name '${key}' may not be written with escapes.`);
  return key;
}

/** Notes where a value stands. Throws JsonKeyError when the name has been seen before. */
export function noteOnce(spans: Map<string, Span>, key: string, span: Span): void {
  if (spans.has(key)) throw new JsonKeyError(key, `The name '${key}' stands twice in the same object.`);
  spans.set(key, span);
}

/** One pass over an object: where the values of the given names stand. Throws JsonSyntaxError, JsonKeyError. */
export function scanObject(body: Buffer, names: ReadonlySet<string>, span?: Span): Map<string, Span> {
  const cursor = new JsonCursor(body, span);
  const spans = new Map<string, Span>();
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = knownKey(cursor, names);
    const value = cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, value);
  }
  cursor.finish();
  return spans;
}

/** The value that stands in a span. */
export function valueAt(body: Buffer, span: Span): unknown {
  const first = body[span.start];
  if (first === 0x74) return true;
  if (first === 0x66) return false;
  if (first === 0x6e) return null;
  if (first === QUOTE && isPlain(body, span)) return body.toString('latin1', span.start + 1, span.end - 1);
  return JSON.parse(body.toString('utf8', span.start, span.end));
}

/** Up to this length a string is looked at for escapes and characters of several bytes; above it that costs as much as reading them. */
const MAX_PLAIN_BYTES = 64;

/** A short string whose bytes are its characters. */
function isPlain(body: Buffer, { start, end }: Span): boolean {
  if (end - start > MAX_PLAIN_BYTES) return false;
  for (let at = start + 1; at < end - 1; at++) {
    const byte = body[at] ?? 0;
    if (byte < 0x20 || byte === BACKSLASH || byte >= 0x80) return false;
  }
  return true;
}

/**
 * Looks for members by name without reading the document, for events that are forwarded unread: one pass, no
 * allocation. A quote inside a string of JSON is always escaped, so a name between two bare quotes and before a colon
 * is a member of some object, never text that speaks of it. Of several with one name the first is found.
 */
export class MemberSearch {
  /** Where the value of each name begins, in the order of the names; -1 where it was not found. */
  readonly values: Int32Array;
  /** Indices of the names by their first byte. */
  readonly #byFirstByte: (readonly number[] | undefined)[] = [];
  readonly #names: readonly Buffer[];

  constructor(names: readonly string[]) {
    this.#names = names.map((name) => Buffer.from(name));
    this.values = new Int32Array(names.length);
    for (const [index, name] of this.#names.entries()) {
      const first = name[0] ?? 0;
      this.#byFirstByte[first] = [...(this.#byFirstByte[first] ?? []), index];
    }
  }

  search(bytes: Buffer): void {
    this.values.fill(-1);
    let at = 0;
    while (at < bytes.length) {
      const walkEnd = Math.min(bytes.length, at + WALK_BEFORE_JUMP_BYTES);
      while (at < walkEnd && bytes[at] !== QUOTE) at++;
      if (at === walkEnd && bytes[at] !== QUOTE) {
        at = bytes.indexOf(QUOTE, at);
        if (at === -1) return;
      }
      const candidates = this.#byFirstByte[bytes[at + 1] ?? 0];
      if (candidates !== undefined) this.#compare(bytes, at + 1, candidates);
      at++;
    }
  }

  #compare(bytes: Buffer, at: number, candidates: readonly number[]): void {
    for (const index of candidates) {
      const name = this.#names[index];
      if (name === undefined || bytes[at + name.length] !== QUOTE || this.values[index] !== -1) continue;
      let same = 1;
      while (same < name.length && bytes[at + same] === name[same]) same++;
      if (same < name.length) continue;
      let value = at + name.length + 1;
      while (bytes[value] === 0x20) value++;
      if (bytes[value] !== COLON) return;
      do value++;
      while (bytes[value] === 0x20);
      this.values[index] = value;
      return;
    }
  }
}

/** Bytes of the string that begins at `start`, without its quotes, escapes as they are written; 0 where there is no string. */
export function stringBytesAt(bytes: Buffer, start: number): number {
  if (bytes[start] !== QUOTE) return 0;
  let end = bytes.indexOf(QUOTE, start + 1);
  while (end !== -1) {
    let backslashes = 0;
    while (bytes[end - backslashes - 1] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end - start - 1;
    end = bytes.indexOf(QUOTE, end + 1);
  }
  return 0;
}

/** A piece of new text in place of `[start, end)`. */
export interface Edit extends Span {
  readonly text: string;
}

/** Up to this size the pieces are joined: one write costs less than several. */
const JOIN_UP_TO_BYTES = 16 * 1024;

/** The body with edits applied, which do not overlap: slices of the original between the new pieces. */
export function splice(body: Buffer, edits: readonly Edit[]): Buffer[] {
  const pieces: Buffer[] = [];
  let from = 0;
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    if (edit.start > from) pieces.push(body.subarray(from, edit.start));
    if (edit.text !== '') pieces.push(Buffer.from(edit.text));
    from = edit.end;
  }
  if (from < body.length) pieces.push(body.subarray(from));
  return body.length <= JOIN_UP_TO_BYTES ? [Buffer.concat(pieces)] : pieces;
}
