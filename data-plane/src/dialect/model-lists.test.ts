import type { Model } from '@meridian/domain/model';
import { describe, expect, it } from 'vitest';
import { anthropicModelList } from './anthropic-messages/model-list.ts';
import { geminiModelList } from './gemini/model-list.ts';
import type { ListedModel } from './listed-model.ts';
import { modelListOf } from './model-lists.ts';
import { openaiModelList } from './openai-chat/model-list.ts';

function callable(id: string, change: Partial<Model> = {}, operation: 'chat' | 'embeddings' = 'chat'): ListedModel {
  return {
    id,
    model: {
      id,
      vendor: 'acme',
      displayName: `Model ${id}`,
      mode: operation === 'chat' ? 'chat' : 'embedding',
      contextTokens: 200_000,
      maxOutputTokens: 64_000,
      inputModalities: ['text', 'image'],
      outputModalities: ['text'],
      capabilities: ['tools', 'reasoning'],
      hidesReasoning: false,
      enabled: true,
      ...change,
    },
    createdMs: 1_700_000_000_999,
    operations: [operation],
    endpoints: [`/v1/${operation}`],
    aliases: [`acme/${id}`, 'nick'],
    prices: [{ service_tier: 'standard', above_input_tokens: 0, usd_per_million: { input: '1.40' } }],
  };
}

const unknown = { contextTokens: undefined, maxOutputTokens: undefined, capabilities: [] };
const invalid = (param: string) => expect.objectContaining({ code: 'invalid_request_error', status: 400, param });

describe('OpenAI’s shape', () => {
  it('has what our customers ask about beside its own fields', () => {
    expect(openaiModelList.one(callable('m-1'))).toEqual({
      id: 'm-1',
      object: 'model',
      created: 1_700_000_000,
      owned_by: 'acme',
      name: 'Model m-1',
      context_length: 200_000,
      max_output_tokens: 64_000,
      input_modalities: ['text', 'image'],
      output_modalities: ['text'],
      capabilities: ['tools', 'reasoning'],
      supported_endpoints: ['/v1/chat'],
      aliases: ['acme/m-1', 'nick'],
      pricing: [{ service_tier: 'standard', above_input_tokens: 0, usd_per_million: { input: '1.40' } }],
    });
    expect(openaiModelList.one(callable('m-1', unknown))).toMatchObject({ context_length: null, max_output_tokens: null });
  });

  it('is a list without pages', () => {
    const models = Array.from({ length: 150 }, (_, index) => callable(`m-${index}`));
    const list = openaiModelList.list(models);
    expect(list.object).toBe('list');
    expect(list.data).toHaveLength(150);
  });
});

describe('Anthropic’s shape', () => {
  it('is its model object', () => {
    expect(anthropicModelList.one(callable('m-1'))).toEqual({
      type: 'model',
      id: 'm-1',
      display_name: 'Model m-1',
      created_at: '2023-11-14T22:13:20.999Z',
      max_input_tokens: 200_000,
      max_tokens: 64_000,
      capabilities: null,
    });
    expect(anthropicModelList.one(callable('m-1', unknown))).toMatchObject({ max_input_tokens: null, max_tokens: null });
  });

  const models = [callable('e-1', {}, 'embeddings'), ...['m-1', 'm-2', 'm-3', 'm-4', 'm-5'].map((id) => callable(id))];
  const page = (query: Record<string, unknown>): [string[], boolean, string | null, string | null] => {
    const { data, has_more, first_id, last_id } = anthropicModelList.list(models, query);
    return [data.map((model) => model.id), has_more, first_id, last_id];
  };

  it('is paged in both directions, and has only what answers messages', () => {
    expect(page({})).toEqual([['m-1', 'm-2', 'm-3', 'm-4', 'm-5'], false, 'm-1', 'm-5']);
    expect(page({ limit: '2' })).toEqual([['m-1', 'm-2'], true, 'm-1', 'm-2']);
    expect(page({ limit: '2', after_id: 'm-2' })).toEqual([['m-3', 'm-4'], true, 'm-3', 'm-4']);
    expect(page({ limit: '2', after_id: 'm-4' })).toEqual([['m-5'], false, 'm-5', 'm-5']);
    expect(page({ limit: '2', before_id: 'm-5' })).toEqual([['m-3', 'm-4'], true, 'm-3', 'm-4']);
    expect(page({ limit: '2', before_id: 'm-3' })).toEqual([['m-1', 'm-2'], false, 'm-1', 'm-2']);
    // Where the page ended is known also when that model is gone.
    expect(page({ after_id: 'm-31' })).toEqual([['m-4', 'm-5'], false, 'm-4', 'm-5']);
    expect(page({ after_id: 'z' })).toEqual([[], false, null, null]);
  });

  it('has pages of 20 unless asked, and refuses what is no page', () => {
    const many = Array.from({ length: 30 }, (_, index) => callable(`m-${100 + index}`));
    expect(anthropicModelList.list(many, {}).data).toHaveLength(20);
    for (const limit of ['0', '1001', '-1', '1.5', 'x', ['1', '2']]) expect(() => page({ limit })).toThrow(invalid('limit'));
    expect(() => page({ after_id: 'm-1', before_id: 'm-3' })).toThrow(invalid('before_id'));
  });
});

describe('Gemini’s shape', () => {
  it('is its model object', () => {
    expect(geminiModelList.one(callable('m-1'))).toEqual({
      name: 'models/m-1',
      displayName: 'Model m-1',
      inputTokenLimit: 200_000,
      outputTokenLimit: 64_000,
      supportedGenerationMethods: ['generateContent', 'streamGenerateContent', 'countTokens'],
      thinking: true,
    });
    expect(geminiModelList.one(callable('acme/e-1', unknown, 'embeddings'))).toEqual({
      name: 'models/acme/e-1',
      displayName: 'Model acme/e-1',
      supportedGenerationMethods: ['embedContent', 'batchEmbedContents'],
      thinking: false,
    });
  });

  it('is paged to its end, every model once', () => {
    const models = Array.from({ length: 123 }, (_, index) => callable(`m-${1000 + index}`));
    const seen: string[] = [];
    const sizes: number[] = [];
    let pageToken: string | undefined;
    do {
      const page = geminiModelList.list(models, pageToken === undefined ? {} : { pageToken });
      seen.push(...page.models.map((model) => model.name));
      sizes.push(page.models.length);
      pageToken = page.nextPageToken;
    } while (pageToken !== undefined && sizes.length < 10);
    expect(seen).toEqual(models.map(({ id }) => `models/${id}`));
    expect(sizes).toEqual([50, 50, 23]);
    expect(geminiModelList.list(models, { pageSize: '123' })).not.toHaveProperty('nextPageToken');
  });

  it('caps a page and refuses a token that it has not given', () => {
    const models = Array.from({ length: 1_001 }, (_, index) => callable(`m-${10_000 + index}`));
    expect(geminiModelList.list(models, { pageSize: '5000' }).models).toHaveLength(1_000);
    expect(geminiModelList.list(models, { pageSize: '0', pageToken: '' }).models).toHaveLength(50);
    expect(() => geminiModelList.list(models, { pageSize: '-1' })).toThrow(invalid('pageSize'));
    for (const pageToken of ['no token', '%', ['bS0x', 'bS0x']])
      expect(() => geminiModelList.list(models, { pageToken })).toThrow(invalid('pageToken'));
  });
});

it('is that of the dialect in which a client asks', () => {
  const models = [callable('m-1')];
  expect(modelListOf('openai-chat').list(models, {})).toHaveProperty('object', 'list');
  expect(modelListOf('anthropic-messages').list(models, {})).toHaveProperty('first_id', 'm-1');
  expect(modelListOf('gemini').list(models, {})).toHaveProperty('models');
});
