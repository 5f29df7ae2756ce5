import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { budgetId } from '@meridian/domain/budget';
import type { Final } from '@meridian/domain/usage-record';
import { windowStartMs } from '@meridian/domain/window';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BudgetService } from '../budgets/service.ts';
import { grantTo } from '../budgets/testing.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { createLedger, type Ledger } from '../ledger/service.ts';
import { publish } from '../snapshots/service.ts';
import type { UsageBatch } from '../usage/batch.ts';
import { createUsageService, type UsageService } from '../usage/service.ts';
import { ADMITTED_AT_MS, creditLeaseId, openCredit, settledFinal, TEST_PRICES, withCredit } from '../usage/testing.ts';
import { audit } from './service.ts';

const clock = { nowMs: () => ADMITTED_AT_MS };
const LOTS = "what is unspent of all lots = customers' balances";
const WRITE_OFFS = 'write-offs = shortfalls covered + charges that no lease could pay + debts of lost disputes − corrections of them';
const MAIN = join(import.meta.dirname, 'main.ts');

let database: TestDatabase;
let ledger: Ledger;
let usage: UsageService;
let moneyBudget: string;
let dayLease: string;
let countLease: string;

/** A day's books: credit, usage of two nodes and two accounts, caps, a snapshot in the middle, a charge that no lease could pay. */
beforeEach(async () => {
  database = await testDatabase();
  ledger = createLedger({ db: database.db, clock });
  usage = createUsageService({ db: database.db, clock, prices: TEST_PRICES, onAlarm: () => {} });
  await usage.makePartitions();
  await ledger.makePartitions();
  await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10_000_000n });
  await ledger.grant({ idempotencyKey: 'b', accountId: 'acc_1', amountNano: 1_000_000n });
  await ledger.topUp({ idempotencyKey: 'c', accountId: 'acc_2', amountNano: 5_000_000n });
  await capAccount();
  await ingest('spl_1', 1, 4);
  await ledger.takeSnapshot();
  await ingest('spl_1', 5, 6);
  await ingest('spl_2', 1, 3, 'acc_2');
  const unpaid = { seq: 4, final: settledFinal({ requestId: 'req_unpaid', accountId: 'acc_2' }) };
  const batch = { spoolId: 'spl_2', nodeId: 'nod_1', region: 'us', incarnation: 1n, firstSeq: 4, lastSeq: 4 };
  await usage.ingestBatch({ ...batch, records: [unpaid] });
});
afterEach(() => database.drop());

async function ingest(spoolId: string, firstSeq: number, lastSeq: number, accountId = 'acc_1'): Promise<void> {
  const records = Array.from({ length: lastSeq - firstSeq + 1 }, (_, index) => ({
    seq: firstSeq + index,
    final: settledFinal({ requestId: `req_${spoolId}_${firstSeq + index}`, accountId, leases: leasesOf(spoolId, accountId) }),
  }));
  await take({ spoolId, nodeId: 'nod_1', region: 'us', incarnation: 1n, firstSeq, lastSeq, records });
}

/** Of each charge, with the caps of the account where it has any. */
function leasesOf(spoolId: string, accountId: string): Final['leases'] {
  const credit = { leaseId: creditLeaseId(spoolId, accountId), amount: 980_000n };
  return accountId === 'acc_1' ? [credit, { leaseId: dayLease, amount: 980_000n }, { leaseId: countLease, amount: 1n }] : [credit];
}

/** Caps of acc_1 in money and in requests, and what spl_1 may take of them. */
async function capAccount(): Promise<void> {
  const at = new Date(ADMITTED_AT_MS);
  await database.db.insertInto('plan').values({ id: 'starter', name: 'Starter', api_access: true, created_at: at }).execute();
  await database.db
    .insertInto('account')
    .values({ id: 'acc_1', name: 'One', plan_id: 'starter', status: 'active', created_at: at })
    .execute();
  const ids = { nowMs: clock.nowMs, randomBytes: (count: number) => randomBytes(count) };
  const budgets = new BudgetService({ db: database.db, ids, publish, onLimitChanged: () => {} });
  const owner = { accountId: 'acc_1', scope: 'account', scopeId: 'acc_1' } as const;
  const [money, count] = await budgets.setCaps(owner, { daily_usd: 20_000_000n, monthly_chat_completions: 50n });
  moneyBudget = budgetId({ capId: String(money?.id), windowStartMs: windowStartMs('utc_day', ADMITTED_AT_MS) });
  const countBudget = budgetId({ capId: String(count?.id), windowStartMs: windowStartMs('utc_month', ADMITTED_AT_MS) });
  dayLease = String(await grantTo(database.db, 'spl_1', { budgetId: moneyBudget, amount: 9_000_000, nowMs: ADMITTED_AT_MS }));
  countLease = String(await grantTo(database.db, 'spl_1', { budgetId: countBudget, amount: 20, nowMs: ADMITTED_AT_MS }));
}

/** Ingests it, its spool having leases on the credit that it charges, within that credit. */
async function take(batch: UsageBatch): Promise<void> {
  const accountId = batch.spoolId === 'spl_2' ? 'acc_2' : 'acc_1';
  await openCredit(database.db, batch.spoolId, [accountId], batch.spoolId === 'spl_1' ? 7_000_000 : 3_000_000);
  await usage.ingestBatch(await withCredit(database.db, batch));
}

/** As nobody but the owner of the tables can. */
async function tamper(statement: string): Promise<void> {
  const owner = new pg.Client({ connectionString: database.url });
  await owner.connect();
  await owner.query(statement);
  await owner.end();
}

async function broken(): Promise<string[]> {
  const report = await audit(database.db, clock);
  expect(report.ok).toBe(report.checks.every((check) => check.ok));
  return report.checks.filter((check) => !check.ok).map((check) => check.check);
}

describe('an audit', () => {
  it('reads nothing for each batch, of which there may be millions', async () => {
    for (let seq = 4; seq < 44; seq++) await ingest('spl_3', seq - 3, seq - 3);
    const largest = { rows: 0 };
    const watched = database.db.withPlugin({
      transformQuery: ({ node }) => node,
      transformResult: async ({ result }) => {
        largest.rows = Math.max(largest.rows, result.rows.length);
        return result;
      },
    });
    const report = await audit(watched, clock);
    expect(report.checks.filter((check) => !check.ok)).toEqual([]);
    expect(report.checks.find(({ check }) => check === 'the charges of each batch = its transfers')?.figures).toMatchObject({
      batches: 44,
    });
    expect(largest.rows).toBeLessThan(20);
  });

  it('finds books that were kept by the rules in order, and shows their figures', async () => {
    const report = await audit(database.db, clock);
    expect(report.checks.filter((check) => !check.ok)).toEqual([]);
    const figures = Object.assign({}, ...report.checks.map((check) => check.figures));
    expect(figures).toMatchObject({
      sumNano: 0n,
      revenueNano: 10n * 980_000n,
      events: 10n,
      cursors: 2n,
      writeOffNano: 980_000n,
      leases: 4n,
      wallets: 2,
    });
    expect(report.checks.find((check) => check.check.startsWith('the charges'))?.figures).toMatchObject({
      batches: 4,
      eventsNano: 8_820_000n,
      transfersNano: 8_820_000n,
    });
  });

  it('finds an empty database in order', async () => {
    const empty = await testDatabase();
    expect((await audit(empty.db, clock)).ok).toBe(true);
    await empty.drop();
  });

  it.each([
    [
      'UPDATE ledger_balance SET paid_nano = paid_nano + 1',
      ["customers' balances = snapshot + tail", LOTS, "prepaid limits − settled = customers' balances"],
    ],
    [
      "DELETE FROM ledger_balance WHERE account_id = 'acc_1'",
      ["customers' balances = snapshot + tail", LOTS, "prepaid limits − settled = customers' balances"],
    ],
    [
      "UPDATE ledger_snapshot SET balance_nano = balance_nano - 1 WHERE ledger_account = 'paid:acc_1'",
      ['the balances of all accounts sum to zero', 'snapshot + tail = all transfers', "customers' balances = snapshot + tail"],
    ],
    [
      "DELETE FROM ledger_transfer WHERE code = 'usage' AND id = (SELECT max(id) FROM ledger_transfer WHERE code = 'usage')",
      ["customers' balances = snapshot + tail", LOTS, 'the charges of each batch = its transfers'],
    ],
    [
      "UPDATE ledger_transfer SET amount_nano = amount_nano + 1 WHERE code = 'upstream_cost' AND batch_id = 3",
      ['the upstream cost of each batch = its transfer'],
    ],
    [
      "UPDATE usage_event SET charge_nano = charge_nano - 1 WHERE request_id = 'req_spl_1_2'",
      ['the charges of each batch = its transfers', 'hourly sums = events'],
    ],
    [
      "UPDATE usage_event SET written_off_nano = 1 WHERE request_id = 'req_spl_1_2'",
      ['the written-off charges of each batch = its transfer', 'leases have used what events took from them'],
    ],
    ['UPDATE usage_hourly SET list_nano = list_nano + 1', ['hourly sums = events']],
    ["UPDATE ingest_cursor SET acked_seq = acked_seq + 1 WHERE spool_id = 'spl_2'", ['cursors are contiguous']],
    ['UPDATE usage_batch SET first_seq = 6 WHERE first_seq = 5', ['cursors are contiguous']],
    [
      "UPDATE usage_event SET request_id = 'req_spl_1_1', admitted_at = admitted_at + '1 s' WHERE request_id = 'req_spl_1_2'",
      ['each request is counted once'],
    ],
    [
      "INSERT INTO ledger_transfer (posted_at, code, debit, credit, amount_nano) VALUES (now(), 'adjustment', 'write_off', 'revenue', 5)",
      [WRITE_OFFS],
    ],
    [
      `INSERT INTO ledger_transfer (posted_at, code, debit, credit, amount_nano, account_id, batch_id)
       SELECT posted_at, code, debit, credit, 1, account_id, batch_id FROM ledger_transfer WHERE code = 'usage' AND batch_id = 3`,
      [
        "customers' balances = snapshot + tail",
        LOTS,
        'the charges of each batch = its transfers',
        'one charge for each batch, account and kind of credit',
      ],
    ],
  ])('finds what was changed by hand: %s', async (statement, checks) => {
    await tamper(statement);
    expect(await broken()).toEqual(checks);
  });

  const BUDGETS = {
    settled: 'budgets have settled what their leases used',
    held: 'budgets hold what their leases hold',
    used: 'leases have used what events took from them',
    granted: 'granted ≥ returned + used + written off',
    closed: 'closed leases hold nothing',
    prepaid: "prepaid limits − settled = customers' balances",
    credit: 'no more credit is handed out than there is',
    limits: 'windows have the limits of their caps',
  };
  it.each([
    [
      'money is settled without a lease',
      "UPDATE budget SET settled = settled + 1 WHERE cap_id LIKE 'cap_%' AND unit = 'nano_usd'",
      [BUDGETS.settled],
    ],
    [
      'credit is settled without a lease',
      "UPDATE budget SET settled = settled + 1 WHERE id = 'prepaid_acc_1@0'",
      [BUDGETS.settled, BUDGETS.prepaid],
    ],
    ['an opening is changed', "UPDATE budget SET opening = opening + 1 WHERE unit <> 'nano_usd'", [BUDGETS.settled]],
    ['a budget holds more than its leases', "UPDATE budget SET held = held + 1 WHERE id = 'prepaid_acc_1@0'", [BUDGETS.held]],
    [
      'a lease has used what no event took',
      `UPDATE lease SET used = used + 1, returned = 0 WHERE granted = 20`,
      [BUDGETS.settled, BUDGETS.held, BUDGETS.used],
    ],
    [
      'an event is moved to another lease',
      "UPDATE usage_event SET leases = jsonb_set(leases, '{2,amount}', '\"2\"') WHERE request_id = 'req_spl_1_3'",
      [BUDGETS.used],
    ],
    [
      'an event names a lease that there is not',
      `UPDATE usage_event SET leases = leases || '[{"lease_id": "none", "amount": "1"}]' WHERE request_id = 'req_spl_1_3'`,
      [BUDGETS.used],
    ],
    [
      'a lease gives away more than it was granted',
      `ALTER TABLE lease DROP CONSTRAINT lease_check; ALTER TABLE budget DROP CONSTRAINT budget_held_check;
       UPDATE lease SET returned = 15 WHERE granted = 20; UPDATE budget SET held = held - 15 WHERE unit = 'chat_completions'`,
      [BUDGETS.granted],
    ],
    ['a lease is closed with what it holds', 'UPDATE lease SET closed_at = now() WHERE granted = 20', [BUDGETS.closed]],
    ['a prepaid limit is raised', "UPDATE budget SET limit_amount = limit_amount + 1 WHERE id = 'prepaid_acc_2@0'", [BUDGETS.prepaid]],
    [
      'a wallet has no prepaid budget',
      "INSERT INTO ledger_balance (account_id, paid_nano) VALUES ('acc_3', 1)",
      ["customers' balances = snapshot + tail", LOTS, BUDGETS.prepaid],
    ],
    [
      'more credit is granted than there is',
      `UPDATE lease SET granted = granted + 5000000 WHERE budget_id = 'prepaid_acc_2@0';
       UPDATE budget SET held = held + 5000000 WHERE id = 'prepaid_acc_2@0'`,
      [BUDGETS.credit],
    ],
    ['a cap is changed and its window is not', "UPDATE cap SET limit_amount = 60 WHERE unit = 'chat_completions'", [BUDGETS.limits]],
    ['a cap is removed and its window is not', 'UPDATE cap SET limit_amount = NULL', [BUDGETS.limits]],
  ])('finds that %s', async (_, statement, checks) => {
    await tamper(statement);
    expect(await broken()).toEqual(checks);
  });

  it('tells of limits that were lowered below what is taken, and does not hold it against the books', async () => {
    await tamper(
      `UPDATE cap SET limit_amount = 8000000 WHERE unit = 'nano_usd'; UPDATE budget SET limit_amount = 8000000 WHERE id = '${moneyBudget}'`,
    );
    const report = await audit(database.db, clock);
    expect(report.ok).toBe(true);
    expect(report.checks.find((check) => check.check.startsWith('windows whose limit'))).toMatchObject({
      figures: { broken: 1 },
      examples: [`${moneyBudget}: 5880000 + 3120000 > 8000000`],
    });
  });

  it('finds dead letters, unconfirmed charges, differing duplicates and lost records', async () => {
    const spool = { spoolId: 'spl_3', nodeId: 'nod_1', region: 'us' };
    const finals = [
      settledFinal({ requestId: 'req_a', chargeNano: -1n }),
      settledFinal({ requestId: 'req_b', chargeNano: 5n }),
      settledFinal({ requestId: 'req_spl_1_1', outcome: 'failed' }),
    ];
    await usage.open({ ...spool, retained: [{ incarnation: 1n, firstSeq: 3, lastSeq: 5 }] });
    const records = finals.map((final, index) => ({ seq: index + 3, final }));
    await take({ ...spool, incarnation: 1n, firstSeq: 3, lastSeq: 5, records });
    expect(await broken()).toEqual([
      'no records were lost',
      'no second final says something else than the first',
      'no dead letters',
      'our rating confirms every charge',
    ]);
  });

  it('finds that nobody makes partitions', async () => {
    const later = { nowMs: () => ADMITTED_AT_MS + 20 * 86_400_000 };
    const final = settledFinal({ requestId: 'req_late', admittedAtMs: later.nowMs() });
    await take({
      spoolId: 'spl_3',
      nodeId: 'nod_1',
      region: 'us',
      incarnation: 1n,
      firstSeq: 1,
      lastSeq: 1,
      records: [{ seq: 1, final }],
    });
    expect((await audit(database.db, later)).checks.filter((check) => !check.ok)).toMatchObject([{ figures: { strayEvents: 1n } }]);
  });
});

describe('the audit command', () => {
  const run = (env: Record<string, string>) =>
    promisify(execFile)(process.execPath, [MAIN], { env: { ...process.env, ...env } }).then(
      ({ stdout }) => ({ code: 0, stdout, stderr: '' }),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );

  it('prints every figure and succeeds when the books are in order', async () => {
    const { code, stdout } = await run({ DATABASE_URL: database.url });
    expect(code).toBe(0);
    expect(stdout).toContain('ok     the balances of all accounts sum to zero: accounts 9, sumNano 0, revenueNano 9800000');
    expect(stdout).toContain('audit: the books are in order');
  });

  it('fails loudly when they are not, when there is no server, and when it is told of none', async () => {
    await tamper('UPDATE ledger_balance SET paid_nano = paid_nano + 1');
    const bad = await run({ DATABASE_URL: database.url });
    expect(bad).toMatchObject({ code: 1, stdout: expect.stringContaining("BROKEN customers' balances = snapshot + tail") });
    expect(bad.stdout).toContain('paid:acc_1: ');
    expect(await run({ DATABASE_URL: 'postgresql://u:p@127.0.0.1:1/x' })).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^audit: the PostgreSQL server at 127.0.0.1:1\/x cannot be used: .*\n$/),
    });
    expect(await run({ DATABASE_URL: '' })).toMatchObject({ code: 1, stderr: 'audit: DATABASE_URL is not set\n' });
  });
});
