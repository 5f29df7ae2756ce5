// The usage object of a Messages answer: its input counts exclude what was cached.

import type { TokenCounts } from '../answer.ts';
import type { JsonObject } from '../json-value.ts';
import { traitsOf } from './models.ts';

/** The usage of a whole answer, which is also what goes into the journal. */
export function usageObject(model: string, counts: TokenCounts, ttl: '5m' | '1h'): JsonObject {
  const { prompt, completion, reasoning, cached } = counts;
  const written = counts.cacheWrite ?? 0;
  return {
    input_tokens: prompt - cached - written,
    cache_creation_input_tokens: written,
    cache_read_input_tokens: cached,
    cache_creation: {
      ephemeral_5m_input_tokens: ttl === '5m' ? written : 0,
      ephemeral_1h_input_tokens: ttl === '1h' ? written : 0,
    },
    output_tokens: completion,
    ...(traitsOf(model).tellsThinking && reasoning > 0 ? { output_tokens_details: { thinking_tokens: reasoning } } : {}),
    service_tier: counts.servedTier ?? 'standard',
    inference_geo: 'not_available',
  };
}

/** What `message_start` tells: the input, and an output that has only begun. */
export function startUsage(usage: JsonObject): JsonObject {
  const { output_tokens_details: _, ...rest } = usage;
  return { ...rest, output_tokens: Math.min(1, Number(usage.output_tokens)) };
}

/** What `message_delta` tells: newer models repeat the input's counts, older ones tell only the output's. */
export function deltaUsage(model: string, usage: JsonObject): JsonObject {
  const { input_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens, output_tokens_details } = usage;
  if (!traitsOf(model).repeatsInput) return { output_tokens };
  const details = output_tokens_details === undefined ? {} : { output_tokens_details };
  return { input_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens, ...details };
}
