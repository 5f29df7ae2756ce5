/**
 * What a spool folder holds, read without its lock and without changing anything, so that it may be in use. All of it is
 * read, also what is acknowledged, and every payload is decoded.
 */
import path from 'node:path';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Intent } from '@meridian/domain/usage-record';
import { readPart, type SpoolDisk } from './disk.ts';
import { incarnationFolder, knownSpoolIds, listIncarnations, readAcked, segmentPath } from './folder.ts';
import { FolderState, type Origin } from './folder-state.ts';
import { decodePayload, RECORD_TYPE, type SpoolRecord } from './record.ts';
import { decodeHeader, HEADER_BYTES, type RecordPlace, type SegmentHeader, scanRecords, segmentSalt } from './segment.ts';

type RecordCounts = Record<SpoolRecord['type'], number>;

export interface SegmentReport {
  readonly file: string;
  readonly bytes: number;
  /** Undefined where the header cannot be read. */
  readonly createdMs: number | undefined;
  readonly headerDamaged: boolean;
  /** Written anew by a start that found damage: what was lost then is lost, and counts as damage no more. */
  readonly salvaged: boolean;
  readonly firstSeq: number;
  /** Last seq that counts in this file; firstSeq − 1 when there is none. */
  readonly lastSeq: number;
  readonly records: Readonly<RecordCounts>;
  /** Of the checkpoint that it begins with; undefined where there is none that can be read. */
  readonly checkpoint: { readonly openIntents: number; readonly leases: number } | undefined;
  readonly damaged: readonly { readonly start: number; readonly end: number }[];
  /** Seqs at the end that the next segment implies and that are not there. */
  readonly missing: { readonly firstSeq: number; readonly lastSeq: number } | undefined;
  /** Behind the last whole record: a write that was cut off, or one that is under way. */
  readonly tornBytes: number;
  readonly unreadable: readonly { readonly seq: number; readonly type: number; readonly reason: string }[];
}

export interface IncarnationReport {
  /** 16 hexadecimal digits. */
  readonly incarnation: string;
  readonly ordinal: number;
  readonly spoolId: string;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly ackedSeq: number;
  /** A later one has closed its open requests. */
  readonly recovered: boolean;
  readonly segments: readonly SegmentReport[];
  /** Files that a start has set aside as it found them. */
  readonly setAside: readonly string[];
}

export interface ChargeSums {
  readonly finals: number;
  readonly chargeNano: bigint;
  readonly costNano: bigint;
  readonly unackedFinals: number;
  readonly unackedChargeNano: bigint;
}

export interface FolderReport {
  readonly folder: string;
  /** Undefined where the file cannot be read. */
  readonly spoolId: string | undefined;
  readonly replacesSpoolId: string | undefined;
  readonly incarnations: readonly IncarnationReport[];
  /** Of incarnations that nobody has recovered: requests that run, or that the next start closes. */
  readonly openIntents: readonly (Intent & { readonly incarnation: string })[];
  readonly leases: readonly LeaseRecord[];
  readonly charges: ChargeSums;
  /** Something is lost or cannot be read, and no start has set it aside yet. A torn end of an incarnation is none. */
  readonly damaged: boolean;
}

/** One record, in the order in which the folder's add up. */
export type RecordVisitor = (incarnation: string, seq: number, record: SpoolRecord) => void;

interface FoundSegment {
  readonly file: string;
  readonly number: number;
  readonly bytes: Buffer;
  readonly header: SegmentHeader | undefined;
  readonly firstSeq: number;
  lastSeq: number;
}

interface FoundIncarnation extends Origin {
  readonly ordinal: number;
  readonly folder: string;
  readonly numbers: readonly number[];
}

/** Throws what the disk throws, but for files that the spool deletes meanwhile. `nowMs` dates leases that have no date. */
export function inspectFolder(folder: string, disk: SpoolDisk, nowMs: number, visit?: RecordVisitor): FolderReport {
  const ids = knownSpoolIds(folder, disk);
  const { acked } = readAcked(folder, disk);
  const state = new FolderState(ids ?? { current: '', former: undefined }, nowMs);
  const sums = { finals: 0, chargeNano: 0n, costNano: 0n, unackedFinals: 0, unackedChargeNano: 0n };
  const found = listIncarnations(folder, disk)
    .map((incarnation) => findIncarnation(folder, incarnation, disk))
    .sort((a, b) => a.ordinal - b.ordinal);
  const incarnations = found.map((origin) => {
    const ackedSeq = acked.get(origin.incarnation) ?? 0;
    const name = nameOf(origin.incarnation);
    const take = (seq: number, record: SpoolRecord) => {
      addTo(state, origin, record);
      if (record.type === 'final') addCharges(sums, record, seq > ackedSeq);
      visit?.(name, seq, record);
    };
    return { ...inspectIncarnation(origin, disk, take), ackedSeq };
  });
  const reports = incarnations.map((report, index) => ({
    ...report,
    recovered: state.recovered.has(found[index]?.incarnation ?? 0n),
  }));
  return {
    folder,
    spoolId: ids?.current,
    replacesSpoolId: ids?.former,
    incarnations: reports,
    openIntents: found
      .filter((origin) => !state.recovered.has(origin.incarnation))
      .flatMap((origin) => state.openIntents(origin.incarnation).map((intent) => ({ ...intent, incarnation: nameOf(origin.incarnation) }))),
    leases: state.leases.list(),
    charges: sums,
    damaged: reports.some((report) => report.segments.some(isDamaged)),
  };
}

function isDamaged(segment: SegmentReport): boolean {
  return segment.headerDamaged || segment.damaged.length > 0 || segment.missing !== undefined || segment.unreadable.length > 0;
}

function nameOf(incarnation: bigint): string {
  return incarnation.toString(16).padStart(16, '0');
}

function addTo(state: FolderState, origin: Origin, record: SpoolRecord): void {
  if (record.type === 'intent') state.intent(origin, record.intent);
  else if (record.type === 'final') state.final(origin, record.final);
  else if (record.type === 'lease') state.lease(origin, record.lease);
  else if (record.type === 'recovered') state.recovered.add(record.incarnation);
  else state.checkpoint(origin, record.checkpoint);
}

function addCharges(
  sums: { -readonly [Name in keyof ChargeSums]: ChargeSums[Name] },
  { final }: Extract<SpoolRecord, { readonly type: 'final' }>,
  unacked: boolean,
): void {
  sums.finals++;
  sums.chargeNano += final.chargeNano;
  for (const attempt of final.attempts) sums.costNano += attempt.costNano;
  if (!unacked) return;
  sums.unackedFinals++;
  sums.unackedChargeNano += final.chargeNano;
}

function findIncarnation(folder: string, incarnation: bigint, disk: SpoolDisk): FoundIncarnation {
  const own = incarnationFolder(folder, incarnation);
  const numbers = disk
    .list(own)
    .filter((name) => /^\d{8}\.seg$/.test(name))
    .map((name) => Number(name.slice(0, 8)))
    .sort((a, b) => a - b);
  let header: SegmentHeader | undefined;
  for (const number of numbers) {
    header ??= unlessGone(() => decodeHeader(readPart(disk, segmentPath(own, number), 0, HEADER_BYTES)));
  }
  return { incarnation, spoolId: header?.spoolId ?? '', ordinal: header?.ordinal ?? 0, folder: own, numbers };
}

function inspectIncarnation(origin: FoundIncarnation, disk: SpoolDisk, take: (seq: number, record: SpoolRecord) => void) {
  const bounds = origin.numbers.flatMap((number) => unlessGone(() => findSegment(origin, number, disk)) ?? []);
  let nextFirstSeq = Number.POSITIVE_INFINITY;
  for (const segment of bounds.toReversed()) {
    // One that was written anew from an earlier seq on takes the place of what lies behind it.
    segment.lastSeq = nextFirstSeq - 1;
    nextFirstSeq = Math.min(nextFirstSeq, segment.firstSeq);
  }
  const segments = bounds.flatMap(
    (segment) => unlessGone(() => inspectSegment(origin, { ...segment, bytes: disk.readFile(segment.file) }, take)) ?? [],
  );
  return {
    incarnation: nameOf(origin.incarnation),
    ordinal: origin.ordinal,
    spoolId: origin.spoolId,
    firstSeq: segments.length === 0 ? 1 : Math.min(...segments.map((segment) => segment.firstSeq)),
    lastSeq: segments.at(-1)?.lastSeq ?? 0,
    segments,
    setAside: disk.list(origin.folder).filter((name) => name.endsWith('.damaged')),
  };
}

/** Where the segment begins; without a valid header its first record tells, and the name tells the salt. */
function findSegment(origin: FoundIncarnation, number: number, disk: SpoolDisk): Omit<FoundSegment, 'bytes'> {
  const file = segmentPath(origin.folder, number);
  const header = decodeHeader(readPart(disk, file, 0, HEADER_BYTES));
  if (header !== undefined && header.incarnation === origin.incarnation && header.segment === number) {
    return { file, number, header, firstSeq: header.firstSeq, lastSeq: 0 };
  }
  const bytes = disk.readFile(file);
  let first: RecordPlace | undefined;
  scanRecords(bytes, Math.min(HEADER_BYTES, bytes.length), segmentSalt(origin.incarnation, number), 0, (place) => {
    first ??= place;
  });
  const firstSeq = first === undefined ? Number.POSITIVE_INFINITY : first.type === RECORD_TYPE.checkpoint ? first.seq + 1 : first.seq;
  return { file, number, header: undefined, firstSeq, lastSeq: 0 };
}

function inspectSegment(origin: Origin, segment: FoundSegment, take: (seq: number, record: SpoolRecord) => void): SegmentReport {
  const { bytes, header, firstSeq } = segment;
  const readable = Number.isFinite(firstSeq);
  const records: RecordCounts = { intent: 0, final: 0, lease: 0, checkpoint: 0, recovered: 0 };
  const unreadable: { seq: number; type: number; reason: string }[] = [];
  let checkpoint: SegmentReport['checkpoint'];
  let lastSeq = firstSeq - 1;
  const salt = segmentSalt(origin.incarnation, segment.number);
  const result = scanRecords(bytes, Math.min(HEADER_BYTES, bytes.length), salt, readable ? firstSeq - 1 : 0, (place) => {
    if (place.seq > segment.lastSeq) return;
    const decoded = decodePayload(place.type, bytes.subarray(place.payloadStart, place.end));
    if (place.type !== RECORD_TYPE.checkpoint) lastSeq = place.seq;
    if (!decoded.ok) {
      unreadable.push({ seq: place.seq, type: place.type, reason: decoded.reason });
      return;
    }
    const { record } = decoded;
    records[record.type]++;
    if (record.type === 'checkpoint') {
      checkpoint = { openIntents: record.checkpoint.openIntents.length, leases: record.checkpoint.leases?.length ?? 0 };
    }
    take(place.seq, record);
  });
  const sealed = Number.isFinite(segment.lastSeq);
  const gap = sealed && lastSeq < segment.lastSeq && header?.salvaged !== true && readable;
  return {
    file: segment.file,
    bytes: bytes.length,
    createdMs: header?.createdMs,
    headerDamaged: header === undefined,
    salvaged: header?.salvaged ?? false,
    firstSeq: readable ? firstSeq : 0,
    lastSeq: readable ? (sealed ? segment.lastSeq : lastSeq) : -1,
    records,
    checkpoint,
    damaged: result.damaged,
    missing: gap ? { firstSeq: lastSeq + 1, lastSeq: segment.lastSeq } : undefined,
    tornBytes: result.tornBytes,
    unreadable,
  };
}

/** The spool deletes old segments while they are looked at. */
function unlessGone<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The file's name within the spool's folder. */
export function shortName(report: SegmentReport): string {
  return path.basename(report.file);
}
