/** Volume tiers: the more an account spends in 30 days, the lower its markup over list price. */
import type { Nano } from './money.ts';

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
