/** Whatever a request says, an upstream of any dialect is told of it, or the client is told that it was not. */
import { GatewayError } from '@meridian/domain/error';
import { QUIRK_NAMES, type Quirk } from '@meridian/domain/quirk';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LOSSES } from '../canonical/loss.ts';
import type { Message, Part, Role } from '../canonical/message.ts';
import type { Request } from '../canonical/request.ts';
import type { Dialect } from './dialect.ts';
import { dialectOf } from './registry.ts';

const NO_REST = {};
const CACHE = { cacheControl: { type: 'ephemeral' } };
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const inline = (mediaType: string, data = PNG) => ({ from: 'base64', mediaType, data }) as const;

const text = (value: string, more: object = {}): Part => ({ type: 'text', text: value, citations: [], rest: NO_REST, ...more });
const call = (more: object = {}): Part => ({
  type: 'tool_call',
  id: 'call_1',
  name: 'weather',
  arguments: '{"city":"Paris"}',
  kind: 'function',
  rest: NO_REST,
  ...more,
});
const result = (more: object = {}): Part => ({ type: 'tool_result', callId: 'call_1', parts: [text('sunny')], isError: false, ...more });
const message = (role: Role, parts: readonly Part[], name?: string): Message => ({ role, parts, name, rest: NO_REST });

/** A conversation with a call, so that all that can be said has a place. */
function conversation(change: {
  readonly user?: Part;
  readonly assistant?: Part;
  readonly call?: object;
  readonly result?: object;
}): Message[] {
  return [
    message('system', [text('Be brief.')]),
    message('user', [text('Weather?')]),
    message('assistant', [text('I look.'), ...(change.assistant === undefined ? [] : [change.assistant]), call(change.call)]),
    message('tool', [result(change.result)]),
    message('user', [text('And now?'), ...(change.user === undefined ? [] : [change.user])]),
  ];
}

function base(dialect: Request['dialect']): Request {
  return {
    dialect,
    model: 'asked',
    messages: conversation({}),
    tools: [
      {
        kind: 'function',
        name: 'weather',
        description: undefined,
        parameters: { type: 'object', properties: {} },
        strict: undefined,
        rest: NO_REST,
      },
    ],
    toolChoice: undefined,
    parallelToolCalls: undefined,
    stream: false,
    wantsStreamUsage: false,
    maxOutputTokens: 9_000,
    sampling: {
      temperature: undefined,
      topP: undefined,
      topK: undefined,
      seed: undefined,
      frequencyPenalty: undefined,
      presencePenalty: undefined,
    },
    stop: [],
    choices: 1,
    logprobs: undefined,
    format: undefined,
    reasoning: undefined,
    serviceTier: 'standard',
    user: undefined,
    rest: NO_REST,
  };
}

interface Change {
  readonly name: string;
  /** Changes of one group exclude, or hide, each other: of two formats one counts, a forced call stands for a format. */
  readonly group: string;
  readonly to: (request: Request) => Request;
}

const change = (name: string, to: (request: Request) => Request, group = name): Change => ({ name, group, to });
const setting = (name: string, fields: Partial<Request>, group = name): Change =>
  change(name, (request) => ({ ...request, ...fields }), group);
const sampling = (name: keyof Request['sampling'], value: number): Change =>
  change(name, (request) => ({ ...request, sampling: { ...request.sampling, [name]: value } }));
const tools = (name: string, more: object): Change =>
  change(
    name,
    (request) => ({ ...request, tools: request.tools.map((tool) => ({ ...tool, ...more }) as Request['tools'][number]) }),
    'tools',
  );
const said = (name: string, to: Parameters<typeof conversation>[0]): Change =>
  change(name, (request) => ({ ...request, messages: conversation(to) }), 'messages');
const reasoning = (name: string, value: Partial<NonNullable<Request['reasoning']>>): Change =>
  setting(name, { reasoning: { effort: undefined, budgetTokens: undefined, ...value } }, 'reasoning');

const OWN = { dialect: 'openai-chat', value: [{ type: 'x' }] } as const;

const CHANGES: readonly Change[] = [
  setting('tool choice required', { toolChoice: { type: 'required' } }, 'calls'),
  setting('tool choice none', { toolChoice: { type: 'none' } }, 'calls'),
  setting('tool choice by name', { toolChoice: { type: 'tool', name: 'weather', kind: 'function' } }, 'calls'),
  setting('a foreign tool choice', { toolChoice: { type: 'foreign', dialect: 'openai-chat', value: { type: 'odd' } } }, 'calls'),
  setting('no parallel calls', { parallelToolCalls: false }, 'calls'),
  setting('stream', { stream: true }),
  setting('output limit', { maxOutputTokens: 8_000 }),
  sampling('temperature', 0.5),
  sampling('topP', 0.5),
  sampling('topK', 5),
  sampling('seed', 5),
  sampling('frequencyPenalty', 0.5),
  sampling('presencePenalty', 0.5),
  setting('stop', { stop: ['END'] }, 'stop'),
  setting('many stops', { stop: ['A', 'B', 'C', 'D', 'E', 'F'] }, 'stop'),
  setting('a blank stop', { stop: [' '] }, 'stop'),
  setting('choices', { choices: 2 }),
  setting('logprobs', { logprobs: { top: undefined } }, 'logprobs'),
  setting('top logprobs', { logprobs: { top: 3 } }, 'logprobs'),
  setting('json', { format: { type: 'json_object' } }, 'calls'),
  setting(
    'a schema',
    {
      format: {
        type: 'json_schema',
        name: 'answer',
        schema: { type: 'object', properties: {}, additionalProperties: false },
        strict: true,
        description: undefined,
      },
    },
    'calls',
  ),
  reasoning('effort high', { effort: 'high' }),
  reasoning('effort minimal', { effort: 'minimal' }),
  reasoning('effort none', { effort: 'none' }),
  reasoning('effort max', { effort: 'max' }),
  reasoning('a budget', { budgetTokens: 3_000 }),
  reasoning('adaptive', { mode: 'adaptive' }),
  reasoning('off', { mode: 'off' }),
  reasoning('thinking hidden', { effort: 'high', show: 'none' }),
  setting('service tier', { serviceTier: 'priority' }, 'serviceTier'),
  setting('flex', { serviceTier: 'flex' }, 'serviceTier'),
  setting('user', { user: 'u-1' }),
  setting('prompt cache key', { promptCacheKey: 'k' }),
  setting('verbosity', { verbosity: 'low' }),
  setting('logit bias', { logitBias: { 5: -100 } }),
  setting('output modalities', { outputModalities: ['text', 'image'] }),
  setting('image output', { imageOutput: { aspectRatio: '16:9', size: '2K' } }),
  setting('metadata', { metadata: { a: 'b' } }),
  setting('an unknown field', { rest: { vendor_field: 1 } }),
  tools('a description', { description: 'Tells the weather.' }),
  tools('a schema of arguments', { parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } }),
  tools('strict', { strict: true, parameters: { type: 'object', properties: {}, additionalProperties: false } }),
  tools('an unknown field of a tool', { rest: { vendor_field: 1 } }),
  change(
    'a custom tool',
    (request) => ({
      ...request,
      tools: [...request.tools, { kind: 'custom', name: 'patch', description: 'd', format: undefined, rest: NO_REST }],
    }),
    'tools',
  ),
  change(
    'a hosted tool',
    (request) => ({ ...request, tools: [...request.tools, { kind: 'hosted', dialect: 'openai-chat', value: { type: 'web_search' } }] }),
    'tools',
  ),
  said('an unknown field of a part', { user: text('more', { rest: { vendor_field: 1 } }) }),
  said('an unknown field of a call', { call: { rest: { vendor_field: 1 } } }),
  change(
    'an unknown field of a message',
    (request) => ({ ...request, messages: request.messages.map((one) => ({ ...one, rest: { vendor_field: 1 } })) }),
    'messages',
  ),
  said('an image inline', { user: { type: 'image', source: inline('image/png'), detail: undefined, rest: NO_REST } }),
  said('an image in detail', { user: { type: 'image', source: inline('image/png'), detail: 'low', rest: NO_REST } }),
  said('an image by URL', {
    user: { type: 'image', source: { from: 'url', url: 'https://x.example/a.png' }, detail: undefined, rest: NO_REST },
  }),
  said('an image by id', { user: { type: 'image', source: { from: 'id', id: 'file-1' }, detail: undefined, rest: NO_REST } }),
  said('audio', { user: { type: 'audio', source: inline('audio/wav', 'AAAA'), transcript: undefined, rest: NO_REST } }),
  said('video', { user: { type: 'video', source: inline('video/mp4', 'AAAA'), rest: NO_REST } }),
  said('a document', { user: { type: 'file', source: inline('application/pdf', 'JVBERi0='), name: 'a.pdf', rest: NO_REST } }),
  said('a document by id', { user: { type: 'file', source: { from: 'id', id: 'file-1' }, name: undefined, rest: NO_REST } }),
  said('a part that another dialect knows', { user: { type: 'foreign', dialect: 'openai-chat', value: { type: 'odd' } } }),
  said('a refusal', { assistant: { type: 'refusal', text: 'I cannot.' } }),
  said('thinking', { assistant: { type: 'reasoning', text: 'hm', carriers: [] } }),
  said('proved thinking', { assistant: { type: 'reasoning', text: 'hm', carriers: [OWN] } }),
  said('citations', {
    assistant: text('As said.', { citations: [{ url: 'https://x.example', title: 't', start: 0, end: 2, rest: NO_REST }] }),
  }),
  said('a cache breakpoint on a text', { user: text('more', CACHE) }),
  said('a cache breakpoint on a call', { call: CACHE }),
  said('a cache breakpoint on a result', { result: CACHE }),
  said('other arguments', { call: { arguments: '{"city":"Rome"}' } }),
  said('a failed result', { result: { isError: true } }),
  said('an empty result', { result: { parts: [] } }),
  said('an image in a result', {
    result: { parts: [text('see'), { type: 'image', source: inline('image/png'), detail: undefined, rest: NO_REST }] },
  }),
  change(
    'the name of an author',
    (request) => ({ ...request, messages: [...request.messages, message('user', [text('x')], 'Ada')] }),
    'messages',
  ),
  change(
    'a system message in the middle',
    (request) => ({
      ...request,
      messages: [...request.messages, message('system', [text('Now in French.')]), message('user', [text('Go on.')])],
    }),
    'messages',
  ),
  change(
    'a text to be continued',
    (request) => ({ ...request, messages: [...request.messages, message('assistant', [text('It is')])] }),
    'messages',
  ),
];

interface Upstream {
  readonly dialect: Dialect;
  readonly model: string;
  readonly quirks?: readonly Quirk[];
}

const REFUSALS = QUIRK_NAMES.filter((name) => name.startsWith('no_') || ['max_tokens', 'system_role', 'text_content'].includes(name));
const EXTRAS = QUIRK_NAMES.filter((name) => !REFUSALS.includes(name));

const UPSTREAMS: readonly (readonly [string, Upstream])[] = [
  ['a chat model', { dialect: dialectOf('openai-chat'), model: 'gpt-4o' }],
  ['a chat model that thinks', { dialect: dialectOf('openai-chat'), model: 'gpt-5.4' }],
  ['a chat model behind a provider that refuses much', { dialect: dialectOf('openai-chat'), model: 'llama', quirks: REFUSALS }],
  ['a chat model behind a provider that takes more', { dialect: dialectOf('openai-chat'), model: 'x/y', quirks: EXTRAS }],
  ['a Responses model', { dialect: dialectOf('openai-responses'), model: 'gpt-4o' }],
  ['a Responses model that thinks', { dialect: dialectOf('openai-responses'), model: 'gpt-5.4' }],
  ['an older Claude', { dialect: dialectOf('anthropic-messages'), model: 'claude-3-5-sonnet-20241022' }],
  ['a Claude with budgets', { dialect: dialectOf('anthropic-messages'), model: 'claude-sonnet-4-5' }],
  ['a newer Claude', { dialect: dialectOf('anthropic-messages'), model: 'claude-opus-4-8' }],
  ['an older Gemini', { dialect: dialectOf('gemini'), model: 'gemini-2.0-flash' }],
  ['a Gemini with budgets', { dialect: dialectOf('gemini'), model: 'gemini-2.5-flash' }],
  ['a newer Gemini', { dialect: dialectOf('gemini'), model: 'gemini-3.1-pro' }],
];

/** What an upstream is told and a client is told of it; or the refusal. Gemini's stream is a matter of the path. */
function told({ dialect, model, quirks = [] }: Upstream, request: Request): string {
  try {
    const capabilities = ['tools', 'vision', 'json_schema', 'reasoning'];
    const { body, losses } = dialect.encodeRequest(request, {
      model,
      maxOutputTokens: undefined,
      modelMaxOutputTokens: 16_000,
      capabilities,
      quirks,
    });
    for (const { name } of losses) expect(LOSSES[name].to, `${name} is lost to ${dialect.name}`).toContain(dialect.name);
    const inPath = dialect.name === 'gemini' && request.stream ? ' as a stream' : '';
    return `${Buffer.concat([...body]).toString()} without ${JSON.stringify(losses)}${inPath}`;
  } catch (error) {
    if (error instanceof GatewayError && error.status === 400) return `400 ${error.message}`;
    throw error;
  }
}

/** A dialect that is not the upstream's, so that nothing goes back to where it came from. */
const clientOf = ({ dialect }: Upstream): Request['dialect'] => (dialect.name === 'openai-responses' ? 'gemini' : 'openai-responses');

/** What an upstream does by itself needs no word, and says the same. */
const SAYS_NOTHING: ReadonlySet<string> = new Set(['effort none', 'off']);

describe.each(UPSTREAMS)('a request to %s', (_name, upstream) => {
  const plain = base(clientOf(upstream));

  it.each(CHANGES.map(({ name, to }) => [name, to] as const))('with %s', (name, to) => {
    const changed = told(upstream, to(plain));
    if (!SAYS_NOTHING.has(name)) expect(changed).not.toBe(told(upstream, plain));
  });

  it('with anything beside anything else', () => {
    fc.assert(
      fc.property(fc.subarray([...CHANGES], { maxLength: 6 }), fc.constantFrom(...CHANGES), (others, one) => {
        const around = others.filter(({ group }) => group !== one.group);
        const distinct = around.filter((other, index) => around.findIndex(({ group }) => group === other.group) === index);
        const before = distinct.reduce((request, { to }) => to(request), plain);
        const refused = told(upstream, before).startsWith('400 ');
        if (!refused && !SAYS_NOTHING.has(one.name)) expect(told(upstream, one.to(before)), one.name).not.toBe(told(upstream, before));
      }),
      { numRuns: 300 },
    );
  });
});
