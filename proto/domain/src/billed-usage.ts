/** What of a usage a price list bills, and what it has no price for. */
import type { RateCard, ServiceTier } from './price.ts';
import { dearestPriceOf, ladderFor, stepsReached } from './rating.ts';
import { type Component, componentOf, type Meter, metersOf, type Usage } from './usage.ts';

/**
 * The usage as these cards bill it. Providers put reasoning into the output and do not count requests: the reasoning is
 * taken apart, and the request counted, where the cards have a price for it.
 */
export function billedUsage(usage: Usage, reasoningTokens: number | undefined, cards: readonly RateCard[]): Usage {
  const priced = pricedComponents(cards);
  const isApart = reasoningTokens !== undefined && usage.reasoning === undefined && priced.has('reasoning');
  if (!isApart && !priced.has('per_request')) return usage;
  const output = usage.output ?? 0;
  const reasoning = Math.min(reasoningTokens ?? 0, output);
  return {
    ...usage,
    ...(isApart ? { output: output - reasoning, reasoning } : {}),
    ...(priced.has('per_request') && usage.per_request === undefined ? { per_request: 1 } : {}),
  };
}

/** Made pictures are paid for by their tokens or by the piece, whichever the vendor has. */
const ALTERNATIVES: Readonly<Partial<Record<Component, Component>>> = { image_out: 'per_image' };

/** Which of the meters have no price at these cards, in the tier asked for or in standard, which an upstream may fall back to. */
export function withoutPrice(meters: readonly Meter[], cards: readonly RateCard[], serviceTier: ServiceTier): Meter[] {
  const steps = (tier: ServiceTier) => stepsReached(ladderFor(cards, tier), 0);
  const ladders = serviceTier === 'standard' ? [steps('standard')] : [steps(serviceTier), steps('standard')];
  const hasPrice = (meter: Meter): boolean => ladders.every((ladder) => dearestPriceOf(meter, ladder) !== undefined);
  return meters.filter((meter) => {
    const alternative = ALTERNATIVES[componentOf(meter)];
    return !hasPrice(meter) && (alternative === undefined || !hasPrice(alternative));
  });
}

/** Cards are immutable and few, requests are many. */
const componentsByCards = new WeakMap<readonly RateCard[], ReadonlySet<Component>>();

function pricedComponents(cards: readonly RateCard[]): ReadonlySet<Component> {
  let components = componentsByCards.get(cards);
  if (components === undefined) {
    components = new Set(cards.flatMap(({ prices }) => metersOf(prices).map(componentOf)));
    componentsByCards.set(cards, components);
  }
  return components;
}
