/** A snapshot as it travels: fetched in chunks, verified, unpacked piece by piece; and packed anew for the disk. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { createGunzip, createGzip } from 'node:zlib';
import { create } from '@bufbuild/protobuf';
import type { Metadata } from '@grpc/grpc-js';
import { denialToWire } from '@meridian/wire/codec/denial';
import { configEntryToWire } from '@meridian/wire/codec/entry';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import { encodeSnapshotEntry, encodeSnapshotHead, SnapshotContentReader } from '@meridian/wire/codec/snapshot-content';
import type { ConfigEntry } from '@meridian/wire/gen/config_pb';
import { FetchSnapshotRequestSchema, type SnapshotContent, type SyncService } from '@meridian/wire/gen/sync_pb';
import type { ServiceCalls } from '@meridian/wire/grpc-service';
import type { Intake } from './intake.ts';
import type { Picture } from './picture.ts';

/** A snapshot of a million keys is about 80 MB packed. */
const MAX_PACKED_BYTES = 512 * 1024 * 1024;
const MAX_UNPACKED_BYTES = 4 * 1024 * 1024 * 1024;
/** A download that brings nothing for this long has failed. */
const STALL_TIMEOUT_MS = 10_000;
/** Entries are packed in pieces of about this size. */
const PIECE_BYTES = 64 * 1024;

/** Fetches the packed content. Throws when the call fails, stalls, is cut short or is aborted. */
export async function fetchSnapshot(
  calls: ServiceCalls<typeof SyncService>,
  metadata: Metadata,
  snapshotId: string,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const call = calls.fetchSnapshot(create(FetchSnapshotRequestSchema, { snapshotId }), metadata);
  const cancel = (): void => call.cancel();
  const stalled = setTimeout(cancel, STALL_TIMEOUT_MS);
  signal.addEventListener('abort', cancel);
  if (signal.aborted) cancel();
  const chunks: Uint8Array[] = [];
  let packedBytes = 0;
  let last = false;
  try {
    for await (const { index, chunk, last: isLast } of call) {
      if (last || index !== chunks.length)
        throw new Error(`chunk ${index} came where ${last ? 'no chunk' : `chunk ${chunks.length}`} was due`);
      packedBytes += chunk.length;
      if (packedBytes > MAX_PACKED_BYTES) throw new Error(`the snapshot is larger than ${MAX_PACKED_BYTES} bytes`);
      // A view of a message that holds nothing else: it pins no more than itself.
      chunks.push(chunk);
      last = isLast;
      stalled.refresh();
    }
  } finally {
    clearTimeout(stalled);
    signal.removeEventListener('abort', cancel);
    call.cancel();
  }
  if (!last) throw new Error('the snapshot ended before its last chunk');
  return chunks;
}

/** Unpacks once to compare the sum, so that nothing of a damaged snapshot is applied. Throws when it differs. */
export async function verifySnapshot(packed: readonly Uint8Array[], sha256: Uint8Array): Promise<void> {
  const hash = createHash('sha256');
  for await (const piece of unpack(packed)) hash.update(piece);
  if (!hash.digest().equals(sha256)) throw new Error('the snapshot’s content does not have the sum that was announced');
}

/** Hands every entry to `take`, awaiting `breathe` after each; returns what is not an entry. */
export async function readSnapshot(
  packed: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  take: (entry: ConfigEntry) => void,
  breathe: () => Promise<void> | undefined,
): Promise<SnapshotContent> {
  const reader = new SnapshotContentReader();
  for await (const piece of unpack(packed)) {
    for (const entry of reader.push(piece)) {
      take(entry);
      const pause = breathe();
      if (pause !== undefined) await pause;
    }
  }
  return reader.end();
}

/**
 * The picture, packed for the disk. Entries that could not be read come first: the build that can read them must
 * find them before the older version, or the refusal, that stands in for them here.
 */
export function packPicture(
  picture: Picture,
  intake: Intake,
  dbEpoch: string,
  heads: LaneRevisions,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  function* pieces(): Generator<Uint8Array> {
    let piece: Uint8Array[] = [encodeSnapshotHead(dbEpoch, heads, [...picture.keptDenials()].map(denialToWire))];
    let pieceBytes = 0;
    const add = (entry: ConfigEntry): Uint8Array | undefined => {
      signal.throwIfAborted();
      const bytes = encodeSnapshotEntry(entry);
      piece.push(bytes);
      pieceBytes += bytes.length;
      if (pieceBytes < PIECE_BYTES) return undefined;
      const full = Buffer.concat(piece);
      piece = [];
      pieceBytes = 0;
      return full;
    };
    for (const entry of intake.unread()) {
      const full = add(entry);
      if (full !== undefined) yield full;
    }
    for (const entry of picture.entries()) {
      const full = add(configEntryToWire(entry));
      if (full !== undefined) yield full;
    }
    yield Buffer.concat(piece);
  }
  const source = Readable.from(pieces(), { objectMode: true, highWaterMark: 1 });
  const packing = createGzip({ level: 1 });
  source.on('error', (error) => packing.destroy(error));
  return source.pipe(packing);
}

async function* unpack(packed: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = Readable.from(packed, { objectMode: true, highWaterMark: 1 });
  const unpacking = createGunzip({ chunkSize: PIECE_BYTES });
  source.on('error', (error) => unpacking.destroy(error));
  let unpackedBytes = 0;
  for await (const piece of source.pipe(unpacking)) {
    // gunzip gives Buffers; a stream's items are untyped.
    const bytes = piece as Buffer;
    unpackedBytes += bytes.length;
    if (unpackedBytes > MAX_UNPACKED_BYTES) throw new Error(`the snapshot unpacks to more than ${MAX_UNPACKED_BYTES} bytes`);
    yield bytes;
  }
}
