/** The SQL of refunds. */
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { NumberedPage } from './purchases-store.ts';
import type { Refund, RefundState, RefundStep } from './refund.ts';

type Reader = Database | Transaction;

export async function insertRefund(
  trx: Transaction,
  refund: Pick<Refund, 'accountId' | 'purchaseId' | 'reason' | 'requestedAtMs'>,
): Promise<bigint> {
  const row = await trx
    .insertInto('credit_refund')
    .values({
      account_id: refund.accountId,
      purchase_id: refund.purchaseId,
      state: 'requested',
      reason: refund.reason ?? null,
      requested_at: new Date(refund.requestedAtMs),
    })
    .returning('id')
    .executeTakeFirstOrThrow();
  return row.id;
}

/** Its account never changes; its state does unless the account's wallet is locked. */
export async function findRefund(db: Reader, id: bigint): Promise<Refund | undefined> {
  const row = await db.selectFrom('credit_refund').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : refundOf(row);
}

export async function selectRefunds(db: Reader, accountId: string, page: NumberedPage): Promise<Refund[]> {
  let query = db.selectFrom('credit_refund').selectAll().where('account_id', '=', accountId).orderBy('id', 'desc').limit(page.limit);
  if (page.beforeId !== undefined) query = query.where('id', '<', page.beforeId);
  return (await query.execute()).map(refundOf);
}

/** Those under way that were tried longest ago. */
export async function selectUnderWay(db: Reader, limit: number): Promise<bigint[]> {
  const rows = await db
    .selectFrom('credit_refund')
    .select('id')
    .where('state', 'in', ['requested', 'recalling'])
    .orderBy('tried_at', (order) => order.asc().nullsFirst())
    .orderBy('id')
    .limit(limit)
    .execute();
  return rows.map((row) => row.id);
}

export async function updateRefund(trx: Transaction, id: bigint, step: RefundStep, nowMs: number): Promise<void> {
  const now = new Date(nowMs);
  await trx
    .updateTable('credit_refund')
    .set({
      state: step.state,
      amount_nano: step.state === 'posted' ? step.amountNano : 0n,
      bonus_cancelled_nano: step.state === 'posted' ? step.bonusCancelledNano : 0n,
      held_nano: step.state === 'posted' ? 0n : step.heldNano,
      refusal: step.state === 'refused' ? step.refusal : null,
      tried_at: now,
      closed_at: step.state === 'recalling' ? null : now,
    })
    .where('id', '=', id)
    .execute();
}

function refundOf(row: {
  readonly id: bigint;
  readonly account_id: string;
  readonly purchase_id: bigint;
  readonly state: string;
  readonly amount_nano: bigint;
  readonly bonus_cancelled_nano: bigint;
  readonly held_nano: bigint;
  readonly reason: string | null;
  readonly refusal: string | null;
  readonly requested_at: Date;
  readonly tried_at: Date | null;
  readonly closed_at: Date | null;
}): Refund {
  return {
    id: row.id,
    accountId: row.account_id,
    purchaseId: row.purchase_id,
    // Only this file writes these columns, from values of these types.
    state: row.state as RefundState,
    refusal: (row.refusal ?? undefined) as Refund['refusal'],
    amountNano: row.amount_nano,
    bonusCancelledNano: row.bonus_cancelled_nano,
    heldNano: row.held_nano,
    reason: row.reason ?? undefined,
    requestedAtMs: row.requested_at.getTime(),
    triedAtMs: row.tried_at?.getTime(),
    closedAtMs: row.closed_at?.getTime(),
  };
}
