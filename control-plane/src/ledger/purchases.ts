/** Use cases of packages and purchases. */
import { GatewayError } from '@meridian/domain/error';
import { MAX_BALANCE_NANO, type Nano } from '@meridian/domain/money';
import { transaction } from '../database/transaction.ts';
import {
  assertPositive,
  assertReference,
  type CreditDependencies,
  changeCreditOnce,
  type KeyedRequest,
  type LockedCredit,
  requireNumber,
} from './change.ts';
import { changeCredit } from './ledger.ts';
import { CreditBook } from './lots.ts';
import * as lotsStore from './lots-store.ts';
import { redeemIn } from './promotions.ts';
import { bonusOf, type CreditPackage, NO_CLAIMS, type Purchase, refundable, refundableUntilMs } from './purchase.ts';
import * as store from './purchases-store.ts';

const MAX_PAGE_ROWS = 1_001;

export interface BuyRequest extends KeyedRequest {
  readonly accountId: string;
  /** A package that is sold now, or an amount above 0, which gives no bonus. */
  readonly what: { readonly packageId: string } | { readonly amountNano: Nano };
  /** The name of a promotion that gives a share of a purchase. */
  readonly promotionId?: string | undefined;
  /** The payment, as its processor names it (≤ 500 characters). */
  readonly reference?: string | undefined;
}

/** A purchase as it stands. */
export interface PurchaseView extends Purchase {
  readonly unspentNano: Nano;
  readonly bonusUnspentNano: Nano;
  readonly refundedNano: Nano;
  readonly chargedBackNano: Nano;
  readonly disputeOpen: boolean;
  /** What a refund would pay back now. */
  readonly refundableNano: Nano;
  readonly refundableUntilMs: number;
}

export interface Purchases {
  /** Cheapest first, those that are not sold any more among them. */
  packages(): Promise<CreditPackage[]>;
  /** Makes or changes a package. What was bought keeps what it was bought with. */
  savePackage(one: CreditPackage): Promise<CreditPackage>;
  /** Paid credit for a payment received, and its bonus. Whether the account exists is the caller's question. */
  buy(request: BuyRequest): Promise<PurchaseView>;
  /** Newest first; `after` is the number of the last one already seen. */
  list(accountId: string, page: { readonly limit: number; readonly after?: bigint | undefined }): Promise<PurchaseView[]>;
}

export function createPurchases(dependencies: CreditDependencies): Purchases {
  const { db, clock } = dependencies;
  return {
    packages: () => store.selectPackages(db),
    savePackage: async (one) => {
      assertPositive(one.priceNano);
      if (one.priceNano > MAX_BALANCE_NANO) {
        throw new GatewayError('invalid_request_error', { message: 'The price is above the largest balance.', param: 'price_usd' });
      }
      await transaction(db, (trx) => store.putPackage(trx, one, clock.nowMs()));
      return one;
    },
    buy: async (request) => {
      const { accountId, what, promotionId, reference } = request;
      assertReference(reference, 'reference');
      if ('amountNano' in what) assertPositive(what.amountNano);
      const content = ['purchase', accountId, what, promotionId, reference];
      const { subjectId } = await changeCreditOnce(dependencies, { ...request, content }, async (credit) => {
        const given = 'packageId' in what ? await soldPackage(credit, what.packageId) : undefined;
        const priceNano = 'amountNano' in what ? what.amountNano : (given?.priceNano ?? 0n);
        return purchaseIn(credit, { priceNano, given, promotionId, reference });
      });
      const [view] = await viewsOf(dependencies, accountId, [await requirePurchase(dependencies, accountId, requireNumber(subjectId))]);
      if (view === undefined) throw new Error('a purchase was made and is not there');
      return view;
    },
    list: async (accountId, { limit, after }) =>
      viewsOf(
        dependencies,
        accountId,
        await store.selectPurchases(db, accountId, { limit: Math.min(Math.max(limit, 1), MAX_PAGE_ROWS), beforeId: after }),
      ),
  };
}

/** Writes a purchase and gives its credit: the price as paid credit, the package's share and the promotion's as bonus. Returns its number. */
export async function purchaseIn(
  credit: LockedCredit,
  purchase: {
    readonly priceNano: Nano;
    readonly given?: CreditPackage | undefined;
    readonly promotionId?: string | undefined;
    readonly reference?: string | undefined;
  },
): Promise<bigint> {
  const { trx, accountId, book, nowMs } = credit;
  const { priceNano, given, promotionId, reference } = purchase;
  // Before it is written: an amount that no wallet holds may not fit into a row either.
  changeCredit(book.balance, 'paid', priceNano);
  const packageBonusNano = given === undefined ? 0n : bonusOf(priceNano, given.bonusBasisPoints);
  const promotionNano = promotionId === undefined ? 0n : await redeemIn(credit, promotionId, priceNano);
  const purchaseId = await store.insertPurchase(trx, {
    accountId,
    packageId: given?.id,
    priceNano,
    bonusNano: packageBonusNano + promotionNano,
    reference,
    purchasedAtMs: nowMs,
  });
  const lot = { source: 'purchase', purchaseId } as const;
  book.give({ code: 'top_up', counterpart: 'payment_clearing', reference }, { ...lot, kind: 'paid', amountNano: priceNano });
  book.give(
    { code: 'bonus', counterpart: 'promotion', reference: purchaseName(purchaseId) },
    { ...lot, kind: 'bonus', amountNano: packageBonusNano },
  );
  book.give({ code: 'promotion', counterpart: 'promotion', reference: promotionId }, { ...lot, kind: 'bonus', amountNano: promotionNano });
  return purchaseId;
}

/** What a purchase is called beside the transfers that follow from it. */
export function purchaseName(purchaseId: bigint): string {
  return `purchase ${purchaseId}`;
}

/** Throws `not_found` unless the account made the purchase. */
export async function requirePurchase({ db }: Pick<CreditDependencies, 'db'>, accountId: string, purchaseId: bigint): Promise<Purchase> {
  const purchase = await store.findPurchase(db, purchaseId);
  if (purchase?.accountId === accountId) return purchase;
  throw new GatewayError('not_found', { message: `There is no purchase ${purchaseId}.` });
}

async function soldPackage({ trx }: LockedCredit, id: string): Promise<CreditPackage> {
  const found = await store.findPackage(trx, id);
  if (found?.active === true) return found;
  throw new GatewayError('invalid_request_error', { message: `There is no package ${id} on sale.`, param: 'package_id' });
}

async function viewsOf({ db, clock }: CreditDependencies, accountId: string, purchases: readonly Purchase[]): Promise<PurchaseView[]> {
  const claims = await store.selectClaims(
    db,
    purchases.map((purchase) => purchase.id),
  );
  const { lots, balance } = await lotsStore.selectLotsAndBalance(db, accountId);
  const book = new CreditBook(accountId, balance, lots);
  return purchases.map((purchase) => {
    const standing = book.purchase(purchase.id);
    const claimed = claims.get(purchase.id) ?? NO_CLAIMS;
    const refund = refundable(purchase, standing, claimed, clock.nowMs());
    return {
      ...purchase,
      unspentNano: standing.unspentNano,
      bonusUnspentNano: standing.bonusUnspentNano,
      refundedNano: claimed.refundedNano,
      chargedBackNano: claimed.chargedBackNano,
      disputeOpen: claimed.disputeOpen,
      refundableNano: 'amountNano' in refund ? refund.amountNano : 0n,
      refundableUntilMs: refundableUntilMs(purchase),
    };
  });
}
