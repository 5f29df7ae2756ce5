/** The SQL of credentials. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { CredentialRow } from './credential.ts';

const NEXT_VERSION = sql<number>`version + 1`;

export function insertCredential(trx: Transaction, credential: Omit<CredentialRow, 'version'>): Promise<CredentialRow> {
  return trx.insertInto('credential').values(credential).returningAll().executeTakeFirstOrThrow();
}

export function updateCredential(
  trx: Transaction,
  id: string,
  change: { readonly name?: string; readonly sealed?: Buffer; readonly last_four?: string; readonly enabled?: boolean },
): Promise<CredentialRow | undefined> {
  return trx
    .updateTable('credential')
    .set({ ...change, version: NEXT_VERSION })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst();
}

export function listCredentials(db: Database): Promise<CredentialRow[]> {
  return db.selectFrom('credential').selectAll().orderBy('id').execute();
}
