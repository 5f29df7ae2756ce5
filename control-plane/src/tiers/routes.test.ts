import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';

let http: TestHttp;

beforeEach(async () => {
  http = await testHttp();
});
afterEach(() => http.close());

const LADDER = [
  { id: 'starter', name: 'Starter', from_spend_usd: '0', markup_percent: 40 },
  { id: 'plus', name: 'Plus', from_spend_usd: '12.50', markup_percent: 12.34 },
];

describe('the ladder', () => {
  it('is shown with its version, and set as a whole', async () => {
    expect((await http.admin('GET', '/admin/v1/ladder')).json()).toMatchObject({
      version: 1,
      tiers: [{ id: 'starter', from_spend_usd: '0.00', markup_percent: 40 }, {}, {}, {}, { id: 'strategic', from_spend_usd: '5000.00' }],
    });
    const set = await http.admin('PUT', '/admin/v1/ladder', { tiers: LADDER });
    expect([set.statusCode, set.json()]).toEqual([
      200,
      {
        object: 'ladder',
        version: 2,
        tiers: LADDER.map((tier) => ({ ...tier, from_spend_usd: tier.from_spend_usd === '0' ? '0.00' : '12.50' })),
      },
    ]);
    expect((await http.admin('GET', '/admin/v1/ladder')).json()).toEqual(set.json());
    const { token } = await http.account('Acme');
    expect((await http.as(token, 'GET', '/v1/me')).json().tier).toEqual({
      ...{ id: 'starter', name: 'Starter', markup_percent: 40, spend_30d_usd: '0.00' },
      next: { id: 'plus', name: 'Plus', markup_percent: 12.34, missing_usd: '12.50' },
    });
  });

  it.each([
    ['that does not start at 0', [{ ...LADDER[0], from_spend_usd: '1' }], 400],
    ['with a third decimal of a percent', [{ ...LADDER[0], markup_percent: 12.345 }], 400],
    ['with a negative markup', [{ ...LADDER[0], markup_percent: -1 }], 400],
    ['without tiers', [], 400],
    ['without the tier of an account', [{ ...LADDER[0], id: 'other' }], 409],
  ])('%s is refused', async (_, tiers, status) => {
    await http.account('Acme');
    expect((await http.admin('PUT', '/admin/v1/ladder', { tiers })).statusCode).toBe(status);
    expect((await http.admin('GET', '/admin/v1/ladder')).json().version).toBe(1);
  });
});

describe('a ladder whose lowest markup no longer covers what an endpoint costs', () => {
  it('is set only when that is confirmed', async () => {
    const secret = { provider_id: 'p', secret: 'sk-of-the-tests' };
    const cost = [{ prices_usd_per_million: { input: '1.10' } }];
    for (const [url, body] of [
      ['/admin/v1/providers', { id: 'p', name: 'p', origin: 'http://127.0.0.1:9', base_path: '/v1' }],
      ['/admin/v1/credentials', secret],
      ['/admin/v1/models', { id: 'm-1', vendor: 'acme' }],
      ['/admin/v1/list-prices', { model_id: 'm-1', cards: [{ prices_usd_per_million: { input: '1' } }] }],
      ['/admin/v1/endpoints', { model_id: 'm-1', provider_id: 'p', upstream_model: 'm', cost }],
    ] as const) {
      expect((await http.admin('POST', url, body)).statusCode, url).toBe(201);
    }
    const [starter, plus] = LADDER;
    const set = (markup_percent: number, more: object = {}) =>
      http.admin('PUT', '/admin/v1/ladder', { tiers: [starter, { ...plus, markup_percent }], ...more });
    // At 10 %, 1.00 sells for 1.10.
    expect((await set(10)).statusCode).toBe(200);
    const refused = await set(9.99);
    expect([refused.statusCode, refused.json().error]).toMatchObject([422, { code: 'invalid_state', param: 'confirm' }]);
    expect((await set(9.99, { confirm: true })).json().version).toBe(3);
    // Whoever lowers nothing is not asked again.
    expect((await set(9.99)).statusCode).toBe(200);
    expect((await set(20)).json().version).toBe(4);
  });
});

describe('runs', () => {
  it('are asked for, made when they are due, and listed newest first', async () => {
    await http.account('Acme');
    const asked = await http.admin('POST', '/admin/v1/tier-runs');
    expect([asked.statusCode, asked.json()]).toEqual([202, { object: 'scheduled_run', job: 'tiers', queued: true }]);
    await http.admin('POST', '/admin/v1/tier-runs');
    http.clock.advance(6 * 3_600_000);
    await http.admin('POST', '/admin/v1/tier-runs');
    const { data, has_more } = (await http.admin('GET', '/admin/v1/tier-runs?limit=1')).json();
    expect([data, has_more]).toEqual([
      [
        {
          ...{ id: 'tier:2026-07-01T18:00:00.000Z', object: 'tier_run', window_to: '2026-07-01T18:00:00.000Z' },
          ...{ spending_accounts: 0, accounts: 1, raised: 0, lowered: 0, rev: null },
          ...{ started_at: '2026-07-01T18:00:00.000Z', finished_at: '2026-07-01T18:00:00.000Z' },
        },
      ],
      true,
    ]);
    const second = (await http.admin('GET', `/admin/v1/tier-runs?after=${encodeURIComponent(data[0].id)}`)).json();
    expect([second.data, second.has_more]).toMatchObject([[{ window_to: '2026-07-01T12:00:00.000Z' }], false]);
    expect((await http.admin('GET', '/admin/v1/tier-runs?after=tier:now')).statusCode).toBe(400);
  });
});
