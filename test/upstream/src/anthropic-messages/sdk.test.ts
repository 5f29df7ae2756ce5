import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject, JsonValue } from '../json-value.ts';
import { startUpstream, type Upstream } from '../server.ts';
import { ask, wireNamed } from '../testing.ts';

let upstream: Upstream;
let client: Anthropic;
beforeAll(async () => {
  upstream = await startUpstream({ port: 0, paceMs: 0 });
  client = new Anthropic({ apiKey: 'sk-ant-1234', baseURL: `${upstream.origin}/anthropic`, maxRetries: 0 });
});
afterAll(() => upstream.close());

type Messages = Anthropic.MessageCreateParamsNonStreaming['messages'];

const MODEL = 'claude-opus-4-6';
const tool = (name: string, properties: Record<string, unknown>): Anthropic.Tool => ({
  name,
  input_schema: { type: 'object', properties, required: Object.keys(properties) },
});
const weather = tool('get_weather', { city: { type: 'string' } });
const clock = tool('get_time', { zone: { type: 'string' } });
const thinking = { type: 'adaptive', display: 'summarized' } as const;
const question: Messages = [{ role: 'user', content: 'What is the weather in Oslo, and the time there?' }];
const body = { model: MODEL, max_tokens: 4096, messages: question };

/** A turn of its own that thought and called both tools. */
async function called(): Promise<Anthropic.Message> {
  return client.messages.create({ ...body, tools: [weather, clock], thinking, output_config: { effort: 'low' } });
}

function results(message: Anthropic.Message, say: (name: string) => string): Anthropic.ToolResultBlockParam[] {
  return message.content.flatMap((block) =>
    block.type === 'tool_use' ? [{ type: 'tool_result' as const, tool_use_id: block.id, content: say(block.name) }] : [],
  );
}

describe('through the official SDK', () => {
  test('thinking, parallel calls, and their results in the next turn, streamed or not', async () => {
    const whole = await called();
    const streamed = await client.messages
      .stream({ ...body, tools: [weather, clock], thinking, output_config: { effort: 'low' } })
      .finalMessage();
    for (const message of [whole, streamed]) {
      expect(message.content.map((block) => block.type)).toEqual(['thinking', 'tool_use', 'tool_use']);
      expect(message).toMatchObject({
        stop_reason: 'tool_use',
        usage: { output_tokens: 38, output_tokens_details: { thinking_tokens: 32 } },
      });
      const [, first, second] = message.content;
      expect([first, second]).toMatchObject([
        { name: 'get_weather', input: { city: 'Oslo' } },
        { name: 'get_time', input: { zone: 'Oslo' } },
      ]);
      const next = await client.messages.create({
        ...body,
        tools: [weather, clock],
        thinking,
        messages: [
          ...question,
          { role: 'assistant', content: message.content },
          { role: 'user', content: results(message, (name) => `${name}!`) },
        ],
      });
      expect(next.content.at(-1)).toMatchObject({ text: 'get_weather returned: get_weather!. get_time returned: get_time!.' });
    }
  });

  test('the events come in their order, padded, with a ping, and a first delta of a call that is empty', async () => {
    const heard = await ask(upstream.origin, wireNamed('anthropic-messages'), {
      text: 'the weather in Oslo',
      stream: true,
      // A tool is JSON.
      more: { tools: [weather] as unknown as JsonValue, thinking: { type: 'enabled', budget_tokens: 1024 } },
    });
    const kinds = heard.events.map(({ type, delta }) =>
      typeof delta === 'object' && delta !== null && 'type' in delta ? delta.type : type,
    );
    expect(kinds.filter((kind, at) => kind !== kinds[at - 1])).toEqual([
      'message_start',
      'content_block_start',
      'ping',
      'thinking_delta',
      'signature_delta',
      'content_block_stop',
      'content_block_start',
      'input_json_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    const calls = heard.events.filter(({ delta }) => typeof delta === 'object' && delta !== null && 'partial_json' in delta);
    expect(calls[0]).toMatchObject({ delta: { partial_json: '' } });
    expect(heard.raw).toMatch(/ +\}\n\n/);
    expect(heard.raw.split('\n\n').every((event) => event === '' || /^event: \w+\ndata: \{/.test(event))).toBe(true);
  });

  test('a call without arguments is one empty delta', async () => {
    const stop = { name: 'stop_engine', input_schema: { type: 'object' as const, properties: {} } };
    const stream = client.messages.stream({ ...body, messages: [{ role: 'user', content: 'stop the engine' }], tools: [stop] });
    const deltas: string[] = [];
    stream.on('inputJson', (partial) => deltas.push(partial));
    const message = await stream.finalMessage();
    expect([deltas, message.content]).toEqual([[''], [expect.objectContaining({ name: 'stop_engine', input: {} })]]);
  });

  test('hidden and redacted thinking come back as they went', async () => {
    const newest = { ...body, model: 'claude-opus-4-8', thinking: { type: 'adaptive' } as const, tools: [weather] };
    for (const sim of ['redacted', 'reasoning=8']) {
      const first = await client.messages.create(newest, { headers: { 'x-sim': sim } });
      expect(first.content[0]).toMatchObject(
        sim === 'redacted' ? { type: 'redacted_thinking' } : { type: 'thinking', thinking: '', signature: expect.stringMatching(/.{40}/) },
      );
      const messages: Messages = [
        ...question,
        { role: 'assistant', content: first.content },
        { role: 'user', content: results(first, () => 'fine') },
      ];
      expect((await client.messages.create({ ...newest, messages })).content.at(-1)).toMatchObject({ text: 'get_weather returned: fine.' });
    }
  });

  test('caching counts what was marked, by its time to live, outside the input', async () => {
    const long = 'word '.repeat(1100);
    const marked = (ttl: '5m' | '1h'): Anthropic.MessageCreateParamsNonStreaming => ({
      ...body,
      system: [{ type: 'text', text: `${ttl} ${long}`, cache_control: { type: 'ephemeral', ttl } }],
    });
    for (const ttl of ['5m', '1h'] as const) {
      const [first, second] = [await client.messages.create(marked(ttl)), await client.messages.create(marked(ttl))];
      const written = first.usage.cache_creation_input_tokens ?? 0;
      expect(written).toBeGreaterThan(1024);
      expect(first.usage.cache_creation).toEqual({
        ephemeral_5m_input_tokens: ttl === '5m' ? written : 0,
        ephemeral_1h_input_tokens: ttl === '1h' ? written : 0,
      });
      expect(second.usage).toMatchObject({
        cache_read_input_tokens: written,
        cache_creation_input_tokens: 0,
        input_tokens: first.usage.input_tokens,
      });
    }
    const plain = await client.messages.create({ ...body, system: long });
    expect(plain.usage).toMatchObject({ cache_read_input_tokens: 0, cache_creation_input_tokens: 0 });
  });

  test('stop sequences, structured output, citations, refusals', async () => {
    const said = (text: string): Messages => [{ role: 'user', content: text }];
    expect(await client.messages.create({ ...body, messages: said('red green blue'), stop_sequences: ['x', ' green'] })).toMatchObject({
      stop_reason: 'stop_sequence',
      stop_sequence: ' green',
      content: [{ text: 'You said: red' }],
    });
    const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
    const json = await client.messages.create({
      ...body,
      messages: said('In Oslo'),
      output_config: { format: { type: 'json_schema', schema } },
    });
    expect(json.content).toMatchObject([{ type: 'text', text: '{"city":"Oslo"}' }]);
    const document: Anthropic.DocumentBlockParam = {
      type: 'document',
      title: 'facts.txt',
      source: { type: 'text', media_type: 'text/plain', data: 'Ruby was created by Matz.' },
      citations: { enabled: true },
    };
    const cited = await client.messages
      .stream({ ...body, messages: [{ role: 'user', content: [document, { type: 'text', text: 'Who?' }] }] })
      .finalMessage();
    expect(cited.content).toMatchObject([
      {
        text: 'You said: Who? I received 1 file.',
        citations: [{ type: 'char_location', document_title: 'facts.txt', end_char_index: 25 }],
      },
    ]);
    const refused = await client.messages.create(body, { headers: { 'x-sim': 'refusal' } });
    expect(refused).toMatchObject({ stop_reason: 'refusal', stop_details: { type: 'refusal' } });
  });

  test('tokens are counted as they are charged, and models are listed', async () => {
    const { input_tokens } = await client.messages.countTokens({ model: MODEL, messages: question, tools: [weather] });
    expect((await client.messages.create({ ...body, tools: [weather] })).usage.input_tokens).toBe(input_tokens);
    const { data } = await client.models.list();
    expect((await client.models.retrieve('claude-opus-4-6')).id).toBe('claude-opus-4-6');
    expect(data.length).toBeGreaterThan(3);
    const plain = new Anthropic({ apiKey: 'k', baseURL: upstream.origin, maxRetries: 0 });
    expect((await plain.models.list()).data).toEqual(data);
    expect((await plain.messages.create(body)).content).toMatchObject([{ type: 'text' }]);
  });

  test('a message of role system is for the models that take it', async () => {
    const messages = [...question, { role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Now.' }] as Messages;
    expect((await client.messages.create({ ...body, model: 'claude-opus-4-8', messages })).content).toMatchObject([
      { text: 'You said: Now.' },
    ]);
    await expect(client.messages.create({ ...body, messages })).rejects.toThrow('Unexpected role');
  });
});

const PNG = { type: 'base64', media_type: 'image/bmp', data: 'AAAA' };
const use = { type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: {} };
const answered = (...blocks: object[]): object[] => [...question, { role: 'assistant', content: [use] }, { role: 'user', content: blocks }];
const result = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'x' };
const system = (text: string): object => ({ system: [{ type: 'text', text }] });
const says = (content: unknown): object => ({ messages: [{ role: 'user', content }] });
const mark = { type: 'ephemeral' };
const budget = { type: 'enabled', budget_tokens: 1024 };

const REFUSALS: Array<[string, object, string]> = [
  ['no limit', { max_tokens: undefined }, 'max_tokens: Field required'],
  ['no messages', { messages: undefined }, 'messages: Field required'],
  ['empty messages', { messages: [] }, 'messages: at least one message is required'],
  ['a field it does not know', { stream_options: {} }, 'stream_options: Extra inputs are not permitted'],
  [
    'a field of a message it does not know',
    { messages: [{ role: 'user', content: 'x', name: 'y' }] },
    'messages.0.name: Extra inputs are not permitted',
  ],
  ['an assistant at the start', { messages: [{ role: 'assistant', content: 'x' }] }, 'first message must use the "user" role'],
  [
    'an end that is the assistant',
    { messages: [...question, { role: 'assistant', content: 'So' }] },
    'does not support assistant message prefill',
  ],
  ['an empty text', says([{ type: 'text', text: '' }]), 'messages: text content blocks must be non-empty'],
  ['a blank text', says([{ type: 'text', text: ' \n' }]), 'text content blocks must contain non-whitespace text'],
  ['an empty user', says(''), 'all messages must have non-empty content'],
  ['a blank system', system('  '), 'system: text content blocks must contain non-whitespace text'],
  ['a mark on nothing', { system: [{ type: 'text', text: '', cache_control: mark }] }, 'cache_control cannot be set for empty text blocks'],
  [
    'five marks',
    says(Array.from({ length: 5 }, () => ({ type: 'text', text: 'x', cache_control: mark }))),
    'A maximum of 4 blocks with cache_control may be provided. Found 5.',
  ],
  ['an unknown block', says([{ type: 'input_text', text: 'x' }]), "Input tag 'input_text' found using 'type'"],
  ['an image of an odd type', says([{ type: 'image', source: PNG }]), 'image.source.base64.media_type: Input should be'],
  [
    'a missing result',
    { messages: [...question, { role: 'assistant', content: [use] }, { role: 'user', content: 'x' }] },
    '`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1',
  ],
  [
    'a result behind a text',
    { messages: answered({ type: 'text', text: 'x' }, result) },
    '`tool_use` ids were found without `tool_result` blocks',
  ],
  ['an orphan result', says([result]), 'unexpected `tool_use_id` found in `tool_result` blocks: toolu_1'],
  [
    'two calls of one id',
    { messages: [...question, { role: 'assistant', content: [use, use] }, { role: 'user', content: [result] }] },
    '`tool_use` ids must be unique',
  ],
  [
    'a call with an odd id',
    { messages: [...question, { role: 'assistant', content: [{ ...use, id: 'a:b' }] }, ...question] },
    "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
  ],
  [
    'an unsigned thought',
    { messages: [...question, { role: 'assistant', content: [{ type: 'thinking', thinking: 'x' }] }, ...question] },
    'messages.1.content.0.thinking.signature: Field required',
  ],
  [
    "another's thought",
    { messages: [...question, { role: 'assistant', content: [{ type: 'thinking', thinking: 'x', signature: 'EqQB' }] }, ...question] },
    'messages.1.content.0: Invalid `signature` in `thinking` block',
  ],
  [
    'calls without their thinking',
    { thinking: budget, messages: answered(result) },
    'Expected `thinking` or `redacted_thinking`, but found `tool_use`',
  ],
  [
    'thinking and a forced call',
    { thinking: { type: 'adaptive' }, tools: [weather], tool_choice: { type: 'any' } },
    'Thinking may not be enabled when tool_choice forces tool use.',
  ],
  [
    'thinking and a temperature',
    { thinking: { type: 'adaptive' }, temperature: 0.5 },
    '`temperature` may only be set to 1 when thinking is enabled',
  ],
  ['a small budget', { thinking: { ...budget, budget_tokens: 100 } }, 'budget_tokens: Input should be greater than or equal to 1024'],
  ['a budget above the limit', { thinking: budget, max_tokens: 1024 }, '`max_tokens` must be greater than `thinking.budget_tokens`'],
  ['a budget for the newest', { model: 'claude-opus-4-7', thinking: budget }, '"thinking.type.enabled" is not supported for this model'],
  [
    'adaptive thinking of an older model',
    { model: 'claude-sonnet-4-5', thinking: { type: 'adaptive' } },
    'adaptive thinking is not supported on this model',
  ],
  [
    'an effort too high',
    { output_config: { effort: 'xhigh' } },
    "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
  ],
  ['two samplers', { temperature: 1, top_p: 0.5 }, '`temperature` and `top_p` cannot both be specified for this model'],
  ['a temperature above 1', { temperature: 1.5 }, 'temperature: range: 0..1'],
  ['a choice without tools', { tool_choice: { type: 'auto' } }, 'tool_choice may only be specified while providing tools'],
  [
    'an open schema',
    { output_config: { format: { type: 'json_schema', schema: { type: 'object' } } } },
    "'additionalProperties' must be explicitly set to false",
  ],
  [
    'an open strict tool',
    { tools: [{ ...weather, strict: true }] },
    "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly set to false",
  ],
  [
    'a tool with an odd name',
    { tools: [{ ...weather, name: 'a b' }] },
    "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
  ],
  ["a tool in OpenAI's shape", { tools: [{ type: 'function', function: {} }] }, "tools.0: Input tag 'function' found using 'type'"],
  ['a blank stop sequence', { stop_sequences: [' '] }, 'each stop sequence must contain non-whitespace'],
];

test.each(REFUSALS)('refuses %s as Anthropic does', async (_name, more, message) => {
  // The cases are JSON but for fields that are left out.
  const heard = await ask(upstream.origin, wireNamed('anthropic-messages'), { model: MODEL, more: more as JsonObject });
  expect(heard.status).toBe(400);
  expect(heard.events[0]).toMatchObject({
    type: 'error',
    error: { type: 'invalid_request_error' },
    request_id: expect.stringMatching(/^req_/),
  });
  expect(heard.error?.message).toContain(message);
});

test('a thought that was changed by one letter is refused, and one that was not is taken', async () => {
  const first = await called();
  const [thought] = first.content;
  if (thought?.type !== 'thinking') throw new Error('no thought');
  const turn = (block: Anthropic.ThinkingBlock): Messages => [
    ...question,
    { role: 'assistant', content: [block, ...first.content.slice(1)] },
    { role: 'user', content: results(first, () => 'x') },
  ];
  const again = (block: Anthropic.ThinkingBlock): Promise<Anthropic.Message> =>
    client.messages.create({ ...body, thinking, tools: [weather, clock], messages: turn(block) });
  await expect(again({ ...thought, thinking: `${thought.thinking}.` })).rejects.toThrow('Invalid `signature` in `thinking` block');
  await expect(again({ ...thought, signature: thought.signature.replace(/=$/, '') })).rejects.toThrow('Invalid `signature`');
  expect((await again(thought)).stop_reason).toBe('end_turn');
});

test('errors have their types and headers', async () => {
  const statuses: Array<[number, string]> = [
    [401, 'authentication_error'],
    [403, 'permission_error'],
    [404, 'not_found_error'],
    [413, 'request_too_large'],
    [429, 'rate_limit_error'],
    [500, 'api_error'],
    [529, 'overloaded_error'],
  ];
  for (const [status, type] of statuses) {
    const failed = client.messages.create(body, { headers: { 'x-sim': `status=${status};retry_after=3` } });
    const error: unknown = await failed.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ status, error: { type: 'error', error: { type } }, requestID: expect.stringMatching(/^req_/) });
  }
  const headers = { 'x-api-key': 'k' };
  const none = await fetch(`${upstream.origin}/anthropic/v1/messages`, { method: 'POST', headers, body: JSON.stringify(body) });
  expect([none.status, await none.json()]).toMatchObject([400, { error: { message: 'anthropic-version: header is required' } }]);
});
