import { describe, expect, it } from 'vitest';
import { readLitellm } from './litellm.ts';

const CHAT = { litellm_provider: 'openai', mode: 'chat', input_cost_per_token: 1.25e-6, output_cost_per_token: 0.00001 };

function offer(listed: Record<string, unknown>, name = 'model-1') {
  const { offers, refused } = readLitellm({ [name]: listed });
  expect(refused).toEqual([]);
  const [only] = offers;
  if (only === undefined || offers.length > 1) throw new Error(`${offers.length} offers`);
  return only;
}

describe('a list of LiteLLM', () => {
  it('gives a model with its limits, what it takes and can do, and its prices to the nano-dollar', () => {
    expect(
      offer({
        ...CHAT,
        max_input_tokens: 400_000,
        max_output_tokens: '128000',
        cache_read_input_token_cost: 1.25e-7,
        supports_function_calling: true,
        supports_vision: true,
        supports_reasoning: true,
        rpm: 2_000,
        source: 'somewhere',
      }),
    ).toEqual({
      listedAs: 'model-1',
      listedProvider: 'openai',
      model: {
        ...{ id: 'model-1', vendor: 'openai', displayName: 'model-1', mode: 'chat', contextTokens: 400_000, maxOutputTokens: 128_000 },
        ...{ inputModalities: ['text', 'image'], outputModalities: ['text'], capabilities: ['tools', 'reasoning'] },
        ...{ hidesReasoning: true, enabled: true },
      },
      cards: [
        {
          serviceTier: 'standard',
          aboveInputTokens: 0,
          // What an image token costs is not listed: what any input token does.
          prices: { input: 1_250_000_000n, output: 10_000_000_000n, cached_input: 125_000_000n, image_in: 1_250_000_000n },
        },
      ],
      notSold: [],
      notes: [],
    });
  });

  it('reads long-context steps and service tiers, alone and together, and fills what a tier leaves out', () => {
    const { cards, notes } = offer({
      ...CHAT,
      cache_creation_input_token_cost: 2e-6,
      cache_creation_input_token_cost_above_1hr: 3e-6,
      input_cost_per_token_above_200k_tokens: 2.5e-6,
      cache_creation_input_token_cost_above_1hr_above_200k_tokens: 6e-6,
      input_cost_per_token_priority: 4e-6,
      input_cost_per_token_above_200k_tokens_priority: 5e-6,
      output_cost_per_token_batches: 5e-6,
    });
    expect(cards).toEqual([
      {
        serviceTier: 'standard',
        aboveInputTokens: 0,
        prices: { input: 1_250_000_000n, output: 10_000_000_000n, cache_write_5m: 2_000_000_000n, cache_write_1h: 3_000_000_000n },
      },
      {
        serviceTier: 'standard',
        aboveInputTokens: 200_000,
        prices: { input: 2_500_000_000n, cache_write_5m: 4_000_000_000n, cache_write_1h: 6_000_000_000n },
      },
      {
        serviceTier: 'priority',
        aboveInputTokens: 0,
        prices: { input: 4_000_000_000n, output: 15_000_000_000n, cache_write_5m: 6_400_000_000n, cache_write_1h: 9_600_000_000n },
      },
      {
        serviceTier: 'priority',
        aboveInputTokens: 200_000,
        prices: { input: 5_000_000_000n, cache_write_5m: 12_800_000_000n, cache_write_1h: 19_200_000_000n },
      },
      {
        serviceTier: 'batch',
        aboveInputTokens: 0,
        prices: { input: 625_000_000n, output: 5_000_000_000n, cache_write_5m: 1_000_000_000n, cache_write_1h: 1_500_000_000n },
      },
      {
        serviceTier: 'batch',
        aboveInputTokens: 200_000,
        prices: { input: 1_250_000_000n, cache_write_5m: 2_000_000_000n, cache_write_1h: 3_000_000_000n },
      },
    ]);
    expect(notes).toEqual([
      'not listed, taken from the other prices: standard above 200000 (cache_write_5m); priority (cache_write_5m, cache_write_1h, output); ' +
        'priority above 200000 (cache_write_5m, cache_write_1h); batch (input, cache_write_5m, cache_write_1h); ' +
        'batch above 200000 (input, cache_write_5m, cache_write_1h)',
    ]);
  });

  it('says where an hour of cache has no price, and takes a write that costs nothing for input', () => {
    const refused = ['no price for cache_write_1h: requests that ask for an hour of prompt cache are refused'];
    const { cards, notes } = offer({ ...CHAT, cache_creation_input_token_cost: 2e-6 });
    expect([cards[0]?.prices.cache_write_5m, cards[0]?.prices.cache_write_1h, notes]).toEqual([2_000_000_000n, undefined, refused]);
    const free = offer({ ...CHAT, cache_creation_input_token_cost: 0 });
    expect([free.cards[0]?.prices, free.notes]).toEqual([{ input: 1_250_000_000n, output: 10_000_000_000n }, []]);
  });

  it('reads prices that are listed as steps', () => {
    const steps = [
      { range: [0, 256_000], input_cost_per_token: 5e-8, output_cost_per_token: 4e-7 },
      { range: [256_000, 1_000_000], input_cost_per_token: 2.5e-7, output_cost_per_token: 2e-6 },
    ];
    const { cards, model } = offer({ litellm_provider: 'dashscope', mode: 'chat', tiered_pricing: steps }, 'dashscope/qwen-x');
    expect(model).toMatchObject({ id: 'qwen-x', vendor: 'qwen' });
    expect(cards.map((card) => [card.aboveInputTokens, card.prices])).toEqual([
      [0, { input: 50_000_000n, output: 400_000_000n }],
      [256_000, { input: 250_000_000n, output: 2_000_000_000n }],
    ]);
  });

  it('puts sizes and qualities of images together as variants of one model', () => {
    const image = { litellm_provider: 'openai', mode: 'image_generation' };
    const { offers } = readLitellm({
      'image-1': { ...image, output_cost_per_image: 0.05 },
      'hd/1024-x-1792/image-1': { ...image, output_cost_per_image: 0.12 },
      'openai/512-x-512/50-steps/image-1': { ...image, input_cost_per_image: 0.02 },
    });
    expect(offers.map(({ model, cards }) => [model.id, cards[0]?.prices])).toEqual([
      [
        'image-1',
        {
          per_image: 50_000_000_000_000n,
          'per_image:1024x1792:hd': 120_000_000_000_000n,
          'per_image:512x512:50-steps': 20_000_000_000_000n,
        },
      ],
    ]);
  });

  it('takes the dearest of the sizes of a web search', () => {
    const sizes = { search_context_size_low: 0.03, search_context_size_medium: 0.035, search_context_size_high: 0.05 };
    expect(offer({ ...CHAT, search_context_cost_per_query: sizes }).cards[0]?.prices['per_tool_call:web_search']).toBe(50_000_000_000_000n);
  });

  it('names what it has prices for that nothing here is sold by, and takes the rest', () => {
    expect(offer({ ...CHAT, input_cost_per_character: 1e-6, file_search_cost_per_gb_per_day: 0.1 }).notSold).toEqual([
      'file_search_cost_per_gb_per_day',
      'input_cost_per_character',
    ]);
  });

  it('names the models of who only serves them after that seller', () => {
    expect(offer({ ...CHAT, litellm_provider: 'together_ai' }, 'together_ai/meta/llama').model).toMatchObject({
      id: 'together-ai/meta/llama',
      vendor: 'together-ai',
    });
    expect(offer({ ...CHAT, litellm_provider: 'together_ai' }, 'meta/llama').model.id).toBe('together-ai/meta/llama');
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['without a price', { litellm_provider: 'openai', mode: 'chat' }, 'it has no price'],
    ['that is free', { ...CHAT, input_cost_per_token: 0, output_cost_per_token: 0 }, 'all its prices are zero'],
    ['for what is not offered', { ...CHAT, mode: 'rerank' }, 'models for rerank are not offered'],
    ['without a mode', { ...CHAT, mode: undefined }, 'it names no mode'],
    ['without a provider', { ...CHAT, litellm_provider: '' }, 'it names no provider'],
    [
      'priced by what is not counted',
      { litellm_provider: 'x', mode: 'chat', input_cost_per_pixel: 1e-8 },
      'it is priced only by input_cost_per_pixel',
    ],
    [
      'with a price below nothing',
      { litellm_provider: 'x', mode: 'chat', input_cost_per_token: -1 },
      'it is priced only by input_cost_per_token',
    ],
  ])('refuses a model %s', (_, listed, reason) => {
    expect(readLitellm({ m: listed, sample_spec: CHAT, last_updated: '2026-07-24' })).toEqual({
      offers: [],
      refused: [{ listedAs: 'm', listedProvider: listed.litellm_provider, reason }],
    });
  });

  it('refuses what is no such list', () => {
    expect(() => readLitellm([])).toThrow('a JSON object with a key for each model');
  });
});
