/** The prepaid budget of an account: its limit moves with the customer's credit, so that limit − settled is the balance. */
import { isPrepaidCapId, MAX_LIMIT, parseBudgetId, prepaidCapId } from '@meridian/domain/budget';
import type { Nano } from '@meridian/domain/money';
import type { Transaction } from '../database/transaction.ts';
import type { LimitChange } from './caps.ts';
import * as store from './store.ts';

export type PrepaidBudget = store.PrepaidRow;

/** Whether a budget, as `budgetId` names it, is an account's credit. */
export function isPrepaidBudgetId(id: string): boolean {
  return isPrepaidCapId(parseBudgetId(id)?.capId ?? '');
}

/** Makes the prepaid budget of a new account, without credit. */
export async function openPrepaidIn(trx: Transaction, accountId: string): Promise<void> {
  await store.insertPrepaid(trx, accountId, prepaidCapId(accountId));
}

/** Locks the prepaid budget of an account, before its wallet is. It is made when this is the account's first credit. */
export async function lockPrepaidIn(trx: Transaction, accountId: string): Promise<PrepaidBudget> {
  const id = prepaidCapId(accountId);
  const found = await store.lockPrepaid(trx, id);
  if (found !== undefined) return found;
  await store.insertPrepaid(trx, accountId, id);
  const made = await store.lockPrepaid(trx, id);
  if (made === undefined) throw new Error(`the prepaid budget of ${accountId} was made and is not there`);
  return made;
}

/** What nodes hold beyond the credit that a change would leave; 0 when they leave room for it. */
export function heldBeyond(budget: PrepaidBudget, changeNano: Nano): Nano {
  // More may be held than there is, in a database that was set back; that is no reason to refuse credit.
  if (changeNano >= 0n) return 0n;
  const beyond = budget.settled + budget.held - (budget.limit + changeNano);
  return beyond > 0n ? beyond : 0n;
}

/**
 * Changes the limit of a locked prepaid budget by what the customer's credit changes by. When all that was ever paid in would
 * pass 2^52, what is settled is taken off both sides first.
 */
export async function changePrepaidIn(trx: Transaction, budget: PrepaidBudget, changeNano: Nano): Promise<LimitChange> {
  const fold = budget.limit + changeNano > BigInt(MAX_LIMIT) ? budget.settled : 0n;
  await store.updatePrepaid(trx, budget.id, { limitBy: changeNano - fold, fold });
  return { budgetId: budget.id, direction: changeNano > 0n ? 'raised' : 'lowered' };
}

/** Puts credit that write-offs gave on the limits of prepaid budgets that are locked already. */
export async function coverPrepaidIn(
  trx: Transaction,
  credits: readonly { readonly accountId: string; readonly nano: Nano }[],
): Promise<void> {
  for (const { accountId, nano } of credits) {
    await store.updatePrepaid(trx, store.prepaidBudgetId(prepaidCapId(accountId)), { limitBy: nano, fold: 0n });
  }
}
