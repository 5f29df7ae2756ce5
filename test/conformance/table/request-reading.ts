/** What an upstream understands of a request on the wire, in words that no dialect owns. */
import { canonicalText, isJson } from './json.ts';

export interface MediaReading {
  readonly kind: 'image' | 'audio' | 'video' | 'file';
  /** Its base64, its address, or its id with its provider. */
  readonly source: string;
}

export interface CallAsked {
  readonly name: string;
  /** The same text for the same arguments. */
  readonly arguments: string;
}

export interface ResultReading {
  /** Which call of the conversation it answers, from 0; -1 for none. */
  readonly call: number;
  readonly text: string;
  readonly isError: boolean;
}

/** All that one side says before the other side speaks. Media of results stand with the rest: not every dialect can keep them inside. */
export interface TurnReading {
  readonly role: 'user' | 'assistant';
  text: string;
  reasoning: string;
  readonly media: MediaReading[];
  readonly calls: CallAsked[];
  readonly callIds: string[];
  readonly results: ResultReading[];
  readonly proofs: string[];
  readonly foreign: string[];
}

export interface ToolReading {
  readonly name: string;
  readonly description: string;
  /** The same text for the same schema. */
  readonly parameters: string;
}

export type Thinking =
  | { readonly is: 'off' }
  | { readonly is: 'on'; readonly effort: string | undefined; readonly budget: number | undefined };

export interface RequestReading {
  readonly system: string;
  readonly turns: readonly TurnReading[];
  readonly tools: readonly ToolReading[];
  readonly hosted: readonly string[];
  /** `auto`, `none`, `required`, `tool <name>`. */
  readonly toolChoice: string | undefined;
  readonly parallel: boolean | undefined;
  readonly maxTokens: number | undefined;
  readonly numbers: Readonly<Record<'temperature' | 'topP' | 'topK' | 'seed' | 'frequencyPenalty' | 'presencePenalty', number | undefined>>;
  readonly stop: readonly string[];
  readonly choices: number;
  readonly logprobs: number | undefined;
  /** `json_object`, or the schema. */
  readonly format: string | undefined;
  readonly thinking: Thinking | undefined;
  readonly tier: string | undefined;
  readonly user: string | undefined;
  readonly cacheMarks: number;
  readonly stream: boolean;
  /** Rules of the dialect that the request breaks. */
  readonly problems: readonly string[];
}

/** Puts what is said into turns, and results to the calls they answer. */
export class Conversation {
  readonly turns: TurnReading[] = [];
  readonly problems: string[] = [];
  /** Names of the calls in their order, and the place of each id. */
  readonly #names: string[] = [];
  readonly #places = new Map<string, number>();
  readonly #answered = new Set<number>();

  /** The turn of this side, which goes on where it spoke last. */
  turn(role: 'user' | 'assistant'): TurnReading {
    const last = this.turns.at(-1);
    if (last?.role === role) return last;
    const turn: TurnReading = { role, text: '', reasoning: '', media: [], calls: [], callIds: [], results: [], proofs: [], foreign: [] };
    this.turns.push(turn);
    return turn;
  }

  /** `custom`: the argument is free text, which other dialects carry as the one member `input`. */
  call(id: string, name: string, args: unknown, custom = false): void {
    const value = custom ? { input: args } : typeof args === 'string' ? parsedArguments(args) : (args ?? {});
    const turn = this.turn('assistant');
    turn.calls.push({ name, arguments: canonicalText(value) });
    turn.callIds.push(id);
    if (id !== '' && this.#places.has(id)) this.problems.push(`two calls are ${id}`);
    if (id !== '') this.#places.set(id, this.#names.length);
    this.#names.push(name);
  }

  result(id: string, text: string, isError: boolean, name?: string): void {
    let place = this.#places.get(id) ?? -1;
    // Without an id it answers the first call of its name that has no answer yet.
    if (place === -1 && name !== undefined) place = this.#names.findIndex((called, index) => called === name && !this.#answered.has(index));
    if (place === -1) this.problems.push(`a result of no call: ${id || String(name)}`);
    if (name !== undefined && place !== -1 && this.#names[place] !== name)
      this.problems.push(`the result of ${name} answers ${this.#names[place]}`);
    this.#answered.add(place);
    this.turn('user').results.push({ call: place, text: resultText(text), isError });
  }

  /** Turns with something in them; results in the order of their calls. */
  done(): TurnReading[] {
    for (let place = 0; place < this.#names.length; place++) {
      if (!this.#answered.has(place)) this.problems.push(`call ${place} has no result`);
    }
    for (const turn of this.turns) turn.results.sort((a, b) => a.call - b.call);
    const merged: TurnReading[] = [];
    for (const turn of this.turns) {
      const isEmpty =
        turn.text.trim() === '' &&
        [turn.media, turn.calls, turn.results, turn.proofs, turn.foreign].every(({ length }) => length === 0) &&
        turn.reasoning === '';
      if (isEmpty) continue;
      const last = merged.at(-1);
      if (last?.role !== turn.role) {
        merged.push(turn);
        continue;
      }
      last.text += `\n${turn.text}`;
      last.reasoning += turn.reasoning;
      for (const kind of ['media', 'calls', 'callIds', 'results', 'proofs', 'foreign'] as const)
        (last[kind] as unknown[]).push(...turn[kind]);
    }
    return merged;
  }
}

function parsedArguments(text: string): unknown {
  if (text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The same text for the same result, whether it is written as JSON or as an object. */
function resultText(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'string' ? value : canonicalText(value);
  } catch {
    return text;
  }
}

/** The same text for schemas that allow the same, as far as dialects differ: a closed object may be told or be the rule. */
export function schemaText(schema: unknown): string {
  return canonicalText(plain(schema));
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (!isJson(value)) return value;
  const kept: [string, unknown][] = [];
  for (const [key, member] of Object.entries(value)) {
    const isNothing =
      (key === 'additionalProperties' && member === false) ||
      key === '$schema' ||
      // Some programs write it where it means nothing.
      key === 'strict' ||
      (key === 'required' && Array.isArray(member) && member.length === 0) ||
      (key === 'properties' && isJson(member) && Object.keys(member).length === 0);
    if (isNothing) continue;
    // The older form of one dialect writes types in capitals.
    kept.push([key, key === 'type' && typeof member === 'string' ? member.toLowerCase() : plain(member)]);
  }
  return Object.fromEntries(kept);
}

/** A tool without arguments takes an empty object. */
export function parametersText(parameters: unknown): string {
  return schemaText(isJson(parameters) && Object.keys(parameters).length > 0 ? parameters : { type: 'object' });
}

/** Counts the marks of a prompt cache, wherever they stand. */
export function cacheMarksIn(value: unknown): number {
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + cacheMarksIn(item), 0);
  if (!isJson(value)) return 0;
  return Object.entries(value).reduce(
    (sum, [key, member]) => sum + (key === 'cache_control' && isJson(member) ? 1 : cacheMarksIn(member)),
    0,
  );
}

/** The base64 of a data URL, any other address as it is. */
export function sourceOf(url: string): string {
  return url.replace(/^data:[^,]*,/, '');
}
