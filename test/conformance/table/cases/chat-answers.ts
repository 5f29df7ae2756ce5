/** Answers of an upstream that speaks OpenAI's chat completions. */
import type { Json } from '../json.ts';
import type { AnswerCase } from './answer-case.ts';
import { PNG, unless } from './request-case.ts';

const USAGE = {
  prompt_tokens: 100,
  completion_tokens: 30,
  total_tokens: 130,
  prompt_tokens_details: { cached_tokens: 40, cache_write_tokens: 10 },
  completion_tokens_details: { reasoning_tokens: 12 },
};

function answer(message: Json, finish: string, more: Json = {}): Json {
  return {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1_780_000_000,
    model: 'gpt-5.4-2026-03-05',
    choices: [
      { index: 0, message: { role: 'assistant', content: null, refusal: null, ...message }, logprobs: null, finish_reason: finish },
    ],
    usage: USAGE,
    service_tier: 'default',
    ...more,
  };
}

function chunk(delta: Json | undefined, finish: string | null = null, more: Json = {}): Json {
  return {
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1_780_000_000,
    model: 'gpt-5.4-2026-03-05',
    choices: delta === undefined ? [] : [{ index: 0, delta, logprobs: null, finish_reason: finish }],
    usage: null,
    ...more,
  };
}

const ROLE = chunk({ role: 'assistant', content: '' });
const TOLD = chunk(undefined, null, { usage: USAGE });
const DONE = 'data: [DONE]\n\n';

const call = (index: number, id: string | undefined, name: string | undefined, args: string): Json => ({
  tool_calls: [
    {
      index,
      ...(id === undefined ? {} : { id, type: 'function' }),
      function: { ...(name === undefined ? {} : { name }), arguments: args },
    },
  ],
});
const wholeCall = (id: string, args: string): Json => ({ id, type: 'function', function: { name: 'get_weather', arguments: args } });

const UPSTREAM = 'openai-chat' as const;

export const CHAT_ANSWERS: readonly AnswerCase[] = [
  { number: 90, what: 'a text', upstream: UPSTREAM, body: answer({ content: 'Grüße, 世界 🙂' }, 'stop') },
  {
    number: 90,
    what: 'a text',
    upstream: UPSTREAM,
    events: [ROLE, chunk({ content: 'Grüße, ' }), chunk({ content: '世界 🙂' }), chunk({}, 'stop'), TOLD, DONE],
  },
  {
    number: 78,
    what: 'usage that was not asked for is not told',
    upstream: UPSTREAM,
    withoutUsage: true,
    events: [ROLE, chunk({ content: 'Hi' }), chunk({}, 'stop'), TOLD, DONE],
  },
  {
    number: 79,
    what: 'usage on the chunk that ends the choice',
    upstream: UPSTREAM,
    events: [ROLE, chunk({ content: 'Hi' }), chunk({ content: '' }, 'stop', { usage: USAGE }), DONE],
  },
  {
    number: 85,
    what: 'comments and keep-alives of the provider',
    upstream: UPSTREAM,
    events: [': OPENROUTER PROCESSING\n\n', ROLE, ': OPENROUTER PROCESSING\n\n', chunk({ content: 'Hi' }), chunk({}, 'stop'), TOLD, DONE],
  },
  {
    number: 84,
    what: 'line ends of CRLF and CR, and data without its blank',
    upstream: UPSTREAM,
    events: [
      `data:${JSON.stringify(ROLE)}\r\n\r\n`,
      `data: ${JSON.stringify(chunk({ content: 'Hi' }))}\r\r`,
      `data: ${JSON.stringify(chunk({}, 'stop'))}\r\n\r\n`,
      `data: ${JSON.stringify(TOLD)}\n\n`,
      'data: [DONE]',
    ],
  },
  {
    number: 68,
    what: 'the limit of output',
    upstream: UPSTREAM,
    body: answer({ content: 'One two' }, 'length'),
  },
  {
    number: 68,
    what: 'the limit of output',
    upstream: UPSTREAM,
    events: [ROLE, chunk({ content: 'One' }), chunk({}, 'length'), TOLD, DONE],
  },
  { number: 69, what: 'a stop for safety', upstream: UPSTREAM, body: answer({ content: 'I' }, 'content_filter') },
  {
    number: 69,
    what: 'a stop for safety',
    upstream: UPSTREAM,
    events: [ROLE, chunk({ content: 'I' }), chunk({}, 'content_filter'), TOLD, DONE],
  },
  {
    number: 94,
    what: 'a success without an answer is no plain stop',
    upstream: UPSTREAM,
    body: { ...answer({ content: '' }, 'stop'), choices: [] },
    lost: { 'openai-chat': 'refuse', 'openai-responses': 'refuse', 'anthropic-messages': 'refuse', gemini: 'refuse' },
  },
  {
    number: 68,
    what: 'a reason to end that nobody knows is no plain stop',
    upstream: UPSTREAM,
    body: answer({ content: 'Hi' }, 'gone_fishing'),
    lost: { 'openai-chat': 'refuse', 'openai-responses': 'refuse', 'anthropic-messages': 'refuse', gemini: 'refuse' },
  },
  { number: 68, what: 'a refusal of the model', upstream: UPSTREAM, body: answer({ refusal: 'I cannot help with that.' }, 'stop') },
  {
    number: 68,
    what: 'a refusal of the model',
    upstream: UPSTREAM,
    events: [ROLE, chunk({ refusal: 'I cannot ' }), chunk({ refusal: 'help.' }), chunk({}, 'stop'), TOLD, DONE],
  },
  {
    number: 1,
    what: 'a text and two calls',
    upstream: UPSTREAM,
    body: answer(
      { content: 'Looking.', tool_calls: [wholeCall('call_a', '{"city":"Paris"}'), wholeCall('call_b', '{"city": "Rome"}')] },
      'tool_calls',
    ),
  },
  {
    number: 4,
    what: 'arguments of two calls that come in turns',
    upstream: UPSTREAM,
    events: [
      ROLE,
      chunk({ content: 'Looking.' }),
      chunk(call(0, 'call_a', 'get_weather', '')),
      chunk(call(1, 'call_b', 'get_weather', '')),
      chunk(call(0, undefined, undefined, '{"ci')),
      chunk(call(1, undefined, undefined, '{"city":')),
      chunk(call(0, undefined, undefined, 'ty":"Paris"}')),
      chunk(call(1, undefined, undefined, '"Rome"}')),
      chunk({}, 'tool_calls'),
      TOLD,
      DONE,
    ],
  },
  {
    number: 5,
    what: 'a whole call in one delta',
    upstream: UPSTREAM,
    events: [ROLE, chunk(call(0, 'call_a', 'get_weather', '{"city":"Paris"}'), 'tool_calls'), TOLD, DONE],
  },
  {
    number: 8,
    what: 'two calls, and a plain stop',
    upstream: UPSTREAM,
    body: answer({ tool_calls: [wholeCall('call_a', '{"city":"Paris"}'), wholeCall('call_b', '{"city":"Rome"}')] }, 'stop'),
  },
  {
    number: 8,
    what: 'a call, and a plain stop',
    upstream: UPSTREAM,
    events: [ROLE, chunk(call(0, 'call_a', 'get_weather', '{"city":"Paris"}')), chunk({}, 'stop'), TOLD, DONE],
  },
  {
    number: 6,
    what: 'a call without arguments',
    upstream: UPSTREAM,
    body: answer({ tool_calls: [wholeCall('call_a', '')] }, 'tool_calls'),
  },
  {
    number: 6,
    what: 'a call without arguments',
    upstream: UPSTREAM,
    events: [ROLE, chunk(call(0, 'call_a', 'get_weather', '')), chunk({}, 'tool_calls'), TOLD, DONE],
  },
  {
    number: 10,
    what: 'an id that others refuse',
    upstream: UPSTREAM,
    body: answer({ tool_calls: [wholeCall('functions.get_weather:0', '{}'), wholeCall('functions.get_weather:1', '{}')] }, 'tool_calls'),
  },
  {
    number: 12,
    what: 'ids in the form of the client’s dialect',
    upstream: UPSTREAM,
    body: answer({ tool_calls: [wholeCall('call_a', '{}')] }, 'tool_calls'),
    check: (got, client) => {
      const prefix = client === 'anthropic-messages' ? 'toolu_' : client === 'gemini' ? '' : 'call_';
      return unless(got.choices[0]?.calls[0]?.id.startsWith(prefix) === true, `the id is ${got.choices[0]?.calls[0]?.id}`);
    },
  },
  {
    number: 43,
    what: 'thinking without a proof',
    upstream: UPSTREAM,
    body: answer({ content: 'Hi', reasoning_content: 'They greet.' }, 'stop'),
  },
  {
    number: 54,
    what: 'thinking without a proof',
    upstream: UPSTREAM,
    events: [
      ROLE,
      chunk({ reasoning_content: 'They ' }),
      chunk({ reasoning_content: 'greet.' }),
      chunk({ content: 'Hi' }),
      chunk({}, 'stop'),
      TOLD,
      DONE,
    ],
  },
  {
    number: 54,
    what: 'thinking among the parts of the content',
    upstream: UPSTREAM,
    body: answer(
      {
        content: [
          { type: 'thinking', thinking: [{ type: 'text', text: 'They greet.' }] },
          { type: 'text', text: 'Hi' },
        ],
      },
      'stop',
    ),
  },
  {
    number: 57,
    what: 'two answers',
    upstream: UPSTREAM,
    body: answer({}, 'stop', {
      choices: [0, 1].map((index) => ({ index, message: { role: 'assistant', content: `Answer ${index}` }, finish_reason: 'stop' })),
    }),
    unasked: { 'openai-responses': ['choices'], 'anthropic-messages': ['choices'] },
  },
  {
    number: 58,
    what: 'log probabilities',
    upstream: UPSTREAM,
    body: answer({}, 'stop', {
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hi' },
          logprobs: {
            content: [{ token: 'Hi', logprob: -0.1, bytes: [72, 105], top_logprobs: [{ token: 'Hi', logprob: -0.1, bytes: [72, 105] }] }],
          },
          finish_reason: 'stop',
        },
      ],
    }),
    unasked: { 'anthropic-messages': ['logprobs'] },
    asked: { 'openai-responses': { include: ['message.output_text.logprobs'], top_logprobs: 1 } },
  },
  {
    number: 81,
    what: 'sources that a text cites',
    upstream: UPSTREAM,
    body: answer(
      {
        content: 'The sun shines.',
        annotations: [{ type: 'url_citation', url_citation: { url: 'https://a.example/', title: 'A', start_index: 0, end_index: 15 } }],
      },
      'stop',
    ),
  },
  {
    number: 81,
    what: 'sources that come before the text',
    upstream: UPSTREAM,
    events: [
      chunk({
        role: 'assistant',
        content: '',
        annotations: [{ type: 'url_citation', url_citation: { url: 'https://a.example/', title: 'A', start_index: 0, end_index: 0 } }],
      }),
      chunk({ content: 'The sun shines.' }),
      chunk({}, 'stop'),
      TOLD,
      DONE,
    ],
  },
  {
    number: 65,
    what: 'an image in the answer',
    upstream: UPSTREAM,
    body: answer({ content: 'Here', images: [{ type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } }] }, 'stop'),
    lost: { 'anthropic-messages': ['media'] },
  },
  {
    number: 94,
    what: 'a stream that ends without its end',
    upstream: UPSTREAM,
    events: [ROLE, chunk({ content: 'Hi' })],
  },
  {
    number: 93,
    what: 'an error within a stream',
    upstream: UPSTREAM,
    events: [ROLE, chunk({ content: 'Hi' }), { error: { message: 'The server had an error', type: 'server_error', code: null } }],
  },
  {
    number: 20,
    what: 'a failed call that is told in an event of its own',
    upstream: UPSTREAM,
    events: [
      ROLE,
      chunk({ content: 'Hi' }),
      'event: error\ndata: {"error":{"message":"Failed to call a function.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"<function="}}\n\n',
    ],
  },
  {
    number: 95,
    what: 'events and fields that nobody knows',
    upstream: UPSTREAM,
    events: [
      chunk({ role: 'assistant', content: '' }, null, { obfuscation: 'abc' }),
      chunk({ content: 'Hi', a_field_of_tomorrow: { a: 1 } }, null, { obfuscation: 'abcdef' }),
      chunk({}, 'stop'),
      TOLD,
      DONE,
    ],
  },
];
