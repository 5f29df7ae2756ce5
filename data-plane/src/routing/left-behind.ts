/**
 * What happens to an upstream whose client has left. A stream is read on for its usage event, within bounds; a whole
 * answer is finished and billed, within bounds; beyond them the call is cut. Where it fails, no other one is asked.
 */
import type { RunningAttempt } from './attempt.ts';
import type { Timers } from './commit.ts';

/** The node's settings satisfy it. */
export interface LeftBehindBounds {
  readonly maxAbandonedStreams: number;
  readonly maxAbandonedStreamMs: number;
  readonly maxAbandonedAnswers: number;
}

export class LeftBehind {
  #drainingStreams = 0;
  #finishingAnswers = 0;
  readonly #timers: Timers;
  readonly #bounds: LeftBehindBounds;

  constructor(timers: Timers, bounds: LeftBehindBounds) {
    this.#timers = timers;
    this.#bounds = bounds;
  }

  get drainingStreams(): number {
    return this.#drainingStreams;
  }

  get finishingAnswers(): number {
    return this.#finishingAnswers;
  }

  /**
   * A stream: drained for at most `maxAbandonedStreamMs`. A model that hides its reasoning is drained however many there are: a cut
   * would leave most of its output uncounted.
   */
  stream(running: RunningAttempt, hidesReasoning: boolean): void {
    running.clientGone();
    if (this.#drainingStreams >= this.#bounds.maxAbandonedStreams && !hidesReasoning) {
      running.abandon();
      return;
    }
    this.#drainingStreams++;
    const timer = this.#timers.after(this.#bounds.maxAbandonedStreamMs, () => running.abandon());
    void running.done.then(() => {
      timer.cancel();
      this.#drainingStreams--;
    });
  }

  /** A whole answer: finished, so that it can be billed for what the provider did. */
  answer(running: RunningAttempt): void {
    running.clientGone();
    if (this.#finishingAnswers >= this.#bounds.maxAbandonedAnswers) {
      running.abandon();
      return;
    }
    this.#finishingAnswers++;
    void running.done.then(() => {
      this.#finishingAnswers--;
    });
  }
}
