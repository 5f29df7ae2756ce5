import { randomBytes } from 'node:crypto';
import { budgetId, prepaidCapId } from '@meridian/domain/budget';
import { newId } from '@meridian/domain/ids';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { grantTo } from '../budgets/testing.ts';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { createUsageService } from '../usage/service.ts';
import { settledFinal, TEST_PRICES } from '../usage/testing.ts';

let http: TestHttp;
let accountId: string;
let token: string;
beforeAll(async () => {
  http = await testHttp();
  ({ accountId, token } = await http.account('buyer'));
  await http.services.usage.makePartitions();
});
afterAll(() => http.close());

let keys = 0;
const post = (path: string, body: unknown, key = `key-${++keys}`) => http.admin('POST', path, body, { 'idempotency-key': key });
const ofAccount = (what: string) => `/admin/v1/accounts/${accountId}/${what}`;
const made = async (path: string, body: unknown) => {
  const answer = await post(path, body);
  expect([answer.statusCode, answer.body]).toEqual([201, answer.body]);
  return answer.json();
};
const read = async (path: string) => (await http.admin('GET', path)).json();
const own = async (path: string) => (await http.as(token, 'GET', path)).json();

/** A call of the account that cost 0.00098 USD. */
async function call(): Promise<string> {
  const nowMs = http.clock.nowMs();
  const prepaid = budgetId({ capId: prepaidCapId(accountId), windowStartMs: 0 });
  const leaseId = await grantTo(http.db, 'spl_1', { budgetId: prepaid, amount: 980_000, nowMs });
  const requestId = newId('req', { nowMs: () => nowMs, randomBytes: (count) => randomBytes(count) });
  const usage = createUsageService({ db: http.db, clock: http.clock, prices: TEST_PRICES, onAlarm: () => {} });
  const leases = [{ leaseId: String(leaseId), amount: 980_000n }];
  const records = [{ seq: 1, final: settledFinal({ requestId, accountId, admittedAtMs: nowMs, leases }) }];
  const incarnation = BigInt(++keys);
  await usage.ingestBatch({ spoolId: 'spl_1', nodeId: 'nod_1', region: 'us', incarnation, firstSeq: 1, lastSeq: 1, records });
  return requestId;
}

describe('credit, over HTTP', () => {
  it('is bought as a package, which members see on sale and among their purchases', async () => {
    expect((await own('/v1/credits/packages')).data).toContainEqual({
      object: 'credit_package',
      id: 'usd-50',
      price_usd: '50.00',
      price_nano: '50000000000',
      bonus_percent: 8,
      bonus_usd: '4.00',
      bonus_nano: '4000000000',
    });
    const bought = await made(ofAccount('purchases'), { package_id: 'usd-50', reference: 'pay_1' });
    expect(bought).toMatchObject({
      object: 'purchase',
      package_id: 'usd-50',
      price_usd: '50.00',
      bonus_usd: '4.00',
      refundable_usd: '50.00',
    });
    expect(bought.refundable_until).toBe('2026-07-31T12:00:00.000Z');
    expect((await own('/v1/credits/purchases')).data).toEqual([bought]);
    expect((await read(ofAccount('purchases'))).data).toEqual([bought]);
    expect(await own('/v1/credits')).toMatchObject({ balance_usd: '54.00', paid_usd: '50.00', bonus_usd: '4.00' });
    expect((await own('/v1/credits')).data.map((row: { type: string }) => row.type)).toEqual(['bonus', 'top_up']);
    expect(await read(ofAccount('credits?limit=1'))).toMatchObject({ balance_usd: '54.00', has_more: true });
    for (const body of [{}, { package_id: 'usd-50', amount_usd: '1' }, { package_id: 'none' }, { amount_usd: '0' }]) {
      expect((await post(ofAccount('purchases'), body)).statusCode).toBe(400);
    }
    expect((await post(ofAccount('purchases'), { package_id: 'usd-10' }, 'key-1')).statusCode).toBe(422);
  });

  it('is refunded, disputed and corrected by operators, and the ledger names each', async () => {
    const { id: purchaseId } = await made(ofAccount('purchases'), { amount_usd: '20' });
    const dispute = await made(ofAccount('disputes'), { purchase_id: purchaseId, amount_usd: '5', reference: 'dp_1' });
    expect(dispute).toMatchObject({ object: 'dispute', state: 'open', amount_usd: '5.00', taken_usd: '5.00', missing_usd: '0.00' });
    expect((await post(ofAccount('refunds'), { purchase_id: purchaseId })).statusCode).toBe(422);
    const won = (await post(`/admin/v1/disputes/${dispute.id}/close`, { outcome: 'won' })).json();
    expect(won).toMatchObject({ id: dispute.id, state: 'won', closed_at: '2026-07-01T12:00:00.000Z' });
    expect(await read(`/admin/v1/disputes/${dispute.id}`)).toEqual(won);
    expect((await read(ofAccount('disputes'))).data).toEqual([won]);
    const refund = await made(ofAccount('refunds'), { purchase_id: purchaseId, reason: 'asked by mail' });
    expect(refund).toMatchObject({ object: 'refund', state: 'posted', amount_usd: '20.00', purchase_id: purchaseId, refusal: null });
    expect(await read(`/admin/v1/refunds/${refund.id}`)).toEqual(refund);
    expect((await read(ofAccount('refunds'))).data).toEqual([refund]);
    const requestId = await call();
    const correction = await made(ofAccount('corrections'), { request_id: requestId, amount_usd: '0.0005', reason: 'empty answer' });
    expect(correction).toMatchObject({ object: 'correction', request_id: requestId, amount_nano: '500000', bonus_nano: '500000' });
    expect((await read(ofAccount('corrections'))).data).toEqual([correction]);
    expect((await own(`/v1/usage/requests/${requestId}`)).corrections).toMatchObject([{ amount_usd: '0.0005' }]);
    const { data } = await own('/v1/credits?limit=6');
    expect(data.map((row: { type: string; amount_usd: string }) => [row.type, row.amount_usd])).toEqual([
      ['correction', '0.0005'],
      ['usage', '-0.00098'],
      ['refund', '-20.00'],
      ['dispute_won', '5.00'],
      ['dispute', '-5.00'],
      ['top_up', '20.00'],
    ]);
    for (const path of ['/admin/v1/refunds/99', '/admin/v1/disputes/99']) expect((await http.admin('GET', path)).statusCode).toBe(404);
    expect((await http.admin('GET', '/admin/v1/refunds/x')).statusCode).toBe(400);
    expect((await http.admin('GET', '/admin/v1/audit')).json().checks.filter((one: { ok: boolean }) => !one.ok)).toEqual([]);
  });

  it('is given by promotions that members redeem, and by the trial', async () => {
    const answer = await http.admin('POST', '/admin/v1/promotions', {
      ...{ id: 'JULY', amount_usd: '3', budget_usd: '4' },
      ...{ starts_at: '2026-07-01T00:00:00Z', ends_at: '2026-08-01T00:00:00+02:00' },
    });
    expect([answer.statusCode, answer.json()]).toMatchObject([201, { id: 'JULY', kind: 'code', amount_usd: '3.00', given_usd: '0.00' }]);
    const redeem = (bearer: string, key = 'mine') =>
      http.as(bearer, 'POST', '/v1/credits/promotions', { promotion: 'JULY' }, { 'idempotency-key': key });
    const given = await redeem(token);
    expect([given.statusCode, given.json()]).toMatchObject([201, { object: 'credit', amount_usd: '3.00', account_id: accountId }]);
    expect((await redeem(token)).json()).toEqual(given.json());
    expect((await redeem(token, 'another')).statusCode).toBe(422);
    // The same key is another one on another account, which finds the budget used up.
    const other = await http.account('second');
    expect((await redeem(other.token)).json().error.message).toBe('The promotion is used up.');
    const list = (await read('/admin/v1/promotions')).data;
    expect(
      list.map((one: { id: string; given_usd: string; budget_usd: string | null }) => [one.id, one.given_usd, one.budget_usd]),
    ).toEqual([
      ['JULY', '3.00', '4.00'],
      ['trial', '0.00', null],
    ]);
    const trial = (account: string, email: string) => http.admin('POST', `/admin/v1/accounts/${account}/trial`, { email });
    expect((await trial(other.accountId, 'Some.One@Gmail.com')).json()).toMatchObject({ amount_usd: '10.00', balance_usd: '10.00' });
    expect((await trial(accountId, 'someone+2@gmail.com')).statusCode).toBe(422);
    expect((await trial(accountId, 'nobody')).json().error.param).toBe('email');
    expect((await trial('acc_none', 'a@example.com')).statusCode).toBe(404);
  });

  it('shows a package and a promotion as they were changed', async () => {
    await http.admin('POST', '/admin/v1/packages', { id: 'usd-1', price_usd: '1', bonus_percent: 2.5 });
    const changed = await http.admin('POST', '/admin/v1/packages', { id: 'usd-1', price_usd: '2', bonus_percent: 0, active: false });
    expect(changed.json()).toMatchObject({ price_usd: '2.00', bonus_percent: 0, bonus_usd: '0.00', active: false });
    expect((await own('/v1/credits/packages')).data.map((one: { id: string }) => one.id)).not.toContain('usd-1');
    expect((await read('/admin/v1/packages')).data[0]).toEqual(changed.json());
    for (const body of [{ id: 'P' }, { id: 'P', amount_usd: '1', percent: 5 }, { id: 'P', percent: 101 }, { id: 'trial', percent: 5 }]) {
      expect((await http.admin('POST', '/admin/v1/promotions', body)).statusCode).toBe(400);
    }
    const percent = (await http.admin('POST', '/admin/v1/promotions', { id: 'P', percent: 12.34 })).json();
    expect(percent).toMatchObject({ percent: 12.34, amount_usd: null, active: true });
  });
});
