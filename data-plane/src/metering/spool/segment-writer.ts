/**
 * The current incarnation's files: writes runs of records, makes them durable, begins new segments.
 *
 * States of a record: *written* (write() returned; survives kill -9) → *durable* (fdatasync returned; survives a power
 * cut, may be uploaded). Until it is durable its bytes stay in memory: after a failed fdatasync the kernel may have dropped
 * the pages, so that file is *suspect*, is never synced again, and a new segment takes over from the first seq that is not
 * durable. When that one fails as well the disk is *failing*: records go on into the last file (a write() still outlives a
 * kill), and one more segment is tried each second until one becomes durable. A segment appears under its name only when its header, its checkpoint and the records it takes over are in it.
 */
import { removeLeft, type SpoolDisk, writeAll } from './disk.ts';
import { type IncarnationFiles, type SegmentFile, segmentPath } from './folder.ts';
import { PayloadWriter } from './payload.ts';
import type { Checkpoint } from './record.ts';
import { encodeHeader, encodeRecord, HEADER_BYTES, resalt, type SegmentHeader, segmentSalt } from './segment.ts';
import type { SpoolAlarm } from './survey.ts';
import type { SpoolTimers } from './timers.ts';

/** Records that were written together. */
export interface WrittenRun {
  readonly lastSeq: number;
  /** Highest seq in it of a record that the control plane waits for; 0 when there is none. */
  readonly lastAwaitedSeq: number;
  readonly bytes: Buffer;
}

export interface SegmentWriterOptions {
  readonly disk: SpoolDisk;
  readonly timers: SpoolTimers;
  readonly files: IncarnationFiles;
  readonly spoolId: string;
  readonly segmentBytes: number;
  /** From the start of one fdatasync to the next while records keep coming. */
  readonly syncIntervalMs: number;
  readonly nowMs: () => number;
  /** The state without what these written records did to it, which will stand behind the checkpoint. */
  readonly checkpoint: (without: readonly Buffer[]) => Checkpoint;
  readonly durable: (seq: number, lastAwaitedSeq: number) => void;
  readonly alarm: SpoolAlarm;
}

interface OpenSegment {
  readonly file: SegmentFile;
  readonly fd: number;
  readonly salt: number;
}

const MARK_SPACING_BYTES = 256 * 1024;
/** How long a failing disk is left alone before another segment is tried. */
const RETRY_MS = 1000;
/** How far a segment outgrows its limit before another one is tried again. */
const OVERFILL_BYTES = 2 * 1024 * 1024;

export class SegmentWriter {
  readonly #options: SegmentWriterOptions;
  /** Segments with bytes that are not durable, the current one last. */
  #open: OpenSegment[] = [];
  #undurable: WrittenRun[] = [];
  #undurableBytes = 0;
  #writtenSeq = 0;
  #durableSeq = 0;
  #suspect = false;
  /** Since the last fdatasync that succeeded. */
  #failedSyncs = 0;
  #cancelRetry: (() => void) | undefined;
  #limitBytes: number;
  #syncing: Promise<void> | undefined;
  /** Prevents the sync that is due next. */
  #cancelSync: (() => void) | undefined;
  #syncedAtMs = 0;
  #syncingSegment: OpenSegment | undefined;

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    this.#limitBytes = options.segmentBytes;
  }

  get writtenSeq(): number {
    return this.#writtenSeq;
  }

  get durableSeq(): number {
    return this.#durableSeq;
  }

  get undurableBytes(): number {
    return this.#undurableBytes;
  }

  /** The current file is suspect and no other one has taken over, or the last two files could not be made durable. */
  get failing(): boolean {
    return this.#suspect || this.#failedSyncs > 1;
  }

  /** What the crcs of the next records start from. */
  get salt(): number {
    return this.#current().salt;
  }

  /** Bytes that still fit the current segment; a segment without records takes any number. */
  get roomBytes(): number {
    const { file } = this.#current();
    if (file.lastSeq < file.header.firstSeq) return Number.POSITIVE_INFINITY;
    return this.#limitBytes - file.bytes;
  }

  /** Begins the first segment; throws what the disk throws. */
  beginFirst(): void {
    this.#begin(1);
  }

  /** Begins a segment behind the last written record. Where the disk does not let it, the present one goes on for a while. */
  rotate(): void {
    try {
      // What a suspect file holds is written again when the next one is tried.
      this.#begin(this.#writtenSeq + 1);
    } catch (error) {
      this.#options.alarm('the spool could not begin another segment', { err: error });
      this.#limitBytes = this.#current().file.bytes + OVERFILL_BYTES;
    }
  }

  /**
   * Leaves a file that failed: all that is not durable is written again into a new segment. Throws what the disk throws;
   * then it is tried again later.
   */
  replaceSuspect(): void {
    this.#suspect = true;
    try {
      this.#begin(this.#durableSeq + 1);
    } catch (error) {
      this.#retryLater();
      throw error;
    }
    this.#suspect = false;
    this.#syncSoon();
  }

  /** Appends records that were encoded with `salt`. Throws what the disk throws; then nothing of them counts. */
  append(run: WrittenRun): void {
    const { file, fd } = this.#current();
    try {
      writeAll(this.#options.disk, fd, run.bytes, file.bytes);
    } catch (error) {
      // Where part of the run was written, the next run is written over it.
      this.#cutTail(file);
      throw error;
    }
    const spaced = file.bytes - (file.marks.at(-1)?.offset ?? HEADER_BYTES) >= MARK_SPACING_BYTES;
    if (spaced) file.marks.push({ seq: this.#writtenSeq + 1, offset: file.bytes });
    file.bytes += run.bytes.length;
    file.lastSeq = run.lastSeq;
    this.#writtenSeq = run.lastSeq;
    // The caller's buffer is filled anew in the next turn.
    this.#undurable.push({ ...run, bytes: Buffer.from(run.bytes) });
    this.#undurableBytes += run.bytes.length;
    this.#syncSoon();
  }

  /** Makes everything durable, without waiting for company; one fdatasync at a time. Resolves when there is nothing left to do or it failed. */
  async sync(): Promise<void> {
    this.#preventSync();
    while (this.#syncable) await this.#syncPass();
  }

  get #syncable(): boolean {
    return this.#durableSeq < this.#writtenSeq && !this.#suspect && this.#open.length > 0;
  }

  /** One pass is under way at most: whoever asks meanwhile waits for it. */
  #syncPass(): Promise<void> {
    this.#syncing ??= this.#syncFirst().finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  /** Lets the records of some turns share one fdatasync. */
  #syncSoon(): void {
    if (this.#cancelSync !== undefined || this.#syncing !== undefined) return;
    const { timers, syncIntervalMs } = this.#options;
    const delayMs = Math.min(syncIntervalMs, Math.max(0, this.#syncedAtMs + syncIntervalMs - timers.monotonicMs()));
    this.#cancelSync = timers.after(delayMs, () => {
      this.#cancelSync = undefined;
      if (!this.#syncable) return;
      void this.#syncPass().then(() => {
        if (this.#syncable) this.#syncSoon();
      });
    });
  }

  #preventSync(): void {
    this.#cancelSync?.();
    this.#cancelSync = undefined;
  }

  /** Closes the files; one that is being synced is closed when that returns. */
  close(): void {
    this.#preventSync();
    this.#cancelRetry?.();
    for (const segment of this.#open) if (segment !== this.#syncingSegment) this.#options.disk.close(segment.fd);
    this.#open = [];
  }

  #current(): OpenSegment {
    const current = this.#open.at(-1);
    if (current === undefined) throw new Error('the spool has no open segment');
    return current;
  }

  #begin(firstSeq: number): void {
    const { disk, files, spoolId, nowMs } = this.#options;
    const segment = (files.segments.at(-1)?.header.segment ?? 0) + 1;
    const header: SegmentHeader = {
      spoolId,
      incarnation: files.incarnation,
      ordinal: files.ordinal,
      segment,
      firstSeq,
      createdMs: nowMs(),
      salvaged: false,
    };
    const salt = segmentSalt(files.incarnation, segment);
    const writer = new PayloadWriter(4096);
    const runs = firstSeq > this.#writtenSeq ? [] : this.#undurable.map((run) => run.bytes);
    encodeRecord(writer, salt, firstSeq - 1, { type: 'checkpoint', checkpoint: this.#options.checkpoint(runs) });
    const takenOver = Buffer.concat(runs);
    resalt(takenOver, salt);
    const bytes = Buffer.concat([encodeHeader(header), writer.view(), takenOver]);
    const path = segmentPath(files.folder, segment);
    removeLeft(disk, `${path}.tmp`);
    const fd = disk.open(`${path}.tmp`, 'wx');
    try {
      writeAll(disk, fd, bytes, 0);
      disk.rename(`${path}.tmp`, path);
    } catch (error) {
      disk.close(fd);
      removeLeft(disk, `${path}.tmp`);
      throw error;
    }
    if (this.#suspect) {
      // One that is being synced is closed when that returns: its number must not go to another file before.
      for (const left of this.#open.splice(0)) if (left !== this.#syncingSegment) disk.close(left.fd);
    }
    for (const older of files.segments) older.lastSeq = Math.min(older.lastSeq, firstSeq - 1);
    const lastSeq = Math.max(this.#writtenSeq, firstSeq - 1);
    const file: SegmentFile = { path, header, lastSeq, bytes: bytes.length, marks: [], durable: false };
    files.segments.push(file);
    this.#open.push({ file, fd, salt });
    this.#limitBytes = this.#options.segmentBytes;
  }

  /** Syncs the oldest open segment. Never rejects. */
  async #syncFirst(): Promise<void> {
    const segment = this.#open[0];
    if (segment === undefined) return;
    this.#syncedAtMs = this.#options.timers.monotonicMs();
    const seq = this.#open.length === 1 ? this.#writtenSeq : segment.file.lastSeq;
    this.#syncingSegment = segment;
    const error = await this.#syncSegment(segment);
    this.#syncingSegment = undefined;
    if (!this.#open.includes(segment)) {
      // Another segment has taken over meanwhile.
      this.#options.disk.close(segment.fd);
      return;
    }
    if (error !== undefined) {
      this.#failedSyncs++;
      this.#suspect = true;
      this.#options.alarm('the spool could not be made durable', { file: segment.file.path, err: error, failedSyncs: this.#failedSyncs });
      if (this.#failedSyncs === 1) this.#leaveSuspect();
      else this.#retryLater();
      return;
    }
    this.#failedSyncs = 0;
    if (segment !== this.#open.at(-1) && segment.file.lastSeq === seq) {
      this.#options.disk.close(segment.fd);
      this.#open.shift();
    }
    this.#markDurable(seq);
  }

  async #syncSegment(segment: OpenSegment): Promise<unknown> {
    try {
      await this.#options.disk.fdatasync(segment.fd);
      // The folder names it only after a sync of the folder.
      if (!segment.file.durable) await this.#options.disk.syncFolder(this.#options.files.folder);
      segment.file.durable = true;
      return undefined;
    } catch (error) {
      return error ?? new Error('fdatasync failed');
    }
  }

  #leaveSuspect(): void {
    try {
      this.replaceSuspect();
    } catch (error) {
      this.#options.alarm('the spool could not begin another segment', { err: error });
    }
  }

  #retryLater(): void {
    this.#cancelRetry ??= this.#options.timers.after(RETRY_MS, () => {
      this.#cancelRetry = undefined;
      if (this.#suspect && this.#open.length > 0) this.#leaveSuspect();
    });
  }

  #markDurable(seq: number): void {
    let lastAwaitedSeq = 0;
    for (let run = this.#undurable[0]; run !== undefined && run.lastSeq <= seq; run = this.#undurable[0]) {
      lastAwaitedSeq = Math.max(lastAwaitedSeq, run.lastAwaitedSeq);
      this.#undurableBytes -= run.bytes.length;
      this.#undurable.shift();
    }
    if (seq <= this.#durableSeq) return;
    this.#durableSeq = seq;
    this.#options.durable(seq, lastAwaitedSeq);
  }

  #cutTail(file: SegmentFile): void {
    try {
      this.#options.disk.truncate(file.path, file.bytes);
    } catch (error) {
      this.#options.alarm('the torn tail of a spool segment could not be cut', { file: file.path, err: error });
    }
  }
}
