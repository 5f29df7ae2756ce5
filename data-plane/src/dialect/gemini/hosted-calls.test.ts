import { describe, expect, it } from 'vitest';
import type { RequestPlace } from '../dialect.ts';
import { HostedCalls } from './hosted-calls.ts';
import { gemini } from './index.ts';

const USAGE = { promptTokenCount: 5, candidatesTokenCount: 2, totalTokenCount: 7 };
const MAPS = { groundingChunks: [{ web: { uri: 'https://a.example' } }, { maps: { placeId: 'places/1' } }] };
const FILES = { groundingChunks: [{ retrievedContext: { fileSearchStore: 'fileSearchStores/1' } }] };
const called = (toolType: string): object => ({ toolCall: { toolType, id: toolType } });

function counted(modelVersion: string, ...events: readonly (readonly object[])[]): object {
  const calls = new HostedCalls();
  for (const candidates of events) calls.add(candidates);
  const usage = {};
  calls.addTo(usage, modelVersion);
  return usage;
}

describe('the calls of Google’s tools', () => {
  it.each([
    ['queries, each once', [{ groundingMetadata: { webSearchQueries: ['a', 'b', 'a'] } }], { 'per_tool_call:web_search': 2 }],
    ['queries for pictures', [{ groundingMetadata: { imageSearchQueries: ['a'] } }], { 'per_tool_call:web_search': 1 }],
    ['places of a map', [{ groundingMetadata: MAPS }], { 'per_tool_call:google_maps': 1 }],
    ['a widget of a map', [{ groundingMetadata: { googleMapsWidgetContextToken: 'w' } }], { 'per_tool_call:google_maps': 1 }],
    ['files', [{ groundingMetadata: FILES }], { 'per_tool_call:file_search': 1 }],
    ['each candidate', [{ groundingMetadata: MAPS }, { groundingMetadata: MAPS }], { 'per_tool_call:google_maps': 2 }],
    [
      'calls that are shown, where they are more',
      [{ groundingMetadata: MAPS, content: { parts: [called('GOOGLE_MAPS'), called('GOOGLE_MAPS'), called('FILE_SEARCH')] } }],
      { 'per_tool_call:google_maps': 2, 'per_tool_call:file_search': 1 },
    ],
    [
      'queries, where the calls that are shown are fewer',
      [{ groundingMetadata: { webSearchQueries: ['a', 'b'] }, content: { parts: [called('GOOGLE_SEARCH_WEB')] } }],
      { 'per_tool_call:web_search': 2 },
    ],
    ['nothing for what is read at an address', [{ content: { parts: [called('URL_CONTEXT')] }, groundingMetadata: {} }], {}],
    ['nothing where there is nothing', [{ content: { parts: [{ text: 'a' }] }, groundingMetadata: { groundingChunks: 'x' } }], {}],
  ])('are counted by %s', (_, candidates, expected) => {
    expect(counted('gemini-3-pro', candidates)).toEqual(expected);
  });

  it('are one for all of an answer of the first generations', () => {
    const candidate = { groundingMetadata: { ...MAPS, webSearchQueries: ['a', 'b'] } };
    const one = { 'per_tool_call:web_search': 1, 'per_tool_call:google_maps': 1 };
    expect(counted('models/gemini-2.5-pro', [candidate, candidate])).toEqual(one);
    expect(counted('gemini-20', [candidate])).toEqual({ 'per_tool_call:web_search': 2, 'per_tool_call:google_maps': 1 });
  });

  it('add up over events that tell what is new, and are not counted again by those that repeat it', () => {
    const first = { index: 0, groundingMetadata: { ...MAPS, webSearchQueries: ['a'] } };
    const second = { index: 0, groundingMetadata: { webSearchQueries: ['a', 'b'] } };
    const expected = { 'per_tool_call:web_search': 2, 'per_tool_call:google_maps': 1 };
    expect(counted('gemini-3-pro', [first], [second], [{ index: 0, groundingMetadata: {} }])).toEqual(expected);
  });

  it('are bounded, whatever an upstream writes', () => {
    const webSearchQueries = Array.from({ length: 5_000 }, (_, index) => `q${index}`);
    expect(counted('gemini-3-pro', [{ groundingMetadata: { webSearchQueries } }])).toEqual({ 'per_tool_call:web_search': 1_024 });
  });
});

/** One answer, and the same as a stream in which the grounding comes before the last event, and the call in an event of its own. */
const PARTS = [{ text: 'Here.' }, called('GOOGLE_MAPS'), called('GOOGLE_MAPS')];
const GROUNDING = { ...FILES, webSearchQueries: ['a'] };
const EXPECTED = {
  input: 5,
  output: 2,
  'per_tool_call:web_search': 1,
  'per_tool_call:google_maps': 2,
  'per_tool_call:file_search': 1,
};

function whole(...parts: readonly object[]): Buffer {
  const candidates = [{ content: { parts }, groundingMetadata: GROUNDING, finishReason: 'STOP' }];
  return Buffer.from(JSON.stringify({ candidates, usageMetadata: USAGE, modelVersion: 'gemini-3-pro' }));
}

function stream(...last: readonly object[]): Buffer {
  const event = (candidate: object, more: object = {}): string =>
    `data: ${JSON.stringify({ candidates: [{ index: 0, ...candidate }], modelVersion: 'gemini-3-pro', ...more })}\r\n\r\n`;
  const events = [
    event({ content: { parts: PARTS.slice(0, 1) } }),
    event({ content: { parts: PARTS.slice(1, 2) }, groundingMetadata: FILES }),
    event({ content: { parts: PARTS.slice(2) } }),
    event({ content: { parts: [{ text: ' And there.' }] }, finishReason: 'STOP' }, { usageMetadata: USAGE }),
    ...last.map((candidate) => event(candidate)),
  ];
  return Buffer.from(events.join(''));
}

describe('an answer with calls of Google’s tools', () => {
  it('is counted whole, in both lanes, however long it is', () => {
    expect(gemini.readAnswer('chat', whole(...PARTS)).facts.usage).toEqual(EXPECTED);
    expect(gemini.decodeResponse(whole(...PARTS)).usage?.usage).toEqual(EXPECTED);
    const picture = { inlineData: { mimeType: 'image/png', data: 'A'.repeat(300_000) } };
    expect(gemini.readAnswer('chat', whole(picture, ...PARTS)).facts.usage).toEqual(EXPECTED);
    const calls = { content: { parts: [picture, called('GOOGLE_MAPS')] }, finishReason: 'STOP' };
    const body = Buffer.from(JSON.stringify({ candidates: [calls], usageMetadata: USAGE, modelVersion: 'gemini-3-pro' }));
    expect(gemini.readAnswer('chat', body).facts.usage).toEqual({ input: 5, output: 2, 'per_tool_call:google_maps': 1 });
  });

  it('is counted as it is streamed, in both lanes, also where its grounding comes behind its usage', () => {
    const grounded = { groundingMetadata: { webSearchQueries: ['a'] } };
    const passed = gemini.passThroughStream({ wantsStreamUsage: true, model: undefined });
    const decoder = gemini.decodeStream();
    const events = [];
    for (const byte of stream(grounded)) {
      passed.push(Buffer.of(byte));
      events.push(...decoder.push(Buffer.of(byte)));
    }
    passed.close();
    events.push(...decoder.end());
    expect(passed.end).toEqual({ state: 'finished' });
    expect(passed.facts.usage).toEqual(EXPECTED);
    expect(events.findLast((event) => event.type === 'usage')?.report.usage).toEqual(EXPECTED);
    expect(events.at(-1)).toEqual({ type: 'end' });
  });
});

describe('a request for tools of Google', () => {
  const place: RequestPlace = { model: 'gemini-3-pro', stream: false };
  const asking = (tool: object): (() => unknown) => {
    const body = Buffer.from(JSON.stringify({ contents: [{ parts: [{ text: 'Hi' }] }], tools: [tool] }));
    return () => gemini.readPassThrough('chat', body, place).facts.beyondText?.map(({ meter }) => meter);
  };

  it('names what its calls are counted on', () => {
    expect(asking({ googleMaps: {} })()).toEqual(['per_tool_call:google_maps']);
    expect(asking({ file_search: {} })()).toEqual(['per_tool_call:file_search']);
    expect(asking({ googleSearch: {} })()).toEqual(['per_tool_call:web_search']);
    expect(asking({ urlContext: {}, codeExecution: {} })()).toEqual([]);
  });

  it.each(['mcpServers', 'mcp_servers', 'retrieval', 'constructor'])('is refused for %s, of which no answer tells the calls', (name) => {
    expect(asking({ [name]: [{ name: 'x' }] })).toThrow(/tools\[0\]\.\w+.*cannot be counted/);
    expect(asking({ [name]: null })).not.toThrow();
  });
});
