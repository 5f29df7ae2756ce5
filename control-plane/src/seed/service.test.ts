import { hash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { completedCards } from '@meridian/domain/complete-cards';
import { normalizeModelName } from '@meridian/domain/model';
import { usdToNano } from '@meridian/domain/money';
import type { RateCard } from '@meridian/domain/price';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ownNames } from '../catalog/catalog.ts';
import { storeCards } from '../catalog/rate-card.ts';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { CatalogueFileError, readCatalogue } from './catalogue-file.ts';
import { applySeed } from './service.ts';

const CATALOGUE = join(import.meta.dirname, '../../seed/catalogue.yaml');
const FACTS = join(import.meta.dirname, '../../../../shared/data/catalogue.tsv');

const SMALL = `
plans:
  - { id: starter, name: Starter, api_access: true }
providers:
  - { id: one, name: One, origin: 'https://one.example', base_path: /v1, adapter: openai-compatible }
models:
  - id: small-1
    vendor: acme
    name: Small 1
    mode: chat
    input: [text]
    output: [text]
    aliases: [small-latest]
    prices:
      - { input: '1', output: '2' }
    endpoints:
      - { provider: one, model: small-1, priority: 10 }
`;

describe('the catalogue file of the repository', () => {
  const catalogue = readCatalogue('catalogue.yaml', readFileSync(CATALOGUE, 'utf8'));
  const byName = new Map(
    catalogue.models.flatMap((one) =>
      [...ownNames(one.model), ...one.aliases.map((alias) => normalizeModelName(alias.name))].map((name) => [name, one] as const),
    ),
  );

  it.each([
    ['gpt-5.4', 'gpt-5.4'],
    ['openai/gpt-5.4', 'gpt-5.4'],
    ['gpt-5.4-2026-03-05', 'gpt-5.4'],
    ['openai/gpt-5.4-2026-03-05', 'gpt-5.4'],
    ['anthropic/claude-opus-4.7', 'claude-opus-4-7'],
    ['claude-opus-4.7', 'claude-opus-4-7'],
    ['claude-opus-4-7', 'claude-opus-4-7'],
    ['claude-opus-4-7-20260416', 'claude-opus-4-7'],
    ['claude-sonnet-4-5-20250929', 'claude-sonnet-4-5'],
    ['google/gemini-3.1-pro-preview', 'gemini-3.1-pro-preview'],
    ['gemini/gemini-3.1-pro-preview', 'gemini-3.1-pro-preview'],
    ['models/gemini-3.5-flash', 'gemini-3.5-flash'],
    ['gemini-flash-latest', 'gemini-3.5-flash'],
    ['fal-ai/flux-pro/v1.1-ultra', 'fal-ai/flux-pro/v1.1-ultra'],
    ['fal-ai%2Fflux-pro%2Fv1.1-ultra', 'fal-ai/flux-pro/v1.1-ultra'],
    ['black-forest-labs/flux-1.1-pro', 'flux-pro-1.1'],
    ['meta-llama/llama-3.3-70b-instruct', 'llama-3.3-70b-instruct'],
    ['gpt-image-1.5', 'gpt-image-1.5'],
    ['gpt-image-latest', 'gpt-image-2'],
    ['text-embedding-3-small', 'text-embedding-3-small'],
    ['mistral/mistral-large-latest', 'mistral-large-latest'],
  ])('answers to %s', (name, id) => {
    expect(byName.get(normalizeModelName(name))?.model.id).toBe(id);
  });

  it('gives every chat and embedding model an endpoint, and media models none', () => {
    for (const { model, endpoints } of catalogue.models) {
      const callable = model.mode === 'chat' || model.mode === 'embedding';
      expect([model.id, endpoints.length > 0]).toEqual([model.id, callable]);
      for (const endpoint of endpoints) expect(endpoint.operations).toEqual([model.mode === 'chat' ? 'chat' : 'embeddings']);
    }
  });

  it('prices input, cached input and output on every card that stands alone, so that no token is sold for nothing', () => {
    for (const { model, price } of catalogue.models.filter((one) => one.model.mode === 'chat')) {
      for (const card of price.filter((one) => one.aboveInputTokens === 0)) {
        const { input, cached_input, output } = card.prices;
        expect([model.id, card.serviceTier, [input, cached_input, output].includes(undefined)]).toEqual([
          model.id,
          card.serviceTier,
          false,
        ]);
      }
    }
  });

  it('sells no cache write for less than input, nor an hour of it for less than five minutes', () => {
    for (const { model, price } of catalogue.models) {
      for (const { prices, serviceTier } of completedCards(price)) {
        const { input, cache_write_5m: five = input, cache_write_1h: hour = five } = prices;
        const isDearer = input === undefined || five === undefined || hour === undefined || (five >= input && hour >= five);
        expect([model.id, serviceTier, isDearer]).toEqual([model.id, serviceTier, true]);
      }
    }
  });

  it('limits the keys of the plan that new accounts have, and those of no other', () => {
    const limits = catalogue.plans.map(({ id, rateLimits }) => [id, rateLimits]);
    expect(limits).toEqual([
      ['starter', { requestsPerMinute: 600, tokensPerMinute: 2_000_000, concurrency: 200 }],
      ['unlimited', undefined],
      ['none', undefined],
    ]);
  });

  it('says each long-context step in each tier, so that what is charged is what is written', () => {
    for (const { model, price } of catalogue.models)
      expect([model.id, storeCards(completedCards(price))]).toEqual([model.id, storeCards(price)]);
  });

  if (!existsSync(FACTS)) console.info(`skipped: the catalogue's facts are not at ${FACTS}`);
  it.skipIf(!existsSync(FACTS))('says what the published prices say', () => {
    const [header = [], ...rows] = readFileSync(FACTS, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split('\t'));
    let compared = 0;
    for (const row of rows) {
      const fact = (column: string) => row[header.indexOf(column)] || undefined;
      const id = fact('id') ?? '';
      // What a reseller asks is a cost, not a list price.
      if (id.startsWith('openrouter/')) continue;
      const name = id.replace(/^(groq|mistral|runwayml|fal_ai)\//, '').replace(/^black_forest_labs\//, '');
      const found = byName.get(normalizeModelName(name.replace(/^zai\//, 'z-ai/')));
      expect([id, found === undefined]).toEqual([id, false]);
      const card = (tier: string, long: boolean): RateCard | undefined =>
        found?.price.find((one) => one.serviceTier === tier && one.aboveInputTokens > 0 === long);
      const perMillion = (usd: string | undefined) => (usd === undefined ? undefined : usdToNano(usd));
      const check = (label: string, actual: bigint | undefined, expected: bigint | undefined) => {
        if (expected === undefined) return;
        expect([id, label, actual]).toEqual([id, label, expected]);
        compared += 1;
      };
      const standard = card('standard', false)?.prices;
      for (const component of ['input', 'cached_input', 'cache_write_5m', 'cache_write_1h'] as const) {
        // A write that costs nothing beside the input has no price of its own: as a price, it would give the input away.
        const costsNothing = component.startsWith('cache_write') && Number(fact(component)) === 0;
        if (!costsNothing) check(component, standard?.[component], perMillion(fact(component)));
      }
      if (fact('mode') !== 'embedding') check('output', standard?.output, perMillion(fact('output')));
      check('image_in', fact('image_token_in') === undefined ? undefined : standard?.image_in, perMillion(fact('image_token_in')));
      check('image_out', standard?.image_out, perMillion(fact('image_token_out')));
      check('input_long', card('standard', true)?.prices.input, perMillion(fact('input_long')));
      check('output_long', card('standard', true)?.prices.output, perMillion(fact('output_long')));
      // gpt-5-nano has a priority input price without an output price, gemini-2.5-pro one that equals the standard price: neither is a tier.
      if (fact('output_priority') !== undefined && !id.endsWith('gemini-2.5-pro')) {
        check('input_priority', card('priority', false)?.prices.input, perMillion(fact('input_priority')));
        check('output_priority', card('priority', false)?.prices.output, perMillion(fact('output_priority')));
      }
    }
    expect(compared).toBeGreaterThan(240);
  });
});

describe('a catalogue file with a mistake', () => {
  it.each([
    ['a misspelt field', SMALL.replace('aliases:', 'alias:'), 13, 'models.0.alias: there is no such field'],
    [
      'a price that is a number',
      SMALL.replace("input: '1'", 'input: 1'),
      15,
      'models.0.prices.0.input: must be a decimal string in quotes',
    ],
    ['too many decimals', SMALL.replace("'1'", "'0.0000000001'"), 15, 'at most 9 decimals'],
    ['a provider that is not there', SMALL.replace('provider: one', 'provider: two'), 17, 'there is no provider two'],
    ['a missing field', SMALL.replace('    vendor: acme\n', ''), 7, 'models.0.vendor'],
    ['a model twice', SMALL + SMALL.slice(SMALL.indexOf('  - id: small-1')), 18, 'small-1 is there twice'],
    ['no price for any length', SMALL.replace("{ input: '1'", "{ above: 5, input: '1'"), 14, 'lack one for any length'],
    ['a variant of nothing', SMALL.replace("output: '2'", "'per_picture:x': '2'"), 15, 'prices.0.per_picture:x: there is no such field'],
    ['a percentage beside prices', SMALL.replace("output: '2'", 'percent_of_standard: 50'), 15, 'stands in place of prices'],
    [
      'a percentage of itself',
      SMALL.replace("{ input: '1', output: '2' }", '{ percent_of_standard: 50 }'),
      15,
      'a tier other than standard',
    ],
    ['broken YAML', SMALL.replace('plans:', 'plans: ]'), 2, ''],
    ['an origin with a path', SMALL.replace('https://one.example', 'https://one.example/v1'), 5, 'must be an origin'],
  ])('is refused for %s with file and line', (_, text, line, problem) => {
    const read = () => readCatalogue('mine.yaml', text);
    expect(read).toThrow(CatalogueFileError);
    expect(read).toThrow(`mine.yaml, line ${line}: `);
    expect(read).toThrow(problem);
  });

  it('is read with prices of variants, and with tiers that are a percentage of the standard one', () => {
    const cards = "'per_image:1024x1024:high': '2' }\n      - { tier: batch, percent_of_standard: 75 }";
    const [model] = readCatalogue('mine.yaml', SMALL.replace("output: '2' }", cards)).models;
    const standard = { input: 1_000_000_000n, 'per_image:1024x1024:high': 2_000_000_000n };
    expect(model?.price).toEqual([
      { serviceTier: 'standard', aboveInputTokens: 0, prices: standard },
      { serviceTier: 'batch', aboveInputTokens: 0, prices: { input: 750_000_000n, 'per_image:1024x1024:high': 1_500_000_000n } },
    ]);
  });

  it('is refused when two models claim one name', () => {
    const second = SMALL.slice(SMALL.indexOf('  - id: small-1')).replace('id: small-1', 'id: small-latest').replace('[small-latest]', '[]');
    expect(() => readCatalogue('mine.yaml', SMALL + second)).toThrow('the name small-latest belongs to small-1 already');
  });
});

describe('applySeed', () => {
  let http: TestHttp;
  let folder: string;
  let file: string;
  beforeAll(async () => {
    http = await testHttp();
  });
  afterAll(() => http.close());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meridian-seed-'));
    file = join(folder, 'catalogue.yaml');
  });
  afterEach(() => rm(folder, { recursive: true }));

  const head = async () => {
    const rows = await http.db.selectFrom('config_head').select('rev').execute();
    return rows.map((row) => row.rev);
  };

  it('applies what is new, nothing the second time, and a changed price as a new version', async () => {
    await writeFile(file, SMALL);
    expect(await applySeed(http.seedDeps, file)).toEqual({ applied: 7, unchanged: 0 });
    const before = await head();
    expect(await applySeed(http.seedDeps, file)).toEqual({ applied: 0, unchanged: 7 });
    expect(await head()).toEqual(before);
    http.clock.advance(1_000);
    await writeFile(file, SMALL.replace("output: '2'", "output: '3'"));
    // The endpoint's cost follows the list price, since the file gives none.
    expect(await applySeed(http.seedDeps, file)).toEqual({ applied: 2, unchanged: 5 });
    const versions = await http.services.pricing.versionsOf('small-1');
    expect(versions.map((one) => [one.version, one.cards[0]?.prices.output])).toEqual([
      [1, 2_000_000_000n],
      [2, 3_000_000_000n],
    ]);
    const [endpoint] = await http.services.catalog.listEndpoints({ modelId: 'small-1' }, { limit: 10, after: undefined });
    expect(endpoint?.cost_version).toBe(2);
  });

  it('leaves its changes in the trail, under the name and the hash of the file, and no event where nothing changes', async () => {
    const told = SMALL.replaceAll('small-', 'told-').replaceAll('id: one', 'id: told').replaceAll('provider: one', 'provider: told');
    await writeFile(file, told);
    const events = async () => (await http.admin('GET', '/admin/v1/trail?actor=catalogue.yaml')).json().data;
    const before: number = (await events()).length;
    const another = (text: string) => ({
      ...{ request_id: '', actor: { kind: 'file', id: 'catalogue.yaml' }, network: null, route: 'start', account_id: null },
      ...{ subject: { kind: 'catalogue', id: null }, note: { sha256: hash('sha256', text, 'hex') } },
    });
    http.clock.advance(1);
    await applySeed(http.seedDeps, file);
    http.clock.advance(1);
    await applySeed(http.seedDeps, file);
    http.clock.advance(1);
    const dearer = told.replace("output: '2'", "output: '3'");
    await writeFile(file, dearer);
    await applySeed(http.seedDeps, file);
    const [second, first, ...others] = await events();
    expect(others).toHaveLength(before);
    expect(first).toMatchObject(another(told));
    const made = first.changes.map(({ kind, id }: { kind: string; id: string }) => `${kind} ${id}`);
    expect(made).toEqual(expect.arrayContaining(['provider told', 'model told-1', 'list_price told-1/1']));
    expect(second).toMatchObject({ ...another(dearer), change_count: 2 });
    const price = second.changes.find(({ kind }: { kind: string }) => kind === 'list_price');
    expect(price).toMatchObject({ id: 'told-1/2', before: {}, after: { cards: [{ prices: { output: '3000000000' } }] } });
  });

  it("keeps an operator's edit until the file changes that item", async () => {
    const other = SMALL.replaceAll('small-', 'kept-').replaceAll('id: one', 'id: kept').replaceAll('provider: one', 'provider: kept');
    await writeFile(file, other);
    await applySeed(http.seedDeps, file);
    await http.admin('PATCH', '/admin/v1/providers/kept', { origin: 'http://127.0.0.1:9' });
    await http.admin('PATCH', '/admin/v1/models/kept-1', { name: 'Renamed' });
    await writeFile(file, other.replace("input: '1'", "input: '1.5'"));
    await applySeed(http.seedDeps, file);
    expect((await http.services.catalog.provider('kept')).origin).toBe('http://127.0.0.1:9');
    expect((await http.services.catalog.model('kept-1')).display_name).toBe('Renamed');
    await writeFile(file, other.replace('name: Small 1', 'name: From the file'));
    await applySeed(http.seedDeps, file);
    expect((await http.services.catalog.model('kept-1')).display_name).toBe('From the file');
    expect((await http.services.catalog.provider('kept')).origin).toBe('http://127.0.0.1:9');
  });

  it('applies all of a file or nothing', async () => {
    await writeFile(
      file,
      SMALL.replaceAll('small-1', 'half-1')
        .replace('[small-latest]', '[small-1]')
        .replaceAll('id: one', 'id: half')
        .replaceAll('provider: one', 'provider: half'),
    );
    await expect(applySeed(http.seedDeps, file)).rejects.toThrow('belongs to the model small-1');
    expect((await http.services.catalog.listProviders()).map((provider) => provider.id)).not.toContain('half');
  });

  it('applies the file of the repository, once, also when two replicas start together', async () => {
    const results = await Promise.all([applySeed(http.seedDeps, CATALOGUE), applySeed(http.seedDeps, CATALOGUE)]);
    expect(results.map((result) => result.applied > 0).sort()).toEqual([false, true]);
    expect((await http.services.catalog.model('anthropic/claude-opus-4.7')).id).toBe('claude-opus-4-7');
    expect((await http.admin('GET', '/admin/v1/models/fal-ai%2Fflux-pro%2Fv1.1-ultra')).json().vendor).toBe('fal-ai');
  });
});
