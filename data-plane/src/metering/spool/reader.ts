/** Reads finals and leases for the upload: whole runs of seqs, from one place in an incarnation up to what is durable. */
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Final } from '@meridian/domain/usage-record';
import type { SpoolDisk } from './disk.ts';
import type { IncarnationFiles, SegmentFile } from './folder.ts';
import { decodePayload, RECORD_TYPE, type SpoolRecord } from './record.ts';
import { HEADER_BYTES, RECORD_HEADER_BYTES, scanRecords, segmentSalt } from './segment.ts';
import type { SpoolAlarm } from './survey.ts';

/** All that needs uploading of the seqs firstSeq … lastSeq. */
export interface SpoolBatch {
  readonly incarnation: bigint;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly finals: readonly { readonly seq: number; readonly final: Final }[];
  readonly leases: readonly { readonly seq: number; readonly lease: LeaseRecord }[];
}

export interface BatchLimits {
  readonly maxRecords: number;
  /** Of finals and leases, as they lie in the spool. */
  readonly maxBytes: number;
}

const WINDOW_BYTES = 256 * 1024;
/** A batch of few finals among many other records ends after this much reading. */
const MAX_READ_BYTES = 8 * 1024 * 1024;

/** The run that begins at `fromSeq` and ends at `upToSeq` at the latest; undefined when there is nothing to cover. */
export async function readBatch(
  files: IncarnationFiles,
  fromSeq: number,
  upToSeq: number,
  limits: BatchLimits,
  disk: SpoolDisk,
  alarm: SpoolAlarm,
): Promise<SpoolBatch | undefined> {
  const batch = {
    incarnation: files.incarnation,
    firstSeq: fromSeq,
    lastSeq: fromSeq - 1,
    finals: [] as { seq: number; final: Final }[],
    leases: [] as { seq: number; lease: LeaseRecord }[],
  };
  const budget = { records: limits.maxRecords, bytes: limits.maxBytes, readBytes: MAX_READ_BYTES, disk, alarm };
  for (const segment of [...files.segments]) {
    const endSeq = Math.min(segment.lastSeq, upToSeq);
    if (endSeq <= batch.lastSeq) continue;
    const finished = await readSegmentRun(segment, endSeq, batch, budget);
    if (!finished) break;
    // Seqs that are missing at the end of a damaged file are covered, as lost.
    batch.lastSeq = endSeq;
    if (endSeq === upToSeq) break;
  }
  return batch.lastSeq < fromSeq ? undefined : batch;
}

interface OpenBatch {
  lastSeq: number;
  readonly finals: { seq: number; final: Final }[];
  readonly leases: { seq: number; lease: LeaseRecord }[];
}

interface Budget {
  records: number;
  bytes: number;
  readBytes: number;
  readonly disk: SpoolDisk;
  readonly alarm: SpoolAlarm;
}

/** False when a limit ended the run before `endSeq`. */
async function readSegmentRun(segment: SegmentFile, endSeq: number, batch: OpenBatch, budget: Budget): Promise<boolean> {
  const salt = segmentSalt(segment.header.incarnation, segment.header.segment);
  const mark = segment.marks.findLast((candidate) => candidate.seq <= batch.lastSeq + 1);
  let offset = mark?.offset ?? HEADER_BYTES;
  let afterSeq = (mark?.seq ?? segment.header.firstSeq) - 1;
  let windowBytes = WINDOW_BYTES;
  const fd = budget.disk.open(segment.path, 'r');
  try {
    while (afterSeq < endSeq && offset < segment.bytes) {
      const wanted = Math.min(windowBytes, segment.bytes - offset);
      const buffer = Buffer.allocUnsafe(wanted);
      const bytesRead = await budget.disk.read(fd, buffer, 0, wanted, offset);
      const window = buffer.subarray(0, bytesRead);
      let limited = false;
      const result = scanRecords(window, 0, salt, afterSeq, (place) => {
        if (limited || place.seq <= batch.lastSeq || place.seq > endSeq) return;
        if (place.type === RECORD_TYPE.final || place.type === RECORD_TYPE.lease) {
          const bytes = place.end - place.payloadStart;
          if (batch.finals.length + batch.leases.length > 0 && (budget.records === 0 || budget.bytes < bytes)) {
            limited = true;
            return;
          }
          budget.records--;
          budget.bytes -= bytes;
          const decoded = decodePayload(place.type, window.subarray(place.payloadStart, place.end));
          if (!decoded.ok || !addTo(batch, place.seq, decoded.record))
            budget.alarm('a spool record cannot be uploaded', {
              file: segment.path,
              seq: place.seq,
              reason: decoded.ok ? '' : decoded.reason,
            });
        }
        if (place.type !== RECORD_TYPE.checkpoint) batch.lastSeq = place.seq;
      });
      if (limited) return false;
      if (result.damaged.length > 0) budget.alarm('a spool segment is damaged', { file: segment.path, offset, ranges: result.damaged });
      budget.readBytes -= result.end;
      if (result.end === 0 && bytesRead < segment.bytes - offset) {
        windowBytes *= 2;
        continue;
      }
      if (result.end === 0) {
        budget.alarm('a spool segment is damaged', {
          file: segment.path,
          offset,
          bytes: bytesRead,
          recordHeaderBytes: RECORD_HEADER_BYTES,
        });
        return true;
      }
      afterSeq = result.lastSeq;
      offset += result.end;
      if (budget.readBytes <= 0 && batch.lastSeq < endSeq) return false;
    }
    return true;
  } finally {
    budget.disk.close(fd);
  }
}

/** False for a record that is not for the control plane. */
function addTo(batch: OpenBatch, seq: number, record: SpoolRecord): boolean {
  if (record.type === 'final') batch.finals.push({ seq, final: record.final });
  else if (record.type === 'lease') batch.leases.push({ seq, lease: record.lease });
  else return false;
  return true;
}
