import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MOST_DEBT_MINUTES, RateBucket, UNITS } from './rate-bucket.ts';

/** Takes a token where there is one. */
function tryTake(bucket: RateBucket, atMs: number, share = 1): boolean {
  if (bucket.level(atMs, share) < UNITS) return false;
  bucket.take(1);
  return true;
}

describe('a token bucket', () => {
  it('gives no more than its limit at once, and in any time what flows back in it', () => {
    const pauses = fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.constantFrom(1, 0.6, 0.12), pauses, (limit, share, waits) => {
        const bucket = new RateBucket(limit, 0, 0);
        let atMs = 0;
        let given = 0;
        for (const waitMs of waits) {
          atMs += waitMs;
          while (given < 20_000 && tryTake(bucket, atMs, share)) given++;
          const most = Math.max(1, limit * share) + (limit * share * atMs) / 60_000;
          expect(given).toBeLessThanOrEqual(most);
        }
      }),
    );
  });

  it('never refuses who keeps to the limit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6_000 }), fc.array(fc.nat({ max: 3 }), { maxLength: 300 }), (limit, more) => {
        const bucket = new RateBucket(limit, 0, 0);
        let atMs = 0;
        for (const extra of more) {
          expect(tryTake(bucket, atMs)).toBe(true);
          atMs += Math.ceil(60_000 / limit) + extra;
        }
      }),
    );
  });

  it('says how long to wait, to the millisecond', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.nat({ max: 30_000 }), (limit, passedMs) => {
        const bucket = new RateBucket(limit, 0, 0);
        while (tryTake(bucket, 0));
        bucket.level(passedMs, 1);
        const waitMs = bucket.untilMs(UNITS, 1);
        if (waitMs > 0) expect(bucket.level(passedMs + waitMs - 1, 1)).toBeLessThan(UNITS);
        expect(bucket.level(passedMs + waitMs, 1)).toBeGreaterThanOrEqual(UNITS);
      }),
    );
  });

  it('goes into debt for what was dearer than thought, for a bounded time', () => {
    const bucket = new RateBucket(1_000, 0, 0);
    bucket.level(0, 1);
    bucket.take(3_000);
    expect(bucket.level(0, 1)).toBe(-2_000 * UNITS);
    expect(bucket.level(60_000, 1)).toBe(-1_000 * UNITS);
    bucket.take(1_000_000);
    expect(bucket.level(60_000, 1)).toBe(-MOST_DEBT_MINUTES * 1_000 * UNITS);
  });

  it('keeps what was taken when its limit changes', () => {
    const bucket = new RateBucket(100, 0, 0);
    bucket.level(0, 1);
    bucket.take(60);
    bucket.setLimit(50);
    expect(bucket.level(0, 1)).toBe(-10 * UNITS);
    bucket.setLimit(200);
    expect(bucket.level(0, 1)).toBe(140 * UNITS);
  });

  it('tells what was taken once, again the same where no answer came, and goes on from the region’s level', () => {
    const bucket = new RateBucket(100, 0, 0);
    bucket.level(0, 1);
    bucket.take(10);
    expect(bucket.tell(0, 1, 0, 1)).toEqual({ limit: 100, taken: 10 * UNITS, level: 100 * UNITS });
    bucket.take(5);
    expect(bucket.tell(0, 1, 0, 1)).toMatchObject({ taken: 10 * UNITS });
    bucket.told(40 * UNITS, 0, 0);
    expect(bucket.level(0, 1)).toBe(35 * UNITS);
    expect(bucket.tell(0, 1, 0, 1)).toMatchObject({ taken: 5 * UNITS, level: 40 * UNITS });
  });

  it('leaves each node its part of what was left when they cannot hear of each other any more', () => {
    const nodes = [1, 2].map(() => new RateBucket(1_000, 0, 0));
    for (const bucket of nodes) {
      bucket.level(0, 1);
      bucket.take(500);
      expect(bucket.level(0, 0.6)).toBe(300 * UNITS);
      expect(bucket.level(0, 0.6)).toBe(300 * UNITS);
      bucket.take(400);
      expect(bucket.level(0, 0.3)).toBe(-100 * UNITS);
      expect(bucket.level(0, 1)).toBe(-100 * UNITS);
    }
  });

  it('tells after an outage no more than what is missing of the share that the node had', () => {
    const bucket = new RateBucket(100, 0, 0);
    bucket.level(0, 1);
    let given = 0;
    // Two nodes: 60 each, and as much each minute.
    for (let atMs = 0; atMs <= 10 * 60_000; atMs += 100) while (tryTake(bucket, atMs, 0.6)) given++;
    expect(given).toBeGreaterThan(600);
    const { taken } = bucket.tell(10 * 60_000, 0.6, 1, 0.6);
    expect(taken).toBeLessThanOrEqual(50 * UNITS);
    expect(taken).toBeGreaterThan(45 * UNITS);
  });

  it('tells no more than that in two parts, where the outage came over what was told', () => {
    const bucket = new RateBucket(100, 0, 0);
    bucket.level(0, 1);
    bucket.take(20);
    // Nobody answers; what is taken from now on waits behind it.
    bucket.tell(0, 1, 0, 0.6);
    for (let atMs = 0; atMs <= 10 * 60_000; atMs += 100) while (tryTake(bucket, atMs, 0.6));
    const first = bucket.tell(10 * 60_000, 0.6, 1, 0.6).taken;
    bucket.told(100 * UNITS - first, 10 * 60_000, 1);
    const second = bucket.tell(10 * 60_000, 1, 1, 0.6).taken;
    expect(first).toBe(20 * UNITS);
    expect(first + second).toBeLessThanOrEqual(50 * UNITS);
    expect(first + second).toBeGreaterThan(45 * UNITS);
  });

  it('tells a region that was wiped in an outage what there was before it', () => {
    const nodes = [1, 2].map(() => new RateBucket(1_000, 0, 0));
    for (const bucket of nodes) {
      // The region had 400 left. Each goes on with 240, and takes 60 of them.
      bucket.tell(0, 1, 0, 0.6);
      bucket.told(400 * UNITS, 0, 0);
      bucket.level(0, 0.6);
      bucket.take(60);
    }
    const told = nodes.map((bucket) => bucket.tell(0, 0.6, 1, 0.6));
    expect(told).toEqual([1, 2].map(() => ({ limit: 1_000, taken: 60 * UNITS, level: 400 * UNITS })));
  });
});
