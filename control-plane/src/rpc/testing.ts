/** A replica's gRPC side on a real database, and a node that speaks to it as nodes do, for tests. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';
import { LANES, type Lane } from '@meridian/domain/snapshot';
import {
  laneFromWire,
  laneRevisionsFromWire,
  laneRevisionsToWire,
  lanesFromWire,
  lanesToWire,
  laneToWire,
} from '@meridian/wire/codec/lane';
import { ConfigEntrySchema } from '@meridian/wire/gen/config_pb';
import {
  type Delta,
  FetchSnapshotRequestSchema,
  SnapshotContentSchema,
  type SnapshotRef,
  type SyncRequest,
  SyncRequestSchema,
  type SyncResponse,
  SyncService,
} from '@meridian/wire/gen/sync_pb';
import { channelOptions } from '@meridian/wire/grpc-options';
import { makeClient, type ServiceClient } from '@meridian/wire/grpc-service';
import pino from 'pino';
import { AccountService } from '../accounts/service.ts';
import { LeaseSignals } from '../budgets/lease-signals.ts';
import { Leases } from '../budgets/leases.ts';
import { QuestionsRunner } from '../budgets/questions-runner.ts';
import { BudgetService } from '../budgets/service.ts';
import { CatalogService } from '../catalog/service.ts';
import type { Database } from '../database/connect.ts';
import { type Job, repeat } from '../jobs/repeat.ts';
import { KeyService } from '../keys/service.ts';
import { NodeService } from '../nodes/service.ts';
import { PlanService } from '../plans/service.ts';
import { salesOf } from '../pricing/service.ts';
import { DenialService } from '../restore/denials.ts';
import { RestoreService } from '../restore/service.ts';
import { LogTail } from '../snapshots/log-tail.ts';
import { publish } from '../snapshots/service.ts';
import { SnapshotFiles } from '../snapshots/snapshot-files.ts';
import { selectHeads } from '../snapshots/store.ts';
import { TestPicture } from '../snapshots/testing.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { createTierService } from '../tiers/service.ts';
import type { UsageService } from '../usage/service.ts';
import { HelloAdmission } from './hello-admission.ts';
import { LeaseHub } from './lease-service.ts';
import { joinTokenIdentity } from './node-identity.ts';
import { startRpc } from './server.ts';
import { SnapshotDownloads } from './snapshot-download.ts';
import { SyncHub } from './sync-service.ts';
import { UsageReports } from './usage-service.ts';

const JOIN_TOKEN = 'join-token-of-the-tests';

export function authorized(token: string = JOIN_TOKEN): Metadata {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

export interface ReplicaOptions {
  readonly db: Database;
  readonly usage?: Pick<UsageService, 'open' | 'cursors' | 'ingestBatch'>;
  /** One of its own unless given. */
  readonly restore?: RestoreService;
  readonly maxWindowBytes?: number;
  readonly maxLagBytes?: number;
  readonly hellosPerSecond?: number;
  readonly maxSnapshots?: number;
  /** Milliseconds since 1970; the process's clock when absent. */
  readonly nowMs?: () => number;
  /** Of the database, where replicas are to tell each other about leases. */
  readonly signalsUrl?: string;
  /** False: the log is read when the test says `tail.poll()`. */
  readonly polling?: boolean;
}

export interface Replica {
  readonly address: string;
  readonly hub: SyncHub;
  readonly tail: LogTail;
  readonly nodes: NodeService;
  readonly admission: HelloAdmission;
  readonly downloads: SnapshotDownloads;
  readonly restore: RestoreService;
  readonly reports: UsageReports;
  readonly leases: Leases;
  readonly questions: QuestionsRunner;
  readonly leaseHub: LeaseHub;
  readonly accounts: AccountService;
  readonly plans: PlanService;
  readonly keys: KeyService;
  readonly denials: DenialService;
  /** Undefined without `signalsUrl`. */
  readonly signals: LeaseSignals | undefined;
  close(withinMs?: number): Promise<void>;
}

const NO_USAGE: Pick<UsageService, 'open' | 'cursors' | 'ingestBatch'> = {
  open: () => Promise.reject(new Error('this replica takes no usage')),
  cursors: () => Promise.reject(new Error('this replica takes no usage')),
  ingestBatch: () => Promise.reject(new Error('this replica takes no usage')),
};

export async function startReplica(options: ReplicaOptions): Promise<Replica> {
  const { db, nowMs = Date.now } = options;
  const ids = { nowMs, randomBytes: (count: number) => randomBytes(count) };
  const logger = pino({ level: 'silent' });
  const metrics = createMetrics();
  const tail = await LogTail.start({ db, ...(options.maxWindowBytes === undefined ? {} : { maxWindowBytes: options.maxWindowBytes }) });
  const folder = await mkdtemp(join(tmpdir(), 'meridian-snapshots-'));
  const maxLagBytes = options.maxLagBytes ?? (options.maxWindowBytes === undefined ? undefined : options.maxWindowBytes / 2);
  const snapshots = new SnapshotFiles({ db, tail, ids, folder, ...(maxLagBytes === undefined ? {} : { maxLagBytes }) });
  const nodes = new NodeService({ db, clock: ids });
  const admission = new HelloAdmission(nowMs(), options.hellosPerSecond ?? 1_000, options.maxSnapshots ?? 4);
  const requireNode = joinTokenIdentity(JOIN_TOKEN);
  const readHeads = async () => (await selectHeads(db)).revs;
  const restore = options.restore ?? (await RestoreService.start({ db, clock: ids, onEvent: () => undefined }));
  const tiers = createTierService({ db, clock: ids, publish });
  const budgets = new BudgetService({ db, ids, publish, onLimitChanged: () => undefined });
  const catalog = new CatalogService({ db, ids, publish, sales: salesOf(tiers) });
  const plans = new PlanService({ db, ids, publish, budgets, catalog });
  const accounts = new AccountService({ db, ids, publish, tiers, plans });
  const keys = new KeyService({ db, ids, publish, budgets, catalog, keyPrefix: 'sk-mrd-', pepper: new Uint8Array(32) });
  const denials = new DenialService({ db, clock: ids, publish, accounts, keys });
  const hub = new SyncHub({ requireNode, tail, snapshots, nodes, admission, readHeads, restore, denials, ids, metrics, logger });
  const downloads = new SnapshotDownloads({ requireNode, snapshots, logger });
  const usage = options.usage ?? NO_USAGE;
  const leases = new Leases({ db, background: db, isFrozenIn: (trx) => restore.isFrozenIn(trx), ids });
  const questions = new QuestionsRunner({
    leases,
    clock: ids,
    newRecallId: () => randomBytes(6).readUIntBE(0, 6),
    frozen: () => restore.frozen(),
    signal: (signal) => signals?.publish(signal),
    maxConcurrent: 4,
    metrics,
    logger,
  });
  const signals =
    options.signalsUrl === undefined
      ? undefined
      : new LeaseSignals({
          url: options.signalsUrl,
          replicaId: randomBytes(8).toString('hex'),
          onSignal: (signal) => questions.receive(signal),
          onError: () => undefined,
        });
  const reports = new UsageReports({ requireNode, usage, restore, leases: questions, clock: ids, metrics, logger });
  const leaseHub = new LeaseHub({ requireNode, leases, runner: questions, declarations: restore, clock: ids, logger });
  restore.subscribe(() => {
    leaseHub.restart();
    reports.restart();
  });
  const rpc = await startRpc({ host: '127.0.0.1', port: 0, sync: hub, downloads, leases: leaseHub, reports });
  const jobs: Job[] = [];
  if (options.polling !== false) {
    const onError = (_: string, error: unknown): void => {
      throw error;
    };
    jobs.push(repeat({ name: 'log', retryMs: 25, onError, run: async () => ((await tail.poll()) ? 0 : 25) }));
  }
  return {
    address: rpc.address,
    hub,
    tail,
    nodes,
    admission,
    downloads,
    restore,
    reports,
    leases,
    questions,
    leaseHub,
    accounts,
    plans,
    keys,
    denials,
    signals,
    async close(withinMs = 2_000) {
      await rpc.close(withinMs);
      await questions.close();
      await signals?.close();
      for (const job of jobs) await job.stop();
      await snapshots.close();
    },
  };
}

type Frame = SyncResponse['frame'];
type Case = NonNullable<Frame['case']>;
type FrameOf<C extends Case> = Extract<Frame, { case: C }>['value'];

/** A node's end of Sync. It holds every delta to the rules, and acknowledges unless it is told not to. */
export class TestNode {
  readonly nodeId: string;
  readonly picture = new TestPicture();
  readonly frames: SyncResponse[] = [];
  readonly cursors: Partial<Record<Lane, number>> = {};
  /** As it says them; a build that is too old to say any has none. */
  lanes: readonly Lane[] = LANES;
  readonly deltas: Delta[] = [];
  dbEpoch = '';
  /** Deltas are applied and not acknowledged while this is false. */
  acknowledging = true;
  readonly #client: ServiceClient<typeof SyncService>;
  readonly #waiting: { readonly wanted: (frame: Frame) => boolean; readonly resolve: () => void }[] = [];
  #stream: ClientDuplexStream<SyncRequest, SyncResponse>;
  /** Ended, with the gRPC status where it was not OK. */
  readonly ended: Promise<Error | undefined>;

  constructor(address: string, nodeId: string, token?: string) {
    this.nodeId = nodeId;
    this.#client = makeClient(SyncService, address, credentials.createInsecure(), channelOptions());
    this.#stream = this.#client.calls.sync(authorized(token));
    this.#stream.on('data', (response) => this.#receive(response));
    this.ended = new Promise((resolve) => {
      this.#stream.on('error', (error) => resolve(error));
      this.#stream.on('end', () => resolve(undefined));
    });
  }

  hello(options: { readonly region?: string; readonly from?: TestNode; readonly cursors?: Partial<Record<Lane, number>> } = {}): void {
    const from = options.from;
    if (from !== undefined) {
      this.dbEpoch = from.dbEpoch;
      Object.assign(this.cursors, from.cursors);
      for (const [name, version] of from.picture.versions) this.picture.versions.set(name, version);
    }
    this.send({
      case: 'hello',
      value: {
        nodeId: this.nodeId,
        spoolId: `spl_${this.nodeId}`,
        incarnation: 2n ** 64n - 7n,
        region: options.region ?? 'us',
        build: 'test',
        protocolMin: 1,
        protocolMax: 1,
        dbEpoch: this.dbEpoch,
        cursors: laneRevisionsToWire(options.cursors ?? this.cursors),
        lanes: lanesToWire(this.lanes),
      },
    });
  }

  /** Connects, takes a snapshot, and follows. */
  static async follow(address: string, nodeId: string, region = 'us'): Promise<TestNode> {
    const node = new TestNode(address, nodeId);
    node.hello({ region });
    await node.fetchSnapshot(await node.next('snapshotRef'));
    return node;
  }

  send(frame: NonNullable<MessageInitShape<typeof SyncRequestSchema>['frame']>): void {
    this.#stream.write(create(SyncRequestSchema, { frame }));
  }

  ack(lane: Lane, rev: number): void {
    this.send({ case: 'ack', value: { lane: laneToWire(lane), rev: BigInt(rev) } });
  }

  /** The first frame of a kind, one that came already included. */
  async next<C extends Case>(wanted: C): Promise<FrameOf<C>> {
    await this.until((frame) => frame.case === wanted);
    const found = this.frames.find(({ frame }) => frame.case === wanted);
    // `until` has seen a frame of this case.
    return found?.frame.value as FrameOf<C>;
  }

  /** Resolves once a frame satisfies; rejects when the stream ends before. */
  async until(wanted: (frame: Frame) => boolean): Promise<void> {
    if (this.frames.some(({ frame }) => wanted(frame))) return;
    const seen = new Promise<void>((resolve) => this.#waiting.push({ wanted, resolve }));
    await Promise.race([
      seen,
      this.ended.then((error) => {
        if (!this.frames.some(({ frame }) => wanted(frame))) throw error ?? new Error('the stream ended');
      }),
    ]);
  }

  /** Resolves once the node stands at a rev or further. */
  at(lane: Lane, rev: number): Promise<void> {
    return (this.cursors[lane] ?? -1) >= rev ? Promise.resolve() : this.until(() => (this.cursors[lane] ?? -1) >= rev);
  }

  async fetchSnapshot(ref: SnapshotRef, acknowledge = true): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const { chunk, index } of this.#client.calls.fetchSnapshot(
      create(FetchSnapshotRequestSchema, { snapshotId: ref.snapshotId }),
      authorized(),
    )) {
      if (index !== chunks.length) throw new Error(`chunk ${index} is out of order`);
      chunks.push(Buffer.from(chunk));
    }
    const content = gunzipSync(Buffer.concat(chunks));
    if (!createHash('sha256').update(content).digest().equals(ref.sha256)) throw new Error('the snapshot is damaged');
    const snapshot = fromBinary(SnapshotContentSchema, content);
    this.picture.versions.clear();
    for (const entry of snapshot.entries) this.picture.apply(toBinary(ConfigEntrySchema, entry));
    this.dbEpoch = snapshot.dbEpoch;
    Object.assign(this.cursors, laneRevisionsFromWire(snapshot.heads));
    if (acknowledge) for (const lane of lanesFromWire(lanesToWire(this.lanes))) this.ack(lane, this.cursors[lane] ?? 0);
  }

  /** Reads nothing from the connection any more. */
  pause(): void {
    this.#stream.pause();
  }

  async close(): Promise<void> {
    this.#stream.cancel();
    await this.ended;
    this.#client.channel.close();
  }

  #receive(response: SyncResponse): void {
    this.frames.push(response);
    if (response.frame.case === 'delta') this.#apply(response.frame.value);
    for (const waiting of [...this.#waiting]) {
      if (waiting.wanted(response.frame)) {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        waiting.resolve();
      }
    }
  }

  #apply(delta: Delta): void {
    const lane = laneFromWire(delta.lane);
    if (Number(delta.prevRev) !== this.cursors[lane]) {
      throw new Error(`${this.nodeId}: a delta of ${lane} after ${delta.prevRev}, the node stands at ${this.cursors[lane]}`);
    }
    this.deltas.push(delta);
    for (const entry of delta.entries) this.picture.apply(toBinary(ConfigEntrySchema, entry));
    this.cursors[lane] = Number(delta.rev);
    if (this.acknowledging) this.ack(lane, Number(delta.rev));
  }
}
