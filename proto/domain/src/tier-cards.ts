/** The cards of a service tier, worked out from the standard ones: how a model gets a multiplier of its own. */
import { divideHalfEven } from './money.ts';
import type { ComponentPrices, RateCard, ServiceTier } from './price.ts';
import { type Meter, metersOf } from './usage.ts';

/**
 * A card of the tier for each standard one, at a percentage (an integer ≥ 0) of its prices, each rounded half to even to
 * a nano-dollar per million units.
 */
export function tierCards(cards: readonly RateCard[], serviceTier: ServiceTier, percent: number): RateCard[] {
  return cards
    .filter((card) => card.serviceTier === 'standard')
    .map((card) => ({ serviceTier, aboveInputTokens: card.aboveInputTokens, prices: scaled(card.prices, percent) }));
}

function scaled(prices: ComponentPrices, percent: number): ComponentPrices {
  const result: Partial<Record<Meter, bigint>> = {};
  for (const meter of metersOf(prices)) result[meter] = divideHalfEven((prices[meter] ?? 0n) * BigInt(percent), 100n);
  return result;
}
