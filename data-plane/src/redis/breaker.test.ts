import { describe, expect, it } from 'vitest';
import { BREAKER_LIMITS, Breaker } from './breaker.ts';

/** The jitter is at its most, so that a pause is as long as it can be. */
const NEARLY_ONE = 0.999_999;

function opened(random = () => NEARLY_ONE): Breaker {
  const breaker = new Breaker(BREAKER_LIMITS, random);
  for (let count = 0; count < 5; count++) breaker.failed(breaker.admit(0) ?? -1, 0);
  return breaker;
}

describe('the breaker before Redis', () => {
  it('opens with the fifth failure within a second, and not with five over a longer time', () => {
    const breaker = new Breaker(BREAKER_LIMITS, () => 0);
    for (const atMs of [0, 300, 600, 900, 1_000, 1_300]) expect(breaker.failed(breaker.admit(atMs) ?? -1, atMs)).toBe(false);
    expect(breaker.open).toBe(false);
    expect(breaker.failed(breaker.admit(1_350) ?? -1, 1_350)).toBe(true);
    expect(breaker.open).toBe(true);
    expect(breaker.admit(1_350)).toBeUndefined();
  });

  it('lets one probe through after its pause, and closes when that succeeds', () => {
    const breaker = opened();
    expect(breaker.admit(199)).toBeUndefined();
    const probe = breaker.admit(200);
    expect(probe).toBeDefined();
    expect(breaker.admit(200)).toBeUndefined();
    expect(breaker.open).toBe(true);
    expect(breaker.succeeded(probe ?? -1)).toBe(true);
    expect(breaker.open).toBe(false);
    // Nothing is remembered of the failures before.
    for (let count = 0; count < 4; count++) expect(breaker.failed(breaker.admit(201) ?? -1, 201)).toBe(false);
  });

  it('pauses longer after each failed probe, up to a bound, with jitter', () => {
    const breaker = opened();
    let nowMs = 0;
    const pauses: number[] = [];
    for (let count = 0; count < 6; count++) {
      const from = nowMs;
      let probe: number | undefined;
      while (probe === undefined) {
        nowMs++;
        probe = breaker.admit(nowMs);
      }
      pauses.push(nowMs - from);
      breaker.failed(probe, nowMs);
    }
    expect(pauses).toEqual([200, 400, 800, 1_600, 2_000, 2_000]);
    expect(opened(() => 0).admit(100)).toBeDefined();
  });

  it('ignores the end of what was sent before it opened', () => {
    const breaker = new Breaker(BREAKER_LIMITS, () => 0);
    const early = breaker.admit(0) ?? -1;
    for (let count = 0; count < 5; count++) breaker.failed(breaker.admit(0) ?? -1, 0);
    expect(breaker.succeeded(early)).toBe(false);
    expect(breaker.open).toBe(true);
    const probe = breaker.admit(1_000);
    expect(breaker.failed(early, 1_000)).toBe(false);
    expect(breaker.succeeded(probe ?? -1)).toBe(true);
  });
});
