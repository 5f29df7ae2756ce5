/** Arbitrary answers of each dialect, for clients of each: whole, as streams, and on their way back. `npm run fuzz` takes many more. */
import { DIALECT_NAMES } from '@meridian/domain/dialect';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { returningAnswers, streamedAnswers, wholeAnswers } from './answer-properties.ts';

/** Runs can be repeated; each pair of dialects has its own. */
const RUNS = { seed: 20_261_122, numRuns: 50 };

describe.each(DIALECT_NAMES)('an answer of %s', (upstream) => {
  it.each(DIALECT_NAMES)('says the same when it is read again from what a client of %s got', (client) => {
    fc.assert(wholeAnswers(upstream, client), RUNS);
  });

  it.each(DIALECT_NAMES)('says the same in a stream for a client of %s, wherever it is cut, as in a whole answer', (client) => {
    fc.assert(streamedAnswers(upstream, client), RUNS);
  });

  it.each(DIALECT_NAMES)('is known again by its provider when a client of %s sends it back', (client) => {
    fc.assert(returningAnswers(upstream, client), RUNS);
  });
});
