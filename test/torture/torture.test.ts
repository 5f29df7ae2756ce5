/** A short round of `npm run torture`. */
import { expect, it } from 'vitest';
import { faultsOf, summaryOf, torture } from './torture.ts';

it('kills, pauses and cuts off everything at random, and the books agree to the nano-dollar', { timeout: 240_000 }, async () => {
  const seed = Number(process.env.MERIDIAN_TORTURE_SEED ?? Date.now() % 1_000_000);
  const result = await torture({ seed, kills: 20, requests: 1_500, concurrency: 24, keys: 6, everyMs: 900 });
  console.log(`seed ${seed}\n${summaryOf(result)}`);
  expect(faultsOf(result)).toEqual([]);
  expect(result.verdict.complete).toBeGreaterThan(500);
  expect(result.verdict.refused).toBeGreaterThan(0);
});
