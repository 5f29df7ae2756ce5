import { hashApiKey } from '@meridian/domain/api-key';
import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { PEPPER, type Sketch, samplePicture } from '../control/testing.ts';
import type { RequestFacts } from '../dialect/dialect.ts';
import { type Plan, plan } from './plan.ts';

const CHAT: RequestFacts = {
  operation: 'chat',
  model: 'm-1.5',
  stream: false,
  wantsStreamUsage: false,
  maxOutputTokens: undefined,
  choices: 1,
  serviceTier: 'standard',
  inputTokensBound: 10,
  readsBeyondBody: false,
  unbounded: undefined,
  takesOutputLimit: true,
  images: 0,
  needs: [],
};

function planned(facts: Partial<RequestFacts>, sketch: Sketch = {}): Plan | GatewayError {
  const { picture, apiKey } = samplePicture(sketch);
  const key = picture.keyByHash(hashApiKey(PEPPER, apiKey));
  if (key === undefined) throw new Error('the picture does not know its key');
  try {
    const customerPlan = picture.plan('starter');
    if (customerPlan === undefined) throw new Error('the picture does not know its plan');
    return plan(picture, { ...CHAT, ...facts }, { key, plan: customerPlan }, 'us', 2_000);
  } catch (thrown) {
    if (thrown instanceof GatewayError) return thrown;
    throw thrown;
  }
}

describe('planning', () => {
  it.each(['m-1.5', 'm-1-5', 'acme/m-1.5', 'ACME/m-1-5', 'm-latest', 'acme%2Fm-1.5'])(
    'finds the model by the name %s, with the price in force',
    (model) => {
      expect(planned({ model })).toMatchObject({
        model: { id: 'm-1.5' },
        listPrice: { version: 2 },
        candidates: [{ endpoint: { id: 'end_1', upstreamModel: 'up-m-1.5' }, secret: 'secret' }],
      });
    },
  );

  it('names the nearest models for one that does not exist', () => {
    expect(planned({ model: 'm-1.6' })).toMatchObject({
      code: 'model_not_found',
      status: 404,
      details: { near_names: expect.arrayContaining(['m-1.5']) },
    });
  });

  it('keeps a key to its models', () => {
    expect(planned({}, { key: { allowedModels: ['m-2'] } })).toMatchObject({ code: 'model_not_allowed', status: 403 });
  });

  it('keeps an account to the models of its plan, whatever its keys allow', () => {
    const plan = { allowedModels: ['m-2'] };
    expect(planned({}, { plan })).toMatchObject({ code: 'model_not_allowed', status: 403, message: expect.stringContaining('plan') });
    expect(planned({}, { plan, key: { allowedModels: ['m-1.5'] } })).toMatchObject({ code: 'model_not_allowed' });
    expect(planned({}, { plan: { allowedModels: ['m-1.5'] } })).toMatchObject({ model: { id: 'm-1.5' } });
    expect(planned({ model: 'm-1.6' }, { plan })).toMatchObject({ details: { near_names: ['m-2'] } });
  });

  it('refuses an operation that the model is not for', () => {
    expect(planned({ operation: 'embeddings' })).toMatchObject({ code: 'model_not_found', param: 'model' });
    expect(planned({ model: 'embed-1' })).toMatchObject({ code: 'model_not_found' });
  });

  it.each<[string, Partial<RequestFacts>, Sketch]>([
    ['without an endpoint', { model: 'm-2' }, {}],
    ['whose endpoint is disabled', {}, { endpoint: { enabled: false } }],
    ['whose endpoint is for another region', {}, { endpoint: { regions: ['eu'] } }],
    ['whose credential is missing', {}, { endpoint: { credentialId: 'crd_none' } }],
  ])('says 503 for a model %s', (_, facts, sketch) => {
    const error = planned(facts, sketch);
    expect(error).toMatchObject({ code: 'overloaded', status: 503 });
    expect((error as GatewayError).message).not.toContain('crd_');
  });
});
