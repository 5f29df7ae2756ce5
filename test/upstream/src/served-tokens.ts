// The token counts of a journal line, read from the usage of whichever provider served the call.

import type { JournalLine } from './journal.ts';
import { isObject, type JsonObject, type JsonValue } from './json-value.ts';

/** What a call used; the inputs do not overlap. */
export interface ServedTokens {
  /** Neither read from a cache nor written to one. */
  input: number;
  cached: number;
  /** Written to a cache that is kept for five minutes, or for no time that is told. */
  written5m: number;
  written1h: number;
  /** Reasoning included. */
  output: number;
}

function count(usage: JsonObject, ...path: string[]): number {
  let value: JsonValue | undefined = usage;
  for (const name of path) value = isObject(value) ? value[name] : undefined;
  return typeof value === 'number' ? value : 0;
}

/** The counts of a call; null where it has no usage. */
export function servedTokens(line: Pick<JournalLine, 'provider' | 'usage'>): ServedTokens | null {
  const { usage, provider } = line;
  if (usage === null) return null;
  if (provider === 'anthropic') {
    return {
      input: count(usage, 'input_tokens'),
      cached: count(usage, 'cache_read_input_tokens'),
      written5m: count(usage, 'cache_creation', 'ephemeral_5m_input_tokens'),
      written1h: count(usage, 'cache_creation', 'ephemeral_1h_input_tokens'),
      output: count(usage, 'output_tokens'),
    };
  }
  if (provider === 'gemini') {
    const cached = count(usage, 'cachedContentTokenCount');
    const output = count(usage, 'candidatesTokenCount') + count(usage, 'thoughtsTokenCount');
    return { input: count(usage, 'promptTokenCount') - cached, cached, written5m: 0, written1h: 0, output };
  }
  // Chat completions say prompt and completion where responses say input and output.
  const [prompt, answer] = usage.input_tokens === undefined ? ['prompt', 'completion'] : ['input', 'output'];
  const cached = count(usage, `${prompt}_tokens_details`, 'cached_tokens');
  const written5m = count(usage, `${prompt}_tokens_details`, 'cache_write_tokens');
  return {
    input: count(usage, `${prompt}_tokens`) - cached - written5m,
    cached,
    written5m,
    written1h: 0,
    output: count(usage, `${answer}_tokens`),
  };
}
