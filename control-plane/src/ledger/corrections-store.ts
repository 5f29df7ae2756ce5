/** The SQL of corrections. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Correction } from './corrections.ts';
import type { NumberedPage } from './purchases-store.ts';

type Reader = Database | Transaction;

export async function insertCorrection(trx: Transaction, correction: Omit<Correction, 'id'>): Promise<bigint> {
  const { id } = await trx
    .insertInto('ledger_correction')
    .values({
      account_id: correction.accountId,
      request_id: correction.requestId,
      amount_nano: correction.amountNano,
      paid_nano: correction.paidNano,
      bonus_nano: correction.bonusNano,
      covered_nano: correction.coveredNano,
      reason: correction.reason ?? null,
      created_at: new Date(correction.createdAtMs),
    })
    .returning('id')
    .executeTakeFirstOrThrow();
  return id;
}

export async function findCorrection(db: Reader, id: bigint): Promise<Correction | undefined> {
  const row = await db.selectFrom('ledger_correction').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : correctionOf(row);
}

/** What was given back of a request's charge so far. Its account's wallet is locked. */
export async function sumCorrections(trx: Transaction, accountId: string, requestId: string): Promise<bigint> {
  const { rows } = await sql<{ sum: bigint }>`
    SELECT coalesce(sum(amount_nano), 0)::bigint AS sum FROM ledger_correction
    WHERE request_id = ${requestId} AND account_id = ${accountId}`.execute(trx);
  return rows[0]?.sum ?? 0n;
}

/** Oldest first. */
export async function selectCorrectionsOf(db: Reader, accountId: string, requestIds: readonly string[]): Promise<Correction[]> {
  const rows = await db
    .selectFrom('ledger_correction')
    .selectAll()
    .where('request_id', '=', sql<string>`ANY (${requestIds}::text[])`)
    .where('account_id', '=', accountId)
    .orderBy('id')
    .execute();
  return rows.map(correctionOf);
}

export async function selectCorrections(db: Reader, accountId: string, page: NumberedPage): Promise<Correction[]> {
  let query = db.selectFrom('ledger_correction').selectAll().where('account_id', '=', accountId).orderBy('id', 'desc').limit(page.limit);
  if (page.beforeId !== undefined) query = query.where('id', '<', page.beforeId);
  return (await query.execute()).map(correctionOf);
}

function correctionOf(row: {
  readonly id: bigint;
  readonly account_id: string;
  readonly request_id: string;
  readonly amount_nano: bigint;
  readonly paid_nano: bigint;
  readonly bonus_nano: bigint;
  readonly covered_nano: bigint;
  readonly reason: string | null;
  readonly created_at: Date;
}): Correction {
  return {
    id: row.id,
    accountId: row.account_id,
    requestId: row.request_id,
    amountNano: row.amount_nano,
    paidNano: row.paid_nano,
    bonusNano: row.bonus_nano,
    coveredNano: row.covered_nano,
    reason: row.reason ?? undefined,
    createdAtMs: row.created_at.getTime(),
  };
}
