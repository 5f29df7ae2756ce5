/** The rules of list prices: how they are published, and when one lies under a cost. */
import type { RateCard, ServiceTier } from '@meridian/domain/price';
import { rate } from '@meridian/domain/rating';
import type { ConfigEntry, PriceBook } from '@meridian/domain/snapshot';
import type { Component } from '@meridian/domain/usage';
import { pricesOf } from '../catalog/rate-card.ts';

/** Versions that a book carries to the nodes: those in force and announced, and a few before them for requests in flight. */
export const MAX_BOOK_VERSIONS = 16;

/** The book's version is that of its newest price: each publication makes one. */
export function priceBookEntry(book: PriceBook): ConfigEntry | undefined {
  const newest = book.versions.at(-1);
  if (newest === undefined) return undefined;
  return {
    kind: 'price_book',
    id: book.modelId,
    version: newest.version,
    body: { kind: 'price_book', value: { modelId: book.modelId, versions: book.versions.slice(-MAX_BOOK_VERSIONS) } },
  };
}

/** A component that would be sold under what it costs. */
export interface Loss {
  readonly serviceTier: ServiceTier;
  readonly aboveInputTokens: number;
  readonly component: Component;
}

/**
 * Where customers at the lowest markup would pay less than the endpoint costs. Each component is rated alone, a million units of
 * it, in each tier and at each long-context step that either side has. A component without a list price is no loss: it is refused.
 */
export function lossesAgainst(list: readonly RateCard[], cost: readonly RateCard[], lowestMarkupBasisPoints: number): Loss[] {
  const losses: Loss[] = [];
  const tiers = new Set([...list, ...cost].map((card) => card.serviceTier));
  const steps = new Set([...list, ...cost].map((card) => card.aboveInputTokens));
  const components = new Set(cost.flatMap((card) => pricesOf(card).map(([component]) => component)));
  for (const serviceTier of tiers) {
    for (const aboveInputTokens of steps) {
      const sold = atStep(list, aboveInputTokens);
      const bought = atStep(cost, aboveInputTokens);
      for (const component of components) {
        const usage = { [component]: 1_000_000 };
        const price = rate(usage, sold, { serviceTier, markupBasisPoints: lowestMarkupBasisPoints });
        const paid = rate(usage, bought, { serviceTier, markupBasisPoints: 0 });
        if (price.unpriced.length === 0 && price.amountNano < paid.amountNano) losses.push({ serviceTier, aboveInputTokens, component });
      }
    }
  }
  return losses;
}

/** The cards that count for an input just above the step, dearest step first, made to apply to any length. */
function atStep(cards: readonly RateCard[], aboveInputTokens: number): RateCard[] {
  return cards
    .filter((card) => card.aboveInputTokens <= aboveInputTokens)
    .toSorted((a, b) => b.aboveInputTokens - a.aboveInputTokens)
    .map((card) => ({ ...card, aboveInputTokens: 0 }));
}

/**
 * Whether a price may begin then: charges name the version that was in force, so none begins in the past. A price that
 * begins before an announced one takes its place, since of those whose time has come the newest version counts.
 */
export function mayBegin(effectiveFromMs: number, nowMs: number): boolean {
  return effectiveFromMs >= nowMs;
}
