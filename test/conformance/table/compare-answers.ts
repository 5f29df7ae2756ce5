/** What an upstream said, held against what the client got. */
import type { DialectName } from '@meridian/domain/dialect';
import type { AnswerReading, ChoiceReading, Ending } from './answer-reading.ts';
import { COST_USD, SHOWN_MODEL, type Via } from './exchange.ts';
import { canonicalText, parsed } from './json.ts';

export interface Difference {
  /** What differs: `text`, `calls`, `usage` … */
  readonly of: string;
  readonly what: string;
}

export interface AnswerTerms {
  readonly client: DialectName;
  readonly upstream: DialectName;
  readonly via: Via;
  readonly isStream: boolean;
  /** The client asked for usage, or its dialect tells it always. */
  readonly tellsUsage: boolean;
}

/** Empty where the client got all that its dialect can say. */
export function compareAnswers(told: AnswerReading, got: AnswerReading, terms: AnswerTerms): Difference[] {
  const found: Difference[] = [];
  const differ = (of: string, expected: unknown, actual: unknown): void => {
    found.push({ of, what: `${shown(expected)} became ${shown(actual)}` });
  };
  // What a provider wrote is not ours to judge where it goes through.
  if (terms.via === 'words') for (const problem of got.problems) found.push({ of: 'rules', what: problem });
  if (!told.isWhole || told.error !== undefined) {
    if (got.error === undefined) differ('error', told.error ?? 'a stream without its end', 'no error');
    if (got.isWhole && terms.isStream) differ('error', 'a broken stream', 'a whole one');
    return found;
  }
  if (got.error !== undefined) {
    differ('error', 'no error', got.error);
    return found;
  }
  if (!got.isWhole) differ('error', 'a whole stream', 'one without its end');
  if (got.model !== SHOWN_MODEL) differ('model', SHOWN_MODEL, got.model);
  if (told.choices.length !== got.choices.length) differ('choices', told.choices.length, got.choices.length);
  for (const [index, choice] of told.choices.entries()) {
    const other = got.choices[index];
    if (other !== undefined) compareChoices(choice, other, terms, differ);
  }
  compareUsage(told, got, terms, differ);
  return found;
}

type Differ = (of: string, expected: unknown, actual: unknown) => void;

function compareChoices(told: ChoiceReading, got: ChoiceReading, { client, upstream, via, isStream }: AnswerTerms, differ: Differ): void {
  // Two of the dialects have no part for a refusal: there it is what the model says.
  const saysRefusal = client === 'openai-chat' || client === 'openai-responses';
  const text = saysRefusal ? told.text : said(told);
  if (got.text !== text && !(saysRefusal && said(told) === said(got))) differ('text', text, got.text);
  if (saysRefusal && told.refusal !== '' && got.refusal === '') differ('refusal', told.refusal, got.refusal);
  if (squeezed(told.reasoning) !== squeezed(got.reasoning)) differ('reasoning', told.reasoning, got.reasoning);
  const calls = (choice: ChoiceReading): string =>
    canonicalText(choice.calls.map(({ name, arguments: args, kind }) => ({ name, args: argumentsOf(args, kind) })));
  if (calls(told) !== calls(got)) differ('calls', calls(told), calls(got));
  // One dialect can do without ids.
  const ids = got.calls.map(({ id }) => id).filter((id) => client !== 'gemini' || id !== '');
  if (new Set(ids).size !== ids.length) differ('calls', 'ids of their own', ids);
  // One dialect has no pictures in its answers, and a stream has no place where a loss could be named.
  const isSilent = client === 'anthropic-messages' && isStream;
  if (!isSilent && canonicalText(told.media) !== canonicalText(got.media)) differ('media', told.media, got.media);
  // A stream has no place where a loss could be named.
  if (told.foreign.length > 0 && client !== upstream && !isStream) differ('foreign', told.foreign, got.foreign);
  // Documents of the request have no address by which another dialect could name them.
  const isNamed = ({ source }: { readonly source: string }): boolean => client === upstream || /^https?:/.test(source);
  const sources = (choice: ChoiceReading): string =>
    canonicalText([...new Set(choice.citations.filter(isNamed).map(({ source }) => source))].sort());
  if (sources(told) !== sources(got)) differ('citations', sources(told), sources(got));
  if (got.citations.some(({ source }) => source === '')) differ('citations', 'sources', 'one without address or name');
  for (const { source, start, end } of got.citations) {
    const isInside = (start ?? 0) >= 0 && (end ?? 0) <= got.text.length && (start === undefined || end === undefined || start <= end);
    if (via === 'words' && client !== 'gemini' && !isInside) differ('citations', `${source} within ${got.text.length}`, `${start}..${end}`);
  }
  if (told.logprobs !== got.logprobs) differ('logprobs', told.logprobs, got.logprobs);
  const ending = expectedEnding(told, client, via);
  if (got.ending !== ending) differ('ending', ending, got.ending);
  if (client === 'anthropic-messages' && told.stopSequence !== undefined && got.stopSequence !== told.stopSequence) {
    differ('stop sequence', told.stopSequence, got.stopSequence);
  }
}

function said(choice: ChoiceReading): string {
  return choice.text + choice.refusal;
}

/** Summaries come in paragraphs, which dialects join in their own ways. */
function squeezed(text: string): string {
  return text.replace(/\s+/g, '');
}

function argumentsOf(text: string, kind: 'function' | 'custom'): unknown {
  if (kind === 'custom') return text;
  return text.trim() === '' ? {} : parsed(text);
}

function expectedEnding(told: ChoiceReading, client: DialectName, via: Via): Ending {
  let { ending } = told;
  // A refusal in words is a reason to end where there is such a reason.
  if (ending === 'stop' && told.refusal !== '' && client === 'anthropic-messages') ending = 'content_filter';
  // Some providers say that they are done where they wait for results.
  if (ending === 'stop' && told.calls.length > 0 && via === 'words') ending = 'tool_calls';
  if (ending === 'stop_sequence') return client === 'anthropic-messages' ? 'stop_sequence' : 'stop';
  // Only where a turn is continued by sending it back can a pause be said; elsewhere it is an answer that was cut.
  if (ending === 'pause' && via === 'words') return client === 'anthropic-messages' ? 'pause' : 'length';
  return ending;
}

function compareUsage(told: AnswerReading, got: AnswerReading, terms: AnswerTerms, differ: Differ): void {
  if (told.usage === undefined) return;
  if (!terms.tellsUsage) {
    if (got.usage !== undefined) differ('usage', 'none, as none was asked for', got.usage);
    return;
  }
  if (got.usage === undefined) {
    differ('usage', told.usage, got.usage);
    return;
  }
  for (const part of ['input', 'output'] as const) {
    if (told.usage[part] !== got.usage[part]) differ('usage', `${part} ${told.usage[part]}`, got.usage[part]);
  }
  for (const part of ['cacheRead', 'cacheWrite', 'reasoning'] as const) {
    if (part === 'cacheWrite' && terms.client === 'gemini') continue;
    if ((told.usage[part] ?? 0) !== (got.usage[part] ?? 0)) differ('usage', `${part} ${told.usage[part]}`, got.usage[part]);
  }
  if (got.costs.length !== 1 || got.costs[0] !== COST_USD) differ('cost', [COST_USD], got.costs);
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing');
  return text.length > 160 ? `${text.slice(0, 150)}… (${text.length})` : text;
}
