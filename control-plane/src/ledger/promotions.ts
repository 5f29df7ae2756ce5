/** Use cases of promotions, and of the trial, which is one of them. */
import { GatewayError } from '@meridian/domain/error';
import type { Nano } from '@meridian/domain/money';
import { transaction } from '../database/transaction.ts';
import { addressHash, normaliseAddress } from './address.ts';
import { type CreditDependencies, changeCreditOnce, type KeyedRequest, type LockedCredit, requireNumber } from './change.ts';
import type { Cause } from './lots.ts';
import { assertTerms, givenNow, type Promotion, type PromotionTerms, TRIAL_ID } from './promotion.ts';
import * as store from './promotions-store.ts';
import type { CreditAnswer } from './service.ts';

export interface PromotionDependencies extends CreditDependencies {
  /** Keys the hashes of addresses, so that whoever reads the table cannot try addresses against it. */
  readonly addressKey: Uint8Array;
}

export interface Promotions {
  list(): Promise<Promotion[]>;
  /** Makes or changes a promotion. A budget below what was given already gives nothing more. */
  save(terms: PromotionTerms): Promise<Promotion>;
  /** Gives an account the amount of a promotion, once. Throws `not_found`, and `invalid_state` when it gives nothing now or gave already. */
  redeem(request: KeyedRequest & { readonly accountId: string; readonly promotionId: string }): Promise<CreditAnswer>;
  /**
   * Gives the trial to an account whose e-mail address was verified: once for each address, however it is spelt, and once an account.
   * The same account and address again get the same answer; any other repetition throws `invalid_state`.
   */
  grantTrial(accountId: string, email: string): Promise<CreditAnswer>;
}

export function createPromotions(dependencies: PromotionDependencies): Promotions {
  const { db, clock, addressKey } = dependencies;
  return {
    list: () => store.selectPromotions(db),
    save: async (terms) => {
      assertTerms(terms);
      return transaction(db, (trx) => store.putPromotion(trx, terms, clock.nowMs()));
    },
    redeem: async ({ idempotencyKey, accountId, promotionId }) => {
      const request = { idempotencyKey, accountId, promotionId, content: ['promotion', accountId, promotionId] };
      return giveOnce(dependencies, request, async (credit) => {
        if (promotionId === TRIAL_ID) throw notFound(promotionId);
        await giveIn(credit, promotionId, { code: 'promotion', counterpart: 'promotion', reference: promotionId });
      });
    },
    grantTrial: async (accountId, email) => {
      const hash = addressHash(addressKey, normaliseAddress(email));
      const idempotencyKey = `trial:${accountId}:${hash.toString('hex')}`;
      const request = { idempotencyKey, accountId, promotionId: TRIAL_ID, content: ['trial', accountId] };
      return giveOnce(dependencies, request, async (credit) => {
        await giveIn(credit, TRIAL_ID, { code: 'trial', counterpart: 'promotion' });
        if (await store.claimAddress(credit.trx, hash, accountId, credit.nowMs)) return;
        throw new GatewayError('invalid_state', { message: 'This e-mail address had its trial.', param: 'email' });
      });
    },
  };
}

async function giveOnce(
  dependencies: CreditDependencies,
  request: KeyedRequest & { readonly accountId: string; readonly promotionId: string; readonly content: readonly unknown[] },
  work: (credit: LockedCredit) => Promise<void>,
): Promise<CreditAnswer> {
  const { accountId, promotionId } = request;
  const { transferId, balanceNano } = await changeCreditOnce(dependencies, request, async (credit) => {
    await work(credit);
    return undefined;
  });
  const amountNano = await store.findRedemption(dependencies.db, promotionId, accountId);
  return { transferId: requireNumber(transferId), accountId, amountNano: requireNumber(amountNano), balanceNano };
}

async function giveIn(credit: LockedCredit, promotionId: string, cause: Cause): Promise<void> {
  const amountNano = await redeemIn(credit, promotionId, undefined);
  const source = promotionId === TRIAL_ID ? 'trial' : 'promotion';
  credit.book.give(cause, { kind: 'bonus', source, purchaseId: undefined, amountNano });
}

/** Writes down that an account redeems a promotion, with a purchase of a price or without, and returns what the caller is to give. */
export async function redeemIn({ trx, accountId, nowMs }: LockedCredit, promotionId: string, priceNano: Nano | undefined): Promise<Nano> {
  const promotion = await store.lockPromotion(trx, promotionId);
  if (promotion === undefined) throw notFound(promotionId);
  if ((await store.findRedemption(trx, promotionId, accountId)) !== undefined) {
    throw new GatewayError('invalid_state', { message: `The account had the promotion ${promotionId} already.` });
  }
  const amountNano = givenNow(promotion, nowMs, priceNano);
  await store.insertRedemption(trx, { promotionId, accountId, amountNano }, nowMs);
  return amountNano;
}

function notFound(promotionId: string): GatewayError {
  return new GatewayError('not_found', { message: `There is no promotion ${promotionId}.` });
}
