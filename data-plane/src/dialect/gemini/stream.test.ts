import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError } from '@meridian/domain/error';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packCarrier } from '../../canonical/carrier.ts';
import type { StreamEvent } from '../../canonical/event.ts';
import { ARRAY_FRAMING, type Framing, SSE_FRAMING } from './framing.ts';
import { decodeRequest } from './request.ts';
import { GeminiStreamDecoder } from './stream-decoder.ts';
import { GeminiStreamEncoder } from './stream-encoder.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded streams in ${FIXTURES}`);

const sse = (...answers: object[]): Buffer => Buffer.from(answers.map((answer) => `data: ${JSON.stringify(answer)}\r\n\r\n`).join(''));
const answer = (parts: object[], more: object = {}): object => ({
  candidates: [{ content: { parts, role: 'model' }, index: 0, ...more }],
  modelVersion: 'gemini-3-flash-preview',
  responseId: 'abc',
});

function recordedStreams(): [string, Buffer][] {
  if (!present) return [];
  const found: [string, Buffer][] = [];
  for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
    if (!name.includes('/generate/')) continue;
    if (name.endsWith('.sse')) found.push([name, readFileSync(join(FIXTURES, name))]);
    if (!name.endsWith('.chunks.txt')) continue;
    const lines = readFileSync(join(FIXTURES, name), 'utf8').split('\n');
    found.push([name, Buffer.from(lines.flatMap((line) => (line === '' ? [] : [`data: ${line}\n\n`])).join(''))]);
  }
  return found;
}

function decode(...pieces: Buffer[]): StreamEvent[] {
  const decoder = new GeminiStreamDecoder();
  return [...pieces.flatMap((piece) => decoder.push(piece)), ...decoder.end()];
}

const REQUEST = decodeRequest(Buffer.from('{"contents":[{"parts":[{"text":"Hi"}]}]}'), { model: 'm', stream: true });
const TERMS = { requestId: 'req_1', request: REQUEST, wantsStreamUsage: true, model: undefined, createdSeconds: 0 };

function encode(events: readonly StreamEvent[], framing: Framing = SSE_FRAMING, cost?: string): string {
  const encoder = new GeminiStreamEncoder(TERMS, framing);
  return Buffer.concat([...events.flatMap((event) => encoder.push([event])), ...encoder.end(cost)]).toString();
}

function answersOf(text: string): Record<string, unknown>[] {
  return text
    .split('\r\n\r\n')
    .filter((event) => event !== '')
    .map((event) => JSON.parse(event.replace(/^data: /, '')));
}

/** But for the empty one that the last answer has where nothing is left to say. */
function partsOf(text: string): unknown[] {
  const parts = answersOf(text).flatMap(({ candidates }) =>
    (candidates as { content: { parts: unknown[] } }[]).flatMap(({ content }) => content.parts),
  );
  return parts.filter((part) => JSON.stringify(part) !== '{"text":""}');
}

/** What a reader ends up with: pieces of one text joined, the last usage. */
function settled(events: readonly StreamEvent[]): unknown[] {
  const out: Record<string, unknown>[] = [];
  for (const event of events) {
    if (event.type === 'usage' || event.type === 'start' || event.type === 'citation' || event.type === 'service_tier') continue;
    const last = out.at(-1);
    if ((event.type === 'text' || event.type === 'reasoning') && last?.type === event.type && last.choice === event.choice) {
      last.text = String(last.text) + event.text;
    } else out.push({ ...event });
  }
  const usage = events.findLast((event) => event.type === 'usage')?.report;
  const tier = events.findLast((event) => event.type === 'service_tier');
  return [...out, tier, { usage: usage?.usage, reasoning: usage?.reasoningTokens }];
}

describe('a decoded stream', () => {
  it('counts the calls of the whole stream, and finishes for their results though Gemini writes STOP', () => {
    const events = decode(
      sse(
        answer([{ functionCall: { name: 'a', args: {} }, thoughtSignature: 'c2ln' }]),
        answer([{ functionCall: { name: 'b', args: { x: 1 }, id: 'own' } }]),
        answer([{ text: '' }], { finishReason: 'STOP' }),
      ),
    );
    const starts = events.filter((event) => event.type === 'tool_call_start');
    expect(starts.map(({ call, name }) => [call, name])).toEqual([
      [0, 'a'],
      [1, 'b'],
    ]);
    expect(starts[0]?.carriers).toEqual([{ dialect: 'gemini', value: 'c2ln' }]);
    expect(starts[0]?.id).toMatch(/^call_[0-9a-f]{24}$/);
    expect(starts[1]?.id).toBe('own');
    expect(events.filter((event) => event.type === 'tool_call_arguments').map(({ text }) => text)).toEqual(['{}', '{"x":1}']);
    expect(events.find((event) => event.type === 'finish')?.finish).toEqual({ reason: 'tool_calls', raw: 'STOP' });
  });

  it('gives calls without an id the same id each time, and no two the same', () => {
    const call = { functionCall: { name: 'same', args: {} } };
    const ids = (bytes: Buffer): string[] => decode(bytes).flatMap((event) => (event.type === 'tool_call_start' ? [event.id] : []));
    const stream = sse(answer([call, call]), answer([call], { finishReason: 'STOP' }));
    expect(new Set(ids(stream)).size).toBe(3);
    expect(ids(stream)).toEqual(ids(stream));
    const nameless = sse({ ...answer([call, call], { finishReason: 'STOP' }), responseId: undefined });
    expect(new Set(ids(nameless)).size).toBe(2);
    expect(ids(nameless)).toEqual(ids(nameless));
    expect(ids(sse({ ...answer([call], { finishReason: 'STOP' }), responseId: 'another' }))).not.toEqual(ids(stream).slice(0, 1));
  });

  it('puts calls together whose arguments come in pieces', () => {
    const piece = (jsonPath: string, value: object, willContinue = true): object => ({
      functionCall: { partialArgs: [{ jsonPath, ...value }], willContinue },
    });
    const events = decode(
      sse(
        answer([{ functionCall: { name: 'f', willContinue: true }, thoughtSignature: 'c2ln' }]),
        answer([piece('$.city', { stringValue: 'Bos', willContinue: true }), piece('$.city', { stringValue: 'ton' })]),
        answer([
          piece("$['a.b'][1].__proto__", { numberValue: 2 }),
          piece('$.none', { nullValue: 'NULL_VALUE' }),
          piece('nonsense', { boolValue: true }),
        ]),
        answer([{ functionCall: {} }, { functionCall: { name: 'g', willContinue: true } }]),
        answer([piece('$.yes', { boolValue: true })], { finishReason: 'STOP' }),
        answer([{ functionCall: {} }]),
      ),
    );
    expect(events.flatMap((event) => (event.type === 'tool_call_start' ? [[event.call, event.name, event.carriers?.length]] : []))).toEqual(
      [
        [0, 'f', 1],
        [1, 'g', 0],
      ],
    );
    expect(events.flatMap((event) => (event.type === 'tool_call_arguments' ? [event.text] : []))).toEqual([
      '{"city":"Boston","a.b":[null,{"__proto__":2}],"none":null}',
      '{"yes":true}',
    ]);
    const endless = sse(answer([{ functionCall: { name: 'f', willContinue: true } }, piece('$.l[99999999]', { boolValue: true })]));
    expect(decode(endless).at(-1)?.type).toBe('error');
  });

  it('makes no text of an empty part that only carries a signature', () => {
    const events = decode(sse(answer([{ text: 'Hi' }]), answer([{ text: '', thoughtSignature: 'c2ln' }], { finishReason: 'STOP' })));
    expect(events.filter((event) => event.type === 'text')).toHaveLength(1);
    expect(events.find((event) => event.type === 'reasoning_carrier')?.carrier).toEqual({ dialect: 'gemini', value: 'c2ln' });
  });

  it('keeps thinking apart from the answer', () => {
    const events = decode(sse(answer([{ text: 'Hm', thought: true }, { text: 'Yes' }], { finishReason: 'STOP' })));
    expect(events.filter((event) => event.type === 'reasoning' || event.type === 'text').map((event) => [event.type, event.text])).toEqual([
      ['reasoning', 'Hm'],
      ['text', 'Yes'],
    ]);
  });

  it('takes the last usage, of which absence erases nothing, after the content of its event', () => {
    const events = decode(
      sse(
        {
          ...answer([{ text: 'a' }]),
          usageMetadata: { promptTokenCount: 5, candidatesTokenCount: 1, thoughtsTokenCount: 7, totalTokenCount: 13 },
        },
        { ...answer([{ text: 'b' }], { finishReason: 'STOP' }), usageMetadata: { promptTokenCount: 5, candidatesTokenCount: 3 } },
      ),
    );
    const reports = events.filter((event) => event.type === 'usage');
    expect(reports.at(-1)?.report.usage).toEqual({ input: 5, output: 10 });
    expect(events.findIndex((event) => event.type === 'usage')).toBeGreaterThan(events.findIndex((event) => event.type === 'text'));
  });

  it('finishes one choice by content filter where the prompt was refused, with its usage', () => {
    const events = decode(
      sse({ promptFeedback: { blockReason: 'PROHIBITED_CONTENT' }, usageMetadata: { promptTokenCount: 4, totalTokenCount: 4 } }),
    );
    expect(events.find((event) => event.type === 'finish')).toEqual({
      type: 'finish',
      choice: 0,
      finish: { reason: 'content_filter', raw: 'PROHIBITED_CONTENT' },
    });
    expect(events.find((event) => event.type === 'usage')?.report.usage.input).toBe(4);
    expect(events.at(-1)?.type).toBe('end');
  });

  it.each(['MALFORMED_FUNCTION_CALL', 'UNEXPECTED_TOOL_CALL', 'OTHER', 'SOMETHING_NEW'])(
    'breaks on %s, which is no stop',
    (finishReason) => {
      const last = decode(sse(answer([{ text: 'a' }], { finishReason }))).at(-1);
      expect(last?.type === 'error' && last.error).toMatchObject({ code: 'upstream_error', retryable: true });
      expect(last?.type === 'error' && last.error.message).toContain(finishReason);
    },
  );

  it('breaks where the upstream closes without a finish reason', () => {
    expect(decode(sse(answer([{ text: 'a' }]))).at(-1)?.type).toBe('error');
    expect(decode(Buffer.alloc(0)).at(-1)?.type).toBe('error');
  });

  it.each([
    ['in an event', sse({ error: { code: 503, message: 'The model is overloaded.', status: 'UNAVAILABLE' } })],
    ['as bare JSON', Buffer.from('{\n  "error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}\n}')],
  ])('breaks on an error %s', (_, bytes) => {
    const last = decode(sse(answer([{ text: 'a' }])), bytes).at(-1);
    expect(last?.type === 'error' && last.error.message).toContain('overloaded');
  });

  it('cites in characters what Gemini counts in bytes', () => {
    const text = 'Größe: 5 m.';
    const grounding = {
      groundingMetadata: {
        groundingChunks: [{ web: { uri: 'https://a.example', title: 'A' } }],
        groundingSupports: [
          { segment: { startIndex: 0, endIndex: Buffer.byteLength('Größe'), text: 'Größe' }, groundingChunkIndices: [0] },
        ],
        webSearchQueries: ['x', 'y'],
      },
      finishReason: 'STOP',
    };
    const events = decode(
      sse(answer([{ text: text.slice(0, 3) }]), {
        ...answer([{ text: text.slice(3) }], grounding),
        usageMetadata: { promptTokenCount: 1 },
      }),
    );
    expect(events.filter((event) => event.type === 'citation').map(({ citation }) => citation)).toEqual([
      { url: 'https://a.example', title: 'A', start: 0, end: 5, rest: {} },
    ]);
    expect(events.findLast((event) => event.type === 'usage')?.report.usage['per_tool_call:web_search']).toBe(2);
  });

  it('cites once what is told again and again, by the words where the place is counted from elsewhere', () => {
    const chunks = { groundingChunks: [{ web: { uri: 'https://a.example', title: 'A' } }] };
    const support = { segment: { startIndex: 0, endIndex: 3, text: 'two' }, groundingChunkIndices: [0] };
    const events = decode(
      sse(
        answer([{ text: 'one ' }], { groundingMetadata: chunks }),
        answer([{ text: 'two' }], { groundingMetadata: { ...chunks, groundingSupports: [support] }, finishReason: 'STOP' }),
      ),
    );
    expect(events.flatMap((event) => (event.type === 'citation' ? [event.citation] : []))).toEqual([
      { url: 'https://a.example', title: 'A', start: 4, end: 7, rest: {} },
    ]);
  });

  it('hands on pictures', () => {
    const events = decode(sse(answer([{ inlineData: { mimeType: 'image/png', data: 'iVBORw0KGgo=' } }], { finishReason: 'STOP' })));
    expect(events.find((event) => event.type === 'media')?.part).toMatchObject({
      type: 'image',
      source: { from: 'base64', mediaType: 'image/png', data: 'iVBORw0KGgo=' },
    });
  });

  it('is the same however its bytes are cut', () => {
    const stream = sse(
      { ...answer([{ text: 'Grüße 🌍', thought: true }]), usageMetadata: { promptTokenCount: 1 } },
      answer([{ text: 'läuft' }, { functionCall: { name: 'f', args: { ä: '🌍' } } }], { finishReason: 'STOP' }),
    );
    const whole = decode(stream);
    for (let at = 1; at < stream.length; at++) expect(decode(stream.subarray(0, at), stream.subarray(at))).toEqual(whole);
    expect(decode(...Array.from(stream, (byte) => Buffer.from([byte])))).toEqual(whole);
    expect(decode(Buffer.from(stream.toString().replaceAll('\r\n', '\n')))).toEqual(whole);
    expect(decode(Buffer.from(stream.toString().replaceAll('\r\n', '\r')))).toEqual(whole);
  });

  it.runIf(present)('reads every recorded stream without an unexplained error, whatever its cuts', () => {
    const streams = recordedStreams();
    expect(streams.length).toBeGreaterThan(5);
    for (const [name, bytes] of streams) {
      const events = decode(bytes);
      expect(events.at(-1)?.type, name).toBe('end');
      expect(events.filter((event) => event.type === 'finish').length, name).toBeGreaterThan(0);
      expect(
        events.some((event) => event.type === 'usage'),
        name,
      ).toBe(true);
      fc.assert(
        fc.property(fc.array(fc.nat(bytes.length), { maxLength: 20 }), (cuts) => {
          const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
          const pieces = places.slice(1).map((end, index) => bytes.subarray(places[index], end));
          expect(decode(...pieces)).toEqual(events);
        }),
        { numRuns: 5 },
      );
    }
  });
});

const START: StreamEvent = { type: 'start', id: 'up', createdSeconds: 1, model: 'gpt', rest: {} };
const text = (value: string, choice = 0): StreamEvent => ({ type: 'text', choice, text: value, logprobs: undefined });
const finish = (reason: 'stop' | 'length' | 'tool_calls' | 'content_filter', choice = 0): StreamEvent => ({
  type: 'finish',
  choice,
  finish: { reason, raw: reason },
});
const callStart = (call: number, id: string, name: string): StreamEvent => ({
  type: 'tool_call_start',
  choice: 0,
  call,
  id,
  name,
  kind: 'function',
  rest: {},
});
const args = (call: number, value: string): StreamEvent => ({ type: 'tool_call_arguments', choice: 0, call, text: value });
const END: StreamEvent = { type: 'end' };

describe('an encoded stream', () => {
  it('tells finish, usage and cost with the last answer, under one id and one model name', () => {
    const usage: StreamEvent = { type: 'usage', report: { usage: { input: 3, output: 9 }, reasoningTokens: 4, raw: {} } };
    const answers = answersOf(encode([START, text('He'), text('llo'), finish('stop'), usage, END], SSE_FRAMING, '0.000012'));
    expect(answers.map(({ responseId, modelVersion }) => [responseId, modelVersion])).toEqual(Array(3).fill(['req_1', 'gpt']));
    expect(answers.slice(0, 2).every((one) => one.usageMetadata === undefined)).toBe(true);
    expect(answers[2]).toMatchObject({
      candidates: [{ finishReason: 'STOP', index: 0 }],
      usageMetadata: { promptTokenCount: 3, candidatesTokenCount: 5, thoughtsTokenCount: 4, totalTokenCount: 12, costUsd: 0.000012 },
    });
  });

  it('sends a call as a whole, in its place, and keeps interleaved ones apart', () => {
    const parts = partsOf(
      encode([
        START,
        callStart(0, 'a', 'f'),
        callStart(1, 'b', 'g'),
        args(0, '{"x"'),
        args(1, '{}'),
        args(0, ':1}'),
        text('then'),
        finish('tool_calls'),
        END,
      ]),
    );
    expect(parts).toEqual([
      { functionCall: { id: 'a', name: 'f', args: { x: 1 } } },
      { functionCall: { id: 'b', name: 'g', args: {} } },
      { text: 'then' },
    ]);
  });

  it('tells of a call that cannot be shown by the reason for it, or by the limit that cut it', () => {
    const broken = answersOf(encode([START, callStart(0, 'a', 'f'), args(0, '{"x"'), finish('tool_calls'), END])).at(-1);
    expect(broken).toMatchObject({ candidates: [{ finishReason: 'MALFORMED_FUNCTION_CALL' }] });
    const cut = answersOf(encode([START, callStart(0, 'a', 'f'), args(0, '{"x"'), finish('length'), END])).at(-1);
    expect(cut).toMatchObject({ candidates: [{ finishReason: 'MAX_TOKENS', content: { parts: [{ text: '' }], role: 'model' } }] });
  });

  it("puts another dialect's state on the last piece of the thinking that it signs, and takes it back", () => {
    const carrier = { dialect: 'anthropic-messages', value: 'EqQB+/=' } as const;
    const parts = partsOf(
      encode([
        START,
        { type: 'reasoning', choice: 0, text: 'One, ' },
        { type: 'reasoning', choice: 0, text: 'two.' },
        { type: 'reasoning_carrier', choice: 0, carrier },
        text('Two.'),
        finish('stop'),
        END,
      ]),
    );
    expect(parts).toEqual([
      { text: 'One, ', thought: true },
      { text: 'two.', thought: true, thoughtSignature: packCarrier(carrier) },
      { text: 'Two.' },
    ]);
    // A client that keeps each piece as a content of its own, in the other alphabet of base64.
    const contents = [
      { role: 'user', parts: [{ text: 'Count' }] },
      ...parts.map((part) => ({ role: 'model', parts: [JSON.parse(JSON.stringify(part).replaceAll('+', '-').replaceAll('/', '_'))] })),
      { role: 'user', parts: [{ text: 'More' }] },
    ];
    const { messages } = decodeRequest(Buffer.from(JSON.stringify({ contents })), { model: 'm' });
    expect(messages[1]?.parts).toEqual([
      { type: 'reasoning', text: 'One, two.', carriers: [carrier] },
      { type: 'text', text: 'Two.', citations: [], rest: {} },
    ]);
  });

  it('carries a redacted block, which has no text, without an empty text', () => {
    const carrier = { dialect: 'anthropic-messages', value: { data: 'x' } } as const;
    const [part] = partsOf(encode([START, { type: 'reasoning_carrier', choice: 0, carrier }, text('a'), finish('stop'), END]));
    expect(part).toEqual({ thought: true, thoughtSignature: packCarrier(carrier) });
  });

  it('writes sources in bytes', () => {
    const events: StreamEvent[] = [
      START,
      text('Größe.'),
      { type: 'citation', choice: 0, citation: { url: 'https://a.example', title: 'A', start: 0, end: 5, rest: {} } },
      finish('stop'),
      END,
    ];
    expect(answersOf(encode(events)).at(-1)).toMatchObject({
      candidates: [
        {
          groundingMetadata: {
            groundingChunks: [{ web: { uri: 'https://a.example', title: 'A' } }],
            groundingSupports: [{ segment: { startIndex: 0, endIndex: 7, text: 'Größe' }, groundingChunkIndices: [0] }],
          },
        },
      ],
    });
  });

  it('has the finish of each candidate', () => {
    const last = answersOf(encode([START, text('a', 0), text('b', 1), finish('length', 1), finish('content_filter', 0), END])).at(-1);
    expect(last).toMatchObject({
      candidates: [
        { index: 0, finishReason: 'SAFETY' },
        { index: 1, finishReason: 'MAX_TOKENS' },
      ],
    });
  });

  it('is one JSON array in the other framing, with an error as its last element', () => {
    const answers = JSON.parse(encode([START, text('a'), text('b'), finish('stop'), END], ARRAY_FRAMING));
    expect(answers).toHaveLength(3);
    const error = new GatewayError('overloaded');
    const begun = new GeminiStreamEncoder(TERMS, ARRAY_FRAMING);
    const broken = Buffer.concat([...begun.push([START, text('a')]), ...begun.failure(error)]).toString();
    expect(JSON.parse(broken)).toMatchObject([{ candidates: [{}] }, { error: { code: 503, status: 'UNAVAILABLE' } }]);
    const fresh = new GeminiStreamEncoder(TERMS, ARRAY_FRAMING);
    expect(JSON.parse(Buffer.concat(fresh.failure(error)).toString())).toMatchObject([{ error: { code: 503 } }]);
  });

  it('refuses to keep arguments without end', () => {
    const encoder = new GeminiStreamEncoder(TERMS, SSE_FRAMING);
    encoder.push([START, callStart(0, 'a', 'f')]);
    const piece = args(0, 'x'.repeat(1024 * 1024));
    expect(() => {
      for (let count = 0; count < 20; count++) encoder.push([piece]);
    }).toThrow(GatewayError);
  });

  it('reads arguments once, whatever comes between their pieces', () => {
    const encoder = new GeminiStreamEncoder(TERMS, SSE_FRAMING);
    encoder.push([START, callStart(0, 'a', 'f'), args(0, `{"x":"${'1'.repeat(4 * 1024 * 1024)}`), callStart(1, 'b', 'g')]);
    encoder.push([args(1, '1'.repeat(4 * 1024 * 1024))]);
    for (let count = 0; count < 10_000; count++) encoder.push([text('.')]);
    const [call, then] = partsOf(Buffer.concat(encoder.push([args(0, '"}'), text('then')])).toString());
    expect(call).toMatchObject({ functionCall: { id: 'a', name: 'f' } });
    expect(then).toEqual({ text: 'then' });
    for (let count = 0; count < 10_000; count++) encoder.push([text('.')]);
    expect(answersOf(Buffer.concat(encoder.end(undefined)).toString())[0]?.candidates).toMatchObject([
      { content: { parts: [{ text: '' }] } },
    ]);
  });

  it.runIf(present)('says what a recorded stream says, after a second reading, too', () => {
    for (const [name, bytes] of recordedStreams()) {
      const events = decode(bytes);
      const again = decode(Buffer.from(encode(events)));
      expect(settled(again), name).toEqual(settled(events));
    }
  });
});
