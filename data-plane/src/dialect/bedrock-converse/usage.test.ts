import { expect, it } from 'vitest';
import { readUsage } from './usage.ts';

it('has what was read from a cache and written to one beside the input, each by how long it is kept', () => {
  const raw = {
    ...{ inputTokens: 3, cacheReadInputTokens: 2_074, cacheWriteInputTokens: 297, outputTokens: 61, totalTokens: 2_435 },
    cacheDetails: [{ inputTokens: 297, ttl: '5m' }],
    serverToolUsage: {},
  };
  expect(readUsage(raw)).toEqual({ input: 3, cached_input: 2_074, cache_write_5m: 297, output: 61 });
  const hour = {
    ...raw,
    cacheDetails: [
      { inputTokens: 200, ttl: '1h' },
      { inputTokens: 97, ttl: '5m' },
    ],
  };
  expect(readUsage(hour)).toMatchObject({ cache_write_5m: 97, cache_write_1h: 200 });
});

it('tells absence from zero', () => {
  expect(readUsage({ inputTokens: 7, outputTokens: 0 })).toEqual({ input: 7, output: 0 });
  expect(readUsage({ serverToolUsage: {} })).toBeUndefined();
});
