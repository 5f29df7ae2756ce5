/** Where a list price lies under a cost. */
import type { Nano } from '@meridian/domain/money';
import type { ListPrice, RateCard, ServiceTier } from '@meridian/domain/price';
import { ladderFor, priceOf, stepsReached, withMarkup } from '@meridian/domain/rating';
import { type PriceBook, priceInForce } from '@meridian/domain/snapshot';
import type { Meter } from '@meridian/domain/usage';
import { pricesOf } from './rate-card.ts';

/** Something that would be sold under what it costs. */
interface Loss {
  readonly serviceTier: ServiceTier;
  readonly aboveInputTokens: number;
  readonly meter: Meter;
}

export interface EndpointName {
  readonly id: string | undefined;
  readonly upstreamModel: string;
  readonly providerId: string;
}

/**
 * Where customers at the lowest markup would pay less than the endpoint costs. Whatever either side prices is rated alone,
 * a million units of it, in each tier and at each long-context step that either side has. What has no list price is no
 * loss: it is refused. A request is not: without a price of its own it is sold for nothing, wherever anything is sold.
 */
export function lossesAgainst(list: readonly RateCard[], cost: readonly RateCard[], lowestMarkupBasisPoints: number): Loss[] {
  const losses: Loss[] = [];
  const both = [...list, ...cost];
  const tiers = new Set([...both.map((card) => card.serviceTier), 'standard' as const]);
  const steps = new Set(both.map((card) => card.aboveInputTokens));
  const meters = new Set(both.flatMap((card) => pricesOf(card).map(([meter]) => meter)));
  for (const serviceTier of tiers) {
    for (const aboveInputTokens of steps) {
      const sold = amountsAbove(list, serviceTier, aboveInputTokens, lowestMarkupBasisPoints);
      const bought = amountsAbove(cost, serviceTier, aboveInputTokens, 0);
      for (const meter of meters) {
        const price = sold(meter);
        if (price !== undefined && price < (bought(meter) ?? 0n)) losses.push({ serviceTier, aboveInputTokens, meter });
      }
    }
  }
  return losses;
}

/** What a million units come to in a request whose input is just above a step, by meter; undefined for one without a price. */
function amountsAbove(
  cards: readonly RateCard[],
  serviceTier: ServiceTier,
  aboveInputTokens: number,
  markupBasisPoints: number,
): (meter: Meter) => Nano | undefined {
  const ladder = ladderFor(cards, serviceTier);
  const steps = stepsReached(ladder, aboveInputTokens + 1);
  const ofRequest = steps.length > 0 ? 0n : undefined;
  return (meter) => {
    const price = priceOf(meter, steps) ?? (meter === 'per_request' ? ofRequest : undefined);
    return price === undefined ? undefined : withMarkup(price * 1_000_000n, ladder.percent, markupBasisPoints);
  };
}

/** Of all versions of a list price those that can still be charged: the one in force, and what is announced after it. */
export function pricesFrom(book: PriceBook, nowMs: number): ListPrice[] {
  const inForce = priceInForce(book, nowMs)?.version ?? 0;
  return book.versions.filter((price) => price.version >= inForce);
}

/** What a loss names an endpoint by; one without an id is yet to be made. */
export function endpointInWords({ id, upstreamModel, providerId }: EndpointName): string {
  return `${id === undefined ? 'a new endpoint' : `endpoint ${id}`} (${upstreamModel} of ${providerId})`;
}

/** A loss in words, for whoever may confirm it. */
export function describeLoss({ meter, serviceTier, aboveInputTokens }: Loss, modelId: string, endpoint: string): string {
  return (
    `At the lowest markup, ${meter} of ${modelId} (${serviceTier}, above ${aboveInputTokens} input tokens) ` +
    `would be sold under the cost of ${endpoint}. Send "confirm": true to do it all the same.`
  );
}
