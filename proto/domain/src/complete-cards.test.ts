import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { completedCards } from './complete-cards.ts';
import { type RateCard, SERVICE_TIERS, type ServiceTier } from './price.ts';
import { COMPONENTS, type Meter, metersOf } from './usage.ts';

const card = (prices: RateCard['prices'], serviceTier: ServiceTier = 'standard', aboveInputTokens = 0): RateCard => ({
  serviceTier,
  aboveInputTokens,
  prices,
});
const METERS: readonly Meter[] = [...COMPONENTS, 'cached_input:audio', 'per_image:1024x1024', 'per_image:1024x1024:high'];
const cards = fc
  .array(
    fc.record({
      serviceTier: fc.constantFrom(...SERVICE_TIERS),
      aboveInputTokens: fc.constantFrom(0, 1_000, 2_000),
      prices: fc.dictionary(fc.constantFrom(...METERS), fc.bigInt({ min: 0n, max: 10n ** 11n })),
    }),
    { maxLength: 8 },
  )
  .map((all) => [...new Map(all.map((one) => [`${one.serviceTier} ${one.aboveInputTokens}`, one])).values()]);

function added(all: readonly RateCard[]): RateCard[] {
  return completedCards(all).filter((one) => !all.some((given) => sameSpot(given, one) && same(given, one)));
}

function sameSpot(a: RateCard, b: RateCard): boolean {
  return a.serviceTier === b.serviceTier && a.aboveInputTokens === b.aboveInputTokens;
}

function same(a: RateCard, b: RateCard): boolean {
  return METERS.every((meter) => a.prices[meter] === b.prices[meter]);
}

describe('completed cards', () => {
  it('give a tier of its own prices the standard steps in the ratio of the same meter, rounded up', () => {
    const all = [
      card({ input: 2_500n, cached_input: 250n, output: 15_000n }),
      card({ input: 5_000n, cached_input: 501n, output: 22_500n }, 'standard', 272_000),
      card({ input: 1_250n, cached_input: 130n, output: 7_500n }, 'flex'),
    ];
    expect(added(all)).toEqual([card({ input: 2_500n, cached_input: 261n, output: 11_250n }, 'flex', 272_000)]);
  });

  it('leave what a tier says of its own step, and add what it leaves out', () => {
    const all = [
      card({ input: 100n, output: 100n }),
      card({ input: 200n, output: 150n }, 'standard', 1_000),
      card({ input: 60n, output: 60n }, 'flex'),
      card({ input: 61n }, 'flex', 1_000),
    ];
    expect(added(all)).toEqual([card({ input: 61n, output: 90n }, 'flex', 1_000)]);
  });

  it('never let a step of a tier be cheaper than what the tier has below it', () => {
    const all = [
      card({ input: 100n }),
      card({ input: 50n }, 'standard', 2_000),
      card({ input: 40n }, 'flex'),
      card({ input: 90n }, 'priority'),
      card({ input: 95n }, 'priority', 1_000),
    ];
    expect(added(all)).toEqual([card({ input: 95n }, 'priority', 2_000), card({ input: 40n }, 'flex', 2_000)]);
  });

  it('let an hour of cache follow five minutes, and these the input, on a step that leaves them out', () => {
    const base = card({ input: 3_000n, cached_input: 300n, cache_write_5m: 3_750n, cache_write_1h: 6_000n });
    expect(added([base, card({ input: 6_000n, cache_write_5m: 7_501n }, 'standard', 200_000)])).toEqual([
      card({ input: 6_000n, cache_write_5m: 7_501n, cache_write_1h: 12_002n }, 'standard', 200_000),
    ]);
    expect(added([base, card({ input: 1_500n }, 'batch')])).toEqual([
      card({ input: 1_500n, cache_write_5m: 1_875n, cache_write_1h: 3_000n }, 'batch'),
    ]);
  });

  it('let a dear variant follow the wider one', () => {
    const all = [card({ per_image: 40n, 'per_image:1024x1024': 50n, 'per_image:1024x1024:high': 167n }), card({ per_image: 21n }, 'flex')];
    expect(added(all)).toEqual([card({ per_image: 21n, 'per_image:1024x1024': 27n, 'per_image:1024x1024:high': 91n }, 'flex')]);
  });

  it('add nothing that nothing follows for: a discount, sound, a tier without cards, a meter without a base price', () => {
    const all = [
      card({ input: 100n, cached_input: 10n, audio_in: 500n }),
      card({ input: 200n, output: 7n }, 'standard', 1_000),
      card({ input: 50n }, 'flex'),
      card({ input: 90n }, 'flex', 1_000),
    ];
    expect(added(all)).toEqual([]);
  });

  it('keep every price that is named, are not completed further, and do not depend on the order', () => {
    fc.assert(
      fc.property(cards, (all) => {
        const complete = completedCards(all);
        for (const one of all) {
          const found = complete.find((each) => sameSpot(each, one));
          for (const meter of metersOf(one.prices)) expect(found?.prices[meter]).toBe(one.prices[meter]);
        }
        expect(completedCards(complete)).toEqual(complete);
        expect(completedCards(all.toReversed())).toEqual(complete);
      }),
      { numRuns: 500 },
    );
  });
});
