/**
 * The spool's whole way to the disk, and to the lock of its folder: an argument, so that tests can make it fail and a
 * simulation can put another one in its place.
 *
 * What was written, and each change of a name, is seen by every later call at once, also of another process after this one
 * was killed. A power cut keeps of a file's bytes what `fdatasync` covered and of a folder's names what `syncFolder` covered;
 * of the rest it may keep any part (writes torn, missing, in another order). Calls throw, or reject with, errors that carry
 * the `code` of the system call (ENOSPC, EDQUOT, EIO, ENOENT …).
 */
import fs from 'node:fs';
import { type FolderLock, lockFolder } from './lock.ts';

export interface DiskUse {
  /** Share of the blocks that is not available to us, 0 … 1. */
  readonly usedShare: number;
}

export interface SpoolDisk {
  /** Throws "data folder in use" while another process, or another spool of this one, has the folder. */
  lock(folder: string): FolderLock;
  /** Whether there is a file or a folder of that name. */
  exists(path: string): boolean;
  /** Names in the folder, in any order. */
  list(folder: string): string[];
  /** Bytes of a file. */
  size(path: string): number;
  readFile(path: string): Buffer;
  /** `wx` makes a file, which must not be there; `r+` opens one that is. */
  open(path: string, flags: 'wx' | 'r' | 'r+'): number;
  /** Makes nothing durable. */
  close(fd: number): void;
  /** Fills `into` from `start` on with up to `length` bytes at the position; fewer (or 0) only at the end of the file. */
  read(fd: number, into: Buffer, start: number, length: number, position: number): Promise<number>;
  /** The same, before it returns: for the start, when nothing else waits. */
  readNow(fd: number, into: Buffer, start: number, length: number, position: number): number;
  /** May write fewer bytes than asked for; returns how many. Not durable. */
  write(fd: number, bytes: Buffer, start: number, length: number, position: number): number;
  /**
   * Makes durable what was written to the file before the call, its length included; not what is written while it runs, and
   * not the file's name. When it rejects, none of that is durable, no later sync makes it so, and what the file reads as is
   * uncertain from then on.
   */
  fdatasync(fd: number): Promise<void>;
  /** The same, before it returns: for the start, when nothing else waits. */
  fdatasyncNow(fd: number): void;
  /** Shortens a file; not durable. */
  truncate(path: string, length: number): void;
  /** Replaces `to` where it exists: it is either file at any moment, after a power cut as well. Not durable. */
  rename(from: string, to: string): void;
  /** A second name for the file; `to` must not exist. Not durable. */
  link(from: string, to: string): void;
  /** Takes a file's name away; not durable. */
  unlink(path: string): void;
  /** With the folders above it; none of it durable. One that is there already is left as it is. */
  makeFolder(path: string): void;
  /** Of an empty folder; not durable. */
  removeFolder(path: string): void;
  /** Makes the names in the folder durable as they were before the call. */
  syncFolder(path: string): Promise<void>;
  statfs(path: string): Promise<DiskUse>;
}

export const nodeDisk: SpoolDisk = {
  lock: lockFolder,
  exists: (path) => fs.existsSync(path),
  list: (folder) => fs.readdirSync(folder),
  size: (path) => fs.statSync(path).size,
  readFile: (path) => fs.readFileSync(path),
  open: (path, flags) => fs.openSync(path, flags),
  close: (fd) => fs.closeSync(fd),
  read: (fd, into, start, length, position) =>
    new Promise((resolve, reject) =>
      fs.read(fd, into, start, length, position, (error, count) => (error === null ? resolve(count) : reject(error))),
    ),
  readNow: (fd, into, start, length, position) => fs.readSync(fd, into, start, length, position),
  write: (fd, bytes, start, length, position) => fs.writeSync(fd, bytes, start, length, position),
  fdatasync: (fd) => new Promise((resolve, reject) => fs.fdatasync(fd, (error) => (error === null ? resolve() : reject(error)))),
  fdatasyncNow: (fd) => fs.fdatasyncSync(fd),
  truncate: (path, length) => fs.truncateSync(path, length),
  rename: (from, to) => fs.renameSync(from, to),
  link: (from, to) => fs.linkSync(from, to),
  unlink: (path) => fs.unlinkSync(path),
  makeFolder: (path) => {
    fs.mkdirSync(path, { recursive: true });
  },
  removeFolder: (path) => fs.rmdirSync(path),
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

/** Up to `length` bytes of a file from the position on, before it returns; fewer at its end. Throws what the disk throws. */
export function readPart(disk: SpoolDisk, path: string, position: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  const fd = disk.open(path, 'r');
  try {
    return bytes.subarray(0, disk.readNow(fd, bytes, 0, length, position));
  } finally {
    disk.close(fd);
  }
}

/** Writes all of the bytes at the position; throws what the disk throws. */
export function writeAll(disk: SpoolDisk, fd: number, bytes: Buffer, position: number): void {
  let written = 0;
  while (written < bytes.length) written += disk.write(fd, bytes, written, bytes.length - written, position + written);
}

/** Makes a file of the bytes in place of one that was left behind under the name. Throws what the disk throws. */
export function writeFile(disk: SpoolDisk, path: string, bytes: Buffer): void {
  writeWhole(disk, path, bytes, () => {});
}

/** The same, durable but for its name. */
export function writeDurableFile(disk: SpoolDisk, path: string, bytes: Buffer): void {
  writeWhole(disk, path, bytes, (fd) => disk.fdatasyncNow(fd));
}

function writeWhole(disk: SpoolDisk, path: string, bytes: Buffer, finish: (fd: number) => void): void {
  removeLeft(disk, path);
  const fd = disk.open(path, 'wx');
  try {
    writeAll(disk, fd, bytes, 0);
    finish(fd);
  } finally {
    disk.close(fd);
  }
}

/** Removes a file that a process which died, or an attempt that failed, may have left. */
export function removeLeft(disk: SpoolDisk, path: string): void {
  if (disk.exists(path)) disk.unlink(path);
}
