/** Tools, calls of them, and their results. */
import { isJson, objectAt, objectsAt, textAt } from '../json.ts';
import { PNG, question, type RequestCase, TOOLS, unless, WEATHER_SCHEMA } from './request-case.ts';

/** A turn with two calls, and their results in this order. */
function twoCalls(order: readonly number[], extra: { readonly isError?: boolean } = {}): RequestCase['asked'] {
  const calls = [
    { id: 'call_a', city: 'Paris', result: 'rain' },
    { id: 'call_b', city: 'Rome', result: 'sun' },
  ];
  const results = order.map((index) => calls[index]).filter((call) => call !== undefined);
  const isError = extra.isError === true;
  return {
    'openai-chat': {
      tools: TOOLS['openai-chat'],
      messages: [
        { role: 'user', content: 'Weather?' },
        {
          role: 'assistant',
          content: 'Looking.',
          tool_calls: calls.map(({ id, city }) => ({
            id,
            type: 'function',
            function: { name: 'get_weather', arguments: JSON.stringify({ city }) },
          })),
        },
        ...results.map(({ id, result }) => ({ role: 'tool', tool_call_id: id, content: result })),
        { role: 'user', content: 'And now?' },
      ],
    },
    'openai-responses': {
      tools: TOOLS['openai-responses'],
      input: [
        { role: 'user', content: 'Weather?' },
        { role: 'assistant', content: 'Looking.' },
        ...calls.map(({ id, city }) => ({
          type: 'function_call',
          call_id: id,
          name: 'get_weather',
          arguments: JSON.stringify({ city }),
        })),
        ...results.map(({ id, result }) => ({ type: 'function_call_output', call_id: id, output: result })),
        { role: 'user', content: 'And now?' },
      ],
    },
    'anthropic-messages': {
      max_tokens: 100,
      tools: TOOLS['anthropic-messages'],
      messages: [
        { role: 'user', content: 'Weather?' },
        {
          role: 'assistant',
          content: [
            { type: 'text', text: 'Looking.' },
            ...calls.map(({ id, city }) => ({ type: 'tool_use', id, name: 'get_weather', input: { city } })),
          ],
        },
        {
          role: 'user',
          content: [
            ...results.map(({ id, result }) => ({
              type: 'tool_result',
              tool_use_id: id,
              content: result,
              ...(isError ? { is_error: true } : {}),
            })),
            { type: 'text', text: 'And now?' },
          ],
        },
      ],
    },
    gemini: {
      tools: TOOLS.gemini,
      contents: [
        { role: 'user', parts: [{ text: 'Weather?' }] },
        {
          role: 'model',
          parts: [{ text: 'Looking.' }, ...calls.map(({ id, city }) => ({ functionCall: { id, name: 'get_weather', args: { city } } }))],
        },
        {
          role: 'user',
          parts: [
            ...results.map(({ id, result }) => ({
              functionResponse: { id, name: 'get_weather', response: isError ? { error: result } : { output: result } },
            })),
            { text: 'And now?' },
          ],
        },
      ],
    },
  };
}

const TOOL_RULES: RequestCase['check'] = (body, upstream) => {
  if (upstream === 'anthropic-messages') {
    const last = objectsAt(objectsAt(body, 'messages').at(-1), 'content').map(({ type }) => type);
    return unless(last.join() === 'tool_result,tool_result,text', `the last message is ${last.join()}`);
  }
  if (upstream === 'gemini') {
    const last = objectsAt(objectsAt(body, 'contents').at(-1), 'parts');
    const names = last.flatMap((part) => (isJson(part.functionResponse) ? [textAt(part.functionResponse, 'name')] : []));
    return unless(names.join() === 'get_weather,get_weather', `function responses ${names.join()}`);
  }
  return [];
};

const choices = (chat: unknown, responses: unknown, messages: unknown, gemini: unknown): RequestCase['asked'] =>
  question('Weather in Paris?', {
    'openai-chat': { tools: TOOLS['openai-chat'], tool_choice: chat },
    'openai-responses': { tools: TOOLS['openai-responses'], tool_choice: responses },
    'anthropic-messages': { tools: TOOLS['anthropic-messages'], tool_choice: messages },
    gemini: { tools: TOOLS.gemini, toolConfig: { functionCallingConfig: gemini } },
  });

const LONG_NAME = `mcp__server__${'a_very_long_name_'.repeat(5)}end`;

export const TOOL_CASES: readonly RequestCase[] = [
  {
    number: 15,
    what: 'tools with schemas',
    asked: question('Weather in Paris?', {
      'openai-chat': { tools: TOOLS['openai-chat'] },
      'openai-responses': { tools: TOOLS['openai-responses'] },
      'anthropic-messages': { tools: TOOLS['anthropic-messages'] },
      gemini: { tools: TOOLS.gemini },
    }),
  },
  { number: 15, what: 'tool_choice auto', asked: choices('auto', 'auto', { type: 'auto' }, { mode: 'AUTO' }) },
  { number: 15, what: 'tool_choice none', asked: choices('none', 'none', { type: 'none' }, { mode: 'NONE' }) },
  { number: 15, what: 'tool_choice any tool', asked: choices('required', 'required', { type: 'any' }, { mode: 'ANY' }) },
  {
    number: 15,
    what: 'tool_choice one tool by its name',
    asked: choices(
      { type: 'function', function: { name: 'get_weather' } },
      { type: 'function', name: 'get_weather' },
      { type: 'tool', name: 'get_weather' },
      { mode: 'ANY', allowedFunctionNames: ['get_weather'] },
    ),
  },
  {
    number: 16,
    what: 'one call at a time',
    asked: question('Weather in Paris?', {
      'openai-chat': { tools: TOOLS['openai-chat'], parallel_tool_calls: false },
      'openai-responses': { tools: TOOLS['openai-responses'], parallel_tool_calls: false },
      'anthropic-messages': {
        tools: TOOLS['anthropic-messages'],
        tool_choice: { type: 'auto', disable_parallel_tool_use: true },
      },
    }),
    outcome: { gemini: ['parallel_tool_calls'] },
  },
  {
    number: 21,
    what: 'a tool without parameters',
    asked: question('Now?', {
      'openai-chat': { tools: [{ type: 'function', function: { name: 'now' } }] },
      'openai-responses': { tools: [{ type: 'function', name: 'now', parameters: null }] },
      'anthropic-messages': { tools: [{ name: 'now', input_schema: { type: 'object', properties: {} } }] },
      gemini: { tools: [{ functionDeclarations: [{ name: 'now' }] }] },
    }),
  },
  {
    number: 62,
    what: 'a schema with references and keywords that older schemas do not have',
    asked: question('Weather in Paris?', {
      'openai-chat': { tools: [{ type: 'function', function: { name: 'f', parameters: richSchema() } }] },
      'openai-responses': { tools: [{ type: 'function', name: 'f', parameters: richSchema() }] },
      'anthropic-messages': { tools: [{ name: 'f', input_schema: richSchema() }] },
      gemini: { tools: [{ functionDeclarations: [{ name: 'f', parametersJsonSchema: richSchema() }] }] },
    }),
  },
  {
    number: 62,
    what: 'the same for a model that has only the older schema',
    models: { gemini: 'gemini-2.0-flash' },
    asked: question('Weather in Paris?', {
      'openai-chat': { tools: [{ type: 'function', function: { name: 'f', parameters: oldSchema() } }] },
      'anthropic-messages': { tools: [{ name: 'f', input_schema: oldSchema() }] },
    }),
    outcome: { gemini: ['schema_keyword'] },
    check: (body, upstream) => {
      if (upstream !== 'gemini') return [];
      const [tool] = objectsAt(objectsAt(body, 'tools')[0], 'functionDeclarations');
      return unless(textAt(objectAt(tool, 'parameters'), 'type').toLowerCase() === 'object', 'no older schema');
    },
  },
  { number: 22, what: 'two results and a text in one turn', asked: twoCalls([0, 1]), check: TOOL_RULES },
  { number: 23, what: 'results in another order than their calls', asked: twoCalls([1, 0]), check: TOOL_RULES },
  {
    number: 25,
    what: 'a result that tells of an error',
    asked: Object.fromEntries(
      Object.entries(twoCalls([0, 1], { isError: true })).filter(([name]) => name === 'anthropic-messages' || name === 'gemini'),
    ),
  },
  {
    number: 26,
    what: 'an empty result',
    asked: {
      'openai-chat': {
        tools: TOOLS['openai-chat'],
        messages: [
          { role: 'user', content: 'Weather?' },
          {
            role: 'assistant',
            content: null,
            tool_calls: [{ id: 'call_a', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Paris"}' } }],
          },
          { role: 'tool', tool_call_id: 'call_a', content: '' },
        ],
      },
      'openai-responses': {
        tools: TOOLS['openai-responses'],
        input: [
          { role: 'user', content: 'Weather?' },
          { type: 'function_call', call_id: 'call_a', name: 'get_weather', arguments: '{"city":"Paris"}' },
          { type: 'function_call_output', call_id: 'call_a', output: '' },
        ],
      },
      'anthropic-messages': {
        max_tokens: 100,
        tools: TOOLS['anthropic-messages'],
        messages: [
          { role: 'user', content: 'Weather?' },
          { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_a', name: 'get_weather', input: { city: 'Paris' } }] },
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_a' }] },
        ],
      },
    },
  },
  {
    number: 6,
    what: 'a call without arguments in the history',
    asked: {
      'openai-chat': {
        tools: [{ type: 'function', function: { name: 'now' } }],
        messages: [
          { role: 'user', content: 'Now?' },
          { role: 'assistant', content: null, tool_calls: [{ id: 'call_a', type: 'function', function: { name: 'now', arguments: '' } }] },
          { role: 'tool', tool_call_id: 'call_a', content: 'noon' },
        ],
      },
      gemini: {
        tools: [{ functionDeclarations: [{ name: 'now' }] }],
        contents: [
          { role: 'user', parts: [{ text: 'Now?' }] },
          { role: 'model', parts: [{ functionCall: { name: 'now' } }] },
          { role: 'user', parts: [{ functionResponse: { name: 'now', response: { output: 'noon' } } }] },
        ],
      },
    },
  },
  {
    number: 10,
    what: 'ids that others refuse',
    asked: {
      'openai-chat': {
        tools: TOOLS['openai-chat'],
        messages: [
          { role: 'user', content: 'Weather?' },
          {
            role: 'assistant',
            content: null,
            tool_calls: ['functions.get_weather:0', 'functions.get_weather_0'].map((id) => ({
              id,
              type: 'function',
              function: { name: 'get_weather', arguments: '{"city":"Paris"}' },
            })),
          },
          { role: 'tool', tool_call_id: 'functions.get_weather_0', content: 'rain' },
          { role: 'tool', tool_call_id: 'functions.get_weather:0', content: 'sun' },
        ],
      },
    },
  },
  {
    number: 11,
    what: 'an id of more than 64 characters',
    asked: {
      'anthropic-messages': {
        max_tokens: 100,
        tools: TOOLS['anthropic-messages'],
        messages: [
          { role: 'user', content: 'Weather?' },
          {
            role: 'assistant',
            content: ['a', 'b'].map((end) => ({
              type: 'tool_use',
              id: `toolu_${'x'.repeat(80)}${end}`,
              name: 'get_weather',
              input: { city: end },
            })),
          },
          {
            role: 'user',
            content: ['a', 'b'].map((end) => ({ type: 'tool_result', tool_use_id: `toolu_${'x'.repeat(80)}${end}`, content: end })),
          },
        ],
      },
    },
  },
  {
    number: 13,
    what: 'two calls of one function without ids',
    asked: {
      gemini: {
        tools: TOOLS.gemini,
        contents: [
          { role: 'user', parts: [{ text: 'Weather?' }] },
          {
            role: 'model',
            parts: [
              { functionCall: { name: 'get_weather', args: { city: 'Paris' } } },
              { functionCall: { name: 'get_weather', args: { city: 'Rome' } } },
            ],
          },
          {
            role: 'user',
            parts: [
              { functionResponse: { name: 'get_weather', response: { weather: 'rain' } } },
              { functionResponse: { name: 'get_weather', response: { weather: 'sun' } } },
            ],
          },
        ],
      },
    },
  },
  {
    number: 24,
    what: 'a result with an image',
    asked: {
      'anthropic-messages': {
        max_tokens: 100,
        tools: TOOLS['anthropic-messages'],
        messages: [
          { role: 'user', content: 'Weather?' },
          { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_a', name: 'get_weather', input: { city: 'Paris' } }] },
          {
            role: 'user',
            content: [
              {
                type: 'tool_result',
                tool_use_id: 'toolu_a',
                content: [
                  { type: 'text', text: 'See here' },
                  { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } },
                ],
              },
            ],
          },
        ],
      },
      'openai-responses': {
        tools: TOOLS['openai-responses'],
        input: [
          { role: 'user', content: 'Weather?' },
          { type: 'function_call', call_id: 'call_a', name: 'get_weather', arguments: '{"city":"Paris"}' },
          {
            type: 'function_call_output',
            call_id: 'call_a',
            output: [
              { type: 'input_text', text: 'See here' },
              { type: 'input_image', image_url: `data:image/png;base64,${PNG}` },
            ],
          },
        ],
      },
      gemini: {
        tools: TOOLS.gemini,
        contents: [
          { role: 'user', parts: [{ text: 'Weather?' }] },
          { role: 'model', parts: [{ functionCall: { id: 'a', name: 'get_weather', args: { city: 'Paris' } } }] },
          {
            role: 'user',
            parts: [
              {
                functionResponse: {
                  id: 'a',
                  name: 'get_weather',
                  response: { output: 'See here' },
                  parts: [{ inlineData: { mimeType: 'image/png', data: PNG } }],
                },
              },
            ],
          },
        ],
      },
    },
    check: (body, upstream) => {
      if (upstream !== 'openai-responses') return [];
      const output = objectsAt(body, 'input').find(({ type }) => type === 'function_call_output');
      return unless(
        objectsAt(output, 'output').some(({ type }) => type === 'input_image'),
        'the image is not in the output',
      );
    },
  },
  {
    number: 27,
    what: 'a call without its result is refused before it is sent',
    asked: {
      'openai-chat': {
        tools: TOOLS['openai-chat'],
        messages: [
          { role: 'user', content: 'Weather?' },
          {
            role: 'assistant',
            content: null,
            tool_calls: [{ id: 'call_a', type: 'function', function: { name: 'get_weather', arguments: '{}' } }],
          },
          { role: 'user', content: 'Well?' },
        ],
      },
      'anthropic-messages': {
        max_tokens: 100,
        tools: TOOLS['anthropic-messages'],
        messages: [
          { role: 'user', content: 'Weather?' },
          { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_a', name: 'get_weather', input: {} }] },
          { role: 'user', content: 'Well?' },
        ],
      },
    },
    outcome: { 'openai-chat': 'refuse', 'openai-responses': 'refuse', 'anthropic-messages': 'refuse', gemini: 'refuse' },
  },
  {
    number: 27,
    what: 'a result without its call is refused before it is sent',
    asked: {
      'openai-chat': {
        tools: TOOLS['openai-chat'],
        messages: [
          { role: 'user', content: 'Weather?' },
          { role: 'tool', tool_call_id: 'call_a', content: 'rain' },
        ],
      },
      'anthropic-messages': {
        max_tokens: 100,
        tools: TOOLS['anthropic-messages'],
        messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_a', content: 'rain' }] }],
      },
    },
    outcome: { 'openai-chat': 'refuse', 'openai-responses': 'refuse', 'anthropic-messages': 'refuse', gemini: 'refuse' },
  },
  {
    number: 14,
    what: 'a name of a function that is too long for some',
    asked: question('Go', {
      'anthropic-messages': { tools: [{ name: LONG_NAME, input_schema: WEATHER_SCHEMA }] },
      gemini: { tools: [{ functionDeclarations: [{ name: LONG_NAME, parametersJsonSchema: WEATHER_SCHEMA }] }] },
    }),
  },
  {
    number: 17,
    what: 'a custom tool with a grammar becomes a function with one text',
    asked: question('Patch it', {
      'openai-responses': {
        tools: [
          {
            type: 'custom',
            name: 'apply_patch',
            description: 'A patch',
            format: { type: 'grammar', syntax: 'lark', definition: 'start: "x"' },
          },
        ],
      },
      'openai-chat': {
        tools: [
          {
            type: 'custom',
            custom: {
              name: 'apply_patch',
              description: 'A patch',
              format: { type: 'grammar', grammar: { syntax: 'lark', definition: 'start: "x"' } },
            },
          },
        ],
      },
    }),
    outcome: { 'anthropic-messages': ['tool_grammar'], gemini: ['tool_grammar'] },
  },
  {
    number: 18,
    what: 'a tool that a provider runs is refused elsewhere, by its name',
    asked: question('News?', {
      'openai-chat': { tools: [{ type: 'web_search' }] },
      'openai-responses': { tools: [{ type: 'web_search' }] },
      'anthropic-messages': { tools: [{ type: 'web_search_20250305', name: 'web_search' }] },
      gemini: { tools: [{ googleSearch: {} }] },
    }),
    outcome: { 'openai-chat': 'refuse', 'openai-responses': 'refuse', 'anthropic-messages': 'refuse', gemini: 'refuse' },
  },
  {
    number: 19,
    what: 'a strict tool with keywords that strict tools elsewhere refuse',
    asked: question('Go', {
      'openai-chat': {
        tools: [
          {
            type: 'function',
            function: {
              name: 'f',
              strict: true,
              parameters: {
                type: 'object',
                properties: { n: { type: 'integer', minimum: 1, maximum: 5 } },
                required: ['n'],
                additionalProperties: false,
              },
            },
          },
        ],
      },
    }),
    outcome: { gemini: ['strict_tool'], 'anthropic-messages': ['strict_tool'] },
  },
  {
    number: 20,
    what: 'arguments in the history that are no object are told as a text where an object is needed',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'user', content: 'Go' },
          {
            role: 'assistant',
            content: null,
            tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"city": "Par' } }],
          },
          { role: 'tool', tool_call_id: 'call_1', content: 'That was no JSON.' },
        ],
        tools: [{ type: 'function', function: { name: 'f', parameters: oldSchema() } }],
      },
      'openai-responses': {
        input: [
          { role: 'user', content: 'Go' },
          { type: 'function_call', call_id: 'call_1', name: 'f', arguments: '{"city": "Par' },
          { type: 'function_call_output', call_id: 'call_1', output: 'That was no JSON.' },
        ],
        tools: [{ type: 'function', name: 'f', parameters: oldSchema() }],
      },
    },
    outcome: { 'anthropic-messages': ['call_arguments'], gemini: ['call_arguments'] },
    check: (body) => unless(JSON.stringify(body).includes('Par'), 'the arguments are gone'),
  },
  {
    number: 19,
    what: 'strict tools whose arguments may be left away, which some are only told of',
    asked: question('Go', {
      'anthropic-messages': { tools: [{ name: 'f', strict: true, input_schema: oldSchema() }] },
      gemini: {
        tools: [{ functionDeclarations: [{ name: 'f', parametersJsonSchema: oldSchema() }] }],
        toolConfig: { functionCallingConfig: { mode: 'VALIDATED' } },
      },
    }),
    outcome: { 'openai-chat': ['strict_tool'], 'openai-responses': ['strict_tool'], gemini: ['strict_tool'] },
  },
  {
    number: 19,
    what: 'strict tools that say nothing of other arguments are closed',
    asked: question('Go', {
      gemini: {
        tools: [{ functionDeclarations: [{ name: 'f', parametersJsonSchema: neededSchema() }] }],
        toolConfig: { functionCallingConfig: { mode: 'VALIDATED' } },
      },
    }),
    saidBy: { 'openai-chat': ['tools'], 'openai-responses': ['tools'], 'anthropic-messages': ['tools'] },
  },
];

function neededSchema(): Record<string, unknown> {
  return { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
}

function richSchema(): Record<string, unknown> {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: {
      place: { $ref: '#/$defs/place' },
      kind: { const: 'now' },
      when: { type: ['string', 'null'] },
      tags: { type: 'array', items: { type: 'string' } },
    },
    required: ['place'],
    additionalProperties: false,
    $defs: { place: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false } },
  };
}

/** Only what both forms can say, in the newer one's words. */
function oldSchema(): Record<string, unknown> {
  return {
    type: 'object',
    properties: { city: { type: 'string' }, days: { type: 'array', items: { type: 'integer' } } },
    required: ['city'],
    additionalProperties: false,
  };
}
