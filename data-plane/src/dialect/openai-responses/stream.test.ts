import { GatewayError } from '@meridian/domain/error';
import fc from 'fast-check';
import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { packCallId } from '../../canonical/call-id.ts';
import { unpackCarrier } from '../../canonical/carrier.ts';
import type { StreamEvent } from '../../canonical/event.ts';
import { isObject } from '../json.ts';
import { openaiResponses } from './index.ts';
import { ResponsesStreamDecoder } from './stream-decoder.ts';
import { ResponsesStreamEncoder } from './stream-encoder.ts';
import { eventsOf, type Json, present, recordedStreams, requestOf, sse } from './testing.ts';

const REQUEST_ID = 'req_abc';

function decode(...pieces: readonly Buffer[]): StreamEvent[] {
  const decoder = new ResponsesStreamDecoder();
  return [...pieces.flatMap((piece) => decoder.push(piece)), ...decoder.end()];
}

function encoder(fields: Json = {}): ResponsesStreamEncoder {
  return new ResponsesStreamEncoder({
    requestId: REQUEST_ID,
    wantsStreamUsage: true,
    model: undefined,
    createdSeconds: 17,
    request: requestOf({ stream: true, ...fields }),
  });
}

function encode(events: readonly StreamEvent[], fields: Json = {}): Json[] {
  const made = encoder(fields);
  return eventsOf([...events.flatMap((event) => made.push([event])), ...made.end('0.25')]);
}

const start: StreamEvent = { type: 'start', id: 'up', createdSeconds: 5, model: 'up-1', rest: {} };
const text = (value: string): StreamEvent => ({ type: 'text', choice: 0, text: value, logprobs: undefined });
const thought = (value: string): StreamEvent => ({ type: 'reasoning', choice: 0, text: value });
const state = (value: unknown): StreamEvent => ({
  type: 'reasoning_carrier',
  choice: 0,
  carrier: { dialect: 'anthropic-messages', value },
});
const call = (number: number, name = 'f', id = `call_${number}`): StreamEvent => ({
  type: 'tool_call_start',
  choice: 0,
  call: number,
  id,
  name,
  kind: 'function',
  rest: {},
});
const args = (number: number, value: string): StreamEvent => ({ type: 'tool_call_arguments', choice: 0, call: number, text: value });
const finish = (reason: 'stop' | 'tool_calls' | 'length' | 'content_filter' = 'stop'): StreamEvent => ({
  type: 'finish',
  choice: 0,
  finish: { reason, raw: reason },
});
const usage: StreamEvent = { type: 'usage', report: { usage: { input: 3, cached_input: 2, output: 4 }, reasoningTokens: 1, raw: {} } };

const types = (events: readonly Json[]): unknown[] => events.map((event) => String(event.type).replace('response.', ''));
const items = (events: readonly Json[]): Json[] => {
  const response = events.at(-1)?.response;
  return isObject(response) && Array.isArray(response.output) ? response.output : [];
};

describe('the events of an answer', () => {
  const events = encode(
    [start, thought('Hm'), state('sig'), text('Hel'), text('lo'), call(0), args(0, '{"a"'), args(0, ':1}'), finish('tool_calls'), usage],
    {
      include: ['reasoning.encrypted_content'],
    },
  );

  it('come in the order of the protocol', () => {
    expect(types(events)).toEqual([
      'created',
      'in_progress',
      'output_item.added',
      'reasoning_summary_part.added',
      'reasoning_summary_text.delta',
      'reasoning_summary_text.done',
      'reasoning_summary_part.done',
      'output_item.done',
      'output_item.added',
      'content_part.added',
      'output_text.delta',
      'output_text.delta',
      'output_text.done',
      'content_part.done',
      'output_item.done',
      'output_item.added',
      'function_call_arguments.delta',
      'function_call_arguments.delta',
      'function_call_arguments.done',
      'output_item.done',
      'completed',
    ]);
  });

  it('are numbered from 0 without a gap, and one a buffer', () => {
    expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, index) => index));
    const made = encoder();
    for (const bytes of [...made.push([start, text('a'), call(0), args(0, '{}'), finish()]), ...made.end(undefined)]) {
      expect(eventsOf(bytes)).toHaveLength(1);
    }
  });

  it('speak of each item by one place and one id', () => {
    const ids = new Map<unknown, unknown>();
    for (const event of events) {
      if (event.output_index === undefined) continue;
      const id = event.item_id ?? (event.item as Json).id;
      expect(ids.get(event.output_index) ?? id).toBe(id);
      ids.set(event.output_index, id);
    }
    expect([...ids]).toEqual([
      [0, 'rs_abc_0'],
      [1, 'msg_abc_1'],
      [2, 'fc_abc_2'],
    ]);
    expect(items(events).map((item) => item.id)).toEqual([...ids.values()]);
  });

  it('end in the whole response', () => {
    const [first, second] = events;
    expect(first?.response).toEqual(second?.response);
    expect(first?.response).toMatchObject({
      id: 'resp_abc',
      created_at: 5,
      model: 'up-1',
      status: 'in_progress',
      output: [],
      usage: null,
      store: false,
    });
    const { output, usage: counts, ...last } = (events.at(-1) as Json).response as Json;
    expect(last).toMatchObject({ id: 'resp_abc', status: 'completed', incomplete_details: null, error: null });
    expect(counts).toEqual({
      input_tokens: 5,
      input_tokens_details: { cached_tokens: 2, cache_write_tokens: 0 },
      output_tokens: 4,
      output_tokens_details: { reasoning_tokens: 1 },
      total_tokens: 9,
      cost_usd: 0.25,
    });
    expect(output).toMatchObject([
      { type: 'reasoning', summary: [{ type: 'summary_text', text: 'Hm' }] },
      {
        type: 'message',
        status: 'completed',
        role: 'assistant',
        content: [{ type: 'output_text', text: 'Hello', annotations: [], logprobs: [] }],
      },
      { type: 'function_call', status: 'completed', call_id: 'call_0', name: 'f', arguments: '{"a":1}' },
    ]);
    expect(unpackCarrier(String(items(events)[0]?.encrypted_content))).toEqual({ dialect: 'anthropic-messages', value: 'sig' });
  });

  it('repeat what was asked for', () => {
    const asked = {
      instructions: 'Be brief.',
      max_output_tokens: 100,
      max_tool_calls: 3,
      metadata: { a: 'b' },
      parallel_tool_calls: false,
      prompt_cache_key: 'k',
      reasoning: { effort: 'low', summary: 'auto' },
      temperature: 0.5,
      text: { format: { type: 'json_schema', name: 'x', schema: { type: 'object' }, strict: true, description: null }, verbosity: 'low' },
      tool_choice: { type: 'function', name: 'f' },
      tools: [{ type: 'function', name: 'f', description: null, parameters: { type: 'object' }, strict: true }],
      top_p: 0.9,
      truncation: 'auto',
    };
    expect(encode([start, text('a'), finish()], asked)[0]?.response).toMatchObject(asked);
  });
});

describe('what an upstream sends', () => {
  it('is held as long as nothing is in it', () => {
    const made = encoder();
    expect(made.push([start, { type: 'service_tier', serviceTier: 'flex' }])).toEqual([]);
    expect(types(eventsOf(made.push([text('a')]))).slice(0, 3)).toEqual(['created', 'in_progress', 'output_item.added']);
    expect(types(eventsOf(encoder().end('0')))).toEqual(['created', 'in_progress', 'completed']);
  });

  it('of calls in turns stays two items, each with its own arguments', () => {
    const events = encode([
      start,
      call(0),
      call(1),
      args(0, '{"a":'),
      args(1, '{"b":'),
      args(0, '1}'),
      args(1, '2}'),
      finish('tool_calls'),
    ]);
    expect(items(events)).toMatchObject([{ arguments: '{"a":1}' }, { arguments: '{"b":2}' }]);
    expect(events.filter(({ type }) => type === 'response.function_call_arguments.delta').map(({ output_index }) => output_index)).toEqual([
      0, 1, 0, 1,
    ]);
    // A call whose arguments are whole is done before the next one begins.
    const ordered = encode([start, call(0), args(0, '{}'), call(1), args(1, '{}'), finish('tool_calls')]);
    const ends = ordered.map(({ type, output_index }) => `${String(type).split('.').at(-1)} ${output_index}`);
    expect(ends.indexOf('done 0')).toBeLessThan(ends.indexOf('added 1'));
  });

  it('of a call without arguments is an empty object of them', () => {
    expect(items(encode([start, call(0), finish('tool_calls')]))).toMatchObject([{ arguments: '{}' }]);
  });

  it('of text behind a call is an item behind it, with its sources counted from its own beginning', () => {
    const citation: StreamEvent = { type: 'citation', choice: 0, citation: { url: 'https://a', title: 'A', start: 5, end: 7, rest: {} } };
    const events = encode([start, text('One. '), call(0), args(0, '{}'), text('Two.'), citation, finish()]);
    expect(items(events)).toMatchObject([
      { type: 'message', content: [{ text: 'One. ' }] },
      { type: 'function_call' },
      {
        type: 'message',
        content: [{ text: 'Two.', annotations: [{ type: 'url_citation', url: 'https://a', title: 'A', start_index: 0, end_index: 2 }] }],
      },
    ]);
    expect(events.find(({ type }) => type === 'response.output_text.annotation.added')).toMatchObject({
      annotation_index: 0,
      output_index: 2,
    });
  });

  it('of speech is a message of its own, which places in the text do not count', () => {
    const source: StreamEvent = { type: 'citation', choice: 0, citation: { url: 'https://a', title: 'A', start: 0, end: 3, rest: {} } };
    const spoken: StreamEvent = {
      type: 'media',
      choice: 0,
      part: { type: 'audio', source: { from: 'base64', mediaType: 'audio/wav', data: 'AAAA' }, transcript: 'Said', rest: {} },
    };
    expect(items(encode([start, spoken, text('Two.'), source, finish()]))).toMatchObject([
      { content: [{ text: 'Said', annotations: [] }] },
      { content: [{ text: 'Two.', annotations: [{ start_index: 0, end_index: 3 }] }] },
    ]);
  });

  it('of sources before their text waits for it, and of sources behind a text that has ended is told of no other text', () => {
    const citation = (start: number, end: number): StreamEvent => ({
      type: 'citation',
      choice: 0,
      citation: { url: 'https://a', title: 'A', start, end, rest: {} },
    });
    const events = encode([
      start,
      citation(0, 0),
      citation(0, 3),
      text('One. '),
      call(0),
      args(0, '{}'),
      citation(1, 2),
      text('Two.'),
      citation(5, 8),
      finish(),
    ]);
    expect(items(events).map(({ content }) => content)).toMatchObject([
      // Some providers tell of no place.
      [
        {
          annotations: [
            { start_index: 0, end_index: 0 },
            { start_index: 0, end_index: 3 },
          ],
        },
      ],
      undefined,
      [{ annotations: [{ start_index: 0, end_index: 3 }] }],
    ]);
    const order = types(events);
    expect(order.indexOf('output_text.annotation.added')).toBe(order.indexOf('output_text.delta') + 1);
  });

  it('of a refusal is a part of the message', () => {
    const events = encode([start, text('Well. '), { type: 'refusal', choice: 0, text: 'No.' }, finish()]);
    expect(items(events)[0]?.content).toMatchObject([
      { type: 'output_text', text: 'Well. ' },
      { type: 'refusal', refusal: 'No.' },
    ]);
    expect(types(events)).toContain('refusal.done');
  });

  it('of an answer that is cut is incomplete, and so is the item that was', () => {
    const events = encode([start, text('a'), call(0), args(0, '{"a'), finish('length')]);
    expect(events.at(-1)).toMatchObject({
      type: 'response.incomplete',
      response: { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } },
    });
    expect(items(events)).toMatchObject([{ status: 'completed' }, { status: 'incomplete' }]);
    expect(encode([start, text('a'), finish('content_filter')]).at(-1)).toMatchObject({
      response: { incomplete_details: { reason: 'content_filter' } },
    });
  });

  it('of opaque state is given only to who asked for it', () => {
    const events = [start, thought('Hm'), state('one'), state('two'), text('a'), finish()];
    expect(items(encode(events)).map(({ type, encrypted_content }) => [type, encrypted_content])).toEqual([
      ['reasoning', undefined],
      ['message', undefined],
    ]);
    const asked = items(encode(events, { include: ['reasoning.encrypted_content'] }));
    expect(asked.map(({ encrypted_content: value }) => value && unpackCarrier(String(value))?.value)).toEqual(['one', 'two', undefined]);
  });

  it('of a picture is one that the provider has made', () => {
    const part = { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'AAAA' }, detail: undefined, rest: {} } as const;
    expect(items(encode([start, { type: 'media', choice: 0, part }, finish()]))).toMatchObject([
      { type: 'image_generation_call', status: 'completed', result: 'AAAA' },
    ]);
  });

  it('of probabilities is told where they were asked for', () => {
    const content = [{ token: 'a', logprob: -1, bytes: null, top_logprobs: [{ token: 'a', logprob: -1 }] }];
    const events: StreamEvent[] = [start, { type: 'text', choice: 0, text: 'a', logprobs: { content } }, finish()];
    const told = [{ token: 'a', logprob: -1, bytes: [], top_logprobs: [{ token: 'a', logprob: -1, bytes: [] }] }];
    const asked = encode(events, { include: ['message.output_text.logprobs'] });
    expect(asked.find(({ type }) => type === 'response.output_text.delta')?.logprobs).toEqual(told);
    expect(items(asked)).toMatchObject([{ content: [{ logprobs: told }] }]);
    expect(encode(events).find(({ type }) => type === 'response.output_text.delta')?.logprobs).toEqual([]);
  });

  it('of a call behind its end breaks the stream and is not lost unseen', () => {
    const made = encoder();
    made.push([start, call(0), args(0, '{}'), call(1)]);
    expect(() => made.push([args(0, '1')])).toThrow(GatewayError);
  });
});

describe('a custom tool', () => {
  const tools = [{ type: 'custom', name: 'apply_patch', format: { type: 'grammar', syntax: 'lark', definition: 'start: "a"' } }];

  it('that an upstream knows as a function is called with free text', () => {
    const input = '*** Begin "Patch"\né';
    const json = JSON.stringify({ input });
    const events = encode([start, call(0, 'apply_patch'), args(0, json.slice(0, 9)), args(0, json.slice(9)), finish('tool_calls')], {
      tools,
    });
    expect(items(events)).toMatchObject([{ type: 'custom_tool_call', id: 'ctc_abc_0', call_id: 'call_0', name: 'apply_patch', input }]);
    expect(types(events).slice(2, -1)).toEqual([
      'output_item.added',
      'custom_tool_call_input.delta',
      'custom_tool_call_input.done',
      'output_item.done',
    ]);
    expect(events[3]).toMatchObject({ delta: input });
  });

  it('that the upstream has, too, comes piece by piece', () => {
    const custom: StreamEvent = {
      type: 'tool_call_start',
      choice: 0,
      call: 0,
      id: 'call_0',
      name: 'apply_patch',
      kind: 'custom',
      rest: {},
    };
    const events = encode([start, custom, args(0, '*** Be'), args(0, 'gin'), finish('tool_calls')], { tools });
    expect(events.filter(({ type }) => type === 'response.custom_tool_call_input.delta').map(({ delta }) => delta)).toEqual([
      '*** Be',
      'gin',
    ]);
    expect(items(events)).toMatchObject([{ type: 'custom_tool_call', input: '*** Begin' }]);
  });

  it('has the client’s name for it, and an id that holds what its issuer wants back', () => {
    const name = `${'long.'.repeat(20)}name`;
    const carriers = [{ dialect: 'gemini', value: 'sig' }] as const;
    const [event] = [{ ...call(0), carriers, name: 'f' }] as StreamEvent[];
    const [item] = items(encode([start, event as StreamEvent, finish('tool_calls')], { tools: [{ type: 'function', name }] }));
    expect(item?.call_id).toBe(packCallId('call_', { id: 'call_0', carriers }));
  });
});

describe('a stream that fails', () => {
  it('ends in a failed response, numbered behind all that was sent', () => {
    const made = encoder();
    const sent = eventsOf(made.push([start, text('Hel')]));
    const events = [...sent, ...eventsOf(made.failure(new GatewayError('upstream_timeout')) ?? [])];
    expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, index) => index));
    expect(types(events).slice(-2)).toEqual(['error', 'failed']);
    expect(events.at(-1)).toMatchObject({ response: { id: 'resp_abc', status: 'failed', error: { code: 'server_error' } } });
    expect(encoder().failure(new GatewayError('upstream_error'))).toBeUndefined();
  });
});

const created: Json = {
  type: 'response.created',
  sequence_number: 0,
  response: { id: 'resp_1', created_at: 5, model: 'up-1', status: 'in_progress' },
};
const done = (fields: Json = {}): Json => ({
  type: 'response.completed',
  response: { id: 'resp_1', model: 'up-1', status: 'completed', output: [], ...fields },
});
const item = (type: string, index: number, value: Json): Json => ({
  type: `response.output_item.${type}`,
  output_index: index,
  item: value,
});
const news = (events: readonly StreamEvent[]): StreamEvent[] => events.filter(({ type }) => type !== 'start' && type !== 'end');

describe('an upstream’s stream', () => {
  it('numbers its calls without the items between them', () => {
    const events = decode(
      sse(
        created,
        item('added', 0, { type: 'reasoning', id: 'rs_1', summary: [] }),
        item('added', 1, { type: 'function_call', call_id: 'a', name: 'f', arguments: '' }),
        { type: 'response.function_call_arguments.delta', output_index: 1, delta: '{}' },
        item('added', 3, { type: 'custom_tool_call', call_id: 'b', name: 'g', input: '' }),
        { type: 'response.custom_tool_call_input.delta', output_index: 3, delta: 'free' },
        done(),
      ),
    );
    expect(news(events)).toEqual([
      { type: 'tool_call_start', choice: 0, call: 0, id: 'a', name: 'f', kind: 'function', rest: {} },
      args(0, '{}'),
      { type: 'tool_call_start', choice: 0, call: 1, id: 'b', name: 'g', kind: 'custom', rest: {} },
      args(1, 'free'),
      { type: 'finish', choice: 0, finish: { reason: 'tool_calls', raw: 'completed' } },
    ]);
  });

  it('that tells of arguments and texts only when they are whole loses none, and doubles none', () => {
    const whole = decode(
      sse(
        created,
        item('added', 0, { type: 'function_call', call_id: 'a', name: 'f' }),
        { type: 'response.function_call_arguments.done', output_index: 0, arguments: '{"a":1}' },
        item('done', 0, { type: 'function_call', call_id: 'a', name: 'f', arguments: '{"a":1}' }),
        item('done', 1, {
          type: 'message',
          content: [
            { type: 'output_text', text: 'Hi' },
            { type: 'refusal', refusal: 'No' },
          ],
        }),
        item('added', 2, { type: 'function_call', call_id: 'b', name: 'g' }),
        done({ output: [{ type: 'message', content: [{ type: 'output_text', text: 'again' }] }] }),
      ),
    );
    expect(news(whole).map((event) => ('text' in event ? event.text : event.type))).toEqual([
      'tool_call_start',
      '{"a":1}',
      'Hi',
      'tool_call_start',
      '{}',
      'finish',
    ]);
    const atOnce = decode(sse(done({ output: [{ type: 'message', content: [{ type: 'output_text', text: 'Hi' }] }] })));
    expect(news(atOnce).map((event) => ('text' in event ? event.text : event.type))).toEqual(['Hi', 'finish']);
  });

  it('shows thinking once, as summaries or as it is, with its state behind it', () => {
    const summary = (index: number, delta: string): Json[] => [
      { type: 'response.reasoning_summary_part.added', output_index: 0, summary_index: index, part: { type: 'summary_text', text: '' } },
      { type: 'response.reasoning_summary_text.delta', output_index: 0, summary_index: index, delta },
    ];
    const events = decode(
      sse(
        created,
        item('added', 0, { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'early' }),
        ...summary(0, 'One'),
        { type: 'response.reasoning_text.delta', output_index: 0, content_index: 0, delta: 'raw' },
        ...summary(1, 'Two'),
        item('done', 0, { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'One' }], encrypted_content: 'late' }),
        done(),
      ),
    );
    expect(news(events).slice(0, -1)).toEqual([
      thought('One'),
      thought('\n\n'),
      thought('Two'),
      { type: 'reasoning_carrier', choice: 0, carrier: { dialect: 'openai-responses', value: { id: 'rs_1', encrypted_content: 'late' } } },
    ]);
  });

  it('counts the offsets of sources over all texts', () => {
    const annotation = { type: 'url_citation', url: 'https://a', title: 'A', start_index: 1, end_index: 2 };
    const events = decode(
      sse(
        created,
        { type: 'response.output_text.delta', output_index: 0, content_index: 0, delta: 'One. ' },
        { type: 'response.output_text.delta', output_index: 1, content_index: 0, delta: 'Two.' },
        { type: 'response.output_text.annotation.added', output_index: 1, content_index: 0, annotation_index: 0, annotation },
        item('done', 1, { type: 'message', content: [{ type: 'output_text', text: 'Two.', annotations: [annotation] }] }),
        done(),
      ),
    );
    expect(events.filter(({ type }) => type === 'citation')).toMatchObject([{ citation: { url: 'https://a', start: 6, end: 7 } }]);
  });

  it.each([
    [{ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } }, 'length'],
    [{ status: 'incomplete', incomplete_details: { reason: 'content_filter' } }, 'content_filter'],
    [{}, 'stop'],
  ])('%j ends for the reason %s', (fields, reason) => {
    expect(decode(sse(created, { ...done(fields), type: 'response.incomplete' })).at(-2)).toMatchObject({
      type: 'finish',
      finish: { reason },
    });
  });

  it.each([
    ['for a reason that is not known', sse(created, done({ status: 'incomplete', incomplete_details: { reason: 'new' } }))],
    ['without an end', sse(created, { type: 'response.output_text.delta', output_index: 0, delta: 'a' })],
    ['with [DONE] alone', Buffer.concat([sse(created), Buffer.from('data: [DONE]\n\n')])],
    [
      'with a failed response',
      sse(created, { type: 'response.failed', response: { status: 'failed', error: { code: 'server_error', message: 'x' } } }),
    ],
    ['with an error', sse(created, { type: 'error', code: null, message: 'x', param: null })],
    ['with arguments of no call', sse(created, { type: 'response.function_call_arguments.delta', output_index: 0, delta: '{}' })],
    ['with what is no JSON', Buffer.from('data: {\n\n')],
    ['with what is no object', Buffer.from('data: 3\n\n')],
  ])('%s is an error, and the last event', (_, bytes) => {
    const events = decode(bytes);
    expect(events.at(-1)).toMatchObject({ type: 'error', error: { code: 'upstream_error' } });
    expect(events.filter(({ type }) => type === 'error' || type === 'end')).toHaveLength(1);
  });

  it('has a bound of items', () => {
    const many = Array.from({ length: 4_097 }, (_, index) => item('added', index, { type: 'message', content: [] }));
    expect(decode(sse(created, ...many)).at(-1)).toMatchObject({ type: 'error' });
  });
});

/** What a reader ends up with. */
function read(events: readonly StreamEvent[]): unknown {
  const joined = (type: 'text' | 'reasoning' | 'refusal'): string =>
    events.map((event) => (event.type === type ? event.text : '')).join('');
  const calls: string[] = [];
  for (const event of events) {
    if (event.type === 'tool_call_start') calls.push(`${event.id} ${event.name} ${event.kind} `);
    if (event.type === 'tool_call_arguments') calls[event.call] += event.text;
  }
  const last = events.findLast((event) => event.type === 'usage')?.report.usage ?? {};
  return {
    text: joined('text'),
    reasoning: joined('reasoning'),
    refusal: joined('refusal'),
    calls,
    states: events.filter((event) => event.type === 'reasoning_carrier').map(({ carrier }) => (carrier.value as Json).encrypted_content),
    sources: events.filter((event) => event.type === 'citation').map(({ citation }) => [citation.url, citation.start, citation.end]),
    finish: events.find((event) => event.type === 'finish')?.finish.reason,
    // What was not told is written as none.
    usage: { cache_write_5m: 0, cached_input: 0, ...last },
    end: events.at(-1)?.type,
  };
}

describe('recorded streams', () => {
  it.skipIf(!present)('are the same events, whatever the cuts they arrive in', () => {
    for (const { name, bytes } of recordedStreams()) {
      const whole = decode(bytes);
      expect(whole.at(-1)?.type, name).toBe(name.includes('vc-openai-error') ? 'error' : 'end');
      fc.assert(
        fc.property(fc.array(fc.nat(bytes.length), { maxLength: 40 }), (cuts) => {
          const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
          const pieces = places.map((from, index) => bytes.subarray(from, places[index + 1]));
          expect(read(decode(...pieces))).toEqual(read(whole));
        }),
        { numRuns: 5 },
      );
      expect(read(decode(Buffer.from(bytes.toString().replaceAll(/\r?\n/g, '\r\n')))), name).toEqual(read(whole));
    }
  });

  it.skipIf(!present)('say the same when they are written again', () => {
    for (const { name, bytes } of recordedStreams()) {
      if (name.includes('vc-openai-error')) continue;
      const whole = decode(bytes);
      const made = encoder({ include: ['reasoning.encrypted_content'] });
      const again = decode(Buffer.concat([...made.push(whole), ...made.end(undefined)]));
      expect(read(again), name).toEqual(read(whole));
    }
  });
});

describe('random answers', () => {
  const piece = fc.string({ unit: fc.constantFrom('a', '"', '\n', 'é', '😀'), minLength: 1, maxLength: 6 });
  const turn: fc.Arbitrary<StreamEvent[]> = fc.oneof(
    fc.array(piece, { minLength: 1, maxLength: 3 }).map((list): StreamEvent[] => list.map(text)),
    fc.tuple(fc.array(piece, { minLength: 1, maxLength: 2 }), fc.option(piece, { nil: undefined })).map(([list, proof]): StreamEvent[] => [
      ...list.map(thought),
      ...(proof === undefined
        ? []
        : [
            {
              type: 'reasoning_carrier',
              choice: 0,
              carrier: { dialect: 'openai-responses', value: { encrypted_content: proof } },
            } as const,
          ]),
    ]),
    piece.map((refusal): StreamEvent[] => [{ type: 'refusal', choice: 0, text: refusal }]),
    piece.map((value): StreamEvent[] => [call(0), args(0, JSON.stringify({ value }))]),
  );

  it('say the same when they are read again, in events without a gap', () => {
    fc.assert(
      fc.property(fc.array(turn, { minLength: 1, maxLength: 8 }), (turns) => {
        let calls = 0;
        const content = turns.flatMap((events) => {
          const isCall = events.some(({ type }) => type === 'tool_call_start');
          const number = isCall ? calls++ : 0;
          return events.map((event) =>
            'call' in event ? { ...event, call: number, ...('id' in event ? { id: `call_${number}` } : {}) } : event,
          );
        });
        const events: StreamEvent[] = [start, ...content, finish(calls > 0 ? 'tool_calls' : 'stop'), usage];
        const made = encoder({ include: ['reasoning.encrypted_content'] });
        const bytes = [...events.flatMap((event) => made.push([event])), ...made.end('0')];
        expect(eventsOf(bytes).map((event) => event.sequence_number)).toEqual(bytes.map((_, index) => index));
        expect(read(decode(...bytes))).toEqual(read([...events, { type: 'end' }]));
      }),
    );
  });
});

describe('the SDK', () => {
  const clientOf = (body: string) =>
    new OpenAI({
      apiKey: 'k',
      baseURL: 'http://unused.invalid',
      maxRetries: 0,
      fetch: async () => new Response(body, { headers: { 'content-type': 'text/event-stream' } }),
    });
  const made = encoder();
  const pieces = [
    ...made.push([start, thought('Hm'), text('Hel')]),
    ...made.push([text('lo'), call(0), args(0, '{"a":1}'), finish('tool_calls'), usage]),
    ...made.end('0.1'),
  ].map(String);
  const alive = openaiResponses.keepAlive.toString();

  it('passes over keep-alives, and puts the answer together', async () => {
    const body = `${openaiResponses.keepAliveBeforeEvents?.toString()}${pieces.join(alive)}${alive}`;
    const response = await clientOf(body).responses.stream({ model: 'm', input: 'Hi' }).finalResponse();
    expect(response.output_text).toBe('Hello');
    expect(response.output).toMatchObject([{ type: 'reasoning' }, { type: 'message' }, { type: 'function_call', arguments: '{"a":1}' }]);
    expect(response.usage?.total_tokens).toBe(9);
    const seen: string[] = [];
    for await (const event of await clientOf(body).responses.create({ model: 'm', input: 'Hi', stream: true })) seen.push(event.type);
    expect(seen.filter((type) => type !== 'keepalive')).toHaveLength(pieces.length);
  });

  it.each([
    [
      'in the middle',
      () => {
        const cut = encoder();
        return Buffer.concat([...cut.push([start, text('Hel')]), ...(cut.failure(new GatewayError('upstream_error')) ?? [])]).toString();
      },
    ],
    [
      'before anything has come',
      () =>
        `${openaiResponses.keepAliveBeforeEvents?.toString()}${openaiResponses.renderStreamError(new GatewayError('upstream_error'), REQUEST_ID)}`,
    ],
  ])('raises on a failure %s', async (_, body) => {
    const drain = async () => {
      for await (const _event of await clientOf(body()).responses.create({ model: 'm', input: 'Hi', stream: true })) void _event;
    };
    await expect(drain()).rejects.toThrow(/could not answer/);
    await expect(clientOf(body()).responses.stream({ model: 'm', input: 'Hi' }).finalResponse()).rejects.toThrow(/could not answer/);
  });
});
