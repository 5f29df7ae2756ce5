/**
 * The format of a segment file: a header, then records `len u32 | crc32 u32 | seq u64 | type u8 | payload`.
 *
 * The crc covers seq, type and payload and starts from a salt made of incarnation and segment number, so that bytes
 * left over from another file never pass. A CHECKPOINT, the first record, carries the seq of the record it stands behind.
 */
import { crc32 } from 'node:zlib';
import type { PayloadWriter } from './payload.ts';
import { encodePayload, RECORD_TYPE, type SpoolRecord } from './record.ts';

export const HEADER_BYTES = 96;
export const RECORD_HEADER_BYTES = 17;

const MAGIC = Buffer.from('MRDSPOOL', 'latin1');
const FORMAT_VERSION = 1;
const SPOOL_ID_OFFSET = 46;
const MAX_SPOOL_ID_BYTES = 40;
const CRC_OFFSET = HEADER_BYTES - 4;
const FLAG_SALVAGED = 1;
const KNOWN_TYPES: ReadonlySet<number> = new Set(Object.values(RECORD_TYPE));

export interface SegmentHeader {
  readonly spoolId: string;
  readonly incarnation: bigint;
  /** Place of the incarnation in the order in which they were made: 1, 2, 3 … */
  readonly ordinal: number;
  readonly segment: number;
  /** Seq of the first record that is not a checkpoint. */
  readonly firstSeq: number;
  readonly createdMs: number;
  /** Rewritten after damage: seqs may be missing in it. */
  readonly salvaged: boolean;
}

export function encodeHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt16LE(FORMAT_VERSION, 8);
  bytes.writeUInt16LE(header.salvaged ? FLAG_SALVAGED : 0, 10);
  bytes.writeUInt32LE(header.ordinal, 12);
  bytes.writeBigUInt64LE(header.incarnation, 16);
  bytes.writeUInt32LE(header.segment, 24);
  bytes.writeBigUInt64LE(BigInt(header.firstSeq), 28);
  bytes.writeDoubleLE(header.createdMs, 36);
  const idBytes = Buffer.byteLength(header.spoolId);
  if (idBytes > MAX_SPOOL_ID_BYTES) throw new RangeError(`a spool id of ${idBytes} bytes is over ${MAX_SPOOL_ID_BYTES}`);
  bytes.writeUInt16LE(idBytes, SPOOL_ID_OFFSET - 2);
  bytes.write(header.spoolId, SPOOL_ID_OFFSET);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CRC_OFFSET)), CRC_OFFSET);
  return bytes;
}

/** The header at the start of the bytes; undefined when it is cut, damaged or of another format. */
export function decodeHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < HEADER_BYTES || bytes.compare(MAGIC, 0, MAGIC.length, 0, MAGIC.length) !== 0) return undefined;
  if (bytes.readUInt32LE(CRC_OFFSET) !== crc32(bytes.subarray(0, CRC_OFFSET))) return undefined;
  if (bytes.readUInt16LE(8) !== FORMAT_VERSION) return undefined;
  const idBytes = bytes.readUInt16LE(SPOOL_ID_OFFSET - 2);
  return {
    salvaged: (bytes.readUInt16LE(10) & FLAG_SALVAGED) !== 0,
    ordinal: bytes.readUInt32LE(12),
    incarnation: bytes.readBigUInt64LE(16),
    segment: bytes.readUInt32LE(24),
    firstSeq: Number(bytes.readBigUInt64LE(28)),
    createdMs: bytes.readDoubleLE(36),
    spoolId: bytes.toString('utf8', SPOOL_ID_OFFSET, SPOOL_ID_OFFSET + idBytes),
  };
}

/** Where the crc of a segment's records starts from. */
export function segmentSalt(incarnation: bigint, segment: number): number {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64LE(incarnation, 0);
  bytes.writeUInt32LE(segment, 8);
  return crc32(bytes);
}

/** Appends one whole record; on an error (RangeError) the writer stands where it stood. */
export function encodeRecord(writer: PayloadWriter, salt: number, seq: number, record: SpoolRecord): void {
  const start = writer.skip(8);
  try {
    writer.u53(seq);
    writer.u8(RECORD_TYPE[record.type]);
    encodePayload(writer, record);
  } catch (error) {
    writer.truncate(start);
    throw error;
  }
  const end = writer.length;
  writer.patchU32(start, end - start - RECORD_HEADER_BYTES);
  writer.patchU32(start + 4, crc32(writer.view(start + 8), salt));
}

/** Gives whole, valid records the crcs of another segment, in place. */
export function resalt(records: Buffer, salt: number): void {
  let offset = 0;
  while (offset < records.length) {
    const end = offset + RECORD_HEADER_BYTES + records.readUInt32LE(offset);
    records.writeUInt32LE(crc32(records.subarray(offset + 8, end), salt), offset + 4);
    offset = end;
  }
}

/** Visits whole, valid records, without looking at their crcs. */
export function walkRecords(records: Buffer, visit: (type: number, payload: Buffer) => void): void {
  let offset = 0;
  while (offset < records.length) {
    const payloadStart = offset + RECORD_HEADER_BYTES;
    const end = payloadStart + records.readUInt32LE(offset);
    visit(records[payloadStart - 1] ?? 0, records.subarray(payloadStart, end));
    offset = end;
  }
}

/** Where a record lies in the scanned bytes. */
export interface RecordPlace {
  readonly seq: number;
  readonly type: number;
  readonly start: number;
  readonly payloadStart: number;
  readonly end: number;
}

export interface ScanResult {
  /** End of the last valid record (or `from`): a torn tail begins here. */
  readonly end: number;
  readonly lastSeq: number;
  /** Byte ranges that are no record but have valid records behind them. */
  readonly damaged: readonly { readonly start: number; readonly end: number }[];
  /** Bytes after `end`. */
  readonly tornBytes: number;
}

/**
 * Walks the records in `bytes` from an offset. A place that is no valid record is skipped up to the next valid one
 * (damage); when no valid one follows, it is a torn tail. Seqs only grow; a record whose seq does not is no valid record.
 */
export function scanRecords(bytes: Buffer, from: number, salt: number, afterSeq: number, visit: (place: RecordPlace) => void): ScanResult {
  const damaged: { start: number; end: number }[] = [];
  let offset = from;
  let lastSeq = afterSeq;
  while (offset < bytes.length) {
    let place = recordAt(bytes, offset, salt, lastSeq);
    if (place === undefined) {
      const next = nextRecord(bytes, offset + 1, salt, lastSeq);
      if (next === undefined) break;
      damaged.push({ start: offset, end: next.start });
      place = next;
    }
    visit(place);
    lastSeq = place.seq;
    offset = place.end;
  }
  return { end: offset, lastSeq, damaged, tornBytes: bytes.length - offset };
}

/** The whole, valid record at the offset whose seq may follow `afterSeq`; undefined when there is none. */
export function recordAt(bytes: Buffer, offset: number, salt: number, afterSeq: number): RecordPlace | undefined {
  const payloadStart = offset + RECORD_HEADER_BYTES;
  if (payloadStart > bytes.length) return undefined;
  const type = bytes[payloadStart - 1] ?? 0;
  if (!KNOWN_TYPES.has(type)) return undefined;
  const end = payloadStart + bytes.readUInt32LE(offset);
  if (end > bytes.length) return undefined;
  const seq = bytes.readUInt32LE(offset + 8) + bytes.readUInt32LE(offset + 12) * 0x1_0000_0000;
  if (type === RECORD_TYPE.checkpoint ? seq < afterSeq : seq <= afterSeq) return undefined;
  if (crc32(bytes.subarray(offset + 8, end), salt) !== bytes.readUInt32LE(offset + 4)) return undefined;
  return { seq, type, start: offset, payloadStart, end };
}

/** Records that follow damage are at most this many seqs later: keeps the search from computing crcs over nonsense. */
const MAX_SEQ_JUMP = 2 ** 32;

function nextRecord(bytes: Buffer, from: number, salt: number, afterSeq: number): RecordPlace | undefined {
  for (let offset = from; offset + RECORD_HEADER_BYTES <= bytes.length; offset++) {
    if (!KNOWN_TYPES.has(bytes[offset + RECORD_HEADER_BYTES - 1] ?? 0)) continue;
    const seq = bytes.readUInt32LE(offset + 8) + bytes.readUInt32LE(offset + 12) * 0x1_0000_0000;
    if (seq < afterSeq || seq > afterSeq + MAX_SEQ_JUMP) continue;
    const place = recordAt(bytes, offset, salt, afterSeq);
    if (place !== undefined) return place;
  }
  return undefined;
}
