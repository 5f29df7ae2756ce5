/** Volume tiers: the more an account spends in 30 days, the lower its markup over list price. */
import { divideHalfEven, type Nano } from './money.ts';

const BASIS_POINTS = 10_000;

export interface Tier {
  readonly id: string;
  readonly name: string;
  /** Spend on successful calls in the rolling 30 days, valued at the first tier's markup, from which the tier applies. */
  readonly fromSpendNano: Nano;
  /** Markup over list price in basis points: 4000 = 40 %. */
  readonly markupBasisPoints: number;
}

/** Tiers in ascending order of spend; the first starts at 0 and is every new account's. */
export type Ladder = readonly Tier[];

/** The tier after `tierId`, or undefined at the top or when the ladder does not know the tier. */
export function nextTier(ladder: Ladder, tierId: string): Tier | undefined {
  const index = ladder.findIndex((tier) => tier.id === tierId);
  return index === -1 ? undefined : ladder[index + 1];
}

/** The highest tier that a spend reaches. Throws on a ladder that does not start at 0. */
export function tierAtSpend(ladder: Ladder, spendNano: Nano): Tier {
  const tier = ladder.findLast((each) => each.fromSpendNano <= spendNano);
  if (tier === undefined) throw new Error('a ladder starts with a tier from spend 0');
  return tier;
}

/** What usage at list prices comes to for whoever is on the ladder's first tier: what spend is measured in, so that a better tier cannot undo itself. */
export function spendAtFirstTier(ladder: Ladder, listNano: Nano): Nano {
  return divideHalfEven(listNano * BigInt(BASIS_POINTS + (ladder[0]?.markupBasisPoints ?? 0)), BigInt(BASIS_POINTS));
}

/** What is missing to a tier, 0 where it is reached. */
export function missingToTier(tier: Tier, spendNano: Nano): Nano {
  return tier.fromSpendNano > spendNano ? tier.fromSpendNano - spendNano : 0n;
}
