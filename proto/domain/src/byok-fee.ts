/** What a request costs that runs on the customer's own provider key: the provider bills the customer, we bill the way. */
import { divideHalfEven, type Nano } from './money.ts';
import { inputTokens, outputTokens, type Usage } from './usage.ts';

/** 0.50 USD per million tokens, input and output alike. */
const BYOK_NANO_PER_MILLION_TOKENS = 500_000_000n;

const TOKENS_PER_PRICE = 1_000_000n;

/** The fee for so many tokens (an integer ≥ 0), cached and reasoning included. No markup is put on it. */
export function byokTokenFee(tokens: number): Nano {
  return divideHalfEven(BigInt(tokens) * BYOK_NANO_PER_MILLION_TOKENS, TOKENS_PER_PRICE);
}

/** The fee for a usage; media (pictures, films, music, voices) cost the plan's fee for each request, whatever they used. */
export function byokFee(usage: Usage, media: { readonly requestFeeNano: Nano } | undefined): Nano {
  return media === undefined ? byokTokenFee(inputTokens(usage) + outputTokens(usage)) : media.requestFeeNano;
}
