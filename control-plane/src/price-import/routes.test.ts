import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { normalizeModelName } from '@meridian/domain/model';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { applySeed } from '../seed/service.ts';

const PUBLISHED = new URL('../../../../shared/data/litellm-model_prices-2026-07-24.json', import.meta.url);
if (!existsSync(PUBLISHED)) console.log('import of a whole list: skipped, ../shared/data is not there');

const CATALOGUE = join(import.meta.dirname, '../../seed/catalogue.yaml');
const CHEAP = { litellm_provider: 'openai', mode: 'chat', input_cost_per_token: 1e-6, output_cost_per_token: 4e-6 };
const EMBEDDING = { litellm_provider: 'openai', mode: 'embedding', input_cost_per_token: 2e-8, output_cost_per_token: 0 };
const LIST = { cheap: CHEAP, embed: EMBEDDING, whisper: { ...CHEAP, mode: 'audio_transcription' } };

let http: TestHttp;
beforeEach(async () => {
  http = await testHttp();
});
afterEach(() => http.close());

async function importing(body: Record<string, unknown>) {
  const response = await http.admin('POST', '/admin/v1/catalog/import', { format: 'litellm', ...body });
  return { status: response.statusCode, body: response.json() };
}

async function published(): Promise<string[]> {
  const { rows } = await sql<{ entry: string }>`
    SELECT kind || ' ' || entity_id || ' ' || version AS entry FROM config_log WHERE kind IN ('model', 'price_book', 'endpoint')
    ORDER BY rev`.execute(http.db);
  return rows.map((row) => row.entry);
}

describe('the import of a price list', () => {
  it('says what it would do and does nothing, until it is told to', async () => {
    const preview = await importing({ list: LIST });
    expect(preview.body).toMatchObject({
      applied: false,
      counts: { new: 2, priced: 0, changed: 0, unchanged: 0, refused: 1 },
      changes: [{ model_id: 'cheap', action: 'new', prices: [] }, { model_id: 'embed' }],
      refused: [{ listed_as: 'whisper', listed_provider: 'openai', reason: 'models for audio_transcription are not offered' }],
    });
    expect(await published()).toEqual([]);
    expect((await importing({ list: LIST, apply: true })).body).toMatchObject({ applied: true, counts: { new: 2 } });
    expect(await published()).toEqual(['model cheap 1', 'price_book cheap 1', 'model embed 1', 'price_book embed 1']);
    expect((await http.admin('GET', '/admin/v1/list-prices?model_id=cheap')).json().data).toMatchObject([
      { version: 1, cards: [{ service_tier: 'standard', prices_usd_per_million: { input: '1.00', output: '4.00' } }] },
    ]);
  });

  it('changes nothing when it comes again, and makes a new version of a price that is another', async () => {
    await importing({ list: LIST, apply: true });
    expect((await importing({ list: LIST, apply: true })).body.counts).toMatchObject({ new: 0, unchanged: 2 });
    const dearer = { ...LIST, cheap: { ...CHEAP, input_cost_per_token: 2e-6, cache_read_input_token_cost: 1e-7 } };
    expect((await importing({ list: dearer, apply: true })).body).toMatchObject({
      counts: { changed: 1, unchanged: 1 },
      changes: [
        {
          model_id: 'cheap',
          action: 'changed',
          prices: [
            { service_tier: 'standard', above_input_tokens: 0, component: 'input', was: '1.00', becomes: '2.00' },
            { component: 'cached_input', was: null, becomes: '0.10' },
          ],
        },
      ],
    });
    expect(await published()).toEqual(['model cheap 1', 'price_book cheap 1', 'model embed 1', 'price_book embed 1', 'price_book cheap 2']);
  });

  it('knows a model by its other names, and leaves what an operator says of it', async () => {
    const made = await http.admin('POST', '/admin/v1/models', {
      ...{ id: 'claude-x-4.5', vendor: 'anthropic', name: 'Ours', mode: 'chat', context_tokens: 1_000, max_output_tokens: 500 },
    });
    expect([made.statusCode, made.body]).toEqual([201, expect.any(String)]);
    const list = { 'claude-x-4-5': { ...CHEAP, litellm_provider: 'anthropic', max_input_tokens: 9 } };
    expect((await importing({ list, apply: true })).body).toMatchObject({ changes: [{ model_id: 'claude-x-4.5', action: 'priced' }] });
    expect((await http.admin('GET', '/admin/v1/models')).json().data).toMatchObject([{ name: 'Ours', context_tokens: 1_000 }]);
  });

  it('takes only what is asked for', async () => {
    const list = { ...LIST, 'together_ai/x': { ...CHEAP, litellm_provider: 'together_ai' } };
    expect((await importing({ list, providers: ['together_ai'] })).body.changes).toMatchObject([{ model_id: 'together-ai/x' }]);
    expect((await importing({ list, models: ['embed', 'whisper'] })).body.counts).toMatchObject({ new: 1, refused: 1 });
    expect((await importing({ list, existing_only: true })).body.counts).toMatchObject({ new: 0 });
  });

  it('makes endpoints where it is told whose models are bought where, and later takes only their cost', async () => {
    const made = await http.admin('POST', '/admin/v1/providers', {
      ...{ id: 'openai', name: 'OpenAI', origin: 'https://api.openai.com', base_path: '/v1', adapter: 'openai' },
    });
    expect(made.statusCode).toBe(201);
    await http.admin('POST', '/admin/v1/providers/openai/credentials', { name: 'main', secret: 'sk-1' });
    const endpoints = { openai: 'openai' };
    expect((await importing({ list: LIST, endpoints, apply: true })).body.counts).toMatchObject({ new: 2, refused: 1 });
    const [endpoint] = (await http.admin('GET', '/admin/v1/endpoints?model_id=cheap')).json().data;
    expect(endpoint).toMatchObject({ upstream_model: 'cheap', provider_id: 'openai', operations: ['chat'], cost: { version: 1 } });
    await http.admin('PATCH', `/admin/v1/endpoints/${endpoint.id}`, { priority: 3 });
    await importing({ list: { cheap: { ...CHEAP, output_cost_per_token: 5e-6 } }, endpoints, apply: true });
    expect((await http.admin('GET', '/admin/v1/endpoints?model_id=cheap')).json().data).toMatchObject([
      { priority: 3, cost: { version: 2 } },
    ]);
    // A price that goes down with its cost is no loss.
    const cheaper = await importing({ list: { cheap: { ...CHEAP, input_cost_per_token: 5e-7 } }, endpoints, apply: true });
    expect(cheaper.body).toMatchObject({ counts: { changed: 1, refused: 0 } });
    expect((await importing({ list: LIST, endpoints: { openai: 'nobody' } })).status).toBe(404);
  });

  it('refuses a price under the cost of an endpoint, alone among many, unless that is confirmed', async () => {
    await importing({ list: LIST, apply: true });
    await http.admin('POST', '/admin/v1/providers', {
      ...{ id: 'openai', name: 'OpenAI', origin: 'https://api.openai.com', base_path: '/v1', adapter: 'openai' },
    });
    await http.admin('POST', '/admin/v1/providers/openai/credentials', { name: 'main', secret: 'sk-1' });
    await importing({ list: { cheap: CHEAP }, endpoints: { openai: 'openai' }, apply: true });
    const list = { cheap: { ...CHEAP, output_cost_per_token: 1e-6 }, other: CHEAP };
    const preview = (await importing({ list })).body;
    expect(preview).toMatchObject({
      counts: { new: 1, changed: 1, refused: 0, needs_confirm: 1 },
      changes: [
        {
          model_id: 'cheap',
          needs_confirm: expect.stringContaining('output of cheap (standard, above 0 input tokens) would be sold under'),
        },
        { model_id: 'other', needs_confirm: null },
      ],
    });
    // An endpoint whose cost comes down with the list is none that the price lies under.
    expect((await importing({ list, endpoints: { openai: 'openai' } })).body.counts).toMatchObject({ changed: 1, needs_confirm: 0 });
    const refused = await importing({ list, apply: true });
    expect(refused.body).toMatchObject({ counts: { new: 1, changed: 0, refused: 1 }, refused: [{ listed_as: 'cheap' }] });
    expect(refused.body.refused[0].reason).toBe(preview.changes[0].needs_confirm);
    expect((await importing({ list, apply: true, confirm: true })).body.counts).toMatchObject({ changed: 1, unchanged: 1, refused: 0 });
  });

  it('refuses a cost above a price in force, though the list price announced after it is no other, unless that is confirmed', async () => {
    await http.admin('POST', '/admin/v1/providers', {
      ...{ id: 'openai', name: 'OpenAI', origin: 'https://api.openai.com', base_path: '/v1', adapter: 'openai' },
    });
    await http.admin('POST', '/admin/v1/providers/openai/credentials', { name: 'main', secret: 'sk-1' });
    const endpoints = { openai: 'openai' };
    const costs = async () => {
      const { data } = (await http.admin('GET', '/admin/v1/endpoints?model_id=cheap')).json();
      return data.map((endpoint: { cost: { version: number } }) => endpoint.cost.version);
    };
    const announce = (days: number, input: string) =>
      http.admin('POST', '/admin/v1/list-prices', {
        model_id: 'cheap',
        effective_from: new Date(http.clock.nowMs() + days * 86_400_000).toISOString(),
        cards: [{ prices_usd_per_million: { input, output: '4' } }],
      });
    await importing({ list: { cheap: CHEAP }, apply: true });
    expect((await announce(20, '10')).statusCode).toBe(201);
    const list = { cheap: { ...CHEAP, input_cost_per_token: 10e-6 } };
    expect((await importing({ list })).body).toMatchObject({ counts: { unchanged: 1, needs_confirm: 0 }, changes: [] });
    // An endpoint that is to be made.
    const preview = (await importing({ list, endpoints })).body;
    expect(preview).toMatchObject({
      counts: { unchanged: 1, needs_confirm: 1 },
      changes: [{ model_id: 'cheap', action: 'unchanged', prices: [], needs_confirm: expect.stringContaining('cheap of openai') }],
    });
    expect((await importing({ list, endpoints, apply: true })).body).toMatchObject({
      counts: { unchanged: 0, refused: 1, needs_confirm: 0 },
      refused: [{ listed_as: 'cheap', reason: expect.stringContaining('would be sold under the cost of') }],
    });
    expect(await costs()).toEqual([]);
    // One that is there, and comes to cost more.
    const made = await http.admin('POST', '/admin/v1/endpoints', {
      ...{ model_id: 'cheap', provider_id: 'openai', upstream_model: 'cheap', dialect: 'openai-chat', operations: ['chat'] },
      cost: [{ prices_usd_per_million: { input: '1', output: '4' } }],
    });
    expect([made.statusCode, made.body]).toEqual([201, expect.any(String)]);
    const dearer = (await importing({ list, endpoints })).body;
    expect(dearer.counts).toMatchObject({ unchanged: 1, needs_confirm: 1 });
    const refused = (await importing({ list, endpoints, apply: true })).body;
    expect(refused.refused.map((one: { reason: string }) => one.reason)).toEqual([dearer.changes[0].needs_confirm]);
    expect(await costs()).toEqual([1]);
    const [{ id }] = (await http.admin('GET', '/admin/v1/endpoints?model_id=cheap')).json().data;
    // A disabled endpoint serves nobody.
    await http.admin('PATCH', `/admin/v1/endpoints/${id}`, { enabled: false });
    expect((await importing({ list, endpoints })).body.counts).toMatchObject({ needs_confirm: 0 });
    await http.admin('PATCH', `/admin/v1/endpoints/${id}`, { enabled: true });
    expect((await importing({ list, endpoints, apply: true, confirm: true })).body.counts).toMatchObject({ unchanged: 1, refused: 0 });
    expect(await costs()).toEqual([2]);
    // What was confirmed and stays as it is needs no word more.
    expect((await importing({ list, endpoints })).body).toMatchObject({ counts: { unchanged: 1, needs_confirm: 0 }, changes: [] });
    expect((await importing({ list, endpoints, apply: true })).body.counts).toMatchObject({ unchanged: 1, refused: 0 });
  });

  it('lets a cost rise with a price that begins at once, whatever was announced before it', async () => {
    await http.admin('POST', '/admin/v1/providers', {
      ...{ id: 'openai', name: 'OpenAI', origin: 'https://api.openai.com', base_path: '/v1', adapter: 'openai' },
    });
    await http.admin('POST', '/admin/v1/providers/openai/credentials', { name: 'main', secret: 'sk-1' });
    const endpoints = { openai: 'openai' };
    await importing({ list: { cheap: CHEAP }, endpoints, apply: true });
    const announced = await http.admin('POST', '/admin/v1/list-prices', {
      model_id: 'cheap',
      effective_from: new Date(http.clock.nowMs() + 86_400_000).toISOString(),
      cards: [{ prices_usd_per_million: { input: '2', output: '4' } }],
    });
    expect([announced.statusCode, announced.body]).toEqual([201, expect.any(String)]);
    const list = { cheap: { ...CHEAP, input_cost_per_token: 3e-6 } };
    expect((await importing({ list, endpoints, apply: true })).body).toMatchObject({
      counts: { changed: 1, refused: 0, needs_confirm: 0 },
      changes: [{ needs_confirm: null }],
    });
  });

  it('takes the row of a model by its own name, before one by an alias, which is told and never becomes its price', async () => {
    await importing({ list: { 'flash-3.5': CHEAP }, apply: true });
    const alias = await http.admin('POST', '/admin/v1/aliases', { name: 'flash-latest', model_id: 'flash-3.5' });
    expect([alias.statusCode, alias.body]).toEqual([201, expect.any(String)]);
    const older = { ...CHEAP, input_cost_per_token: 1e-7 };
    const dearer = { ...CHEAP, input_cost_per_token: 3e-6 };
    const told = { listed_as: 'flash-latest', reason: 'it is an alias of flash-3.5 here, and its price another' };
    const both = await importing({ list: { 'flash-latest': older, 'openai/flash-3-5': dearer }, apply: true });
    expect(both.body).toMatchObject({
      counts: { changed: 1, refused: 1 },
      changes: [{ model_id: 'flash-3.5', listed_as: 'openai/flash-3-5', prices: [{ component: 'input', was: '1.00', becomes: '3.00' }] }],
      refused: [told],
    });
    expect((await importing({ list: { 'flash-latest': older }, apply: true })).body).toMatchObject({ changes: [], refused: [told] });
    expect((await importing({ list: { 'flash-latest': dearer }, apply: true })).body.counts).toMatchObject({ unchanged: 1, refused: 0 });
    const same = await importing({ list: { 'flash-latest': dearer, 'flash-3.5': dearer } });
    expect(same.body.refused).toMatchObject([{ listed_as: 'flash-latest', reason: 'it is the same model as flash-3.5' }]);
  });

  it('does not make a model that has no price yet cost what its alias does', async () => {
    await http.admin('POST', '/admin/v1/models', {
      ...{ id: 'flash-3.5', vendor: 'openai', name: 'F', mode: 'chat', context_tokens: 1_000, max_output_tokens: 500 },
    });
    await http.admin('POST', '/admin/v1/aliases', { name: 'flash-latest', model_id: 'flash-3.5' });
    expect((await importing({ list: { 'flash-latest': CHEAP }, apply: true })).body).toMatchObject({
      counts: { priced: 0, refused: 1 },
      refused: [{ reason: 'it is an alias of flash-3.5 here, and its price another' }],
    });
  });

  it('says what the list leaves out, and changes nothing where a price in force says as much already', async () => {
    const step = {
      ...CHEAP,
      input_cost_per_token_above_272k_tokens: 2e-6,
      input_cost_per_token_flex: 5e-7,
      output_cost_per_token_flex: 2e-6,
    };
    const list = { long: { ...step, cache_creation_input_token_cost: 1.25e-6 } };
    const left = 'flex (cache_write_5m); flex above 272000 (input, cache_write_5m)';
    expect((await importing({ list, apply: true })).body.changes).toMatchObject([
      {
        notes: [
          `not listed, taken from the other prices: standard above 272000 (cache_write_5m); ${left}`,
          'no price for cache_write_1h: requests that ask for an hour of prompt cache are refused',
        ],
      },
    ]);
    const [price] = (await http.admin('GET', '/admin/v1/list-prices?model_id=long')).json().data;
    const flex = price.cards.filter((card: { service_tier: string }) => card.service_tier === 'flex');
    expect(flex).toMatchObject([
      { above_input_tokens: 0, prices_usd_per_million: { input: '0.50', cache_write_5m: '0.625' } },
      { above_input_tokens: 272_000, prices_usd_per_million: { input: '1.00', cache_write_5m: '1.25' } },
    ]);
    const cards = price.cards.filter(
      (card: { above_input_tokens: number; service_tier: string }) => card.service_tier === 'standard' || card.above_input_tokens === 0,
    );
    expect((await http.admin('POST', '/admin/v1/list-prices', { model_id: 'long', cards })).json().data[0].cards).toHaveLength(3);
    expect((await importing({ list })).body.counts).toMatchObject({ changed: 0, unchanged: 1 });
  });

  it('tells of two offers for one model', async () => {
    const list = {
      'a-1.5': CHEAP,
      'a-1-5': CHEAP,
      'cohere/b': { ...CHEAP, litellm_provider: 'cohere' },
      b: { ...CHEAP, litellm_provider: 'cohere_chat' },
    };
    const { body } = await importing({ list, apply: true });
    expect(body.counts).toMatchObject({ new: 2, refused: 2 });
    expect(body.refused).toMatchObject([
      { listed_as: 'a-1-5', reason: 'it is the same model as a-1.5' },
      { listed_as: 'b', reason: 'it is the same model as cohere/b' },
    ]);
  });

  it.each([
    [{ format: 'litellm', list: [] }, 'list: a price list of LiteLLM is a JSON object'],
    [{ format: 'models-dev', list: { openai: {} } }, 'list: the provider openai has no models'],
    [{ format: 'csv', list: {} }, 'format'],
  ])('refuses %j with the reason', async (body, reason) => {
    const refused = await importing(body);
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toContain(reason);
  });

  it.skipIf(!existsSync(PUBLISHED))(
    'previews the published list over the catalogue of the repository as it is then applied',
    { timeout: 120_000 },
    async () => {
      await applySeed(http.seedDeps, CATALOGUE);
      const list = JSON.parse(readFileSync(PUBLISHED, 'utf8')) as Record<string, unknown>;
      const request = { list, providers: ['openai', 'anthropic', 'gemini'], existing_only: true };
      type Change = { readonly model_id: string; readonly listed_as: string; readonly needs_confirm: string | null };
      const before: { changes: Change[]; refused: { listed_as: string; reason: string }[] } = (await importing(request)).body;
      const own = (change: Change) => normalizeModelName(change.listed_as).endsWith(normalizeModelName(change.model_id));
      expect(before.changes.filter((change) => !own(change))).toEqual([]);
      const reasonOf = (name: string) => before.refused.find((one) => one.listed_as.endsWith(name))?.reason;
      expect(reasonOf('gemini-flash-latest')).toBe('it is an alias of gemini-3.5-flash here, and its price another');
      const refusedBefore = before.changes.filter((change) => change.needs_confirm !== null);
      expect(refusedBefore.length).toBeGreaterThan(0);
      const applied: typeof before = (await importing({ ...request, apply: true })).body;
      const more = applied.refused.slice(before.refused.length);
      expect(more.map(({ reason }) => reason)).toEqual(refusedBefore.map((change) => change.needs_confirm));
      expect(applied.changes).toEqual(before.changes.filter((change) => change.needs_confirm === null));
    },
  );

  it.skipIf(!existsSync(PUBLISHED))(
    'takes the published list whole: each model is priced, or refused with a reason',
    { timeout: 120_000 },
    async () => {
      const list = JSON.parse(readFileSync(PUBLISHED, 'utf8')) as Record<string, unknown>;
      const { body } = await importing({ list, apply: true });
      const reasons = new Map<string, number>();
      for (const { reason } of body.refused as { reason: string }[])
        reasons.set(reason.replace(/ as .*/, ' as another'), (reasons.get(reason.replace(/ as .*/, ' as another')) ?? 0) + 1);
      console.log(
        `published list: ${JSON.stringify(body.counts)}\n${[...reasons].map(([reason, count]) => `${count} × ${reason}`).join('\n')}`,
      );
      expect(body.counts.new).toBeGreaterThan(2_300);
      expect(body.refused.every(({ reason }: { reason: string }) => reason !== '')).toBe(true);
      expect((await importing({ list, apply: false })).body.counts).toMatchObject({ new: 0, changed: 0, unchanged: body.counts.new });
    },
  );
});
