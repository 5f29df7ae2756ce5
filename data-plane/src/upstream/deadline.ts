/**
 * One timer wheel for every wait of the node: connect, first byte, idle, total, keep-alives of open streams.
 *
 * A request costs a few pointer writes instead of a system timer. Deadlines are due on ticks of 250 ms: never early,
 * and late by no more than two ticks while the event loop turns. The wheel has 512 slots (128 s a turn); what is due
 * later stays in its slot until its turn comes.
 */

export const TICK_MS = 250;
const SLOTS = 512;

/** A monotonic time in milliseconds; the caller's, so that tests and simulations hold it. */
export interface Clock {
  nowMs(): number;
}

/** One wait. It runs at most once, unless it is restarted from within or after its run. */
export interface Deadline {
  /** Counts anew from now. Putting it off is free: the slot is looked at again when it comes round. */
  restart(delayMs: number): void;
  /** Idempotent. */
  cancel(): void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #slots: Slot[] = Array.from({ length: SLOTS }, () => new Slot());
  /** Waits taken off their slot and about to run, so that a run may cancel another of the same tick. */
  readonly #due = new Slot();
  #tick: number;
  #size = 0;
  #interval: NodeJS.Timeout | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#tick = Math.floor(clock.nowMs() / TICK_MS);
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  /** Waits that are pending. */
  get size(): number {
    return this.#size;
  }

  /** Advances by itself four times a second. The interval alone does not keep the process alive. */
  start(): void {
    this.#interval ??= setInterval(() => this.advance(), TICK_MS).unref();
  }

  /** Stops the interval; pending waits stay where they are. */
  stop(): void {
    clearInterval(this.#interval);
    this.#interval = undefined;
  }

  /** Calls `expired` when at least `delayMs` have passed. */
  after(delayMs: number, expired: () => void): Deadline {
    const wait = new Wait(this, expired);
    this.place(wait, delayMs);
    return wait;
  }

  /** Runs what is due by the clock. A run that throws is the caller's bug; the rest of its tick runs with the next advance. */
  advance(): void {
    const now = Math.floor(this.#clock.nowMs() / TICK_MS);
    const from = this.#tick + 1;
    if (now < from && this.#due.isEmpty) return;
    // After a long halt every slot is looked at once.
    for (let tick = Math.max(from, now - SLOTS + 1); tick <= now; tick++) {
      const slot = this.#slots[tick % SLOTS];
      if (slot === undefined) continue;
      for (const wait of slot.takeWhole()) {
        if (wait.dueTick > now) this.#slots[wait.dueTick % SLOTS]?.add(wait);
        else this.#due.add(wait);
      }
    }
    if (now >= from) this.#tick = now;
    for (let wait = this.#due.first; wait !== undefined; wait = this.#due.first) {
      wait.unlink();
      this.#size--;
      wait.expired();
    }
  }

  /** @internal Puts a wait on the wheel, or moves it. */
  place(wait: Wait, delayMs: number): void {
    // The present tick has partly passed, so its rest is added: a deadline is never early.
    const dueTick = Math.max(Math.ceil((this.#clock.nowMs() + delayMs) / TICK_MS), this.#tick + 1);
    const later = wait.slot !== undefined && dueTick >= wait.dueTick && wait.slot !== this.#due;
    wait.dueTick = dueTick;
    if (later) return;
    if (wait.slot === undefined) this.#size++;
    else wait.unlink();
    this.#slots[dueTick % SLOTS]?.add(wait);
  }

  /** @internal Takes a wait off the wheel. */
  remove(wait: Wait): void {
    if (wait.slot === undefined) return;
    wait.unlink();
    this.#size--;
  }
}

/** A doubly linked list of waits, so that one leaves it without a search. */
class Slot {
  first: Wait | undefined;

  get isEmpty(): boolean {
    return this.first === undefined;
  }

  add(wait: Wait): void {
    wait.slot = this;
    wait.previous = undefined;
    wait.next = this.first;
    if (this.first !== undefined) this.first.previous = wait;
    this.first = wait;
  }

  /** Empties the slot; its waits as an array, because they go to other lists while they are walked over. */
  takeWhole(): Wait[] {
    const waits: Wait[] = [];
    for (let wait = this.first; wait !== undefined; wait = this.first) {
      wait.unlink();
      waits.push(wait);
    }
    return waits;
  }
}

class Wait implements Deadline {
  slot: Slot | undefined;
  previous: Wait | undefined;
  next: Wait | undefined;
  dueTick = 0;
  readonly expired: () => void;
  readonly #deadlines: Deadlines;

  constructor(deadlines: Deadlines, expired: () => void) {
    this.#deadlines = deadlines;
    this.expired = expired;
  }

  restart(delayMs: number): void {
    this.#deadlines.place(this, delayMs);
  }

  cancel(): void {
    this.#deadlines.remove(this);
  }

  unlink(): void {
    if (this.previous !== undefined) this.previous.next = this.next;
    else if (this.slot !== undefined) this.slot.first = this.next;
    if (this.next !== undefined) this.next.previous = this.previous;
    this.slot = undefined;
    this.previous = undefined;
    this.next = undefined;
  }
}
