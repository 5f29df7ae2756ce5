import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isId, newId, timeOfId } from './ids.ts';

const source = (timeMs: number, bytes: Uint8Array) => ({ nowMs: () => timeMs, randomBytes: () => bytes });
const randomBytes = fc.uint8Array({ minLength: 10, maxLength: 10 });
const timeMs = fc.integer({ min: 0, max: 2 ** 48 - 1 });

/** The 128 bits of an id, read back with an alphabet of our own. */
function bitsOf(id: string): bigint {
  return [...id.slice(id.indexOf('_') + 1)].reduce(
    (bits, char) => bits * 32n + BigInt('0123456789ABCDEFGHJKMNPQRSTVWXYZ'.indexOf(char)),
    0n,
  );
}

it('holds the time and every random bit', () => {
  fc.assert(
    fc.property(timeMs, randomBytes, (time, bytes) => {
      const bits = bitsOf(newId('req', source(time, bytes)));
      expect(bits >> 80n).toBe(BigInt(time));
      expect(bits & ((1n << 80n) - 1n)).toBe(BigInt(`0x${Buffer.from(bytes).toString('hex')}`));
    }),
  );
});

it('gives the time back', () => {
  fc.assert(
    fc.property(timeMs, randomBytes, (time, bytes) => {
      expect(timeOfId(newId('req', source(time, bytes)))).toBe(time);
    }),
  );
});

it('sorts later ids after earlier ones as text', () => {
  fc.assert(
    fc.property(timeMs, timeMs, randomBytes, randomBytes, (a, b, first, second) => {
      fc.pre(a < b);
      expect(newId('trf', source(a, first)) < newId('trf', source(b, second))).toBe(true);
    }),
  );
});

it('knows its own ids by kind', () => {
  fc.assert(
    fc.property(timeMs, randomBytes, (time, bytes) => {
      const id = newId('acc', source(time, bytes));
      expect(isId('acc', id)).toBe(true);
      expect(isId('key', id)).toBe(false);
    }),
  );
});

it.each([
  '',
  'acc_',
  'acc_0000000000000000000000000',
  'acc_000000000000000000000000000',
  'acc_0000000000000000000000000I',
  'acc-00000000000000000000000000',
  'acc_0000000000000000000000000a',
  'xacc_00000000000000000000000000',
])('%j is no id', (text) => {
  expect(isId('acc', text)).toBe(false);
});
