import { describe, expect, it } from 'vitest';
import { mergeUsage } from '../usage-object.ts';
import { readUsage, reasoningTokens, servedTier } from './usage.ts';

describe('usage of Messages', () => {
  it('has what was read from a cache and written to one beside the input', () => {
    const raw = {
      input_tokens: 4,
      cache_creation_input_tokens: 500,
      cache_read_input_tokens: 14_210,
      cache_creation: { ephemeral_5m_input_tokens: 426, ephemeral_1h_input_tokens: 74 },
      output_tokens: 290,
      output_tokens_details: { thinking_tokens: 15 },
    };
    expect(readUsage(raw)).toEqual({ input: 4, cached_input: 14_210, cache_write_5m: 426, cache_write_1h: 74, output: 290 });
    expect(reasoningTokens(raw)).toBe(15);
  });

  it('takes a write without its kinds, or what they leave of it, for the shorter kind', () => {
    expect(readUsage({ input_tokens: 1, cache_creation_input_tokens: 90 })).toEqual({ input: 1, cache_write_5m: 90 });
    const partly = { input_tokens: 1, cache_creation_input_tokens: 90, cache_creation: { ephemeral_1h_input_tokens: 60 } };
    expect(readUsage(partly)).toEqual({ input: 1, cache_write_5m: 30, cache_write_1h: 60 });
  });

  it('reads a stream: the deltas are totals, and what they leave out stands as it was', () => {
    const start = { input_tokens: 2_600, cache_read_input_tokens: 30, cache_creation: { ephemeral_1h_input_tokens: 7 }, output_tokens: 2 };
    const once = mergeUsage(mergeUsage(undefined, start), { output_tokens: 40 });
    const twice = mergeUsage(once, {
      input_tokens: 10_300,
      output_tokens: 510,
      cache_creation: null,
      server_tool_use: { web_search_requests: 2 },
    });
    expect(readUsage(once)).toEqual({ input: 2_600, cached_input: 30, cache_write_1h: 7, output: 40 });
    expect(readUsage(twice)).toEqual({
      ...{ input: 10_300, cached_input: 30, cache_write_1h: 7, output: 510 },
      'per_tool_call:web_search': 2,
    });
  });

  it('counts turns between the own ones, and those of another model in its name', () => {
    const raw = {
      input_tokens: 220,
      output_tokens: 8,
      iterations: [
        { type: 'compaction', input_tokens: 55_196, output_tokens: 125 },
        { type: 'message', input_tokens: 220, output_tokens: 8 },
        { type: 'advisor_message', model: 'claude-opus-4-8', input_tokens: 2_518, output_tokens: 22, cache_read_input_tokens: 5 },
      ],
    };
    expect(readUsage(raw)).toEqual({
      input: 55_416,
      output: 133,
      'input:claude-opus-4-8': 2_518,
      'cached_input:claude-opus-4-8': 5,
      'output:claude-opus-4-8': 22,
    });
    // A name that no price list can have is no variant.
    expect(readUsage({ input_tokens: 1, iterations: [{ type: 'other', model: 'a b', input_tokens: 2 }] })).toEqual({ input: 3 });
  });

  it('tells absence from zero, and takes nothing for a count that is none', () => {
    expect(readUsage({})).toBeUndefined();
    expect(readUsage(null)).toBeUndefined();
    expect(readUsage({ output_tokens: 0 })).toEqual({ output: 0 });
    expect(readUsage({ input_tokens: 5, output_tokens: -1, cache_read_input_tokens: '9' })).toEqual({ input: 5 });
  });

  it.each([
    ['standard', 'standard'],
    ['priority', 'priority'],
    ['batch', 'batch'],
    ['turbo', undefined],
    [undefined, undefined],
  ])('reads the tier %s', (service_tier, tier) => {
    expect(servedTier({ input_tokens: 1, service_tier })).toBe(tier);
  });
});
