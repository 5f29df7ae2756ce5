import { expect, it } from 'vitest';
import { LeaseDemand } from './lease-demand.ts';

it('tells the rate of steady use, and half of it ten seconds after the last', () => {
  const demand = new LeaseDemand();
  for (let atMs = 0; atMs < 120_000; atMs += 100) demand.used(50, atMs);
  expect(demand.usedPerMs(120_000)).toBeCloseTo(0.5, 2);
  expect(demand.usedPerMs(130_000)).toBeCloseTo(0.25, 2);
});

it('counts use of one moment in full, and is not confused by a clock that goes back', () => {
  const demand = new LeaseDemand();
  demand.used(100, 1_000);
  const once = demand.usedPerMs(1_000);
  demand.used(100, 1_000);
  expect(demand.usedPerMs(1_000)).toBeCloseTo(2 * once);
  demand.used(100, 500);
  expect(demand.usedPerMs(400)).toBeCloseTo(3 * once);
});

it('remembers the largest request for half a minute to a minute', () => {
  const demand = new LeaseDemand();
  demand.asked(7, 100_000);
  demand.asked(900, 129_000);
  demand.asked(8, 140_000);
  expect(demand.largestRecent(169_000)).toBe(900);
  expect(demand.largestRecent(171_000)).toBe(8);
  expect(demand.largestRecent(260_000)).toBe(0);
});
