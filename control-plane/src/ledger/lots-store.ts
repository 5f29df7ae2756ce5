/** The SQL of lots. They have no lock of their own: whoever changes them holds their account's wallet. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Balance, CreditKind } from './ledger.ts';
import type { Lot, LotSource, NewLot } from './lots.ts';

interface LotRow {
  readonly id: bigint;
  readonly kind: CreditKind;
  readonly source: LotSource;
  readonly purchase_id: bigint | null;
  readonly amount_nano: bigint;
  readonly taken_nano: bigint;
}

function lotOf(row: LotRow): Lot {
  return {
    id: row.id,
    kind: row.kind,
    source: row.source,
    purchaseId: row.purchase_id ?? undefined,
    amountNano: row.amount_nano,
    takenNano: row.taken_nano,
  };
}

export async function selectLots(trx: Transaction, accountId: string): Promise<Lot[]> {
  const { rows } = await sql<LotRow>`
    SELECT id, kind, source, purchase_id, amount_nano, taken_nano FROM credit_lot WHERE account_id = ${accountId} ORDER BY id`.execute(trx);
  return rows.map(lotOf);
}

/** The lots with the balance of the same moment, which one statement sees. */
export async function selectLotsAndBalance(db: Database, accountId: string): Promise<{ readonly lots: Lot[]; readonly balance: Balance }> {
  const { rows } = await sql<LotRow & { readonly paid_nano: bigint; readonly bonus_nano: bigint }>`
    SELECT l.id, l.kind, l.source, l.purchase_id, l.amount_nano, l.taken_nano,
      coalesce(b.paid_nano, 0) AS paid_nano, coalesce(b.bonus_nano, 0) AS bonus_nano
    FROM credit_lot l LEFT JOIN ledger_balance b USING (account_id) WHERE l.account_id = ${accountId} ORDER BY l.id`.execute(db);
  return { lots: rows.map(lotOf), balance: { paidNano: rows[0]?.paid_nano ?? 0n, bonusNano: rows[0]?.bonus_nano ?? 0n } };
}

export async function insertLots(trx: Transaction, accountId: string, lots: readonly NewLot[]): Promise<void> {
  for (const lot of lots) {
    await trx
      .insertInto('credit_lot')
      .values({
        account_id: accountId,
        kind: lot.kind,
        source: lot.source,
        purchase_id: lot.purchaseId ?? null,
        amount_nano: lot.amountNano,
      })
      .execute();
  }
}

export async function updateTaken(trx: Transaction, lots: readonly Lot[]): Promise<void> {
  for (const lot of lots) {
    await trx.updateTable('credit_lot').set({ taken_nano: lot.takenNano }).where('id', '=', lot.id).execute();
  }
}
