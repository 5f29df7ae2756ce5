/** Checks the books: every figure that must agree with another, at one moment. */
import { windowStartMs } from '@meridian/domain/window';
import type { Database } from '../database/connect.ts';
import type { Transaction } from '../database/transaction.ts';
import { creditAccount } from '../ledger/ledger.ts';
import { ledgerBalances, transferSums, wallets } from '../ledger/service.ts';
import { type AuditCheck, type AuditReport, checkNone, differences, reportOf, total } from './audit.ts';
import * as store from './store.ts';

const DAY_MS = 86_400_000;

/**
 * Runs all checks in one REPEATABLE READ transaction, so that what is ingested meanwhile disturbs none. It reads whole tables:
 * for a nightly run or on demand. A statement may take what the connection allows, or `statementTimeoutMs` (0: any time).
 */
export async function audit(db: Database, clock: { nowMs(): number }, statementTimeoutMs?: number): Promise<AuditReport> {
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (trx) => {
      if (statementTimeoutMs !== undefined) await store.limitStatements(trx, statementTimeoutMs);
      return reportOf([
        ...(await ledgerChecks(trx)),
        ...(await usageChecks(trx)),
        ...(await budgetChecks(trx, clock.nowMs())),
        ...(await tierChecks(trx)),
        await partitionCheck(trx, clock.nowMs()),
      ]);
    });
}

async function ledgerChecks(trx: Transaction): Promise<AuditCheck[]> {
  const balances = await ledgerBalances(trx);
  const sums = await transferSums(trx);
  const rows = await wallets(trx);
  const kept = new Map(
    rows.flatMap((row) => [
      [creditAccount('paid', row.accountId), row.paidNano] as const,
      [creditAccount('bonus', row.accountId), row.bonusNano] as const,
    ]),
  );
  const customers = new Map([...balances].filter(([name]) => name.startsWith('paid:') || name.startsWith('bonus:')));
  const writeOff = -(balances.get('write_off') ?? 0n);
  const covered = await store.sumWriteOffs(trx);
  return [
    {
      check: 'the balances of all accounts sum to zero',
      ok: total(balances) === 0n,
      figures: { accounts: balances.size, sumNano: total(balances), revenueNano: balances.get('revenue') ?? 0n },
      examples: [],
    },
    checkNone('snapshot + tail = all transfers', { accounts: sums.size }, differences(balances, sums)),
    checkNone(
      "customers' balances = snapshot + tail",
      { wallets: rows.length, keptNano: total(kept), postedNano: total(customers) },
      differences(kept, customers),
    ),
    {
      check: 'write-offs = shortfalls covered + charges that no lease could pay + debts of lost disputes − corrections of them',
      ok: writeOff === covered.shortfall + covered.written_off + covered.chargeback - covered.correction,
      figures: {
        writeOffNano: writeOff,
        shortfallNano: covered.shortfall,
        unpaidNano: covered.written_off,
        chargebackNano: covered.chargeback,
        correctionNano: covered.correction,
      },
      examples: [],
    },
    ...(await creditChecks(trx, -(balances.get('receivable') ?? 0n))),
  ];
}

/** Whether credit is what was bought and given, less what was spent and taken back. */
async function creditChecks(trx: Transaction, receivable: bigint): Promise<AuditCheck[]> {
  const purchases = await store.countRows(trx, 'credit_purchase');
  const missing = await store.sumMissing(trx);
  return [
    checkNone(
      "what is unspent of all lots = customers' balances",
      { lots: await store.countRows(trx, 'credit_lot') },
      await store.selectLotDifferences(trx),
    ),
    checkNone('purchases gave the credit that they say', { purchases }, await store.selectPurchaseDifferences(trx)),
    checkNone('no more is paid back of a purchase than was paid', { purchases }, await store.selectOverpaidPurchases(trx)),
    checkNone(
      'refunds, disputes and corrections = their transfers',
      {
        refunds: await store.countRows(trx, 'credit_refund'),
        disputes: await store.countRows(trx, 'credit_dispute'),
        corrections: await store.countRows(trx, 'ledger_correction'),
      },
      await store.selectClaimDifferences(trx),
    ),
    {
      check: 'receivable = what is missing of disputed payments',
      ok: receivable === missing,
      figures: { receivableNano: receivable, missingNano: missing },
      examples: [],
    },
    checkNone('corrections ≤ charges', {}, await store.selectOvercorrected(trx)),
    checkNone('promotions gave what was redeemed of them', {}, await store.selectPromotionDifferences(trx)),
  ];
}

async function usageChecks(trx: Transaction): Promise<AuditCheck[]> {
  const batches = await store.compareBatches(trx);
  const compare = (check: string, figure: store.BatchFigure) => {
    const { different, ...figures } = batches[figure];
    return checkNone(check, figures, different);
  };
  const letters = await store.selectDeadLetters(trx);
  const mismatches = await store.selectMismatches(trx);
  return [
    compare('the charges of each batch = its transfers', 'charge'),
    compare('the upstream cost of each batch = its transfer', 'cost'),
    compare('the variance of each batch = its transfer', 'variance'),
    compare('the written-off charges of each batch = its transfer', 'written_off'),
    checkNone('one charge for each batch, account and kind of credit', {}, await store.selectRepeatedCharges(trx)),
    checkNone('hourly sums = events', { events: await store.countRows(trx, 'usage_event') }, await store.selectHourlyDifferences(trx)),
    checkNone('cursors are contiguous', { cursors: await store.countRows(trx, 'ingest_cursor') }, await store.selectCursorGaps(trx)),
    checkNone('no records were lost', {}, await store.selectLost(trx)),
    checkNone('each request is counted once', {}, await store.selectRepeatedRequests(trx)),
    checkNone(
      'no second final says something else than the first',
      { duplicates: await store.countRows(trx, 'usage_duplicate') },
      await store.selectDifferingDuplicates(trx),
    ),
    checkNone('no dead letters', {}, letters),
    checkNone('our rating confirms every charge', {}, mismatches),
  ];
}

async function budgetChecks(trx: Transaction, nowMs: number): Promise<AuditCheck[]> {
  const budgets = await store.countRows(trx, 'budget');
  const leases = await store.countRows(trx, 'lease');
  const starts = { utc_day: windowStartMs('utc_day', nowMs), utc_month: windowStartMs('utc_month', nowMs) };
  const exceeded = await store.selectExceededCaps(trx);
  return [
    checkNone('budgets have settled what their leases used', { budgets }, await store.selectSettledDifferences(trx)),
    checkNone('budgets hold what their leases hold', { budgets }, await store.selectHeldDifferences(trx)),
    checkNone('leases have used what events took from them', { leases }, await store.selectUsedDifferences(trx)),
    checkNone('granted ≥ returned + used + written off', { leases }, await store.selectOverdrawnLeases(trx)),
    checkNone('closed leases hold nothing', { leases }, await store.selectClosedHolders(trx)),
    checkNone("prepaid limits − settled = customers' balances", { budgets }, await store.selectPrepaidDifferences(trx)),
    checkNone('no more credit is handed out than there is', { budgets }, await store.selectOverdrawnCredit(trx)),
    checkNone('windows have the limits of their caps', { budgets }, await store.selectLimitDifferences(trx, starts)),
    // A limit that is lowered below what is spent breaks no rule: it is told, and not held against the books.
    { ...checkNone('windows whose limit was lowered below what is taken', { budgets }, exceeded), ok: true },
  ];
}

async function tierChecks(trx: Transaction): Promise<AuditCheck[]> {
  const assignments = await store.countRows(trx, 'tier_assignment');
  return [
    checkNone('accounts stand on tiers of the ladder', { assignments }, await store.selectOffLadder(trx)),
    checkNone('nodes are told the tiers that accounts have', { assignments }, await store.selectTierDifferences(trx)),
  ];
}

async function partitionCheck(trx: Transaction, nowMs: number): Promise<AuditCheck> {
  const strayEvents = await store.countStrayEvents(trx, nowMs - DAY_MS, nowMs + DAY_MS);
  return { check: 'the partitions of these days are there', ok: strayEvents === 0n, figures: { strayEvents }, examples: [] };
}
