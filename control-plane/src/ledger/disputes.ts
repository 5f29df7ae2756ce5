/**
 * Use cases of disputes. A bank takes a payment back at once, and so do we: what is unspent of the purchase and what is left of its bonus
 * leave the account while the bank looks into it, whatever nodes hold of it. What was spent already is the customer's debt meanwhile.
 * A dispute that is won gives all of it back. When one is lost, the debt is paid by the account's other paid credit as far as
 * there is any, and the rest is written off.
 */
import { GatewayError } from '@meridian/domain/error';
import type { Nano } from '@meridian/domain/money';
import {
  assertReference,
  type CreditDependencies,
  changeCreditOnce,
  type KeyedRequest,
  type LockedCredit,
  requireNumber,
} from './change.ts';
import * as store from './disputes-store.ts';
import { disputableNano, NO_CLAIMS, type Purchase } from './purchase.ts';
import { purchaseName, requirePurchase } from './purchases.ts';
import { selectClaims } from './purchases-store.ts';

const MAX_PAGE_ROWS = 1_001;

export interface Dispute {
  readonly id: bigint;
  readonly accountId: string;
  readonly purchaseId: bigint;
  readonly state: 'open' | 'won' | 'lost';
  /** What the bank took back: `taken` of the purchase's unspent credit, and what was `missing` of it. */
  readonly amountNano: Nano;
  readonly takenNano: Nano;
  readonly missingNano: Nano;
  /** Of the missing part, once it is lost: paid by the account's other credit, and written off. */
  readonly collectedNano: Nano;
  readonly writtenOffNano: Nano;
  /** The dispute, as the payment's processor names it. */
  readonly reference: string | undefined;
  readonly openedAtMs: number;
  readonly closedAtMs: number | undefined;
}

/** What a dispute took of one lot. */
export interface TakenFromLot {
  readonly lotId: bigint;
  readonly amountNano: Nano;
}

export interface DisputeRequest extends KeyedRequest {
  readonly accountId: string;
  readonly purchaseId: bigint;
  /** All of the price that was not paid back yet, unless told. */
  readonly amountNano?: Nano | undefined;
  readonly reference?: string | undefined;
}

export interface Disputes {
  /** A payment was disputed. Throws `not_found`, and `invalid_state` for a second one at a time or more than the payment. */
  open(request: DisputeRequest): Promise<Dispute>;
  /** The bank has decided. Throws `not_found`, and `invalid_state` when it had decided before. */
  close(request: KeyedRequest & { readonly disputeId: bigint; readonly outcome: 'won' | 'lost' }): Promise<Dispute>;
  /** Throws `not_found`. */
  get(disputeId: bigint): Promise<Dispute>;
  /** Newest first; `after` is the number of the last one already seen. */
  list(accountId: string, page: { readonly limit: number; readonly after?: bigint | undefined }): Promise<Dispute[]>;
}

export function createDisputes(dependencies: CreditDependencies): Disputes {
  const { db } = dependencies;
  /** The money is gone already, whatever nodes hold. They are asked for it, and what they use of it is written off. */
  const atOnce = { mayOverdraw: true };
  return {
    open: async (request) => {
      const { accountId, purchaseId, amountNano, reference } = request;
      assertReference(reference, 'reference');
      const purchase = await requirePurchase(dependencies, accountId, purchaseId);
      const content = ['dispute', accountId, purchaseId, amountNano, reference];
      const { subjectId } = await changeCreditOnce(
        dependencies,
        { ...request, content },
        (credit) => openIn(credit, purchase, amountNano, reference),
        atOnce,
      );
      return requireDispute(dependencies, requireNumber(subjectId));
    },
    close: async ({ idempotencyKey, disputeId, outcome }) => {
      const { accountId } = await requireDispute(dependencies, disputeId);
      const request = { idempotencyKey, accountId, content: ['dispute closed', disputeId, outcome] };
      await changeCreditOnce(dependencies, request, (credit) => closeIn(credit, disputeId, outcome), atOnce);
      return requireDispute(dependencies, disputeId);
    },
    get: (disputeId) => requireDispute(dependencies, disputeId),
    list: (accountId, { limit, after }) =>
      store.selectDisputes(db, accountId, { limit: Math.min(Math.max(limit, 1), MAX_PAGE_ROWS), beforeId: after }),
  };
}

async function openIn(
  { trx, accountId, book, nowMs }: LockedCredit,
  purchase: Purchase,
  asked: Nano | undefined,
  disputeReference: string | undefined,
): Promise<bigint> {
  const claims = (await selectClaims(trx, [purchase.id])).get(purchase.id) ?? NO_CLAIMS;
  if (claims.disputeOpen) throw new GatewayError('invalid_state', { message: 'The payment of this purchase is disputed already.' });
  const mostNano = disputableNano(purchase, claims);
  const amountNano = asked ?? mostNano;
  if (amountNano <= 0n || amountNano > mostNano) {
    throw new GatewayError('invalid_state', {
      message: 'The amount is not within what was paid and not paid back yet.',
      param: 'amount_usd',
    });
  }
  const reference = purchaseName(purchase.id);
  const taken: TakenFromLot[] = [];
  const take = (lotId: bigint, counterpart: 'payment_clearing' | 'promotion', most: Nano): Nano => {
    const unspent = book.unspentNano(lotId);
    const takenNano = unspent < most ? unspent : most;
    book.take({ code: 'dispute', counterpart, reference }, lotId, takenNano);
    if (takenNano > 0n) taken.push({ lotId, amountNano: takenNano });
    return takenNano;
  };
  let takenNano = 0n;
  for (const lot of book.lotsOf(purchase.id, 'paid')) takenNano += take(lot.id, 'payment_clearing', amountNano - takenNano);
  for (const lot of book.lotsOf(purchase.id, 'bonus')) take(lot.id, 'promotion', lot.amountNano);
  const missingNano = amountNano - takenNano;
  book.post({ code: 'dispute', debit: 'receivable', credit: 'payment_clearing', amountNano: missingNano, reference });
  const dispute = { accountId, purchaseId: purchase.id, amountNano, takenNano, missingNano, reference: disputeReference };
  return store.insertDispute(trx, { ...dispute, openedAtMs: nowMs }, taken);
}

async function closeIn({ trx, book, nowMs }: LockedCredit, disputeId: bigint, outcome: 'won' | 'lost'): Promise<bigint> {
  const dispute = await requireDispute({ db: trx }, disputeId);
  if (dispute.state !== 'open') throw new GatewayError('invalid_state', { message: `The dispute is ${dispute.state}.` });
  const { purchaseId, missingNano } = dispute;
  const reference = purchaseName(purchaseId);
  if (outcome === 'won') {
    const paid = new Set(book.lotsOf(purchaseId, 'paid').map((lot) => lot.id));
    for (const { lotId, amountNano } of await store.selectTaken(trx, disputeId)) {
      const counterpart = paid.has(lotId) ? 'payment_clearing' : 'promotion';
      book.giveBack({ code: 'dispute_won', counterpart, reference }, lotId, amountNano);
    }
    book.post({ code: 'dispute_won', debit: 'payment_clearing', credit: 'receivable', amountNano: missingNano, reference });
    await store.closeDispute(trx, disputeId, { state: 'won', collectedNano: 0n, writtenOffNano: 0n }, nowMs);
    return disputeId;
  }
  const { paidNano } = book.balance;
  const collectedNano = paidNano < missingNano ? paidNano : missingNano;
  const writtenOffNano = missingNano - collectedNano;
  if (collectedNano > 0n) book.takeOldest({ code: 'chargeback', counterpart: 'receivable', reference }, 'paid', collectedNano);
  book.post({ code: 'chargeback', debit: 'write_off', credit: 'receivable', amountNano: writtenOffNano, reference });
  await store.closeDispute(trx, disputeId, { state: 'lost', collectedNano, writtenOffNano }, nowMs);
  return disputeId;
}

async function requireDispute({ db }: { readonly db: Parameters<typeof store.findDispute>[0] }, disputeId: bigint): Promise<Dispute> {
  const dispute = await store.findDispute(db, disputeId);
  if (dispute === undefined) throw new GatewayError('not_found', { message: `There is no dispute ${disputeId}.` });
  return dispute;
}
