/** What can be done with money: credit, adjust, spend, read. */

import { GatewayError } from '@meridian/domain/error';
import type { Nano } from '@meridian/domain/money';
import { coverPrepaidIn } from '../budgets/prepaid.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import {
  assertPositive,
  assertReference,
  type CreditDependencies,
  changeCreditOnce,
  type KeyedRequest,
  type LockedCredit,
  requireNumber,
} from './change.ts';
import {
  type Balance,
  type CreditKind,
  type CustomerCode,
  creditAccount,
  EMPTY_BALANCE,
  PLATFORM_ACCOUNTS,
  type PlatformAccount,
  type Posting,
  spendingPostings,
  splitCharge,
  totalNano,
} from './ledger.ts';
import { purchaseIn } from './purchases.ts';
import * as store from './store.ts';

const MAX_PAGE_ROWS = 200;

export interface CreditRequest extends KeyedRequest {
  readonly accountId: string;
  readonly amountNano: Nano;
  /** Shown beside the transfer (≤ 500 characters): a payment's id, an operator's reason. */
  readonly reference?: string;
}

export interface AdjustRequest extends CreditRequest {
  /** `paid` unless told. */
  readonly credit?: CreditKind;
}

export interface CreditAnswer {
  readonly transferId: bigint;
  readonly accountId: string;
  /** What the balance changed by. */
  readonly amountNano: Nano;
  /** Right after the transfer; a repeated key gets the figure of the first time. */
  readonly balanceNano: Nano;
}

/** A movement of a customer's credit as the customer sees it. */
export interface TransferView {
  readonly id: bigint;
  readonly postedAtMs: number;
  readonly code: CustomerCode;
  readonly credit: CreditKind;
  /** Positive when the balance grew. */
  readonly amountNano: Nano;
  readonly reference: string | undefined;
}

export interface Ledger {
  /** Paid credit for money received, as a purchase without a package; amount > 0. Whether the account exists is the caller's question. */
  topUp(request: CreditRequest): Promise<CreditAnswer>;
  /** Bonus credit given away; amount > 0. */
  grant(request: CreditRequest): Promise<CreditAnswer>;
  /**
   * A correction up (amount > 0) or down (amount < 0). Down never takes more than there is of that credit, nor what nodes hold for
   * requests under way (`invalid_state`): what they do not need is called back, so that a later attempt finds it.
   */
  adjust(request: AdjustRequest): Promise<CreditAnswer>;
  /** Zero for an account that never had credit. */
  balanceOf(accountId: string): Promise<Balance>;
  /** Newest first, at most 200; `after` is the id of the last one already seen. */
  listTransfers(accountId: string, page: { readonly limit: number; readonly after?: bigint }): Promise<TransferView[]>;
  /** Of each of the company's own accounts, as credit less debit; what a customer's credit is owed is on the customers' accounts. */
  platformBalances(): Promise<{ readonly account: PlatformAccount; readonly balanceNano: Nano }[]>;
  /** Folds the transfers so far into a snapshot, so that reading a platform account sums only what came since. Returns accounts written. */
  takeSnapshot(): Promise<number>;
  /** Makes this month's and the next two months' partitions of transfers. Returns how many were missing. */
  makePartitions(): Promise<number>;
}

export function createLedger(dependencies: CreditDependencies): Ledger {
  const { db, clock } = dependencies;
  return {
    topUp: async (request) => {
      assertPositive(request.amountNano);
      const { amountNano: priceNano, reference } = request;
      return moveOnce(dependencies, 'top_up', 'paid', request, (credit) => purchaseIn(credit, { priceNano, reference }));
    },
    grant: async (request) => {
      assertPositive(request.amountNano);
      const { amountNano, reference } = request;
      return moveOnce(dependencies, 'grant', 'bonus', request, async ({ book }) => {
        const cause = { code: 'grant', counterpart: 'promotion', reference } as const;
        book.give(cause, { kind: 'bonus', source: 'grant', purchaseId: undefined, amountNano });
        return undefined;
      });
    },
    adjust: async (request) => {
      const { amountNano, reference, credit: kind = 'paid' } = request;
      if (amountNano === 0n)
        throw new GatewayError('invalid_request_error', { message: 'The amount must not be zero.', param: 'amount_usd' });
      return moveOnce(dependencies, 'adjustment', kind, request, async ({ book }) => {
        const cause = { code: 'adjustment', counterpart: 'adjustment', reference } as const;
        if (amountNano > 0n) book.give(cause, { kind, source: 'adjustment', purchaseId: undefined, amountNano });
        else book.takeOldest(cause, kind, -amountNano);
        return undefined;
      });
    },
    balanceOf: async (accountId) => (await store.selectBalances(db, [accountId])).get(accountId) ?? EMPTY_BALANCE,
    listTransfers: async (accountId, page) => {
      const limit = Math.min(Math.max(page.limit, 1), MAX_PAGE_ROWS);
      return (await store.selectTransfers(db, accountId, { limit, beforeId: page.after })).map((row) => viewOf(accountId, row));
    },
    platformBalances: async () => {
      const balances = await store.selectSomeBalances(db, PLATFORM_ACCOUNTS);
      return PLATFORM_ACCOUNTS.map((account) => ({ account, balanceNano: balances.get(account) ?? 0n }));
    },
    takeSnapshot: async () => {
      const uptoId = await transaction(db, store.selectSettledId);
      return transaction(db, (trx) => store.insertSnapshot(trx, uptoId, clock.nowMs()));
    },
    makePartitions: () => store.makePartitions(db, clock.nowMs(), 2),
  };
}

/** Charges of one account in one usage batch, summed; > 0. */
export interface AccountCharge {
  readonly accountId: string;
  readonly chargeNano: Nano;
}

export interface SpendResult {
  /** Accounts whose credit did not cover the charge: an alarm each. */
  readonly shortfalls: readonly { readonly accountId: string; readonly shortfallNano: Nano }[];
}

/**
 * Charges a usage batch: bonus first, then paid, in at most one transfer for each account and kind of credit. It never fails on
 * money: what the credit does not cover is first put on it by write-offs, then charged. Locks the wallets in the order of their
 * ids, so call it after the cursor's lock and before hourly rows. `platform` are the batch's transfers between platform accounts.
 */
export async function spend(
  trx: Transaction,
  batch: {
    readonly batchId: bigint;
    readonly postedAtMs: number;
    readonly charges: readonly AccountCharge[];
    readonly platform: readonly Posting[];
  },
): Promise<SpendResult> {
  const charges = batch.charges.filter((charge) => charge.chargeNano > 0n);
  const postings: Posting[] = [];
  const shortfalls: { accountId: string; shortfallNano: Nano }[] = [];
  if (charges.length > 0) {
    const before = await store.lockBalances(
      trx,
      charges.map((charge) => charge.accountId),
    );
    const after = new Map<string, Balance>();
    for (const { accountId, chargeNano } of charges) {
      const spending = splitCharge(before.get(accountId) ?? EMPTY_BALANCE, chargeNano);
      after.set(accountId, spending.after);
      postings.push(...spendingPostings(accountId, spending, batch.batchId));
      if (spending.shortfallNano > 0n) shortfalls.push({ accountId, shortfallNano: spending.shortfallNano });
    }
    await store.writeBalances(trx, after);
    // Their budgets are locked already: whoever is charged has a lease on theirs.
    await coverPrepaidIn(
      trx,
      shortfalls.map(({ accountId, shortfallNano }) => ({ accountId, nano: shortfallNano })),
    );
  }
  postings.push(...batch.platform);
  if (postings.length > 0) await store.insertTransfers(trx, postings, batch.postedAtMs);
  return { shortfalls };
}

/**
 * Takes up to `limit` accounts whose balance changed since they were last taken, with their balances of this moment. For the one
 * who publishes them, once a second, in the same transaction: if it rolls back, they are taken again. An account whose
 * change is being committed at this moment comes with the next call; several publishers never get the same account.
 */
export async function takeChangedBalances(trx: Transaction, limit: number): Promise<{ accountId: string; balanceNano: Nano }[]> {
  const ids = await store.deleteChangedMarks(trx, limit);
  if (ids.length === 0) return [];
  // A statement of its own, after the marks are locked: it sees every change that was marked before.
  const balances = await store.selectBalances(trx, ids);
  return ids.toSorted().map((accountId) => ({ accountId, balanceNano: totalNano(balances.get(accountId) ?? EMPTY_BALANCE) }));
}

/** Leaves accounts that were taken in this transaction for the next call. */
export async function leaveChangedBalances(trx: Transaction, accountIds: readonly string[]): Promise<void> {
  if (accountIds.length > 0) await store.markChanged(trx, accountIds);
}

/** Balances of many accounts at once; an account without credit is absent. */
export async function balancesOf(db: Database | Transaction, accountIds: readonly string[]): Promise<Map<string, Balance>> {
  return store.selectBalances(db, accountIds);
}

/** Balance (Σ credits − Σ debits) of each ledger account that ever moved, customers' and the platform's: snapshot + tail. */
export async function ledgerBalances(db: Database | Transaction): Promise<Map<string, Nano>> {
  return store.selectLedgerBalances(db);
}

/** The same summed over all transfers, for audits of the snapshots. */
export async function transferSums(db: Database | Transaction): Promise<Map<string, Nano>> {
  return store.selectTransferSums(db);
}

/** Every customer's balance row. */
export async function wallets(db: Database | Transaction): Promise<{ accountId: string; paidNano: Nano; bonusNano: Nano }[]> {
  return store.selectWallets(db);
}

async function moveOnce(
  dependencies: CreditDependencies,
  code: CustomerCode,
  kind: CreditKind,
  request: CreditRequest,
  work: (credit: LockedCredit) => Promise<bigint | undefined>,
): Promise<CreditAnswer> {
  const { accountId, amountNano, reference } = request;
  assertReference(reference, 'reference');
  const content = [code, kind, accountId, amountNano, reference];
  const { transferId, balanceNano } = await changeCreditOnce(dependencies, { ...request, content }, work);
  return { transferId: requireNumber(transferId), accountId, amountNano, balanceNano };
}

function viewOf(accountId: string, row: store.TransferRow): TransferView {
  const grew = row.credit === creditAccount('paid', accountId) || row.credit === creditAccount('bonus', accountId);
  const own = grew ? row.credit : row.debit;
  return {
    id: row.id,
    postedAtMs: row.postedAt.getTime(),
    // Only the ledger writes transfers, and those of a customer only with these codes.
    code: row.code as CustomerCode,
    credit: own.startsWith('bonus:') ? 'bonus' : 'paid',
    amountNano: grew ? row.amountNano : -row.amountNano,
    reference: row.reference ?? undefined,
  };
}
