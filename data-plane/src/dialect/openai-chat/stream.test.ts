import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StreamEvent } from '../../canonical/event.ts';
import { renderStreamError } from './error.ts';
import { readMessages } from './message.ts';
import { decodeRequest } from './request.ts';
import { ChatStreamDecoder } from './stream-decoder.ts';
import { ChatStreamEncoder } from './stream-encoder.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded streams in ${FIXTURES}`);

const sse = (...values: (object | string)[]) =>
  Buffer.from(values.map((value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`).join(''));
const chunk = (delta: object, finish: string | null = null) => ({
  id: 'c',
  created: 1,
  model: 'm',
  choices: [{ index: 0, delta, finish_reason: finish }],
});

function recordedStreams(): [string, Buffer][] {
  if (!present) return [];
  const found: [string, Buffer][] = [];
  for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
    if (!name.includes('/chat/')) continue;
    if (name.endsWith('.sse')) found.push([name, readFileSync(join(FIXTURES, name))]);
    if (name.endsWith('.chunks.txt'))
      found.push([
        name,
        sse(
          ...readFileSync(join(FIXTURES, name), 'utf8')
            .split('\n')
            .filter((line) => line !== ''),
          '[DONE]',
        ),
      ]);
  }
  return found;
}

const TERMS = { requestId: 'req_1', request: decodeRequest(Buffer.from('{"model":"m","messages":[{"role":"user","content":"Hi"}]}')) };

function decode(...pieces: Buffer[]): StreamEvent[] {
  const decoder = new ChatStreamDecoder();
  return [...pieces.flatMap((piece) => decoder.push(piece)), ...decoder.end()];
}

function encode(events: readonly StreamEvent[]): Buffer {
  const encoder = new ChatStreamEncoder({ ...TERMS, wantsStreamUsage: true, model: undefined, createdSeconds: 0 });
  const failure = events.find((event) => event.type === 'error');
  const written = encoder.push(events.filter((event) => event.type !== 'error'));
  return Buffer.concat([...written, ...(failure === undefined ? encoder.end(undefined) : [renderStreamError(failure.error, '')])]);
}

/** What a reader ends up with: all but the last usage report is overwritten, and names of finish reasons are normalised. */
function settled(events: readonly StreamEvent[]): unknown[] {
  const usage = events.findLast((event) => event.type === 'usage');
  return events
    .filter((event) => event.type !== 'usage' && event.type !== 'end')
    .map((event): unknown =>
      event.type === 'finish' ? { ...event, finish: event.finish.reason } : event.type === 'error' ? { type: 'error' } : event,
    )
    .concat(usage === undefined ? [] : [{ usage: usage.report.usage, reasoningTokens: usage.report.reasoningTokens }]);
}

const joined = (events: readonly StreamEvent[], type: 'text' | 'reasoning' | 'tool_call_arguments') =>
  events.map((event) => (event.type === type ? event.text : '')).join('');

describe('recorded streams', () => {
  it.each(recordedStreams())('%s reads the same after it was written', (_name, bytes) => {
    const events = decode(bytes);
    expect(settled(decode(encode(events)))).toEqual(settled(events));
  });

  it.each(recordedStreams().filter(([, bytes]) => bytes.length < 3_000))(
    '%s gives the same events when it is cut at any byte',
    (_name, bytes) => {
      const whole = decode(bytes);
      for (let at = 0; at <= bytes.length; at++) expect(decode(bytes.subarray(0, at), bytes.subarray(at))).toEqual(whole);
    },
  );

  it.skipIf(!present)('end once, and begin once', () => {
    for (const [name, bytes] of recordedStreams()) {
      const types = decode(bytes).map((event) => event.type);
      expect(
        types.filter((type) => type === 'start'),
        name,
      ).toHaveLength(1);
      expect(
        types.filter((type) => type === 'end' || type === 'error'),
        name,
      ).toHaveLength(1);
      expect(types.at(-1), name).toMatch(/end|error/);
    }
  });
});

describe('the decoder', () => {
  it('gives what it has held back with the end, and nothing that comes after', () => {
    const events = decode(
      sse(chunk({ content: '<thi' }), '[DONE]', chunk({ content: 'late' }), '[DONE]'),
      sse(chunk({ content: 'later' })),
    );
    expect(events.map((event) => (event.type === 'text' ? event.text : event.type))).toEqual(['start', '<thi', 'end']);
  });

  it('numbers calls from 0, whatever the upstream sends', () => {
    const events = decode(
      sse(
        chunk({ tool_calls: [{ index: 3, id: 'a', function: { name: 'f', arguments: '' } }] }),
        chunk({ tool_calls: [{ index: 5, id: 'b', function: { name: 'g', arguments: '{"x"' } }] }),
        chunk({ tool_calls: [{ index: 3, function: { arguments: '{}' } }] }),
        chunk({ tool_calls: [{ index: 5, function: { arguments: ':1}' } }] }),
        chunk({}, 'tool_calls'),
        '[DONE]',
      ),
    );
    expect(events.filter((event) => event.type === 'tool_call_start').map((event) => [event.call, event.id])).toEqual([
      [0, 'a'],
      [1, 'b'],
    ]);
    expect(events.filter((event) => event.type === 'tool_call_arguments').map((event) => [event.call, event.text])).toEqual([
      [1, '{"x"'],
      [0, '{}'],
      [1, ':1}'],
    ]);
  });

  it('tells calls without an index apart by their ids', () => {
    const call = (id: string) => ({ id, function: { name: 'f', arguments: '{}' } });
    const events = decode(sse(chunk({ tool_calls: [call('a')] }), chunk({ tool_calls: [call('b')] }), chunk({}, 'tool_calls')));
    expect(events.filter((event) => event.type === 'tool_call_start').map((event) => event.call)).toEqual([0, 1]);
  });

  it('gives a call without arguments an empty object', () => {
    const events = decode(
      sse(chunk({ tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '' } }] }), chunk({}, 'tool_calls'), '[DONE]'),
    );
    expect(joined(events, 'tool_call_arguments')).toBe('{}');
  });

  it('has one channel for reasoning', () => {
    const events = decode(
      sse(
        chunk({ reasoning: 'a' }),
        chunk({ reasoning_content: 'b' }),
        chunk({
          content: [
            { type: 'thinking', thinking: [{ type: 'text', text: 'c' }] },
            { type: 'text', text: 'd' },
          ],
        }),
        chunk({}, 'stop'),
      ),
    );
    expect(joined(events, 'reasoning')).toBe('abc');
    expect(joined(events, 'text')).toBe('d');
  });

  it.each([
    [sse(chunk({ content: 'a' })), 'before its end'],
    [sse('{'), 'could not be read'],
    [sse(chunk({ content: 'a' }, 'because')), 'not known'],
    [sse({ error: { message: 'Engine down' } }), 'Engine down'],
  ])('breaks with an error: %s', (bytes, message) => {
    const last = decode(bytes).at(-1);
    expect(last).toMatchObject({ type: 'error', error: { code: 'upstream_error' } });
    if (last?.type === 'error') expect(last.error.message).toContain(message);
  });

  it('never throws, whatever the bytes', () => {
    const near = fc.oneof(
      fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
      fc.jsonValue().map((value) => sse(JSON.stringify(value))),
      fc.jsonValue().map((value) => sse(JSON.stringify({ choices: [{ delta: value, finish_reason: null }], usage: value }))),
      fc
        .jsonValue()
        .map((value) =>
          sse(JSON.stringify({ choices: [{ delta: { content: value, tool_calls: [value], audio: value, annotations: [value] } }] })),
        ),
    );
    fc.assert(
      fc.property(near, (bytes) => {
        expect(decode(bytes).at(-1)?.type).toMatch(/end|error/);
      }),
    );
  });
});

/** The message that a client puts together of the deltas of the first choice. */
function gathered(bytes: Buffer): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  for (const line of bytes.toString().split('\n')) {
    if (!line.startsWith('data: {')) continue;
    const delta: Record<string, unknown> = JSON.parse(line.slice('data: '.length)).choices[0]?.delta ?? {};
    for (const [key, value] of Object.entries(delta)) {
      const before = message[key];
      if (typeof value === 'string') message[key] = (typeof before === 'string' ? before : '') + value;
      else if (Array.isArray(value)) message[key] = [...(Array.isArray(before) ? before : []), ...value];
      else message[key] = value;
    }
  }
  return message;
}

describe('the encoder', () => {
  it('carries the opaque state of another dialect to the client, with the text that it proves', () => {
    const carrier = { dialect: 'anthropic-messages', value: { signature: 'abc==' } } as const;
    const message = gathered(
      encode([
        { type: 'start', dialect: 'anthropic-messages', id: 'msg_1', createdSeconds: undefined, model: 'm', rest: {} },
        { type: 'reasoning', choice: 0, text: 'I ' },
        { type: 'reasoning', choice: 0, text: 'think.' },
        { type: 'reasoning_carrier', choice: 0, carrier },
        { type: 'text', choice: 0, text: 'a', logprobs: undefined },
        { type: 'reasoning_carrier', choice: 0, carrier: { dialect: 'gemini', value: 'sig' } },
        { type: 'finish', choice: 0, finish: { reason: 'stop', raw: 'end_turn' } },
        { type: 'end' },
      ]),
    );
    expect(readMessages([message])[0]?.parts).toEqual([
      { type: 'reasoning', text: 'I think.', carriers: [carrier] },
      { type: 'text', text: 'a', citations: [], rest: {} },
      { type: 'reasoning', text: '', carriers: [{ dialect: 'gemini', value: 'sig' }] },
    ]);
  });

  it('writes role once, usage last with its cost, and the end mark', () => {
    const encoder = new ChatStreamEncoder({ ...TERMS, wantsStreamUsage: true, model: 'asked', createdSeconds: 9 });
    const events = decode(
      sse(
        { ...chunk({ content: 'a' }), usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 } },
        chunk({ content: 'b' }, 'stop'),
        '[DONE]',
      ),
    );
    const body = Buffer.concat(encoder.push(events)).toString();
    expect(body.match(/"role"/g)).toHaveLength(1);
    expect(body.replaceAll('"usage":null', '')).not.toContain('usage');
    expect(body.match(/"usage":null/g)).toHaveLength(4);
    expect(Buffer.concat(encoder.end('0.0010')).toString()).toBe(
      'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"asked","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"cost_usd":0.0010}}\n\ndata: [DONE]\n\n',
    );
  });

  it('writes no usage that was not asked for', () => {
    const encoder = new ChatStreamEncoder({ ...TERMS, wantsStreamUsage: false, model: undefined, createdSeconds: 9 });
    encoder.push(decode(sse({ ...chunk({}, 'stop'), usage: { prompt_tokens: 1 } })));
    expect(Buffer.concat(encoder.end('1')).toString()).toBe('data: [DONE]\n\n');
  });
});

describe('a loss in a stream without usage', () => {
  it('is told by the next chunk, once', () => {
    const encoder = new ChatStreamEncoder({ ...TERMS, wantsStreamUsage: false, model: undefined, createdSeconds: 9 });
    const text = (value: string): StreamEvent => ({ type: 'text', choice: 0, text: value, logprobs: undefined });
    const written = encoder.push([
      { type: 'start', id: 'x', createdSeconds: 1, model: 'm', rest: {} },
      { type: 'foreign', choice: 0, part: { type: 'foreign', dialect: 'gemini', value: {} } },
      text('a'),
      text('b'),
    ]);
    const chunks = written.map((bytes) => JSON.parse(bytes.toString().slice('data: '.length)) as Record<string, unknown>);
    expect(chunks.map(({ meridian_loss: loss }) => loss)).toEqual([undefined, ['unknown_part(foreign)'], undefined]);
    expect(
      chunks.every(({ id, object, choices }) => id === 'chatcmpl-1' && object === 'chat.completion.chunk' && Array.isArray(choices)),
    ).toBe(true);
  });
});

describe('a stream of no choice at all', () => {
  it('is an error, and no empty answer', () => {
    const usage = { id: 'c', created: 1, model: 'm', choices: [], usage: { prompt_tokens: 1, completion_tokens: 0, total_tokens: 1 } };
    expect(decode(sse(usage, '[DONE]')).at(-1)).toMatchObject({ type: 'error', error: { code: 'upstream_error', status: 502 } });
  });
});
