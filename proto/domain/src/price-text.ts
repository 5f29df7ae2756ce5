/** Prices as published lists write them: decimal numbers of USD, often with an exponent, for one unit or for a million. */
import { divideHalfEven } from './money.ts';
import type { NanoPerMillion } from './price.ts';

/** How many units a list's number is the price of. */
export type PricedUnits = 1 | 1_000_000;

const NANO_DIGITS = 9;
const MILLION_DIGITS = 6;
const MAX_EXPONENT = 30;
/** A 64-bit number, as prices travel. */
const MAX_PRICE: NanoPerMillion = 2n ** 63n - 1n;
const DECIMAL = /^(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i;

/**
 * Reads `1.25e-06` (USD for each unit) or `1.25` (for a million) as nano-USD per million units, rounded half to even: lists are
 * made with floats, so that the last digits of one may be noise. Undefined for what is no decimal number ≥ 0, or too large.
 */
export function priceFromText(usd: string, units: PricedUnits): NanoPerMillion | undefined {
  const match = DECIMAL.exec(usd);
  if (match === null) return undefined;
  const [, whole = '', fraction = '', exponentText = '0'] = match;
  const exponent = Number(exponentText) - fraction.length + NANO_DIGITS + (units === 1 ? MILLION_DIGITS : 0);
  if (Math.abs(exponent) > MAX_EXPONENT) return undefined;
  const digits = BigInt(whole + fraction);
  const price = exponent >= 0 ? digits * 10n ** BigInt(exponent) : divideHalfEven(digits, 10n ** BigInt(-exponent));
  return price > MAX_PRICE ? undefined : price;
}
