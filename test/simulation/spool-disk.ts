/** The node's disk as the spool of one process sees it: every call may be the one at which the process dies. */
import type { SpoolDisk } from '@meridian/data-plane/metering/spool/disk';
import type { SpoolTimers } from '@meridian/data-plane/metering/spool/timers';
import type { Dice } from './dice.ts';
import { ioError, type PageCachedDisk } from './disk.ts';
import { Killed, type Life } from './life.ts';
import type { Timeline } from './timeline.ts';

/** How the disk of a node misbehaves. */
export interface DiskFaults {
  /** Of the next syncs so many fail. */
  failingSyncs: number;
  /** Of the next writes so many fail. */
  failingWrites: number;
}

export interface SpoolDiskDeps {
  readonly disk: PageCachedDisk;
  readonly faults: DiskFaults;
  readonly life: Life;
  readonly timeline: Timeline;
  readonly dice: Dice;
  /** Who has the folder; outlives the process only while that is alive. */
  readonly lock: { holder: Life | undefined };
}

export function spoolDisk({ disk, faults, life, timeline, dice, lock }: SpoolDiskDeps): SpoolDisk {
  /** An effect that may happen, or not, where the process dies at it. */
  const act = <Result>(effect: () => Result): Result => {
    life.effect(() => {
      if (dice.chance(0.5)) effect();
    });
    return effect();
  };
  const sync = (begin: () => (succeeded: boolean) => void): Promise<void> => {
    const end = act(begin);
    const fails = takeOne(faults, 'failingSyncs');
    return new Promise((resolve, reject) => {
      // The kernel goes on with it when the process dies.
      timeline.after(1 + Math.floor(dice.exponential(3)), `${life.name} sync ${fails ? 'fails' : 'ends'}`, () => {
        end(!fails);
        if (!life.alive) return;
        timeline.awaited();
        if (fails) reject(ioError('EIO'));
        else resolve();
      });
    });
  };
  return {
    lock: (folder) => {
      life.effect();
      if (lock.holder?.alive === true && lock.holder !== life) throw new Error(`data folder in use: ${folder}`);
      lock.holder = life;
      return {
        release: () => {
          if (lock.holder === life) lock.holder = undefined;
        },
      };
    },
    exists: (file) => disk.exists(file),
    list: (folder) => disk.list(folder),
    size: (file) => disk.size(file),
    readFile: (file) => disk.read(file),
    open: (file, flags) => act(() => disk.open(file, flags)),
    close: (fd) => {
      if (!life.alive) throw new Killed();
      disk.close(fd);
    },
    read: (fd, into, start, length, position) => {
      if (!life.alive) return Promise.reject(new Killed());
      timeline.awaited();
      return Promise.resolve(disk.readAt(fd, into, start, length, position));
    },
    readNow: (fd, into, start, length, position) => disk.readAt(fd, into, start, length, position),
    write: (fd, bytes, start, length, position) => {
      life.effect(() => {
        // Torn: the process dies in the middle of it.
        const torn = dice.between(0, length);
        if (torn > 0) disk.write(fd, bytes, start, torn, position);
      });
      if (takeOne(faults, 'failingWrites')) throw ioError('EIO');
      return disk.write(fd, bytes, start, length, position);
    },
    fdatasync: (fd) => sync(() => disk.beginSync(fd)),
    fdatasyncNow: (fd) => {
      const end = act(() => disk.beginSync(fd));
      const fails = takeOne(faults, 'failingSyncs');
      end(!fails);
      if (fails) throw ioError('EIO');
    },
    truncate: (file, length) => act(() => disk.truncate(file, length)),
    rename: (from, to) => act(() => disk.rename(from, to)),
    link: (from, to) => act(() => disk.link(from, to)),
    unlink: (file) => act(() => disk.unlink(file)),
    makeFolder: (folder) => act(() => disk.makeFolder(folder)),
    removeFolder: (folder) => act(() => disk.removeFolder(folder)),
    syncFolder: (folder) => sync(() => disk.beginSyncFolder(folder)),
    statfs: () => {
      timeline.awaited();
      return Promise.resolve({ usedShare: disk.usedShare });
    },
  };
}

export function spoolTimers(life: Life, timeline: Timeline): SpoolTimers {
  return {
    monotonicMs: () => timeline.nowMs,
    afterTurn: (run) => {
      const planned = life.after(0, 'turn ends', run);
      return () => planned.cancel();
    },
    after: (delayMs, run) => {
      const planned = life.after(delayMs, 'spool timer', run);
      return () => planned.cancel();
    },
  };
}

function takeOne(faults: DiskFaults, which: keyof DiskFaults): boolean {
  if (faults[which] <= 0) return false;
  faults[which]--;
  return true;
}
