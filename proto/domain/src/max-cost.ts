/** The most a request can cost its customer, bounded before it is sent anywhere. */
import type { Nano } from './money.ts';
import type { ListPrice, NanoPerMillion, RateCard, ServiceTier } from './price.ts';
import { beforeMarkup, dearestPriceOf, ladderFor, stepsReached, withMarkup } from './rating.ts';
import { type Component, INPUT_COMPONENTS, metersOf, OUTPUT_COMPONENTS, type Usage } from './usage.ts';

export interface CostDemand {
  /** Upper bounds in tokens. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Upper bounds of what is counted by the piece: images, seconds, tool calls. The request itself is always one. */
  readonly pieces?: Usage;
  readonly serviceTier: ServiceTier;
  /** One for each model that may answer. */
  readonly prices: readonly ListPrice[];
}

/**
 * Over all models that may answer, the service tiers that may be served (the one asked for, and standard, which an
 * upstream may fall back to), and every long-context step that the bound reaches: each input token at the dearest input
 * component, each output token at the dearest output component, each piece at its dearest variant. No usage within the
 * bounds is charged more.
 */
export function maxCost(demand: CostDemand, markupBasisPoints: number): Nano {
  const inputTokens = BigInt(demand.inputTokens);
  const outputTokens = BigInt(demand.outputTokens);
  let most = 0n;
  for (const level of levelsReached(demand)) {
    const sum = inputTokens * level.input + outputTokens * level.output + piecesOf(demand, level);
    const amount = withMarkup(sum, level.percent, markupBasisPoints);
    if (amount > most) most = amount;
  }
  return most;
}

/** What of a demand is known before its output is bounded. */
export type InputDemand = Omit<CostDemand, 'outputTokens'>;

/** As many output tokens as there can be at most, where they cost nothing. */
export const ENDLESS_TOKENS = Number.MAX_SAFE_INTEGER;

/** The most output tokens that an amount (≥ 0) buys at the dearest output price beside the pieces, the input left aside. */
export function outputTokensFor(demand: InputDemand, markupBasisPoints: number, amountNano: Nano): number {
  return outputWithin({ ...demand, inputTokens: 0 }, levelsReached(demand), markupBasisPoints, amountNano);
}

/**
 * The most output tokens with which the whole request costs at most the amount (≥ 0), as `maxCost` counts it; 0 where
 * the input alone costs as much. At most half a nano-dollar, which rounding could still give, is left unused.
 */
export function outputTokensWithin(demand: InputDemand, markupBasisPoints: number, amountNano: Nano): number {
  return outputWithin(demand, levelsReached(demand), markupBasisPoints, amountNano);
}

function outputWithin(demand: InputDemand, levels: readonly Level[], markupBasisPoints: number, amountNano: Nano): number {
  const inputTokens = BigInt(demand.inputTokens);
  let least = BigInt(ENDLESS_TOKENS);
  for (const level of levels) {
    const left = beforeMarkup(amountNano, level.percent, markupBasisPoints) - inputTokens * level.input - piecesOf(demand, level);
    if (left < 0n) return 0;
    if (level.output === 0n) continue;
    const tokens = left / level.output;
    if (tokens < least) least = tokens;
  }
  return Number(least);
}

const STANDARD_ONLY: readonly ServiceTier[] = ['standard'];

function levelsReached(demand: InputDemand): Level[] {
  const reached: Level[] = [];
  for (const price of demand.prices) {
    for (const serviceTier of demand.serviceTier === 'standard' ? STANDARD_ONLY : [demand.serviceTier, ...STANDARD_ONLY]) {
      for (const level of levelsOf(price.cards, serviceTier)) {
        if (level.fromInputTokens <= demand.inputTokens) reached.push(level);
      }
    }
  }
  return reached;
}

/** The dearest prices of one long-context step. */
interface Level {
  /** The shortest input that the step applies to. */
  readonly fromInputTokens: number;
  readonly input: NanoPerMillion;
  readonly output: NanoPerMillion;
  readonly request: NanoPerMillion;
  readonly percent: bigint;
  readonly steps: readonly RateCard[];
}

function piecesOf({ pieces }: InputDemand, level: Level): bigint {
  if (pieces === undefined) return level.request;
  let sum = level.request;
  for (const meter of metersOf(pieces)) sum += BigInt(pieces[meter] ?? 0) * (dearestPriceOf(meter, level.steps) ?? 0n);
  return sum;
}

/** Cards are immutable and few, requests are many: the levels are worked out once for each set of cards. */
const levelsByCards = new WeakMap<readonly RateCard[], Map<ServiceTier, readonly Level[]>>();

function levelsOf(cards: readonly RateCard[], serviceTier: ServiceTier): readonly Level[] {
  let byTier = levelsByCards.get(cards);
  if (byTier === undefined) {
    byTier = new Map();
    levelsByCards.set(cards, byTier);
  }
  let levels = byTier.get(serviceTier);
  if (levels === undefined) {
    const ladder = ladderFor(cards, serviceTier);
    const starts = new Set([0, ...ladder.cards.map((card) => (card.aboveInputTokens === 0 ? 0 : card.aboveInputTokens + 1))]);
    levels = [...starts].map((fromInputTokens) => {
      const steps = stepsReached(ladder, fromInputTokens);
      return {
        fromInputTokens,
        input: dearest(steps, INPUT_COMPONENTS),
        output: dearest(steps, OUTPUT_COMPONENTS),
        request: dearest(steps, ['per_request']),
        percent: ladder.percent,
        steps,
      };
    });
    byTier.set(serviceTier, levels);
  }
  return levels;
}

/** Zero where none of the components has a price: such a unit is charged to nobody. */
function dearest(steps: readonly RateCard[], components: readonly Component[]): NanoPerMillion {
  let most = 0n;
  for (const component of components) {
    const price = dearestPriceOf(component, steps) ?? 0n;
    if (price > most) most = price;
  }
  return most;
}
