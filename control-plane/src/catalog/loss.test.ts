import type { RateCard } from '@meridian/domain/price';
import { describe, expect, it } from 'vitest';
import { lossesAgainst, pricesFrom } from './loss.ts';

const card = (prices: RateCard['prices'], more: Partial<RateCard> = {}): RateCard => ({
  serviceTier: 'standard',
  aboveInputTokens: 0,
  prices,
  ...more,
});

describe('lossesAgainst', () => {
  it('finds none where the price with the lowest markup is the cost', () => {
    expect(lossesAgainst([card({ input: 100n })], [card({ input: 110n })], 1_000)).toEqual([]);
  });

  it('names the component that is sold under cost', () => {
    expect(lossesAgainst([card({ input: 100n, output: 500n })], [card({ input: 111n, output: 550n })], 1_000)).toEqual([
      { serviceTier: 'standard', aboveInputTokens: 0, meter: 'input' },
    ]);
  });

  it('sees a long-context step that only the cost has', () => {
    const cost = [card({ input: 100n }), card({ input: 200n }, { aboveInputTokens: 200_000 })];
    expect(lossesAgainst([card({ input: 100n })], cost, 0)).toEqual([
      { serviceTier: 'standard', aboveInputTokens: 200_000, meter: 'input' },
    ]);
  });

  it('sees the step of a tier that either side leaves out', () => {
    const step = { aboveInputTokens: 272_000 } as const;
    const standard = [card({ input: 100n }), card({ input: 200n }, step)];
    const flex = card({ input: 50n }, { serviceTier: 'flex' });
    expect(lossesAgainst([card({ input: 100n }), card({ input: 200n }, step), flex], [...standard, flex], 0)).toEqual([]);
    const told = card({ input: 50n }, { serviceTier: 'flex', ...step });
    expect(lossesAgainst([...standard, flex, told], [...standard, flex], 0)).toEqual([
      { serviceTier: 'flex', aboveInputTokens: 272_000, meter: 'input' },
    ]);
    expect(lossesAgainst([card({ input: 200n }), flex], [...standard, flex], 0)).toEqual([
      { serviceTier: 'flex', aboveInputTokens: 272_000, meter: 'input' },
    ]);
  });

  it('values a tier that only the price has by the percentage of the cost', () => {
    const list = [card({ input: 100n }), card({ input: 120n }, { serviceTier: 'priority' })];
    expect(lossesAgainst(list, [card({ input: 100n })], 0)).toEqual([{ serviceTier: 'priority', aboveInputTokens: 0, meter: 'input' }]);
  });

  it('looks at what only the list price names: a discount that we do not get', () => {
    expect(lossesAgainst([card({ input: 100n, cached_input: 10n })], [card({ input: 50n })], 0)).toEqual([
      { serviceTier: 'standard', aboveInputTokens: 0, meter: 'cached_input' },
    ]);
    expect(lossesAgainst([card({ output: 100n, reasoning: 20n })], [card({ output: 30n })], 0)).toMatchObject([{ meter: 'reasoning' }]);
  });

  it('looks at each variant that either side has', () => {
    const list = [card({ per_image: 50n, 'per_image:512x512': 20n })];
    expect(lossesAgainst(list, [card({ per_image: 20n })], 0)).toEqual([]);
    expect(lossesAgainst(list, [card({ per_image: 30n })], 0)).toMatchObject([{ meter: 'per_image:512x512' }]);
    expect(lossesAgainst(list, [card({ per_image: 20n, 'per_image:1024x1024:high': 60n })], 0)).toMatchObject([
      { meter: 'per_image:1024x1024:high' },
    ]);
    const tools = [card({ 'per_tool_call:web_search': 10n })];
    expect(lossesAgainst(tools, [card({ 'per_tool_call:file_search': 99n })], 0)).toEqual([]);
  });

  it('looks at standard where each side has cards of other tiers only to differ', () => {
    const batch = { serviceTier: 'batch' } as const;
    const list = [card({ input: 100n }), card({ input: 40n }, batch)];
    expect(lossesAgainst(list, [card({ input: 100n })], 0)).toEqual([{ serviceTier: 'batch', aboveInputTokens: 0, meter: 'input' }]);
    expect(lossesAgainst(list, [card({ input: 100n }), card({ input: 40n }, batch)], 0)).toEqual([]);
    expect(lossesAgainst([card({ input: 100n })], [card({ input: 100n }), card({ input: 60n }, batch)], 0)).toMatchObject([batch]);
  });

  it('leaves out what has no list price: it is refused, not sold', () => {
    expect(lossesAgainst([card({ input: 1n })], [card({ input: 1n, audio_in: 9n })], 0)).toEqual([]);
  });

  it('takes a request without a fee of its own to be sold for nothing, wherever anything is sold', () => {
    const fee = [card({ input: 1n, per_request: 9n })];
    const loss = { serviceTier: 'standard', aboveInputTokens: 0, meter: 'per_request' };
    expect(lossesAgainst([card({ input: 1n })], fee, 0)).toEqual([loss]);
    expect(lossesAgainst([card({ input: 1n, per_request: 8n })], fee, 0)).toEqual([loss]);
    expect(lossesAgainst([card({ input: 1n, per_request: 9n })], fee, 0)).toEqual([]);
    expect(lossesAgainst(fee, [card({ input: 1n })], 0)).toEqual([]);
    expect(lossesAgainst([card({ input: 1n }, { serviceTier: 'batch' })], fee, 0)).toEqual([{ ...loss, serviceTier: 'batch' }]);
  });
});

describe('the prices that can still be charged', () => {
  const version = (number: number, effectiveFromMs: number) => ({ modelId: 'm', version: number, effectiveFromMs, cards: [] });
  const from = (versions: ReturnType<typeof version>[], nowMs: number) =>
    pricesFrom({ modelId: 'm', versions }, nowMs).map((price) => price.version);

  it('are the one in force and those announced after it', () => {
    expect(from([version(1, 0), version(2, 100), version(3, 300), version(4, 400)], 200)).toEqual([2, 3, 4]);
    expect(from([version(1, 0), version(2, 500), version(3, 100)], 200)).toEqual([3]);
    expect(from([version(1, 500)], 200)).toEqual([1]);
    expect(from([], 200)).toEqual([]);
  });
});
