import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DEFAULT_KEY_PREFIX, displayApiKey, formatApiKey, hashApiKey, isWellFormedApiKey, PEPPER_BYTES } from './api-key.ts';

const random = fc.uint8Array({ minLength: 20, maxLength: 20 });
const pepper = new Uint8Array(PEPPER_BYTES).fill(7);

it('is the prefix and 33 base-62 characters, also for the least and the greatest bits', () => {
  fc.assert(
    fc.property(fc.oneof(random, fc.constant(new Uint8Array(20)), fc.constant(new Uint8Array(20).fill(255))), (bytes) => {
      const key = formatApiKey(DEFAULT_KEY_PREFIX, bytes);
      expect(key).toMatch(/^sk-mrd-[0-9A-Za-z]{33}$/);
      expect(isWellFormedApiKey(DEFAULT_KEY_PREFIX, key)).toBe(true);
    }),
  );
});

it('keeps different bits apart', () => {
  fc.assert(
    fc.property(random, random, (a, b) => {
      expect(formatApiKey('p-', a) === formatApiKey('p-', b)).toBe(Buffer.from(a).equals(Buffer.from(b)));
    }),
  );
});

it('shows a mistyped character, a swap of neighbours, and a cut', () => {
  fc.assert(
    fc.property(random, fc.nat(32), fc.nat(61), (bytes, at, replacement) => {
      const key = formatApiKey(DEFAULT_KEY_PREFIX, bytes);
      const index = DEFAULT_KEY_PREFIX.length + at;
      const typed =
        key.slice(0, index) + '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'.charAt(replacement) + key.slice(index + 1);
      expect(isWellFormedApiKey(DEFAULT_KEY_PREFIX, typed)).toBe(typed === key);
      const swapped = key.slice(0, index) + key.charAt(index + 1) + key.charAt(index) + key.slice(index + 2);
      expect(isWellFormedApiKey(DEFAULT_KEY_PREFIX, swapped)).toBe(swapped === key);
      expect(isWellFormedApiKey(DEFAULT_KEY_PREFIX, key.slice(0, -1))).toBe(false);
      expect(isWellFormedApiKey(DEFAULT_KEY_PREFIX, `${key} `)).toBe(false);
    }),
  );
});

it('belongs to its prefix', () => {
  const key = formatApiKey('sk-abc-', new Uint8Array(20).fill(3));
  expect(isWellFormedApiKey('sk-xyz-', key)).toBe(false);
  expect(isWellFormedApiKey('sk-xyz-', `sk-xyz-${key.slice(7)}`)).toBe(false);
});

it('is stored as a version byte and sha256 of pepper and key', () => {
  const key = formatApiKey(DEFAULT_KEY_PREFIX, new Uint8Array(20).fill(9));
  const digest = createHash('sha256').update(pepper).update(key).digest('hex');
  expect(hashApiKey(pepper, key)).toBe(`01${digest}`);
  expect(hashApiKey(new Uint8Array(PEPPER_BYTES).fill(8), key)).not.toBe(`01${digest}`);
});

it('shows no more than the prefix and four characters', () => {
  const key = formatApiKey(DEFAULT_KEY_PREFIX, new Uint8Array(20).fill(200));
  expect(displayApiKey(DEFAULT_KEY_PREFIX, key)).toBe(key.slice(0, 11));
});

it('refuses random bytes and a pepper of another length', () => {
  expect(() => formatApiKey('p-', new Uint8Array(19))).toThrow(RangeError);
  expect(() => hashApiKey(new Uint8Array(31), 'key')).toThrow(RangeError);
});
