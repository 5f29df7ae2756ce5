import OpenAI from 'openai';
import type { Response as OpenAiResponse, ResponseCreateParamsNonStreaming, ResponseInput } from 'openai/resources/responses/responses';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../json-value.ts';
import { startUpstream, type Upstream } from '../server.ts';
import { ask, wireNamed } from '../testing.ts';

let upstream: Upstream;
let client: OpenAI;
beforeAll(async () => {
  upstream = await startUpstream({ port: 0, paceMs: 0 });
  client = new OpenAI({ apiKey: 'sk-test-1234', baseURL: `${upstream.origin}/v1`, maxRetries: 0 });
});
afterAll(() => upstream.close());

const MODEL = 'gpt-5.4';
const declared = (name: string, field: string) => ({
  type: 'function' as const,
  name,
  strict: true,
  parameters: { type: 'object', properties: { [field]: { type: 'string' } }, required: [field], additionalProperties: false },
});
const tools = [declared('get_weather', 'city'), declared('get_time', 'zone')];
const question: ResponseInput = [{ role: 'user', content: 'What is the weather in Oslo, and the time there?' }];
const body = { model: MODEL, input: question, store: false } satisfies ResponseCreateParamsNonStreaming;
const thinking = { reasoning: { effort: 'low', summary: 'auto' }, include: ['reasoning.encrypted_content'] } as const;

/** A response that reasoned and called both tools. */
function called(): Promise<OpenAiResponse> {
  return client.responses.create({ ...body, tools, reasoning: thinking.reasoning, include: [...thinking.include] });
}

/** The items of an output as they come back, each call with its result. */
function continued(response: OpenAiResponse): ResponseInput {
  const results = response.output.flatMap((item) =>
    item.type === 'function_call' ? [{ type: 'function_call_output' as const, call_id: item.call_id, output: `${item.name}!` }] : [],
  );
  // What the SDK gives as output it takes as input, its own additions included.
  return [...question, ...(response.output as ResponseInput), ...results];
}

describe('through the official SDK', () => {
  test('reasoning, parallel calls, and their results in the next turn, streamed or not', async () => {
    const whole = await called();
    const streamed = await client.responses
      .stream({ ...body, tools, reasoning: thinking.reasoning, include: [...thinking.include] })
      .finalResponse();
    for (const response of [whole, streamed]) {
      expect(response.output).toMatchObject([
        { type: 'reasoning', encrypted_content: expect.stringMatching(/^gAAAAAB/), summary: [{ type: 'summary_text' }] },
        { type: 'function_call', name: 'get_weather', arguments: '{"city":"Oslo"}', status: 'completed' },
        { type: 'function_call', name: 'get_time', arguments: '{"zone":"Oslo"}', status: 'completed' },
      ]);
      expect(response).toMatchObject({
        status: 'completed',
        usage: { output_tokens: 38, output_tokens_details: { reasoning_tokens: 32 } },
      });
      const next = await client.responses.create({ ...body, tools, input: continued(response) });
      expect(next.output_text).toBe('get_weather returned: get_weather!. get_time returned: get_time!.');
    }
  });

  test('the events come in their order, numbered without a gap, each named as its type, without [DONE]', async () => {
    const heard = await ask(upstream.origin, wireNamed('openai-responses'), {
      text: 'red green',
      stream: true,
      more: { reasoning: { effort: 'minimal', summary: 'auto' } },
    });
    const kinds = heard.events.map(({ type }) => type);
    expect(kinds.filter((kind, at) => kind !== kinds[at - 1])).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.reasoning_summary_part.added',
      'response.reasoning_summary_text.delta',
      'response.reasoning_summary_text.done',
      'response.reasoning_summary_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(heard.events.map(({ sequence_number }) => sequence_number)).toEqual(heard.events.map((_, at) => at));
    expect(heard.raw.match(/^event: .*$/gm)).toEqual(kinds.map((kind) => `event: ${String(kind)}`));
    expect(heard.raw).not.toContain('[DONE]');
    expect(heard.events.filter(({ obfuscation }) => obfuscation !== undefined).length).toBeGreaterThan(3);
    expect(heard.events.at(-1)).toMatchObject({
      response: { output: [{ type: 'reasoning' }, { type: 'message' }], usage: { output_tokens: 12 } },
    });
  });

  test('a custom tool gets free text, and gives it back', async () => {
    const custom = { type: 'custom' as const, name: 'apply_patch' };
    const first = await client.responses.stream({ ...body, input: 'apply this patch', tools: [custom] }).finalResponse();
    expect(first.output).toMatchObject([{ type: 'custom_tool_call', name: 'apply_patch', input: 'apply this patch' }]);
    const [item] = first.output;
    if (item?.type !== 'custom_tool_call') throw new Error('no call');
    const input: ResponseInput = [
      { role: 'user', content: 'apply this patch' },
      item,
      {
        type: 'custom_tool_call_output',
        call_id: item.call_id,
        output: [
          { type: 'input_text', text: 'done' },
          { type: 'input_image', image_url: 'data:image/png;base64,AAAA', detail: 'low' },
        ],
      },
    ];
    expect((await client.responses.create({ ...body, input, tools: [custom] })).output_text).toBe('apply_patch returned: done.');
  });

  test('structured output, logprobs, citations, refusals', async () => {
    const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
    const json = await client.responses.create({
      ...body,
      input: 'In Oslo',
      text: { format: { type: 'json_schema', name: 'place', schema, strict: true } },
    });
    expect(json.output_text).toBe('{"city":"Oslo"}');
    const part = async (more: Partial<ResponseCreateParamsNonStreaming>, sim: string): Promise<unknown> => {
      const answer = await client.responses.create({ ...body, input: 'red', ...more }, { headers: { 'x-sim': sim } });
      const item = answer.output[0];
      return item?.type === 'message' ? item.content[0] : null;
    };
    expect(await part({ include: ['message.output_text.logprobs'], top_logprobs: 1 }, '')).toMatchObject({
      logprobs: [{ token: 'You', top_logprobs: [{}] }, { token: ' said:' }, { token: ' red' }],
    });
    expect(await part({}, 'citations')).toMatchObject({ annotations: [{ type: 'url_citation', start_index: 0, end_index: 13 }] });
    expect(await part({}, 'refusal')).toMatchObject({ type: 'refusal', refusal: expect.stringContaining('cannot help') });
    const kinds: string[] = [];
    for await (const event of await client.responses.create({ ...body, stream: true }, { headers: { 'x-sim': 'refusal' } }))
      kinds.push(event.type);
    expect(kinds).toContain('response.refusal.done');
  });

  test('a limit and a filter leave it incomplete, with its own last event', async () => {
    for (const [more, sim, reason] of [
      [{ max_output_tokens: 16 }, 'tokens=40', 'max_output_tokens'],
      [{}, 'content_filter=2', 'content_filter'],
    ] as const) {
      const heard = await ask(upstream.origin, wireNamed('openai-responses'), { stream: true, sim, more });
      expect(heard.events.at(-1)).toMatchObject({
        type: 'response.incomplete',
        response: { status: 'incomplete', incomplete_details: { reason }, output: [{ status: 'incomplete' }] },
      });
    }
  });

  test('what is stored can be had, gone on from, and deleted; what is not is unknown', async () => {
    const first = await client.responses.create({ ...body, store: true, reasoning: { effort: 'low' } });
    expect((await client.responses.retrieve(first.id)).output).toEqual(first.output);
    const next = await client.responses.create({ model: MODEL, input: 'and now?', previous_response_id: first.id });
    expect(next.output_text).toBe('You said: and now?');
    expect(next.usage?.input_tokens).toBeGreaterThan(first.usage?.input_tokens ?? 0);
    // The id of stored reasoning is enough.
    const [reasoning, message] = first.output;
    expect(reasoning).not.toHaveProperty('encrypted_content');
    const again = client.responses.create({ ...body, input: [...question, reasoning, message, ...question] as ResponseInput });
    expect((await again).status).toBe('completed');
    await client.responses.delete(first.id);
    await expect(client.responses.retrieve(first.id)).rejects.toMatchObject({ status: 404 });
    await expect(client.responses.create({ ...body, previous_response_id: first.id })).rejects.toMatchObject({
      code: 'previous_response_not_found',
    });
  });

  test('the error of a stream is told before the response that failed of it', async () => {
    const heard = await ask(upstream.origin, wireNamed('openai-responses'), {
      stream: true,
      sim: 'error_event_after=4 status=429 code=insufficient_quota',
    });
    expect(heard.events.slice(4)).toMatchObject([
      { type: 'error', sequence_number: 4, error: { code: 'insufficient_quota' } },
      { type: 'response.failed', sequence_number: 5, response: { status: 'failed', error: { code: 'insufficient_quota' }, usage: null } },
    ]);
  });
});

test('reasoning is taken back by who issued it, to whom it was issued, whole, and with what follows it', async () => {
  const first = await called();
  const [reasoning, call, other] = first.output;
  if (reasoning?.type !== 'reasoning' || call?.type !== 'function_call' || other?.type !== 'function_call') throw new Error('no calls');
  const outputs = continued(first).slice(-2);
  const send = (items: unknown[], by = client): Promise<OpenAiResponse> =>
    by.responses.create({ ...body, tools, input: [...question, ...items, ...outputs] as ResponseInput });
  expect((await send([reasoning, call, other])).status).toBe('completed');
  const changed = { ...reasoning, encrypted_content: `${reasoning.encrypted_content?.slice(0, -1)}-` };
  await expect(send([changed, call, other])).rejects.toMatchObject({ status: 400, code: 'invalid_encrypted_content' });
  const stranger = new OpenAI({ apiKey: 'sk-other', baseURL: `${upstream.origin}/v1`, maxRetries: 0 });
  await expect(send([reasoning, call, other], stranger)).rejects.toMatchObject({ code: 'invalid_encrypted_content' });
  const { encrypted_content: _, ...bare } = reasoning;
  await expect(send([bare, call, other])).rejects.toThrow(`Item with id '${reasoning.id}' not found. Items are not persisted`);
  await expect(send([call, other])).rejects.toThrow("was provided without its required 'reasoning' item: 'rs_");
  await expect(client.responses.create({ ...body, input: [...question, reasoning] as ResponseInput })).rejects.toThrow(
    'without its required following item',
  );
  // Without their ids the calls stand for themselves.
  const nameless = [call, other].map(({ id: _id, ...rest }) => rest);
  expect((await send(nameless)).status).toBe('completed');
});

const call = { type: 'function_call', call_id: 'call_1', name: 'f', arguments: '{}' };
const output = { type: 'function_call_output', call_id: 'call_1', output: 'x' };
const long = 'c'.repeat(65);
const open = { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] };

const REFUSALS: Array<[string, object, object]> = [
  ['no input', { input: null }, { param: 'input', code: 'missing_required_parameter' }],
  ['a parameter of chat', { messages: [] }, { param: 'messages', code: 'unknown_parameter' }],
  ['stop', { stop: ['x'] }, { message: "Unknown parameter: 'stop'." }],
  ['usage as chat asks for it', { stream: true, stream_options: { include_usage: true } }, { param: 'stream_options.include_usage' }],
  [
    'a call id above 64',
    {
      input: [
        { ...call, call_id: long },
        { ...output, call_id: long },
      ],
    },
    { code: 'string_above_max_length', param: 'input[0].call_id' },
  ],
  ['a call without output', { input: [call] }, { message: 'No tool output found for function call call_1.' }],
  ['an output without call', { input: [output] }, { message: 'No tool call found for function call output with call_id call_1.' }],
  [
    'a part of chat',
    { input: [{ role: 'user', content: [{ type: 'text', text: 'x' }] }] },
    { code: 'invalid_value', message: expect.stringContaining("Invalid value: 'text'") },
  ],
  [
    "the user's part of an assistant",
    { input: [{ role: 'assistant', content: [{ type: 'input_text', text: 'x' }] }] },
    { code: 'invalid_value' },
  ],
  ['a role of tool', { input: [{ role: 'tool', content: 'x' }] }, { param: 'input[0].role' }],
  [
    "a tool in chat's shape",
    { tools: [{ type: 'function', function: { name: 'f' } }] },
    { param: 'tools[0].name', code: 'missing_required_parameter' },
  ],
  ['a tool name above 64', { tools: [{ type: 'function', name: 'n'.repeat(65) }] }, { code: 'string_above_max_length' }],
  [
    'an open schema that is strict',
    { tools: [{ type: 'function', name: 'f', strict: true, parameters: open }] },
    { code: 'invalid_function_parameters' },
  ],
  [
    'an optional field that is strict',
    { text: { format: { type: 'json_schema', name: 's', strict: true, schema: { ...open, required: [], additionalProperties: false } } } },
    { code: 'invalid_json_schema', message: expect.stringContaining("Missing 'a'") },
  ],
  ['few tokens', { max_output_tokens: 3 }, { code: 'integer_below_min_value' }],
  [
    'an effort of an older model',
    { model: 'gpt-4o', reasoning: { effort: 'low' } },
    { param: 'reasoning.effort', code: 'unsupported_parameter' },
  ],
  ['an unknown effort', { reasoning: { effort: 'huge' } }, { param: 'reasoning.effort', code: 'invalid_value' }],
  ['an unknown inclusion', { include: ['everything'] }, { param: 'include[0]', code: 'invalid_value' }],
  [
    'JSON that is not spoken of',
    { text: { format: { type: 'json_object' } } },
    { message: expect.stringContaining("must contain the word 'json'") },
  ],
  ['a forced call of nothing', { tool_choice: 'required' }, { param: 'tool_choice' }],
  ['an item it does not know', { input: [{ type: 'tool_use' }] }, { param: 'input[0].type', code: 'invalid_value' }],
];

test.each(REFUSALS)('refuses %s as OpenAI does', async (_name, more, error) => {
  // The cases are JSON.
  const heard = await ask(upstream.origin, wireNamed('openai-responses'), { more: more as JsonObject });
  expect([heard.status, heard.error]).toEqual([400, expect.objectContaining({ type: 'invalid_request_error', ...error })]);
});

test('reasoning models refuse a temperature where a call is strict', async () => {
  const heard = await ask(upstream.origin, wireNamed('openai-responses'), { sim: 'strict', more: { temperature: 1 } });
  expect([heard.status, heard.error?.message]).toEqual([400, "Unsupported parameter: 'temperature' is not supported with this model."]);
});
