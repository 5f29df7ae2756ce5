// The log probabilities of generated tokens, as OpenAI's wires tell them.

import type { JsonObject } from './json-value.ts';
import { hash32 } from './seeded.ts';

/** The entry of one token, with `top` alternatives. */
export function logprobEntry(token: string, top: number): JsonObject {
  const logprob = -(hash32(token) % 1000) / 1000;
  const bytes = [...Buffer.from(token)];
  const others = Array.from({ length: top }, (_, i): JsonObject => {
    const other = i === 0 ? token : `${token}${i}`;
    return { token: other, logprob: logprob - i, bytes: [...Buffer.from(other)] };
  });
  return { token, logprob, bytes, top_logprobs: others };
}
