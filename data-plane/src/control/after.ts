/** Timers as the clients of the control plane are given them, so that a test can hold the time. */

/** Runs something once after a delay; returns what prevents it. */
export type After = (delayMs: number, run: () => void) => () => void;

/** By the process's timers. */
export const afterTimeout: After = (delayMs, run) => {
  const timer = setTimeout(run, delayMs);
  return () => clearTimeout(timer);
};
