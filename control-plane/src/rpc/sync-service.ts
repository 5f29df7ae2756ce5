/** Sync: nodes say Hello, are welcomed, offered a snapshot where they need one, and followed up with deltas. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { GatewayError } from '@meridian/domain/error';
import type { IdSource } from '@meridian/domain/ids';
import { LANES, type Lane } from '@meridian/domain/snapshot';
import { denialFromWire, MAX_DENIALS_A_FRAME } from '@meridian/wire/codec/denial';
import { errorToGrpc } from '@meridian/wire/codec/error';
import { type LaneRevisions, laneFromWire, laneRevisionsFromWire, laneRevisionsToWire, lanesFromWire } from '@meridian/wire/codec/lane';
import { type Denials, type Hello, type Nack, type SyncRequest, type SyncResponse, SyncResponseSchema } from '@meridian/wire/gen/sync_pb';
import { type EncodedFrame, encodeFrame } from '@meridian/wire/grpc-service';
import type { NodeIdentity } from '../nodes/node.ts';
import type { NodeConnection, NodeService } from '../nodes/service.ts';
import type { DenialService } from '../restore/denials.ts';
import type { RestoreService } from '../restore/service.ts';
import { DeltaEncoder } from '../snapshots/delta.ts';
import type { LogTail } from '../snapshots/log-tail.ts';
import type { Snapshot, SnapshotFiles } from '../snapshots/snapshot-files.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics, StreamEnd } from '../telemetry/metrics.ts';
import type { HelloAdmission } from './hello-admission.ts';
import type { RequireNode } from './node-identity.ts';
import { checkNodeName } from './node-name.ts';
import { streamRefusal } from './refusal.ts';
import { SyncStream } from './sync-stream.ts';

const HEARTBEAT_INTERVAL_MS = 1_000;
/** A stream that does not say Hello for this long is closed. */
const HELLO_TIMEOUT_MS = 5_000;
/** Streams of all nodes, those included that have not said Hello yet. */
const MAX_STREAMS = 5_000;
const PROTOCOL = 1;
const DRAIN_RETRY_MS = 500;
const MAX_REJECTIONS_A_NACK = 1_000;
const MAX_DENIALS_A_LINE = 100;

export type SyncCall = ServerDuplexStream<SyncRequest, SyncResponse | EncodedFrame>;

export interface SyncDeps {
  readonly requireNode: RequireNode;
  readonly tail: LogTail;
  readonly snapshots: Pick<SnapshotFiles, 'current'>;
  readonly nodes: NodeService;
  readonly admission: HelloAdmission;
  /** The heads as the database has them now, which this replica may not have read yet. */
  readHeads(): Promise<Readonly<Record<Lane, number>>>;
  readonly restore: Pick<RestoreService, 'detected'>;
  readonly denials: Pick<DenialService, 'take'>;
  readonly ids: IdSource;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

type ResponseFrame = NonNullable<MessageInitShape<typeof SyncResponseSchema>['frame']>;

/** One call from its first frame to its end. */
interface Session {
  readonly call: SyncCall;
  readonly openedAtMs: number;
  readonly stream: SyncStream;
  identity: NodeIdentity | undefined;
  connection: NodeConnection | undefined;
  /** Gives back the snapshot's place. */
  release: () => void;
  ended: boolean;
}

export class SyncHub {
  readonly #deps: SyncDeps;
  readonly #deltas: DeltaEncoder;
  readonly #sessions = new Set<Session>();
  readonly #unsubscribe: () => void;
  #draining = false;

  constructor(deps: SyncDeps) {
    this.#deps = deps;
    this.#deltas = new DeltaEncoder((lane) => deps.tail.window(lane));
    this.#unsubscribe = deps.tail.subscribe({
      advanced: () => {
        for (const { stream } of this.#sessions) stream.pump();
      },
      reset: () => {
        this.#deltas.clear();
        for (const { stream, identity } of this.#sessions) if (identity !== undefined) stream.resync('the log starts anew');
      },
    });
  }

  get streamCount(): number {
    return this.#sessions.size;
  }

  /** Deltas encoded so far, by all streams together. */
  get encodedDeltas(): number {
    return this.#deltas.encodedCount;
  }

  /** The handler of `Sync`. */
  handle(call: SyncCall): void {
    const refusal = streamRefusal(this.#deps.requireNode, call.metadata, this.#draining || this.#sessions.size >= MAX_STREAMS);
    // A client that breaks off makes the stream fail; that is its end, and nothing to report.
    call.on('error', () => undefined);
    if (refusal !== undefined) {
      call.emit('error', errorToGrpc(refusal));
      return;
    }
    const session = this.#open(call);
    call.on('data', (request: SyncRequest) => {
      try {
        this.#receive(session, request);
      } catch (error) {
        this.#fail(session, new GatewayError('invalid_request_error', { message: 'The frame cannot be read.', cause: error }));
      }
    });
    call.on('end', () => this.#end(session, 'client'));
    call.on('close', () => this.#end(session, 'client'));
    call.on('drain', () => session.stream.resume());
  }

  /** Once a second: heartbeats, and who keeps silent. */
  tick(): void {
    const nowMs = this.#deps.ids.nowMs();
    const frames = new Map<string, Buffer>();
    for (const session of this.#sessions) {
      const { identity, stream } = session;
      if (identity === undefined) {
        if (nowMs - session.openedAtMs >= HELLO_TIMEOUT_MS) this.#fail(session, new GatewayError('invalid_state', { message: 'no Hello' }));
        continue;
      }
      stream.check();
      if (session.ended) continue;
      const frame = frames.get(identity.region) ?? this.#heartbeat(identity.region, nowMs);
      frames.set(identity.region, frame);
      stream.writeNow(frame);
    }
  }

  /** Sends every node away, to come back to another replica or to this one when it is up again. */
  drain(): void {
    this.#draining = true;
    this.#unsubscribe();
    for (const session of [...this.#sessions]) this.#goaway(session, DRAIN_RETRY_MS, 'this replica is stopping');
  }

  #open(call: SyncCall): Session {
    const { tail, ids, metrics } = this.#deps;
    const stream = new SyncStream({
      outlet: { write: (frame) => call.write(frame) },
      window: (lane) => tail.window(lane),
      delta: (lane, prevRev) => this.#deltas.after(lane, prevRev),
      clock: ids,
      onSent: (lane, frameBytes) => metrics.countDelta(lane, frameBytes),
      onApplied: (lane, rev) => {
        session.connection?.applied(tail.dbEpoch, lane, rev);
        const writtenAtMs = tail.window(lane).writtenAtMs(rev);
        if (writtenAtMs !== undefined) metrics.observePropagationMs(lane, ids.nowMs() - writtenAtMs);
      },
      onSnapshotApplied: () => session.release(),
      onResync: (reason) => this.#resync(session, reason),
    });
    const session: Session = {
      call,
      openedAtMs: ids.nowMs(),
      stream,
      identity: undefined,
      connection: undefined,
      release: () => undefined,
      ended: false,
    };
    this.#sessions.add(session);
    return session;
  }

  #receive(session: Session, { frame }: SyncRequest): void {
    if (session.ended) return;
    switch (frame.case) {
      case 'hello':
        this.#hello(session, frame.value).catch((error: unknown) => this.#fail(session, GatewayError.from(error)));
        return;
      case 'ack': {
        const wrong = session.stream.acknowledge(laneFromWire(frame.value.lane), Number(frame.value.rev));
        if (wrong !== undefined) session.stream.resync(wrong);
        return;
      }
      case 'nack':
        this.#nack(session, frame.value);
        return;
      case 'denials':
        this.#takeDenials(session, frame.value).catch((error: unknown) => this.#fail(session, GatewayError.from(error)));
        return;
      case undefined:
        // A newer node may say more than this build knows.
        return;
      default:
        frame satisfies never;
    }
  }

  async #hello(session: Session, hello: Hello): Promise<void> {
    const { admission, ids, tail, nodes } = this.#deps;
    if (session.identity !== undefined) throw new GatewayError('invalid_state', { message: 'a second Hello' });
    session.identity = identityOf(hello);
    const retryMs = admission.hello(ids.nowMs());
    if (retryMs !== undefined) return this.#goaway(session, retryMs, 'too many nodes come back at once');
    const resume = await this.#resumable(hello);
    if (session.ended) return;
    if (resume === undefined) {
      const place = admission.snapshot();
      if (typeof place === 'number') return this.#goaway(session, place, 'too many nodes take a snapshot');
      session.release = place;
    }
    this.#supersede(session, session.identity.nodeId);
    const lanes = lanesFromWire(hello.lanes);
    const reached = resume ?? laneRevisionsFromWire(hello.cursors);
    const applied = Object.fromEntries(lanes.map((lane) => [lane, reached[lane] ?? 0]));
    session.connection = nodes.connect(session.identity, hello.dbEpoch === '' ? tail.dbEpoch : hello.dbEpoch, applied);
    this.#write(session, {
      case: 'welcome',
      value: {
        sessionId: Buffer.from(ids.randomBytes(16)).toString('hex'),
        protocol: PROTOCOL,
        dbEpoch: tail.dbEpoch,
        serverTimeMs: BigInt(ids.nowMs()),
        heartbeatIntervalMs: HEARTBEAT_INTERVAL_MS,
      },
    });
    this.#deps.logger.info({ nodeId: session.identity.nodeId, region: session.identity.region, resume }, 'node connected');
    if (resume !== undefined) session.stream.follow(resume);
    else await this.#offerSnapshot(session, lanes);
  }

  /** The node's cursors of the lanes that it follows if the log goes on from them; undefined when it needs a snapshot. */
  async #resumable(hello: Hello): Promise<LaneRevisions | undefined> {
    const { tail, logger, restore } = this.#deps;
    const told = laneRevisionsFromWire(hello.cursors);
    const cursors: Partial<Record<Lane, number>> = {};
    for (const lane of lanesFromWire(hello.lanes)) {
      // A picture from before the node followed this lane goes on from a snapshot, too.
      if (told[lane] === undefined) return undefined;
      cursors[lane] = told[lane];
    }
    if (hello.dbEpoch !== tail.dbEpoch) return undefined;
    const aheadOf = (heads: Readonly<Record<Lane, number>>) => LANES.find((lane) => (cursors[lane] ?? 0) > heads[lane]);
    if (aheadOf(tail.heads) !== undefined) {
      // Another replica may have read further than this one; further than the database itself means that it was restored.
      const heads = await this.#deps.readHeads();
      const lane = aheadOf(heads);
      if (lane !== undefined) {
        const reason = `node ${hello.nodeId} has applied ${lane} ${cursors[lane]}, and ${heads[lane]} is the newest`;
        logger.error({ nodeId: hello.nodeId, cursors, heads }, 'a node is ahead of the database');
        await restore.detected({ key: `applied ${lane} ${cursors[lane]} ${tail.dbEpoch}`, reason, dbEpoch: tail.dbEpoch });
        // The log is read again before the node hears of an epoch: its snapshot belongs to it.
        throw new GatewayError('overloaded', { message: 'The database was set back.', retryAfterSeconds: 1 });
      }
    }
    return LANES.some((lane) => (cursors[lane] ?? Number.POSITIVE_INFINITY) < tail.window(lane).base) ? undefined : cursors;
  }

  async #offerSnapshot(session: Session, lanes: readonly Lane[]): Promise<void> {
    let snapshot: Snapshot;
    try {
      snapshot = await this.#deps.snapshots.current();
    } catch (error) {
      this.#deps.logger.error({ err: error }, 'a snapshot could not be built');
      return this.#goaway(session, HELLO_TIMEOUT_MS, 'no snapshot at the moment');
    }
    if (session.ended) return;
    this.#write(session, {
      case: 'snapshotRef',
      value: {
        snapshotId: snapshot.id,
        dbEpoch: snapshot.dbEpoch,
        heads: laneRevisionsToWire(snapshot.heads),
        byteCount: BigInt(snapshot.byteCount),
        sha256: snapshot.sha256,
      },
    });
    session.stream.fetch(Object.fromEntries(lanes.map((lane) => [lane, snapshot.heads[lane]])));
  }

  #nack(session: Session, nack: Nack): void {
    const lane = laneFromWire(nack.lane);
    const rejections = nack.entries
      .slice(0, MAX_REJECTIONS_A_NACK)
      .map(({ kind, id, version, code, detail }) => ({ lane, kind, id, version: Number(version), code, detail }));
    session.connection?.rejected(rejections);
    this.#deps.metrics.countRejectedEntries(nack.entries.length);
    this.#deps.logger.error(
      { nodeId: session.identity?.nodeId, rev: Number(nack.rev), rejections: rejections.slice(0, 8) },
      'a node rejected entries',
    );
  }

  /** Nothing more is read from the node meanwhile: it may have any number of them. */
  async #takeDenials(session: Session, { dbEpoch, entries }: Denials): Promise<void> {
    const { denials, metrics, logger } = this.#deps;
    const nodeId = session.identity?.nodeId;
    if (nodeId === undefined) throw new GatewayError('invalid_state', { message: 'Denials before Hello' });
    if (entries.length > MAX_DENIALS_A_FRAME) {
      throw new GatewayError('invalid_request_error', { message: `at most ${MAX_DENIALS_A_FRAME} denials in a frame` });
    }
    session.call.pause();
    try {
      const told = entries.flatMap((entry) => denialFromWire(entry) ?? []);
      const answer = await denials.take(nodeId, dbEpoch, told);
      if ('refused' in answer) {
        metrics.countDenials('refused', told.length);
        const fields = { nodeId, dbEpoch, reason: answer.refused, count: told.length, denials: told.slice(0, MAX_DENIALS_A_LINE) };
        logger.error(fields, 'a node knows refusals that the database has not, and they were not taken');
      } else if (answer.taken.length > 0) {
        metrics.countDenials('taken', answer.taken.length);
        const fields = { nodeId, dbEpoch, count: answer.taken.length, denials: answer.taken.slice(0, MAX_DENIALS_A_LINE) };
        logger.error(fields, 'refusals that the restored database had forgotten were taken from a node');
      }
    } finally {
      session.call.resume();
    }
  }

  /** A node that comes back before its old connection is seen to be dead. */
  #supersede(session: Session, nodeId: string): void {
    for (const other of [...this.#sessions]) {
      if (other !== session && other.identity?.nodeId === nodeId) this.#close(other, 'superseded');
    }
  }

  #heartbeat(region: string, nowMs: number): Buffer {
    const heads: LaneRevisions = this.#deps.tail.heads;
    const value = { serverTimeMs: BigInt(nowMs), heads: laneRevisionsToWire(heads), regionNodes: this.#deps.nodes.regionNodes(region) };
    return encodeFrame(SyncResponseSchema, create(SyncResponseSchema, { frame: { case: 'heartbeat', value } }));
  }

  #resync(session: Session, reason: string): void {
    this.#deps.logger.warn({ nodeId: session.identity?.nodeId, reason }, 'a node has to resync');
    this.#write(session, { case: 'resyncRequired', value: { reason } });
    this.#close(session, 'resync');
  }

  #goaway(session: Session, retryAfterMs: number, reason: string): void {
    this.#write(session, { case: 'goaway', value: { retryAfterMs, reason } });
    this.#close(session, 'goaway');
  }

  #fail(session: Session, error: GatewayError): void {
    if (session.ended) return;
    this.#deps.logger.warn({ nodeId: session.identity?.nodeId, err: error }, 'a stream of configuration failed');
    session.call.emit('error', errorToGrpc(error));
    this.#end(session, 'protocol');
  }

  #close(session: Session, reason: StreamEnd): void {
    session.call.end();
    this.#end(session, reason);
  }

  #end(session: Session, reason: StreamEnd): void {
    if (session.ended) return;
    session.ended = true;
    session.stream.end();
    session.release();
    session.connection?.disconnect();
    this.#sessions.delete(session);
    this.#deps.metrics.countStreamEnd(reason);
    if (reason === 'client') session.call.end();
  }

  #write(session: Session, frame: ResponseFrame): void {
    if (!session.ended) session.call.write(responseOf(frame));
  }
}

/** Control frames are few and small: what a stream has of them is bounded by its life, so their write needs no waiting. */
function responseOf(frame: ResponseFrame): SyncResponse {
  return create(SyncResponseSchema, { frame });
}

function identityOf(hello: Hello): NodeIdentity {
  const { nodeId, spoolId, incarnation, region, build } = hello;
  checkNodeName({ nodeId, region });
  if (spoolId.length > 128 || build.length > 128) {
    throw new GatewayError('invalid_request_error', { message: 'spool_id and build have at most 128 characters' });
  }
  if (hello.protocolMin > PROTOCOL || hello.protocolMax < PROTOCOL) {
    throw new GatewayError('invalid_state', { message: `this control plane speaks protocol ${PROTOCOL}` });
  }
  return { nodeId, spoolId, incarnation, region, build };
}
