/** What the audit says of purchases and gifts, and of what was taken back, when somebody has changed them by hand. */
import { randomBytes } from 'node:crypto';
import { newId } from '@meridian/domain/ids';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { createCreditServices } from '../ledger/credit.ts';
import { createLedger } from '../ledger/service.ts';
import { createUsageService } from '../usage/service.ts';
import { ADMITTED_AT_MS, openCredit, settledFinal, TEST_PRICES, withCredit } from '../usage/testing.ts';
import { audit } from './service.ts';

const clock = { nowMs: () => ADMITTED_AT_MS };
const LOTS = "what is unspent of all lots = customers' balances";
const PURCHASES = 'purchases gave the credit that they say';
const OVERPAID = 'no more is paid back of a purchase than was paid';
const CLAIMS = 'refunds, disputes and corrections = their transfers';
const RECEIVABLE = 'receivable = what is missing of disputed payments';
const CORRECTIONS = 'corrections ≤ charges';
const PROMOTIONS = 'promotions gave what was redeemed of them';
const WRITE_OFFS = 'write-offs = shortfalls covered + charges that no lease could pay + debts of lost disputes − corrections of them';

let database: TestDatabase;

/** Purchases with a bonus, a promotion, a call that is corrected, a refund, one dispute that is open and one that was lost. */
beforeAll(async () => {
  database = await testDatabase();
  const { db } = database;
  const ledger = createLedger({ db, clock });
  const usage = createUsageService({ db, clock, prices: TEST_PRICES, onAlarm: () => {} });
  await usage.makePartitions();
  const chargeOf = async () => 980_000n;
  const { purchases, promotions, refunds, disputes, corrections } = createCreditServices({
    db,
    clock,
    addressKey: randomBytes(32),
    chargeOf,
  });
  let keys = 0;
  const key = (accountId = 'acc_1') => ({ idempotencyKey: `k${++keys}`, accountId });
  await purchases.savePackage({ id: 'small', priceNano: 900_000n, bonusBasisPoints: 1_000, active: true });
  await promotions.save({
    ...{ id: 'MAY', gives: { amountNano: 10n }, active: true },
    ...{ startsAtMs: undefined, endsAtMs: undefined, budgetNano: undefined },
  });
  const buy = async () => (await purchases.buy({ ...key(), what: { packageId: 'small' } })).id;
  const [first, second, third, fourth] = [await buy(), await buy(), await buy(), await buy()];
  await promotions.redeem({ ...key(), promotionId: 'MAY' });
  await openCredit(db, 'spl_1', ['acc_1'], 980_000);
  const requestId = newId('req', { nowMs: clock.nowMs, randomBytes: (count) => randomBytes(count) });
  const batch = { spoolId: 'spl_1', nodeId: 'nod_1', region: 'us', incarnation: 1n, firstSeq: 1, lastSeq: 1 };
  await usage.ingestBatch(await withCredit(db, { ...batch, records: [{ seq: 1, final: settledFinal({ requestId }) }] }));
  await corrections.correct({ ...key(), requestId, amountNano: 80_000n });
  await refunds.request({ ...key(), purchaseId: second });
  await disputes.open({ ...key(), purchaseId: first });
  const lost = await disputes.open({ ...key(), purchaseId: third });
  await disputes.close({ ...key(), disputeId: lost.id, outcome: 'lost' });
  await disputes.close({ ...key(), disputeId: (await disputes.open({ ...key(), purchaseId: fourth })).id, outcome: 'won' });
  await ledger.topUp({ ...key('acc_2'), amountNano: 5n });
});
afterAll(() => database.drop());

/** Each after those that it names rows of. */
const TABLES = [
  'credit_purchase',
  'credit_lot',
  'credit_promotion',
  'credit_redemption',
  'credit_refund',
  'credit_dispute',
  'credit_dispute_lot',
  'ledger_correction',
];
beforeAll(() => tamper(`CREATE SCHEMA kept; ${TABLES.map((table) => `CREATE TABLE kept.${table} AS TABLE ${table}`).join('; ')}`));
afterEach(() =>
  tamper(
    [
      ...TABLES.toReversed().map((table) => `DELETE FROM ${table}`),
      ...TABLES.map((table) => `INSERT INTO ${table} OVERRIDING SYSTEM VALUE TABLE kept.${table}`),
    ].join('; '),
  ),
);

/** As nobody but the owner of the tables can. */
async function tamper(statement: string): Promise<void> {
  const owner = new pg.Client({ connectionString: database.url });
  await owner.connect();
  await owner.query(statement);
  await owner.end();
}

const broken = async () => (await audit(database.db, clock)).checks.filter((check) => !check.ok).map((check) => check.check);

describe('an audit of credit', () => {
  it('finds in order what was bought, given, refunded, disputed and corrected by the rules', async () => {
    const report = await audit(database.db, clock);
    expect(report.checks.filter((check) => !check.ok)).toEqual([]);
    const figures = Object.assign({}, ...report.checks.map((check) => check.figures));
    expect(figures).toMatchObject({ purchases: 5n, refunds: 1n, disputes: 3n, corrections: 1n, lots: 10n, receivableNano: 539_990n });
  });

  it.each([
    ['a lot is larger than what was paid', 'UPDATE credit_lot SET amount_nano = amount_nano + 1 WHERE id = 1', [LOTS, PURCHASES]],
    ['less was taken of a lot', 'UPDATE credit_lot SET taken_nano = taken_nano - 1 WHERE id = 3', [LOTS]],
    ['a lot is gone', "DELETE FROM credit_lot WHERE account_id = 'acc_2'", [LOTS, PURCHASES]],
    ['a purchase had another price', 'UPDATE credit_purchase SET price_nano = price_nano + 1 WHERE id = 4', [PURCHASES]],
    ['a purchase had another bonus', 'UPDATE credit_purchase SET bonus_nano = 0 WHERE id = 4', [PURCHASES]],
    ['a refund was larger', 'UPDATE credit_refund SET amount_nano = 900001', [OVERPAID, CLAIMS]],
    ['a refund cancelled more', 'UPDATE credit_refund SET bonus_cancelled_nano = bonus_cancelled_nano + 1', [CLAIMS]],
    ['a refund was never written down', 'DELETE FROM credit_refund', [CLAIMS]],
    ['a dispute took more of a lot', 'UPDATE credit_dispute_lot SET amount_nano = amount_nano + 1 WHERE dispute_id = 3', [CLAIMS]],
    [
      'a debt is smaller',
      "UPDATE credit_dispute SET missing_nano = missing_nano - 1, amount_nano = amount_nano - 1 WHERE state = 'open'",
      [RECEIVABLE],
    ],
    [
      'a debt was written off',
      "UPDATE credit_dispute SET written_off_nano = 1, missing_nano = missing_nano + 1, amount_nano = amount_nano + 1 WHERE state = 'lost'",
      [WRITE_OFFS, OVERPAID],
    ],
    ['a dispute was won that was lost', "UPDATE credit_dispute SET state = 'won' WHERE state = 'lost'", [CLAIMS]],
    [
      'a correction was larger than the charge',
      'UPDATE ledger_correction SET paid_nano = paid_nano + 900001, amount_nano = amount_nano + 900001',
      [CLAIMS, CORRECTIONS],
    ],
    ['a correction is of no request', "UPDATE ledger_correction SET request_id = 'req_none'", [CORRECTIONS]],
    ['a correction went to write-offs', 'UPDATE ledger_correction SET covered_nano = 1, paid_nano = paid_nano - 1', [WRITE_OFFS, CLAIMS]],
    ['a promotion has given less', "UPDATE credit_promotion SET given_nano = 0 WHERE id = 'MAY'", [PROMOTIONS]],
  ])('finds that %s', async (_, statement, checks) => {
    await tamper(statement);
    expect(await broken()).toEqual(checks);
  });
});
