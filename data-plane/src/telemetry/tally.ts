/**
 * What is counted on the way of every request: plain numbers, put into the form of the metrics' library only when they are
 * read. The library's own counters check and hash their labels on each count, which takes longer than all that is counted.
 */

/** A count by two labels. */
export class Tally {
  readonly #counts = new Map<string, Map<string | number, { count: number }>>();

  add(first: string, second: string | number): void {
    let seconds = this.#counts.get(first);
    if (seconds === undefined) {
      seconds = new Map();
      this.#counts.set(first, seconds);
    }
    const cell = seconds.get(second);
    if (cell === undefined) seconds.set(second, { count: 1 });
    else cell.count++;
  }

  each(visit: (first: string, second: string, count: number) => void): void {
    for (const [first, seconds] of this.#counts) for (const [second, { count }] of seconds) visit(first, String(second), count);
  }
}

/** How often a figure was at most each bound. */
export interface Distribution {
  /** For each bound how often, those of the lower bounds included. */
  readonly atMost: readonly number[];
  readonly count: number;
  readonly sum: number;
}

/** The distribution of a figure, by one label. */
export class DistributionTally {
  readonly #bounds: readonly number[];
  readonly #cells = new Map<string, { readonly within: Float64Array; count: number; sum: number }>();

  /** Bounds in ascending order. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  /** Takes any number; one that is not finite is counted nowhere. */
  add(label: string, figure: number): void {
    if (!Number.isFinite(figure)) return;
    let cell = this.#cells.get(label);
    if (cell === undefined) {
      cell = { within: new Float64Array(this.#bounds.length + 1), count: 0, sum: 0 };
      this.#cells.set(label, cell);
    }
    let bucket = 0;
    while (bucket < this.#bounds.length && figure > (this.#bounds[bucket] ?? 0)) bucket++;
    cell.within[bucket] = (cell.within[bucket] ?? 0) + 1;
    cell.count++;
    cell.sum += figure;
  }

  each(visit: (label: string, distribution: Distribution) => void): void {
    for (const [label, { within, count, sum }] of this.#cells) {
      let below = 0;
      const atMost = this.#bounds.map((_, bucket) => {
        below += within[bucket] ?? 0;
        return below;
      });
      visit(label, { atMost, count, sum });
    }
  }
}
