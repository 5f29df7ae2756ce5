import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';

describe('credits', () => {
  let http: TestHttp;
  let accountId: string;
  let token: string;
  beforeAll(async () => {
    http = await testHttp();
    ({ accountId, token } = await http.account('payer'));
  });
  afterAll(() => http.close());

  const move = (key: string | undefined, body: unknown, account = accountId) =>
    http.admin('POST', `/admin/v1/accounts/${account}/credits`, body, key === undefined ? {} : { 'idempotency-key': key });

  it('move once for each idempotency key, and are listed newest first with the exact balance', async () => {
    const first = await move('t-1', { type: 'topup', amount_usd: '10', reference: 'invoice 1' });
    expect([first.statusCode, first.json()]).toEqual([
      201,
      {
        object: 'credit',
        transfer_id: expect.stringMatching(/^\d+$/),
        account_id: accountId,
        amount_usd: '10.00',
        amount_nano: '10000000000',
        balance_usd: '10.00',
        balance_nano: '10000000000',
      },
    ]);
    expect((await move('t-1', { type: 'topup', amount_usd: '10', reference: 'invoice 1' })).json()).toEqual(first.json());
    const other = await move('t-1', { type: 'topup', amount_usd: '11' });
    expect([other.statusCode, other.json().error.param]).toEqual([422, 'idempotency-key']);
    await move('t-2', { type: 'grant', amount_usd: '0.5' });
    await move('t-3', { type: 'adjustment', amount_usd: '-2.000000001', reference: 'a correction' });
    const all = (await http.as(token, 'GET', '/v1/credits')).json();
    expect(all).toMatchObject({
      balance_usd: '8.499999999',
      balance_nano: '8499999999',
      paid_nano: '7999999999',
      bonus_usd: '0.50',
      has_more: false,
    });
    expect(all.data.map((row: Record<string, unknown>) => [row.type, row.credit, row.amount_nano, row.reference])).toEqual([
      ['adjustment', 'paid', '-2000000001', 'a correction'],
      ['grant', 'bonus', '500000000', null],
      ['top_up', 'paid', '10000000000', 'invoice 1'],
    ]);
    const page = (await http.as(token, 'GET', '/v1/credits?limit=2')).json();
    expect([page.data.length, page.has_more]).toEqual([2, true]);
    const rest = (await http.as(token, 'GET', `/v1/credits?limit=2&after=${page.data[1].id}`)).json();
    expect(rest.data.map((row: { type: string }) => row.type)).toEqual(['top_up']);
    expect((await http.admin('GET', '/admin/v1/audit')).json().ok).toBe(true);
  });

  it.each([
    ['no idempotency key', undefined, { type: 'topup', amount_usd: '1' }, 400, 'idempotency-key'],
    ['a number as the amount', 'b-1', { type: 'topup', amount_usd: 1 }, 400, 'amount_usd'],
    ['too many decimals', 'b-2', { type: 'topup', amount_usd: '0.0000000001' }, 400, 'amount_usd'],
    ['an exponent', 'b-3', { type: 'topup', amount_usd: '1e3' }, 400, 'amount_usd'],
    ['a negative top-up', 'b-4', { type: 'topup', amount_usd: '-1' }, 400, 'amount_usd'],
    ['an adjustment by nothing', 'b-8', { type: 'adjustment', amount_usd: '0' }, 400, 'amount_usd'],
    ['a reference with control characters', 'b-7', { type: 'topup', amount_usd: '1', reference: 'a\u0000' }, 400, 'reference'],
    ['a kind of credit with a top-up', 'b-9', { type: 'topup', amount_usd: '1', credit: 'bonus' }, 400, 'credit'],
    ['another type', 'b-5', { type: 'gift', amount_usd: '1' }, 400, 'type'],
    ['more taken than there is', 'b-6', { type: 'adjustment', amount_usd: '-1000' }, 422, null],
  ])('refuse %s', async (_, key, body, status, param) => {
    const answer = await move(key, body);
    expect([answer.statusCode, answer.json().error.param]).toEqual([status, param]);
  });

  it('are seen by operators in the balances of the company', async () => {
    const balances = async (): Promise<Map<string, bigint>> => {
      const { data } = (await http.admin('GET', '/admin/v1/balances')).json();
      return new Map(data.map((row: { account: string; balance_nano: string }) => [row.account, BigInt(row.balance_nano)]));
    };
    const before = await balances();
    expect((await move('bal-1', { type: 'topup', amount_usd: '7' })).statusCode).toBe(201);
    const after = await balances();
    expect([...after.keys()]).toEqual([...before.keys()]);
    expect((after.get('payment_clearing') ?? 0n) - (before.get('payment_clearing') ?? 0n)).toBe(-7_000_000_000n);
    expect(after.get('revenue')).toBe(0n);
  });

  it('refuse an account that is not there', async () => {
    expect((await move('n-1', { type: 'topup', amount_usd: '1' }, 'acc_nothing')).statusCode).toBe(404);
  });
});
