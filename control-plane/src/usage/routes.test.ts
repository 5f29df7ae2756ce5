import type { Final } from '@meridian/domain/usage-record';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { requestIdAt, withCredit } from './testing.ts';

describe('/v1/usage', () => {
  let http: TestHttp;
  let accountId: string;
  let owner: { memberId: string; token: string };
  let member: { memberId: string; token: string };
  const ids = { first: '', second: '' };

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
    ids.first = requestIdAt(http.clock.nowMs() - 60_000);
    ids.second = requestIdAt(http.clock.nowMs() - 60_000);
    const finals = [
      final(ids.first, owner.memberId, 'key_1', 1_000, 100),
      { ...final(ids.second, member.memberId, 'key_2', 500, 0), admittedAtMs: http.clock.nowMs() - 60_001 },
    ];
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
          id: '2026-07-01',
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
    expect(header).toMatch(/^id,model,key,member,region,requests,charged_requests,estimated_requests,input,.*,cost_usd,cost_nano$/);
    expect(first).toMatch(
      new RegExp(`^"gpt-5.4,key_1,${owner.memberId},eu",gpt-5.4,key_1,${owner.memberId},eu,1,1,0,1000,.*,0.0028,2800000$`),
    );
  });

  it('goes on after a model without a name, whose row has an empty id', async () => {
    const after = await http.as(owner.token, 'GET', '/v1/usage?group_by=model&after=');
    expect([after.statusCode, after.json().data]).toMatchObject([200, [{ id: 'gpt-5.4' }]]);
  });

  it('gives a table whole or not at all, unless a part is asked for, and a list in pages', async () => {
    const many = await http.account('many keys');
    const insertKeys = (from: number, to: number) =>
      sql`
      INSERT INTO usage_hourly SELECT h.* FROM generate_series(${from}::int, ${to}::int) n, LATERAL (
        SELECT (jsonb_populate_record(old, jsonb_build_object('account_id', ${many.accountId}::text, 'key_id', 'key_' || lpad(n::text, 5, '0')))).*
        FROM usage_hourly old WHERE key_id = 'key_1' AND account_id = ${accountId}) h`.execute(http.db);
    const list = async (query: string) => {
      const { data, has_more } = (await http.as(many.token, 'GET', `/v1/usage?group_by=key${query}`)).json();
      return [data[0]?.key, data.at(-1)?.id, data.length, has_more];
    };
    const table = (query = '') => http.as(many.token, 'GET', `/v1/usage?group_by=key&format=csv${query}`);
    await insertKeys(1, 100);
    expect(await list('')).toEqual(['key_00001', 'key_00100', 100, false]);
    await insertKeys(101, 1_001);
    expect(await list('')).toEqual(['key_00001', 'key_00100', 100, true]);
    expect(await list('&limit=1000&after=key_00001')).toEqual(['key_00002', 'key_01001', 1_000, false]);
    expect(await list('&limit=999&after=key_00001')).toEqual(['key_00002', 'key_01000', 999, true]);
    expect((await table()).body.trimEnd().split('\r\n').length).toBe(1 + 1_001);
    const [names, ...part] = (await table('&limit=10&after=key_00003')).body.trimEnd().split('\r\n');
    expect(names).toMatch(/^id,key,requests,/);
    expect([part.length, part[0], part[9]]).toEqual([
      10,
      expect.stringMatching(/^key_00004,key_00004,1,/),
      expect.stringMatching(/^key_00013,/),
    ]);
    expect((await table('&limit=10&after=key_01001')).body).toBe(`${names}\r\n`);
    expect((await table('&after=key_00003')).body.trimEnd().split('\r\n').length).toBe(1 + 998);
    expect((await table('&limit=10&after=%25zz')).json().error.param).toBe('after');
    await insertKeys(1_002, 10_000);
    expect((await table()).statusCode).toBe(200);
    await insertKeys(10_001, 10_001);
    const refused = await table();
    expect([refused.statusCode, refused.json().error.param]).toEqual([400, 'from']);
    expect((await table('&limit=1000&after=key_09999')).body.trimEnd().split('\r\n').length).toBe(1 + 2);
  });

  it('is narrowed by any of its filters', async () => {
    const requests = async (query: string) =>
      (await http.as(owner.token, 'GET', `/v1/usage?group_by=&${query}`)).json().data.map((row: Record<string, unknown>) => row.requests);
    expect(await requests('key=key_1')).toEqual([1]);
    expect(await requests(`member=${member.memberId}`)).toEqual([1]);
    expect(await requests('model=gpt-5.4&region=eu&tier=starter')).toEqual([2]);
    expect(await requests('region=us')).toEqual([0]);
    expect(await requests('tier=growth')).toEqual([0]);
    expect(await requests('model=gpt-4o')).toEqual([0]);
  });

  it('logs requests newest first, in pages, by any filter, and as CSV', async () => {
    const answer = await http.as(owner.token, 'GET', '/v1/usage/requests');
    const [first] = answer.json().data;
    expect(answer.json()).toMatchObject({ object: 'list', has_more: false, data: [{ id: ids.first }, { id: ids.second }] });
    expect(first).toMatchObject({
      ...{
        object: 'request',
        id: ids.first,
        admitted_at: '2026-07-01T11:59:00.000Z',
        key_id: 'key_1',
        model: 'gpt-5.4',
        outcome: 'success',
      },
      ...{
        exactness: 'exact',
        units: { input: 1_000, output: 100 },
        cost_usd: '0.0028',
        cost_nano: '2800000',
        status: 200,
        attempt_count: 1,
      },
    });
    expect(answer.body).not.toMatch(/777|end_1|their-id/);
    const list = async (query: string) => {
      const { data, has_more } = (await http.as(owner.token, 'GET', `/v1/usage/requests?${query}`)).json();
      return [data.map((row: Record<string, unknown>) => row.id), has_more];
    };
    expect(await list('limit=1')).toEqual([[ids.first], true]);
    expect(await list(`limit=1&after=${ids.first}`)).toEqual([[ids.second], false]);
    expect(await list('key=key_2')).toEqual([[ids.second], false]);
    expect(await list(`member=${owner.memberId}&model=gpt-5.4&outcome=success&status=200`)).toEqual([[ids.first], false]);
    expect(await list('min_cost_usd=0.0028')).toEqual([[ids.first], false]);
    expect(await list('min_cost_usd=0.002800001')).toEqual([[], false]);
    expect(await list('status=500')).toEqual([[], false]);
    expect(await list('from=2026-07-01T11:59:00Z&to=2026-07-02')).toEqual([[ids.first], false]);
    const table = await http.as(owner.token, 'GET', '/v1/usage/requests', undefined, { accept: 'text/csv' });
    expect(table.headers['content-type']).toBe('text/csv; charset=utf-8');
    const [names = '', row = ''] = table.body.split('\r\n');
    expect(names).toMatch(/^id,admitted_at,.*,units,.*,cost_usd,cost_nano,.*,attempt_count$/);
    expect(row).toContain(
      `${ids.first},2026-07-01T11:59:00.000Z,eu,key_1,${owner.memberId},chat,openai/gpt-5.4,gpt-5.4,success,exact,input=1000 output=100,`,
    );
    const part = await http.as(owner.token, 'GET', `/v1/usage/requests?format=csv&limit=1&after=${ids.first}`);
    expect(part.body.trimEnd().split('\r\n')).toEqual([names, expect.stringContaining(ids.second)]);
  });

  it('gives a table of the log whole or not at all, unless a part is asked for', async () => {
    const many = await http.account('many requests');
    await sql`
      INSERT INTO usage_event SELECT e.* FROM generate_series(1, 10001) n, LATERAL (
        SELECT (jsonb_populate_record(old, jsonb_build_object('account_id', ${many.accountId}::text, 'request_id', 'req_' || n))).*
        FROM usage_event old WHERE request_id = ${ids.first}) e`.execute(http.db);
    const rows = async (query: string) => {
      const answer = await http.as(many.token, 'GET', `/v1/usage/requests?format=csv${query}`);
      return answer.statusCode === 200 ? answer.body.trimEnd().split('\r\n').length - 1 : answer.json().error.param;
    };
    expect(await rows('')).toBe('from');
    expect(await rows('&limit=1000')).toBe(1_000);
  });

  it('shows a member their own usage and receipts only, and another account nothing', async () => {
    const own = (await http.as(member.token, 'GET', '/v1/usage?group_by=member')).json().data;
    expect(own.map((row: Record<string, unknown>) => [row.member, row.requests])).toEqual([[member.memberId, 1]]);
    const logged = (await http.as(member.token, 'GET', '/v1/usage/requests')).json().data;
    expect(logged.map((row: Record<string, unknown>) => row.id)).toEqual([ids.second]);
    for (const path of ['/v1/usage', '/v1/usage/requests']) {
      expect((await http.as(member.token, 'GET', `${path}?member=${member.memberId}`)).json().data).toHaveLength(1);
      expect((await http.as(member.token, 'GET', `${path}?member=${owner.memberId}`)).statusCode).toBe(403);
      expect((await http.as(owner.token, 'GET', `${path}?member=${member.memberId}`)).json().data).toHaveLength(1);
    }
    const stranger = await http.account('stranger');
    expect((await http.as(stranger.token, 'GET', '/v1/usage/requests')).json().data).toEqual([]);
    expect((await http.as(stranger.token, 'GET', '/v1/usage')).json().data).toEqual([]);
    const statuses = [];
    for (const [token, id] of [
      [owner.token, ids.first],
      [owner.token, ids.second],
      [member.token, ids.first],
      [member.token, ids.second],
      [stranger.token, ids.first],
    ]) {
      statuses.push((await http.as(token ?? '', 'GET', `/v1/usage/requests/${id}`)).statusCode);
    }
    expect(statuses).toEqual([200, 200, 404, 200, 404]);
  });

  it('gives the receipt of a request: units, price version, tier, charge, attempts, and nothing of our cost', async () => {
    const answer = await http.as(owner.token, 'GET', `/v1/usage/requests/${ids.first}`);
    expect(answer.json()).toMatchObject({
      object: 'receipt',
      id: ids.first,
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
      price: {
        items: [
          { component: 'input', units: 1_000, list_usd_per_million: '1.00', list_usd: '0.001' },
          { component: 'output', units: 100, list_usd_per_million: '10.00', list_usd: '0.001' },
        ],
        service_tier_percent: 100,
        list_usd: '0.002',
        unrounded_usd: '0.0028',
        rounded_usd: '0.0028',
      },
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
    ['limit=1001', 'limit'],
    ['after=yesterday', 'after'],
    ['after=2026-02-31', 'after'],
    ['after=', 'after'],
    ['after=0000-01-01', 'after'],
    ['group_by=model,key&after=gpt-5.4', 'after'],
    ['group_by=key&after=%25zz', 'after'],
    ['group_by=key&after=%2500', 'after'],
  ])('refuses ?%s', async (query, param) => {
    const answer = await http.as(owner.token, 'GET', `/v1/usage?${query}`);
    expect([answer.statusCode, answer.json().error.param]).toEqual([400, param]);
  });

  it.each([
    ['from=2026-05-31&to=2026-07-02', 'from'],
    ['outcome=good', 'outcome'],
    ['status=2xx', 'status'],
    ['min_cost_usd=much', 'min_cost_usd'],
    ['min_cost_usd=999999999999', 'min_cost_usd'],
    ['min_cost_usd=-0.01', 'min_cost_usd'],
    ['after=req_1', 'after'],
    ['limit=0', 'limit'],
    ['region=eu', 'region'],
  ])('refuses a log with ?%s', async (query, param) => {
    const answer = await http.as(owner.token, 'GET', `/v1/usage/requests?${query}`);
    expect([answer.statusCode, answer.json().error.param]).toEqual([400, param]);
  });
});
