/** The ledger's SQL. */
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Balance, Posting } from './ledger.ts';

type Reader = Database | Transaction;

/** Any number will do, as long as no other advisory lock in the database has it. */
const SNAPSHOT_LOCK = 7_235_003;

export interface TransferRow {
  readonly id: bigint;
  readonly postedAt: Date;
  readonly code: string;
  readonly debit: string;
  readonly credit: string;
  readonly amountNano: bigint;
  readonly reference: string | null;
}

/** Locks the wallets in the order of their ids, making those that are missing. Ids must be distinct. */
export async function lockBalances(trx: Transaction, accountIds: readonly string[]): Promise<Map<string, Balance>> {
  const ids = accountIds.toSorted();
  let rows = await selectForUpdate(trx, ids);
  if (rows.length < ids.length) {
    await sql`INSERT INTO ledger_balance (account_id) SELECT unnest(${ids}::text[]) ON CONFLICT DO NOTHING`.execute(trx);
    rows = await selectForUpdate(trx, ids);
  }
  return new Map(rows.map((row) => [row.account_id, { paidNano: row.paid_nano, bonusNano: row.bonus_nano }]));
}

async function selectForUpdate(trx: Transaction, ids: readonly string[]) {
  // The ids are joined in order so that rows are locked in it, whatever plan reads the table.
  const { rows } = await sql<{ account_id: string; paid_nano: bigint; bonus_nano: bigint }>`
    SELECT account_id, paid_nano, bonus_nano FROM ledger_balance
    WHERE account_id = ANY (${ids}::text[]) ORDER BY account_id FOR UPDATE`.execute(trx);
  return rows;
}

/** Writes balances whose rows are locked, and marks their accounts for publishing. */
export async function writeBalances(trx: Transaction, balances: ReadonlyMap<string, Balance>): Promise<void> {
  const ids = [...balances.keys()].toSorted();
  const paid = ids.map((id) => balances.get(id)?.paidNano);
  const bonus = ids.map((id) => balances.get(id)?.bonusNano);
  await sql`
    UPDATE ledger_balance b SET paid_nano = n.paid, bonus_nano = n.bonus
    FROM unnest(${ids}::text[], ${paid}::bigint[], ${bonus}::bigint[]) AS n (account_id, paid, bonus)
    WHERE b.account_id = n.account_id`.execute(trx);
  await markChanged(trx, ids);
}

/** Marks accounts, in the order given, for publishing. */
export async function markChanged(trx: Transaction, ids: readonly string[]): Promise<void> {
  // An update, not DO NOTHING: it locks the mark, so that a publisher that is taking it cannot miss this change.
  await sql`
    INSERT INTO ledger_balance_changed AS c (account_id) SELECT unnest(${ids}::text[])
    ON CONFLICT (account_id) DO UPDATE SET changes = c.changes + 1`.execute(trx);
}

/** Appends transfers and returns their numbers, in the order given. */
export async function insertTransfers(trx: Transaction, postings: readonly Posting[], postedAtMs: number): Promise<bigint[]> {
  const { rows } = await sql<{ id: bigint }>`
    INSERT INTO ledger_transfer (posted_at, code, debit, credit, amount_nano, account_id, batch_id, reference)
    SELECT ${new Date(postedAtMs)}::timestamptz, * FROM unnest(
      ${postings.map((each) => each.code)}::text[],
      ${postings.map((each) => each.debit)}::text[],
      ${postings.map((each) => each.credit)}::text[],
      ${postings.map((each) => each.amountNano)}::bigint[],
      ${postings.map((each) => each.accountId ?? null)}::text[],
      ${postings.map((each) => each.batchId ?? null)}::bigint[],
      ${postings.map((each) => each.reference ?? null)}::text[])
    RETURNING id`.execute(trx);
  return rows.map((row) => row.id);
}

export interface IdempotencyRow {
  readonly content: string;
  /** The first transfer; null where nothing was moved at once. */
  readonly transferId: bigint | null;
  /** What the request made, if it made something that has a number. */
  readonly subjectId: bigint | null;
  readonly balanceAfterNano: bigint;
}

export async function findIdempotency(db: Reader, key: string): Promise<IdempotencyRow | undefined> {
  const row = await db
    .selectFrom('ledger_idempotency')
    .select(['content', 'transfer_id as transferId', 'subject_id as subjectId', 'balance_after_nano as balanceAfterNano'])
    .where('key', '=', key)
    .executeTakeFirst();
  return row;
}

/** Whether the key was free. Waits for a transaction that is using it. */
export async function insertIdempotency(trx: Transaction, key: string, row: IdempotencyRow, createdAtMs: number): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await trx
    .insertInto('ledger_idempotency')
    .values({
      key,
      content: row.content,
      transfer_id: row.transferId,
      subject_id: row.subjectId,
      balance_after_nano: row.balanceAfterNano,
      created_at: new Date(createdAtMs),
    })
    .onConflict((conflict) => conflict.column('key').doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

export async function selectBalances(db: Reader, accountIds: readonly string[]): Promise<Map<string, Balance>> {
  const { rows } = await sql<{ account_id: string; paid_nano: bigint; bonus_nano: bigint }>`
    SELECT account_id, paid_nano, bonus_nano FROM ledger_balance WHERE account_id = ANY (${accountIds}::text[])`.execute(db);
  return new Map(rows.map((row) => [row.account_id, { paidNano: row.paid_nano, bonusNano: row.bonus_nano }]));
}

/** Newest first; `beforeId` is the last number of the page before. */
export async function selectTransfers(
  db: Reader,
  accountId: string,
  page: { limit: number; beforeId: bigint | undefined },
): Promise<TransferRow[]> {
  let query = db
    .selectFrom('ledger_transfer')
    .select(['id', 'posted_at as postedAt', 'code', 'debit', 'credit', 'amount_nano as amountNano', 'reference'])
    .where('account_id', '=', accountId)
    .orderBy('id', 'desc')
    .limit(page.limit);
  if (page.beforeId !== undefined) query = query.where('id', '<', page.beforeId);
  return query.execute();
}

/** Removes up to `limit` marks and returns their accounts. Marks that a running transaction holds are left for the next call. */
export async function deleteChangedMarks(trx: Transaction, limit: number): Promise<string[]> {
  const { rows } = await sql<{ account_id: string }>`
    DELETE FROM ledger_balance_changed WHERE account_id IN (
      SELECT account_id FROM ledger_balance_changed ORDER BY account_id LIMIT ${limit} FOR UPDATE SKIP LOCKED)
    RETURNING account_id`.execute(trx);
  return rows.map((row) => row.account_id);
}

/** Balance of every ledger account that ever moved: its last snapshot + the transfers since. */
export async function selectLedgerBalances(db: Reader): Promise<Map<string, bigint>> {
  const { rows } = await sql<{ ledger_account: string; balance_nano: bigint }>`
    WITH head AS (SELECT coalesce(max(upto_id), 0) AS upto_id FROM ledger_snapshot_run),
    moved AS (
      SELECT s.ledger_account, s.balance_nano FROM (
        SELECT DISTINCT ON (ledger_account) ledger_account, balance_nano FROM ledger_snapshot ORDER BY ledger_account, upto_id DESC) s
      UNION ALL SELECT debit, -amount_nano FROM ledger_transfer, head WHERE id > head.upto_id
      UNION ALL SELECT credit, amount_nano FROM ledger_transfer, head WHERE id > head.upto_id)
    SELECT ledger_account, sum(balance_nano)::bigint AS balance_nano FROM moved GROUP BY ledger_account`.execute(db);
  return new Map(rows.map((row) => [row.ledger_account, row.balance_nano]));
}

/** The same of some ledger accounts only; those that never moved are left out. */
export async function selectSomeBalances(db: Reader, ledgerAccounts: readonly string[]): Promise<Map<string, bigint>> {
  const { rows } = await sql<{ ledger_account: string; balance_nano: bigint }>`
    WITH head AS (SELECT coalesce(max(upto_id), 0) AS upto_id FROM ledger_snapshot_run),
    moved AS (
      SELECT s.ledger_account, s.balance_nano FROM unnest(${ledgerAccounts}::text[]) AS wanted (name), LATERAL (
        SELECT ledger_account, balance_nano FROM ledger_snapshot WHERE ledger_account = wanted.name ORDER BY upto_id DESC LIMIT 1) s
      UNION ALL SELECT debit, -amount_nano FROM ledger_transfer, head WHERE id > head.upto_id AND debit = ANY (${ledgerAccounts}::text[])
      UNION ALL SELECT credit, amount_nano FROM ledger_transfer, head WHERE id > head.upto_id AND credit = ANY (${ledgerAccounts}::text[]))
    SELECT ledger_account, sum(balance_nano)::bigint AS balance_nano FROM moved GROUP BY ledger_account`.execute(db);
  return new Map(rows.map((row) => [row.ledger_account, row.balance_nano]));
}

/** The same from the first transfer on, without any snapshot. */
export async function selectTransferSums(db: Reader): Promise<Map<string, bigint>> {
  const { rows } = await sql<{ ledger_account: string; balance_nano: bigint }>`
    SELECT ledger_account, sum(amount)::bigint AS balance_nano FROM (
      SELECT debit AS ledger_account, -amount_nano AS amount FROM ledger_transfer
      UNION ALL SELECT credit, amount_nano FROM ledger_transfer) moved
    GROUP BY ledger_account`.execute(db);
  return new Map(rows.map((row) => [row.ledger_account, row.balance_nano]));
}

export async function selectWallets(db: Reader): Promise<{ accountId: string; paidNano: bigint; bonusNano: bigint }[]> {
  return db.selectFrom('ledger_balance').select(['account_id as accountId', 'paid_nano as paidNano', 'bonus_nano as bonusNano']).execute();
}

/** The newest transfer that no older one can be committed after. Alone in its transaction: it waits for all writers of the moment. */
export async function selectSettledId(trx: Transaction): Promise<bigint> {
  const { rows } = await sql<{ id: bigint }>`SELECT ledger_settled_id() AS id`.execute(trx);
  return rows[0]?.id ?? 0n;
}

/** Writes the balances, up to and with transfer `uptoId`, of the accounts that moved since the last run. Returns how many. */
export async function insertSnapshot(trx: Transaction, uptoId: bigint, takenAtMs: number): Promise<number> {
  // Two at once would each add the same transfers to the other's balances. The tables may not be locked by the application's role.
  await sql`SELECT pg_advisory_xact_lock(${SNAPSHOT_LOCK})`.execute(trx);
  const { rows: heads } = await sql<{ upto_id: bigint }>`SELECT coalesce(max(upto_id), 0) AS upto_id FROM ledger_snapshot_run`.execute(trx);
  const since = heads[0]?.upto_id ?? 0n;
  if (uptoId <= since) return 0;
  await sql`INSERT INTO ledger_snapshot_run (upto_id, taken_at) VALUES (${uptoId}, ${new Date(takenAtMs)})`.execute(trx);
  const { numAffectedRows } = await sql`
    INSERT INTO ledger_snapshot (ledger_account, upto_id, balance_nano)
    SELECT tail.ledger_account, ${uptoId}, tail.change + coalesce((
      SELECT balance_nano FROM ledger_snapshot s WHERE s.ledger_account = tail.ledger_account ORDER BY upto_id DESC LIMIT 1), 0)
    FROM (
      SELECT ledger_account, sum(amount)::bigint AS change FROM (
        SELECT debit AS ledger_account, -amount_nano AS amount FROM ledger_transfer WHERE id > ${since} AND id <= ${uptoId}
        UNION ALL SELECT credit, amount_nano FROM ledger_transfer WHERE id > ${since} AND id <= ${uptoId}) moved
      GROUP BY ledger_account) tail`.execute(trx);
  return Number(numAffectedRows ?? 0n);
}

export async function makePartitions(db: Reader, nowMs: number, monthsAhead: number): Promise<number> {
  const { rows } = await sql<{ made: number }>`SELECT make_ledger_partitions(${new Date(nowMs)}, ${monthsAhead}) AS made`.execute(db);
  return rows[0]?.made ?? 0;
}
