import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { unpackCallId } from '../../canonical/call-id.ts';
import { unpackCarrier } from '../../canonical/carrier.ts';
import type { Part } from '../../canonical/message.ts';
import type { Response } from '../../canonical/response.ts';
import { boundedToolName } from '../../canonical/tool-name.ts';
import { decodeRequest } from './request.ts';
import { decodeResponse, encodeResponse, readAnswer } from './response.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open/anthropic/messages');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded answers in ${FIXTURES}`);

const REQUEST = decodeRequest(Buffer.from('{"model":"asked","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'));
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

const MESSAGE = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-4-5',
  content: [{ type: 'text', text: 'Hello' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 10, cache_read_input_tokens: 4, output_tokens: 3, service_tier: 'standard' },
};

function recordedAnswers(): [string, Record<string, unknown>][] {
  if (!present) return [];
  return readdirSync(FIXTURES)
    .filter((name) => name.endsWith('.json') && !name.endsWith('.meta.json'))
    .map((name): [string, Record<string, unknown>] => [name, JSON.parse(readFileSync(join(FIXTURES, name), 'utf8'))]);
}

// biome-ignore lint/suspicious/noExplicitAny: the bodies are read member by member
type Body = any;

function encode(response: Response, model?: string, cost?: string): { body: Body; losses: string[] } {
  const terms = { requestId: 'req_1', model, createdSeconds: 0, costUsdLiteral: cost, request: REQUEST };
  const { body, losses } = encodeResponse(response, terms);
  return { body: JSON.parse(Buffer.concat(body).toString('utf8')), losses: losses.map(({ name }) => name) };
}

/** An answer of another dialect. */
function foreign(parts: readonly Part[], fields: Partial<Response['choices'][number]> = {}): Response {
  return {
    id: 'x',
    createdSeconds: 1,
    model: 'gpt',
    choices: [{ index: 0, parts, finish: { reason: 'stop', raw: 'stop' }, logprobs: undefined, rest: {}, ...fields }],
    usage: undefined,
    serviceTier: undefined,
    rest: { system_fingerprint: 'fp' },
  };
}

const said = (text: string): Part => ({ type: 'text', text, citations: [], rest: {} });
const called = (id: string, args: string, name = 'f'): Part => ({
  type: 'tool_call',
  id,
  name,
  arguments: args,
  kind: 'function',
  rest: {},
});

describe('recorded answers', () => {
  it.each(recordedAnswers())('%s is the same after it was read and written', (_name, recorded) => {
    if (recorded.type === 'error') {
      expect(() => decodeResponse(bytes(recorded))).toThrow(expect.objectContaining({ code: 'upstream_error' }));
      return;
    }
    const { body, losses } = encode(decodeResponse(bytes(recorded)));
    expect(losses).toEqual([]);
    expect(body).toMatchObject({ model: recorded.model, stop_reason: recorded.stop_reason, stop_sequence: recorded.stop_sequence });
    expect(body.usage).toMatchObject({ output_tokens: (recorded.usage as Body).output_tokens });
    expect(body.content.map(withoutDefaults)).toEqual((recorded.content as Body[]).map(withoutDefaults));
  });

  it.each(recordedAnswers().filter(([, recorded]) => recorded.type === 'message'))(
    '%s passes through with another model’s name and the cost, and nothing else changed',
    (_name, recorded) => {
      const { facts, rewrite } = readAnswer('chat', bytes(recorded));
      const { body, losses } = rewrite({ model: 'shown', costUsdLiteral: '0.5' });
      expect(losses).toEqual([]);
      const usage = { ...(recorded.usage as object), cost_usd: 0.5 };
      expect(JSON.parse(Buffer.concat(body).toString('utf8'))).toEqual({ ...recorded, model: 'shown', usage });
      expect(facts).toMatchObject({ empty: false, usageIsInterim: false, model: recorded.model });
    },
  );
});

/** What a reader takes for granted. */
function withoutDefaults(block: Body): unknown {
  const { citations, caller, ...others } = block;
  return { ...others, ...(citations?.length > 0 ? { citations } : {}), ...(caller && caller.type !== 'direct' ? { caller } : {}) };
}

describe('an answer that passes through', () => {
  const rewritten = (value: unknown, model?: string) =>
    Buffer.concat([...readAnswer('chat', bytes(value)).rewrite({ model, costUsdLiteral: '0.01' }).body]).toString('utf8');

  it('keeps its bytes', () => {
    expect(rewritten(MESSAGE)).toBe(JSON.stringify(MESSAGE).replace('"standard"}', '"standard","cost_usd":0.01}'));
  });

  it('does not tell what the provider has charged us', () => {
    const usage = { ...MESSAGE.usage, cost: 0.2, cost_details: {} };
    expect(JSON.parse(rewritten({ ...MESSAGE, usage })).usage).toEqual({ ...MESSAGE.usage, cost_usd: 0.01 });
    expect(JSON.parse(rewritten({ ...MESSAGE, usage: {} })).usage).toEqual({ cost_usd: 0.01 });
  });

  it('is empty without content and output', () => {
    const facts = (fields: object) => readAnswer('chat', bytes({ ...MESSAGE, ...fields })).facts;
    expect(facts({ content: [], usage: { input_tokens: 1, output_tokens: 0 } }).empty).toBe(true);
    expect(facts({ content: [{ type: 'text', text: '' }], usage: undefined }).empty).toBe(true);
    expect(facts({ content: [{ type: 'tool_use', id: 't', name: 'f', input: {} }], usage: undefined }).empty).toBe(false);
    expect(facts({ content: [{ type: 'thinking', thinking: '', signature: 's' }], usage: undefined }).empty).toBe(false);
    expect(facts({ content: [], usage: { input_tokens: 1, output_tokens: 5 } }).empty).toBe(false);
  });

  it('is counted from its text where the provider counts nothing', () => {
    const content = [
      { type: 'text', text: 'x'.repeat(40) },
      { type: 'tool_use', id: 't', name: 'f', input: { a: 1 } },
    ];
    expect(readAnswer('chat', bytes({ ...MESSAGE, content, usage: undefined })).facts).toMatchObject({
      usage: undefined,
      countedOutputTokens: 12,
    });
  });

  it.each([
    ['an error in a success’s clothes', { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }],
    ['a list', []],
  ])('is none when it is %s', (_name, value) => {
    expect(() => readAnswer('chat', bytes(value))).toThrow(expect.objectContaining({ code: 'upstream_error' }));
  });
});

describe('an upstream’s answer', () => {
  it('has parts, a reason for its end, and usage in disjoint counts', () => {
    const response = decodeResponse(
      bytes({ ...MESSAGE, container: null, content: [{ type: 'thinking', thinking: 'Hm', signature: 's' }, ...MESSAGE.content] }),
    );
    expect(response).toMatchObject({
      dialect: 'anthropic-messages',
      model: 'claude-sonnet-4-5',
      serviceTier: 'standard',
      choices: [
        {
          parts: [
            { type: 'reasoning', text: 'Hm' },
            { type: 'text', text: 'Hello' },
          ],
          finish: { reason: 'stop', raw: 'end_turn' },
        },
      ],
      usage: { usage: { input: 10, cached_input: 4, output: 3 } },
    });
  });

  it.each([
    ['end_turn', 'stop'],
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['tool_use', 'tool_calls'],
    ['refusal', 'content_filter'],
    ['pause_turn', 'pause'],
  ])('ends with %s as %s', (raw, reason) => {
    expect(decodeResponse(bytes({ ...MESSAGE, stop_reason: raw })).choices[0]?.finish).toEqual({ reason, raw });
  });

  it('is an error with a reason that is not known', () => {
    expect(() => decodeResponse(bytes({ ...MESSAGE, stop_reason: 'tired' }))).toThrow(expect.objectContaining({ code: 'upstream_error' }));
  });

  it.each([[['text']], [[{ type: 'tool_result', content: 5 }]], [[null]]])('is an error of the provider with the content %j', (content) => {
    expect(() => decodeResponse(bytes({ ...MESSAGE, content }))).toThrow(
      expect.objectContaining({ code: 'upstream_error', source: 'upstream' }),
    );
  });

  it('is text that stops where the model had to answer by a tool', () => {
    const content = [{ type: 'tool_use', id: 't', name: 'meridian_json_answer', input: { a: [1] } }];
    expect(decodeResponse(bytes({ ...MESSAGE, content, stop_reason: 'tool_use' })).choices[0]).toMatchObject({
      parts: [{ type: 'text', text: '{"a":[1]}' }],
      finish: { reason: 'stop' },
    });
  });

  it('places its citations in all of the text', () => {
    const citation = {
      type: 'char_location',
      cited_text: 'x',
      document_index: 0,
      document_title: 'D',
      start_char_index: 0,
      end_char_index: 1,
    };
    const content = [
      { type: 'text', text: 'One. ' },
      { type: 'text', text: 'Two.', citations: [citation] },
    ];
    expect(decodeResponse(bytes({ ...MESSAGE, content })).choices[0]?.parts[1]).toMatchObject({
      citations: [{ url: undefined, title: 'D', start: 5, end: 9, rest: citation }],
    });
  });
});

describe('a client’s answer', () => {
  it('has every field that this protocol promises', () => {
    const { body } = encode(foreign([said('Hi')]), 'shown', '0.000001');
    expect(body).toEqual({
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      model: 'shown',
      content: [{ type: 'text', text: 'Hi', citations: null }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      stop_details: null,
      container: null,
      usage: {
        input_tokens: 0,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
        cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 0 },
        output_tokens: 0,
        server_tool_use: null,
        service_tier: null,
        inference_geo: null,
        cost_usd: 0.000001,
      },
    });
  });

  it('counts what was cached and written apart from the input, and thinking inside the output', () => {
    const usage = {
      input: 5,
      cached_input: 3,
      cache_write_5m: 2,
      cache_write_1h: 1,
      audio_in: 4,
      output: 9,
      'per_tool_call:web_search': 2,
    };
    const { body } = encode({ ...foreign([]), usage: { usage, reasoningTokens: 6, raw: {} }, serviceTier: 'priority' });
    expect(body.usage).toMatchObject({
      input_tokens: 9,
      cache_read_input_tokens: 3,
      cache_creation_input_tokens: 3,
      cache_creation: { ephemeral_5m_input_tokens: 2, ephemeral_1h_input_tokens: 1 },
      output_tokens: 9,
      output_tokens_details: { thinking_tokens: 6 },
      server_tool_use: { web_search_requests: 2 },
      service_tier: 'priority',
    });
  });

  it('has calls with ids that come back', () => {
    const { body } = encode(foreign([called('call_1', '{"a":1}'), called('', '')], { finish: { reason: 'stop', raw: 'STOP' } }));
    expect(body.stop_reason).toBe('tool_use');
    expect(body.content.map(({ input }: Body) => input)).toEqual([{ a: 1 }, {}]);
    expect(unpackCallId(body.content[0].id).id).toBe('call_1');
    expect(body.content[1].id).toMatch(/^toolu_./);
  });

  it('calls the client’s tools by their own names', () => {
    const tool = { kind: 'function' as const, name: 'my.tool', description: undefined, parameters: undefined, strict: undefined, rest: {} };
    const terms = {
      requestId: 'req_1',
      model: undefined,
      createdSeconds: 0,
      costUsdLiteral: undefined,
      request: { ...REQUEST, tools: [tool] },
    };
    const { body } = encodeResponse(foreign([called('call_1', '{}', boundedToolName('my.tool')), called('call_2', '{}', 'other')]), terms);
    const { content } = JSON.parse(Buffer.concat([...body]).toString('utf8'));
    expect(content.map(({ name }: Body) => name)).toEqual(['my.tool', 'other']);
  });

  it('carries the proofs of other providers: with the text, and in blocks of their own', () => {
    const carriers = [
      { dialect: 'openai-chat' as const, value: { type: 'reasoning.encrypted', data: 'a' } },
      { dialect: 'openai-chat' as const, value: { type: 'reasoning.encrypted', data: 'b' } },
    ];
    const { body } = encode(foreign([{ type: 'reasoning', text: 'Hm', carriers }, said('Hi')]));
    expect(body.content.map(({ type }: Body) => type)).toEqual(['thinking', 'redacted_thinking', 'text']);
    expect([unpackCarrier(body.content[0].signature), unpackCarrier(body.content[1].data)]).toEqual(carriers);
  });

  it('gives back what only this protocol knows to an upstream of its own alone', () => {
    const own = decodeResponse(bytes({ ...MESSAGE, stop_details: null, context_management: { applied_edits: [] } }));
    expect(encode(own).body.context_management).toEqual({ applied_edits: [] });
    expect(encode(foreign([said('Hi')])).body.system_fingerprint).toBeUndefined();
  });

  it('names what it cannot carry', () => {
    const image: Part = { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'AA' }, detail: undefined, rest: {} };
    const audio: Part = { type: 'audio', source: { from: 'id', id: 'a' }, transcript: 'Spoken', rest: {} };
    const cited: Part = { type: 'text', text: 'Hi', citations: [{ url: undefined, title: 'T', start: 0, end: 2, rest: {} }], rest: {} };
    const other: Part = { type: 'foreign', dialect: 'gemini', value: {} };
    const response = foreign([image, audio, cited, other]);
    const { body, losses } = encode({ ...response, choices: [...response.choices, ...response.choices] });
    expect(losses).toEqual(['choices', 'media_output', 'audio', 'citations', 'unknown_part']);
    expect(body.content.map(({ text }: Body) => text)).toEqual(['Spoken', 'Hi']);
  });
});
