/**
 * Virtual time: what happens next, in order, and a record of what has happened.
 *
 * Events of one moment happen in the order in which they were put down. Between two events all microtasks run out, so code
 * that awaits behaves the same each time.
 */

export interface Planned {
  cancel(): void;
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly label: string;
  readonly run: () => void;
  cancelled: boolean;
}

const KEPT_LINES = 40;

export class Timeline {
  readonly #heap: Event[] = [];
  readonly #lines: string[] = [];
  readonly #print: ((line: string) => void) | undefined;
  #nowMs: number;
  #order = 0;
  #steps = 0;
  #hashLow = 0x811c9dc5;
  #hashHigh = 0x9747b28c;
  #hasMicrotasks = false;

  /** `print` gets every line as it is written. */
  constructor(startMs: number, print?: (line: string) => void) {
    this.#nowMs = startMs;
    this.#print = print;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events so far. */
  get steps(): number {
    return this.#steps;
  }

  /** The same for two runs only if they wrote the same lines. */
  get hash(): string {
    return this.#hashHigh.toString(16).padStart(8, '0') + this.#hashLow.toString(16).padStart(8, '0');
  }

  /** The newest lines, oldest first. */
  get lastLines(): readonly string[] {
    const start = this.#lines.length > KEPT_LINES ? this.#lines.length - KEPT_LINES : 0;
    return this.#lines.slice(start);
  }

  at(atMs: number, label: string, run: () => void): Planned {
    const event: Event = { atMs: Math.max(atMs, this.#nowMs), order: this.#order++, label, run, cancelled: false };
    this.#push(event);
    return {
      cancel: () => {
        event.cancelled = true;
      },
    };
  }

  after(delayMs: number, label: string, run: () => void): Planned {
    return this.at(this.#nowMs + delayMs, label, run);
  }

  /** Something was started or ended whose consequences are promises. */
  awaited(): void {
    this.#hasMicrotasks = true;
  }

  /** Writes a line into the record. */
  note(text: string): void {
    const line = `${this.#nowMs} ${text}`;
    let low = this.#hashLow;
    let high = this.#hashHigh;
    for (let index = 0; index < line.length; index++) {
      const code = line.charCodeAt(index);
      low = Math.imul(low ^ code, 0x01000193);
      high = Math.imul(high + code, 0x85ebca6b) ^ (high >>> 13);
    }
    this.#hashLow = low >>> 0;
    this.#hashHigh = high >>> 0;
    this.#print?.(`${this.#steps} ${line}`);
    this.#lines.push(`${this.#steps} ${line}`);
    if (this.#lines.length > KEPT_LINES * 8) this.#lines.splice(0, this.#lines.length - KEPT_LINES);
  }

  /** Runs events until none is due before `untilMs`, which is the time afterwards. `after` is called behind each. */
  async runUntil(untilMs: number, after: () => void): Promise<void> {
    for (;;) {
      if (this.#hasMicrotasks) {
        this.#hasMicrotasks = false;
        await microtasks();
        // What ran may have changed what is to be checked, and may have awaited anew.
        after();
        continue;
      }
      const event = this.#heap[0];
      if (event === undefined || event.atMs > untilMs) break;
      this.#pop();
      if (event.cancelled) continue;
      this.#nowMs = event.atMs;
      this.#steps++;
      this.note(event.label);
      event.run();
      after();
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(event, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      let least = left;
      if (right !== undefined && isBefore(right, left)) {
        child++;
        least = right;
      }
      if (!isBefore(least, last)) break;
      heap[index] = least;
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Resolves when no microtask is left: they all run before the event loop turns. */
function microtasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
