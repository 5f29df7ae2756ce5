import { createHash, randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, gunzipSync, gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import type { Lane } from '@meridian/domain/snapshot';
import { laneToWire } from '@meridian/wire/codec/lane';
import { DeltaSchema } from '@meridian/wire/gen/sync_pb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PREAMBLE_BYTES, pieceBytes } from './picture-cipher.ts';
import { type DeltaRecord, openDeltaLog } from './picture-file.ts';
import { SnapshotStore } from './snapshot-store.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'picture-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const SEALING_KEY = new Uint8Array(32).fill(5);

function openStore(dataFolder = folder, sealingKey = SEALING_KEY, alarms: string[] = []): Promise<SnapshotStore> {
  return SnapshotStore.open({ dataFolder, sealingKey, alarm: (message) => alarms.push(message) });
}

function delta(prevRev: number, rev: number, lane: Lane = 'catalog'): DeltaRecord {
  const message = create(DeltaSchema, { lane: laneToWire(lane), prevRev: BigInt(prevRev), rev: BigInt(rev) });
  return { receivedAtMs: 1000 + rev, delta: toBinary(DeltaSchema, message) };
}

async function* content(text: string): AsyncGenerator<Uint8Array> {
  const packed = gzipSync(text);
  yield packed.subarray(0, 5);
  yield packed.subarray(5);
}

async function writeGeneration(store: SnapshotStore, head: number, text: string, dbEpoch = 'e1'): Promise<void> {
  const finish = await store.begin({ dbEpoch, heads: { catalog: head }, savedAtMs: 500 });
  await finish(content(text));
}

/** What a node that starts on the folder finds: its snapshot's bytes, and the revs that follow. */
async function found(
  dataFolder = folder,
  sealingKey = SEALING_KEY,
  alarms: string[] = [],
): Promise<{ text: string; dbEpoch: string; head: number | undefined; revs: number[]; asOfMs: number } | undefined> {
  const store = await openStore(dataFolder, sealingKey, alarms);
  try {
    const stored = store.takeStored();
    if (stored === undefined) return undefined;
    const pieces: Uint8Array[] = [];
    for await (const piece of stored.content()) pieces.push(piece);
    const text = gunzipSync(Buffer.concat(pieces)).toString();
    return {
      text,
      dbEpoch: stored.dbEpoch,
      head: stored.heads.catalog,
      revs: stored.deltas.map((one) => Number(one.rev)),
      asOfMs: stored.asOfMs,
    };
  } finally {
    await store.close();
  }
}

describe('a stored picture', () => {
  it('is absent in an empty folder', async () => {
    expect(await found()).toBeUndefined();
  });

  it('is found again: snapshot, deltas, when it was last heard of', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11), delta(11, 14)]);
    await store.append([delta(14, 15)]);
    await store.close();
    expect(await found()).toEqual({ text: 'one', dbEpoch: 'e1', head: 10, revs: [11, 14, 15], asOfMs: 1015 });
  });

  it('goes on growing after a restart', async () => {
    const first = await openStore();
    await writeGeneration(first, 10, 'one');
    await first.append([delta(10, 11)]);
    await first.close();
    const second = await openStore();
    await second.append([delta(11, 12)]);
    await second.close();
    expect((await found())?.revs).toEqual([11, 12]);
  });

  it('skips a repetition, and ends at a hole', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11), delta(10, 11), delta(11, 12), delta(13, 14), delta(14, 15)]);
    await store.close();
    expect((await found())?.revs).toEqual([11, 12]);
    const again = await openStore();
    await again.append([delta(12, 13)]);
    await again.close();
    expect((await found())?.revs).toEqual([11, 12, 13]);
  });

  it('refuses deltas before there is a snapshot', async () => {
    const store = await openStore();
    expect(store.isWritable).toBe(false);
    await expect(store.append([delta(0, 1)])).rejects.toThrow('without a snapshot');
  });
});

describe('a crash', () => {
  it('at any byte of the delta log loses only the records behind it, and the log can be written on', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    const ends = [store.deltaLogBytes];
    for (let rev = 11; rev <= 13; rev++) {
      await store.append([delta(rev - 1, rev)]);
      ends.push(store.deltaLogBytes);
    }
    await store.close();
    const log = readFileSync(join(folder, 'picture', 'delta-00000001.log'));
    expect(log.length).toBe(ends.at(-1));
    for (let length = 0; length <= log.length; length++) {
      const copy = copyFolder(folder);
      writeFileSync(join(copy, 'picture', 'delta-00000001.log'), log.subarray(0, length));
      const whole = ends.filter((end) => end <= length).length - 1;
      const expected = [11, 12, 13].slice(0, Math.max(0, whole));
      expect((await found(copy))?.revs, `cut at ${length}`).toEqual(expected);
      const again = await openStore(copy);
      await again.append([delta(10 + expected.length, 99)]);
      await again.close();
      expect((await found(copy))?.revs, `cut at ${length}, written on`).toEqual([...expected, 99]);
      rmSync(copy, { recursive: true });
    }
  });

  it('or a flipped bit anywhere in the delta log never brings a wrong delta', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11), delta(11, 12)]);
    await store.close();
    const path = join(folder, 'picture', 'delta-00000001.log');
    const log = readFileSync(path);
    for (let bit = 0; bit < log.length * 8; bit++) {
      const damaged = Buffer.from(log);
      damaged.writeUInt8((damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7)), bit >> 3);
      writeFileSync(path, damaged);
      expect([[], [11]], `bit ${bit}`).toContainEqual((await found())?.revs);
    }
  });

  it('or damage at any byte of the newest snapshot falls back to the one before it, with all deltas since', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11)]);
    await writeGeneration(store, 11, 'two');
    await store.append([delta(11, 12)]);
    await store.close();
    expect(await found()).toMatchObject({ text: 'two', head: 11, revs: [12] });
    const name = 'snapshot-00000002.bin';
    const bytes = readFileSync(join(folder, 'picture', name));
    for (let at = 0; at < bytes.length; at++) {
      const copy = copyFolder(folder);
      const damaged = at % 2 === 0 ? bytes.subarray(0, at) : Buffer.from(bytes);
      if (at % 2 === 1) damaged.writeUInt8((damaged[at] ?? 0) ^ 0x10, at);
      writeFileSync(join(copy, 'picture', name), damaged);
      expect(await found(copy), `byte ${at}`).toMatchObject({ text: 'one', head: 10, revs: [11, 12] });
      rmSync(copy, { recursive: true });
    }
  });

  it('before a new snapshot is complete leaves the old one and both logs', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11)]);
    const finish = await store.begin({ dbEpoch: 'e1', heads: { catalog: 11 }, savedAtMs: 600 });
    await store.append([delta(11, 12)]);
    await expect(
      finish(
        (async function* () {
          yield Buffer.from('half');
          throw new Error('power cut');
        })(),
      ),
    ).rejects.toThrow('power cut');
    await store.append([delta(12, 13)]);
    await store.close();
    expect(await found()).toMatchObject({ text: 'one', revs: [11, 12, 13] });
  });

  it('with logs of another database’s epoch leaves them out', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11)]);
    await writeGeneration(store, 11, 'two', 'e2');
    await store.append([delta(11, 12)]);
    await store.close();
    rmSync(join(folder, 'picture', 'snapshot-00000002.bin'));
    expect(await found()).toMatchObject({ text: 'one', dbEpoch: 'e1', revs: [11] });
  });
});

describe('old generations', () => {
  it('go, except the one before the newest', async () => {
    const store = await openStore();
    for (const head of [1, 2, 3, 4]) await writeGeneration(store, head, String(head));
    await store.close();
    expect(readdirSync(join(folder, 'picture')).sort()).toEqual([
      'delta-00000003.log',
      'delta-00000004.log',
      'snapshot-00000003.bin',
      'snapshot-00000004.bin',
    ]);
  });
});

describe('what lies on the disk', () => {
  const SECRETS = ['Company of Many Names', 'sha256-hash-of-a-key', 'epoch-in-the-header'];

  it('shows neither names nor hashes nor where the lanes stand', async () => {
    const store = await openStore();
    const finish = await store.begin({ dbEpoch: SECRETS[2] ?? '', heads: { catalog: 10 }, savedAtMs: 500 });
    await finish(
      (async function* () {
        yield Buffer.from(`${SECRETS[0]} ${SECRETS[1]}`);
      })(),
    );
    const body = { case: 'member', value: { id: 'mem_1', accountId: SECRETS[0] ?? '', role: 'owner', status: 'active' } } as const;
    const entries = [{ id: SECRETS[1] ?? '', version: 1n, body }];
    const message = create(DeltaSchema, { lane: laneToWire('catalog'), prevRev: 10n, rev: 11n, entries });
    await store.append([{ receivedAtMs: 1, delta: toBinary(DeltaSchema, message) }]);
    await store.close();
    for (const name of readdirSync(join(folder, 'picture'))) {
      const bytes = readFileSync(join(folder, 'picture', name));
      expect(bytes.length).toBeGreaterThan(100);
      for (const secret of [...SECRETS, 'db_epoch', 'catalog']) expect(bytes.includes(secret), `${secret} in ${name}`).toBe(false);
    }
  });

  it('does not open with another key: that is told, and nothing is thrown away before there is a new snapshot', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11)]);
    await store.close();
    const before = filesOf(folder);
    const otherKey = new Uint8Array(32).fill(6);
    const alarms: string[] = [];
    expect(await found(folder, otherKey, alarms)).toBeUndefined();
    expect(alarms).toEqual(['a stored snapshot cannot be opened']);
    expect(filesOf(folder)).toEqual(before);
    expect(await found()).toMatchObject({ text: 'one', revs: [11] });

    const other = await openStore(folder, otherKey);
    await writeGeneration(other, 20, 'two');
    await other.close();
    expect([...filesOf(folder).keys()]).toEqual(['delta-00000002.log', 'snapshot-00000002.bin']);
    expect(await found(folder, otherKey)).toMatchObject({ text: 'two', head: 20 });
  });

  it('is refused when any 64th byte of a snapshot is another', async () => {
    const store = await openStore();
    const finish = await store.begin({ dbEpoch: 'e1', heads: { catalog: 10 }, savedAtMs: 500 });
    await finish(piecesOf(randomBytes(40_000)));
    await store.close();
    const path = join(folder, 'picture', 'snapshot-00000001.bin');
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at += 64) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8((damaged[at] ?? 0) ^ 0x01, at);
      writeFileSync(path, damaged);
      expect(await found(), `byte ${at}`).toBeUndefined();
    }
  });

  it('is a snapshot of many pieces, none of which can be dropped, moved, repeated or taken from another', async () => {
    const content = randomBytes(700_000);
    const store = await openStore();
    for (const head of [10, 11]) {
      const finish = await store.begin({ dbEpoch: 'e1', heads: { catalog: head }, savedAtMs: 500 });
      await finish(piecesOf(content));
    }
    await store.close();
    const path = join(folder, 'picture', 'snapshot-00000002.bin');
    rmSync(join(folder, 'picture', 'delta-00000002.log'));
    const [preamble, pieces] = piecesIn(path);
    const [, others] = piecesIn(join(folder, 'picture', 'snapshot-00000001.bin'));
    rmSync(join(folder, 'picture', 'snapshot-00000001.bin'));
    expect(pieces).toHaveLength(4);
    const write = (changed: readonly (Buffer | undefined)[]): void =>
      writeFileSync(path, Buffer.concat([preamble, ...changed.filter((piece) => piece !== undefined)]));
    const readBack = async (): Promise<Buffer | undefined> => {
      const reopened = await openStore();
      const stored = reopened.takeStored();
      const parts: Uint8Array[] = [];
      if (stored !== undefined) for await (const part of stored.content()) parts.push(part);
      await reopened.close();
      return stored === undefined ? undefined : Buffer.concat(parts);
    };
    const [head, first, second, last] = pieces;
    const damages = {
      'without the first': [head, second, last],
      'without the last': [head, first, second],
      'without content': [head],
      'in another order': [head, second, first, last],
      'with one twice': [head, first, first, second, last],
      'with more behind it': [head, first, second, last, last],
      'with one of another file': [head, first, others[2], last],
    };
    for (const [name, changed] of Object.entries(damages)) {
      write(changed);
      expect(await readBack(), name).toBeUndefined();
    }
    write(pieces);
    expect((await readBack())?.equals(content)).toBe(true);
  });

  it('is a log of deltas, none of which can be dropped from the middle, moved or repeated', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    for (const rev of [11, 12, 13]) await store.append([delta(rev - 1, rev)]);
    await store.close();
    const path = join(folder, 'picture', 'delta-00000001.log');
    const [preamble, [head, first, second, third]] = piecesIn(path);
    const write = (pieces: readonly (Buffer | undefined)[]): void =>
      writeFileSync(path, Buffer.concat([preamble, ...pieces.filter((piece) => piece !== undefined)]));
    const readable = (): number | undefined => openDeltaLog(SEALING_KEY, readFileSync(path))?.records.length;
    expect(readable()).toBe(3);
    write([head, first, third]);
    expect(readable()).toBe(1);
    write([head, second, first, third]);
    expect(readable()).toBe(0);
    write([head, first, first, second]);
    expect(readable()).toBe(1);
    write([first, second, third]);
    expect(readable()).toBeUndefined();
  });
});

describe('a picture of the build before, which did not encrypt', () => {
  function writePlain(dataFolder: string): void {
    mkdirSync(join(dataFolder, 'picture'), { recursive: true });
    const json = Buffer.from(JSON.stringify({ db_epoch: 'e1', heads: { catalog: 10 }, saved_at_ms: 500 }));
    const head = (magic: string): Buffer => {
      const preamble = Buffer.alloc(13);
      preamble.write(magic, 'latin1');
      preamble.writeUInt32LE(json.length, 9);
      return Buffer.concat([preamble, json]);
    };
    const snapshot = Buffer.concat([head('MRDPICT1'), gzipSync('plain')]);
    writeFileSync(
      join(dataFolder, 'picture', 'snapshot-00000001.bin'),
      Buffer.concat([snapshot, createHash('sha256').update(snapshot).digest()]),
    );
    const sum = (bytes: Buffer): Buffer => {
      const four = Buffer.alloc(4);
      four.writeUInt32LE(crc32(bytes));
      return four;
    };
    const records = [delta(10, 11), delta(11, 12)].map((record) => {
      const payload = Buffer.concat([Buffer.alloc(8), record.delta]);
      payload.writeDoubleLE(record.receivedAtMs, 0);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(payload.length);
      return Buffer.concat([length, sum(payload), payload]);
    });
    const logHead = head('MRDDELT1');
    writeFileSync(
      join(dataFolder, 'picture', 'delta-00000001.log'),
      Buffer.concat([logHead, sum(logHead), ...records, Buffer.from('torn tail')]),
    );
  }

  it('is read, sealed in its place, and written on', async () => {
    writePlain(folder);
    expect(await found()).toEqual({ text: 'plain', dbEpoch: 'e1', head: 10, revs: [11, 12], asOfMs: 1012 });
    for (const [name, bytes] of filesOf(folder)) {
      expect(bytes.readUInt8(8), name).toBe(1);
      expect(bytes.includes('db_epoch'), name).toBe(false);
    }
    const store = await openStore();
    await store.append([delta(12, 13)]);
    await store.close();
    expect((await found())?.revs).toEqual([11, 12, 13]);
  });

  it('is thrown away where it is damaged', async () => {
    const path = join(folder, 'picture', 'snapshot-00000001.bin');
    for (const fromEnd of [1, 37, 60]) {
      rmSync(join(folder, 'picture'), { recursive: true, force: true });
      writePlain(folder);
      const bytes = readFileSync(path);
      const at = bytes.length - fromEnd;
      bytes.writeUInt8((bytes[at] ?? 0) ^ 1, at);
      writeFileSync(path, bytes);
      expect(await found(), `${fromEnd} from the end`).toBeUndefined();
      expect([...filesOf(folder).keys()]).toEqual(['delta-00000001.log']);
    }
  });

  it('is not taken once there are sealed files: it could be anybody’s', async () => {
    const store = await openStore();
    await writeGeneration(store, 10, 'one');
    await store.close();
    const forged = mkdtempSync(join(tmpdir(), 'picture-plain-'));
    writePlain(forged);
    copyFileSync(join(forged, 'picture', 'snapshot-00000001.bin'), join(folder, 'picture', 'snapshot-00000002.bin'));
    rmSync(forged, { recursive: true });
    const alarms: string[] = [];
    expect(await found(folder, SEALING_KEY, alarms)).toMatchObject({ text: 'one' });
    expect(alarms).toEqual(['a stored snapshot cannot be opened']);
  });
});

function filesOf(dataFolder: string): Map<string, Buffer> {
  const pictures = join(dataFolder, 'picture');
  return new Map(
    readdirSync(pictures)
      .sort()
      .map((name) => [name, readFileSync(join(pictures, name))]),
  );
}

/** A sealed file's preamble, and its pieces as they lie behind it. */
function piecesIn(path: string): [Buffer, Buffer[]] {
  const bytes = readFileSync(path);
  const pieces: Buffer[] = [];
  for (let at = PREAMBLE_BYTES; at < bytes.length; ) {
    const length = pieceBytes(bytes.subarray(at));
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return [bytes.subarray(0, PREAMBLE_BYTES), pieces];
}

/** In parts that fit no piece of the file. */
async function* piecesOf(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_003) yield bytes.subarray(at, at + 100_003);
}

function copyFolder(from: string): string {
  const to = mkdtempSync(join(tmpdir(), 'picture-copy-'));
  mkdirSync(join(to, 'picture'));
  for (const name of readdirSync(join(from, 'picture'))) copyFileSync(join(from, 'picture', name), join(to, 'picture', name));
  return to;
}
