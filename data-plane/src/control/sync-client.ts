/**
 * Keeps the picture in step with the control plane: carries out what `SyncMachine` decides, over grpc-js, the picture
 * and the store. One thing at a time is applied; SECURITY goes before what waits in other lanes.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type Denial, everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import { denialFromWire, denialToWire, MAX_DENIALS_A_FRAME } from '@meridian/wire/codec/denial';
import {
  type LaneRevisions,
  laneFromWire,
  laneRevisionsFromWire,
  laneRevisionsToWire,
  lanesToWire,
  laneToWire,
} from '@meridian/wire/codec/lane';
import { type Delta, type SyncRequest, SyncRequestSchema, type SyncResponse, SyncService } from '@meridian/wire/gen/sync_pb';
import { SNAPSHOT_FLOW_CONTROL_WINDOW_BYTES } from '@meridian/wire/grpc-options';
import { type After, afterTimeout } from './after.ts';
import { ControlStream, joinMetadata } from './control-stream.ts';
import { Intake, type Rejection } from './intake.ts';
import type { Picture } from './picture.ts';
import { PictureKeeper } from './picture-keeper.ts';
import type { SnapshotStore, StoredPicture } from './snapshot-store.ts';
import { fetchSnapshot, readSnapshot, verifySnapshot } from './snapshot-transfer.ts';
import { readFrame } from './sync-frame.ts';
import { type SnapshotReference, type SyncEffect, type SyncInput, SyncMachine, type SyncTimer } from './sync-machine.ts';

const PROTOCOL = 1;
/** The event loop is given back after this much applying. */
const SLICE_MS = 2;
/** Rejections named in one Nack, so that it stays far below the message limit. */
const MAX_NACK_ENTRIES = 500;
const MAX_NACK_DETAIL_CHARS = 256;

export interface SyncLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}

export interface SyncClientSettings {
  /** host:port of the control plane's gRPC. */
  readonly address: string;
  readonly joinToken: string;
  readonly nodeId: string;
  readonly spoolId: string;
  /** Random for each boot, 64 bits. */
  readonly incarnation: bigint;
  readonly region: string;
  readonly build: string;
  readonly picture: Picture;
  readonly store: SnapshotStore;
  /** Milliseconds since 1970. */
  readonly clock: { nowMs(): number };
  /** Numbers in [0, 1). */
  readonly random: () => number;
  readonly log: SyncLog;
  /** Timers of the process when absent. */
  readonly after?: After;
}

export interface SyncStatus {
  /** Welcome has come and the connection has not been silent for long. */
  readonly connected: boolean;
  readonly cursors: LaneRevisions;
  /** Empty: no picture yet. */
  readonly dbEpoch: string;
  /** How long ago this node knew that it had everything; undefined without a picture. */
  readonly configAgeMs: number | undefined;
  /** As the last heartbeat told them; undefined while not connected. */
  readonly heads: LaneRevisions | undefined;
  readonly regionNodes: number | undefined;
  readonly unknownEntries: number;
  /** Entries that were refused since the start. */
  readonly nacked: number;
}

export interface SyncClient {
  status(): SyncStatus;
  /** Resolves with the first picture, of any age, from the disk or from the control plane. */
  readonly ready: Promise<void>;
  /** Ends the connection and waits for what is being applied. The store is left to its owner. */
  close(): Promise<void>;
}

/** Reads the stored picture into `picture`, then connects and follows until `close`. Never throws: it retries. */
export function startSyncClient(settings: SyncClientSettings): SyncClient {
  const driver = new SyncDriver(settings);
  driver.start();
  return driver;
}

type RequestFrame = NonNullable<MessageInitShape<typeof SyncRequestSchema>['frame']>;

type Connection = ControlStream<typeof SyncService, SyncRequest, SyncResponse>;

class SyncDriver implements SyncClient {
  readonly ready: Promise<void>;
  readonly #settings: SyncClientSettings;
  readonly #intake: Intake;
  readonly #after: After;
  readonly #timers = new Map<SyncTimer, () => void>();
  readonly #waiting: Readonly<Record<Lane, Delta[]>> = everyLane(() => []);
  readonly #keeper: PictureKeeper;
  #resolveReady: () => void = () => {};
  #machine: SyncMachine;
  #connection: Connection | undefined;
  #download: AbortController | undefined;
  /** What is applied or written, one after the other. */
  #tail: Promise<void> = Promise.resolve();
  #pumping = false;
  #currentAtMs: number | undefined;
  #sliceStartMs: number;

  constructor(settings: SyncClientSettings) {
    this.#settings = settings;
    this.#intake = new Intake(settings.picture);
    this.#keeper = new PictureKeeper({ ...settings, intake: this.#intake });
    this.#machine = new SyncMachine({ dbEpoch: '', cursors: {} }, settings.random);
    this.#after = settings.after ?? afterTimeout;
    this.#sliceStartMs = settings.clock.nowMs();
    this.ready = new Promise((resolve) => {
      this.#resolveReady = resolve;
    });
  }

  start(): void {
    this.#run('reading the stored picture', async () => {
      const stored = this.#settings.store.takeStored();
      if (stored !== undefined) await this.#load(stored);
    });
    this.#run('connecting', async () => this.#step({ type: 'start' }));
  }

  status(): SyncStatus {
    const { dbEpoch, cursors } = this.#machine.position;
    return {
      connected: this.#machine.state === 'following' || this.#machine.state === 'fetching',
      cursors,
      dbEpoch,
      configAgeMs: this.#currentAtMs === undefined ? undefined : Math.max(0, this.#settings.clock.nowMs() - this.#currentAtMs),
      heads: this.#machine.heads,
      regionNodes: this.#machine.regionNodes,
      unknownEntries: this.#intake.unknownEntries,
      nacked: this.#intake.rejectedEntries,
    };
  }

  async close(): Promise<void> {
    this.#step({ type: 'close' });
    const kept = this.#keeper.close();
    await this.#tail;
    await kept;
  }

  async #load(stored: StoredPicture): Promise<void> {
    const diff = this.#intake.beginSnapshot(stored.heads, { newEpoch: false });
    const { denials } = await readSnapshot(stored.content(), (entry) => void diff.take(entry), this.#breathe);
    this.#settings.picture.keepDenials(denials.flatMap((denial) => denialFromWire(denial) ?? []));
    const cursors: Partial<Record<Lane, number>> = { ...stored.heads };
    for (const delta of stored.deltas) {
      const lane = laneFromWire(delta.lane);
      for (const entry of delta.entries) {
        this.#intake.take(entry, lane, Number(delta.prevRev));
        const pause = this.#breathe();
        if (pause !== undefined) await pause;
      }
      cursors[lane] = Number(delta.rev);
    }
    this.#machine = new SyncMachine({ dbEpoch: stored.dbEpoch, cursors }, this.#settings.random);
    this.#currentAtMs = stored.asOfMs;
    this.#settings.log.info({ cursors, asOfMs: stored.asOfMs }, 'the stored picture was read');
    this.#resolveReady();
  }

  #step(input: SyncInput, delta?: Delta): void {
    for (const effect of this.#machine.step(input)) this.#carryOut(effect, delta);
    if (this.#machine.isCurrent) this.#currentAtMs = this.#settings.clock.nowMs();
  }

  #carryOut(effect: SyncEffect, delta: Delta | undefined): void {
    switch (effect.type) {
      case 'connect':
        this.#run('connecting', async () => this.#connect());
        break;
      case 'disconnect':
        this.#disconnect();
        break;
      case 'send_hello': {
        const { nodeId, spoolId, incarnation, region, build } = this.#settings;
        const cursors = laneRevisionsToWire(effect.cursors);
        const node = { nodeId, spoolId, incarnation, region, build, protocolMin: PROTOCOL, protocolMax: PROTOCOL };
        this.#send({ case: 'hello', value: { ...node, dbEpoch: effect.dbEpoch, cursors, lanes: lanesToWire(LANES) } });
        break;
      }
      case 'send_ack':
        this.#send({ case: 'ack', value: { lane: laneToWire(effect.lane), rev: BigInt(effect.rev) } });
        break;
      case 'send_denials':
        this.#sendDenials(effect.dbEpoch);
        break;
      case 'apply_delta':
        if (delta !== undefined) this.#enqueue(delta);
        break;
      case 'fetch_snapshot':
        this.#run('taking a snapshot', async () => this.#takeSnapshot(effect.snapshot, effect.newEpoch));
        break;
      case 'timer':
        this.#setTimer(effect.timer, effect.delayMs);
        break;
      case 'note':
        this.#settings.log[effect.level]({ address: this.#settings.address }, `sync: ${effect.text}`);
        break;
      default:
        effect satisfies never;
    }
  }

  #connect(): void {
    const { address, joinToken } = this.#settings;
    // Where two attempts waited for their turn, the later one is heard.
    this.#connection?.end();
    this.#connection = new ControlStream({
      service: SyncService,
      address,
      joinToken,
      channel: { flowControlWindowBytes: SNAPSHOT_FLOW_CONTROL_WINDOW_BYTES },
      call: (calls, metadata) => calls.sync(metadata),
      received: (response) => this.#receive(response),
      broken: (error) => this.#step({ type: 'stream_ended', reason: error.message }),
    });
    this.#step({ type: 'opened' });
    // Closed, or sent away, before it was this one's turn.
    if (this.#machine.state !== 'connecting') this.#disconnect();
  }

  #disconnect(): void {
    this.#download?.abort();
    for (const lane of LANES) this.#waiting[lane].length = 0;
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.end();
  }

  #receive(response: SyncResponse): void {
    this.#step(readFrame(response), response.frame.case === 'delta' ? response.frame.value : undefined);
  }

  #send(frame: RequestFrame): void {
    this.#connection?.stream.write(create(SyncRequestSchema, { frame }));
  }

  #sendDenials(dbEpoch: string): void {
    const denials: readonly Denial[] = [...this.#settings.picture.keptDenials()];
    for (let from = 0; from < denials.length; from += MAX_DENIALS_A_FRAME) {
      const entries = denials.slice(from, from + MAX_DENIALS_A_FRAME).map(denialToWire);
      this.#send({ case: 'denials', value: { dbEpoch, entries } });
    }
    if (denials.length > 0) {
      this.#settings.log.warn(
        { dbEpoch, count: denials.length },
        'sync: refusals that the restored database has forgotten were told to it',
      );
    }
  }

  #enqueue(delta: Delta): void {
    this.#waiting[laneFromWire(delta.lane)].push(delta);
    if (this.#pumping) return;
    this.#pumping = true;
    this.#run('applying deltas', async () => {
      try {
        while (LANES.some((lane) => this.#waiting[lane].length > 0)) await this.#applyWaiting();
      } finally {
        this.#pumping = false;
      }
    });
  }

  /** Applies what waits, SECURITY first at every turn, makes it durable with one write, then acknowledges it. */
  async #applyWaiting(): Promise<void> {
    const applied: Delta[] = [];
    for (;;) {
      const delta = this.#nextWaiting();
      if (delta === undefined) break;
      const lane = laneFromWire(delta.lane);
      const rejections: Rejection[] = [];
      for (const entry of delta.entries) {
        const rejection = this.#intake.take(entry, lane, Number(delta.prevRev));
        if (rejection !== undefined) rejections.push(rejection);
        const pause = this.#breathe();
        if (pause !== undefined) await pause;
      }
      this.#nack(lane, Number(delta.rev), rejections);
      applied.push(delta);
    }
    await this.#keeper.keepDeltas(applied);
    for (const delta of applied) this.#step({ type: 'delta_applied', lane: laneFromWire(delta.lane), rev: Number(delta.rev) });
    await this.#keeper.compactWhenDue(this.#machine.position);
  }

  #nextWaiting(): Delta | undefined {
    for (const lane of LANES) {
      const delta = this.#waiting[lane].shift();
      if (delta !== undefined) return delta;
    }
    return undefined;
  }

  async #takeSnapshot(snapshot: SnapshotReference, newEpoch: boolean): Promise<void> {
    if (this.#machine.state !== 'fetching') return;
    try {
      const packed = await this.#downloadPacked(snapshot);
      const same = await this.#applySnapshot(snapshot, newEpoch, packed);
      await this.#keeper.keepSnapshot({ dbEpoch: snapshot.dbEpoch, cursors: snapshot.heads }, same ? packed : undefined);
    } catch (error) {
      this.#step({ type: 'snapshot_failed', reason: error instanceof Error ? error.message : String(error) });
      return;
    }
    this.#step({ type: 'snapshot_applied', dbEpoch: snapshot.dbEpoch, heads: snapshot.heads });
    this.#resolveReady();
  }

  /** Over the connection that announced it: only that replica has it, and one address may lead to several. No delta is kept waiting, since none applies meanwhile. */
  async #downloadPacked(snapshot: SnapshotReference): Promise<Uint8Array[]> {
    const connection = this.#connection;
    if (connection === undefined) throw new Error('the connection has ended');
    const download = new AbortController();
    this.#download = download;
    try {
      const packed = await fetchSnapshot(connection.calls, joinMetadata(this.#settings.joinToken), snapshot.snapshotId, download.signal);
      await verifySnapshot(packed, snapshot.sha256);
      return packed;
    } finally {
      this.#download = undefined;
    }
  }

  /** Returns whether the picture is now just what the snapshot says. */
  async #applySnapshot(snapshot: SnapshotReference, newEpoch: boolean, packed: readonly Uint8Array[]): Promise<boolean> {
    const diff = this.#intake.beginSnapshot(snapshot.heads, { newEpoch });
    const rejections: Rejection[] = [];
    const take = (entry: Parameters<typeof diff.take>[0]): void => {
      const rejection = diff.take(entry);
      if (rejection !== undefined && rejections.length < MAX_NACK_ENTRIES) rejections.push(rejection);
    };
    const content = await readSnapshot(packed, take, this.#breathe);
    const heads = laneRevisionsFromWire(content.heads);
    if (content.dbEpoch !== snapshot.dbEpoch || LANES.some((lane) => heads[lane] !== snapshot.heads[lane])) {
      throw new Error('the snapshot’s content is of another moment than was announced');
    }
    const removing = diff.removeAbsent();
    while (removing.next().done !== true) {
      const pause = this.#breathe();
      if (pause !== undefined) await pause;
    }
    for (const lane of ['customer', 'catalog'] as const) {
      const rev = snapshot.heads[lane];
      const ofLane = rejections.filter((rejection) => laneOf(rejection.kind) === lane);
      if (rev !== undefined) this.#nack(lane, rev, ofLane);
    }
    return diff.keptNewer === 0;
  }

  #nack(lane: Lane, rev: number, rejections: readonly Rejection[]): void {
    if (rejections.length === 0) return;
    const entries = rejections
      .slice(0, MAX_NACK_ENTRIES)
      .map((rejection) => ({ ...rejection, detail: rejection.detail.slice(0, MAX_NACK_DETAIL_CHARS) }));
    this.#settings.log.warn(
      { lane, rev, entries: entries.map(({ kind, id, code }) => ({ kind, id, code })) },
      'sync: entries were refused',
    );
    this.#send({ case: 'nack', value: { lane: laneToWire(lane), rev: BigInt(rev), entries } });
  }

  #setTimer(timer: SyncTimer, delayMs: number | undefined): void {
    this.#timers.get(timer)?.();
    this.#timers.delete(timer);
    if (delayMs === undefined) return;
    const cancel = this.#after(delayMs, () => {
      this.#timers.delete(timer);
      this.#step({ type: timer });
    });
    this.#timers.set(timer, cancel);
  }

  #run(what: string, task: () => Promise<void>): void {
    this.#tail = this.#tail.then(task).catch((error: unknown) => {
      this.#settings.log.error({ err: error }, `sync: ${what} failed`);
      this.#step({ type: 'stream_ended', reason: `${what} failed` });
    });
  }

  /** Gives the event loop back when the slice is used up. */
  readonly #breathe = (): Promise<void> | undefined => {
    if (this.#settings.clock.nowMs() - this.#sliceStartMs < SLICE_MS) return undefined;
    return new Promise((resolve) =>
      setImmediate(() => {
        this.#sliceStartMs = this.#settings.clock.nowMs();
        resolve();
      }),
    );
  };
}

/** The lane that a refused entry of a snapshot is reported on. */
function laneOf(kind: string): Lane {
  return kind === 'api_key' || kind === 'account' || kind === 'member' ? 'customer' : 'catalog';
}
