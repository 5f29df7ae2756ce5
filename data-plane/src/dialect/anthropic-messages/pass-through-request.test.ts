import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packCarrier } from '../../canonical/carrier.ts';
import { IMAGE_MAX_TOKENS } from '../input-bounds.ts';
import { counting } from './count-tokens.ts';
import { readPassThrough } from './pass-through-request.ts';

const HI = { model: 'claude-sonnet-4-5', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] };
const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const read = (value: unknown) => readPassThrough('chat', bytes(value));
const factsOf = (fields: object) => read({ ...HI, ...fields }).facts;
const rewritten = (value: unknown, model = 'upstream') =>
  Buffer.concat(read(value).rewrite({ model, maxOutputTokens: undefined })).toString('utf8');
const refusal = (value: unknown) => {
  try {
    read(value);
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('facts of a request', () => {
  it('are those that planning and admission read', () => {
    expect(factsOf({ stream: true })).toMatchObject({
      operation: 'chat',
      model: 'claude-sonnet-4-5',
      stream: true,
      wantsStreamUsage: true,
      maxOutputTokens: 100,
      choices: 1,
      serviceTier: 'standard',
      readsBeyondBody: false,
      unbounded: undefined,
      takesOutputLimit: false,
      images: 0,
      needs: [],
    });
  });

  it('bound the input by the bytes of the body', () => {
    const body = bytes({ ...HI, system: 'You are brief.' });
    const { inputTokensBound } = readPassThrough('chat', body).facts;
    expect(inputTokensBound).toBeGreaterThan(body.length);
    expect(inputTokensBound).toBeLessThan(body.length + 50);
  });

  it.each([
    ['the order of members', { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'A'.repeat(200_000) } }],
    ['another order', { source: { data: 'A'.repeat(200_000), media_type: 'image/png', type: 'base64' }, type: 'image' }],
  ])('count a picture by its maximum and not by its bytes, whatever %s', (_name, image) => {
    const facts = factsOf({ messages: [{ role: 'user', content: [image] }] });
    expect(facts.inputTokensBound).toBeLessThan(IMAGE_MAX_TOKENS + 1_000);
    expect(facts.inputTokensBound).toBeGreaterThan(IMAGE_MAX_TOKENS);
    expect(facts.needs).toEqual(['vision']);
    expect(facts.beyondText).toEqual([{ meter: 'image_in', param: 'messages[0].content[0]', atMost: undefined }]);
  });

  it('see pictures in results of tools', () => {
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'A'.repeat(200_000) } };
    const facts = factsOf({ messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: [image] }] }] });
    expect(facts.needs).toEqual(['vision']);
    expect(facts.inputTokensBound).toBeLessThan(IMAGE_MAX_TOKENS + 1_000);
  });

  it('see what a tool of the provider has fetched', () => {
    const document = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0=' } };
    const fetched = { type: 'web_fetch_tool_result', tool_use_id: 't', content: { type: 'web_fetch_result', url: 'u', content: document } };
    expect(factsOf({ messages: [{ role: 'assistant', content: [fetched] }] }).readsBeyondBody).toBe(true);
  });

  it("see pictures and documents in the system's words", () => {
    const image = { type: 'image', source: { type: 'url', url: 'https://a/b.png' } };
    expect(factsOf({ system: [image, image] }).inputTokensBound).toBeGreaterThan(2 * IMAGE_MAX_TOKENS);
    const document = { type: 'document', source: { type: 'url', url: 'https://a/b.pdf' } };
    expect(factsOf({ system: [document] })).toMatchObject({ readsBeyondBody: true, unbounded: 'system[0]' });
  });

  it('keep the bytes of anything that only calls itself a picture by its source', () => {
    const document = { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'A'.repeat(10_000) } };
    const facts = factsOf({ messages: [{ role: 'user', content: [document] }] });
    expect(facts.inputTokensBound).toBeGreaterThan(10_000);
    expect(facts.readsBeyondBody).toBe(true);
    expect(facts.unbounded).toBeUndefined();
  });

  it.each([
    ['a document by its address', { type: 'document', source: { type: 'url', url: 'https://a/b.pdf' } }, true, 'messages[0].content[0]'],
    ['a file of the provider', { type: 'document', source: { type: 'file', file_id: 'file_1' } }, true, 'messages[0].content[0]'],
    ['a text document', { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x' } }, false, undefined],
  ])('tell of %s whether the body bounds it', (_name, block, readsBeyondBody, unbounded) => {
    expect(factsOf({ messages: [{ role: 'user', content: [block] }] })).toMatchObject({ readsBeyondBody, unbounded });
  });

  it.each<[string, Record<string, unknown>]>([
    ['cache_control.ttl', { cache_control: { type: 'ephemeral', ttl: '1h' } }],
    [
      'system[1].cache_control.ttl',
      {
        system: [
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b', cache_control: { ttl: '1h' } },
        ],
      },
    ],
    ['tools[0].cache_control.ttl', { tools: [{ name: 'f', cache_control: { ttl: '1h' }, input_schema: {} }] }],
    [
      'messages[0].content[0].cache_control.ttl',
      { messages: [{ role: 'user', content: [{ cache_control: { ttl: '1h' }, type: 'text', text: 'x' }] }] },
    ],
    [
      'messages[0].content[0].content[0].cache_control.ttl',
      {
        messages: [
          {
            role: 'user',
            content: [{ type: 'tool_result', tool_use_id: 't', content: [{ type: 'text', text: 'x', cache_control: { ttl: '1h' } }] }],
          },
        ],
      },
    ],
  ])('tell of an hour of prompt cache at %s', (param, fields) => {
    expect(factsOf(fields).beyondText).toEqual([{ meter: 'cache_write_1h', param, atMost: undefined }]);
    const written = (ttl: string) => Buffer.from(JSON.stringify({ ...HI, ...fields }).replace('"ttl":"1h"', ttl));
    const factsWith = (ttl: string) => readPassThrough('chat', written(ttl)).facts.beyondText;
    expect(factsWith(String.raw`"ttl":"\u0031h"`)).toEqual([{ meter: 'cache_write_1h', param, atMost: undefined }]);
    for (const ttl of ['"ttl":"5m"', '"type":"ephemeral"', '"ttl":null']) expect(factsWith(ttl)).toEqual([]);
    for (const ttl of ['"ttl":"1h","ttl":"5m"', String.raw`"t\u0074l":"1h"`]) expect(() => factsWith(ttl)).toThrow("The name 'ttl'");
  });

  it('see no hour of cache in the words of a message, in a schema, or in a cache control that is null', () => {
    const text = '{"cache_control":{"ttl":"1h"}}';
    const facts = factsOf({
      cache_control: null,
      tools: [{ name: 'f', input_schema: { properties: { cache_control: { ttl: '1h' } } }, cache_control: null }],
      messages: [{ role: 'user', content: [{ type: 'text', text, cache_control: null }] }],
    });
    expect(facts.beyondText).toEqual([]);
  });

  it('tell the tools of the provider from those of the client', () => {
    const tools = [
      { name: 'lookup', input_schema: { type: 'object' } },
      { type: 'custom', name: 'other', input_schema: { type: 'object' } },
      { type: 'bash_20250124', name: 'bash' },
      { type: 'web_search_20250305', name: 'web_search', max_uses: 3 },
      { type: 'web_fetch_20250910', name: 'web_fetch' },
      { type: 'advisor_20260301', name: 'advisor', model: 'claude-opus-4-8' },
    ];
    const facts = factsOf({ tools });
    expect(facts.needs).toEqual(['tools']);
    expect(facts.unbounded).toBe('tools[3]');
    expect(facts.readsBeyondBody).toBe(true);
    expect(facts.beyondText).toEqual([
      { meter: 'per_tool_call:web_search', param: 'tools[3]', atMost: 3 },
      { meter: 'input:claude-opus-4-8', param: 'tools[5]', atMost: undefined },
      { meter: 'output:claude-opus-4-8', param: 'tools[5]', atMost: undefined },
    ]);
    expect(factsOf({ tools: tools.slice(0, 3) })).toMatchObject({ unbounded: undefined, readsBeyondBody: false });
    // A tool that the provider describes has a longer description than its name.
    const bound = (list: unknown) => factsOf({ tools: list }).inputTokensBound;
    expect(bound([{ type: 'bash_20250124', name: 'bash' }]) - bound([{ type: 'custom', name: 'bash', ab: 1 }])).toBeGreaterThan(1_000);
  });

  it.each([
    [{ thinking: { type: 'enabled', budget_tokens: 2048 } }, ['reasoning']],
    [{ thinking: { type: 'adaptive' } }, ['reasoning']],
    [{ thinking: { type: 'disabled' } }, []],
    [{ output_config: { format: { type: 'json_schema', schema: {} } } }, ['json_schema']],
    [{ output_format: { type: 'json_schema', schema: {} } }, ['json_schema']],
  ])('name what %j needs of a model', (fields, needs) => {
    expect(factsOf(fields).needs).toEqual(needs);
  });

  it('bound the longest message by the bytes of its texts, in results too', () => {
    const messages = [
      { role: 'user', content: 'short' },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 't', content: 'long enough' },
          { type: 'text', text: '!' },
        ],
      },
    ];
    expect(factsOf({ messages }).longestMessageBytes).toBe('"long enough""!"'.length);
  });

  it.each([
    ['no model', { ...HI, model: undefined }, 'model'],
    ['no messages', { ...HI, messages: undefined }, 'messages'],
    ['no message', { ...HI, messages: [] }, 'messages'],
    ['no limit', { ...HI, max_tokens: undefined }, 'max_tokens'],
    ['a limit of nothing', { ...HI, max_tokens: 0 }, 'max_tokens'],
    ['an unknown tier', { ...HI, service_tier: 'flex' }, 'service_tier'],
    ['an unknown kind of thinking', { ...HI, thinking: { type: 'deep' } }, 'thinking.type'],
    ['a faster mode, which has no price', { ...HI, speed: 'fast' }, 'speed'],
    ['a place of processing that is dearer', { ...HI, inference_geo: 'us' }, 'inference_geo'],
    ['tools that are no list', { ...HI, tools: {} }, 'tools'],
    ['a name twice', '{"model":"a","model":"b","max_tokens":1,"messages":[{"role":"user","content":"x"}]}', 'model'],
    ['a name in escapes', '{"\\u006dodel":"b","max_tokens":1,"messages":[{"role":"user","content":"x"}]}', 'model'],
    ['half a body', '{"model":"a"', undefined],
    ['a list', '[]', undefined],
    ['nothing', '', undefined],
  ])('are refused with %s', (_name, value, param) => {
    expect(refusal(value)).toMatchObject({ code: 'invalid_request_error', status: 400, param });
  });

  it('are refused for bytes that are no UTF-8', () => {
    expect(() => readPassThrough('chat', Buffer.concat([bytes(HI), Buffer.from([0xff])]))).toThrow(/UTF-8/);
  });

  it('are those of a request that is only counted, without a limit', () => {
    const { facts, rewrite } = counting.read(bytes({ model: 'm', messages: HI.messages }), {});
    expect(facts).toMatchObject({ model: 'm', maxOutputTokens: undefined, takesOutputLimit: false });
    expect(Buffer.concat(rewrite({ model: 'n', maxOutputTokens: undefined })).toString()).toBe(
      JSON.stringify({ model: 'n', messages: HI.messages }),
    );
    expect(counting.answer(7)).toEqual({ input_tokens: 7 });
  });
});

describe('the bytes for an upstream', () => {
  it('are the same but for the model, unknown fields included', () => {
    const body = {
      ...HI,
      context_management: { edits: [{ type: 'clear_tool_uses_20250919' }] },
      metadata: { user_id: 'u' },
      x: [1.0, 'é'],
    };
    expect(rewritten(body)).toBe(JSON.stringify({ ...body, model: 'upstream' }));
    expect(rewritten(body, HI.model)).toBe(JSON.stringify(body));
  });

  it('keep whatever else a client writes, byte for byte', () => {
    fc.assert(
      fc.property(fc.json(), fc.string(), (value, text) => {
        const body = `{ "messages": [{"role":"user","content":${JSON.stringify(text)}}], "x": ${value},\n "max_tokens": 5, "model":"a" }`;
        expect(rewritten(body, 'bee')).toBe(body.replace(/"model":"a" \}$/, '"model":"bee" }'));
      }),
      { numRuns: 200 },
    );
  });

  const foreign = packCarrier({ dialect: 'gemini', value: 'sig' });
  const own = { type: 'thinking', thinking: 'own', signature: 'EqQBCkYI' };

  it('leave out the thinking of another provider, which this one would refuse', () => {
    const messages = [
      { role: 'user', content: 'Hi' },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'foreign', signature: foreign },
          { type: 'redacted_thinking', data: foreign },
          own,
          { type: 'text', text: 'Hello' },
        ],
      },
      { role: 'user', content: 'More' },
    ];
    const sent = JSON.parse(rewritten({ ...HI, messages }));
    expect(sent.messages[1].content).toEqual([own, { type: 'text', text: 'Hello' }]);
    expect(sent.messages[0]).toEqual(messages[0]);
  });

  it('leave out sources that only another provider has found', () => {
    const citation = { type: 'web_search_result_location', url: 'https://a', title: 'A', cited_text: '', encrypted_index: foreign };
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: [{ type: 'text', text: 'Hello', citations: [citation] }] },
      { role: 'user', content: 'More' },
    ];
    expect(JSON.parse(rewritten({ ...HI, messages })).messages[1].content).toEqual([{ type: 'text', text: 'Hello', citations: null }]);
  });

  it('turn a thinking budget off where the turn to be continued has lost its thinking', () => {
    const call = { type: 'tool_use', id: 'toolu_1', name: 'f', input: {} };
    const turn = (content: object[]) => [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: 'done' }] },
    ];
    const thinking = { type: 'enabled', budget_tokens: 2048 };
    const stripped = { ...HI, thinking, messages: turn([{ type: 'thinking', thinking: '', signature: foreign }, call]) };
    expect(JSON.parse(rewritten(stripped)).thinking).toEqual({ type: 'disabled' });
    expect(JSON.parse(rewritten({ ...HI, thinking, messages: turn([own, call]) })).thinking).toEqual(thinking);
    expect(JSON.parse(rewritten({ ...stripped, thinking: { type: 'adaptive' } })).thinking).toEqual({ type: 'adaptive' });
  });

  it('leave a text that only quotes such a proof as it is', () => {
    const messages = [{ role: 'user', content: `"${foreign}" and "${foreign}` }];
    expect(rewritten({ ...HI, messages })).toBe(JSON.stringify({ ...HI, model: 'upstream', messages }));
  });
});
