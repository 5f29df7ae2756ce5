/** Runs work in one transaction. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Transaction as KyselyTransaction } from 'kysely';
import type { Database } from './connect.ts';
import type { Tables } from './tables.ts';

export type Transaction = KyselyTransaction<Tables>;

/** Attempts in all; what still collides then is an overload that the caller must see. */
const MAX_ATTEMPTS = 5;

const SERIALIZATION_FAILURE = '40001';
const DEADLOCK_DETECTED = '40P01';
export const FOREIGN_KEY_VIOLATION = '23503';
export const UNIQUE_VIOLATION = '23505';
/** By the statement timeout, among others. */
export const QUERY_CANCELED = '57014';

/** What comes first in each transaction of some work, whoever makes it. */
export interface TransactionOpening {
  /** Inside the transaction, before its work. */
  readonly open: (trx: Transaction) => Promise<void>;
  /** After its commit. */
  readonly committed: () => void;
}

const openings = new AsyncLocalStorage<TransactionOpening>();

/** Does the work with the opening in each transaction that it makes. */
export function openingTransactions<T>(opening: TransactionOpening, work: () => Promise<T>): Promise<T> {
  return openings.run(opening, work);
}

/**
 * READ COMMITTED: work that needs more locks its rows, in the order cursor, budgets, balances, hourly rows, config heads.
 * A serialization failure, a deadlock, or a row that another transaction made in between rolls back and runs `work` again from
 * the start, where it finds that row; so `work` must keep nothing outside the transaction. The last failure is thrown.
 */
export async function transaction<T>(db: Database, work: (trx: Transaction) => Promise<T>): Promise<T> {
  const opening = openings.getStore();
  const opened = opening === undefined ? work : (trx: Transaction) => opening.open(trx).then(() => work(trx));
  for (let attempt = 1; ; attempt++) {
    try {
      const result = await db.transaction().setIsolationLevel('read committed').execute(opened);
      opening?.committed();
      return result;
    } catch (error) {
      if (attempt >= MAX_ATTEMPTS || !isCollision(error)) throw error;
    }
  }
}

function isCollision(error: unknown): boolean {
  const code = sqlState(error);
  return code === SERIALIZATION_FAILURE || code === DEADLOCK_DETECTED || code === UNIQUE_VIOLATION;
}

/** The five-character SQLSTATE of an error that came from the server, else undefined. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.length === 5 ? error.code : undefined;
}
