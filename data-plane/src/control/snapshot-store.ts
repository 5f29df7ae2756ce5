/**
 * The picture on disk, under `<data folder>/picture/`, so that a node restarted while the control plane is away serves.
 *
 * Generations: `snapshot-<n>.bin` is a whole picture, `delta-<n>.log` holds the deltas that came after it. A new
 * snapshot, fetched or compacted, begins generation n + 1; its log is begun first, and from then on takes the deltas,
 * so that a crash at any point leaves generation n and both logs, which follow on from one another. The generation
 * before the newest stays as a fallback. On start the newest sound snapshot is read, then every log from its
 * generation on for as long as each delta continues the one before it; what does not is cut off and thrown away.
 *
 * Every byte that tells something is sealed (`picture-cipher.ts`). What does not open is told, counts as absent, and goes
 * when the next whole snapshot is there: with the right key, or an older disk put back, it may open yet.
 */
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import type { Lane } from '@meridian/domain/snapshot';
import { type LaneRevisions, laneFromWire } from '@meridian/wire/codec/lane';
import { type Delta, DeltaSchema } from '@meridian/wire/gen/sync_pb';
import {
  type DeltaLog,
  DeltaLogSealer,
  type DeltaRecord,
  openDeltaLog,
  type PictureHeader,
  SealedSnapshot,
  sealSnapshot,
} from './picture-file.ts';
import { sealPlainFiles } from './plain-picture.ts';

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

const SNAPSHOT_NAME = /^snapshot-(\d{8})\.bin$/;
const LOG_NAME = /^delta-(\d{8})\.log$/;

export interface SnapshotStoreOptions {
  readonly dataFolder: string;
  /** 32 bytes that both planes hold; every file's own key comes from it. */
  readonly sealingKey: Uint8Array;
  /** Told of what cannot be read. */
  readonly alarm: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

interface OpenLog {
  readonly file: FileHandle;
  readonly sealer: DeltaLogSealer;
  bytes: number;
}

export class SnapshotStore {
  readonly #options: SnapshotStoreOptions;
  readonly #folder: string;
  /** Snapshots that are no fallback. */
  readonly #unreadable = new Set<number>();
  /** The highest generation that any file has. */
  #generation: number;
  #log: OpenLog | undefined;
  #stored: StoredPicture | undefined;

  private constructor(options: SnapshotStoreOptions, folder: string, generation: number) {
    this.#options = options;
    this.#folder = folder;
    this.#generation = generation;
  }

  /** Opens the folder, making it when absent, and reads what it holds. */
  static async open(options: SnapshotStoreOptions): Promise<SnapshotStore> {
    const folder = join(options.dataFolder, 'picture');
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder)) if (name.endsWith('.tmp')) await rm(join(folder, name), { force: true });
    const plainFiles = await sealPlainFiles(folder, options.sealingKey);
    const names = await readdir(folder);
    const snapshots = generationsOf(names, SNAPSHOT_NAME);
    const logs = generationsOf(names, LOG_NAME);
    const store = new SnapshotStore(options, folder, Math.max(0, ...snapshots, ...logs));
    if (plainFiles > 0) await store.#syncFolder();
    for (const generation of snapshots.toReversed()) {
      const header = await store.#verifySnapshot(generation);
      if (header === undefined) {
        store.#unreadable.add(generation);
        continue;
      }
      store.#stored = await store.#follow(generation, header, logs);
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
    const bytes = Buffer.concat(records.map((record) => log.sealer.seal(record)));
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
    const log = await this.#beginLog(generation, header);
    await this.#log?.file.close();
    this.#log = log;
    await this.#syncFolder();
    return async (content) => {
      const path = this.#snapshotPath(generation);
      await this.#writeSnapshot(`${path}.tmp`, header, content);
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
  async #follow(generation: number, header: PictureHeader, logs: readonly number[]): Promise<StoredPicture> {
    const cursors: Partial<Record<Lane, number>> = { ...header.heads };
    const deltas: Delta[] = [];
    let asOfMs = header.savedAtMs;
    let last: { readonly generation: number; readonly endByte: number; readonly sealer: DeltaLogSealer } | undefined;
    let broken = false;
    for (const logGeneration of logs.filter((candidate) => candidate >= generation)) {
      const path = this.#logPath(logGeneration);
      const log: DeltaLog | undefined = broken ? undefined : openDeltaLog(this.#options.sealingKey, await readFile(path));
      if (log === undefined && !broken)
        this.#options.alarm('stored deltas cannot be opened: sealed with another key, or damaged', { path });
      if (log === undefined || log.header.dbEpoch !== header.dbEpoch) {
        broken = true;
        await rm(path, { force: true });
        continue;
      }
      const taken = takeContiguous(log, cursors, deltas);
      asOfMs = Math.max(asOfMs, taken.asOfMs);
      broken = taken.count < log.records.length;
      const endByte = log.ends[taken.count - 1] ?? log.recordsStart;
      last = { generation: logGeneration, endByte, sealer: DeltaLogSealer.resume(log.cipher, taken.count) };
    }
    if (last === undefined) {
      this.#log = await this.#beginLog(this.#generation, header);
    } else {
      const path = this.#logPath(last.generation);
      await truncate(path, last.endByte);
      this.#log = { file: await open(path, 'a'), sealer: last.sealer, bytes: last.endByte };
    }
    await this.#syncFolder();
    return {
      dbEpoch: header.dbEpoch,
      heads: header.heads,
      asOfMs,
      content: () => this.#content(generation),
      deltas,
    };
  }

  /** Reads a snapshot through, so that what is given out is sound; undefined when a byte of it is missing or wrong. */
  async #verifySnapshot(generation: number): Promise<PictureHeader | undefined> {
    const path = this.#snapshotPath(generation);
    const file = await open(path, 'r');
    try {
      const snapshot = await SealedSnapshot.open(this.#options.sealingKey, file);
      if (snapshot === undefined) throw new Error('sealed with another key, or damaged at its start');
      for await (const _ of snapshot.content(file));
      return snapshot.header;
    } catch (error) {
      this.#options.alarm('a stored snapshot cannot be opened', { path, err: error });
      return undefined;
    } finally {
      await file.close();
    }
  }

  async *#content(generation: number): AsyncGenerator<Uint8Array> {
    const file = await open(this.#snapshotPath(generation), 'r');
    try {
      const snapshot = await SealedSnapshot.open(this.#options.sealingKey, file);
      if (snapshot === undefined) throw new Error('the stored snapshot was changed while it was read');
      yield* snapshot.content(file);
    } finally {
      await file.close();
    }
  }

  async #writeSnapshot(path: string, header: PictureHeader, content: AsyncIterable<Uint8Array>): Promise<void> {
    const file = await open(path, 'w');
    try {
      for await (const piece of sealSnapshot(this.#options.sealingKey, header, content)) await file.appendFile(piece);
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  async #beginLog(generation: number, header: PictureHeader): Promise<OpenLog> {
    const { head, sealer } = DeltaLogSealer.begin(this.#options.sealingKey, header);
    const file = await open(this.#logPath(generation), 'w');
    await file.appendFile(head);
    await file.datasync();
    return { file, sealer, bytes: head.length };
  }

  /** Keeps the readable generation before this one. */
  async #removeBefore(generation: number): Promise<void> {
    const names = await readdir(this.#folder);
    const snapshots = generationsOf(names, SNAPSHOT_NAME).filter((candidate) => candidate < generation);
    const fallback = snapshots.filter((candidate) => !this.#unreadable.has(candidate)).at(-1) ?? generation;
    for (const old of snapshots) if (old !== fallback) await rm(this.#snapshotPath(old), { force: true });
    for (const old of generationsOf(names, LOG_NAME)) if (old < fallback) await rm(this.#logPath(old), { force: true });
    this.#unreadable.clear();
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
