/** Puts rate cards together price by price, in whatever order a list gives them. */
import { completedCards } from '@meridian/domain/complete-cards';
import type { Modality } from '@meridian/domain/model';
import { type NanoPerMillion, type RateCard, SERVICE_TIERS, type ServiceTier } from '@meridian/domain/price';
import { SERVICE_TIER_PERCENT } from '@meridian/domain/rating';
import { tierCards } from '@meridian/domain/tier-cards';
import { type Component, componentOf, type Meter, metersOf } from '@meridian/domain/usage';

const MEDIA_INPUT: readonly (readonly [Modality, Meter])[] = [
  ['image', 'image_in'],
  ['audio', 'audio_in'],
];

const CACHE_WRITES: ReadonlySet<Component> = new Set(['cache_write_5m', 'cache_write_1h']);

export class CardBuilder {
  readonly #cards = new Map<
    string,
    { serviceTier: ServiceTier; aboveInputTokens: number; prices: Partial<Record<Meter, NanoPerMillion>> }
  >();

  get isEmpty(): boolean {
    return this.#cards.size === 0;
  }

  /**
   * The dearer of two prices for one thing stands: a list that names it twice must not make a loss. A cache write that costs nothing
   * costs nothing beside the input that it is: it has no price of its own.
   */
  add(serviceTier: ServiceTier, aboveInputTokens: number, meter: Meter, price: NanoPerMillion): void {
    if (price === 0n && CACHE_WRITES.has(componentOf(meter))) return;
    const key = `${serviceTier} ${aboveInputTokens}`;
    const card = this.#cards.get(key) ?? { serviceTier, aboveInputTokens, prices: {} };
    this.#cards.set(key, card);
    const present = card.prices[meter];
    if (present === undefined || price > present) card.prices[meter] = price;
  }

  /** Published lists leave out what media tokens of the input cost where that is what any input token costs. */
  addMediaInput(modalities: readonly Modality[]): void {
    for (const [modality, meter] of MEDIA_INPUT) {
      if (!modalities.includes(modality) || this.#names(meter)) continue;
      for (const { prices } of this.#cards.values()) if (prices.input !== undefined) prices[meter] = prices.input;
    }
  }

  /**
   * Standard first, steps ascending. A tier's own cards stand alone when a request is rated, so what a list leaves out of them is added:
   * what follows from the prices that it has, else the standard price at the percentage that the tier has where a model names no prices
   * for it.
   */
  build(): RateCard[] {
    const complete = completedCards(this.#named());
    const standard = complete.filter((card) => card.serviceTier === 'standard');
    const filled = complete.map((card) => {
      if (card.serviceTier === 'standard' || card.aboveInputTokens > 0) return card;
      const base = tierCards(standard, card.serviceTier, Number(SERVICE_TIER_PERCENT[card.serviceTier]));
      const usual = base.find((each) => each.aboveInputTokens === 0)?.prices ?? {};
      return { ...card, prices: { ...usual, ...card.prices } };
    });
    return [...completedCards(filled)];
  }

  /** What whoever publishes the cards should know of them: which prices the list does not name, and what cannot be sold at them. */
  notes(): string[] {
    const named = this.#named();
    const added = this.build().flatMap((card) => {
      const listed = named.find((one) => one.serviceTier === card.serviceTier && one.aboveInputTokens === card.aboveInputTokens);
      const meters = metersOf(card.prices).filter((meter) => listed?.prices[meter] === undefined);
      const place = `${card.serviceTier}${card.aboveInputTokens === 0 ? '' : ` above ${card.aboveInputTokens}`}`;
      return meters.length === 0 ? [] : [`${place} (${meters.join(', ')})`];
    });
    const sellsNoHour = this.#names('cache_write_5m') && !this.#names('cache_write_1h');
    return [
      ...(added.length === 0 ? [] : [`not listed, taken from the other prices: ${added.join('; ')}`]),
      ...(sellsNoHour ? ['no price for cache_write_1h: requests that ask for an hour of prompt cache are refused'] : []),
    ];
  }

  /** All prices are zero. */
  get isFree(): boolean {
    return [...this.#cards.values()].every(({ prices }) => metersOf(prices).every((meter) => prices[meter] === 0n));
  }

  #named(): RateCard[] {
    return [...this.#cards.values()].sort(
      (a, b) => SERVICE_TIERS.indexOf(a.serviceTier) - SERVICE_TIERS.indexOf(b.serviceTier) || a.aboveInputTokens - b.aboveInputTokens,
    );
  }

  #names(meter: Meter): boolean {
    return [...this.#cards.values()].some(({ prices }) => prices[meter] !== undefined);
  }
}
