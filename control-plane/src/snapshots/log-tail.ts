/**
 * Follows the log of every lane for all streams of this replica.
 *
 * Each poll reads the heads in one query, and of each lane that moved one page of rows: a bulk change never stands before
 * a revocation for longer than a page. A row is read only once its head is seen, and a head is seen only once everything
 * up to it is committed, so no rev is ever passed over.
 */
import { everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import type { Database } from '../database/connect.ts';
import { LogGapError, LogWindow, type LogWindowOptions, MAX_WINDOW_BYTES } from './log-window.ts';
import { type Heads, selectHeads, selectLog, selectLogTail } from './store.ts';

/** Far less than a window, so that a page does not push out what nodes were not sent yet. */
const PAGE = { maxRows: 1_000, maxBytes: 1024 * 1024 };
/** Rows loaded of each lane when a replica starts; the bytes of the window bind first when entries are of usual size. */
const MAX_ROWS_AT_START = 100_000;

export interface LogTailDeps {
  readonly db: Database;
  /** Of each lane; 8 MiB unless told. */
  readonly maxWindowBytes?: number;
}

export interface LogTailListener {
  /** The lane's window has a new head. */
  advanced(lane: Lane): void;
  /** The windows start anew: the database was restored, or this replica slept through what is kept of the log. */
  reset(): void;
}

export class LogTail {
  readonly #deps: LogTailDeps;
  readonly #listeners = new Set<LogTailListener>();
  #dbEpoch: string;
  #windows: Record<Lane, LogWindow>;

  private constructor(deps: LogTailDeps, loaded: Loaded) {
    this.#deps = deps;
    this.#dbEpoch = loaded.dbEpoch;
    this.#windows = loaded.windows;
  }

  /** Loads the newest part of each lane. */
  static async start(deps: LogTailDeps): Promise<LogTail> {
    return new LogTail(deps, await load(deps));
  }

  get dbEpoch(): string {
    return this.#dbEpoch;
  }

  /** The newest rev of each lane that this replica has read. */
  get heads(): Readonly<Record<Lane, number>> {
    return everyLane((lane) => this.#windows[lane].head);
  }

  window(lane: Lane): LogWindow {
    return this.#windows[lane];
  }

  /** Calls back after each change until the returned function is called. */
  subscribe(listener: LogTailListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Reads what is new, at most one page a lane. True when there is more to read at once. One call at a time. */
  async poll(): Promise<boolean> {
    const { db } = this.#deps;
    const heads = await selectHeads(db);
    if (heads.dbEpoch !== this.#dbEpoch || LANES.some((lane) => heads.revs[lane] < this.#windows[lane].head)) {
      await this.#reset();
      return false;
    }
    let more = false;
    for (const lane of LANES) {
      const window = this.#windows[lane];
      const head = heads.revs[lane];
      if (head === window.head) continue;
      const rows = await selectLog(db, lane, window.head, head, PAGE);
      try {
        if (rows.length === 0) throw new LogGapError(window.head, head);
        window.append(rows);
      } catch (error) {
        if (!(error instanceof LogGapError)) throw error;
        // Old rows are removed in time; a replica that slept until then starts again from the newest.
        await this.#reset();
        return false;
      }
      for (const listener of this.#listeners) listener.advanced(lane);
      if (window.head < head) more = true;
    }
    return more;
  }

  async #reset(): Promise<void> {
    const { dbEpoch, windows } = await load(this.#deps);
    this.#dbEpoch = dbEpoch;
    this.#windows = windows;
    for (const listener of this.#listeners) listener.reset();
  }
}

interface Loaded {
  readonly dbEpoch: string;
  readonly windows: Record<Lane, LogWindow>;
}

async function load({ db, maxWindowBytes = MAX_WINDOW_BYTES }: LogTailDeps): Promise<Loaded> {
  const heads = await selectHeads(db);
  const windows = everyLane((lane) => new LogWindow(heads.revs[lane], windowOptions(lane, maxWindowBytes)));
  for (const lane of LANES) windows[lane] = await loadWindow(db, lane, heads, maxWindowBytes);
  return { dbEpoch: heads.dbEpoch, windows };
}

async function loadWindow(db: Database, lane: Lane, heads: Heads, maxBytes: number): Promise<LogWindow> {
  const head = heads.revs[lane];
  const rows = await selectLogTail(db, lane, head, { maxBytes, maxRows: MAX_ROWS_AT_START });
  const window = new LogWindow(head - rows.length, windowOptions(lane, maxBytes));
  window.append(rows);
  return window;
}

/** What waits in BULK may be any number of entries, and of each only the newest state is of use to whoever has not heard of it yet. */
function windowOptions(lane: Lane, maxBytes: number): LogWindowOptions {
  return { maxBytes, coalesces: lane === 'bulk' };
}
