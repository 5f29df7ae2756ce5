/**
 * The normal form of canonical requests, dialect by dialect: what a request says when it has been written for an upstream and read again. Each
 * rule says why what it changes means the same there; a difference that no rule names has to be named as a loss by the encoder, and what is
 * named has its rule here, which applies then only.
 */
import { boundedCallId } from '@meridian/data-plane/canonical/call-id';
import { asFunction, grammarOf, inputAsArguments } from '@meridian/data-plane/canonical/custom-tool';
import type { LossName } from '@meridian/data-plane/canonical/loss';
import type { Message, Part, Rest, TextPart, ToolResultPart } from '@meridian/data-plane/canonical/message';
import { nearestEffort } from '@meridian/data-plane/canonical/reasoning-effort';
import type { Request } from '@meridian/data-plane/canonical/request';
import type { Tool } from '@meridian/data-plane/canonical/tool';
import { boundedToolName } from '@meridian/data-plane/canonical/tool-name';
import type { DialectName } from '@meridian/domain/dialect';
import { sameJsonText } from './json-forms.ts';

export interface RequestFormTerms {
  readonly of: DialectName;
  /** What the encoder has named. */
  readonly losses: ReadonlySet<LossName>;
  /** The request came in another dialect. */
  readonly foreign: boolean;
}

interface Rule {
  readonly why: string;
  readonly of?: readonly DialectName[];
  /** Only where the encoder has named it. */
  readonly lost?: LossName;
  /** Only of requests of another dialect. */
  readonly foreign?: true;
  /** Of requests of the same dialect, in these only. */
  readonly own?: readonly DialectName[];
  readonly request?: (request: Request, terms: RequestFormTerms) => Request;
  readonly messages?: (messages: readonly Message[], terms: RequestFormTerms) => readonly Message[];
}

const C = 'openai-chat';
const R = 'openai-responses';
const A = 'anthropic-messages';
const G = 'gemini';

const NO_REST: Rest = {};
const plain = (text: string): TextPart => ({ type: 'text', text, citations: [], rest: NO_REST });
const without =
  (...names: readonly (keyof Request)[]) =>
  (request: Request): Request =>
    ({ ...request, ...Object.fromEntries(names.map((name) => [name, undefined])) }) as Request;
const sampling =
  (name: keyof Request['sampling']) =>
  (request: Request): Request => ({
    ...request,
    sampling: { ...request.sampling, [name]: undefined },
  });

/** Each part of a message, those in results with it. */
const parts =
  (change: (part: Part, message: Message, terms: RequestFormTerms) => Part | readonly Part[]) =>
  (messages: readonly Message[], terms: RequestFormTerms): readonly Message[] =>
    messages.map((message) => ({
      ...message,
      parts: message.parts.flatMap((part): readonly Part[] => {
        const inner: Part =
          part.type === 'tool_result' ? { ...part, parts: part.parts.flatMap((one) => [change(one, message, terms)].flat()) } : part;
        return [change(inner, message, terms)].flat();
      }),
    }));

/** All of the texts of each message, or result, of some roles as one. */
const joinedTexts =
  (role: 'system' | 'assistant' | 'tool', between: (part: ToolResultPart | undefined) => string) =>
  (messages: readonly Message[]): readonly Message[] =>
    messages.map((message) => {
      const isMeant = role === 'system' ? message.role === 'system' || message.role === 'developer' : message.role === role;
      if (!isMeant) return message;
      if (role !== 'tool') return { ...message, parts: withOneText(message.parts, between(undefined)) };
      return {
        ...message,
        parts: message.parts.map((part) =>
          part.type === 'tool_result' ? { ...part, parts: withOneText(part.parts, between(part)) } : part,
        ),
      };
    });

function withOneText(list: readonly Part[], between: string): readonly Part[] {
  const texts = list.filter((part) => part.type === 'text');
  const first = list.findIndex(({ type }) => type === 'text');
  if (texts.length < 2) return list;
  const whole: Part = { ...plain(texts.map(({ text }) => text).join(between)), citations: texts.flatMap(({ citations }) => citations) };
  return list.flatMap((part, index): readonly Part[] => (part.type !== 'text' ? [part] : index === first ? [whole] : []));
}

/** What the encoder does: rules for what goes in. */
export const WRITING_RULES: readonly Rule[] = [
  { why: 'what the system says first is one text', of: [R], messages: instructionsFirst },
  { why: 'the upstream has a name of its own for the model', request: (one) => ({ ...one, model: '' }) },

  // Losses
  {
    why: 'fields that only one dialect knows',
    lost: 'unknown_field',
    request: (one) => ({
      ...one,
      rest: NO_REST,
      tools: one.tools.map((tool) => (tool.kind === 'hosted' ? tool : { ...tool, rest: NO_REST })),
    }),
    messages: (list, terms) =>
      parts((part) => ('rest' in part ? { ...part, rest: NO_REST } : part))(
        list.map((one) => ({ ...one, rest: NO_REST })),
        terms,
      ),
  },
  { why: 'temperature', lost: 'temperature', request: sampling('temperature') },
  { why: 'top_p', lost: 'top_p', request: sampling('topP') },
  { why: 'top_k', lost: 'top_k', request: sampling('topK') },
  { why: 'seed', lost: 'seed', request: sampling('seed') },
  { why: 'frequency_penalty', lost: 'frequency_penalty', request: sampling('frequencyPenalty') },
  { why: 'presence_penalty', lost: 'presence_penalty', request: sampling('presencePenalty') },
  { why: 'logit_bias', lost: 'logit_bias', request: without('logitBias') },
  { why: 'logprobs', lost: 'logprobs', request: without('logprobs') },
  { why: 'verbosity', lost: 'verbosity', request: without('verbosity') },
  { why: 'service_tier', lost: 'service_tier', request: (one) => ({ ...one, serviceTier: 'standard' }) },
  { why: 'prompt_cache_key', lost: 'prompt_cache_key', request: without('promptCacheKey') },
  { why: 'metadata', lost: 'metadata', request: without('metadata') },
  { why: 'user', lost: 'user', request: without('user') },
  { why: 'image_output', lost: 'image_output', request: without('imageOutput') },
  {
    why: 'blank stop sequences',
    of: [A],
    lost: 'stop',
    request: (one) => ({ ...one, stop: one.stop.filter((text) => text.trim() !== '') }),
  },
  { why: 'more than four stop sequences', of: [C], lost: 'stop', request: (one) => ({ ...one, stop: one.stop.slice(0, 4) }) },
  { why: 'several calls at once', lost: 'parallel_tool_calls', request: without('parallelToolCalls') },
  {
    why: 'arguments that keep to their schema',
    lost: 'strict_tool',
    request: (one) => ({ ...one, tools: one.tools.map((tool) => (tool.kind === 'function' ? { ...tool, strict: undefined } : tool)) }),
  },
  {
    why: 'JSON that nothing but words asks for',
    of: [A],
    lost: 'json_object',
    request: (one) => ({
      ...one,
      format: undefined,
      messages: [...one.messages, { role: 'system', parts: [plain(JSON_INSTRUCTION)], name: undefined, rest: NO_REST }],
    }),
  },
  { why: 'the name of an author', lost: 'message_name', messages: (list) => list.map((one) => ({ ...one, name: undefined })) },
  {
    why: 'in which detail a picture is seen',
    of: [A],
    lost: 'image_detail',
    messages: parts((part) => (part.type === 'image' ? { ...part, detail: undefined } : part)),
  },
  {
    why: 'in which detail a picture in a result is seen',
    of: [G],
    lost: 'image_detail',
    messages: parts((part) => (part.type === 'tool_result' ? { ...part, parts: part.parts.map(undetailed) } : part)),
  },
  { why: 'names of files', lost: 'file_name', messages: parts((part) => (part.type === 'file' ? { ...part, name: undefined } : part)) },
  { why: 'where the prompt is cached', lost: 'cache_control', foreign: true, messages: parts(uncached) },
  { why: 'where the prompt is cached', own: [R, G], lost: 'cache_control', messages: parts(uncached) },
  {
    why: 'a call has no breakpoint of the cache, and an empty result no place for one',
    of: [C],
    lost: 'cache_control',
    messages: parts(uncachedCall),
  },
  {
    why: 'sources of earlier turns',
    lost: 'citations',
    messages: parts((part) => (part.type === 'text' ? { ...part, citations: [] } : part)),
  },
  {
    why: 'thinking that proves nothing here',
    lost: 'reasoning',
    messages: parts((part, _, terms) => (part.type === 'reasoning' && !isTaken(part, terms) ? [] : part)),
  },
  { why: 'thinking that nothing follows', of: [R], lost: 'reasoning', messages: followedOnly },

  // Settings
  {
    why: 'the tier that is asked for first is what there is without it',
    of: [A],
    request: (one) => ({ ...one, serviceTier: 'standard' }),
  },
  {
    why: 'an output limit must be there',
    of: [A],
    request: (one) => ({ ...one, maxOutputTokens: one.maxOutputTokens ?? MODEL_MAX_OUTPUT_TOKENS }),
  },
  {
    why: 'nothing is called where there are no tools, and there is no choice then',
    of: [C, G],
    request: (one) => (one.tools.length > 0 ? one : without('toolChoice', 'parallelToolCalls')(one)),
  },
  { why: 'calls of earlier turns need their tools', of: [A], request: rememberedTools },
  {
    why: 'one call at a time is a rule of a choice, which is the model’s own where there is none',
    of: [A],
    request: (one) =>
      one.tools.length > 0 && one.parallelToolCalls === false ? { ...one, toolChoice: one.toolChoice ?? { type: 'auto' } } : one,
  },
  {
    why: 'a custom tool is a function with one text',
    of: [A, G],
    request: (one) => ({
      ...one,
      tools: one.tools.map((tool) => (tool.kind === 'custom' ? { ...asFunction(tool), rest: tool.rest } : tool)),
      toolChoice: one.toolChoice?.type === 'tool' ? { ...one.toolChoice, kind: 'function' } : one.toolChoice,
    }),
  },
  {
    why: 'a custom tool is called with its text as an argument',
    of: [A, G],
    messages: parts((part) =>
      part.type === 'tool_call' && part.kind === 'custom'
        ? { ...part, kind: 'function', arguments: inputAsArguments(part.arguments) }
        : part,
    ),
  },
  {
    why: 'names that are not taken everywhere are cut, the same way everywhere',
    request: (one) => ({
      ...one,
      tools: one.tools.map(boundedTool),
      toolChoice: one.toolChoice?.type === 'tool' ? { ...one.toolChoice, name: boundedToolName(one.toolChoice.name) } : one.toolChoice,
    }),
    messages: parts((part) => (part.type === 'tool_call' ? { ...part, name: boundedToolName(part.name) } : part)),
    own: [C, R, A],
  },
  {
    why: 'the name of a format is a name, too',
    of: [C],
    request: (one) =>
      one.format?.type === 'json_schema' ? { ...one, format: { ...one.format, name: boundedToolName(one.format.name) } } : one,
  },
  { why: 'a schema has no name here, its description is a part of it, and it is always held to', of: [A, G], request: plainFormat },
  {
    why: 'a tool without parameters has an object of none',
    of: [R, A],
    request: (one) => ({
      ...one,
      tools: one.tools.map((tool) =>
        tool.kind === 'function' ? { ...tool, parameters: tool.parameters ?? { type: 'object', properties: {} } } : tool,
      ),
    }),
  },

  // Messages
  {
    why: 'a turn has no other members there',
    of: [R, A, G],
    messages: (list) => list.map((one) => ({ ...one, rest: NO_REST })),
  },
  {
    why: 'a proof of another dialect is not sent',
    messages: parts((part, _, { of }) =>
      part.type === 'reasoning' ? { ...part, carriers: part.carriers.filter(({ dialect }) => dialect === of) } : part,
    ),
  },
  {
    why: 'nothing says nothing',
    messages: parts((part) => (part.type === 'reasoning' && part.text === '' && part.carriers.length === 0 ? [] : part)),
  },
  { why: 'nor do blanks', of: [A], messages: parts((part) => (part.type === 'text' && part.text.trim() === '' ? [] : part)) },
  { why: 'what a refusal says is a text', of: [A, G], messages: parts((part) => (part.type === 'refusal' ? plain(part.text) : part)) },
  { why: 'ids that are not taken are cut, the same way everywhere', of: [C, R, A], messages: parts(boundedIds) },
  {
    why: 'a failed result says so',
    of: [C],
    messages: parts((part) =>
      part.type === 'tool_result' && part.isError ? { ...part, isError: false, parts: [plain('Error:'), ...part.parts] } : part,
    ),
  },
  {
    why: 'a failed result says so',
    of: [R],
    messages: parts((part) =>
      part.type === 'tool_result' && part.isError ? { ...part, isError: false, parts: failedParts(part.parts) } : part,
    ),
  },
  { why: 'a breakpoint on a result stands on the last of its parts', of: [C], messages: parts(cachedLast) },
  { why: 'what the system says in several blocks is one text', of: [C], foreign: true, messages: joinedTexts('system', () => '\n\n') },
  { why: 'what the model says in several blocks is one text', of: [C], foreign: true, messages: joinedTexts('assistant', () => '') },
  {
    why: 'a result is one text',
    of: [C],
    foreign: true,
    messages: joinedTexts('tool', (part) => (part?.parts[0]?.type === 'text' && part.parts[0].text === 'Error:' ? ' ' : '\n\n')),
  },
  { why: 'what is no text in results follows them', of: [C], foreign: true, messages: hoisted },
  { why: 'what the system says stands apart', of: [A, G], messages: systemFirst },
  {
    why: 'detail is told',
    of: [R],
    messages: parts((part) => (part.type === 'image' ? { ...part, detail: part.detail ?? 'auto' } : part)),
  },
  {
    why: 'a document has a name',
    of: [R],
    messages: parts((part) => (part.type === 'file' ? { ...part, name: part.name ?? 'document.pdf' } : part)),
  },
  {
    why: 'a document has a name',
    of: [C],
    foreign: true,
    messages: parts((part) => (part.type === 'file' ? { ...part, name: part.name ?? 'document.pdf' } : part)),
  },
  { why: 'an answer that is to be continued ends in no blanks', of: [A], messages: trimmed },
];

/** What is the same on both sides. */
export const SAME_RULES: readonly Rule[] = [
  { why: 'sources of a turn are told of its last text', of: [C], messages: (list) => list.map(citedLast) },
  {
    why: 'four breakpoints of the cache are taken, and of more those that matter most',
    of: [A],
    lost: 'cache_control',
    messages: parts(uncached),
  },
  { why: 'an empty text says nothing', messages: parts((part) => (part.type === 'text' && part.text === '' ? [] : part)) },
  { why: 'who read it is no part of what it says', request: (one) => ({ ...one, dialect: C, model: '' }) },
  { why: 'usage is asked for in all streams', request: (one) => ({ ...one, wantsStreamUsage: one.stream }) },
  { why: 'these are what there is without them', request: defaults },
  {
    why: 'a call that was never signed says so, or it is refused',
    of: [G],
    messages: parts((part) => (part.type === 'tool_call' ? { ...part, carriers: [] } : part)),
  },
  {
    why: 'a result is an object, which its text may be',
    of: [G],
    messages: parts((part) => (part.type === 'tool_result' ? asObject(part) : part)),
  },
  { why: 'a result has the name of its call, or an object of its text, where the dialect writes it', messages: parts(plainResult) },
  {
    why: 'resolution stands beside a picture',
    of: [G],
    messages: parts((part) =>
      part.type === 'image' ? { ...part, rest: NO_REST, detail: part.detail === 'auto' ? undefined : part.detail } : part,
    ),
  },
  {
    why: 'no detail is the detail that the model takes by itself',
    messages: parts((part) => (part.type === 'image' && part.detail === 'auto' ? { ...part, detail: undefined } : part)),
  },
  {
    why: 'arguments may be written in another way',
    messages: parts((part) =>
      part.type === 'tool_call' ? { ...part, arguments: part.kind === 'custom' ? part.arguments : sameJsonText(part.arguments) } : part,
    ),
  },
  { why: 'thinking of a turn is one, before what it says', of: [C], messages: thinkingFirst },
  {
    why: 'a turn says its text, then declines, then calls',
    of: [C],
    messages: (list) => list.map((one) => (one.role === 'assistant' ? { ...one, parts: byKind(one.parts) } : one)),
  },
];

const JSON_INSTRUCTION = 'Answer with one JSON object and nothing else: no words before or after it, and no code fence.';
const MODEL_MAX_OUTPUT_TOKENS = 16_000;

function uncached(part: Part): Part {
  if (!('cacheControl' in part)) return part;
  const { cacheControl: _, ...others } = part;
  return others as Part;
}

function undetailed(part: Part): Part {
  return part.type === 'image' ? { ...part, detail: undefined } : part;
}

function citedLast(message: Message): Message {
  const citations = message.parts.flatMap((part) => (part.type === 'text' ? part.citations : []));
  const last = message.parts.findLastIndex((part) => part.type === 'text' && part.text !== '');
  return {
    ...message,
    parts: message.parts.map((part, index) => (part.type === 'text' ? { ...part, citations: index === last ? citations : [] } : part)),
  };
}

function uncachedCall(part: Part): Part {
  return part.type === 'tool_call' || (part.type === 'tool_result' && part.parts.length === 0 && !part.isError) ? uncached(part) : part;
}

function cachedLast(part: Part): Part {
  if (part.type !== 'tool_result' || part.cacheControl === undefined) return part;
  const { cacheControl, ...result } = part;
  const last = part.parts.at(-1);
  if (last === undefined) return result;
  return { ...result, parts: [...part.parts.slice(0, -1), { ...last, cacheControl } as Part] };
}

/** Thinking that something of its turn follows, which may be several messages. */
function followedOnly(messages: readonly Message[]): readonly Message[] {
  let isFollowed = false;
  const written = messages.toReversed().map((one) => {
    if (one.role !== 'assistant') {
      isFollowed = false;
      return one;
    }
    const kept = one.parts.toReversed().filter((part) => {
      if (part.type === 'reasoning') return isFollowed;
      if (part.type === 'tool_call' || ((part.type === 'text' || part.type === 'refusal') && part.text !== '')) isFollowed = true;
      return true;
    });
    return { ...one, parts: kept.reverse() };
  });
  return written.reverse();
}

/** Gemini shows thinking without a proof, too, and takes its own back. */
function isTaken({ carriers }: Part & { readonly type: 'reasoning' }, { of, foreign }: RequestFormTerms): boolean {
  return carriers.some(({ dialect }) => dialect === of) || (of === G && !foreign && carriers.length === 0);
}

function rememberedTools(request: Request): Request {
  if (request.tools.length > 0) return request.toolChoice?.type === 'none' ? { ...request, parallelToolCalls: undefined } : request;
  const names = new Set(
    request.messages.flatMap(({ parts: list }) => list.flatMap((part) => (part.type === 'tool_call' ? [part.name] : []))),
  );
  const forgotten = [...names].map(
    (name): Tool => ({ kind: 'function', name, description: undefined, parameters: { type: 'object' }, strict: undefined, rest: NO_REST }),
  );
  return { ...request, tools: forgotten, toolChoice: forgotten.length > 0 ? { type: 'none' } : undefined, parallelToolCalls: undefined };
}

function boundedTool(tool: Tool): Tool {
  return tool.kind === 'hosted' ? tool : { ...tool, name: boundedToolName(tool.name) };
}

function plainFormat(request: Request): Request {
  const { format } = request;
  if (format?.type !== 'json_schema') return request;
  const schema = format.description === undefined ? format.schema : { ...format.schema, description: format.description };
  return {
    ...request,
    format: { type: 'json_schema', name: 'answer', schema, strict: true, description: undefined },
  };
}

const MAX_CALL_ID_CHARACTERS: Readonly<Partial<Record<DialectName, number>>> = { [C]: 40, [R]: 64, [A]: 64 };

function boundedIds(part: Part, _: Message, { of }: RequestFormTerms): Part {
  const most = MAX_CALL_ID_CHARACTERS[of] ?? Number.POSITIVE_INFINITY;
  if (part.type === 'tool_call') return { ...part, id: boundedCallId(part.id, most) };
  return part.type === 'tool_result' ? { ...part, callId: boundedCallId(part.callId, most) } : part;
}

function failedParts(list: readonly Part[]): readonly Part[] {
  const [first, ...others] = list;
  return first?.type === 'text' ? [{ ...first, text: `Error: ${first.text}` }, ...others] : [plain('Error'), ...list];
}

function instructionsFirst(messages: readonly Message[]): readonly Message[] {
  const [first, ...others] = messages;
  if (
    first?.role !== 'system' ||
    !first.parts.every((part) => part.type === 'text' && part.cacheControl === undefined && Object.keys(part.rest).length === 0)
  )
    return messages;
  return [{ ...first, parts: withOneText(first.parts, '\n\n') }, ...others];
}

/** Results are taken out of what they hold beside text, which the user says next. */
function hoisted(messages: readonly Message[]): readonly Message[] {
  const written: Message[] = [];
  let media: Part[] = [];
  const flush = (): void => {
    if (media.length > 0) written.push({ role: 'user', parts: media, name: undefined, rest: NO_REST });
    media = [];
  };
  for (const one of messages) {
    // A turn of which nothing has a word.
    if (one.role === 'assistant' && one.parts.length === 0) continue;
    if (one.role !== 'tool') {
      if (one.role === 'user' && media.length > 0) {
        written.push({ ...one, parts: [...media, ...one.parts] });
        media = [];
        continue;
      }
      flush();
      written.push(one);
      continue;
    }
    const results = one.parts.map((part) => {
      if (part.type !== 'tool_result') return part;
      media.push(...part.parts.filter(({ type }) => type !== 'text'));
      return { ...part, parts: part.parts.filter(({ type }) => type === 'text') };
    });
    written.push({ ...one, parts: results });
  }
  flush();
  return written;
}

function systemFirst(messages: readonly Message[]): readonly Message[] {
  const isSystem = ({ role }: Message): boolean => role === 'system' || role === 'developer';
  return [...messages.filter(isSystem).map((one) => ({ ...one, role: 'system' as const })), ...messages.filter((one) => !isSystem(one))];
}

function trimmed(messages: readonly Message[]): readonly Message[] {
  const at = messages.findLastIndex(({ parts: list }) => list.length > 0);
  const last = messages[at];
  const part = last?.parts.at(-1);
  if (last?.role !== 'assistant' || part?.type !== 'text') return messages;
  return messages.with(at, { ...last, parts: last.parts.with(-1, { ...part, text: part.text.trimEnd() }) });
}

function defaults({ outputModalities: _, ...request }: Request): Request {
  const { parallelToolCalls, format, tools, metadata, logprobs } = request;
  return {
    ...request,
    sampling: Object.fromEntries(
      Object.entries(request.sampling).filter(([name, value]) => value !== (NEUTRAL[name] ?? undefined)),
    ) as unknown as Request['sampling'],
    parallelToolCalls: parallelToolCalls === true ? undefined : parallelToolCalls,
    format: format?.type === 'text' ? undefined : format,
    logprobs: logprobs === undefined ? undefined : { top: logprobs.top },
    ...(metadata === undefined ? {} : { metadata }),
    tools: tools.map((tool) =>
      tool.kind === 'function'
        ? {
            ...tool,
            strict: tool.strict === false ? undefined : tool.strict,
            description: tool.description === '' ? undefined : tool.description,
            parameters: isEmpty(tool.parameters) ? undefined : tool.parameters,
          }
        : tool.kind === 'custom'
          ? { ...tool, format: grammarOf(tool.format) }
          : tool,
    ),
  };
}

const NEUTRAL: Readonly<Record<string, number | undefined>> = { temperature: 1, topP: 1, frequencyPenalty: 0, presencePenalty: 0 };

/** The schema of an object without members. */
function isEmpty(schema: Rest | undefined): boolean {
  const properties = schema?.properties;
  return typeof properties !== 'object' || properties === null || Object.keys(properties).length === 0;
}

function plainResult(part: Part): Part {
  if (part.type !== 'tool_result') return part;
  const { name: _, json: __, ...others } = part;
  return others;
}

const WRAPPERS = ['output', 'result', 'return_value', 'error'];

/** The text of a result, unwrapped. */
function asObject(result: ToolResultPart): ToolResultPart {
  const said = result.parts.flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('');
  const media = result.parts.filter(({ type }) => type !== 'text');
  let shown = said;
  let { isError } = result;
  if (said.startsWith('{') && !isError) {
    try {
      const value = JSON.parse(said) as Record<string, unknown>;
      const [only, ...others] = Object.entries(value);
      shown = JSON.stringify(value);
      if (only === undefined) shown = '';
      else if (others.length === 0 && WRAPPERS.includes(only[0]) && (typeof only[1] === 'string' || only[0] === 'error')) {
        isError = only[0] === 'error';
        shown = typeof only[1] === 'string' ? only[1] : JSON.stringify(only[1]);
      }
    } catch {
      // Only begins like one.
    }
  }
  return { ...result, isError, parts: [...(shown === '' ? [] : [plain(shown)]), ...media] };
}

function thinkingFirst(messages: readonly Message[]): readonly Message[] {
  return messages.map((one) => {
    const blocks = one.parts.filter((part) => part.type === 'reasoning');
    if (blocks.length === 0) return one;
    const details = blocks.flatMap(({ carriers }) => carriers.flatMap(({ value }) => value));
    const whole: Part = {
      type: 'reasoning',
      text: blocks.map(({ text }) => text).join(''),
      carriers: details.length === 0 ? [] : [{ dialect: C, value: details }],
    };
    return { ...one, parts: [whole, ...one.parts.filter(({ type }) => type !== 'reasoning')] };
  });
}

function byKind(list: readonly Part[]): readonly Part[] {
  const of = (...kinds: readonly Part['type'][]) => list.filter(({ type }) => kinds.includes(type));
  const refusals = of('refusal').map((part) => (part.type === 'refusal' ? part.text : ''));
  return [
    ...of('reasoning'),
    ...of('text', 'foreign'),
    ...(refusals.length === 0 ? [] : [{ type: 'refusal' as const, text: refusals.join('') }]),
    ...of('audio', 'image', 'tool_call', 'tool_result', 'video', 'file'),
  ];
}

/** What was said, by whom, one thing behind the other: messages of one side behind each other are one. */
function script(messages: readonly Message[]): readonly unknown[] {
  const said: (Part & { readonly by: string; readonly name: string | undefined })[] = [];
  for (const { role, name, rest, parts: list } of messages) {
    for (const part of list) {
      const by = part.type === 'tool_result' ? 'tool' : role;
      const clean = part.type === 'tool_result' ? { ...part, parts: mergedTexts(part.parts) } : part;
      said.push({ ...clean, by, name: name ?? '', ...(Object.keys(rest).length === 0 ? {} : { beside: rest }) } as never);
    }
  }
  const written: unknown[] = [];
  for (const one of said) {
    const before = written.at(-1) as (Part & { readonly by: string }) | undefined;
    if (before !== undefined && before.by === one.by && mayMerge(before, one))
      written[written.length - 1] = { ...before, text: (before as TextPart).text + (one as TextPart).text };
    // Thinking that more thinking follows is one block with it, which a proof ends.
    else if (before?.by === one.by && before.type === 'reasoning' && one.type === 'reasoning' && before.carriers.length === 0)
      written[written.length - 1] = { ...one, text: before.text + one.text };
    else written.push(one);
  }
  return written.map((one) => {
    const { carriers = [], ...others } = one as { readonly carriers?: readonly unknown[] };
    return carriers.length === 0 ? others : one;
  });
}

function mergedTexts(list: readonly Part[]): readonly Part[] {
  const written: Part[] = [];
  for (const part of list) {
    const before = written.at(-1);
    if (before !== undefined && mayMerge(before, part))
      written[written.length - 1] = { ...before, text: (before as TextPart).text + (part as TextPart).text } as Part;
    else written.push(part);
  }
  return written;
}

/** Texts with nothing beside them. */
function mayMerge(before: Part, part: Part): boolean {
  const isBare = (one: Part): boolean =>
    one.type === 'text' &&
    one.cacheControl === undefined &&
    one.citations.length === 0 &&
    Object.keys(one.rest).length === 0 &&
    !('beside' in one);
  return isBare(before) && isBare(part);
}

function applied(request: Request, rules: readonly Rule[], terms: RequestFormTerms): Request {
  let form = request;
  for (const rule of rules) {
    if (rule.of?.includes(terms.of) === false || (rule.lost !== undefined && !terms.losses.has(rule.lost))) continue;
    if (!terms.foreign && (rule.foreign === true || rule.own?.includes(terms.of) === false)) continue;
    if (rule.request !== undefined) form = rule.request(form, terms);
    if (rule.messages !== undefined) form = { ...form, messages: rule.messages(form.messages, terms) };
  }
  return form;
}

/**
 * How much to think, in the one word that it comes down to: not to think is an effort, too, a budget has its nearest word (and that is a loss),
 * what is left to the model is much, and some are told only whether.
 */
function thinkingForm(reasoning: Request['reasoning'], { of, losses }: RequestFormTerms): string | undefined {
  if (reasoning === undefined || reasoning.isDefault === true || losses.has('reasoning_effort')) return undefined;
  const { effort, budgetTokens, mode } = reasoning;
  // A model that is asked for nothing decides for itself there.
  if (mode === 'off' || effort === 'none') return of === R && effort !== 'none' ? undefined : 'none';
  if (of === A) return (effort ?? budgetTokens ?? mode) === undefined ? undefined : 'some';
  if (effort !== undefined) return effort;
  // What is left to the model has no budget there.
  if (mode === 'adaptive' && of === G) return undefined;
  if (budgetTokens !== undefined) return losses.has('reasoning_budget') ? nearestEffort(budgetTokens) : `${budgetTokens} tokens`;
  return mode === 'adaptive' ? 'high' : undefined;
}

/** What a request that was given to an encoder is to say. */
export function writtenForm(request: Request, terms: RequestFormTerms): unknown {
  return readForm(applied(request, WRITING_RULES, terms), terms);
}

/** What a request that was read says. */
export function readForm(request: Request, terms: RequestFormTerms): unknown {
  const form = applied(request, SAME_RULES, terms);
  return { ...form, reasoning: thinkingForm(request.reasoning, terms), messages: script(form.messages) };
}
