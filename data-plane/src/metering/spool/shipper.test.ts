import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Shipper } from './shipper.ts';

const LIMITS = { inFlightBatches: 4, lingerMs: 50, quietMs: 5000 };

function openShipper(lastSeq: number): Shipper {
  const shipper = new Shipper(LIMITS);
  shipper.open([{ incarnation: 1n, firstSeq: 1, lastSeq }]);
  shipper.opened(new Map());
  return shipper;
}

describe('the shipper', () => {
  it('sends older incarnations first, from behind what is acknowledged', () => {
    const shipper = new Shipper(LIMITS);
    shipper.open([
      { incarnation: 7n, firstSeq: 1, lastSeq: 10 },
      { incarnation: 3n, firstSeq: 1, lastSeq: 4 },
    ]);
    expect(shipper.next(0)).toEqual({ kind: 'idle' });
    expect(shipper.opened(new Map([[7n, 6]]))).toEqual([
      { incarnation: 7n, ackedSeq: 6, lostSeqs: 0 },
      { incarnation: 3n, ackedSeq: 0, lostSeqs: 0 },
    ]);
    expect(shipper.next(0)).toEqual({ kind: 'read', incarnation: 7n, fromSeq: 7 });
    shipper.sent(0, { incarnation: 7n, firstSeq: 7, lastSeq: 10 });
    expect(shipper.next(0)).toEqual({ kind: 'read', incarnation: 3n, fromSeq: 1 });
    expect(shipper.unackedSeqs).toBe(8);
  });

  it('says what is lost when the older part is gone', () => {
    const shipper = new Shipper(LIMITS);
    shipper.open([{ incarnation: 1n, firstSeq: 100, lastSeq: 120 }]);
    expect(shipper.opened(new Map([[1n, 49]]))).toEqual([{ incarnation: 1n, ackedSeq: 49, lostSeqs: 50 }]);
    expect(shipper.next(0)).toEqual({ kind: 'read', incarnation: 1n, fromSeq: 100 });
  });

  it('has at most four batches in flight', () => {
    const shipper = openShipper(100);
    for (let seq = 1; seq <= 4; seq++) shipper.sent(0, { incarnation: 1n, firstSeq: seq, lastSeq: seq });
    expect(shipper.next(0)).toEqual({ kind: 'idle' });
    expect(shipper.acknowledged(1n, 1)).toBe('advanced');
    expect(shipper.next(0)).toEqual({ kind: 'read', incarnation: 1n, fromSeq: 5 });
  });

  it('refuses to leave a gap, and does not believe an acknowledgement of what it did not send', () => {
    const shipper = openShipper(100);
    expect(() => shipper.sent(0, { incarnation: 1n, firstSeq: 2, lastSeq: 5 })).toThrow('does not follow');
    shipper.sent(0, { incarnation: 1n, firstSeq: 1, lastSeq: 5 });
    expect(shipper.acknowledged(1n, 6)).toBe('ahead');
    expect(shipper.acknowledged(2n, 1)).toBe('ahead');
    expect(shipper.acknowledged(1n, 5)).toBe('advanced');
    expect(shipper.acknowledged(1n, 5)).toBe('stale');
    expect(shipper.acknowledged(1n, 3)).toBe('stale');
    expect(shipper.unackedSeqs).toBe(95);
  });

  it('lets a final wait 50 ms for company and other records 5 s, and nothing when the node goes down', () => {
    const shipper = openShipper(0);
    shipper.durable(1000, 1, 0);
    expect(shipper.next(1000)).toEqual({ kind: 'wait', waitMs: 5000 });
    shipper.durable(2000, 2, 2);
    expect(shipper.next(2000)).toEqual({ kind: 'wait', waitMs: 50 });
    shipper.durable(2040, 3, 3);
    expect(shipper.next(2040)).toEqual({ kind: 'wait', waitMs: 10 });
    expect(shipper.next(2050)).toEqual({ kind: 'read', incarnation: 1n, fromSeq: 1 });
    shipper.sent(2050, { incarnation: 1n, firstSeq: 1, lastSeq: 3 });
    shipper.durable(3000, 4, 3);
    expect(shipper.next(3000)).toEqual({ kind: 'wait', waitMs: 5000 });
    expect(shipper.next(8000)).toEqual({ kind: 'read', incarnation: 1n, fromSeq: 4 });
    shipper.sent(8000, { incarnation: 1n, firstSeq: 4, lastSeq: 4 });
    shipper.durable(8100, 5, 3);
    shipper.hurry();
    expect(shipper.next(8100)).toEqual({ kind: 'read', incarnation: 1n, fromSeq: 5 });
  });

  it('sends up to a seq at once when somebody waits for it, and lets what follows wait again', () => {
    const shipper = openShipper(0);
    shipper.durable(1000, 1, 1);
    shipper.hurry(2);
    expect(shipper.next(1000)).toEqual({ kind: 'read', incarnation: 1n, fromSeq: 1 });
    shipper.sent(1000, { incarnation: 1n, firstSeq: 1, lastSeq: 1 });
    shipper.durable(1010, 2, 2);
    expect(shipper.next(1010)).toEqual({ kind: 'read', incarnation: 1n, fromSeq: 2 });
    shipper.sent(1010, { incarnation: 1n, firstSeq: 2, lastSeq: 2 });
    shipper.durable(1020, 3, 3);
    shipper.hurry(1);
    expect(shipper.next(1020)).toEqual({ kind: 'wait', waitMs: 50 });
  });

  it('covers each seq exactly once by cursor, whatever streams break and whichever acknowledgements get lost', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('send', 'send', 'serve', 'ack', 'break', 'grow'), fc.integer({ min: 1, max: 9 })), {
          maxLength: 200,
        }),
        (steps) => {
          const shipper = new Shipper(LIMITS);
          let lastSeq = 5;
          let cursor = 0;
          let stream: { firstSeq: number; lastSeq: number }[] = [];
          let acks: number[] = [];
          const reopen = () => {
            stream = [];
            acks = [];
            shipper.open([{ incarnation: 1n, firstSeq: 1, lastSeq }]);
            shipper.opened(new Map([[1n, cursor]]));
          };
          const serve = () => {
            const batch = stream.shift();
            if (batch === undefined) return;
            // The control plane closes a stream with a gap.
            expect(batch.firstSeq).toBeLessThanOrEqual(cursor + 1);
            cursor = Math.max(cursor, batch.lastSeq);
            acks.push(cursor);
          };
          const send = (count: number) => {
            const step = shipper.next(1e9);
            if (step.kind !== 'read') return;
            const batch = { incarnation: 1n, firstSeq: step.fromSeq, lastSeq: Math.min(lastSeq, step.fromSeq + count - 1) };
            shipper.sent(1e9, batch);
            stream.push(batch);
          };
          const ack = () => {
            const seq = acks.shift();
            if (seq !== undefined) expect(shipper.acknowledged(1n, seq)).not.toBe('ahead');
          };
          reopen();
          for (const [kind, count] of steps) {
            if (kind === 'send') send(count);
            else if (kind === 'serve') serve();
            else if (kind === 'ack') ack();
            else if (kind === 'break') reopen();
            else {
              lastSeq += count;
              shipper.durable(0, lastSeq, lastSeq);
            }
          }
          reopen();
          for (let round = 0; round < lastSeq && shipper.unackedSeqs > 0; round++) {
            send(9);
            serve();
            ack();
          }
          expect(cursor).toBe(lastSeq);
          expect(shipper.unackedSeqs).toBe(0);
        },
      ),
    );
  });
});
