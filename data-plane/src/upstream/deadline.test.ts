import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Deadlines, TICK_MS } from './deadline.ts';

/** A clock that stands still until it is told otherwise. */
function heldClock(startMs = 1_000) {
  const clock = { timeMs: startMs, nowMs: () => clock.timeMs };
  const deadlines = new Deadlines(clock);
  const pass = (ms: number) => {
    clock.timeMs += ms;
    deadlines.advance();
  };
  return { clock, deadlines, pass };
}

describe('the timer wheel', () => {
  it('runs a wait when its time has passed, once', () => {
    const { deadlines, pass } = heldClock();
    let runs = 0;
    deadlines.after(1_000, () => runs++);
    pass(999);
    expect(runs).toBe(0);
    pass(251);
    expect(runs).toBe(1);
    pass(600_000);
    expect(runs).toBe(1);
    expect(deadlines.size).toBe(0);
  });

  it('is never early and late by less than two ticks, at any phase of the tick and beyond one turn of the wheel', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 10_000 }),
        fc.array(fc.integer({ min: 0, max: 400_000 }), { minLength: 1, maxLength: 20 }),
        (startMs, delaysMs) => {
          const { clock, deadlines, pass } = heldClock(startMs);
          const ranAtMs = new Map<number, number>();
          for (const [index, delayMs] of delaysMs.entries()) deadlines.after(delayMs, () => ranAtMs.set(index, clock.timeMs - startMs));
          while (deadlines.size > 0) pass(TICK_MS);
          delaysMs.forEach((delayMs, index) => {
            const lateMs = (ranAtMs.get(index) ?? Number.NaN) - delayMs;
            expect(lateMs).toBeGreaterThanOrEqual(0);
            expect(lateMs).toBeLessThan(2 * TICK_MS);
          });
        },
      ),
    );
  });

  it('agrees with a list of due times under any mix of restart, cancel and halt', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('after' as const), ms: fc.integer({ min: 0, max: 300_000 }) }),
      fc.record({ do: fc.constant('restart' as const), index: fc.nat(20), ms: fc.integer({ min: 0, max: 300_000 }) }),
      fc.record({ do: fc.constant('cancel' as const), index: fc.nat(20) }),
      fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 0, max: 400_000 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { clock, deadlines, pass } = heldClock(0);
        const waits: { handle: ReturnType<Deadlines['after']>; dueMs: number | undefined; runs: number; expected: number }[] = [];
        for (const now of steps) {
          if (now.do === 'after') {
            const wait = { dueMs: clock.timeMs + now.ms, runs: 0, expected: 0 };
            waits.push(Object.assign(wait, { handle: deadlines.after(now.ms, () => wait.runs++) }));
          } else if (now.do === 'pass') {
            pass(now.ms);
            // Whole ticks only, so that the list and the wheel cannot disagree by the rest of one.
            const tickMs = Math.floor(clock.timeMs / TICK_MS) * TICK_MS;
            for (const wait of waits) {
              if (wait.dueMs === undefined || wait.dueMs > tickMs) continue;
              // A wait set within this tick is due with the next at the earliest.
              wait.expected++;
              wait.dueMs = undefined;
            }
          } else {
            const wait = waits[now.index];
            if (wait === undefined) continue;
            if (now.do === 'cancel') {
              wait.handle.cancel();
              wait.dueMs = undefined;
            } else {
              wait.handle.restart(now.ms);
              wait.dueMs = clock.timeMs + now.ms;
            }
          }
        }
        pass(1_000_000);
        for (const wait of waits) expect(wait.runs).toBe(wait.expected + (wait.dueMs === undefined ? 0 : 1));
        expect(deadlines.size).toBe(0);
      }),
    );
  });

  it('lets a run cancel another of the same tick, and restart itself', () => {
    const { deadlines, pass } = heldClock();
    const ran: string[] = [];
    const both = { a: deadlines.after(500, () => cancelOther('a')), b: deadlines.after(500, () => cancelOther('b')) };
    function cancelOther(name: 'a' | 'b') {
      ran.push(name);
      both[name === 'a' ? 'b' : 'a'].cancel();
    }
    const again = deadlines.after(500, () => {
      ran.push('again');
      if (ran.filter((name) => name === 'again').length < 3) again.restart(500);
    });
    for (let tick = 0; tick < 20; tick++) pass(TICK_MS);
    expect(ran.filter((name) => name !== 'again')).toHaveLength(1);
    expect(ran.filter((name) => name === 'again')).toHaveLength(3);
    expect(deadlines.size).toBe(0);
  });

  it('runs the rest of a tick after one of its runs has thrown', () => {
    const { deadlines, pass } = heldClock();
    let runs = 0;
    for (let count = 0; count < 3; count++) {
      deadlines.after(100, () => {
        runs++;
        if (runs === 1) throw new Error('a bug of the caller');
      });
    }
    expect(() => pass(1_000)).toThrow('a bug of the caller');
    deadlines.advance();
    expect(runs).toBe(3);
  });

  it('looks at every slot after a halt longer than a turn of the wheel', () => {
    const { deadlines, pass } = heldClock();
    let runs = 0;
    for (let ms = 0; ms <= 300_000; ms += 777) deadlines.after(ms, () => runs++);
    const all = deadlines.size;
    pass(10 * 3_600_000);
    expect(runs).toBe(all);
  });
});
