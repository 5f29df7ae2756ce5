import type { Attempt, Final } from '@meridian/domain/usage-record';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import type { BatchRecord } from './batch.ts';
import { requestIdAt, settledFinal, withCredit } from './testing.ts';

const DAY_MS = 86_400_000;
/** A call that answered. */
const ANSWERED: Attempt = {
  ...{ endpointId: 'end_1', providerId: 'openai', modelId: 'gpt-test', status: 200, errorCode: undefined, costNano: 500_000n },
  ...{ costVersion: 1, durationMs: 80, upstreamRequestId: 'up-1' },
};
const FAILED: Attempt = {
  ...ANSWERED,
  endpointId: 'end_2',
  providerId: 'azure',
  status: 500,
  errorCode: 'upstream_error',
  costNano: 70_000n,
};

interface Row {
  readonly [name: string]: string | number | null;
}

describe('what operators read of usage', () => {
  let http: TestHttp;
  let one: string;
  let two: string;
  let noonMs: number;
  const ids = { failedOver: '', dear: '' };
  let spools = 0;

  async function ingest(region: string, records: readonly BatchRecord[]): Promise<void> {
    const spoolId = `spl_${++spools}`;
    const batch = { spoolId, nodeId: 'nod_1', region, incarnation: 1n, firstSeq: 1, lastSeq: records.length, records };
    await http.services.usage.ingestBatch(await withCredit(http.db, batch));
  }
  const finalsOf = (...finals: Final[]): BatchRecord[] => finals.map((final, index) => ({ seq: index + 1, final }));

  beforeAll(async () => {
    http = await testHttp();
    noonMs = http.clock.nowMs();
    const made = [(await http.account('one')).accountId, (await http.account('two')).accountId];
    [one = '', two = ''] = made.toSorted();
    await http.admin('POST', '/admin/v1/models', { id: 'gpt-test', vendor: 'openai' });
    await http.admin('POST', '/admin/v1/list-prices', {
      model_id: 'gpt-test',
      cards: [{ prices_usd_per_million: { input: '2', output: '10' } }],
    });
    await http.services.usage.makePartitions();
    const final = (accountId: string, change: Partial<Final> = {}, agoMs = 60_000): Final =>
      settledFinal({
        ...{ requestId: requestIdAt(noonMs - agoMs), admittedAtMs: noonMs - agoMs, accountId },
        ...{ askedPriceVersion: 1, answeringPriceVersion: 1 },
        ...change,
      });
    const failedOver = final(one, { attempts: [FAILED, ANSWERED] });
    const dear = final(two, { varianceNano: 4_000n });
    ids.failedOver = failedOver.requestId;
    ids.dear = dear.requestId;
    await ingest(
      'us',
      finalsOf(
        failedOver,
        final(one, { outcome: 'failed', status: 502, answeringModelId: undefined, attempts: [FAILED] }),
        // Refused before anybody was called.
        final(one, { outcome: 'failed', status: 503, answeringModelId: undefined, attempts: [] }),
        final(one, {}, DAY_MS),
      ),
    );
    await ingest('eu', finalsOf(dear, final(two, { exactness: 'estimated' })));
    // Our own rating comes to 980,000.
    await ingest('eu', [
      { seq: 1, final: final(two, { chargeNano: 980_001n, maxCostNano: 10_000_000n }) },
      {
        seq: 2,
        unreadable: {
          reason: 'not a record',
          ...{ accountId: two, requestId: undefined, chargeNano: 5n, leases: [], payload: new Uint8Array([1]) },
        },
      },
    ]);
  });
  afterAll(() => http.close());

  const books = async (query: string): Promise<Row[]> => {
    const answer = await http.admin('GET', `/admin/v1/usage?${query}`);
    expect([answer.statusCode, answer.body]).toEqual([200, answer.body]);
    return answer.json().data;
  };
  const pick = (rows: readonly Row[], ...names: string[]): unknown[] => rows.map((row) => names.map((name) => row[name]));

  it('sums requests, charges, cost, margin and what nobody pays by day', async () => {
    const [yesterday, today, ...more] = await books('');
    expect(more).toEqual([]);
    expect(yesterday).toMatchObject({ id: '2026-06-30', object: 'usage', day: '2026-06-30', requests: 1, charge_nano: '980000' });
    expect(today).toEqual({
      id: '2026-07-01',
      object: 'usage',
      day: '2026-07-01',
      requests: 6,
      charged_requests: 4,
      estimated_requests: 1,
      attempts: null,
      list_usd: '0.0028',
      list_nano: '2800000',
      charge_usd: '0.003920001',
      charge_nano: '3920001',
      cost_usd: '0.00214',
      cost_nano: '2140000',
      margin_usd: '0.001780001',
      margin_nano: '1780001',
      variance_usd: '0.000004',
      variance_nano: '4000',
      written_off_usd: '0.00',
      written_off_nano: '0',
      uncharged_cost_usd: '0.00014',
      uncharged_cost_nano: '140000',
    });
  });

  it('by account and day tells what of the cost is not paid for, by model and region does not know', async () => {
    const figures = ['requests', 'charge_nano', 'cost_nano', 'uncharged_cost_nano'];
    expect(pick(await books('group_by=account,day'), 'account', 'day', ...figures)).toEqual([
      [one, '2026-06-30', 1, '980000', '500000', '0'],
      [one, '2026-07-01', 3, '980000', '640000', '140000'],
      [two, '2026-07-01', 3, '2940001', '1500000', '0'],
    ]);
    expect(pick(await books('group_by='), ...figures)).toEqual([[7, '4900001', '2640000', '140000']]);
    expect(pick(await books(`group_by=&account=${two}`), ...figures)).toEqual([[3, '2940001', '1500000', '0']]);
    expect(pick(await books('group_by=region&from=2026-07-01'), 'region', ...figures)).toEqual([
      ['eu', 3, '2940001', '1500000', null],
      ['us', 3, '980000', '640000', null],
    ]);
    expect(pick(await books('group_by=model'), 'model', ...figures)).toEqual([
      ['', 2, '0', '70000', null],
      ['gpt-test', 5, '4900001', '2570000', null],
    ]);
    expect(pick(await books('group_by=day&region=us&model=gpt-test'), 'day', ...figures)).toEqual([
      ['2026-06-30', 1, '980000', '500000', null],
      ['2026-07-01', 1, '980000', '570000', null],
    ]);
    expect(pick(await books('group_by=&from=2026-06-30&to=2026-07-01'), ...figures)).toEqual([[1, '980000', '500000', '0']]);
  });

  it('by provider has each attempt at its own, and adds up to what there is without', async () => {
    const figures = ['requests', 'charged_requests', 'estimated_requests', 'attempts', 'list_nano', 'charge_nano', 'cost_nano'];
    const lost = ['uncharged_cost_nano', 'variance_nano', 'written_off_nano'];
    const rows = await books('group_by=provider&from=2026-06-30');
    expect(pick(rows, 'provider', ...figures, ...lost)).toEqual([
      ['', 1, 0, 0, 0, '0', '0', '0', '0', '0', '0'],
      ['azure', 1, 0, 0, 2, '0', '0', '140000', '140000', '0', '0'],
      ['openai', 5, 5, 1, 5, '3500000', '4900001', '2500000', '0', '4000', '0'],
    ]);
    const [all] = await books('group_by=&from=2026-06-30');
    for (const name of [...figures, ...lost].filter((each) => each !== 'attempts')) {
      expect([name, rows.reduce((sum, row) => sum + Number(row[name]), 0)]).toEqual([name, Number(all?.[name])]);
    }
    expect(pick(await books('group_by=model,account&provider=azure'), 'id', 'cost_nano', 'uncharged_cost_nano')).toEqual([
      [`,${one}`, '70000', '70000'],
      [`gpt-test,${one}`, '70000', '70000'],
    ]);
    expect(pick(await books('group_by=day,provider&from=2026-07-01'), 'id')).toEqual([
      ['2026-07-01,'],
      ['2026-07-01,azure'],
      ['2026-07-01,openai'],
    ]);
  });

  it('comes in pages and as a table, in both of its forms', async () => {
    // The first group by provider, or by model, has an empty name.
    for (const dimensions of ['account,day', 'provider,account', 'day,provider,model', 'provider', 'model']) {
      const whole = await books(`group_by=${dimensions}&from=2026-06-30`);
      const seen: Row[] = [];
      for (;;) {
        const after = seen.length === 0 ? '' : `&after=${encodeURIComponent(String(seen.at(-1)?.id))}`;
        const answer = await http.admin('GET', `/admin/v1/usage?group_by=${dimensions}&from=2026-06-30&limit=1${after}`);
        expect([answer.statusCode, answer.body]).toEqual([200, answer.body]);
        const page = answer.json();
        seen.push(...page.data);
        if (!page.has_more) break;
      }
      expect(seen).toEqual(whole);
      const table = await http.admin('GET', `/admin/v1/usage?group_by=${dimensions}&from=2026-06-30&format=csv`);
      expect(table.headers['content-type']).toBe('text/csv; charset=utf-8');
      const [names = '', ...lines] = table.body.trimEnd().split('\r\n');
      expect(names.startsWith(`id,`)).toBe(true);
      expect(names.split(',').toSorted()).toEqual(
        Object.keys(whole[0] ?? {})
          .filter((name) => name !== 'object')
          .toSorted(),
      );
      expect(lines.length).toBe(whole.length);
      const part = await http.admin(
        'GET',
        `/admin/v1/usage?group_by=${dimensions}&from=2026-06-30&format=csv&limit=1&after=${encodeURIComponent(String(whole[0]?.id))}`,
      );
      expect(part.body.trimEnd().split('\r\n')).toEqual([names, lines[1]]);
    }
  });

  it('shows the receipt of anybody’s request, with what it cost and each attempt', async () => {
    const answer = await http.admin('GET', `/admin/v1/requests/${ids.failedOver}`);
    expect(answer.json()).toMatchObject({
      ...{ object: 'request', id: ids.failedOver, account_id: one, region: 'us', node_id: 'nod_1', client_dialect: 'openai-chat' },
      ...{ list_nano: '700000', charge_nano: '980000', cost_nano: '570000', margin_nano: '410000', uncharged_cost_nano: '70000' },
      ...{ tier: 'starter', markup_percent: 40, list_price_version: 1, max_cost_nano: '10000000', corrections: [] },
      price: { rounded_usd: '0.00098' },
      attempts: [
        {
          ...{ provider: 'azure', endpoint_id: 'end_2', model: 'gpt-test', status: 500, error_code: 'upstream_error' },
          ...{ upstream_request_id: 'up-1', cost_usd: '0.00007', cost_nano: '70000', cost_version: 1, duration_ms: 80 },
        },
        { provider: 'openai', endpoint_id: 'end_1', error_code: null, cost_nano: '500000' },
      ],
    });
    expect((await http.admin('GET', `/admin/v1/requests/${ids.dear}`)).json()).toMatchObject({ variance_nano: '4000' });
    for (const id of [requestIdAt(noonMs), 'req_1', 'x'])
      expect((await http.admin('GET', `/admin/v1/requests/${id}`)).statusCode).toBe(404);
  });

  it('lists dead letters and rating mismatches, newest first, in pages', async () => {
    const letters = (await http.admin('GET', '/admin/v1/dead-letters')).json();
    expect(letters).toMatchObject({
      has_more: false,
      data: [{ object: 'dead_letter', reason: 'not a record', account_id: two, request_id: null, charge_nano: '5', node_id: 'nod_1' }],
    });
    const mismatches = (await http.admin('GET', '/admin/v1/rating-mismatches')).json();
    expect(mismatches).toMatchObject({
      has_more: false,
      data: [{ object: 'rating_mismatch', account_id: two, charge_nano: '980001', rated_nano: '980000', node_id: 'nod_1' }],
    });
    await sql`
      INSERT INTO usage_dead_letter SELECT batch_id, n, 'more', NULL, NULL, NULL, '[]', '' FROM usage_dead_letter, generate_series(10, 12) n`.execute(
      http.db,
    );
    const [batchId] = letters.data[0].id.split('.');
    const page = (await http.admin('GET', `/admin/v1/dead-letters?limit=2&after=${batchId}.12`)).json();
    expect([page.data.map((row: { id: string }) => row.id), page.has_more]).toEqual([[`${batchId}.11`, `${batchId}.10`], true]);
    expect((await http.admin('GET', `/admin/v1/rating-mismatches?after=${mismatches.data[0].id}`)).json().data).toEqual([]);
  });

  it.each([
    ['usage?group_by=key', 'group_by'],
    ['usage?group_by=day,day', 'group_by'],
    ['usage?group_by=provider&from=2026-05-01', 'from'],
    ['usage?provider=openai&from=2026-05-01', 'from'],
    ['usage?from=2025-01-01', 'from'],
    ['usage?from=0000-01-01&to=0000-06-01', 'from'],
    ['usage?to=0001-01-02', 'from'],
    ['usage?after=openai', 'after'],
    ['usage?after=', 'after'],
    ['usage?after=0000-01-01', 'after'],
    ['usage?group_by=provider&after=%01', 'after'],
    ['usage?group_by=day,model&after=2026-07-01', 'after'],
    ['usage?member=mem_1', 'member'],
    ['dead-letters?after=1', 'after'],
    ['rating-mismatches?after=1.x', 'after'],
  ])('refuses %s', async (path, param) => {
    const answer = await http.admin('GET', `/admin/v1/${path}`);
    expect([answer.statusCode, answer.json().error.param]).toEqual([400, param]);
  });

  it('is for operators alone', async () => {
    const { token } = await http.account('customer');
    for (const path of ['usage', `requests/${ids.failedOver}`, 'dead-letters', 'rating-mismatches', 'balances']) {
      expect((await http.as(token, 'GET', `/admin/v1/${path}`)).statusCode).toBe(401);
    }
  });
});
