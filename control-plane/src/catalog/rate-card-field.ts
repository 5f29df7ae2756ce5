/** Rate cards as fields of the operator API. */
import { nanoToUsd } from '@meridian/domain/money';
import { type RateCard, SERVICE_TIERS } from '@meridian/domain/price';
import { COMPONENTS } from '@meridian/domain/usage';
import { z } from 'zod';
import { MAX_CARDS, pricesOf, readPrices } from './rate-card.ts';

/** Prices travel as 64-bit numbers of nano-USD. */
const USD_PER_MILLION = z
  .string('must be a decimal string such as "2.50"')
  .regex(/^\d{1,9}(\.\d{1,9})?$/, 'must be a decimal amount of USD below 1,000,000,000 with at most 9 decimals');

const CARD = z
  .strictObject({
    service_tier: z.literal([...SERVICE_TIERS]).default('standard'),
    above_input_tokens: z.int().min(0).default(0),
    prices_usd_per_million: z
      .partialRecord(z.literal([...COMPONENTS]), USD_PER_MILLION)
      .describe('USD per 1,000,000 units of each component.'),
  })
  .transform(
    (card): RateCard => ({
      serviceTier: card.service_tier,
      aboveInputTokens: card.above_input_tokens,
      prices: readPrices(card.prices_usd_per_million),
    }),
  );

/** `[{service_tier, above_input_tokens, prices_usd_per_million: {input: "2.50"}}]` */
export const CARDS = z.array(CARD).max(MAX_CARDS);

export const CARDS_OUT = z.array(
  z.object({
    service_tier: z.string(),
    above_input_tokens: z.int(),
    prices_usd_per_million: z.record(z.string(), z.string()),
  }),
);

export function presentCards(cards: readonly RateCard[]): z.infer<typeof CARDS_OUT> {
  return cards.map((card) => ({
    service_tier: card.serviceTier,
    above_input_tokens: card.aboveInputTokens,
    prices_usd_per_million: Object.fromEntries(pricesOf(card).map(([component, nano]) => [component, nanoToUsd(nano)])),
  }));
}
