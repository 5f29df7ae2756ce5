/** FetchSnapshot: a snapshot's file in chunks, as fast as the node takes them. */
import { type FileHandle, open } from 'node:fs/promises';
import { create } from '@bufbuild/protobuf';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import { errorToGrpc } from '@meridian/wire/codec/error';
import { type FetchSnapshotRequest, type FetchSnapshotResponse, FetchSnapshotResponseSchema } from '@meridian/wire/gen/sync_pb';
import type { EncodedFrame } from '@meridian/wire/grpc-service';
import type { SnapshotFiles } from '../snapshots/snapshot-files.ts';
import type { Logger } from '../telemetry/logger.ts';
import { drained } from './drain.ts';
import type { RequireNode } from './node-identity.ts';

const MAX_CHUNK_BYTES = 1024 * 1024;
/** Downloads under way, those of nodes included that have broken off and are not yet seen to be gone. */
const MAX_DOWNLOADS = 8;
const DRAIN_TIMEOUT_MS = 30_000;

export type DownloadCall = ServerWritableStream<FetchSnapshotRequest, FetchSnapshotResponse | EncodedFrame>;

export interface SnapshotDownloadDeps {
  readonly requireNode: RequireNode;
  readonly snapshots: Pick<SnapshotFiles, 'get'>;
  readonly logger: Logger;
}

export class SnapshotDownloads {
  readonly #deps: SnapshotDownloadDeps;
  #running = 0;

  constructor(deps: SnapshotDownloadDeps) {
    this.#deps = deps;
  }

  get running(): number {
    return this.#running;
  }

  /** The handler of `FetchSnapshot`. */
  handle(call: DownloadCall): void {
    call.on('error', () => undefined);
    this.#serve(call).catch((error: unknown) => {
      const refusal = GatewayError.from(error);
      if (refusal.code === 'internal_error') this.#deps.logger.error({ err: error }, 'a snapshot could not be sent');
      call.emit('error', errorToGrpc(refusal));
    });
  }

  async #serve(call: DownloadCall): Promise<void> {
    this.#deps.requireNode(call.metadata);
    const snapshot = this.#deps.snapshots.get(call.request.snapshotId);
    if (snapshot === undefined) throw new GatewayError('not_found', { message: 'There is no such snapshot here.' });
    if (this.#running >= MAX_DOWNLOADS) throw new GatewayError('overloaded', { retryAfterSeconds: 1 });
    this.#running += 1;
    let file: FileHandle | undefined;
    try {
      file = await open(snapshot.path, 'r');
      await sendFile(call, file, snapshot.byteCount);
    } finally {
      this.#running -= 1;
      await file?.close();
    }
  }
}

async function sendFile(call: DownloadCall, file: FileHandle, byteCount: number): Promise<void> {
  for (let index = 0, at = 0; at < byteCount; index++) {
    const length = Math.min(MAX_CHUNK_BYTES, byteCount - at);
    const chunk = Buffer.allocUnsafe(length);
    const { bytesRead } = await file.read(chunk, 0, length, at);
    if (bytesRead !== length) throw new Error(`a snapshot of ${byteCount} bytes ended at ${at + bytesRead}`);
    at += length;
    if (call.cancelled || call.destroyed) return;
    call.write(create(FetchSnapshotResponseSchema, { index, chunk, last: at === byteCount }));
    if (!(await drained(call, DRAIN_TIMEOUT_MS))) {
      if (call.cancelled || call.destroyed) return;
      throw new GatewayError('overloaded', { message: 'The snapshot was not taken in time.' });
    }
  }
  call.end();
}
