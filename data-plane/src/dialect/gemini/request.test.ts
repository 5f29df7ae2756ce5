import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { packCallId } from '../../canonical/call-id.ts';
import { packCarrier } from '../../canonical/carrier.ts';
import type { Message, Part } from '../../canonical/message.ts';
import type { Request } from '../../canonical/request.ts';
import { decodeRequest, encodeRequest } from './request.ts';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const JPEG = '/9j/4AAQSkZJRgABAQEAYABgAAD/2wBD';

const decode = (body: object): Request =>
  decodeRequest(Buffer.from(JSON.stringify(body)), { model: 'gemini-3-flash-preview', stream: false });
const user = (...parts: object[]): object => ({ role: 'user', parts });
const model = (...parts: object[]): object => ({ role: 'model', parts });

const text = (value: string): Part => ({ type: 'text', text: value, citations: [], rest: {} });
const message = (role: Message['role'], ...parts: Part[]): Message => ({ role, parts, name: undefined, rest: {} });
const call = (id: string, name: string, more: object = {}): Part => ({
  type: 'tool_call',
  id,
  name,
  arguments: '{"a":1}',
  kind: 'function',
  rest: {},
  ...more,
});
const result = (callId: string, ...parts: Part[]): Message => message('tool', { type: 'tool_result', callId, parts, isError: false });

const ASKED: Request = {
  dialect: 'openai-chat',
  model: 'asked',
  messages: [message('user', text('Hi'))],
  tools: [],
  toolChoice: undefined,
  parallelToolCalls: undefined,
  stream: false,
  wantsStreamUsage: false,
  maxOutputTokens: undefined,
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
  rest: {},
};
const WEATHER: Request['tools'][number] = {
  kind: 'function',
  name: 'weather',
  description: 'Looks',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, additionalProperties: false },
  strict: undefined,
  rest: {},
};

interface Written {
  readonly contents: { readonly role: string; readonly parts: Record<string, unknown>[] }[];
  readonly systemInstruction?: unknown;
  readonly tools?: Record<string, unknown>[];
  readonly toolConfig?: unknown;
  readonly generationConfig?: Record<string, unknown>;
  readonly [name: string]: unknown;
}

function encode(request: Partial<Request>, upstream = 'gemini-3-flash-preview'): { body: Written; losses: string[] } {
  const terms = { model: upstream, maxOutputTokens: undefined, modelMaxOutputTokens: undefined, capabilities: [] };
  const { body, losses } = encodeRequest({ ...ASKED, ...request }, terms);
  return {
    body: JSON.parse(Buffer.concat([...body]).toString()),
    losses: losses.map(({ name, at }) => (at === undefined ? name : `${name}(${at})`)),
  };
}

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof GatewayError && error.status === 400) return `${error.param}: ${error.message}`;
    throw error;
  }
  throw new Error('It was not refused.');
}

describe('a request that is read', () => {
  it('has its settings under the names of everybody', () => {
    const request = decode({
      contents: [user({ text: 'Hi' })],
      system_instruction: { parts: [{ text: 'Be brief.' }] },
      generationConfig: {
        temperature: 0.5,
        top_p: 0.9,
        topK: 40,
        seed: '7',
        frequencyPenalty: 0.1,
        presencePenalty: 0.2,
        stopSequences: ['END'],
        maxOutputTokens: 100,
        candidateCount: 2,
        responseLogprobs: true,
        logprobs: 3,
        responseMimeType: 'application/json',
        responseSchema: { type: 'OBJECT', properties: { n: { type: 'INTEGER', nullable: true } }, required: ['n'] },
        responseModalities: ['TEXT', 'IMAGE'],
        imageConfig: { aspectRatio: '16:9', imageSize: '2K' },
        thinkingConfig: { thinkingLevel: 'LOW', includeThoughts: true },
        speechConfig: { voice: 'x' },
      },
      safetySettings: [{ category: 'HARM_CATEGORY_HARASSMENT', threshold: 'OFF' }],
    });
    expect(request).toMatchObject({
      model: 'gemini-3-flash-preview',
      messages: [
        { role: 'system', parts: [{ text: 'Be brief.' }] },
        { role: 'user', parts: [{ text: 'Hi' }] },
      ],
      maxOutputTokens: 100,
      choices: 2,
      sampling: { temperature: 0.5, topP: 0.9, topK: 40, seed: 7, frequencyPenalty: 0.1, presencePenalty: 0.2 },
      stop: ['END'],
      logprobs: { top: 3 },
      format: {
        type: 'json_schema',
        name: 'answer',
        schema: { type: 'object', properties: { n: { type: ['integer', 'null'] } }, required: ['n'] },
      },
      outputModalities: ['text', 'image'],
      imageOutput: { aspectRatio: '16:9', size: '2K' },
      reasoning: { effort: 'low', show: 'auto' },
    });
    expect(Object.keys(request.rest)).toEqual(['safetySettings', 'generationConfig.speechConfig']);
  });

  it.each([
    [{ thinkingBudget: 0 }, { effort: undefined, budgetTokens: undefined, mode: 'off', show: 'none' }],
    [{ thinkingBudget: -1 }, { effort: undefined, budgetTokens: undefined, mode: 'adaptive', show: 'none' }],
    [
      { thinking_budget: 512, include_thoughts: false },
      { effort: undefined, budgetTokens: 512, show: 'none' },
    ],
    [{}, undefined],
  ])('thinks by %j', (thinkingConfig, reasoning) => {
    expect(decode({ contents: [user({ text: 'a' })], generationConfig: { thinkingConfig } }).reasoning).toEqual(reasoning);
  });

  it('pairs results without ids with the calls of their function, in order, and gives each call an id that stays', () => {
    const turn = model(
      { functionCall: { name: 'f', args: { n: 1 } }, thoughtSignature: 'c2ln' },
      { functionCall: { name: 'g' } },
      { functionCall: { name: 'f', args: { n: 2 } } },
    );
    const answers = user(
      { functionResponse: { name: 'f', response: { result: 'one' } } },
      { functionResponse: { name: 'g', response: { error: 'no' } } },
      { functionResponse: { name: 'f', response: { a: 1 } } },
    );
    const { messages } = decode({ contents: [user({ text: 'Go' }), turn, answers] });
    const calls = messages[1]?.parts.filter((part) => part.type === 'tool_call') ?? [];
    expect(new Set(calls.map(({ id }) => id)).size).toBe(3);
    expect(calls[0]?.carriers).toEqual([{ dialect: 'gemini', value: 'c2ln' }]);
    expect(calls[1]?.arguments).toBe('{}');
    expect(messages[2]?.role).toBe('tool');
    expect(messages[2]?.parts).toMatchObject([
      { callId: calls[0]?.id, isError: false, parts: [{ text: 'one' }], json: { result: 'one' } },
      { callId: calls[1]?.id, isError: true, parts: [{ text: 'no' }] },
      { callId: calls[2]?.id, isError: false, parts: [{ text: '{"a":1}' }] },
    ]);
    const later = decode({ contents: [user({ text: 'Go' }), turn, answers, model({ text: 'ok' }), user({ text: 'more' })] });
    expect(later.messages.slice(0, 3)).toEqual(messages);
  });

  it('pairs results without ids by their function where they come in another order', () => {
    const { messages } = decode({
      contents: [
        user({ text: 'Go' }),
        model({ functionCall: { name: 'f' } }, { functionCall: { name: 'g' } }),
        user({ functionResponse: { name: 'g', response: {} } }, { functionResponse: { name: 'f', response: {} } }),
      ],
    });
    const [f, g] = messages[1]?.parts.flatMap((part) => (part.type === 'tool_call' ? [part.id] : [])) ?? [];
    expect(messages[2]?.parts.flatMap((part) => (part.type === 'tool_result' ? [part.callId] : []))).toEqual([g, f]);
  });

  it('pairs results by their ids, whatever their order, and unpacks ids of ours', () => {
    const carriers = [{ dialect: 'anthropic-messages', value: 'x' }] as const;
    const packed = packCallId('', { id: 'functions.f:0', carriers });
    const { messages } = decode({
      contents: [
        user({ text: 'Go' }),
        model({ functionCall: { id: packed, name: 'f', args: {} } }, { functionCall: { id: 'toolu_2', name: 'f', args: {} } }),
        user(
          { functionResponse: { id: 'toolu_2', name: 'f', response: {} } },
          { functionResponse: { id: packed, name: 'f', response: {} } },
        ),
      ],
    });
    expect(messages[1]?.parts).toMatchObject([{ id: 'functions.f:0', carriers }, { id: 'toolu_2' }]);
    expect(messages[2]?.parts).toMatchObject([{ callId: 'toolu_2' }, { callId: 'functions.f:0' }]);
  });

  it('refuses a response that no call waits for', () => {
    const response = { functionResponse: { name: 'f', response: {} } };
    expect(refusal(() => decode({ contents: [user(response)] }))).toContain('contents[0]');
    const twice = [user({ text: 'a' }), model({ functionCall: { name: 'f' } }), user(response, response)];
    expect(refusal(() => decode({ contents: twice }))).toContain('contents[2]');
  });

  it('reads media, in either alphabet of base64', () => {
    const { messages } = decode({
      contents: [
        user(
          { inlineData: { mimeType: 'image/png', data: 'ab-_' } },
          { inline_data: { mime_type: 'audio/wav', data: 'AAAA' } },
          { fileData: { fileUri: 'gs://a/b.pdf', mimeType: 'application/pdf' } },
          { fileData: { fileUri: 'https://a.example/b.mp4', mimeType: 'video/mp4' } },
        ),
      ],
    });
    expect(messages[0]?.parts).toMatchObject([
      { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: 'ab+/' } },
      { type: 'audio', source: { from: 'base64', mediaType: 'audio/wav' } },
      { type: 'file', source: { from: 'id', id: 'gs://a/b.pdf' } },
      { type: 'video', source: { from: 'url', url: 'https://a.example/b.mp4' } },
    ]);
  });

  it('reads tools in both forms, and those that Google runs', () => {
    const { tools } = decode({
      contents: [user({ text: 'a' })],
      tools: [
        {
          functionDeclarations: [
            { name: 'a', parameters: { type: 'OBJECT', properties: { x: { type: 'STRING' } } } },
            { name: 'b', parametersJsonSchema: { type: 'object' } },
            { name: 'c' },
          ],
        },
        { google_search: {} },
      ],
    });
    expect(tools).toMatchObject([
      { kind: 'function', name: 'a', parameters: { type: 'object', properties: { x: { type: 'string' } } } },
      { kind: 'function', name: 'b', parameters: { type: 'object' } },
      { kind: 'function', name: 'c', parameters: undefined },
      { kind: 'hosted', dialect: 'gemini', value: { type: 'googleSearch', googleSearch: {} } },
    ]);
  });

  it.each([
    [{ mode: 'AUTO' }, { type: 'auto' }, 2],
    [{ mode: 'none' }, { type: 'none' }, 2],
    [{ mode: 'ANY' }, { type: 'required' }, 2],
    [{ mode: 'ANY', allowedFunctionNames: ['a'] }, { type: 'tool', name: 'a', kind: 'function' }, 2],
    [{ mode: 'ANY', allowed_function_names: ['a', 'x'] }, { type: 'required' }, 1],
    [{ mode: 'VALIDATED' }, { type: 'auto' }, 2],
    [{}, undefined, 2],
  ])('chooses a tool by %j', (functionCallingConfig, choice, count) => {
    const tools = [{ functionDeclarations: [{ name: 'a' }, { name: 'b' }] }];
    const request = decode({ contents: [user({ text: 'a' })], tools, toolConfig: { functionCallingConfig } });
    expect(request.toolChoice).toEqual(choice);
    expect(request.tools).toHaveLength(count);
    const isValidated = JSON.stringify(functionCallingConfig).includes('VALIDATED');
    expect(request.tools.every((tool) => tool.kind === 'function' && tool.strict === true)).toBe(isValidated);
  });

  it('refuses roles and modes that are none', () => {
    expect(refusal(() => decode({ contents: [{ role: 'system', parts: [] }] }))).toContain('contents[0].role');
    expect(refusal(() => decode({ contents: [user({ text: 'a' })], toolConfig: { functionCallingConfig: { mode: 'SOME' } } }))).toContain(
      'mode',
    );
  });

  it('comes back as it was, where it is written for Gemini again', () => {
    const body = {
      systemInstruction: { parts: [{ text: 'Be brief.' }] },
      contents: [
        user({ text: 'Look' }, { inlineData: { mimeType: 'image/png', data: PNG } }),
        model(
          { text: 'Hm', thought: true },
          { text: 'Now', thoughtSignature: 'c2ln' },
          { functionCall: { id: 'x', name: 'my.tool', args: { a: [1] } }, thoughtSignature: 'c2lo' },
        ),
        user({ functionResponse: { id: 'x', name: 'my.tool', response: { deep: { b: 2 } } } }),
        model({ executableCode: { language: 'PYTHON', code: '1' } }, { text: '', thoughtSignature: 'c2lp' }, { text: 'Done.' }),
        user({ text: 'Go on' }),
      ],
      tools: [
        {
          functionDeclarations: [
            { name: 'my.tool', description: 'd', behavior: 'BLOCKING', parametersJsonSchema: { type: 'object', properties: { a: {} } } },
          ],
        },
        { googleSearch: {} },
      ],
      toolConfig: { retrievalConfig: { languageCode: 'de' }, functionCallingConfig: { mode: 'ANY' } },
      generationConfig: {
        temperature: 1,
        thinkingConfig: { thinkingLevel: 'LOW', includeThoughts: true },
        speechConfig: { a: 1 },
        responseJsonSchema: { type: 'object' },
        responseMimeType: 'application/json',
      },
      safetySettings: [{ category: 'A', threshold: 'OFF' }],
      labels: { team: 'a' },
    };
    const { body: again, losses } = encode(decode(body));
    expect(losses).toEqual([]);
    expect(again).toEqual(body);
  });
});

describe('a request that is written', () => {
  it('puts all instructions of the system in front, and the turns of one side together', () => {
    const { body, losses } = encode({
      messages: [
        message('system', text('One.')),
        message('user', text('a')),
        message('user', text('b'), text('')),
        message('assistant', text('')),
        message('developer', text('Two.')),
        message('user', text('c')),
      ],
    });
    expect(body.systemInstruction).toEqual({ parts: [{ text: 'One.' }, { text: 'Two.' }] });
    expect(body.contents).toEqual([{ role: 'user', parts: [{ text: 'a' }, { text: 'b' }, { text: 'c' }] }]);
    expect(losses).toEqual([]);
    expect(encode({ messages: [message('system', text('Alone.'))] }).body).toEqual({
      contents: [{ role: 'user', parts: [{ text: 'Alone.' }] }],
    });
  });

  it('answers all calls of a turn in one content, names from the history', () => {
    const { body } = encode(
      {
        messages: [
          message('user', text('Go')),
          message('assistant', call('1', 'f'), call('2', 'g')),
          result('1', text('one')),
          message('tool', { type: 'tool_result', callId: '2', parts: [text('bad')], isError: true }),
          message('user', text('and?')),
        ],
      },
      'gemini-2.5-pro',
    );
    expect(body.contents[2]).toEqual({
      role: 'user',
      parts: [
        { functionResponse: { id: '1', name: 'f', response: { output: 'one' } } },
        { functionResponse: { id: '2', name: 'g', response: { error: 'bad' } } },
        { text: 'and?' },
      ],
    });
  });

  it.each([
    ['', { output: '' }],
    ['{"a":1}', { a: 1 }],
    ['{broken', { output: '{broken' }],
    ['[1]', { output: '[1]' }],
  ])('makes an object of the result %j', (shown, response) => {
    const messages = [
      message('user', text('Go')),
      message('assistant', call('1', 'f')),
      result('1', ...(shown === '' ? [] : [text(shown)])),
    ];
    expect(encode({ messages }).body.contents[2]?.parts[0]).toEqual({ functionResponse: { id: '1', name: 'f', response } });
  });

  it('puts pictures into results where the model takes them there, and behind all results elsewhere', () => {
    const image: Part = { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: PNG }, detail: undefined, rest: {} };
    const messages = [
      message('user', text('Go')),
      message('assistant', call('1', 'f'), call('2', 'f')),
      result('1', image),
      result('2', text('b')),
    ];
    const inlineData = { mimeType: 'image/png', data: PNG };
    expect(encode({ messages }).body.contents[2]?.parts[0]).toMatchObject({ functionResponse: { parts: [{ inlineData }] } });
    const older = encode({ messages }, 'gemini-2.5-flash').body.contents[2]?.parts ?? [];
    expect(older.map((part) => Object.keys(part)[0])).toEqual(['functionResponse', 'functionResponse', 'inlineData']);
  });

  it('gives signatures back, and a stand-in to models that refuse a turn without one', () => {
    const carriers = [{ dialect: 'gemini', value: 'c2ln' }] as const;
    const turn = (...parts: Part[]): Message[] => [message('user', text('Go')), message('assistant', ...parts), result('1'), result('2')];
    const signatures = (messages: Message[], upstream?: string): unknown[] =>
      (encode({ messages }, upstream).body.contents[1]?.parts ?? []).map(({ thoughtSignature }) => thoughtSignature);
    expect(signatures(turn(call('1', 'f', { carriers }), call('2', 'g')))).toEqual(['c2ln', undefined]);
    expect(signatures(turn(call('1', 'f'), call('2', 'g')))).toEqual(['skip_thought_signature_validator', undefined]);
    expect(signatures(turn(call('1', 'f'), call('2', 'g')), 'gemini-2.5-pro')).toEqual([undefined, undefined]);
    expect(signatures(turn(call('1', 'f', { carriers: [{ dialect: 'anthropic-messages', value: 'x' }] }), call('2', 'g')))).toEqual([
      'skip_thought_signature_validator',
      undefined,
    ]);
  });

  it('has the thinking beside a signed call for its own, though a client of another protocol brought it back', () => {
    const thought: Part = { type: 'reasoning', text: 'mine', carriers: [] };
    const call: Part = {
      type: 'tool_call',
      id: 'c1',
      name: 'f',
      arguments: '{}',
      kind: 'function',
      carriers: [{ dialect: 'gemini', value: 'c2ln' }],
      rest: {},
    };
    const result: Part = { type: 'tool_result', callId: 'c1', parts: [], isError: false };
    const turns = (...parts: Part[]): Request['messages'] => [
      { role: 'assistant', parts, name: undefined, rest: {} },
      { role: 'tool', parts: [result], name: undefined, rest: {} },
    ];
    const own = encode({ messages: turns(thought, call) });
    expect(own.losses).toEqual([]);
    expect(own.body.contents[0]?.parts[0]).toEqual({ text: 'mine', thought: true });
    const { carriers: _, ...unsigned } = call;
    expect(encode({ messages: turns(thought, unsigned) }).losses).toEqual(['reasoning']);
  });

  it('sends thinking back that Gemini has signed, and names what others thought', () => {
    const own: Part = { type: 'reasoning', text: 'mine', carriers: [{ dialect: 'gemini', value: 'c2ln' }] };
    const foreign: Part = { type: 'reasoning', text: 'theirs', carriers: [{ dialect: 'anthropic-messages', value: 'x' }] };
    const alone: Part = { type: 'reasoning', text: '', carriers: [{ dialect: 'gemini', value: 'c2lo' }] };
    const { body, losses } = encode({
      messages: [message('user', text('a')), message('assistant', own, foreign, text('b'), alone), message('user', text('c'))],
    });
    expect(body.contents[1]?.parts).toEqual([
      { text: 'mine', thought: true, thoughtSignature: 'c2ln' },
      { text: 'b', thoughtSignature: 'c2lo' },
    ]);
    expect(losses).toEqual(['reasoning']);
  });

  it('says all settings that Gemini has, and names the others', () => {
    const { body, losses } = encode({
      maxOutputTokens: 9,
      sampling: { temperature: 1, topP: 0.5, topK: 3, seed: 1, frequencyPenalty: 0.1, presencePenalty: 0.2 },
      stop: ['a'],
      choices: 2,
      logprobs: { top: 2 },
      serviceTier: 'flex',
      outputModalities: ['text', 'image'],
      imageOutput: { aspectRatio: '1:1', size: '1K' },
      user: 'u',
      promptCacheKey: 'k',
      verbosity: 'low',
      logitBias: { 1: 2 },
      metadata: { a: 'b' },
      parallelToolCalls: false,
      tools: [{ ...WEATHER, strict: true }],
      rest: { store: true },
    });
    expect(body.generationConfig).toEqual({
      maxOutputTokens: 9,
      candidateCount: 2,
      temperature: 1,
      topP: 0.5,
      topK: 3,
      seed: 1,
      frequencyPenalty: 0.1,
      presencePenalty: 0.2,
      stopSequences: ['a'],
      responseLogprobs: true,
      logprobs: 2,
      responseModalities: ['TEXT', 'IMAGE'],
      imageConfig: { aspectRatio: '1:1', imageSize: '1K' },
    });
    expect(body.serviceTier).toBe('flex');
    expect(losses.toSorted()).toEqual(
      [
        'logit_bias',
        'metadata',
        'parallel_tool_calls',
        'prompt_cache_key',
        'strict_tool(weather)',
        'unknown_field(store)',
        'user',
        'verbosity',
      ].toSorted(),
    );
  });

  it.each([
    [{ effort: 'high', budgetTokens: undefined }, 'gemini-3-flash-preview', { thinkingLevel: 'HIGH', includeThoughts: true }, []],
    [{ effort: 'none', budgetTokens: undefined }, 'gemini-3-flash-preview', { thinkingLevel: 'MINIMAL' }, ['reasoning_effort']],
    [
      { effort: 'medium', budgetTokens: undefined },
      'gemini-3-pro-preview',
      { thinkingLevel: 'HIGH', includeThoughts: true },
      ['reasoning_effort'],
    ],
    [{ effort: 'xhigh', budgetTokens: undefined }, 'gemini-4', { thinkingLevel: 'HIGH', includeThoughts: true }, ['reasoning_effort']],
    [
      { effort: undefined, budgetTokens: 5_000 },
      'gemini-3-flash-preview',
      { thinkingLevel: 'MEDIUM', includeThoughts: true },
      ['reasoning_budget'],
    ],
    [{ effort: undefined, budgetTokens: undefined, mode: 'adaptive' }, 'gemini-3-flash-preview', { includeThoughts: true }, []],
    [{ effort: 'low', budgetTokens: undefined, show: 'none' }, 'gemini-2.5-flash', { thinkingBudget: 1_024 }, []],
    [{ effort: 'none', budgetTokens: undefined }, 'gemini-2.5-flash', { thinkingBudget: 0 }, []],
    [{ effort: 'none', budgetTokens: undefined }, 'gemini-2.5-pro', { thinkingBudget: 128 }, ['reasoning_effort']],
    [{ effort: 'max', budgetTokens: undefined }, 'gemini-2.5-pro', { thinkingBudget: 32_768, includeThoughts: true }, []],
    [{ effort: 'low', budgetTokens: 4_000 }, 'gemini-2.5-pro', { thinkingBudget: 4_000, includeThoughts: true }, []],
    [
      { effort: undefined, budgetTokens: 60_000 },
      'gemini-2.5-flash',
      { thinkingBudget: 24_576, includeThoughts: true },
      ['reasoning_budget'],
    ],
    [
      { effort: undefined, budgetTokens: undefined, mode: 'adaptive' },
      'gemini-2.5-flash',
      { thinkingBudget: -1, includeThoughts: true },
      [],
    ],
    [{ effort: 'high', budgetTokens: undefined }, 'gemini-2.0-flash', undefined, ['reasoning_effort']],
  ] as const)('thinks as asked: %j of %s', (reasoning, upstream, thinkingConfig, losses) => {
    const written = encode({ reasoning }, upstream);
    expect(written.body.generationConfig?.thinkingConfig).toEqual(thinkingConfig);
    expect(written.losses).toEqual(losses);
  });

  it.each([
    [{ type: 'auto' }, { mode: 'AUTO' }],
    [{ type: 'none' }, { mode: 'NONE' }],
    [{ type: 'required' }, { mode: 'ANY' }],
    [
      { type: 'tool', name: 'weather', kind: 'function' },
      { mode: 'ANY', allowedFunctionNames: ['weather'] },
    ],
  ] as const)('chooses tools: %j', (toolChoice, functionCallingConfig) => {
    const { body } = encode({ tools: [WEATHER], toolChoice });
    expect(body.toolConfig).toEqual({ functionCallingConfig });
    expect(encode({ toolChoice }).body.toolConfig).toBeUndefined();
  });

  it('gives tools their schemas in the form that the model takes, and none to a tool without arguments', () => {
    const bare = { ...WEATHER, name: 'now', parameters: { type: 'object', properties: {} } };
    const free: Request['tools'][number] = {
      kind: 'custom',
      name: 'patch',
      description: 'Patches',
      format: { type: 'grammar', syntax: 'lark', definition: 'start: "a"' },
      rest: {},
    };
    const newer = encode({ tools: [WEATHER, bare, free] });
    const functions = newer.body.tools?.[0]?.functionDeclarations as Record<string, unknown>[];
    expect(functions.slice(0, 2)).toEqual([
      { name: 'weather', description: 'Looks', parametersJsonSchema: WEATHER.kind === 'function' ? WEATHER.parameters : undefined },
      { name: 'now', description: 'Looks' },
    ]);
    expect(functions[2]).toMatchObject({
      name: 'patch',
      description: expect.stringContaining('start: "a"'),
      parametersJsonSchema: { required: ['input'] },
    });
    expect(newer.losses).toEqual(['tool_grammar(patch)']);
    const older = encode({ tools: [WEATHER] }, 'gemini-1.5-pro');
    expect(older.body.tools).toEqual([
      {
        functionDeclarations: [
          { name: 'weather', description: 'Looks', parameters: { type: 'OBJECT', properties: { city: { type: 'STRING' } } } },
        ],
      },
    ]);
    expect(older.losses).toEqual(['schema_keyword(weather:additionalProperties)']);
  });

  it('shortens names that Gemini does not take, in the same way everywhere', () => {
    const name = `${'long'.repeat(20)}.tool`;
    const { body } = encode({
      tools: [{ ...WEATHER, name }],
      toolChoice: { type: 'tool', name, kind: 'function' },
      messages: [message('user', text('a')), message('assistant', call('1', name)), result('1')],
    });
    const [declared] = (body.tools?.[0]?.functionDeclarations ?? []) as { name: string }[];
    expect(declared?.name).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    expect(JSON.stringify(body)).not.toContain(name);
    expect(JSON.stringify(body).split(declared?.name ?? '')).toHaveLength(5);
  });

  it('writes formats, and refuses one beside tools where the model has only one at a time', () => {
    const schema = { type: 'object', properties: { a: { $ref: '#/$defs/A' } }, $defs: { A: { type: ['string', 'null'], const: 'x' } } };
    const format = { type: 'json_schema', name: 'n', schema, strict: true, description: 'What' } as const;
    expect(encode({ format }).body.generationConfig).toEqual({
      responseMimeType: 'application/json',
      responseJsonSchema: { ...schema, description: 'What' },
    });
    expect(encode({ format }, 'gemini-1.5-pro').body.generationConfig).toEqual({
      responseMimeType: 'application/json',
      responseSchema: { description: 'What', type: 'OBJECT', properties: { a: { type: 'STRING', nullable: true, enum: ['x'] } } },
    });
    expect(encode({ format: { type: 'json_object' } }).body.generationConfig).toEqual({ responseMimeType: 'application/json' });
    expect(encode({ format, tools: [WEATHER] }).body.generationConfig?.responseJsonSchema).toBeDefined();
    expect(refusal(() => encode({ format, tools: [WEATHER] }, 'gemini-2.5-pro'))).toContain('response_format');
  });

  it('sends media inline, their types as the bytes say', () => {
    const image = (mediaType: string, data: string): Part => ({
      type: 'image',
      source: { from: 'base64', mediaType, data },
      detail: undefined,
      rest: {},
    });
    const parts: Part[] = [
      image('image/png', JPEG),
      {
        type: 'file',
        source: { from: 'base64', mediaType: '', data: Buffer.from('%PDF-1.7 x').toString('base64') },
        name: 'a.pdf',
        rest: {},
      },
      { type: 'audio', source: { from: 'base64', mediaType: 'audio/mp3', data: 'AAAA' }, transcript: undefined, rest: {} },
      { type: 'video', source: { from: 'url', url: 'https://www.youtube.com/watch?v=1' }, rest: {} },
      { type: 'file', source: { from: 'id', id: 'gs://a/b.pdf' }, name: undefined, rest: {} },
      // Admitted by its bytes, it is no document.
      {
        type: 'file',
        source: { from: 'base64', mediaType: 'text/*', data: Buffer.from('%PDF-1.7 x').toString('base64') },
        name: undefined,
        rest: {},
      },
    ];
    const { body, losses } = encode({ messages: [message('user', ...parts)] });
    expect(body.contents[0]?.parts).toMatchObject([
      { inlineData: { mimeType: 'image/jpeg', data: JPEG } },
      { inlineData: { mimeType: 'application/pdf' } },
      { inlineData: { mimeType: 'audio/mp3' } },
      { fileData: { fileUri: 'https://www.youtube.com/watch?v=1' } },
      { fileData: { fileUri: 'gs://a/b.pdf' } },
      { inlineData: { mimeType: 'text/*' } },
    ]);
    expect(losses).toEqual(['file_name']);
  });

  it('refuses what would have to be fetched, and what another provider keeps or runs', () => {
    const of = (source: Extract<Part, { type: 'image' }>['source']): string =>
      refusal(() => encode({ messages: [message('user', { type: 'image', source, detail: undefined, rest: {} })] }));
    expect(of({ from: 'url', url: 'https://a.example/cat.png' })).toContain('https://a.example/cat.png');
    expect(of({ from: 'id', id: 'file-123' })).toContain('file-123');
    const hosted: Request['tools'][number] = { kind: 'hosted', dialect: 'openai-responses', value: { type: 'code_interpreter' } };
    expect(refusal(() => encode({ tools: [hosted] }))).toContain('code_interpreter');
    expect(refusal(() => encode({ stop: ['1', '2', '3', '4', '5', '6'] }))).toContain('stop');
    expect(refusal(() => encode({ choices: 9 }))).toContain('n:');
  });

  it.each<[string, Extract<Part, { type: 'image' }>['source'], string]>([
    ['a film', { from: 'base64', mediaType: 'video/mp4', data: 'AAAA' }, 'video/mp4'],
    ['a document', { from: 'base64', mediaType: 'application/pdf', data: Buffer.from('%PDF-1.7 x').toString('base64') }, 'application/pdf'],
    ['a page of text', { from: 'base64', mediaType: 'text/html', data: 'AAAA' }, 'text/html'],
    ['a film on YouTube', { from: 'url', url: 'https://www.youtube.com/watch?v=1' }, 'https://www.youtube.com/watch?v=1'],
    ['a file of Google’s by its address', { from: 'url', url: 'gs://a/film.mp4' }, 'gs://a/film.mp4'],
    ['a file of Google’s by its id', { from: 'id', id: 'gs://a/film.mp4' }, 'gs://a/film.mp4'],
  ])('sends no %s that another protocol calls a picture, since it was admitted at the price of one', (_, source, named) => {
    const image: Part = { type: 'image', source, detail: undefined, rest: {} };
    const asked = (parts: Part[]): string => refusal(() => encode({ messages: [message('user', ...parts)] }));
    expect(asked([image])).toContain(named);
    expect(refusal(() => encode({ messages: [message('assistant', call('c1', 'f')), result('c1', image)] }))).toContain(named);
  });

  it('asks for the detail of a picture where the model knows it', () => {
    const image: Part = { type: 'image', source: { from: 'base64', mediaType: 'image/png', data: PNG }, detail: 'low', rest: {} };
    expect(encode({ messages: [message('user', image)] }).body.contents[0]?.parts[0]).toMatchObject({
      mediaResolution: { level: 'MEDIA_RESOLUTION_LOW' },
    });
    expect(encode({ messages: [message('user', image)] }, 'gemini-2.5-pro').losses).toEqual(['image_detail(messages[0])']);
  });

  it('names a turn of the model at the end, names of authors, cache marks and parts of others', () => {
    const foreign: Part = { type: 'foreign', dialect: 'anthropic-messages', value: { type: 'server_tool_use' } };
    const marked: Part = { type: 'text', text: 'a', citations: [], rest: {}, cacheControl: { type: 'ephemeral' } };
    const { losses } = encode({
      messages: [{ ...message('user', marked, marked), name: 'Ann' }, message('assistant', foreign, text('so'))],
    });
    expect(losses).toEqual(['message_name(messages[0])', 'cache_control', 'unknown_part(messages[1]:foreign)', 'prefill']);
  });

  it('carries no state of other dialects to Gemini', () => {
    const foreign: Part = { type: 'reasoning', text: '', carriers: [{ dialect: 'openai-responses', value: 'secret' }] };
    const { body } = encode({
      messages: [message('user', text('a')), message('assistant', foreign, text('b')), message('user', text('c'))],
    });
    expect(JSON.stringify(body)).not.toContain('secret');
    expect(JSON.stringify(body)).not.toContain(packCarrier({ dialect: 'openai-responses', value: 'secret' }));
  });
});
