/** Use cases of refunds: requested once, tried until they are posted or refused, read meanwhile. */
import { GatewayError } from '@meridian/domain/error';
import { transaction } from '../database/transaction.ts';
import {
  announceChange,
  assertReference,
  type CreditDependencies,
  changeCreditIn,
  changeCreditOnce,
  type KeyedRequest,
  type LockedCredit,
  requireNumber,
} from './change.ts';
import { NO_CLAIMS, type Purchase, type RefundRefusal, refundable } from './purchase.ts';
import { purchaseName, requirePurchase } from './purchases.ts';
import { selectClaims } from './purchases-store.ts';
import { isUnderWay, type Refund, type RefundStep, tryRefund } from './refund.ts';
import * as store from './refunds-store.ts';

const MAX_PAGE_ROWS = 1_001;
const TRIED_A_RUN = 100;

const REFUSALS: Readonly<Record<RefundRefusal, string>> = {
  too_late: 'The purchase is too long ago to be refunded.',
  dispute_open: 'The purchase cannot be refunded while its payment is disputed.',
  nothing_left: 'Nothing of the purchase is left to be refunded.',
};

export interface RefundRequest extends KeyedRequest {
  readonly accountId: string;
  readonly purchaseId: bigint;
  /** The operator's words (≤ 500 characters). */
  readonly reason?: string | undefined;
}

export interface Refunds {
  /**
   * Refunds a purchase at once, or begins to call back what nodes hold of the credit: the answer tells which. Throws `not_found`, and
   * `invalid_state` where the rules leave nothing to refund or a refund is under way.
   */
  request(request: RefundRequest): Promise<Refund>;
  /** Throws `not_found`. */
  get(refundId: bigint): Promise<Refund>;
  /** Newest first; `after` is the number of the last one already seen. */
  list(accountId: string, page: { readonly limit: number; readonly after?: bigint | undefined }): Promise<Refund[]>;
  /** Tries refunds that are under way, and asks nodes again for what they hold. Returns how many are under way still. For a job. */
  advance(): Promise<number>;
}

export function createRefunds(dependencies: CreditDependencies): Refunds {
  const { db } = dependencies;
  return {
    request: async (request) => {
      const { accountId, purchaseId, reason } = request;
      assertReference(reason, 'reason');
      const purchase = await requirePurchase(dependencies, accountId, purchaseId);
      const content = ['refund', accountId, purchaseId, reason];
      const { subjectId } = await changeCreditOnce(dependencies, { ...request, content }, async (credit) => {
        await assertRefundable(credit, purchase);
        return store.insertRefund(credit.trx, { accountId, purchaseId, reason, requestedAtMs: credit.nowMs });
      });
      const refund = await requireRefund(dependencies, requireNumber(subjectId));
      if (refund.state !== 'requested') return refund;
      await tryAgain(dependencies, refund);
      return requireRefund(dependencies, refund.id);
    },
    get: (refundId) => requireRefund(dependencies, refundId),
    list: (accountId, { limit, after }) =>
      store.selectRefunds(db, accountId, { limit: Math.min(Math.max(limit, 1), MAX_PAGE_ROWS), beforeId: after }),
    advance: async () => {
      let underWay = 0;
      const errors: unknown[] = [];
      for (const id of await store.selectUnderWay(db, TRIED_A_RUN)) {
        try {
          const step = await tryAgain(dependencies, await requireRefund(dependencies, id));
          if (step?.state === 'recalling') underWay += 1;
        } catch (error) {
          // One that cannot be tried must not keep the others from it.
          errors.push(error);
        }
      }
      if (errors.length > 0) throw new AggregateError(errors, `${errors.length} refunds could not be tried`);
      return underWay;
    },
  };
}

/** One try, in a transaction of its own; undefined when it was closed meanwhile. */
async function tryAgain(dependencies: CreditDependencies, { id, accountId, purchaseId }: Refund): Promise<RefundStep | undefined> {
  const { db, clock, onLimitChanged } = dependencies;
  const purchase = await requirePurchase(dependencies, accountId, purchaseId);
  const done = await transaction(db, (trx) =>
    changeCreditIn(trx, { accountId, nowMs: clock.nowMs() }, async (credit) => {
      const refund = await store.findRefund(trx, id);
      if (refund === undefined || !isUnderWay(refund)) return undefined;
      const claims = (await selectClaims(trx, [purchaseId])).get(purchaseId) ?? NO_CLAIMS;
      const step = tryRefund(refund, purchase, credit.book.purchase(purchaseId), claims, credit);
      if (step.state === 'posted') take(credit, purchaseId, step);
      await store.updateRefund(trx, id, step, credit.nowMs);
      return { step, budgetId: credit.budgetId };
    }),
  );
  announceChange(dependencies, done);
  if (done.result?.step.state === 'recalling') onLimitChanged?.([done.result.budgetId], 'wanted');
  return done.result?.step;
}

function take({ book }: LockedCredit, purchaseId: bigint, step: Extract<RefundStep, { state: 'posted' }>): void {
  const reference = purchaseName(purchaseId);
  const [paid] = book.lotsOf(purchaseId, 'paid');
  if (paid === undefined) throw new Error(`${reference} has no paid credit`);
  book.take({ code: 'refund', counterpart: 'refund', reference }, paid.id, step.amountNano);
  for (const lot of book.lotsOf(purchaseId, 'bonus')) {
    book.take({ code: 'bonus_cancelled', counterpart: 'promotion', reference }, lot.id, book.unspentNano(lot.id));
  }
}

async function assertRefundable({ trx, book, nowMs }: LockedCredit, purchase: Purchase): Promise<void> {
  const claims = (await selectClaims(trx, [purchase.id])).get(purchase.id) ?? NO_CLAIMS;
  if (claims.refundUnderWay) throw new GatewayError('invalid_state', { message: 'A refund of this purchase is under way.' });
  const found = refundable(purchase, book.purchase(purchase.id), claims, nowMs);
  if ('refusal' in found) throw new GatewayError('invalid_state', { message: REFUSALS[found.refusal] });
}

async function requireRefund({ db }: Pick<CreditDependencies, 'db'>, refundId: bigint): Promise<Refund> {
  const refund = await store.findRefund(db, refundId);
  if (refund === undefined) throw new GatewayError('not_found', { message: `There is no refund ${refundId}.` });
  return refund;
}
