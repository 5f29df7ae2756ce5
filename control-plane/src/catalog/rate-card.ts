/** Rate cards as they are stored and as operators write them. */
import { usdToNano } from '@meridian/domain/money';
import { type ComponentPrices, type RateCard, SERVICE_TIERS, type ServiceTier } from '@meridian/domain/price';
import { tierCards } from '@meridian/domain/tier-cards';
import { isMeter, type Meter, metersOf } from '@meridian/domain/usage';
import type { StoredCard } from '../database/tables/catalog.ts';

export const MAX_CARDS = 32;

/** The JSON that goes into the `cards` column; equal cards give equal text, whatever order they were written in. */
export function storeCards(cards: readonly RateCard[]): string {
  const stored = inOrder(cards).map(
    (card): StoredCard => ({
      service_tier: card.serviceTier,
      above_input_tokens: card.aboveInputTokens,
      prices: Object.fromEntries(pricesOf(card).map(([meter, nano]) => [meter, nano.toString()])),
    }),
  );
  return JSON.stringify(stored);
}

/** Throws on anything that `storeCards` does not write. */
export function readCards(stored: readonly StoredCard[]): RateCard[] {
  return stored.map((card) => {
    const serviceTier = SERVICE_TIERS.find((tier) => tier === card.service_tier);
    if (serviceTier === undefined) throw new Error(`a stored rate card has the unknown service tier ${card.service_tier}`);
    const prices: Partial<Record<Meter, bigint>> = {};
    for (const [meter, digits] of Object.entries(card.prices)) {
      if (!isMeter(meter)) throw new Error(`a stored rate card prices ${meter}, which is nothing that is counted`);
      prices[meter] = BigInt(digits);
    }
    return { serviceTier, aboveInputTokens: card.above_input_tokens, prices };
  });
}

export function sameCards(a: readonly RateCard[], b: readonly RateCard[]): boolean {
  return storeCards(a) === storeCards(b);
}

/** What a card has a price for, in the order of the domain. */
export function pricesOf(card: { readonly prices: ComponentPrices }): [Meter, bigint][] {
  return metersOf(card.prices).map((meter) => [meter, card.prices[meter] ?? 0n]);
}

/** A service tier's prices, said as a percentage of the standard ones. */
export interface PercentCard {
  readonly serviceTier: ServiceTier;
  readonly percentOfStandard: number;
}

/**
 * The cards that were meant: one that is a percentage becomes a card of its tier for each standard one, so that what is
 * stored, and what a charge names, are prices. Two for one tier show as cards that are there twice.
 */
export function plainCards(written: readonly (RateCard | PercentCard)[]): RateCard[] {
  const cards = written.filter((card): card is RateCard => 'prices' in card);
  return written.flatMap((card) => ('prices' in card ? [card] : tierCards(cards, card.serviceTier, card.percentOfStandard)));
}

/** What is wrong with a set of cards, or undefined. Two cards for one tier and step would leave the price to chance. */
export function problemOfCards(cards: readonly RateCard[]): string | undefined {
  const seen = new Set<string>();
  for (const card of cards) {
    const place = `${card.serviceTier} above ${card.aboveInputTokens} input tokens`;
    if (seen.has(place)) return `there are two cards for ${place}`;
    seen.add(place);
    if (pricesOf(card).length === 0) return `the card for ${place} has no price`;
  }
  for (const tier of SERVICE_TIERS) {
    if (cards.some((card) => card.serviceTier === tier) && !seen.has(`${tier} above 0 input tokens`)) {
      return `the ${tier} cards lack one for any length (above 0 input tokens)`;
    }
  }
  return undefined;
}

/** Reads decimal USD per million units, such as `{"input": "2.50"}`. Throws RangeError on what is not an amount ≥ 0. */
export function readPrices(usdPerMillion: Readonly<Partial<Record<Meter, string>>>): ComponentPrices {
  const prices: Partial<Record<Meter, bigint>> = {};
  for (const meter of metersOf(usdPerMillion)) {
    const nano = usdToNano(usdPerMillion[meter] ?? '');
    if (nano < 0n) throw new RangeError(`${meter}: a price is not negative`);
    prices[meter] = nano;
  }
  return prices;
}

function inOrder(cards: readonly RateCard[]): RateCard[] {
  return cards.toSorted(
    (a, b) => SERVICE_TIERS.indexOf(a.serviceTier) - SERVICE_TIERS.indexOf(b.serviceTier) || a.aboveInputTokens - b.aboveInputTokens,
  );
}
