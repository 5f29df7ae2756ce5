import { describe, expect, it } from 'vitest';
import { fuzz } from './run.ts';
import { seedsOf } from './seeds.ts';
import { TARGETS } from './targets.ts';

/** A short round; `npm run fuzz` is the long one. */
const INPUTS = 250;
const seeds = seedsOf();

describe('broken input', () => {
  it.each(TARGETS.map((target) => [target.name, target] as const))('of %s breaks nothing', { timeout: 120_000 }, (_, target) => {
    expect(fuzz(target, seeds[target.dialect], INPUTS, 1).failures).toEqual([]);
  });
});
