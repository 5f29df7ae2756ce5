/**
 * The node's append-only log of usage: every intent and final is in it before the world sees its effect.
 *
 * A spool goes through *opening* (survey, recovery of what the dead incarnations left open, durable before `openSpool`
 * resolves) → *open* → *closed*. While open, the records of one event-loop turn are written by one write() in setImmediate,
 * and only then are their waiters called. New requests are refused while the disk is full or failing, or while too much is not
 * durable; finals and leases are always tried.
 */
import path from 'node:path';
import { GatewayError } from '@meridian/domain/error';
import type { IdSource } from '@meridian/domain/ids';
import type { LeaseRecord } from '@meridian/domain/lease';
import { type Final, type Intent, type LeaseAmount, recoveredFinal } from '@meridian/domain/usage-record';
import type { LeaseSink, LeaseWritten, UsageSink, Written } from '../usage-sink.ts';
import { nodeDisk, type SpoolDisk } from './disk.ts';
import { DiskWatch } from './disk-watch.ts';
import {
  type Acknowledged,
  type IncarnationFiles,
  incarnationFolder,
  readAcked,
  readSpoolIds,
  renewSpoolId,
  type SpoolIds,
  settleSpoolId,
  writeAcked,
} from './folder.ts';
import type { SpoolLeases } from './lease-counters.ts';
import { PayloadWriter } from './payload.ts';
import { type BatchLimits, readBatch, type SpoolBatch } from './reader.ts';
import { RecentRecords } from './recent-records.ts';
import { type Checkpoint, RECORD_TYPE, type SpoolRecord, summariseFinal } from './record.ts';
import { deleteAcked } from './retention.ts';
import { encodeRecord, walkRecords } from './segment.ts';
import { SegmentWriter } from './segment-writer.ts';
import { type SpoolAlarm, type Survey, surveyFolder } from './survey.ts';
import { nodeTimers, type SpoolTimers } from './timers.ts';

export interface SpoolLimits {
  readonly segmentBytes: number;
  /**
   * From the start of one fdatasync to the next while records keep coming. A record waits that long at most, and one sync
   * and a turn of the event loop more: 5 ms keep within 10 ms on a disk that syncs in 3 ms. Each sync takes about 0.2 ms of
   * the processor, so one a turn would take a fifth of it.
   */
  readonly syncIntervalMs: number;
  /** One INTENT or FINAL. */
  readonly recordBytes: number;
  /** New requests are refused above this. */
  readonly undurableBytes: number;
  readonly pendingRecords: number;
  /** Share of the disk above which an alarm is raised. */
  readonly diskWarnShare: number;
  /** Share of the disk above which new requests are refused; the rest is room for finals. */
  readonly diskUsedShare: number;
  /** How long acknowledged segments are kept for replay. */
  readonly retentionMs: number;
}

export const SPOOL_LIMITS: SpoolLimits = {
  segmentBytes: 64 * 1024 * 1024,
  syncIntervalMs: 5,
  recordBytes: 64 * 1024,
  undurableBytes: 64 * 1024 * 1024,
  pendingRecords: 65_536,
  diskWarnShare: 0.7,
  diskUsedShare: 0.92,
  retentionMs: 24 * 3600 * 1000,
};

export interface SpoolOptions {
  readonly folder: string;
  /** Random for each boot; the same one that Sync says Hello with. */
  readonly incarnation: bigint;
  readonly ids: IdSource;
  readonly alarm: SpoolAlarm;
  readonly limits?: Partial<SpoolLimits>;
  readonly disk?: SpoolDisk;
  readonly timers?: SpoolTimers;
}

export interface RetainedRange {
  readonly incarnation: bigint;
  readonly firstSeq: number;
  /** Of what is durable; firstSeq − 1 when nothing is. */
  readonly lastSeq: number;
}

/** Called when more is durable: up to which seq, and the highest durable seq of a record that the control plane waits for. */
export type DurableListener = (durableSeq: number, durableAwaitedSeq: number) => void;

export interface Spool extends UsageSink, LeaseSink {
  readonly spoolId: string;
  /** The folder's former id, until all that was retained when it went backwards is acknowledged. */
  readonly replacesSpoolId: string | undefined;
  readonly incarnation: bigint;
  /** Last written record. */
  readonly lastSeq: number;
  readonly durableSeq: number;
  /** Highest durable seq of a final, or of a lease's return or end: what the control plane waits for. */
  readonly durableAwaitedSeq: number;
  /** What is retained and durable, oldest incarnation first, the current one last. */
  incarnations(): readonly RetainedRange[];
  ackedSeq(incarnation: bigint): number;
  /** The control plane has everything up to the seq. Lower acknowledgements than the present one change nothing. */
  acknowledge(incarnation: bigint, seq: number): void;
  /** The epoch of the database that acknowledged all this; empty when none has, or it is not known. Outlives a restart. */
  readonly dbEpoch: string;
  /** All that is acknowledged from now on, and all that was and is not rewound, is so in this epoch. */
  enterEpoch(dbEpoch: string): void;
  /** The control plane was restored and has less than it acknowledged: what lies behind the seq counts as unacknowledged again. */
  rewind(incarnation: bigint, seq: number): void;
  /** Durable records from a seq on; undefined when there are none or they are gone. */
  readFrom(incarnation: bigint, seq: number, limits: BatchLimits): Promise<SpoolBatch | undefined>;
  /** Returns what ends the subscription. */
  onDurable(listener: DurableListener): () => void;
  /** New requests are refused at the moment. */
  readonly refusing: boolean;
  /** Writes and syncs what is pending, and gives the folder free. Records after it are refused. */
  close(): Promise<void>;
}

interface Pending {
  readonly record: SpoolRecord;
  readonly written: LeaseWritten;
  error: GatewayError | undefined;
  seq: number;
}

const CHUNK_BYTES = 1024 * 1024;
const ACK_SAVE_MS = 1000;
const DELETE_CHECK_MS = 60_000;

/**
 * Opens the folder (made when missing), closes what dead incarnations left open, and resolves when that is durable.
 * Rejects with "data folder in use" when another process has it, else with what the disk threw.
 */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const disk = options.disk ?? nodeDisk;
  const timers = options.timers ?? nodeTimers;
  const limits: SpoolLimits = { ...SPOOL_LIMITS, ...options.limits };
  disk.makeFolder(options.folder);
  const lock = disk.lock(options.folder);
  let spool: FolderSpool | undefined;
  try {
    const nowMs = options.ids.nowMs();
    let ids = readSpoolIds(options.folder, disk, options.ids);
    const { dbEpoch, acked } = readAcked(options.folder, disk);
    let survey = surveyFolder(options.folder, ids, disk, acked, nowMs, options.alarm);
    if (survey.incarnations.some((files) => (survey.acked.get(files.incarnation) ?? 0) > lastSeqOf(files))) {
      options.alarm('the spool folder went backwards: more was acknowledged than it holds', {
        folder: options.folder,
        spoolId: ids.current,
      });
      // A process that died right here left an id that no incarnation was made under.
      const used = survey.incarnations.some((files) => files.spoolId === ids.current);
      ids = renewSpoolId(options.folder, disk, options.ids, used ? ids.current : (ids.former ?? ids.current));
      writeAcked(options.folder, disk, { dbEpoch, acked: new Map() });
      survey = surveyFolder(options.folder, ids, disk, new Map(), nowMs, () => undefined);
    }
    const folder = incarnationFolder(options.folder, options.incarnation);
    if (disk.exists(folder)) throw new Error(`the spool already has an incarnation ${folder}`);
    // What a dead process had only named must not vanish once its requests are known to be closed.
    for (const files of survey.incarnations) {
      if (survey.unrecovered.includes(files.incarnation)) await disk.syncFolder(files.folder);
    }
    disk.makeFolder(folder);
    await disk.syncFolder(options.folder);
    // The folder's own name as well: one that is new would be gone with all that is in it.
    await disk.syncFolder(path.dirname(options.folder));
    const ordinal = Math.max(0, ...survey.incarnations.map((files) => files.ordinal)) + 1;
    const files: IncarnationFiles = { incarnation: options.incarnation, spoolId: ids.current, ordinal, folder, segments: [] };
    if (ids.former !== undefined && survey.incarnations.every((retained) => retained.spoolId === ids.current)) {
      ids = settleSpoolId(options.folder, disk, ids);
    }
    spool = new FolderSpool({ ...options, disk, timers, limits }, ids, { ...survey, dbEpoch }, files, () => lock.release());
    await spool.recover(survey);
    return spool;
  } catch (error) {
    spool?.abandon();
    lock.release();
    throw error;
  }
}

/** Of the segments the first need not reach back the farthest: a damaged one stands before the one that took its place. */
function firstSeqOf(files: IncarnationFiles): number {
  if (files.segments.length === 0) return 1;
  return Math.min(...files.segments.map((segment) => segment.header.firstSeq));
}

function lastSeqOf(files: IncarnationFiles): number {
  return files.segments.at(-1)?.lastSeq ?? 0;
}

class FolderSpool implements Spool {
  readonly spoolId: string;
  readonly incarnation: bigint;
  readonly #ids: SpoolIds;
  readonly #options: SpoolOptions;
  readonly #limits: SpoolLimits;
  readonly #disk: SpoolDisk;
  readonly #timers: SpoolTimers;
  readonly #watch: DiskWatch;
  readonly #files: IncarnationFiles[];
  readonly #acked: Map<bigint, number>;
  #dbEpoch: string;
  readonly #release: () => void;
  readonly #segments: SegmentWriter;
  readonly #writer = new PayloadWriter(CHUNK_BYTES + 64 * 1024);
  readonly #openIntents = new Map<string, Intent>();
  readonly #leases: SpoolLeases;
  readonly #recent: RecentRecords;
  readonly #recovered = new Set<bigint>();
  readonly #listeners = new Set<DurableListener>();
  #pending: Pending[] = [];
  /** Prevents the write at the end of the turn. */
  #cancelFlush: (() => void) | undefined;
  #durableAwaitedSeq = 0;
  #recovering = true;
  #closed = false;
  #checkedDeleteMs = Number.NEGATIVE_INFINITY;
  #savedAckMs = Number.NEGATIVE_INFINITY;
  #ackUnsaved = false;

  constructor(
    options: SpoolOptions & { readonly disk: SpoolDisk; readonly timers: SpoolTimers; readonly limits: SpoolLimits },
    ids: SpoolIds,
    survey: Survey & Pick<Acknowledged, 'dbEpoch'>,
    current: IncarnationFiles,
    release: () => void,
  ) {
    this.#options = options;
    this.#limits = options.limits;
    this.#disk = options.disk;
    this.#timers = options.timers;
    this.#watch = new DiskWatch({
      disk: options.disk,
      folder: options.folder,
      warnShare: options.limits.diskWarnShare,
      refuseShare: options.limits.diskUsedShare,
      nowMs: () => options.ids.nowMs(),
      alarm: options.alarm,
      looked: () => {
        if (this.#watch.full && !this.#closed) this.#deleteAcked(0);
      },
    });
    this.#ids = ids;
    this.spoolId = ids.current;
    this.incarnation = options.incarnation;
    this.#recent = new RecentRecords(options.incarnation);
    this.#files = [...survey.incarnations, current];
    this.#acked = survey.acked;
    this.#dbEpoch = survey.dbEpoch;
    this.#leases = survey.leases;
    this.#release = release;
    this.#segments = new SegmentWriter({
      disk: options.disk,
      timers: options.timers,
      files: current,
      spoolId: ids.current,
      segmentBytes: options.limits.segmentBytes,
      syncIntervalMs: options.limits.syncIntervalMs,
      nowMs: () => options.ids.nowMs(),
      checkpoint: (without) => this.#checkpoint(without),
      durable: (seq, lastAwaitedSeq) => this.#durable(seq, lastAwaitedSeq),
      alarm: options.alarm,
    });
  }

  get lastSeq(): number {
    return this.#segments.writtenSeq;
  }

  get durableSeq(): number {
    return this.#segments.durableSeq;
  }

  get durableAwaitedSeq(): number {
    return this.#durableAwaitedSeq;
  }

  get replacesSpoolId(): string | undefined {
    const { current, former } = this.#ids;
    if (former === undefined) return undefined;
    const open = this.#files.some((files) => files.spoolId !== current && this.ackedSeq(files.incarnation) < lastSeqOf(files));
    return open ? former : undefined;
  }

  get refusing(): boolean {
    return (
      this.#closed ||
      this.#watch.full ||
      this.#segments.failing ||
      this.#segments.undurableBytes > this.#limits.undurableBytes ||
      this.#pending.length >= this.#limits.pendingRecords
    );
  }

  intent(record: Intent, written: Written): void {
    if (!this.#closed) this.#watch.glance();
    const error = this.refusing ? new GatewayError('overloaded', { retryAfterSeconds: 1 }) : undefined;
    this.#enqueue({ record: { type: 'intent', intent: record }, written, error, seq: 0 });
  }

  final(record: Final, written: Written): void {
    this.#enqueue({ record: { type: 'final', final: record }, written, error: this.#closedError(), seq: 0 });
  }

  lease(record: LeaseRecord, written: LeaseWritten): void {
    this.#enqueue({ record: { type: 'lease', lease: record }, written, error: this.#closedError(), seq: 0 });
  }

  leases(): readonly LeaseRecord[] {
    return this.#leases.list();
  }

  incarnations(): readonly RetainedRange[] {
    return this.#files.map((files) => ({
      incarnation: files.incarnation,
      firstSeq: firstSeqOf(files),
      lastSeq: files.incarnation === this.incarnation ? this.durableSeq : lastSeqOf(files),
    }));
  }

  ackedSeq(incarnation: bigint): number {
    return this.#acked.get(incarnation) ?? 0;
  }

  acknowledge(incarnation: bigint, seq: number): void {
    const range = this.incarnations().find((candidate) => candidate.incarnation === incarnation);
    if (range === undefined || seq <= this.ackedSeq(incarnation)) return;
    if (seq > range.lastSeq) this.#wentBackwards(incarnation, seq, range.lastSeq);
    const known = Math.min(seq, range.lastSeq);
    this.#acked.set(incarnation, known);
    if (incarnation === this.incarnation) this.#recent.acknowledge(known);
    this.#ackUnsaved = true;
    this.#saveAcked(ACK_SAVE_MS);
    this.#deleteAcked(0);
  }

  get dbEpoch(): string {
    return this.#dbEpoch;
  }

  enterEpoch(dbEpoch: string): void {
    if (dbEpoch === this.#dbEpoch) return;
    this.#dbEpoch = dbEpoch;
    this.#ackUnsaved = true;
    this.#saveAcked(0);
  }

  rewind(incarnation: bigint, seq: number): void {
    const known = this.#files.some((candidate) => candidate.incarnation === incarnation);
    if (!known || seq >= this.ackedSeq(incarnation)) return;
    this.#options.alarm('the control plane has less than it acknowledged', { incarnation, seq, ackedSeq: this.ackedSeq(incarnation) });
    this.#acked.set(incarnation, seq);
    this.#ackUnsaved = true;
    this.#saveAcked(0);
  }

  async readFrom(incarnation: bigint, seq: number, limits: BatchLimits): Promise<SpoolBatch | undefined> {
    const files = this.#files.find((candidate) => candidate.incarnation === incarnation);
    const range = this.incarnations().find((candidate) => candidate.incarnation === incarnation);
    if (files === undefined || range === undefined || seq < range.firstSeq || seq > range.lastSeq) return undefined;
    const recent = incarnation === this.incarnation ? this.#recent.batch(seq, range.lastSeq, limits) : undefined;
    return recent ?? readBatch(files, seq, range.lastSeq, limits, this.#disk, this.#options.alarm);
  }

  onDurable(listener: DurableListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Closes what the dead incarnations left open. Repeats harmlessly: until RECOVERED is durable, the next boot does it again. */
  async recover(survey: Survey): Promise<void> {
    for (const incarnation of survey.recovered) this.#recovered.add(incarnation);
    this.#segments.beginFirst();
    const failed: GatewayError[] = [];
    const written: Written = (error) => {
      if (error !== undefined) failed.push(error);
    };
    for (const intent of survey.openIntents) {
      this.#pending.push({ record: { type: 'final', final: recoveredFinal(intent) }, written, error: undefined, seq: 0 });
    }
    for (const incarnation of survey.unrecovered) {
      this.#pending.push({ record: { type: 'recovered', incarnation }, written, error: undefined, seq: 0 });
    }
    this.#flush();
    await this.#segments.sync();
    const [error] = failed;
    if (error !== undefined) throw error;
    if (this.durableSeq < this.lastSeq) throw new Error('the recovery of the spool could not be made durable');
    this.#recovering = false;
    await this.#watch.look();
    this.#deleteAcked(0);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#cancelFlush?.();
    this.#flush();
    this.#closed = true;
    await this.#segments.sync();
    await this.#watch.settled();
    try {
      this.#saveAcked(0);
    } finally {
      this.abandon();
      this.#release();
    }
  }

  /** Lets go of the files as they are. */
  abandon(): void {
    this.#closed = true;
    this.#cancelFlush?.();
    this.#segments.close();
  }

  #closedError(): GatewayError | undefined {
    return this.#closed ? new GatewayError('internal_error', { cause: new Error('the spool is closed') }) : undefined;
  }

  #enqueue(pending: Pending): void {
    this.#pending.push(pending);
    this.#cancelFlush ??= this.#timers.afterTurn(() => this.#flush());
  }

  /** Writes what the turn has gathered, then calls its waiters. */
  #flush(): void {
    this.#cancelFlush = undefined;
    const turn = this.#pending;
    this.#pending = [];
    const entries = turn.filter((entry) => entry.error === undefined);
    if (entries.length > 0) this.#write(entries);
    for (const entry of turn) {
      try {
        entry.written(entry.error, entry.error === undefined ? entry.seq : 0);
      } catch (error) {
        this.#options.alarm('a waiter of the spool threw', { err: error });
      }
    }
    if (!this.#closed) this.#deleteAcked(DELETE_CHECK_MS);
  }

  /** Finals that a file refuses get one more try: in the room that was made, or in another file. */
  #write(entries: readonly Pending[]): void {
    let rest = entries;
    let failures = 0;
    while (rest.length > 0) {
      try {
        rest = this.#writeChunk(rest);
      } catch (cause) {
        failures++;
        this.#options.alarm('the spool could not be written', { err: cause, records: rest.length, lost: failures > 1 });
        if (failures > 1) {
          for (const entry of rest)
            entry.error ??= new GatewayError(entry.record.type === 'intent' ? 'overloaded' : 'internal_error', {
              retryAfterSeconds: 1,
              cause,
            });
          return;
        }
        rest = isDiskFull(cause) ? this.#refuseIntents(rest, cause) : this.#changeFile(rest);
      }
    }
  }

  /** What is left of a full disk belongs to the requests that run. */
  #refuseIntents(entries: readonly Pending[], cause: unknown): readonly Pending[] {
    this.#watch.foundFull();
    this.#deleteAcked(0);
    for (const entry of entries)
      if (entry.record.type === 'intent') entry.error ??= new GatewayError('overloaded', { retryAfterSeconds: 1, cause });
    return entries.filter((entry) => entry.error === undefined);
  }

  #changeFile(entries: readonly Pending[]): readonly Pending[] {
    try {
      this.#segments.replaceSuspect();
    } catch (error) {
      this.#options.alarm('the spool could not begin another segment', { err: error });
    }
    return entries;
  }

  /** Writes the first records, as many as fit one write; returns the others. Throws what the disk throws. */
  #writeChunk(entries: readonly Pending[]): readonly Pending[] {
    const { roomBytes, salt } = this.#segments;
    const writer = this.#writer;
    writer.truncate(0);
    const taken: { readonly entry: Pending; readonly bytes: number }[] = [];
    let seq = this.#segments.writtenSeq;
    let lastAwaitedSeq = 0;
    let index = 0;
    for (; index < entries.length && writer.length < CHUNK_BYTES; index++) {
      const entry = entries[index];
      if (entry === undefined || entry.error !== undefined) continue;
      const start = writer.length;
      try {
        encodeRecord(writer, salt, seq + 1, entry.record);
        if (writer.length - start > this.#limits.recordBytes) throw new RangeError(`a record of ${writer.length - start} bytes`);
      } catch (cause) {
        writer.truncate(start);
        entry.error = new GatewayError('internal_error', { cause });
        continue;
      }
      if (writer.length > roomBytes) {
        writer.truncate(start);
        break;
      }
      seq++;
      entry.seq = seq;
      if (entry.record.type === 'final' || (entry.record.type === 'lease' && this.#leases.isNews(entry.record.lease))) lastAwaitedSeq = seq;
      taken.push({ entry, bytes: writer.length - start });
    }
    if (taken.length > 0) {
      this.#segments.append({ lastSeq: seq, lastAwaitedSeq, bytes: writer.view() });
      for (const { entry, bytes } of taken) this.#apply(entry.seq, entry.record, bytes);
    }
    if (index < entries.length && taken.length === 0) this.#segments.rotate();
    return entries.slice(index);
  }

  #apply(seq: number, record: SpoolRecord, bytes: number): void {
    if (record.type === 'intent') this.#openIntents.set(record.intent.requestId, record.intent);
    else if (record.type === 'recovered') this.#recovered.add(record.incarnation);
    else if (record.type === 'lease') {
      this.#leases.merge(record.lease, this.#options.ids.nowMs());
      this.#recent.add(seq, record, bytes);
    } else if (record.type === 'final') {
      this.#openIntents.delete(record.final.requestId);
      if (record.final.leases.length > 0) this.#leases.charge(record.final.leases, this.#options.ids.nowMs());
      this.#recent.add(seq, record, bytes);
    }
  }

  /** The folder is an older copy of itself, or the control plane errs: the next start takes another spool id and replays. */
  #wentBackwards(incarnation: bigint, seq: number, lastSeq: number): void {
    this.#options.alarm('more was acknowledged than the spool holds', { incarnation, seq, lastSeq });
    if (incarnation !== this.incarnation) renewSpoolId(this.#options.folder, this.#disk, this.#options.ids, this.spoolId);
  }

  #checkpoint(without: readonly Buffer[]): Checkpoint {
    const oldest = this.#files.find((files) => files.segments.length > 0)?.segments[0];
    const nowMs = this.#options.ids.nowMs();
    this.#leases.forget(nowMs - this.#limits.retentionMs, oldest?.header.createdMs ?? nowMs);
    return {
      acked: [...this.#acked].map(([incarnation, seq]) => ({ incarnation, seq })),
      recovered: [...this.#recovered],
      openIntents: [...this.#openIntents.values()],
      leases: this.#leases.without(amountsIn(without)),
    };
  }

  #durable(seq: number, lastAwaitedSeq: number): void {
    this.#durableAwaitedSeq = Math.max(this.#durableAwaitedSeq, lastAwaitedSeq);
    for (const listener of this.#listeners) listener(seq, this.#durableAwaitedSeq);
  }

  #saveAcked(everyMs: number): void {
    const nowMs = this.#options.ids.nowMs();
    if (!this.#ackUnsaved || isRecent(this.#savedAckMs, nowMs, everyMs)) return;
    this.#savedAckMs = nowMs;
    try {
      writeAcked(this.#options.folder, this.#disk, { dbEpoch: this.#dbEpoch, acked: this.#acked });
      this.#ackUnsaved = false;
    } catch (error) {
      this.#options.alarm('acknowledgements could not be saved', { err: error });
    }
  }

  #deleteAcked(everyMs: number): void {
    const nowMs = this.#options.ids.nowMs();
    // Nothing goes before what replaces it is durable.
    if (this.#recovering || isRecent(this.#checkedDeleteMs, nowMs, everyMs)) return;
    this.#checkedDeleteMs = nowMs;
    const retentionMs = this.#watch.full ? 0 : this.#limits.retentionMs;
    for (const gone of deleteAcked(this.#files, this.#acked, nowMs - retentionMs, this.#disk, this.#options.alarm)) {
      this.#acked.delete(gone);
      this.#recovered.delete(gone);
      this.#ackUnsaved = true;
    }
  }
}

/** What the finals among written records took from leases. */
function amountsIn(runs: readonly Buffer[]): LeaseAmount[] {
  const amounts: LeaseAmount[] = [];
  for (const run of runs) {
    walkRecords(run, (type, payload) => {
      if (type === RECORD_TYPE.final) amounts.push(...(summariseFinal(payload)?.leases ?? []));
    });
  }
  return amounts;
}

/** A clock that was set back makes nothing recent. */
function isRecent(thenMs: number, nowMs: number, everyMs: number): boolean {
  return nowMs >= thenMs && nowMs - thenMs < everyMs;
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
}
