import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { MAX_HELD_BYTES } from '../answer-facts.ts';
import type { StreamTerms } from '../dialect.ts';
import { openaiChat } from './index.ts';
import { ChatPassThroughStream } from './pass-through-stream.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded streams in ${FIXTURES}`);

type Json = Record<string, unknown>;

const QUIET: StreamTerms = { wantsStreamUsage: false, model: undefined };
const ASKED: StreamTerms = { wantsStreamUsage: true, model: undefined };

const chunk = (fields: Json) => ({ id: 'c1', object: 'chat.completion.chunk', created: 1, model: 'up-1', ...fields });
const delta = (fields: Json, finish: string | null = null) => chunk({ choices: [{ index: 0, delta: fields, finish_reason: finish }] });
const usage = { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 };
const sse = (...values: (Json | string)[]) =>
  values.map((value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`).join('');

function run(text: string, terms: StreamTerms = QUIET, close = true): { stream: ChatPassThroughStream; out: string; terminal: string } {
  const stream = new ChatPassThroughStream(terms);
  stream.push(Buffer.from(text));
  if (close) stream.close();
  const out = Buffer.concat(stream.take()).toString();
  const terminal = stream.end.state === 'finished' ? Buffer.concat(stream.terminal('0.5')).toString() : '';
  return { stream, out, terminal };
}

function events(text: string): (Json | string)[] {
  return text
    .split('\n\n')
    .filter((block) => block !== '')
    .map((block) => block.replace(/^(event: .*\n)?data: /, ''))
    .map((data) => (data === '[DONE]' ? data : JSON.parse(data)));
}

describe('the commit point', () => {
  it.each([
    [{ role: 'assistant' }, false],
    [{ role: 'assistant', content: '' }, false],
    [{ role: 'assistant', content: null, refusal: null, tool_calls: [], reasoning_details: [] }, false],
    [{ content: 'a' }, true],
    [{ content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'a' }] }] }, true],
    [{ reasoning_content: 'a' }, true],
    [{ reasoning: 'a' }, true],
    [{ reasoning_details: [{ type: 'reasoning.encrypted', data: 'x' }] }, true],
    [{ tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '' } }] }, true],
    [{ refusal: 'a' }, true],
    [{ audio: { id: 'a' } }, true],
    [{ images: [{ type: 'image_url' }] }, true],
  ])('%j commits: %s', (fields, committed) => {
    const { stream, out } = run(sse(delta({ role: 'assistant' }), delta(fields)), QUIET, false);
    expect(stream.committed).toBe(committed);
    expect(events(out)).toHaveLength(2);
  });

  it('comes with a preamble that is larger than the limit, though nothing is in it', () => {
    const { stream } = run(
      sse(...Array.from({ length: 3 }, () => chunk({ choices: [], padding: 'x'.repeat(MAX_HELD_BYTES / 2) }))),
      QUIET,
      false,
    );
    expect(stream.committed).toBe(true);
    expect(stream.facts.empty).toBe(true);
  });

  it('does not come with comments, empty data or chunks without choices', () => {
    const { stream, out } = run(`: hi\n\ndata:\n\n${sse(chunk({ choices: [], prompt_filter_results: [] }))}`, QUIET, false);
    expect(stream.committed).toBe(false);
    expect(events(out)).toHaveLength(1);
  });
});

describe('the end of a stream', () => {
  const body = sse(delta({ content: 'a' }), delta({}, 'stop'));

  it('is [DONE], which is kept for the terminal bytes', () => {
    const { stream, out, terminal } = run(body + sse('[DONE]'), QUIET, false);
    expect(stream.end.state).toBe('finished');
    expect(out).toBe(body);
    expect(terminal).toBe('data: [DONE]\n\n');
  });

  it('is the close after a finish reason, and [DONE] is added', () => {
    const { stream, terminal } = run(body);
    expect(stream.end.state).toBe('finished');
    expect(terminal).toBe('data: [DONE]\n\n');
  });

  it('ignores what follows [DONE]', () => {
    expect(run(body + sse('[DONE]', delta({ content: 'late' }))).out).toBe(body);
  });

  it.each([
    '',
    ': comment\n\n',
    sse(delta({ role: 'assistant' })),
    sse(delta({ content: 'a' })),
    `${sse(delta({ content: 'a' }))}data: {"choices":[{"de`,
  ])('is broken without either: %j', (text) => {
    expect(run(text).stream.end).toMatchObject({ state: 'broken', error: { code: 'upstream_error', source: 'upstream' } });
  });

  it('takes a last event without its line end', () => {
    const { stream, out } = run(body.trimEnd());
    expect(stream.end.state).toBe('finished');
    expect(out).toBe(body);
  });

  it.each([
    [sse({ error: { message: 'Engine down', type: 'server_error', code: 500 } }), 'Engine down'],
    [sse(delta({ content: 'a' }), { error: { message: 'Engine down' }, choices: [] }), 'Engine down'],
    [`${sse(delta({ content: 'a' }))}event: error\ndata: {"message":"Engine down"}\n\n`, 'Engine down'],
    [sse(delta({ content: 'a' }), { error: 'Engine down' }), 'Engine down'],
    [sse({ error: { message: 'Incorrect API key sk-abcdefgh', code: 401 } }), 'could not answer'],
    [sse('{"choices":'), 'could not be read'],
    [sse('[1]'), 'could not be read'],
    [sse(delta({ content: 'a' }), '<html>'), 'could not be read'],
    [sse(delta({ content: 'a' }), '{"usage":{'), 'could not be read'],
    [sse(delta({ content: 'a' }), '{"choices":[{"index":0,"delta":{"content":"cut'), 'could not be read'],
  ])('is broken by an error or by rubbish: %j', (text, message) => {
    const { end } = run(text, QUIET, false).stream;
    expect(end).toMatchObject({ state: 'broken' });
    if (end.state === 'broken') {
      expect(end.error.message).toContain(message);
      expect(end.error.message).not.toContain('sk-');
    }
  });

  it('says whose fault an error event is', () => {
    expect(run(sse({ error: { message: 'Too long', code: 400 } }), QUIET, false).stream.end).toMatchObject({
      error: { code: 'invalid_request_error', status: 400, source: 'client' },
    });
  });

  it('is not brought about by text that speaks of errors, usage and ends', () => {
    const tricky = 'data: [DONE]\n\n{"error":{"message":"x"},"usage":{"prompt_tokens":9},"finish_reason":"stop"}';
    const text = sse(delta({ content: 'a' }), delta({ content: tricky }), delta({ content: '\\' }), delta({ content: '"usage":' }));
    const { stream, out } = run(text, QUIET, false);
    expect(stream.end.state).toBe('running');
    expect(stream.facts.usage).toBeUndefined();
    expect(out).toBe(text);
    stream.close();
    expect(stream.end.state).toBe('broken');
  });
});

describe('usage in a stream', () => {
  const start = [delta({ role: 'assistant' }), delta({ content: 'Hi' })];
  const shapes: [string, Json[]][] = [
    ['in a chunk of its own', [delta({}, 'stop'), chunk({ choices: [], usage })]],
    ['on the finish chunk', [{ ...delta({}, 'stop'), usage }]],
    ['after the finish, on an empty delta', [delta({}, 'stop'), { ...delta({}), usage }]],
    [
      'on every chunk, growing',
      [
        { ...delta({ content: '!' }), usage: { ...usage, completion_tokens: 1, total_tokens: 6 } },
        { ...delta({}, 'stop'), usage },
      ],
    ],
    ['as null first', [{ ...delta({ content: '!' }), usage: null }, { ...delta({}, 'stop'), usage: null }, chunk({ choices: [], usage })]],
    ['twice', [chunk({ choices: [], usage }), delta({}, 'stop'), chunk({ choices: [], usage })]],
    ['in a member of its own', [{ ...delta({}, 'stop'), x_groq: { id: 'r', usage } }]],
    ['spaced out', [delta({}, 'stop')]],
  ];
  const spaced = `data: {"choices": [{"delta": {"content": "!"}, "finish_reason": null}], "usage": null}\n\ndata: {"choices" : [], "usage" : ${JSON.stringify(usage)}}\n\n`;
  const extra = new Map([['spaced out', spaced]]);

  it.each(shapes)('%s reaches a client that asked as exactly one last chunk', (name, chunks) => {
    const { stream, out, terminal } = run(sse(...start, ...chunks) + (extra.get(name) ?? '') + sse('[DONE]'), ASKED);
    const all = events(out + terminal);
    expect(stream.facts.usage).toEqual({ input: 5, output: 2 });
    expect(all.at(-1)).toBe('[DONE]');
    expect(all.at(-2)).toMatchObject({ choices: [], usage: { ...usage, cost_usd: 0.5 } });
    const before = all.slice(0, -2);
    expect(JSON.stringify(before)).not.toContain('prompt_tokens');
    expect(JSON.stringify(before)).toContain('"finish_reason":"stop"');
  });

  it.each(shapes)('%s is kept from a client that did not ask', (name, chunks) => {
    const { stream, out, terminal } = run(sse(...start, ...chunks) + (extra.get(name) ?? '') + sse('[DONE]'));
    expect(stream.facts.usage).toEqual({ input: 5, output: 2 });
    expect(out + terminal).not.toContain('"usage"');
    expect(out + terminal).toContain('"finish_reason":"stop"');
    expect(events(out + terminal).at(-1)).toBe('[DONE]');
  });

  it('is a register: the last report wins, and absence does not zero', () => {
    const first = { prompt_tokens: 5, completion_tokens: 1, total_tokens: 6, prompt_tokens_details: { cached_tokens: 2 } };
    const { stream } = run(
      sse(...start, { ...delta({}), usage: first }, { ...delta({}, 'stop'), usage }, chunk({ choices: [], usage: null })),
      ASKED,
    );
    expect(stream.facts.usage).toEqual({ input: 3, cached_input: 2, output: 2 });
  });

  it('does not tell what the provider bills us', () => {
    const bill = { cost: 0.5, cost_details: {}, is_byok: false };
    const { stream, terminal } = run(sse(...start, delta({}, 'stop'), chunk({ choices: [], usage: { ...usage, ...bill } })), ASKED);
    expect(stream.facts.usage).toEqual({ input: 5, output: 2 });
    expect(events(terminal)[0]).toMatchObject({ usage: { ...usage, cost_usd: 0.5 } });
    expect(terminal).not.toMatch(/"cost"|cost_details|is_byok/);
  });

  it('holds a finish that carries usage back for the end, unless content follows', () => {
    const finish = { ...delta({}, 'stop'), usage };
    expect(run(sse(...start, finish), QUIET, false).out).not.toContain('stop');
    const { out } = run(sse(...start, finish, delta({ content: 'more' })), QUIET, false);
    expect(out.indexOf('"stop"')).toBeGreaterThan(0);
    expect(out.indexOf('more')).toBeGreaterThan(out.indexOf('"stop"'));
  });

  it('is the whole of it unless more was generated after it', () => {
    const seed = { ...usage, completion_tokens: 1, total_tokens: 6 };
    const facts = (...chunks: (Json | string)[]) => run(sse(...chunks), QUIET, false).stream.facts;
    const [, hi] = start;
    const more = Array.from({ length: 20 }, () => delta({ content: 'word' }));
    const seeded = [{ ...delta({ role: 'assistant' }), usage: seed }, ...more];
    expect(facts(...seeded)).toMatchObject({ usage: { input: 5, output: 1 }, usageIsInterim: true, countedOutputTokens: 20 });
    expect(facts(...more, { ...delta({ content: 'last' }), usage })).toMatchObject({ usage: { output: 2 }, usageIsInterim: false });
    expect(facts(...more, chunk({ choices: [], usage }))).toMatchObject({ usageIsInterim: false });
    expect(facts(...more)).toMatchObject({ usage: undefined, usageIsInterim: false });
    // A report at the beginning is a seed, also where no other comes before the end.
    expect(facts(...seeded, '[DONE]')).toMatchObject({ usage: { output: 1 }, usageIsInterim: true, countedOutputTokens: 20 });
    expect(facts({ ...delta({}), usage: { ...usage, completion_tokens: 0, total_tokens: 5 } })).toMatchObject({ empty: true });
    expect(facts(hi ?? '')).toMatchObject({ empty: false });
  });

  it('that never came is counted from the text', () => {
    const text = Array.from({ length: 50 }, (_, index) => delta({ content: `word${index % 10} and ` }));
    const { countedOutputTokens } = run(sse(...text), QUIET, false).stream.facts;
    expect(countedOutputTokens).toBeGreaterThanOrEqual(100);
    expect(countedOutputTokens).toBeLessThanOrEqual(200);
    const oneByte = Array.from({ length: 50 }, () => delta({ content: 'x' }));
    expect(run(sse(...oneByte), QUIET, false).stream.facts.countedOutputTokens).toBe(50);
  });
});

describe('the model of a stream', () => {
  it('is the asked one in every event, and nothing else changes', () => {
    const text = sse(
      delta({ role: 'assistant' }),
      delta({ content: '"model":"up-1"' }),
      delta({ content: 'é "model":"up-1" 漢' }),
      delta({}, 'stop'),
      '[DONE]',
    );
    const { stream, out, terminal } = run(text, { wantsStreamUsage: false, model: 'asked/é"' });
    expect(out + terminal).toBe(text.replaceAll('"model":"up-1"', '"model":"asked/é\\""'));
    expect(stream.facts.model).toBe('up-1');
  });

  it('is replaced where it is written with spaces, and in the usage chunk', () => {
    const { out, terminal } = run(
      `data: {"model" : "up-1", "choices": [{"delta": {"content": "x"}}]}\n\n${sse(delta({}, 'stop'), chunk({ choices: [], usage }))}`,
      { wantsStreamUsage: true, model: 'asked' },
    );
    expect(out + terminal).not.toContain('up-1');
    expect(events(terminal)[0]).toMatchObject({ model: 'asked', usage });
  });

  it('stays where none was given', () => {
    const text = sse(delta({ content: 'a' }), delta({ content: 'b' }));
    expect(run(text, QUIET, false).out).toBe(text);
  });
});

/** Recorded chat streams in this shape: name and bytes. */
function recordedStreams(): [string, Buffer][] {
  if (!present) return [];
  const found: [string, Buffer][] = [];
  for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
    if (!name.includes('/chat/')) continue;
    if (name.endsWith('.sse')) found.push([name, readFileSync(join(FIXTURES, name))]);
    if (!name.endsWith('.chunks.txt')) continue;
    const lines = readFileSync(join(FIXTURES, name), 'utf8')
      .split('\n')
      .filter((line) => line !== '');
    found.push([name, Buffer.from(sse(...lines, '[DONE]'))]);
  }
  return found;
}

/** What the client is to read of an upstream's events: the oracle, by whole objects. */
function expected(bytes: Buffer, terms: StreamTerms): Json[] {
  const read = bytes
    .toString()
    .split(/\r\n|\n|\r/)
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice(5).trim())
    .filter((data) => data !== '' && data !== '[DONE]')
    .map((data): Json => JSON.parse(data));
  return read.flatMap((event) => {
    const { usage: reported, x_groq: ofGroq, ...rest } = event;
    const isUsage = typeof reported === 'object' && reported !== null;
    if (isUsage && Array.isArray(rest.choices) && rest.choices.length === 0) return [];
    const { usage: nested, ...groq } = (ofGroq ?? {}) as Json;
    return [
      {
        ...rest,
        ...(ofGroq === undefined ? {} : { x_groq: nested === undefined ? ofGroq : groq }),
        ...(reported === null && terms.wantsStreamUsage ? { usage: null } : {}),
        ...(terms.model !== undefined && rest.model !== undefined ? { model: terms.model } : {}),
      },
    ];
  });
}

/** All of its tokens went into reasoning that is not shown. */
const NO_TEXT = /ev-chat-streaming-detailed-usage/;
const BROKEN = /pa-tool-use-failed-error-streaming-with-text\.[12]\.sse|pa-openrouter-stream-error/;

describe('recorded streams', () => {
  it.skipIf(!present)('are found', () => {
    expect(recordedStreams().length).toBeGreaterThan(25);
  });

  it.each(recordedStreams())('%s passes with the documented edits only, however it is cut', (name, bytes) => {
    const position = fc.nat({ max: bytes.length });
    const terms = fc.record({ wantsStreamUsage: fc.boolean(), model: fc.constantFrom(undefined, 'asked') });
    fc.assert(
      fc.property(fc.array(position, { maxLength: 8 }), terms, (cuts, asked) => {
        const stream = new ChatPassThroughStream(asked);
        const taken: Buffer[] = [];
        const sorted = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        for (const [index, from] of sorted.entries()) {
          stream.push(bytes.subarray(from, sorted[index + 1]));
          taken.push(...stream.take());
        }
        stream.close();
        taken.push(...stream.take());
        if (BROKEN.test(name) && stream.end.state === 'broken') return;
        expect(stream.end.state).toBe('finished');
        expect(stream.committed).toBe(!NO_TEXT.test(name));
        const terminal = events(Buffer.concat(stream.terminal('0.5')).toString());
        const all = [...events(Buffer.concat(taken).toString().replaceAll('\r', '')), ...terminal];
        expect(all.pop()).toBe('[DONE]');
        if (asked.wantsStreamUsage && stream.facts.usage !== undefined) {
          const last = all.pop();
          expect(last).toMatchObject({ choices: [], usage: { cost_usd: 0.5 } });
        }
        expect(all).toEqual(expected(bytes, asked));
      }),
      { numRuns: 12 },
    );
  });

  it.skipIf(!present)('keep their bytes where nothing is to be edited', () => {
    for (const [name, bytes] of recordedStreams()) {
      const stream = new ChatPassThroughStream(ASKED);
      stream.push(bytes);
      const text = bytes.toString();
      for (const event of stream.take()) {
        const raw = event.toString();
        if (!text.includes(raw)) expect(text, name).toContain(`"usage":`);
      }
    }
  });

  it.skipIf(!present)('that are cut off are counted within a factor of two and a half where they are text and nothing is hidden', () => {
    let compared = 0;
    for (const [name, bytes] of recordedStreams()) {
      // These were shortened by their authors, their usage was not.
      if (name.includes('/vc-')) continue;
      const stream = new ChatPassThroughStream(QUIET);
      stream.push(bytes);
      stream.close();
      const { usage: reported, countedOutputTokens } = stream.facts;
      const text = bytes.toString();
      if (reported?.output === undefined || reported.output < 20 || /"reasoning_tokens":\s*[1-9]|"tool_calls":\s*\[\{/.test(text)) continue;
      compared++;
      expect(countedOutputTokens / reported.output).toBeGreaterThan(0.4);
      expect(countedOutputTokens / reported.output).toBeLessThan(2.5);
    }
    expect(compared).toBeGreaterThan(2);
  });
});

describe('the keep-alive', () => {
  it('is invisible to the SDK between events, also after an event with an id', async () => {
    const alive = openaiChat.keepAlive.toString();
    const body = `id: 1\n${sse(delta({ content: 'a' }))}${alive}${alive}${sse(delta({ content: 'b' }, 'stop'))}${alive}${sse('[DONE]')}`;
    const client = new OpenAI({
      apiKey: 'k',
      baseURL: 'http://unused.invalid',
      fetch: async () => new Response(body, { headers: { 'content-type': 'text/event-stream' } }),
    });
    const texts: (string | null | undefined)[] = [];
    for await (const part of await client.chat.completions.create({ model: 'm', messages: [], stream: true }))
      texts.push(part.choices[0]?.delta.content);
    expect(texts).toEqual(['a', 'b']);
  });

  it('ends in one line end: a decoder that keeps the last id would dispatch an empty event at an empty line', () => {
    // The Python SDK's decoder returns an event at every empty line once an id has been seen.
    const dispatched = (text: string): string[] => {
      const found: string[] = [];
      let lastId = '';
      let data: string[] = [];
      for (const line of text.split('\n').slice(0, -1)) {
        if (line === '') {
          if (data.length > 0 || lastId !== '') found.push(data.join('\n'));
          data = [];
        } else if (line.startsWith('id: ')) lastId = line.slice(4);
        else if (line.startsWith('data: ')) data.push(line.slice(6));
      }
      return found;
    };
    const around = (alive: string) => dispatched(`id: 1\ndata: {}\n\n${alive}data: {}\n\n`);
    expect(around(openaiChat.keepAlive.toString())).toEqual(['{}', '{}']);
    expect(around(': keep-alive\n\n')).toEqual(['{}', '', '{}']);
  });
});
