/** The rules of refunds: how one goes on from what was requested to what was posted, or refused. */
import type { Nano } from '@meridian/domain/money';
import type { PurchaseStanding } from './lots.ts';
import { type Purchase, type PurchaseClaims, type RefundRefusal, refundable } from './purchase.ts';

/**
 * `requested`: written down, and not tried yet. `recalling`: nodes hold credit that the refund would take, and are asked to give it back.
 * `posted`: the money moved. `refused`: it did not, and will not.
 */
export type RefundState = 'requested' | 'recalling' | 'posted' | 'refused';

export interface Refund {
  readonly id: bigint;
  readonly accountId: string;
  readonly purchaseId: bigint;
  readonly state: RefundState;
  /** What was refunded, and what was cancelled of the purchase's bonus; 0 until it is posted. */
  readonly amountNano: Nano;
  readonly bonusCancelledNano: Nano;
  /** What nodes held of the credit that it would take, when it was tried last. */
  readonly heldNano: Nano;
  readonly reason: string | undefined;
  /** `held`: nodes did not give back what they hold in time. */
  readonly refusal: RefundRefusal | 'held' | undefined;
  readonly requestedAtMs: number;
  readonly triedAtMs: number | undefined;
  readonly closedAtMs: number | undefined;
}

/** What a try comes to. */
export type RefundStep =
  | { readonly state: 'posted'; readonly amountNano: Nano; readonly bonusCancelledNano: Nano }
  | { readonly state: 'recalling'; readonly heldNano: Nano }
  | { readonly state: 'refused'; readonly refusal: RefundRefusal | 'held'; readonly heldNano: Nano };

/** Requests run for minutes; what they hold after that is held by a node that is away. */
const RECALL_MS = 15 * 60_000;

export function isUnderWay(refund: Pick<Refund, 'state'>): boolean {
  return refund.state === 'requested' || refund.state === 'recalling';
}

/**
 * Tries a refund that is under way. The time that counts against the days to refund in is when it was requested; what there is to refund
 * is what is unspent now. `heldBeyond` tells what nodes hold beyond the credit that a change would leave.
 */
export function tryRefund(
  refund: Pick<Refund, 'requestedAtMs'>,
  purchase: Purchase,
  standing: PurchaseStanding,
  claims: PurchaseClaims,
  now: { readonly nowMs: number; heldBeyond(changeNano: Nano): Nano },
): RefundStep {
  const found = refundable(purchase, standing, claims, refund.requestedAtMs);
  if ('refusal' in found) return { state: 'refused', refusal: found.refusal, heldNano: 0n };
  const { amountNano } = found;
  const bonusCancelledNano = standing.bonusUnspentNano;
  const heldNano = now.heldBeyond(-(amountNano + bonusCancelledNano));
  if (heldNano === 0n) return { state: 'posted', amountNano, bonusCancelledNano };
  if (now.nowMs >= refund.requestedAtMs + RECALL_MS) return { state: 'refused', refusal: 'held', heldNano };
  return { state: 'recalling', heldNano };
}
