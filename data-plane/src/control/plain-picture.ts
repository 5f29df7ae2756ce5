/**
 * Seals what the build before this one left on the disk unencrypted. Snapshot file: magic, cipher (0), length of the header,
 * header, content, sha256 of all of it. Delta log: magic, cipher, length, header, crc; then records: length, crc, time, delta.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import {
  DELTA_LOG_MAGIC,
  DeltaLogSealer,
  type DeltaRecord,
  headerFromJson,
  type PictureHeader,
  SNAPSHOT_MAGIC,
  sealSnapshot,
} from './picture-file.ts';

const CIPHER_NONE = 0;
const PREAMBLE_BYTES = 8 + 1 + 4;
const MAX_HEADER_BYTES = 64 * 1024;
const CRC_BYTES = 4;
const SHA256_BYTES = 32;
const RECORD_PREAMBLE_BYTES = 4 + CRC_BYTES;
const TIME_BYTES = 8;
const READ_BYTES = 1024 * 1024;

/**
 * Puts a sealed file in the place of each plain one, and removes plain ones that are damaged; returns how many there were.
 * Only in a folder that holds nothing sealed: after that a plain file is a forgery, which anybody could have written.
 */
export async function sealPlainFiles(folder: string, sealingKey: Uint8Array): Promise<number> {
  const plain: { readonly path: string; readonly magic: Buffer }[] = [];
  for (const name of await readdir(folder)) {
    const magic = name.endsWith('.bin') ? SNAPSHOT_MAGIC : name.endsWith('.log') ? DELTA_LOG_MAGIC : undefined;
    if (magic === undefined) continue;
    const path = join(folder, name);
    const cipher = await cipherOf(path, magic);
    if (cipher === CIPHER_NONE) plain.push({ path, magic });
    else if (cipher !== undefined) return 0;
  }
  const sealed: string[] = [];
  for (const { path, magic } of plain) {
    const isSound = magic === SNAPSHOT_MAGIC ? await sealPlainSnapshot(path, sealingKey) : await sealPlainLog(path, sealingKey);
    if (isSound) sealed.push(path);
    else await rm(path);
  }
  // All at once: what a crash left plain among sealed ones would not be taken any more.
  for (const path of sealed) await rename(`${path}.tmp`, path);
  return plain.length;
}

/** Undefined for a file of another kind. */
async function cipherOf(path: string, magic: Buffer): Promise<number | undefined> {
  const file = await open(path, 'r');
  try {
    const start = Buffer.alloc(magic.length + 1);
    const { bytesRead } = await file.read(start, 0, start.length, 0);
    return bytesRead === start.length && start.subarray(0, magic.length).equals(magic) ? start[magic.length] : undefined;
  } finally {
    await file.close();
  }
}

async function sealPlainSnapshot(path: string, sealingKey: Uint8Array): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const head = Buffer.alloc(Math.min(size, PREAMBLE_BYTES + MAX_HEADER_BYTES));
    await file.read(head, 0, head.length, 0);
    const found = readHead(head);
    const endByte = size - SHA256_BYTES;
    if (found === undefined || endByte < found.end || !(await hasItsSum(file, endByte))) return false;
    await writeFile(`${path}.tmp`, sealSnapshot(sealingKey, found.header, readPart(file, found.end, endByte)));
    return true;
  } finally {
    await file.close();
  }
}

async function sealPlainLog(path: string, sealingKey: Uint8Array): Promise<boolean> {
  const bytes = await readFile(path);
  const found = readHead(bytes);
  if (found === undefined || bytes.length < found.end + CRC_BYTES) return false;
  if (bytes.readUInt32LE(found.end) !== crc32(bytes.subarray(0, found.end))) return false;
  const { head, sealer } = DeltaLogSealer.begin(sealingKey, found.header);
  await writeFile(`${path}.tmp`, [head, ...plainRecords(bytes, found.end + CRC_BYTES).map((record) => sealer.seal(record))]);
  return true;
}

function readHead(bytes: Buffer): { readonly header: PictureHeader; readonly end: number } | undefined {
  if (bytes.length < PREAMBLE_BYTES) return undefined;
  const end = PREAMBLE_BYTES + bytes.readUInt32LE(PREAMBLE_BYTES - 4);
  const header = end > bytes.length ? undefined : headerFromJson(bytes.subarray(PREAMBLE_BYTES, end));
  return header === undefined ? undefined : { header, end };
}

/** Up to the first that is cut or damaged. */
function plainRecords(bytes: Buffer, start: number): DeltaRecord[] {
  const records: DeltaRecord[] = [];
  for (let at = start; bytes.length - at >= RECORD_PREAMBLE_BYTES; ) {
    const end = at + RECORD_PREAMBLE_BYTES + bytes.readUInt32LE(at);
    const payload = bytes.subarray(at + RECORD_PREAMBLE_BYTES, end);
    if (end > bytes.length || payload.length < TIME_BYTES || crc32(payload) !== bytes.readUInt32LE(at + 4)) break;
    records.push({ receivedAtMs: payload.readDoubleLE(0), delta: payload.subarray(TIME_BYTES) });
    at = end;
  }
  return records;
}

async function hasItsSum(file: FileHandle, endByte: number): Promise<boolean> {
  const hash = createHash('sha256');
  for await (const piece of readPart(file, 0, endByte)) hash.update(piece);
  const trailer = Buffer.alloc(SHA256_BYTES);
  await file.read(trailer, 0, SHA256_BYTES, endByte);
  return hash.digest().equals(trailer);
}

async function* readPart(file: FileHandle, startByte: number, endByte: number): AsyncGenerator<Uint8Array> {
  for (let at = startByte; at < endByte; ) {
    const piece = Buffer.alloc(Math.min(READ_BYTES, endByte - at));
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) throw new Error('a stored snapshot became shorter while it was read');
    yield piece.subarray(0, bytesRead);
    at += bytesRead;
  }
}

async function writeFile(path: string, pieces: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
  const file = await open(path, 'w');
  try {
    for await (const piece of pieces) await file.appendFile(piece);
    await file.datasync();
  } finally {
    await file.close();
  }
}
