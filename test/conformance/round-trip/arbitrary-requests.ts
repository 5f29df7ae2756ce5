/** Whole requests in the canonical language, as clients of each dialect make them, for upstreams of each that take them. */
import type {
  ImagePart,
  Message,
  Part,
  ReasoningCarrier,
  Rest,
  Role,
  TextPart,
  ToolCallPart,
  ToolResultPart,
} from '@meridian/data-plane/canonical/message';
import type { Reasoning, Request, ResponseFormat, Sampling } from '@meridian/data-plane/canonical/request';
import type { Tool, ToolChoice } from '@meridian/data-plane/canonical/tool';
import type { DialectName } from '@meridian/domain/dialect';
import fc from 'fast-check';
import { argumentTexts, base64s, callIds, pngs, texts, toolNames, words } from './arbitrary-words.ts';

const NO_REST: Rest = {};
const OTHERS: Rest = { vendor: { x: [1] } };

/** Nothing, most of the time. */
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined, freq: 3 });
const rests: fc.Arbitrary<Rest> = fc.oneof({ weight: 7, arbitrary: fc.constant(NO_REST) }, { weight: 1, arbitrary: fc.constant(OTHERS) });
const cached = fc.oneof(
  { weight: 5, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.constant({ cacheControl: { type: 'ephemeral' } }) },
);

const plain = (text: string): TextPart => ({ type: 'text', text, citations: [], rest: NO_REST });

const spoken: fc.Arbitrary<TextPart> = fc
  .tuple(texts, rests, cached)
  .map(([text, rest, more]): TextPart => ({ ...plain(text), rest, ...more }));

const cited: fc.Arbitrary<TextPart> = words.map(
  (text): TextPart => ({
    ...plain(text),
    citations: [{ url: 'https://a.example/x', title: 'A', start: 0, end: text.length, rest: NO_REST }],
  }),
);

/** In one dialect the detail stands among the other members of a picture, and is what those say. */
const pictures = (client: DialectName): fc.Arbitrary<ImagePart> =>
  fc.tuple(pngs, maybe(fc.constantFrom(...(client === 'gemini' ? [undefined] : ['low', 'high', 'auto'])))).map(
    ([data, detail]): ImagePart => ({
      type: 'image',
      source: { from: 'base64', mediaType: 'image/png', data },
      detail,
      rest: NO_REST,
    }),
  );

const PDF = Buffer.from('%PDF-1.7 ...').toString('base64');

/** Media that an upstream takes from a user. */
function mediaFor(client: DialectName, upstream: DialectName): readonly fc.Arbitrary<Part>[] {
  const documents = maybe(fc.constantFrom('a.pdf', 'Straße.pdf')).map(
    (name): Part => ({ type: 'file', source: { from: 'base64', mediaType: 'application/pdf', data: PDF }, name, rest: NO_REST }),
  );
  const addressed = fc
    .constantFrom('https://x.example/a.png?b=1&c', 'https://x.example/ü.png')
    .map((url): Part => ({ type: 'image', source: { from: 'url', url }, detail: undefined, rest: NO_REST }));
  const sounds = base64s.map(
    (data): Part => ({ type: 'audio', source: { from: 'base64', mediaType: 'audio/wav', data }, transcript: undefined, rest: NO_REST }),
  );
  return [
    pictures(client),
    documents,
    ...(upstream === 'gemini' ? [] : [addressed]),
    ...(upstream === 'anthropic-messages' ? [] : [sounds]),
  ];
}

/** Proofs of a dialect, as its own upstreams give them. */
function proofs(dialect: DialectName): fc.Arbitrary<ReasoningCarrier> {
  return base64s.map((data): ReasoningCarrier => {
    switch (dialect) {
      case 'openai-chat':
        return { dialect, value: [{ type: 'reasoning.encrypted', data, index: 0 }] };
      case 'openai-responses':
        return { dialect, value: { id: 'rs_1', encrypted_content: `gAAAA${data}` } };
      case 'anthropic-messages':
        return { dialect, value: { type: 'thinking', signature: `Er${data}` } };
      case 'gemini':
        return { dialect, value: data };
      default:
        return dialect satisfies never;
    }
  });
}

/** A turn of the model, whose calls are answered right behind it. */
interface Turn {
  readonly said: readonly Part[];
  readonly calls: readonly { readonly call: ToolCallPart; readonly result: Omit<ToolResultPart, 'callId'> }[];
  readonly rest: Rest;
}

function turns(client: DialectName, upstream: DialectName, tools: readonly Tool[]): fc.Arbitrary<Turn> {
  const thinking = fc
    .tuple(
      words,
      fc.oneof(
        fc.constant([]),
        proofs(upstream).map((one) => [one]),
        proofs('openai-chat').map((one) => [one]),
      ),
    )
    .map(([text, carriers]): Part => ({ type: 'reasoning', text, carriers }));
  const said = fc.oneof(
    { weight: 4, arbitrary: spoken as fc.Arbitrary<Part> },
    { weight: 1, arbitrary: cited as fc.Arbitrary<Part> },
    { weight: 2, arbitrary: thinking },
    { weight: 1, arbitrary: words.map((text): Part => ({ type: 'refusal', text })) },
  );
  const functions = tools.filter((tool) => tool.kind !== 'hosted');
  const called = functions.length === 0 ? toolNames.map((name) => ({ name, kind: 'function' as const })) : fc.constantFrom(...functions);
  const calls = fc
    .tuple(callIds, called, argumentTexts, texts, rests, cached)
    .map(([id, { name, kind }, args, input, rest, more]): ToolCallPart => {
      return { type: 'tool_call', id, name, arguments: kind === 'custom' ? input : args, kind, rest, ...more };
    });
  const results = fc
    .record({
      parts: fc.array(
        fc.oneof({ weight: 4, arbitrary: spoken as fc.Arbitrary<Part> }, { weight: 1, arbitrary: pictures(client) as fc.Arbitrary<Part> }),
        {
          maxLength: 3,
        },
      ),
      isError: fc.boolean(),
      more: cached,
    })
    .map(({ parts, isError, more }): Omit<ToolResultPart, 'callId'> => ({ type: 'tool_result', parts, isError, ...more }));
  return fc.record({
    // Thinking that more thinking follows is one block with it.
    said: fc
      .array(said, { maxLength: 3 })
      .map((list) => list.filter((part, index) => part.type !== 'reasoning' || list[index + 1]?.type !== 'reasoning')),
    calls: fc.array(fc.record({ call: calls, result: results }), { maxLength: 3 }),
    rest: rests,
  });
}

const message = (role: Role, parts: readonly Part[], more: Partial<Message> = {}): Message => ({
  role,
  parts,
  name: undefined,
  rest: NO_REST,
  ...more,
});

function conversations(client: DialectName, upstream: DialectName, tools: readonly Tool[]): fc.Arbitrary<readonly Message[]> {
  const asked = fc
    .record({
      parts: fc.array(
        fc.oneof(
          { weight: 3, arbitrary: spoken as fc.Arbitrary<Part> },
          ...mediaFor(client, upstream).map((arbitrary) => ({ weight: 1, arbitrary })),
        ),
        {
          maxLength: 3,
        },
      ),
      name: maybe(fc.constantFrom('Ada', 'Grace')),
      rest: rests,
    })
    .map(({ parts, ...more }) => [message('user', parts, more)]);
  const ruled = fc
    .record({ role: fc.constantFrom<Role>('system', 'developer'), parts: fc.array(spoken, { minLength: 1, maxLength: 2 }) })
    .map(({ role, parts }) => [message(role, parts)]);
  const answered = turns(client, upstream, tools).map(({ said, calls, rest }) => [
    message('assistant', [...said, ...calls.map(({ call }) => call)], { rest }),
    ...calls.map(({ call, result }) => message('tool', [{ ...result, callId: call.id }])),
  ]);
  const pieces = fc.array(
    fc.oneof({ weight: 3, arbitrary: asked }, { weight: 1, arbitrary: ruled }, { weight: 3, arbitrary: answered as typeof asked }),
    { maxLength: 5 },
  );
  return fc
    .tuple(maybe(ruled), words, pieces)
    .map(([rule, hello, rest]) => withOwnIds([...(rule ?? []), message('user', [plain(hello)]), ...rest.flat()]));
}

/** Each call with an id of its own, and its result with the same. */
function withOwnIds(messages: readonly Message[]): readonly Message[] {
  let calls = 0;
  let results = 0;
  return messages.map((one) => ({
    ...one,
    parts: one.parts.map((part) => {
      if (part.type === 'tool_call') return { ...part, id: `${part.id}_${calls++}` };
      return part.type === 'tool_result' ? { ...part, callId: `${part.callId}_${results++}` } : part;
    }),
  }));
}

const schemas: fc.Arbitrary<Rest> = fc
  .record({
    type: fc.constant('object'),
    properties: fc
      .array(fc.tuple(fc.constantFrom('city', 'a b', 'é'), fc.constantFrom({ type: 'string' }, { type: 'integer', description: 'n' })), {
        maxLength: 2,
      })
      .map((entries) => Object.fromEntries(entries)),
    additionalProperties: fc.constant(false),
  })
  .map((schema) => ({ ...schema, required: Object.keys(schema.properties) }));

const tools: fc.Arbitrary<readonly Tool[]> = fc.uniqueArray(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .record({ name: toolNames, description: maybe(words), parameters: maybe(schemas), strict: maybe(fc.boolean()), rest: rests })
        .map((tool): Tool => ({ kind: 'function', ...tool })),
    },
    {
      weight: 1,
      arbitrary: fc
        .record({
          name: toolNames,
          description: maybe(words),
          format: fc.constantFrom(undefined, { type: 'grammar', grammar: { syntax: 'lark', definition: 'start: "a"' } }),
          rest: rests,
        })
        .map((tool): Tool => ({ kind: 'custom', ...tool })),
    },
  ),
  { maxLength: 3, selector: (tool) => (tool.kind === 'hosted' ? '' : tool.name) },
);

function choicesOf(known: readonly Tool[]): fc.Arbitrary<ToolChoice | undefined> {
  const named = known.flatMap((tool): ToolChoice[] => (tool.kind === 'hosted' ? [] : [{ type: 'tool', name: tool.name, kind: tool.kind }]));
  return maybe(fc.constantFrom<ToolChoice>({ type: 'auto' }, { type: 'none' }, { type: 'required' }, ...named));
}

const samplings: fc.Arbitrary<Sampling> = fc.record({
  temperature: maybe(fc.constantFrom(0, 0.3, 1, 1.7)),
  topP: maybe(fc.constantFrom(0, 0.5, 0.99, 1)),
  topK: maybe(fc.constantFrom(1, 40)),
  seed: maybe(fc.constantFrom(0, -7, 2_147_483_647)),
  frequencyPenalty: maybe(fc.constantFrom(0, -1.5, 2)),
  presencePenalty: maybe(fc.constantFrom(0, 0.25)),
});

const formats: fc.Arbitrary<ResponseFormat> = fc.oneof(
  fc.constantFrom<ResponseFormat>({ type: 'text' }, { type: 'json_object' }),
  fc
    .record({ name: toolNames, schema: schemas, strict: maybe(fc.boolean()), description: maybe(words) })
    .map((format): ResponseFormat => ({ type: 'json_schema', ...format })),
);

const thinkings: fc.Arbitrary<Reasoning> = fc
  .record({
    effort: fc.constantFrom(undefined, 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'),
    budgetTokens: fc.constantFrom(undefined, 1_024, 5_000, 60_000),
    mode: fc.constantFrom(undefined, 'adaptive' as const, 'off' as const),
    show: fc.constantFrom(undefined, 'auto', 'none'),
  })
  .map(
    ({ effort, budgetTokens, mode, show }): Reasoning => ({
      effort,
      budgetTokens,
      ...(mode === undefined ? {} : { mode }),
      ...(show === undefined ? {} : { show }),
    }),
  );

/** What a protocol has no place for at all is refused: those are left out. */
export function requests(client: DialectName, upstream: DialectName): fc.Arbitrary<Request> {
  const hasSeveral = upstream === 'openai-chat' || upstream === 'gemini';
  // Two dialects have functions only, and one of them says with the choice, of all of them, that they are strict.
  const hasCustom = client === 'openai-chat' || client === 'openai-responses';
  const told = tools.map((list) =>
    list
      .filter(({ kind }) => hasCustom || kind === 'function')
      .map((tool) => (client === 'gemini' ? ({ ...tool, strict: undefined } as Tool) : tool)),
  );
  return told.chain((known) =>
    fc
      .record({
        messages: conversations(client, upstream, known),
        toolChoice: choicesOf(known),
        parallelToolCalls: maybe(fc.boolean()),
        stream: fc.boolean(),
        maxOutputTokens: maybe(fc.constantFrom(1_024, 64_000)),
        sampling: samplings,
        stop: upstream === 'openai-responses' ? fc.constant([]) : fc.array(fc.constantFrom('END', ' ', '\n', '###', 'é'), { maxLength: 5 }),
        choices: hasSeveral ? fc.constantFrom(1, 1, 3) : fc.constant(1),
        logprobs: maybe(fc.record({ top: maybe(fc.constantFrom(0, 5)) })),
        format: maybe(formats),
        reasoning: maybe(thinkings),
        serviceTier: fc.constantFrom<Request['serviceTier']>('standard', 'standard', 'priority', 'flex'),
        user: maybe(fc.constantFrom('u-1', 'ü', 'x'.repeat(600))),
        more: fc.record({
          promptCacheKey: maybe(words),
          verbosity: maybe(fc.constantFrom('low', 'high')),
          logitBias: maybe(fc.constant({ 50256: -100 })),
          outputModalities: maybe(fc.constant(['text'])),
          imageOutput: maybe(fc.constant({ aspectRatio: '16:9', size: '2K' })),
          metadata: maybe(fc.constant({ label: 'ü' })),
        }),
        rest: rests,
      })
      .map(
        ({ more, ...request }): Request => ({
          dialect: client,
          model: 'asked',
          tools: known,
          wantsStreamUsage: request.stream,
          ...request,
          ...Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined)),
        }),
      ),
  );
}
