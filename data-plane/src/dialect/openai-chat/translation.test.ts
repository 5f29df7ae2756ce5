/** What the other dialects say and hear in this one, case by case. */
import type { Quirk } from '@meridian/domain/quirk';
import { describe, expect, it } from 'vitest';
import { unpackCallId } from '../../canonical/call-id.ts';
import type { StreamEvent } from '../../canonical/event.ts';
import type { Message, Part, Role } from '../../canonical/message.ts';
import type { Request } from '../../canonical/request.ts';
import type { Response } from '../../canonical/response.ts';
import { decodeRequest, encodeRequest } from './request.ts';
import { decodeResponse, encodeResponse } from './response.ts';
import { ChatStreamDecoder } from './stream-decoder.ts';
import { ChatStreamEncoder } from './stream-encoder.ts';

const TERMS = { model: 'up', maxOutputTokens: undefined, modelMaxOutputTokens: undefined, capabilities: [] };
const decode = (fields: object) =>
  decodeRequest(Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'Hi' }], ...fields })));
const foreign = (fields: Partial<Request> = {}): Request => ({ ...decode({}), dialect: 'anthropic-messages', ...fields });
const THINKS = ['reasoning'];
const encode = (request: Request, quirks: readonly Quirk[] = [], capabilities: readonly string[] = []) => {
  const { body, losses } = encodeRequest(request, { ...TERMS, quirks, capabilities });
  return { fields: JSON.parse(Buffer.concat([...body]).toString()), losses };
};

const text = (value: string, more: object = {}): Part => ({ type: 'text', text: value, citations: [], rest: {}, ...more });
const call = (id: string, more: object = {}): Part => ({
  type: 'tool_call',
  id,
  name: 'f',
  arguments: '{}',
  kind: 'function',
  rest: {},
  ...more,
});
const result = (callId: string, ...parts: Part[]): Part => ({ type: 'tool_result', callId, parts, isError: false });
const says = (role: Role, ...parts: Part[]): Message => ({ role, parts, name: undefined, rest: {} });
const image: Part = { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'AA' }, detail: undefined, rest: {} };
const sent = (messages: readonly Message[], quirks: readonly Quirk[] = []) => encode(foreign({ messages }), quirks).fields.messages;

describe('a conversation for an upstream', () => {
  it('has all results behind the calls, and their pictures behind all results', () => {
    const messages = [
      says('assistant', call('a'), call('b')),
      says('tool', result('b', text('2'))),
      says('tool', result('a', image, text('1'))),
    ];
    expect(sent(messages).slice(1)).toEqual([
      { role: 'tool', tool_call_id: 'a', content: '1' },
      { role: 'tool', tool_call_id: 'b', content: '2' },
      { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } }] },
    ]);
  });

  it('is one text of what the system, or the model, says in several', () => {
    const cached = { cacheControl: { type: 'ephemeral' } };
    const messages = [says('system', text('One.', cached), text('Two.')), says('assistant', text('a'), text('b')), says('user', text('c'))];
    expect(sent(messages).slice(0, 2)).toEqual([
      { role: 'system', content: 'One.\n\nTwo.' },
      { role: 'assistant', content: 'ab' },
    ]);
    expect(encode(foreign({ messages })).losses).toEqual([{ name: 'cache_control' }]);
    expect(sent(messages, ['cache_control'])[0].content).toEqual([
      { type: 'text', text: 'One.', cache_control: { type: 'ephemeral' } },
      { type: 'text', text: 'Two.' },
    ]);
  });

  it('has developers as the system where there are none', () => {
    const messages = [says('developer', text('x')), says('user', text('y'))];
    expect(sent(messages)[0].role).toBe('developer');
    expect(sent(messages, ['system_role'])[0].role).toBe('system');
  });

  it('has no content beside calls, and no turn in which nothing is said', () => {
    const messages = [
      says('assistant', call('a')),
      says('tool', result('a')),
      says('assistant', { type: 'reasoning', text: '', carriers: [] }),
    ];
    expect(sent([...messages, says('user', text('x'))]).map(({ content }: { content: unknown }) => content)).toEqual([null, '', 'x']);
  });

  it('has ids that are taken, the same for a call and its result', () => {
    const id = `functions.Bash:0${'x'.repeat(60)}`;
    const [asked, answered] = sent([says('assistant', call(id)), says('tool', result(id, text('y')))]);
    expect(asked.tool_calls[0].id).toMatch(/^[A-Za-z0-9_-]{1,40}$/);
    expect(answered.tool_call_id).toBe(asked.tool_calls[0].id);
  });

  it('is refused for files that another provider keeps, and sounds by URL', () => {
    const source = { from: 'id', id: 'file_1' } as const;
    const url = { from: 'url', url: 'https://x.example/a.mp3' } as const;
    expect(() => sent([says('user', { type: 'file', source, name: undefined, rest: {} })])).toThrow(/file_1.*another provider/);
    expect(() => sent([says('user', { type: 'audio', source: url, transcript: undefined, rest: {} })])).toThrow('inline');
  });

  it('shows a document that is a text as one', () => {
    const source = { from: 'base64', mediaType: 'text/plain', data: Buffer.from('größer').toString('base64') } as const;
    expect(sent([says('user', { type: 'file', source, name: 'a.txt', rest: {} })])).toEqual([{ role: 'user', content: 'größer' }]);
  });

  it('leaves thinking out where it is refused, and says so', () => {
    const messages = [says('assistant', { type: 'reasoning', text: 'hm', carriers: [] }, text('a')), says('user', text('b'))];
    expect(sent(messages)[0].reasoning_content).toBe('hm');
    expect(encode(foreign({ messages }), ['no_reasoning_input'])).toMatchObject({
      fields: { messages: [{ role: 'assistant', content: 'a' }, {}] },
      losses: [{ name: 'reasoning' }],
    });
  });
});

describe('settings for an upstream', () => {
  it.each([
    [{ effort: 'low', budgetTokens: 30_000 }, 'low', []],
    [{ effort: undefined, budgetTokens: 1_024 }, 'low', ['reasoning_budget']],
    [{ effort: undefined, budgetTokens: 30_000 }, 'high', ['reasoning_budget']],
    [{ effort: undefined, budgetTokens: undefined, mode: 'adaptive' }, 'high', []],
    [{ effort: 'max', budgetTokens: undefined }, 'xhigh', ['reasoning_effort']],
  ] as const)('ask to think %j as %s', (reasoning, effort, lost) => {
    const { fields, losses } = encode(foreign({ reasoning }), [], THINKS);
    expect(fields.reasoning_effort).toBe(effort);
    expect(losses.map(({ name }) => name)).toEqual(lost);
  });

  it('ask for usage in streams, but where that is refused', () => {
    expect(encode(foreign({ stream: true })).fields.stream_options).toEqual({ include_usage: true });
    expect(encode(foreign({ stream: true }), ['no_stream_options']).fields).not.toHaveProperty('stream_options');
    expect(encode(foreign()).fields).not.toHaveProperty('stream_options');
    const asked = decode({ stream: true, stream_options: { include_usage: true, include_obfuscation: false } });
    expect(encode(asked, ['no_stream_options']).fields).not.toHaveProperty('stream_options');
  });

  it('ask no model to think that cannot, and name it', () => {
    const asked = (reasoning: Request['reasoning']) => encode(foreign({ reasoning }));
    for (const reasoning of [
      { effort: 'high', budgetTokens: undefined, show: 'auto' },
      { effort: undefined, budgetTokens: 2_048 },
    ]) {
      const { fields, losses } = asked(reasoning);
      expect(fields).not.toHaveProperty('reasoning_effort');
      expect(losses).toEqual([{ name: 'reasoning_effort' }]);
    }
    for (const reasoning of [
      { effort: 'none', budgetTokens: undefined },
      { effort: undefined, budgetTokens: undefined, mode: 'off' },
      { effort: 'high', budgetTokens: undefined, isDefault: true },
    ] as const) {
      const { fields, losses } = asked(reasoning);
      expect(fields).not.toHaveProperty('reasoning_effort');
      expect(losses).toEqual([]);
    }
  });

  it.each([
    ['gpt-5.4', 'none', []],
    ['o3', undefined, [{ name: 'reasoning_effort', at: 'none' }]],
  ])('ask %s not to think by %s', (model, effort, losses) => {
    const request = foreign({ reasoning: { effort: undefined, budgetTokens: undefined, mode: 'off' } });
    const written = encodeRequest(request, { ...TERMS, model, capabilities: ['reasoning'] });
    expect(JSON.parse(Buffer.concat([...written.body]).toString()).reasoning_effort).toBe(effort);
    expect(written.losses).toEqual(losses);
  });

  it('ask to think in one object where that is taken', () => {
    const asked = (reasoning: Request['reasoning']) => encode(foreign({ reasoning }), ['reasoning_object'], THINKS);
    expect(asked({ effort: undefined, budgetTokens: 2_000, show: 'none' })).toMatchObject({
      fields: { reasoning: { max_tokens: 2_000, exclude: true } },
      losses: [],
    });
    expect(asked({ effort: undefined, budgetTokens: undefined, mode: 'off' }).fields.reasoning).toEqual({ enabled: false });
  });

  it('are left out for models that think and refuse them, and named', () => {
    const request = foreign({ stop: ['x'], sampling: { ...foreign().sampling, temperature: 0.2, topP: 1, presencePenalty: 1 } });
    const { body, losses } = encodeRequest(request, { ...TERMS, model: 'openai/gpt-5.4' });
    const fields = JSON.parse(Buffer.concat([...body]).toString());
    expect(fields).not.toHaveProperty('temperature');
    expect(fields).toMatchObject({ top_p: 1 });
    expect(losses.map(({ name }) => name)).toEqual(['temperature', 'presence_penalty', 'stop']);
  });

  it('stand for a schema that is not taken', () => {
    const format = { type: 'json_schema', name: 'a', schema: { type: 'object' }, strict: true, description: undefined } as const;
    const { fields, losses } = encode(foreign({ format }), ['no_json_schema']);
    expect(fields.response_format).toEqual({ type: 'json_object' });
    expect(fields.messages.at(-1)).toMatchObject({ role: 'system', content: expect.stringContaining('{"type":"object"}') });
    expect(losses).toEqual([{ name: 'json_schema' }]);
  });

  it('say nothing of tools where there are none', () => {
    const { fields } = encode(foreign({ toolChoice: { type: 'none' }, parallelToolCalls: false }));
    expect(fields).not.toHaveProperty('tool_choice');
    expect(fields).not.toHaveProperty('parallel_tool_calls');
  });

  it('have names of tools that are taken', () => {
    const name = `mcp.${'x'.repeat(80)}`;
    const tools = [{ kind: 'function', name, description: undefined, parameters: undefined, strict: undefined, rest: {} }] as const;
    const { fields } = encode(foreign({ tools, toolChoice: { type: 'tool', name, kind: 'function' } }));
    expect(fields.tools[0].function.name).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    expect(fields.tool_choice.function.name).toBe(fields.tools[0].function.name);
  });
});

describe('a request of a client', () => {
  it.each([
    [{ reasoning_effort: 'low' }, { effort: 'low' }],
    [{ reasoning: { max_tokens: 9, exclude: true } }, { budgetTokens: 9, show: 'none' }],
    [{ thinking: { type: 'disabled' } }, { mode: 'off' }],
    [{ thinking: { type: 'enabled' } }, { mode: 'adaptive' }],
    [{ enable_thinking: true, thinking_budget: 7 }, { budgetTokens: 7 }],
    [
      { reasoning_effort: 'high', reasoning: { exclude: true } },
      { effort: 'high', show: 'none' },
    ],
  ])('asks to think by %j', (fields, reasoning) => {
    const request = decode(fields);
    expect(request.reasoning).toMatchObject(reasoning);
    expect(request.rest).toEqual({});
  });

  it('has words of its own for what many dialects know', () => {
    const fields = {
      prompt_cache_key: 'k',
      verbosity: 'low',
      logit_bias: { 5: 1 },
      metadata: { a: 'b' },
      modalities: ['text'],
      safety_identifier: 'u',
    };
    expect(decode(fields)).toMatchObject({
      promptCacheKey: 'k',
      verbosity: 'low',
      logitBias: { 5: 1 },
      metadata: { a: 'b' },
      outputModalities: ['text'],
      user: 'u',
      rest: {},
    });
  });

  it('that lets the provider search is for its own upstreams only', () => {
    const request = decode({ web_search_options: { x: 1 }, plugins: [] });
    expect(request.tools).toEqual([
      { kind: 'hosted', dialect: 'openai-chat', value: { type: 'web_search_options', web_search_options: { x: 1 } } },
    ]);
    expect(encode(request).fields).toMatchObject({ web_search_options: { x: 1 } });
    expect(encode(request).fields).not.toHaveProperty('tools');
  });

  it('pairs functions of the older kind with their results', () => {
    const request = decode({
      functions: [{ name: 'f' }],
      messages: [
        { role: 'assistant', content: null, function_call: { name: 'f', arguments: '{}' } },
        { role: 'function', name: 'f', content: 'x' },
      ],
    });
    expect(encode(request).fields.messages).toMatchObject([{ tool_calls: [{ id: 'f' }] }, { role: 'tool', tool_call_id: 'f' }]);
  });
});

const answered = (parts: readonly Part[], request: Request, dialect: Response['dialect'] = 'gemini') => {
  const response: Response = {
    ...(dialect === undefined ? {} : { dialect }),
    id: 'up_1',
    createdSeconds: undefined,
    model: 'up',
    choices: [{ index: 0, parts, finish: { reason: 'stop', raw: 'STOP' }, logprobs: undefined, rest: { secret: 1 } }],
    usage: undefined,
    serviceTier: undefined,
    rest: { secret: 1 },
  };
  const { body, losses } = encodeResponse(response, {
    requestId: 'req_7',
    model: 'm',
    createdSeconds: 5,
    costUsdLiteral: undefined,
    request,
  });
  return { answer: JSON.parse(Buffer.concat([...body]).toString()), losses };
};

describe('an answer for a client', () => {
  it('has an id of ours, one text, and nothing that only another dialect knows', () => {
    const { answer, losses } = answered(
      [text('a'), { type: 'foreign', dialect: 'gemini', value: {} }, text('b', { rest: { secret: 1 } })],
      decode({}),
    );
    expect(answer).toEqual({
      id: 'chatcmpl-7',
      object: 'chat.completion',
      created: 5,
      model: 'm',
      choices: [{ index: 0, message: { role: 'assistant', content: 'ab', refusal: null }, logprobs: null, finish_reason: 'stop' }],
    });
    expect(losses).toEqual([{ name: 'unknown_part', at: 'foreign' }]);
  });

  it('has an empty text where all went into thinking', () => {
    expect(answered([{ type: 'reasoning', text: 'hm', carriers: [] }], decode({})).answer.choices[0].message.content).toBe('');
  });

  it('carries a signature over the next turns, in an id and as Google writes it', () => {
    const carriers = [{ dialect: 'gemini', value: 'c2ln' }] as const;
    const { message } = answered([call('', { id: 'x', carriers })], decode({})).answer.choices[0];
    const [{ id, extra_content, ...rest }] = message.tool_calls;
    expect(id).toMatch(/^call_[A-Za-z0-9_-]+$/);
    expect(extra_content).toEqual({ google: { thought_signature: 'c2ln' } });
    const plain = { ...message, tool_calls: [{ id, ...rest }] };
    for (const kept of [message, plain]) {
      const [back] = decode({ messages: [kept, { role: 'tool', tool_call_id: id, content: 'y' }] }).messages;
      expect(back?.parts).toMatchObject([{ type: 'tool_call', id: 'x', carriers }]);
    }
  });

  it('gives the input of a custom tool back as text', () => {
    const request = decode({ tools: [{ type: 'custom', custom: { name: 'f' } }] });
    const [written] = answered([call('call_1', { arguments: '{"input":"raw\\n"}' })], request).answer.choices[0].message.tool_calls;
    expect(written).toEqual({ id: 'call_1', type: 'custom', custom: { name: 'f', input: 'raw\n' } });
  });
});

describe('an answer of an upstream', () => {
  const read = (message: object, more: object = {}) =>
    decodeResponse(Buffer.from(JSON.stringify({ id: 'c', choices: [{ index: 0, message, finish_reason: 'stop', ...more }] }))).choices[0];

  it('thinks between tags as it does beside the text', () => {
    expect(read({ content: '<think>\nhm</think>\n\nYes.' })?.parts).toMatchObject([
      { type: 'reasoning', text: 'hm' },
      { type: 'text', text: 'Yes.' },
    ]);
    expect(read({ content: 'The tag <think> is text.' })?.parts).toMatchObject([{ type: 'text', text: 'The tag <think> is text.' }]);
  });

  it('waits for results where it calls, whatever it says', () => {
    const calls = [
      { type: 'function', function: { name: 'f', arguments: '' } },
      { type: 'function', function: { name: 'f' } },
    ];
    const choice = read({ content: null, tool_calls: calls });
    expect(choice?.finish?.reason).toBe('tool_calls');
    const ids = choice?.parts.map((part) => (part.type === 'tool_call' ? part.id : ''));
    expect(new Set(ids).size).toBe(2);
    expect(ids).not.toContain('');
  });

  it.each([
    [{ finish_reason: 'MAX_TOKENS' }, { reason: 'length' }],
    [{ stop_reason: '###' }, { reason: 'stop_sequence', sequence: '###' }],
    [{ stop_reason: 128_001 }, { reason: 'stop' }],
    [{ finish_reason: 'content_filter' }, { reason: 'content_filter' }],
  ])('ended by %j', (more, finish) => {
    expect(read({ content: 'x' }, more)?.finish).toMatchObject(finish);
  });

  it('names sources beside the text', () => {
    const body = {
      id: 'c',
      choices: [{ message: { content: 'x' } }],
      citations: ['https://a'],
      search_results: [{ url: 'https://a', title: 'A' }],
    };
    const [choice] = decodeResponse(Buffer.from(JSON.stringify(body))).choices;
    expect(choice?.parts).toMatchObject([{ type: 'text', citations: [{ url: 'https://a', title: 'A' }] }]);
  });
});

describe('a stream', () => {
  const chunk = (delta: object, finish_reason: string | null = null, more: object = {}) =>
    `data: ${JSON.stringify({ id: 'c', model: 'm', choices: [{ index: 0, delta, finish_reason }], ...more })}\n\n`;
  const events = (...chunks: string[]): StreamEvent[] => {
    const decoder = new ChatStreamDecoder();
    return [...decoder.push(Buffer.from(chunks.join(''))), ...decoder.end()];
  };

  it('is one block of thinking for many details', () => {
    const detail = (more: object) => ({ reasoning_details: [{ type: 'reasoning.text', format: 'x', index: 0, ...more }] });
    const found = events(
      chunk({ reasoning: 'I ', ...detail({ text: 'I ' }) }),
      chunk({ reasoning: 'think', ...detail({ text: 'think' }) }),
      chunk(detail({ signature: 's' })),
      chunk({ content: 'a' }, 'stop'),
    );
    expect(found.map(({ type }) => type)).toEqual(['start', 'reasoning', 'reasoning', 'reasoning_carrier', 'text', 'finish', 'end']);
    expect(found[3]).toMatchObject({
      carrier: { value: [{ type: 'reasoning.text', format: 'x', index: 0, text: 'I think', signature: 's' }] },
    });
  });

  it('tells thinking between tags apart, wherever it is cut', () => {
    const whole = '<think>a < b</thi</think> Yes <think>';
    for (let at = 0; at <= whole.length; at++) {
      const found = events(chunk({ content: whole.slice(0, at) }), chunk({ content: whole.slice(at) }), chunk({}, 'stop'));
      const joined = (type: 'text' | 'reasoning') => found.map((event) => (event.type === type ? event.text : '')).join('');
      expect([joined('reasoning'), joined('text').trim()]).toEqual(['a < b</thi', 'Yes <think>']);
    }
  });

  it('ends a choice once, and calls where it has called', () => {
    const found = events(
      chunk({ tool_calls: [{ index: 0, function: { name: 'f', arguments: '{}' } }] }),
      chunk({}, 'stop'),
      chunk({}, 'stop', { usage: { prompt_tokens: 1 } }),
    );
    const finishes = found.filter(({ type }) => type === 'finish');
    expect(finishes).toMatchObject([{ finish: { reason: 'tool_calls' } }]);
    expect(found.find(({ type }) => type === 'tool_call_start')).toMatchObject({ id: expect.stringMatching(/^call_.+/) });
  });

  it('lists its sources before its end', () => {
    const sources = { citations: ['https://a'] };
    const found = events(chunk({ content: 'x' }, null, sources), chunk({ content: 'y' }, 'stop', sources));
    expect(found.map(({ type }) => type)).toEqual(['start', 'text', 'text', 'citation', 'finish', 'end']);
  });

  it('gives a client a custom tool’s input when its arguments are whole', () => {
    const request = decode({ tools: [{ type: 'custom', custom: { name: 'f' } }] });
    const encoder = new ChatStreamEncoder({ requestId: 'req_1', wantsStreamUsage: false, model: 'm', createdSeconds: 1, request });
    const written = encoder.push([
      { type: 'start', dialect: 'gemini', id: '', createdSeconds: undefined, model: 'up', rest: { secret: 1 } },
      { type: 'tool_call_start', choice: 0, call: 0, id: 'x', name: 'f', kind: 'function', rest: { secret: 1 } },
      { type: 'tool_call_arguments', choice: 0, call: 0, text: '{"inp' },
      { type: 'tool_call_arguments', choice: 0, call: 0, text: 'ut":"raw"}' },
      { type: 'finish', choice: 0, finish: { reason: 'tool_calls', raw: 'STOP' } },
    ]);
    const body = Buffer.concat(written).toString();
    expect(body).not.toContain('secret');
    const calls = [...body.matchAll(/"tool_calls":(\[.*?\])\}/g)].map(([, json]) => JSON.parse(json ?? '')[0]);
    expect(calls).toMatchObject([{ type: 'custom', custom: { name: 'f', input: '' } }, { custom: { input: 'raw' } }]);
    expect(unpackCallId(calls[0].id).id).toBe('x');
  });
});
