/**
 * The SQL of caps, budgets, their leases and the spools that hold them. Rows are locked in one order: caps, then budgets, then
 * leases, each by id; a transaction locks its budgets with one call, and its leases with one call after that.
 */
import { type BudgetRef, type BudgetUnit, budgetId, CAP_WINDOWS, type CapWindow, parseBudgetId } from '@meridian/domain/budget';
import { isWindowStart, nextWindowStartMs, windowStartMs } from '@meridian/domain/window';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import { type CapOwner, type CapRow, CEILING_UNITS } from './caps.ts';
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
  const caps = await lockCapsById(
    trx,
    refs.map((ref) => ref.capId),
  );
  const byId = new Map(caps.map((cap) => [cap.id, cap]));
  for (const ref of refs.toSorted((a, b) => (budgetId(a) < budgetId(b) ? -1 : 1))) {
    const cap = byId.get(ref.capId);
    if (cap?.limit !== undefined && isNearWindow(cap.window, ref.windowStartMs, nowMs)) await insertBudget(trx, cap, ref.windowStartMs);
  }
}

/** Keeps caps from being changed, in the order of their ids; those that do not exist are left out. */
export async function lockCapsById(trx: Transaction, ids: readonly string[]): Promise<CapRow[]> {
  const { rows } = await sql<CapRecord>`SELECT * FROM cap WHERE id = ANY (${ids}::text[]) ORDER BY id FOR SHARE`.execute(trx);
  return rows.map(capOf);
}

/**
 * Makes one window of a cap that is locked, unless it is there. Its opening is what the scope was charged in that window
 * already: nobody has asked for a share of it yet.
 */
export async function insertBudget(trx: Transaction, cap: CapRow, startMs: number): Promise<void> {
  const opening = await chargedInWindow(trx, cap, startMs);
  await sql`
    INSERT INTO budget (id, cap_id, window_start_ms, account_id, unit, limit_amount, opening, settled)
    VALUES (${budgetId({ capId: cap.id, windowStartMs: startMs })}, ${cap.id}, ${startMs}::bigint, ${cap.accountId}, ${cap.unit},
      ${cap.limit ?? null}::bigint, ${opening}, ${opening})
    ON CONFLICT DO NOTHING`.execute(trx);
}

/** Σ of a scope's hourly charges in one window, in nano-USD; 0 for counts, which no hourly row has. */
export async function chargedInWindow(
  db: Reader,
  cap: Pick<CapRow, 'accountId' | 'scope' | 'scopeId' | 'window' | 'unit'>,
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

interface CapRecord {
  readonly id: string;
  readonly account_id: string;
  readonly scope: CapRow['scope'];
  readonly scope_id: string;
  readonly window_kind: CapWindow;
  readonly unit: BudgetUnit;
  readonly limit_amount: bigint | null;
  readonly chosen_amount: bigint | null;
  readonly ceiling_amount: bigint | null;
  readonly ceiling_is_own: boolean;
  readonly version: number;
}

function capOf(row: CapRecord): CapRow {
  return {
    id: row.id,
    accountId: row.account_id,
    scope: row.scope,
    scopeId: row.scope_id,
    window: row.window_kind,
    unit: row.unit,
    limit: row.limit_amount ?? undefined,
    chosen: row.chosen_amount ?? undefined,
    ceiling: row.ceiling_amount ?? undefined,
    ceilingIsOwn: row.ceiling_is_own,
    version: row.version,
  };
}

/** Locks all caps that were ever set on a scope, in the order of their ids. */
export async function lockCaps(trx: Transaction, owner: CapOwner): Promise<CapRow[]> {
  const { rows } = await sql<CapRecord>`
    SELECT * FROM cap WHERE scope = ${owner.scope} AND scope_id = ${owner.scopeId} ORDER BY id FOR UPDATE`.execute(trx);
  return rows.map(capOf);
}

/** Locks the caps that plans set on members, in the order of their ids. */
export async function lockCeilings(trx: Transaction, memberIds: readonly string[]): Promise<CapRow[]> {
  const { rows } = await sql<CapRecord>`
    SELECT * FROM cap WHERE scope = 'member' AND scope_id = ANY (${memberIds}::text[]) AND window_kind = 'utc_day'
      AND unit = ANY (${[...CEILING_UNITS]}::text[])
    ORDER BY id FOR UPDATE`.execute(trx);
  return rows.map(capOf);
}

export async function insertCaps(trx: Transaction, caps: readonly Omit<CapRow, 'version'>[], createdAtMs: number): Promise<CapRow[]> {
  if (caps.length === 0) return [];
  const rows = await trx
    .insertInto('cap')
    .values(
      caps.map((cap) => ({
        id: cap.id,
        account_id: cap.accountId,
        scope: cap.scope,
        scope_id: cap.scopeId,
        window_kind: cap.window,
        unit: cap.unit,
        limit_amount: cap.limit ?? null,
        chosen_amount: cap.chosen ?? null,
        ceiling_amount: cap.ceiling ?? null,
        ceiling_is_own: cap.ceilingIsOwn,
        created_at: new Date(createdAtMs),
      })),
    )
    .returningAll()
    .execute();
  return rows.map(capOf);
}

/** Writes what locked caps come to, and counts their versions on. */
export async function updateCaps(
  trx: Transaction,
  caps: readonly Pick<CapRow, 'id' | 'limit' | 'chosen' | 'ceiling' | 'ceilingIsOwn'>[],
): Promise<CapRow[]> {
  if (caps.length === 0) return [];
  const { rows } = await sql<CapRecord>`
    UPDATE cap c SET limit_amount = n.limit_amount, chosen_amount = n.chosen_amount, ceiling_amount = n.ceiling_amount,
      ceiling_is_own = n.ceiling_is_own, version = c.version + 1
    FROM unnest(
      ${caps.map((cap) => cap.id)}::text[],
      ${caps.map((cap) => cap.limit ?? null)}::bigint[],
      ${caps.map((cap) => cap.chosen ?? null)}::bigint[],
      ${caps.map((cap) => cap.ceiling ?? null)}::bigint[],
      ${caps.map((cap) => cap.ceilingIsOwn)}::boolean[]) AS n (id, limit_amount, chosen_amount, ceiling_amount, ceiling_is_own)
    WHERE c.id = n.id RETURNING c.*`.execute(trx);
  return rows.map(capOf);
}

export interface BudgetFigures {
  readonly id: string;
  readonly capId: string;
  readonly windowStartMs: number;
  readonly limit: bigint | undefined;
  readonly settled: bigint;
  readonly held: bigint;
}

/** Locks the budgets of locked caps from one window of each on, in the order of their ids. */
export async function lockWindows(
  trx: Transaction,
  windows: readonly { readonly capId: string; readonly fromMs: number }[],
): Promise<BudgetFigures[]> {
  const { rows } = await sql<BudgetRow>`
    SELECT b.id, b.cap_id, b.window_start_ms, b.account_id, b.unit, b.limit_amount, b.settled, b.held
    FROM budget b JOIN unnest(${windows.map((each) => each.capId)}::text[], ${windows.map((each) => each.fromMs)}::bigint[]) AS n (cap_id, from_ms)
      ON b.cap_id = n.cap_id AND b.window_start_ms >= n.from_ms
    ORDER BY b.id FOR UPDATE OF b`.execute(trx);
  return rows.map((row) => ({
    id: row.id,
    capId: row.cap_id,
    windowStartMs: Number(row.window_start_ms),
    limit: row.limit_amount ?? undefined,
    settled: row.settled,
    held: row.held,
  }));
}

/** Changes the limit of a locked budget, and adds to its opening what was charged without a lease. */
export async function updateLimit(
  trx: Transaction,
  id: string,
  change: { readonly limit: bigint | undefined; readonly opening: bigint },
): Promise<void> {
  await sql`
    UPDATE budget SET limit_amount = ${change.limit ?? null}::bigint, opening = opening + ${change.opening}, settled = settled + ${change.opening}
    WHERE id = ${id}`.execute(trx);
}

/**
 * The caps that are set on scopes, with the figures of their present window: of a budget that nobody has asked for yet, those
 * that it would open with. Ordered by scope, unit and window.
 */
export async function selectStandings(
  db: Reader,
  accountId: string,
  scopeIds: readonly string[],
  nowMs: number,
): Promise<{ readonly cap: CapRow & { readonly limit: bigint }; readonly settled: bigint; readonly held: bigint }[]> {
  const windows = CAP_WINDOWS.map((kind) => {
    const startMs = windowStartMs(kind, nowMs);
    return { kind, startMs, endMs: nextWindowStartMs(kind, startMs) ?? startMs };
  });
  const { rows } = await sql<CapRecord & { readonly limit_amount: bigint; readonly settled: bigint; readonly held: bigint }>`
    SELECT c.*, coalesce(b.held, 0) AS held,
      coalesce(b.settled, CASE WHEN c.unit = 'nano_usd' THEN (
        SELECT sum(h.charge_nano)::bigint FROM usage_hourly h
        WHERE h.account_id = c.account_id AND h.hour >= w.starts_at AND h.hour < w.ends_at
          AND (c.scope = 'account' OR (c.scope = 'member' AND h.member_id = c.scope_id) OR (c.scope = 'key' AND h.key_id = c.scope_id))) END, 0) AS settled
    FROM cap c
    JOIN unnest(${windows.map((each) => each.kind)}::text[], ${windows.map((each) => each.startMs)}::bigint[],
      ${windows.map((each) => new Date(each.startMs))}::timestamptz[], ${windows.map((each) => new Date(each.endMs))}::timestamptz[]
    ) AS w (kind, start_ms, starts_at, ends_at) ON w.kind = c.window_kind
    LEFT JOIN budget b ON b.cap_id = c.id AND b.window_start_ms = w.start_ms
    WHERE c.account_id = ${accountId} AND c.scope_id = ANY (${scopeIds}::text[]) AND c.limit_amount IS NOT NULL
    ORDER BY c.scope_id, c.unit DESC, c.window_kind`.execute(db);
  return rows.map((row) => ({ cap: { ...capOf(row), limit: row.limit_amount }, settled: row.settled, held: row.held }));
}

export interface PrepaidRow {
  readonly id: string;
  readonly limit: bigint;
  readonly settled: bigint;
  readonly held: bigint;
}

/** The id of the one window of prepaid credit. */
export function prepaidBudgetId(capId: string): string {
  return budgetId({ capId, windowStartMs: 0 });
}

/** Makes a prepaid budget without credit, unless it is there. */
export async function insertPrepaid(trx: Transaction, accountId: string, capId: string): Promise<void> {
  await sql`
    INSERT INTO budget (id, cap_id, window_start_ms, account_id, unit, limit_amount)
    VALUES (${prepaidBudgetId(capId)}, ${capId}, 0, ${accountId}, 'nano_usd', 0) ON CONFLICT DO NOTHING`.execute(trx);
}

export async function lockPrepaid(trx: Transaction, capId: string): Promise<PrepaidRow | undefined> {
  const { rows } = await sql<PrepaidRow>`
    SELECT id, limit_amount AS limit, settled, held FROM budget WHERE id = ${prepaidBudgetId(capId)} FOR UPDATE`.execute(trx);
  return rows[0];
}

/** Moves the limit of a locked prepaid budget. `fold` was taken off the limit, and is off what is settled too. */
export async function updatePrepaid(
  trx: Transaction,
  id: string,
  change: { readonly limitBy: bigint; readonly fold: bigint },
): Promise<void> {
  await sql`
    UPDATE budget SET limit_amount = limit_amount + ${change.limitBy}, settled = settled - ${change.fold}, opening = opening - ${change.fold}
    WHERE id = ${id}`.execute(trx);
}
