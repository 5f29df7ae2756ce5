// The usage object of a chat answer, in each provider's form.

import type { TokenCounts } from '../answer.ts';
import type { JsonObject } from '../json-value.ts';
import type { ProviderName } from '../provider.ts';

// OpenRouter's invented prices, in billionths of a dollar a token: whole numbers, so that costs add up exactly.
const PROMPT_NANO = 250;
const COMPLETION_NANO = 2000;

/** A cost in dollars as OpenRouter writes it. */
export function openRouterCost(promptTokens: number, completionTokens: number): number {
  return (promptTokens * PROMPT_NANO + completionTokens * COMPLETION_NANO) / 1e9;
}

/** The usage object that goes on the wire and into the journal. */
export function usageObject(provider: ProviderName, counts: TokenCounts): JsonObject {
  const { prompt, completion, reasoning, cached, cacheWrite, promptAudio } = counts;
  const totals = { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
  if (provider === 'openai') {
    return {
      ...totals,
      prompt_tokens_details: {
        cached_tokens: cached,
        audio_tokens: promptAudio,
        ...(cacheWrite === null ? {} : { cache_write_tokens: cacheWrite }),
      },
      completion_tokens_details: {
        reasoning_tokens: reasoning,
        audio_tokens: 0,
        accepted_prediction_tokens: 0,
        rejected_prediction_tokens: 0,
      },
    };
  }
  return {
    ...totals,
    cost: openRouterCost(prompt, completion),
    is_byok: false,
    prompt_tokens_details: { cached_tokens: cached, cache_write_tokens: cacheWrite ?? 0, audio_tokens: promptAudio, video_tokens: 0 },
    cost_details: {
      upstream_inference_cost: openRouterCost(prompt, completion),
      upstream_inference_prompt_cost: openRouterCost(prompt, 0),
      upstream_inference_completions_cost: openRouterCost(0, completion),
    },
    completion_tokens_details: { reasoning_tokens: reasoning, image_tokens: 0, audio_tokens: 0 },
  };
}
