/**
 * The SQL of budgets, their leases and the spools that hold them. Rows are locked in one order: caps, then budgets, then
 * leases, each by id; a transaction locks its budgets with one call, and its leases with one call after that.
 */
import { type BudgetRef, type BudgetUnit, budgetId, type CapScope, type CapWindow, parseBudgetId } from '@meridian/domain/budget';
import { isWindowStart, nextWindowStartMs, windowStartMs } from '@meridian/domain/window';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import { type Budget, Escrow, type Lease } from './escrow.ts';

type Reader = Database | Transaction;

/** Which leases are meant. All but those named by id are open ones only. */
export type LeaseSelector =
  | { readonly leaseIds: readonly string[] }
  | { readonly budgetIds: readonly string[] }
  | { readonly budgetIds: readonly string[]; readonly spoolId: string }
  | { readonly spoolId: string };

/**
 * Locks budgets in the order of their ids, and gives them by id. Those that do not exist yet are made first, where the cap is
 * set and the window is the cap's previous, present or next one; others are absent from the answer. Call it once in a
 * transaction, after the cursor's lock.
 */
export async function lockBudgets(trx: Transaction, budgetIds: readonly string[], nowMs: number): Promise<Map<string, Budget>> {
  const ids = [...new Set(budgetIds)];
  if (ids.length === 0) return new Map();
  // Nothing is locked unless all are there: making one locks its cap, and caps come first.
  const found = await selectForUpdate(trx, ids, ids.length);
  if (found.size === ids.length) return found;
  const { rows: present } = await sql<{ id: string }>`SELECT id FROM budget WHERE id = ANY (${ids}::text[])`.execute(trx);
  const known = new Set(present.map((row) => row.id));
  await createBudgets(
    trx,
    ids.filter((id) => !known.has(id)).flatMap((id) => parseBudgetId(id) ?? []),
    nowMs,
  );
  return selectForUpdate(trx, ids, 0);
}

async function selectForUpdate(trx: Transaction, ids: readonly string[], atLeast: number): Promise<Map<string, Budget>> {
  const { rows } = await sql<BudgetRow>`
    SELECT id, cap_id, window_start_ms, account_id, unit, limit_amount, settled, held FROM budget
    WHERE id = ANY (${ids}::text[]) AND (SELECT count(*) FROM budget WHERE id = ANY (${ids}::text[])) >= ${atLeast}
    ORDER BY id FOR UPDATE`.execute(trx);
  return new Map(rows.map((row) => [row.id, budgetOf(row)]));
}

interface BudgetRow {
  readonly id: string;
  readonly cap_id: string;
  readonly window_start_ms: bigint;
  readonly account_id: string;
  readonly unit: BudgetUnit;
  readonly limit_amount: bigint | null;
  readonly settled: bigint;
  readonly held: bigint;
}

/** The columns hold no figure above 2^53. A budget whose cap was removed grants nothing more. */
function budgetOf(row: BudgetRow): Budget {
  return {
    ref: { capId: row.cap_id, windowStartMs: Number(row.window_start_ms) },
    accountId: row.account_id,
    unit: row.unit,
    limit: Number(row.limit_amount ?? 0n),
    settled: Number(row.settled),
    held: Number(row.held),
  };
}

/** Makes the budgets of valid refs that are missing, under a lock on their caps, so that none can get a limit of before. */
async function createBudgets(trx: Transaction, refs: readonly BudgetRef[], nowMs: number): Promise<void> {
  if (refs.length === 0) return;
  const { rows: caps } = await sql<SetCap>`
    SELECT id, account_id AS "accountId", scope, scope_id AS "scopeId", window_kind AS window, unit, limit_amount AS "limitAmount" FROM cap
    WHERE id = ANY (${refs.map((ref) => ref.capId)}::text[]) AND limit_amount IS NOT NULL ORDER BY id FOR SHARE`.execute(trx);
  const byId = new Map(caps.map((cap) => [cap.id, cap]));
  for (const ref of refs.toSorted((a, b) => (budgetId(a) < budgetId(b) ? -1 : 1))) {
    const cap = byId.get(ref.capId);
    if (cap !== undefined && isNearWindow(cap.window, ref.windowStartMs, nowMs)) await insertBudget(trx, cap, ref.windowStartMs);
  }
}

/** What a budget is made from. */
export interface SetCap {
  readonly id: string;
  readonly accountId: string;
  readonly scope: CapScope;
  readonly scopeId: string;
  readonly window: CapWindow;
  readonly unit: BudgetUnit;
  readonly limitAmount: bigint;
}

/** Makes one window of a cap, unless it is there. Its opening is what the scope was charged in that window already. */
export async function insertBudget(trx: Transaction, cap: SetCap, startMs: number): Promise<void> {
  const opening = await chargedInWindow(trx, cap, startMs);
  await sql`
    INSERT INTO budget (id, cap_id, window_start_ms, account_id, unit, limit_amount, opening, settled)
    VALUES (${budgetId({ capId: cap.id, windowStartMs: startMs })}, ${cap.id}, ${startMs}::bigint, ${cap.accountId}, ${cap.unit},
      ${cap.limitAmount}, ${opening}, ${opening})
    ON CONFLICT DO NOTHING`.execute(trx);
}

/** Σ of a scope's hourly charges in one window, in nano-USD; 0 for counts, which no hourly row has. */
export async function chargedInWindow(
  db: Reader,
  cap: Pick<SetCap, 'accountId' | 'scope' | 'scopeId' | 'window' | 'unit'>,
  startMs: number,
): Promise<bigint> {
  if (cap.unit !== 'nano_usd') return 0n;
  const endMs = nextWindowStartMs(cap.window, startMs) ?? Number.MAX_SAFE_INTEGER;
  let query = db
    .selectFrom('usage_hourly')
    .select((eb) => sql<bigint>`coalesce(${eb.fn.sum('charge_nano')}, 0)::bigint`.as('charged'))
    .where('account_id', '=', cap.accountId)
    .where('hour', '>=', new Date(startMs))
    .where('hour', '<', new Date(endMs));
  if (cap.scope === 'key') query = query.where('key_id', '=', cap.scopeId);
  if (cap.scope === 'member') query = query.where('member_id', '=', cap.scopeId);
  return (await query.executeTakeFirstOrThrow()).charged;
}

/** Whether it is the cap's previous, present or next window: clocks of nodes differ, and shares of the next day are handed out ahead. */
function isNearWindow(window: CapWindow, startMs: number, nowMs: number): boolean {
  const present = windowStartMs(window, nowMs);
  const previous = windowStartMs(window, present - 1);
  return isWindowStart(window, startMs) && startMs >= previous && startMs <= (nextWindowStartMs(window, present) ?? present);
}

/** Locks leases of budgets that are locked (others are left out), in the order of their ids. */
export async function lockLeases(trx: Transaction, selector: LeaseSelector, lockedBudgetIds: Iterable<string>): Promise<Lease[]> {
  const { rows } = await sql<LeaseRow>`
    SELECT id, budget_id, spool_id, granted, returned, used, written_off, retiring, closed_at IS NOT NULL AS closed FROM lease
    WHERE ${condition(selector)} AND budget_id = ANY (${[...lockedBudgetIds]}::text[]) ORDER BY id FOR UPDATE`.execute(trx);
  return rows.map(leaseOf);
}

/** The budgets of the leases meant, without a lock: a lease never changes its budget. */
export async function budgetsOfLeases(db: Reader, selector: LeaseSelector): Promise<string[]> {
  const { rows } = await sql<{ budget_id: string }>`SELECT DISTINCT budget_id FROM lease WHERE ${condition(selector)}`.execute(db);
  return rows.map((row) => row.budget_id);
}

function condition(selector: LeaseSelector) {
  if ('leaseIds' in selector) return sql`id = ANY (${selector.leaseIds}::text[])`;
  const budgets = 'budgetIds' in selector ? sql`budget_id = ANY (${selector.budgetIds}::text[])` : sql`true`;
  const spool = 'spoolId' in selector ? sql`spool_id = ${selector.spoolId}` : sql`true`;
  return sql`${budgets} AND ${spool} AND closed_at IS NULL`;
}

interface LeaseRow {
  readonly id: string;
  readonly budget_id: string;
  readonly spool_id: string;
  readonly granted: bigint;
  readonly returned: bigint;
  readonly used: bigint;
  readonly written_off: bigint;
  readonly retiring: boolean;
  readonly closed: boolean;
}

function leaseOf(row: LeaseRow): Lease {
  return {
    id: row.id,
    budgetId: row.budget_id,
    spoolId: row.spool_id,
    granted: Number(row.granted),
    returned: Number(row.returned),
    used: Number(row.used),
    writtenOff: Number(row.written_off),
    closed: row.closed,
    retiring: row.retiring,
  };
}

/**
 * The rules over what the selector means: its leases with their budgets, and the budgets it names, all locked. `budgetIds` are
 * further budgets to lock (and to make, see `lockBudgets`), whose leases are not.
 */
export async function escrowOf(
  trx: Transaction,
  selector: LeaseSelector,
  options: { readonly nowMs: number; readonly budgetIds?: readonly string[] },
): Promise<Escrow> {
  const own = 'budgetIds' in selector ? selector.budgetIds : await budgetsOfLeases(trx, selector);
  const budgets = await lockBudgets(trx, [...own, ...(options.budgetIds ?? [])], options.nowMs);
  return new Escrow(budgets.values(), await lockLeases(trx, selector, budgets.keys()));
}

/**
 * Writes what the rules changed of locked budgets and leases; limits are not among it. A lease that is new is inserted, for
 * a spool that `putSpool` has written.
 */
export async function writeBack(trx: Transaction, changes: ReturnType<Escrow['changes']>, nowMs: number): Promise<void> {
  const { budgets, leases } = changes;
  if (budgets.length > 0) {
    await sql`
      UPDATE budget b SET settled = n.settled, held = n.held
      FROM unnest(
        ${budgets.map((budget) => budgetId(budget.ref))}::text[],
        ${budgets.map((budget) => budget.settled)}::bigint[],
        ${budgets.map((budget) => budget.held)}::bigint[]) AS n (id, settled, held)
      WHERE b.id = n.id`.execute(trx);
  }
  if (leases.length === 0) return;
  const now = new Date(nowMs);
  const given = sql`unnest(
    ${leases.map((lease) => lease.id)}::text[],
    ${leases.map((lease) => lease.budgetId)}::text[],
    ${leases.map((lease) => lease.spoolId)}::text[],
    ${leases.map((lease) => lease.granted)}::bigint[],
    ${leases.map((lease) => lease.returned)}::bigint[],
    ${leases.map((lease) => lease.used)}::bigint[],
    ${leases.map((lease) => lease.writtenOff)}::bigint[],
    ${leases.map((lease) => lease.retiring)}::boolean[],
    ${leases.map((lease) => lease.closed)}::boolean[]
  ) AS n (id, budget_id, spool_id, granted, returned, used, written_off, retiring, closed)`;
  const { numAffectedRows } = await sql`
    UPDATE lease l SET granted = n.granted, returned = n.returned, used = n.used, written_off = n.written_off, retiring = n.retiring,
      last_granted_at = CASE WHEN n.granted > l.granted THEN ${now}::timestamptz ELSE l.last_granted_at END,
      closed_at = CASE WHEN n.closed THEN coalesce(l.closed_at, ${now}::timestamptz) ELSE l.closed_at END
    FROM ${given} WHERE l.id = n.id`.execute(trx);
  if (numAffectedRows === BigInt(leases.length)) return;
  // After the update, so that a lease closed in the same step makes room for the one that replaces it.
  await sql`
    INSERT INTO lease (id, budget_id, spool_id, node_id, region, granted, returned, used, written_off, retiring, opened_at,
      last_granted_at, closed_at)
    SELECT n.id, n.budget_id, n.spool_id, s.node_id, s.region, n.granted, n.returned, n.used, n.written_off, n.retiring, ${now}::timestamptz,
      CASE WHEN n.granted > 0 THEN ${now}::timestamptz END, CASE WHEN n.closed THEN ${now}::timestamptz END
    FROM ${given} LEFT JOIN lease_spool s ON s.spool_id = n.spool_id
    WHERE NOT EXISTS (SELECT FROM lease WHERE lease.id = n.id) ORDER BY n.id`.execute(trx);
}

export interface Spool {
  readonly spoolId: string;
  readonly nodeId: string;
  readonly region: string;
}

/** Writes down that a spool was heard of, making it when it is new. */
export async function putSpool(db: Reader, spool: Spool, nowMs: number): Promise<void> {
  await sql`
    INSERT INTO lease_spool (spool_id, node_id, region, last_seen_at)
    VALUES (${spool.spoolId}, ${spool.nodeId}, ${spool.region}, ${new Date(nowMs)})
    ON CONFLICT (spool_id) DO UPDATE SET
      node_id = EXCLUDED.node_id, region = EXCLUDED.region, last_seen_at = EXCLUDED.last_seen_at, silent_ms = 0`.execute(db);
}
