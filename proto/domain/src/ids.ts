/**
 * Identifiers: a prefix that names the kind, and 128 bits in Crockford's base 32 whose first 48 bits are the
 * time in milliseconds, so that ids made later sort later.
 */
export type IdPrefix =
  | 'acc'
  | 'mem'
  | 'key'
  | 'crd'
  | 'end'
  | 'prv'
  | 'req'
  | 'trf'
  | 'bat'
  | 'spl'
  | 'nod'
  | 'snp'
  | 'cap'
  | 'per'
  | 'inv'
  | 'trl';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** Source of time and randomness for ids, passed in so that tests and simulations repeat. */
export interface IdSource {
  /** Milliseconds since 1970 (UTC). */
  nowMs(): number;
  /** Fresh random bytes. */
  randomBytes(count: number): Uint8Array;
}

/** A new id such as `acc_01KAJ3…` (prefix, underscore, 26 characters). */
export function newId(prefix: IdPrefix, source: IdSource): string {
  return `${prefix}_${encodeTime(source.nowMs())}${encodeRandom(source.randomBytes(10))}`;
}

/** Whether the text is an id of that kind, as `newId` makes them. */
export function isId(prefix: IdPrefix, text: string): boolean {
  return (
    text.length === prefix.length + 27 && text.startsWith(`${prefix}_`) && /^[0-9A-HJKMNP-TV-Z]{26}$/.test(text.slice(prefix.length + 1))
  );
}

/** When an id was made (ms since 1970), by the clock of whoever made it. The text is an id, as `isId` says. */
export function timeOfId(id: string): number {
  const time = id.slice(-26, -16);
  return [...time].reduce((ms, digit) => ms * 32 + ALPHABET.indexOf(digit), 0);
}

/** Of the id before: a busy node makes many in each millisecond. */
let encoded = { timeMs: -1, text: '' };

function encodeTime(timeMs: number): string {
  if (timeMs === encoded.timeMs) return encoded.text;
  let rest = timeMs;
  let text = '';
  for (let index = 0; index < 10; index++) {
    text = ALPHABET.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  encoded = { timeMs, text };
  return text;
}

/** Two characters for each 10 bits. */
const PAIRS: readonly string[] = Array.from({ length: 1024 }, (_, bits) => ALPHABET.charAt(bits >> 5) + ALPHABET.charAt(bits & 31));

/** 80 bits as 16 characters: two groups of 5 bytes, each four pairs. */
function encodeRandom(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < 10; at += 5) {
    const first = bytes[at] ?? 0;
    const second = bytes[at + 1] ?? 0;
    const third = bytes[at + 2] ?? 0;
    const fourth = bytes[at + 3] ?? 0;
    text += PAIRS[(first << 2) | (second >> 6)] ?? '';
    text += PAIRS[((second & 0x3f) << 4) | (third >> 4)] ?? '';
    text += PAIRS[((third & 0x0f) << 6) | (fourth >> 2)] ?? '';
    text += PAIRS[((fourth & 0x03) << 8) | (bytes[at + 4] ?? 0)] ?? '';
  }
  return text;
}
