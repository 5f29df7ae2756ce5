import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_RECENT_RECORDS, RecentRecords, type UploadedRecord } from './recent-records.ts';
import { finalOf, leaseOf } from './testing.ts';

const FINAL: UploadedRecord = { type: 'final', final: finalOf('req_1') };
const LEASE: UploadedRecord = { type: 'lease', lease: leaseOf(1, 10) };

describe('the recent records', () => {
  it('give the same batches as a list of all would, or none', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('add' as const),
        lease: fc.boolean(),
        gap: fc.integer({ min: 1, max: 3 }),
        bytes: fc.integer({ min: 1, max: 50 }),
      }),
      fc.record({ kind: fc.constant('ack' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
      fc.record({
        kind: fc.constant('batch' as const),
        share: fc.double({ min: 0, max: 1, noNaN: true }),
        maxRecords: fc.integer({ min: 1, max: 5 }),
        maxBytes: fc.integer({ min: 1, max: 120 }),
      }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const recent = new RecentRecords(1n);
        const all: { seq: number; bytes: number; lease: boolean }[] = [];
        let seq = 0;
        let acked = 0;
        for (const one of steps) {
          if (one.kind === 'add') {
            seq += one.gap;
            all.push({ seq, bytes: one.bytes, lease: one.lease });
            recent.add(seq, one.lease ? LEASE : FINAL, one.bytes);
          } else if (one.kind === 'ack') {
            acked = Math.max(acked, Math.floor(seq * one.share));
            recent.acknowledge(acked);
          } else {
            const from = Math.max(1, Math.floor(seq * one.share));
            const batch = recent.batch(from, seq, one);
            const gone = all.some((final) => final.seq >= from && final.seq <= acked);
            expect(batch === undefined).toBe(gone);
            if (batch === undefined) continue;
            const wanted = all.filter((final) => final.seq >= from && final.seq <= batch.lastSeq);
            const seqsOf = (lease: boolean) => wanted.filter((record) => record.lease === lease).map((record) => record.seq);
            expect(batch.finals.map((final) => final.seq)).toEqual(seqsOf(false));
            expect(batch.leases.map((lease) => lease.seq)).toEqual(seqsOf(true));
            expect(batch.firstSeq).toBe(from);
            expect(wanted.length).toBeLessThanOrEqual(Math.max(1, one.maxRecords));
            const next = all.find((final) => final.seq > batch.lastSeq);
            if (next === undefined) expect(batch.lastSeq).toBe(seq);
            else
              expect(wanted.length === one.maxRecords || wanted.reduce((sum, final) => sum + final.bytes, next.bytes) > one.maxBytes).toBe(
                true,
              );
          }
        }
      }),
    );
  });

  it('are so many at most: older ones are read from the disk', () => {
    const recent = new RecentRecords(1n);
    for (let seq = 1; seq <= MAX_RECENT_RECORDS + 10; seq++) recent.add(seq, FINAL, 100);
    const limits = { maxRecords: 5, maxBytes: 10_000 };
    expect(recent.batch(10, MAX_RECENT_RECORDS + 10, limits)).toBeUndefined();
    expect(recent.batch(11, MAX_RECENT_RECORDS + 10, limits)).toMatchObject({ firstSeq: 11, lastSeq: 15 });
  });
});
