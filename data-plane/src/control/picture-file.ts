/**
 * The bytes of the picture on disk, in sealed pieces. Snapshot file: header (JSON), then the content in pieces of one size,
 * the last marked as such. Delta log: header, then a piece for each record: time of arrival, the delta as it came.
 */
import type { FileHandle } from 'node:fs/promises';
import { everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import { z } from 'zod';
import { PIECE_LENGTH_BYTES, PIECE_OVERHEAD_BYTES, PictureCipher, PREAMBLE_BYTES, pieceBytes } from './picture-cipher.ts';

export const SNAPSHOT_MAGIC = Buffer.from('MRDPICT1', 'latin1');
export const DELTA_LOG_MAGIC = Buffer.from('MRDDELT1', 'latin1');

/** What of a snapshot's content is sealed at a time: bounds the memory, and a millisecond holds several. */
const CONTENT_PIECE_BYTES = 256 * 1024;
const MAX_HEADER_BYTES = 64 * 1024;
const TIME_BYTES = 8;
/** No delta is larger than a message between the planes. */
const MAX_RECORD_BYTES = 8 * 1024 * 1024 + TIME_BYTES;

const revision = z.int().min(0).optional();

const headerSchema = z.object({
  db_epoch: z.string(),
  heads: z.object(everyLane(() => revision)),
  saved_at_ms: z.number(),
});

export interface PictureHeader {
  readonly dbEpoch: string;
  /** Where the lanes stood: what comes after them is in the delta log of the same generation. */
  readonly heads: LaneRevisions;
  readonly savedAtMs: number;
}

function headerToJson(header: PictureHeader): Buffer {
  return Buffer.from(JSON.stringify({ db_epoch: header.dbEpoch, heads: header.heads, saved_at_ms: header.savedAtMs }));
}

/** Undefined when it is not one that this build can read. */
export function headerFromJson(bytes: Buffer): PictureHeader | undefined {
  const parsed = headerSchema.safeParse(parseJson(bytes));
  if (!parsed.success) return undefined;
  const heads: Partial<Record<Lane, number>> = {};
  for (const lane of LANES) {
    const rev = parsed.data.heads[lane];
    if (rev !== undefined) heads[lane] = rev;
  }
  return { dbEpoch: parsed.data.db_epoch, heads, savedAtMs: parsed.data.saved_at_ms };
}

/** The whole file of a snapshot, piece by piece. */
export async function* sealSnapshot(
  sealingKey: Uint8Array,
  header: PictureHeader,
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer> {
  const cipher = PictureCipher.ofNewFile(sealingKey, SNAPSHOT_MAGIC);
  yield cipher.preamble;
  yield cipher.seal(0, false, headerToJson(header));
  let position = 1;
  const piece = Buffer.allocUnsafe(CONTENT_PIECE_BYTES);
  let filled = 0;
  for await (const bytes of content) {
    for (let at = 0; at < bytes.length; ) {
      if (filled === piece.length) {
        yield cipher.seal(position++, false, piece);
        filled = 0;
      }
      const count = Math.min(piece.length - filled, bytes.length - at);
      piece.set(bytes.subarray(at, at + count), filled);
      filled += count;
      at += count;
    }
  }
  yield cipher.seal(position, true, piece.subarray(0, filled));
}

/** A snapshot file that is open for reading. */
export class SealedSnapshot {
  readonly header: PictureHeader;
  readonly #cipher: PictureCipher;
  readonly #contentAt: number;

  private constructor(header: PictureHeader, cipher: PictureCipher, contentAt: number) {
    this.header = header;
    this.#cipher = cipher;
    this.#contentAt = contentAt;
  }

  /** Reads the head; undefined when it cannot be opened: sealed under another key, damaged, or of another format. */
  static async open(sealingKey: Uint8Array, file: FileHandle): Promise<SealedSnapshot | undefined> {
    const { size } = await file.stat();
    const cipher = PictureCipher.ofFile(sealingKey, SNAPSHOT_MAGIC, await readAt(file, 0, PREAMBLE_BYTES));
    const piece = cipher === undefined ? undefined : await readPiece(file, PREAMBLE_BYTES, size, MAX_HEADER_BYTES);
    const json = piece === undefined ? undefined : cipher?.open(0, false, piece);
    const header = json === undefined ? undefined : headerFromJson(json);
    if (cipher === undefined || piece === undefined || header === undefined) return undefined;
    return new SealedSnapshot(header, cipher, PREAMBLE_BYTES + piece.length);
  }

  /** Throws where a piece is damaged or missing; what came before it is sound. */
  async *content(file: FileHandle): AsyncGenerator<Uint8Array> {
    const { size } = await file.stat();
    let at = this.#contentAt;
    for (let position = 1; position === 1 || at < size; position++) {
      const piece = await readPiece(file, at, size, CONTENT_PIECE_BYTES);
      // The last one says so: a file that was cut between two pieces does not open.
      const plain = piece === undefined ? undefined : this.#cipher.open(position, at + piece.length === size, piece);
      if (piece === undefined || plain === undefined) throw new Error(`the stored snapshot is damaged at byte ${at}`);
      yield plain;
      at += piece.length;
    }
  }
}

export interface DeltaRecord {
  readonly receivedAtMs: number;
  /** An encoded Delta. */
  readonly delta: Uint8Array;
}

/** A log as it is written: pieces for its end. */
export class DeltaLogSealer {
  readonly #cipher: PictureCipher;
  #position: number;

  private constructor(cipher: PictureCipher, position: number) {
    this.#cipher = cipher;
    this.#position = position;
  }

  /** For a new log; `head` is what the file begins with. */
  static begin(sealingKey: Uint8Array, header: PictureHeader): { readonly head: Buffer; readonly sealer: DeltaLogSealer } {
    const cipher = PictureCipher.ofNewFile(sealingKey, DELTA_LOG_MAGIC);
    return { head: Buffer.concat([cipher.preamble, cipher.seal(0, false, headerToJson(header))]), sealer: new DeltaLogSealer(cipher, 1) };
  }

  /** For a log that holds so many records. */
  static resume(cipher: PictureCipher, recordCount: number): DeltaLogSealer {
    return new DeltaLogSealer(cipher, 1 + recordCount);
  }

  /** The next record. It has to be the next in the file. */
  seal(record: DeltaRecord): Buffer {
    const plain = Buffer.alloc(TIME_BYTES + record.delta.length);
    plain.writeDoubleLE(record.receivedAtMs, 0);
    plain.set(record.delta, TIME_BYTES);
    return this.#cipher.seal(this.#position++, false, plain);
  }
}

export interface DeltaLog {
  readonly header: PictureHeader;
  /** Up to the first record that is cut or damaged. */
  readonly records: readonly DeltaRecord[];
  /** Where each record ends in the file; cutting the file at the last one leaves a sound log. */
  readonly ends: readonly number[];
  readonly recordsStart: number;
  readonly cipher: PictureCipher;
}

/** Reads a log as far as it is sound; undefined when not even its header is. */
export function openDeltaLog(sealingKey: Uint8Array, bytes: Buffer): DeltaLog | undefined {
  const cipher = PictureCipher.ofFile(sealingKey, DELTA_LOG_MAGIC, bytes);
  const head = cipher === undefined ? undefined : pieceAt(bytes, PREAMBLE_BYTES, MAX_HEADER_BYTES);
  const json = head === undefined ? undefined : cipher?.open(0, false, head);
  const header = json === undefined ? undefined : headerFromJson(json);
  if (cipher === undefined || head === undefined || header === undefined) return undefined;
  const recordsStart = PREAMBLE_BYTES + head.length;
  const records: DeltaRecord[] = [];
  const ends: number[] = [];
  let at = recordsStart;
  for (;;) {
    const piece = pieceAt(bytes, at, MAX_RECORD_BYTES);
    const plain = piece === undefined ? undefined : cipher.open(1 + records.length, false, piece);
    if (piece === undefined || plain === undefined || plain.length < TIME_BYTES) break;
    records.push({ receivedAtMs: plain.readDoubleLE(0), delta: plain.subarray(TIME_BYTES) });
    at += piece.length;
    ends.push(at);
  }
  return { header, records, ends, recordsStart, cipher };
}

/** The whole piece that begins there; undefined when it is cut off, or longer than any is. */
function pieceAt(bytes: Buffer, at: number, maxPlainBytes: number): Buffer | undefined {
  if (at + PIECE_LENGTH_BYTES > bytes.length) return undefined;
  const length = pieceBytes(bytes.subarray(at));
  return length > maxPlainBytes + PIECE_OVERHEAD_BYTES || at + length > bytes.length ? undefined : bytes.subarray(at, at + length);
}

async function readPiece(file: FileHandle, at: number, size: number, maxPlainBytes: number): Promise<Buffer | undefined> {
  const start = await readAt(file, at, PIECE_LENGTH_BYTES);
  if (start.length < PIECE_LENGTH_BYTES) return undefined;
  const length = pieceBytes(start);
  if (length > maxPlainBytes + PIECE_OVERHEAD_BYTES || at + length > size) return undefined;
  const piece = await readAt(file, at, length);
  return piece.length === length ? piece : undefined;
}

/** Fewer bytes where the file ends. */
async function readAt(file: FileHandle, at: number, count: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(count);
  let filled = 0;
  while (filled < count) {
    const { bytesRead } = await file.read(bytes, filled, count - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
