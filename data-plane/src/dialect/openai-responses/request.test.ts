import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { packCallId } from '../../canonical/call-id.ts';
import { packCarrier } from '../../canonical/carrier.ts';
import type { Message, Part } from '../../canonical/message.ts';
import type { Request } from '../../canonical/request.ts';
import type { EncodeRequestTerms } from '../dialect.ts';
import { decodeRequest, encodeRequest } from './request.ts';
import { type Json, requestOf } from './testing.ts';

const TERMS: EncodeRequestTerms = { model: 'up', maxOutputTokens: undefined, modelMaxOutputTokens: undefined, capabilities: [] };
const THINKS = { capabilities: ['reasoning'] };
const NOTHING = requestOf();

function encoded(request: Partial<Request>, terms: Partial<EncodeRequestTerms> = {}): { readonly body: Json; readonly losses: string[] } {
  const { body, losses } = encodeRequest({ ...NOTHING, dialect: 'openai-chat', reasoning: undefined, ...request }, { ...TERMS, ...terms });
  return {
    body: JSON.parse(Buffer.concat([...body]).toString()),
    losses: losses.map(({ name, at }) => (at === undefined ? name : `${name}(${at})`)),
  };
}

const text = (value: string, fields: object = {}): Part => ({ type: 'text', text: value, citations: [], rest: {}, ...fields });
const message = (role: Message['role'], ...parts: readonly Part[]): Message => ({ role, parts, name: undefined, rest: {} });
const user = (...parts: readonly Part[]): Message => message('user', ...parts);
const assistant = (...parts: readonly Part[]): Message => message('assistant', ...parts);
const result = (callId: string, parts: readonly Part[], fields: object = {}): Message =>
  message('tool', { type: 'tool_result', callId, parts, isError: false, ...fields });
const call = (id: string, fields: object = {}): Part => ({
  type: 'tool_call',
  id,
  name: 'f',
  arguments: '{}',
  kind: 'function',
  rest: {},
  ...fields,
});
const input = (...messages: readonly Message[]): unknown => encoded({ messages }).body.input;

describe('a client’s request', () => {
  it('is read with all that it says', () => {
    const request = requestOf({
      instructions: 'Be brief.',
      input: 'Hi',
      max_output_tokens: 9,
      temperature: 0.5,
      top_p: 0.9,
      presence_penalty: 0.1,
      frequency_penalty: 0.2,
      parallel_tool_calls: false,
      reasoning: { effort: 'low', summary: 'auto' },
      text: { format: { type: 'json_schema', name: 'x', schema: { type: 'object' }, strict: true, description: 'd' }, verbosity: 'low' },
      include: ['reasoning.encrypted_content', 'message.output_text.logprobs', 'web_search_call.results'],
      top_logprobs: 3,
      service_tier: 'priority',
      safety_identifier: 'u',
      prompt_cache_key: 'k',
      metadata: { a: 'b' },
      truncation: 'auto',
      max_tool_calls: 2,
      stream: true,
    });
    expect(request).toMatchObject({
      dialect: 'openai-responses',
      model: 'm',
      messages: [message('system', text('Be brief.')), user(text('Hi'))],
      maxOutputTokens: 9,
      sampling: { temperature: 0.5, topP: 0.9, presencePenalty: 0.1, frequencyPenalty: 0.2 },
      parallelToolCalls: false,
      reasoning: { effort: 'low', show: 'auto', wantsCarriers: true },
      format: { type: 'json_schema', name: 'x', schema: { type: 'object' }, strict: true, description: 'd' },
      verbosity: 'low',
      logprobs: { top: 3 },
      serviceTier: 'priority',
      user: 'u',
      promptCacheKey: 'k',
      metadata: { a: 'b' },
      stream: true,
      wantsStreamUsage: true,
    });
    expect(request.rest).toEqual({ truncation: 'auto', max_tool_calls: 2, include: ['web_search_call.results'] });
  });

  it('says nothing by what means nothing, and thinks hard by itself', () => {
    const request = requestOf({
      store: false,
      background: false,
      previous_response_id: null,
      conversation: null,
      truncation: 'disabled',
      include: [],
      stream_options: {},
      metadata: {},
      max_tool_calls: null,
    });
    expect(request.rest).toEqual({});
    expect(request).not.toHaveProperty('metadata');
    expect(request.reasoning).toEqual({ effort: 'high', budgetTokens: undefined, isDefault: true, wantsCarriers: false });
  });

  it('has what the model said in a turn as one message, and each result as its own', () => {
    const { messages } = requestOf({
      input: [
        { role: 'user', content: [{ type: 'input_text', text: 'Hi' }] },
        {
          type: 'reasoning',
          id: 'rs_1',
          summary: [
            { type: 'summary_text', text: 'One' },
            { type: 'summary_text', text: 'Two' },
          ],
          encrypted_content: 'gAAA',
        },
        {
          type: 'message',
          id: 'msg_1',
          role: 'assistant',
          status: 'completed',
          phase: 'commentary',
          content: [{ type: 'output_text', text: 'Well', annotations: [], logprobs: [] }],
        },
        { type: 'function_call', id: 'fc_1', call_id: 'a', name: 'f', arguments: '', status: 'completed' },
        { type: 'custom_tool_call', id: 'ctc_1', call_id: 'b', name: 'g', input: '{"free' },
        { type: 'function_call_output', call_id: 'a', output: 'R' },
        {
          type: 'custom_tool_call_output',
          call_id: 'b',
          output: [
            { type: 'input_text', text: 'S' },
            { type: 'input_image', image_url: 'data:image/png;base64,AAAA' },
          ],
        },
      ],
    });
    expect(messages).toEqual([
      user(text('Hi')),
      assistant(
        {
          type: 'reasoning',
          text: 'One\n\nTwo',
          carriers: [{ dialect: 'openai-responses', value: { id: 'rs_1', encrypted_content: 'gAAA' } }],
        },
        text('Well', { rest: { phase: 'commentary' } }),
        call('a'),
        call('b', { name: 'g', kind: 'custom', arguments: '{"free' }),
      ),
      result('a', [text('R')]),
      result('b', [
        text('S'),
        { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'AAAA' }, detail: undefined, rest: {} },
      ]),
    ]);
  });

  it('brings back what we gave it of other dialects', () => {
    const carriers = [{ dialect: 'gemini', value: 'sig' }] as const;
    const call_id = packCallId('call_', { id: 'x', carriers });
    const encrypted_content = packCarrier({ dialect: 'anthropic-messages', value: { signature: 's' } });
    const { messages } = requestOf({
      input: [
        { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Hm' }], encrypted_content },
        { type: 'function_call', call_id, name: 'f', arguments: '{}' },
        { type: 'function_call_output', call_id, output: '' },
      ],
    });
    expect(messages).toEqual([
      assistant(
        { type: 'reasoning', text: 'Hm', carriers: [{ dialect: 'anthropic-messages', value: { signature: 's' } }] },
        call('x', { carriers }),
      ),
      result('x', []),
    ]);
  });

  it('loses reasoning that holds nothing, and no message with it', () => {
    const { messages } = requestOf({
      input: [
        { role: 'user', content: 'Hi' },
        { type: 'reasoning', id: 'rs_1', summary: [] },
        { role: 'user', content: 'Well?' },
      ],
    });
    expect(messages).toEqual([user(text('Hi')), user(text('Well?'))]);
  });

  it('has pictures, files and speech in any of their ways', () => {
    const content = [
      { type: 'input_image', image_url: 'https://a/b.png', detail: 'low' },
      { type: 'input_image', file_id: 'file-1', detail: 'auto' },
      { type: 'input_file', filename: 'a.pdf', file_data: 'data:application/pdf;base64,JVBERi0=' },
      { type: 'input_file', file_url: 'https://a/b.pdf' },
      { type: 'input_file', file_id: 'file-2' },
      { type: 'input_audio', input_audio: { data: 'AAAA', format: 'mp3' } },
      { type: 'unknown' },
    ];
    const [{ parts }] = requestOf({ input: [{ role: 'user', content }] }).messages as [Message];
    expect(parts).toMatchObject([
      { type: 'image', source: { from: 'url', url: 'https://a/b.png' }, detail: 'low' },
      { type: 'image', source: { from: 'id', id: 'file-1' } },
      { type: 'file', source: { from: 'base64', mediaType: 'application/pdf', data: 'JVBERi0=' }, name: 'a.pdf' },
      { type: 'file', source: { from: 'url', url: 'https://a/b.pdf' } },
      { type: 'file', source: { from: 'id', id: 'file-2' } },
      { type: 'audio', source: { from: 'base64', mediaType: 'audio/mp3', data: 'AAAA' } },
      { type: 'foreign', dialect: 'openai-responses', value: { type: 'unknown' } },
    ]);
  });

  it('has tools of three kinds, and a choice that may leave some of them out', () => {
    const tools = [
      { type: 'function', name: 'f', parameters: { type: 'object' }, description: 'd' },
      { type: 'function', name: 'g', strict: false },
      { type: 'custom', name: 'h', format: { type: 'text' } },
      { type: 'web_search' },
    ];
    expect(requestOf({ tools, tool_choice: { type: 'custom', name: 'h' } })).toMatchObject({
      toolChoice: { type: 'tool', name: 'h', kind: 'custom' },
      tools: [
        { kind: 'function', name: 'f', strict: undefined },
        { kind: 'function', name: 'g', strict: false, parameters: undefined },
        { kind: 'custom', name: 'h' },
        { kind: 'hosted', dialect: 'openai-responses', value: { type: 'web_search' } },
      ],
    });
    const allowed = { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'g' }] };
    const narrowed = requestOf({ tools, tool_choice: allowed });
    expect(narrowed.toolChoice).toEqual({ type: 'required' });
    expect(narrowed.tools.map((tool) => (tool.kind === 'hosted' ? tool.value.type : tool.name))).toEqual(['g', 'web_search']);
  });

  it.each([
    [{ input: [{ role: 'robot', content: '' }] }, 'input[0].role'],
    [{ input: [{ type: 'function_call_output', output: '' }] }, 'input[0].call_id'],
    [{ tools: [{ type: 'function' }] }, 'tools[0].name'],
    [{ tool_choice: 'any' }, 'tool_choice'],
    [{ text: { format: { type: 'xml' } } }, 'text.format.type'],
    [{ input: undefined, prompt: { id: 'p' } }, 'prompt'],
  ])('is 400 where it cannot be read: %j', (fields, param) => {
    expect(() => requestOf(fields)).toThrow(expect.objectContaining({ status: 400, param }));
  });
});

describe('a request to an upstream', () => {
  it('stores nothing, and has its instructions apart', () => {
    const { body, losses } = encoded({
      messages: [message('system', text('Be brief.')), message('developer', text('Now.')), user(text('Hi'))],
    });
    expect(body).toEqual({
      model: 'up',
      instructions: 'Be brief.',
      input: [
        { type: 'message', role: 'developer', content: 'Now.' },
        { type: 'message', role: 'user', content: 'Hi' },
      ],
      store: false,
    });
    expect(losses).toEqual([]);
  });

  it('says all that can be said', () => {
    const { body, losses } = encoded(
      {
        sampling: { ...NOTHING.sampling, temperature: 0.5, topP: 0.9 },
        parallelToolCalls: false,
        toolChoice: { type: 'required' },
        maxOutputTokens: 50,
        logprobs: { top: 2 },
        format: { type: 'json_object' },
        verbosity: 'low',
        reasoning: { effort: 'xhigh', budgetTokens: 10, show: 'detailed' },
        serviceTier: 'flex',
        user: 'u',
        promptCacheKey: 'k',
        metadata: { a: 'b' },
        stream: true,
      },
      { capabilities: ['reasoning'], maxOutputTokens: 99 },
    );
    expect(body).toMatchObject({
      temperature: 0.5,
      top_p: 0.9,
      parallel_tool_calls: false,
      tool_choice: 'required',
      max_output_tokens: 50,
      top_logprobs: 2,
      include: ['reasoning.encrypted_content', 'message.output_text.logprobs'],
      text: { format: { type: 'json_object' }, verbosity: 'low' },
      reasoning: { effort: 'xhigh', summary: 'detailed' },
      service_tier: 'flex',
      user: 'u',
      prompt_cache_key: 'k',
      metadata: { a: 'b' },
      stream: true,
    });
    expect(losses).toEqual([]);
    expect(encoded({}, { maxOutputTokens: 99 }).body.max_output_tokens).toBe(99);
  });

  it('names what it cannot say', () => {
    const { losses } = encoded({
      sampling: { ...NOTHING.sampling, topK: 5, seed: 1, frequencyPenalty: 1, presencePenalty: 1 },
      logitBias: { 5: 1 },
      imageOutput: { size: '1K' },
      toolChoice: { type: 'foreign', dialect: 'gemini', value: {} },
      rest: { audio: {} },
      messages: [{ ...user(text('Hi', { cacheControl: { type: 'ephemeral' } })), name: 'n' }],
    });
    expect(losses.toSorted()).toEqual([
      'cache_control(messages[0])',
      'frequency_penalty',
      'image_output',
      'logit_bias',
      'message_name(messages[0])',
      'presence_penalty',
      'seed',
      'tool_choice',
      'top_k',
      'unknown_field(audio)',
    ]);
  });

  it.each([
    [{ choices: 2 }, 'n'],
    [{ stop: ['x'] }, 'stop'],
    [{ outputModalities: ['text', 'image'] }, 'modalities'],
    [{ tools: [{ kind: 'hosted', dialect: 'gemini', value: { googleSearch: {} } }] }, 'tools'],
    [{ messages: [user({ type: 'video', source: { from: 'url', url: 'https://a' }, rest: {} })] }, 'messages[0]'],
  ] as const)('is 400 for what it cannot ask: %j', (fields, param) => {
    expect(() => encoded(fields as Partial<Request>)).toThrow(expect.objectContaining({ status: 400, param }));
  });

  it('refuses a file of another provider', () => {
    const file: Part = { type: 'file', source: { from: 'id', id: 'file_011' }, name: undefined, rest: {} };
    expect(() => encoded({ dialect: 'anthropic-messages', messages: [user(file)] })).toThrow(/file_011.*another provider/);
    expect(encoded({ dialect: 'openai-responses', messages: [user(file)] }).body.input).toMatchObject([
      { content: [{ type: 'input_file', file_id: 'file_011' }] },
    ]);
  });

  it.each([
    [{ effort: undefined, budgetTokens: 1_024 }, { effort: 'low' }, ['reasoning_budget']],
    [{ effort: undefined, budgetTokens: 8_000 }, { effort: 'medium' }, ['reasoning_budget']],
    [{ effort: undefined, budgetTokens: 30_000 }, { effort: 'high' }, ['reasoning_budget']],
    [{ effort: 'low', budgetTokens: 30_000 }, { effort: 'low' }, []],
    [{ effort: undefined, budgetTokens: undefined, mode: 'adaptive' }, { effort: 'high' }, []],
    [{ effort: undefined, budgetTokens: undefined, mode: 'off' }, undefined, []],
    [{ effort: 'none', budgetTokens: undefined, mode: 'off' }, { effort: 'none' }, []],
    [{ effort: 'max', budgetTokens: undefined }, { effort: 'xhigh' }, ['reasoning_effort']],
    [{ effort: 'odd', budgetTokens: undefined, show: 'none' }, { effort: 'odd' }, []],
  ] as const)('thinks as asked: %j', (reasoning, written, losses) => {
    const { body, losses: named } = encoded({ reasoning }, THINKS);
    expect(body.reasoning).toEqual(written);
    expect(named).toEqual(losses);
  });

  it.each([
    [{ effort: 'high', budgetTokens: undefined, show: 'auto' }, ['reasoning_effort']],
    [{ effort: undefined, budgetTokens: 2_048 }, ['reasoning_effort']],
    [{ effort: undefined, budgetTokens: undefined, mode: 'adaptive' }, ['reasoning_effort']],
    [{ effort: 'none', budgetTokens: undefined }, []],
    [{ effort: undefined, budgetTokens: undefined, mode: 'off' }, []],
  ] as const)('does not ask a model to think that cannot: %j', (reasoning, losses) => {
    const { body, losses: named } = encoded({ reasoning }, { model: 'gpt-4o' });
    expect(body).not.toHaveProperty('reasoning');
    expect(named).toEqual(losses);
    const own = encoded({ dialect: 'openai-responses', reasoning }, { model: 'gpt-4o' });
    expect(own.losses).not.toContain('reasoning_effort');
  });

  it.each([
    ['gpt-4o', undefined, true],
    ['gpt-5.1', undefined, false],
    ['openai/gpt-5', 'none', false],
    ['gpt-5.4', 'none', true],
    ['gpt-5-chat-latest', undefined, true],
    ['o4-mini', 'low', false],
    ['gpt-oss-20b', 'low', true],
    ['grok-4', 'low', true],
  ])('%s with effort %s takes a temperature: %s', (model, effort, isTaken) => {
    const reasoning = effort === undefined ? undefined : { effort, budgetTokens: undefined };
    const { body, losses } = encoded({ sampling: { ...NOTHING.sampling, temperature: 0.3, topP: 0.9 }, reasoning }, { model, ...THINKS });
    expect([body.temperature, body.top_p]).toEqual(isTaken ? [0.3, 0.9] : [undefined, undefined]);
    expect(losses).toEqual(isTaken ? [] : ['temperature', 'top_p']);
  });

  it('keeps the order of what the model said, and gives results behind their calls', () => {
    const own = { dialect: 'openai-responses', value: { id: 'rs_1', encrypted_content: 'gAAA' } } as const;
    const messages = [
      user(text('Hi')),
      assistant({ type: 'reasoning', text: 'Hm', carriers: [own] }, text('One'), text('Two'), call('a'), { type: 'refusal', text: 'No' }),
      result('a', [text('R')]),
    ];
    expect(input(...messages)).toEqual([
      { type: 'message', role: 'user', content: 'Hi' },
      { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Hm' }], encrypted_content: 'gAAA' },
      {
        type: 'message',
        role: 'assistant',
        content: [
          { type: 'output_text', text: 'One', annotations: [] },
          { type: 'output_text', text: 'Two', annotations: [] },
        ],
      },
      { type: 'function_call', call_id: 'a', name: 'f', arguments: '{}' },
      { type: 'message', role: 'assistant', content: [{ type: 'refusal', refusal: 'No' }] },
      { type: 'function_call_output', call_id: 'a', output: 'R' },
    ]);
  });

  it('sends no reasoning that its issuer did not give, and none that nothing of its turn follows', () => {
    const foreign = { dialect: 'openai-chat', value: { encrypted_content: 'sig' } } as const;
    const own = { dialect: 'openai-responses', value: { encrypted_content: 'gAAA' } } as const;
    const { body, losses } = encoded({
      messages: [
        assistant(
          { type: 'reasoning', text: 'Theirs', carriers: [foreign] },
          { type: 'reasoning', text: '', carriers: [foreign] },
          text('a'),
        ),
        user(text('b')),
        assistant({ type: 'reasoning', text: '', carriers: [own] }),
        user(text('c')),
      ],
    });
    expect((body.input as Json[]).map(({ type, role }) => role ?? type)).toEqual(['assistant', 'user', 'user']);
    expect(losses).toEqual(['reasoning(messages[0])', 'reasoning']);
  });

  it('gives results with pictures as parts, failed ones with a mark, and those of custom tools as such', () => {
    const picture: Part = { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'AAAA' }, detail: undefined, rest: {} };
    const long = `functions.Bash:${'0'.repeat(80)}`;
    const items = input(
      assistant(call('a'), call('b', { kind: 'custom', arguments: 'free' }), call(long), call('d')),
      result('a', [text('See:'), picture]),
      result('b', [text('Oops')], { isError: true }),
      result(long, []),
      result('d', [], { json: { a: 1 } }),
    ) as Json[];
    expect(items.slice(4)).toMatchObject([
      {
        type: 'function_call_output',
        call_id: 'a',
        output: [
          { type: 'input_text', text: 'See:' },
          { type: 'input_image', image_url: 'data:image/png;base64,AAAA', detail: 'auto' },
        ],
      },
      { type: 'custom_tool_call_output', call_id: 'b', output: 'Error: Oops' },
      { type: 'function_call_output', output: '' },
      { type: 'function_call_output', call_id: 'd', output: '{"a":1}' },
    ]);
    expect(items[1]).toEqual({ type: 'custom_tool_call', call_id: 'b', name: 'f', input: 'free' });
    expect(items[2]?.call_id).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    expect(items[2]?.call_id).toBe(items[6]?.call_id);
  });

  it('refuses a call without its result', () => {
    expect(() => input(assistant(call('a')), user(text('Well?')))).toThrow(GatewayError);
  });

  it('shows the model its own pictures again, and says of sound what was said', () => {
    const items = input(
      assistant(
        { type: 'audio', source: { from: 'id', id: 'audio_1' }, transcript: 'Hello', rest: {} },
        { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'AAAA' }, detail: 'high', rest: {} },
      ),
      user(text('More.')),
    );
    expect(items).toMatchObject([
      { role: 'assistant', content: [{ type: 'output_text', text: 'Hello' }] },
      { role: 'user', content: [{ type: 'input_image', image_url: 'data:image/png;base64,AAAA', detail: 'high' }] },
      { role: 'user', content: 'More.' },
    ]);
  });

  it('holds arguments to the schema only where the client said so, and names tools as upstreams take them', () => {
    const name = `${'a.'.repeat(40)}b`;
    const { body } = encoded({
      tools: [
        { kind: 'function', name: 'f', description: undefined, parameters: undefined, strict: undefined, rest: { other: 1 } },
        { kind: 'function', name, description: 'd', parameters: { type: 'object' }, strict: true, rest: {} },
        {
          kind: 'custom',
          name: 'g',
          description: undefined,
          format: { type: 'grammar', grammar: { syntax: 'lark', definition: 'x' } },
          rest: {},
        },
      ],
      toolChoice: { type: 'tool', name, kind: 'function' },
    });
    const [first, second, third] = body.tools as Json[];
    expect(first).toEqual({ type: 'function', name: 'f', parameters: { type: 'object', properties: {} }, strict: false });
    expect(second).toMatchObject({ strict: true, name: expect.stringMatching(/^[A-Za-z0-9_-]{64}$/) });
    expect(third).toEqual({ type: 'custom', name: 'g', format: { type: 'grammar', syntax: 'lark', definition: 'x' } });
    expect(body.tool_choice).toEqual({ type: 'function', name: second?.name });
  });

  const CLOSED = { type: 'object', properties: { a: { type: 'string' } }, required: ['a'], additionalProperties: false };

  it.each([
    ['anthropic-messages', CLOSED, CLOSED],
    ['gemini', { ...CLOSED, additionalProperties: undefined }, CLOSED],
    ['anthropic-messages', { ...CLOSED, required: [] }, undefined],
    ['anthropic-messages', { ...CLOSED, additionalProperties: true }, undefined],
  ] as const)('from %s holds to a schema only where it is one that can be held to: %j', (dialect, given, held) => {
    const parameters = JSON.parse(JSON.stringify(given));
    const tool = { kind: 'function', name: 'f', description: undefined, parameters, strict: true, rest: {} } as const;
    const format = { type: 'json_schema', name: 'n', schema: parameters, strict: true, description: undefined } as const;
    const { body, losses } = encoded({ dialect, tools: [tool], format });
    expect(body.tools).toEqual([{ type: 'function', name: 'f', parameters: held ?? parameters, strict: held !== undefined }]);
    expect(body.text).toEqual({
      format: { type: 'json_schema', name: 'n', schema: held ?? parameters, ...(held === undefined ? {} : { strict: true }) },
    });
    expect(losses).toEqual(held === undefined ? ['strict_tool(tools[0])', 'json_schema'] : []);
  });

  it('of a client of the same protocol says the same again', () => {
    const fields = {
      model: 'm',
      instructions: 'Be brief.',
      input: [
        { type: 'message', role: 'user', content: [{ type: 'input_image', image_url: 'https://a', detail: 'low' }] },
        { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Hm' }], encrypted_content: 'gAAA' },
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'a', annotations: [] }], phase: 'commentary' },
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'b', annotations: [] }], phase: 'final_answer' },
        { type: 'web_search_call', id: 'ws_1', status: 'completed' },
        { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}', namespace: 'n' },
        { type: 'function_call_output', call_id: 'c', output: 'R' },
      ],
      tools: [{ type: 'function', name: 'f', parameters: { type: 'object' } }, { type: 'web_search' }],
      tool_choice: 'auto',
      include: ['web_search_call.results'],
      reasoning: { effort: 'low', summary: 'auto' },
      truncation: 'auto',
      store: false,
    };
    const { body, losses } = encodeRequest(decodeRequest(Buffer.from(JSON.stringify(fields))), { ...TERMS, model: 'm' });
    expect(JSON.parse(Buffer.concat([...body]).toString())).toEqual(fields);
    expect(losses).toEqual([]);
  });
});
