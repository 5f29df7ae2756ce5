/** The SQL of what the catalogue file said when it was last applied. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';

/** Content hashes by `kind` and `id`. */
export async function seedItems(db: Database): Promise<Map<string, string>> {
  const rows = await db.selectFrom('seed_item').selectAll().execute();
  return new Map(rows.map((row) => [itemKey(row.kind, row.id), row.content_hash]));
}

export function itemKey(kind: string, id: string): string {
  return `${kind} ${id}`;
}

export async function saveSeedItem(trx: Transaction, kind: string, id: string, contentHash: string, now: Date): Promise<void> {
  await trx
    .insertInto('seed_item')
    .values({ kind, id, content_hash: contentHash, applied_at: now })
    .onConflict((conflict) => conflict.columns(['kind', 'id']).doUpdateSet({ content_hash: contentHash, applied_at: now }))
    .execute();
}

/** Two replicas that start together apply the file one after the other. */
export async function lockSeed(trx: Transaction): Promise<void> {
  await sql`LOCK TABLE seed_item IN SHARE ROW EXCLUSIVE MODE`.execute(trx);
}
