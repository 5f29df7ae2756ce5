import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import type { Lane } from '@meridian/domain/snapshot';
import { laneToWire } from '@meridian/wire/codec/lane';
import { DeltaSchema } from '@meridian/wire/gen/sync_pb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DeltaRecord } from './picture-file.ts';
import { SnapshotStore } from './snapshot-store.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'picture-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

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
): Promise<{ text: string; dbEpoch: string; head: number | undefined; revs: number[]; asOfMs: number } | undefined> {
  const store = await SnapshotStore.open(dataFolder);
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
    const store = await SnapshotStore.open(folder);
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11), delta(11, 14)]);
    await store.append([delta(14, 15)]);
    await store.close();
    expect(await found()).toEqual({ text: 'one', dbEpoch: 'e1', head: 10, revs: [11, 14, 15], asOfMs: 1015 });
  });

  it('goes on growing after a restart', async () => {
    const first = await SnapshotStore.open(folder);
    await writeGeneration(first, 10, 'one');
    await first.append([delta(10, 11)]);
    await first.close();
    const second = await SnapshotStore.open(folder);
    await second.append([delta(11, 12)]);
    await second.close();
    expect((await found())?.revs).toEqual([11, 12]);
  });

  it('skips a repetition, and ends at a hole', async () => {
    const store = await SnapshotStore.open(folder);
    await writeGeneration(store, 10, 'one');
    await store.append([delta(10, 11), delta(10, 11), delta(11, 12), delta(13, 14), delta(14, 15)]);
    await store.close();
    expect((await found())?.revs).toEqual([11, 12]);
    const again = await SnapshotStore.open(folder);
    await again.append([delta(12, 13)]);
    await again.close();
    expect((await found())?.revs).toEqual([11, 12, 13]);
  });

  it('refuses deltas before there is a snapshot', async () => {
    const store = await SnapshotStore.open(folder);
    expect(store.isWritable).toBe(false);
    await expect(store.append([delta(0, 1)])).rejects.toThrow('without a snapshot');
  });
});

describe('a crash', () => {
  it('at any byte of the delta log loses only the records behind it, and the log can be written on', async () => {
    const store = await SnapshotStore.open(folder);
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
      const again = await SnapshotStore.open(copy);
      await again.append([delta(10 + expected.length, 99)]);
      await again.close();
      expect((await found(copy))?.revs, `cut at ${length}, written on`).toEqual([...expected, 99]);
      rmSync(copy, { recursive: true });
    }
  });

  it('or a flipped bit anywhere in the delta log never brings a wrong delta', async () => {
    const store = await SnapshotStore.open(folder);
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
    const store = await SnapshotStore.open(folder);
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
    const store = await SnapshotStore.open(folder);
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
    const store = await SnapshotStore.open(folder);
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
    const store = await SnapshotStore.open(folder);
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

function copyFolder(from: string): string {
  const to = mkdtempSync(join(tmpdir(), 'picture-copy-'));
  mkdirSync(join(to, 'picture'));
  for (const name of readdirSync(join(from, 'picture'))) copyFileSync(join(from, 'picture', name), join(to, 'picture', name));
  return to;
}
