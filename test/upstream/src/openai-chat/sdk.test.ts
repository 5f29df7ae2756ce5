import { Ajv2020 } from 'ajv/dist/2020.js';
import OpenAI from 'openai';
import type { ChatCompletionMessageParam, ChatCompletionTool } from 'openai/resources/chat/completions';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bodyOf } from '../answer-body.ts';
import { startUpstream, type Upstream } from '../server.ts';

let upstream: Upstream;
let openai: OpenAI;
let openrouter: OpenAI;

beforeAll(async () => {
  upstream = await startUpstream({ port: 0, paceMs: 0 });
  openai = new OpenAI({ apiKey: 'sk-test-1234', baseURL: `${upstream.origin}/v1`, maxRetries: 0 });
  openrouter = new OpenAI({ apiKey: 'sk-or-test', baseURL: `${upstream.origin}/api/v1`, maxRetries: 0 });
});
afterAll(() => upstream.close());

function user(content: string): ChatCompletionMessageParam[] {
  return [{ role: 'user', content }];
}

function tool(name: string, properties: Record<string, unknown>): ChatCompletionTool {
  return { type: 'function', function: { name, parameters: { type: 'object', properties, required: Object.keys(properties) } } };
}

const weather = tool('get_weather', { city: { type: 'string' }, unit: { type: 'string', enum: ['celsius', 'fahrenheit'] } });
const clock = tool('get_time', { zone: { type: 'string' } });

test('the same request gets the same answer under another id', async () => {
  const ask = () => openai.chat.completions.create({ model: 'gpt-4o', messages: user('Tell me about Lisbon') });
  const [first, second] = [await ask(), await ask()];
  expect(first.choices).toEqual(second.choices);
  expect(first.usage).toEqual(second.usage);
  expect(first.id).not.toBe(second.id);
  expect(first.choices[0]?.message.content).toBe('You said: Tell me about Lisbon');
  // 3 for the prompt, 4 for the message, 20 bytes in quarters; six words come back.
  expect(first.usage).toMatchObject({ prompt_tokens: 12, completion_tokens: 6, total_tokens: 18 });
});

test('a stream says what the whole answer says, one token a chunk, with usage only when asked', async () => {
  const request = { model: 'gpt-4o', messages: user('Count the chunks of this sentence') };
  const whole = await openai.chat.completions.create(request);
  for (const include_usage of [true, false]) {
    const stream = await openai.chat.completions.create({ ...request, stream: true, stream_options: { include_usage } });
    let text = '';
    let pieces = 0;
    const usages: unknown[] = [];
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta.content ?? '';
      text += piece;
      if (piece !== '') pieces += 1;
      if (chunk.usage) usages.push(chunk.usage);
    }
    expect(text).toBe(whole.choices[0]?.message.content);
    expect(pieces).toBe(whole.usage?.completion_tokens);
    expect(usages).toEqual(include_usage ? [whole.usage] : []);
  }
});

test('a limit cuts the answer, reasoning first', async () => {
  const messages = user('one two three four five six seven');
  const cut = await openai.chat.completions.create({ model: 'gpt-4o', messages, max_tokens: 3 });
  expect([cut.choices[0]?.finish_reason, cut.choices[0]?.message.content, cut.usage?.completion_tokens]).toEqual([
    'length',
    'You said: one',
    3,
  ]);
  const thinking = await openai.chat.completions.create({ model: 'gpt-5', messages, reasoning_effort: 'low', max_completion_tokens: 34 });
  expect(thinking.usage).toMatchObject({ completion_tokens: 34, completion_tokens_details: { reasoning_tokens: 32 } });
  const lost = await openai.chat.completions.create({ model: 'gpt-5', messages, reasoning_effort: 'high', max_completion_tokens: 20 });
  expect(lost.choices[0]).toMatchObject({ finish_reason: 'length', message: { content: '' } });
  expect(lost.usage?.completion_tokens_details?.reasoning_tokens).toBe(20);
});

test('stop, n, logprobs, service tier, images', async () => {
  const messages = user('red green blue');
  const stopped = await openai.chat.completions.create({ model: 'gpt-4o', messages, stop: ' green' });
  expect(stopped.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: 'You said: red' } });
  const many = await openai.chat.completions.create({ model: 'gpt-4o', messages, n: 3, service_tier: 'auto' });
  expect(new Set(many.choices.map((choice) => choice.message.content)).size).toBe(3);
  expect(many.service_tier).toBe('default');
  expect((await openai.chat.completions.create({ model: 'gpt-4o', messages, service_tier: 'flex' })).service_tier).toBe('flex');
  const sure = await openai.chat.completions.create({ model: 'gpt-4o', messages, logprobs: true, top_logprobs: 2 });
  const entries = sure.choices[0]?.logprobs?.content ?? [];
  expect(entries.map((entry) => entry.token).join('')).toBe(sure.choices[0]?.message.content);
  expect(entries[0]?.top_logprobs.length).toBe(2);
  const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=', detail: 'low' } } as const;
  const seen = await openai.chat.completions.create({
    model: 'gpt-4o',
    messages: [{ role: 'user', content: [{ type: 'text', text: 'What is this?' }, image, image] }],
  });
  expect(seen.choices[0]?.message.content).toContain('I received 2 images.');
  expect(seen.usage?.prompt_tokens).toBe(3 + 4 + 4 + 2 * 85);
});

test('an answer may cite, and the model may refuse', async () => {
  const body = { model: 'gpt-4o', messages: user('red') };
  for (const [sim, shape] of [
    ['citations', { content: 'You said: red', annotations: [{ type: 'url_citation', url_citation: { start_index: 0, end_index: 13 } }] }],
    ['refusal', { content: null, refusal: "I'm sorry, but I cannot help with that." }],
  ] as const) {
    const whole = await openai.chat.completions.create(body, { headers: { 'x-sim': sim } });
    expect(whole.choices[0]).toMatchObject({ finish_reason: 'stop', message: shape });
    const stream = openai.chat.completions.stream(body, { headers: { 'x-sim': sim } });
    const deltas: object[] = [];
    stream.on('chunk', (chunk) => deltas.push(chunk.choices[0]?.delta ?? {}));
    await stream.done();
    expect(deltas.some((delta) => 'annotations' in delta)).toBe(sim === 'citations');
    expect(deltas.filter((delta) => 'refusal' in delta && delta.refusal !== null).length > 0).toBe(sim === 'refusal');
  }
});

test('calls the tools that fit in parallel, and uses their results in the next turn', async () => {
  const messages = user('What is the weather in Oslo, and the time there?');
  const first = await openai.chat.completions.create({ model: 'gpt-4o', messages, tools: [weather, clock] });
  const choice = first.choices[0];
  expect(choice?.finish_reason).toBe('tool_calls');
  const calls = choice?.message.tool_calls ?? [];
  expect(calls.map((call) => call.type === 'function' && [call.function.name, JSON.parse(call.function.arguments)])).toEqual([
    ['get_weather', { city: 'Oslo', unit: 'celsius' }],
    ['get_time', { zone: 'Oslo' }],
  ]);
  const results = calls.map((call, at) => ({
    role: 'tool' as const,
    tool_call_id: call.id,
    content: at === 0 ? '4 degrees' : 'half past nine',
  }));
  const turn = choice === undefined ? [] : [choice.message, ...results];
  const second = await openai.chat.completions.create({ model: 'gpt-4o', messages: [...messages, ...turn], tools: [weather, clock] });
  expect(second.choices[0]?.message.content).toBe('get_weather returned: 4 degrees. get_time returned: half past nine.');
  const single = await openai.chat.completions.create({ model: 'gpt-4o', messages, tools: [weather, clock], parallel_tool_calls: false });
  expect(single.choices[0]?.message.tool_calls?.length).toBe(1);
});

test('streams a call as its name, then pieces of its arguments', async () => {
  const body = { model: 'gpt-4o', messages: user('weather in Bergen please'), tools: [weather, clock] };
  const whole = await openai.chat.completions.create(body);
  const runner = openai.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
  const final = await runner.finalChatCompletion();
  const shapes = (choices: typeof whole.choices): unknown =>
    choices[0]?.message.tool_calls?.map((call) => call.type === 'function' && [call.function.name, call.function.arguments]);
  expect(shapes(final.choices)).toEqual(shapes(whole.choices));
  expect(final.usage).toEqual(whole.usage);
});

test('tool_choice decides', async () => {
  const ask = async (tool_choice: OpenAI.ChatCompletionToolChoiceOption, text = 'hello') => {
    const answer = await openai.chat.completions.create({ model: 'gpt-4o', messages: user(text), tools: [weather, clock], tool_choice });
    return answer.choices[0]?.message.tool_calls?.map((call) => (call.type === 'function' ? call.function.name : '')) ?? [];
  };
  expect(await ask('auto')).toEqual([]);
  expect(await ask('none', 'the weather')).toEqual([]);
  expect(await ask('required')).toEqual(['get_weather']);
  expect(await ask({ type: 'function', function: { name: 'get_time' } })).toEqual(['get_time']);
});

test('structured output satisfies its schema, streamed or not', async () => {
  const schema = {
    type: 'object',
    properties: {
      title: { type: 'string' },
      score: { type: 'integer', minimum: 1, maximum: 5 },
      mood: { type: ['string', 'null'], enum: ['calm', 'angry', null] },
      steps: { type: 'array', items: { $ref: '#/$defs/step' } },
    },
    required: ['title', 'score', 'mood', 'steps'],
    additionalProperties: false,
    $defs: { step: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'], additionalProperties: false } },
  };
  const validate = new Ajv2020({ strict: false }).compile(schema);
  const response_format = { type: 'json_schema' as const, json_schema: { name: 'review', schema, strict: true } };
  const body = { model: 'gpt-4o', messages: user('Review the Odyssey'), response_format };
  const whole = await openai.chat.completions.create(body);
  const streamed = await openai.chat.completions.stream(body).finalChatCompletion();
  for (const answer of [whole, streamed]) expect(validate(JSON.parse(answer.choices[0]?.message.content ?? ''))).toBe(true);
  const json = await openai.chat.completions.create({ ...body, response_format: { type: 'json_object' }, messages: user('Give me JSON') });
  expect(JSON.parse(json.choices[0]?.message.content ?? '')).toEqual({ answer: 'You said: Give me JSON' });
});

test('embeddings are unit vectors, the same as floats and as base64', async () => {
  const input = ['first', 'second'];
  const floats = await openai.embeddings.create({ model: 'text-embedding-3-small', input, encoding_format: 'float' });
  // The SDK asks for base64 by itself and decodes it.
  const decoded = await openai.embeddings.create({ model: 'text-embedding-3-small', input });
  floats.data.forEach((item, at) => {
    expect(item.embedding.length).toBe(1536);
    expect(Math.hypot(...item.embedding)).toBeCloseTo(1, 5);
    expect(Float32Array.from(item.embedding)).toEqual(Float32Array.from(decoded.data[at]?.embedding ?? []));
  });
  expect(floats.usage).toEqual({ prompt_tokens: 4, total_tokens: 4 });
  const tokens = await openai.embeddings.create({ model: 'text-embedding-3-large', input: [[1, 2, 3], [4]] });
  expect([tokens.data[0]?.embedding.length, tokens.usage.prompt_tokens]).toEqual([3072, 4]);
  const short = await openai.embeddings.create({ model: 'text-embedding-3-large', input: 'x', dimensions: 7 });
  expect(short.data[0]?.embedding.length).toBe(7);
});

test('OpenRouter gives its own ids, provider and cost, with usage on every stream', async () => {
  const body = { model: 'openai/gpt-4o', messages: user('hello') };
  const whole = await openrouter.chat.completions.create(body).withResponse();
  expect(whole.response.headers.get('x-generation-id')).toBe(whole.data.id);
  expect(whole.data).toMatchObject({ id: expect.stringMatching(/^gen-/), provider: 'Simulated', usage: { cost: expect.any(Number) } });
  const stream = await openrouter.chat.completions.create({ ...body, stream: true });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  expect(chunks.at(-1)?.usage).toEqual(whole.data.usage);
  const raw = await openrouter.post('/chat/completions', { body: { ...body, stream: true }, __binaryResponse: true }).asResponse();
  expect(await raw.text()).toMatch(/^: OPENROUTER PROCESSING\n\n/);
  await expect(openrouter.chat.completions.create({ ...body, model: 'gpt-4o' })).rejects.toThrow('gpt-4o is not a valid model ID');
});

test('a long prefix is cached for models that ask for it, and for no other', async () => {
  const messages = user(`${'word '.repeat(1000)} and then`);
  const cachedTokens = async (model: string) => {
    const answer = await openai.chat.completions.create({ model, messages });
    return answer.usage?.prompt_tokens_details?.cached_tokens;
  };
  expect([await cachedTokens('gpt-4o'), await cachedTokens('gpt-4o')]).toEqual([0, 0]);
  expect([await cachedTokens('gpt-4o-cache'), await cachedTokens('gpt-4o-cache')]).toEqual([0, 1152]);
});

test('models are listed, and those listed are found', async () => {
  const { data } = await openai.models.list();
  const first = data[0]?.id ?? '';
  expect((await openai.models.retrieve(first)).id).toBe(first);
  await expect(openai.models.retrieve('nothing')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
});

const refusals: Array<[string, object, object]> = [
  ['no model', { messages: [] }, { status: 400, message: expect.stringContaining('you must provide a model parameter') }],
  ['no messages', { model: 'gpt-4o' }, { status: 400, param: 'messages', code: 'missing_required_parameter' }],
  ['empty messages', { model: 'gpt-4o', messages: [] }, { status: 400, code: 'empty_array' }],
  ['messages of a wrong type', { model: 'gpt-4o', messages: 'hi' }, { status: 400, code: 'invalid_type' }],
  [
    'a wrong role',
    { model: 'gpt-4o', messages: [{ role: 'robot', content: 'x' }] },
    { status: 400, param: 'messages[0].role', code: 'invalid_value' },
  ],
  ['an unknown model', { model: 'unknown-1', messages: user('x') }, { status: 404, code: 'model_not_found' }],
  [
    'a temperature out of range',
    { model: 'gpt-4o', messages: user('x'), temperature: 3 },
    { status: 400, code: 'decimal_above_max_value' },
  ],
  ['no room to answer', { model: 'gpt-4o', messages: user('x'), max_tokens: 0 }, { status: 400, code: 'integer_below_min_value' }],
  [
    'stream options without a stream',
    { model: 'gpt-4o', messages: user('x'), stream_options: {} },
    { status: 400, param: 'stream_options' },
  ],
  [
    'a tool result to no call',
    { model: 'gpt-4o', messages: [{ role: 'tool', tool_call_id: 'a', content: 'x' }] },
    { status: 400, param: 'messages.[0].role' },
  ],
  [
    'a strict function with an argument that may be left away',
    {
      model: 'gpt-4o',
      messages: user('hi'),
      tools: [
        {
          type: 'function',
          function: {
            name: 'f',
            strict: true,
            parameters: { type: 'object', properties: { a: { type: 'string' } }, required: [], additionalProperties: false },
          },
        },
      ],
    },
    { status: 400, code: 'invalid_function_parameters', message: expect.stringContaining("Missing 'a'") },
  ],
  [
    'a strict format that is not closed',
    {
      model: 'gpt-4o',
      messages: user('hi'),
      response_format: { type: 'json_schema', json_schema: { name: 'x', strict: true, schema: { type: 'object', properties: {} } } },
    },
    { status: 400, message: expect.stringContaining("'additionalProperties' is required") },
  ],
  [
    'an effort of a model that does not think',
    { model: 'gpt-4o', messages: user('hi'), reasoning_effort: 'high' },
    { status: 400, message: expect.stringContaining('reasoning_effort') },
  ],
  ['a knob that does not exist', { model: 'gpt-4o', messages: user('[[sim sttus=500]]') }, { status: 400, code: 'invalid_knob' }],
];

test.each(refusals)('refuses %s as OpenAI does', async (_name, body, error) => {
  await expect(openai.post('/chat/completions', { body })).rejects.toMatchObject(error);
});

test('keys are needed and may be wrong', async () => {
  const bad = new OpenAI({ apiKey: 'sk-bad-key-9999', baseURL: `${upstream.origin}/v1`, maxRetries: 0 });
  await expect(bad.models.list()).rejects.toMatchObject({ status: 401, code: 'invalid_api_key' });
  const none = await fetch(`${upstream.origin}/v1/models`);
  expect([none.status, (await bodyOf(none)).error.message]).toEqual([401, expect.stringContaining("You didn't provide an API key.")]);
  const router = await fetch(`${upstream.origin}/api/v1/models`);
  expect(await router.json()).toEqual({ error: { message: 'Missing Authentication header', code: 401 } });
});
