/** Changes an account's credit from outside, once for each idempotency key: the wallet, its lots, the transfers, the limit of prepaid credit. */
import { GatewayError } from '@meridian/domain/error';
import { type Nano, nanoToUsd } from '@meridian/domain/money';
import type { LimitChange, LimitListener } from '../budgets/caps.ts';
import { changePrepaidIn, heldBeyond, lockPrepaidIn } from '../budgets/prepaid.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import { EMPTY_BALANCE, totalNano } from './ledger.ts';
import { CreditBook } from './lots.ts';
import * as lotsStore from './lots-store.ts';
import * as store from './store.ts';

const MAX_KEY_CHARS = 255;
const MAX_REFERENCE_CHARS = 500;

export interface CreditDependencies {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  /** Told after the commit that the limit of an account's prepaid budget has moved, and when a change down waits for what nodes hold. */
  readonly onLimitChanged?: LimitListener;
}

/** Every change of credit from outside carries a key: the same key with the same content gets the same answer, and money moves once. */
export interface KeyedRequest {
  /** 1 to 255 characters, one name space for the whole ledger: a payment's id, an operator's header. */
  readonly idempotencyKey: string;
}

/** An account under the locks of a change. */
export interface LockedCredit {
  readonly trx: Transaction;
  readonly accountId: string;
  /** The prepaid budget, as `budgetId` names it. */
  readonly budgetId: string;
  readonly book: CreditBook;
  readonly nowMs: number;
  /** What nodes hold beyond the credit that a change would leave; 0 when they leave room for it. */
  heldBeyond(changeNano: Nano): Nano;
}

export interface Changed {
  /** The first transfer; undefined when nothing moved. */
  readonly transferId: bigint | undefined;
  readonly balanceNano: Nano;
  /** For `announceChange`, after the commit. */
  readonly limit: LimitChange | undefined;
}

export interface ChangeOptions {
  /** Whether the credit may be taken although nodes hold it for requests; else `invalid_state`, and they are asked to give it back. */
  readonly mayOverdraw?: boolean;
}

/** What a request with a key came to: now, or when the key was used first. */
export interface OnceAnswer {
  readonly transferId: bigint | undefined;
  readonly subjectId: bigint | undefined;
  /** Right after the change; a repeated key gets the figure of the first time. */
  readonly balanceNano: Nano;
}

/** Nodes hold what a change would take away. */
class CreditHeldError extends GatewayError {
  readonly budgetId: string;

  constructor(budgetId: string, heldNano: Nano) {
    super('invalid_state', {
      message: `Nodes hold ${nanoToUsd(heldNano)} USD of this credit for requests. It is being called back: try again in some seconds.`,
    });
    this.budgetId = budgetId;
  }
}

/** Rolls the transaction back when another one has used the key in the meantime. */
class KeyTakenError extends Error {}

/**
 * Locks an account's prepaid budget, wallet and lots, in this order, lets `work` move them, and writes what it moved: the limit changes by
 * what the balance does. Anything else that is locked is locked in `work`.
 */
export async function changeCreditIn<T>(
  trx: Transaction,
  account: { readonly accountId: string; readonly nowMs: number },
  work: (credit: LockedCredit) => Promise<T>,
  { mayOverdraw = false }: ChangeOptions = {},
): Promise<Changed & { readonly result: T }> {
  const { accountId, nowMs } = account;
  const budget = await lockPrepaidIn(trx, accountId);
  const before = (await store.lockBalances(trx, [accountId])).get(accountId) ?? EMPTY_BALANCE;
  const book = new CreditBook(accountId, before, await lotsStore.selectLots(trx, accountId));
  const result = await work({
    trx,
    accountId,
    budgetId: budget.id,
    book,
    nowMs,
    heldBeyond: (changeNano) => heldBeyond(budget, changeNano),
  });
  const { balance, netNano, postings, newLots, changedLots } = book.changes();
  const held = heldBeyond(budget, netNano);
  if (held > 0n && !mayOverdraw) throw new CreditHeldError(budget.id, held);
  const limit = netNano === 0n ? undefined : await changePrepaidIn(trx, budget, netNano);
  if (netNano !== 0n) await store.writeBalances(trx, new Map([[accountId, balance]]));
  const [transferId] = postings.length > 0 ? await store.insertTransfers(trx, postings, nowMs) : [];
  await lotsStore.insertLots(trx, accountId, newLots);
  await lotsStore.updateTaken(trx, changedLots);
  return { result, transferId, balanceNano: totalNano(balance), limit };
}

/** Tells those who hand out shares of the credit what has become of it. After the commit. */
export function announceChange({ onLimitChanged }: CreditDependencies, { limit }: Pick<Changed, 'limit'>): void {
  if (limit !== undefined) onLimitChanged?.([limit.budgetId], limit.direction);
}

/**
 * The same once for each key, in a transaction of its own. `content` is all that the request says; `work` returns the number of
 * what it made, if it made something. Throws `invalid_state` for a key that was used for another request.
 */
export async function changeCreditOnce(
  dependencies: CreditDependencies,
  request: KeyedRequest & { readonly accountId: string; readonly content: readonly unknown[] },
  work: (credit: LockedCredit) => Promise<bigint | undefined>,
  options: ChangeOptions = {},
): Promise<OnceAnswer> {
  const { db, clock } = dependencies;
  const { idempotencyKey, accountId } = request;
  assertKey(idempotencyKey);
  const nowMs = clock.nowMs();
  const content = JSON.stringify(request.content, (_, value) => (typeof value === 'bigint' ? value.toString() : (value ?? null)));
  const known = await store.findIdempotency(db, idempotencyKey);
  if (known !== undefined) return answerAgain(content, known);
  try {
    const changed = await transaction(db, (trx) =>
      changeCreditIn(
        trx,
        { accountId, nowMs },
        async (credit) => {
          // A repetition that ran at the same time has committed by now: it must not be refused for what it itself has changed.
          if ((await store.findIdempotency(trx, idempotencyKey)) !== undefined) throw new KeyTakenError();
          return work(credit);
        },
        options,
      ).then(async (done) => {
        const { transferId, balanceNano, result: subjectId } = done;
        const row = { content, transferId: transferId ?? null, subjectId: subjectId ?? null, balanceAfterNano: balanceNano };
        if (!(await store.insertIdempotency(trx, idempotencyKey, row, nowMs))) throw new KeyTakenError();
        return done;
      }),
    );
    announceChange(dependencies, changed);
    return { transferId: changed.transferId, subjectId: changed.result, balanceNano: changed.balanceNano };
  } catch (error) {
    if (error instanceof CreditHeldError) dependencies.onLimitChanged?.([error.budgetId], 'wanted');
    if (!(error instanceof KeyTakenError)) throw error;
    const taken = await store.findIdempotency(db, idempotencyKey);
    if (taken === undefined) throw error;
    return answerAgain(content, taken);
  }
}

function answerAgain(content: string, known: store.IdempotencyRow): OnceAnswer {
  if (known.content !== content) {
    throw new GatewayError('invalid_state', { message: 'This idempotency key was used for another request.', param: 'idempotency-key' });
  }
  return { transferId: known.transferId ?? undefined, subjectId: known.subjectId ?? undefined, balanceNano: known.balanceAfterNano };
}

function assertKey(key: string): void {
  if (key.length > 0 && key.length <= MAX_KEY_CHARS && !key.includes('\0')) return;
  const message = `An idempotency key has 1 to ${MAX_KEY_CHARS} characters.`;
  throw new GatewayError('invalid_request_error', { message, param: 'idempotency-key' });
}

/** Throws `invalid_request_error` for what cannot be kept beside a transfer. */
export function assertReference(reference: string | undefined, param: string): void {
  if (reference === undefined || (reference.length <= MAX_REFERENCE_CHARS && !reference.includes('\0'))) return;
  throw new GatewayError('invalid_request_error', { message: `A ${param} has at most ${MAX_REFERENCE_CHARS} characters.`, param });
}

/** Throws `invalid_request_error` unless the amount is above zero. */
export function assertPositive(amountNano: Nano): void {
  if (amountNano > 0n) return;
  throw new GatewayError('invalid_request_error', { message: 'The amount must be greater than zero.', param: 'amount_usd' });
}

/** A key without an answer to a number that it must have: a bug, or rows that were changed by hand. */
export function requireNumber(number: bigint | undefined): bigint {
  if (number === undefined) throw new Error('an idempotency key has no number of what it made');
  return number;
}
