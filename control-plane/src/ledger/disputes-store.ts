/** The SQL of disputes. */
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Dispute, TakenFromLot } from './disputes.ts';
import type { NumberedPage } from './purchases-store.ts';

type Reader = Database | Transaction;

export async function insertDispute(
  trx: Transaction,
  dispute: Pick<Dispute, 'accountId' | 'purchaseId' | 'amountNano' | 'takenNano' | 'missingNano' | 'reference' | 'openedAtMs'>,
  taken: readonly TakenFromLot[],
): Promise<bigint> {
  const { id } = await trx
    .insertInto('credit_dispute')
    .values({
      account_id: dispute.accountId,
      purchase_id: dispute.purchaseId,
      state: 'open',
      amount_nano: dispute.amountNano,
      taken_nano: dispute.takenNano,
      missing_nano: dispute.missingNano,
      reference: dispute.reference ?? null,
      opened_at: new Date(dispute.openedAtMs),
    })
    .returning('id')
    .executeTakeFirstOrThrow();
  for (const { lotId, amountNano } of taken) {
    await trx.insertInto('credit_dispute_lot').values({ dispute_id: id, lot_id: lotId, amount_nano: amountNano }).execute();
  }
  return id;
}

/** Its account never changes; its state does unless the account's wallet is locked. */
export async function findDispute(db: Reader, id: bigint): Promise<Dispute | undefined> {
  const row = await db.selectFrom('credit_dispute').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : disputeOf(row);
}

export async function selectDisputes(db: Reader, accountId: string, page: NumberedPage): Promise<Dispute[]> {
  let query = db.selectFrom('credit_dispute').selectAll().where('account_id', '=', accountId).orderBy('id', 'desc').limit(page.limit);
  if (page.beforeId !== undefined) query = query.where('id', '<', page.beforeId);
  return (await query.execute()).map(disputeOf);
}

/** In the order of the lots' numbers. */
export async function selectTaken(trx: Transaction, disputeId: bigint): Promise<TakenFromLot[]> {
  return trx
    .selectFrom('credit_dispute_lot')
    .select(['lot_id as lotId', 'amount_nano as amountNano'])
    .where('dispute_id', '=', disputeId)
    .orderBy('lot_id')
    .execute();
}

/** Closes a dispute whose account's wallet is locked. */
export async function closeDispute(
  trx: Transaction,
  id: bigint,
  end: Pick<Dispute, 'state' | 'collectedNano' | 'writtenOffNano'>,
  nowMs: number,
): Promise<void> {
  await trx
    .updateTable('credit_dispute')
    .set({ state: end.state, collected_nano: end.collectedNano, written_off_nano: end.writtenOffNano, closed_at: new Date(nowMs) })
    .where('id', '=', id)
    .execute();
}

function disputeOf(row: {
  readonly id: bigint;
  readonly account_id: string;
  readonly purchase_id: bigint;
  readonly state: string;
  readonly amount_nano: bigint;
  readonly taken_nano: bigint;
  readonly missing_nano: bigint;
  readonly collected_nano: bigint;
  readonly written_off_nano: bigint;
  readonly reference: string | null;
  readonly opened_at: Date;
  readonly closed_at: Date | null;
}): Dispute {
  return {
    id: row.id,
    accountId: row.account_id,
    purchaseId: row.purchase_id,
    // Only this file writes the column, from values of this type.
    state: row.state as Dispute['state'],
    amountNano: row.amount_nano,
    takenNano: row.taken_nano,
    missingNano: row.missing_nano,
    collectedNano: row.collected_nano,
    writtenOffNano: row.written_off_nano,
    reference: row.reference ?? undefined,
    openedAtMs: row.opened_at.getTime(),
    closedAtMs: row.closed_at?.getTime(),
  };
}
