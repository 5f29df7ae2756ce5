import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { repeat } from './repeat.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const onError = (_: string, error: unknown): void => {
  throw error;
};

describe('repeat', () => {
  it('runs at once, and again after the pause that each run asks for', async () => {
    const pauses = [100, 50, 1_000];
    let runs = 0;
    const job = repeat({ name: 'job', retryMs: 1, onError, run: async () => pauses[runs++] ?? 1_000 });
    expect(runs).toBe(1);
    await vi.advanceTimersByTimeAsync(99);
    expect(runs).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(runs).toBe(2);
    await vi.advanceTimersByTimeAsync(50);
    expect(runs).toBe(3);
    await job.stop();
  });

  it('goes on after a run that failed', async () => {
    const failures: string[] = [];
    let runs = 0;
    const run = async () => {
      runs += 1;
      if (runs === 1) throw new Error('no');
      return 1_000;
    };
    const job = repeat({ name: 'job', retryMs: 20, onError: (name, error) => failures.push(`${name}: ${String(error)}`), run });
    await vi.advanceTimersByTimeAsync(20);
    expect([runs, failures]).toEqual([2, ['job: Error: no']]);
    await job.stop();
  });

  it('runs at once when it is woken, also when that comes during a run', async () => {
    let runs = 0;
    let finish: () => void = () => undefined;
    const run = () => {
      runs += 1;
      return new Promise<number>((resolve) => {
        finish = () => resolve(60_000);
      });
    };
    const job = repeat({ name: 'job', retryMs: 1, onError, run });
    job.wake();
    expect(runs).toBe(1);
    finish();
    await vi.advanceTimersByTimeAsync(1);
    expect(runs).toBe(2);
    finish();
    await vi.advanceTimersByTimeAsync(10);
    job.wake();
    await vi.advanceTimersByTimeAsync(1);
    expect(runs).toBe(3);
    finish();
    await job.stop();
  });

  it('waits at the stop for the run under way, and begins no other', async () => {
    let runs = 0;
    let finish: () => void = () => undefined;
    const run = () => {
      runs += 1;
      return new Promise<number>((resolve) => {
        finish = () => resolve(0);
      });
    };
    const job = repeat({ name: 'job', retryMs: 1, onError, run });
    let stopped = false;
    const stop = job.stop().then(() => {
      stopped = true;
    });
    await vi.advanceTimersByTimeAsync(10);
    expect(stopped).toBe(false);
    finish();
    await stop;
    job.wake();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(runs).toBe(1);
  });
});
