/**
 * Reads a spool folder at start: what it retains, which requests were open when an incarnation died, what is not
 * acknowledged. Mends what it finds: a torn tail is cut, a damaged file is set aside and its good records written anew, and
 * what a killed process had written but not synced is made durable, as it is taken for durable from then on.
 */
import type { Intent } from '@meridian/domain/usage-record';
import { readPart, type SpoolDisk, writeDurableFile } from './disk.ts';
import {
  type IncarnationFiles,
  incarnationFolder,
  listIncarnations,
  listSegments,
  type SegmentFile,
  type SpoolIds,
  segmentPath,
} from './folder.ts';
import { SpoolLeases } from './lease-counters.ts';
import { type Checkpoint, decodePayload, RECORD_TYPE, summariseFinal } from './record.ts';
import { decodeHeader, encodeHeader, HEADER_BYTES, type RecordPlace, type SegmentHeader, scanRecords, segmentSalt } from './segment.ts';
import type { UnackedCharges } from './unacked-charges.ts';

/** Something an operator has to know: usage may be lost, or the disk is failing. */
export type SpoolAlarm = (message: string, fields: Readonly<Record<string, unknown>>) => void;

export interface Survey {
  /** In the order in which they were made. */
  readonly incarnations: readonly IncarnationFiles[];
  readonly acked: Map<bigint, number>;
  /** Incarnations whose open intents are closed already. */
  readonly recovered: ReadonlySet<bigint>;
  /** Intents without a final in any incarnation, of incarnations that nobody has recovered yet. */
  readonly openIntents: readonly Intent[];
  readonly unrecovered: readonly bigint[];
  /** Of the folder's present id. */
  readonly leases: SpoolLeases;
}

const MARK_SPACING_BYTES = 256 * 1024;

interface SurveyState {
  readonly disk: SpoolDisk;
  readonly alarm: SpoolAlarm;
  readonly acked: Map<bigint, number>;
  readonly recovered: Set<bigint>;
  readonly charges: UnackedCharges;
  /** Open intents of each incarnation by request id. */
  readonly open: Map<bigint, Map<string, Intent>>;
  readonly leases: SpoolLeases;
  readonly ids: SpoolIds;
  readonly nowMs: number;
}

/** `acked` is what is known of acknowledgements; `charges` is filled. Throws what the disk throws. */
export function surveyFolder(
  folder: string,
  ids: SpoolIds,
  disk: SpoolDisk,
  acked: Map<bigint, number>,
  charges: UnackedCharges,
  nowMs: number,
  alarm: SpoolAlarm,
): Survey {
  const leases = new SpoolLeases();
  const state: SurveyState = { disk, alarm, acked, recovered: new Set(), charges, open: new Map(), leases, ids, nowMs };
  const incarnations: IncarnationFiles[] = [];
  for (const incarnation of listIncarnations(folder, disk)) {
    const files = openIncarnation(state, incarnationFolder(folder, incarnation), incarnation);
    if (files !== undefined) incarnations.push(files);
  }
  incarnations.sort((a, b) => a.ordinal - b.ordinal);
  for (const files of incarnations) readIncarnation(state, files);
  for (const [incarnation, seq] of acked) charges.acknowledge(incarnation, seq);
  const unrecovered = incarnations.map((files) => files.incarnation).filter((incarnation) => !state.recovered.has(incarnation));
  for (const files of incarnations) {
    if (!state.recovered.has(files.incarnation)) syncSegments(state, files);
  }
  const openIntents = unrecovered.flatMap((incarnation) => [...(state.open.get(incarnation)?.values() ?? [])]);
  return { incarnations, acked, recovered: state.recovered, openIntents, unrecovered, leases };
}

/** Adds the charges of finals behind `afterSeq`, read from the files at once. */
export function readCharges(files: IncarnationFiles, afterSeq: number, charges: UnackedCharges, disk: SpoolDisk): void {
  for (const segment of files.segments) {
    if (segment.lastSeq <= afterSeq) continue;
    const bytes = disk.readFile(segment.path);
    scanRecords(bytes, HEADER_BYTES, saltOf(segment), segment.header.firstSeq - 1, (place) => {
      if (place.type !== RECORD_TYPE.final || place.seq <= afterSeq || place.seq > segment.lastSeq) return;
      const summary = summariseFinal(payloadOf(bytes, place));
      if (summary !== undefined) charges.add(files.incarnation, place.seq, summary.accountId, summary.chargeNano);
    });
  }
}

function openIncarnation(state: SurveyState, folder: string, incarnation: bigint): IncarnationFiles | undefined {
  const numbers = listSegments(folder, state.disk);
  const headers = numbers.map((number) => decodeHeader(readPart(state.disk, segmentPath(folder, number), 0, HEADER_BYTES)));
  const known = headers.find((header) => header !== undefined);
  const segments: SegmentFile[] = [];
  for (const [index, number] of numbers.entries()) {
    const file = segmentPath(folder, number);
    const found = headers[index];
    const valid = found !== undefined && found.incarnation === incarnation && found.segment === number;
    const header = valid ? found : salvageHeader(state, file, incarnation, number, known);
    if (header === undefined) continue;
    segments.push({ path: file, header, lastSeq: header.firstSeq - 1, bytes: state.disk.size(file), marks: [] });
  }
  let nextFirstSeq = Number.POSITIVE_INFINITY;
  for (const segment of segments.toReversed()) {
    // A segment that was written anew from an earlier seq on takes the place of all that lies behind it.
    segment.lastSeq = nextFirstSeq - 1;
    nextFirstSeq = Math.min(nextFirstSeq, segment.header.firstSeq);
  }
  if (segments.length === 0) {
    if (state.disk.list(folder).length === 0) state.disk.removeFolder(folder);
    return undefined;
  }
  return { incarnation, spoolId: known?.spoolId ?? '', ordinal: known?.ordinal ?? 0, folder, segments };
}

/** A file without a valid header: its name tells the salt, so that its records can still be read. */
function salvageHeader(
  state: SurveyState,
  file: string,
  incarnation: bigint,
  segment: number,
  sibling: SegmentHeader | undefined,
): SegmentHeader | undefined {
  const bytes = state.disk.readFile(file);
  const places: RecordPlace[] = [];
  scanRecords(bytes, Math.min(HEADER_BYTES, bytes.length), segmentSalt(incarnation, segment), 0, (place) => places.push(place));
  const first = places[0];
  if (first === undefined) {
    // Nothing of it was ever on the disk, or nothing of it can be read.
    state.disk.rename(file, `${file}.damaged`);
    state.alarm('a spool segment has no readable header and no readable record', { file, bytes: bytes.length });
    return undefined;
  }
  state.alarm('the header of a spool segment is damaged', { file, records: places.length });
  const header: SegmentHeader = {
    spoolId: sibling?.spoolId ?? '',
    incarnation,
    ordinal: sibling?.ordinal ?? 0,
    segment,
    firstSeq: first.type === RECORD_TYPE.checkpoint ? first.seq + 1 : first.seq,
    createdMs: sibling?.createdMs ?? 0,
    salvaged: true,
  };
  rewriteSegment(state, file, header, bytes, places);
  return header;
}

/** Puts the good records into a new file in place of the old one, which stays beside it as `.damaged`. */
function rewriteSegment(state: SurveyState, file: string, header: SegmentHeader, bytes: Buffer, places: readonly RecordPlace[]): void {
  const parts = [encodeHeader({ ...header, salvaged: true }), ...places.map((place) => bytes.subarray(place.start, place.end))];
  writeDurableFile(state.disk, `${file}.tmp`, Buffer.concat(parts));
  if (!state.disk.exists(`${file}.damaged`)) state.disk.link(file, `${file}.damaged`);
  state.disk.rename(`${file}.tmp`, file);
}

/** A file that cannot be synced is copied into another one. Throws what the disk throws then. */
function syncSegments(state: SurveyState, files: IncarnationFiles): void {
  for (const { path } of files.segments) {
    const fd = state.disk.open(path, 'r+');
    let failed: unknown;
    try {
      state.disk.fdatasyncNow(fd);
    } catch (error) {
      failed = error ?? new Error('fdatasync failed');
    } finally {
      state.disk.close(fd);
    }
    if (failed === undefined) continue;
    state.alarm('a spool segment could not be made durable', { file: path, err: failed });
    const bytes = state.disk.readFile(path);
    writeDurableFile(state.disk, `${path}.tmp`, bytes);
    state.disk.rename(`${path}.tmp`, path);
  }
}

/** Reads from the last checkpoint, or from the first segment that is not acknowledged where that is earlier. */
function readIncarnation(state: SurveyState, files: IncarnationFiles): void {
  const ackedSeq = state.acked.get(files.incarnation) ?? 0;
  const firstUnacked = files.segments.findIndex((segment) => segment.lastSeq > ackedSeq);
  let start = firstUnacked === -1 ? files.segments.length - 1 : firstUnacked;
  while (start > 0 && !beginsWithCheckpoint(state, files.segments[start])) start--;
  for (const [index, segment] of files.segments.entries()) {
    if (index >= start) readSegment(state, files, segment, index === files.segments.length - 1);
  }
}

function beginsWithCheckpoint(state: SurveyState, segment: SegmentFile | undefined): boolean {
  if (segment === undefined) return false;
  let readable = false;
  const bytes = state.disk.readFile(segment.path);
  scanRecords(bytes, HEADER_BYTES, saltOf(segment), segment.header.firstSeq - 1, (place) => {
    if (place.start === HEADER_BYTES)
      readable = place.type === RECORD_TYPE.checkpoint && decodePayload(place.type, payloadOf(bytes, place)).ok;
  });
  return readable;
}

function readSegment(state: SurveyState, files: IncarnationFiles, segment: SegmentFile, last: boolean): void {
  const bytes = state.disk.readFile(segment.path);
  const places: RecordPlace[] = [];
  const upToSeq = segment.lastSeq;
  const result = scanRecords(bytes, HEADER_BYTES, saltOf(segment), segment.header.firstSeq - 1, (place) => {
    places.push(place);
    if (place.seq > upToSeq) return;
    const mark = segment.marks.at(-1)?.offset ?? HEADER_BYTES;
    if (place.type !== RECORD_TYPE.checkpoint && place.start - mark >= MARK_SPACING_BYTES) {
      segment.marks.push({ seq: place.seq, offset: place.start });
    }
    applyRecord(state, files, segment, place, payloadOf(bytes, place));
  });
  if (last) segment.lastSeq = result.lastSeq;
  segment.bytes = result.end;
  const lostSeqs = !last && result.lastSeq < upToSeq && !segment.header.salvaged;
  if (result.damaged.length > 0 || lostSeqs) {
    state.alarm('a spool segment is damaged', {
      file: segment.path,
      ranges: result.damaged,
      lastSeq: result.lastSeq,
      expectedLastSeq: upToSeq,
    });
    rewriteSegment(state, segment.path, segment.header, bytes, places);
    segment.bytes = state.disk.size(segment.path);
    segment.marks.length = 0;
  } else if (result.tornBytes > 0) {
    state.disk.truncate(segment.path, result.end);
  }
}

function applyRecord(state: SurveyState, files: IncarnationFiles, segment: SegmentFile, place: RecordPlace, payload: Buffer): void {
  const { incarnation } = files;
  if (place.type === RECORD_TYPE.final) {
    const summary = summariseFinal(payload);
    if (summary === undefined) {
      alarmUnreadable(state, segment, place, 'the payload ends too early');
      return;
    }
    for (const intents of state.open.values()) intents.delete(summary.requestId);
    if (holdsOwnLeases(state, files)) state.leases.charge(summary.leases, state.nowMs);
    if (place.seq > (state.acked.get(incarnation) ?? 0)) state.charges.add(incarnation, place.seq, summary.accountId, summary.chargeNano);
    return;
  }
  const decoded = decodePayload(place.type, payload);
  if (!decoded.ok) {
    alarmUnreadable(state, segment, place, decoded.reason);
    return;
  }
  const { record } = decoded;
  if (record.type === 'intent') openOf(state, incarnation).set(record.intent.requestId, record.intent);
  else if (record.type === 'recovered') state.recovered.add(record.incarnation);
  else if (record.type === 'lease' && holdsOwnLeases(state, files)) state.leases.merge(record.lease, state.nowMs);
  else if (record.type === 'checkpoint') applyCheckpoint(state, files, record.checkpoint);
}

/** Leases belong to the spool id. A file whose header is gone is of the present one where there never was another. */
function holdsOwnLeases(state: SurveyState, files: IncarnationFiles): boolean {
  return files.spoolId === state.ids.current || (files.spoolId === '' && state.ids.former === undefined);
}

function applyCheckpoint(state: SurveyState, files: IncarnationFiles, checkpoint: Checkpoint): void {
  if (checkpoint.leases !== undefined && holdsOwnLeases(state, files)) state.leases.replace(checkpoint.leases);
  state.open.set(files.incarnation, new Map(checkpoint.openIntents.map((intent) => [intent.requestId, intent])));
  for (const recovered of checkpoint.recovered) state.recovered.add(recovered);
}

function openOf(state: SurveyState, incarnation: bigint): Map<string, Intent> {
  let intents = state.open.get(incarnation);
  if (intents === undefined) {
    intents = new Map();
    state.open.set(incarnation, intents);
  }
  return intents;
}

function alarmUnreadable(state: SurveyState, segment: SegmentFile, place: RecordPlace, reason: string): void {
  state.alarm('a spool record cannot be read', { file: segment.path, seq: place.seq, type: place.type, reason });
}

function saltOf(segment: SegmentFile): number {
  return segmentSalt(segment.header.incarnation, segment.header.segment);
}

function payloadOf(bytes: Buffer, place: RecordPlace): Buffer {
  return bytes.subarray(place.payloadStart, place.end);
}
