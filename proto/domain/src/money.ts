/**
 * Money is an integer number of nano-USD: 1 USD = 1,000,000,000.
 *
 * Amounts are `bigint`, so that no float ever touches them. The only division in the project that
 * rounds money is `divideHalfEven`.
 */
export type Nano = bigint;

const NANO_PER_USD = 1_000_000_000n;

/** The largest cap or prepaid balance, about 4.5 million USD: sums of caps stay exact in a plain number. */
export const MAX_BALANCE_NANO: Nano = 2n ** 52n;

/** Reads a decimal string in USD ("12.5", "-0.000000001") exactly; throws RangeError on anything else or on more than 9 decimals. */
export function usdToNano(usd: string): Nano {
  const match = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?$/.exec(usd);
  if (match === null) throw new RangeError(`not an amount in USD with at most 9 decimals: ${JSON.stringify(usd)}`);
  const [, sign, whole = '0', fraction = ''] = match;
  const nano = BigInt(whole) * NANO_PER_USD + BigInt(fraction.padEnd(9, '0'));
  return sign === '-' ? -nano : nano;
}

/** Writes an amount as an exact decimal string in USD without trailing zeros, at least two decimals: 1500000000n → "1.50". */
export function nanoToUsd(nano: Nano): string {
  const sign = nano < 0n ? '-' : '';
  const digits = (nano < 0n ? -nano : nano).toString().padStart(10, '0');
  const fraction = digits.slice(-9).replace(/0+$/, '').padEnd(2, '0');
  return `${sign}${digits.slice(0, -9)}.${fraction}`;
}

/** A JSON number literal in USD for `usage.cost_usd`: exact digits, never an exponent, no float on the way. */
export function nanoToUsdNumberLiteral(nano: Nano): string {
  return nanoToUsd(nano).replace(/0+$/, '').replace(/\.$/, '');
}

/** numerator ÷ denominator (> 0), rounded half to even: the project's one rounding of money. */
export function divideHalfEven(numerator: bigint, denominator: bigint): bigint {
  if (denominator <= 0n) throw new RangeError('denominator must be positive');
  let quotient = numerator / denominator;
  let remainder = numerator % denominator;
  if (remainder < 0n) {
    remainder += denominator;
    quotient -= 1n;
  }
  const twice = remainder * 2n;
  if (twice > denominator || (twice === denominator && (quotient & 1n) === 1n)) quotient += 1n;
  return quotient;
}
