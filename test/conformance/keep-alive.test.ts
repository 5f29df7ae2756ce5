/** What keeps a stream alive, in each dialect's own form: wherever a node may write it, the SDKs read the same. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import type { Dialect } from '@meridian/data-plane/dialect/dialect';
import type { Lane } from '@meridian/data-plane/dialect/lane';
import { dialectOf, type Spoken } from '@meridian/data-plane/dialect/registry';
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientRequest, carryRequest, cut, isRefused } from './table/exchange.ts';
import { clientRequest } from './table/run-requests.ts';
import { upstreamTerms } from './table/upstream-terms.ts';

const TEXT = 'Grüße, 世界 🙂';
const SPOKEN: readonly Spoken[] = [...DIALECT_NAMES, 'gemini-json-array'];

const chunk = (delta: object, more: object = {}): string =>
  `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'up', choices: [{ index: 0, delta, finish_reason: null, ...more }] })}\n\n`;
const UPSTREAM = Buffer.from(
  [
    chunk({ role: 'assistant', content: '' }),
    chunk({ content: 'Grüße, ' }),
    chunk({ content: '世界 🙂' }),
    chunk({}, { finish_reason: 'stop' }),
    `data: ${JSON.stringify({ id: 'c', model: 'up', choices: [], usage: { prompt_tokens: 4, completion_tokens: 6, total_tokens: 10 } })}\n\n`,
    'data: [DONE]\n\n',
  ].join(''),
);

const USER = [{ role: 'user', content: 'Hi' }];
const ASKED: Readonly<Record<DialectName, Readonly<Record<string, unknown>>>> = {
  'openai-chat': { messages: USER, stream_options: { include_usage: true } },
  'openai-responses': { input: 'Hi' },
  'anthropic-messages': { max_tokens: 100, messages: USER },
  gemini: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] },
};

function laneOf(client: Dialect, upstream: Dialect, via: 'bytes' | 'words'): Lane {
  const request: ClientRequest = clientRequest(client.name, ASKED[client.name], true);
  const carried = carryRequest(client, upstream, request, upstreamTerms(upstream.name, undefined), via);
  if (isRefused(carried)) throw carried.error;
  return carried.lane;
}

/** What is handed on together, of a stream that comes byte by byte. */
function handedOn(lane: Lane, upstream: Buffer): string[] {
  const stream = lane.stream({ wantsStreamUsage: true, model: 'shown' });
  const pieces: string[] = [];
  for (const byte of cut(upstream, 1)) {
    stream.push(byte);
    const taken = stream.take();
    if (taken.length > 0) pieces.push(Buffer.concat(taken).toString());
  }
  if (stream.end.state === 'running') stream.close();
  expect(stream.end.state).toBe('finished');
  pieces.push(Buffer.concat([...stream.take(), ...stream.terminal('0.5')]).toString());
  return pieces;
}

/** A stream from another dialect, and the same through its own. */
function streamsOf(spoken: Spoken): readonly string[][] {
  const client = dialectOf(spoken);
  const translated = handedOn(laneOf(client, dialectOf('openai-chat'), 'words'), UPSTREAM);
  // An upstream of Gemini is always asked for events.
  const own =
    spoken === 'gemini-json-array' ? handedOn(laneOf(dialectOf('gemini'), dialectOf('openai-chat'), 'words'), UPSTREAM) : translated;
  return [translated, handedOn(laneOf(client, client, 'bytes'), Buffer.from(own.join('')))];
}

/** As often as a node may write it: before the first event, and after anything that was handed on. */
function keptAlive({ keepAlive, keepAliveBeforeEvents = keepAlive }: Dialect, pieces: readonly string[]): string {
  const before = keepAliveBeforeEvents.toString().repeat(2);
  return before + pieces.map((piece, index) => piece + (index === pieces.length - 1 ? '' : keepAlive.toString().repeat(2))).join('');
}

let server: Server;
let origin: string;
let body = '';
beforeAll(async () => {
  server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' }).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

/** What the dialect's own SDK makes of the stream: each event, and the text of all. */
const READ: Readonly<Record<DialectName, () => Promise<{ events: unknown[]; text: string }>>> = {
  'openai-chat': async () => {
    const client = new OpenAI({ apiKey: 'k', baseURL: origin, maxRetries: 0 });
    const events = await all(await client.chat.completions.create({ model: 'm', messages: [], stream: true }));
    return { events, text: events.map(({ choices }) => choices[0]?.delta.content ?? '').join('') };
  },
  'openai-responses': async () => {
    const client = new OpenAI({ apiKey: 'k', baseURL: origin, maxRetries: 0 });
    const asked = { model: 'm', input: 'Hi' };
    // Its programs must see some event where time passes, and pass over those of a type that they do not know.
    const events = (await all(await client.responses.create({ ...asked, stream: true }))).filter(
      ({ type }) => (type as string) !== 'keepalive',
    );
    return { events, text: (await client.responses.stream(asked).finalResponse()).output_text };
  },
  'anthropic-messages': async () => {
    const client = new Anthropic({ apiKey: 'k', baseURL: origin, maxRetries: 0 });
    const asked = { model: 'm', max_tokens: 9, messages: [{ role: 'user' as const, content: 'Hi' }] };
    const events = await all(await client.messages.create({ ...asked, stream: true }));
    return { events, text: await client.messages.stream(asked).finalText() };
  },
  gemini: async () => {
    const client = new GoogleGenAI({ apiKey: 'k', httpOptions: { baseUrl: origin } });
    const events = await all(await client.models.generateContentStream({ model: 'm', contents: 'Hi' }));
    return {
      events: events.map(({ candidates, usageMetadata }) => ({ candidates, usageMetadata })),
      text: events.map(({ text }) => text ?? '').join(''),
    };
  },
};

async function all<Event>(stream: AsyncIterable<Event>): Promise<Event[]> {
  const events: Event[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

describe('the keep-alive', () => {
  it.each(DIALECT_NAMES)('is nothing to the SDK of %s, wherever it comes between the pieces of a stream', async (name) => {
    for (const pieces of streamsOf(name)) {
      body = pieces.join('');
      const plain = await READ[name]();
      expect(plain.text).toBe(TEXT);
      expect(plain.events.length).toBeGreaterThan(2);
      body = keptAlive(dialectOf(name), pieces);
      expect(await READ[name]()).toEqual(plain);
    }
  });

  it.each([
    ['anthropic-messages', 'ping'],
    ['openai-responses', 'keepalive'],
  ] as const)('of %s is the event %s, since programs that wait for events do not see comments', (name, type) => {
    const [, event, data = ''] = /^event: (\w+)\ndata: (\{.*\})\n\n$/.exec(dialectOf(name).keepAlive.toString()) ?? [];
    expect([event, JSON.parse(data)]).toEqual([type, { type }]);
  });

  it.each(SPOKEN)('has nothing but whole events around it in a stream of %s that comes byte by byte', (spoken) => {
    for (const pieces of streamsOf(spoken)) {
      expect(pieces.length).toBeGreaterThan(2);
      if (spoken === 'gemini-json-array') {
        expect(JSON.parse(keptAlive(dialectOf(spoken), pieces))).toEqual(JSON.parse(pieces.join('')));
        continue;
      }
      for (const piece of pieces) {
        expect(piece).toMatch(/^(event|data):/);
        expect(piece).toMatch(/(\n\n|\r\n\r\n)$/);
      }
    }
  });
});
