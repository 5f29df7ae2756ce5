/**
 * What a client, or somebody who looks over its shoulder, understands of an answer on the wire, in words that no dialect owns. The readers
 * beside this file are written from the providers' documentation and share nothing with the dialects, so that the two can be compared.
 */

/** Why a choice ended; `undefined` where the answer does not say. */
export type Ending = 'stop' | 'stop_sequence' | 'length' | 'tool_calls' | 'content_filter' | 'pause' | 'failed' | undefined;

export interface CallReading {
  readonly id: string;
  readonly name: string;
  /** JSON text; free text for a custom tool. */
  readonly arguments: string;
  readonly kind: 'function' | 'custom';
}

export interface CitationReading {
  /** Its address, else its title. */
  readonly source: string;
  readonly start: number | undefined;
  readonly end: number | undefined;
}

/** Tokens with what the provider puts inside its totals and what beside them put together: `input` holds what a cache gave and took. */
export interface UsageReading {
  readonly input: number;
  readonly cacheRead: number | undefined;
  readonly cacheWrite: number | undefined;
  /** With what was thought. */
  readonly output: number;
  readonly reasoning: number | undefined;
}

export interface ChoiceReading {
  text: string;
  reasoning: string;
  refusal: string;
  readonly calls: CallReading[];
  /** Base64 of pictures and sounds, or their addresses. */
  readonly media: string[];
  readonly citations: CitationReading[];
  /** Signatures, encrypted blocks: what must come back in the next turn as it was. */
  readonly proofs: string[];
  /** Kinds of parts that only this dialect has. */
  readonly foreign: string[];
  ending: Ending;
  /** Which stop sequence came. */
  stopSequence?: string;
  logprobs: number;
}

export interface AnswerReading {
  readonly id: string;
  readonly model: string;
  readonly choices: readonly ChoiceReading[];
  readonly usage: UsageReading | undefined;
  readonly tier: string | undefined;
  /** It came to its end: a whole body, a stream with what ends it. */
  readonly isWhole: boolean;
  /** The answer, or the stream, tells of an error. */
  readonly error: string | undefined;
  /** As it stands on the wire, for each time it is there. */
  readonly costs: readonly string[];
  /** What a client of this dialect puts into its next request to say this turn again. */
  readonly replay: readonly unknown[];
  /** Rules of the dialect that the answer breaks. Meaningless for what a provider wrote. */
  readonly problems: readonly string[];
}

export function emptyChoice(): ChoiceReading {
  return {
    text: '',
    reasoning: '',
    refusal: '',
    calls: [],
    media: [],
    citations: [],
    proofs: [],
    foreign: [],
    ending: undefined,
    logprobs: 0,
  };
}

/** The literals behind each `cost_usd` of a text, as they stand. */
export function costsIn(text: string, key: string): string[] {
  return [...text.matchAll(new RegExp(`"${key}":([0-9.eE+-]+)`, 'g'))].map((match) => match[1] ?? '');
}
