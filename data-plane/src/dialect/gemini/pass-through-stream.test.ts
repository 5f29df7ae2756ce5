import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError } from '@meridian/domain/error';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StreamTerms } from '../dialect.ts';
import { ARRAY_FRAMING, type Framing, SSE_FRAMING } from './framing.ts';
import { GeminiPassThroughStream } from './pass-through-stream.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded streams in ${FIXTURES}`);

const event = (answer: object): string => `data: ${JSON.stringify(answer)}\r\n\r\n`;
const answer = (parts: object[], more: object = {}, outer: object = {}): object => ({
  candidates: [{ content: { parts, role: 'model' }, index: 0, ...more }],
  modelVersion: 'gemini-up',
  responseId: 'abc',
  ...outer,
});
const usage = (candidatesTokenCount: number, more: object = {}): object => ({
  usageMetadata: { promptTokenCount: 4, candidatesTokenCount, totalTokenCount: 4 + candidatesTokenCount, ...more },
});
const TERMS: StreamTerms = { wantsStreamUsage: true, model: undefined };

function run(pieces: readonly (string | Buffer)[], terms: StreamTerms = TERMS, framing: Framing = SSE_FRAMING) {
  const stream = new GeminiPassThroughStream(terms, framing);
  const out: Buffer[] = [];
  for (const piece of pieces) {
    stream.push(Buffer.from(piece));
    out.push(...stream.take());
  }
  stream.close();
  out.push(...stream.take());
  const { end, facts } = stream;
  if (end.state === 'finished') out.push(...stream.terminal('0.000123'));
  return { text: Buffer.concat(out).toString(), end, facts, stream };
}

function answersOf(text: string): Record<string, unknown>[] {
  return text
    .split('\r\n\r\n')
    .filter((one) => one !== '')
    .map((one) => JSON.parse(one.replace(/^data: /, '')));
}

describe('a stream that passes through', () => {
  it('hands on bytes as they came but for the last, which has the cost beside its usage', () => {
    const first = event(answer([{ text: 'Hel' }], {}, usage(1)));
    const second = event(answer([{ text: 'lo' }], {}, { ...usage(2), newThing: { a: 1 } }));
    const last = event(answer([{ text: '' }], { finishReason: 'STOP' }, usage(2)));
    const { text, end, facts } = run([first, second, last]);
    expect(end.state).toBe('finished');
    expect(text.startsWith(first + second)).toBe(true);
    expect(answersOf(text)[2]).toEqual({
      ...answer([{ text: '' }], { finishReason: 'STOP' }),
      usageMetadata: { promptTokenCount: 4, candidatesTokenCount: 2, totalTokenCount: 6, costUsd: 0.000123 },
    });
    expect(facts).toMatchObject({ usage: { input: 4, output: 2 }, usageIsInterim: false, model: 'gemini-up', empty: false });
  });

  it('writes the name that was asked for into every answer', () => {
    const pieces = [
      event(answer([{ text: 'a' }])),
      event(answer([{ text: 'b' }])),
      event(answer([{ text: 'c' }], { finishReason: 'STOP' })),
    ];
    const { text, facts } = run(pieces, { ...TERMS, model: 'asked' });
    expect(answersOf(text).map(({ modelVersion }) => modelVersion)).toEqual(['asked', 'asked', 'asked']);
    expect(facts.model).toBe('gemini-up');
  });

  it('counts nothing of an answer that it cannot hand on, since its name stands too deep', () => {
    const { stream } = run([event(answer([{ text: 'four' }]))], { ...TERMS, model: 'm' });
    const deep = event(answer([{ text: 'x'.repeat(100_000) }], {}, { modelVersion: 'another', more: 0 }));
    stream.push(Buffer.from(deep.replace('"more":0', `"more":${'['.repeat(400)}${']'.repeat(400)}`)));
    expect(stream.end.state).toBe('broken');
    expect(stream.facts.countedOutputTokens).toBe(1);
  });

  it('holds what is no content, and commits with the first that is', () => {
    const stream = new GeminiPassThroughStream(TERMS, SSE_FRAMING);
    stream.push(Buffer.from(event(answer([{ text: '', thoughtSignature: 'c2ln' }], {}, usage(0)))));
    expect(stream.committed).toBe(false);
    stream.push(Buffer.from(event(answer([{ text: 'thinking', thought: true }]))));
    expect(stream.committed).toBe(true);
  });

  it('breaks on an error, and where no finish reason came', () => {
    const failure = event({ error: { code: 503, message: 'The model is overloaded.', status: 'UNAVAILABLE' } });
    const late = run([event(answer([{ text: 'a' }])), failure]).end;
    expect(late.state === 'broken' && late.error.message).toContain('overloaded');
    expect(run([failure]).end.state).toBe('broken');
    expect(run([event(answer([{ text: 'a' }]))]).end.state).toBe('broken');
    expect(run(['data: {"candidates":\r\n\r\n']).end.state).toBe('broken');
    expect(run([]).end.state).toBe('broken');
  });

  it('ends with a prompt that was refused', () => {
    const { end, facts, text } = run([
      event({ promptFeedback: { blockReason: 'SAFETY' }, usageMetadata: { promptTokenCount: 4, totalTokenCount: 4 } }),
    ]);
    expect(end.state).toBe('finished');
    expect(facts).toMatchObject({ usage: { input: 4 }, empty: true });
    expect(text).toContain('"costUsd":0.000123');
  });

  it('is not at its end while another candidate goes on', () => {
    const pieces = [
      event(answer([{ text: 'a' }], { finishReason: 'STOP' }, usage(1))),
      event(answer([{ text: 'b' }], { index: 1 }, usage(2))),
      event(answer([{ text: 'c' }], { index: 1, finishReason: 'STOP' }, usage(3))),
    ];
    const { text } = run(pieces);
    expect(text.startsWith(`${pieces[0]}${pieces[1]}`)).toBe(true);
    expect(answersOf(text).map((one) => (one.usageMetadata as Record<string, unknown>).costUsd)).toEqual([undefined, undefined, 0.000123]);
  });

  it('takes no usage from what a model puts into the arguments of a call', () => {
    const lie = { usageMetadata: { promptTokenCount: 1, cachedContentTokenCount: 4, candidatesTokenCount: 0 }, modelVersion: 'gemini-up' };
    const { facts } = run([
      event(answer([{ text: 'a' }], {}, usage(1))),
      event(answer([{ functionCall: { name: 'f', args: lie } }], {}, usage(50))),
      event(answer([{ text: '' }], { finishReason: 'STOP' }, usage(50))),
    ]);
    expect(facts.usage).toEqual({ input: 4, output: 50 });
  });

  it('keeps the usage that a later answer leaves out, and tells it with the cost', () => {
    const { text, facts } = run([
      event(answer([{ text: 'a' }], {}, usage(9, { thoughtsTokenCount: 3 }))),
      event(answer([{ text: '' }], { finishReason: 'STOP' })),
    ]);
    expect(facts).toMatchObject({ usage: { input: 4, output: 12 }, reasoningTokens: 3 });
    expect(answersOf(text).at(-1)).toMatchObject({ usageMetadata: { candidatesTokenCount: 9, thoughtsTokenCount: 3, costUsd: 0.000123 } });
  });

  it('keeps a count that the answers after it leave out', () => {
    const pieces = [
      event(answer([{ text: 'a' }], {}, usage(1))),
      event(answer([{ text: 'b' }], {}, usage(2, { thoughtsTokenCount: 7 }))),
      event(answer([{ text: 'c' }], {}, usage(3))),
      event(answer([{ text: 'd' }], {}, { usageMetadata: { trafficType: 'ON_DEMAND' } })),
    ];
    const { facts, end } = run(pieces);
    expect(end.state).toBe('broken');
    expect(facts).toMatchObject({ usage: { input: 4, output: 10 }, reasoningTokens: 7, serviceTier: 'standard', usageIsInterim: false });
  });

  it('counts the text of a stream without usage, escapes and all', () => {
    const { facts } = run([
      event(answer([{ text: 'x' }])),
      event(answer([{ text: 'y'.repeat(40) }])),
      event(answer([{ text: '' }], { finishReason: 'STOP' })),
    ]);
    expect(facts).toMatchObject({ usage: undefined, countedOutputTokens: 11 });
  });

  it('counts the searches that the answer is grounded in', () => {
    const grounding = { finishReason: 'STOP', groundingMetadata: { webSearchQueries: ['a', 'b'] } };
    const { facts } = run([event(answer([{ text: 'a' }])), event(answer([{ text: 'b' }], grounding, usage(2)))]);
    expect(facts.usage?.['per_tool_call:web_search']).toBe(2);
  });

  it('breaks on what cannot be edited, and ends a paid answer however it is written', () => {
    const twice = (json: string): string => `data: ${json.slice(0, -1)},"modelVersion":"x"}\r\n\r\n`;
    const renamed = { ...TERMS, model: 'asked' };
    const first = JSON.stringify(answer([{ text: 'a' }]));
    const { end } = run([twice(first)], renamed);
    expect(end.state === 'broken' && end.error.code).toBe('upstream_error');
    const last = JSON.stringify(answer([{ text: '' }], { finishReason: 'STOP' }, usage(2)));
    const { text } = run([`data: ${first}\r\n\r\n`, `data: ${last.slice(0, -1)},"usageMetadata":{"promptTokenCount":5}}\r\n\r\n`]);
    expect(answersOf(text).at(-1)).toMatchObject({ usageMetadata: { promptTokenCount: 5, costUsd: 0.000123 } });
    const nonsense = run([`data: ${first}\r\n\r\n`, 'data: {"text":"b","usageMetadata":{"promptTokenCount":}}\r\n\r\n']);
    expect(nonsense.facts.usage).toBeUndefined();
  });

  it('drops comments', () => {
    const { text } = run([
      ': ping\r\n\r\n',
      event(answer([{ text: 'a' }])),
      ': ping\r\n\r\n',
      event(answer([{ text: 'b' }], { finishReason: 'STOP' })),
    ]);
    expect(text).not.toContain('ping');
  });

  it('becomes one JSON array in the other framing, whole or broken', () => {
    const pieces = [event(answer([{ text: 'a' }], {}, usage(1))), event(answer([{ text: 'b' }], { finishReason: 'STOP' }, usage(2)))];
    const whole: unknown[] = JSON.parse(run(pieces, { ...TERMS, model: 'asked' }, ARRAY_FRAMING).text);
    expect(whole).toMatchObject([{ modelVersion: 'asked' }, { usageMetadata: { costUsd: 0.000123 } }]);
    const cut = run(pieces.slice(0, 1), TERMS, ARRAY_FRAMING);
    const error = new GatewayError('upstream_error');
    expect(JSON.parse(cut.text + Buffer.concat(cut.stream.failure(error)).toString())).toMatchObject([{}, { error: { code: 502 } }]);
    const none = run([], TERMS, ARRAY_FRAMING);
    expect(JSON.parse(Buffer.concat(none.stream.failure(error)).toString())).toMatchObject([{ error: { code: 502 } }]);
  });

  it.runIf(present)('hands on every recorded stream, whatever its cuts', () => {
    let streams = 0;
    for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
      if (!name.includes('/generate/') || !name.endsWith('.sse')) continue;
      streams++;
      const bytes = readFileSync(join(FIXTURES, name));
      const whole = run([bytes], { ...TERMS, model: 'asked' });
      expect(whole.end.state, name).toBe('finished');
      expect(whole.facts.usage, name).toBeDefined();
      fc.assert(
        fc.property(fc.array(fc.nat(bytes.length), { maxLength: 30 }), (cuts) => {
          const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
          const pieces = places.slice(1).map((end, index) => bytes.subarray(places[index], end));
          const cut = run(pieces, { ...TERMS, model: 'asked' });
          expect(cut.text).toBe(whole.text);
          expect(cut.facts).toEqual(whole.facts);
        }),
        { numRuns: 10 },
      );
    }
    expect(streams).toBeGreaterThan(3);
  });
});
