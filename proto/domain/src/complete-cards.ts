/** Prices that rate cards leave out and that follow from those they name, so that what is left out is not sold for less. */
import { KIN } from './kin.ts';
import { type ComponentPrices, type NanoPerMillion, type RateCard, SERVICE_TIERS, type ServiceTier } from './price.ts';
import { componentOf, type Meter, metersOf } from './usage.ts';

/**
 * The cards with what follows from them, standard first, steps ascending; what a card names stays as it is.
 *
 * - A tier with cards of its own has the long-context steps of the standard cards: what a standard step prices and the tier's does not
 *   costs, against the tier's own base price, what it costs against the standard one.
 * - What costs no less than its kin on the base card (a cache write and input, an hour's write and five minutes', a variant and the wider
 *   one) costs as much more on a step that prices only the kin; so it does on a tier's base card, held against the standard one.
 *
 * Each is rounded up to a nano-dollar per million units, and is never below the price that a lower step has for it.
 */
export function completedCards(cards: readonly RateCard[]): readonly RateCard[] {
  let completed = completedByCards.get(cards);
  if (completed === undefined) {
    completed = complete(cards);
    completedByCards.set(cards, completed);
  }
  return completed;
}

/** Cards are immutable and few, and asked of often. */
const completedByCards = new WeakMap<readonly RateCard[], readonly RateCard[]>();

function complete(cards: readonly RateCard[]): readonly RateCard[] {
  const standard = completedTier('standard', cardsOf(cards, 'standard'), NO_CARDS);
  return SERVICE_TIERS.flatMap((tier) => {
    if (tier === 'standard') return standard;
    const own = cardsOf(cards, tier);
    return own.length === 0 ? own : completedTier(tier, own, standard);
  });
}

const NO_CARDS: readonly RateCard[] = [];
const NO_PRICES: ComponentPrices = {};

function completedTier(serviceTier: ServiceTier, own: readonly RateCard[], standard: readonly RateCard[]): RateCard[] {
  const starts = new Set([...own, ...standard].map((card) => card.aboveInputTokens));
  const standardBase = pricesAt(standard, 0) ?? NO_PRICES;
  const base = withKin(pricesAt(own, 0) ?? NO_PRICES, standardBase, NO_CARDS);
  const done: RateCard[] = [];
  for (const aboveInputTokens of [...starts].sort((a, b) => a - b)) {
    const named = pricesAt(own, aboveInputTokens) ?? NO_PRICES;
    const stepped = aboveInputTokens === 0 ? base : withStep(named, pricesAt(standard, aboveInputTokens), { base, standardBase, done });
    const prices = aboveInputTokens === 0 ? base : withKin(stepped, base, done);
    if (metersOf(prices).length > 0 || own.some((card) => card.aboveInputTokens === aboveInputTokens)) {
      done.push({ serviceTier, aboveInputTokens, prices });
    }
  }
  return done;
}

interface Tier {
  readonly base: ComponentPrices;
  readonly standardBase: ComponentPrices;
  /** The tier's lower steps. */
  readonly done: readonly RateCard[];
}

/** The prices of a step, and in the same ratio those of the standard step that it does not name. */
function withStep(named: ComponentPrices, standardStep: ComponentPrices | undefined, { base, standardBase, done }: Tier): ComponentPrices {
  if (standardStep === undefined) return named;
  const prices: Partial<Record<Meter, NanoPerMillion>> = { ...named };
  for (const meter of metersOf(standardStep)) {
    const [own, theirs, step] = [base[meter], standardBase[meter], standardStep[meter]];
    if (prices[meter] !== undefined || own === undefined || theirs === undefined || step === undefined) continue;
    prices[meter] = atLeast(inRatio(step, own, theirs), lowerPrice(meter, done));
  }
  return prices;
}

/** The prices, and those of the reference that are no less than their kin's, where only the kin is named. */
function withKin(named: ComponentPrices, reference: ComponentPrices, done: readonly RateCard[]): ComponentPrices {
  const prices: Partial<Record<Meter, NanoPerMillion>> = { ...named };
  for (const meter of metersOf(reference)) {
    const theirs = reference[meter];
    if (prices[meter] !== undefined || theirs === undefined) continue;
    const kin = kinOf(meter).find((each) => prices[each] !== undefined && reference[each] !== undefined);
    if (kin === undefined) continue;
    const [own, theirKin] = [prices[kin] ?? 0n, reference[kin] ?? 0n];
    if (theirs >= theirKin) prices[meter] = atLeast(inRatio(theirs, own, theirKin), lowerPrice(meter, done));
  }
  return prices;
}

/** Nearest first: the wider variants of `per_image:1024x1024:high`, its component, and that one's kin. */
function kinOf(meter: Meter): Meter[] {
  const component = componentOf(meter);
  const wider: Meter[] = [];
  for (let name: string = meter; name !== component; ) {
    name = name.slice(0, name.lastIndexOf(':'));
    // What is left before a colon is a meter again.
    wider.push(name as Meter);
  }
  return [...wider, ...(KIN[component] ?? [])];
}

/** price × own ÷ theirs, rounded up; the price itself where theirs is nothing to be held against. */
function inRatio(price: NanoPerMillion, own: NanoPerMillion, theirs: NanoPerMillion): NanoPerMillion {
  return theirs === 0n ? price : (price * own + theirs - 1n) / theirs;
}

function atLeast(price: NanoPerMillion, least: NanoPerMillion): NanoPerMillion {
  return price > least ? price : least;
}

function lowerPrice(meter: Meter, steps: readonly RateCard[]): NanoPerMillion {
  return steps.findLast(({ prices }) => prices[meter] !== undefined)?.prices[meter] ?? 0n;
}

function pricesAt(cards: readonly RateCard[], aboveInputTokens: number): ComponentPrices | undefined {
  return cards.find((card) => card.aboveInputTokens === aboveInputTokens)?.prices;
}

function cardsOf(cards: readonly RateCard[], serviceTier: ServiceTier): RateCard[] {
  return cards.filter((card) => card.serviceTier === serviceTier);
}
