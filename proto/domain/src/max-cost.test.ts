import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ENDLESS_TOKENS, maxCost, outputTokensFor, outputTokensWithin } from './max-cost.ts';
import { type ListPrice, type RateCard, SERVICE_TIERS, type ServiceTier } from './price.ts';
import { rate } from './rating.ts';
import { COMPONENTS, INPUT_COMPONENTS, inputTokens, type Meter, OUTPUT_COMPONENTS, outputTokens, type Usage, unitsOf } from './usage.ts';

const tokenKinds: readonly Meter[] = [...INPUT_COMPONENTS, ...OUTPUT_COMPONENTS, 'cached_input:audio', 'image_out:high'];
const pieceKinds: readonly Meter[] = ['per_image', 'per_image:1024x1024', 'per_image:1024x1024:high', 'per_second:720p', 'per_tool_call'];
const card: fc.Arbitrary<RateCard> = fc.record({
  serviceTier: fc.constantFrom(...SERVICE_TIERS),
  aboveInputTokens: fc.constantFrom(0, 100, 1_000),
  prices: fc.dictionary(fc.constantFrom(...tokenKinds, ...pieceKinds, 'per_request'), fc.bigInt({ min: 0n, max: 10n ** 11n })),
});
const listPrice: fc.Arbitrary<ListPrice> = fc.array(card, { minLength: 1, maxLength: 8 }).map((all) => ({
  modelId: 'm',
  version: 1,
  effectiveFromMs: 0,
  cards: [...new Map(all.map((one) => [`${one.serviceTier} ${one.aboveInputTokens}`, one])).values()],
}));
const usage: fc.Arbitrary<Usage> = fc.dictionary(fc.constantFrom(...tokenKinds), fc.nat(2_000));
const pieces: fc.Arbitrary<Usage> = fc.dictionary(fc.constantFrom(...pieceKinds), fc.nat(20));

describe('the most a request can cost', () => {
  it('is never less than the charge of any usage within its bounds, on any planned model, in the tier asked for or standard', () => {
    fc.assert(
      fc.property(
        fc.array(listPrice, { minLength: 1, maxLength: 3 }),
        usage,
        pieces,
        fc.boolean(),
        fc.nat(500),
        fc.nat(500),
        fc.constantFrom(...SERVICE_TIERS),
        fc.nat(5_000),
        (prices, tokens, counted, known, spareInput, spareOutput, serviceTier, markupBasisPoints) => {
          const used = { ...tokens, ...counted, per_request: 1 };
          const demand = {
            ...{ inputTokens: inputTokens(used) + spareInput, outputTokens: outputTokens(used) + spareOutput, serviceTier, prices },
            // Which variant it will be may be known beforehand, or only how many.
            pieces: known
              ? counted
              : Object.fromEntries(COMPONENTS.filter((one) => one.startsWith('per_')).map((one) => [one, unitsOf(counted, one)])),
          };
          const most = maxCost(demand, markupBasisPoints);
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

describe('the output that an amount buys', () => {
  const terms = fc.record({
    prices: fc.array(listPrice, { minLength: 1, maxLength: 3 }),
    inputTokens: fc.nat(2_000),
    serviceTier: fc.constantFrom(...SERVICE_TIERS),
    pieces,
  });

  it('costs no more than the amount with the input, and one token more would cost as much or more', () => {
    fc.assert(
      fc.property(terms, fc.nat(5_000), fc.bigInt({ min: 0n, max: 10n ** 12n }), (demand, markupBasisPoints, amountNano) => {
        const outputTokens = outputTokensWithin(demand, markupBasisPoints, amountNano);
        if (maxCost({ ...demand, outputTokens: 0 }, markupBasisPoints) > amountNano) {
          expect(outputTokens).toBe(0);
          return;
        }
        expect(maxCost({ ...demand, outputTokens }, markupBasisPoints)).toBeLessThanOrEqual(amountNano);
        if (outputTokens === ENDLESS_TOKENS) return;
        expect(maxCost({ ...demand, outputTokens: outputTokens + 1 }, markupBasisPoints)).toBeGreaterThanOrEqual(amountNano);
      }),
      { numRuns: 2_000 },
    );
  });

  it('leaves the price of the input aside where only the output is asked about, not the step that it reaches', () => {
    const cards = [0, 100].map((aboveInputTokens) => ({
      serviceTier: 'standard' as const,
      aboveInputTokens,
      prices: { input: 5_000_000n, output: aboveInputTokens === 0 ? 1_000_000n : 4_000_000n },
    }));
    const demand = (inputTokens: number) =>
      ({ inputTokens, serviceTier: 'standard', prices: [{ modelId: 'm', version: 1, effectiveFromMs: 0, cards }] }) as const;
    expect([100, 101].map((tokens) => outputTokensFor(demand(tokens), 0, 1_000n))).toEqual([1_000, 250]);
    expect([100, 101].map((tokens) => outputTokensWithin(demand(tokens), 0, 1_000n))).toEqual([500, 123]);
  });

  it('is endless where output has no price', () => {
    const prices: ListPrice[] = [{ modelId: 'm', version: 1, effectiveFromMs: 0, cards: [] }];
    expect(outputTokensFor({ inputTokens: 9, serviceTier: 'standard', prices }, 4_000, 0n)).toBe(ENDLESS_TOKENS);
  });
});
