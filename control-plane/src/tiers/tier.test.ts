import { type Ladder, tierAtSpend } from '@meridian/domain/tier';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ladderProblem, nextRung, type Rung, windowAfter, windowToAt } from './tier.ts';

const USD = 1_000_000_000n;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START_MS = Date.UTC(2026, 4, 4);

const tier = (id: string, usd: bigint, markupBasisPoints: number) => ({ id, name: id, fromSpendNano: usd * USD, markupBasisPoints });
const LADDER: Ladder = [tier('a', 0n, 4000), tier('b', 50n, 3000), tier('c', 200n, 2200), tier('d', 1_000n, 1500), tier('e', 5_000n, 1000)];
const place = (rung: Rung): number => LADDER.findIndex((each) => each.id === rung.tierId);

const spend = fc.bigInt({ min: 0n, max: 8_000n * USD });
const rung = fc.record({
  tierId: fc.constantFrom(...LADDER.map((each) => each.id)),
  loweredAtMs: fc.option(
    fc.integer({ min: 0, max: 60 }).map((runs) => START_MS - runs * 6 * HOUR_MS),
    { nil: undefined },
  ),
});

describe('the next rung', () => {
  it.each([
    ['at a threshold is the tier above it', 'a', 50n * USD, 'b'],
    ['a nano below it is not', 'a', 50n * USD - 1n, 'a'],
    ['goes up as many steps as the spend reaches', 'a', 5_000n * USD, 'e'],
    ['goes down one step, however low the spend', 'e', 0n, 'd'],
    ['of a tier that is no longer there is what the spend reaches', 'gone', 200n * USD, 'c'],
    ['of a tier that is no longer there is the first without spend', 'gone', 0n, 'a'],
  ])('%s', (_, from, spendNano, to) => {
    expect(nextRung(LADDER, { tierId: from, loweredAtMs: undefined }, spendNano, START_MS).tierId).toBe(to);
  });

  it('goes down again after seven days, not a run earlier', () => {
    const first = nextRung(LADDER, { tierId: 'e', loweredAtMs: undefined }, 0n, START_MS);
    expect(first).toEqual({ tierId: 'd', loweredAtMs: START_MS });
    expect(nextRung(LADDER, first, 0n, START_MS + 7 * DAY_MS - 6 * HOUR_MS)).toBe(first);
    expect(nextRung(LADDER, first, 0n, START_MS + 7 * DAY_MS)).toEqual({ tierId: 'c', loweredAtMs: START_MS + 7 * DAY_MS });
  });

  it('is never below what the spend reaches, and never more than a step below what it was', () => {
    fc.assert(
      fc.property(rung, spend, (before, spendNano) => {
        const after = nextRung(LADDER, before, spendNano, START_MS);
        expect(place(after)).toBeGreaterThanOrEqual(LADDER.indexOf(tierAtSpend(LADDER, spendNano)));
        expect(place(after)).toBeGreaterThanOrEqual(place(before) - 1);
      }),
    );
  });

  it('is no lower for a higher spend, nor for a higher rung', () => {
    fc.assert(
      fc.property(rung, rung, spend, spend, (one, other, less, more) => {
        const [low, high] = less <= more ? [less, more] : [more, less];
        expect(place(nextRung(LADDER, one, low, START_MS))).toBeLessThanOrEqual(place(nextRung(LADDER, one, high, START_MS)));
        const same = { ...other, loweredAtMs: one.loweredAtMs };
        const [below, above] = place(one) <= place(same) ? [one, same] : [same, one];
        expect(place(nextRung(LADDER, below, low, START_MS))).toBeLessThanOrEqual(place(nextRung(LADDER, above, low, START_MS)));
      }),
    );
  });

  it('is the same when it is decided twice for the same 30 days', () => {
    fc.assert(
      fc.property(rung, spend, (before, spendNano) => {
        const once = nextRung(LADDER, before, spendNano, START_MS);
        expect(nextRung(LADDER, once, spendNano, START_MS)).toEqual(once);
      }),
    );
  });

  it('goes down at most once in any seven days, over any history of spend, and ends at what a steady spend reaches', () => {
    fc.assert(
      fc.property(fc.array(spend, { minLength: 1, maxLength: 150 }), spend, (history, last) => {
        let at: Rung = { tierId: 'a', loweredAtMs: undefined };
        const downs: number[] = [];
        let nowMs = START_MS;
        const step = (spendNano: bigint): void => {
          nowMs += 6 * HOUR_MS;
          const next = nextRung(LADDER, at, spendNano, nowMs);
          if (place(next) < place(at)) downs.push(nowMs);
          at = next;
        };
        for (const spendNano of history) step(spendNano);
        for (let run = 0; run < LADDER.length * 28; run++) step(last);
        for (const [index, atMs] of downs.entries())
          if (index > 0) expect(atMs - (downs[index - 1] ?? 0)).toBeGreaterThanOrEqual(7 * DAY_MS);
        expect(at.tierId).toBe(tierAtSpend(LADDER, last).id);
      }),
      { numRuns: 50 },
    );
  });
});

describe('the windows of runs', () => {
  const at = (hour: number, minute = 0) => Date.UTC(2026, 1, 28, hour, minute);

  it('end at 00, 06, 12 and 18 UTC', () => {
    expect([at(0), at(5, 59), at(6), at(23, 59)].map(windowToAt)).toEqual([at(0), at(0), at(6), at(18)]);
  });

  it('follow each other, those that were missed included, and begin with the newest', () => {
    expect(windowAfter(undefined, at(13))).toBe(at(12));
    expect(windowAfter(at(12), at(13))).toBeUndefined();
    expect(windowAfter(at(12), at(18))).toBe(at(18));
    expect(windowAfter(at(0), at(13))).toBe(at(6));
    expect(windowAfter(at(6), at(13))).toBe(at(12));
  });

  it('leave out what is so long ago that no run that is due counts it', () => {
    expect(windowAfter(at(0) - 90 * DAY_MS, at(0))).toBe(at(0) - 30 * DAY_MS + 6 * HOUR_MS);
  });
});

describe('a ladder', () => {
  it('that rises in spend and falls in markup is good', () => {
    expect(ladderProblem(LADDER)).toBeUndefined();
    expect(ladderProblem([tier('one', 0n, 0)])).toBeUndefined();
  });

  it.each([
    ['without tiers', []],
    ['that starts above 0', [tier('a', 1n, 100)]],
    ['with an id twice', [tier('a', 0n, 100), tier('a', 1n, 50)]],
    ['that does not rise', [tier('a', 0n, 100), tier('b', 2n, 50), tier('c', 2n, 40)]],
    ['whose markup rises', [tier('a', 0n, 100), tier('b', 2n, 101)]],
    ['with a markup below 0', [tier('a', 0n, -1)]],
    ['with a markup beyond all measure', [tier('a', 0n, 100_001)]],
    ['with more tiers than anybody wants', Array.from({ length: 21 }, (_, index) => tier(`t${index}`, BigInt(index), 100))],
  ])('%s is refused', (_, ladder) => {
    expect(ladderProblem(ladder)).toEqual(expect.any(String));
  });
});
