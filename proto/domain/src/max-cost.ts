/** The most a request can cost its customer, bounded before it is sent anywhere. */
import { type Nano } from './money.ts';
import type { ListPrice, RateCard, ServiceTier } from './price.ts';
import { rate } from './rating.ts';
import type { Component } from './usage.ts';

/** Components an input token can turn out to be, by what a provider may report of plain text and images. */
const INPUT_KINDS: readonly Component[] = ['input', 'cached_input', 'cache_write_5m', 'cache_write_1h', 'image_in', 'audio_in'];
const OUTPUT_KINDS: readonly Component[] = ['output', 'reasoning', 'image_out', 'audio_out'];

export interface CostDemand {
  /** Upper bounds in tokens. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly serviceTier: ServiceTier;
  /** One for each model that may answer. */
  readonly prices: readonly ListPrice[];
}

/**
 * Over all models that may answer and the service tiers that may be served (the one asked for, and standard, which an
 * upstream may fall back to): every input token at the dearest input component, every output token at the dearest output
 * component, on the card whose step the bound passes and on the one below it.
 */
export function maxCost(demand: CostDemand, markupBasisPoints: number): Nano {
  let most = 0n;
  for (const price of demand.prices) {
    for (const serviceTier of new Set<ServiceTier>([demand.serviceTier, 'standard'])) {
      const usage = {
        [dearest(price.cards, INPUT_KINDS)]: demand.inputTokens,
        [dearest(price.cards, OUTPUT_KINDS)]: demand.outputTokens,
      };
      const { amountNano } = rate(usage, price.cards, { serviceTier, markupBasisPoints });
      if (amountNano > most) most = amountNano;
    }
  }
  return most;
}

const dearestByCards = new WeakMap<readonly RateCard[], Map<readonly Component[], Component>>();

/** The component with the highest price on any card; the first kind where none has one. Remembered for each set of cards, which never change. */
function dearest(cards: readonly RateCard[], kinds: readonly Component[]): Component {
  let known = dearestByCards.get(cards);
  if (known === undefined) {
    known = new Map();
    dearestByCards.set(cards, known);
  }
  const remembered = known.get(kinds);
  if (remembered !== undefined) return remembered;
  let best: Component = kinds[0] ?? 'input';
  let bestPrice = -1n;
  for (const card of cards) {
    for (const kind of kinds) {
      const price = card.prices[kind];
      if (price !== undefined && price > bestPrice) {
        best = kind;
        bestPrice = price;
      }
    }
  }
  known.set(kinds, best);
  return best;
}
