/**
 * The picture on disk, under `<data folder>/picture/`, so that a node restarted while the control plane is away serves.
 *
 * Generations: `snapshot-<n>.bin` is a whole picture, `delta-<n>.log` holds the deltas that came after it. A new
 * snapshot, fetched or compacted, begins generation n + 1; its log is begun first, and from then on takes the deltas,
 * so that a crash at any point leaves generation n and both logs, which follow on from one another. The generation
 * before the newest stays as a fallback. On start the newest sound snapshot is read, then every log from its
 * generation on for as long as each delta continues the one before it; what does not is cut off and thrown away.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import type { Lane } from '@meridian/domain/snapshot';
import { type LaneRevisions, laneFromWire } from '@meridian/wire/codec/lane';
import { type Delta, DeltaSchema } from '@meridian/wire/gen/sync_pb';
import {
  type DeltaLog,
  type DeltaRecord,
  decodeDeltaLog,
  decodeHeader,
  encodeDeltaLogHeader,
  encodeDeltaRecord,
  encodeHeader,
  HEADER_READ_BYTES,
  type PictureHeader,
  SHA256_BYTES,
  SNAPSHOT_MAGIC,
} from './picture-file.ts';

/** What was found on disk. */
export interface StoredPicture {
  readonly dbEpoch: string;
  /** Where the snapshot's lanes stood; the deltas lead on from there. */
  readonly heads: LaneRevisions;
  /** When the last piece of it arrived from the control plane (ms since 1970). */
  readonly asOfMs: number;
  /** gzip of a SnapshotContent, verified; may be read once or more. */
  content(): AsyncIterable<Uint8Array>;
  readonly deltas: readonly Delta[];
}

const READ_BYTES = 1024 * 1024;

export class SnapshotStore {
  readonly #folder: string;
  /** The highest generation that any file has. */
  #generation: number;
  #log: { readonly file: FileHandle; bytes: number } | undefined;
  #stored: StoredPicture | undefined;

  private constructor(folder: string, generation: number) {
    this.#folder = folder;
    this.#generation = generation;
  }

  /** Opens the folder, making it when absent, and reads what it holds. */
  static async open(dataFolder: string): Promise<SnapshotStore> {
    const folder = join(dataFolder, 'picture');
    await mkdir(folder, { recursive: true });
    const names = await readdir(folder);
    for (const name of names) if (name.endsWith('.tmp')) await rm(join(folder, name), { force: true });
    const snapshots = generationsOf(names, /^snapshot-(\d{8})\.bin$/);
    const logs = generationsOf(names, /^delta-(\d{8})\.log$/);
    const store = new SnapshotStore(folder, Math.max(0, ...snapshots, ...logs));
    for (const generation of snapshots.toReversed()) {
      const found = await verifySnapshot(store.#snapshotPath(generation));
      if (found === undefined) {
        // Left here it would be kept as the fallback of the next one.
        await rm(store.#snapshotPath(generation));
        continue;
      }
      store.#stored = await store.#follow(generation, found, logs);
      break;
    }
    return store;
  }

  /** What the folder held when it was opened; given out once, so that it is not kept in memory. */
  takeStored(): StoredPicture | undefined {
    const stored = this.#stored;
    this.#stored = undefined;
    return stored;
  }

  /** Whether deltas can be appended: a snapshot was begun, and no write of a delta failed since. */
  get isWritable(): boolean {
    return this.#log !== undefined;
  }

  /** Bytes of deltas since the last snapshot; 0 while there is none. */
  get deltaLogBytes(): number {
    return this.#log?.bytes ?? 0;
  }

  /** Writes deltas down, in order, and returns when they are on the disk. After a failure only a new snapshot makes it writable again. */
  async append(records: readonly DeltaRecord[]): Promise<void> {
    const log = this.#log;
    if (log === undefined) throw new Error('deltas cannot be stored without a snapshot before them');
    const bytes = Buffer.concat(records.map(encodeDeltaRecord));
    try {
      await log.file.appendFile(bytes);
      await log.file.datasync();
    } catch (error) {
      // Part of a record may have been written; what came after it could not be read.
      this.#log = undefined;
      await log.file.close();
      throw error;
    }
    log.bytes += bytes.length;
  }

  /**
   * Begins a generation: from now on `append` writes to its log, so `header.heads` must be where the lanes stand now.
   * The result writes its snapshot, and may run while deltas are appended. `content` is gzip of a SnapshotContent that
   * holds everything up to those heads, newer versions allowed.
   */
  async begin(header: PictureHeader): Promise<(content: AsyncIterable<Uint8Array>) => Promise<void>> {
    const generation = ++this.#generation;
    const log = await beginLog(this.#logPath(generation), header);
    await this.#log?.file.close();
    this.#log = log;
    return async (content) => {
      const path = this.#snapshotPath(generation);
      await writeSnapshot(`${path}.tmp`, header, content);
      await rename(`${path}.tmp`, path);
      await this.#syncFolder();
      await this.#removeBefore(generation);
    };
  }

  async close(): Promise<void> {
    await this.#log?.file.close();
    this.#log = undefined;
  }

  /** Replays the logs that follow on from a snapshot, cuts off what does not, and leaves the last of them open for more. */
  async #follow(generation: number, snapshot: VerifiedSnapshot, logs: readonly number[]): Promise<StoredPicture> {
    const cursors: Partial<Record<Lane, number>> = { ...snapshot.header.heads };
    const deltas: Delta[] = [];
    let asOfMs = snapshot.header.savedAtMs;
    let last: { readonly generation: number; readonly endByte: number } | undefined;
    let broken = false;
    for (const logGeneration of logs.filter((candidate) => candidate >= generation)) {
      const path = this.#logPath(logGeneration);
      const log: DeltaLog | undefined = broken ? undefined : decodeDeltaLog(await readFile(path));
      if (log === undefined || log.header.dbEpoch !== snapshot.header.dbEpoch) {
        broken = true;
        await rm(path, { force: true });
        continue;
      }
      const taken = takeContiguous(log, cursors, deltas);
      asOfMs = Math.max(asOfMs, taken.asOfMs);
      broken = taken.count < log.records.length;
      last = { generation: logGeneration, endByte: log.ends[taken.count - 1] ?? log.recordsStart };
    }
    if (last === undefined) {
      this.#log = await beginLog(this.#logPath(this.#generation), snapshot.header);
    } else {
      const path = this.#logPath(last.generation);
      await truncate(path, last.endByte);
      this.#log = { file: await open(path, 'a'), bytes: last.endByte };
    }
    await this.#syncFolder();
    return {
      dbEpoch: snapshot.header.dbEpoch,
      heads: snapshot.header.heads,
      asOfMs,
      content: () => readPart(this.#snapshotPath(generation), snapshot.startByte, snapshot.endByte),
      deltas,
    };
  }

  /** Keeps the generation before this one. */
  async #removeBefore(generation: number): Promise<void> {
    const names = await readdir(this.#folder);
    const snapshots = generationsOf(names, /^snapshot-(\d{8})\.bin$/);
    const fallback = snapshots.filter((candidate) => candidate < generation).at(-1) ?? generation;
    for (const old of snapshots) if (old < fallback) await rm(this.#snapshotPath(old), { force: true });
    for (const old of generationsOf(names, /^delta-(\d{8})\.log$/)) if (old < fallback) await rm(this.#logPath(old), { force: true });
  }

  async #syncFolder(): Promise<void> {
    const folder = await open(this.#folder, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  #snapshotPath(generation: number): string {
    return join(this.#folder, `snapshot-${String(generation).padStart(8, '0')}.bin`);
  }

  #logPath(generation: number): string {
    return join(this.#folder, `delta-${String(generation).padStart(8, '0')}.log`);
  }
}

interface VerifiedSnapshot {
  readonly header: PictureHeader;
  /** Where the content stands in the file. */
  readonly startByte: number;
  readonly endByte: number;
}

/** Reads a snapshot file through; undefined when a byte of it is missing or wrong. */
async function verifySnapshot(path: string): Promise<VerifiedSnapshot | undefined> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const head = Buffer.alloc(Math.min(size, HEADER_READ_BYTES));
    await file.read(head, 0, head.length, 0);
    const found = decodeHeader(SNAPSHOT_MAGIC, head);
    const endByte = size - SHA256_BYTES;
    if (found === undefined || endByte < found.end) return undefined;
    const hash = createHash('sha256');
    for await (const piece of readPart(path, 0, endByte)) hash.update(piece);
    const trailer = Buffer.alloc(SHA256_BYTES);
    await file.read(trailer, 0, SHA256_BYTES, endByte);
    return hash.digest().equals(trailer) ? { header: found.header, startByte: found.end, endByte } : undefined;
  } finally {
    await file.close();
  }
}

async function* readPart(path: string, startByte: number, endByte: number): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r');
  try {
    let at = startByte;
    while (at < endByte) {
      const piece = Buffer.alloc(Math.min(READ_BYTES, endByte - at));
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      if (bytesRead === 0) throw new Error(`${path} became shorter while it was read`);
      yield piece.subarray(0, bytesRead);
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
}

async function writeSnapshot(path: string, header: PictureHeader, content: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'w');
  try {
    const hash = createHash('sha256');
    const head = encodeHeader(SNAPSHOT_MAGIC, header);
    hash.update(head);
    await file.appendFile(head);
    for await (const piece of content) {
      hash.update(piece);
      await file.appendFile(piece);
    }
    await file.appendFile(hash.digest());
    await file.datasync();
  } finally {
    await file.close();
  }
}

async function beginLog(path: string, header: PictureHeader): Promise<{ readonly file: FileHandle; bytes: number }> {
  const file = await open(path, 'w');
  const head = encodeDeltaLogHeader(header);
  await file.appendFile(head);
  await file.datasync();
  return { file, bytes: head.length };
}

/** Moves the cursors over the log's deltas, adding those that are news; stops at the first that does not follow on. */
function takeContiguous(
  log: DeltaLog,
  cursors: Partial<Record<Lane, number>>,
  deltas: Delta[],
): { readonly count: number; readonly asOfMs: number } {
  let asOfMs = 0;
  for (const [index, record] of log.records.entries()) {
    const delta = fromBinary(DeltaSchema, record.delta);
    const lane = laneFromWire(delta.lane);
    const cursor = cursors[lane];
    const [prevRev, rev] = [Number(delta.prevRev), Number(delta.rev)];
    if (cursor === undefined || rev > cursor) {
      if (prevRev !== cursor) return { count: index, asOfMs };
      cursors[lane] = rev;
      deltas.push(delta);
    }
    asOfMs = record.receivedAtMs;
  }
  return { count: log.records.length, asOfMs };
}

function generationsOf(names: readonly string[], pattern: RegExp): number[] {
  return names
    .map((name) => Number(pattern.exec(name)?.[1]))
    .filter((generation) => generation > 0)
    .sort((a, b) => a - b);
}
