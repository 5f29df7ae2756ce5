/** All SQL of epochs of the database, and of what spools have done in the present one. */
import { accountOfPrepaid, type BudgetRef, budgetId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Denial } from '@meridian/domain/snapshot';
import { isWindowStart } from '@meridian/domain/window';
import { sql } from 'kysely';
import { insertBudget, lockCapsById } from '../budgets/books.ts';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { DatabaseState, SpoolState } from './restore.ts';

type Reader = Database | Transaction;

/** Any number will do, as long as no other advisory lock in the database has it. */
const GRANTS_LOCK = 7_235_004;

/**
 * Lets no epoch begin until the transaction ends. A statement of its own: the one after it sees every epoch that has begun. A row
 * would do as well, but each grant would have to write to it.
 */
export async function holdOffEpochs(trx: Transaction): Promise<void> {
  await sql`SELECT pg_advisory_xact_lock_shared(${GRANTS_LOCK})`.execute(trx);
}

/** Waits for the transactions that hold off epochs, and lets none begin until this one ends. Before any other lock. */
export async function awaitGrants(trx: Transaction): Promise<void> {
  await sql`SELECT pg_advisory_xact_lock(${GRANTS_LOCK})`.execute(trx);
}

export async function selectState(db: Reader): Promise<DatabaseState> {
  const { rows } = await sql<StateRow>`
    SELECT h.db_epoch AS head_epoch, e.* FROM config_head h LEFT JOIN database_epoch e ON e.db_epoch = h.db_epoch WHERE h.lane = 1`.execute(
    db,
  );
  const row = rows[0];
  if (row === undefined) throw new Error('config_head has no lane');
  const restored =
    row.declared_at === null
      ? undefined
      : {
          declaredAtMs: row.declared_at.getTime(),
          reason: row.reason ?? '',
          thawedAtMs: row.thawed_at?.getTime(),
          thawReason: row.thaw_reason ?? undefined,
        };
  return { dbEpoch: row.head_epoch, restored };
}

interface StateRow {
  readonly head_epoch: string;
  readonly declared_at: Date | null;
  readonly reason: string | null;
  readonly thawed_at: Date | null;
  readonly thaw_reason: string | null;
}

/** Keeps the present epoch, which began with a restore, from being thawed until the transaction ends. */
export async function holdEpoch(trx: Transaction): Promise<DatabaseState> {
  await sql`
    SELECT FROM database_epoch e WHERE e.db_epoch = (SELECT db_epoch FROM config_head WHERE lane = 1) FOR SHARE OF e`.execute(trx);
  return selectState(trx);
}

/** Begins an epoch in all lanes. */
export async function insertEpoch(
  trx: Transaction,
  epoch: { readonly dbEpoch: string; readonly sign: string; readonly reason: string },
  nowMs: number,
): Promise<void> {
  await trx
    .insertInto('database_epoch')
    .values({
      db_epoch: epoch.dbEpoch,
      sign: epoch.sign,
      reason: epoch.reason,
      declared_at: new Date(nowMs),
      thawed_at: null,
      thaw_reason: null,
    })
    .execute();
  await sql`SELECT change_db_epoch(${epoch.dbEpoch}::uuid)`.execute(trx);
}

/** Locks every head, as whoever begins an epoch does, and returns the present epoch. */
export async function lockHeads(trx: Transaction): Promise<string> {
  const { rows } = await sql<{ db_epoch: string }>`SELECT db_epoch FROM config_head ORDER BY lane FOR UPDATE`.execute(trx);
  return rows[0]?.db_epoch ?? '';
}

export async function isKnownSign(trx: Transaction, sign: string): Promise<boolean> {
  const row = await trx.selectFrom('database_epoch').select('sign').where('sign', '=', sign).executeTakeFirst();
  return row !== undefined;
}

/** Locks the present epoch. False when it is thawed already, or needs no thaw. */
export async function lockFrozen(trx: Transaction): Promise<boolean> {
  const { rows } = await sql<{ frozen: boolean }>`
    SELECT e.thawed_at IS NULL AS frozen FROM database_epoch e
    WHERE e.db_epoch = (SELECT db_epoch FROM config_head WHERE lane = 1) FOR UPDATE OF e`.execute(trx);
  return rows[0]?.frozen ?? false;
}

export async function updateThawed(trx: Transaction, reason: string, nowMs: number): Promise<void> {
  await sql`
    UPDATE database_epoch SET thawed_at = ${new Date(nowMs)}, thaw_reason = ${reason}
    WHERE db_epoch = (SELECT db_epoch FROM config_head WHERE lane = 1)`.execute(trx);
}

/** Every spool that holds or held leases, by id. */
export async function selectSpools(db: Reader): Promise<SpoolState[]> {
  const { rows } = await sql<SpoolRow>`
    SELECT s.spool_id, s.node_id, s.region, s.last_seen_at, s.retired_at IS NOT NULL AS retired,
      s.declared_epoch IS NOT DISTINCT FROM h.db_epoch AS declared, s.replayed_epoch IS NOT DISTINCT FROM h.db_epoch AS replayed
    FROM lease_spool s, config_head h WHERE h.lane = 1 ORDER BY s.spool_id`.execute(db);
  return rows.map((row) => ({
    spoolId: row.spool_id,
    nodeId: row.node_id,
    region: row.region,
    lastSeenAtMs: row.last_seen_at.getTime(),
    retired: row.retired,
    declared: row.declared,
    replayed: row.replayed,
  }));
}

interface SpoolRow {
  readonly spool_id: string;
  readonly node_id: string;
  readonly region: string;
  readonly last_seen_at: Date;
  readonly retired: boolean;
  readonly declared: boolean;
  readonly replayed: boolean;
}

export async function hasDeclared(db: Reader, spoolId: string): Promise<boolean> {
  const { rows } = await sql`
    SELECT FROM lease_spool JOIN config_head ON lane = 1 AND declared_epoch = db_epoch WHERE spool_id = ${spoolId}`.execute(db);
  return rows.length > 0;
}

/** A spool that says what it holds is there again. */
export async function markDeclared(trx: Transaction, spoolId: string, dbEpoch: string): Promise<void> {
  await trx.updateTable('lease_spool').set({ declared_epoch: dbEpoch, retired_at: null }).where('spool_id', '=', spoolId).execute();
}

/** Writes down that a spool which has declared has replayed, too. False when it has not declared, or was written down before. */
export async function markReplayed(db: Reader, spoolId: string): Promise<boolean> {
  const { numAffectedRows } = await sql`
    UPDATE lease_spool s SET replayed_epoch = h.db_epoch FROM config_head h
    WHERE h.lane = 1 AND s.spool_id = ${spoolId} AND s.declared_epoch = h.db_epoch AND s.replayed_epoch IS DISTINCT FROM h.db_epoch`.execute(
    db,
  );
  return numAffectedRows === 1n;
}

/** Nobody waits any more for a spool, whose leases are closed. */
export async function markRetired(trx: Transaction, spoolId: string, nowMs: number): Promise<void> {
  await sql`UPDATE lease_spool SET retired_at = coalesce(retired_at, ${new Date(nowMs)}) WHERE spool_id = ${spoolId}`.execute(trx);
}

/** Those of the refusals that were not taken in this epoch, the first of each. */
export async function selectNewDenials(trx: Transaction, dbEpoch: string, denials: readonly Denial[]): Promise<Denial[]> {
  const known = await trx
    .selectFrom('denial')
    .select(['kind', 'entity_id', 'status'])
    .where('db_epoch', '=', dbEpoch)
    .where('entity_id', '=', sql<string>`ANY (${denials.map(({ id }) => id)}::text[])`)
    .execute();
  const seen = new Set(known.map((row) => `${row.kind} ${row.entity_id} ${row.status}`));
  return denials.filter(({ kind, id, status }) => {
    const name = `${kind} ${id} ${status}`;
    const isNew = !seen.has(name);
    seen.add(name);
    return isNew;
  });
}

export async function insertDenials(
  trx: Transaction,
  { dbEpoch, nodeId }: { readonly dbEpoch: string; readonly nodeId: string },
  denials: readonly Denial[],
  nowMs: number,
): Promise<void> {
  if (denials.length === 0) return;
  await trx
    .insertInto('denial')
    .values(
      denials.map(({ kind, id, version, status }) => ({
        db_epoch: dbEpoch,
        kind,
        entity_id: id,
        status,
        node_id: nodeId,
        told_version: BigInt(version),
        taken_at: new Date(nowMs),
      })),
    )
    .execute();
}

/** What is granted of each lease, of those that are known. */
export async function selectGranted(db: Reader, leaseIds: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await sql<{ id: string; granted: bigint }>`SELECT id, granted FROM lease WHERE id = ANY (${leaseIds}::text[])`.execute(
    db,
  );
  return new Map(rows.map((row) => [row.id, Number(row.granted)]));
}

/** A spool's leases that are not closed. */
export async function selectOpenLeases(db: Reader, spoolId: string): Promise<{ leaseId: string; budgetId: string; closing: boolean }[]> {
  const { rows } = await sql<{ id: string; budget_id: string; closing: boolean }>`
    SELECT id, budget_id, closes_when_replayed AS closing FROM lease WHERE spool_id = ${spoolId} AND closed_at IS NULL`.execute(db);
  return rows.map((row) => ({ leaseId: row.id, budgetId: row.budget_id, closing: row.closing }));
}

/** Leases that are closed when their spool has replayed. */
export async function markClosing(trx: Transaction, leaseIds: readonly string[]): Promise<void> {
  await sql`UPDATE lease SET closes_when_replayed = true WHERE id = ANY (${leaseIds}::text[])`.execute(trx);
}

/** Spools with leases that wait for a replay which is over. */
export async function selectReplayedWithClosing(db: Reader): Promise<string[]> {
  const { rows } = await sql<{ spool_id: string }>`
    SELECT DISTINCT l.spool_id FROM lease l JOIN lease_spool s USING (spool_id) JOIN config_head h ON h.lane = 1
    WHERE l.closes_when_replayed AND l.closed_at IS NULL AND s.replayed_epoch = h.db_epoch ORDER BY 1`.execute(db);
  return rows.map((row) => row.spool_id);
}

/**
 * Makes the budgets that leases are declared on and that the database lost. A cap that it lost as well is unlimited to no
 * one: its budget belongs to no account, grants nothing, and only counts what is replayed.
 */
export async function insertLostBudgets(trx: Transaction, records: readonly LeaseRecord[]): Promise<void> {
  const refs = new Map(records.map(({ budget }) => [budgetId(budget), budget]));
  const { rows } = await sql<{ id: string }>`SELECT id FROM budget WHERE id = ANY (${[...refs.keys()]}::text[])`.execute(trx);
  for (const { id } of rows) refs.delete(id);
  if (refs.size === 0) return;
  const capIds = [...new Set([...refs.values()].map((ref) => ref.capId))];
  const caps = new Map((await lockCapsById(trx, capIds)).map((cap) => [cap.id, cap]));
  for (const [, ref] of [...refs].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const cap = caps.get(ref.capId);
    if (cap !== undefined && isWindowStart(cap.window, ref.windowStartMs)) await insertBudget(trx, cap, ref.windowStartMs);
    else await insertBare(trx, ref);
  }
}

/** The budget of an account's credit, or one of a cap that is not known. */
async function insertBare(trx: Transaction, ref: BudgetRef): Promise<void> {
  const owner = accountOfPrepaid(ref.capId);
  const credit = sql`coalesce((SELECT paid_nano + bonus_nano FROM ledger_balance WHERE account_id = ${owner ?? ''}), 0)`;
  await sql`
    INSERT INTO budget (id, cap_id, window_start_ms, account_id, unit, limit_amount)
    VALUES (${budgetId(ref)}, ${ref.capId}, ${ref.windowStartMs}::bigint, ${owner ?? ''}, 'nano_usd', ${owner === undefined ? sql`NULL` : credit})
    ON CONFLICT DO NOTHING`.execute(trx);
}
