import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type RateCard, SERVICE_TIERS, type ServiceTier } from './price.ts';
import { dearestPriceOf, rate, SERVICE_TIER_PERCENT } from './rating.ts';
import { COMPONENTS, type Component, inputTokens, type Meter, type Usage } from './usage.ts';

const VARIANTS: readonly Meter[] = ['cached_input:audio', 'per_image:1024x1024', 'per_image:1024x1024:high', 'per_image:512x512:high'];
/** In the order in which they are reported. */
const METERS: readonly Meter[] = [...COMPONENTS, ...VARIANTS];
const meter = fc.constantFrom(...METERS);
const usage: fc.Arbitrary<Usage> = fc.dictionary(meter, fc.nat(2_000_000));
const price = fc.bigInt({ min: 0n, max: 10n ** 12n });
const card: fc.Arbitrary<RateCard> = fc.record({
  serviceTier: fc.constantFrom(...SERVICE_TIERS),
  aboveInputTokens: fc.constantFrom(0, 200_000, 272_000),
  prices: fc.dictionary(meter, price),
});
const cards = fc
  .array(card, { maxLength: 8 })
  .map((all) => [...new Map(all.map((one) => [`${one.serviceTier} ${one.aboveInputTokens}`, one])).values()]);
const terms = fc.record({ serviceTier: fc.constantFrom(...SERVICE_TIERS), markupBasisPoints: fc.nat(10_000) });

const standard = { serviceTier: 'standard', markupBasisPoints: 0 } as const;
const base = (prices: RateCard['prices'], change: Partial<RateCard> = {}): RateCard => ({
  serviceTier: 'standard',
  aboveInputTokens: 0,
  prices,
  ...change,
});

const PLAIN_KIN: Partial<Record<Meter, Meter[]>> = {
  cached_input: ['input'],
  cache_write_5m: ['input'],
  cache_write_1h: ['cache_write_5m', 'input'],
  image_in: ['input'],
  reasoning: ['output'],
  'cached_input:audio': ['cached_input', 'input'],
  'per_image:1024x1024': ['per_image'],
  'per_image:1024x1024:high': ['per_image:1024x1024', 'per_image'],
  'per_image:512x512:high': ['per_image'],
};

/** What a meter costs on the card of a tier and step: named there, or following from what is named elsewhere; undefined where neither. */
function plainly(all: readonly RateCard[], tier: ServiceTier, step: number, wanted: Meter): bigint | undefined {
  const price = (at: ServiceTier, above: number, what: Meter) => plainly(all, at, above, what);
  const named = all.find((one) => one.serviceTier === tier && one.aboveInputTokens === step)?.prices[wanted];
  if (named !== undefined) return named;
  const scaled = (theirs: bigint, own: bigint, base: bigint) => {
    const exact = base === 0n ? theirs : (theirs * own) / base;
    const up = base === 0n || exact * base === theirs * own ? exact : exact + 1n;
    const lower = [0, 200_000].filter((below) => below < step).map((below) => price(tier, below, wanted));
    return [up, lower.findLast((each) => each !== undefined) ?? 0n].reduce((a, b) => (a > b ? a : b));
  };
  if (tier !== 'standard' && step > 0) {
    const [theirs, own, base] = [price('standard', step, wanted), price(tier, 0, wanted), price('standard', 0, wanted)];
    if (theirs !== undefined && own !== undefined && base !== undefined) return scaled(theirs, own, base);
  }
  if (tier === 'standard' && step === 0) return undefined;
  // A tier's base card is held against the standard one, a step against the base card of its tier.
  const reference = (what: Meter) => price(step > 0 ? tier : 'standard', 0, what);
  const [theirs, kin] = [
    reference(wanted),
    PLAIN_KIN[wanted]?.find((each) => price(tier, step, each) !== undefined && reference(each) !== undefined),
  ];
  if (theirs === undefined || kin === undefined) return undefined;
  const [own, base] = [price(tier, step, kin), reference(kin)];
  return own === undefined || base === undefined || theirs < base ? undefined : scaled(theirs, own, base);
}

/** The rule of money.md in the plainest words, as an exact fraction; slow and on its own. */
function exactly(
  used: Usage,
  all: readonly RateCard[],
  tier: ServiceTier,
  markup: number,
): { numerator: bigint; denominator: bigint; unpriced: Meter[] } {
  const hasOwn = all.some((one) => one.serviceTier === tier);
  const charged = hasOwn ? tier : 'standard';
  const reached = [0, 200_000, 272_000].filter((step) => step === 0 || inputTokens(used) > step);
  const find = (wanted: Meter) =>
    reached
      .toReversed()
      .map((step) => plainly(all, charged, step, wanted))
      .find((each) => each !== undefined);
  let numerator = 0n;
  const unpriced: Meter[] = [];
  for (const one of METERS) {
    const units = used[one] ?? 0;
    if (units === 0) continue;
    const cheaper = one === 'cache_write_1h' && find('cache_write_5m') !== undefined;
    const found = [one, ...(cheaper ? [] : (PLAIN_KIN[one] ?? []))].map(find).find((each) => each !== undefined);
    if (found === undefined) unpriced.push(one);
    else numerator += BigInt(units) * found;
  }
  const percent = hasOwn ? 100n : SERVICE_TIER_PERCENT[tier];
  return { numerator: numerator * percent * (10_000n + BigInt(markup)), denominator: 1_000_000n * 100n * 10_000n, unpriced };
}

describe('rating', () => {
  it('is units × price × tier × markup, rounded once, to the nearest nano-dollar', () => {
    fc.assert(
      fc.property(usage, cards, terms, (used, all, { serviceTier, markupBasisPoints }) => {
        const { numerator, denominator, unpriced } = exactly(used, all, serviceTier, markupBasisPoints);
        const rated = rate(used, all, { serviceTier, markupBasisPoints });
        expect(rated.unpriced).toEqual(unpriced);
        const twiceDistance = 2n * (rated.amountNano * denominator - numerator);
        expect(twiceDistance <= denominator && -twiceDistance <= denominator).toBe(true);
        if (twiceDistance === denominator || -twiceDistance === denominator) expect(rated.amountNano % 2n).toBe(0n);
      }),
      { numRuns: 500 },
    );
  });

  it('does not depend on the order of the cards and does not change them', () => {
    fc.assert(
      fc.property(usage, cards, terms, (used, all, asked) => {
        const before = JSON.stringify(all.map(({ serviceTier, aboveInputTokens }) => [serviceTier, aboveInputTokens]));
        expect(rate(used, all, asked)).toEqual(rate(used, [...all].reverse(), asked));
        expect(JSON.stringify(all.map(({ serviceTier, aboveInputTokens }) => [serviceTier, aboveInputTokens]))).toBe(before);
      }),
    );
  });

  it('charges a small request to the nano-dollar: 3 tokens at $0.0125 per million, 40 % on top', () => {
    expect(rate({ input: 3 }, [base({ input: 12_500_000n })], { serviceTier: 'standard', markupBasisPoints: 4_000 }).amountNano).toBe(52n); // 52.5 → even
  });

  it('takes a long-context step for the whole request, from the first token above it', () => {
    const all = [
      base({ input: 1_000_000n, output: 5_000_000n }),
      base({ input: 2_000_000n, output: 7_000_000n }, { aboveInputTokens: 200_000 }),
    ];
    expect(rate({ input: 200_000, output: 1 }, all, standard).amountNano).toBe(200_005n);
    expect(rate({ input: 150_000, cached_input: 50_001, output: 1 }, all, standard).amountNano).toBe(400_009n);
  });

  it('takes the price of a lower step for a component that the step does not name', () => {
    const all = [base({ input: 1_000_000n, audio_in: 9_000_000n }), base({ input: 2_000_000n }, { aboveInputTokens: 100 })];
    expect(rate({ input: 100, audio_in: 1 }, all, standard).amountNano).toBe(209n);
  });

  it("takes a tier's own card where there is one, else the percentage", () => {
    const all = [base({ output: 10_000_000n }), base({ output: 25_000_000n }, { serviceTier: 'priority' })];
    const of = (serviceTier: ServiceTier) => rate({ output: 100 }, all, { serviceTier, markupBasisPoints: 0 }).amountNano;
    expect({ standard: of('standard'), priority: of('priority'), flex: of('flex'), batch: of('batch') }).toEqual({
      standard: 1_000n,
      priority: 2_500n,
      flex: 500n,
      batch: 500n,
    });
  });

  it('charges cache tokens as input and reasoning as output where they have no price', () => {
    const all = [base({ input: 2_000_000n, output: 8_000_000n })];
    expect(rate({ cached_input: 1, cache_write_5m: 10, cache_write_1h: 100, reasoning: 1_000 }, all, standard)).toEqual({
      amountNano: 222n + 8_000n,
      unpriced: [],
    });
  });

  it('charges pictures in a prompt as input where they have no price', () => {
    expect(rate({ image_in: 10 }, [base({ input: 2_000_000n })], standard)).toEqual({ amountNano: 20n, unpriced: [] });
    expect(rate({ image_in: 10 }, [base({ input: 2_000_000n, image_in: 5_000_000n })], standard).amountNano).toBe(50n);
    expect(rate({ image_in: 10 }, [base({ output: 2_000_000n })], standard).unpriced).toEqual(['image_in']);
  });

  it('charges each size and quality at its own price, and any other at that of the wider variant', () => {
    const all = [
      base({ per_image: 40_000_000_000n, 'per_image:1024x1024': 50_000_000_000n, 'per_image:1024x1024:high': 167_000_000_000n }),
    ];
    const of = (used: Usage) => rate(used, all, standard).amountNano;
    expect(of({ 'per_image:1024x1024:high': 3 })).toBe(501_000n);
    expect(of({ 'per_image:1024x1024:low': 3 })).toBe(150_000n);
    expect(of({ 'per_image:1536x1024:high': 3 })).toBe(120_000n);
    expect(of({ per_image: 1, 'per_image:1024x1024:high': 1 })).toBe(207_000n);
  });

  it('has no price for a component of which only variants are priced, nor for one that only begins alike', () => {
    const all = [base({ 'per_second:720p': 1_000_000n, 'per_tool_call:web': 1_000_000n })];
    expect(rate({ per_second: 1, 'per_second:7': 1, 'per_second:720p': 2, 'per_tool_call:web_search': 1 }, all, standard)).toEqual({
      amountNano: 2n,
      unpriced: ['per_second', 'per_second:7', 'per_tool_call:web_search'],
    });
  });

  it('knows the dearest variant that a piece can turn out to be', () => {
    const steps = [base({ per_image: 5n, 'per_image:1024x1024:high': 9n, 'per_image:512x512': 7n, per_second: 99n })];
    expect(dearestPriceOf('per_image', steps)).toBe(9n);
    expect(dearestPriceOf('per_image:512x512', steps)).toBe(7n);
    expect(dearestPriceOf('per_image:256x256', steps)).toBe(5n);
    expect(dearestPriceOf('per_request', steps)).toBeUndefined();
  });

  it('has no price for an hour of cache where only five minutes have one', () => {
    const all = [base({ input: 2_000_000n, cache_write_5m: 3_000_000n })];
    expect(rate({ input: 1, cache_write_1h: 1 }, all, standard)).toEqual({ amountNano: 2n, unpriced: ['cache_write_1h'] });
    expect(
      rate({ cache_write_1h: 1 }, [...all, base({ input: 1n }, { serviceTier: 'flex' })], { ...standard, serviceTier: 'flex' }),
    ).toEqual({ amountNano: 0n, unpriced: ['cache_write_1h'] });
    expect(rate({ cache_write_1h: 1 }, [base({ input: 2_000_000n, cache_write_1h: 4_000_000n })], standard).amountNano).toBe(4n);
  });

  it('charges the long-context step in every tier, whatever prices of its own the tier has', () => {
    const all = [
      base({ input: 5_000_000_000n, cached_input: 500_000_000n, output: 30_000_000_000n }),
      base({ input: 10_000_000_000n, cached_input: 1_000_000_000n, output: 45_000_000_000n }, { aboveInputTokens: 272_000 }),
      base({ input: 2_500_000_000n, cached_input: 250_000_000n, output: 15_000_000_000n }, { serviceTier: 'flex' }),
    ];
    const of = (serviceTier: ServiceTier, input: number) =>
      rate({ input, output: 1_000 }, all, { serviceTier, markupBasisPoints: 4_000 }).amountNano;
    expect(of('standard', 359_256)).toBe(5_092_584_000n);
    for (const tier of ['flex', 'batch'] as const) expect(of(tier, 359_256)).toBe(2_546_292_000n);
    expect(of('flex', 272_000)).toBe(973_000_000n);
  });

  it('never takes a price of zero for an absent one', () => {
    expect(
      rate({ cached_input: 5, reasoning: 5 }, [base({ input: 1_000_000n, output: 1_000_000n, cached_input: 0n, reasoning: 0n })], standard),
    ).toEqual({ amountNano: 0n, unpriced: [] });
  });

  it.each(['input', 'output', 'audio_in', 'audio_out', 'image_out', 'per_image', 'per_second', 'per_request', 'per_tool_call'] as const)(
    'reports %s without a price',
    (one) => {
      const { [one]: _, ...prices } = Object.fromEntries(COMPONENTS.map((each) => [each, 1_000_000n])) as Record<Component, bigint>; // every component is a key
      expect(rate({ [one]: 3 }, [base(prices)], standard)).toEqual({ amountNano: 0n, unpriced: [one] });
      expect(rate({ [one]: 0 }, [base(prices)], standard).unpriced).toEqual([]);
    },
  );

  it('reports everything where there is no card at all', () => {
    expect(rate({ input: 1, cached_input: 1 }, [], standard)).toEqual({ amountNano: 0n, unpriced: ['input', 'cached_input'] });
  });

  it.each([-1, 0.5, Number.NaN, 2 ** 53])('refuses %s units', (units) => {
    expect(() => rate({ input: units }, [base({ input: 1n })], standard)).toThrow(RangeError);
  });
});
