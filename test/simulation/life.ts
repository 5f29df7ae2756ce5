/**
 * One life of a process, from its start until it is killed. It can die between two events and at any effect: what it does to the
 * disk or the network goes through `effect`, and a dead process does nothing any more, whatever of its code still runs.
 */
import type { Planned, Timeline } from './timeline.ts';

/** Ends what runs of a process at the effect that it died at. */
export class Killed extends Error {
  constructor() {
    super('killed');
    this.name = 'Killed';
  }
}

export class Life {
  readonly name: string;
  readonly #timeline: Timeline;
  readonly #onDeath: (life: Life) => void;
  #alive = true;
  /** Effects left until it dies at one. */
  #effectsLeft = Number.POSITIVE_INFINITY;

  constructor(name: string, timeline: Timeline, onDeath: (life: Life) => void) {
    this.name = name;
    this.#timeline = timeline;
    this.#onDeath = onDeath;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Dies at the n-th effect from now. */
  dieAfter(effects: number): void {
    this.#effectsLeft = effects;
  }

  /** Dies at once. Does not throw: for a kill between two events. */
  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#timeline.note(`${this.name} is killed`);
    this.#onDeath(this);
  }

  /** Throws Killed when the process is dead, or dies here. `partly` is what of the effect still happens then. */
  effect(partly?: () => void): void {
    if (!this.#alive) throw new Killed();
    if (--this.#effectsLeft > 0) return;
    partly?.();
    this.kill();
    throw new Killed();
  }

  /** An event of this process; nothing happens when it has died meanwhile. */
  after(delayMs: number, label: string, run: () => void): Planned {
    return this.#timeline.after(delayMs, `${this.name} ${label}`, () => this.run(run));
  }

  /** Runs code of this process. */
  run(code: () => void): void {
    if (!this.#alive) return;
    try {
      code();
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
    }
  }
}
