import { GatewayError } from '@meridian/domain/error';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packCallId } from '../../canonical/call-id.ts';
import { packCarrier } from '../../canonical/carrier.ts';
import type { RequestEdits, RequestFacts } from '../dialect.ts';
import { IMAGE_MAX_TOKENS, LOW_DETAIL_IMAGE_MAX_TOKENS } from '../input-bounds.ts';
import { inputText } from './input-text.ts';
import { longestMessage } from './message-length.ts';
import { readPassThrough } from './pass-through-request.ts';
import { MAX_REPEATED_BYTES } from './schema.ts';

const EDITS: RequestEdits = { model: 'up', maxOutputTokens: undefined };
const read = (fields: object | string) =>
  readPassThrough('chat', Buffer.from(typeof fields === 'string' ? fields : JSON.stringify({ model: 'm', ...fields })));
const facts = (fields: object): RequestFacts => read(fields).facts;
const rewritten = (fields: object | string, edits: Partial<RequestEdits> = {}): string =>
  Buffer.concat(read(fields).rewrite({ ...EDITS, ...edits })).toString();
const refusal = (fields: object | string): GatewayError => {
  try {
    read(fields);
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
  throw new Error('was taken');
};
const user = (content: unknown) => ({ role: 'user', content });

describe('a request that is passed through', () => {
  it('keeps its bytes but for the model, and says that nothing is to be stored', () => {
    expect(rewritten('{"model": "m",  "input":"Hi", "unknown":[1, 2]}')).toBe(
      '{"store":false,"model": "up",  "input":"Hi", "unknown":[1, 2]}',
    );
    expect(rewritten('{"model":"m","input":"Hi","store":null}')).toBe('{"model":"up","input":"Hi","store":false}');
    expect(rewritten('{"model":"up","input":"Hi","store" : false}')).toBe('{"model":"up","input":"Hi","store" : false}');
  });

  it('has an output limit added only where it has none', () => {
    expect(JSON.parse(rewritten({ input: 'a' }, { maxOutputTokens: 7 }))).toMatchObject({ max_output_tokens: 7 });
    expect(JSON.parse(rewritten({ input: 'a', max_output_tokens: null }, { maxOutputTokens: 7 }))).toMatchObject({ max_output_tokens: 7 });
    expect(JSON.parse(rewritten({ input: 'a', max_output_tokens: 3 }, { maxOutputTokens: 7 }))).toMatchObject({ max_output_tokens: 3 });
  });

  it.each([
    ['{"model":"m","input":"a"}', { effort: 'high' }],
    ['{"model":"m","input":"a","reasoning":null}', { effort: 'high' }],
    ['{"model":"m","input":"a","reasoning":{}}', { effort: 'high' }],
    ['{"model":"m","input":"a","reasoning":{ "summary":"auto"}}', { effort: 'high', summary: 'auto' }],
    ['{"model":"m","input":"a","reasoning":{"effort":null,"summary":"auto"}}', { effort: 'high', summary: 'auto' }],
    ['{"model":"m","input":"a","reasoning":{"effort":"low"}}', { effort: 'low' }],
    ['{"model":"m","input":"a","reasoning":{"effort":"none"}}', { effort: 'none' }],
  ])('%s of a model that thinks asks for %j', (body, reasoning) => {
    expect(JSON.parse(rewritten(body, { capabilities: ['reasoning'] })).reasoning).toEqual(reasoning);
  });

  it('asks for no thinking of a model that does not', () => {
    expect(JSON.parse(rewritten({ input: 'a' }, { capabilities: ['tools'] }))).not.toHaveProperty('reasoning');
    expect(JSON.parse(rewritten({ input: 'a', reasoning: { summary: 'auto' } })).reasoning).toEqual({ summary: 'auto' });
  });

  it('loses the reasoning that no upstream could read: an id alone where nothing is stored, and the state of another provider', () => {
    const kept = [
      user('Hi'),
      { type: 'reasoning', id: 'rs_2', summary: [], encrypted_content: 'gAAAAB' },
      { type: 'reasoning', id: 'rs_3', summary: [], content: [{ type: 'reasoning_text', text: 'Hm' }] },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Hello' }] },
    ];
    const foreign = packCarrier({ dialect: 'anthropic-messages', value: 'sig' });
    const dropped = [
      { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'encrypted_content' }] },
      { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: null },
      { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: '', content: [] },
      { type: 'reasoning', id: 'rs_4', summary: [], encrypted_content: foreign },
    ];
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...dropped.map((item) => ({ item, stays: false })), ...kept.map((item) => ({ item, stays: true }))), {
          minLength: 1,
        }),
        fc.constantFrom(0, 1),
        (list, indent) => {
          const body = JSON.stringify({ model: 'm', input: list.map(({ item }) => item) }, undefined, indent);
          expect(JSON.parse(rewritten(body)).input).toEqual(list.filter(({ stays }) => stays).map(({ item }) => item));
        },
      ),
    );
  });

  it('takes the ids of calls away that have lost their reasoning, wherever they stand, and of no others', () => {
    const call = { type: 'function_call', name: 'f', arguments: '{}' };
    const output = { type: 'function_call_output', call_id: 'call_1', output: 'x' };
    const reasoning = (encrypted_content: string | null) => ({ type: 'reasoning', id: 'rs_1', summary: [], encrypted_content });
    const first = { id: 'fc_1', ...call, call_id: 'call_1' };
    const last = { ...call, call_id: 'call_1', id: 'fc_1' };
    const bare = { ...call, call_id: 'call_1' };
    for (const indent of [0, 1]) {
      const input = (...items: object[]): unknown =>
        JSON.parse(rewritten(JSON.stringify({ model: 'm', input: items }, undefined, indent))).input;
      for (const made of [first, last]) {
        expect(input(user('Hi'), made, output)).toEqual([user('Hi'), bare, output]);
        expect(input(reasoning(null), made, output)).toEqual([bare, output]);
        expect(input(reasoning('gAAA'), made, last, output, first)).toEqual([reasoning('gAAA'), made, last, output, bare]);
      }
      expect(input({ ...output, id: 'fco_1' }, bare)).toEqual([{ ...output, id: 'fco_1' }, bare]);
    }
  });

  it('gives ids of calls as upstreams take them, the same at the call and its output', () => {
    const carried = packCallId('call_', { id: 'toolu_1', carriers: [{ dialect: 'gemini', value: 'sig' }] });
    const long = 'x'.repeat(90);
    const item = (call_id: string) => [
      { type: 'function_call', call_id, name: 'f', arguments: '{}' },
      { type: 'function_call_output', call_id, output: 'mrd_ is text' },
    ];
    const [a, b, c, d, e, f] = JSON.parse(rewritten({ input: [...item(carried), ...item(long), ...item('call_9')] })).input;
    expect([a.call_id, b.call_id, b.output]).toEqual(['toolu_1', 'toolu_1', 'mrd_ is text']);
    expect(c.call_id).toHaveLength(64);
    expect(c.call_id).toBe(d.call_id);
    expect([e.call_id, f.call_id]).toEqual(['call_9', 'call_9']);
  });
});

describe('what is refused', () => {
  it('is more than a MiB beside the input, all of which the answer repeats, however it is padded', () => {
    const padding = ' '.repeat(MAX_REPEATED_BYTES);
    for (const fields of [{ instructions: padding }, { metadata: { a: padding } }, { a: padding }]) {
      expect(refusal({ model: 'm', input: 'Hi', ...fields })).toMatchObject({ code: 'request_too_large', status: 413 });
    }
    expect(refusal(`${padding}{"model":"m","input":"Hi"}`)).toMatchObject({ code: 'request_too_large' });
    expect(facts({ model: 'm', input: padding }).model).toBe('m');
  });

  it.each([
    [{ input: 'a', store: true }, 'store', /^Store must be set to false$/],
    [{ input: 'a', background: true }, 'background', /stored/],
    [{ input: 'a', conversation: 'conv_1' }, 'conversation', /stored/],
    [{ input: [{ type: 'item_reference', id: 'rs_1' }] }, 'input[0]', /reference/],
    [{}, 'input', /missing/],
    [{ input: [] }, 'input', /empty/],
    [{ input: 3 }, 'input', /string or an array/],
    [{ input: ['a'] }, 'input[0]', /object/],
    [{ input: 'a', tools: {} }, 'tools', /array/],
    [{ input: 'a', reasoning: 'high' }, 'reasoning', /object/],
    [{ input: 'a', reasoning: { effort: 3 } }, 'reasoning.effort', /string/],
    [{ input: 'a', max_output_tokens: 0 }, 'max_output_tokens', /positive/],
    [{ input: 'a', service_tier: 'slow' }, 'service_tier', /one of/],
  ])('%j', (fields, param, message) => {
    const error = refusal(fields);
    expect([error.status, error.code, error.param]).toEqual([400, 'invalid_request_error', param]);
    expect(error.message).toMatch(message);
  });

  it('a response of before, by the code that clients know', () => {
    const error = refusal({ input: 'a', previous_response_id: 'resp_1' });
    expect(error.details).toMatchObject({ code: 'previous_response_not_found' });
    expect(error.message).toContain('resp_1');
    expect(() => read({ input: 'a', previous_response_id: null, conversation: null, background: false, store: false })).not.toThrow();
  });

  it.each([
    ['{"model":"m","input":"a","store":false,"store":true}', 'store'],
    ['{"model":"m","input":"a","st\\u006fre":true}', 'store'],
    ['{"model":"m","input":[{"type":"reasoning","type":"message"}]}', 'input[0].type'],
    ['{"model":"m","input":[{"type":"reasoning","encrypted_c\\u006fntent":"a"}]}', 'input[0].encrypted_content'],
    ['{"model":"m","input":"a","reasoning":{"effort":"low","effort":"high"}}', 'reasoning.effort'],
  ])('a name that two readers could read in two ways: %s', (body, param) => {
    expect(refusal(body)).toMatchObject({ status: 400, param });
  });

  it('what is no JSON, or no UTF-8', () => {
    expect(refusal('{"model":"m","input":"a"').message).toMatch(/JSON/);
    expect(refusal('').message).toMatch(/empty/);
    expect(() => readPassThrough('chat', Buffer.from([0x7b, 0xff, 0x7d]))).toThrow(/UTF-8/);
  });
});

describe('what is told of a request', () => {
  it('is what it asks for', () => {
    expect(facts({ input: 'a', stream: true, max_output_tokens: 9, service_tier: 'flex' })).toMatchObject({
      operation: 'chat',
      model: 'm',
      stream: true,
      wantsStreamUsage: true,
      maxOutputTokens: 9,
      choices: 1,
      serviceTier: 'flex',
      readsBeyondBody: false,
      unbounded: undefined,
      needs: [],
    });
  });

  it('leave sound to the context whose length its bytes do not bound', () => {
    const said = (begin: string) => {
      const data = Buffer.from(begin).toString('base64');
      const content = [{ type: 'input_audio', input_audio: { data, format: 'mp3' } }];
      return readPassThrough('chat', Buffer.from(JSON.stringify({ model: 'm', input: [{ role: 'user', content }] }))).facts;
    };
    expect(said('ID3 speech')).toMatchObject({ readsBeyondBody: false, needs: ['audio_input'] });
    expect(said('fLaC silence')).toMatchObject({ readsBeyondBody: true, unbounded: undefined });
  });

  it('is what the model must be capable of, without what this gateway asks for by itself', () => {
    const picture = { type: 'input_image', image_url: 'data:image/png;base64,AAAA' };
    const speech = { type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } };
    const { needs } = facts({
      input: [user([picture, speech])],
      tools: [{ type: 'function', name: 'f' }],
      text: { format: { type: 'json_schema', name: 'x', schema: {} } },
      reasoning: { effort: 'low' },
    });
    expect(needs).toEqual(['tools', 'vision', 'audio_input', 'json_schema', 'reasoning']);
    expect(facts({ input: 'a', reasoning: { effort: 'none' } }).needs).toEqual([]);
  });

  it('counts a picture by the most that it can be, wherever it stands', () => {
    const data = `data:image/png;base64,${'A'.repeat(400_000)}`;
    const picture = (fields: object = {}) => ({ type: 'input_image', image_url: data, ...fields });
    const plain = facts({ input: [user([])] }).inputTokensBound;
    const inMessage = facts({ input: [user([picture()])] });
    expect(inMessage.inputTokensBound - plain).toBeGreaterThan(IMAGE_MAX_TOKENS);
    expect(inMessage.inputTokensBound - plain).toBeLessThan(IMAGE_MAX_TOKENS + 200);
    expect(facts({ input: [user([picture({ detail: 'low' })])] }).inputTokensBound - plain).toBeLessThan(LOW_DETAIL_IMAGE_MAX_TOKENS + 200);
    const inOutput = facts({ input: [{ type: 'function_call_output', call_id: 'c', output: [picture()] }] });
    expect(inOutput.needs).toEqual(['vision']);
    expect(inOutput.inputTokensBound - plain).toBeLessThan(IMAGE_MAX_TOKENS + 300);
    const drawn = facts({ input: [{ type: 'image_generation_call', id: 'ig_1', result: 'A'.repeat(400_000) }] });
    expect(drawn.inputTokensBound).toBeLessThan(IMAGE_MAX_TOKENS + 300);
    expect(drawn.unbounded).toBeUndefined();
  });

  it('bounds what is in the body, and names what is not', () => {
    const file = (fields: object) => facts({ input: [user([{ type: 'input_file', ...fields }])] });
    expect(file({ file_data: 'A'.repeat(1_000) })).toMatchObject({ readsBeyondBody: true, unbounded: undefined });
    expect(file({ file_id: 'file-1' })).toMatchObject({ readsBeyondBody: true, unbounded: 'input[0].content[0]' });
    expect(file({ file_url: 'https://a/b.pdf' })).toMatchObject({ unbounded: 'input[0].content[0]' });
    expect(facts({ input: [user([{ type: 'input_image', file_id: 'file-1' }])] })).toMatchObject({
      unbounded: undefined,
      needs: ['vision'],
    });
    expect(facts({ prompt: { id: 'p' } })).toMatchObject({ readsBeyondBody: true, unbounded: 'prompt' });
    expect(facts({ input: [{ type: 'web_search_call', id: 'ws_1' }] })).toMatchObject({ unbounded: 'input[0]' });
    // Whatever order the names of a part have, and whichever of two is read.
    const two = '{"model":"m","input":[{"role":"user","content":[{"file_id":"f","type":"input_image","type":"input_file"}]}]}';
    expect(read(two).facts.unbounded).toBe('input[0].content[0]');
  });

  it('prices the tools that the provider runs, whatever version of them', () => {
    const tools = [
      { type: 'web_search_preview' },
      { type: 'web_search_2025_08_26' },
      { type: 'file_search' },
      { type: 'function', name: 'f' },
      { type: 'apply_patch' },
    ];
    const { beyondText, unbounded } = facts({ input: 'a', tools });
    expect(beyondText?.map(({ meter, param }) => [meter, param])).toEqual([
      ['per_tool_call:web_search', 'tools[0]'],
      ['per_tool_call:web_search', 'tools[1]'],
      ['per_tool_call:file_search', 'tools[2]'],
    ]);
    expect(unbounded).toBe('tools[0]');
    expect(refusal({ input: 'a', tools: Array.from({ length: 129 }, () => ({ type: 'web_search' })) }).param).toBe('tools');
  });
});

describe('the texts of a request', () => {
  const body = Buffer.from(
    JSON.stringify({
      model: 'm',
      instructions: 'Be brief.',
      input: [
        user('é "quoted"\n'),
        {
          type: 'message',
          role: 'assistant',
          content: [
            { type: 'output_text', text: 'One' },
            { type: 'output_text', text: 'Two' },
          ],
        },
        { type: 'function_call', call_id: 'c', name: 'f', arguments: '{"text":"no"}' },
        { type: 'function_call_output', call_id: 'c', output: 'Result' },
        { type: 'function_call_output', call_id: 'd', output: [{ type: 'input_text', text: 'Parts' }] },
      ],
      tools: [{ type: 'function', name: 'f', description: 'text' }],
    }),
  );

  it('are messages, outputs of tools and instructions, and all else keeps its bytes', () => {
    const bound = readPassThrough('chat', body).facts.inputTokensBound;
    const { texts, otherTokensBound } = inputText('chat', body, bound);
    expect(texts).toEqual(['Be brief.', 'é "quoted"\n', 'One', 'Two', 'Result', 'Parts']);
    const bytes = texts.map((text) => Buffer.byteLength(JSON.stringify(text))).reduce((a, b) => a + b);
    expect(otherTokensBound).toBe(bound - bytes + 3);
    expect(inputText('chat', Buffer.from('{"model":"m","input":"Hi"}'), 100).texts).toEqual(['Hi']);
  });

  it('have a longest one, by the item that it stands in', () => {
    expect(longestMessage(body)).toEqual({ index: 0, characters: 11, param: 'input[0]' });
    const parts = {
      role: 'user',
      content: [
        { type: 'input_text', text: 'abc' },
        { type: 'input_text', text: 'defg' },
      ],
    };
    const longer = Buffer.from(JSON.stringify({ instructions: 'abcdefgh', input: [user('abc'), parts] }));
    expect(longestMessage(longer)).toEqual({ index: 0, characters: 8, param: 'instructions' });
    expect(longestMessage(Buffer.from(JSON.stringify({ input: [user('abc'), parts] })))).toMatchObject({
      characters: 7,
      param: 'input[1]',
    });
  });

  it('are bounded by their bytes', () => {
    const content = fc.oneof(
      fc.string({ unit: fc.constantFrom('a', '"', '\\', 'é', '😀') }),
      fc.array(fc.string().map((text) => ({ type: 'input_text', text }))),
    );
    fc.assert(
      fc.property(fc.array(content.map(user), { minLength: 1 }), (input) => {
        const bytes = Buffer.from(JSON.stringify({ model: 'm', input }));
        const { longestMessageBytes, inputTokensBound } = readPassThrough('chat', bytes).facts;
        expect(longestMessageBytes).toBeGreaterThanOrEqual(longestMessage(bytes).characters);
        expect(inputTokensBound).toBeGreaterThanOrEqual(bytes.length);
      }),
    );
  });
});
