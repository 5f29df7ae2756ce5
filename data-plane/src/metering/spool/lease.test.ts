import fs from 'node:fs';
import path from 'node:path';
import { GatewayError } from '@meridian/domain/error';
import type { LeaseRecord } from '@meridian/domain/lease';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SpoolDisk } from './disk.ts';
import {
  durable,
  heldIds,
  intentOf,
  leasedFinalOf,
  leaseIdOf,
  leaseOf,
  newFolder,
  openTestSpool,
  roomyDisk,
  writeFinal,
  writeIntent,
  writeLease,
} from './testing.ts';

const HOUR_MS = 3600 * 1000;

let folder: string;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

describe('leases in the spool', () => {
  it('are merged by max, used by the sum over finals, and known again after a restart', async () => {
    const first = await openTestSpool(folder, 1n);
    expect(await writeLease(first.spool, leaseOf(1, 100))).toBe(1);
    expect(await writeLease(first.spool, { ...leaseOf(2, 50), used: 9 })).toBe(2);
    await writeFinal(first.spool, leasedFinalOf('a', 1, 30n));
    await writeFinal(first.spool, leasedFinalOf('b', 1, 12n));
    await writeFinal(first.spool, leasedFinalOf('of nobody', 9, 12n));
    await writeLease(first.spool, { ...leaseOf(1, 200, 20), used: 77 });
    await writeLease(first.spool, leaseOf(1, 150, 10));
    const expected: LeaseRecord[] = [{ ...leaseOf(1, 200, 20), used: 42 }, leaseOf(2, 50)];
    expect(first.spool.leases()).toEqual(expected);
    await first.spool.close();
    const second = await openTestSpool(folder, 2n);
    expect(second.spool.leases()).toEqual(expected);
    // A record that is ingested behind all of the first boot, which is how the desk knows what was returned to be in.
    expect(second.spool.lastSeq).toBe(1);
    await writeFinal(second.spool, leasedFinalOf('c', 2, 8n));
    await writeLease(second.spool, { ...leaseOf(2, 50), closed: true });
    await second.spool.close();
    const third = await openTestSpool(folder, 3n);
    expect(third.spool.leases()).toEqual([expected[0], { ...leaseOf(2, 50), used: 8, closed: true }]);
    await third.spool.close();
  });

  it('go up in batches, from memory and from the disk alike', async () => {
    const first = await openTestSpool(folder, 1n);
    await writeLease(first.spool, leaseOf(1, 100));
    await writeIntent(first.spool, intentOf('a'));
    await writeFinal(first.spool, leasedFinalOf('a', 1, 30n));
    await writeLease(first.spool, leaseOf(1, 100, 70));
    await durable(first.spool);
    const limits = { maxRecords: 10, maxBytes: 1e6 };
    const whole = await first.spool.readFrom(1n, 1, limits);
    expect(whole).toEqual({
      incarnation: 1n,
      firstSeq: 1,
      lastSeq: 4,
      finals: [{ seq: 3, final: leasedFinalOf('a', 1, 30n) }],
      leases: [
        { seq: 1, lease: leaseOf(1, 100) },
        { seq: 4, lease: leaseOf(1, 100, 70) },
      ],
    });
    const few = await first.spool.readFrom(1n, 1, { maxRecords: 2, maxBytes: 1e6 });
    expect(few).toMatchObject({ lastSeq: 3, finals: [{ seq: 3 }], leases: [{ seq: 1 }] });
    await first.spool.close();
    const second = await openTestSpool(folder, 2n);
    expect(await second.spool.readFrom(1n, 1, limits)).toEqual(whole);
    expect(await second.spool.readFrom(1n, 1, { maxRecords: 2, maxBytes: 1e6 })).toEqual(few);
    await second.spool.close();
  });

  it('make the control plane wait for a return and an end, not for a grant', async () => {
    const { spool } = await openTestSpool(folder, 1n);
    await writeLease(spool, leaseOf(1, 100));
    await durable(spool);
    expect(spool.durableAwaitedSeq).toBe(0);
    await writeLease(spool, leaseOf(1, 200, 5));
    await durable(spool);
    expect(spool.durableAwaitedSeq).toBe(2);
    await writeLease(spool, leaseOf(1, 300, 5));
    await durable(spool);
    expect(spool.durableAwaitedSeq).toBe(2);
    await writeLease(spool, { ...leaseOf(1, 300, 5), closed: true });
    await durable(spool);
    expect(spool.durableAwaitedSeq).toBe(4);
    await spool.close();
  });

  it('are taken while new requests are refused, and refused when the spool is closed', async () => {
    const ids = heldIds();
    const disk: SpoolDisk = { ...roomyDisk, statfs: () => Promise.resolve({ usedShare: 0.95 }) };
    const { spool } = await openTestSpool(folder, 1n, { disk }, ids);
    await expect(writeIntent(spool, intentOf('a'))).rejects.toMatchObject({ code: 'overloaded' });
    expect(await writeLease(spool, leaseOf(1, 100, 100))).toBe(1);
    await spool.close();
    await expect(writeLease(spool, leaseOf(1, 100))).rejects.toBeInstanceOf(GatewayError);
  });

  it('count each final once where a suspect file was written anew', async () => {
    let failures = 0;
    const disk: SpoolDisk = {
      ...roomyDisk,
      fdatasync: (fd) => (failures-- > 0 ? Promise.reject(new Error('EIO')) : roomyDisk.fdatasync(fd)),
    };
    const first = await openTestSpool(folder, 1n, { disk });
    await writeLease(first.spool, leaseOf(1, 1000));
    await writeFinal(first.spool, leasedFinalOf('safe', 1, 1n));
    await durable(first.spool);
    failures = 1;
    await writeFinal(first.spool, leasedFinalOf('suspect', 1, 10n));
    await durable(first.spool);
    await writeFinal(first.spool, leasedFinalOf('after', 1, 100n));
    expect(first.spool.leases()).toEqual([{ ...leaseOf(1, 1000), used: 111 }]);
    await first.spool.close();
    expect(fs.readdirSync(path.join(folder, '0000000000000001'))).toHaveLength(2);
    const second = await openTestSpool(folder, 2n);
    expect(second.spool.leases()).toEqual([{ ...leaseOf(1, 1000), used: 111 }]);
    await second.spool.close();
  });

  it('survive the deletion of all segments that named them', async () => {
    const ids = heldIds();
    const first = await openTestSpool(folder, 1n, { limits: { segmentBytes: 3000 } }, ids);
    await writeLease(first.spool, leaseOf(1, 1000));
    for (let index = 0; index < 30; index++) await writeFinal(first.spool, leasedFinalOf(`f${index}`, 1, 3n));
    await durable(first.spool);
    ids.timeMs += 25 * HOUR_MS;
    first.spool.acknowledge(1n, 30);
    expect(first.spool.incarnations()[0]?.firstSeq).toBeGreaterThan(20);
    await first.spool.close();
    const second = await openTestSpool(folder, 2n, {}, ids);
    expect(second.spool.leases()).toEqual([{ ...leaseOf(1, 1000), used: 90 }]);
    await second.spool.close();
  });

  it('are forgotten a day after their end, but not while a retained record is as old', async () => {
    const ids = heldIds();
    const limits = { segmentBytes: 3000 };
    const boot = async (incarnation: bigint) => (await openTestSpool(folder, incarnation, { limits }, ids)).spool;
    const first = await boot(1n);
    await writeLease(first, leaseOf(1, 1000));
    await writeLease(first, leaseOf(2, 1000));
    await writeLease(first, { ...leaseOf(1, 1000, 1000), closed: true });
    await first.close();
    ids.timeMs += 23 * HOUR_MS;
    const second = await boot(2n);
    second.acknowledge(1n, 3);
    await second.close();
    const third = await boot(3n);
    expect(third.leases().map((lease) => lease.leaseId)).toEqual([leaseIdOf(1), leaseIdOf(2)]);
    await third.close();
    for (let incarnation = 4n; incarnation < 8n; incarnation++) {
      ids.timeMs += 25 * HOUR_MS;
      const spool = await boot(incarnation);
      for (const range of spool.incarnations()) spool.acknowledge(range.incarnation, range.lastSeq);
      await spool.close();
    }
    const last = await boot(8n);
    expect(last.leases().map((lease) => lease.leaseId)).toEqual([leaseIdOf(2)]);
    await last.close();
  });

  it('stay as long as an unacknowledged record may name them', async () => {
    const ids = heldIds();
    const first = await openTestSpool(folder, 1n, {}, ids);
    await writeLease(first.spool, leaseOf(1, 1000));
    await writeLease(first.spool, { ...leaseOf(1, 1000, 1000), closed: true });
    await first.spool.close();
    for (let boot = 2n; boot < 5n; boot++) {
      ids.timeMs += 48 * HOUR_MS;
      const { spool } = await openTestSpool(folder, boot, {}, ids);
      expect(spool.leases()).toHaveLength(1);
      await spool.close();
    }
  });

  it('are no longer its own when the folder went backwards, and the former id is told until what was retained is acknowledged', async () => {
    const ids = heldIds();
    const boot = async (incarnation: bigint) => (await openTestSpool(folder, incarnation, {}, ids)).spool;
    const first = await boot(1n);
    await writeLease(first, leaseOf(1, 1000));
    await writeFinal(first, leasedFinalOf('a', 1, 5n));
    await durable(first);
    first.acknowledge(1n, 2);
    await first.close();
    const segment = path.join(folder, '0000000000000001/00000001.seg');
    fs.truncateSync(segment, fs.statSync(segment).size - 1);

    const second = await boot(2n);
    expect(second.spoolId).not.toBe(first.spoolId);
    expect(second.leases()).toEqual([]);
    expect(second.replacesSpoolId).toBe(first.spoolId);
    await writeLease(second, leaseOf(7, 70));
    await second.close();

    const third = await boot(3n);
    expect(third.spoolId).toBe(second.spoolId);
    expect(third.leases()).toEqual([leaseOf(7, 70)]);
    expect(third.replacesSpoolId).toBe(first.spoolId);
    third.acknowledge(1n, 1);
    expect(third.replacesSpoolId).toBeUndefined();
    third.rewind(1n, 0);
    expect(third.replacesSpoolId).toBe(first.spoolId);
    third.acknowledge(1n, 1);
    await third.close();

    ids.timeMs += 25 * HOUR_MS;
    await (await boot(4n)).close();
    const fifth = await boot(5n);
    expect(fifth.replacesSpoolId).toBeUndefined();
    expect(fs.readFileSync(path.join(folder, 'spool.id'), 'utf8')).toBe(`${second.spoolId}\n`);
    expect(fifth.leases()).toEqual([leaseOf(7, 70)]);
    await fifth.close();
  });

  it('come back the same from any run of records, segment size and restarts', async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ kind: fc.constant('final' as const), lease: fc.integer({ min: 1, max: 3 }), amount: fc.nat(50) }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant('lease' as const),
          lease: fc.integer({ min: 1, max: 3 }),
          granted: fc.nat(1000),
          returned: fc.nat(500),
        }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('ack' as const) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer({ min: 600, max: 6000 }), async (steps, segmentBytes) => {
        const own = newFolder();
        try {
          const ids = heldIds();
          let incarnation = 1n;
          const open = async () => (await openTestSpool(own, incarnation, { limits: { segmentBytes } }, ids)).spool;
          let spool = await open();
          const model = new Map<number, { granted: number; returned: number; used: number }>();
          for (const [index, one] of steps.entries()) {
            ids.timeMs += 10 * HOUR_MS;
            if (one.kind === 'lease') {
              await writeLease(spool, leaseOf(one.lease, one.granted, one.returned));
              const known = model.get(one.lease) ?? { granted: 0, returned: 0, used: 0 };
              known.granted = Math.max(known.granted, one.granted);
              known.returned = Math.max(known.returned, one.returned);
              model.set(one.lease, known);
            } else if (one.kind === 'final') {
              await writeFinal(spool, leasedFinalOf(`f${index}`, one.lease, BigInt(one.amount)));
              const known = model.get(one.lease);
              if (known !== undefined) known.used += one.amount;
            } else if (one.kind === 'ack') {
              await durable(spool);
              for (const range of spool.incarnations()) spool.acknowledge(range.incarnation, range.lastSeq);
            } else {
              await spool.close();
              incarnation++;
              spool = await open();
            }
            expect(spool.leases()).toEqual(
              [...model].map(([lease, known]) => ({ ...leaseOf(lease, known.granted, known.returned), used: known.used })),
            );
          }
          await spool.close();
        } finally {
          fs.rmSync(own, { recursive: true });
        }
      }),
      { numRuns: 40 },
    );
  }, 60_000);
});
