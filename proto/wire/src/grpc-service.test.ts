import { create, equals } from '@bufbuild/protobuf';
import {
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import { afterEach, describe, expect, it } from 'vitest';
import { errorFromGrpc, errorToGrpc } from './codec/error.ts';
import {
  type FetchSnapshotRequest,
  FetchSnapshotRequestSchema,
  type FetchSnapshotResponse,
  FetchSnapshotResponseSchema,
  type SyncRequest,
  SyncRequestSchema,
  type SyncResponse,
  SyncResponseSchema,
  SyncService,
} from './gen/meridian/v1/sync_pb.js';
import { channelOptions, MAX_MESSAGE_BYTES, SERVER_OPTIONS } from './grpc-options.ts';
import { type EncodedFrame, encodeFrame, implementEncoded, makeClient, toEncodedGrpcService, toGrpcService } from './grpc-service.ts';

type Sync = ServerDuplexStream<SyncRequest, SyncResponse | EncodedFrame>;
type Fetch = ServerWritableStream<FetchSnapshotRequest, FetchSnapshotResponse | EncodedFrame>;

const closing: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function connect(handlers: { sync?: (call: Sync) => void; fetchSnapshot?: (call: Fetch) => void }) {
  const server = new Server(SERVER_OPTIONS);
  implementEncoded(server, SyncService, {
    sync: handlers.sync ?? ((call) => call.end()),
    fetchSnapshot: handlers.fetchSnapshot ?? ((call) => call.end()),
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  const client = makeClient(SyncService, `127.0.0.1:${port}`, credentials.createInsecure(), channelOptions());
  closing.push(() => server.forceShutdown());
  closing.push(() => client.channel.close());
  return client.calls;
}

describe('a call through the bridge', () => {
  it('carries frames both ways, one encoded frame being written as often as wanted', async () => {
    const frame = encodeFrame(SyncResponseSchema, heartbeat(4));
    const calls = await connect({
      sync: (call) => {
        call.on('data', (request: SyncRequest) => {
          expect(request.frame.case).toBe('hello');
          call.write(frame);
          call.write(frame);
          call.write(heartbeat(5));
          call.end();
        });
      },
    });
    const stream = calls.sync();
    stream.write(create(SyncRequestSchema, { frame: { case: 'hello', value: { nodeId: 'nod_1', incarnation: 2n ** 64n - 1n } } }));
    const seen: SyncResponse[] = [];
    for await (const response of stream) seen.push(response);
    stream.end();
    expect(seen.map((response) => response.frame.case === 'heartbeat' && response.frame.value.regionNodes)).toEqual([4, 4, 5]);
  });

  it('carries an error of the catalogue with its code, text and retry delay, and keeps the cause at home', async () => {
    const calls = await connect({
      fetchSnapshot: (call) =>
        call.emit('error', errorToGrpc(new GatewayError('overloaded', { retryAfterSeconds: 7, cause: new Error('secret detail') }))),
    });
    const error = await failureOf(calls.fetchSnapshot(create(FetchSnapshotRequestSchema)));
    expect(error).toMatchObject({ code: 'overloaded', status: 503, retryable: true, retryAfterSeconds: 7 });
    expect(JSON.stringify(error)).not.toContain('secret detail');
    expect(String(error.cause)).not.toContain('secret detail');
  });

  it('names a status that no handler of ours gave by the nearest error', async () => {
    const calls = await connect({
      fetchSnapshot: (call) => call.emit('error', { code: status.UNAUTHENTICATED, details: 'proxy says no' }),
    });
    const error = await failureOf(calls.fetchSnapshot(create(FetchSnapshotRequestSchema), new Metadata()));
    expect(error.code).toBe('invalid_token');
    expect(error.message).not.toContain('proxy says no');
  });

  it('refuses a message above the limit', async () => {
    const calls = await connect({
      fetchSnapshot: (call) => {
        call.on('error', () => {});
        call.write(create(FetchSnapshotResponseSchema, { chunk: new Uint8Array(MAX_MESSAGE_BYTES + 1) }));
        call.end();
      },
    });
    const error = await failureOf(calls.fetchSnapshot(create(FetchSnapshotRequestSchema)));
    expect(error.code).toBe('rate_limit_exceeded');
  });

  it('takes a message just under the limit', async () => {
    const chunk = new Uint8Array(MAX_MESSAGE_BYTES - 64).fill(7);
    const calls = await connect({
      fetchSnapshot: (call) => {
        call.write(create(FetchSnapshotResponseSchema, { chunk }));
        call.end();
      },
    });
    const seen: FetchSnapshotResponse[] = [];
    for await (const response of calls.fetchSnapshot(create(FetchSnapshotRequestSchema))) seen.push(response);
    expect(seen.map((response) => response.chunk.length)).toEqual([chunk.length]);
  });
});

describe('serialising', () => {
  it('hands grpc-js a Buffer over the memory that was written, and passes an encoded frame untouched', () => {
    const definition = toEncodedGrpcService(SyncService);
    const message = heartbeat(9);
    const frame = definition.sync?.responseSerialize(message);
    expect(frame).toBeInstanceOf(Buffer);
    expect(definition.sync?.responseSerialize(frame)).toBe(frame);
    const decoded = toGrpcService(SyncService).sync?.responseDeserialize(frame ?? Buffer.alloc(0));
    expect(equals(SyncResponseSchema, decoded, message)).toBe(true);
  });
});

function heartbeat(regionNodes: number): SyncResponse {
  return create(SyncResponseSchema, { frame: { case: 'heartbeat', value: { regionNodes } } });
}

async function failureOf(stream: NodeJS.EventEmitter & { resume(): unknown }): Promise<GatewayError> {
  return new Promise((resolve, reject) => {
    stream.on('error', (error) => resolve(errorFromGrpc(error)));
    stream.on('end', () => reject(new Error('the call ended without an error')));
    stream.resume();
  });
}
