/**
 * One process a folder. Node has no flock, a pid file outlives kill -9, and a socket is tied to one network namespace, so
 * the lock is the one that SQLite takes on a file: a kernel lock (fcntl) that dies with the process, on every system and
 * between containers that share the volume. The file stays empty.
 */
import { DatabaseSync } from 'node:sqlite';

export interface FolderLock {
  release(): void;
}

/** Throws an Error "data folder in use: …" when another process (or another spool of this one) has the folder. */
export function lockFolder(folder: string): FolderLock {
  const database = new DatabaseSync(`${folder}/lock`, { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    throw new Error(`data folder in use: ${folder}`, { cause });
  }
  return {
    release() {
      if (database.isOpen) database.close();
    },
  };
}
