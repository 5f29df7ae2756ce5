import { beforeEach, describe, expect, it } from 'vitest';
import { Deadlines } from '../../upstream/deadline.ts';
import { MAX_UNREAD_MS, STALL_MS } from './limits.ts';
import { UnreadWatch } from './unread-watch.ts';

let timeMs: number;
let takenBytes: number;
let gone: number;
let deadlines: Deadlines;
let watch: UnreadWatch;
beforeEach(() => {
  timeMs = 0;
  takenBytes = 0;
  gone = 0;
  deadlines = new Deadlines({ nowMs: () => timeMs });
  const timers = { after: (delayMs: number, run: () => void) => deadlines.after(delayMs, run) };
  watch = new UnreadWatch(
    timers,
    () => takenBytes,
    () => gone++,
  );
});

function pass(ms: number): void {
  for (let passed = 0; passed < ms; passed += 250) {
    timeMs += 250;
    deadlines.advance();
  }
}

describe('a client for which something waits', () => {
  it('is gone when it takes nothing', () => {
    watch.begin();
    watch.begin();
    pass(STALL_MS - 500);
    expect(gone).toBe(0);
    pass(1_000);
    expect(gone).toBe(1);
    expect(deadlines.size).toBe(0);
  });

  it('is gone when it takes a byte now and then, and never all', () => {
    watch.begin();
    for (let waitedMs = 0; waitedMs + STALL_MS < MAX_UNREAD_MS; waitedMs += STALL_MS) {
      takenBytes++;
      pass(STALL_MS);
      expect(gone).toBe(0);
    }
    takenBytes++;
    pass(STALL_MS + 1_000);
    expect(gone).toBe(1);
  });

  it('stays when it takes all of it in time, however often', () => {
    for (let round = 0; round < 3; round++) {
      watch.begin();
      for (let waitedMs = 0; waitedMs + 2 * STALL_MS < MAX_UNREAD_MS; waitedMs += STALL_MS) {
        takenBytes++;
        pass(STALL_MS);
      }
      watch.end();
      pass(2 * STALL_MS);
    }
    expect(gone).toBe(0);
    expect(deadlines.size).toBe(0);
  });
});
