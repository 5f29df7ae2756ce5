/**
 * A database as the simulation needs it: tables whose transactions are done whole or not at all, in the order of their commits,
 * and which can lose its last commits, as one does that is restored from a backup or fails over to a replica that lags.
 *
 * A transaction runs at the moment of its commit, alone. That is what locks held to the end give to transactions that touch
 * the same rows, and it takes nothing from those that do not.
 */

type Undo = () => void;

export class ModelDatabase {
  /** What takes back each commit, the newest last. */
  readonly #commits: { readonly atMs: number; readonly undo: Undo[] }[] = [];
  #running: Undo[] | undefined;

  /** Commits that are kept. */
  get commitCount(): number {
    return this.#commits.length;
  }

  table<Row>(): Table<Row> {
    return new Table(this);
  }

  /** Runs the work and commits it; when it throws, nothing of it is done. */
  transaction<Result>(atMs: number, work: () => Result): Result {
    if (this.#running !== undefined) throw new Error('a transaction within a transaction');
    const undo: Undo[] = [];
    this.#running = undo;
    try {
      const result = work();
      if (undo.length > 0) this.#commits.push({ atMs, undo });
      return result;
    } catch (error) {
      takeBack(undo);
      throw error;
    } finally {
      this.#running = undefined;
    }
  }

  /** Loses the commits made at or after a time; returns how many. */
  loseSince(atMs: number): number {
    let lost = 0;
    for (let last = this.#commits.at(-1); last !== undefined && last.atMs >= atMs; last = this.#commits.at(-1)) {
      takeBack(last.undo);
      this.#commits.pop();
      lost++;
    }
    return lost;
  }

  /** Called by tables before they change. */
  changing(undo: Undo): void {
    if (this.#running === undefined) throw new Error('a change outside a transaction');
    this.#running.push(undo);
  }
}

/** Rows by their key. Rows are replaced, never changed. */
export class Table<Row> {
  readonly #database: ModelDatabase;
  readonly #rows = new Map<string, Row>();

  constructor(database: ModelDatabase) {
    this.#database = database;
  }

  get size(): number {
    return this.#rows.size;
  }

  get(key: string): Row | undefined {
    return this.#rows.get(key);
  }

  has(key: string): boolean {
    return this.#rows.has(key);
  }

  values(): IterableIterator<Row> {
    return this.#rows.values();
  }

  entries(): IterableIterator<[string, Row]> {
    return this.#rows.entries();
  }

  put(key: string, row: Row): void {
    const before = this.#rows.get(key);
    const existed = this.#rows.has(key);
    this.#database.changing(() => {
      if (existed && before !== undefined) this.#rows.set(key, before);
      else this.#rows.delete(key);
    });
    this.#rows.set(key, row);
  }

  delete(key: string): void {
    const before = this.#rows.get(key);
    if (before === undefined) return;
    this.#database.changing(() => this.#rows.set(key, before));
    this.#rows.delete(key);
  }
}

function takeBack(undo: readonly Undo[]): void {
  for (const step of undo.toReversed()) step();
}
