/**
 * A control plane that knows one picture, grants what is asked and acknowledges all usage: throughput is measured without
 * ingest, which is measured apart and would take the load generator's processor.
 */
import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { create } from '@bufbuild/protobuf';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { budgetId } from '@meridian/domain/budget';
import type { ConfigBody } from '@meridian/domain/snapshot';
import { configEntityId, configEntryToWire } from '@meridian/wire/codec/entry';
import { laneRevisionsToWire } from '@meridian/wire/codec/lane';
import { budgetRefFromWire, budgetRefToWire } from '@meridian/wire/codec/lease';
import { encodeSnapshotEntry, encodeSnapshotHead } from '@meridian/wire/codec/snapshot-content';
import { LeaseService, LeasesResponseSchema } from '@meridian/wire/gen/lease_pb';
import { FetchSnapshotResponseSchema, SyncResponseSchema, SyncService } from '@meridian/wire/gen/sync_pb';
import { ReportResponseSchema, UsageService } from '@meridian/wire/gen/usage_pb';
import { SERVER_OPTIONS } from '@meridian/wire/grpc-options';
import { implement } from '@meridian/wire/grpc-service';

const DB_EPOCH = 'bench';
const HEADS = { security: 1, customer: 1, catalog: 1, bulk: 1 } as const;
const HEARTBEAT_MS = 1_000;

export interface ControlSink {
  /** host:port */
  readonly address: string;
  close(): void;
}

export async function startControlSink(bodies: readonly ConfigBody[]): Promise<ControlSink> {
  const content = Buffer.concat([
    encodeSnapshotHead(DB_EPOCH, HEADS),
    ...bodies.map((body) => encodeSnapshotEntry(configEntryToWire({ kind: body.kind, id: configEntityId(body), version: 1, body }))),
  ]);
  const packed = gzipSync(content);
  const sha256 = createHash('sha256').update(content).digest();
  const beats = new Set<NodeJS.Timeout>();

  const server = new Server(SERVER_OPTIONS);
  implement(server, SyncService, {
    sync(call) {
      call.on('data', ({ frame }) => {
        if (frame.case !== 'hello') return;
        const say = (response: Parameters<typeof create<typeof SyncResponseSchema>>[1]): void =>
          void call.write(create(SyncResponseSchema, response));
        say({
          frame: {
            case: 'welcome',
            value: {
              sessionId: 'bench',
              protocol: 1,
              dbEpoch: DB_EPOCH,
              serverTimeMs: BigInt(Date.now()),
              heartbeatIntervalMs: HEARTBEAT_MS,
            },
          },
        });
        say({
          frame: {
            case: 'snapshotRef',
            value: { snapshotId: 'bench', dbEpoch: DB_EPOCH, heads: laneRevisionsToWire(HEADS), byteCount: BigInt(packed.length), sha256 },
          },
        });
        const beat = setInterval(
          () =>
            say({
              frame: { case: 'heartbeat', value: { serverTimeMs: BigInt(Date.now()), heads: laneRevisionsToWire(HEADS), regionNodes: 1 } },
            }),
          HEARTBEAT_MS,
        );
        beats.add(beat);
        call.on('close', () => clearInterval(beat));
        call.on('cancelled', () => clearInterval(beat));
      });
      call.on('end', () => call.end());
    },
    fetchSnapshot(call) {
      call.write(create(FetchSnapshotResponseSchema, { index: 0, chunk: packed, last: true }));
      call.end();
    },
  });
  implement(server, UsageService, {
    report(call) {
      call.on('data', ({ frame }) => {
        if (frame.case === 'open')
          call.write(create(ReportResponseSchema, { frame: { case: 'opened', value: { dbEpoch: DB_EPOCH, acked: [] } } }));
        if (frame.case === 'batch') {
          const { incarnation, lastSeq } = frame.value;
          call.write(
            create(ReportResponseSchema, { frame: { case: 'ack', value: { incarnation, ackedSeq: lastSeq, dbEpoch: DB_EPOCH } } }),
          );
        }
      });
      call.on('end', () => call.end());
    },
  });
  implement(server, LeaseService, {
    leases(call) {
      let spoolId = '';
      /** By budget. */
      const leases = new Map<string, { readonly leaseId: string; granted: bigint }>();
      const say = (response: Parameters<typeof create<typeof LeasesResponseSchema>>[1]): void =>
        void call.write(create(LeasesResponseSchema, response));
      call.on('data', ({ frame }) => {
        if (frame.case === 'open') spoolId = frame.value.spoolId;
        if (frame.case === 'declaration') {
          for (const { leaseId, budget, granted } of frame.value.leases)
            leases.set(budgetId(budgetRefFromWire(budget)), { leaseId, granted });
          if (frame.value.last)
            say({ frame: { case: 'opened', value: { dbEpoch: DB_EPOCH, serverTimeMs: BigInt(Date.now()), frozen: false } } });
        }
        if (frame.case === 'question') {
          const { questionId, want } = frame.value;
          const budget = budgetRefFromWire(frame.value.budget);
          const id = budgetId(budget);
          const lease = leases.get(id) ?? { leaseId: randomBytes(16).toString('hex'), granted: 0n };
          lease.granted += want;
          leases.set(id, lease);
          say({ frame: { case: 'grants', value: { questionId, grants: [{ ...lease, spoolId, budget: budgetRefToWire(budget) }] } } });
        }
      });
      call.on('end', () => call.end());
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return {
    address: `127.0.0.1:${port}`,
    close() {
      for (const beat of beats) clearInterval(beat);
      server.forceShutdown();
    },
  };
}
