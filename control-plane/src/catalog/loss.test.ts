import type { RateCard } from '@meridian/domain/price';
import { describe, expect, it } from 'vitest';
import { lossesAgainst } from './loss.ts';

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

  it('values a tier that only the price has by the percentage of the cost', () => {
    const list = [card({ input: 100n }), card({ input: 120n }, { serviceTier: 'priority' })];
    expect(lossesAgainst(list, [card({ input: 100n })], 0)).toEqual([{ serviceTier: 'priority', aboveInputTokens: 0, meter: 'input' }]);
  });

  it('leaves out what has no list price: it is refused, not sold', () => {
    expect(lossesAgainst([card({ input: 1n })], [card({ input: 1n, audio_in: 9n })], 0)).toEqual([]);
  });
});
