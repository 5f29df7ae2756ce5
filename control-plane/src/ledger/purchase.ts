/** The rules of purchases: what a package gives, and what of a purchase can still be refunded or disputed. */
import { divideHalfEven, type Nano } from '@meridian/domain/money';
import type { PurchaseStanding } from './lots.ts';

const REFUND_WITHIN_MS = 30 * 86_400_000;
const BASIS_POINTS = 10_000n;

/** A price with a bonus on it. */
export interface CreditPackage {
  readonly id: string;
  readonly priceNano: Nano;
  readonly bonusBasisPoints: number;
  /** Whether it is sold now. */
  readonly active: boolean;
}

/** One payment; the paid credit it gave is its price. */
export interface Purchase {
  readonly id: bigint;
  readonly accountId: string;
  /** Undefined for an amount of the customer's choice. */
  readonly packageId: string | undefined;
  readonly priceNano: Nano;
  /** Of the package and of a promotion. */
  readonly bonusNano: Nano;
  readonly reference: string | undefined;
  readonly purchasedAtMs: number;
}

/** What was, or may be, paid back of a purchase. */
export interface PurchaseClaims {
  readonly refundedNano: Nano;
  /** Of disputes that were lost. */
  readonly chargedBackNano: Nano;
  readonly disputeOpen: boolean;
  readonly refundUnderWay: boolean;
}

export const NO_CLAIMS: PurchaseClaims = { refundedNano: 0n, chargedBackNano: 0n, disputeOpen: false, refundUnderWay: false };

/** Why nothing can be refunded. */
export type RefundRefusal = 'too_late' | 'dispute_open' | 'nothing_left';

/** A share of a price, as a bonus. */
export function bonusOf(priceNano: Nano, basisPoints: number): Nano {
  return divideHalfEven(priceNano * BigInt(basisPoints), BASIS_POINTS);
}

export function refundableUntilMs(purchase: Pick<Purchase, 'purchasedAtMs'>): number {
  return purchase.purchasedAtMs + REFUND_WITHIN_MS;
}

/**
 * What can be refunded of a purchase at a time: what is unspent of it, and never more than its price without the bonus of it that was
 * spent and without what was paid back already.
 */
export function refundable(
  purchase: Pick<Purchase, 'priceNano' | 'purchasedAtMs'>,
  standing: PurchaseStanding,
  claims: PurchaseClaims,
  atMs: number,
): { readonly amountNano: Nano } | { readonly refusal: RefundRefusal } {
  if (atMs > refundableUntilMs(purchase)) return { refusal: 'too_late' };
  if (claims.disputeOpen) return { refusal: 'dispute_open' };
  const mostNano = disputableNano(purchase, claims) - standing.bonusSpentNano;
  const amountNano = standing.unspentNano < mostNano ? standing.unspentNano : mostNano;
  return amountNano > 0n ? { amountNano } : { refusal: 'nothing_left' };
}

/** What a bank can take back of a purchase: its price without what was paid back already. */
export function disputableNano(purchase: Pick<Purchase, 'priceNano'>, claims: PurchaseClaims): Nano {
  return purchase.priceNano - claims.refundedNano - claims.chargedBackNano;
}
