import fc from 'fast-check';
import { expect, it } from 'vitest';
import { openSecret, SEALING_KEY_BYTES, sealSecret } from './sealed-secret.ts';

const key = new Uint8Array(SEALING_KEY_BYTES).fill(1);
const nonce = new Uint8Array(12).fill(2);

it('opens to what was sealed', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.string(), fc.uint8Array({ minLength: 12, maxLength: 12 }), (secret, context, fresh) => {
      expect(openSecret(key, context, sealSecret(key, context, secret, fresh))).toBe(secret);
    }),
  );
});

it('does not open when any bit differs', () => {
  const sealed = sealSecret(key, 'crd_1', 'sk-secret', nonce);
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const changed = Uint8Array.from(sealed);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(() => openSecret(key, 'crd_1', changed)).toThrow();
  }
});

it('does not open with another key, for another credential, or cut short', () => {
  const sealed = sealSecret(key, 'crd_1', 'sk-secret', nonce);
  expect(() => openSecret(new Uint8Array(SEALING_KEY_BYTES).fill(9), 'crd_1', sealed)).toThrow();
  expect(() => openSecret(key, 'crd_2', sealed)).toThrow();
  for (let length = 0; length < sealed.length; length++) expect(() => openSecret(key, 'crd_1', sealed.subarray(0, length))).toThrow();
});

it('does not contain the secret, and refuses a nonce of another length', () => {
  expect(Buffer.from(sealSecret(key, 'crd_1', 'sk-secret', nonce)).includes('sk-secret')).toBe(false);
  expect(() => sealSecret(key, 'crd_1', 'sk-secret', nonce.subarray(1))).toThrow(RangeError);
});
