/**
 * The newest part of one lane's log, in memory, shared by all streams.
 *
 * It holds consecutive rows: `base` is the rev before the oldest one, `head` the rev of the newest. When it grows past its
 * bytes the oldest rows go and `base` moves up; whoever stands before `base` can only go on from a snapshot.
 *
 * A window that coalesces leaves out a row when a later one of its entity is here: whoever goes on from before the earlier row
 * comes by the later one, and is sent the entity once.
 */
import type { LogRow } from './store.ts';

/** How far a node may lag, on each lane (bytes of encoded entries). */
export const MAX_WINDOW_BYTES = 8 * 1024 * 1024;

/** Rows looked at for one delta, so that a long backlog does not hold up the event loop. */
const MAX_ROWS_A_DELTA = 20_000;

/** What happened between two revs: of each entity the newest state only. */
export interface Range {
  readonly prevRev: number;
  readonly rev: number;
  readonly payloads: readonly Uint8Array[];
  readonly byteCount: number;
}

/** A row of a page does not follow the one before it. */
export class LogGapError extends Error {
  constructor(after: number, found: number) {
    super(`the log goes on with rev ${found} after ${after}`);
    this.name = 'LogGapError';
  }
}

export interface LogWindowOptions {
  /** 8 MiB unless told. */
  readonly maxBytes?: number;
  /** Each entity is sent once, at its last change, however far apart its changes lie. */
  readonly coalesces?: boolean;
}

export class LogWindow {
  readonly #maxBytes: number;
  /** The newest rev of each entity; undefined in a window that does not coalesce. */
  readonly #newest: Map<string, number> | undefined;
  #base: number;
  #rows: LogRow[] = [];
  /** Bytes of all rows ever appended, up to and with each of `#rows`. */
  #ends: number[] = [];
  #start = 0;
  #end = 0;

  constructor(base: number, { maxBytes = MAX_WINDOW_BYTES, coalesces = false }: LogWindowOptions = {}) {
    this.#base = base;
    this.#maxBytes = maxBytes;
    this.#newest = coalesces ? new Map() : undefined;
  }

  get base(): number {
    return this.#base;
  }

  get head(): number {
    return this.#base + this.#rows.length;
  }

  get byteCount(): number {
    return this.#end - this.#start;
  }

  /** Throws LogGapError when a row is not the next one. The newest row is always kept. */
  append(rows: readonly LogRow[]): void {
    for (const row of rows) {
      if (row.rev !== this.head + 1) throw new LogGapError(this.head, row.rev);
      this.#end += row.payload.length;
      this.#rows.push(row);
      this.#ends.push(this.#end);
      this.#newest?.set(nameOf(row), row.rev);
    }
    let dropped = 0;
    while (this.byteCount > this.#maxBytes && dropped < this.#rows.length - 1) {
      this.#start = this.#ends[dropped] ?? this.#end;
      this.#forget(this.#rows[dropped]);
      dropped += 1;
    }
    if (dropped > 0) {
      this.#rows = this.#rows.slice(dropped);
      this.#ends = this.#ends.slice(dropped);
      this.#base += dropped;
    }
  }

  /** Bytes of the log after a rev; undefined when the rows after it are not all here. */
  lagBytes(rev: number): number | undefined {
    if (rev < this.#base) return undefined;
    return this.#end - (rev === this.#base ? this.#start : (this.#ends[rev - this.#base - 1] ?? this.#end));
  }

  /** When a row was written, if it is here (ms since 1970, the database's clock). */
  writtenAtMs(rev: number): number | undefined {
    return this.#rows[rev - this.#base - 1]?.writtenAtMs;
  }

  /**
   * What comes after `prevRev`, as far as `maxBytes` go (at least one row; of a window that coalesces perhaps no entry), an entry counting `bytesAround` more than it has. `behind` when the row after it is gone; `current` when
   * there is nothing newer here.
   */
  after(prevRev: number, maxBytes: number, bytesAround = 0): Range | 'behind' | 'current' {
    if (prevRev < this.#base) return 'behind';
    const newest = new Map<string, Uint8Array>();
    let byteCount = 0;
    let rev = prevRev;
    const end = Math.min(this.#rows.length, prevRev - this.#base + MAX_ROWS_A_DELTA);
    for (let index = prevRev - this.#base; index < end; index++) {
      const row = this.#rows[index];
      if (row === undefined) break;
      const name = nameOf(row);
      if (this.#isSuperseded(name, row.rev)) {
        rev = row.rev;
        continue;
      }
      const before = newest.get(name);
      const grown = byteCount + row.payload.length - (before === undefined ? -bytesAround : before.length);
      if (grown > maxBytes && newest.size > 0) break;
      // Taken out first, so that entries stand in the order of their last change.
      newest.delete(name);
      newest.set(name, row.payload);
      byteCount = grown;
      rev = row.rev;
    }
    return rev === prevRev ? 'current' : { prevRev, rev, payloads: [...newest.values()], byteCount };
  }

  #isSuperseded(name: string, rev: number): boolean {
    const newest = this.#newest?.get(name);
    return newest !== undefined && newest > rev;
  }

  #forget(row: LogRow | undefined): void {
    if (row !== undefined && this.#newest?.get(nameOf(row)) === row.rev) this.#newest.delete(nameOf(row));
  }
}

function nameOf(row: LogRow): string {
  return `${row.kind}/${row.entityId}`;
}
