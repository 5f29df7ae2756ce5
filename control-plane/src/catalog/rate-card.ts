/** Rate cards as they are stored and as operators write them. */
import { usdToNano } from '@meridian/domain/money';
import { type ComponentPrices, type RateCard, SERVICE_TIERS } from '@meridian/domain/price';
import { COMPONENTS, type Component } from '@meridian/domain/usage';
import type { StoredCard } from '../database/tables/catalog.ts';

export const MAX_CARDS = 32;

/** The JSON that goes into the `cards` column; equal cards give equal text, whatever order they were written in. */
export function storeCards(cards: readonly RateCard[]): string {
  const stored = inOrder(cards).map(
    (card): StoredCard => ({
      service_tier: card.serviceTier,
      above_input_tokens: card.aboveInputTokens,
      prices: Object.fromEntries(pricesOf(card).map(([component, nano]) => [component, nano.toString()])),
    }),
  );
  return JSON.stringify(stored);
}

/** Throws on anything that `storeCards` does not write. */
export function readCards(stored: readonly StoredCard[]): RateCard[] {
  return stored.map((card) => {
    const serviceTier = SERVICE_TIERS.find((tier) => tier === card.service_tier);
    if (serviceTier === undefined) throw new Error(`a stored rate card has the unknown service tier ${card.service_tier}`);
    const prices: Partial<Record<Component, bigint>> = {};
    for (const component of COMPONENTS) {
      const digits = card.prices[component];
      if (digits !== undefined) prices[component] = BigInt(digits);
    }
    return { serviceTier, aboveInputTokens: card.above_input_tokens, prices };
  });
}

export function sameCards(a: readonly RateCard[], b: readonly RateCard[]): boolean {
  return storeCards(a) === storeCards(b);
}

/** The components that a card has a price for, in the order of the domain. */
export function pricesOf(card: { readonly prices: ComponentPrices }): [Component, bigint][] {
  return COMPONENTS.flatMap((component) => {
    const nano = card.prices[component];
    return nano === undefined ? [] : [[component, nano] satisfies [Component, bigint]];
  });
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
export function readPrices(usdPerMillion: Readonly<Partial<Record<Component, string>>>): ComponentPrices {
  const prices: Partial<Record<Component, bigint>> = {};
  for (const component of COMPONENTS) {
    const usd = usdPerMillion[component];
    if (usd === undefined) continue;
    const nano = usdToNano(usd);
    if (nano < 0n) throw new RangeError(`${component}: a price is not negative`);
    prices[component] = nano;
  }
  return prices;
}

function inOrder(cards: readonly RateCard[]): RateCard[] {
  return cards.toSorted(
    (a, b) => SERVICE_TIERS.indexOf(a.serviceTier) - SERVICE_TIERS.indexOf(b.serviceTier) || a.aboveInputTokens - b.aboveInputTokens,
  );
}
