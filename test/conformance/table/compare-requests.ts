/** What a client asked for, held against what the upstream is asked. */
import type { DialectName } from '@meridian/domain/dialect';
import type { Difference } from './compare-answers.ts';
import type { Json } from './json.ts';
import { canonicalText } from './json.ts';
import { readChatRequest } from './read-chat-request.ts';
import { readGeminiRequest } from './read-gemini-request.ts';
import { readMessagesRequest } from './read-messages-request.ts';
import { readResponsesRequest } from './read-responses-request.ts';
import type { MediaReading, RequestReading, TurnReading } from './request-reading.ts';

/** `isStream`: what the path says, for the dialect whose bodies do not. */
export function readRequest(dialect: DialectName, body: Json, isStream: boolean): RequestReading {
  switch (dialect) {
    case 'openai-chat':
      return readChatRequest(body);
    case 'openai-responses':
      return readResponsesRequest(body);
    case 'anthropic-messages':
      return readMessagesRequest(body);
    case 'gemini':
      return readGeminiRequest(body, isStream);
    default:
      return dialect satisfies never;
  }
}

/** Empty where the upstream is asked for all that the client asked for. */
export function compareRequests(told: RequestReading, got: RequestReading, client: DialectName, upstream: DialectName): Difference[] {
  const found: Difference[] = [];
  const differ = (of: string, expected: unknown, actual: unknown): void => {
    if (canonicalText(expected) !== canonicalText(actual)) found.push({ of, what: `${shown(expected)} became ${shown(actual)}` });
  };
  // Rules that the client's own request breaks are its upstream's to refuse.
  for (const problem of got.problems) if (!told.problems.includes(problem)) found.push({ of: 'rules', what: problem });
  // A request of instructions alone has to ask for something somewhere.
  const isSystemOnly = told.turns.length === 0 && got.turns.length === 1 && squeezed(got.turns[0]?.text ?? '') === squeezed(told.system);
  if (!isSystemOnly) differ('system', squeezed(told.system), squeezed(got.system));
  if (!isSystemOnly) compareTurns(told.turns, got.turns, upstream, differ);
  const names = got.tools.map(({ name }) => name);
  differ(
    'tools',
    told.tools.map((tool, index) => ({ ...tool, name: shortenedName(tool.name, names[index]) })),
    got.tools,
  );
  differ('hosted tools', told.hosted, got.hosted);
  differ('tool choice', plainChoice(told), plainChoice(got));
  if (told.parallel === false) differ('parallel calls', told.parallel, got.parallel);
  if (told.maxTokens !== undefined) differ('max tokens', told.maxTokens, got.maxTokens);
  for (const key of Object.keys(told.numbers) as (keyof RequestReading['numbers'])[]) differ(key, told.numbers[key], got.numbers[key]);
  differ('stop', told.stop, got.stop);
  differ('choices', told.choices, got.choices);
  differ('logprobs', told.logprobs, got.logprobs);
  differ('format', told.format, got.format);
  compareThinking(told, got, upstream, differ);
  // Where a customer has bought the better tier, `auto` is how it is asked for.
  const tier = upstream === 'anthropic-messages' && told.tier === 'priority' ? 'auto' : told.tier;
  if (tier !== undefined && !['auto', 'default', 'standard', 'standard_only'].includes(told.tier ?? ''))
    differ('service tier', tier, got.tier);
  if (told.user !== undefined) differ('user', told.user, got.user);
  if (told.cacheMarks > 0 && client !== upstream) differ('cache marks', told.cacheMarks, got.cacheMarks);
  if (upstream !== 'gemini') differ('stream', told.stream, got.stream);
  return found;
}

type Differ = (of: string, expected: unknown, actual: unknown) => void;

function compareTurns(told: readonly TurnReading[], got: readonly TurnReading[], upstream: DialectName, differ: Differ): void {
  differ(
    'turns',
    told.map(({ role }) => role),
    got.map(({ role }) => role),
  );
  for (const [index, turn] of told.entries()) {
    const other = got[index];
    if (other === undefined) continue;
    const inText = turn.media.filter((one) => isInText(one, other));
    const text = squeezed(other.text);
    differ('text', squeezed(turn.text), inText.length === 0 ? text : text.slice(0, squeezed(turn.text).length));
    differ('media', sorted(turn.media.filter((one) => !inText.includes(one))), sorted(other.media));
    differ('calls', turn.calls, other.calls);
    differ(
      'results',
      turn.results.map(({ call, text, isError }) => ({ call, text: squeezed(text).replace(/^Error:/, ''), isError })),
      other.results.map(({ call, text, isError }) => ({ call, text: squeezed(text).replace(/^Error:/, ''), isError })),
    );
    // What was thought is a provider's own: others get it where they read it at all.
    if (upstream === 'openai-chat') differ('reasoning', squeezed(turn.reasoning), squeezed(other.reasoning));
    differ('foreign', turn.foreign, other.foreign);
  }
}

const TAKEN_NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/** A name that not everybody takes may be written as one that everybody takes. */
function shortenedName(name: string, written: string | undefined): string {
  return !TAKEN_NAME.test(name) && written !== undefined && TAKEN_NAME.test(written) ? written : name;
}

/** A document of plain text may be said as a text, behind the others. */
function isInText({ kind, source }: MediaReading, { text, media }: TurnReading): boolean {
  if (kind !== 'file' || media.some((one) => one.source === source)) return false;
  const plainText = Buffer.from(source, 'base64').toString('utf8');
  return plainText !== '' && squeezed(text).includes(squeezed(plainText));
}

function sorted(values: readonly unknown[]): readonly string[] {
  return values.map(canonicalText).sort();
}

/** Without tools there is nothing to choose; auto is the rule. */
function plainChoice({ toolChoice, tools, hosted }: RequestReading): string | undefined {
  if (tools.length + hosted.length === 0 || toolChoice === 'auto') return undefined;
  return toolChoice;
}

function compareThinking(told: RequestReading, got: RequestReading, upstream: DialectName, differ: Differ): void {
  const asked = told.thinking;
  if (asked === undefined) return;
  const given = got.thinking;
  if (asked.is === 'off') {
    // Where thinking has to be asked for, to leave it out is the same.
    if (given !== undefined) differ('thinking', asked, given);
    return;
  }
  // To think as much as the model finds right is what it does there by itself.
  if (asked.effort === undefined && asked.budget === undefined && given === undefined && upstream === 'gemini') return;
  if (given === undefined || given.is === 'off') {
    differ('thinking', asked, given ?? 'nothing');
    return;
  }
  if (asked.effort !== undefined && given.effort !== undefined) differ('thinking', asked.effort, given.effort);
  if (asked.effort === undefined && asked.budget !== undefined) differ('thinking', asked.budget, given.budget);
}

function squeezed(text: string): string {
  return text.replace(/\s+/g, '');
}

function shown(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing');
  return text.length > 200 ? `${text.slice(0, 190)}… (${text.length})` : text;
}
