/** List prices with an account's markup on top, for showing: what the account pays per million units. */
import { completedCards } from './complete-cards.ts';
import { divideHalfEven, nanoToUsd } from './money.ts';
import type { RateCard } from './price.ts';
import { metersOf } from './usage.ts';

export interface CustomerPriceCard {
  readonly service_tier: string;
  readonly above_input_tokens: number;
  /** USD per million units by component or variant of one, exact decimal strings. */
  readonly usd_per_million: Readonly<Record<string, string>>;
}

/** With what follows from the cards (`completedCards`), since that is charged. */
export function customerPrices(cards: readonly RateCard[], markupBasisPoints: number): CustomerPriceCard[] {
  return completedCards(cards).map((card) => ({
    service_tier: card.serviceTier,
    above_input_tokens: card.aboveInputTokens,
    usd_per_million: Object.fromEntries(
      metersOf(card.prices).map((meter) => [
        meter,
        nanoToUsd(divideHalfEven((card.prices[meter] ?? 0n) * (10_000n + BigInt(markupBasisPoints)), 10_000n)),
      ]),
    ),
  }));
}
