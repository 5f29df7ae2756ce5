import fs from 'node:fs';
import { GatewayError } from '@meridian/domain/error';
import { recoveredFinal } from '@meridian/domain/usage-record';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  durable,
  finalOf,
  heldIds,
  intentOf,
  newFolder,
  openTestSpool,
  retainedFinals,
  roomyDisk,
  writeFinal,
  writeIntent,
} from './testing.ts';

let folder: string;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

describe('the spool', () => {
  it('numbers records from 1 and reads its durable finals back', async () => {
    const { spool } = await openTestSpool(folder, 1n);
    await writeIntent(spool, intentOf('a'));
    await Promise.all([writeIntent(spool, intentOf('b')), writeFinal(spool, finalOf('a')), writeFinal(spool, finalOf('b', 5n))]);
    expect(spool.lastSeq).toBe(4);
    await durable(spool);
    expect(spool.durableAwaitedSeq).toBe(4);
    expect(spool.incarnations()).toEqual([{ incarnation: 1n, firstSeq: 1, lastSeq: 4 }]);
    expect(await spool.readFrom(1n, 2, { maxRecords: 10, maxBytes: 1e6 })).toEqual({
      incarnation: 1n,
      firstSeq: 2,
      lastSeq: 4,
      finals: [
        { seq: 3, final: finalOf('a') },
        { seq: 4, final: finalOf('b', 5n) },
      ],
      leases: [],
    });
    expect(await spool.readFrom(1n, 5, { maxRecords: 10, maxBytes: 1e6 })).toBeUndefined();
    await spool.close();
  });

  it('calls a waiter only when the record is in the file', async () => {
    const { spool } = await openTestSpool(folder, 1n);
    const segment = `${folder}/0000000000000001/00000001.seg`;
    const before = fs.statSync(segment).size;
    let called = false;
    spool.final(finalOf('a'), () => {
      called = true;
      expect(fs.statSync(segment).size).toBeGreaterThan(before);
      expect(fs.readFileSync(segment).includes('a\x05\0acc_1')).toBe(true);
    });
    expect(called).toBe(false);
    await writeFinal(spool, finalOf('b'));
    expect(called).toBe(true);
    await spool.close();
  });

  it('closes at the next boot, free of charge, what was open when it died', async () => {
    const first = await openTestSpool(folder, 0xf1n);
    await writeIntent(first.spool, intentOf('done'));
    await writeIntent(first.spool, intentOf('open'));
    await writeFinal(first.spool, finalOf('done', 9n));
    await first.spool.close();

    const second = await openTestSpool(folder, 0x02n);
    expect(await retainedFinals(second.spool)).toEqual([finalOf('done', 9n), recoveredFinal(intentOf('open'))]);
    expect(second.spool.lastSeq).toBe(2);
    expect(second.spool.spoolId).toBe(first.spool.spoolId);
    await second.spool.close();

    const third = await openTestSpool(folder, 0x03n);
    expect(await retainedFinals(third.spool)).toHaveLength(2);
    expect(third.spool.incarnations().map((range) => range.incarnation)).toEqual([0xf1n, 2n, 3n]);
    await third.spool.close();
  });

  it('never waits for the disk where it saves what is acknowledged: requests would wait with it', async () => {
    let waits = 0;
    const disk = {
      ...roomyDisk,
      fdatasyncNow: (fd: number) => {
        waits++;
        roomyDisk.fdatasyncNow(fd);
      },
    };
    const { spool } = await openTestSpool(folder, 1n, { disk });
    await writeFinal(spool, finalOf('a'));
    await durable(spool);
    waits = 0;
    spool.acknowledge(1n, 1);
    expect(fs.readFileSync(`${folder}/acked.json`, 'utf8')).toContain('"0000000000000001":1');
    expect(waits).toBe(0);
    await spool.close();
  });

  it('lets one process have the folder', async () => {
    const { spool } = await openTestSpool(folder, 1n);
    await expect(openTestSpool(folder, 2n)).rejects.toThrow(`data folder in use: ${folder}`);
    await spool.close();
    const again = await openTestSpool(folder, 2n);
    await again.spool.close();
  });

  it('refuses records when closed', async () => {
    const { spool } = await openTestSpool(folder, 1n);
    await spool.close();
    await expect(writeIntent(spool, intentOf('a'))).rejects.toMatchObject({ code: 'overloaded' });
    await expect(writeFinal(spool, finalOf('a'))).rejects.toBeInstanceOf(GatewayError);
  });

  it('refuses a record that does not fit the format, alone', async () => {
    const { spool } = await openTestSpool(folder, 1n);
    const bad = { ...intentOf('bad'), askedModel: 'x'.repeat(66_000) };
    const results = await Promise.allSettled([
      writeIntent(spool, intentOf('a')),
      writeIntent(spool, bad),
      writeIntent(spool, intentOf('c')),
    ]);
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(spool.lastSeq).toBe(2);
    await spool.close();
  });

  it('goes on in new segments and reads across them from any seq', async () => {
    const { spool } = await openTestSpool(folder, 1n, { limits: { segmentBytes: 3000 } });
    const names = Array.from({ length: 60 }, (_, index) => `request-${index}`);
    for (const name of names) {
      await writeIntent(spool, intentOf(name));
      await writeFinal(spool, finalOf(name));
    }
    await durable(spool);
    const segments = fs.readdirSync(`${folder}/0000000000000001`);
    expect(segments.length).toBeGreaterThan(5);
    for (const name of segments.slice(0, -1)) expect(fs.statSync(`${folder}/0000000000000001/${name}`).size).toBeLessThanOrEqual(3000);
    expect((await retainedFinals(spool)).map((final) => final.requestId)).toEqual(names);
    for (const seq of [1, 2, 37, 38, 119, 120]) {
      const batch = await spool.readFrom(1n, seq, { maxRecords: 1000, maxBytes: 1e9 });
      expect(batch).toMatchObject({ firstSeq: seq, lastSeq: 120 });
      expect(batch?.finals[0]?.seq).toBe(seq + (seq % 2));
    }
    await spool.close();
  });

  it('remembers across a restart what is acknowledged, which only a rewind lowers', async () => {
    const ids = heldIds();
    const first = await openTestSpool(folder, 1n, {}, ids);
    for (let index = 1; index <= 90; index++) await writeFinal(first.spool, finalOf(`r${index}`));
    await durable(first.spool);
    first.spool.acknowledge(1n, 50);
    first.spool.acknowledge(1n, 40);
    expect(first.spool.ackedSeq(1n)).toBe(50);
    await first.spool.close();
    const second = await openTestSpool(folder, 2n, {}, ids);
    expect(second.spool.ackedSeq(1n)).toBe(50);
    second.spool.rewind(1n, 60);
    expect(second.spool.ackedSeq(1n)).toBe(50);
    second.spool.rewind(1n, 49);
    expect(second.spool.ackedSeq(1n)).toBe(49);
    second.spool.acknowledge(1n, 90);
    expect(second.spool.ackedSeq(1n)).toBe(90);
    await second.spool.close();
  });
});
