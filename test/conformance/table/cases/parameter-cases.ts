/** Settings of a request. */
import { numberAt, objectAt, objectsAt } from '../json.ts';
import { question, type RequestCase, TOOLS, unless, WEATHER_SCHEMA } from './request-case.ts';

const THINKERS = {
  'openai-chat': 'gpt-5.4',
  'openai-responses': 'gpt-5.4',
  'anthropic-messages': 'claude-opus-4-8',
  gemini: 'gemini-3.1-pro-preview',
} as const;

/** One of the dialects shows no thinking by itself, and another cannot be told so. */
const SHOWN = { 'gemini>openai-chat': ['reasoning_show'] } as const;

/** Where a format is a promise, and its schema one that OpenAI's protocols promise nothing of. */
const HELD_ELSEWHERE = {
  'anthropic-messages>openai-chat': ['json_schema'],
  'anthropic-messages>openai-responses': ['json_schema'],
  'gemini>openai-chat': ['json_schema'],
  'gemini>openai-responses': ['json_schema'],
} as const;

const CLOSED_SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string' }, unit: { anyOf: [{ type: 'string' }, { type: 'null' }] } },
  required: ['city', 'unit'],
  additionalProperties: false,
};

const efforts = (word: string): RequestCase['asked'] =>
  question('Think', {
    'openai-chat': { reasoning_effort: word },
    'openai-responses': { reasoning: { effort: word } },
    'anthropic-messages': { thinking: { type: 'adaptive' }, output_config: { effort: word } },
    gemini: { generationConfig: { thinkingConfig: { thinkingLevel: word.toUpperCase() } } },
  });

export const PARAMETER_CASES: readonly RequestCase[] = [
  {
    number: 55,
    what: 'a limit of output',
    asked: {
      'openai-chat': { messages: [{ role: 'user', content: 'Hi' }], max_completion_tokens: 123 },
      'openai-responses': { input: 'Hi', max_output_tokens: 123 },
      'anthropic-messages': { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 123 },
      gemini: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }], generationConfig: { maxOutputTokens: 123 } },
    },
  },
  {
    number: 55,
    what: 'without a limit, one from the catalogue where one is needed',
    asked: {
      'openai-chat': { messages: [{ role: 'user', content: 'Hi' }] },
      'openai-responses': { input: 'Hi' },
      gemini: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] },
    },
    check: (body, upstream) =>
      upstream === 'anthropic-messages'
        ? unless(numberAt(body, 'max_tokens') === 32_000, `max_tokens ${numberAt(body, 'max_tokens')}`)
        : [],
  },
  {
    number: 53,
    what: 'temperature',
    asked: question('Hi', {
      'openai-chat': { temperature: 0.3 },
      'openai-responses': { temperature: 0.3 },
      'anthropic-messages': { temperature: 0.3 },
      gemini: { generationConfig: { temperature: 0.3 } },
    }),
  },
  {
    number: 53,
    what: 'a temperature above 1',
    asked: question('Hi', {
      'openai-chat': { temperature: 1.7 },
      'openai-responses': { temperature: 1.7 },
      gemini: { generationConfig: { temperature: 1.7 } },
    }),
    outcome: { 'anthropic-messages': ['temperature'] },
  },
  {
    number: 53,
    what: 'temperature for a model that takes none',
    models: { 'anthropic-messages': 'claude-opus-4-8' },
    asked: question('Hi', { 'openai-chat': { temperature: 0.3 }, gemini: { generationConfig: { temperature: 0.3 } } }),
    outcome: { 'anthropic-messages': ['temperature'] },
  },
  {
    number: 53,
    what: 'top_p',
    asked: question('Hi', {
      'openai-chat': { top_p: 0.9 },
      'openai-responses': { top_p: 0.9 },
      'anthropic-messages': { top_p: 0.9 },
      gemini: { generationConfig: { topP: 0.9 } },
    }),
  },
  {
    number: 64,
    what: 'top_k',
    asked: question('Hi', { 'anthropic-messages': { top_k: 40 }, gemini: { generationConfig: { topK: 40 } } }),
    outcome: { 'openai-chat': ['top_k'], 'openai-responses': ['top_k'] },
  },
  {
    number: 64,
    what: 'seed',
    asked: question('Hi', { 'openai-chat': { seed: 7 }, gemini: { generationConfig: { seed: 7 } } }),
    outcome: { 'openai-responses': ['seed'], 'anthropic-messages': ['seed'] },
  },
  {
    number: 64,
    what: 'penalties',
    asked: question('Hi', {
      'openai-chat': { frequency_penalty: 0.5, presence_penalty: -0.5 },
      gemini: { generationConfig: { frequencyPenalty: 0.5, presencePenalty: -0.5 } },
    }),
    outcome: {
      'openai-responses': ['frequency_penalty', 'presence_penalty'],
      'anthropic-messages': ['frequency_penalty', 'presence_penalty'],
    },
  },
  {
    number: 64,
    what: 'the end user',
    asked: question('Hi', {
      'openai-chat': { user: 'user-1' },
      'openai-responses': { user: 'user-1' },
      'anthropic-messages': { metadata: { user_id: 'user-1' } },
    }),
    outcome: { gemini: ['user'] },
  },
  {
    number: 64,
    what: 'labels, keys of the prompt cache, verbosity',
    models: { 'openai-chat': 'gpt-5.4', 'openai-responses': 'gpt-5.4' },
    asked: question('Hi', {
      'openai-chat': { metadata: { a: 'b' }, prompt_cache_key: 'k', prompt_cache_retention: '24h', verbosity: 'low' },
      'openai-responses': { metadata: { a: 'b' }, prompt_cache_key: 'k', prompt_cache_retention: '24h', text: { verbosity: 'low' } },
    }),
    outcome: {
      // It takes labels of what it stores, and nothing is stored.
      'openai-chat': ['metadata'],
      'anthropic-messages': ['metadata', 'prompt_cache_key', 'prompt_cache_retention', 'verbosity'],
      gemini: ['metadata', 'prompt_cache_key', 'prompt_cache_retention', 'verbosity'],
    },
    check: (body, upstream) => {
      if (upstream !== 'openai-chat' && upstream !== 'openai-responses') return [];
      const verbosity = upstream === 'openai-chat' ? body.verbosity : objectAt(body, 'text').verbosity;
      const isLabelled = upstream === 'openai-chat' || objectAt(body, 'metadata').a === 'b';
      const isCached = body.prompt_cache_key === 'k' && body.prompt_cache_retention === '24h';
      return unless(isCached && isLabelled && verbosity === 'low', 'one of them is gone');
    },
  },
  {
    number: 64,
    what: 'biases of tokens',
    asked: question('Hi', { 'openai-chat': { logit_bias: { '50256': -100 } } }),
    outcome: { 'openai-responses': ['logit_bias'], 'anthropic-messages': ['logit_bias'], gemini: ['logit_bias'] },
  },
  {
    number: 64,
    what: 'a field that nobody else knows is named',
    asked: question('Hi', {
      'openai-chat': { prediction: { type: 'content', content: 'Hi' } },
      'openai-responses': { truncation: 'auto' },
      'anthropic-messages': { container: 'container_1' },
      gemini: { safetySettings: [{ category: 'HARM_CATEGORY_HARASSMENT', threshold: 'BLOCK_NONE' }] },
    }),
    outcome: {
      'openai-chat': ['unknown_field'],
      'openai-responses': ['unknown_field'],
      'anthropic-messages': ['unknown_field'],
      gemini: ['unknown_field'],
    },
  },
  {
    number: 107,
    what: 'fields of an agent that only its provider knows are left out, not refused',
    asked: question('Hi', {
      'anthropic-messages': { context_management: { edits: [{ type: 'clear_tool_uses_20250919' }] } },
    }),
    outcome: { 'openai-chat': ['unknown_field'], 'openai-responses': ['unknown_field'], gemini: ['unknown_field'] },
  },
  {
    number: 56,
    what: 'stop sequences',
    asked: question('Hi', {
      'openai-chat': { stop: ['END', 'STOP'] },
      'anthropic-messages': { stop_sequences: ['END', 'STOP'] },
      gemini: { generationConfig: { stopSequences: ['END', 'STOP'] } },
    }),
    outcome: { 'openai-responses': 'refuse' },
  },
  {
    number: 56,
    what: 'one stop sequence as a text',
    asked: question('Hi', { 'openai-chat': { stop: 'END' } }),
    outcome: { 'openai-responses': 'refuse' },
  },
  {
    number: 57,
    what: 'several answers',
    asked: question('Hi', { 'openai-chat': { n: 3 }, gemini: { generationConfig: { candidateCount: 3 } } }),
    outcome: { 'openai-responses': 'refuse', 'anthropic-messages': 'refuse' },
  },
  {
    number: 58,
    what: 'log probabilities',
    asked: question('Hi', {
      'openai-chat': { logprobs: true, top_logprobs: 3 },
      'openai-responses': { include: ['message.output_text.logprobs'], top_logprobs: 3 },
      gemini: { generationConfig: { responseLogprobs: true, logprobs: 3 } },
    }),
    outcome: { 'anthropic-messages': ['logprobs'] },
  },
  {
    number: 59,
    what: 'the priority tier',
    asked: question('Hi', { 'openai-chat': { service_tier: 'priority' }, 'openai-responses': { service_tier: 'priority' } }),
  },
  {
    number: 60,
    what: 'an answer in JSON',
    asked: question('Give JSON', {
      'openai-chat': { response_format: { type: 'json_object' } },
      'openai-responses': { text: { format: { type: 'json_object' } } },
      gemini: { generationConfig: { responseMimeType: 'application/json' } },
    }),
    outcome: { 'anthropic-messages': ['json_object'] },
  },
  {
    number: 60,
    what: 'one word out of a list, which is no JSON',
    asked: question('Which colour?', {
      gemini: {
        generationConfig: { responseMimeType: 'text/x.enum', responseSchema: { type: 'STRING', enum: ['red', 'blue'] } },
      },
    }),
    outcome: { 'openai-chat': ['unknown_field'], 'openai-responses': ['unknown_field'], 'anthropic-messages': ['unknown_field'] },
    saidBy: {
      'openai-chat': ['format', 'strict format'],
      'openai-responses': ['format', 'strict format'],
      'anthropic-messages': ['format', 'strict format'],
    },
  },
  {
    number: 61,
    what: 'an answer by a schema',
    asked: question('Weather in Paris?', {
      'openai-chat': { response_format: { type: 'json_schema', json_schema: { name: 'weather', schema: WEATHER_SCHEMA, strict: true } } },
      'openai-responses': { text: { format: { type: 'json_schema', name: 'weather', schema: WEATHER_SCHEMA, strict: true } } },
      'anthropic-messages': { output_config: { format: { type: 'json_schema', schema: WEATHER_SCHEMA } } },
      gemini: { generationConfig: { responseMimeType: 'application/json', responseJsonSchema: WEATHER_SCHEMA } },
    }),
    // One property may be left away, which these two can only be told of; who asks for it strictly in their words is told by them.
    outcomeOf: HELD_ELSEWHERE,
  },
  {
    number: 61,
    what: 'an answer that is held to a schema',
    asked: question('Where?', {
      'openai-chat': { response_format: { type: 'json_schema', json_schema: { name: 'place', schema: CLOSED_SCHEMA, strict: true } } },
      'openai-responses': { text: { format: { type: 'json_schema', name: 'place', schema: CLOSED_SCHEMA, strict: true } } },
      'anthropic-messages': { output_config: { format: { type: 'json_schema', schema: CLOSED_SCHEMA } } },
      gemini: { generationConfig: { responseMimeType: 'application/json', responseJsonSchema: CLOSED_SCHEMA } },
    }),
  },
  {
    number: 61,
    what: 'the same for a model that is given a tool in its place',
    models: { 'anthropic-messages': 'claude-sonnet-4-0' },
    asked: question('Where?', {
      'openai-chat': { response_format: { type: 'json_schema', json_schema: { name: 'place', schema: CLOSED_SCHEMA, strict: true } } },
    }),
    saidBy: { 'anthropic-messages': ['tools', 'tool choice'] },
    outcome: { 'anthropic-messages': ['json_schema'] },
  },
  {
    number: 61,
    what: 'the same for a model that has no such setting: a tool that it must call',
    models: { 'anthropic-messages': 'claude-sonnet-4-0' },
    asked: question('Weather in Paris?', {
      'openai-chat': { response_format: { type: 'json_schema', json_schema: { name: 'weather', schema: WEATHER_SCHEMA } } },
    }),
    saidBy: { 'anthropic-messages': ['tools', 'tool choice', 'format'] },
    check: (body, upstream) =>
      upstream === 'anthropic-messages'
        ? unless(
            objectsAt(body, 'tools').length === 1 && ['any', 'tool'].includes(String(objectAt(body, 'tool_choice').type)),
            'no tool stands for it',
          )
        : [],
  },
  {
    number: 63,
    what: 'tools beside an answer by a schema',
    asked: question('Weather in Paris?', {
      'openai-chat': {
        tools: TOOLS['openai-chat'],
        response_format: { type: 'json_schema', json_schema: { name: 'weather', schema: WEATHER_SCHEMA } },
      },
      'openai-responses': {
        tools: TOOLS['openai-responses'],
        text: { format: { type: 'json_schema', name: 'weather', schema: WEATHER_SCHEMA } },
      },
      gemini: {
        tools: TOOLS.gemini,
        generationConfig: { responseMimeType: 'application/json', responseJsonSchema: WEATHER_SCHEMA },
      },
    }),
    outcomeOf: HELD_ELSEWHERE,
  },
  {
    number: 63,
    what: 'the same for a model that takes only one of them',
    models: { gemini: 'gemini-2.5-flash' },
    asked: question('Weather in Paris?', {
      'openai-chat': {
        tools: TOOLS['openai-chat'],
        response_format: { type: 'json_schema', json_schema: { name: 'weather', schema: WEATHER_SCHEMA } },
      },
    }),
    outcome: { gemini: 'refuse' },
  },
  {
    number: 50,
    what: 'effort low',
    models: THINKERS,
    asked: efforts('low'),
    outcomeOf: SHOWN,
  },
  {
    number: 53,
    what: 'thinking of a model that does not think',
    capabilities: ['tools'],
    models: { 'anthropic-messages': 'claude-3-5-haiku-latest', gemini: 'gemini-2.0-flash' },
    asked: question('Think', {
      'openai-chat': { reasoning_effort: 'high' },
      'openai-responses': { reasoning: { effort: 'high' } },
      'anthropic-messages': { thinking: { type: 'enabled', budget_tokens: 2_048 } },
      gemini: { generationConfig: { thinkingConfig: { thinkingLevel: 'HIGH' } } },
    }),
    outcome: {
      'openai-chat': ['reasoning_effort'],
      'openai-responses': ['reasoning_effort'],
      'anthropic-messages': ['reasoning_effort'],
      gemini: ['reasoning_effort'],
    },
    check: (body) => unless(!/effort|thinking|"reasoning"/.test(JSON.stringify(body)), 'it is asked to think'),
  },
  { number: 50, what: 'effort high', models: THINKERS, asked: efforts('high'), outcomeOf: SHOWN },
  {
    number: 50,
    what: 'no thinking',
    models: { 'openai-chat': 'gpt-5.4', 'openai-responses': 'gpt-5.4', gemini: 'gemini-2.5-flash' },
    asked: question('Hi', {
      'openai-chat': { reasoning_effort: 'none' },
      'openai-responses': { reasoning: { effort: 'none' } },
      'anthropic-messages': { thinking: { type: 'disabled' } },
      gemini: { generationConfig: { thinkingConfig: { thinkingBudget: 0 } } },
    }),
    outcomeOf: SHOWN,
  },
  {
    number: 50,
    what: 'an effort for a model that knows budgets',
    models: { ...THINKERS, 'anthropic-messages': 'claude-sonnet-4-0', gemini: 'gemini-2.5-pro' },
    asked: question('Think', { 'openai-chat': { reasoning_effort: 'medium' }, 'openai-responses': { reasoning: { effort: 'medium' } } }),
    check: (body, upstream) => {
      if (upstream === 'anthropic-messages') {
        const budget = numberAt(objectAt(body, 'thinking'), 'budget_tokens') ?? 0;
        return unless(budget >= 1_024 && budget < (numberAt(body, 'max_tokens') ?? 0), `a budget of ${budget}`);
      }
      if (upstream !== 'gemini') return [];
      const budget = numberAt(objectAt(objectAt(body, 'generationConfig'), 'thinkingConfig'), 'thinkingBudget') ?? 0;
      return unless(budget >= 128, `a budget of ${budget}`);
    },
  },
  {
    number: 51,
    what: 'a budget for models that know efforts',
    models: THINKERS,
    asked: question('Think', {
      'anthropic-messages': { thinking: { type: 'enabled', budget_tokens: 2_048 } },
      gemini: { generationConfig: { thinkingConfig: { thinkingBudget: 2_048 } } },
    }),
    outcome: {
      'openai-chat': ['reasoning_budget'],
      'openai-responses': ['reasoning_budget'],
      'anthropic-messages': ['reasoning_budget'],
      gemini: ['reasoning_budget'],
    },
    outcomeOf: { 'gemini>openai-chat': ['reasoning_budget', 'reasoning_show'] },
  },
  {
    number: 51,
    what: 'thinking that the model measures itself',
    models: THINKERS,
    asked: question('Think', { 'anthropic-messages': { thinking: { type: 'adaptive' } } }),
  },
  {
    number: 52,
    what: 'thinking beside a call that is forced',
    models: THINKERS,
    asked: question('Weather in Paris?', {
      'openai-chat': { tools: TOOLS['openai-chat'], tool_choice: 'required', reasoning_effort: 'high' },
      'openai-responses': { tools: TOOLS['openai-responses'], tool_choice: 'required', reasoning: { effort: 'high' } },
    }),
    outcome: { 'anthropic-messages': ['reasoning_effort'] },
  },
];
