/**
 * What a translation cannot carry, in one table. An encoder that leaves something out names it from here, and the client reads it in
 * `x-meridian-loss`: nothing is dropped in silence.
 */
import type { DialectName } from '@meridian/domain/dialect';

interface LossRow {
  /** What is lost, in words. */
  readonly what: string;
  /** The dialects that have no form for it. */
  readonly to: readonly DialectName[];
}

export const LOSSES = {
  unknown_field: {
    what: 'A field that only the dialect of the request knows.',
    to: ['openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'],
  },
  unknown_part: {
    what: 'A part of a message that only the dialect of the request knows.',
    to: ['openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'],
  },
  top_k: { what: 'Sampling from the k likeliest tokens.', to: ['openai-chat', 'openai-responses'] },
  reasoning_budget: { what: 'A thinking budget in tokens: the nearest effort is asked for.', to: ['openai-chat', 'openai-responses'] },
} as const satisfies Readonly<Record<string, LossRow>>;

export type LossName = keyof typeof LOSSES;

export interface Loss {
  readonly name: LossName;
  /** Where in the request it stood, as its own dialect writes it, where that tells more than the name: `messages[2].content[0]`, `seed`. */
  readonly at?: string;
}

/** Longer lists are cut in the header, with the number of those that are left out. */
const MAX_HEADER_CHARACTERS = 1_000;

/** The header's value: `top_k, unknown_field(store)`; undefined for no loss. */
export function lossHeader(losses: readonly Loss[]): string | undefined {
  if (losses.length === 0) return undefined;
  const words = [...new Set(losses.map(({ name, at }) => (at === undefined ? name : `${name}(${at})`)))];
  let text = '';
  for (const [index, word] of words.entries()) {
    const longer = text === '' ? word : `${text}, ${word}`;
    if (longer.length > MAX_HEADER_CHARACTERS) return `${text}${text === '' ? '' : ', '}+${words.length - index}`;
    text = longer;
  }
  return text;
}
