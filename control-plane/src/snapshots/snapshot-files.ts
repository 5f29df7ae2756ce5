/**
 * Snapshots: the whole picture in a file on this replica's disk, gzip of a SnapshotContent.
 *
 * One is built when a node needs it and none is good any more, one at a time; who asks meanwhile waits for the same one.
 * It is one REPEATABLE READ transaction whose first statement reads all heads, so it holds exactly what the logs say up
 * to those heads. Deleted entities are left out: whatever the logs bring after the heads is newer than what is left out.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type IdSource, newId } from '@meridian/domain/ids';
import { LANES, type Lane } from '@meridian/domain/snapshot';
import { encodeSnapshotHead } from '@meridian/wire/codec/snapshot-content';
import { SnapshotContentSchema } from '@meridian/wire/gen/sync_pb';
import type { Database } from '../database/connect.ts';
import type { LogTail } from './log-tail.ts';
import { MAX_WINDOW_BYTES } from './log-window.ts';
import { type Heads, selectEntities, selectHeads } from './store.ts';

const MAX_AGE_MS = 10 * 60_000;
const ENTITIES_A_PAGE = 2_000;
/** Nodes may still be fetching one that was replaced. */
const MAX_KEPT_FILES = 3;

export interface Snapshot {
  readonly id: string;
  readonly dbEpoch: string;
  readonly heads: Readonly<Record<Lane, number>>;
  readonly path: string;
  /** Of the file: what is sent. */
  readonly byteCount: number;
  /** Of the uncompressed content. */
  readonly sha256: Uint8Array;
  readonly entityCount: number;
  readonly builtAtMs: number;
}

export interface SnapshotFilesDeps {
  readonly db: Database;
  readonly tail: LogTail;
  readonly ids: IdSource;
  /** Of this replica alone: made when missing, removed at the end. */
  readonly folder: string;
  /** A snapshot this far behind on any lane is replaced (bytes of the log); half of what a node may lag unless told. */
  readonly maxLagBytes?: number;
  readonly onBuilt?: (snapshot: Snapshot, durationMs: number) => void;
}

export class SnapshotFiles {
  readonly #deps: SnapshotFilesDeps;
  #files: Snapshot[] = [];
  #building: Promise<Snapshot> | undefined;

  constructor(deps: SnapshotFilesDeps) {
    this.#deps = deps;
  }

  /** A snapshot that a node can go on from, built if need be. */
  current(): Promise<Snapshot> {
    const newest = this.#files[0];
    if (newest !== undefined && this.#isGood(newest)) return Promise.resolve(newest);
    this.#building ??= this.#build().finally(() => {
      this.#building = undefined;
    });
    return this.#building;
  }

  /** One that `current` gave not long ago. */
  get(id: string): Snapshot | undefined {
    return this.#files.find((snapshot) => snapshot.id === id);
  }

  /** Waits for the one being built; removes the folder. */
  async close(): Promise<void> {
    await this.#building?.catch(() => undefined);
    this.#files = [];
    await rm(this.#deps.folder, { recursive: true, force: true });
  }

  #isGood(snapshot: Snapshot): boolean {
    const { tail, ids, maxLagBytes = MAX_WINDOW_BYTES / 2 } = this.#deps;
    if (snapshot.dbEpoch !== tail.dbEpoch || ids.nowMs() - snapshot.builtAtMs >= MAX_AGE_MS) return false;
    return LANES.every((lane) => (tail.window(lane).lagBytes(snapshot.heads[lane]) ?? Number.POSITIVE_INFINITY) <= maxLagBytes);
  }

  async #build(): Promise<Snapshot> {
    const { db, folder, ids } = this.#deps;
    const builtAtMs = ids.nowMs();
    const id = newId('snp', ids);
    const path = join(folder, `${id}.gz`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      const written = await writeContent(db, path);
      const snapshot: Snapshot = { id, path, builtAtMs, byteCount: (await stat(path)).size, ...written };
      await this.#keep(snapshot);
      this.#deps.onBuilt?.(snapshot, ids.nowMs() - builtAtMs);
      return snapshot;
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  async #keep(snapshot: Snapshot): Promise<void> {
    const files = [snapshot, ...this.#files];
    this.#files = files.slice(0, MAX_KEPT_FILES);
    // An open file can still be read to its end.
    for (const old of files.slice(MAX_KEPT_FILES)) await rm(old.path, { force: true });
  }
}

async function writeContent(db: Database, path: string): Promise<Pick<Snapshot, 'dbEpoch' | 'heads' | 'sha256' | 'entityCount'>> {
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (trx) => {
      // The first statement fixes what the transaction sees.
      const heads = await selectHeads(trx);
      const sha256 = createHash('sha256');
      let entityCount = 0;
      await pipeline(
        async function* () {
          for await (const { bytes, count } of contentPages(trx, heads)) {
            sha256.update(bytes);
            entityCount += count;
            yield bytes;
          }
        },
        createGzip({ level: constants.Z_BEST_SPEED }),
        createWriteStream(path, { mode: 0o600 }),
      );
      return { dbEpoch: heads.dbEpoch, heads: heads.revs, sha256: sha256.digest(), entityCount };
    });
}

/** An encoded SnapshotContent in pieces: entities stand in it as they were published. */
async function* contentPages(
  trx: Parameters<typeof selectEntities>[0],
  heads: Heads,
): AsyncGenerator<{ bytes: Uint8Array; count: number }> {
  yield { bytes: encodeSnapshotHead(heads.dbEpoch, heads.revs), count: 0 };
  let after = { kind: '', id: '' };
  for (;;) {
    const page = await selectEntities(trx, after, ENTITIES_A_PAGE);
    const last = page.at(-1);
    if (last === undefined) return;
    const writer = new BinaryWriter();
    for (const entity of page) writer.tag(SnapshotContentSchema.field.entries.number, WireType.LengthDelimited).bytes(entity.payload);
    yield { bytes: writer.finish(), count: page.length };
    after = { kind: last.kind, id: last.id };
  }
}
