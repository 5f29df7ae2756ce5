/**
 * A disk with a page cache. It outlives the processes that use it.
 *
 * What was written is in the cache at once, which survives the death of a process. A power cut leaves what was synced, and of
 * what was not any part: each write whole, torn or missing, and of each folder's changes of names the first ones.
 * A failed fdatasync drops the pages: no later one makes them durable, and they may be gone from the cache at the next start.
 */
import path from 'node:path';
import type { Dice } from './dice.ts';

type Write =
  | { readonly kind: 'write'; readonly order: number; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly order: number; readonly size: number };

interface Inode {
  /** Content in the cache. */
  data: Buffer;
  size: number;
  /** Content after a power cut that loses all it can. */
  durable: Buffer;
  /** Since the last sync. */
  unsynced: Write[];
  /** Pages were dropped by a failed sync. */
  dropped: boolean;
}

type Entry = { readonly kind: 'file'; readonly inode: Inode } | { readonly kind: 'folder'; readonly folder: Folder };

interface Folder {
  names: Map<string, Entry>;
  durable: Map<string, Entry>;
  /** Changes of names since the last sync, each as a function of the durable ones. */
  unsynced: { readonly order: number; readonly step: (names: Map<string, Entry>) => void }[];
}

function newFolder(): Folder {
  return { names: new Map(), durable: new Map(), unsynced: [] };
}

export function ioError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

export class PageCachedDisk {
  readonly #dice: Dice;
  readonly #root: Folder = newFolder();
  readonly #open = new Map<number, Inode>();
  #nextFd = 3;
  #order = 0;
  /** Bytes that may still be written before the disk is full. */
  roomBytes = Number.POSITIVE_INFINITY;
  /** What `statfs` says. */
  usedShare = 0.3;

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  /** A failed sync has dropped pages that were not written anew. */
  get hasDropped(): boolean {
    let dropped = false;
    this.#walk(this.#root, (inode) => {
      dropped ||= inode.dropped;
    });
    return dropped;
  }

  /** All files are closed; dropped pages may be gone. */
  processDied(): void {
    this.#open.clear();
    this.#walk(this.#root, (inode) => {
      if (!inode.dropped || this.#dice.chance(0.5)) return;
      inode.dropped = false;
      setContent(inode, inode.durable, inode.unsynced);
    });
  }

  powerCut(): void {
    this.#open.clear();
    this.#cut(this.#root);
  }

  exists(file: string): boolean {
    return this.#entry(file) !== undefined;
  }

  isFolder(file: string): boolean {
    return this.#entry(file)?.kind === 'folder';
  }

  size(file: string): number {
    return this.#file(file).size;
  }

  read(file: string): Buffer {
    const inode = this.#file(file);
    return Buffer.from(inode.data.subarray(0, inode.size));
  }

  /** Bytes at a place of an open file; fewer at its end. */
  readAt(fd: number, buffer: Buffer, start: number, length: number, position: number): number {
    const inode = this.#descriptor(fd);
    return inode.data.copy(buffer, start, position, Math.min(inode.size, position + length));
  }

  list(folder: string): string[] {
    return [...this.#folder(folder).names.keys()].sort();
  }

  makeFolder(folder: string): void {
    let at = this.#root;
    for (const name of partsOf(folder)) {
      const found = at.names.get(name);
      if (found?.kind === 'file') throw ioError('ENOTDIR');
      if (found !== undefined) {
        at = found.folder;
        continue;
      }
      const entry: Entry = { kind: 'folder', folder: newFolder() };
      this.#change(at, (names) => names.set(name, entry));
      at = entry.folder;
    }
  }

  /** `wx` makes a file that must not be there. */
  open(file: string, flags: 'wx' | 'r+' | 'r'): number {
    const { folder, name } = this.#place(file);
    const found = folder.names.get(name);
    let inode: Inode;
    if (flags === 'wx') {
      if (found !== undefined) throw ioError('EEXIST');
      if (this.roomBytes <= 0) throw ioError('ENOSPC');
      inode = { data: Buffer.alloc(4096), size: 0, durable: Buffer.alloc(0), unsynced: [], dropped: false };
      const entry: Entry = { kind: 'file', inode };
      this.#change(folder, (names) => names.set(name, entry));
    } else {
      if (found?.kind !== 'file') throw ioError('ENOENT');
      inode = found.inode;
    }
    const fd = this.#nextFd++;
    this.#open.set(fd, inode);
    return fd;
  }

  close(fd: number): void {
    if (!this.#open.delete(fd)) throw ioError('EBADF');
  }

  /** Returns how many bytes were written, which may be fewer. */
  write(fd: number, bytes: Buffer, start: number, length: number, position: number): number {
    const inode = this.#descriptor(fd);
    const grows = Math.max(0, position + length - inode.size);
    let count = length;
    if (grows > this.roomBytes) {
      count = length - (grows - this.roomBytes);
      if (count <= 0) throw ioError('ENOSPC');
    } else if (length > 1 && this.#dice.chance(0.01)) count = this.#dice.between(1, length - 1);
    this.roomBytes -= Math.max(0, position + count - inode.size);
    const write: Write = {
      kind: 'write',
      order: this.#order++,
      offset: position,
      bytes: Buffer.from(bytes.subarray(start, start + count)),
    };
    inode.unsynced.push(write);
    apply(inode, write);
    return count;
  }

  truncate(file: string, size: number): void {
    const inode = this.#file(file);
    const write: Write = { kind: 'truncate', order: this.#order++, size };
    inode.unsynced.push(write);
    apply(inode, write);
  }

  rename(from: string, to: string): void {
    const source = this.#place(from);
    const target = this.#place(to);
    const entry = source.folder.names.get(source.name);
    if (entry === undefined) throw ioError('ENOENT');
    if (source.folder !== target.folder) throw ioError('EXDEV');
    this.#change(source.folder, (names) => {
      names.delete(source.name);
      names.set(target.name, entry);
    });
  }

  link(from: string, to: string): void {
    const source = this.#place(from);
    const target = this.#place(to);
    const entry = source.folder.names.get(source.name);
    if (entry?.kind !== 'file') throw ioError('ENOENT');
    if (target.folder.names.has(target.name)) throw ioError('EEXIST');
    this.#change(target.folder, (names) => names.set(target.name, entry));
  }

  unlink(file: string): void {
    const { folder, name } = this.#place(file);
    if (folder.names.get(name)?.kind !== 'file') throw ioError('ENOENT');
    this.#change(folder, (names) => names.delete(name));
  }

  removeFolder(file: string): void {
    const { folder, name } = this.#place(file);
    const found = folder.names.get(name);
    if (found?.kind !== 'folder') throw ioError('ENOENT');
    if (found.folder.names.size > 0) throw ioError('ENOTEMPTY');
    this.#change(folder, (names) => names.delete(name));
  }

  /** Begins a sync; the function returned ends it: what was written before it began is durable then, or dropped. */
  beginSync(fd: number): (succeeded: boolean) => void {
    const inode = this.#descriptor(fd);
    const before = this.#order;
    return (succeeded) => {
      const covered = inode.unsynced.filter((write) => write.order < before);
      inode.unsynced = inode.unsynced.filter((write) => write.order >= before);
      if (succeeded) inode.durable = contentOf(inode.durable, covered);
      else if (covered.length > 0) inode.dropped = true;
    };
  }

  /** Likewise for the names in a folder. */
  beginSyncFolder(file: string): (succeeded: boolean) => void {
    const folder = this.#folder(file);
    const before = this.#order;
    return (succeeded) => {
      if (!succeeded) return;
      for (const { order, step } of folder.unsynced) if (order < before) step(folder.durable);
      folder.unsynced = folder.unsynced.filter(({ order }) => order >= before);
    };
  }

  #change(folder: Folder, step: (names: Map<string, Entry>) => void): void {
    step(folder.names);
    folder.unsynced.push({ order: this.#order++, step });
  }

  #cut(folder: Folder): void {
    const kept = this.#dice.between(0, folder.unsynced.length);
    for (const { step } of folder.unsynced.slice(0, kept)) step(folder.durable);
    folder.names = new Map(folder.durable);
    folder.unsynced = [];
    for (const entry of folder.names.values()) {
      if (entry.kind === 'folder') this.#cut(entry.folder);
      else this.#cutFile(entry.inode);
    }
  }

  #cutFile(inode: Inode): void {
    const survived: Write[] = [];
    const torn = this.#dice.chance(0.3);
    for (const write of inode.unsynced) {
      const fate = this.#dice.random();
      if (fate < 0.4) survived.push(write);
      else if (torn && fate < 0.7 && write.kind === 'write') {
        survived.push({ ...write, bytes: write.bytes.subarray(0, this.#dice.between(0, write.bytes.length)) });
      } else if (this.#dice.chance(0.5)) break;
    }
    inode.durable = contentOf(inode.durable, survived);
    inode.unsynced = [];
    inode.dropped = false;
    setContent(inode, inode.durable, []);
  }

  #walk(folder: Folder, visit: (inode: Inode) => void): void {
    for (const entry of folder.names.values()) {
      if (entry.kind === 'folder') this.#walk(entry.folder, visit);
      else visit(entry.inode);
    }
  }

  #descriptor(fd: number): Inode {
    const inode = this.#open.get(fd);
    if (inode === undefined) throw ioError('EBADF');
    return inode;
  }

  #entry(file: string): Entry | undefined {
    let entry: Entry = { kind: 'folder', folder: this.#root };
    for (const name of partsOf(file)) {
      if (entry.kind !== 'folder') return undefined;
      const next = entry.folder.names.get(name);
      if (next === undefined) return undefined;
      entry = next;
    }
    return entry;
  }

  #file(file: string): Inode {
    const entry = this.#entry(file);
    if (entry?.kind !== 'file') throw ioError('ENOENT');
    return entry.inode;
  }

  #folder(file: string): Folder {
    const entry = this.#entry(file);
    if (entry?.kind !== 'folder') throw ioError('ENOENT');
    return entry.folder;
  }

  #place(file: string): { readonly folder: Folder; readonly name: string } {
    return { folder: this.#folder(path.dirname(file)), name: path.basename(file) };
  }
}

function partsOf(file: string): string[] {
  return file.split('/').filter((part) => part !== '' && part !== '.');
}

function apply(inode: Inode, write: Write): void {
  if (write.kind === 'truncate') {
    grow(inode, write.size);
    if (write.size < inode.size) inode.data.fill(0, write.size, inode.size);
    inode.size = write.size;
    return;
  }
  grow(inode, write.offset + write.bytes.length);
  write.bytes.copy(inode.data, write.offset);
  inode.size = Math.max(inode.size, write.offset + write.bytes.length);
}

function grow(inode: { data: Buffer; size: number }, size: number): void {
  if (size <= inode.data.length) return;
  const grown = Buffer.alloc(Math.max(size, inode.data.length * 2));
  inode.data.copy(grown, 0, 0, inode.size);
  inode.data = grown;
}

function setContent(inode: Inode, durable: Buffer, writes: readonly Write[]): void {
  inode.data = Buffer.from(durable);
  inode.size = durable.length;
  for (const write of writes) apply(inode, write);
}

function contentOf(durable: Buffer, writes: readonly Write[]): Buffer {
  if (writes.length === 0) return durable;
  const inode: Inode = { data: Buffer.from(durable), size: durable.length, durable, unsynced: [], dropped: false };
  for (const write of writes) apply(inode, write);
  return Buffer.from(inode.data.subarray(0, inode.size));
}
