/** The spool's sense of turns and time: the process's own, or a simulation's. Timestamps in records come from its id source. */

export interface SpoolTimers {
  /** Never goes back; only differences mean something (ms, with fractions). */
  monotonicMs(): number;
  /** Runs something when the present turn of the event loop is over; returns what prevents it. */
  afterTurn(run: () => void): () => void;
  /** Runs something after the time; returns what prevents it. */
  after(delayMs: number, run: () => void): () => void;
}

export const nodeTimers: SpoolTimers = {
  monotonicMs: () => performance.now(),
  afterTurn: (run) => {
    const immediate = setImmediate(run);
    return () => clearImmediate(immediate);
  },
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};
