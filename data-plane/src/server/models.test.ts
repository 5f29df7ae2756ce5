import { hashApiKey } from '@meridian/domain/api-key';
import { describe, expect, it } from 'vitest';
import { authenticate, type Principal } from '../admission/authenticate.ts';
import type { Picture } from '../control/picture.ts';
import { PEPPER, type Sketch, samplePicture } from '../control/testing.ts';
import { listModels, retrieveModel } from './models.ts';

function sample(sketch: Sketch = {}): { picture: Picture; principal: Principal } {
  const { picture, apiKey } = samplePicture(sketch);
  expect(picture.keyByHash(hashApiKey(PEPPER, apiKey))).toBeDefined();
  const settings = { keyPrefix: 'sk-mrd-', pepper: PEPPER, region: 'us', regionUrls: {} };
  return { picture, principal: authenticate(picture, settings, apiKey, 2_000) };
}

const ids = (picture: Picture, principal: Principal, nowMs = 2_000): string[] =>
  listModels(picture, principal, 'us', nowMs).data.map((model) => model.id);

describe('the list of models', () => {
  it('has what a live endpoint serves, in order, at the customer’s price', () => {
    const { picture, principal } = sample();
    const list = listModels(picture, principal, 'us', 2_000);
    // m-2 has a price and no endpoint.
    expect(list.data.map((model) => model.id)).toEqual(['embed-1', 'm-1.5']);
    expect(list.data[1]).toMatchObject({
      object: 'model',
      created: 0,
      owned_by: 'acme',
      supported_endpoints: ['/v1/chat/completions'],
      aliases: ['acme/m-1.5', 'm-latest'],
    });
    expect(JSON.stringify(list.data[1]?.pricing)).toContain('1.4');
    expect(list.data[0]).toMatchObject({ supported_endpoints: ['/v1/embeddings'] });
  });

  it('leaves out what this key, this region or this hour does not have', () => {
    const allowed = sample({ key: { allowedModels: ['embed-1'] } });
    expect(ids(allowed.picture, allowed.principal)).toEqual(['embed-1']);
    const ofPlan = sample({ plan: { allowedModels: ['embed-1'] } });
    expect(ids(ofPlan.picture, ofPlan.principal)).toEqual(['embed-1']);
    const elsewhere = sample({ endpoint: { regions: ['eu'] } });
    expect(ids(elsewhere.picture, elsewhere.principal)).toEqual([]);
    const off = sample({ endpoint: { enabled: false } });
    expect(ids(off.picture, off.principal)).toEqual([]);
    const early = sample();
    expect(ids(early.picture, early.principal, -1)).toEqual([]);
  });
});

describe('one model', () => {
  it('is found by any of its names', () => {
    const { picture, principal } = sample();
    for (const name of ['m-1.5', 'm-1-5', 'acme/m-1.5', 'm-latest']) {
      expect(retrieveModel(picture, name, principal, 'us', 2_000).id).toBe('m-1.5');
    }
  });

  it('that cannot be called is 404 with near names among those that can', () => {
    const { picture, principal } = sample();
    for (const name of ['m-2', 'm-1.6', '']) {
      expect(() => retrieveModel(picture, name, principal, 'us', 2_000)).toThrow(
        expect.objectContaining({ code: 'model_not_found', status: 404 }),
      );
    }
    const refusal = (): unknown => retrieveModel(picture, 'm-1.6', principal, 'us', 2_000);
    expect(refusal).toThrow(expect.objectContaining({ details: { near_names: expect.arrayContaining(['m-1.5']) } }));
  });
});
