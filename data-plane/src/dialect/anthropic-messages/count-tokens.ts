/** Counting the tokens of a request without sending it: the same body but for the output limit, and a number for an answer. */
import type { Counting } from '../dialect.ts';
import { readUnlimited } from './pass-through-request.ts';

export const counting: Counting = {
  read: readUnlimited,
  answer: (tokens) => ({ input_tokens: tokens }),
};
