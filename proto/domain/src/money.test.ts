import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { divideHalfEven, MAX_BALANCE_NANO, nanoToUsd, nanoToUsdNumberLiteral, usdToNano } from './money.ts';

const amount = fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n });

/** The nearest integer to n/d by its definition: the distance is least, and of two at the same distance the even one. */
function isHalfEven(numerator: bigint, denominator: bigint, result: bigint): boolean {
  const twiceDistance = 2n * (result * denominator - numerator);
  const absolute = twiceDistance < 0n ? -twiceDistance : twiceDistance;
  return absolute < denominator || (absolute === denominator && result % 2n === 0n);
}

describe('divideHalfEven', () => {
  it('is the nearest integer, the even one when two are as near', () => {
    fc.assert(
      fc.property(amount, fc.bigInt({ min: 1n, max: 10n ** 12n }), (numerator, denominator) => {
        expect(isHalfEven(numerator, denominator, divideHalfEven(numerator, denominator))).toBe(true);
      }),
    );
  });

  it('rounds exact halves to even on both sides of zero', () => {
    fc.assert(
      fc.property(amount, fc.bigInt({ min: 1n, max: 10n ** 9n }), (whole, half) => {
        const result = divideHalfEven((2n * whole + 1n) * half, 2n * half);
        expect(result % 2n).toBe(0n);
        expect([whole, whole + 1n]).toContain(result);
      }),
    );
  });

  it.each([
    [5n, 2n, 2n],
    [7n, 2n, 4n],
    [-5n, 2n, -2n],
    [-7n, 2n, -4n],
    [1n, 3n, 0n],
    [2n, 3n, 1n],
    [-1n, 3n, 0n],
    [-2n, 3n, -1n],
    [0n, 7n, 0n],
  ])('%s ÷ %s = %s', (numerator, denominator, result) => {
    expect(divideHalfEven(numerator, denominator)).toBe(result);
  });

  it('refuses a denominator that is not positive', () => {
    expect(() => divideHalfEven(1n, 0n)).toThrow(RangeError);
    expect(() => divideHalfEven(1n, -2n)).toThrow(RangeError);
  });
});

describe('amounts as text', () => {
  it('come back as they went', () => {
    fc.assert(
      fc.property(amount, (nano) => {
        expect(usdToNano(nanoToUsd(nano))).toBe(nano);
      }),
    );
  });

  it('as a JSON number hold the same digits, without exponent', () => {
    fc.assert(
      fc.property(amount, (nano) => {
        const literal = nanoToUsdNumberLiteral(nano);
        expect(literal).toMatch(/^-?(0|[1-9]\d*)(\.\d*[1-9])?$/);
        expect(usdToNano(literal)).toBe(nano);
        expect(JSON.parse(literal)).toBe(Number(literal));
      }),
    );
  });

  it.each([
    [1_500_000_000n, '1.50', '1.5'],
    [0n, '0.00', '0'],
    [1n, '0.000000001', '0.000000001'],
    [-1n, '-0.000000001', '-0.000000001'],
    [-1_000_000_000n, '-1.00', '-1'],
    [100_000_000_000n, '100.00', '100'],
    [MAX_BALANCE_NANO, '4503599.627370496', '4503599.627370496'],
  ])('%s is written %s and %s', (nano, usd, literal) => {
    expect(nanoToUsd(nano)).toBe(usd);
    expect(nanoToUsdNumberLiteral(nano)).toBe(literal);
  });

  it.each(['', '1.', '.5', '1e3', '+1', ' 1', '1,5', '0x1', '1.0000000001', 'NaN', '١', '1234567890123'])('%j is no amount', (text) => {
    expect(() => usdToNano(text)).toThrow(RangeError);
  });
});
