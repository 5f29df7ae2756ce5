import { describe, expect, it } from 'vitest';
import { readModelsDev } from './models-dev.ts';

function list(models: Record<string, unknown>, provider = 'anthropic') {
  return { [provider]: { id: provider, name: provider, env: ['KEY'], models } };
}

const MODEL = {
  id: 'model-1',
  name: 'Model One',
  reasoning: true,
  tool_call: true,
  modalities: { input: ['text', 'image', 'pdf'], output: ['text'] },
  cost: { input: 3, output: 15, cache_read: 0.3, cache_write: 3.75 },
  limit: { context: 200_000, output: 64_000 },
};

describe('a list of models.dev', () => {
  it('gives a model with its limits and its prices for a million tokens', () => {
    const [offer] = readModelsDev(list({ 'model-1': MODEL })).offers;
    expect(offer).toEqual({
      listedAs: 'model-1',
      listedProvider: 'anthropic',
      model: {
        ...{ id: 'model-1', vendor: 'anthropic', displayName: 'Model One', mode: 'chat', contextTokens: 200_000, maxOutputTokens: 64_000 },
        ...{ inputModalities: ['text', 'image', 'pdf'], outputModalities: ['text'], capabilities: ['tools', 'reasoning'] },
        ...{ hidesReasoning: true, enabled: true },
      },
      cards: [
        {
          serviceTier: 'standard',
          aboveInputTokens: 0,
          prices: {
            ...{ input: 3_000_000_000n, output: 15_000_000_000n, cached_input: 300_000_000n, cache_write_5m: 3_750_000_000n },
            image_in: 3_000_000_000n,
          },
        },
      ],
      notSold: [],
      notes: ['no price for cache_write_1h: requests that ask for an hour of prompt cache are refused'],
    });
  });

  it('reads what is dearer in a long context', () => {
    const cost = { input: 1.25, output: 10, context_over_200k: { input: 2.5, output: 15 } };
    const [offer] = readModelsDev(list({ m: { ...MODEL, modalities: {}, cost } }, 'google')).offers;
    expect(offer?.cards.map((card) => [card.aboveInputTokens, card.prices])).toEqual([
      [0, { input: 1_250_000_000n, output: 10_000_000_000n }],
      [200_000, { input: 2_500_000_000n, output: 15_000_000_000n }],
    ]);
    expect(offer?.model).toMatchObject({ vendor: 'google', inputModalities: ['text'], outputModalities: ['text'] });
  });

  it.each<[string, unknown, string]>([
    ['without a price', { ...MODEL, cost: undefined }, 'it has no price'],
    ['that is free', { ...MODEL, cost: { input: 0, output: 0 } }, 'all its prices are zero'],
    ['that only draws', { ...MODEL, modalities: { output: ['image'] } }, 'models that only make image have no prices in this list'],
    ['that is no object', 'text', 'it is not an object'],
  ])('refuses a model %s', (_, listed, reason) => {
    expect(readModelsDev(list({ m: listed }))).toEqual({ offers: [], refused: [{ listedAs: 'm', listedProvider: 'anthropic', reason }] });
  });

  it('refuses what is no such list', () => {
    expect(() => readModelsDev([])).toThrow('a JSON object');
    expect(() => readModelsDev({ gpt: { input_cost_per_token: 1 } })).toThrow('the provider gpt has no models');
  });
});
