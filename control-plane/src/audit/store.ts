/** The audit's SQL. It reads the tables themselves, not through the code that wrote them. */
import type { CapWindow } from '@meridian/domain/budget';
import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import type { Tables } from '../database/tables.ts';
import type { Transaction } from '../database/transaction.ts';
import type { AuditRun } from './audit.ts';

const BATCH_FIGURES = ['charge', 'cost', 'variance', 'written_off'] as const;
const BATCH_SIDES = BATCH_FIGURES.flatMap((figure) => [`events_${figure}`, `transfers_${figure}`]);

/** What batches come to: one of its amounts, in the events and in the transfers, and the batches in which they differ. */
export interface BatchComparison {
  readonly batches: number;
  readonly eventsNano: bigint;
  readonly transfersNano: bigint;
  readonly different: readonly string[];
}

export type BatchFigure = (typeof BATCH_FIGURES)[number];

/** Compares the sums of the events of each batch with those of the transfers that name it. There are more batches than memory has room for. */
export async function compareBatches(trx: Transaction): Promise<Readonly<Record<BatchFigure, BatchComparison>>> {
  type Side = `${'events' | 'transfers'}_${BatchFigure}`;
  const { rows } = await sql<{ batch: string | null; batches: bigint } & Record<Side, bigint>>`
    WITH event AS (
      SELECT batch_id, sum(charge_nano) AS charge, sum(cost_nano) AS cost, sum(variance_nano) AS variance, sum(written_off_nano) AS written_off
      FROM usage_event GROUP BY batch_id),
    transfer AS (
      SELECT batch_id, sum(amount_nano) FILTER (WHERE code = 'usage') AS charge, sum(amount_nano) FILTER (WHERE code = 'upstream_cost') AS cost,
        sum(amount_nano) FILTER (WHERE code = 'variance') AS variance, sum(amount_nano) FILTER (WHERE code = 'written_off') AS written_off
      FROM ledger_transfer WHERE batch_id IS NOT NULL GROUP BY batch_id),
    compared AS MATERIALIZED (
      SELECT batch_id, (event.batch_id IS NOT NULL)::int AS has_events, ${sql.join(
        BATCH_FIGURES.map(
          (figure) =>
            sql`coalesce(event.${sql.id(figure)}, 0) AS ${sql.id(`events_${figure}`)}, coalesce(transfer.${sql.id(figure)}, 0) AS ${sql.id(`transfers_${figure}`)}`,
        ),
      )} FROM event FULL JOIN transfer USING (batch_id))
    SELECT NULL AS batch, coalesce(sum(has_events), 0)::bigint AS batches,
      ${sql.join(BATCH_SIDES.map((side) => sql`coalesce(sum(${sql.id(side)}), 0)::bigint AS ${sql.id(side)}`))} FROM compared
    UNION ALL
    SELECT batch_id::text, has_events, ${sql.join(BATCH_SIDES.map((side) => sql`${sql.id(side)}::bigint`))} FROM compared
    WHERE ${sql.join(
      BATCH_FIGURES.map((figure) => sql`${sql.id(`events_${figure}`)} <> ${sql.id(`transfers_${figure}`)}`),
      sql` OR `,
    )}`.execute(trx);
  const total = rows.find((row) => row.batch === null);
  const of = (figure: BatchFigure): BatchComparison => ({
    batches: Number(total?.batches ?? 0n),
    eventsNano: total?.[`events_${figure}`] ?? 0n,
    transfersNano: total?.[`transfers_${figure}`] ?? 0n,
    different: rows
      .filter((row) => row.batch !== null && row[`events_${figure}`] !== row[`transfers_${figure}`])
      .map((row) => `${row.batch}: ${row[`events_${figure}`]} ≠ ${row[`transfers_${figure}`]}`)
      .sort(),
  });
  return { charge: of('charge'), cost: of('cost'), variance: of('variance'), written_off: of('written_off') };
}

/** Kinds of credit that a batch charged in more than one transfer. */
export const selectRepeatedCharges = list(sql`
  SELECT batch_id || ' ' || debit AS item FROM ledger_transfer
  WHERE batch_id IS NOT NULL AND account_id IS NOT NULL AND code = 'usage' GROUP BY batch_id, debit HAVING count(*) > 1 ORDER BY 1`);

/** Steps of a cursor that do not follow the step before, and cursors that do not stand at the end of their last step. */
export const selectCursorGaps = list(sql`
  WITH step AS (
    SELECT spool_id, incarnation, first_seq, last_seq,
      lag(last_seq, 1, 0::bigint) OVER (PARTITION BY spool_id, incarnation ORDER BY first_seq) AS previous
    FROM usage_batch),
  reached AS (SELECT spool_id, incarnation, max(last_seq) AS last_seq FROM usage_batch GROUP BY 1, 2)
  SELECT spool_id || '/' || incarnation || ': ' || first_seq || ' follows ' || previous AS item FROM step WHERE first_seq <> previous + 1
  UNION ALL
  SELECT coalesce(c.spool_id, r.spool_id) || '/' || coalesce(c.incarnation, r.incarnation) || ': cursor ' ||
    coalesce(c.acked_seq, 0) || ', batches ' || coalesce(r.last_seq, 0)
  FROM ingest_cursor c FULL JOIN reached r USING (spool_id, incarnation)
  WHERE coalesce(c.acked_seq, 0) <> coalesce(r.last_seq, 0)
  ORDER BY 1`);

/** Steps over records that the node no longer had. */
export const selectLost = list(sql`
  SELECT spool_id || '/' || incarnation || ': ' || first_seq || '..' || last_seq AS item FROM usage_batch WHERE kind = 'lost' ORDER BY 1`);

/** Requests counted more than once, under whatever time of admission. */
export const selectRepeatedRequests = list(sql`
  SELECT request_id AS item FROM usage_event GROUP BY request_id HAVING count(*) > 1 ORDER BY 1`);

export const selectDifferingDuplicates = list(sql`SELECT request_id AS item FROM usage_duplicate WHERE differs ORDER BY 1`);

export const selectDeadLetters = list(sql`
  SELECT batch_id || '/' || seq || ' ' || coalesce(account_id, '?') || ' ' || coalesce(charge_nano::text, '?') || ': ' || reason AS item
  FROM usage_dead_letter ORDER BY 1`);

export const selectMismatches = list(sql`
  SELECT request_id || ': charged ' || charge_nano || ', rated ' || coalesce(rated_nano::text, 'unknown price') AS item
  FROM usage_rating_mismatch ORDER BY 1`);

/** Accounts and hours whose hourly sums are not the sums of their events. */
export const selectHourlyDifferences = list(sql`
  WITH event AS (
    SELECT account_id, date_trunc('hour', admitted_at, 'UTC') AS hour, count(*) AS requests,
      sum(charge_nano) AS charge, sum(list_nano) AS list, sum(cost_nano) AS cost
    FROM usage_event GROUP BY 1, 2),
  hourly AS (
    SELECT account_id, hour, sum(requests) AS requests, sum(charge_nano) AS charge, sum(list_nano) AS list, sum(cost_nano) AS cost
    FROM usage_hourly GROUP BY 1, 2)
  SELECT account_id || ' ' || hour || ': charge ' || coalesce(hourly.charge, 0) || ' ≠ ' || coalesce(event.charge, 0) AS item
  FROM event FULL JOIN hourly USING (account_id, hour)
  WHERE (hourly.requests, hourly.charge, hourly.list, hourly.cost) IS DISTINCT FROM (event.requests, event.charge, event.list, event.cost)
  ORDER BY 1`);

/** What the leases of each budget add up to. */
const LEASE_SUMS = sql`(
  SELECT budget_id, sum(used) AS used, sum(granted - returned - used - written_off) AS held FROM lease GROUP BY budget_id) sums`;

/** Budgets that have not settled what they opened with and what their leases used. */
export const selectSettledDifferences = list(sql`
  SELECT b.id || ': settled ' || b.settled || ' ≠ ' || b.opening + coalesce(sums.used, 0) AS item
  FROM budget b LEFT JOIN ${LEASE_SUMS} ON sums.budget_id = b.id
  WHERE b.settled <> b.opening + coalesce(sums.used, 0) ORDER BY 1`);

/** Budgets that do not hold what their leases do. */
export const selectHeldDifferences = list(sql`
  SELECT b.id || ': held ' || b.held || ' ≠ ' || coalesce(sums.held, 0) AS item
  FROM budget b LEFT JOIN ${LEASE_SUMS} ON sums.budget_id = b.id
  WHERE b.held <> coalesce(sums.held, 0) ORDER BY 1`);

/**
 * Leases that have not used what events took from them. A count may have been refused for an event that costs nothing, which
 * leaves no trace in the event.
 */
export const selectUsedDifferences = list(sql`
  WITH event AS (
    SELECT lease ->> 'lease_id' AS id, sum((lease ->> 'amount')::bigint) AS most,
      sum((lease ->> 'amount')::bigint) FILTER (WHERE charge_nano > 0) AS least
    FROM usage_event, jsonb_array_elements(leases) lease WHERE written_off_nano = 0 GROUP BY 1)
  SELECT coalesce(l.id, event.id) || ': used ' || coalesce(l.used, 0) || ' ≠ ' || coalesce(event.most, 0) AS item
  FROM lease l FULL JOIN event ON event.id = l.id
  WHERE coalesce(l.used, 0) NOT BETWEEN coalesce(event.least, 0) AND coalesce(event.most, 0) ORDER BY 1`);

/** Leases that have given away more than they were granted. */
export const selectOverdrawnLeases = list(sql`
  SELECT id || ': ' || granted || ' < ' || returned || ' + ' || used || ' + ' || written_off AS item FROM lease
  WHERE returned + used + written_off > granted ORDER BY 1`);

/** Closed leases that hold something. */
export const selectClosedHolders = list(sql`
  SELECT id || ': ' || granted - returned - used - written_off AS item FROM lease
  WHERE closed_at IS NOT NULL AND returned + used + written_off < granted ORDER BY 1`);

/** Accounts whose credit is not what is unsettled of their prepaid limit. */
export const selectPrepaidDifferences = list(sql`
  SELECT account_id || ': ' || coalesce(b.limit_amount - b.settled, 0) || ' ≠ ' || coalesce(w.paid_nano + w.bonus_nano, 0) AS item
  FROM (SELECT * FROM budget WHERE cap_id = 'prepaid_' || account_id) b FULL JOIN ledger_balance w USING (account_id)
  WHERE coalesce(b.limit_amount - b.settled, 0) <> coalesce(w.paid_nano + w.bonus_nano, 0) ORDER BY 1`);

/**
 * Accounts of whose credit more is handed out than there is. A dispute takes credit whatever nodes hold of it, so that as much as
 * disputes took may be handed out beyond.
 */
export const selectOverdrawnCredit = list(sql`
  SELECT account_id || ': ' || settled || ' + ' || held || ' > ' || limit_amount AS item FROM budget b
  WHERE cap_id = 'prepaid_' || account_id AND settled + held > limit_amount + (
    SELECT coalesce(sum(amount_nano), 0) FROM ledger_transfer t
    WHERE t.account_id = b.account_id AND t.code IN ('dispute', 'chargeback')) ORDER BY 1`);

/** Kinds of credit whose lots, less what was taken of them and what usage has spent, do not leave the balance. */
export const selectLotDifferences = list(sql`
  WITH lot AS (SELECT account_id, kind, sum(amount_nano - taken_nano) AS rest FROM credit_lot GROUP BY 1, 2),
  spent AS (
    SELECT account_id, kind, sum(amount) AS amount FROM (
      SELECT account_id, split_part(debit, ':', 1) AS kind, amount_nano AS amount FROM ledger_transfer
      WHERE account_id IS NOT NULL AND code = 'usage'
      UNION ALL
      SELECT account_id, split_part(credit, ':', 1), -amount_nano FROM ledger_transfer
      WHERE account_id IS NOT NULL AND code IN ('shortfall', 'correction')) moved
    GROUP BY 1, 2),
  wallet AS (
    SELECT account_id, 'paid' AS kind, paid_nano AS balance FROM ledger_balance
    UNION ALL SELECT account_id, 'bonus', bonus_nano FROM ledger_balance)
  SELECT kind || ':' || account_id || ': unspent ' || coalesce(lot.rest, 0) - coalesce(spent.amount, 0) || ' ≠ ' || coalesce(balance, 0) AS item
  FROM lot FULL JOIN spent USING (account_id, kind) FULL JOIN wallet USING (account_id, kind)
  WHERE coalesce(lot.rest, 0) - coalesce(spent.amount, 0) <> coalesce(balance, 0) ORDER BY 1`);

/** Purchases that gave other credit than they say. */
export const selectPurchaseDifferences = list(sql`
  SELECT p.id || ': price ' || price_nano || ', bonus ' || bonus_nano || ' ≠ ' || coalesce(sum(amount_nano) FILTER (WHERE kind = 'paid'), 0) ||
    ', ' || coalesce(sum(amount_nano) FILTER (WHERE kind = 'bonus'), 0) AS item
  FROM credit_purchase p LEFT JOIN credit_lot l ON l.purchase_id = p.id AND l.account_id = p.account_id GROUP BY p.id
  HAVING (price_nano, bonus_nano) IS DISTINCT FROM
    (coalesce(sum(amount_nano) FILTER (WHERE kind = 'paid'), 0), coalesce(sum(amount_nano) FILTER (WHERE kind = 'bonus'), 0)) ORDER BY 1`);

/** Purchases of which more was paid back than was paid. */
export const selectOverpaidPurchases = list(sql`
  SELECT p.id || ': ' || paid_back || ' > ' || p.price_nano AS item FROM credit_purchase p JOIN (
    SELECT purchase_id, sum(amount_nano) AS paid_back FROM (
      SELECT purchase_id, amount_nano FROM credit_refund
      UNION ALL SELECT purchase_id, amount_nano FROM credit_dispute WHERE state <> 'won') back
    GROUP BY purchase_id) b ON b.purchase_id = p.id
  WHERE paid_back > p.price_nano ORDER BY 1`);

/** Accounts whose refunds, disputes and corrections are not what was transferred for them. */
export const selectClaimDifferences = list(sql`
  WITH claim AS (
    SELECT account_id, code, sum(amount) AS amount FROM (
      SELECT account_id, 'refund' AS code, amount_nano AS amount FROM credit_refund
      UNION ALL SELECT account_id, 'bonus_cancelled', bonus_cancelled_nano FROM credit_refund
      UNION ALL SELECT d.account_id, 'dispute', l.amount_nano FROM credit_dispute_lot l JOIN credit_dispute d ON d.id = l.dispute_id
      UNION ALL SELECT d.account_id, 'dispute_won', l.amount_nano FROM credit_dispute_lot l JOIN credit_dispute d ON d.id = l.dispute_id
        WHERE d.state = 'won'
      UNION ALL SELECT account_id, 'chargeback', collected_nano FROM credit_dispute
      UNION ALL SELECT account_id, 'correction', paid_nano + bonus_nano FROM ledger_correction) each_claim
    GROUP BY 1, 2),
  moved AS (
    SELECT account_id, code, sum(amount_nano) AS amount FROM ledger_transfer
    WHERE account_id IS NOT NULL AND code IN ('refund', 'bonus_cancelled', 'dispute', 'dispute_won', 'chargeback', 'correction')
    GROUP BY 1, 2)
  SELECT account_id || ' ' || code || ': ' || coalesce(claim.amount, 0) || ' ≠ ' || coalesce(moved.amount, 0) AS item
  FROM claim FULL JOIN moved USING (account_id, code) WHERE coalesce(claim.amount, 0) <> coalesce(moved.amount, 0) ORDER BY 1`);

/** Requests of whose charge more was given back than there was. */
export const selectOvercorrected = list(sql`
  SELECT request_id || ': ' || sum(amount_nano) || ' > ' || coalesce(charge, 0) AS item
  FROM ledger_correction c LEFT JOIN LATERAL (
    SELECT sum(charge_nano) AS charge FROM usage_event e WHERE e.request_id = c.request_id AND e.account_id = c.account_id) e ON true
  GROUP BY request_id, c.account_id, charge HAVING sum(amount_nano) > coalesce(charge, 0) ORDER BY 1`);

/** Promotions that did not give what was redeemed of them. */
export const selectPromotionDifferences = list(sql`
  SELECT id || ': ' || given_nano || ' ≠ ' || coalesce(redeemed, 0) AS item FROM credit_promotion LEFT JOIN (
    SELECT promotion_id AS id, sum(amount_nano) AS redeemed FROM credit_redemption GROUP BY 1) r USING (id)
  WHERE given_nano <> coalesce(redeemed, 0) ORDER BY 1`);

/** What customers owe for payments that are disputed. */
export async function sumMissing(trx: Transaction): Promise<bigint> {
  const { rows } = await sql<{ missing: bigint }>`
    SELECT coalesce(sum(missing_nano), 0)::bigint AS missing FROM credit_dispute WHERE state = 'open'`.execute(trx);
  return rows[0]?.missing ?? 0n;
}

/** Windows of caps that more was taken from than their limit is now: it was lowered since. */
export const selectExceededCaps = list(sql`
  SELECT id || ': ' || settled || ' + ' || held || ' > ' || limit_amount AS item FROM budget
  WHERE cap_id <> 'prepaid_' || account_id AND settled + held > limit_amount ORDER BY 1`);

/** Present and later windows of caps that do not have the cap's limit. */
export async function selectLimitDifferences(trx: Transaction, starts: Readonly<Record<CapWindow, number>>): Promise<string[]> {
  return list(sql`
    SELECT b.id || ': ' || coalesce(b.limit_amount::text, 'none') || ' ≠ ' || coalesce(c.limit_amount::text, 'none') AS item
    FROM budget b JOIN cap c ON c.id = b.cap_id
    WHERE b.window_start_ms >= CASE c.window_kind WHEN 'utc_day' THEN ${starts.utc_day}::bigint ELSE ${starts.utc_month}::bigint END
      AND b.limit_amount IS DISTINCT FROM c.limit_amount ORDER BY 1`)(trx);
}

/** Accounts whose tier the ladder does not have. */
export const selectOffLadder = list(sql`
  SELECT account_id || ': ' || tier_id AS item FROM tier_assignment WHERE tier_id NOT IN (SELECT id FROM tier) ORDER BY 1`);

/** Accounts whose tier was published as another version than they have; one that was never told of stands on the first. */
export const selectTierDifferences = list(sql`
  SELECT a.account_id || ': version ' || a.version || ' ' || a.tier_id || ' ≠ ' || coalesce('version ' || e.version, 'never published') AS item
  FROM tier_assignment a LEFT JOIN config_entity e ON e.kind = 'tier_assignment' AND e.id = a.account_id AND NOT e.deleted
  WHERE CASE WHEN e.id IS NULL THEN a.tier_id <> (SELECT id FROM tier WHERE from_spend_nano = 0) ELSE e.version <> a.version END
  ORDER BY 1`);

/** For this transaction; 0 sets no limit. */
export async function limitStatements(trx: Transaction, timeoutMs: number): Promise<void> {
  await sql`SELECT set_config('statement_timeout', ${String(timeoutMs)}, true)`.execute(trx);
}

/** Keeps what an audit found, and returns its id. */
export async function insertRun(db: Database, run: Omit<AuditRun, 'id'>): Promise<string> {
  const { id } = await db
    .insertInto('audit_run')
    .values({
      started_at: new Date(run.startedAtMs),
      finished_at: new Date(run.finishedAtMs),
      ok: run.ok,
      checks: JSON.stringify(run.checks),
    })
    .returning('id')
    .executeTakeFirstOrThrow();
  return id.toString();
}

/** Newest first; `after` is the id of the last one of the page before. */
export async function selectRuns(db: Database, { limit, after }: Page): Promise<AuditRun[]> {
  let query = db.selectFrom('audit_run').selectAll().orderBy('id', 'desc').limit(limit);
  if (after !== undefined) query = query.where('id', '<', BigInt(after));
  return (await query.execute()).map((row) => ({
    id: row.id.toString(),
    startedAtMs: row.started_at.getTime(),
    finishedAtMs: row.finished_at.getTime(),
    ok: row.ok,
    checks: row.checks,
  }));
}

/** Events of the days for which there should be partitions, that lie in none. */
export async function countStrayEvents(trx: Transaction, fromMs: number, toMs: number): Promise<bigint> {
  return count(trx, sql`usage_event_default WHERE admitted_at >= ${new Date(fromMs)} AND admitted_at < ${new Date(toMs)}`);
}

export function countRows(trx: Transaction, table: keyof Tables): Promise<bigint> {
  return count(trx, sql.table(table));
}

async function count(trx: Transaction, from: RawBuilder<unknown>): Promise<bigint> {
  const { rows } = await sql<{ n: bigint }>`SELECT count(*) AS n FROM ${from}`.execute(trx);
  return rows[0]?.n ?? 0n;
}

export interface WriteOffs {
  /** Paid for accounts whose credit was short. */
  readonly shortfall: bigint;
  /** What no lease could pay. */
  readonly written_off: bigint;
  /** Debts of lost disputes that nobody paid. */
  readonly chargeback: bigint;
  /** Of what was paid for accounts: not owed after all. */
  readonly correction: bigint;
}

export async function sumWriteOffs(trx: Transaction): Promise<WriteOffs> {
  const { rows } = await sql<WriteOffs>`
    SELECT coalesce(sum(amount_nano) FILTER (WHERE code = 'shortfall'), 0)::bigint AS shortfall,
      coalesce(sum(amount_nano) FILTER (WHERE code = 'written_off'), 0)::bigint AS written_off,
      (SELECT coalesce(sum(written_off_nano), 0) FROM credit_dispute)::bigint AS chargeback,
      (SELECT coalesce(sum(covered_nano), 0) FROM ledger_correction)::bigint AS correction
    FROM ledger_transfer WHERE code IN ('shortfall', 'written_off')`.execute(trx);
  return rows[0] ?? { shortfall: 0n, written_off: 0n, chargeback: 0n, correction: 0n };
}

function list(query: RawBuilder<unknown>): (trx: Transaction) => Promise<string[]> {
  return async (trx) => {
    const { rows } = await sql<{ item: string }>`${query}`.execute(trx);
    return rows.map((row) => row.item);
  };
}
