/** The SQL of tiers. */
import type { TierAssignment } from '@meridian/domain/snapshot';
import type { Ladder } from '@meridian/domain/tier';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import { LADDER_ID, type Rung, windowFrom } from './tier.ts';

type Reader = Database | Transaction;

export interface AssignmentRow {
  readonly assignment: TierAssignment;
  readonly version: number;
}

/** Ascending by spend. */
export async function selectLadder(db: Reader): Promise<Ladder> {
  return db
    .selectFrom('tier')
    .select(['id', 'name', 'from_spend_nano as fromSpendNano', 'markup_basis_points as markupBasisPoints'])
    .where('ladder_id', '=', LADDER_ID)
    .orderBy('from_spend_nano')
    .execute();
}

/** Marks the ladder as published and returns its version, or undefined when nodes know that version already. */
export async function takeUnpublishedLadder(trx: Transaction): Promise<number | undefined> {
  const { rows } = await sql<{ version: number }>`
    UPDATE tier_ladder SET published_version = version
    WHERE id = ${LADDER_ID} AND published_version IS DISTINCT FROM version RETURNING version`.execute(trx);
  return rows[0]?.version;
}

/** Puts accounts that have no tier on this one, and returns those. */
export async function insertAssignments(
  trx: Transaction,
  accountIds: readonly string[],
  tierId: string,
  windowToMs: number,
): Promise<AssignmentRow[]> {
  const rows = await trx
    .insertInto('tier_assignment')
    .values(accountIds.toSorted().map((accountId) => ({ account_id: accountId, tier_id: tierId, window_to: new Date(windowToMs) })))
    .onConflict((conflict) => conflict.column('account_id').doNothing())
    .returningAll()
    .execute();
  return rows.map(assignmentOf);
}

export async function selectAssignment(db: Reader, accountId: string): Promise<AssignmentRow | undefined> {
  const row = await db.selectFrom('tier_assignment').selectAll().where('account_id', '=', accountId).executeTakeFirst();
  return row === undefined ? undefined : assignmentOf(row);
}

function assignmentOf(row: {
  account_id: string;
  tier_id: string;
  spend_30d_nano: bigint;
  window_to: Date;
  version: number;
}): AssignmentRow {
  return {
    assignment: {
      accountId: row.account_id,
      tierId: row.tier_id,
      spend30dNano: row.spend_30d_nano,
      windowToMs: row.window_to.getTime(),
    },
    version: row.version,
  };
}

/** Locks the ladder until the transaction ends: against being set where `as` is `share`, and against being read for a run where it is `update`. */
export async function lockLadder(trx: Transaction, as: 'share' | 'update'): Promise<void> {
  await sql`SELECT FROM tier_ladder WHERE id = ${LADDER_ID} FOR ${sql.raw(as === 'share' ? 'SHARE' : 'UPDATE')}`.execute(trx);
}

/** Writes the ladder as its next version, which nodes do not know yet, and keeps that version for later. Returns it. */
export async function replaceLadder(trx: Transaction, tiers: Ladder, nowMs: number): Promise<number> {
  await trx.deleteFrom('tier').where('ladder_id', '=', LADDER_ID).execute();
  const rows = tiers.map((tier) => ({
    ladder_id: LADDER_ID,
    id: tier.id,
    name: tier.name,
    from_spend_nano: tier.fromSpendNano,
    markup_basis_points: tier.markupBasisPoints,
  }));
  await trx.insertInto('tier').values(rows).execute();
  const { rows: versions } = await sql<{ version: number }>`
    UPDATE tier_ladder SET version = version + 1, published_version = version + 1 WHERE id = ${LADDER_ID} RETURNING version`.execute(trx);
  const version = versions[0]?.version;
  if (version === undefined) throw new Error('there is no ladder');
  const kept = rows.map(({ ladder_id: _, ...tier }) => ({ ...tier, from_spend_nano: tier.from_spend_nano.toString() }));
  await trx
    .insertInto('tier_ladder_version')
    .values({ ladder_id: LADDER_ID, version, tiers: JSON.stringify(kept), set_at: new Date(nowMs) })
    .execute();
  return version;
}

export async function selectLadderVersion(db: Reader): Promise<number> {
  const row = await db.selectFrom('tier_ladder').select('version').where('id', '=', LADDER_ID).executeTakeFirstOrThrow();
  return row.version;
}

/** How many accounts stand on a tier that is not among these. */
export async function countAssignedElsewhere(trx: Transaction, tierIds: readonly string[]): Promise<bigint> {
  const { rows } = await sql<{ n: bigint }>`
    SELECT count(*) AS n FROM tier_assignment WHERE tier_id <> ALL (${tierIds}::text[])`.execute(trx);
  return rows[0]?.n ?? 0n;
}

/** One run, as far as it is done. */
export interface TierRun {
  readonly windowToMs: number;
  /** Accounts that spent something in its 30 days. */
  readonly spendingAccounts: number;
  /** Accounts that were looked at. */
  readonly accounts: number;
  readonly raised: number;
  readonly lowered: number;
  /** The last rev of BULK that tells of it; undefined when nobody's tier changed, and before it is finished. */
  readonly rev: number | undefined;
  readonly startedAtMs: number;
  readonly finishedAtMs: number | undefined;
}

/** The newest run, begun or finished. */
export async function selectNewestRun(db: Reader): Promise<TierRun | undefined> {
  const row = await db.selectFrom('tier_run').selectAll().orderBy('window_to', 'desc').limit(1).executeTakeFirst();
  return row === undefined ? undefined : runOf(row);
}

/** Newest first; `after` is the `window_to` of the last one of the page before. */
export async function selectRuns(
  db: Reader,
  { limit, afterMs }: { readonly limit: number; readonly afterMs: number | undefined },
): Promise<TierRun[]> {
  let query = db.selectFrom('tier_run').selectAll().orderBy('window_to', 'desc').limit(limit);
  if (afterMs !== undefined) query = query.where('window_to', '<', new Date(afterMs));
  return (await query.execute()).map(runOf);
}

/**
 * Begins a run: sums what each account spent in its 30 days, once and for good. Nothing happens where another replica has begun it; one
 * that is just doing so is waited for.
 */
export async function insertRun(trx: Transaction, windowToMs: number, nowMs: number): Promise<void> {
  const windowTo = new Date(windowToMs);
  // It reads every hour of 30 days; the usual limit is for statements that somebody waits for.
  await sql`SET LOCAL statement_timeout = 0`.execute(trx);
  await sql`SET LOCAL work_mem = '64MB'`.execute(trx);
  const { numInsertedOrUpdatedRows } = await trx
    .insertInto('tier_run')
    .values({ window_to: windowTo, spending_accounts: 0n, started_at: new Date(nowMs), rev: null, finished_at: null })
    .onConflict((conflict) => conflict.column('window_to').doNothing())
    .executeTakeFirstOrThrow();
  if (numInsertedOrUpdatedRows === 0n) return;
  await sql`
    WITH spent AS (
      INSERT INTO tier_run_spend (window_to, account_id, list_nano)
      SELECT ${windowTo}, account_id, sum(list_nano) FROM usage_hourly
      WHERE hour >= ${new Date(windowFrom(windowToMs))} AND hour < ${windowTo} GROUP BY account_id HAVING sum(list_nano) > 0
      RETURNING 1)
    UPDATE tier_run SET spending_accounts = (SELECT count(*) FROM spent) WHERE window_to = ${windowTo}`.execute(trx);
}

/** A run that is not finished, locked until the transaction ends; gives the last account that is done. */
export async function lockRun(trx: Transaction, windowToMs: number): Promise<string | undefined> {
  const row = await trx
    .selectFrom('tier_run')
    .select('position')
    .where('window_to', '=', new Date(windowToMs))
    .where('finished_at', 'is', null)
    .forUpdate()
    .executeTakeFirst();
  return row?.position;
}

/** An account as a run meets it. */
export interface Standing {
  readonly accountId: string;
  /** What it spent in the run's 30 days, at list prices. */
  readonly listNano: bigint;
  /** Undefined for an account that has no tier yet. */
  readonly assigned: (Rung & { readonly spend30dNano: bigint }) | undefined;
}

/** The next accounts in the order of their ids: those that have a tier, and those that spent. */
export async function selectStandings(trx: Transaction, windowToMs: number, after: string, limit: number): Promise<Standing[]> {
  const { rows } = await sql<{
    account_id: string;
    list_nano: bigint | null;
    tier_id: string | null;
    spend_30d_nano: bigint | null;
    lowered_at: Date | null;
  }>`
    SELECT account_id, s.list_nano, a.tier_id, a.spend_30d_nano, a.lowered_at
    FROM (SELECT account_id, list_nano FROM tier_run_spend
      WHERE window_to = ${new Date(windowToMs)} AND account_id > ${after} ORDER BY account_id LIMIT ${limit}) s
    FULL JOIN (SELECT account_id, tier_id, spend_30d_nano, lowered_at FROM tier_assignment
      WHERE account_id > ${after} ORDER BY account_id LIMIT ${limit}) a USING (account_id)
    ORDER BY account_id LIMIT ${limit}`.execute(trx);
  return rows.map((row) => ({
    accountId: row.account_id,
    listNano: row.list_nano ?? 0n,
    assigned:
      row.tier_id === null
        ? undefined
        : { tierId: row.tier_id, loweredAtMs: row.lowered_at?.getTime(), spend30dNano: row.spend_30d_nano ?? 0n },
  }));
}

/** What a run found out about an account. */
export interface Reckoned extends Rung {
  readonly accountId: string;
  readonly spend30dNano: bigint;
  /** Nodes are told: the row counts as a newer version. */
  readonly isMoved: boolean;
}

/** Writes what has changed, and returns the rows that nodes are told of. */
export async function writeReckoned(trx: Transaction, reckoned: readonly Reckoned[], windowToMs: number): Promise<AssignmentRow[]> {
  const { rows } = await sql<Parameters<typeof assignmentOf>[0] & { moved: boolean }>`
    WITH item AS (
      SELECT * FROM unnest(
        ${reckoned.map((each) => each.accountId)}::text[], ${reckoned.map((each) => each.tierId)}::text[],
        ${reckoned.map((each) => each.spend30dNano.toString())}::bigint[],
        ${reckoned.map((each) => (each.loweredAtMs === undefined ? null : new Date(each.loweredAtMs)))}::timestamptz[],
        ${reckoned.map((each) => each.isMoved)}::boolean[]
      ) AS item (account_id, tier_id, spend_30d_nano, lowered_at, moved)),
    written AS (
      INSERT INTO tier_assignment AS a (account_id, tier_id, spend_30d_nano, lowered_at, window_to)
      SELECT account_id, tier_id, spend_30d_nano, lowered_at, ${new Date(windowToMs)} FROM item ORDER BY account_id
      ON CONFLICT (account_id) DO UPDATE SET tier_id = EXCLUDED.tier_id, spend_30d_nano = EXCLUDED.spend_30d_nano,
        lowered_at = EXCLUDED.lowered_at, window_to = EXCLUDED.window_to,
        version = a.version + (a.tier_id IS DISTINCT FROM EXCLUDED.tier_id)::int
      RETURNING a.*)
    SELECT written.*, item.moved FROM written JOIN item USING (account_id) WHERE item.moved ORDER BY account_id`.execute(trx);
  return rows.map(assignmentOf);
}

/** The run is done up to an account. */
export async function advanceRun(
  trx: Transaction,
  windowToMs: number,
  done: { readonly position: string; readonly accounts: number; readonly raised: number; readonly lowered: number },
): Promise<void> {
  await sql`
    UPDATE tier_run SET position = ${done.position}, accounts = accounts + ${done.accounts},
      raised = raised + ${done.raised}, lowered = lowered + ${done.lowered}
    WHERE window_to = ${new Date(windowToMs)}`.execute(trx);
}

/** All accounts are done; `bulkRev` is the newest rev of BULK. What was counted for this run alone is removed. */
export async function finishRun(trx: Transaction, windowToMs: number, bulkRev: number, nowMs: number): Promise<void> {
  const windowTo = new Date(windowToMs);
  await trx.deleteFrom('tier_run_spend').where('window_to', '=', windowTo).execute();
  await sql`
    UPDATE tier_run SET finished_at = ${new Date(nowMs)},
      rev = CASE WHEN raised + lowered > 0 THEN ${bulkRev}::bigint END
    WHERE window_to = ${windowTo}`.execute(trx);
}

function runOf(row: {
  window_to: Date;
  spending_accounts: bigint;
  accounts: bigint;
  raised: bigint;
  lowered: bigint;
  rev: bigint | null;
  started_at: Date;
  finished_at: Date | null;
}): TierRun {
  return {
    windowToMs: row.window_to.getTime(),
    spendingAccounts: Number(row.spending_accounts),
    accounts: Number(row.accounts),
    raised: Number(row.raised),
    lowered: Number(row.lowered),
    rev: row.rev === null ? undefined : Number(row.rev),
    startedAtMs: row.started_at.getTime(),
    finishedAtMs: row.finished_at?.getTime(),
  };
}
