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

/** Plans on one picture. */
function planner(sketch: Sketch = {}): (facts: Partial<RequestFacts>) => Plan | GatewayError {
  const { picture, apiKey } = samplePicture(sketch);
  const key = picture.keyByHash(hashApiKey(PEPPER, apiKey));
  if (key === undefined) throw new Error('the picture does not know its key');
  return (facts) => {
    try {
      const customerPlan = picture.plan('starter');
      if (customerPlan === undefined) throw new Error('the picture does not know its plan');
      return plan(picture, { ...CHAT, ...facts }, { key, plan: customerPlan }, 'us', 2_000);
    } catch (thrown) {
      if (thrown instanceof GatewayError) return thrown;
      throw thrown;
    }
  };
}

function planned(facts: Partial<RequestFacts>, sketch?: Sketch): Plan | GatewayError {
  return planner(sketch)(facts);
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

  it('follows the names that an account and its plan have been given, with their settings', () => {
    const settings = { reasoningEffort: 'high' } as const;
    const ofAccount = { name: 'm-2', modelId: 'm-1.5', accountId: 'acc_1', settings };
    expect(planned({ model: 'm-2' }, { aliases: [ofAccount] })).toMatchObject({ model: { id: 'm-1.5' }, viaAlias: true, settings });
    const ofPlan = { name: 'm-2', modelId: 'm-1.5', planId: 'starter' };
    expect(planned({ model: 'm-2' }, { aliases: [ofPlan] })).toMatchObject({ model: { id: 'm-1.5' }, viaAlias: true });
    // What may be used is asked of the model that is reached.
    expect(planned({ model: 'm-2' }, { aliases: [ofPlan], key: { allowedModels: ['m-2'] } })).toMatchObject({ code: 'model_not_allowed' });
    const ofOthers = [
      { name: 'nick', modelId: 'm-1.5', accountId: 'acc_2' },
      { name: 'nick', modelId: 'm-1.5', planId: 'pro' },
    ];
    expect(planned({ model: 'nick' }, { aliases: ofOthers })).toMatchObject({ code: 'model_not_found' });
    const plain = planned({});
    expect(plain).toMatchObject({ viaAlias: false });
    expect(plain).toHaveProperty('settings', undefined);
  });

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

  it.each([
    ['audio_in', 'messages[0].content[1]', 'audio input (audio_in)'],
    ['audio_out', 'modalities', 'audio output (audio_out)'],
    ['image_out', 'modalities', 'image output (image_out)'],
    ['per_tool_call:web_search', 'web_search_options', "calls of the provider's own tools (per_tool_call:web_search)"],
  ] as const)('refuses %s where the model has no price for it, before anything is sent', (meter, param, words) => {
    const beyondText = [
      { meter: 'image_in' as const, param: 'x', atMost: undefined },
      { meter, param, atMost: undefined },
    ];
    const refusal = planned({ beyondText });
    expect(refusal).toMatchObject({ code: 'invalid_request_error', status: 400, param });
    expect(String(refusal)).toContain(`'m-1.5' has no price for ${words}`);
  });

  it('refuses an hour of prompt cache where only five minutes have a price, and serves it where neither or both have', () => {
    const beyondText = [{ meter: 'cache_write_1h' as const, param: 'system[0].cache_control.ttl', atMost: undefined }];
    const five: Sketch = { prices: { input: 4n, cache_write_5m: 5n, output: 1n } };
    const refusal = planned({ beyondText }, five);
    expect(refusal).toMatchObject({ status: 400, param: 'system[0].cache_control.ttl' });
    expect(String(refusal)).toContain('has no price for an hour of prompt cache (cache_write_1h)');
    expect(planned({ beyondText })).toMatchObject({ model: { id: 'm-1.5' } });
    expect(planned({ beyondText }, { prices: { input: 4n, cache_write_5m: 5n, cache_write_1h: 8n, output: 1n } })).toMatchObject({
      model: { id: 'm-1.5' },
    });
  });

  it('serves what has a price, a picture at that of the input', () => {
    const beyondText = [{ meter: 'image_in' as const, param: 'x', atMost: undefined }];
    expect(planned({ beyondText })).toMatchObject({ model: { id: 'm-1.5' } });
    const priced: Sketch = { prices: { input: 1n, output: 1n, audio_in: 1n, per_tool_call: 1n } };
    const shown = (['audio_in', 'per_tool_call:web_search'] as const).map((meter) => ({ meter, param: 'x', atMost: 1 }));
    expect(planned({ beyondText: shown }, priced)).toMatchObject({ model: { id: 'm-1.5' } });
  });

  it('refuses a tier of its own that lacks the price, and a model without a price for text', () => {
    const beyondText = [{ meter: 'audio_in' as const, param: 'x', atMost: undefined }];
    const priority: Sketch = { prices: { input: 1n, output: 1n, audio_in: 1n }, priorityPrices: { input: 2n, output: 2n } };
    expect(planned({ beyondText }, priority)).toMatchObject({ model: { id: 'm-1.5' } });
    expect(planned({ beyondText, serviceTier: 'priority' }, priority)).toMatchObject({ status: 400, param: 'x' });
    expect(planned({}, { prices: { input: 1n } })).toMatchObject({
      status: 400,
      param: 'model',
      message: expect.stringContaining('output'),
    });
    expect(planned({ model: 'embed-1', operation: 'embeddings' }, { prices: { input: 0n } })).toMatchObject({ model: { id: 'embed-1' } });
    expect(planned({ model: 'embed-1', operation: 'embeddings' }, { prices: { output: 1n } })).toMatchObject({
      status: 400,
      param: 'model',
    });
  });

  it('looks at the prices of each tier, whichever was asked for before', () => {
    const plans = planner({ prices: { input: 1n, output: 1n }, priorityPrices: { input: 2n } });
    for (let round = 0; round < 2; round++) {
      expect(plans({})).toMatchObject({ model: { id: 'm-1.5' } });
      expect(plans({ serviceTier: 'priority' })).toMatchObject({ status: 400, message: expect.stringContaining('output') });
    }
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
