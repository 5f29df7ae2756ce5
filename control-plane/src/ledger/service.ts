/** What can be done with money: credit, adjust, spend, read. */
import { GatewayError } from '@meridian/domain/error';
import { type Nano, nanoToUsd } from '@meridian/domain/money';
import type { LimitListener } from '../budgets/caps.ts';
import { changePrepaidIn, coverPrepaidIn, heldBeyond, lockPrepaidIn } from '../budgets/prepaid.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import {
  type Balance,
  type CreditKind,
  changeCredit,
  creditAccount,
  EMPTY_BALANCE,
  type LedgerAccount,
  type PlatformAccount,
  type Posting,
  spendingPostings,
  splitCharge,
  type TransferCode,
  totalNano,
} from './ledger.ts';
import * as store from './store.ts';

const MAX_KEY_CHARS = 255;
const MAX_REFERENCE_CHARS = 500;
const MAX_PAGE_ROWS = 200;

export interface LedgerDependencies {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  /** Told after the commit that the limit of an account's prepaid budget has moved, and when a correction down waits for what nodes hold. */
  readonly onLimitChanged?: LimitListener;
}

/** Every change of credit from outside carries a key: the same key with the same content gets the same answer, and money moves once. */
export interface CreditRequest {
  /** 1 to 255 characters, one name space for the whole ledger: a payment's id, an operator's header. */
  readonly idempotencyKey: string;
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
  readonly code: TransferCode;
  readonly credit: CreditKind;
  /** Positive when the balance grew. */
  readonly amountNano: Nano;
  readonly reference: string | undefined;
}

export interface Ledger {
  /** Paid credit for money received; amount > 0. Whether the account exists is the caller's question. */
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
  /** Folds the transfers so far into a snapshot, so that reading a platform account sums only what came since. Returns accounts written. */
  takeSnapshot(): Promise<number>;
  /** Makes this month's and the next two months' partitions of transfers. Returns how many were missing. */
  makePartitions(): Promise<number>;
}

export function createLedger(dependencies: LedgerDependencies): Ledger {
  const { db, clock } = dependencies;
  return {
    topUp: async (request) => {
      requirePositive(request);
      return move(dependencies, 'top_up', 'payment_clearing', 'paid', request);
    },
    grant: async (request) => {
      requirePositive(request);
      return move(dependencies, 'grant', 'promotion', 'bonus', request);
    },
    adjust: async (request) => move(dependencies, 'adjustment', 'adjustment', request.credit ?? 'paid', request),
    balanceOf: async (accountId) => (await store.selectBalances(db, [accountId])).get(accountId) ?? EMPTY_BALANCE,
    listTransfers: async (accountId, page) => {
      const limit = Math.min(Math.max(page.limit, 1), MAX_PAGE_ROWS);
      return (await store.selectTransfers(db, accountId, { limit, beforeId: page.after })).map((row) => viewOf(accountId, row));
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

/** Rolls the transaction back when another one has used the key in the meantime. */
class KeyTakenError extends Error {}

/** Nodes hold what a correction would take away. */
class CreditHeldError extends GatewayError {
  readonly budgetId: string;

  constructor(budgetId: string, heldNano: Nano) {
    super('invalid_state', {
      message: `Nodes hold ${nanoToUsd(heldNano)} USD of this credit for requests. It is being called back: try again in some seconds.`,
    });
    this.budgetId = budgetId;
  }
}

async function move(
  { db, clock, onLimitChanged = () => {} }: LedgerDependencies,
  code: TransferCode,
  counterpart: PlatformAccount,
  credit: CreditKind,
  request: CreditRequest,
): Promise<CreditAnswer> {
  assertRequest(request);
  const nowMs = clock.nowMs();
  const content = JSON.stringify([code, credit, request.accountId, request.amountNano.toString(), request.reference ?? null]);
  const known = await store.findIdempotency(db, request.idempotencyKey);
  if (known !== undefined) return answerAgain(request, content, known);
  try {
    const { answer, limit } = await transaction(db, async (trx) => {
      const { accountId, amountNano } = request;
      const budget = await lockPrepaidIn(trx, accountId);
      const before = (await store.lockBalances(trx, [accountId])).get(accountId) ?? EMPTY_BALANCE;
      // A repetition that ran at the same time has committed by now: it must not be refused for what it itself has changed.
      if ((await store.findIdempotency(trx, request.idempotencyKey)) !== undefined) throw new KeyTakenError();
      const after = changeCredit(before, credit, amountNano);
      const held = heldBeyond(budget, amountNano);
      if (held > 0n) throw new CreditHeldError(budget.id, held);
      const limit = await changePrepaidIn(trx, budget, amountNano);
      await store.writeBalances(trx, new Map([[accountId, after]]));
      const [transferId] = await store.insertTransfers(
        trx,
        [postingOf(code, counterpart, creditAccount(credit, accountId), request)],
        nowMs,
      );
      if (transferId === undefined) throw new Error('a transfer was inserted and has no number');
      const balanceNano = totalNano(after);
      const free = await store.insertIdempotency(
        trx,
        request.idempotencyKey,
        { content, transferId, balanceAfterNano: balanceNano },
        nowMs,
      );
      if (!free) throw new KeyTakenError();
      return { answer: { transferId, accountId, amountNano, balanceNano }, limit };
    });
    onLimitChanged([limit.budgetId], limit.direction);
    return answer;
  } catch (error) {
    if (error instanceof CreditHeldError) onLimitChanged([error.budgetId], 'wanted');
    if (!(error instanceof KeyTakenError)) throw error;
    const taken = await store.findIdempotency(db, request.idempotencyKey);
    if (taken === undefined) throw error;
    return answerAgain(request, content, taken);
  }
}

function answerAgain(request: CreditRequest, content: string, known: store.IdempotencyRow): CreditAnswer {
  if (known.content !== content) {
    throw new GatewayError('invalid_state', { message: 'This idempotency key was used for another request.', param: 'idempotency-key' });
  }
  return {
    transferId: known.transferId,
    accountId: request.accountId,
    amountNano: request.amountNano,
    balanceNano: known.balanceAfterNano,
  };
}

function postingOf(code: TransferCode, counterpart: PlatformAccount, customer: LedgerAccount, request: CreditRequest): Posting {
  const up = request.amountNano > 0n;
  return {
    code,
    debit: up ? counterpart : customer,
    credit: up ? customer : counterpart,
    amountNano: up ? request.amountNano : -request.amountNano,
    accountId: request.accountId,
    batchId: undefined,
    reference: request.reference,
  };
}

function assertRequest(request: CreditRequest): void {
  const invalid = (message: string, param: string) => new GatewayError('invalid_request_error', { message, param });
  const { idempotencyKey, reference = '' } = request;
  if (idempotencyKey.length === 0 || idempotencyKey.length > MAX_KEY_CHARS || idempotencyKey.includes('\0')) {
    throw invalid(`An idempotency key has 1 to ${MAX_KEY_CHARS} characters.`, 'idempotency-key');
  }
  if (reference.length > MAX_REFERENCE_CHARS || reference.includes('\0')) {
    throw invalid(`A reference has at most ${MAX_REFERENCE_CHARS} characters.`, 'reference');
  }
  if (request.amountNano === 0n) throw invalid('The amount must not be zero.', 'amount_usd');
}

function requirePositive(request: CreditRequest): void {
  if (request.amountNano <= 0n) {
    throw new GatewayError('invalid_request_error', { message: 'The amount must be greater than zero.', param: 'amount_usd' });
  }
}

function viewOf(accountId: string, row: store.TransferRow): TransferView {
  const grew = row.credit === creditAccount('paid', accountId) || row.credit === creditAccount('bonus', accountId);
  const own = grew ? row.credit : row.debit;
  return {
    id: row.id,
    postedAtMs: row.postedAt.getTime(),
    // Only this service writes transfers, and only with these codes.
    code: row.code as TransferCode,
    credit: own.startsWith('bonus:') ? 'bonus' : 'paid',
    amountNano: grew ? row.amountNano : -row.amountNano,
    reference: row.reference ?? undefined,
  };
}
