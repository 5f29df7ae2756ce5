/** What each part of a usage contributes to its price: exact amounts, for receipts. */
import { divideHalfEven, type Nano } from './money.ts';
import type { NanoPerMillion, RateCard } from './price.ts';
import { ladderFor, priceOf, type RatingTerms, stepsReached } from './rating.ts';
import { assertUsage, inputTokens, type Meter, metersOf, type Usage } from './usage.ts';

export interface PriceItem {
  readonly meter: Meter;
  readonly units: number;
  /** List price of a million units at the long-context step reached; undefined where there is none, so that nothing is charged for them. */
  readonly listNanoPerMillion: NanoPerMillion | undefined;
  /** Units × list price × the service tier's percentage, in USD: exact, with as many decimals as it takes (≤ 17). */
  readonly listUsd: string;
}

export interface PriceItems {
  /** Those that are not zero, in the order of the meters. */
  readonly items: readonly PriceItem[];
  /** What the cards' prices are multiplied by for the service tier; 100 where it has cards of its own. */
  readonly serviceTierPercent: number;
  /** The sum of the items, in USD: exact. */
  readonly listUsd: string;
  /** The sum with the markup, before it is rounded, in USD: exact (≤ 21 decimals). */
  readonly unroundedUsd: string;
  /** The same after the one rounding, half to even to the nano-USD: what `rate` says. */
  readonly amountNano: Nano;
}

/** Decimals of a nano-USD, and of the millionth of a unit, the percent and the basis point that an exact amount is counted in. */
const NANO_DECIMALS = 9;
const LIST_DECIMALS = NANO_DECIMALS + 6 + 2;
const EXACT_DECIMALS = LIST_DECIMALS + 4;
const BASIS_POINTS = 10_000n;
const EXACT_PER_NANO = 10n ** BigInt(EXACT_DECIMALS - NANO_DECIMALS);

/** The parts of what `rate` comes to for the same usage, cards and terms. Throws RangeError when a unit is not an integer ≥ 0. */
export function priceItems(usage: Usage, cards: readonly RateCard[], terms: RatingTerms): PriceItems {
  assertUsage(usage);
  const ladder = ladderFor(cards, terms.serviceTier);
  const steps = stepsReached(ladder, inputTokens(usage));
  const items: PriceItem[] = [];
  let list = 0n;
  for (const meter of metersOf(usage)) {
    const units = usage[meter] ?? 0;
    if (units === 0) continue;
    const price = priceOf(meter, steps);
    const amount = BigInt(units) * (price ?? 0n) * ladder.percent;
    items.push({ meter, units, listNanoPerMillion: price, listUsd: exactUsd(amount, LIST_DECIMALS) });
    list += amount;
  }
  const exact = list * (BASIS_POINTS + BigInt(terms.markupBasisPoints));
  return {
    items,
    serviceTierPercent: Number(ladder.percent),
    listUsd: exactUsd(list, LIST_DECIMALS),
    unroundedUsd: exactUsd(exact, EXACT_DECIMALS),
    amountNano: divideHalfEven(exact, EXACT_PER_NANO),
  };
}

/** An amount ≥ 0 counted in the last of so many decimals, without trailing zeros, at least two decimals. */
function exactUsd(amount: bigint, decimals: number): string {
  const digits = amount.toString().padStart(decimals + 1, '0');
  return `${digits.slice(0, -decimals)}.${digits.slice(-decimals).replace(/0+$/, '').padEnd(2, '0')}`;
}
