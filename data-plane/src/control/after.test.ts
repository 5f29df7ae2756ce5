import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { afterTimeout } from './after.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

it('runs once, after the delay', () => {
  const run = vi.fn();
  const cancel = afterTimeout(200, run);
  vi.advanceTimersByTime(199);
  expect(run).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  cancel();
  vi.advanceTimersByTime(1000);
  expect(run).toHaveBeenCalledTimes(1);
});

it('does not run when it was prevented', () => {
  const run = vi.fn();
  const cancel = afterTimeout(200, run);
  vi.advanceTimersByTime(199);
  cancel();
  vi.advanceTimersByTime(1000);
  expect(run).not.toHaveBeenCalled();
});
