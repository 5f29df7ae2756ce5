// The usage object of a Responses answer.

import type { TokenCounts } from '../answer.ts';
import type { JsonObject } from '../json-value.ts';

/** The usage object that goes on the wire and into the journal. */
export function usageObject(counts: TokenCounts): JsonObject {
  const { prompt, completion, reasoning, cached, cacheWrite } = counts;
  return {
    input_tokens: prompt,
    input_tokens_details: { cached_tokens: cached, ...(cacheWrite === null ? {} : { cache_write_tokens: cacheWrite }) },
    output_tokens: completion,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: prompt + completion,
  };
}
