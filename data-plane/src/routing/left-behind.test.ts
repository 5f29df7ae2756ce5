import { describe, expect, it } from 'vitest';
import { Deadlines } from '../upstream/deadline.ts';
import type { AttemptEnd, RunningAttempt } from './attempt.ts';
import { LeftBehind } from './left-behind.ts';

const BOUNDS = { maxAbandonedStreams: 3, maxAbandonedStreamMs: 10_000, maxAbandonedAnswers: 5 };

function running() {
  let end: (value: AttemptEnd) => void = () => {};
  const done = new Promise<AttemptEnd>((resolve) => {
    end = resolve;
  });
  const attempt = {
    done,
    traces: [],
    left: 0,
    clientGone: () => void attempt.left++,
    abandoned: 0,
    abandon: () => void attempt.abandoned++,
    interrupt: () => {},
  } satisfies RunningAttempt & {
    abandoned: number;
    left: number;
  };
  return { attempt, finish: () => end({ kind: 'abandoned', served: undefined }) };
}

function held() {
  let nowMs = 0;
  const timers = new Deadlines({ nowMs: () => nowMs });
  const pass = (ms: number): void => {
    for (let step = 0; step < ms; step += 250) {
      nowMs += 250;
      timers.advance();
    }
  };
  return { left: new LeftBehind(timers, BOUNDS), pass };
}

describe('an upstream whose client has left', () => {
  it('asks nobody else, and is finished or cut', () => {
    const { left } = held();
    const [stream, answer] = [running().attempt, running().attempt];
    left.stream(stream, false);
    left.answer(answer);
    expect([stream, answer].map((one) => [one.left, one.abandoned])).toEqual([
      [1, 0],
      [1, 0],
    ]);
  });

  it('is drained for so long and then cut', () => {
    const { left, pass } = held();
    const { attempt } = running();
    left.stream(attempt, false);
    pass(BOUNDS.maxAbandonedStreamMs - 500);
    expect(attempt.abandoned).toBe(0);
    pass(1_000);
    expect(attempt.abandoned).toBe(1);
  });

  it('is cut at once when too many are being drained, unless the model hides its reasoning', () => {
    const { left } = held();
    for (let index = 0; index < BOUNDS.maxAbandonedStreams; index++) left.stream(running().attempt, false);
    const plain = running().attempt;
    left.stream(plain, false);
    expect(plain.abandoned).toBe(1);
    const reasoning = running().attempt;
    left.stream(reasoning, true);
    expect(reasoning.abandoned).toBe(0);
  });

  it('gives its place back when it has ended', async () => {
    const { left } = held();
    const { attempt, finish } = running();
    left.stream(attempt, false);
    expect(left.drainingStreams).toBe(1);
    finish();
    await attempt.done;
    await Promise.resolve();
    expect(left.drainingStreams).toBe(0);
  });

  it('finishes whole answers up to a number', () => {
    const { left } = held();
    for (let index = 0; index < BOUNDS.maxAbandonedAnswers; index++) {
      const { attempt } = running();
      left.answer(attempt);
      expect(attempt.abandoned).toBe(0);
    }
    const late = running().attempt;
    left.answer(late);
    expect(late.abandoned).toBe(1);
  });
});
