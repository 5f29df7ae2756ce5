/** Refunds, disputes and corrections beside usage that is ingested and credit that nodes hold. */
import { randomBytes } from 'node:crypto';
import { budgetId, prepaidCapId } from '@meridian/domain/budget';
import { newId } from '@meridian/domain/ids';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { audit } from '../audit/service.ts';
import { escrowOf, writeBack } from '../budgets/books.ts';
import { BudgetService } from '../budgets/service.ts';
import { grantTo } from '../budgets/testing.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { transaction } from '../database/transaction.ts';
import { publish } from '../snapshots/service.ts';
import { createUsageService, type UsageService } from '../usage/service.ts';
import { ADMITTED_AT_MS, settledFinal, TEST_PRICES } from '../usage/testing.ts';
import { correctionsOf } from './corrections.ts';
import { type CreditServices, createCreditServices } from './credit.ts';
import { createLedger, type Ledger, ledgerBalances } from './service.ts';

/** Of one call of `settledFinal`. */
const CHARGE = 980_000n;
const PRICE = 10n * CHARGE;
const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const PREPAID = budgetId({ capId: prepaidCapId('acc_1'), windowStartMs: 0 });

let database: TestDatabase;
let ledger: Ledger;
let usage: UsageService;
let credit: CreditServices;
let nowMs: number;
let news: [string, string][];
let seq: number;
let keys = 0;
const clock = { nowMs: () => nowMs };

beforeEach(async () => {
  database = await testDatabase({ maxConnections: 20 });
  nowMs = ADMITTED_AT_MS;
  news = [];
  seq = 0;
  const onLimitChanged = (ids: readonly string[], what: string) => void news.push([ids.join(), what]);
  ledger = createLedger({ db: database.db, clock, onLimitChanged });
  usage = createUsageService({ db: database.db, clock, prices: TEST_PRICES, onAlarm: () => {} });
  const chargeOf = async (accountId: string, requestId: string) => (await usage.receipt(accountId, requestId)).chargeNano;
  credit = createCreditServices({ db: database.db, clock, onLimitChanged, addressKey: new Uint8Array(32), chargeOf });
  await usage.makePartitions();
  await ledger.makePartitions();
  // A bonus of one call on the price of ten.
  await credit.purchases.savePackage({ id: 'ten', priceNano: PRICE, bonusBasisPoints: 1_000, active: true });
});
afterEach(() => database.drop());

const key = () => ({ idempotencyKey: `key_${++keys}`, accountId: 'acc_1' });
const buy = async () => (await credit.purchases.buy({ ...key(), what: { packageId: 'ten' } })).id;
const purchase = async (id: bigint) => (await credit.purchases.list('acc_1', { limit: 100 })).find((one) => one.id === id);
const refund = (purchaseId: bigint) => credit.refunds.request({ ...key(), purchaseId });
const budget = () => database.db.selectFrom('budget').selectAll().where('id', '=', PREPAID).executeTakeFirstOrThrow();

/** What a spool gets of the credit; undefined where there is not so much. */
const hold = (calls: number, spoolId = 'spl_1') =>
  grantTo(database.db, spoolId, { budgetId: PREPAID, amount: calls * Number(CHARGE), nowMs });

/** Ingests calls on the lease of a spool, one batch. */
async function use(leaseId: string | undefined, calls: number, spoolId = 'spl_1'): Promise<string[]> {
  const finals = Array.from({ length: calls }, () => {
    seq += 1;
    const requestId = newId('req', { nowMs: () => ADMITTED_AT_MS, randomBytes: (count) => randomBytes(count) });
    const final = settledFinal({ requestId, leases: [{ leaseId: String(leaseId), amount: CHARGE }] });
    return { seq, final };
  });
  const incarnation = BigInt(finals[0]?.seq ?? 0);
  const records = finals.map(({ final }, index) => ({ seq: index + 1, final }));
  await usage.ingestBatch({ spoolId, nodeId: 'nod_1', region: 'us', incarnation, firstSeq: 1, lastSeq: calls, records });
  return finals.map(({ final }) => final.requestId);
}

async function giveBack(leaseId: string | undefined): Promise<void> {
  await transaction(database.db, async (trx) => {
    const escrow = await escrowOf(trx, { leaseIds: [String(leaseId)] }, { nowMs });
    const lease = escrow.lease(String(leaseId));
    if (lease !== undefined) escrow.takeBack({ leaseId: lease.id, returned: lease.granted - lease.used - lease.writtenOff });
    await writeBack(trx, escrow.changes(), nowMs);
  });
}

async function expectBooksAgree(): Promise<void> {
  expect((await audit(database.db, clock)).checks.filter((check) => !check.ok)).toEqual([]);
}

describe('a refund', () => {
  it('pays back what is unspent, without the bonus that was spent, and cancels the bonus that is left', async () => {
    const first = await buy();
    const lease = await hold(4);
    await use(lease, 4);
    await giveBack(lease);
    // The bonus went first, then three of the ten.
    expect(await purchase(first)).toMatchObject({ unspentNano: 7n * CHARGE, bonusUnspentNano: 0n, refundableNano: 7n * CHARGE });
    const second = await buy();
    expect(await refund(second)).toMatchObject({ state: 'posted', amountNano: PRICE, bonusCancelledNano: CHARGE, closedAtMs: nowMs });
    expect(await refund(first)).toMatchObject({ state: 'posted', amountNano: 7n * CHARGE, bonusCancelledNano: 0n });
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 0n, bonusNano: 0n });
    expect((await ledgerBalances(database.db)).get('refund')).toBe(17n * CHARGE);
    expect(await credit.refunds.list('acc_1', { limit: 1 })).toMatchObject([{ purchaseId: first }]);
    expect((await ledger.listTransfers('acc_1', { limit: 3 })).map((one) => [one.code, one.amountNano, one.reference])).toEqual([
      ['refund', -7n * CHARGE, `purchase ${first}`],
      ['bonus_cancelled', -CHARGE, `purchase ${second}`],
      ['refund', -PRICE, `purchase ${second}`],
    ]);
    await expectBooksAgree();
  });

  it('takes off the price what was spent of the bonus, once', async () => {
    const id = await buy();
    const lease = await hold(1);
    await use(lease, 1);
    expect(await refund(id)).toMatchObject({ state: 'posted', amountNano: 9n * CHARGE });
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: CHARGE, bonusNano: 0n });
    await expect(refund(id)).rejects.toMatchObject({ code: 'invalid_state', message: 'Nothing of the purchase is left to be refunded.' });
    await expectBooksAgree();
  });

  it('is possible for thirty days, and not while the payment is disputed', async () => {
    const id = await buy();
    const dispute = await credit.disputes.open({ ...key(), purchaseId: id });
    await expect(refund(id)).rejects.toMatchObject({ message: 'The purchase cannot be refunded while its payment is disputed.' });
    await credit.disputes.close({ ...key(), disputeId: dispute.id, outcome: 'won' });
    nowMs += 30 * DAY_MS + 1;
    await expect(refund(id)).rejects.toMatchObject({ message: 'The purchase is too long ago to be refunded.' });
    nowMs -= 1;
    expect(await refund(id)).toMatchObject({ state: 'posted' });
  });

  it("is not of another account's purchase, nor of none", async () => {
    const id = await buy();
    await expect(credit.refunds.request({ ...key(), accountId: 'acc_2', purchaseId: id })).rejects.toMatchObject({ code: 'not_found' });
    await expect(refund(id + 1n)).rejects.toMatchObject({ code: 'not_found' });
    await expect(credit.refunds.get(99n)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('waits for what nodes hold, asks them for it, and is posted when they have given it back', async () => {
    const id = await buy();
    const lease = await hold(5);
    const request = { ...key(), purchaseId: id, reason: 'asked by mail' };
    const asked = await credit.refunds.request(request);
    expect(asked).toMatchObject({ state: 'recalling', heldNano: 5n * CHARGE, amountNano: 0n, reason: 'asked by mail' });
    expect(news.at(-1)).toEqual([PREPAID, 'wanted']);
    await expect(refund(id)).rejects.toMatchObject({ message: 'A refund of this purchase is under way.' });
    await use(lease, 2);
    news = [];
    nowMs += MINUTE_MS;
    expect(await credit.refunds.advance()).toBe(1);
    expect(news).toEqual([[PREPAID, 'wanted']]);
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 9n * CHARGE, bonusNano: 0n });
    await giveBack(lease);
    expect(await credit.refunds.advance()).toBe(0);
    // The bonus and one of the ten were used while it waited.
    expect(await credit.refunds.get(asked.id)).toMatchObject({ state: 'posted', amountNano: 9n * CHARGE, heldNano: 0n, closedAtMs: nowMs });
    expect(news.at(-1)).toEqual([PREPAID, 'lowered']);
    expect(await credit.refunds.request(request)).toMatchObject({ id: asked.id, state: 'posted' });
    await expectBooksAgree();
  });

  it('is refused when nodes keep what they hold, when a dispute comes between, and when all is spent meanwhile', async () => {
    const [late, disputed, spent] = [await buy(), await buy(), await buy()];
    const lease = await hold(33);
    const waiting = [await refund(late), await refund(disputed), await refund(spent)];
    expect(waiting.map((one) => one.state)).toEqual(['recalling', 'recalling', 'recalling']);
    await credit.disputes.open({ ...key(), purchaseId: disputed });
    nowMs += 15 * MINUTE_MS;
    await use(lease, 12);
    await credit.refunds.advance();
    const states = async () => (await Promise.all(waiting.map(({ id }) => credit.refunds.get(id)))).map((one) => [one.state, one.refusal]);
    expect(await states()).toEqual([
      ['refused', 'nothing_left'],
      ['refused', 'dispute_open'],
      ['refused', 'held'],
    ]);
    expect(await purchase(spent)).toMatchObject({ refundedNano: 0n });
    // A refusal is not the last word: it may be asked for again.
    await giveBack(lease);
    expect(await refund(spent)).toMatchObject({ state: 'posted' });
    await expectBooksAgree();
  });

  it('goes on when the one who began it died before the first try', async () => {
    const id = await buy();
    const row = { account_id: 'acc_1', purchase_id: id, state: 'requested', requested_at: new Date(nowMs) };
    const { id: refundId } = await database.db.insertInto('credit_refund').values(row).returning('id').executeTakeFirstOrThrow();
    expect(await credit.refunds.get(refundId)).toMatchObject({ state: 'requested' });
    await credit.refunds.advance();
    expect(await credit.refunds.get(refundId)).toMatchObject({ state: 'posted', amountNano: PRICE });
    await expectBooksAgree();
  });

  it('is tried although another one cannot be', async () => {
    const [other, id] = [await buy(), await buy()];
    // A row that no code wrote: its account is not the one that bought.
    const row = { account_id: 'acc_2', purchase_id: other, state: 'requested', requested_at: new Date(nowMs) };
    await database.db.insertInto('credit_refund').values(row).execute();
    const lease = await hold(22);
    const waiting = await refund(id);
    await giveBack(lease);
    await expect(credit.refunds.advance()).rejects.toThrow('1 refunds could not be tried');
    expect([waiting.state, (await credit.refunds.get(waiting.id)).state]).toEqual(['recalling', 'posted']);
  });

  it('happens once for an idempotency key, and the key with another content is refused', async () => {
    const [first, second] = [await buy(), await buy()];
    const request = { ...key(), purchaseId: first };
    const answers = await Promise.all(Array.from({ length: 12 }, () => credit.refunds.request(request)));
    expect(new Set(answers.map((one) => one.id)).size).toBe(1);
    await expect(credit.refunds.request({ ...request, purchaseId: second })).rejects.toMatchObject({
      code: 'invalid_state',
      param: 'idempotency-key',
    });
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: PRICE, bonusNano: CHARGE });
  });

  it('never takes what grants and ingested usage need, whoever comes first', async () => {
    const ids = [await buy(), await buy(), await buy()];
    const leases = await Promise.all([1, 2, 3].map((spool) => hold(3, `spl_${spool}`)));
    const outcomes = await Promise.allSettled([
      ...ids.flatMap((id) => [refund(id), refund(id)]),
      ...leases.flatMap((lease, index) => [use(lease, 1, `spl_${index + 1}`), use(lease, 1, `spl_${index + 1}`)]),
      ...Array.from({ length: 9 }, (_, index) => hold(1 + (index % 4), `spl_${(index % 3) + 1}`)),
      ledger.topUp({ ...key(), amountNano: CHARGE }),
      ...Array.from({ length: 4 }, () => credit.refunds.advance()),
    ]);
    const unexpected = outcomes.filter((one) => one.status === 'rejected' && one.reason.code !== 'invalid_state');
    expect(unexpected).toEqual([]);
    const { limit_amount, settled, held } = await budget();
    expect(settled + held).toBeLessThanOrEqual(limit_amount ?? 0n);
    await expectBooksAgree();
    for (const lease of leases) await giveBack(lease);
    await credit.refunds.advance();
    expect((await credit.refunds.list('acc_1', { limit: 100 })).filter((one) => one.state === 'recalling')).toEqual([]);
    await expectBooksAgree();
  });
});

describe('a dispute', () => {
  it('withholds what is unspent and the bonus at once, and what was spent is owed; won, all of it is given back', async () => {
    const id = await buy();
    const other = await buy();
    const lease = await hold(6);
    await use(lease, 6);
    // Both bonuses went first, then four of the first purchase.
    const dispute = await credit.disputes.open({ ...key(), purchaseId: id, reference: 'dp_1' });
    expect(dispute).toMatchObject({
      state: 'open',
      amountNano: PRICE,
      takenNano: 6n * CHARGE,
      missingNano: 4n * CHARGE,
      reference: 'dp_1',
    });
    expect(news.at(-1)).toEqual([PREPAID, 'lowered']);
    expect((await ledgerBalances(database.db)).get('receivable')).toBe(-4n * CHARGE);
    expect(await purchase(id)).toMatchObject({ unspentNano: 0n, disputeOpen: true, refundableNano: 0n });
    expect(await purchase(other)).toMatchObject({ unspentNano: PRICE, disputeOpen: false });
    await expect(credit.disputes.open({ ...key(), purchaseId: id })).rejects.toMatchObject({ code: 'invalid_state' });
    await expectBooksAgree();
    const won = await credit.disputes.close({ ...key(), disputeId: dispute.id, outcome: 'won' });
    expect(won).toMatchObject({ state: 'won', closedAtMs: nowMs, collectedNano: 0n });
    expect((await ledgerBalances(database.db)).get('receivable')).toBe(0n);
    expect(await purchase(id)).toMatchObject({ unspentNano: 6n * CHARGE, chargedBackNano: 0n });
    await expect(credit.disputes.close({ ...key(), disputeId: dispute.id, outcome: 'lost' })).rejects.toMatchObject({
      code: 'invalid_state',
    });
    await expectBooksAgree();
  });

  it('that is lost is paid by the other paid credit as far as there is any, and the rest is written off', async () => {
    const id = await buy();
    const lease = await hold(8);
    await use(lease, 8);
    await ledger.topUp({ ...key(), amountNano: 5n * CHARGE });
    await ledger.grant({ ...key(), amountNano: CHARGE });
    const { id: disputeId } = await credit.disputes.open({ ...key(), purchaseId: id });
    const close = { ...key(), disputeId, outcome: 'lost' as const };
    const [lost] = await Promise.all(Array.from({ length: 6 }, () => credit.disputes.close(close)));
    // Seven of the ten were spent.
    expect(lost).toMatchObject({ state: 'lost', missingNano: 7n * CHARGE, collectedNano: 5n * CHARGE, writtenOffNano: 2n * CHARGE });
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 0n, bonusNano: CHARGE });
    const balances = await ledgerBalances(database.db);
    expect([balances.get('receivable'), balances.get('write_off')]).toEqual([0n, -2n * CHARGE]);
    expect(await purchase(id)).toMatchObject({ chargedBackNano: PRICE, refundableNano: 0n });
    await expect(credit.disputes.open({ ...key(), purchaseId: id })).rejects.toMatchObject({ param: 'amount_usd' });
    await expectBooksAgree();
  });

  it('takes credit that nodes hold: nothing more is granted, and what they use of it is written off', async () => {
    const id = await buy();
    const lease = await hold(11);
    await credit.disputes.open({ ...key(), purchaseId: id });
    const { limit_amount, settled, held } = await budget();
    expect([limit_amount, settled, held]).toEqual([0n, 0n, 11n * CHARGE]);
    expect(await hold(1)).toBeUndefined();
    await expectBooksAgree();
    await use(lease, 2);
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 0n, bonusNano: 0n });
    expect((await ledgerBalances(database.db)).get('write_off')).toBe(-2n * CHARGE);
    await expectBooksAgree();
  });

  it('of a part leaves the rest, and is not above what was paid and not paid back', async () => {
    const id = await buy();
    const of = (amountNano: bigint) => credit.disputes.open({ ...key(), purchaseId: id, amountNano });
    await expect(of(PRICE + 1n)).rejects.toMatchObject({ code: 'invalid_state', param: 'amount_usd' });
    await expect(of(0n)).rejects.toMatchObject({ code: 'invalid_state' });
    const { id: disputeId } = await of(4n * CHARGE);
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 6n * CHARGE, bonusNano: 0n });
    await credit.disputes.close({ ...key(), disputeId, outcome: 'lost' });
    await expect(of(7n * CHARGE)).rejects.toMatchObject({ code: 'invalid_state' });
    expect(await refund(id)).toMatchObject({ state: 'posted', amountNano: 6n * CHARGE });
    await expectBooksAgree();
  });
});

describe('a correction', () => {
  it('gives back at most what the request was charged, and lowers no day, month nor receipt', async () => {
    const at = new Date(nowMs);
    await database.db.insertInto('plan').values({ id: 'starter', name: 'Starter', api_access: true, created_at: at }).execute();
    const account = { id: 'acc_1', name: 'One', plan_id: 'starter', status: 'active' as const, created_at: at };
    await database.db.insertInto('account').values(account).execute();
    const ids = { nowMs: clock.nowMs, randomBytes: (count: number) => randomBytes(count) };
    const budgets = new BudgetService({ db: database.db, ids, publish, onLimitChanged: () => {} });
    const owner = { accountId: 'acc_1', scope: 'account', scopeId: 'acc_1' } as const;
    const id = await buy();
    const [requestId = ''] = await use(await hold(3), 3);
    await budgets.setCaps(owner, { daily_usd: PRICE });
    const correct = (amountNano: bigint) => credit.corrections.correct({ ...key(), requestId, amountNano, reason: 'wrong model' });
    expect(await correct(600_000n)).toMatchObject({
      requestId,
      amountNano: 600_000n,
      paidNano: 600_000n,
      bonusNano: 0n,
      createdAtMs: nowMs,
    });
    await expect(correct(380_001n)).rejects.toMatchObject({ code: 'invalid_state', param: 'amount_usd' });
    await expect(correct(-1n)).rejects.toMatchObject({ code: 'invalid_request_error' });
    await correct(380_000n);
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 9n * CHARGE, bonusNano: 0n });
    expect(await purchase(id)).toMatchObject({ unspentNano: 9n * CHARGE });
    const { limit_amount, settled } = await budget();
    expect([limit_amount, settled]).toEqual([12n * CHARGE, 3n * CHARGE]);
    expect(await budgets.standings('acc_1', ['acc_1'])).toMatchObject([{ spent: 3n * CHARGE }]);
    expect((await usage.receipt('acc_1', requestId)).chargeNano).toBe(CHARGE);
    expect((await correctionsOf(database.db, 'acc_1', [requestId, 'req_none'])).map((one) => one.amountNano)).toEqual([600_000n, 380_000n]);
    expect((await credit.corrections.list('acc_1', { limit: 1 })).map((one) => one.amountNano)).toEqual([380_000n]);
    expect((await ledger.listTransfers('acc_1', { limit: 1 }))[0]).toMatchObject({ code: 'correction', reference: requestId });
    await expectBooksAgree();
  });

  it('gives write-offs what they had covered of it', async () => {
    const id = await buy();
    const lease = await hold(11);
    await credit.disputes.open({ ...key(), purchaseId: id });
    const [requestId = ''] = await use(lease, 1);
    const correction = await credit.corrections.correct({ ...key(), requestId, amountNano: CHARGE });
    expect(correction).toMatchObject({ paidNano: 0n, bonusNano: 0n, coveredNano: CHARGE });
    expect((await ledgerBalances(database.db)).get('write_off')).toBe(0n);
    await expectBooksAgree();
  });

  it('is of a request of the account, and happens once for a key, also when many come at once', async () => {
    await buy();
    const [requestId = ''] = await use(await hold(2), 1);
    const wrong = { ...key(), accountId: 'acc_2', requestId, amountNano: 1n };
    await expect(credit.corrections.correct(wrong)).rejects.toMatchObject({ code: 'not_found' });
    const same = { ...key(), requestId, amountNano: 500_000n };
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: 8 }, () => credit.corrections.correct(same)),
      ...Array.from({ length: 4 }, () => credit.corrections.correct({ ...key(), requestId, amountNano: 300_000n })),
    ]);
    const given = await correctionsOf(database.db, 'acc_1', [requestId]);
    expect(given.reduce((sum, one) => sum + one.amountNano, 0n)).toBeLessThanOrEqual(CHARGE);
    expect(outcomes.filter((one) => one.status === 'rejected' && one.reason.code !== 'invalid_state')).toEqual([]);
    await expectBooksAgree();
  });
});
