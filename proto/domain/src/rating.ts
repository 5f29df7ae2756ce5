/**
 * Rating: units × price. The same function runs on the node, which charges, and on the control plane, which recomputes.
 * There is one rounding for each amount, half to even, at the end.
 */
import { completedCards } from './complete-cards.ts';
import { KIN } from './kin.ts';
import { divideHalfEven, type Nano } from './money.ts';
import type { NanoPerMillion, RateCard, ServiceTier } from './price.ts';
import { assertUsage, componentOf, inputTokens, type Meter, metersOf, type Usage } from './usage.ts';

/** Multipliers in percent for a service tier that a model has no rate card of its own for. */
export const SERVICE_TIER_PERCENT: Readonly<Record<ServiceTier, bigint>> = { standard: 100n, priority: 150n, flex: 50n, batch: 50n };

const BASIS_POINTS = 10_000n;
const UNITS_PER_PRICE = 1_000_000n;

export interface RatedAmount {
  /** List price × (1 + markup), in nano-USD. */
  readonly amountNano: Nano;
  /** What was used but has no price on the cards: its units are in no amount. */
  readonly unpriced: readonly Meter[];
}

export interface RatingTerms {
  readonly serviceTier: ServiceTier;
  /** 4000 = 40 % on top of the list price; 0 rates a cost. */
  readonly markupBasisPoints: number;
}

/**
 * Rates a usage with the rate cards of one price version, and with what follows from them (`completedCards`).
 *
 * The card is the service tier's own where there is one, else the standard card times the tier's percentage; among
 * those, the one with the highest long-context step that the input exceeds. What was used takes its price from that
 * card; else from the next lower step; else, over the same steps, that of the wider variant or of the component that it is kin to:
 * tokens of a cache or of pictures cost what input costs, reasoning what output costs. An hour's cache write does so only where no cache
 * write has a price: that of five minutes is less than what an hour costs. Where there is no price either, what was used is reported as
 * unpriced, so that nothing is silently free or silently wrong. Throws RangeError when a unit is not an integer ≥ 0.
 */
export function rate(usage: Usage, cards: readonly RateCard[], terms: RatingTerms): RatedAmount {
  assertUsage(usage);
  const ladder = ladderFor(cards, terms.serviceTier);
  const steps = stepsReached(ladder, inputTokens(usage));
  const unpriced: Meter[] = [];
  let total = 0n;
  for (const meter of metersOf(usage)) {
    const units = usage[meter] ?? 0;
    if (units === 0) continue;
    const price = priceOf(meter, steps);
    if (price === undefined) unpriced.push(meter);
    else total += BigInt(units) * price;
  }
  return { amountNano: withMarkup(total, ladder.percent, terms.markupBasisPoints), unpriced };
}

/** The cards of one service tier. */
export interface Ladder {
  /** The highest long-context step first. */
  readonly cards: readonly RateCard[];
  /** What the cards' prices are multiplied by. */
  readonly percent: bigint;
}

/** Cards are immutable and few, requests are many: each ladder is put together once. */
const laddersByCards = new WeakMap<readonly RateCard[], Map<ServiceTier, Ladder>>();

/** A service tier's own cards where there are any, else the standard ones at the tier's percentage. */
export function ladderFor(cards: readonly RateCard[], serviceTier: ServiceTier): Ladder {
  let byTier = laddersByCards.get(cards);
  if (byTier === undefined) {
    byTier = new Map();
    laddersByCards.set(cards, byTier);
  }
  let ladder = byTier.get(serviceTier);
  if (ladder === undefined) {
    ladder = makeLadder(cards, serviceTier);
    byTier.set(serviceTier, ladder);
  }
  return ladder;
}

function makeLadder(cards: readonly RateCard[], serviceTier: ServiceTier): Ladder {
  const complete = completedCards(cards);
  const own = complete.filter((card) => card.serviceTier === serviceTier);
  const ladder = own.length > 0 ? own : complete.filter((card) => card.serviceTier === 'standard');
  return {
    cards: [...ladder].sort((a, b) => b.aboveInputTokens - a.aboveInputTokens),
    percent: own.length > 0 ? 100n : SERVICE_TIER_PERCENT[serviceTier],
  };
}

/** The cards of a ladder that apply to an input of so many tokens, the highest step first. */
export function stepsReached(ladder: Ladder, tokens: number): readonly RateCard[] {
  const [only] = ladder.cards;
  if (ladder.cards.length === 1 && only?.aboveInputTokens === 0) return ladder.cards;
  return ladder.cards.filter((card) => tokens > card.aboveInputTokens || card.aboveInputTokens === 0);
}

/** Σ units × price (nano-USD per million) → nano-USD with a tier's percentage and a markup: the one rounding of an amount. */
export function withMarkup(unitsTimesPrice: bigint, percent: bigint, markupBasisPoints: number): Nano {
  return divideHalfEven(unitsTimesPrice * percent * (BASIS_POINTS + BigInt(markupBasisPoints)), UNITS_PER_PRICE * 100n * BASIS_POINTS);
}

/** The reverse of `withMarkup`: the largest Σ units × price that comes to no more than the amount, before rounding. */
export function beforeMarkup(amountNano: Nano, percent: bigint, markupBasisPoints: number): bigint {
  return (amountNano * UNITS_PER_PRICE * 100n * BASIS_POINTS) / (percent * (BASIS_POINTS + BigInt(markupBasisPoints)));
}

/** The list price in an amount that has a markup on it, rounded half to even. */
export function withoutMarkup(amountNano: Nano, markupBasisPoints: number): Nano {
  return divideHalfEven(amountNano * BASIS_POINTS, BASIS_POINTS + BigInt(markupBasisPoints));
}

/** What a unit costs where these steps apply, by its kin too; undefined when it has no price. */
export function priceOf(meter: Meter, steps: readonly RateCard[]): NanoPerMillion | undefined {
  const component = componentOf(meter);
  // From the variant to its component: `per_image:1024x1024:high`, `per_image:1024x1024`, `per_image`.
  for (let wider: string = meter; wider !== component; wider = wider.slice(0, wider.lastIndexOf(':'))) {
    // What is left before a colon is a meter again.
    const price = ownPriceOf(wider as Meter, steps);
    if (price !== undefined) return price;
  }
  const price = ownPriceOf(component, steps);
  if (price !== undefined) return price;
  if (component === 'cache_write_1h' && ownPriceOf('cache_write_5m', steps) !== undefined) return undefined;
  for (const kin of KIN[component] ?? []) {
    const kinPrice = ownPriceOf(kin, steps);
    if (kinPrice !== undefined) return kinPrice;
  }
  return undefined;
}

function ownPriceOf(meter: Meter, steps: readonly RateCard[]): NanoPerMillion | undefined {
  for (const { prices } of steps) {
    const price = prices[meter];
    if (price !== undefined) return price;
  }
  return undefined;
}

/** The dearest unit of a meter, whichever of its variants it turns out to be; undefined when none has a price. */
export function dearestPriceOf(meter: Meter, steps: readonly RateCard[]): NanoPerMillion | undefined {
  let most = priceOf(meter, steps);
  for (const { prices } of steps) {
    for (const variant of metersOf(prices)) {
      if (!variant.startsWith(`${meter}:`)) continue;
      const price = priceOf(variant, steps);
      if (price !== undefined && (most === undefined || price > most)) most = price;
    }
  }
  return most;
}
