/**
 * One life of a node: the real spool, lease desk, shipper, Sync machine and picture, with what drives them. The drivers do what
 * those over gRPC do, frame by frame; requests go the way of the pipeline.
 */
import { fromBinary } from '@bufbuild/protobuf';
import type { Grants, LeaseEffects } from '@meridian/data-plane/admission/grants';
import { LeaseDesk } from '@meridian/data-plane/admission/lease-desk';
import { Intake } from '@meridian/data-plane/control/intake';
import { Picture } from '@meridian/data-plane/control/picture';
import { type SyncEffect, type SyncInput, SyncMachine, type SyncTimer } from '@meridian/data-plane/control/sync-machine';
import { Shipper } from '@meridian/data-plane/metering/spool/shipper';
import { openSpool, type Spool } from '@meridian/data-plane/metering/spool/spool';
import type { IdSource } from '@meridian/domain/ids';
import { type Denial, everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import { configEntryToWire } from '@meridian/wire/codec/entry';
import { type LaneRevisions, laneFromWire } from '@meridian/wire/codec/lane';
import { ConfigEntrySchema, type ConfigEntry as WireEntry } from '@meridian/wire/gen/config_pb';
import { type Delta, SyncResponseSchema } from '@meridian/wire/gen/sync_pb';
import type { ControlPlane } from './control-plane.ts';
import type { Dice } from './dice.ts';
import type { PageCachedDisk } from './disk.ts';
import type { LeasesDown, LeasesUp, ReportDown, ReportUp, SnapshotContent, SpoolName, SyncDown, SyncUp } from './frames.ts';
import { Killed, type Life } from './life.ts';
import type { Network, StreamEnd, Wire } from './network.ts';
import { type DiskFaults, spoolDisk, spoolTimers } from './spool-disk.ts';
import type { Planned, Timeline } from './timeline.ts';

/** What is on the node's disk besides the spool: a snapshot, and the deltas since. Kept whole: its file has tests of its own. */
export interface StoredPicture {
  dbEpoch: string;
  heads: LaneRevisions;
  entries: readonly WireEntry[];
  /** Refusals that a restored database has forgotten. */
  denials: readonly Denial[];
  deltas: Delta[];
}

/** A machine: it outlives the processes that run on it. */
export interface Machine {
  readonly name: string;
  readonly region: string;
  readonly disk: PageCachedDisk;
  readonly diskFaults: DiskFaults;
  readonly lock: { holder: Life | undefined };
  readonly wire: Wire;
  /** Of its clock to the true time. */
  clockOffsetMs: number;
  picture: StoredPicture | undefined;
}

export interface NodeObserver {
  opened(node: Node): void;
  durable(node: Node, seq: number): void;
  /** The picture stands somewhere else. */
  applied(node: Node): void;
  alarm(node: Node, message: string, fields: Readonly<Record<string, unknown>>): void;
  asked(node: Node, questionId: number, budget: string): void;
}

export interface NodeDeps {
  readonly machine: Machine;
  readonly life: Life;
  readonly timeline: Timeline;
  readonly dice: Dice;
  readonly network: Network;
  readonly control: () => ControlPlane | undefined;
  /** The control plane is away until then: tries to connect that could only fail are left out. */
  readonly awayUntilMs: () => number;
  readonly observer: NodeObserver;
  readonly incarnation: bigint;
}

const FOLDER = '/spool';
const SEALING_KEY = Buffer.alloc(32, 7);
const REPORT_LIMITS = { maxRecords: 40, maxBytes: 64 * 1024 };
const CONNECT_MS = 5_000;
const ACK_MS = 30_000;
const MOST_BACKOFF_MS = 10_000;
/** Small, so that a run goes through many. */
const SPOOL_LIMITS = { segmentBytes: 24 * 1024, retentionMs: 24 * 3600 * 1000 };

export class Node {
  readonly machine: Machine;
  readonly life: Life;
  readonly incarnation: bigint;
  readonly picture = new Picture({ sealingKey: SEALING_KEY });
  readonly ids: IdSource;
  readonly #deps: NodeDeps;
  readonly #intake = new Intake(this.picture);
  readonly #shipper = new Shipper();
  #spool: Spool | undefined;
  #desk: LeaseDesk | undefined;
  #wake: Planned | undefined;
  #sync: SyncDriver | undefined;
  #report: StreamEnd<ReportUp> | undefined;
  #reportEpoch = '';
  #reportFailures = 0;
  #reportRetry: Planned | undefined;
  #reportWatch: Planned | undefined;
  #reportWait: Planned | undefined;
  #pumping = false;
  #pumpAgain = false;
  #leases: { readonly end: StreamEnd<LeasesUp>; readonly dbEpoch: string; open: boolean } | undefined;
  #leasesEpoch = '';
  #leasesFailures = 0;
  #leasesRetry: Planned | undefined;
  #leasesWatch: Planned | undefined;

  constructor(deps: NodeDeps) {
    this.#deps = deps;
    this.machine = deps.machine;
    this.life = deps.life;
    this.incarnation = deps.incarnation;
    this.ids = { nowMs: () => this.nowMs(), randomBytes: (count) => deps.dice.bytes(count) };
  }

  /** By its own clock. */
  nowMs(): number {
    return Math.floor(this.#deps.timeline.nowMs + this.machine.clockOffsetMs);
  }

  get spool(): Spool | undefined {
    return this.#spool;
  }

  get desk(): LeaseDesk | undefined {
    return this.#desk;
  }

  get grants(): Grants | undefined {
    return this.#desk;
  }

  get position(): { readonly dbEpoch: string; readonly cursors: LaneRevisions } | undefined {
    return this.#sync?.position;
  }

  /** Whether requests are served: the spool is open and there is a picture. */
  get serves(): boolean {
    return this.life.alive && this.#desk !== undefined && (this.position?.dbEpoch ?? '') !== '';
  }

  start(): void {
    const { timeline, observer, machine, dice } = this.#deps;
    const disk = spoolDisk({
      ...{ disk: machine.disk, faults: machine.diskFaults, life: this.life, timeline, dice, lock: machine.lock },
    });
    timeline.awaited();
    openSpool({
      folder: FOLDER,
      incarnation: this.incarnation,
      ids: this.ids,
      disk,
      timers: spoolTimers(this.life, timeline),
      limits: SPOOL_LIMITS,
      alarm: (message, fields) => observer.alarm(this, message, fields),
    }).then(
      (spool) => {
        if (this.life.alive) this.life.run(() => this.#opened(spool));
      },
      (error: unknown) => {
        if (!this.life.alive || error instanceof Killed) return;
        observer.alarm(this, 'the spool could not be opened', { err: String(error) });
        // The process ends, and is started again.
        this.life.kill();
      },
    );
  }

  #opened(spool: Spool): void {
    const { observer, timeline } = this.#deps;
    this.#spool = spool;
    timeline.note(`${this.life.name} has opened its spool ${spool.spoolId}`);
    this.#desk = new LeaseDesk({ recovered: spool.leases(), spoolId: spool.spoolId, effects: this.#effects(spool), nowMs: this.nowMs() });
    this.#desk.tick(this.nowMs());
    spool.onDurable((seq, awaitedSeq) => {
      this.#shipper.durable(this.nowMs(), seq, awaitedSeq);
      this.#pump();
      observer.durable(this, seq);
    });
    observer.opened(this);
    this.#sync = new SyncDriver(this, this.#deps, this.#intake, this.#name(spool));
    this.#sync.start();
    this.#connectReport();
    this.#connectLeases();
  }

  #name(spool: Spool): SpoolName {
    return { nodeId: this.machine.name, region: this.machine.region, spoolId: spool.spoolId };
  }

  // Leases

  #effects(spool: Spool): LeaseEffects {
    const { observer } = this.#deps;
    return {
      write: (record, written) => {
        this.life.effect();
        spool.lease(record, (error, seq) => written(error, seq, this.nowMs()));
      },
      ask: ({ questionId, budget, need, want, ratePer30s }) => {
        if (this.#leases?.open !== true) return;
        observer.asked(this, questionId, `${budget.capId}@${budget.windowStartMs}`);
        this.#leases.end.send({ kind: 'question', questionId, budget, need, want, ratePer30s });
      },
      answerRecall: (answer) => {
        if (this.#leases?.open === true) this.#leases.end.send({ kind: 'recall_answer', ...answer });
      },
      hurry: () => {
        this.#shipper.hurry(spool.lastSeq);
        this.#pump();
      },
      wakeAt: (atMs) => {
        this.#wake?.cancel();
        this.#wake = undefined;
        if (atMs === undefined) return;
        this.#wake = this.life.after(Math.max(0, atMs - this.nowMs()), 'wakes the desk', () => this.#desk?.tick(this.nowMs()));
      },
    };
  }

  #connectLeases(): void {
    const spool = this.#spool;
    if (spool === undefined) return;
    const { network, control } = this.#deps;
    const dbEpoch = this.#leasesEpoch === '' ? (this.position?.dbEpoch ?? '') : this.#leasesEpoch;
    const end = network.connect<LeasesUp, LeasesDown>(`${this.life.name} leases`, this.machine.wire, this.life, () => control()?.lease, {
      receive: (frame) => {
        if (this.#leases?.end === end) this.#leasesFrame(frame);
      },
      ended: (reason) => this.#breakLeases(end, reason),
    });
    this.#leases = { end, dbEpoch, open: false };
    this.#leasesWatch = this.life.after(CONNECT_MS, 'leases watchdog', () => this.#breakLeases(end, 'no answer'));
    end.send({ kind: 'leases_open', ...this.#name(spool), dbEpoch });
    end.send({ kind: 'declaration', leases: spool.leases() });
  }

  #leasesFrame(frame: LeasesDown): void {
    const desk = this.#desk;
    const session = this.#leases;
    if (desk === undefined || session === undefined) return;
    const nowMs = this.nowMs();
    if (frame.kind === 'leases_opened') {
      this.#leasesWatch?.cancel();
      this.#leasesEpoch = frame.dbEpoch;
      if (frame.dbEpoch !== session.dbEpoch) {
        // Another history of leases: what was said as of the old one is said again.
        this.#leases = undefined;
        session.end.close();
        this.#connectLeases();
        return;
      }
      session.open = true;
      this.#leasesFailures = 0;
      desk.opened({ dbEpoch: frame.dbEpoch, frozen: frame.frozen }, nowMs);
      return;
    }
    if (!session.open) return;
    switch (frame.kind) {
      case 'grants':
        desk.grants(frame.grants, frame.questionId, nowMs);
        return;
      case 'denial':
        desk.denial(frame.denial, nowMs);
        return;
      case 'recall':
        desk.recall(frame, nowMs);
        return;
      case 'lease_closed':
        desk.closed(frame.leaseId, nowMs);
        return;
      default:
        frame satisfies never;
    }
  }

  #breakLeases(end: StreamEnd<LeasesUp>, reason: string): void {
    const session = this.#leases;
    if (session?.end !== end) return;
    this.#deps.timeline.note(`${this.life.name} leases broken: ${reason}`);
    this.#leases = undefined;
    this.#leasesWatch?.cancel();
    end.close();
    if (session.open) this.#desk?.disconnected(this.nowMs());
    this.#leasesRetry?.cancel();
    this.#leasesRetry = this.#later('leases', this.#leasesFailures++, () => this.#connectLeases());
  }

  // Report

  #connectReport(): void {
    const spool = this.#spool;
    if (spool === undefined) return;
    const { network, control } = this.#deps;
    const end = network.connect<ReportUp, ReportDown>(`${this.life.name} report`, this.machine.wire, this.life, () => control()?.report, {
      receive: (frame) => {
        if (this.#report === end) this.#reportFrame(end, spool, frame);
      },
      ended: (reason) => this.#breakReport(end, reason),
    });
    this.#report = end;
    this.#watchReport(end, CONNECT_MS);
    const retained = spool.incarnations().map((range) => ({ ...range, ackedSeq: spool.ackedSeq(range.incarnation) }));
    this.#shipper.open(retained);
    end.send({ kind: 'report_open', ...this.#name(spool), dbEpoch: this.#reportEpoch, replaces: spool.replacesSpoolId, retained });
  }

  #reportFrame(end: StreamEnd<ReportUp>, spool: Spool, frame: ReportDown): void {
    if (frame.kind === 'report_opened') {
      this.#reportWatch?.cancel();
      this.#reportEpoch = frame.dbEpoch;
      for (const { incarnation, ackedSeq } of this.#shipper.opened(frame.acked)) {
        if (ackedSeq < spool.ackedSeq(incarnation)) spool.rewind(incarnation, ackedSeq);
        else spool.acknowledge(incarnation, ackedSeq);
      }
    } else {
      const verdict = this.#shipper.acknowledged(frame.incarnation, frame.ackedSeq);
      if (verdict === 'ahead') {
        this.#breakReport(end, 'an acknowledgement of what was not sent');
        return;
      }
      if (verdict === 'stale') return;
      this.#reportFailures = 0;
      spool.acknowledge(frame.incarnation, frame.ackedSeq);
      this.#reportWatch?.cancel();
      if (this.#shipper.inFlight > 0) this.#watchReport(end, ACK_MS);
    }
    this.#desk?.acknowledged(spool.ackedSeq(this.incarnation), this.nowMs());
    this.#pump();
  }

  #pump(): void {
    const end = this.#report;
    const spool = this.#spool;
    if (end === undefined || spool === undefined) return;
    if (this.#pumping) {
      this.#pumpAgain = true;
      return;
    }
    this.#pumping = true;
    this.#deps.timeline.awaited();
    this.#send(end, spool)
      .catch((error: unknown) => {
        if (!(error instanceof Killed)) this.#breakReport(end, String(error));
      })
      .finally(() => {
        this.#pumping = false;
        if (!this.#pumpAgain) return;
        this.#pumpAgain = false;
        this.#pump();
      });
  }

  async #send(end: StreamEnd<ReportUp>, spool: Spool): Promise<void> {
    this.#reportWait?.cancel();
    for (;;) {
      const step = this.#shipper.next(this.nowMs());
      if (!this.life.alive || end !== this.#report || step.kind === 'idle') return;
      if (step.kind === 'wait') {
        this.#reportWait = this.life.after(step.waitMs, 'ships', () => this.#pump());
        return;
      }
      const batch = await spool.readFrom(step.incarnation, step.fromSeq, REPORT_LIMITS);
      if (batch === undefined) throw new Error(`seq ${step.fromSeq} of the spool cannot be read`);
      if (!this.life.alive || end !== this.#report) return;
      this.#shipper.sent(this.nowMs(), batch);
      if (this.#shipper.inFlight === 1) this.#watchReport(end, ACK_MS);
      end.send({ kind: 'batch', batch });
    }
  }

  #watchReport(end: StreamEnd<ReportUp>, delayMs: number): void {
    this.#reportWatch?.cancel();
    this.#reportWatch = this.life.after(delayMs, 'report watchdog', () => this.#breakReport(end, 'no acknowledgement'));
  }

  #breakReport(end: StreamEnd<ReportUp>, reason: string): void {
    if (this.#report !== end) return;
    this.#deps.timeline.note(`${this.life.name} report broken: ${reason}`);
    this.#report = undefined;
    this.#shipper.close();
    this.#reportWait?.cancel();
    this.#reportWatch?.cancel();
    end.close();
    this.#reportRetry?.cancel();
    this.#reportRetry = this.#later('report', this.#reportFailures++, () => this.#connectReport());
  }

  /** With full jitter. */
  #later(what: string, failures: number, connect: () => void): Planned {
    const ceilingMs = Math.min(MOST_BACKOFF_MS, 200 * 2 ** Math.min(failures, 30));
    const awayMs = Math.max(0, this.#deps.awayUntilMs() - this.#deps.timeline.nowMs);
    return this.life.after(awayMs + this.#deps.dice.random() * ceilingMs, `reconnects ${what}`, connect);
  }

  /** No heartbeat is awaited for a time. */
  set silenceAllowed(allowed: boolean) {
    if (this.#sync !== undefined) this.#sync.paused = allowed;
  }
}

type SyncConnection = StreamEnd<SyncUp>;

/** Carries out what the Sync machine decides. */
class SyncDriver {
  readonly #node: Node;
  readonly #deps: NodeDeps;
  readonly #intake: Intake;
  readonly #name: SpoolName;
  readonly #timers = new Map<SyncTimer, Planned>();
  #machine: SyncMachine;
  #connection: SyncConnection | undefined;
  #fetching: SyncConnection | undefined;
  #waiting: Record<Lane, Delta[]> = everyLane(() => []);
  #applying = false;
  #paused = false;

  constructor(node: Node, deps: NodeDeps, intake: Intake, name: SpoolName) {
    this.#node = node;
    this.#deps = deps;
    this.#intake = intake;
    this.#name = name;
    this.#machine = new SyncMachine({ dbEpoch: '', cursors: {} }, deps.dice.random);
  }

  get position(): { readonly dbEpoch: string; readonly cursors: LaneRevisions } {
    return this.#machine.position;
  }

  set paused(paused: boolean) {
    this.#paused = paused;
    if (paused) this.#timers.get('silence')?.cancel();
  }

  start(): void {
    const stored = this.#node.machine.picture;
    if (stored !== undefined) {
      const diff = this.#intake.beginSnapshot(stored.heads, { newEpoch: false });
      for (const entry of stored.entries) diff.take(entry);
      this.#node.picture.keepDenials(stored.denials);
      const cursors: Partial<Record<Lane, number>> = { ...stored.heads };
      for (const delta of stored.deltas) {
        const lane = laneFromWire(delta.lane);
        for (const entry of delta.entries) this.#intake.take(entry, lane, Number(delta.prevRev));
        cursors[lane] = Number(delta.rev);
      }
      this.#machine = new SyncMachine({ dbEpoch: stored.dbEpoch, cursors }, this.#deps.dice.random);
      this.#deps.observer.applied(this.#node);
    }
    this.#step({ type: 'start' });
  }

  #step(input: SyncInput, delta?: Delta): void {
    for (const effect of this.#machine.step(input)) this.#carryOut(effect, delta);
  }

  #carryOut(effect: SyncEffect, delta: Delta | undefined): void {
    switch (effect.type) {
      case 'connect': {
        const awayMs = this.#deps.awayUntilMs() - this.#deps.timeline.nowMs;
        if (awayMs <= 0) this.#connect();
        else this.#node.life.after(awayMs + this.#deps.dice.between(0, 5_000), 'connects sync', () => this.#connect());
        return;
      }
      case 'disconnect':
        this.#disconnect();
        return;
      case 'send_hello':
        this.#connection?.send({ kind: 'hello', ...this.#name, dbEpoch: effect.dbEpoch, cursors: effect.cursors });
        return;
      case 'send_ack':
        this.#connection?.send({ kind: 'sync_ack', lane: effect.lane, rev: effect.rev });
        return;
      case 'send_denials':
        // The simulated control plane takes none: each node holds to its own.
        return;
      case 'apply_delta':
        if (delta === undefined) throw new Error('a delta was accepted and is not there');
        this.#waiting[laneFromWire(delta.lane)].push(delta);
        this.#applyNext();
        return;
      case 'fetch_snapshot':
        this.#fetch(effect.snapshot.snapshotId, effect.newEpoch);
        return;
      case 'timer':
        this.#timers.get(effect.timer)?.cancel();
        if (effect.delayMs === undefined || (this.#paused && effect.timer === 'silence')) return;
        this.#timers.set(
          effect.timer,
          this.#node.life.after(effect.delayMs, `sync ${effect.timer}`, () => this.#timer(effect.timer)),
        );
        return;
      case 'note':
        this.#deps.timeline.note(`${this.#node.life.name} sync: ${effect.text}`);
        return;
      default:
        effect satisfies never;
    }
  }

  #timer(timer: SyncTimer): void {
    this.#step({ type: timer });
  }

  #connect(): void {
    const { network, control } = this.#deps;
    const end = network.connect<SyncUp, SyncDown>(
      `${this.#node.life.name} sync`,
      this.#node.machine.wire,
      this.#node.life,
      () => control()?.sync,
      {
        receive: (frame) => {
          if (this.#connection === end) this.#frame(frame);
        },
        ended: (reason) => {
          if (this.#connection === end) this.#step({ type: 'stream_ended', reason });
        },
      },
    );
    this.#connection = end;
    this.#step({ type: 'opened' });
  }

  #disconnect(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.close();
    this.#fetching?.close();
    this.#fetching = undefined;
    this.#waiting = everyLane(() => []);
  }

  #frame(frame: SyncDown): void {
    switch (frame.kind) {
      case 'welcome':
        this.#step({ type: 'welcome', dbEpoch: frame.dbEpoch });
        return;
      case 'delta': {
        const response = fromBinary(SyncResponseSchema, frame.frame);
        if (response.frame.case !== 'delta') throw new Error('the frame of a delta is another one');
        const { value } = response.frame;
        const delta = { type: 'delta', lane: laneFromWire(value.lane), prevRev: Number(value.prevRev), rev: Number(value.rev) } as const;
        this.#step(delta, value);
        return;
      }
      case 'heartbeat':
        this.#step({ type: 'heartbeat', heads: frame.heads, regionNodes: 1 });
        return;
      case 'snapshot_ref': {
        const { id, dbEpoch, heads } = frame.snapshot;
        this.#step({ type: 'snapshot_ref', snapshot: { snapshotId: id, dbEpoch, heads, sha256: new Uint8Array(32) } });
        return;
      }
      case 'resync_required':
        this.#step({ type: 'resync_required', reason: frame.reason });
        return;
      case 'goaway':
        this.#step({ type: 'goaway', retryAfterMs: frame.retryAfterMs, reason: frame.reason });
        return;
      case 'snapshot':
        return;
      default:
        frame satisfies never;
    }
  }

  /** One delta at a time, SECURITY first; it is acknowledged when it is on the disk as well. */
  #applyNext(): void {
    if (this.#applying || LANES.every((lane) => this.#waiting[lane].length === 0)) return;
    this.#applying = true;
    this.#node.life.after(this.#deps.dice.between(0, 2), 'applies a delta', () => {
      const lane = LANES.find((candidate) => this.#waiting[candidate].length > 0);
      const delta = lane === undefined ? undefined : this.#waiting[lane].shift();
      if (lane === undefined || delta === undefined) {
        this.#applying = false;
        return;
      }
      for (const entry of delta.entries) this.#intake.take(entry, lane, Number(delta.prevRev));
      this.#node.life.after(this.#deps.dice.between(0, 3), 'stores a delta', () => {
        this.#applying = false;
        this.#node.machine.picture?.deltas.push(delta);
        this.#step({ type: 'delta_applied', lane, rev: Number(delta.rev) });
        this.#deps.observer.applied(this.#node);
        this.#applyNext();
      });
    });
  }

  #fetch(snapshotId: string, newEpoch: boolean): void {
    const { network, control } = this.#deps;
    const end = network.connect<SyncUp, SyncDown>(
      `${this.#node.life.name} snapshot`,
      this.#node.machine.wire,
      this.#node.life,
      () => control()?.sync,
      {
        receive: (frame) => {
          if (this.#fetching !== end || frame.kind !== 'snapshot') return;
          this.#fetching = undefined;
          this.#take(frame.content, newEpoch);
        },
        ended: (reason) => {
          if (this.#fetching === end) this.#step({ type: 'snapshot_failed', reason });
        },
      },
    );
    this.#fetching = end;
    end.send({ kind: 'fetch', snapshotId });
  }

  #take({ dbEpoch, heads, payloads }: SnapshotContent, newEpoch: boolean): void {
    this.#node.life.after(this.#deps.dice.between(0, 5), 'applies a snapshot', () => {
      const diff = this.#intake.beginSnapshot(heads, { newEpoch });
      for (const payload of payloads) diff.take(fromBinary(ConfigEntrySchema, payload));
      for (const _ of diff.removeAbsent());
      // What the node knows beyond the snapshot outlives a restart, a refusal above all: the picture is what is stored.
      const { picture } = this.#node;
      this.#node.machine.picture = { dbEpoch, heads, entries: storedEntries(picture), denials: [...picture.keptDenials()], deltas: [] };
      this.#step({ type: 'snapshot_applied', dbEpoch, heads });
      this.#deps.observer.applied(this.#node);
    });
  }
}

function storedEntries(picture: Picture): WireEntry[] {
  return [...picture.entries()].map(configEntryToWire);
}
