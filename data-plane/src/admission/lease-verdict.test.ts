import { describe, expect, it } from 'vitest';
import { judge, type Shortage, type Word } from './lease-verdict.ts';

const T = 10_000;
const SHORT: Shortage = {
  need: 10,
  sinceMs: T,
  patientUntilMs: T + 5_000,
  endsMs: T + 5_500,
  hope: 0,
  returning: 0,
  inFlight: 0,
  unwritten: 0,
  word: undefined,
  connected: true,
  answering: false,
  retiring: false,
};
const IN_FLIGHT = { hope: 50, inFlight: 1 };

function exhausted(left: number, atMs: number, asked = 10): Word {
  return { kind: 'exhausted', left, limit: 100, asked, atMs };
}

function unreachable(atMs: number): Word {
  return { kind: 'unavailable', reason: 'silent', atMs };
}

describe('a request that lacks something', () => {
  it.each<[string, Partial<Shortage>, number, string]>([
    ['asks when nothing is known', {}, T, 'ask'],
    ['asks where others are in flight too', IN_FLIGHT, T, 'ask'],
    ['waits for an answer', { answering: true }, T + 400, 'wait 15000'],
    ['waits for its lease to be replaced', { retiring: true }, T, 'wait 15000'],
    ['is refused by a denial that leaves less', { word: exhausted(9, T) }, T, 'exhausted'],
    ['is not told that all is used up where the disk keeps a grant from it', { word: exhausted(4, T), unwritten: 6 }, T, 'unavailable'],
    ['is refused where that grant would not do either', { word: exhausted(4, T), unwritten: 5 }, T, 'exhausted'],
    ['is refused by a denial that is remembered', { word: exhausted(9, T - 1_000) }, T, 'exhausted'],
    ['asks anew where the denial is old', { word: exhausted(9, T - 1_001) }, T, 'ask'],
    ['asks where a denial of something larger leaves enough', { word: exhausted(10, T, 11) }, T, 'ask'],
    ['asks where a denial of a refill leaves enough', { word: exhausted(10, T, 0) }, T, 'ask'],
    ['does not ask again for what was denied although it was left', { word: exhausted(10, T, 10) }, T, 'unavailable'],
    ['waits for one in flight before it is refused', { ...IN_FLIGHT, word: exhausted(9, T) }, T, 'wait 11001'],
    ['is refused where all in flight would not do', { ...IN_FLIGHT, need: 60, word: exhausted(9, T) }, T, 'exhausted'],
    ['waits where all in flight would just do', { ...IN_FLIGHT, need: 59, word: exhausted(9, T) }, T, 'wait 11001'],
    ['waits for a return of its own that is under way', { hope: 10, returning: 10, word: exhausted(0, T) }, T, 'wait 11001'],
    [
      'is not refused for such a return after its patience',
      { hope: 10, returning: 10, word: exhausted(0, T + 5_000) },
      T + 5_100,
      'wait 15500',
    ],
    ['waits for one in flight no longer than it is patient', { ...IN_FLIGHT, word: exhausted(9, T + 4_500) }, T + 4_600, 'wait 15000'],
    ['is refused after its patience by a fresh denial', { ...IN_FLIGHT, word: exhausted(9, T + 4_500) }, T + 5_000, 'exhausted'],
    ['asks once more after its patience', { ...IN_FLIGHT, word: exhausted(9, T) }, T + 5_000, 'ask'],
    ['waits for that answer', { ...IN_FLIGHT, answering: true }, T + 5_000, 'wait 15500'],
    ['gives up at its end', { ...IN_FLIGHT, answering: true }, T + 5_500, 'unavailable'],
    ['gives up at its end while its lease is replaced', { retiring: true }, T + 5_500, 'unavailable'],
    ['does not wait for a connection', { connected: false }, T, 'unavailable'],
    ['waits for one in flight without a connection', { ...IN_FLIGHT, connected: false }, T, 'wait 15000'],
    ['waits for a grant that is being written down without a connection', { answering: true, connected: false }, T, 'wait 15000'],
    ['does not wait for a return of its own without a connection', { hope: 10, returning: 10, connected: false }, T, 'unavailable'],
    [
      'does not wait for its lease to be replaced without a connection',
      { ...IN_FLIGHT, retiring: true, connected: false },
      T,
      'unavailable',
    ],
    ['is refused by a denial without a connection', { connected: false, word: exhausted(9, T) }, T, 'exhausted'],
    ['is unavailable where a holder was unreachable', { word: unreachable(T) }, T + 100, 'unavailable'],
    ['asks where that was before it came', { word: unreachable(T - 1) }, T, 'ask'],
    ['waits for one in flight where a holder was unreachable', { ...IN_FLIGHT, word: unreachable(T) }, T, 'wait 11001'],
    ['asks again a second later', { ...IN_FLIGHT, word: unreachable(T) }, T + 1_001, 'ask'],
  ])('%s', (_, shortage, nowMs, expected) => {
    const verdict = judge({ ...SHORT, ...shortage }, 1_000, nowMs);
    expect(verdict.kind === 'wait' ? `wait ${verdict.untilMs}` : verdict.kind).toBe(expected);
  });

  it('is told what was left', () => {
    expect(judge({ ...SHORT, word: exhausted(9, T) }, 1_000, T)).toEqual({ kind: 'exhausted', left: 9, limit: 100 });
  });
});
