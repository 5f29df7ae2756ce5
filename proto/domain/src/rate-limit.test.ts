import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type RateLimits, stricterLimits } from './rate-limit.ts';

const limit = fc.nat({ max: 1_000 });
const limits: fc.Arbitrary<RateLimits> = fc.record(
  { requestsPerMinute: limit, tokensPerMinute: limit, concurrency: limit },
  { requiredKeys: [] },
);
const NAMES = ['requestsPerMinute', 'tokensPerMinute', 'concurrency'] as const;

it('the stricter of two limits is the lesser of each, and what neither limits stays without limit', () => {
  fc.assert(
    fc.property(limits, limits, (one, other) => {
      const both = stricterLimits(one, other);
      for (const name of NAMES) {
        const given = [one[name], other[name]].filter((each) => each !== undefined);
        expect(both?.[name]).toBe(given.length === 0 ? undefined : Math.min(...given));
      }
      expect(stricterLimits(other, one)).toEqual(both);
    }),
  );
  expect(stricterLimits(undefined, undefined)).toBeUndefined();
  expect(stricterLimits({ concurrency: 3 }, undefined)).toEqual({ concurrency: 3 });
});
