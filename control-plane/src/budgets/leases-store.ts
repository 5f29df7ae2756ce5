/** The SQL of granting and closing leases: what is read beside the rows that are locked, and how long spools are silent. */
import type { BudgetUnit, CapWindow } from '@meridian/domain/budget';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import type { Lease } from './escrow.ts';
import type { Holder } from './questions.ts';

type Reader = Database | Transaction;

const HELD = sql<bigint>`granted - returned - used - written_off`;
/** Of a spool `s`. */
const HAS_OPEN_LEASES = sql<boolean>`EXISTS (SELECT FROM lease l WHERE l.spool_id = s.spool_id AND l.closed_at IS NULL)`;

export interface HolderOfBudget extends Holder {
  readonly budgetId: string;
}

interface HolderRow {
  readonly id: string;
  readonly budget_id: string;
  readonly spool_id: string;
  readonly held: bigint;
}

function holderOf(row: HolderRow): HolderOfBudget {
  return { leaseId: row.id, budgetId: row.budget_id, spoolId: row.spool_id, held: Number(row.held) };
}

/** Open leases that hold something. */
export async function selectHolders(db: Reader, budgetIds: readonly string[]): Promise<HolderOfBudget[]> {
  const { rows } = await sql<HolderRow>`
    SELECT id, budget_id, spool_id, ${HELD} AS held FROM lease
    WHERE budget_id = ANY (${budgetIds}::text[]) AND closed_at IS NULL AND ${HELD} > 0 ORDER BY id`.execute(db);
  return rows.map(holderOf);
}

/** Open leases of budgets that are locked: nobody changes them meanwhile, so they need no lock of their own. */
export async function selectOpen(trx: Transaction, budgetIds: readonly string[]): Promise<Lease[]> {
  const rows = await trx
    .selectFrom('lease')
    .select(['id', 'budget_id', 'spool_id', 'granted', 'returned', 'used', 'written_off', 'retiring'])
    .where('budget_id', '=', sql<string>`ANY (${budgetIds}::text[])`)
    .where('closed_at', 'is', null)
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    budgetId: row.budget_id,
    spoolId: row.spool_id,
    granted: Number(row.granted),
    returned: Number(row.returned),
    used: Number(row.used),
    writtenOff: Number(row.written_off),
    closed: false,
    retiring: row.retiring,
  }));
}

/** Window kinds of caps; they never change. */
export async function selectWindowKinds(db: Reader, capIds: readonly string[]): Promise<Map<string, CapWindow>> {
  const rows = await db.selectFrom('cap').select(['id', 'window_kind']).where('id', 'in', capIds).execute();
  return new Map(rows.map((row) => [row.id, row.window_kind]));
}

/** Budgets among these whose cap was removed. */
export async function selectRemoved(db: Reader, budgetIds: readonly string[]): Promise<Set<string>> {
  const rows = await db.selectFrom('budget').select('id').where('id', 'in', budgetIds).where('limit_amount', 'is', null).execute();
  return new Set(rows.map((row) => row.id));
}

/** Budgets among these on which more is settled and held than the limit allows; all that is held, where the cap was removed. */
export async function selectOverdrawn(db: Reader, budgetIds: readonly string[]): Promise<string[]> {
  const rows = await db
    .selectFrom('budget')
    .select('id')
    .where('id', 'in', budgetIds)
    .where('held', '>', 0n)
    .where((eb) => eb('limit_amount', 'is', null).or(sql<boolean>`settled + held > limit_amount`))
    .execute();
  return rows.map((row) => row.id);
}

export interface LeaseTotals {
  readonly leaseId: string;
  readonly budgetId: string;
  readonly spoolId: string;
  readonly granted: number;
  readonly held: number;
  readonly closed: boolean;
}

/** A spool's open leases, those left out that its node has done with, and those named. */
export async function selectLeases(
  db: Reader,
  { spoolId, leaseIds, open }: { spoolId: string; leaseIds: readonly string[]; open: boolean },
): Promise<LeaseTotals[]> {
  const { rows } = await sql<HolderRow & { granted: bigint; closed: boolean }>`
    SELECT id, budget_id, spool_id, granted, ${HELD} AS held, closed_at IS NOT NULL AS closed FROM lease
    WHERE id = ANY (${leaseIds}::text[]) OR (${open} AND spool_id = ${spoolId} AND closed_at IS NULL AND NOT closes_when_replayed)
    ORDER BY id`.execute(db);
  return rows.map((row) => ({ ...holderOf(row), granted: Number(row.granted), closed: row.closed }));
}

/** A spool that was given up has come back: nothing was given up. */
export async function reviveSpool(db: Reader, spoolId: string): Promise<void> {
  await db
    .updateTable('lease_spool')
    .set({ retired_at: null })
    .where('spool_id', '=', spoolId)
    .where('retired_at', 'is not', null)
    .execute();
}

export async function retireSpool(db: Reader, spoolId: string, nowMs: number): Promise<void> {
  await db
    .updateTable('lease_spool')
    .set({ retired_at: new Date(nowMs) })
    .where('spool_id', '=', spoolId)
    .where('retired_at', 'is', null)
    .execute();
}

/**
 * Adds the time since the last tick of any replica, at most `maxElapsedMs` of it, to every spool's silence, and ends the
 * silence of those that were heard of: those named, and those whose usage was ingested since. Returns the time added. It goes by
 * the database's clock, since those of two replicas that differ would count the same time twice.
 */
export async function tickSilence(trx: Transaction, heard: readonly string[], maxElapsedMs: number): Promise<number> {
  const { ticked_at: before } = await trx.selectFrom('lease_clock').select('ticked_at').forUpdate().executeTakeFirstOrThrow();
  const { ticked_at: now } = await trx
    .updateTable('lease_clock')
    .set({ ticked_at: sql<Date>`clock_timestamp()` })
    .returning('ticked_at')
    .executeTakeFirstOrThrow();
  const elapsedMs = Math.min(maxElapsedMs, Math.max(0, now.getTime() - before.getTime()));
  await sql`
    UPDATE lease_spool SET silent_ms = silent_ms + ${elapsedMs}::bigint
    WHERE retired_at IS NULL AND spool_id <> ALL (${heard}::text[])`.execute(trx);
  // A replica whose clock is behind writes down what it ingests as if it were earlier.
  const ingestedSince = new Date(before.getTime() - maxElapsedMs);
  await sql`
    UPDATE lease_spool SET silent_ms = 0, last_seen_at = greatest(last_seen_at, ${now}::timestamptz)
    WHERE spool_id = ANY (${heard}::text[])
      OR spool_id IN (SELECT spool_id FROM ingest_cursor WHERE updated_at > ${ingestedSince}::timestamptz)`.execute(trx);
  return elapsedMs;
}

/** Spools that are silent for at least so long and not given up yet, those without leases included: a restored database waits for them. */
export async function selectSilent(db: Reader, silentMs: number): Promise<string[]> {
  const { rows } = await sql<{ spool_id: string }>`
    SELECT spool_id FROM lease_spool s WHERE silent_ms >= ${silentMs}::bigint AND (retired_at IS NULL OR ${HAS_OPEN_LEASES})
    ORDER BY spool_id`.execute(db);
  return rows.map((row) => row.spool_id);
}

/** Locks the spool's row, so that it does not connect meanwhile, and tells how long it is silent; undefined for one that is not known. */
export async function lockSilence(trx: Transaction, spoolId: string): Promise<number | undefined> {
  const row = await trx.selectFrom('lease_spool').select('silent_ms').where('spool_id', '=', spoolId).forNoKeyUpdate().executeTakeFirst();
  return row === undefined ? undefined : Number(row.silent_ms);
}

export async function selectOpenIds(db: Reader, spoolId: string, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('lease')
    .select('id')
    .where('spool_id', '=', spoolId)
    .where('closed_at', 'is', null)
    .limit(limit)
    .execute();
  return rows.map((row) => row.id);
}

/** Open leases of windows that began before these moments (ms), with something held on them or with nothing. */
export async function selectEnded(
  db: Reader,
  before: Readonly<Record<CapWindow, number>>,
  { held, limit }: { held: boolean; limit: number },
): Promise<HolderOfBudget[]> {
  const { rows } = await sql<HolderRow>`
    SELECT l.id, l.budget_id, l.spool_id, ${HELD} AS held FROM lease l
    JOIN budget b ON b.id = l.budget_id JOIN cap c ON c.id = b.cap_id
    WHERE l.closed_at IS NULL AND (${HELD} > 0) = ${held}
      AND b.window_start_ms < CASE c.window_kind WHEN 'utc_day' THEN ${before.utc_day}::bigint ELSE ${before.utc_month}::bigint END
    ORDER BY l.id LIMIT ${limit}`.execute(db);
  return rows.map(holderOf);
}

/** Spools that were heard of within the time, by region. */
export async function selectPresent(db: Reader, withinMs: number): Promise<{ spoolId: string; region: string }[]> {
  const rows = await db
    .selectFrom('lease_spool')
    .select(['spool_id', 'region'])
    .where('silent_ms', '<', BigInt(withinMs))
    .where('retired_at', 'is', null)
    .orderBy('spool_id')
    .execute();
  return rows.map((row) => ({ spoolId: row.spool_id, region: row.region }));
}

/** In which regions these budgets have something to spend, on spools that were heard of within the time. */
export async function selectServed(
  db: Reader,
  budgetIds: readonly string[],
  withinMs: number,
): Promise<{ budgetId: string; region: string }[]> {
  const { rows } = await sql<{ budget_id: string; region: string }>`
    SELECT DISTINCT l.budget_id, s.region FROM lease l JOIN lease_spool s ON s.spool_id = l.spool_id
    WHERE l.budget_id = ANY (${budgetIds}::text[]) AND l.closed_at IS NULL AND ${HELD} > 0
      AND s.silent_ms < ${withinMs}::bigint AND s.retired_at IS NULL`.execute(db);
  return rows.map((row) => ({ budgetId: row.budget_id, region: row.region }));
}

export interface LeaseFigures {
  /** Of open leases, by unit. */
  readonly held: Partial<Record<BudgetUnit, number>>;
  readonly settled: Partial<Record<BudgetUnit, number>>;
  readonly openLeases: number;
  readonly silentSpools: number;
}

/** How open leases stand, and how many spools that have some are silent for at least so long. */
export async function selectFigures(db: Reader, silentMs: number): Promise<LeaseFigures> {
  const { rows } = await sql<{ unit: BudgetUnit; held: string; used: string; leases: bigint }>`
    SELECT b.unit, sum(${HELD}) AS held, sum(l.used) AS used, count(*) AS leases FROM lease l JOIN budget b ON b.id = l.budget_id
    WHERE l.closed_at IS NULL GROUP BY b.unit`.execute(db);
  const { rows: silent } = await sql<{ n: bigint }>`
    SELECT count(*) AS n FROM lease_spool s WHERE silent_ms >= ${silentMs}::bigint AND ${HAS_OPEN_LEASES}`.execute(db);
  return {
    held: Object.fromEntries(rows.map((row) => [row.unit, Number(row.held)])),
    settled: Object.fromEntries(rows.map((row) => [row.unit, Number(row.used)])),
    openLeases: rows.reduce((sum, row) => sum + Number(row.leases), 0),
    silentSpools: Number(silent[0]?.n ?? 0n),
  };
}
