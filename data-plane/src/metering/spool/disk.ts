/** The spool's writes to the disk; given as an argument so that tests can make them fail. */
import fs from 'node:fs';

export interface DiskUse {
  /** Share of the blocks that is not available to us, 0 … 1. */
  readonly usedShare: number;
}

export interface SpoolDisk {
  open(path: string, flags: 'wx' | 'r+'): number;
  /** May write fewer bytes than asked for; returns how many. */
  write(fd: number, bytes: Buffer, start: number, length: number, position: number): number;
  truncate(path: string, length: number): void;
  rename(from: string, to: string): void;
  link(from: string, to: string): void;
  unlink(path: string): void;
  makeFolder(path: string): void;
  fdatasync(fd: number): Promise<void>;
  /** Makes names in the folder survive a power cut. */
  syncFolder(path: string): Promise<void>;
  statfs(path: string): Promise<DiskUse>;
}

export const nodeDisk: SpoolDisk = {
  open: (path, flags) => fs.openSync(path, flags),
  write: (fd, bytes, start, length, position) => fs.writeSync(fd, bytes, start, length, position),
  truncate: (path, length) => fs.truncateSync(path, length),
  rename: (from, to) => fs.renameSync(from, to),
  link: (from, to) => fs.linkSync(from, to),
  unlink: (path) => fs.unlinkSync(path),
  makeFolder: (path) => {
    fs.mkdirSync(path, { recursive: true });
  },
  fdatasync: (fd) => new Promise((resolve, reject) => fs.fdatasync(fd, (error) => (error === null ? resolve() : reject(error)))),
  syncFolder: async (path) => {
    const handle = await fs.promises.open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  statfs: async (path) => {
    const use = await fs.promises.statfs(path);
    return { usedShare: use.blocks === 0 ? 0 : 1 - use.bavail / use.blocks };
  },
};

/** Writes all of the bytes at the position; throws what the disk throws. */
export function writeAll(disk: SpoolDisk, fd: number, bytes: Buffer, position: number): void {
  let written = 0;
  while (written < bytes.length) written += disk.write(fd, bytes, written, bytes.length - written, position + written);
}
