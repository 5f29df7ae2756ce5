import { describe, expect, it } from 'vitest';
import { packCallId } from '../../canonical/call-id.ts';
import { unpackCarrier } from '../../canonical/carrier.ts';
import type { Part } from '../../canonical/message.ts';
import type { Response } from '../../canonical/response.ts';
import { decodeResponse, encodeResponse, readAnswer } from './response.ts';
import { type Json, present, recordedAnswers, requestOf } from './testing.ts';

const usage = {
  input_tokens: 5,
  input_tokens_details: { cached_tokens: 3 },
  output_tokens: 2,
  output_tokens_details: { reasoning_tokens: 1 },
  total_tokens: 7,
};
const said = (...content: readonly Json[]): Json => ({ id: 'msg_1', type: 'message', role: 'assistant', status: 'completed', content });
const outputText = (text: string, annotations: readonly Json[] = []): Json => ({ type: 'output_text', text, annotations });
const answer = (fields: Json = {}): Json => ({
  id: 'resp_1',
  object: 'response',
  created_at: 5,
  model: 'up-1',
  status: 'completed',
  output: [said(outputText('Hi'))],
  usage,
  error: null,
  ...fields,
});
const bytes = (fields?: Json): Buffer => Buffer.from(JSON.stringify(answer(fields)));
const parts = (...output: readonly Json[]): readonly Part[] => decodeResponse(bytes({ output })).choices[0]?.parts ?? [];

const text = (value: string, fields: object = {}): Part => ({ type: 'text', text: value, citations: [], rest: {}, ...fields });
const call = (id: string, fields: object = {}): Part => ({
  type: 'tool_call',
  id,
  name: 'f',
  arguments: '{}',
  kind: 'function',
  rest: {},
  ...fields,
});

function encoded(
  given: readonly Part[],
  fields: Json = {},
  response: Partial<Response> = {},
): { readonly body: Json; readonly output: Json[]; readonly losses: unknown } {
  const { body, losses } = encodeResponse(
    {
      id: 'up',
      createdSeconds: undefined,
      model: 'up-1',
      choices: [{ index: 0, parts: given, finish: { reason: 'stop', raw: 'stop' }, logprobs: undefined, rest: {} }],
      usage: undefined,
      serviceTier: undefined,
      rest: { system_fingerprint: 'x' },
      ...response,
    },
    {
      requestId: 'req_abc',
      model: undefined,
      createdSeconds: 17,
      nowSeconds: () => 19,
      costUsdLiteral: '0.0000012',
      request: requestOf(fields),
    },
  );
  const parsed: Json = JSON.parse(Buffer.concat([...body]).toString());
  return { body: parsed, output: parsed.output as Json[], losses };
}

describe('when an answer was whole', () => {
  it('is told of one that is', () => {
    expect(encoded([text('Hi')]).body).toMatchObject({ status: 'completed', created_at: 17, completed_at: 19 });
    const choices = [{ index: 0, parts: [text('H')], finish: { reason: 'length', raw: 'length' }, logprobs: undefined, rest: {} }] as const;
    expect(encoded([], {}, { choices }).body).toMatchObject({ status: 'incomplete', completed_at: null });
  });
});

describe('an answer that is passed through', () => {
  it('keeps its bytes but for the cost, the model’s name and the provider’s bill', () => {
    const whole = '{ "model":"up-1","output":[], "usage":{"input_tokens":1,"output_tokens":0 },"new":[1]}';
    const { rewrite, facts } = readAnswer('chat', Buffer.from(whole));
    const written = (model: string | undefined) => Buffer.concat([...rewrite({ model, costUsdLiteral: '0.1' }).body]).toString();
    expect(written(undefined)).toBe(
      '{ "model":"up-1","output":[], "usage":{"input_tokens":1,"output_tokens":0 ,"cost_usd":0.1},"new":[1]}',
    );
    expect(written('asked')).toContain('"model":"asked"');
    expect(facts).toMatchObject({ model: 'up-1', empty: true, usage: { input: 1, output: 0 } });
    const billed = readAnswer('chat', bytes({ usage: { ...usage, cost: 1, cost_details: {} } })).rewrite({
      model: undefined,
      costUsdLiteral: '0.1',
    });
    expect(JSON.parse(Buffer.concat([...billed.body]).toString()).usage).toEqual({ ...usage, cost_usd: 0.1 });
  });

  it('tells what it used, and whether anything is in it', () => {
    const { facts } = readAnswer(
      'chat',
      bytes({ service_tier: 'priority', output: [{ type: 'web_search_call', action: { type: 'search' } }, said(outputText('12345678'))] }),
    );
    expect(facts).toEqual({
      usage: { cached_input: 3, input: 2, output: 2, 'per_tool_call:web_search': 1 },
      usageIsInterim: false,
      serviceTier: 'priority',
      model: 'up-1',
      empty: false,
      countedOutputTokens: 2,
      reasoningTokens: 1,
    });
    const empty = (output: readonly Json[]) => readAnswer('chat', bytes({ output, usage: null })).facts.empty;
    expect(empty([])).toBe(true);
    expect(empty([said(outputText('')), { type: 'reasoning', summary: [] }])).toBe(true);
    expect(empty([{ type: 'function_call', name: 'f', arguments: '' }])).toBe(false);
    expect(empty([said({ type: 'refusal', refusal: 'No' })])).toBe(false);
  });

  it('counts the calls of the provider’s tools in an answer that is too long to be parsed', () => {
    const long = [
      { type: 'image_generation_call', result: 'A'.repeat(300_000) },
      { result: '{"type":"no"}', action: { type: 'search' }, type: 'web_search_call' },
    ];
    expect(readAnswer('chat', bytes({ output: long })).facts).toMatchObject({ empty: false, usage: { 'per_tool_call:web_search': 1 } });
  });

  it.each([
    ['a failed response', { status: 'failed', error: { code: 'server_error', message: 'It broke.' } }],
    ['a cancelled one', { status: 'cancelled' }],
    ['an error alone', { output: undefined, error: { message: 'It broke.' } }],
  ])('is an error where it is %s', (_, fields) => {
    expect(() => readAnswer('chat', bytes(fields))).toThrow(expect.objectContaining({ code: 'upstream_error' }));
  });

  it('is an error where it cannot be read', () => {
    for (const body of ['', '[]', '{"model":', '{"model":"a","model":"b"}']) {
      expect(() => readAnswer('chat', Buffer.from(body))).toThrow(expect.objectContaining({ code: 'upstream_error' }));
    }
  });
});

describe('an upstream’s answer', () => {
  it('is read in the order of its items', () => {
    expect(
      parts(
        { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Hm' }], encrypted_content: 'gAAA' },
        said(outputText('One. ')),
        { type: 'function_call', id: 'fc_1', call_id: 'a', name: 'f', arguments: '', status: 'completed' },
        said({ type: 'refusal', refusal: 'No' }),
        { type: 'custom_tool_call', call_id: 'b', name: 'g', input: 'free' },
        { type: 'web_search_call', id: 'ws_1' },
        { type: 'image_generation_call', result: 'AAAA', output_format: 'webp' },
      ),
    ).toEqual([
      { type: 'reasoning', text: 'Hm', carriers: [{ dialect: 'openai-responses', value: { id: 'rs_1', encrypted_content: 'gAAA' } }] },
      text('One. '),
      call('a'),
      { type: 'refusal', text: 'No' },
      call('b', { name: 'g', kind: 'custom', arguments: 'free' }),
      { type: 'foreign', dialect: 'openai-responses', value: { type: 'web_search_call', id: 'ws_1' } },
      { type: 'image', source: { from: 'base64', mediaType: 'image/webp', data: 'AAAA' }, detail: undefined, rest: {} },
    ]);
  });

  it('shows the thinking of a model that shows all of it, and none that is only named', () => {
    expect(parts({ type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'Hm' }] })).toEqual([
      { type: 'reasoning', text: 'Hm', carriers: [] },
    ]);
    expect(parts({ type: 'reasoning', id: 'rs_1', summary: [] })).toEqual([]);
  });

  it('has sources by their place in all of its text', () => {
    const annotation = { type: 'url_citation', url: 'https://a', title: 'A', start_index: 0, end_index: 3 };
    const citation = { url: 'https://a', title: 'A', start: 5, end: 8, rest: {} };
    expect(parts(said(outputText('One. ')), said(outputText('Two', [annotation])))).toEqual([
      text('One. '),
      text('Two', { citations: [citation] }),
    ]);
  });

  it.each([
    [{}, 'stop'],
    [{ status: undefined }, 'stop'],
    [{ output: [{ type: 'function_call', call_id: 'a', name: 'f', arguments: '{}' }] }, 'tool_calls'],
    [{ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } }, 'length'],
    [{ status: 'incomplete', incomplete_details: { reason: 'content_filter' } }, 'content_filter'],
  ])('%j ends for the reason %s', (fields, reason) => {
    expect(decodeResponse(bytes(fields)).choices[0]?.finish?.reason).toBe(reason);
  });

  it.each([{ status: 'incomplete', incomplete_details: { reason: 'new' } }, { status: 'queued' }])('%j is no end', (fields) => {
    expect(() => decodeResponse(bytes(fields))).toThrow(expect.objectContaining({ code: 'upstream_error' }));
  });

  it('tells the rest of itself', () => {
    expect(
      decodeResponse(bytes({ service_tier: 'flex', output: [said({ ...outputText('a'), logprobs: [{ token: 'a', logprob: -1 }] })] })),
    ).toMatchObject({
      dialect: 'openai-responses',
      id: 'resp_1',
      createdSeconds: 5,
      model: 'up-1',
      serviceTier: 'flex',
      usage: { usage: { input: 2, cached_input: 3, output: 2 }, reasoningTokens: 1, raw: usage },
      choices: [{ logprobs: { content: [{ token: 'a', logprob: -1 }] } }],
    });
  });
});

describe('an answer to a client', () => {
  it('is a whole response object, with ids of its own', () => {
    const report = { usage: { input: 2, cached_input: 3, cache_write_5m: 1, output: 4 }, reasoningTokens: 1, raw: {} };
    const { body, losses } = encoded([text('Hi')], {}, { usage: report, serviceTier: 'priority' });
    expect(body).toMatchObject({
      id: 'resp_abc',
      object: 'response',
      created_at: 17,
      status: 'completed',
      model: 'up-1',
      service_tier: 'priority',
      output: [
        {
          id: 'msg_abc_0',
          type: 'message',
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text: 'Hi', annotations: [], logprobs: [] }],
        },
      ],
      usage: {
        input_tokens: 6,
        input_tokens_details: { cached_tokens: 3, cache_write_tokens: 1 },
        output_tokens: 4,
        output_tokens_details: { reasoning_tokens: 1 },
        total_tokens: 10,
        cost_usd: 0.0000012,
      },
    });
    // Another vendor's field has no business here.
    expect(body).not.toHaveProperty('system_fingerprint');
    expect(losses).toEqual([]);
  });

  it('keeps the order of calls and texts, and joins texts that a provider cut', () => {
    const citation = { url: 'https://a', title: undefined, start: undefined, end: undefined, rest: {} };
    const { output } = encoded([text('One '), text('two', { citations: [citation] }), call('a'), text('End')]);
    expect(output).toMatchObject([
      {
        id: 'msg_abc_0',
        content: [{ text: 'One two', annotations: [{ type: 'url_citation', url: 'https://a', title: '', start_index: 4, end_index: 7 }] }],
      },
      { id: 'fc_abc_1', type: 'function_call', call_id: 'call_mrd_WyJhIl0', name: 'f', arguments: '{}' },
      { id: 'msg_abc_2', content: [{ text: 'End' }] },
    ]);
  });

  it('tells sources where the text is that they support, though all of them come with the last one, and something was spoken before', () => {
    const source = (start: number, end: number) => ({ url: 'https://a', title: 'A', start, end, rest: {} });
    const spoken: Part = {
      type: 'audio',
      source: { from: 'base64', mediaType: 'audio/wav', data: 'AAAA' },
      transcript: 'Said',
      rest: {},
    };
    const { output } = encoded([spoken, text('One. '), call('a'), text('Two.', { citations: [source(0, 3), source(5, 8), source(0, 0)] })]);
    const placed = (start_index: number, end_index: number) => ({
      type: 'url_citation',
      url: 'https://a',
      title: 'A',
      start_index,
      end_index,
    });
    expect(output.map(({ content }) => content)).toMatchObject([
      [{ text: 'Said', annotations: [] }],
      [{ text: 'One. ', annotations: [placed(0, 3)] }],
      undefined,
      // Some providers tell of no place.
      [{ text: 'Two.', annotations: [placed(0, 3), { start_index: 0 }] }],
    ]);
  });

  it('carries what other dialects want back: in ids of calls, and in state where it was asked for', () => {
    const carriers = [{ dialect: 'gemini', value: 'sig' }] as const;
    const given: readonly Part[] = [
      { type: 'reasoning', text: 'Hm', carriers: [{ dialect: 'anthropic-messages', value: 's' }] },
      { type: 'reasoning', text: '', carriers: [{ dialect: 'anthropic-messages', value: 'redacted' }] },
      call('call_1', { carriers }),
    ];
    const asked = encoded(given, { include: ['reasoning.encrypted_content'] }).output;
    expect(asked.slice(0, 2).map(({ encrypted_content }) => unpackCarrier(String(encrypted_content))?.value)).toEqual(['s', 'redacted']);
    expect(asked[2]?.call_id).toBe(packCallId('call_', { id: 'call_1', carriers }));
    const plain = encoded(given).output;
    expect(plain.map(({ type }) => type)).toEqual(['reasoning', 'function_call']);
    expect(plain[0]).not.toHaveProperty('encrypted_content');
  });

  it('calls a custom tool with free text, though its upstream knew a function', () => {
    const { output } = encoded([call('call_1', { name: 'apply_patch', arguments: '{"input":"*** Begin"}' })], {
      tools: [{ type: 'custom', name: 'apply_patch' }],
    });
    expect(output).toMatchObject([
      { id: 'ctc_abc_0', type: 'custom_tool_call', call_id: 'call_1', name: 'apply_patch', input: '*** Begin' },
    ]);
  });

  it('is incomplete where it was cut, and its last item, too', () => {
    const finish = { reason: 'length', raw: 'max_tokens' } as const;
    const choices = [{ index: 0, parts: [text('a'), call('call_1'), text('b')], finish, logprobs: undefined, rest: {} }];
    const { body, output } = encoded([], {}, { choices });
    expect(body).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } });
    expect(output.map(({ status }) => status)).toEqual(['completed', 'completed', 'incomplete']);
  });

  it('names what it cannot carry', () => {
    const media: readonly Part[] = [
      { type: 'audio', source: { from: 'base64', mediaType: 'audio/wav', data: 'AAAA' }, transcript: 'Said', rest: {} },
      { type: 'image', source: { from: 'url', url: 'https://a' }, detail: undefined, rest: {} },
      text('x', { citations: [{ url: undefined, title: 'Page 3', start: 0, end: 1, rest: {} }] }),
    ];
    const { output, losses } = encoded(media);
    expect(output).toMatchObject([{ content: [{ text: 'Said' }] }, { content: [{ text: 'x', annotations: [] }] }]);
    expect(losses).toEqual([{ name: 'audio' }, { name: 'media_output', at: 'image' }, { name: 'citations' }]);
  });
});

describe('recorded answers', () => {
  it.skipIf(!present)('say the same when they are written again', () => {
    let read = 0;
    for (const { name, bytes: body } of recordedAnswers()) {
      const fields: Json = JSON.parse(body.toString());
      if (fields.output === undefined) {
        expect(() => decodeResponse(body), name).toThrow(expect.objectContaining({ code: 'upstream_error' }));
        continue;
      }
      read++;
      const response = decodeResponse(body);
      const terms = {
        requestId: 'req_1',
        model: undefined,
        createdSeconds: 1,
        costUsdLiteral: undefined,
        request: requestOf({ include: ['reasoning.encrypted_content', 'message.output_text.logprobs'] }),
      };
      const again = decodeResponse(Buffer.concat([...encodeResponse(response, terms).body]));
      const idless = (given: Response) =>
        given.choices.map(({ parts: list, finish }) => ({
          finish: finish?.reason,
          parts: list.map((part) =>
            part.type === 'reasoning' ? { ...part, carriers: part.carriers.map(({ value }) => (value as Json).encrypted_content) } : part,
          ),
        }));
      expect(idless(again), name).toEqual(idless(response));
      expect({ cached_input: 0, cache_write_5m: 0, ...again.usage?.usage }, name).toEqual({
        cached_input: 0,
        cache_write_5m: 0,
        ...response.usage?.usage,
      });
    }
    expect(read).toBeGreaterThan(10);
  });
});
