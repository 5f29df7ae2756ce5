import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LogGapError, LogWindow } from './log-window.ts';
import type { LogRow } from './store.ts';

function row(rev: number, entityId: string, byteCount = 10): LogRow {
  return { rev, kind: 'plan', entityId, payload: Buffer.alloc(byteCount, rev % 256), writtenAtMs: rev };
}

describe('LogWindow', () => {
  it('keeps the newest rows within its bytes, and at least one', () => {
    const window = new LogWindow(0, 25);
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
    const window = new LogWindow(0, 25);
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
    const window = new LogWindow(0, 10);
    window.append([row(1, 'a'), row(2, 'b')]);
    expect(window.after(0, 100)).toBe('behind');
    expect(window.after(1, 100)).toMatchObject({ rev: 2 });
  });

  it('brings any reader to the state that the whole log gives, whatever the sizes', () => {
    const change = fc.record({ id: fc.constantFrom('a', 'b', 'c', 'd'), bytes: fc.integer({ min: 1, max: 40 }) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 100 }), (changes, maxBytes) => {
        const window = new LogWindow(0);
        const rows = changes.map(({ id, bytes }, index): LogRow => {
          const payload = Buffer.alloc(bytes + 2);
          payload.write(id, 0);
          payload.writeUInt8(index + 1, 1);
          return { rev: index + 1, kind: 'plan', entityId: id, payload, writtenAtMs: 0 };
        });
        window.append(rows);
        const expected = new Map(rows.map((each) => [each.entityId, each.payload[1]]));
        const state = new Map<string, number | undefined>();
        let rev = 0;
        for (;;) {
          const range = window.after(rev, maxBytes);
          if (range === 'current') break;
          if (range === 'behind') throw new Error('nothing was dropped');
          expect(range.prevRev).toBe(rev);
          expect(range.payloads.length === 1 || range.byteCount <= maxBytes).toBe(true);
          for (const payload of range.payloads) {
            const id = String.fromCharCode(payload[0] ?? 0);
            expect(payload[1] ?? 0).toBeGreaterThan(state.get(id) ?? 0);
            state.set(id, payload[1]);
          }
          rev = range.rev;
        }
        expect(rev).toBe(rows.length);
        expect(state).toEqual(expected);
      }),
    );
  });
});
