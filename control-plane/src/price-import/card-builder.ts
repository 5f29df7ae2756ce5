/** Puts rate cards together price by price, in whatever order a list gives them. */
import type { Modality } from '@meridian/domain/model';
import { type NanoPerMillion, type RateCard, SERVICE_TIERS, type ServiceTier } from '@meridian/domain/price';
import { SERVICE_TIER_PERCENT } from '@meridian/domain/rating';
import { tierCards } from '@meridian/domain/tier-cards';
import { type Meter, metersOf } from '@meridian/domain/usage';

const MEDIA_INPUT: readonly (readonly [Modality, Meter])[] = [
  ['image', 'image_in'],
  ['audio', 'audio_in'],
];

export class CardBuilder {
  readonly #cards = new Map<
    string,
    { serviceTier: ServiceTier; aboveInputTokens: number; prices: Partial<Record<Meter, NanoPerMillion>> }
  >();

  get isEmpty(): boolean {
    return this.#cards.size === 0;
  }

  /** The dearer of two prices for one thing stands: a list that names it twice must not make a loss. */
  add(serviceTier: ServiceTier, aboveInputTokens: number, meter: Meter, price: NanoPerMillion): void {
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
   * Standard first, steps ascending. A tier's own cards stand alone when a request is rated, so what a list leaves out of them
   * is added: the standard price at the percentage that the tier has where a model names no prices for it.
   */
  build(): RateCard[] {
    const cards = [...this.#cards.values()].sort(
      (a, b) => SERVICE_TIERS.indexOf(a.serviceTier) - SERVICE_TIERS.indexOf(b.serviceTier) || a.aboveInputTokens - b.aboveInputTokens,
    );
    const standard = cards.filter((card) => card.serviceTier === 'standard');
    return cards.map((card) => {
      if (card.serviceTier === 'standard' || card.aboveInputTokens > 0) return card;
      const base = tierCards(standard, card.serviceTier, Number(SERVICE_TIER_PERCENT[card.serviceTier]));
      const filled = base.find((each) => each.aboveInputTokens === 0)?.prices ?? {};
      return { ...card, prices: { ...filled, ...card.prices } };
    });
  }

  /** All prices are zero. */
  get isFree(): boolean {
    return [...this.#cards.values()].every(({ prices }) => metersOf(prices).every((meter) => prices[meter] === 0n));
  }

  #names(meter: Meter): boolean {
    return [...this.#cards.values()].some(({ prices }) => prices[meter] !== undefined);
  }
}
