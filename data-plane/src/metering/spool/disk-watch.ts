/**
 * How full the spool's disk is: looked at once a second at most, beside the request's way. Above a first share of it an
 * alarm is raised once; above a second one new requests are refused, and what is left is room for the finals of those that run.
 */
import type { SpoolDisk } from './disk.ts';
import type { SpoolAlarm } from './survey.ts';

const CHECK_MS = 1000;

export interface DiskWatchOptions {
  readonly disk: SpoolDisk;
  readonly folder: string;
  readonly warnShare: number;
  readonly refuseShare: number;
  readonly nowMs: () => number;
  readonly alarm: SpoolAlarm;
  /** After each look that succeeded. */
  readonly looked: () => void;
}

export class DiskWatch {
  readonly #options: DiskWatchOptions;
  #full = false;
  #warned = false;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  constructor(options: DiskWatchOptions) {
    this.#options = options;
  }

  /** New requests are to be refused. */
  get full(): boolean {
    return this.#full;
  }

  /** A write found no room, whatever the disk said when it was looked at. */
  foundFull(): void {
    this.#full = true;
  }

  /** Looks, unless it did so within the last second. */
  glance(): void {
    const nowMs = this.#options.nowMs();
    // A clock that was set back makes nothing recent.
    const recent = nowMs >= this.#lookedAtMs && nowMs - this.#lookedAtMs < CHECK_MS;
    if (recent || this.#looking !== undefined) return;
    this.#lookedAtMs = nowMs;
    this.#looking = this.look().finally(() => {
      this.#looking = undefined;
    });
  }

  /** Resolves when no look is under way. */
  async settled(): Promise<void> {
    await this.#looking;
  }

  /** Never rejects. */
  async look(): Promise<void> {
    const { disk, folder, warnShare, refuseShare, alarm, looked } = this.#options;
    try {
      const { usedShare } = await disk.statfs(folder);
      const full = usedShare >= refuseShare;
      if (full && !this.#full) alarm('the disk of the spool is full: new requests are refused', { usedShare });
      else if (usedShare >= warnShare && !this.#warned) alarm('the disk of the spool is filling up', { usedShare });
      this.#full = full;
      this.#warned = usedShare >= warnShare;
      looked();
    } catch (error) {
      alarm('the disk of the spool cannot be examined', { err: error });
    }
  }
}
