/** Price versions: list prices of models, costs of endpoints. */
import { create } from '@bufbuild/protobuf';
import { type ComponentPrices, type RateCard, SERVICE_TIERS } from '@meridian/domain/price';
import { type Meter, metersOf } from '@meridian/domain/usage';
import { type PriceVersion, PriceVersionSchema } from '../gen/meridian/v1/price_pb.js';
import { readMeter, readNonNegative, readSafeInteger, readWord } from './field.ts';
import { WireFormatError } from './wire-format-error.ts';

/** What a ListPrice and an EndpointCost share: the version apart from what it prices. */
export interface PricedVersion {
  readonly version: number;
  readonly effectiveFromMs: number;
  readonly cards: readonly RateCard[];
}

export function priceVersionToWire(price: PricedVersion): PriceVersion {
  return create(PriceVersionSchema, {
    version: price.version,
    effectiveFromMs: BigInt(price.effectiveFromMs),
    cards: price.cards.map((card) => ({
      serviceTier: card.serviceTier,
      aboveInputTokens: BigInt(card.aboveInputTokens),
      prices: metersOf(card.prices).map((component) => ({ component, nanoPerMillion: card.prices[component] ?? 0n })),
    })),
  });
}

/** Throws WireFormatError. A component that this build cannot price fails the version: leaving it out would make it free. */
export function priceVersionFromWire(field: string, wire: PriceVersion): PricedVersion {
  if (wire.version < 1) throw new WireFormatError(`${field}.version`, 'is not 1 or more');
  return {
    version: wire.version,
    effectiveFromMs: readSafeInteger(`${field}.effective_from_ms`, wire.effectiveFromMs),
    cards: wire.cards.map((card, index) => {
      const at = `${field}.cards[${index}]`;
      const prices: Partial<Record<Meter, bigint>> = {};
      for (const price of card.prices) {
        const component = readMeter(`${at}.prices.component`, price.component);
        if (prices[component] !== undefined) throw new WireFormatError(`${at}.prices.component`, `names ${component} twice`);
        prices[component] = readNonNegative(`${at}.prices.nano_per_million`, price.nanoPerMillion);
      }
      return {
        serviceTier: readWord(`${at}.service_tier`, card.serviceTier, SERVICE_TIERS),
        aboveInputTokens: readSafeInteger(`${at}.above_input_tokens`, card.aboveInputTokens),
        prices: prices satisfies ComponentPrices,
      };
    }),
  };
}
