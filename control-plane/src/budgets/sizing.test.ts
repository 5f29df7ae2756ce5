import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { grantAmount, nextWindowRaise, POSTPAID_PART, PREPAID_PART, seedAmount, shareOf } from './sizing.ts';

const amount = fc.integer({ min: 0, max: 2 ** 52 });
const share = fc.integer({ min: 1, max: 1_000 }).map((parts) => parts / 1_000);

const NOTHING = { need: 0, want: 0, ratePer30s: 0, share: 1, prepaid: false };

describe('grantAmount', () => {
  it('is never more than what is free, and never less than a need that is free', () => {
    fc.assert(
      fc.property(amount, amount, amount, amount, share, fc.boolean(), (need, want, ratePer30s, free, part, prepaid) => {
        const granted = grantAmount({ need, want, ratePer30s, free, share: part, prepaid });
        expect(Number.isSafeInteger(granted)).toBe(true);
        expect(granted).toBeLessThanOrEqual(free);
        if (need > free) expect(granted).toBe(0);
        else expect(granted).toBeGreaterThanOrEqual(need);
      }),
    );
  });

  it('is the largest of want, 30 seconds of the rate, and the part of the share', () => {
    expect(grantAmount({ ...NOTHING, free: 1_000, want: 700, ratePer30s: 600 })).toBe(700);
    expect(grantAmount({ ...NOTHING, free: 1_000, want: 300, ratePer30s: 600 })).toBe(600);
    expect(grantAmount({ ...NOTHING, free: 1_000, want: 300, ratePer30s: 200 })).toBe(500);
    expect(grantAmount({ ...NOTHING, free: 1_000, share: 0.25 })).toBe(125);
    expect(grantAmount({ ...NOTHING, free: 1_000, prepaid: true })).toBe(200);
    expect(grantAmount({ ...NOTHING, free: 1_000, need: 1_000, want: 5_000 })).toBe(1_000);
  });

  it('hands out less and less, so that what is left shrinks by the part of the share with each grant', () => {
    fc.assert(
      fc.property(amount, share, fc.boolean(), (limit, part, prepaid) => {
        const kept = 1 - part * (prepaid ? PREPAID_PART : POSTPAID_PART);
        let free = limit;
        let before = Number.POSITIVE_INFINITY;
        for (let round = 0; round < 50; round++) {
          const granted = grantAmount({ ...NOTHING, free, share: part, prepaid });
          expect(granted).toBeLessThanOrEqual(before);
          before = granted;
          // Rounding leaves less than one unit behind.
          expect(free - granted).toBeLessThanOrEqual(free * kept * (1 + 1e-12) + 1);
          free -= granted;
        }
      }),
    );
  });

  it('strands on idle nodes no more than their parts: with equal nodes that ask in turn the last one still finds its share', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1_000_000, max: 2 ** 52 }), (nodes, limit) => {
        let free = limit;
        const held: number[] = [];
        for (let index = 0; index < nodes; index++) {
          const granted = grantAmount({ ...NOTHING, free, share: shareOf(0, held) });
          held.push(granted);
          free -= granted;
        }
        // The first takes a half, the second a quarter of the rest, the third a sixth: what is left falls as 1 ÷ √n.
        expect(free).toBeGreaterThan((limit * 0.5) / Math.sqrt(nodes) - nodes);
      }),
    );
  });
});

describe('shareOf', () => {
  it('goes by rate, holders of unknown rate counting as much as the node itself', () => {
    expect(shareOf(100, [])).toBe(1);
    expect(shareOf(100, [300])).toBe(0.25);
    expect(shareOf(100, [undefined, undefined, undefined])).toBe(0.25);
    expect(shareOf(100, [0, 0])).toBe(1);
  });

  it('makes a node without a rate one among equals', () => {
    expect(shareOf(0, [500, undefined])).toBeCloseTo(1 / 3, 12);
  });

  it('sums to one over nodes that all know of each other', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1e9 }), { minLength: 1, maxLength: 20 }), (rates) => {
        const sum = rates.reduce((total, rate, index) => total + shareOf(rate, rates.toSpliced(index, 1)), 0);
        expect(sum).toBeCloseTo(1, 9);
      }),
    );
  });
});

describe('nextWindowRaise', () => {
  it('raises to what is held now, under the limit of the next window', () => {
    expect(nextWindowRaise({ held: 500, nextHeld: 0, nextFree: 10_000 })).toBe(500);
    expect(nextWindowRaise({ held: 500, nextHeld: 500, nextFree: 10_000 })).toBe(0);
    expect(nextWindowRaise({ held: 500, nextHeld: 900, nextFree: 10_000 })).toBe(0);
    expect(nextWindowRaise({ held: 500, nextHeld: 100, nextFree: 250 })).toBe(250);
  });
});

describe('seedAmount', () => {
  it('is the least of one percent of the limit, some requests, and what is free', () => {
    expect(seedAmount({ unit: 'chat_completions', limit: 1_000 }, 1_000)).toBe(10);
    expect(seedAmount({ unit: 'chat_completions', limit: 1_000_000 }, 1_000_000)).toBe(20);
    expect(seedAmount({ unit: 'chat_completions', limit: 1_000_000 }, 7)).toBe(7);
    expect(seedAmount({ unit: 'nano_usd', limit: 5_000_000_000 }, 5_000_000_000)).toBe(50_000_000);
    expect(seedAmount({ unit: 'nano_usd', limit: 99 }, 99)).toBe(0);
  });
});
