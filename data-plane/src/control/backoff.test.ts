import { expect, it } from 'vitest';
import { Backoff } from './backoff.ts';

const LIMITS = { leastBackoffMs: 200, mostBackoffMs: 10_000 };

it('doubles the ceiling with each failure up to the most, and begins anew after a success', () => {
  const backoff = new Backoff(LIMITS, () => 1);
  const pauses = (count: number) => Array.from({ length: count }, () => backoff.failed());
  expect(pauses(8)).toEqual([200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  expect(pauses(2000).at(-1)).toBe(10_000);
  backoff.succeeded();
  expect(pauses(2)).toEqual([200, 400]);
});

it('waits anything from nothing up to the ceiling', () => {
  const shares = [0, 0.5, 0.25];
  const backoff = new Backoff(LIMITS, () => shares.shift() ?? 0);
  expect([backoff.failed(), backoff.failed(), backoff.failed()]).toEqual([0, 200, 200]);
});

it('never waits longer than the most, be it less than the least', () => {
  const backoff = new Backoff({ leastBackoffMs: 200, mostBackoffMs: 50 }, () => 1);
  expect([backoff.failed(), backoff.failed()]).toEqual([50, 50]);
});
