import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { audit } from '../audit/service.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { type CreditServices, createCreditServices } from './credit.ts';
import { createLedger, type Ledger } from './service.ts';

const START_MS = Date.UTC(2026, 4, 4, 12);
const TRIAL = 10_000_000_000n;

let database: TestDatabase;
let credit: CreditServices;
let ledger: Ledger;
let nowMs = START_MS;
const clock = { nowMs: () => nowMs };
const FOREVER = { startsAtMs: undefined, endsAtMs: undefined, budgetNano: undefined, active: true };

beforeAll(async () => {
  database = await testDatabase({ maxConnections: 20 });
  const chargeOf = async () => 0n;
  credit = createCreditServices({ db: database.db, clock, addressKey: new Uint8Array(32).fill(7), chargeOf });
  ledger = createLedger({ db: database.db, clock });
});
afterAll(async () => {
  expect((await audit(database.db, clock)).checks.filter((check) => !check.ok)).toEqual([]);
  await database.drop();
});

let keys = 0;
const key = (accountId: string) => ({ idempotencyKey: `key_${++keys}`, accountId });
const redeem = (accountId: string, promotionId: string) => credit.promotions.redeem({ ...key(accountId), promotionId });
const promotion = async (id: string) => (await credit.promotions.list()).find((one) => one.id === id);

describe('the packages', () => {
  it('are three to begin with, at 5, 8 and 12 per cent', async () => {
    expect((await credit.purchases.packages()).map((one) => [one.priceNano / 1_000_000_000n, one.bonusBasisPoints])).toEqual([
      [10n, 500],
      [50n, 800],
      [200n, 1_200],
    ]);
    const purchase = await credit.purchases.buy({ ...key('acc_buyer'), what: { packageId: 'usd-200' }, reference: 'pay_1' });
    expect(purchase).toMatchObject({ priceNano: 200_000_000_000n, bonusNano: 24_000_000_000n, packageId: 'usd-200', reference: 'pay_1' });
    expect(await ledger.balanceOf('acc_buyer')).toEqual({ paidNano: 200_000_000_000n, bonusNano: 24_000_000_000n });
    expect((await ledger.listTransfers('acc_buyer', { limit: 2 })).map((one) => one.code)).toEqual(['bonus', 'top_up']);
  });

  it('are sold while they are active, and a changed one changes no purchase', async () => {
    const one = { id: 'odd', priceNano: 33n, bonusBasisPoints: 1_500, active: true };
    await credit.purchases.savePackage(one);
    const buy = () => credit.purchases.buy({ ...key('acc_odd'), what: { packageId: 'odd' } });
    // 4.95, to the nearest.
    expect(await buy()).toMatchObject({ priceNano: 33n, bonusNano: 5n });
    await credit.purchases.savePackage({ ...one, priceNano: 44n, active: false });
    await expect(buy()).rejects.toMatchObject({ code: 'invalid_request_error', param: 'package_id' });
    expect(await credit.purchases.list('acc_odd', { limit: 10 })).toMatchObject([{ priceNano: 33n }]);
  });

  it('are bought once for a key, however often and however many at once', async () => {
    const request = { ...key('acc_once'), what: { packageId: 'usd-10' } };
    const bought = await Promise.all(Array.from({ length: 12 }, () => credit.purchases.buy(request)));
    expect(new Set(bought.map((one) => one.id)).size).toBe(1);
    expect(await credit.purchases.list('acc_once', { limit: 10 })).toHaveLength(1);
    await expect(credit.purchases.buy({ ...request, reference: 'other' })).rejects.toMatchObject({ param: 'idempotency-key' });
    await expect(ledger.grant({ ...request, amountNano: 1n })).rejects.toMatchObject({ param: 'idempotency-key' });
  });
});

describe('a promotion', () => {
  it('gives its amount once an account, in its time', async () => {
    const terms = { id: 'MAY', gives: { amountNano: 40n }, ...FOREVER, startsAtMs: START_MS + 10, endsAtMs: START_MS + 20 };
    await credit.promotions.save(terms);
    await expect(redeem('acc_1', 'MAY')).rejects.toMatchObject({ code: 'invalid_state', message: 'The promotion is not running.' });
    nowMs = START_MS + 10;
    const request = { ...key('acc_1'), promotionId: 'MAY' };
    const given = await credit.promotions.redeem(request);
    expect(given).toMatchObject({ accountId: 'acc_1', amountNano: 40n, balanceNano: 40n });
    expect(await credit.promotions.redeem(request)).toEqual(given);
    await expect(redeem('acc_1', 'MAY')).rejects.toMatchObject({ message: 'The account had the promotion MAY already.' });
    nowMs = START_MS + 20;
    await expect(redeem('acc_2', 'MAY')).rejects.toMatchObject({ message: 'The promotion is not running.' });
    await credit.promotions.save({ ...terms, endsAtMs: undefined, active: false });
    await expect(redeem('acc_2', 'MAY')).rejects.toMatchObject({ message: 'The promotion is not running.' });
    await expect(redeem('acc_2', 'NONE')).rejects.toMatchObject({ code: 'not_found' });
    expect(await promotion('MAY')).toMatchObject({ givenNano: 40n, active: false });
  });

  it('never gives more than its budget, however many come at once', async () => {
    await credit.promotions.save({ id: 'FEW', gives: { amountNano: 30n }, ...FOREVER, budgetNano: 100n });
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, (_, index) => redeem(`acc_few_${index}`, 'FEW')));
    expect(outcomes.filter((one) => one.status === 'fulfilled')).toHaveLength(3);
    expect(outcomes.filter((one) => one.status === 'rejected' && one.reason.message !== 'The promotion is used up.')).toEqual([]);
    expect(await promotion('FEW')).toMatchObject({ givenNano: 90n });
    await credit.promotions.save({ id: 'FEW', gives: { amountNano: 30n }, ...FOREVER, budgetNano: 50n });
    await expect(redeem('acc_few_more', 'FEW')).rejects.toMatchObject({ message: 'The promotion is used up.' });
  });

  it('of a share belongs to the purchase that is made with it, whose refund cancels it', async () => {
    await credit.promotions.save({ id: 'QUARTER', gives: { basisPoints: 2_500 }, ...FOREVER });
    await expect(redeem('acc_share', 'QUARTER')).rejects.toMatchObject({ code: 'invalid_state' });
    const buy = (promotionId: string) => credit.purchases.buy({ ...key('acc_share'), what: { amountNano: 1_000n }, promotionId });
    const { id: purchaseId, bonusNano } = await buy('QUARTER');
    expect(bonusNano).toBe(250n);
    await expect(buy('QUARTER')).rejects.toMatchObject({ message: 'The account had the promotion QUARTER already.' });
    await expect(buy('FEW')).rejects.toMatchObject({ message: 'The promotion is redeemed without a purchase.' });
    await credit.refunds.request({ ...key('acc_share'), purchaseId });
    expect(await ledger.balanceOf('acc_share')).toEqual({ paidNano: 0n, bonusNano: 0n });
  });

  it.each([
    ['nothing', { gives: { amountNano: 0n } }],
    ['more than a balance', { gives: { amountNano: 2n ** 53n } }],
    ['a budget below zero', { budgetNano: -1n }],
    ['an end before its beginning', { startsAtMs: 5, endsAtMs: 5 }],
  ])('does not give %s', async (_, change) => {
    const terms = { id: 'BAD', gives: { amountNano: 1n }, ...FOREVER, ...change };
    await expect(credit.promotions.save(terms)).rejects.toMatchObject({ code: 'invalid_request_error' });
  });
});

describe('the trial', () => {
  it('is given once for an address, however it is spelt, and nothing of the address is kept', async () => {
    const given = await credit.promotions.grantTrial('acc_t1', 'Jane.Doe+a@gmail.com');
    expect(given).toMatchObject({ amountNano: TRIAL, balanceNano: TRIAL });
    expect(await credit.promotions.grantTrial('acc_t1', 'janedoe@googlemail.com')).toEqual(given);
    await expect(credit.promotions.grantTrial('acc_t2', 'j.anedoe@gmail.com')).rejects.toMatchObject({
      message: 'This e-mail address had its trial.',
    });
    expect(await ledger.balanceOf('acc_t2')).toEqual({ paidNano: 0n, bonusNano: 0n });
    const kept = JSON.stringify(
      [
        await database.db.selectFrom('credit_trial_address').selectAll().execute(),
        await database.db.selectFrom('ledger_idempotency').select(['key', 'content']).execute(),
        await ledger.listTransfers('acc_t1', { limit: 10 }),
      ],
      (_, value) => (typeof value === 'bigint' ? `${value}` : value),
    );
    expect(kept).not.toMatch(/jane|gmail/i);
    expect(await ledger.listTransfers('acc_t1', { limit: 10 })).toMatchObject([{ code: 'trial', credit: 'bonus' }]);
  });

  it('is given once an account, and not by its name', async () => {
    await credit.promotions.grantTrial('acc_t3', 'one@example.com');
    await expect(credit.promotions.grantTrial('acc_t3', 'two@example.com')).rejects.toMatchObject({ code: 'invalid_state' });
    await expect(redeem('acc_t4', 'trial')).rejects.toMatchObject({ code: 'not_found' });
    // The address that was refused for the account may have it on another.
    await credit.promotions.grantTrial('acc_t5', 'two@example.com');
  });

  it('is given to one of many accounts that verify the same address at once', async () => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 8 }, (_, index) => credit.promotions.grantTrial(`acc_race_${index}`, `same+${index}@example.com`)),
    );
    expect(outcomes.filter((one) => one.status === 'fulfilled')).toHaveLength(1);
    expect(outcomes.filter((one) => one.status === 'rejected' && one.reason.code !== 'invalid_state')).toEqual([]);
  });
});
