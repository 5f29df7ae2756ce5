// The padding OpenAI puts into its stream events, so that their lengths tell nothing about the text.

import { hash32 } from './seeded.ts';

const LETTERS = 'IPio8PDeczEmdPrWuQNXk0OUCt9';

/** The padding of an event with this content. */
export function obfuscationOf(text: string): string {
  return LETTERS.slice(0, hash32(text) % LETTERS.length);
}
