import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SpoolDisk } from './disk.ts';
import {
  durable,
  finalOf,
  heldIds,
  intentOf,
  leaseOf,
  newFolder,
  openTestSpool,
  retainedFinals,
  roomyDisk,
  writeFinal,
  writeIntent,
  writeLease,
} from './testing.ts';
import { nodeTimers, type SpoolTimers } from './timers.ts';

let folder: string;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

function ioError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

/** A disk whose files can be cut back to what was durable of them, as a power cut would. `failing` makes every fdatasync fail. */
function forgetfulDisk(): { disk: SpoolDisk; control: { failing: boolean; synced: string[] }; powerCut: () => void } {
  const paths = new Map<number, string>();
  const durableBytes = new Map<string, number>();
  const control = { failing: false, synced: [] as string[] };
  const sync = (fd: number) => {
    const file = paths.get(fd) ?? '';
    control.synced.push(file);
    const bytes = fs.fstatSync(fd).size;
    if (control.failing) throw ioError('EIO');
    durableBytes.set(file, bytes);
  };
  const disk: SpoolDisk = {
    ...roomyDisk,
    open: (file, flags) => {
      const fd = roomyDisk.open(file, flags);
      paths.set(fd, file);
      return fd;
    },
    fdatasync: (fd) => Promise.resolve().then(() => sync(fd)),
    fdatasyncNow: sync,
    rename: (from, to) => {
      roomyDisk.rename(from, to);
      for (const [fd, file] of paths) if (file === from) paths.set(fd, to);
      durableBytes.set(to, durableBytes.get(from) ?? 0);
    },
  };
  const powerCut = () => {
    for (const [file, bytes] of durableBytes) if (file.endsWith('.seg') && fs.existsSync(file)) fs.truncateSync(file, bytes);
  };
  return { disk, control, powerCut };
}

/** Timers of the process, but for those of a second or more: they run when they are told to. */
function heldTimers(): { timers: SpoolTimers; fire: () => void; waiting: () => number } {
  const held = new Set<() => void>();
  const timers: SpoolTimers = {
    ...nodeTimers,
    after: (delayMs, run) => {
      if (delayMs < 1000) return nodeTimers.after(delayMs, run);
      held.add(run);
      return () => held.delete(run);
    },
  };
  const fire = () => {
    for (const run of [...held]) {
      held.delete(run);
      run();
    }
  };
  return { timers, fire, waiting: () => held.size };
}

describe('the spool on a failing disk', () => {
  it('refuses new requests after two failed syncs, goes on writing finals, and admits again when one succeeds', async () => {
    const { disk, control, powerCut } = forgetfulDisk();
    const { timers, fire, waiting } = heldTimers();
    const { spool, alarms } = await openTestSpool(folder, 1n, { disk, timers, limits: { segmentBytes: 4000 } });
    await writeIntent(spool, intentOf('f0'));
    await durable(spool);
    const folderOfOne = `${folder}/0000000000000001`;
    control.failing = true;
    const names = ['f0'];
    await writeFinal(spool, finalOf('f0'));
    await vi.waitFor(() => expect(waiting()).toBe(1));
    expect(spool.refusing).toBe(true);
    await expect(writeIntent(spool, intentOf('x'))).rejects.toMatchObject({ code: 'overloaded' });
    expect(alarms).toEqual(['the spool could not be made durable', 'the spool could not be made durable']);
    const filesThen = fs.readdirSync(folderOfOne).length;
    for (let index = 1; index < 4; index++) {
      names.push(`f${index}`);
      await writeFinal(spool, finalOf(`f${index}`));
    }
    expect(fs.readdirSync(folderOfOne)).toHaveLength(filesThen);
    // More than the segment takes.
    for (let index = 4; index < 30; index++) {
      names.push(`f${index}`);
      await writeFinal(spool, finalOf(`f${index}`));
    }
    expect(spool.refusing).toBe(true);
    expect(spool.durableSeq).toBe(1);
    await vi.waitFor(() => expect(waiting()).toBe(1));
    control.failing = false;
    fire();
    await durable(spool);
    expect(spool.refusing).toBe(false);
    await writeIntent(spool, intentOf('y'));
    await durable(spool);
    powerCut();
    expect((await retainedFinals(spool)).map((final) => final.requestId)).toEqual(names);
    await spool.close();
    powerCut();
    const second = await openTestSpool(folder, 2n);
    const found = (await retainedFinals(second.spool)).filter((final) => final.outcome !== 'recovered');
    expect(found.map((final) => final.requestId)).toEqual(names);
    await second.spool.close();
  });

  it('makes durable what a killed process only wrote, before it closes its requests', async () => {
    const { disk, control, powerCut } = forgetfulDisk();
    // From the first record on its syncs take for ever: it dies before one returns.
    const { promise: never } = Promise.withResolvers<void>();
    let dying = false;
    const first = await openTestSpool(folder, 1n, { disk: { ...disk, fdatasync: (fd) => (dying ? never : disk.fdatasync(fd)) } });
    dying = true;
    await writeIntent(first.spool, intentOf('a'));
    await writeIntent(first.spool, intentOf('b'));
    await writeFinal(first.spool, finalOf('a', 5n));
    const image = newFolder();
    fs.cpSync(folder, image, { recursive: true });
    control.synced.length = 0;
    const second = await openTestSpool(image, 2n, { disk });
    expect(control.synced[0]).toBe(`${image}/0000000000000001/00000001.seg`);
    await second.spool.close();
    powerCut();
    const third = await openTestSpool(image, 3n);
    expect((await retainedFinals(third.spool)).map((final) => [final.requestId, final.outcome])).toEqual([
      ['a', 'success'],
      ['b', 'recovered'],
    ]);
    await third.spool.close();
    fs.rmSync(image, { recursive: true });
  });

  it('warns once when the disk is filling up, and again when that has passed and comes back', async () => {
    const ids = heldIds();
    let usedShare = 0.69;
    const disk: SpoolDisk = { ...roomyDisk, statfs: () => Promise.resolve({ usedShare }) };
    const { spool, alarms } = await openTestSpool(folder, 1n, { disk }, ids);
    const look = async (share: number) => {
      usedShare = share;
      ids.timeMs += 1001;
      for (const name of ['a', 'b']) await writeIntent(spool, intentOf(name));
    };
    expect(alarms).toEqual([]);
    await look(0.7);
    await look(0.8);
    expect(alarms).toEqual(['the disk of the spool is filling up']);
    await look(0.6);
    await look(0.75);
    expect(alarms).toHaveLength(2);
    await spool.close();
  });

  it('never syncs a file again whose fdatasync failed, and loses nothing', async () => {
    const failed = new Set<number>();
    let failures = 0;
    const disk: SpoolDisk = {
      ...roomyDisk,
      open: (file, flags) => {
        const fd = roomyDisk.open(file, flags);
        failed.delete(fd);
        return fd;
      },
      fdatasync: async (fd) => {
        if (failed.has(fd)) throw new Error('synced a suspect file again');
        // Every third one fails, after the kernel has let go of the pages.
        if (++failures % 3 !== 0) return roomyDisk.fdatasync(fd);
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
    await spool.close();
    const second = await openTestSpool(folder, 2n);
    expect((await retainedFinals(second.spool)).map((final) => final.requestId)).toEqual(names);
    await second.spool.close();
  });

  it('reads on from the new segment where the suspect file lost its pages', async () => {
    let failures = 0;
    const disk: SpoolDisk = {
      ...roomyDisk,
      fdatasync: (fd) => (failures-- > 0 ? Promise.reject(ioError('EIO')) : roomyDisk.fdatasync(fd)),
    };
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
    const disk: SpoolDisk = { ...roomyDisk, fdatasync: (fd) => (hold ? held.promise : roomyDisk.fdatasync(fd)) };
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
    const disk: SpoolDisk = { ...roomyDisk, statfs: () => Promise.resolve({ usedShare }) };
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
      ...roomyDisk,
      write: (fd, bytes, start, length, position) => {
        if (position >= capacityBytes) throw ioError('ENOSPC');
        return roomyDisk.write(fd, bytes, start, Math.min(length, capacityBytes - position), position);
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
    const disk: SpoolDisk = { ...roomyDisk, statfs: () => Promise.resolve({ usedShare }) };
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

  it('misses nothing that a later segment took over from one whose beginning is gone', { timeout: 30_000 }, async () => {
    const { disk, control } = forgetfulDisk();
    const incarnation = `${folder}/0000000000000001`;
    const { spool, ids } = await openTestSpool(folder, 1n, { disk });
    control.failing = true;
    await writeFinal(spool, finalOf('a'));
    await vi.waitFor(() => expect(fs.readdirSync(incarnation)).toHaveLength(2));
    const upToHereBytes = fs.statSync(`${incarnation}/00000002.seg`).size;
    await vi.waitFor(() => expect(spool.refusing).toBe(true));
    await writeFinal(spool, finalOf('b'));
    control.failing = false;
    await vi.waitFor(() => expect(spool.durableSeq).toBe(2), { timeout: 20_000 });
    await spool.close();
    fs.truncateSync(`${incarnation}/00000001.seg`, 0);
    const fd = fs.openSync(`${incarnation}/00000002.seg`, 'r+');
    fs.writeSync(fd, Buffer.alloc(upToHereBytes), 0, upToHereBytes, 0);
    fs.closeSync(fd);
    const second = await openTestSpool(folder, 2n, {}, ids);
    expect(second.spool.incarnations()[0]).toMatchObject({ firstSeq: 1, lastSeq: 2 });
    expect((await retainedFinals(second.spool)).map((final) => final.requestId)).toEqual(['a', 'b']);
    await second.spool.close();
  });

  it('deletes nothing before the checkpoint that takes it over is durable', async () => {
    const { disk, control, powerCut } = forgetfulDisk();
    let usedShare = 0.5;
    const options = { disk: { ...disk, statfs: () => Promise.resolve({ usedShare }) } };
    const { spool, ids } = await openTestSpool(folder, 1n, options);
    await writeLease(spool, leaseOf(1, 100, 90));
    await durable(spool);
    spool.acknowledge(1n, spool.lastSeq);
    control.failing = true;
    await writeFinal(spool, finalOf('a'));
    await vi.waitFor(() => expect(fs.readdirSync(`${folder}/0000000000000001`)).toHaveLength(2));
    usedShare = 0.99;
    ids.timeMs += 1001;
    await writeIntent(spool, intentOf('refused')).catch(() => undefined);
    await vi.waitFor(() => expect(spool.refusing).toBe(true));
    await writeFinal(spool, finalOf('b'));
    powerCut();
    control.failing = false;
    const second = await openTestSpool(`${folder}`, 2n, { disk: { ...options.disk, lock: () => ({ release: () => undefined }) } }, ids);
    expect(second.spool.leases()).toEqual([leaseOf(1, 100, 90)]);
    await second.spool.close();
    await spool.close();
  });
});
