/**
 * Keeps the store in step with the picture. A disk that fails does not stop the node from following: a restart would
 * begin from an older position. The disk is tried again later, with a whole snapshot.
 */
import { toBinary } from '@bufbuild/protobuf';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import { type Delta, DeltaSchema } from '@meridian/wire/gen/sync_pb';
import type { Intake } from './intake.ts';
import type { Picture } from './picture.ts';
import type { SnapshotStore } from './snapshot-store.ts';
import { packPicture } from './snapshot-transfer.ts';

/** The delta log is turned into a new snapshot beyond this size. */
const COMPACT_AT_BYTES = 8 * 1024 * 1024;
/** After a failed write the disk is not tried again for this long. */
const RETRY_AFTER_MS = 30_000;

export interface PictureKeeperDeps {
  readonly picture: Picture;
  readonly intake: Intake;
  readonly store: SnapshotStore;
  /** Milliseconds since 1970. */
  readonly clock: { nowMs(): number };
  readonly log: { error(fields: object, text: string): void };
}

/** Where the picture stands. */
export interface KeptPosition {
  readonly dbEpoch: string;
  readonly cursors: LaneRevisions;
}

export class PictureKeeper {
  readonly #deps: PictureKeeperDeps;
  readonly #closing = new AbortController();
  #compaction: Promise<void> | undefined;
  #retryAtMs = 0;

  constructor(deps: PictureKeeperDeps) {
    this.#deps = deps;
  }

  /** Returns when the deltas are on the disk, or have been given up. */
  async keepDeltas(deltas: readonly Delta[]): Promise<void> {
    const { store, clock } = this.#deps;
    if (!store.isWritable) return;
    const receivedAtMs = clock.nowMs();
    try {
      await store.append(deltas.map((delta) => ({ receivedAtMs, delta: toBinary(DeltaSchema, delta) })));
    } catch (error) {
      this.#failed(error, 'deltas could not be stored');
    }
  }

  /**
   * Stores a snapshot that was just applied: as it came, or the picture where `packed` is absent, since what the node
   * knows beyond a snapshot must outlive a restart, a refusal above all.
   */
  async keepSnapshot(position: KeptPosition, packed: readonly Uint8Array[] | undefined): Promise<void> {
    await this.#compaction;
    try {
      const finish = await this.#begin(position);
      await finish(packed === undefined ? this.#pack(position) : asyncOf(packed));
    } catch (error) {
      this.#failed(error, 'the snapshot could not be stored');
    }
  }

  /** Begins a new generation where the log has grown long or a write has failed. The writing goes on beside what is applied meanwhile. */
  async compactWhenDue(position: KeptPosition): Promise<void> {
    const { store, clock } = this.#deps;
    const due = store.isWritable ? store.deltaLogBytes > COMPACT_AT_BYTES : clock.nowMs() >= this.#retryAtMs;
    if (!due || this.#compaction !== undefined || position.dbEpoch === '') return;
    try {
      const finish = await this.#begin(position);
      this.#compaction = finish(this.#pack(position))
        .catch((error: unknown) => this.#failed(error, 'the picture could not be compacted'))
        .finally(() => {
          this.#compaction = undefined;
        });
    } catch (error) {
      this.#failed(error, 'the picture could not be compacted');
    }
  }

  /** Gives up a compaction that is under way: the generation before it, with its logs, is as good. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#compaction;
  }

  #begin({ dbEpoch, cursors }: KeptPosition): Promise<(content: AsyncIterable<Uint8Array>) => Promise<void>> {
    return this.#deps.store.begin({ dbEpoch, heads: cursors, savedAtMs: this.#deps.clock.nowMs() });
  }

  #pack({ dbEpoch, cursors }: KeptPosition): AsyncIterable<Uint8Array> {
    return packPicture(this.#deps.picture, this.#deps.intake, dbEpoch, cursors, this.#closing.signal);
  }

  #failed(error: unknown, text: string): void {
    if (this.#closing.signal.aborted) return;
    this.#retryAtMs = this.#deps.clock.nowMs() + RETRY_AFTER_MS;
    this.#deps.log.error({ err: error }, `sync: ${text}`);
  }
}

async function* asyncOf(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}
