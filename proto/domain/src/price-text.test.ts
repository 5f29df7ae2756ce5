import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { priceFromText } from './price-text.ts';

describe('a price in a published list', () => {
  it.each([
    ['1.25e-06', 1, 1_250_000_000n],
    ['0.00000125', 1, 1_250_000_000n],
    ['1.25', 1_000_000, 1_250_000_000n],
    ['5E-8', 1, 50_000_000n],
    ['0', 1, 0n],
    ['0.04', 1, 40_000_000_000_000n],
    // Noise of a float.
    ['2.9999999999999997e-07', 1, 300_000_000n],
    // Half to even, below a nano-dollar a million.
    ['0.0000000005', 1_000_000, 0n],
    ['0.0000000015', 1_000_000, 2n],
  ] as const)('%s for %i is %s', (text, units, nano) => {
    expect(priceFromText(text, units)).toBe(nano);
  });

  it.each(['', '-1', 'free', '1,5', '1e', '.5', 'NaN', 'Infinity', '1e99999', '1e-99999', '99999999999999'])('%j is none', (text) => {
    expect(priceFromText(text, 1)).toBeUndefined();
  });

  it('is read as it was written, whatever form a number is printed in', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 9 }), (nanoPerMillion) => {
        expect(priceFromText(String(nanoPerMillion / 1e9), 1_000_000)).toBe(BigInt(nanoPerMillion));
        expect(priceFromText(String(nanoPerMillion / 1e15), 1)).toBe(BigInt(nanoPerMillion));
      }),
    );
  });
});
