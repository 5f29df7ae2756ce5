import { hashApiKey } from '@meridian/domain/api-key';
import { describe, expect, it } from 'vitest';
import { authenticate, type Principal } from '../admission/authenticate.ts';
import type { Picture } from '../control/picture.ts';
import { PEPPER, type Sketch, samplePicture } from '../control/testing.ts';
import type { ListedModel } from '../dialect/listed-model.ts';
import { callableModel, callableModels } from './callable-models.ts';

interface Sample {
  readonly picture: Picture;
  readonly principal: Principal;
}

function sample(sketch: Sketch = {}): Sample {
  const { picture, apiKey } = samplePicture(sketch);
  expect(picture.keyByHash(hashApiKey(PEPPER, apiKey))).toBeDefined();
  const settings = { keyPrefix: 'sk-mrd-', pepper: PEPPER, region: 'us', regionUrls: {} };
  return { picture, principal: authenticate(picture, settings, apiKey, 2_000) };
}

const listed = ({ picture, principal }: Sample, nowMs = 2_000): ListedModel[] => callableModels(picture, principal, 'us', nowMs);
const ids = (of: Sample, nowMs = 2_000): string[] => listed(of, nowMs).map((model) => model.id);
const one = ({ picture, principal }: Sample, name: string): ListedModel => callableModel(picture, name, principal, 'us', 2_000);

describe('the models of a key', () => {
  it('are what a live endpoint serves, in order, at the customer’s price', () => {
    const models = listed(sample());
    // m-2 has a price and no endpoint.
    expect(models.map((model) => model.id)).toEqual(['embed-1', 'm-1.5']);
    expect(models[1]).toMatchObject({ createdMs: 0, operations: ['chat'], aliases: ['acme/m-1.5', 'm-latest'] });
    expect(models[1]?.prices[0]?.usd_per_million).toEqual({ input: '1.40', output: '5.60' });
    expect(models[1]?.endpoints).toEqual([
      '/v1/chat/completions',
      '/v1/messages',
      '/v1/responses',
      '/v1/messages/count_tokens',
      '/genai/v1beta/models/{model}:generateContent',
      '/genai/v1beta/models/{model}:streamGenerateContent',
      '/genai/v1beta/models/{model}:countTokens',
    ]);
    expect(models[0]).toMatchObject({ operations: ['embeddings'] });
    expect(models[0]?.endpoints).toEqual([
      '/v1/embeddings',
      '/genai/v1beta/models/{model}:embedContent',
      '/genai/v1beta/models/{model}:batchEmbedContents',
    ]);
  });

  it('are not what this key, this region or this hour does not have', () => {
    expect(ids(sample({ key: { allowedModels: ['embed-1'] } }))).toEqual(['embed-1']);
    expect(ids(sample({ plan: { allowedModels: ['embed-1'] } }))).toEqual(['embed-1']);
    expect(ids(sample({ endpoint: { regions: ['eu'] } }))).toEqual([]);
    expect(ids(sample({ endpoint: { enabled: false } }))).toEqual([]);
    expect(ids(sample(), -1)).toEqual([]);
  });

  it('have the names by which this key reaches them, and no others', () => {
    const mapped = sample({
      aliases: [
        { name: 'm-2', modelId: 'm-1.5', accountId: 'acc_1' },
        { name: 'nick', modelId: 'm-1.5', planId: 'starter' },
        { name: 'm-latest', modelId: 'm-2', accountId: 'acc_1' },
        { name: 'theirs', modelId: 'm-1.5', accountId: 'acc_2' },
        { name: 'm-1.5', modelId: 'embed-1', accountId: 'acc_2' },
      ],
    });
    expect(one(mapped, 'm-1.5')).toMatchObject({ id: 'm-1.5', aliases: ['acme/m-1.5', 'm-2', 'nick'] });
  });

  it('go by their longer name where the account has the short one for another model, and by none where it has all', () => {
    const hidden = { name: 'm-1.5', modelId: 'm-2', accountId: 'acc_1' };
    expect(listed(sample({ aliases: [hidden] }))[0]).toMatchObject({ id: 'acme/m-1.5', aliases: ['m-latest'] });
    const gone = ['acme/m-1.5', 'm-latest'].map((name) => ({ ...hidden, name }));
    expect(ids(sample({ aliases: [hidden, ...gone] }))).toEqual(['embed-1']);
  });
});

describe('one model', () => {
  it('is found by any of its names', () => {
    for (const name of ['m-1.5', 'm-1-5', 'acme/m-1.5', 'models/m-1.5', 'm-latest']) expect(one(sample(), name).id).toBe('m-1.5');
    const mapped = sample({ aliases: [{ name: 'm-2', modelId: 'm-1.5', planId: 'starter' }] });
    expect(one(mapped, 'm-2').model.id).toBe('m-1.5');
  });

  it('that cannot be called is 404 with near names among those that can', () => {
    const all = sample();
    for (const name of ['m-2', 'm-1.6', '']) {
      expect(() => one(all, name)).toThrow(expect.objectContaining({ code: 'model_not_found', status: 404 }));
    }
    expect(() => one(all, 'm-1.6')).toThrow(expect.objectContaining({ details: { near_names: expect.arrayContaining(['m-1.5']) } }));
  });
});
