/**
 * The ceiling of what an account's requests may cost us in a UTC day without a charge. Above it, empty answers are charged
 * until the day ends: they are a courtesy for what goes wrong now and then, not a way to use models for nothing.
 */
import { divideHalfEven, type Nano, usdToNano } from './money.ts';
import type { Account } from './snapshot.ts';

/** Whoever costs us less than this in a day is never above the ceiling. */
export const LEAST_UNCHARGED_CEILING_NANO: Nano = usdToNano('1');
/** The ceiling is one part in so many of the day's spend: 2 %. */
const SPEND_PER_CEILING = 50n;

/** The larger of 1 USD and 2 % of what the account was charged in the day. */
export function unchargedCeilingNano(spendNano: Nano): Nano {
  const share = divideHalfEven(spendNano, SPEND_PER_CEILING);
  return share > LEAST_UNCHARGED_CEILING_NANO ? share : LEAST_UNCHARGED_CEILING_NANO;
}

/** Whether an empty answer to a request that is admitted now is charged. */
export function isAboveUnchargedCeiling({ unchargedCeilingUntilMs }: Pick<Account, 'unchargedCeilingUntilMs'>, atMs: number): boolean {
  return unchargedCeilingUntilMs !== undefined && atMs < unchargedCeilingUntilMs;
}
