/**
 * Reads a spool folder at start: what it retains, which requests were open when an incarnation died, how its leases stand.
 * Mends what it finds: a torn tail is cut, a damaged file is set aside and its good records written anew, and
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
import { FolderState } from './folder-state.ts';
import type { SpoolLeases } from './lease-counters.ts';
import { decodePayload, RECORD_TYPE, requestIdOf, summariseFinal } from './record.ts';
import {
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  RECORD_HEADER_BYTES,
  type RecordPlace,
  recordAt,
  type ScanResult,
  type SegmentHeader,
  scanRecords,
  segmentSalt,
} from './segment.ts';

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
  readonly folder: FolderState;
}

/** `acked` is what is known of acknowledgements. Throws what the disk throws. */
export function surveyFolder(
  folder: string,
  ids: SpoolIds,
  disk: SpoolDisk,
  acked: Map<bigint, number>,
  nowMs: number,
  alarm: SpoolAlarm,
): Survey {
  const state: SurveyState = { disk, alarm, acked, folder: new FolderState(ids, nowMs) };
  const incarnations: IncarnationFiles[] = [];
  for (const incarnation of listIncarnations(folder, disk)) {
    const files = openIncarnation(state, incarnationFolder(folder, incarnation), incarnation);
    if (files !== undefined) incarnations.push(files);
  }
  incarnations.sort((a, b) => a.ordinal - b.ordinal);
  for (const files of incarnations) readIncarnation(state, files);
  const { recovered, leases } = state.folder;
  const open = incarnations.filter((files) => !recovered.has(files.incarnation));
  for (const files of open) syncSegments(state, files);
  // Those behind the first died while they closed the requests of one before them.
  for (const files of open.slice(1)) closeByFinals(state, files);
  const openIntents = open.flatMap((files) => state.folder.openIntents(files.incarnation));
  return { incarnations, acked, recovered, openIntents, unrecovered: open.map((files) => files.incarnation), leases };
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
    segments.push({ path: file, header, lastSeq: header.firstSeq - 1, bytes: state.disk.size(file), marks: [], durable: true });
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

/** Takes the state from the last checkpoint on; of what lies before it, looks at what is still to be uploaded for damage. */
function readIncarnation(state: SurveyState, files: IncarnationFiles): void {
  const ackedSeq = state.acked.get(files.incarnation) ?? 0;
  let start = files.segments.length - 1;
  while (start > 0 && !beginsWithCheckpoint(state, files.segments[start])) start--;
  for (const [index, segment] of files.segments.entries()) {
    if (index < start && segment.lastSeq > ackedSeq) checkSegment(state, segment, false);
    else if (index >= start) readSegment(state, files, segment, index === files.segments.length - 1);
  }
}

/** Closes requests by finals that lie before the last checkpoint as well. */
function closeByFinals(state: SurveyState, files: IncarnationFiles): void {
  for (const segment of files.segments) {
    const bytes = state.disk.readFile(segment.path);
    scanRecords(bytes, HEADER_BYTES, saltOf(segment), segment.header.firstSeq - 1, (place) => {
      const requestId = place.type === RECORD_TYPE.final ? requestIdOf(payloadOf(bytes, place)) : undefined;
      if (requestId !== undefined && place.seq <= segment.lastSeq) state.folder.close(requestId);
    });
  }
}

/** Whether the first record is a CHECKPOINT that can be read. */
function beginsWithCheckpoint(state: SurveyState, segment: SegmentFile | undefined): boolean {
  if (segment === undefined) return false;
  const length = readPart(state.disk, segment.path, HEADER_BYTES, 4);
  if (length.length < 4) return false;
  const bytes = readPart(state.disk, segment.path, HEADER_BYTES, Math.min(segment.bytes, RECORD_HEADER_BYTES + length.readUInt32LE(0)));
  const place = recordAt(bytes, 0, saltOf(segment), segment.header.firstSeq - 1);
  return place?.type === RECORD_TYPE.checkpoint && decodePayload(place.type, payloadOf(bytes, place)).ok;
}

function readSegment(state: SurveyState, files: IncarnationFiles, segment: SegmentFile, last: boolean): void {
  const opened: OpenPlaces = new Map();
  const upToSeq = segment.lastSeq;
  const bytes = checkSegment(state, segment, last, (place, payload) => {
    if (place.seq <= upToSeq) applyRecord(state, files, segment, place, payload, opened);
  });
  applyOpened(state, files, segment, bytes, opened);
}

/** Finds where reading may start in a segment, and mends it; gives its bytes as they were found. */
function checkSegment(
  state: SurveyState,
  segment: SegmentFile,
  last: boolean,
  visit?: (place: RecordPlace, payload: Buffer) => void,
): Buffer {
  const bytes = state.disk.readFile(segment.path);
  const upToSeq = segment.lastSeq;
  let markedOffset = HEADER_BYTES;
  const result = scanSegment(segment, bytes, (place) => {
    if (place.start - markedOffset >= MARK_SPACING_BYTES && place.seq <= upToSeq) {
      segment.marks.push({ seq: place.seq, offset: place.start });
      markedOffset = place.start;
    }
    visit?.(place, payloadOf(bytes, place));
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
    const places: RecordPlace[] = [];
    scanSegment(segment, bytes, (place) => places.push(place));
    rewriteSegment(state, segment.path, segment.header, bytes, places);
    segment.bytes = state.disk.size(segment.path);
    segment.marks.length = 0;
  } else if (result.tornBytes > 0) {
    state.disk.truncate(segment.path, result.end);
  }
  return bytes;
}

function scanSegment(segment: SegmentFile, bytes: Buffer, visit: (place: RecordPlace) => void): ScanResult {
  return scanRecords(bytes, HEADER_BYTES, saltOf(segment), segment.header.firstSeq - 1, visit);
}

/** Intents of the segment that is being read and that no final has followed yet: most are never decoded. */
type OpenPlaces = Map<string, RecordPlace>;

function applyRecord(
  state: SurveyState,
  files: IncarnationFiles,
  segment: SegmentFile,
  place: RecordPlace,
  payload: Buffer,
  opened: OpenPlaces,
): void {
  if (place.type === RECORD_TYPE.intent) {
    const requestId = requestIdOf(payload);
    if (requestId !== undefined) opened.set(requestId, place);
    else alarmUnreadable(state, segment, place, 'the payload ends too early');
    return;
  }
  if (place.type === RECORD_TYPE.final) {
    const summary = summariseFinal(payload);
    if (summary === undefined) {
      alarmUnreadable(state, segment, place, 'the payload ends too early');
      return;
    }
    opened.delete(summary.requestId);
    state.folder.final(files, summary);
    return;
  }
  const decoded = decodePayload(place.type, payload);
  if (!decoded.ok) {
    alarmUnreadable(state, segment, place, decoded.reason);
    return;
  }
  const { record } = decoded;
  if (record.type === 'recovered') state.folder.recovered.add(record.incarnation);
  else if (record.type === 'lease') state.folder.lease(files, record.lease);
  else if (record.type === 'checkpoint') state.folder.checkpoint(files, record.checkpoint);
}

function applyOpened(state: SurveyState, files: IncarnationFiles, segment: SegmentFile, bytes: Buffer, opened: OpenPlaces): void {
  for (const place of opened.values()) {
    const decoded = decodePayload(place.type, payloadOf(bytes, place));
    if (decoded.ok && decoded.record.type === 'intent') state.folder.intent(files, decoded.record.intent);
    else if (!decoded.ok) alarmUnreadable(state, segment, place, decoded.reason);
  }
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
