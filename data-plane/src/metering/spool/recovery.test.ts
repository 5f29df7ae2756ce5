import fs from 'node:fs';
import path from 'node:path';
import { recoveredFinal } from '@meridian/domain/usage-record';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SpoolDisk } from './disk.ts';
import { decodeHeader, HEADER_BYTES } from './segment.ts';
import { openSpool } from './spool.ts';
import { finalOf, heldIds, intentOf, newFolder, openTestSpool, retainedFinals, roomyDisk, writeFinal, writeIntent } from './testing.ts';

const SEGMENT = '0000000000000001/00000001.seg';

let folder: string;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

/** Writes 4 finals in a first incarnation; gives where each record of its only segment ends. */
async function sampleSpool(): Promise<{ bytes: Buffer; ends: number[] }> {
  const { spool } = await openTestSpool(folder, 1n);
  const ends: number[] = [fs.statSync(path.join(folder, SEGMENT)).size];
  for (let index = 1; index <= 4; index++) {
    await writeFinal(spool, finalOf(`f${index}`, 10n));
    ends.push(fs.statSync(path.join(folder, SEGMENT)).size);
  }
  await spool.close();
  return { bytes: fs.readFileSync(path.join(folder, SEGMENT)), ends };
}

/** What a spool holds that finds these bytes as the first incarnation's segment. */
async function reopen(bytes: Buffer): Promise<{ names: string[]; alarms: string[] }> {
  fs.rmSync(folder, { recursive: true });
  fs.mkdirSync(path.join(folder, path.dirname(SEGMENT)), { recursive: true });
  fs.writeFileSync(path.join(folder, SEGMENT), bytes);
  const { spool, alarms } = await openTestSpool(folder, 2n);
  const names = (await retainedFinals(spool)).map((final) => final.requestId);
  await spool.close();
  return { names, alarms };
}

const NAMES = ['f1', 'f2', 'f3', 'f4'];

describe('recovery of a damaged folder', () => {
  it('gives the exact prefix of a segment that is cut at any byte', async () => {
    const { bytes, ends } = await sampleSpool();
    for (let length = 0; length <= bytes.length; length++) {
      const whole = ends.slice(1).filter((end) => end <= length).length;
      const found = await reopen(bytes.subarray(0, length));
      expect(found.names, `cut at ${length}`).toEqual(NAMES.slice(0, whole));
    }
  }, 300_000);

  it('loses at most the record in which a bit flipped, and says so unless it was the last', async () => {
    const { bytes, ends } = await sampleSpool();
    const last = ends.at(-2) ?? 0;
    for (let offset = 0; offset < bytes.length; offset += 7) {
      const flipped = Buffer.from(bytes);
      flipped[offset] = (flipped[offset] ?? 0) ^ (1 << (offset % 8));
      const found = await reopen(flipped);
      const hit = ends.findIndex((end) => offset < end) - 1;
      const expected = NAMES.filter((_, index) => index !== hit);
      expect(found.names, `bit at ${offset}`).toEqual(expected);
      if (offset < last) expect(found.alarms.length, `bit at ${offset}`).toBeGreaterThan(0);
    }
  }, 300_000);

  it('keeps a damaged file beside what it made of it, and reads it without an alarm from then on', async () => {
    const { bytes, ends } = await sampleSpool();
    const at = (ends[2] ?? 0) + 40;
    bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    const first = await reopen(bytes);
    expect(first.names).toEqual(['f1', 'f2', 'f4']);
    expect(first.alarms).toEqual(['a spool segment is damaged']);
    expect(fs.readFileSync(path.join(folder, `${SEGMENT}.damaged`))).toEqual(bytes);
    const { spool, alarms } = await openTestSpool(folder, 3n);
    expect((await retainedFinals(spool)).map((final) => final.requestId)).toEqual(['f1', 'f2', 'f4']);
    expect(alarms).toEqual([]);
    await spool.close();
  });

  it('does not take bytes of another segment for records', async () => {
    const { bytes } = await sampleSpool();
    const { spool } = await openTestSpool(folder, 9n);
    await writeFinal(spool, finalOf('mine'));
    await spool.close();
    const file = path.join(folder, '0000000000000009/00000001.seg');
    fs.appendFileSync(file, bytes.subarray(HEADER_BYTES));
    const again = await openTestSpool(folder, 10n);
    expect((await retainedFinals(again.spool)).map((final) => final.requestId)).toEqual([...NAMES, 'mine']);
    await again.spool.close();
  });

  it('cuts the torn tail off the file', async () => {
    const { bytes, ends } = await sampleSpool();
    await reopen(bytes.subarray(0, bytes.length - 3));
    expect(fs.statSync(path.join(folder, SEGMENT)).size).toBe(ends[3]);
  });

  it('goes on behind a segment that is gone, and covers its seqs as lost', async () => {
    const first = await openTestSpool(folder, 1n, { limits: { segmentBytes: 3000 } });
    for (let index = 0; index < 40; index++) await writeFinal(first.spool, finalOf(`f${index}`));
    await first.spool.close();
    const names = fs.readdirSync(path.join(folder, '0000000000000001')).sort();
    const bounds = names.map((name) => {
      const header = decodeHeader(fs.readFileSync(path.join(folder, '0000000000000001', name)));
      return header?.firstSeq ?? 0;
    });
    fs.rmSync(path.join(folder, '0000000000000001', names[2] ?? ''));
    const { spool, alarms } = await openTestSpool(folder, 2n);
    expect(alarms).toEqual(['a spool segment is damaged']);
    const left = (await retainedFinals(spool)).map((final) => final.requestId);
    const lost = Array.from({ length: (bounds[3] ?? 0) - (bounds[2] ?? 0) }, (_, index) => `f${(bounds[2] ?? 0) - 1 + index}`);
    expect(lost.length).toBeGreaterThan(1);
    expect(left).toEqual(Array.from({ length: 40 }, (_, index) => `f${index}`).filter((name) => !lost.includes(name)));
    await spool.close();
  });

  it('replays what it retained for a day when the control plane was restored, and says what is damaged in it', async () => {
    const ids = heldIds();
    const first = await openTestSpool(folder, 1n, { limits: { segmentBytes: 3000 } }, ids);
    for (let index = 0; index < 40; index++) await writeFinal(first.spool, finalOf(`f${index}`));
    await first.spool.close();
    ids.timeMs += 23 * 3600 * 1000;
    const { spool, alarms } = await openTestSpool(folder, 2n, {}, ids);
    spool.acknowledge(1n, 40);
    // An acknowledged file is not read at the next start, so its damage shows only in the replay.
    const names = fs.readdirSync(path.join(folder, '0000000000000001')).sort();
    const file = path.join(folder, '0000000000000001', names[1] ?? '');
    const bytes = fs.readFileSync(file);
    const at = bytes.length - 100;
    bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    fs.writeFileSync(file, bytes);
    spool.rewind(1n, 2);
    expect(spool.ackedSeq(1n)).toBe(2);
    const replayed: number[] = [];
    for (let seq = 3; seq <= 40; ) {
      const batch = await spool.readFrom(1n, seq, { maxRecords: 7, maxBytes: 1e6 });
      if (batch === undefined) break;
      replayed.push(...batch.finals.map((entry) => entry.seq));
      seq = batch.lastSeq + 1;
    }
    expect(replayed).toHaveLength(37);
    expect(replayed.at(-1)).toBe(40);
    expect(alarms[0]).toBe('the control plane has less than it acknowledged');
    expect(alarms.slice(1)).toContain('a spool segment is damaged');
    spool.acknowledge(1n, 40);
    await spool.close();
  });

  it('takes another spool id when the folder has less than was acknowledged', async () => {
    const { bytes, ends } = await sampleSpool();
    const first = await openTestSpool(folder, 2n);
    first.spool.acknowledge(1n, 4);
    await first.spool.close();
    fs.rmSync(path.join(folder, '0000000000000002'), { recursive: true });
    fs.writeFileSync(path.join(folder, SEGMENT), bytes.subarray(0, ends[3]));
    const { spool, alarms } = await openTestSpool(folder, 3n);
    expect(alarms).toEqual(['the spool folder went backwards: more was acknowledged than it holds']);
    expect(spool.spoolId).not.toBe(first.spool.spoolId);
    expect(spool.ackedSeq(1n)).toBe(0);
    await spool.close();
  });
});

/** A disk that stops working at its nth operation, as a process that is killed there would. */
function diskUntil(operations: number): { disk: SpoolDisk; used: () => number } {
  let used = 0;
  const step = () => {
    used++;
    if (used > operations) throw new Error('killed here');
  };
  const counted =
    <Arguments extends unknown[], Result>(run: (...args: Arguments) => Result) =>
    (...args: Arguments): Result => {
      step();
      return run(...args);
    };
  const disk: SpoolDisk = {
    ...roomyDisk,
    open: counted(roomyDisk.open),
    write: (fd, bytes, start, length, position) => {
      used++;
      if (used > operations) {
        // The half of it gets through.
        if (used === operations + 1) roomyDisk.write(fd, bytes, start, length >> 1, position);
        throw new Error('killed here');
      }
      return roomyDisk.write(fd, bytes, start, length, position);
    },
    truncate: counted(roomyDisk.truncate),
    rename: counted(roomyDisk.rename),
    link: counted(roomyDisk.link),
    unlink: counted(roomyDisk.unlink),
    makeFolder: counted(roomyDisk.makeFolder),
    fdatasync: (fd) => Promise.resolve().then(counted(() => roomyDisk.fdatasync(fd))),
    syncFolder: (file) => Promise.resolve().then(counted(() => roomyDisk.syncFolder(file))),
    fdatasyncNow: counted(roomyDisk.fdatasyncNow),
    removeFolder: counted(roomyDisk.removeFolder),
  };
  return { disk, used: () => used };
}

describe('recovery of open requests', () => {
  it('can be interrupted at every step and closes each request once', async () => {
    const first = await openTestSpool(folder, 1n);
    for (const name of ['done', 'open-1', 'open-2']) await writeIntent(first.spool, intentOf(name));
    await writeFinal(first.spool, finalOf('done'));
    await first.spool.close();
    const image = newFolder();
    fs.cpSync(folder, image, { recursive: true });
    const ids = heldIds();
    const counted = diskUntil(Number.POSITIVE_INFINITY);
    await (await openSpool({ folder, incarnation: 2n, ids, alarm: () => undefined, disk: counted.disk })).close();
    expect(counted.used()).toBeGreaterThan(6);
    for (let operations = 0; operations < counted.used(); operations++) {
      fs.rmSync(folder, { recursive: true });
      fs.cpSync(image, folder, { recursive: true });
      const opened = await openSpool({ folder, incarnation: 2n, ids, alarm: () => undefined, disk: diskUntil(operations).disk }).then(
        (spool) => spool.close().catch(() => undefined),
        () => 'killed',
      );
      const second = await openTestSpool(folder, 3n, {}, ids);
      const finals = await retainedFinals(second.spool);
      // A recovered final may be there twice when the process died before it knew that it was written; both say the same.
      const byId = new Map(finals.map((final) => [final.requestId, final]));
      expect([...byId.values()], `killed at ${operations}, ${opened}`).toEqual([
        finalOf('done'),
        recoveredFinal(intentOf('open-1')),
        recoveredFinal(intentOf('open-2')),
      ]);
      expect(finals).toHaveLength(3);
      await second.spool.close();
    }
    fs.rmSync(image, { recursive: true });
  }, 60_000);

  it('finds open intents through the checkpoint of the last segment', async () => {
    const first = await openTestSpool(folder, 1n, { limits: { segmentBytes: 3000 } });
    await writeIntent(first.spool, intentOf('old'));
    for (let index = 0; index < 40; index++) await writeFinal(first.spool, finalOf(`f${index}`));
    first.spool.acknowledge(1n, 30);
    await first.spool.close();
    const segments = fs.readdirSync(path.join(folder, '0000000000000001'));
    expect(segments.length).toBeGreaterThan(4);
    fs.rmSync(path.join(folder, '0000000000000001', segments[0] ?? ''));
    const second = await openTestSpool(folder, 2n);
    const finals = await retainedFinals(second.spool);
    expect(finals.at(-1)).toEqual(recoveredFinal(intentOf('old')));
    expect(finals.filter((final) => final.outcome === 'recovered')).toHaveLength(1);
    await second.spool.close();
  });

  it('closes no request again whose final the dead recovery wrote before its last checkpoint', async () => {
    // One write takes a MiB, whatever the segment's limit.
    const names = Array.from({ length: 16_000 }, (_, index) => `open-${index}`);
    const first = await openTestSpool(folder, 1n);
    await Promise.all(names.map((name) => writeIntent(first.spool, intentOf(name))));
    await first.spool.close();
    const second = await openTestSpool(folder, 2n, { limits: { segmentBytes: 2000 } });
    await second.spool.close();
    const segments = fs.readdirSync(path.join(folder, '0000000000000002')).sort();
    expect(segments.length).toBeGreaterThan(2);
    // The last one ends with RECOVERED.
    fs.rmSync(path.join(folder, '0000000000000002', segments.at(-1) ?? ''));
    const third = await openTestSpool(folder, 3n);
    const finals = await retainedFinals(third.spool);
    expect(finals.map((final) => final.requestId).sort()).toEqual(names.toSorted());
    await third.spool.close();
  });

  it('does not recover again when the records of the recovery are acknowledged and old', async () => {
    const ids = heldIds();
    const boot = async (incarnation: bigint) => (await openTestSpool(folder, incarnation, {}, ids)).spool;
    const first = await boot(1n);
    await writeIntent(first, intentOf('open'));
    await first.close();
    const second = await boot(2n);
    second.acknowledge(1n, 1);
    second.acknowledge(2n, 2);
    await second.close();
    const third = await boot(3n);
    await writeFinal(third, finalOf('x'));
    await third.close();
    ids.timeMs += 25 * 3600 * 1000;
    const fourth = await boot(4n);
    expect(fourth.incarnations().map((range) => range.incarnation)).toEqual([3n, 4n]);
    expect((await retainedFinals(fourth)).map((final) => final.requestId)).toEqual(['x']);
    await fourth.close();
  });
});
