import { existsSync, readFileSync } from 'node:fs';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';

const PUBLISHED = new URL('../../../../shared/data/litellm-model_prices-2026-07-24.json', import.meta.url);
if (!existsSync(PUBLISHED)) console.log('import of a whole list: skipped, ../shared/data is not there');

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
    const refused = await importing({ list, apply: true });
    expect(refused.body).toMatchObject({ counts: { new: 1, changed: 0, refused: 1 }, refused: [{ listed_as: 'cheap' }] });
    expect(refused.body.refused[0].reason).toContain('would be sold under the cost');
    expect((await importing({ list, apply: true, confirm: true })).body.counts).toMatchObject({ changed: 1, unchanged: 1, refused: 0 });
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
