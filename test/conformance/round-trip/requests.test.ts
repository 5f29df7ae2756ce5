/** Arbitrary requests of clients of each dialect, for upstreams of each. `npm run fuzz` takes many more. */
import { DIALECT_NAMES } from '@meridian/domain/dialect';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { writtenRequests } from './request-properties.ts';

/** Runs can be repeated; each pair of dialects has its own. */
const RUNS = { seed: 20_261_122, numRuns: 100 };

describe.each(DIALECT_NAMES)('a request of a client of %s', (client) => {
  it.each(DIALECT_NAMES)('says to an upstream of %s what it says, but for what is named', (upstream) => {
    fc.assert(writtenRequests(client, upstream), RUNS);
  });
});
