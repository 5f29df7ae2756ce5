import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { divideHalfEven } from './money.ts';
import { type RateCard, SERVICE_TIERS } from './price.ts';
import { priceItems } from './price-items.ts';
import { rate } from './rating.ts';

const CARDS: readonly RateCard[] = [
  { serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_250_000_000n, cached_input: 125_000_000n, output: 10_000_000_000n } },
  { serviceTier: 'standard', aboveInputTokens: 200_000, prices: { input: 2_500_000_000n, output: 15_000_000_000n } },
  { serviceTier: 'priority', aboveInputTokens: 0, prices: { input: 3_333_333_333n, output: 7n } },
];

/** A decimal string, counted in its 21st decimal. */
function exact(usd: string): bigint {
  const [whole = '', fraction = ''] = usd.split('.');
  return BigInt(whole + fraction.padEnd(21, '0'));
}

describe('priceItems', () => {
  it('shows the units, list price and exact amount of each component', () => {
    expect(
      priceItems({ input: 3, cached_input: 1, output: 1, reasoning: 0 }, CARDS, { serviceTier: 'flex', markupBasisPoints: 4_000 }),
    ).toEqual({
      items: [
        { meter: 'input', units: 3, listNanoPerMillion: 1_250_000_000n, listUsd: '0.000001875' },
        { meter: 'cached_input', units: 1, listNanoPerMillion: 125_000_000n, listUsd: '0.0000000625' },
        { meter: 'output', units: 1, listNanoPerMillion: 10_000_000_000n, listUsd: '0.000005' },
      ],
      serviceTierPercent: 50,
      listUsd: '0.0000069375',
      unroundedUsd: '0.0000097125',
      // 9,712.5 nano-USD, to the even neighbour.
      amountNano: 9_712n,
    });
  });

  it('takes the prices of the long-context step that was reached, and names what has none', () => {
    const { items } = priceItems({ input: 200_001, per_image: 2 }, CARDS, { serviceTier: 'standard', markupBasisPoints: 0 });
    expect(items).toEqual([
      { meter: 'input', units: 200_001, listNanoPerMillion: 2_500_000_000n, listUsd: '0.5000025' },
      { meter: 'per_image', units: 2, listNanoPerMillion: undefined, listUsd: '0.00' },
    ]);
  });

  it('sums to what the rating says before its one rounding', () => {
    const units = fc.integer({ min: 0, max: 2_000_000 });
    const usage = fc.record({ input: units, cached_input: units, output: units, reasoning: units }, { requiredKeys: [] });
    const terms = fc.record({ serviceTier: fc.constantFrom(...SERVICE_TIERS), markupBasisPoints: fc.integer({ min: 0, max: 10_000 }) });
    fc.assert(
      fc.property(usage, terms, (used, on) => {
        const shown = priceItems(used, CARDS, on);
        const list = shown.items.reduce((sum, item) => sum + exact(item.listUsd), 0n);
        expect(exact(shown.listUsd)).toBe(list);
        expect(exact(shown.unroundedUsd) * 10_000n).toBe(list * (10_000n + BigInt(on.markupBasisPoints)));
        expect(shown.amountNano).toBe(divideHalfEven(exact(shown.unroundedUsd), 10n ** 12n));
        expect(shown.amountNano).toBe(rate(used, CARDS, on).amountNano);
      }),
    );
  });
});
