import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packCallId } from '../../canonical/call-id.ts';
import { packCarrier } from '../../canonical/carrier.ts';
import type { Message, Part } from '../../canonical/message.ts';
import type { Request } from '../../canonical/request.ts';
import type { EncodeRequestTerms } from '../dialect.ts';
import { decodeRequest, encodeRequest } from './request.ts';

const FIXTURES = join(import.meta.dirname, '../../../../../shared/fixtures/open/anthropic/messages');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded requests in ${FIXTURES}`);

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const OLD = 'claude-sonnet-4-20250514';
const NEW = 'claude-opus-4-8';

const decode = (fields: object): Request =>
  decodeRequest(Buffer.from(JSON.stringify({ model: 'm', max_tokens: 4_096, messages: [{ role: 'user', content: 'Hi' }], ...fields })));

const TERMS: EncodeRequestTerms = { model: OLD, maxOutputTokens: undefined, modelMaxOutputTokens: undefined, capabilities: [] };

// biome-ignore lint/suspicious/noExplicitAny: the bodies are read member by member
type Body = any;

function encode(request: Request, model = OLD, terms: Partial<EncodeRequestTerms> = {}): { body: Body; losses: string[] } {
  const { body, losses } = encodeRequest(request, { ...TERMS, model, ...terms });
  return {
    body: JSON.parse(Buffer.concat(body).toString('utf8')),
    losses: losses.map(({ name, at }) => (at === undefined ? name : `${name}(${at})`)),
  };
}

/** A request of another dialect. */
function foreign(fields: Partial<Request>): Request {
  return { ...decode({}), dialect: 'openai-chat', rest: {}, ...fields };
}

const says = (role: Message['role'], ...parts: readonly (Part | string)[]): Message => ({
  role,
  parts: parts.map((part): Part => (typeof part === 'string' ? { type: 'text', text: part, citations: [], rest: {} } : part)),
  name: undefined,
  rest: {},
});
const call = (id: string, args = '{}', name = 'f'): Part => ({ type: 'tool_call', id, name, arguments: args, kind: 'function', rest: {} });
const result = (callId: string, ...parts: readonly Part[]): Part => ({ type: 'tool_result', callId, parts, isError: false });
const said = (text: string): Part => ({ type: 'text', text, citations: [], rest: {} });

function recordedRequests(): [string, object][] {
  if (!present) return [];
  return readdirSync(FIXTURES)
    .filter((name) => name.endsWith('.meta.json'))
    .flatMap((name): [string, object][] => {
      const { request } = JSON.parse(readFileSync(join(FIXTURES, name), 'utf8'));
      return request?.body === undefined || request.body_has_omissions ? [] : [[name, request.body]];
    });
}

/** As the provider reads it: a text is a block, a default is as good as nothing. */
function read(body: Body): unknown {
  const content = (value: unknown) => (typeof value === 'string' ? [{ type: 'text', text: value }] : value);
  const { system, stream, service_tier: _, ...others } = body;
  return {
    ...others,
    ...(stream === true ? { stream } : {}),
    ...(system === undefined ? {} : { system: content(system) }),
    messages: body.messages.map((message: Body) => ({
      ...message,
      content: (content(message.content) as Body[]).map((block) => (block.is_error === false ? { ...block, is_error: undefined } : block)),
    })),
  };
}

describe('recorded requests', () => {
  it.each(recordedRequests())('%s is the same after it was read and written', (_name, body) => {
    const request = decodeRequest(Buffer.from(JSON.stringify(body)));
    const { body: written, losses } = encode(request, request.model);
    expect(losses).toEqual([]);
    expect(JSON.parse(JSON.stringify(read(written)))).toEqual(JSON.parse(JSON.stringify(read(withThinking(body)))));
  });
});

/** An effort asks for thinking where the canonical language carries it. */
function withThinking(body: Body): Body {
  return body.output_config?.effort === undefined || body.thinking !== undefined ? body : { ...body, thinking: { type: 'adaptive' } };
}

describe('a client’s request', () => {
  it('has its system, its blocks and its settings', () => {
    const request = decode({
      system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
      messages: [
        { role: 'user', content: [{ type: 'image', source: { type: 'url', url: 'https://a/b.png' } }] },
        { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'f', input: { a: 1 } }] },
        {
          role: 'user',
          content: [
            {
              type: 'tool_result',
              tool_use_id: 'toolu_1',
              is_error: true,
              content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } }],
            },
            { type: 'text', text: 'And?' },
          ],
        },
      ],
      tools: [{ name: 'f', description: 'F', input_schema: { type: 'object' }, strict: true, cache_control: { type: 'ephemeral' } }],
      tool_choice: { type: 'tool', name: 'f', disable_parallel_tool_use: true },
      stop_sequences: ['END'],
      temperature: 0.5,
      top_k: 3,
      metadata: { user_id: 'u' },
      thinking: { type: 'enabled', budget_tokens: 2_048, display: 'omitted' },
      output_config: { effort: 'low', format: { type: 'json_schema', schema: { type: 'object' } }, task_budget: 1 },
      context_management: { edits: [] },
    });
    expect(request).toMatchObject({
      messages: [
        { role: 'system', parts: [{ text: 'Be brief.', cacheControl: { type: 'ephemeral' } }] },
        { role: 'user', parts: [{ type: 'image', source: { from: 'url', url: 'https://a/b.png' } }] },
        { role: 'assistant', parts: [{ type: 'tool_call', id: 'toolu_1', arguments: '{"a":1}' }] },
        { role: 'user', parts: [{ type: 'tool_result', callId: 'toolu_1', isError: true, parts: [{ type: 'image' }] }, { text: 'And?' }] },
      ],
      tools: [{ kind: 'function', name: 'f', strict: true, rest: { cache_control: { type: 'ephemeral' } } }],
      toolChoice: { type: 'tool', name: 'f' },
      parallelToolCalls: false,
      stop: ['END'],
      sampling: { temperature: 0.5, topK: 3 },
      user: 'u',
      reasoning: { effort: 'low', budgetTokens: 2_048, show: 'none' },
      format: { type: 'json_schema', schema: { type: 'object' } },
    });
    expect(request.rest).toEqual({ context_management: { edits: [] }, output_config: { task_budget: 1 } });
  });

  it('gives a turn of nothing but results to the tools', () => {
    const content = [{ type: 'tool_result', tool_use_id: 't', content: 'x' }];
    expect(decode({ messages: [{ role: 'user', content }] }).messages[0]?.role).toBe('tool');
  });

  it.each([
    [{ type: 'disabled' }, { mode: 'off' }],
    [
      { type: 'adaptive', display: 'summarized' },
      { mode: 'adaptive', show: 'auto' },
    ],
  ])('says by %j how to think', (thinking, reasoning) => {
    expect(decode({ thinking }).reasoning).toMatchObject(reasoning);
  });

  it('gives back what a call’s id and a proof of thinking have carried', () => {
    const carriers = [{ dialect: 'gemini' as const, value: 'sig' }];
    const id = packCallId('toolu_', { id: 'functions.f:0', carriers });
    const { messages } = decode({
      messages: [
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'Hm', signature: packCarrier({ dialect: 'openai-responses', value: 'e' }) },
            { type: 'thinking', thinking: 'Own', signature: 'own' },
            { type: 'redacted_thinking', data: packCarrier({ dialect: 'gemini', value: 'g' }) },
            { type: 'tool_use', id, name: 'f', input: {} },
          ],
        },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: id, content: '' }] },
      ],
    });
    expect(messages[0]?.parts).toMatchObject([
      { type: 'reasoning', text: 'Hm', carriers: [{ dialect: 'openai-responses', value: 'e' }] },
      { type: 'reasoning', text: 'Own', carriers: [{ dialect: 'anthropic-messages', value: { signature: 'own' } }] },
      { type: 'reasoning', text: '', carriers: [{ dialect: 'gemini', value: 'g' }] },
      { type: 'tool_call', id: 'functions.f:0', carriers },
    ]);
    expect(messages[1]?.parts).toMatchObject([{ type: 'tool_result', callId: 'functions.f:0', parts: [] }]);
  });

  it('has a text document as a text, whatever it says that it is', () => {
    const block = { type: 'document', source: { type: 'text', media_type: 'application/pdf', data: '%PDF-1.7 x' } };
    const [asked] = decode({ messages: [{ role: 'user', content: [block] }] }).messages;
    expect(asked?.parts).toMatchObject([{ type: 'file', source: { mediaType: 'text/plain' } }]);
  });

  it('has documents of every kind, and a search result, in words', () => {
    const blocks = [
      { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0=' }, title: 'T' },
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'plän' } },
      { type: 'document', source: { type: 'url', url: 'https://a/b.pdf' } },
      {
        type: 'document',
        source: {
          type: 'content',
          content: [
            { type: 'text', text: 'one' },
            { type: 'text', text: 'two' },
          ],
        },
        title: 'D',
      },
      { type: 'search_result', source: 'https://s', title: 'S', content: [{ type: 'text', text: 'found' }] },
    ];
    const [message] = decode({ messages: [{ role: 'user', content: blocks }] }).messages;
    expect(message?.parts).toMatchObject([
      { type: 'file', name: 'T', source: { from: 'base64', mediaType: 'application/pdf', data: 'JVBERi0=' } },
      { type: 'file', source: { from: 'base64', mediaType: 'text/plain', data: Buffer.from('plän').toString('base64') } },
      { type: 'file', source: { from: 'url', url: 'https://a/b.pdf' } },
      { type: 'text', text: 'D\n\none\n\ntwo' },
      { type: 'text', text: 'S\nhttps://s\nfound' },
    ]);
    expect(encode(decode({ messages: [{ role: 'user', content: blocks }] })).body.messages[0].content).toEqual(blocks);
  });

  it('returns whole to a model of this dialect: tools of the provider, their results, cited texts, marks of the cache', () => {
    const body = {
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Hi', cache_control: { type: 'ephemeral', ttl: '1h' } }] },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: '', signature: 'only' },
            { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: { query: 'x' } },
            { type: 'web_search_tool_result', tool_use_id: 'srvtoolu_1', content: [] },
            {
              type: 'text',
              text: 'Found.',
              citations: [{ type: 'web_search_result_location', url: 'https://a', title: 'A', cited_text: 'c', encrypted_index: 'e' }],
            },
          ],
        },
        { role: 'user', content: [{ type: 'text', text: 'More' }] },
      ],
      tools: [
        { type: 'web_search_20250305', name: 'web_search', max_uses: 2 },
        { name: 'f', input_schema: { type: 'object', properties: {} }, defer_loading: true },
      ],
      mcp_servers: [{ type: 'url', url: 'https://mcp', name: 'mcp' }],
      cache_control: { type: 'ephemeral' },
      thinking: { type: 'adaptive' },
    };
    const { body: written, losses } = encode(decode(body), NEW);
    expect(losses).toEqual([]);
    expect(written).toEqual({ model: NEW, max_tokens: 4_096, ...body });
  });

  it.each([
    ['a role', { messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].role'],
    ['a content', { messages: [{ role: 'user' }] }, 'messages[0].content'],
    ['a block', { messages: [{ role: 'user', content: ['x'] }] }, 'messages[0].content[0]'],
    ['a choice', { tool_choice: 'auto' }, 'tool_choice'],
    ['a kind of choice', { tool_choice: { type: 'every' } }, 'tool_choice.type'],
    ['a tool', { tools: [{ input_schema: {} }] }, 'tools[0].name'],
    ['stop sequences', { stop_sequences: 'x' }, 'stop_sequences'],
    ['a format', { output_config: { format: { type: 'xml' } } }, 'output_config.format.type'],
  ])('is refused for %s that cannot be read', (_name, fields, param) => {
    expect(() => decode(fields)).toThrow(expect.objectContaining({ code: 'invalid_request_error', param }));
  });
});

describe('an upstream’s conversation', () => {
  const conversation = (messages: readonly Message[], model = OLD) => encode(foreign({ messages }), model);

  it('has one turn for messages of one role, and results before words', () => {
    const { body } = conversation([
      says('user', 'One'),
      says('user', 'Two'),
      says('assistant', call('a'), call('b')),
      says('tool', result('a', said('1'))),
      says('tool', result('b', said('2'))),
      says('user', 'Go on'),
    ]);
    expect(body.messages).toEqual([
      {
        role: 'user',
        content: [
          { type: 'text', text: 'One' },
          { type: 'text', text: 'Two' },
        ],
      },
      {
        role: 'assistant',
        content: [
          { type: 'tool_use', id: 'a', name: 'f', input: {} },
          { type: 'tool_use', id: 'b', name: 'f', input: {} },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: '1' }] },
          { type: 'tool_result', tool_use_id: 'b', content: [{ type: 'text', text: '2' }] },
          { type: 'text', text: 'Go on' },
        ],
      },
    ]);
  });

  it('has the words of the system beside it, or in their place for models that take them there', () => {
    const messages = [says('system', 'S'), says('developer', 'D'), says('user', 'Hi'), says('system', 'Late'), says('user', 'More')];
    const older = conversation(messages).body;
    expect(older.system.map((block: Body) => block.text)).toEqual(['S', 'D', 'Late']);
    expect(older.messages).toEqual([
      {
        role: 'user',
        content: [
          { type: 'text', text: 'Hi' },
          { type: 'text', text: 'More' },
        ],
      },
    ]);
    const newer = conversation(messages, NEW).body;
    expect(newer.system.map((block: Body) => block.text)).toEqual(['S', 'D']);
    expect(newer.messages.map(({ role }: Body) => role)).toEqual(['user', 'system', 'user']);
  });

  it('has no empty blocks, and no empty turns', () => {
    const { body } = conversation([
      says('system', '  '),
      says('user', 'Hi', ''),
      says('assistant', '', call('a')),
      says('tool', result('a', said(''))),
    ]);
    expect(body.system).toBeUndefined();
    expect(body.messages).toEqual([
      { role: 'user', content: [{ type: 'text', text: 'Hi' }] },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: {} }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a' }] },
    ]);
    expect(() => conversation([says('user', ' ')])).toThrow(expect.objectContaining({ code: 'invalid_request_error', param: 'messages' }));
  });

  it('continues what the assistant has begun, without blanks at its end', () => {
    expect(conversation([says('user', 'Hi'), says('assistant', 'It is \n')]).body.messages[1].content).toEqual([
      { type: 'text', text: 'It is' },
    ]);
  });

  it('cleans ids and names, alike in calls and results', () => {
    const { body } = conversation([
      says('user', 'Hi'),
      says('assistant', call('functions.Bash:0', '{}', 'my.tool')),
      says('tool', result('functions.Bash:0')),
    ]);
    const [use] = body.messages[1].content;
    expect(use.id).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    expect(use.name).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    expect(body.messages[2].content[0].tool_use_id).toBe(use.id);
  });

  it('keeps every digit of the arguments', () => {
    const long = '{"id":12345678901234567890}';
    const turn = `{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":${long}}]}`;
    const read = decodeRequest(Buffer.from(`{"model":"m","max_tokens":1,"messages":[${turn}]}`));
    expect(read.messages[0]?.parts[0]).toMatchObject({ arguments: long });
    expect(Buffer.concat([...encodeRequest(read, TERMS).body]).toString()).toContain(`"input":${long}`);
  });

  it('keeps badly written arguments as their text', () => {
    const { body } = conversation([says('user', 'Hi'), says('assistant', call('a', '{"cut":')), says('tool', result('a'))]);
    expect(body.messages[1].content[0].input).toEqual({ arguments: '{"cut":' });
  });

  it('keeps errors and objects among the results', () => {
    const failed: Part = { type: 'tool_result', callId: 'a', parts: [said('no')], isError: true };
    const object: Part = { type: 'tool_result', callId: 'b', parts: [], isError: false, json: { ok: 1 } };
    const { body } = conversation([
      says('user', 'Hi'),
      says('assistant', call('a'), call('b')),
      says('tool', failed),
      says('tool', object),
    ]);
    expect(body.messages[2].content).toEqual([
      { type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: 'no' }], is_error: true },
      { type: 'tool_result', tool_use_id: 'b', content: [{ type: 'text', text: '{"ok":1}' }] },
    ]);
  });

  it('shows thinking to its issuer with its proof, and no other', () => {
    const own = { dialect: 'anthropic-messages' as const, value: { type: 'thinking', signature: 's' } };
    const redacted = { dialect: 'anthropic-messages' as const, value: { type: 'redacted_thinking', data: 'd' } };
    const { body, losses } = conversation([
      says('user', 'Hi'),
      says(
        'assistant',
        { type: 'reasoning', text: 'Mine', carriers: [own] },
        { type: 'reasoning', text: '', carriers: [redacted] },
        { type: 'reasoning', text: 'Foreign', carriers: [{ dialect: 'openai-chat', value: {} }] },
        { type: 'reasoning', text: '', carriers: [{ dialect: 'gemini', value: 'g' }] },
        'Hello',
      ),
    ]);
    expect(body.messages[1].content).toEqual([
      { type: 'thinking', thinking: 'Mine', signature: 's' },
      { type: 'redacted_thinking', data: 'd' },
      { type: 'text', text: 'Hello' },
    ]);
    expect(losses).toEqual(['reasoning(messages[1])']);
  });

  it('shows pictures by their real type, by their address, and files', () => {
    const image = (source: object): Part => ({ type: 'image', source, detail: undefined, rest: {} }) as Part;
    const file = (source: object, name?: string): Part => ({ type: 'file', source, name, rest: {} }) as Part;
    const { body } = conversation([
      says(
        'user',
        image({ from: 'base64', mediaType: 'image/jpeg', data: PNG }),
        image({ from: 'url', url: 'https://a/b.png' }),
        file({ from: 'base64', mediaType: '', data: Buffer.from('%PDF-1.4').toString('base64') }, 'a.pdf'),
        file({ from: 'base64', mediaType: 'text/csv', data: Buffer.from('a;b').toString('base64') }),
        file({ from: 'base64', mediaType: 'image/png', data: PNG }),
        // A text was admitted by its bytes, so no pages are drawn of it.
        file({ from: 'base64', mediaType: 'text/plain', data: Buffer.from('%PDF-1.4').toString('base64') }),
      ),
    ]);
    expect(body.messages[0].content).toEqual([
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } },
      { type: 'image', source: { type: 'url', url: 'https://a/b.png' } },
      { type: 'document', title: 'a.pdf', source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0xLjQ=' } },
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'a;b' } },
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } },
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: '%PDF-1.4' } },
    ]);
  });

  it.each([
    ['sound', { type: 'audio', source: { from: 'base64', mediaType: 'audio/wav', data: 'AA' }, transcript: undefined, rest: {} }],
    ['video', { type: 'video', source: { from: 'url', url: 'https://a' }, rest: {} }],
    ['a file of another provider', { type: 'file', source: { from: 'id', id: 'file_1' }, name: undefined, rest: {} }],
    [
      'a picture of another kind',
      { type: 'image', source: { from: 'base64', mediaType: 'image/bmp', data: 'Qk0=' }, detail: undefined, rest: {} },
    ],
    [
      'a file of another kind',
      { type: 'file', source: { from: 'base64', mediaType: 'application/zip', data: 'UEs=' }, name: undefined, rest: {} },
    ],
  ] as [string, Part][])('is refused with %s', (_name, part) => {
    expect(() => conversation([says('user', part)])).toThrow(
      expect.objectContaining({ code: 'invalid_request_error', param: 'messages[0]' }),
    );
  });

  it('names what it leaves out', () => {
    const part: Part = { type: 'image', source: { from: 'url', url: 'https://a' }, detail: 'low', rest: { odd: 1, nothing: null } };
    const { losses } = conversation([
      { ...says('user', part, { type: 'foreign', dialect: 'openai-chat', value: {} }), name: 'Ann', rest: { audio: null, extra: 2 } },
    ]);
    expect(losses.toSorted()).toEqual([
      'image_detail(messages[0])',
      'message_name(messages[0])',
      'unknown_field(messages[0].extra)',
      'unknown_field(messages[0].odd)',
      'unknown_part(messages[0])',
    ]);
  });

  it('has at most four marks of the cache: the first and the last ones', () => {
    const marked = (text: string): Part => ({ ...said(text), cacheControl: { type: 'ephemeral' } }) as Part;
    const { body, losses } = conversation([
      says('system', marked('s')),
      says('user', ...['1', '2', '3', '4', '5'].map(marked), { ...said(' '), cacheControl: { type: 'ephemeral' } } as Part),
    ]);
    const kept = [...body.system, ...body.messages[0].content].filter((block: Body) => block.cache_control !== undefined);
    expect(kept.map((block: Body) => block.text)).toEqual(['s', '3', '4', '5']);
    expect(losses).toEqual(['cache_control']);
  });
});

describe('an upstream’s tools', () => {
  const TOOL = { kind: 'function' as const, name: 'f', description: 'F', parameters: undefined, strict: undefined, rest: {} };

  it('have a schema of an object', () => {
    const { body } = encode(foreign({ tools: [TOOL, { ...TOOL, name: 'g', parameters: { properties: { a: {} } } }] }));
    expect(body.tools).toEqual([
      { name: 'f', description: 'F', input_schema: { type: 'object', properties: {} } },
      { name: 'g', description: 'F', input_schema: { type: 'object', properties: { a: {} } } },
    ]);
  });

  it('are strict where the model can hold them to it', () => {
    const strict = (parameters: object, model: string) =>
      encode(foreign({ tools: [{ ...TOOL, strict: true, parameters: { ...parameters } }] }), model);
    const schema = { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] };
    expect(strict(schema, NEW)).toMatchObject({
      body: { tools: [{ strict: true, input_schema: { ...schema, additionalProperties: false } }] },
      losses: [],
    });
    expect(strict({ ...schema, properties: { a: { type: 'string', minLength: 3 } } }, NEW).losses).toEqual(['strict_tool(tools[0])']);
    expect(strict(schema, OLD)).toMatchObject({ body: { tools: [{ input_schema: schema }] }, losses: ['strict_tool(tools[0])'] });
  });

  it('stand in for a tool of free text, as a function with one string', () => {
    const tool = {
      kind: 'custom' as const,
      name: 'patch',
      description: 'P',
      format: { type: 'grammar', syntax: 'lark', definition: 'start: "x"' },
      rest: {},
    };
    const used: Part = { type: 'tool_call', id: 'a', name: 'patch', arguments: 'raw "text"', kind: 'custom', rest: {} };
    const { body, losses } = encode(
      foreign({ tools: [tool], messages: [says('user', 'Hi'), says('assistant', used), says('tool', result('a'))] }),
    );
    expect(body.tools).toMatchObject([{ name: 'patch', input_schema: { properties: { input: { type: 'string' } }, required: ['input'] } }]);
    expect(body.tools[0].description).toContain('start: "x"');
    expect(body.messages[1].content[0].input).toEqual({ input: 'raw "text"' });
    expect(losses).toEqual(['tool_grammar(tools[0])']);
  });

  it('are refused where another provider runs them, by name', () => {
    const tools = [{ kind: 'hosted' as const, dialect: 'openai-responses' as const, value: { type: 'code_interpreter' } }];
    expect(() => encode(foreign({ tools }))).toThrow(/code_interpreter/);
  });

  it('are known to a model that is to make no more calls of them', () => {
    const { body } = encode(foreign({ messages: [says('user', 'Hi'), says('assistant', call('a')), says('tool', result('a'))] }));
    expect(body).toMatchObject({ tools: [{ name: 'f', input_schema: { type: 'object' } }], tool_choice: { type: 'none' } });
  });

  it.each([
    [{ type: 'auto' }, undefined, { type: 'auto' }],
    [{ type: 'none' }, false, { type: 'none' }],
    [{ type: 'required' }, undefined, { type: 'any' }],
    [{ type: 'tool', name: 'f', kind: 'function' }, false, { type: 'tool', name: 'f', disable_parallel_tool_use: true }],
    [undefined, false, { type: 'auto', disable_parallel_tool_use: true }],
    [undefined, true, undefined],
  ] as const)('are chosen by %j, %j', (toolChoice, parallelToolCalls, written) => {
    expect(encode(foreign({ tools: [TOOL], toolChoice, parallelToolCalls })).body.tool_choice).toEqual(written);
  });

  it('are not chosen where there are none', () => {
    expect(encode(foreign({ toolChoice: { type: 'auto' } })).body.tool_choice).toBeUndefined();
  });

  it('cannot be chosen in a way that another dialect alone knows', () => {
    const toolChoice = { type: 'foreign' as const, dialect: 'openai-chat' as const, value: {} };
    expect(() => encode(foreign({ tools: [TOOL], toolChoice }))).toThrow(expect.objectContaining({ param: 'tool_choice' }));
  });
});

describe('an upstream’s settings', () => {
  const SAMPLING = {
    temperature: undefined,
    topP: undefined,
    topK: undefined,
    seed: undefined,
    frequencyPenalty: undefined,
    presencePenalty: undefined,
  };
  const thinks = (reasoning: Request['reasoning'], model: string, fields: Partial<Request> = {}) => {
    const { body, losses } = encode(foreign({ maxOutputTokens: 10_000, reasoning, ...fields }), model);
    return { thinking: body.thinking, effort: body.output_config?.effort, temperature: body.temperature, losses };
  };

  it('have an output limit always', () => {
    const open = foreign({ maxOutputTokens: undefined });
    expect(encode(open).body.max_tokens).toBe(4_096);
    expect(encode(open, OLD, { modelMaxOutputTokens: 64_000 }).body.max_tokens).toBe(64_000);
    expect(encode(open, OLD, { modelMaxOutputTokens: 64_000, maxOutputTokens: 500 }).body.max_tokens).toBe(500);
    expect(encode(foreign({ maxOutputTokens: 7 }), OLD, { maxOutputTokens: 500 }).body.max_tokens).toBe(7);
  });

  it.each([
    [
      { effort: 'high', budgetTokens: undefined },
      OLD,
      { thinking: { type: 'enabled', budget_tokens: 8_000 }, effort: undefined, losses: [] },
    ],
    [{ effort: 'minimal', budgetTokens: undefined }, OLD, { thinking: { type: 'enabled', budget_tokens: 1_024 }, losses: [] }],
    [{ effort: undefined, budgetTokens: 3_000 }, OLD, { thinking: { type: 'enabled', budget_tokens: 3_000 }, losses: [] }],
    [{ effort: undefined, budgetTokens: 30_000 }, OLD, { thinking: { type: 'enabled', budget_tokens: 9_999 }, losses: [] }],
    [{ effort: undefined, budgetTokens: 5 }, OLD, { thinking: { type: 'enabled', budget_tokens: 1_024 }, losses: [] }],
    [{ effort: 'high', budgetTokens: undefined }, NEW, { thinking: { type: 'adaptive' }, effort: 'high', losses: [] }],
    [{ effort: 'minimal', budgetTokens: undefined }, NEW, { effort: 'low', losses: ['reasoning_effort(minimal)'] }],
    [{ effort: 'turbo', budgetTokens: undefined }, NEW, { effort: 'turbo', losses: [] }],
    [{ effort: undefined, budgetTokens: 2_000 }, NEW, { thinking: { type: 'adaptive' }, effort: 'low', losses: ['reasoning_budget'] }],
    [{ effort: undefined, budgetTokens: 2_000 }, 'claude-opus-4-6', { thinking: { type: 'enabled', budget_tokens: 2_000 }, losses: [] }],
    [{ effort: 'none', budgetTokens: undefined }, NEW, { thinking: { type: 'disabled' }, effort: undefined, losses: [] }],
    [{ effort: undefined, budgetTokens: undefined, mode: 'off' }, OLD, { thinking: { type: 'disabled' }, losses: [] }],
    [{ effort: 'high', budgetTokens: undefined, show: 'auto' }, NEW, { thinking: { type: 'adaptive', display: 'summarized' }, losses: [] }],
    [{ effort: undefined, budgetTokens: undefined, show: 'auto' }, NEW, { thinking: undefined, losses: [] }],
    [
      { effort: 'high', budgetTokens: undefined },
      'claude-3-5-haiku-latest',
      { thinking: undefined, effort: undefined, losses: ['reasoning_effort'] },
    ],
  ] as const)('ask for thinking: %j of %s', (reasoning, model, expected) => {
    expect(thinks(reasoning, model)).toMatchObject(expected);
  });

  const HIGH = { effort: 'high', budgetTokens: undefined };
  const TOOL = { kind: 'function' as const, name: 'f', description: undefined, parameters: undefined, strict: undefined, rest: {} };
  const FORCED = { tools: [TOOL], toolChoice: { type: 'required' as const } };
  const CONTINUED = { messages: [says('user', 'Hi'), says('assistant', call('a')), says('tool', result('a'))] };

  it('do not ask for thinking beside a forced call, in a turn that lost its thinking, or without room', () => {
    for (const fields of [FORCED, CONTINUED, { maxOutputTokens: 1_024 }, { messages: [says('user', 'Hi'), says('assistant', 'It is')] }]) {
      expect(thinks(HIGH, OLD, fields)).toMatchObject({ thinking: undefined, losses: ['reasoning_effort'] });
    }
    expect(thinks(HIGH, NEW, FORCED)).toMatchObject({ thinking: undefined, effort: 'high', losses: ['reasoning_effort'] });
    expect(thinks(HIGH, NEW, CONTINUED).thinking).toEqual({ type: 'adaptive' });
  });

  it('let thinking that nobody asked for make way, without a loss', () => {
    const byDefault = { ...HIGH, isDefault: true };
    const warm = { sampling: { ...SAMPLING, temperature: 0.3 } };
    for (const fields of [FORCED, CONTINUED, { maxOutputTokens: 123 }, warm]) {
      expect(thinks(byDefault, OLD, fields)).toMatchObject({ thinking: undefined, losses: [] });
    }
    expect(thinks(byDefault, OLD, warm).temperature).toBe(0.3);
    expect(thinks(byDefault, OLD).thinking).toMatchObject({ type: 'enabled' });
  });

  const samples = (sampling: Partial<Request['sampling']>, model: string, fields: Partial<Request> = {}) => {
    const { body, losses } = encode(foreign({ sampling: { ...SAMPLING, ...sampling }, ...fields }), model);
    return [body.temperature, body.top_p, body.top_k, losses];
  };

  it('sample as far as the model lets itself be told', () => {
    expect(samples({ temperature: 0.5, topP: 0.9, topK: 4 }, OLD)).toEqual([0.5, 0.9, 4, []]);
    expect(samples({ temperature: 1.7 }, OLD)).toEqual([1, undefined, undefined, ['temperature']]);
    expect(samples({ temperature: 0.5, topP: 0.9 }, 'claude-sonnet-4-5')).toEqual([0.5, undefined, undefined, ['top_p']]);
    expect(samples({ topP: 0.9 }, 'claude-sonnet-4-5')).toEqual([undefined, 0.9, undefined, []]);
    expect(samples({ temperature: 0.5, topP: 0.9, topK: 4 }, NEW)).toEqual([
      undefined,
      undefined,
      undefined,
      ['temperature', 'top_p', 'top_k'],
    ]);
    expect(samples({ temperature: 1, topP: 1 }, NEW)).toEqual([undefined, undefined, undefined, []]);
    expect(samples({ temperature: 0.5, topP: 0.96 }, OLD, { reasoning: HIGH })).toEqual([undefined, 0.96, undefined, ['temperature']]);
  });

  it('name what has no field', () => {
    const { losses } = encode(
      foreign({
        sampling: { ...SAMPLING, seed: 1, frequencyPenalty: 0.1, presencePenalty: 0.1 },
        logprobs: { top: 2 },
        logitBias: { 1: 2 },
        verbosity: 'low',
        promptCacheKey: 'k',
        metadata: { a: 'b' },
        imageOutput: { size: '1x1' },
        serviceTier: 'flex',
        stop: [' ', 'END'],
        user: 'u'.repeat(600),
        rest: { store: false, nothing: null },
      }),
    );
    expect(losses.toSorted()).toEqual(
      [
        'unknown_field(store)',
        'metadata',
        'seed',
        'frequency_penalty',
        'presence_penalty',
        'logprobs',
        'logit_bias',
        'verbosity',
        'prompt_cache_key',
        'image_output',
        'service_tier',
        'stop',
        'user',
      ].toSorted(),
    );
  });

  it('have stop sequences, the user, the tier and the stream', () => {
    const { body, losses } = encode(foreign({ stop: ['END'], user: 'u', serviceTier: 'priority', stream: true }));
    expect(body).toMatchObject({ stop_sequences: ['END'], metadata: { user_id: 'u' }, service_tier: 'auto', stream: true });
    expect(losses).toEqual([]);
  });

  it.each([
    ['several answers', { choices: 2 }, 'n'],
    ['sound', { outputModalities: ['text', 'audio'] }, 'modalities'],
  ])('are refused where they ask for %s', (_name, fields, param) => {
    expect(() => encode(foreign(fields))).toThrow(expect.objectContaining({ code: 'invalid_request_error', param }));
  });
});

describe('an upstream’s form of the answer', () => {
  const SCHEMA = { type: 'object', properties: { a: { type: 'integer', minimum: 1 }, b: { oneOf: [{ type: 'object' }] } } };
  const format = { type: 'json_schema' as const, name: 'x', schema: SCHEMA, strict: true, description: undefined };

  it('is a schema where the model takes one, without the keywords that it refuses', () => {
    const { body, losses } = encode(foreign({ format }), NEW);
    expect(body.output_config.format).toEqual({
      type: 'json_schema',
      schema: {
        type: 'object',
        properties: {
          a: { type: 'integer', description: '(minimum: 1)' },
          b: { anyOf: [{ type: 'object', additionalProperties: false }] },
        },
        additionalProperties: false,
      },
    });
    expect(losses).toEqual(['schema_keyword(properties.a.minimum)']);
  });

  it('is a tool that has to be called where it takes none', () => {
    const { body } = encode(foreign({ format }));
    expect(body).toMatchObject({
      tools: [{ name: 'meridian_json_answer', input_schema: SCHEMA }],
      tool_choice: { type: 'any', disable_parallel_tool_use: true },
    });
  });

  it('is asked for in words where it is any JSON', () => {
    const { body, losses } = encode(foreign({ format: { type: 'json_object' } }), NEW);
    expect(body.system[0].text).toMatch(/JSON object/);
    expect(losses).toEqual(['json_object']);
  });
});
