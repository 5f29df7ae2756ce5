/**
 * What happens to an upstream whose client has left. A stream is read on for its usage event, within bounds; a whole
 * answer is finished and billed, within bounds; beyond them the call is cut.
 */
import type { RunningAttempt } from './attempt.ts';
import type { Timers } from './commit.ts';

export const MAX_DRAINING_STREAMS = 64;
export const MAX_DRAIN_MS = 10_000;
export const MAX_FINISHING_ANSWERS = 256;

export class LeftBehind {
  #drainingStreams = 0;
  #finishingAnswers = 0;
  readonly #timers: Timers;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  get drainingStreams(): number {
    return this.#drainingStreams;
  }

  get finishingAnswers(): number {
    return this.#finishingAnswers;
  }

  /** A stream: drained for at most `MAX_DRAIN_MS`. A model that hides its reasoning is drained even above the limit: a cut would leave most of its output uncounted. */
  stream(running: RunningAttempt, hidesReasoning: boolean): void {
    if (this.#drainingStreams >= MAX_DRAINING_STREAMS && !hidesReasoning) {
      running.abandon();
      return;
    }
    this.#drainingStreams++;
    const timer = this.#timers.after(MAX_DRAIN_MS, () => running.abandon());
    void running.done.then(() => {
      timer.cancel();
      this.#drainingStreams--;
    });
  }

  /** A whole answer: finished, so that it can be billed for what the provider did. */
  answer(running: RunningAttempt): void {
    if (this.#finishingAnswers >= MAX_FINISHING_ANSWERS) {
      running.abandon();
      return;
    }
    this.#finishingAnswers++;
    void running.done.then(() => {
      this.#finishingAnswers--;
    });
  }
}
