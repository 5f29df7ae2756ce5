import type { Final } from '@meridian/domain/usage-record';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { withCredit } from './testing.ts';

describe('/v1/usage', () => {
  let http: TestHttp;
  let accountId: string;
  let owner: { memberId: string; token: string };
  let member: { memberId: string; token: string };

  beforeAll(async () => {
    http = await testHttp();
    const made = await http.account('user');
    accountId = made.accountId;
    owner = { memberId: made.ownerId, token: made.token };
    member = await http.member(accountId, 'member');
    await http.admin('POST', '/admin/v1/models', { id: 'gpt-5.4', vendor: 'openai' });
    await http.admin('POST', '/admin/v1/list-prices', {
      model_id: 'gpt-5.4',
      cards: [{ prices_usd_per_million: { input: '1', output: '10' } }],
    });
    await http.services.usage.makePartitions();
    const finals = [final('req_1', owner.memberId, 'key_1', 1_000, 100), final('req_2', member.memberId, 'key_2', 500, 0)];
    const batch = {
      spoolId: 'spl_1',
      nodeId: 'nod_1',
      region: 'eu',
      incarnation: 1n,
      firstSeq: 1,
      lastSeq: 2,
      records: finals.map((one, index) => ({ seq: index + 1, final: one })),
    };
    await http.services.usage.ingestBatch(await withCredit(http.db, batch));
  });
  afterAll(() => http.close());

  function final(requestId: string, memberId: string, keyId: string, input: number, output: number): Final {
    return {
      requestId,
      admittedAtMs: http.clock.nowMs() - 60_000,
      accountId,
      memberId,
      keyId,
      operation: 'chat',
      clientDialect: 'openai-chat',
      askedModel: 'openai/gpt-5.4',
      tierId: 'starter',
      markupBasisPoints: 4_000,
      maxCostNano: 1_000_000_000n,
      leases: [],
      outcome: 'success',
      exactness: 'exact',
      answeringModelId: 'gpt-5.4',
      askedPriceVersion: 1,
      answeringPriceVersion: 1,
      serviceTier: 'standard',
      usage: { input, output },
      chargeNano: ((BigInt(input) * 1_000n + BigInt(output) * 10_000n) * 14n) / 10n,
      varianceNano: 0n,
      attempts: [
        {
          endpointId: 'end_1',
          providerId: 'openai',
          modelId: 'gpt-5.4',
          status: 200,
          errorCode: undefined,
          costNano: 777n,
          costVersion: 1,
          durationMs: 5,
          upstreamRequestId: 'their-id',
        },
      ],
      stream: false,
      status: 200,
      errorCode: undefined,
      firstByteMs: 4,
      durationMs: 6,
    };
  }

  it('sums by day unless told, without a word about our cost', async () => {
    const answer = await http.as(owner.token, 'GET', '/v1/usage');
    expect(answer.json()).toEqual({
      object: 'list',
      data: [
        {
          object: 'usage',
          day: '2026-07-01',
          requests: 2,
          charged_requests: 2,
          estimated_requests: 0,
          units: { input: '1500', output: '100' },
          cost_usd: '0.0035',
          cost_nano: '3500000',
        },
      ],
      has_more: false,
    });
    expect(answer.body).not.toContain('777');
  });

  it('groups by any of its dimensions, and as CSV when that is asked for either way', async () => {
    const query = '/v1/usage?group_by=model,key,member,region&from=2026-07-01&to=2026-07-02T00:00:00Z';
    const rows = (await http.as(owner.token, 'GET', query)).json().data;
    expect(rows.map((row: Record<string, unknown>) => [row.model, row.key, row.member, row.region, row.cost_nano])).toEqual([
      ['gpt-5.4', 'key_1', owner.memberId, 'eu', '2800000'],
      ['gpt-5.4', 'key_2', member.memberId, 'eu', '700000'],
    ]);
    const asked = await http.as(owner.token, 'GET', `${query}&format=csv`);
    const accepted = await http.as(owner.token, 'GET', query, undefined, { accept: 'text/csv' });
    expect(asked.headers['content-type']).toBe('text/csv; charset=utf-8');
    expect(accepted.body).toBe(asked.body);
    const [header = '', first = ''] = asked.body.split('\r\n');
    expect(header).toMatch(/^model,key,member,region,requests,charged_requests,estimated_requests,input,.*,cost_usd,cost_nano$/);
    expect(first).toMatch(new RegExp(`^gpt-5.4,key_1,${owner.memberId},eu,1,1,0,1000,.*,0.0028,2800000$`));
  });

  it('gives a table whole or not at all, and says of a list whether more follows', async () => {
    const many = await http.account('many keys');
    const insertKeys = (from: number, to: number) =>
      sql`
      INSERT INTO usage_hourly SELECT h.* FROM generate_series(${from}::int, ${to}::int) n, LATERAL (
        SELECT (jsonb_populate_record(old, jsonb_build_object('account_id', ${many.accountId}::text, 'key_id', 'key_' || n))).*
        FROM usage_hourly old WHERE key_id = 'key_1' AND account_id = ${accountId}) h`.execute(http.db);
    const list = async () => {
      const { data, has_more } = (await http.as(many.token, 'GET', '/v1/usage?group_by=key')).json();
      return [data.length, has_more];
    };
    const table = () => http.as(many.token, 'GET', '/v1/usage?group_by=key&format=csv');
    await insertKeys(1, 1_000);
    expect(await list()).toEqual([1_000, false]);
    await insertKeys(1_001, 1_001);
    expect(await list()).toEqual([1_000, true]);
    expect((await table()).body.trimEnd().split('\r\n').length).toBe(1 + 1_001);
    await insertKeys(1_002, 10_001);
    const refused = await table();
    expect([refused.statusCode, refused.json().error.param]).toEqual([400, 'from']);
  });

  it('shows a member their own usage and receipts only, and another account nothing', async () => {
    const own = (await http.as(member.token, 'GET', '/v1/usage?group_by=member')).json().data;
    expect(own.map((row: Record<string, unknown>) => [row.member, row.requests])).toEqual([[member.memberId, 1]]);
    const stranger = await http.account('stranger');
    expect((await http.as(stranger.token, 'GET', '/v1/usage')).json().data).toEqual([]);
    const statuses = [];
    for (const [token, id] of [
      [owner.token, 'req_1'],
      [owner.token, 'req_2'],
      [member.token, 'req_1'],
      [member.token, 'req_2'],
      [stranger.token, 'req_1'],
    ]) {
      statuses.push((await http.as(token ?? '', 'GET', `/v1/usage/requests/${id}`)).statusCode);
    }
    expect(statuses).toEqual([200, 200, 404, 200, 404]);
  });

  it('gives the receipt of a request: units, price version, tier, charge, attempts, and nothing of our cost', async () => {
    const answer = await http.as(owner.token, 'GET', '/v1/usage/requests/req_1');
    expect(answer.json()).toMatchObject({
      object: 'receipt',
      id: 'req_1',
      region: 'eu',
      asked_model: 'openai/gpt-5.4',
      model: 'gpt-5.4',
      outcome: 'success',
      exactness: 'exact',
      units: { input: 1_000, output: 100 },
      service_tier: 'standard',
      list_price_version: 1,
      tier: 'starter',
      markup_percent: 40,
      cost_usd: '0.0028',
      cost_nano: '2800000',
      attempts: [{ provider: 'openai', model: 'gpt-5.4', status: 200, error_code: null, duration_ms: 5 }],
    });
    expect(answer.body).not.toMatch(/777|end_1|their-id/);
  });

  it.each([
    ['group_by=color', 'group_by'],
    ['group_by=day,day', 'group_by'],
    ['from=yesterday', 'from'],
    ['from=2026-02-31', 'from'],
    ['from=2026-07-02&to=2026-07-01', 'from'],
    ['from=2020-01-01&to=2026-07-01', 'from'],
    ['format=xml', 'format'],
  ])('refuses ?%s', async (query, param) => {
    const answer = await http.as(owner.token, 'GET', `/v1/usage?${query}`);
    expect([answer.statusCode, answer.json().error.param]).toEqual([400, param]);
  });
});
