/**
 * The normal form of canonical answers, dialect by dialect: what an answer says when it has been written for a client and read again. Each
 * rule says why what it changes means the same there, or that the wire has no place for it; what no rule names comes back as it was, or is
 * named as a loss.
 */
import { unpackCallId } from '@meridian/data-plane/canonical/call-id';
import type { Finish } from '@meridian/data-plane/canonical/finish';
import type { LossName } from '@meridian/data-plane/canonical/loss';
import type { AudioPart, Citation, Part, ReasoningPart, TextPart } from '@meridian/data-plane/canonical/message';
import type { Choice, Response, UsageReport } from '@meridian/data-plane/canonical/response';
import type { DialectName } from '@meridian/domain/dialect';
import { inputTokens, outputTokens, type Usage, unitsOf } from '@meridian/domain/usage';
import { sameJsonText } from './json-forms.ts';

interface Rule {
  readonly why: string;
  /** Everywhere where absent. */
  readonly of?: readonly DialectName[];
  /** Only where the encoder has named it. */
  readonly lost?: LossName;
  /** Only of answers that were read in another dialect. */
  readonly foreign?: boolean;
  /** Only of streams, or of what is compared to one. */
  readonly streamed?: boolean;
  readonly choice?: (choice: Choice, of: DialectName) => Choice;
  readonly answer?: (answer: Response) => Response;
}

const parts = (change: (parts: readonly Part[], of: DialectName) => readonly Part[]) => (choice: Choice, of: DialectName) => ({
  ...choice,
  parts: change(choice.parts, of),
});
const each = (change: (part: Part, of: DialectName) => Part | readonly Part[]) =>
  parts((list, of) => list.flatMap((part) => change(part, of)));

export const ANSWER_RULES: readonly Rule[] = [
  { why: 'an id of an answer is ours to give where the client speaks another dialect', answer: (one) => ({ ...one, id: '' }) },
  { why: 'who read it is no part of what it says', answer: (one) => ({ ...one, dialect: 'openai-chat' }) },
  {
    why: 'these have no time in their answers',
    of: ['anthropic-messages', 'gemini'],
    answer: (one) => ({ ...one, createdSeconds: undefined }),
  },
  {
    why: 'other members are for their own dialect only',
    foreign: true,
    answer: (one) => ({ ...one, rest: {} }),
    choice: (choice) => ({ ...choice, rest: {}, parts: choice.parts.map((part) => ('rest' in part ? { ...part, rest: {} } : part)) }),
  },
  {
    why: 'what stands beside the choices, and in them, has no event',
    streamed: true,
    choice: (choice) => ({ ...choice, rest: {} }),
  },
  {
    why: 'other members of an answer have no event',
    streamed: true,
    of: ['openai-responses', 'anthropic-messages', 'gemini'],
    answer: (one) => ({ ...one, rest: {} }),
  },
  {
    why: 'other members of a call have no event',
    streamed: true,
    of: ['openai-responses', 'gemini'],
    choice: each((part) => ('rest' in part ? { ...part, rest: {} } : part)),
  },
  { why: 'one answer is all that there is a place for', lost: 'choices', answer: (one) => ({ ...one, choices: one.choices.slice(0, 1) }) },

  // Parts
  {
    why: 'an end has a word of the dialect, and calls are an end of their own',
    choice: (choice, of) => ({ ...choice, finish: endOf(choice, of) }),
  },
  { why: 'what a refusal says is a text', of: ['anthropic-messages', 'gemini'], choice: each(refusalAsText) },
  { why: 'pictures and sounds have no place', lost: 'media_output', choice: each(withoutMedia) },
  { why: 'what was spoken is told in words', lost: 'audio', choice: each(transcript) },
  { why: 'the type of a sound is not told', choice: each(untypedSound) },
  {
    why: 'a source that supports nothing is not read beside those that do',
    of: ['gemini'],
    choice: parts(supportingOnly),
  },
  { why: 'ids of calls are packed where a client needs another form, and hold what was packed', choice: each(plainId) },
  {
    why: 'a proof of another dialect is packed, and known again by the client of that turn only',
    of: ['openai-chat'],
    foreign: true,
    choice: each(unproved),
  },
  { why: 'arguments are an object, whose members may be written in another way', choice: each(sameArguments) },
  { why: 'an empty text says nothing', choice: parts((list) => list.filter((part) => part.type !== 'text' || part.text !== '')) },
  { why: 'a source that has no place stands for the text that it was found with, or for none of it', choice: parts(placedCitations) },
  { why: 'there is one of each kind: thinking, text, refusal, sound, pictures, calls', of: ['openai-chat'], choice: parts(byKind) },
  { why: 'a message holds its text before its refusal', of: ['openai-responses'], choice: parts(refusalLast) },
  { why: 'a text, or thinking without a proof, may be cut into pieces anywhere', choice: parts(merged) },

  // Beside the choices
  {
    why: 'an answer repeats the request that it answers, and nothing that another answer had beside it',
    of: ['openai-responses'],
    answer: (one) => ({ ...one, rest: {} }),
  },
  {
    why: 'an item of an answer has an id of that answer',
    of: ['openai-responses'],
    choice: each(withoutItemId),
  },
  {
    why: 'sources stand beside, too, as they were told',
    of: ['gemini'],
    choice: ({ rest: { groundingMetadata: _, ...rest }, ...choice }) => ({ ...choice, rest }),
  },
  {
    why: 'these stand in every answer',
    of: ['anthropic-messages'],
    answer: ({ rest: { stop_details: _, container: __, ...rest }, ...one }) => ({ ...one, rest }),
  },
];

export interface FormTerms {
  /** What the encoder has named. */
  readonly losses: ReadonlySet<LossName>;
  /** The answer was read in another dialect. */
  readonly foreign: boolean;
  /** It is, or is compared to, a stream. */
  readonly streamed: boolean;
}

/** An answer's normal form in a dialect. */
export function answerForm(answer: Response, of: DialectName, { losses, foreign, streamed }: FormTerms): unknown {
  let form = answer;
  for (const rule of ANSWER_RULES) {
    if (rule.of?.includes(of) === false || (rule.lost !== undefined && !losses.has(rule.lost))) continue;
    if ((rule.foreign === true && !foreign) || (rule.streamed === true && !streamed)) continue;
    if (rule.answer !== undefined) form = rule.answer(form);
    const { choice } = rule;
    if (choice !== undefined) form = { ...form, choices: form.choices.map((one) => choice(one, of)) };
  }
  return { ...form, usage: usageForm(form.usage, of), serviceTier: tierForm(form, of) };
}

function refusalAsText(part: Part): Part {
  return part.type === 'refusal' ? plainText(part.text) : part;
}

function plainText(text: string): TextPart {
  return { type: 'text', text, citations: [], rest: {} };
}

function withoutMedia(part: Part, of: DialectName): readonly Part[] {
  if (part.type === 'image') return of === 'anthropic-messages' ? [] : [part];
  if (part.type !== 'audio') return [part];
  return part.transcript === undefined ? [] : of === 'openai-responses' ? [plainText(part.transcript)] : [part];
}

function transcript(part: Part): Part {
  return part.type === 'audio' && part.transcript !== undefined ? plainText(part.transcript) : part;
}

function untypedSound(part: Part, of: DialectName): Part {
  if (part.type !== 'audio' || part.source.from !== 'base64') return part;
  const sound: AudioPart = { ...part, source: { ...part.source, mediaType: '' } };
  return of === 'gemini' ? { ...sound, transcript: undefined } : sound;
}

function unproved(part: Part): Part {
  if (part.type === 'reasoning') return { ...part, carriers: [] };
  if (part.type !== 'tool_call') return part;
  const { carriers: _, ...call } = part;
  return call;
}

function plainId(part: Part): Part {
  if (part.type !== 'tool_call') return part;
  const { carriers: told = [], ...call } = part;
  const { id, carriers } = unpackCallId(part.id);
  return told.length + carriers.length === 0 ? { ...call, id } : { ...call, id, carriers: [...carriers, ...told] };
}

function sameArguments(part: Part): Part {
  return part.type === 'tool_call' ? { ...part, arguments: sameJsonText(part.arguments) } : part;
}

function withoutItemId(part: Part): Part {
  if (part.type !== 'reasoning') return part;
  const carriers = part.carriers.map(({ dialect, value }) => ({
    dialect,
    value: dialect === 'openai-responses' ? (value as { readonly encrypted_content: unknown }).encrypted_content : value,
  }));
  return { ...part, carriers };
}

const KINDS: readonly Part['type'][] = ['reasoning', 'text', 'refusal', 'audio', 'image', 'tool_call'];

/** Thinking is one block with all proofs, and text one text. */
function byKind(list: readonly Part[]): readonly Part[] {
  const sorted = KINDS.flatMap((kind) => list.filter(({ type }) => type === kind));
  const blocks = sorted.filter((part): part is ReasoningPart => part.type === 'reasoning');
  const details = blocks.flatMap(({ carriers }) => carriers.flatMap(({ value }) => value));
  const one: ReasoningPart = {
    type: 'reasoning',
    text: blocks.map(({ text }) => text).join(''),
    carriers: details.length === 0 ? [] : [{ dialect: 'openai-chat', value: details }],
  };
  const refusals = sorted.filter((part) => part.type === 'refusal').map((part) => part.text);
  return [
    ...(one.text === '' && details.length === 0 ? [] : [one]),
    ...sorted.filter(({ type }) => type === 'text'),
    ...(refusals.length === 0 ? [] : [{ type: 'refusal' as const, text: refusals.join('') }]),
    ...sorted.filter(({ type }) => type !== 'text' && type !== 'reasoning' && type !== 'refusal'),
  ];
}

function refusalLast(list: readonly Part[]): readonly Part[] {
  const written: Part[] = [];
  let refusal = '';
  const flush = (): void => {
    if (refusal !== '') written.push({ type: 'refusal', text: refusal });
    refusal = '';
  };
  for (const part of list) {
    if (part.type === 'refusal') refusal += part.text;
    else {
      if (part.type !== 'text') flush();
      written.push(part);
    }
  }
  flush();
  return written;
}

function merged(list: readonly Part[]): readonly Part[] {
  const written: Part[] = [];
  for (const part of list) {
    const before = written.at(-1);
    if (part.type === 'text' && before?.type === 'text') {
      written[written.length - 1] = { ...before, text: before.text + part.text, citations: [...before.citations, ...part.citations] };
    } else if (part.type === 'reasoning' && before?.type === 'reasoning' && before.carriers.length === 0) {
      written[written.length - 1] = { ...part, text: before.text + part.text };
    } else written.push(part);
  }
  return written;
}

function supportingOnly(list: readonly Part[]): readonly Part[] {
  const hasPlaces = list.some((part) => part.type === 'text' && part.citations.some(({ end }) => end !== undefined));
  if (!hasPlaces) return list;
  return list.map((part) => (part.type === 'text' ? { ...part, citations: part.citations.filter(({ end }) => end !== undefined) } : part));
}

/** Sources of all texts, told by what they are: where they stand is told by some dialects only, and roughly. */
function placedCitations(list: readonly Part[]): readonly Part[] {
  const all = list.flatMap((part) => (part.type === 'text' ? part.citations : []));
  const last = list.findLastIndex(({ type }) => type === 'text');
  const named = all.map(({ url, title }): Citation => ({ url, title: title ?? '', start: undefined, end: undefined, rest: {} }));
  const distinct = [...new Map(named.map((citation) => [JSON.stringify(citation), citation])).values()];
  return list.map((part, index) => (part.type === 'text' ? { ...part, citations: index === last ? distinct : [] } : part));
}

/** Each dialect's words for an end, read again. */
function endOf({ finish, parts: list }: Choice, of: DialectName): Finish | undefined {
  if (finish === undefined) return undefined;
  const hasCalls = list.some(({ type }) => type === 'tool_call');
  const refuses = list.some(({ type }) => type === 'refusal');
  let { reason } = finish;
  const { sequence } = finish;
  if (of === 'anthropic-messages') {
    if (reason === 'stop' && hasCalls) reason = 'tool_calls';
    // Where the model itself declined, its refusal is why.
    if (reason === 'stop' && refuses) reason = 'content_filter';
    return { reason, raw: '', ...(sequence === undefined ? {} : { sequence }) };
  }
  if (reason === 'stop_sequence') reason = 'stop';
  if (reason === 'pause') reason = 'length';
  if (of !== 'openai-chat' && reason === 'tool_calls') reason = 'stop';
  if (reason === 'stop' && hasCalls) reason = 'tool_calls';
  return { reason, raw: '' };
}

function usageForm(report: UsageReport | undefined, of: DialectName): unknown {
  // Counts stand in every answer there, and are none where none were told.
  if (report === undefined && of !== 'anthropic-messages') return undefined;
  const { usage, reasoningTokens } = report ?? { usage: {}, reasoningTokens: undefined };
  const read = (...components: readonly Parameters<typeof unitsOf>[1][]): number =>
    components.reduce((sum, component) => sum + unitsOf(usage, component), 0);
  const writes = read('cache_write_5m', 'cache_write_1h');
  return {
    input: inputTokens(usage),
    cached: read('cached_input'),
    written: of === 'anthropic-messages' ? [usage.cache_write_5m ?? 0, usage.cache_write_1h ?? 0] : of === 'gemini' ? 0 : writes,
    media: of === 'anthropic-messages' ? 0 : [read('audio_in'), read('image_in'), read('audio_out'), read('image_out')],
    output: outputTokens(usage),
    reasoning: reasoningTokens ?? 0,
    searches: searchesOf(usage, of),
  };
}

function searchesOf(usage: Usage, of: DialectName): number {
  return of === 'gemini' ? 0 : (usage['per_tool_call:web_search'] ?? 0);
}

function tierForm({ serviceTier, usage }: Response, of: DialectName): unknown {
  // Where it stands with the counts, it comes with them only.
  if (of === 'gemini' && usage === undefined) return undefined;
  if (of === 'openai-responses') return serviceTier ?? 'standard';
  return of === 'anthropic-messages' && serviceTier === 'flex' ? undefined : serviceTier;
}
