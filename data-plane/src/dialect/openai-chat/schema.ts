/** What this dialect reads of requests and answers, and its limits. */
import type { ServiceTier } from '@meridian/domain/price';
import { invalid } from '../json.ts';

export const MAX_CHOICES = 128;
export const MAX_EMBEDDING_INPUTS = 100;
export const MAX_EMBEDDING_INPUT_CHARACTERS = 100_000;

/** Names at the top of a chat request that are read or written; every other one is carried through untouched. */
export const CHAT_KEYS: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'stream',
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
  'n',
  'service_tier',
  'tools',
  'functions',
  'response_format',
  'reasoning_effort',
  'modalities',
  'prediction',
  'cache_control',
  'web_search_options',
  'search_parameters',
  'plugins',
  'enable_search',
  'prompt',
  'previous_response_id',
  'conversation',
  'cached_content',
  'extra_body',
]);

/** Parameters by which the model is given input that is not in the body: what the provider searches for, or has stored. */
export const INPUT_FROM_ELSEWHERE: readonly string[] = [
  'web_search_options',
  'search_parameters',
  'plugins',
  'enable_search',
  'prompt',
  'previous_response_id',
  'conversation',
  'cached_content',
];

/** One of those parameters that is absent, null, `false` or an empty list. */
export function asksForNothing(value: unknown): boolean {
  return value === undefined || value === null || value === false || (Array.isArray(value) && value.length === 0);
}

export const EMBEDDINGS_KEYS: ReadonlySet<string> = new Set(['model', 'input', 'encoding_format', 'dimensions', 'user']);

export function requestedTier(value: unknown): ServiceTier {
  switch (value) {
    case undefined:
    case null:
    case 'auto':
    case 'default':
      return 'standard';
    case 'priority':
    case 'fast':
      return 'priority';
    case 'flex':
      return 'flex';
    default:
      throw invalid("The parameter 'service_tier' must be one of auto, default, flex, priority, fast.", 'service_tier');
  }
}

/** The tier an answer names; undefined when it names none that is known. */
export function servedTier(value: unknown): ServiceTier | undefined {
  switch (value) {
    case 'default':
    case 'standard':
    case 'auto':
    case 'on_demand':
      return 'standard';
    case 'priority':
    case 'fast':
      return 'priority';
    case 'flex':
      return 'flex';
    case 'batch':
      return 'batch';
    default:
      return undefined;
  }
}

export function writeTier(tier: ServiceTier): string {
  return tier === 'standard' ? 'default' : tier;
}
