import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LogGapError, LogWindow } from './log-window.ts';
import type { LogRow } from './store.ts';

function row(rev: number, entityId: string, byteCount = 10): LogRow {
  return { rev, kind: 'plan', entityId, payload: Buffer.alloc(byteCount, rev % 256), writtenAtMs: rev };
}

describe('LogWindow', () => {
  it('keeps the newest rows within its bytes, and at least one', () => {
    const window = new LogWindow(0, { maxBytes: 25 });
    window.append([row(1, 'a'), row(2, 'b'), row(3, 'c')]);
    expect([window.base, window.head, window.byteCount]).toEqual([1, 3, 20]);
    window.append([row(4, 'd', 100)]);
    expect([window.base, window.head, window.byteCount]).toEqual([3, 4, 100]);
  });

  it('refuses a row that is not the next one', () => {
    const window = new LogWindow(5);
    expect(() => window.append([row(7, 'a')])).toThrow(LogGapError);
    window.append([row(6, 'a')]);
    expect(() => window.append([row(6, 'a')])).toThrow(LogGapError);
  });

  it('tells how many bytes come after a rev, as long as all of them are here', () => {
    const window = new LogWindow(0, { maxBytes: 25 });
    window.append([row(1, 'a'), row(2, 'b', 12), row(3, 'c', 13)]);
    expect([0, 1, 2, 3, 4].map((rev) => window.lagBytes(rev))).toEqual([undefined, 25, 13, 0, 0]);
  });

  it('gives of each entity the newest state only, and ends where the bytes end', () => {
    const window = new LogWindow(0);
    window.append([row(1, 'a'), row(2, 'b'), row(3, 'a'), row(4, 'c'), row(5, 'b')]);
    const range = window.after(0, 25);
    expect(range).toMatchObject({ prevRev: 0, rev: 3, byteCount: 20 });
    expect(range !== 'behind' && range !== 'current' && range.payloads.map((payload) => payload[0])).toEqual([2, 3]);
    expect(window.after(3, 25)).toMatchObject({ rev: 5 });
    expect(window.after(5, 25)).toBe('current');
  });

  it('gives one row however large', () => {
    const window = new LogWindow(0);
    window.append([row(1, 'a', 500), row(2, 'b')]);
    expect(window.after(0, 25)).toMatchObject({ rev: 1, byteCount: 500 });
  });

  it('counts what stands around each entry', () => {
    const window = new LogWindow(0);
    window.append([row(1, 'a', 1), row(2, 'b', 1), row(3, 'a', 1), row(4, 'c', 1)]);
    expect(window.after(0, 10, 4)).toMatchObject({ rev: 3, byteCount: 10 });
  });

  it('sends whoever stands before the oldest row to a snapshot', () => {
    const window = new LogWindow(0, { maxBytes: 10 });
    window.append([row(1, 'a'), row(2, 'b')]);
    expect(window.after(0, 100)).toBe('behind');
    expect(window.after(1, 100)).toMatchObject({ rev: 2 });
  });

  it('that coalesces sends an entity once, at its last change, to whoever has not passed that yet', () => {
    const window = new LogWindow(0, { coalesces: true });
    window.append([row(1, 'a'), row(2, 'b'), row(3, 'c'), row(4, 'a')]);
    expect(window.after(0, 20)).toMatchObject({ rev: 3, payloads: [row(2, 'b').payload, row(3, 'c').payload] });
    expect(window.after(3, 20)).toMatchObject({ rev: 4, payloads: [row(4, 'a').payload] });
    window.append([row(5, 'b')]);
    expect(window.after(0, 10)).toMatchObject({ rev: 3, payloads: [row(3, 'c').payload] });
    expect(window.after(1, 0)).toMatchObject({ rev: 3, byteCount: 10 });
  });

  it('that coalesces moves on past rows of which nothing is left to send', () => {
    const window = new LogWindow(0, { coalesces: true });
    window.append(Array.from({ length: 25_000 }, (_, index) => row(index + 1, 'a')));
    expect(window.after(0, 100)).toMatchObject({ rev: 20_000, payloads: [], byteCount: 0 });
    expect(window.after(20_000, 100)).toMatchObject({ rev: 25_000, payloads: [row(25_000, 'a').payload] });
  });

  it('that coalesces knows of no row that it has dropped', () => {
    const window = new LogWindow(0, { maxBytes: 20, coalesces: true });
    window.append([row(1, 'a'), row(2, 'b'), row(3, 'a'), row(4, 'c')]);
    expect(window.after(1, 100)).toBe('behind');
    expect(window.after(2, 100)).toMatchObject({ rev: 4, payloads: [row(3, 'a').payload, row(4, 'c').payload] });
  });

  it.each([false, true])('brings any reader to the state that the whole log gives, whatever the sizes (coalescing: %s)', (coalesces) => {
    const change = fc.record({ id: fc.constantFrom('a', 'b', 'c', 'd'), bytes: fc.integer({ min: 1, max: 40 }) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 100 }), (changes, maxBytes) => {
        const window = new LogWindow(0, { coalesces });
        const rows = changes.map(({ id, bytes }, index): LogRow => {
          const payload = Buffer.alloc(bytes + 2);
          payload.write(id, 0);
          payload.writeUInt8(index + 1, 1);
          return { rev: index + 1, kind: 'plan', entityId: id, payload, writtenAtMs: 0 };
        });
        window.append(rows);
        const expected = new Map(rows.map((each) => [each.entityId, each.payload[1]]));
        const state = new Map<string, number | undefined>();
        let sent = 0;
        let rev = 0;
        for (;;) {
          const range = window.after(rev, maxBytes);
          if (range === 'current') break;
          if (range === 'behind') throw new Error('nothing was dropped');
          expect(range.prevRev).toBe(rev);
          expect(range.payloads.length === 1 || range.byteCount <= maxBytes).toBe(true);
          sent += range.payloads.length;
          for (const payload of range.payloads) {
            const id = String.fromCharCode(payload[0] ?? 0);
            expect(payload[1] ?? 0).toBeGreaterThan(state.get(id) ?? 0);
            state.set(id, payload[1]);
          }
          rev = range.rev;
        }
        expect(rev).toBe(rows.length);
        expect(state).toEqual(expected);
        if (coalesces) expect(sent).toBe(expected.size);
      }),
    );
  });
});
