/** Rate cards as fields of the operator API. */
import { nanoToUsd } from '@meridian/domain/money';
import { type RateCard, SERVICE_TIERS } from '@meridian/domain/price';
import { isMeter } from '@meridian/domain/usage';
import { z } from 'zod';
import { MAX_CARDS, type PercentCard, plainCards, pricesOf, readPrices } from './rate-card.ts';

/** Prices travel as 64-bit numbers of nano-USD. */
const USD_PER_MILLION = z
  .string('must be a decimal string such as "2.50"')
  .regex(/^\d{1,9}(\.\d{1,9})?$/, 'must be a decimal amount of USD below 1,000,000,000 with at most 9 decimals');

const METER = z.string().refine(isMeter, 'must be a component such as input, or a variant of one such as per_image:1024x1024:high');
const MAX_PERCENT = 10_000;

const CARD = z
  .strictObject({
    service_tier: z.literal([...SERVICE_TIERS]).default('standard'),
    above_input_tokens: z.int().min(0).default(0),
    prices_usd_per_million: z
      .record(METER, USD_PER_MILLION)
      .optional()
      .describe('USD per 1,000,000 units of each component; variants of one as in per_image:1024x1024:high.'),
    percent_of_standard: z
      .int()
      .min(1)
      .max(MAX_PERCENT)
      .optional()
      .describe('In place of prices: those of the standard cards at this percentage, for a service tier such as batch.'),
  })
  .superRefine((card, context) => {
    const problem = problemOfCard(card);
    if (problem !== undefined) context.addIssue({ code: 'custom', path: [problem.field], message: problem.message });
  })
  .transform((card): RateCard | PercentCard =>
    card.percent_of_standard === undefined
      ? {
          serviceTier: card.service_tier,
          aboveInputTokens: card.above_input_tokens,
          prices: readPrices(card.prices_usd_per_million ?? {}),
        }
      : { serviceTier: card.service_tier, percentOfStandard: card.percent_of_standard },
  );

function problemOfCard(card: {
  readonly service_tier: string;
  readonly above_input_tokens: number;
  readonly prices_usd_per_million?: unknown;
  readonly percent_of_standard?: number | undefined;
}): { readonly field: string; readonly message: string } | undefined {
  if (card.percent_of_standard === undefined) {
    return card.prices_usd_per_million === undefined
      ? { field: 'prices_usd_per_million', message: 'is missing: a card has prices or is a percentage' }
      : undefined;
  }
  if (card.prices_usd_per_million !== undefined)
    return { field: 'percent_of_standard', message: 'stands in place of prices, not beside them' };
  if (card.service_tier === 'standard') return { field: 'percent_of_standard', message: 'is for tiers other than standard' };
  if (card.above_input_tokens > 0) return { field: 'above_input_tokens', message: 'a percentage holds for every length' };
  return undefined;
}

/** `[{service_tier, above_input_tokens, prices_usd_per_million: {input: "2.50"}}, {service_tier: "batch", percent_of_standard: 50}]` */
export function cardsField(least: number) {
  return z.array(CARD).min(least).max(MAX_CARDS).transform(plainCards);
}

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
