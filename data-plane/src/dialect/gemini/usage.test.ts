import { inputTokens, outputTokens, type Usage } from '@meridian/domain/usage';
import { describe, expect, it } from 'vitest';
import { readAnswerUsage, readUsage, reasoningTokens, servedTier, writeUsage } from './usage.ts';

const list = (modalities: Readonly<Record<string, number>>) =>
  Object.entries(modalities).map(([modality, tokenCount]) => ({ modality, tokenCount }));

describe('usage of Gemini', () => {
  it('has thoughts in the output and what tools gave to read in the input', () => {
    const raw = {
      ...{ promptTokenCount: 11, candidatesTokenCount: 105, thoughtsTokenCount: 131, toolUsePromptTokenCount: 90, totalTokenCount: 337 },
      toolUsePromptTokensDetails: list({ TEXT: 90 }),
    };
    expect(readUsage(raw)).toEqual({ input: 101, output: 236 });
    expect(reasoningTokens(raw)).toBe(131);
  });

  it('keeps modalities apart, cached and fresh', () => {
    const raw = {
      ...{ promptTokenCount: 3_297, cachedContentTokenCount: 2_918, candidatesTokenCount: 55, totalTokenCount: 3_352 },
      promptTokensDetails: list({ TEXT: 83, VIDEO: 2_893, AUDIO: 321 }),
      cacheTokensDetails: list({ AUDIO: 284, TEXT: 73, VIDEO: 2_561 }),
    };
    const usage = readUsage(raw) ?? {};
    expect(usage).toEqual({
      ...{ input: 10, audio_in: 37, 'image_in:video': 332 },
      ...{ cached_input: 73, 'cached_input:audio': 284, 'cached_input:video': 2_561, output: 55 },
    });
    expect([inputTokens(usage), outputTokens(usage)]).toEqual([3_297, 55]);
  });

  it('takes pages for pictures, and what a list leaves out for text', () => {
    const raw = { promptTokenCount: 400, promptTokensDetails: list({ DOCUMENT: 258, IMAGE: 40 }), totalTokenCount: 400 };
    expect(readUsage(raw)).toEqual({ input: 102, image_in: 298 });
    const drawn = {
      promptTokenCount: 10,
      candidatesTokenCount: 1_304,
      candidatesTokensDetails: list({ IMAGE: 1_290 }),
      totalTokenCount: 1_314,
    };
    expect(readUsage(drawn)).toEqual({ input: 10, output: 14, image_out: 1_290 });
    expect(readUsage({ promptTokenCount: 7, promptTokenDetails: list({ AUDIO: 7 }) })).toEqual({ input: 0, audio_in: 7 });
  });

  it('takes what was cached out of the text first where its kind is not told', () => {
    const raw = { promptTokenCount: 100, cachedContentTokenCount: 70, promptTokensDetails: list({ TEXT: 60, AUDIO: 40 }) };
    expect(readUsage(raw)).toEqual({ input: 0, audio_in: 30, cached_input: 70 });
  });

  it('counts as output what the total has beyond its parts, and tells absence from zero', () => {
    expect(readUsage({ promptTokenCount: 10, candidatesTokenCount: 5, totalTokenCount: 40 })).toEqual({ input: 10, output: 30 });
    expect(readUsage({ promptTokenCount: 10, totalTokenCount: 10 })).toEqual({ input: 10 });
    expect(readUsage({})).toBeUndefined();
  });

  it('counts searches: by the query, for the first generations by the answer', () => {
    const answer = (modelVersion: string, ...queries: string[][]) => ({
      modelVersion,
      usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 2 },
      candidates: queries.map((webSearchQueries) => ({ groundingMetadata: { webSearchQueries } })),
    });
    const searches = (...args: Parameters<typeof answer>) => readAnswerUsage(answer(...args))?.['per_tool_call:web_search'];
    expect(searches('gemini-3-flash-preview', ['a', 'b', 'a'])).toBe(2);
    expect(searches('gemini-2.5-flash', ['a', 'b'])).toBe(1);
    expect(searches('gemini-20', ['a', 'b'])).toBe(2);
    expect(searches('gemini-3-pro', [])).toBeUndefined();
    expect(readAnswerUsage({ candidates: [] })).toBeUndefined();
  });

  it.each([
    [{ serviceTier: 'standard' }, 'standard'],
    [{ serviceTier: 'FLEX' }, 'flex'],
    [{ trafficType: 'ON_DEMAND' }, 'standard'],
    [{ trafficType: 'ON_DEMAND_PRIORITY' }, 'priority'],
    [{ trafficType: 'ON_DEMAND_FLEX' }, 'flex'],
    [{ trafficType: 'PROVISIONED_THROUGHPUT' }, 'standard'],
    [{ trafficType: 'constructor' }, undefined],
    [{}, undefined],
  ])('reads the tier of %j', (raw, tier) => {
    expect(servedTier(raw)).toBe(tier);
  });
});

describe('usage that is written', () => {
  it('reads as what it was, whatever is in it', () => {
    const usages: Usage[] = [
      { input: 4, output: 9 },
      { input: 4 },
      { input: 4, cached_input: 6, output: 0 },
      { input: 0, audio_in: 7, image_in: 20, 'image_in:video': 3, output: 5, image_out: 1290 },
      { input: 1, cached_input: 2, 'cached_input:audio': 3, audio_in: 4, 'cached_input:image': 5, image_in: 6, output: 7, audio_out: 8 },
    ];
    for (const usage of usages) {
      const thoughts = Math.min(3, usage.output ?? 0);
      const written = writeUsage(usage, thoughts, 'flex');
      expect(readUsage(written)).toEqual(usage);
      expect(reasoningTokens(written) ?? 0).toBe(thoughts);
      expect(servedTier(written)).toBe('flex');
    }
  });

  it('counts a cache that is written as input, for which there is no other word', () => {
    expect(writeUsage({ input: 1, cache_write_5m: 2, output: 3 }, undefined, undefined)).toMatchObject({
      promptTokenCount: 3,
      totalTokenCount: 6,
    });
  });
});
