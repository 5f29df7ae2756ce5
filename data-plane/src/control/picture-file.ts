/**
 * The bytes of the picture on disk. Snapshot file: magic, cipher, header (JSON), content, sha256 of all of it.
 * Delta log: magic, cipher, header, crc; then records: length, crc, time of arrival, the delta as it came.
 *
 * `cipher` is 0, for none: entries hold no secret that is not sealed. Whole-file encryption gets its number here, in
 * the only file that knows how either begins and ends.
 */
import { crc32 } from 'node:zlib';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import { z } from 'zod';

export const SNAPSHOT_MAGIC = Buffer.from('MRDPICT1', 'latin1');
export const DELTA_LOG_MAGIC = Buffer.from('MRDDELT1', 'latin1');

/** Trailer of a snapshot file. */
export const SHA256_BYTES = 32;

const CIPHER_NONE = 0;
const MAX_HEADER_BYTES = 64 * 1024;
const PREAMBLE_BYTES = 8 + 1 + 4;
const RECORD_PREAMBLE_BYTES = 4 + 4;
const TIME_BYTES = 8;
/** No delta is larger than a message between the planes. */
const MAX_RECORD_BYTES = 8 * 1024 * 1024 + TIME_BYTES;

const revision = z.int().min(0).optional();

const headerSchema = z.object({
  db_epoch: z.string(),
  heads: z.object({ security: revision, customer: revision, catalog: revision }),
  saved_at_ms: z.number(),
});

export interface PictureHeader {
  readonly dbEpoch: string;
  /** Where the lanes stood: what comes after them is in the delta log of the same generation. */
  readonly heads: LaneRevisions;
  readonly savedAtMs: number;
}

export function encodeHeader(magic: Buffer, header: PictureHeader): Buffer {
  const json = Buffer.from(JSON.stringify({ db_epoch: header.dbEpoch, heads: header.heads, saved_at_ms: header.savedAtMs }));
  const preamble = Buffer.alloc(PREAMBLE_BYTES);
  magic.copy(preamble);
  preamble.writeUInt8(CIPHER_NONE, 8);
  preamble.writeUInt32LE(json.length, 9);
  return Buffer.concat([preamble, json]);
}

/** The header at the start of a file and where it ends; undefined when it is not one that this build can read. */
export function decodeHeader(magic: Buffer, bytes: Buffer): { readonly header: PictureHeader; readonly end: number } | undefined {
  if (bytes.length < PREAMBLE_BYTES || !bytes.subarray(0, 8).equals(magic) || bytes[8] !== CIPHER_NONE) return undefined;
  const end = PREAMBLE_BYTES + bytes.readUInt32LE(9);
  if (end > bytes.length || end > MAX_HEADER_BYTES) return undefined;
  const parsed = headerSchema.safeParse(parseJson(bytes.subarray(PREAMBLE_BYTES, end)));
  if (!parsed.success) return undefined;
  const { security, customer, catalog } = parsed.data.heads;
  const heads: LaneRevisions = {
    ...(security === undefined ? {} : { security }),
    ...(customer === undefined ? {} : { customer }),
    ...(catalog === undefined ? {} : { catalog }),
  };
  return { header: { dbEpoch: parsed.data.db_epoch, heads, savedAtMs: parsed.data.saved_at_ms }, end };
}

/** Bytes that certainly hold a header. */
export const HEADER_READ_BYTES = MAX_HEADER_BYTES;

export interface DeltaRecord {
  readonly receivedAtMs: number;
  /** An encoded Delta. */
  readonly delta: Uint8Array;
}

export function encodeDeltaLogHeader(header: PictureHeader): Buffer {
  const bytes = encodeHeader(DELTA_LOG_MAGIC, header);
  const crc = Buffer.alloc(4);
  crc.writeUInt32LE(crc32(bytes));
  return Buffer.concat([bytes, crc]);
}

export function encodeDeltaRecord(record: DeltaRecord): Buffer {
  const bytes = Buffer.alloc(RECORD_PREAMBLE_BYTES + TIME_BYTES + record.delta.length);
  bytes.writeUInt32LE(TIME_BYTES + record.delta.length, 0);
  bytes.writeDoubleLE(record.receivedAtMs, RECORD_PREAMBLE_BYTES);
  bytes.set(record.delta, RECORD_PREAMBLE_BYTES + TIME_BYTES);
  bytes.writeUInt32LE(crc32(bytes.subarray(RECORD_PREAMBLE_BYTES)), 4);
  return bytes;
}

export interface DeltaLog {
  readonly header: PictureHeader;
  /** Up to the first record that is cut or damaged. */
  readonly records: readonly DeltaRecord[];
  /** Where each record ends in the file; cutting the file at the last one leaves a sound log. */
  readonly ends: readonly number[];
  readonly recordsStart: number;
}

/** Reads a log as far as it is sound; undefined when not even its header is. */
export function decodeDeltaLog(bytes: Buffer): DeltaLog | undefined {
  const found = decodeHeader(DELTA_LOG_MAGIC, bytes);
  if (found === undefined || bytes.length < found.end + 4) return undefined;
  if (bytes.readUInt32LE(found.end) !== crc32(bytes.subarray(0, found.end))) return undefined;
  const records: DeltaRecord[] = [];
  const ends: number[] = [];
  const recordsStart = found.end + 4;
  let at = recordsStart;
  while (bytes.length - at >= RECORD_PREAMBLE_BYTES) {
    const length = bytes.readUInt32LE(at);
    const start = at + RECORD_PREAMBLE_BYTES;
    if (length < TIME_BYTES || length > MAX_RECORD_BYTES || start + length > bytes.length) break;
    const payload = bytes.subarray(start, start + length);
    if (crc32(payload) !== bytes.readUInt32LE(at + 4)) break;
    records.push({ receivedAtMs: payload.readDoubleLE(0), delta: payload.subarray(TIME_BYTES) });
    at = start + length;
    ends.push(at);
  }
  return { header: found.header, records, ends, recordsStart };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
