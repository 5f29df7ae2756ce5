import { describe, expect, it } from 'vitest';
import { billedUsage, withoutPrice } from './billed-usage.ts';
import type { ComponentPrices, RateCard } from './price.ts';
import { rate } from './rating.ts';

const cards = (prices: ComponentPrices, more: Partial<RateCard> = {}): RateCard[] => [
  { serviceTier: 'standard', aboveInputTokens: 0, prices, ...more },
];
const standard = { serviceTier: 'standard', markupBasisPoints: 0 } as const;

describe('the usage that is billed', () => {
  it('is what was counted where nothing is priced apart', () => {
    const usage = { input: 10, output: 50 };
    expect(billedUsage(usage, 40, cards({ input: 1n, output: 2n }))).toBe(usage);
    expect(billedUsage(usage, undefined, cards({ reasoning: 1n }))).toBe(usage);
  });

  it('has the reasoning apart from the output where it has a price, so that no token is billed twice', () => {
    const all = cards({ output: 8_000_000n, reasoning: 3_000_000n });
    const billed = billedUsage({ output: 50 }, 40, all);
    expect(billed).toEqual({ output: 10, reasoning: 40 });
    expect(rate(billed, all, standard).amountNano).toBe(80n + 120n);
    // A part that is larger than its whole is cut to it.
    expect(billedUsage({ output: 30 }, 40, all)).toEqual({ output: 0, reasoning: 30 });
    expect(billedUsage({ output: 30, reasoning: 5 }, 5, all)).toEqual({ output: 30, reasoning: 5 });
    // Zero is told, and is not absent.
    expect(billedUsage({ output: 30 }, 0, all)).toEqual({ output: 30, reasoning: 0 });
  });

  it('counts the request where it has a price, once', () => {
    const all = cards({ input: 1n, per_request: 5_000_000_000n });
    expect(rate(billedUsage({ input: 0 }, undefined, all), all, standard).amountNano).toBe(5_000n);
    expect(billedUsage({ input: 1, per_request: 2 }, undefined, all)).toEqual({ input: 1, per_request: 2 });
  });
});

describe('what has no price', () => {
  it('is named, in the order in which it was shown', () => {
    expect(withoutPrice(['input', 'audio_in', 'output', 'per_tool_call'], cards({ input: 1n, output: 1n }), 'standard')).toEqual([
      'audio_in',
      'per_tool_call',
    ]);
  });

  it('takes a fallback, a price of zero, a variant and a higher step for what they are', () => {
    expect(withoutPrice(['image_in'], cards({ input: 1n }), 'standard')).toEqual([]);
    expect(withoutPrice(['input'], cards({ input: 0n }), 'standard')).toEqual([]);
    expect(withoutPrice(['per_tool_call'], cards({ 'per_tool_call:web_search': 1n }), 'standard')).toEqual([]);
    expect(withoutPrice(['per_tool_call:file_search'], cards({ 'per_tool_call:web_search': 1n }), 'standard')).toEqual([
      'per_tool_call:file_search',
    ]);
    const step = [...cards({ input: 1n }), ...cards({ audio_in: 1n }, { aboveInputTokens: 100 })];
    expect(withoutPrice(['audio_in'], step, 'standard')).toEqual(['audio_in']);
  });

  it('needs a price in the tier that is asked for and in standard', () => {
    const priority = cards({ input: 2n }, { serviceTier: 'priority' });
    const both = [...cards({ input: 1n, audio_in: 1n }), ...priority];
    expect(withoutPrice(['audio_in'], both, 'standard')).toEqual([]);
    expect(withoutPrice(['audio_in'], both, 'priority')).toEqual(['audio_in']);
    expect(withoutPrice(['audio_in'], both, 'flex')).toEqual([]);
    expect(withoutPrice(['audio_in'], [...cards({ input: 1n }), ...cards({ audio_in: 1n }, { serviceTier: 'flex' })], 'flex')).toEqual([
      'audio_in',
    ]);
  });

  it('lets made pictures be paid for by their tokens or by the piece', () => {
    expect(withoutPrice(['image_out'], cards({ image_out: 1n }), 'standard')).toEqual([]);
    expect(withoutPrice(['image_out'], cards({ 'per_image:1024x1024': 1n }), 'standard')).toEqual([]);
    expect(withoutPrice(['image_out'], cards({ output: 1n }), 'standard')).toEqual(['image_out']);
  });
});
