/** A stream says at its end what it could not carry: when that comes to light its headers are gone. */
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { describe, expect, it } from 'vitest';
import type { StreamEvent } from '../canonical/event.ts';
import type { Citation } from '../canonical/message.ts';
import { dialectOf } from './registry.ts';

const CITATION: Citation = { url: undefined, title: 'A book', start: 0, end: 1, rest: { type: 'char_location' } };
const BODIES: Readonly<Record<DialectName, object>> = {
  'openai-chat': { model: 'm', messages: [{ role: 'user', content: 'Hi' }], stream: true, stream_options: { include_usage: true } },
  'openai-responses': { model: 'm', input: 'Hi', stream: true },
  'anthropic-messages': { model: 'm', max_tokens: 10, messages: [{ role: 'user', content: 'Hi' }], stream: true },
  gemini: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] },
};
const PLACE = { model: 'm', stream: true };

const START: StreamEvent = { type: 'start', id: 'x', createdSeconds: 1, model: 'm', rest: {} };
const FINISH: readonly StreamEvent[] = [
  { type: 'finish', choice: 0, finish: { reason: 'stop', raw: 'stop' } },
  { type: 'usage', report: { usage: { input: 1, output: 1 }, reasoningTokens: undefined, raw: {} } },
  { type: 'end' },
];
const LOST: Readonly<Record<string, StreamEvent>> = {
  image: {
    type: 'media',
    choice: 0,
    part: { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'AA' }, detail: undefined, rest: {} },
  },
  spoken: {
    type: 'media',
    choice: 0,
    part: { type: 'audio', source: { from: 'base64', mediaType: 'audio/wav', data: 'AA' }, transcript: 'said', rest: {} },
  },
  'a source without an address': { type: 'citation', choice: 0, citation: CITATION },
  "a tool's result of another provider": {
    type: 'foreign',
    choice: 0,
    part: { type: 'foreign', dialect: 'gemini', value: { type: 'executableCode', executableCode: { code: '1' } } },
  },
  'a second answer': { type: 'text', choice: 1, text: 'b', logprobs: undefined },
};

function streamed(client: DialectName, events: readonly StreamEvent[], wantsStreamUsage = true): string {
  const dialect = dialectOf(client);
  const request = dialect.decodeRequest(Buffer.from(JSON.stringify(BODIES[client])), PLACE);
  const encoder = dialect.encodeStream({ requestId: 'req_1', wantsStreamUsage, model: undefined, createdSeconds: 1, request });
  const text: StreamEvent = { type: 'text', choice: 0, text: 'a', logprobs: undefined };
  return Buffer.concat([...encoder.push([START, text, ...events, ...FINISH]), ...encoder.end('0.5')]).toString();
}

const lossesIn = (stream: string): unknown[] =>
  [...stream.matchAll(/"(?:meridian_loss|meridianLoss)":(\[[^\]]*\])/g)].flatMap(([, list = '[]']) => JSON.parse(list));

describe('what a stream could not carry', () => {
  it.each([
    ['openai-chat', { "a tool's result of another provider": 'unknown_part(foreign)', 'a source without an address': 'citations' }],
    [
      'openai-responses',
      {
        spoken: 'audio',
        'a source without an address': 'citations',
        "a tool's result of another provider": 'unknown_part(executableCode)',
        'a second answer': 'choices',
      },
    ],
    [
      'anthropic-messages',
      {
        image: 'media_output(image)',
        spoken: 'audio',
        "a tool's result of another provider": 'unknown_part(executableCode)',
        'a second answer': 'choices',
      },
    ],
  ] as const)('is told beside the cost to a client of %s', (client, expected: Readonly<Record<string, string>>) => {
    for (const [name, event] of Object.entries(LOST)) {
      const stream = streamed(client, [event]);
      const told = expected[name];
      expect([name, lossesIn(stream)]).toEqual([name, told === undefined ? [] : [told]]);
      if (told !== undefined) expect(stream).toContain(`"meridian_loss":["${told}"],"cost_usd":0.5`);
    }
  });

  it('is told in the words of Gemini', () => {
    const foreign: StreamEvent = {
      type: 'foreign',
      choice: 0,
      part: { type: 'foreign', dialect: 'anthropic-messages', value: { type: 'server_tool_use' } },
    };
    expect(streamed('gemini', [foreign])).toContain('"meridianLoss":["unknown_part(foreign)"],"costUsd":0.5');
  });

  it('is told in the next chunk to a chat client that wants no usage', () => {
    const stream = streamed('openai-chat', [LOST['a source without an address'] as StreamEvent], false);
    expect(lossesIn(stream)).toEqual(['citations']);
    const [last] = stream.split('\n\n').filter((line) => line.includes('"finish_reason":"stop"'));
    expect(last).toContain('"meridian_loss":["citations"]');
  });

  it('is nothing where all was carried', () => {
    for (const client of DIALECT_NAMES) expect(streamed(client, [])).not.toMatch(/meridian/i);
  });
});
