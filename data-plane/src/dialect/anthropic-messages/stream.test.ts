import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError } from '@meridian/domain/error';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unpackCallId } from '../../canonical/call-id.ts';
import { unpackCarrier } from '../../canonical/carrier.ts';
import type { StreamEvent } from '../../canonical/event.ts';
import { decodeRequest } from './request.ts';
import { MessagesStreamDecoder } from './stream-decoder.ts';
import { MessagesStreamEncoder } from './stream-encoder.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open/anthropic');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded streams in ${FIXTURES}`);

type Event = Readonly<Record<string, unknown>> & { readonly type: string };

const sse = (...events: readonly Event[]) =>
  Buffer.from(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}   \n\n`).join(''));
const framed = (lines: string) =>
  sse(
    ...lines
      .split('\n')
      .filter((line) => line !== '')
      .map((line): Event => JSON.parse(line)),
  );

function recordedStreams(): [string, Buffer][] {
  if (!present) return [];
  const found: [string, Buffer][] = [];
  for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.sse')) found.push([name, readFileSync(join(FIXTURES, name))]);
    if (name.endsWith('.chunks.txt')) found.push([name, framed(readFileSync(join(FIXTURES, name), 'utf8'))]);
  }
  return found;
}

/** Of 1 to 7 bytes, so that characters and line ends are cut, too. */
function pieces(bytes: Buffer): Buffer[] {
  const cut: Buffer[] = [];
  for (let at = 0, size = 1; at < bytes.length; at += size, size = (size % 7) + 1) cut.push(bytes.subarray(at, at + size));
  return cut;
}

const REQUEST = decodeRequest(Buffer.from('{"model":"asked","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'));

function decode(...pieces: readonly Buffer[]): StreamEvent[] {
  const decoder = new MessagesStreamDecoder();
  return [...pieces.flatMap((piece) => decoder.push(piece)), ...decoder.end()];
}

const encoder = (model?: string) =>
  new MessagesStreamEncoder({ requestId: 'req_1', wantsStreamUsage: true, model, createdSeconds: 0, request: REQUEST });

function encode(events: readonly StreamEvent[], cost?: string): Buffer {
  const machine = encoder();
  return Buffer.concat([...machine.push(events), ...machine.end(cost)]);
}

/** The events of a written stream; each must have its own type for a name. */
function written(bytes: Buffer): Event[] {
  return bytes
    .toString('utf8')
    .split('\n\n')
    .filter((block) => block !== '')
    .map((block) => {
      const [name = '', data = ''] = block.split('\n');
      const event: Event = JSON.parse(data.replace(/^data: /, ''));
      expect(name).toBe(`event: ${event.type}`);
      return event;
    });
}

/** What a client puts together of a stream, which throws where blocks are not begun and ended one after the other. */
function assembled(bytes: Buffer): { readonly content: Record<string, unknown>[]; readonly last: Event } {
  const events = written(bytes);
  expect(events[0]?.type).toBe('message_start');
  expect(events.at(-1)).toEqual({ type: 'message_stop' });
  const last = events.at(-2) as Event;
  expect(last.type).toBe('message_delta');
  const content: Record<string, unknown>[] = [];
  let open: number | undefined;
  for (const event of events.slice(1, -2)) {
    if (event.type === 'content_block_start') {
      expect(open).toBeUndefined();
      expect(event.index).toBe(content.length);
      open = content.length;
      content.push({ ...(event.content_block as object) });
    } else {
      expect(event.index).toBe(open);
      if (event.type === 'content_block_stop') open = undefined;
      else extend(content.at(-1) ?? {}, event.delta as Record<string, unknown>);
    }
  }
  expect(open).toBeUndefined();
  for (const block of content) if (typeof block.json === 'string') block.input = JSON.parse(block.json);
  return { content, last };
}

function extend(block: Record<string, unknown>, delta: Record<string, unknown>): void {
  if (delta.type === 'text_delta') block.text = `${block.text}${delta.text}`;
  else if (delta.type === 'thinking_delta') block.thinking = `${block.thinking}${delta.thinking}`;
  else if (delta.type === 'signature_delta') block.signature = `${block.signature}${delta.signature}`;
  else if (delta.type === 'input_json_delta') block.json = `${block.json ?? ''}${delta.partial_json}`;
  else if (delta.type === 'citations_delta') block.citations = [...((block.citations as unknown[] | null) ?? []), delta.citation];
}

const START: StreamEvent = { type: 'start', id: 'x', createdSeconds: 1, model: 'upstream', rest: {} };
const text = (value: string): StreamEvent => ({ type: 'text', choice: 0, text: value, logprobs: undefined });
const call = (index: number, id: string, name = 'f'): StreamEvent => ({
  type: 'tool_call_start',
  choice: 0,
  call: index,
  id,
  name,
  kind: 'function',
  rest: {},
});
const args = (index: number, value: string): StreamEvent => ({ type: 'tool_call_arguments', choice: 0, call: index, text: value });
const finish = (reason: 'stop' | 'tool_calls' | 'length' | 'content_filter'): StreamEvent => ({
  type: 'finish',
  choice: 0,
  finish: { reason, raw: reason },
});

const MESSAGE_START: Event = {
  type: 'message_start',
  message: { id: 'msg_1', type: 'message', role: 'assistant', model: 'm', content: [], usage: { input_tokens: 5, output_tokens: 1 } },
};
const MESSAGE_DELTA: Event = { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 7 } };
const MESSAGE_STOP: Event = { type: 'message_stop' };
const block = (index: number, content_block: object): Event => ({ type: 'content_block_start', index, content_block });
const delta = (index: number, value: object): Event => ({ type: 'content_block_delta', index, delta: value });
const stop = (index: number): Event => ({ type: 'content_block_stop', index });

/** Boundaries of blocks of the same kind are not the canonical language's; the last usage counts. */
function settled(events: readonly StreamEvent[]): unknown[] {
  const said: unknown[] = [];
  let usage: unknown;
  for (const event of events) {
    if (event.type === 'usage') usage = event.report.usage;
    else if (event.type === 'citation') said.push({ ...event, citation: event.citation.rest });
    else if (event.type === 'start') said.push('start');
    else if (event.type !== 'service_tier') said.push(event);
  }
  return [...said, usage];
}

describe('recorded streams', () => {
  it.each(recordedStreams())('%s reads the same after it was written', (name, bytes) => {
    const events = decode(bytes);
    const isBroken = name.includes('stream-error');
    expect(events.at(-1)?.type).toBe(isBroken ? 'error' : 'end');
    if (isBroken) return;
    const once = decode(encode(events));
    expect(settled(once).slice(0, -1)).toEqual(settled(events).slice(0, -1));
    expect(settled(decode(encode(once)))).toEqual(settled(once));
    assembled(encode(events));
  });

  it.each(recordedStreams())('%s gives the same events when it comes in small pieces, with other line ends', (_name, bytes) => {
    const whole = decode(bytes);
    expect(decode(...pieces(bytes))).toEqual(whole);
    expect(decode(...pieces(Buffer.from(bytes.toString('utf8').replaceAll('\n', '\r\n'))))).toEqual(whole);
  });
});

describe('the decoder', () => {
  const events = (...inner: readonly Event[]) => decode(sse(MESSAGE_START, ...inner, MESSAGE_DELTA, MESSAGE_STOP));
  const content = (...inner: readonly Event[]) =>
    events(...inner).filter(({ type }) => !['start', 'usage', 'service_tier', 'finish', 'end'].includes(type));

  it('gives the same events wherever the stream is cut', () => {
    const bytes = sse(
      MESSAGE_START,
      block(0, { type: 'text', text: '' }),
      delta(0, { type: 'text_delta', text: 'ünï' }),
      stop(0),
      MESSAGE_DELTA,
    );
    const whole = decode(bytes);
    for (let at = 0; at <= bytes.length; at++) expect(decode(bytes.subarray(0, at), bytes.subarray(at))).toEqual(whole);
  });

  it('counts tool calls and not blocks', () => {
    const read = content(
      block(0, { type: 'text', text: '' }),
      delta(0, { type: 'text_delta', text: 'Hm' }),
      stop(0),
      block(1, { type: 'tool_use', id: 'toolu_a', name: 'f', input: {} }),
      delta(1, { type: 'input_json_delta', partial_json: '' }),
      delta(1, { type: 'input_json_delta', partial_json: '{"a"' }),
      delta(1, { type: 'input_json_delta', partial_json: ':1}' }),
      stop(1),
      block(2, { type: 'tool_use', id: 'toolu_b', name: 'g', input: {} }),
      stop(2),
    );
    expect(read).toEqual([text('Hm'), call(0, 'toolu_a'), args(0, '{"a"'), args(0, ':1}'), call(1, 'toolu_b', 'g'), args(1, '{}')]);
  });

  it('takes arguments that come with the block', () => {
    expect(content(block(0, { type: 'tool_use', id: 't', name: 'f', input: { a: 1 } }), stop(0))).toEqual([
      call(0, 't'),
      args(0, '{"a":1}'),
    ]);
  });

  it('keeps the proof of thinking, also of thinking that is not shown', () => {
    const proof = (value: object): StreamEvent => ({
      type: 'reasoning_carrier',
      choice: 0,
      carrier: { dialect: 'anthropic-messages', value },
    });
    const read = content(
      block(0, { type: 'thinking', thinking: '', signature: '' }),
      delta(0, { type: 'thinking_delta', thinking: 'Hm' }),
      delta(0, { type: 'signature_delta', signature: 'si' }),
      delta(0, { type: 'signature_delta', signature: 'g' }),
      stop(0),
      block(1, { type: 'thinking', thinking: '', signature: '' }),
      delta(1, { type: 'signature_delta', signature: 'only' }),
      stop(1),
      block(2, { type: 'redacted_thinking', data: 'secret' }),
      stop(2),
    );
    expect(read).toEqual([
      { type: 'reasoning', choice: 0, text: 'Hm' },
      proof({ type: 'thinking', signature: 'sig' }),
      proof({ type: 'thinking', signature: 'only' }),
      proof({ type: 'redacted_thinking', data: 'secret' }),
    ]);
  });

  it('hands on the blocks of the provider whole', () => {
    const read = content(
      block(0, { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: {} }),
      delta(0, { type: 'input_json_delta', partial_json: '{"query":' }),
      delta(0, { type: 'input_json_delta', partial_json: '"x"}' }),
      stop(0),
      block(1, { type: 'web_search_tool_result', tool_use_id: 'srvtoolu_1', content: [] }),
      stop(1),
    );
    expect(read).toEqual(
      [
        { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: { query: 'x' } },
        { type: 'web_search_tool_result', tool_use_id: 'srvtoolu_1', content: [] },
      ].map((value) => ({ type: 'foreign', choice: 0, part: { type: 'foreign', dialect: 'anthropic-messages', value } })),
    );
  });

  it('tells where in all of the text a citation belongs', () => {
    const citation = { type: 'web_search_result_location', url: 'https://a', title: 'A', cited_text: 'x', encrypted_index: 'e' };
    const read = content(
      block(0, { type: 'text', text: '' }),
      delta(0, { type: 'text_delta', text: 'One. ' }),
      stop(0),
      block(1, { type: 'text', text: '', citations: [] }),
      delta(1, { type: 'citations_delta', citation }),
      delta(1, { type: 'text_delta', text: 'Two.' }),
      stop(1),
    );
    expect(read.at(-1)).toEqual({
      type: 'citation',
      choice: 0,
      citation: { url: 'https://a', title: 'A', start: 5, end: 9, rest: citation },
    });
  });

  it('reads the answer of a model that answers by a tool as text that stops', () => {
    const read = events(
      block(0, { type: 'tool_use', id: 't', name: 'meridian_json_answer', input: {} }),
      delta(0, { type: 'input_json_delta', partial_json: '{"a":' }),
      delta(0, { type: 'input_json_delta', partial_json: '1}' }),
      stop(0),
      { type: 'message_delta', delta: { stop_reason: 'tool_use' }, usage: { output_tokens: 3 } },
    );
    expect(read.filter(({ type }) => type === 'text')).toEqual([text('{"a":'), text('1}')]);
    expect(read.filter(({ type }) => type === 'finish')).toEqual([
      { type: 'finish', choice: 0, finish: { reason: 'stop', raw: 'tool_use' } },
    ]);
  });

  it('merges usage field by field: a later event keeps what it leaves out', () => {
    const start = {
      ...MESSAGE_START,
      message: { ...(MESSAGE_START.message as object), usage: { input_tokens: 5, cache_read_input_tokens: 2, output_tokens: 1 } },
    };
    const read = decode(sse(start, MESSAGE_DELTA, MESSAGE_STOP));
    const reports = read.flatMap((event) => (event.type === 'usage' ? [event.report.usage] : []));
    expect(reports.at(-1)).toEqual({ input: 5, cached_input: 2, output: 7 });
  });

  it('tells which stop sequence came', () => {
    const read = decode(
      sse(MESSAGE_START, { type: 'message_delta', delta: { stop_reason: 'stop_sequence', stop_sequence: 'END' } }, MESSAGE_STOP),
    );
    expect(read).toContainEqual({ type: 'finish', choice: 0, finish: { reason: 'stop_sequence', raw: 'stop_sequence', sequence: 'END' } });
  });

  it('ignores what it does not know, and a second beginning', () => {
    const inner = [block(0, { type: 'text', text: '' }), delta(0, { type: 'text_delta', text: 'Hi' })];
    const plain = events(...inner);
    expect(
      events(
        { type: 'ping' },
        MESSAGE_START,
        { type: 'brand_new', x: 1 },
        ...inner,
        delta(0, { type: 'brand_new_delta', y: 1 }),
        delta(7, { type: 'text_delta', text: 'of no block' }),
      ),
    ).toEqual(plain);
  });

  it.each([
    ['an end without a terminal event', sse(MESSAGE_START, block(0, { type: 'text', text: 'Hi' }))],
    ['a stop without a reason', sse(MESSAGE_START, MESSAGE_STOP)],
    ['a reason that is not known', sse(MESSAGE_START, { type: 'message_delta', delta: { stop_reason: 'tired' } }, MESSAGE_STOP)],
    ['an error event', sse(MESSAGE_START, { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } })],
    ['something that is no JSON', Buffer.from('event: message_start\ndata: {"type":\n\n')],
  ])('ends with an error on %s', (_name, bytes) => {
    const last = decode(bytes).at(-1);
    expect(last).toMatchObject({ type: 'error', error: { code: 'upstream_error' } });
  });

  it('takes the reason for the end where the provider closes without its last event', () => {
    expect(decode(sse(MESSAGE_START, MESSAGE_DELTA)).at(-1)).toEqual({ type: 'end' });
  });

  it('bounds what it keeps of the provider’s blocks', () => {
    const decoder = new MessagesStreamDecoder();
    decoder.push(sse(MESSAGE_START, block(0, { type: 'server_tool_use', id: 's', name: 'x', input: {} })));
    const piece = sse(delta(0, { type: 'input_json_delta', partial_json: 'x'.repeat(1024 * 1024) }));
    const events = Array.from({ length: 9 }, () => decoder.push(piece)).flat();
    expect(events).toMatchObject([{ type: 'error', error: { code: 'upstream_error' } }]);
  });
});

describe('the encoder', () => {
  it('writes the events in their order, with the cost at the end', () => {
    const usage: StreamEvent = {
      type: 'usage',
      report: { usage: { input: 5, cached_input: 3, cache_write_5m: 2, output: 9 }, reasoningTokens: 4, raw: {} },
    };
    const tier: StreamEvent = { type: 'service_tier', serviceTier: 'standard' };
    const events = written(encode([START, text('Hi'), text(' you'), finish('stop'), usage, tier, { type: 'end' }], '0.000123'));
    expect(events.map(({ type }) => type)).toEqual([
      'message_start',
      'content_block_start',
      'content_block_delta',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    expect(events[0]).toMatchObject({ message: { id: 'msg_1', role: 'assistant', model: 'upstream', content: [], stop_reason: null } });
    expect(events.at(-2)).toMatchObject({
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: {
        input_tokens: 5,
        cache_read_input_tokens: 3,
        cache_creation_input_tokens: 2,
        output_tokens: 9,
        output_tokens_details: { thinking_tokens: 4 },
        service_tier: 'standard',
        cost_usd: 0.000123,
      },
    });
  });

  it('gives the model the name that the client is to read', () => {
    const machine = encoder('shown');
    expect(Buffer.concat(machine.push([START])).toString()).toContain('"model":"shown"');
  });

  it.each([
    ['a length', finish('length'), 'max_tokens'],
    ['a filter', finish('content_filter'), 'refusal'],
  ])('ends with the reason of %s, also without any content', (_name, event, reason) => {
    expect(assembled(encode([START, event])).last).toMatchObject({ delta: { stop_reason: reason } });
  });

  it('says that it waits for results where calls were made, whatever the upstream calls it', () => {
    const { content, last } = assembled(encode([START, call(0, 'toolu_1'), args(0, '{}'), finish('stop')]));
    expect(last).toMatchObject({ delta: { stop_reason: 'tool_use' } });
    expect(content).toMatchObject([{ type: 'tool_use', id: 'toolu_1', name: 'f', input: {} }]);
  });

  it('says that the model declined where it did', () => {
    const refusal: StreamEvent = { type: 'refusal', choice: 0, text: 'No.' };
    const { content, last } = assembled(encode([START, refusal, finish('stop')]));
    expect(last).toMatchObject({ delta: { stop_reason: 'refusal' } });
    expect(content).toMatchObject([{ type: 'text', text: 'No.' }]);
  });

  it('puts calls that come at once one behind the other', () => {
    const { content } = assembled(
      encode([
        START,
        call(0, 'toolu_a'),
        call(1, 'toolu_b', 'g'),
        args(0, '{"a"'),
        args(1, '{"b"'),
        args(0, ':1}'),
        args(1, ':2}'),
        finish('tool_calls'),
      ]),
    );
    expect(content.map(({ id, input }) => [id, input])).toEqual([
      ['toolu_a', { a: 1 }],
      ['toolu_b', { b: 2 }],
    ]);
  });

  it('writes a second call as it comes, once the first is whole', () => {
    const machine = encoder();
    machine.push([START, call(0, 'toolu_a'), args(0, '{"a":"}"}')]);
    const bytes = Buffer.concat(machine.push([call(1, 'toolu_b'), args(1, '{"b"')])).toString();
    expect(bytes).toContain('content_block_stop');
    expect(bytes).toContain('toolu_b');
    expect(bytes).toContain('{\\"b\\"');
  });

  it('lets text wait for a call that is not whole, and keeps the order', () => {
    const { content } = assembled(
      encode([START, call(0, 'toolu_a'), args(0, '{"a"'), text('after'), args(0, ':1}'), text(' that'), finish('tool_calls')]),
    );
    expect(content).toMatchObject([
      { type: 'tool_use', input: { a: 1 } },
      { type: 'text', text: 'after that' },
    ]);
  });

  it('is whole whatever interleaves', () => {
    const steps = fc.array(fc.tuple(fc.nat({ max: 3 }), fc.constantFrom('start', 'piece', 'text', 'reasoning')), { maxLength: 40 });
    fc.assert(
      fc.property(steps, (taken) => {
        const events: StreamEvent[] = [START];
        const begun = new Map<number, string>();
        let said = '';
        for (const [index, step] of taken) {
          if (step === 'text') {
            said += 'x';
            events.push(text('x'));
          } else if (step === 'reasoning') events.push({ type: 'reasoning', choice: 0, text: 'r' });
          else if (!begun.has(index)) {
            begun.set(index, '');
            events.push(call(index, `toolu_${index}`), args(index, '{"v":['));
          } else {
            begun.set(index, `${begun.get(index)}1,`);
            events.push(args(index, '1,'));
          }
        }
        for (const index of begun.keys()) events.push(args(index, '0]}'));
        const { content } = assembled(encode([...events, finish('tool_calls')]));
        const calls = content.filter(({ type }) => type === 'tool_use');
        expect(calls.length).toBe(begun.size);
        for (const [index, values] of begun) {
          expect(calls.find(({ id }) => id === `toolu_${index}`)?.input).toEqual(JSON.parse(`{"v":[${values}0]}`));
        }
        expect(content.map((part) => (part.type === 'text' ? part.text : '')).join('')).toBe(said);
      }),
      { numRuns: 300 },
    );
  });

  it('bounds what waits', () => {
    const machine = encoder();
    machine.push([START, call(0, 'a')]);
    const long = text('x'.repeat(1024 * 1024));
    expect(() => Array.from({ length: 9 }, () => machine.push([long]))).toThrow(GatewayError);
  });

  it('gives an upstream’s call ids the form of this protocol, and gets them back', () => {
    const carriers = [{ dialect: 'gemini' as const, value: 'signature' }];
    const start = { ...call(0, 'functions.Bash:0'), carriers } as StreamEvent;
    const { content } = assembled(encode([START, start, args(0, '{}'), finish('tool_calls')]));
    const id = String(content[0]?.id);
    expect(id).toMatch(/^toolu_[A-Za-z0-9_-]+$/);
    expect(unpackCallId(id)).toEqual({ id: 'functions.Bash:0', carriers });
  });

  it('carries the state of another provider in the signature of the thinking, or in a block of its own', () => {
    const carrier = { dialect: 'openai-responses' as const, value: { id: 'rs_1', encrypted_content: 'abc' } };
    const carried: StreamEvent = { type: 'reasoning_carrier', choice: 0, carrier };
    const { content } = assembled(
      encode([START, { type: 'reasoning', choice: 0, text: 'Hm' }, carried, carried, text('Hi'), finish('stop')]),
    );
    expect(content.map(({ type }) => type)).toEqual(['thinking', 'redacted_thinking', 'text']);
    expect(unpackCarrier(String(content[0]?.signature))).toEqual(carrier);
    expect(unpackCarrier(String(content[1]?.data))).toEqual(carrier);
  });

  it('signs thinking that nobody has signed in a way that comes back as nothing', () => {
    const { content } = assembled(encode([START, { type: 'reasoning', choice: 0, text: 'Hm' }, text('Hi'), finish('stop')]));
    expect(content[0]).toMatchObject({ type: 'thinking', thinking: 'Hm' });
    expect(content[0]?.signature).not.toBe('');
    const body = { model: 'm', max_tokens: 1, messages: [{ role: 'assistant', content }] };
    expect(decodeRequest(Buffer.from(JSON.stringify(body))).messages[0]?.parts[0]).toEqual({ type: 'reasoning', text: 'Hm', carriers: [] });
  });

  it('writes what a web search of another provider has found', () => {
    const citation: StreamEvent = {
      type: 'citation',
      choice: 0,
      citation: { url: 'https://a', title: undefined, start: 0, end: 2, rest: {} },
    };
    const { content } = assembled(encode([START, text('Hi'), citation, text(' more'), finish('stop')]));
    expect(content).toMatchObject([
      { text: 'Hi', citations: [{ type: 'web_search_result_location', url: 'https://a' }] },
      { text: ' more' },
    ]);
  });

  it('takes the first of several answers', () => {
    const other: StreamEvent = { type: 'text', choice: 1, text: 'no', logprobs: undefined };
    expect(assembled(encode([START, text('yes'), other, finish('stop')])).content).toMatchObject([{ text: 'yes' }]);
  });
});
