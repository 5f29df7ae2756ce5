import { GatewayError } from '@meridian/domain/error';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_HELD_BYTES } from '../answer-facts.ts';
import type { StreamTerms } from '../dialect.ts';
import { ResponsesPassThroughStream } from './pass-through-stream.ts';
import { eventsOf, type Json, present, recordedStreams, sse } from './testing.ts';

const PLAIN: StreamTerms = { wantsStreamUsage: true, model: undefined };
const NAMED: StreamTerms = { wantsStreamUsage: true, model: 'asked' };

const response = (fields: Json = {}): Json => ({
  id: 'resp_1',
  object: 'response',
  status: 'in_progress',
  model: 'up-1',
  output: [],
  ...fields,
});
const created = (fields: Json = {}): Json => ({ type: 'response.created', sequence_number: 0, response: response(fields) });
const inProgress: Json = { type: 'response.in_progress', sequence_number: 1, response: response() };
const added = (item: Json, index = 0): Json => ({ type: 'response.output_item.added', sequence_number: 2, output_index: index, item });
const delta = (text: string, sequence = 3): Json => ({
  type: 'response.output_text.delta',
  sequence_number: sequence,
  item_id: 'msg_1',
  output_index: 0,
  content_index: 0,
  delta: text,
});
const usage = {
  input_tokens: 5,
  input_tokens_details: { cached_tokens: 0 },
  output_tokens: 2,
  output_tokens_details: { reasoning_tokens: 1 },
  total_tokens: 7,
};
const completed = (fields: Json = {}): Json => ({
  type: 'response.completed',
  sequence_number: 9,
  response: response({ status: 'completed', usage, ...fields }),
});

function run(bytes: Buffer, terms = PLAIN, closes = true) {
  const stream = new ResponsesPassThroughStream(terms);
  stream.push(bytes);
  if (closes) stream.close();
  return { stream, out: Buffer.concat(stream.take()) };
}

describe('the commit point', () => {
  it.each([
    [added({ type: 'message', content: [] }), false],
    [added({ type: 'reasoning', summary: [] }), false],
    [{ type: 'response.content_part.added', part: { type: 'output_text', text: '' } }, false],
    [{ type: 'keepalive', sequence_number: 2 }, false],
    [{ type: 'response.output_text.delta', delta: '' }, false],
    [delta('a'), true],
    [{ type: 'response.refusal.delta', delta: 'a' }, true],
    [{ type: 'response.reasoning_summary_text.delta', delta: 'a' }, true],
    [{ type: 'response.reasoning_text.delta', delta: 'a' }, true],
    [{ type: 'response.function_call_arguments.delta', delta: '{' }, true],
    [{ type: 'response.something_new.delta', delta: 'a' }, true],
    [added({ type: 'function_call', name: 'f', arguments: '' }), true],
    [added({ type: 'reasoning', summary: [], encrypted_content: 'gAAA' }), true],
    [added({ type: 'web_search_call' }), true],
  ])('%j commits: %s', (event, committed) => {
    const { stream, out } = run(sse(created(), inProgress, event), PLAIN, false);
    expect(stream.committed).toBe(committed);
    expect(eventsOf(out)).toEqual([created(), inProgress, event]);
  });

  it('does not come with a beginning that repeats a long request, but with much else that is no content', () => {
    const long = 'x'.repeat(MAX_HELD_BYTES);
    expect(
      run(sse(created({ instructions: long }), { ...inProgress, response: response({ instructions: long }) }), PLAIN, false).stream
        .committed,
    ).toBe(false);
    expect(
      run(sse(created(), inProgress, { type: 'response.queued', response: response({ instructions: long }) }), PLAIN, false).stream
        .committed,
    ).toBe(true);
    expect(run(sse(created(), { type: 'new', padding: long }), PLAIN, false).stream.committed).toBe(true);
  });
});

describe('a stream that is passed through', () => {
  it('keeps its bytes, unknown events too, but for comments and the end mark of another protocol', () => {
    const content = sse(added({ type: 'message', content: [] }), delta('é 1'), { type: 'response.new', padding: 'obfuscation' });
    const { stream, out } = run(
      Buffer.concat([
        Buffer.from(': OPENROUTER PROCESSING\n\n'),
        sse(created()),
        content,
        sse(completed()),
        Buffer.from('data: [DONE]\n\n'),
      ]),
    );
    expect(out.toString()).toBe(Buffer.concat([sse(created()), content]).toString());
    expect(stream.end.state).toBe('finished');
    const [last, ...more] = eventsOf(stream.terminal('0.25'));
    expect(more).toEqual([]);
    expect(last).toEqual({ ...completed(), response: { ...(completed().response as Json), usage: { ...usage, cost_usd: 0.25 } } });
  });

  it('has the model’s name that was asked for, and not the provider’s bill', () => {
    const bill = { ...usage, cost: 0.1, cost_details: { upstream_inference_cost: 0.1 }, is_byok: false };
    const { stream, out } = run(sse(created({ model: 'up-1' }), delta('up-1'), completed({ usage: bill })), NAMED);
    const events = [...eventsOf(out), ...eventsOf(stream.terminal('0.5'))];
    expect(events.map((event) => (event.response as Json | undefined)?.model)).toEqual(['asked', undefined, 'asked']);
    expect(events[1]).toEqual(delta('up-1'));
    expect(events[2]).toMatchObject({ response: { usage: { ...usage, cost_usd: 0.5 } } });
    expect(JSON.stringify(events[2])).not.toContain('cost_details');
    expect(stream.facts.model).toBe('up-1');
  });

  it('tells what it used, the calls of the provider’s tools among it', () => {
    const output = [
      { type: 'web_search_call', action: { type: 'search' } },
      { type: 'message', content: [{ type: 'output_text', text: 'a' }] },
    ];
    const { stream } = run(sse(created(), delta('a'), completed({ output, service_tier: 'flex' })));
    expect(stream.facts).toEqual({
      usage: { cached_input: 0, input: 5, output: 2, 'per_tool_call:web_search': 1 },
      usageIsInterim: false,
      serviceTier: 'flex',
      model: 'up-1',
      empty: false,
      countedOutputTokens: 1,
      reasoningTokens: 1,
    });
    const empty = run(sse(created(), completed({ usage: null }))).stream.facts;
    expect(empty).toMatchObject({ empty: true, usage: undefined });
  });

  it('ends as incomplete where the provider says so', () => {
    const cut = {
      ...completed({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } }),
      type: 'response.incomplete',
    };
    const { stream } = run(sse(created(), delta('a'), cut));
    expect(stream.end.state).toBe('finished');
    expect(eventsOf(stream.terminal('1'))[0]).toMatchObject({ type: 'response.incomplete', response: { usage: { cost_usd: 1 } } });
  });

  it('that is cut is counted by its deltas', () => {
    const { stream } = run(sse(created(), ...Array.from({ length: 4 }, (_, index) => delta('x'.repeat(40), index + 2))));
    expect(stream.facts).toMatchObject({ usage: undefined, countedOutputTokens: 40 });
  });
});

describe('a stream that breaks', () => {
  const failed: Json = {
    type: 'response.failed',
    sequence_number: 5,
    response: response({ status: 'failed', error: { code: 'server_error', message: 'It broke.' } }),
  };

  it.each([
    ['a failed response', sse(created(), failed)],
    ['an error event', sse(created(), { type: 'error', code: 'x', message: 'It broke.', param: null, sequence_number: 2 })],
    ['an error event as it is recorded', sse(created(), { type: 'error', sequence_number: 2, error: { type: 'x', message: 'It broke.' } })],
    ['an error by its name alone', Buffer.from('event: error\ndata: {"message":"It broke."}\n\n')],
  ])('by %s', (_, bytes) => {
    const { end } = run(bytes).stream;
    expect(end).toMatchObject({ state: 'broken', error: { code: 'upstream_error', message: expect.stringContaining('It broke.') } });
  });

  it('tells a failure that the request is at fault for as its fault', () => {
    const error = { code: 'context_length_exceeded', message: 'Your input exceeds the context window of this model.' };
    const { end } = run(sse(created(), { ...failed, response: response({ status: 'failed', error }) })).stream;
    expect(end).toMatchObject({
      error: { code: 'invalid_request_error', status: 400, details: { upstream_code: 'context_length_exceeded' } },
    });
  });

  it.each([
    ['without an end', sse(created(), delta('a'))],
    ['in the middle of an event', sse(created(), delta('a'), completed()).subarray(0, -30)],
    ['with what is no JSON', Buffer.from('data: {"type":\n\n')],
    ['with an end that could not be edited', Buffer.from('data: {"type":"response.completed","response":{"usage":{},"usage":{}}}\n\n')],
    ['with [DONE] alone', Buffer.concat([sse(created(), delta('a')), Buffer.from('data: [DONE]\n\n')])],
  ])('%s', (_, bytes) => {
    expect(run(bytes).stream.end).toMatchObject({ state: 'broken' });
  });

  it('ends for the client with a failed response, numbered behind all that it has seen', () => {
    const { stream, out } = run(
      sse(created(), inProgress, delta('a', 2), delta('b', 3), { type: 'response.new', sequence_number: 4 }),
      NAMED,
    );
    const events = [...eventsOf(out), ...eventsOf(stream.failure(new GatewayError('upstream_error')) ?? [])];
    expect(events.map((event) => event.sequence_number)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(events.slice(-2)).toMatchObject([
      { type: 'error', error: { code: 'upstream_error' } },
      { type: 'response.failed', response: { id: 'resp_1', status: 'failed', model: 'asked', error: { code: 'server_error' } } },
    ]);
  });

  it('leaves an error to the dialect where nothing has come', () => {
    expect(run(Buffer.from(': hi\n\n')).stream.failure(new GatewayError('upstream_error'))).toBeUndefined();
  });
});

describe('recorded streams', () => {
  it.skipIf(!present)('come out whole, whatever the cuts they arrive in', () => {
    const streams = recordedStreams();
    expect(streams.length).toBeGreaterThan(10);
    for (const { name, bytes } of streams) {
      fc.assert(
        fc.property(fc.array(fc.nat(bytes.length), { maxLength: 40 }), (cuts) => {
          const stream = new ResponsesPassThroughStream(PLAIN);
          const taken: Buffer[] = [];
          const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
          for (const [index, from] of places.entries()) {
            stream.push(bytes.subarray(from, places[index + 1]));
            taken.push(...stream.take());
          }
          stream.close();
          if (name.includes('vc-openai-error')) {
            expect(stream.end.state).toBe('broken');
            return;
          }
          expect(stream.end.state).toBe('finished');
          expect(stream.committed).toBe(true);
          const text = bytes.toString();
          for (const event of taken) expect(text).toContain(event.toString());
          const terminal = Buffer.concat(stream.terminal('0.5')).toString();
          expect(terminal).toContain('"cost_usd":0.5');
          expect(terminal).not.toMatch(/"cost":|"cost_in_usd_ticks":/);
          // All events but comments, the end and the mark of another protocol.
          const events = text.split(/\r?\n\r?\n/).filter((block) => /^data:/m.test(block) && !block.includes('[DONE]')).length;
          expect(taken.length).toBe(events - 1);
        }),
        { numRuns: 5 },
      );
    }
  });
});
