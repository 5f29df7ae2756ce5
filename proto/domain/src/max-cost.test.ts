import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { maxCost } from './max-cost.ts';
import { type ListPrice, type RateCard, SERVICE_TIERS, type ServiceTier } from './price.ts';
import { rate } from './rating.ts';
import { INPUT_COMPONENTS, inputTokens, OUTPUT_COMPONENTS, outputTokens, type Usage } from './usage.ts';

const tokenKinds = [...INPUT_COMPONENTS, ...OUTPUT_COMPONENTS];
const card: fc.Arbitrary<RateCard> = fc.record({
  serviceTier: fc.constantFrom(...SERVICE_TIERS),
  aboveInputTokens: fc.constantFrom(0, 100, 1_000),
  prices: fc.dictionary(fc.constantFrom(...tokenKinds), fc.bigInt({ min: 0n, max: 10n ** 11n })),
});
const listPrice: fc.Arbitrary<ListPrice> = fc.array(card, { minLength: 1, maxLength: 8 }).map((all) => ({
  modelId: 'm',
  version: 1,
  effectiveFromMs: 0,
  cards: [...new Map(all.map((one) => [`${one.serviceTier} ${one.aboveInputTokens}`, one])).values()],
}));
const usage: fc.Arbitrary<Usage> = fc.dictionary(fc.constantFrom(...tokenKinds), fc.nat(2_000));

describe('the most a request can cost', () => {
  it('is never less than the charge of any usage within its bounds, on any planned model, in the tier asked for or standard', () => {
    fc.assert(
      fc.property(
        fc.array(listPrice, { minLength: 1, maxLength: 3 }),
        usage,
        fc.nat(500),
        fc.nat(500),
        fc.constantFrom(...SERVICE_TIERS),
        fc.nat(5_000),
        (prices, used, spareInput, spareOutput, serviceTier, markupBasisPoints) => {
          const most = maxCost(
            { inputTokens: inputTokens(used) + spareInput, outputTokens: outputTokens(used) + spareOutput, serviceTier, prices },
            markupBasisPoints,
          );
          for (const { cards } of prices) {
            for (const answered of new Set<ServiceTier>([serviceTier, 'standard'])) {
              expect(rate(used, cards, { serviceTier: answered, markupBasisPoints }).amountNano).toBeLessThanOrEqual(most);
            }
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('takes a step from the first token above it', () => {
    const step = (aboveInputTokens: number, input: bigint): RateCard => ({ serviceTier: 'standard', aboveInputTokens, prices: { input } });
    const prices: ListPrice[] = [{ modelId: 'm', version: 1, effectiveFromMs: 0, cards: [step(0, 1_000_000n), step(200, 5_000_000n)] }];
    const most = (inputTokens: number) => maxCost({ inputTokens, outputTokens: 0, serviceTier: 'standard', prices }, 0);
    expect([most(200), most(201)]).toEqual([200n, 1_005n]);
  });

  it('is the plain price where there is one card with two prices', () => {
    const prices: ListPrice[] = [
      {
        modelId: 'm',
        version: 1,
        effectiveFromMs: 0,
        cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_000_000n, output: 2_000_000n } }],
      },
    ];
    expect(maxCost({ inputTokens: 1_000, outputTokens: 500, serviceTier: 'standard', prices }, 4_000)).toBe(2_800n);
    expect(maxCost({ inputTokens: 1_000, outputTokens: 500, serviceTier: 'priority', prices }, 0)).toBe(3_000n);
    expect(maxCost({ inputTokens: 1_000, outputTokens: 500, serviceTier: 'flex', prices }, 0)).toBe(2_000n);
  });
});
