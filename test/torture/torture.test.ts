/** A short round of `npm run torture`: with caps and rate limits in the way, idempotency keys, changing prices, and a Redis that forgets. */
import { expect, it } from 'vitest';
import { MODELS } from './clients.ts';
import { faultsOf, summaryOf, torture } from './torture.ts';

it('kills, pauses and cuts off everything at random, and the books agree to the nano-dollar', { timeout: 420_000 }, async () => {
  const seed = Number(process.env.MERIDIAN_TORTURE_SEED ?? Date.now() % 1_000_000);
  const result = await torture({ seed, kills: 12, requests: 1_000, concurrency: 24, keys: 6, everyMs: 1_200 });
  console.log(`seed ${seed}\n${summaryOf(result)}`);
  expect(faultsOf(result)).toEqual([]);
  const { verdict } = result;
  expect(verdict.complete).toBeGreaterThan(150);
  // From nearly each dialect to each.
  expect(new Set([...verdict.pairs.keys()].map((pair) => pair.replace(/,.*/, ''))).size).toBeGreaterThan(12);
  expect(verdict.markups).toBeGreaterThan(1);
  expect(verdict.priceVersions).toBeGreaterThan(MODELS.length);
  expect(verdict.replays).toBeGreaterThan(0);
});
