/**
 * Names in the spool's folder: `lock`, `spool.id` (the id, and on a second line the one that it replaces), `acked.json`, and `<incarnation>/<number>.seg`. A `.tmp` is a segment
 * that was not finished, a `.damaged` one that was set aside as it was found.
 */
import path from 'node:path';
import { type IdSource, newId } from '@meridian/domain/ids';
import type { SpoolDisk } from './disk.ts';
import { writeDurableFile, writeFile } from './disk.ts';
import type { SegmentHeader } from './segment.ts';

/** Beside the incarnations, whose names are hex digits. */
const EPOCH_NAME = 'db_epoch';

/** A record's place that reading may start from. */
export interface Mark {
  readonly seq: number;
  readonly offset: number;
}

export interface SegmentFile {
  readonly path: string;
  readonly header: SegmentHeader;
  /** Last seq that is read from this file; firstSeq − 1 when there is none. */
  lastSeq: number;
  bytes: number;
  /** In ascending order, some hundred KiB apart. */
  readonly marks: Mark[];
  /** Its name and its first records, the checkpoint among them, survive a power cut. */
  durable: boolean;
}

export interface IncarnationFiles {
  readonly incarnation: bigint;
  /** The folder's id when it was made; empty where no header tells. */
  readonly spoolId: string;
  readonly ordinal: number;
  readonly folder: string;
  /** In ascending order of their numbers. */
  readonly segments: SegmentFile[];
}

export function incarnationFolder(folder: string, incarnation: bigint): string {
  return path.join(folder, incarnation.toString(16).padStart(16, '0'));
}

export function segmentPath(incarnationPath: string, segment: number): string {
  return path.join(incarnationPath, `${segment.toString().padStart(8, '0')}.seg`);
}

/** Incarnations that have a folder, in no particular order. */
export function listIncarnations(folder: string, disk: SpoolDisk): bigint[] {
  return disk
    .list(folder)
    .filter((name) => /^[0-9a-f]{16}$/.test(name))
    .map((name) => BigInt(`0x${name}`));
}

/** Numbers of the segments, ascending; removes what was not finished. */
export function listSegments(incarnationPath: string, disk: SpoolDisk): number[] {
  const numbers: number[] = [];
  for (const name of disk.list(incarnationPath)) {
    if (name.endsWith('.tmp')) disk.unlink(path.join(incarnationPath, name));
    else if (/^\d{8}\.seg$/.test(name)) numbers.push(Number(name.slice(0, 8)));
  }
  return numbers.sort((a, b) => a - b);
}

export interface SpoolIds {
  readonly current: string;
  /** The id before the folder went backwards, while segments of that time are retained. */
  readonly former: string | undefined;
}

/** The folder's spool id, made on first use, and the one that it replaces. */
export function readSpoolIds(folder: string, disk: SpoolDisk, ids: IdSource): SpoolIds {
  return knownSpoolIds(folder, disk) ?? writeSpoolIds(folder, disk, { current: newId('spl', ids), former: undefined });
}

/**
 * Gives the folder another id in place of the one that its incarnations were made under: its cursors at the control plane
 * start anew, and its leases are no longer its own.
 */
export function renewSpoolId(folder: string, disk: SpoolDisk, ids: IdSource, former: string): SpoolIds {
  return writeSpoolIds(folder, disk, { current: newId('spl', ids), former });
}

/** Forgets the former id. */
export function settleSpoolId(folder: string, disk: SpoolDisk, ids: SpoolIds): SpoolIds {
  return writeSpoolIds(folder, disk, { current: ids.current, former: undefined });
}

/** The ids in the folder; undefined where there are none yet. */
export function knownSpoolIds(folder: string, disk: SpoolDisk): SpoolIds | undefined {
  const file = path.join(folder, 'spool.id');
  if (!disk.exists(file)) return undefined;
  const [current = '', former = ''] = disk.readFile(file).toString('utf8').split('\n');
  return current === '' ? undefined : { current, former: former === '' ? undefined : former };
}

function writeSpoolIds(folder: string, disk: SpoolDisk, ids: SpoolIds): SpoolIds {
  const lines = ids.former === undefined ? [ids.current] : [ids.current, ids.former];
  const file = path.join(folder, 'spool.id');
  writeDurableFile(disk, `${file}.tmp`, Buffer.from(`${lines.join('\n')}\n`));
  disk.rename(`${file}.tmp`, file);
  return ids;
}

/** What the control plane has acknowledged. */
export interface Acknowledged {
  /** Of its database; empty when that is not known. */
  readonly dbEpoch: string;
  /** The seq of each incarnation. */
  readonly acked: Map<bigint, number>;
}

/** A file that is missing or cannot be read costs a resend, nothing else. */
export function readAcked(folder: string, disk: SpoolDisk): Acknowledged {
  const acked = new Map<bigint, number>();
  let entries: unknown;
  try {
    entries = JSON.parse(disk.readFile(path.join(folder, 'acked.json')).toString('utf8'));
  } catch {
    return { dbEpoch: '', acked };
  }
  if (typeof entries !== 'object' || entries === null) return { dbEpoch: '', acked };
  for (const [name, seq] of Object.entries(entries)) {
    if (/^[0-9a-f]{16}$/.test(name) && Number.isSafeInteger(seq)) acked.set(BigInt(`0x${name}`), seq);
  }
  const dbEpoch = EPOCH_NAME in entries && typeof entries[EPOCH_NAME] === 'string' ? entries[EPOCH_NAME] : '';
  return { dbEpoch, acked };
}

/** Not made durable: it is saved each second on the way of requests, and without it there is only more to send again. */
export function writeAcked(folder: string, disk: SpoolDisk, { dbEpoch, acked }: Acknowledged): void {
  const entries: [string, string | number][] = [...acked].map(([incarnation, seq]) => [incarnation.toString(16).padStart(16, '0'), seq]);
  entries.push([EPOCH_NAME, dbEpoch]);
  const file = path.join(folder, 'acked.json');
  writeFile(disk, `${file}.tmp`, Buffer.from(JSON.stringify(Object.fromEntries(entries))));
  disk.rename(`${file}.tmp`, file);
}
