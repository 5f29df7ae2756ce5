/**
 * Prices: integers in nano-USD per 1,000,000 units of a component ($0.0125 per million tokens = 12,500,000).
 *
 * A price is a set of rate cards. Each card is for one service tier and for requests whose input is longer
 * than `aboveInputTokens` (a long-context step applies to the whole request).
 */
import type { Meter } from './usage.ts';

export type NanoPerMillion = bigint;
export type ServiceTier = 'standard' | 'priority' | 'flex' | 'batch';

export const SERVICE_TIERS: readonly ServiceTier[] = ['standard', 'priority', 'flex', 'batch'];

/** nano-USD per million units by meter; a meter that is absent has no price of its own (which is not a price of 0). */
export type ComponentPrices = Readonly<Partial<Record<Meter, NanoPerMillion>>>;

export interface RateCard {
  readonly serviceTier: ServiceTier;
  /** The card applies when the request's whole input (uncached + cached + written + media tokens) is greater than this. */
  readonly aboveInputTokens: number;
  readonly prices: ComponentPrices;
}

/** One immutable version of what customers pay for a model before their markup. */
export interface ListPrice {
  readonly modelId: string;
  /** 1, 2, 3 … for each model. */
  readonly version: number;
  readonly effectiveFromMs: number;
  readonly cards: readonly RateCard[];
}

/** One immutable version of what an endpoint costs us. */
export interface EndpointCost {
  readonly endpointId: string;
  readonly version: number;
  readonly effectiveFromMs: number;
  readonly cards: readonly RateCard[];
}
