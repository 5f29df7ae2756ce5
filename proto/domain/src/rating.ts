/**
 * Rating: units × price. The same function runs on the node, which charges, and on the control plane, which recomputes.
 * There is one rounding for each amount, half to even, at the end.
 */
import { divideHalfEven, type Nano } from './money.ts';
import type { ComponentPrices, RateCard, ServiceTier } from './price.ts';
import { COMPONENTS, type Component, inputTokens, type Usage } from './usage.ts';

/** Multipliers in percent for a service tier that a model has no rate card of its own for. */
export const SERVICE_TIER_PERCENT: Readonly<Record<ServiceTier, bigint>> = { standard: 100n, priority: 150n, flex: 50n, batch: 50n };

const BASIS_POINTS = 10_000n;
const UNITS_PER_PRICE = 1_000_000n;

export interface RatedAmount {
  /** List price × (1 + markup), in nano-USD. */
  readonly amountNano: Nano;
  /** Components that were used but have no price on the card: their units are in no amount. */
  readonly unpriced: readonly Component[];
}

export interface RatingTerms {
  readonly serviceTier: ServiceTier;
  /** 4000 = 40 % on top of the list price; 0 rates a cost. */
  readonly markupBasisPoints: number;
}

/**
 * Rates a usage with the rate cards of one price version.
 *
 * The card is the service tier's own where there is one, else the standard card times the tier's percentage; among
 * those, the one with the highest long-context step that the input exceeds. A used component without a price on that
 * card takes the price of the tier's base card; where that has none either, it is reported as unpriced.
 */
export function rate(usage: Usage, cards: readonly RateCard[], terms: RatingTerms): RatedAmount {
  const tokens = inputTokens(usage);
  const own = cards.filter((card) => card.serviceTier === terms.serviceTier);
  const ladder = own.length > 0 ? own : cards.filter((card) => card.serviceTier === 'standard');
  const percent = own.length > 0 ? 100n : SERVICE_TIER_PERCENT[terms.serviceTier];
  const steps = ladder
    .filter((card) => tokens > card.aboveInputTokens || card.aboveInputTokens === 0)
    .sort((a, b) => b.aboveInputTokens - a.aboveInputTokens);
  const unpriced: Component[] = [];
  let total = 0n;
  for (const component of COMPONENTS) {
    const units = usage[component];
    if (units === undefined || units === 0) continue;
    const price = priceOf(component, steps);
    if (price === undefined) unpriced.push(component);
    else total += BigInt(units) * price;
  }
  const numerator = total * percent * (BASIS_POINTS + BigInt(terms.markupBasisPoints));
  return { amountNano: divideHalfEven(numerator, UNITS_PER_PRICE * 100n * BASIS_POINTS), unpriced };
}

function priceOf(component: Component, steps: readonly { readonly prices: ComponentPrices }[]): bigint | undefined {
  for (const card of steps) {
    const price = card.prices[component];
    if (price !== undefined) return price;
  }
  return undefined;
}
