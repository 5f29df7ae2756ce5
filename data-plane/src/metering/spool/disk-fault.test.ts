import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeDisk, type SpoolDisk } from './disk.ts';
import { durable, finalOf, heldIds, intentOf, newFolder, openTestSpool, retainedFinals, writeFinal, writeIntent } from './testing.ts';

let folder: string;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

function ioError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe('the spool on a failing disk', () => {
  it('never syncs a file again whose fdatasync failed, and loses nothing', async () => {
    const failed = new Set<number>();
    let failures = 0;
    const disk: SpoolDisk = {
      ...nodeDisk,
      open: (file, flags) => {
        const fd = nodeDisk.open(file, flags);
        failed.delete(fd);
        return fd;
      },
      fdatasync: async (fd) => {
        if (failed.has(fd)) throw new Error('synced a suspect file again');
        // Every third one fails, after the kernel has let go of the pages.
        if (++failures % 3 !== 0) return nodeDisk.fdatasync(fd);
        failed.add(fd);
        throw ioError('EIO');
      },
    };
    const { spool, alarms } = await openTestSpool(folder, 1n, { disk, limits: { segmentBytes: 6000 } });
    const names: string[] = [];
    for (let index = 0; index < 200; index++) {
      names.push(`f${index}`);
      await writeFinal(spool, finalOf(`f${index}`));
      if (index % 10 === 0) await durable(spool);
    }
    await durable(spool);
    expect(alarms.filter((message) => message === 'the spool could not be made durable').length).toBeGreaterThan(3);
    expect(alarms).not.toContain('the spool could not begin another segment');
    expect((await retainedFinals(spool)).map((final) => final.requestId)).toEqual(names);
    expect(spool.unackedChargeNano('acc_1')).toBe(200_000n);
    await spool.close();
    const second = await openTestSpool(folder, 2n);
    expect((await retainedFinals(second.spool)).map((final) => final.requestId)).toEqual(names);
    expect(second.spool.unackedChargeNano('acc_1')).toBe(200_000n);
    await second.spool.close();
  });

  it('reads on from the new segment where the suspect file lost its pages', async () => {
    let failures = 0;
    const disk: SpoolDisk = { ...nodeDisk, fdatasync: (fd) => (failures-- > 0 ? Promise.reject(ioError('EIO')) : nodeDisk.fdatasync(fd)) };
    const { spool } = await openTestSpool(folder, 1n, { disk });
    await writeFinal(spool, finalOf('safe'));
    await durable(spool);
    const file = `${folder}/0000000000000001/00000001.seg`;
    const durableBytes = fs.statSync(file).size;
    failures = 1;
    await writeFinal(spool, finalOf('suspect'));
    await durable(spool);
    await writeFinal(spool, finalOf('after'));
    await spool.close();
    fs.truncateSync(file, durableBytes);
    const second = await openTestSpool(folder, 2n);
    expect((await retainedFinals(second.spool)).map((final) => final.requestId)).toEqual(['safe', 'suspect', 'after']);
    expect(second.alarms).toEqual([]);
    await second.spool.close();
  });

  it('offers nothing for upload before it is durable', async () => {
    const held = Promise.withResolvers<void>();
    let hold = false;
    const disk: SpoolDisk = { ...nodeDisk, fdatasync: (fd) => (hold ? held.promise : nodeDisk.fdatasync(fd)) };
    const { spool } = await openTestSpool(folder, 1n, { disk });
    hold = true;
    await writeFinal(spool, finalOf('written'));
    expect(spool.lastSeq).toBe(1);
    expect(spool.incarnations()).toEqual([{ incarnation: 1n, firstSeq: 1, lastSeq: 0 }]);
    expect(await spool.readFrom(1n, 1, { maxRecords: 10, maxBytes: 1e6 })).toBeUndefined();
    hold = false;
    held.resolve();
    await durable(spool);
    expect(await spool.readFrom(1n, 1, { maxRecords: 10, maxBytes: 1e6 })).toMatchObject({ lastSeq: 1 });
    await spool.close();
  });

  it('refuses intents and writes finals above the watermark, and admits again below it', async () => {
    const ids = heldIds();
    let usedShare = 0.5;
    const disk: SpoolDisk = { ...nodeDisk, statfs: () => Promise.resolve({ usedShare }) };
    const { spool, alarms } = await openTestSpool(folder, 1n, { disk }, ids);
    await writeIntent(spool, intentOf('a'));
    usedShare = 0.93;
    // Looked at once a second at most.
    await writeIntent(spool, intentOf('b'));
    ids.timeMs += 1001;
    await writeIntent(spool, intentOf('c')).catch(() => undefined);
    await expect(writeIntent(spool, intentOf('d'))).rejects.toMatchObject({ code: 'overloaded' });
    expect(spool.refusing).toBe(true);
    await writeFinal(spool, finalOf('a'));
    expect(alarms).toEqual(['the disk of the spool is full: new requests are refused']);
    usedShare = 0.91;
    ids.timeMs += 1001;
    await writeIntent(spool, intentOf('e')).catch(() => undefined);
    await writeIntent(spool, intentOf('f'));
    await spool.close();
  });

  it('gives what room a full disk has to finals', async () => {
    let capacityBytes = Number.POSITIVE_INFINITY;
    const disk: SpoolDisk = {
      ...nodeDisk,
      write: (fd, bytes, start, length, position) => {
        if (position >= capacityBytes) throw ioError('ENOSPC');
        return nodeDisk.write(fd, bytes, start, Math.min(length, capacityBytes - position), position);
      },
    };
    const { spool } = await openTestSpool(folder, 1n, { disk });
    await writeIntent(spool, intentOf('a'));
    const file = `${folder}/0000000000000001/00000001.seg`;
    const before = fs.statSync(file).size;
    await writeFinal(spool, finalOf('x'));
    const finalBytes = fs.statSync(file).size - before;
    // Two intents and a final do not fit, the final alone does; the first write stops in the middle of a record.
    capacityBytes = before + finalBytes * 2 + 20;
    const results = await Promise.allSettled([
      writeIntent(spool, intentOf('b')),
      writeIntent(spool, intentOf('c')),
      writeFinal(spool, finalOf('a')),
    ]);
    expect(results.map((result) => result.status)).toEqual(['rejected', 'rejected', 'fulfilled']);
    await expect(writeIntent(spool, intentOf('d'))).rejects.toMatchObject({ code: 'overloaded' });
    await expect(writeFinal(spool, finalOf('too much'))).rejects.toMatchObject({ code: 'internal_error' });
    expect(spool.unackedChargeNano('acc_1')).toBe(2000n);
    capacityBytes = Number.POSITIVE_INFINITY;
    await spool.close();
    const second = await openTestSpool(folder, 2n);
    expect(second.alarms).toEqual([]);
    expect((await retainedFinals(second.spool)).map((final) => final.requestId)).toEqual(['x', 'a']);
    await second.spool.close();
  });

  it('deletes acknowledged segments after a day, at once when the disk is full, and never others', async () => {
    const ids = heldIds();
    let usedShare = 0.5;
    const disk: SpoolDisk = { ...nodeDisk, statfs: () => Promise.resolve({ usedShare }) };
    const { spool } = await openTestSpool(folder, 1n, { disk, limits: { segmentBytes: 3000 } }, ids);
    for (let index = 0; index < 40; index++) await writeFinal(spool, finalOf(`f${index}`));
    await durable(spool);
    const count = () => fs.readdirSync(`${folder}/0000000000000001`).length;
    const before = count();
    spool.acknowledge(1n, 20);
    expect(count()).toBe(before);
    ids.timeMs += 24 * 3600 * 1000 - 1;
    spool.acknowledge(1n, 21);
    expect(count()).toBe(before);
    ids.timeMs += 1;
    spool.acknowledge(1n, 22);
    const left = count();
    expect(left).toBeLessThan(before);
    expect(spool.incarnations()[0]?.firstSeq).toBeLessThanOrEqual(23);
    expect((await retainedFinals(spool)).slice(-18).map((final) => final.requestId)).toEqual(
      Array.from({ length: 18 }, (_, index) => `f${index + 22}`),
    );
    ids.timeMs = 1_790_000_000_000 + 1000;
    spool.acknowledge(1n, 39);
    expect(count()).toBe(left);
    usedShare = 0.99;
    ids.timeMs += 1001;
    await writeIntent(spool, intentOf('late')).catch(() => undefined);
    await writeFinal(spool, finalOf('f40'));
    await durable(spool);
    expect(count()).toBeLessThan(left);
    expect((await retainedFinals(spool)).at(-1)?.requestId).toBe('f40');
    await spool.close();
  });
});
