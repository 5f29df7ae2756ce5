/**
 * API keys: `<prefix>` + 160 random bits in base 62 (27 characters) + a checksum of 6 base-62 characters.
 *
 * The checksum lets a node refuse a mistyped key without looking it up. Only a keyed hash is ever stored.
 * `node:crypto` is used for its pure functions only.
 */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';

export const DEFAULT_KEY_PREFIX = 'sk-mrd-';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const SECRET_BYTES = 20;
const SECRET_CHARS = 27;
const CHECKSUM_CHARS = 6;

/** Version byte in front of every stored hash, so that the scheme can change under keys in use. */
const KEY_HASH_VERSION = 1;

/** Length of the pepper that keys the hash; with both lengths fixed, a prefix hash is a sound keyed hash here. */
export const PEPPER_BYTES = 32;

/** Writes 20 random bytes as an API key. */
export function formatApiKey(prefix: string, random: Uint8Array): string {
  if (random.length !== SECRET_BYTES) throw new RangeError(`an API key takes ${SECRET_BYTES} random bytes, not ${random.length}`);
  let value = 0n;
  for (const byte of random) value = value * 256n + BigInt(byte);
  const secret = base62(value, SECRET_CHARS);
  return prefix + secret + checksum(prefix, secret);
}

/** Whether the text has the form and the checksum of one of our keys. Says nothing about whether it exists. */
export function isWellFormedApiKey(prefix: string, text: string): boolean {
  if (text.length !== prefix.length + SECRET_CHARS + CHECKSUM_CHARS || !text.startsWith(prefix)) return false;
  const secret = text.slice(prefix.length, prefix.length + SECRET_CHARS);
  return text.slice(prefix.length + SECRET_CHARS) === checksum(prefix, secret);
}

/** The stored form: version byte, then sha256(pepper ‖ key). 33 bytes, as lower-case hex. */
export function hashApiKey(pepper: Uint8Array, key: string): string {
  if (pepper.length !== PEPPER_BYTES) throw new RangeError(`the pepper has ${PEPPER_BYTES} bytes, not ${pepper.length}`);
  return `0${KEY_HASH_VERSION}${hash('sha256', Buffer.concat([pepper, Buffer.from(key, 'utf8')]), 'hex')}`;
}

/** What may be shown of a key after its creation: its prefix and the first four characters of the secret. */
export function displayApiKey(prefix: string, key: string): string {
  return key.slice(0, prefix.length + 4);
}

function checksum(prefix: string, secret: string): string {
  let rest = crc32(prefix + secret);
  let text = '';
  for (let index = 0; index < CHECKSUM_CHARS; index++) {
    text = ALPHABET.charAt(rest % 62) + text;
    rest = Math.floor(rest / 62);
  }
  return text;
}

function base62(value: bigint, chars: number): string {
  let rest = value;
  let text = '';
  for (let index = 0; index < chars; index++) {
    text = ALPHABET.charAt(Number(rest % 62n)) + text;
    rest /= 62n;
  }
  return text;
}
