/** What this dialect reads of requests and answers, and its limits. */
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
