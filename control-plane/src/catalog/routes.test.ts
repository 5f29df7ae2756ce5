import { openSecret } from '@meridian/domain/sealed-secret';
import { priceInForce } from '@meridian/domain/snapshot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SEALING_KEY, type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';

const FREE = [{ prices_usd_per_million: { input: '0', output: '0' } }];

describe('the catalogue', () => {
  let http: TestHttp;
  beforeAll(async () => {
    http = await testHttp();
  });
  afterAll(() => http.close());

  const provider = (id: string) =>
    http.admin('POST', '/admin/v1/providers', { id, name: id, origin: 'http://127.0.0.1:9', base_path: '/v1' });
  const errorOf = (answer: { statusCode: number; json(): { error: { code: string; param: string | null } } }) => [
    answer.statusCode,
    answer.json().error.code,
    answer.json().error.param,
  ];

  it('takes models, endpoints and prices in bulk, and the same again without a change', async () => {
    await provider('bulk');
    const ids = Array.from({ length: 20 }, (_, index) => `sim/bulk-${index}`);
    const models = { data: ids.map((id) => ({ id, vendor: 'sim' })) };
    const endpoints = { data: ids.map((id) => ({ model_id: id, provider_id: 'bulk', upstream_model: id, cost: FREE })) };
    const prices = { data: ids.map((id) => ({ model_id: id, cards: [{ prices_usd_per_million: { input: '1', output: '2.5' } }] })) };
    const rounds = [];
    for (let round = 0; round < 2; round++) {
      const answers = [];
      for (const [url, body] of [
        ['/admin/v1/models', models],
        ['/admin/v1/endpoints', endpoints],
        ['/admin/v1/list-prices', prices],
      ] as const) {
        const answer = await http.admin('POST', url, body);
        expect([url, answer.statusCode, answer.json().data.length]).toEqual([url, 201, 20]);
        answers.push(answer.json().data);
      }
      rounds.push(answers);
    }
    expect(rounds[1]).toEqual(rounds[0]);
    expect((await published(http.db, 'sim/bulk-7')).map(({ lane, entry }) => [lane, entry.kind, entry.version]).sort()).toEqual([
      ['catalog', 'model', 1],
      ['catalog', 'price_book', 1],
    ]);
    const endpoint = rounds[0]?.[1][0];
    expect(endpoint).toMatchObject({ operations: ['chat'], credential_id: null, priority: 100, cost: { version: 1 } });
    expect((await published(http.db, endpoint.id))[0]?.entry.body?.value).toMatchObject({
      modelId: endpoint.model_id,
      credentialId: '',
      cost: { version: 1, cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 0n, output: 0n } }] },
    });
  });

  it('does all of a bulk or nothing, and says which item is wrong', async () => {
    const answer = await http.admin('POST', '/admin/v1/models', {
      data: [
        { id: 'all-1', vendor: 'acme' },
        { id: 'all-2', vendor: 'Acme Inc' },
      ],
    });
    expect(errorOf(answer)).toEqual([400, 'invalid_request_error', 'data[1].vendor']);
    const taken = await http.admin('POST', '/admin/v1/models', {
      data: [
        { id: 'all-1', vendor: 'acme' },
        { id: 'acme/all-1', vendor: 'other' },
      ],
    });
    expect(errorOf(taken)).toEqual([409, 'conflict', null]);
    expect((await http.admin('GET', '/admin/v1/models/all-1')).statusCode).toBe(404);
    expect(errorOf(await http.admin('POST', '/admin/v1/models', { id: 'one', vendor: 7 }))).toEqual([
      400,
      'invalid_request_error',
      'vendor',
    ]);
    expect((await http.admin('POST', '/admin/v1/models', { data: [] })).statusCode).toBe(400);
  });

  it('lets no two models answer to one name, whatever the spelling', async () => {
    await http.admin('POST', '/admin/v1/models', {
      data: [
        { id: 'acme-4.7', vendor: 'acme' },
        { id: 'acme-5', vendor: 'acme' },
      ],
    });
    const alias = await http.admin('POST', '/admin/v1/aliases', { name: 'Acme-Latest', model_id: 'acme-4.7' });
    const everybodys = { account_id: null, plan_id: null, reasoning_effort: null };
    expect(alias.json().data).toEqual([{ id: 'acme-latest', object: 'alias', name: 'Acme-Latest', model_id: 'acme-4.7', ...everybodys }]);
    for (const name of ['acme-5', 'acme/acme-5', 'acme-4-7']) {
      const refused = await http.admin('POST', '/admin/v1/aliases', { name, model_id: 'acme-4.7' });
      expect([name, refused.statusCode]).toEqual([name, 409]);
    }
    expect((await http.admin('POST', '/admin/v1/aliases', { name: 'acme-latest', model_id: 'acme-5' })).statusCode).toBe(409);
    expect((await http.admin('POST', '/admin/v1/models', { id: 'acme-4-7', vendor: 'other' })).statusCode).toBe(409);
    for (const name of ['acme-latest', 'ACME-LATEST', 'acme%2Facme-4-7', 'models%2Facme-4.7']) {
      expect((await http.admin('GET', `/admin/v1/models/${name}`)).json().id).toBe('acme-4.7');
    }
  });

  it('publishes a deleted alias as a tombstone, and counts on when it comes back', async () => {
    await http.admin('POST', '/admin/v1/models', {
      data: [
        { id: 'grave-1', vendor: 'acme' },
        { id: 'grave-2', vendor: 'acme' },
      ],
    });
    await http.admin('POST', '/admin/v1/aliases', { name: 'vendor/grave', model_id: 'grave-1' });
    expect((await http.admin('DELETE', '/admin/v1/aliases/vendor%2Fgrave')).json()).toEqual({
      id: 'vendor/grave',
      object: 'alias',
      deleted: true,
    });
    expect((await http.admin('GET', '/admin/v1/models/vendor%2Fgrave')).statusCode).toBe(404);
    expect((await http.admin('DELETE', '/admin/v1/aliases/vendor%2Fgrave')).statusCode).toBe(404);
    await http.admin('POST', '/admin/v1/aliases', { name: 'vendor/grave', model_id: 'grave-2' });
    expect((await published(http.db, 'vendor/grave')).map(({ entry }) => [entry.version, entry.body?.value])).toEqual([
      [1, { name: 'vendor/grave', modelId: 'grave-1' }],
      [2, undefined],
      [3, { name: 'vendor/grave', modelId: 'grave-2' }],
    ]);
  });

  it('changes only what is given, and refuses a POST with other content', async () => {
    await provider('changing');
    await http.admin('POST', '/admin/v1/models', { id: 'changing-1', vendor: 'acme', context_tokens: 1000 });
    expect((await http.admin('POST', '/admin/v1/models', { id: 'changing-1', vendor: 'acme' })).statusCode).toBe(409);
    const model = await http.admin('PATCH', '/admin/v1/models/changing-1', { enabled: false });
    expect(model.json()).toMatchObject({ context_tokens: 1000, enabled: false });
    const moved = await http.admin('PATCH', '/admin/v1/providers/changing', { origin: 'http://127.0.0.1:10' });
    // Exactly the fields of the contract: the row has more.
    expect(moved.json()).toEqual({
      id: 'changing',
      object: 'provider',
      name: 'changing',
      origin: 'http://127.0.0.1:10',
      base_path: '/v1',
      adapter: 'openai-compatible',
      enabled: true,
      auth: null,
      quirks: [],
      default_credential_id: null,
    });
    expect((await published(http.db, 'changing')).map(({ entry }) => entry.version)).toEqual([1, 2]);
    for (const origin of ['ftp://x', 'http://x/v1', 'http://x?y', 'nonsense', 'http://user:pass@x']) {
      expect([origin, (await http.admin('PATCH', '/admin/v1/providers/changing', { origin })).statusCode]).toEqual([origin, 400]);
    }
  });

  it('publishes how a provider is authenticated to, and its ways, and takes them back', async () => {
    await provider('azure');
    const auth = { header: 'api-key', prefix: '' };
    const changed = await http.admin('PATCH', '/admin/v1/providers/azure', {
      auth: { header: 'api-key' },
      quirks: ['max_tokens', 'system_role'],
    });
    expect(changed.json()).toMatchObject({ auth, quirks: ['max_tokens', 'system_role'], adapter: 'openai-compatible' });
    expect((await http.admin('PATCH', '/admin/v1/providers/azure', { enabled: false })).json()).toMatchObject({ auth, enabled: false });
    expect((await http.admin('PATCH', '/admin/v1/providers/azure', { auth: null, quirks: [] })).json()).toMatchObject({
      auth: null,
      quirks: [],
    });
    const bodies = (await published(http.db, 'azure')).map(({ entry }) => entry.body?.value);
    expect(
      bodies.map((body) => [body && 'auth' in body ? body.auth : undefined, body && 'quirks' in body ? body.quirks : undefined]),
    ).toEqual([
      [undefined, undefined],
      [auth, ['max_tokens', 'system_role']],
      [auth, ['max_tokens', 'system_role']],
      [undefined, undefined],
    ]);
    for (const bad of [
      { auth: { header: 'Host' } },
      { auth: { header: 'host' } },
      { auth: { header: 'a', prefix: 'x\n' } },
      { quirks: ['odd'] },
    ]) {
      expect([bad, (await http.admin('PATCH', '/admin/v1/providers/azure', bad)).statusCode]).toEqual([bad, 400]);
    }
  });

  it("keeps every version of an endpoint's cost", async () => {
    await provider('costly');
    await http.admin('POST', '/admin/v1/models', { id: 'costly-1', vendor: 'acme' });
    const made = await http.admin('POST', '/admin/v1/endpoints', {
      model_id: 'costly-1',
      provider_id: 'costly',
      upstream_model: 'm',
      cost: FREE,
    });
    const { id } = made.json().data[0];
    const dearer = await http.admin('PATCH', `/admin/v1/endpoints/${id}`, { cost: [{ prices_usd_per_million: { input: '1' } }] });
    expect(dearer.json().cost).toMatchObject({ version: 2, cards: [{ prices_usd_per_million: { input: '1.00' } }] });
    expect((await http.admin('PATCH', `/admin/v1/endpoints/${id}`, { priority: 5 })).json()).toMatchObject({
      priority: 5,
      cost: { version: 2 },
    });
    const wanted = [1, 2, 3].map((version) => ({ endpointId: id, version }));
    expect((await http.services.catalog.costVersions(wanted)).map((cost) => cost.version).sort()).toEqual([1, 2]);
    await expect(http.db.updateTable('endpoint_cost').set({ version: 9 }).execute()).rejects.toThrow('permission denied');
    await expect(http.db.deleteFrom('list_price').execute()).rejects.toThrow('permission denied');
  });

  it.each([
    ['an unknown model', { model_id: 'nothing' }, 'model_id'],
    ['an unknown provider', { provider_id: 'nothing' }, 'provider_id'],
    ['no cost', { cost: undefined }, 'cost'],
    ['an unknown component', { cost: [{ prices_usd_per_million: { inputs: '1' } }] }, 'cost[0].prices_usd_per_million.inputs'],
    ['a credential that is not there', { credential_id: 'crd_nothing' }, 'credential_id'],
    ['a number as a price', { cost: [{ prices_usd_per_million: { input: 1 } }] }, 'cost[0].prices_usd_per_million.input'],
    ['a negative price', { cost: [{ prices_usd_per_million: { input: '-1' } }] }, 'cost[0].prices_usd_per_million.input'],
    ['two cards for one case', { cost: [...FREE, ...FREE] }, 'cost'],
    ['an unknown dialect', { dialect: 'telegraph' }, 'dialect'],
    ['an unknown operation', { operations: ['sing'] }, 'operations[0]'],
  ])('refuses an endpoint with %s', async (_, change, param) => {
    await provider('strict');
    await http.admin('POST', '/admin/v1/models', { id: 'strict-1', vendor: 'acme' });
    const body = { model_id: 'strict-1', provider_id: 'strict', upstream_model: 'm', cost: FREE, ...change };
    expect(errorOf(await http.admin('POST', '/admin/v1/endpoints', body))).toEqual([400, 'invalid_request_error', param]);
  });

  it('seals credentials, never returns them, and moves the endpoints that use the default', async () => {
    await provider('sealed');
    await http.admin('POST', '/admin/v1/models', { id: 'sealed-1', vendor: 'acme' });
    const endpoint = (
      await http.admin('POST', '/admin/v1/endpoints', { model_id: 'sealed-1', provider_id: 'sealed', upstream_model: 'm', cost: FREE })
    ).json().data[0];
    const secret = 'sk-a-secret-of-the-provider-1234';
    const made = await http.admin('POST', '/admin/v1/credentials', { provider_id: 'sealed', secret });
    expect(made.json()).toMatchObject({ object: 'credential', provider_id: 'sealed', last_four: '1234', enabled: true });
    expect(made.body + (await http.admin('GET', '/admin/v1/credentials')).body).not.toMatch(/secret-of|"sealed":/);
    const second = (await http.admin('POST', '/admin/v1/credentials', { provider_id: 'sealed', secret: 'short', default: true })).json();
    expect(second.last_four).toBe('');
    await http.admin('PATCH', `/admin/v1/credentials/${second.id}`, { secret: `${secret}-new` });
    const uses = (await published(http.db, endpoint.id)).map(({ entry }) =>
      entry.body?.kind === 'endpoint' ? entry.body.value.credentialId : '',
    );
    expect(uses).toEqual(['', made.json().id, second.id]);
    const opened = (await published(http.db, second.id)).map(({ entry }) =>
      entry.body?.kind === 'credential' ? openSecret(SEALING_KEY, second.id, entry.body.value.sealed) : '',
    );
    expect(opened).toEqual(['short', `${secret}-new`]);
    const rows = await http.db.selectFrom('config_log').select('payload').execute();
    expect(rows.some((row) => row.payload.includes(secret))).toBe(false);
    expect((await http.admin('POST', '/admin/v1/credentials', { provider_id: 'sealed', secret: 'a\r\nb: c' })).statusCode).toBe(400);
    expect((await http.admin('POST', '/admin/v1/credentials', { provider_id: 'nothing', secret: 'x' })).statusCode).toBe(400);
  });

  it('brings an announced list price into force at once when that is asked for', async () => {
    await http.admin('POST', '/admin/v1/models', { id: 'announced-1', vendor: 'acme' });
    const publish = (input: string, effective_from?: string) =>
      http.admin('POST', '/admin/v1/list-prices', {
        model_id: 'announced-1',
        effective_from,
        cards: [{ prices_usd_per_million: { input } }],
      });
    await publish('1');
    await publish('2', new Date(http.clock.nowMs() + 86_400_000).toISOString());
    expect((await publish('2')).json().data[0]).toMatchObject({ version: 3, effective_from: new Date(http.clock.nowMs()).toISOString() });
  });

  describe('an endpoint that would cost more than its model is sold at', () => {
    // At the lowest markup, 10 %, 1.00 sells for 1.10.
    const endpoint = (model_id: string, input: string, more: object = {}) =>
      http.admin('POST', '/admin/v1/endpoints', {
        ...{ model_id, provider_id: 'dear', upstream_model: `m-${input}`, cost: [{ prices_usd_per_million: { input } }] },
        ...more,
      });
    const sell = async (model_id: string, input: string, more: object = {}) => {
      await provider('dear');
      await http.admin('POST', '/admin/v1/models', { id: model_id, vendor: 'acme' });
      const cards = [{ prices_usd_per_million: { input } }];
      return http.admin('POST', '/admin/v1/list-prices', { model_id, cards, ...more });
    };
    const endpoints = async (model_id: string) => (await http.admin('GET', `/admin/v1/endpoints?model_id=${model_id}`)).json().data;

    it('is made only when that is confirmed', async () => {
      await sell('dear-1', '1');
      expect((await endpoint('dear-1', '1.10')).statusCode).toBe(201);
      const refused = await endpoint('dear-1', '1.11');
      expect(errorOf(refused)).toEqual([422, 'invalid_state', 'confirm']);
      expect(refused.json().error.message).toContain('input of dear-1 (standard, above 0 input tokens)');
      expect(await endpoints('dear-1')).toHaveLength(1);
      expect((await endpoint('dear-1', '1.11', { confirm: true })).statusCode).toBe(201);
      // What is there already with the same content is no error, and asks nobody.
      expect((await endpoint('dear-1', '1.11')).statusCode).toBe(201);
      expect(await endpoints('dear-1')).toHaveLength(2);
    });

    it('comes to cost it only when that is confirmed', async () => {
      await sell('dear-2', '1');
      const { id } = (await endpoint('dear-2', '1')).json().data[0];
      const dearer = (more: object = {}) =>
        http.admin('PATCH', `/admin/v1/endpoints/${id}`, { cost: [{ prices_usd_per_million: { input: '2' } }], ...more });
      expect(errorOf(await dearer())).toEqual([422, 'invalid_state', 'confirm']);
      expect((await endpoints('dear-2'))[0].cost.version).toBe(1);
      expect((await dearer({ confirm: true })).json().cost.version).toBe(2);
      // What does not touch the cost asks nobody again.
      expect((await http.admin('PATCH', `/admin/v1/endpoints/${id}`, { priority: 3 })).statusCode).toBe(200);
    });

    it('is enabled only when that is confirmed', async () => {
      await sell('dear-3', '1');
      const made = await endpoint('dear-3', '9', { enabled: false });
      expect(made.statusCode).toBe(201);
      const enable = (more: object = {}) =>
        http.admin('PATCH', `/admin/v1/endpoints/${made.json().data[0].id}`, { enabled: true, ...more });
      expect(errorOf(await enable())).toEqual([422, 'invalid_state', 'confirm']);
      expect((await enable({ confirm: true })).statusCode).toBe(200);
    });

    it('is held against an announced price, too', async () => {
      await sell('dear-4', '5');
      await sell('dear-4', '1', { effective_from: new Date(http.clock.nowMs() + 86_400_000).toISOString() });
      expect(errorOf(await endpoint('dear-4', '2'))).toEqual([422, 'invalid_state', 'confirm']);
      await http.admin('POST', '/admin/v1/models', { id: 'dear-5', vendor: 'acme' });
      expect((await endpoint('dear-5', '99')).statusCode).toBe(201);
    });

    it('is found by a price of a tier or a variant that only one side has', async () => {
      await sell('dear-6', '1', {
        cards: [{ prices_usd_per_million: { input: '1', per_image: '50000' } }, { service_tier: 'batch', percent_of_standard: 30 }],
      });
      const cost = (prices: object, ...others: object[]) =>
        endpoint('dear-6', '1', { upstream_model: JSON.stringify(prices), cost: [{ prices_usd_per_million: prices }, ...others] });
      const batch = await cost({ input: '1' });
      expect([errorOf(batch)[2], batch.json().error.message]).toEqual(['confirm', expect.stringContaining('(batch,')]);
      const image = await cost({ 'per_image:1024x1024:high': '60000' });
      expect([errorOf(image)[2], image.json().error.message]).toEqual(['confirm', expect.stringContaining('per_image:1024x1024:high of')]);
      expect((await cost({ input: '0.1', per_image: '100' })).statusCode).toBe(201);
    });
  });

  it('keeps prices of variants and tiers that are percentages, as prices', async () => {
    await http.admin('POST', '/admin/v1/models', { id: 'varied-1', vendor: 'acme' });
    const prices_usd_per_million = { 'per_image:1024x1024:high': '167000', per_image: '40000', input: '0.000000003' };
    const made = await http.admin('POST', '/admin/v1/list-prices', {
      model_id: 'varied-1',
      cards: [
        { service_tier: 'batch', percent_of_standard: 25 },
        { prices_usd_per_million },
        { above_input_tokens: 9, prices_usd_per_million: { input: '8' } },
      ],
    });
    const { cards } = made.json().data[0];
    expect(cards).toContainEqual({
      ...{ service_tier: 'batch', above_input_tokens: 0 },
      // Half a nano-dollar and more is one, as everywhere.
      prices_usd_per_million: { input: '0.000000001', per_image: '10000.00', 'per_image:1024x1024:high': '41750.00' },
    });
    expect(cards).toContainEqual({ service_tier: 'batch', above_input_tokens: 9, prices_usd_per_million: { input: '2.00' } });
    const [book] = await published(http.db, 'varied-1').then((all) => all.slice(-1));
    const value = book?.entry.body?.kind === 'price_book' ? book.entry.body.value : undefined;
    expect(value?.versions[0]?.cards.find((card) => card.serviceTier === 'standard')?.prices['per_image:1024x1024:high']).toBe(
      167_000_000_000_000n,
    );
    expect((await http.services.pricing.versionsOf('varied-1'))[0]?.cards).toHaveLength(4);
  });

  it.each([
    ['no prices at all', { service_tier: 'batch' }, 'prices_usd_per_million'],
    ['prices and a percentage', { service_tier: 'batch', percent_of_standard: 50, prices_usd_per_million: {} }, 'percent_of_standard'],
    ['a percentage of itself', { percent_of_standard: 50 }, 'percent_of_standard'],
    ['a percentage for a length', { service_tier: 'flex', percent_of_standard: 50, above_input_tokens: 5 }, 'above_input_tokens'],
    ['a percentage of 0', { service_tier: 'flex', percent_of_standard: 0 }, 'percent_of_standard'],
    ['a variant of nothing', { prices_usd_per_million: { 'per_picture:x': '1' } }, 'prices_usd_per_million.per_picture:x'],
    ['a variant without a name', { prices_usd_per_million: { 'per_image:': '1' } }, 'prices_usd_per_million.per_image:'],
  ])('refuses a card with %s', async (_, card, field) => {
    await http.admin('POST', '/admin/v1/models', { id: 'carded-1', vendor: 'acme' });
    const cards = [{ prices_usd_per_million: { input: '1' } }, card];
    const refused = await http.admin('POST', '/admin/v1/list-prices', { model_id: 'carded-1', cards });
    expect(errorOf(refused)).toEqual([400, 'invalid_request_error', `cards[1].${field}`]);
  });

  it('publishes versions of list prices, announces one, and asks before selling under cost', async () => {
    await provider('priced');
    await http.admin('POST', '/admin/v1/models', { id: 'priced-1', vendor: 'acme' });
    const cost = [{ prices_usd_per_million: { input: '1', output: '2' } }];
    await http.admin('POST', '/admin/v1/endpoints', { model_id: 'priced-1', provider_id: 'priced', upstream_model: 'm', cost });
    const price = (input: string, more: object = {}) =>
      http.admin('POST', '/admin/v1/list-prices', {
        model_id: 'priced-1',
        cards: [{ prices_usd_per_million: { input, output: '4' } }],
        ...more,
      });
    // At the lowest markup, 10 %, 0.91 sells for 1.001 and 0.90 for 0.99.
    expect((await price('0.91')).json().data[0]).toMatchObject({ version: 1, model_id: 'priced-1' });
    const under = await price('0.90');
    expect(errorOf(under)).toEqual([422, 'invalid_state', 'confirm']);
    expect(under.json().error.message).toContain('input of priced-1');
    expect((await price('0.90', { confirm: true })).json().data[0].version).toBe(2);
    const later = new Date(http.clock.nowMs() + 86_400_000).toISOString();
    expect((await price('3', { effective_from: later })).json().data[0]).toMatchObject({ version: 3, effective_from: later });
    expect(errorOf(await price('5', { effective_from: new Date(http.clock.nowMs() - 1).toISOString() }))[2]).toBe('effective_from');
    // A price that begins at once takes the place of the announced one: of those whose time has come the newest counts.
    expect((await price('5')).json().data[0].version).toBe(4);
    const book = { modelId: 'priced-1', versions: await http.services.pricing.versionsOf('priced-1') };
    expect(priceInForce(book, http.clock.nowMs() + 2 * 86_400_000)?.version).toBe(4);
    const all = (await http.admin('GET', '/admin/v1/list-prices?model_id=priced-1')).json().data;
    expect(all.map((one: { version: number }) => one.version)).toEqual([1, 2, 3, 4]);
    const books = (await published(http.db, 'priced-1')).flatMap(({ entry }) =>
      entry.body?.kind === 'price_book' ? [entry.body.value.versions.length] : [],
    );
    expect(books).toEqual([1, 2, 3, 4]);
    expect((await http.services.pricing.find([{ modelId: 'priced-1', version: 2 }]))[0]?.cards[0]?.prices.input).toBe(900_000_000n);
  });
});
