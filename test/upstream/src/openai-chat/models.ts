// The models the simulated providers list, and the names they answer with.

import { ApiError } from '../api-error.ts';
import type { JsonObject } from '../json-value.ts';
import type { ProviderName } from '../provider.ts';

const OPENAI_MODELS = [
  'gpt-4o',
  'gpt-4o-2024-08-06',
  'gpt-4o-mini',
  'gpt-4o-mini-2024-07-18',
  'gpt-4.1',
  'gpt-4.1-mini',
  'gpt-4.1-nano',
  'gpt-5',
  'gpt-5-mini',
  'gpt-5-nano',
  'gpt-5.4',
  'gpt-5.4-mini',
  'gpt-5.4-nano',
  'o3',
  'o4-mini',
  'text-embedding-3-small',
  'text-embedding-3-large',
  'text-embedding-ada-002',
];

const OPENROUTER_MODELS: Array<[string, string]> = [
  ['openai/gpt-4o', 'OpenAI: GPT-4o'],
  ['openai/gpt-4o-mini', 'OpenAI: GPT-4o-mini'],
  ['openai/gpt-5.4-mini', 'OpenAI: GPT-5.4 Mini'],
  ['anthropic/claude-haiku-4.5', 'Anthropic: Claude Haiku 4.5'],
  ['anthropic/claude-sonnet-4.5', 'Anthropic: Claude Sonnet 4.5'],
  ['google/gemini-2.5-flash', 'Google: Gemini 2.5 Flash'],
  ['deepseek/deepseek-chat', 'DeepSeek: DeepSeek Chat'],
  ['meta-llama/llama-3.3-70b-instruct', 'Meta: Llama 3.3 70B Instruct'],
  ['openai/text-embedding-3-small', 'OpenAI: Text Embedding 3 Small'],
];

// OpenAI answers a short name with the dated one behind it, as its recordings show.
const DATED: Record<string, string> = {
  'gpt-4o': 'gpt-4o-2024-08-06',
  'gpt-4o-mini': 'gpt-4o-mini-2024-07-18',
  'gpt-4.1': 'gpt-4.1-2025-04-14',
  'gpt-4.1-mini': 'gpt-4.1-mini-2025-04-14',
  'gpt-4.1-nano': 'gpt-4.1-nano-2025-04-14',
  'gpt-5': 'gpt-5-2025-08-07',
  'gpt-5-mini': 'gpt-5-mini-2025-08-07',
  'gpt-5-nano': 'gpt-5-nano-2025-08-07',
};

const LISTED_SINCE = 1715367049;

/** The model name in an answer. */
export function servedModel(provider: ProviderName, asked: string): string {
  return provider === 'openai' ? (DATED[asked] ?? asked) : asked;
}

/** Refuses `unknown-…`, and on OpenRouter names without a vendor; every other name is served. */
export function checkModel(provider: ProviderName, model: string): void {
  const unknown = (model.split('/').at(-1) ?? '').startsWith('unknown-');
  if (provider === 'openrouter') {
    if (unknown || !model.includes('/')) throw new ApiError(400, `${model} is not a valid model ID`);
    return;
  }
  if (unknown) {
    throw new ApiError(404, `The model \`${model}\` does not exist or you do not have access to it.`, { code: 'model_not_found' });
  }
}

function openAiModel(id: string): JsonObject {
  return { id, object: 'model', created: LISTED_SINCE, owned_by: 'system' };
}

function openRouterModel([id, name]: [string, string]): JsonObject {
  const embedding = id.includes('embedding');
  return {
    id,
    canonical_slug: id,
    name,
    created: LISTED_SINCE,
    description: `${name}, simulated.`,
    context_length: embedding ? 8192 : 200000,
    architecture: {
      modality: embedding ? 'text->embeddings' : 'text+image->text',
      input_modalities: embedding ? ['text'] : ['text', 'image'],
      output_modalities: embedding ? ['embeddings'] : ['text'],
      tokenizer: 'Other',
      instruct_type: null,
    },
    pricing: { prompt: '0.00000025', completion: '0.000002', request: '0', image: '0' },
    top_provider: { context_length: 200000, max_completion_tokens: 64000, is_moderated: false },
    per_request_limits: null,
    supported_parameters: ['max_tokens', 'reasoning', 'response_format', 'seed', 'stop', 'temperature', 'tool_choice', 'tools', 'top_p'],
  };
}

/** The body of the models list. */
export function modelList(provider: ProviderName): JsonObject {
  if (provider === 'openai') return { object: 'list', data: OPENAI_MODELS.map(openAiModel) };
  return { data: OPENROUTER_MODELS.map(openRouterModel) };
}

/** One listed model, or the provider's 404. */
export function modelById(provider: ProviderName, id: string): JsonObject {
  if (provider === 'openai') {
    if (OPENAI_MODELS.includes(id)) return openAiModel(id);
  } else {
    const known = OPENROUTER_MODELS.find((model) => model[0] === id);
    if (known !== undefined) return { data: openRouterModel(known) };
  }
  throw new ApiError(404, provider === 'openai' ? `The model '${id}' does not exist` : `Model ${id} not found`, {
    param: 'model',
    code: 'model_not_found',
  });
}
