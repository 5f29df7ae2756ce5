import { fromBinary } from '@bufbuild/protobuf';
import { configEntryFromWire } from '@meridian/wire/codec/entry';
import { SyncResponseSchema } from '@meridian/wire/gen/sync_pb';
import { describe, expect, it } from 'vitest';
import { DeltaEncoder, MAX_DELTA_BYTES } from './delta.ts';
import { LogWindow } from './log-window.ts';
import { encodeEntry, MAX_ENTRY_BYTES } from './service.ts';
import type { LogRow } from './store.ts';

function row(rev: number, id: string, name: string): LogRow {
  const { payload, kind } = encodeEntry({ kind: 'plan', id, version: rev, body: { kind: 'plan', value: { id, name, apiAccess: true } } });
  return { rev, kind, entityId: id, payload, writtenAtMs: 0 };
}

function encoder(rows: readonly LogRow[]) {
  const window = new LogWindow(0);
  window.append(rows);
  return { window, deltas: new DeltaEncoder(() => window) };
}

function decode(frame: Buffer) {
  const response = fromBinary(SyncResponseSchema, frame);
  if (response.frame.case !== 'delta') throw new Error('not a delta');
  return response.frame.value;
}

describe('DeltaEncoder', () => {
  it('puts published entries into a Delta that reads as they were written', () => {
    const { deltas } = encoder([row(1, 'a', 'One'), row(2, 'b', 'Two'), row(3, 'a', 'Three')]);
    const made = deltas.after('catalog', 0);
    if (made === 'behind' || made === 'current') throw new Error(made);
    const delta = decode(made.frame);
    expect([delta.lane, delta.prevRev, delta.rev]).toEqual([3, 0n, 3n]);
    const entries = delta.entries.map(configEntryFromWire);
    expect(entries).toMatchObject([
      { entry: { id: 'b', version: 2 } },
      { entry: { id: 'a', version: 3, body: { value: { name: 'Three', apiAccess: true } } } },
    ]);
  });

  it('keeps every frame within 64 KiB, for the smallest and the largest entries', () => {
    const small = Array.from({ length: 9_000 }, (_, index) => row(index + 1, `p${index}`, 'x'));
    const large = Array.from({ length: 4 }, (_, index) => row(9_001 + index, `l${index}`, 'x'.repeat(MAX_ENTRY_BYTES - 40)));
    const { deltas, window } = encoder([...small, ...large]);
    let rev = 0;
    const sizes: number[] = [];
    while (rev < window.head) {
      const made = deltas.after('catalog', rev);
      if (made === 'behind' || made === 'current') throw new Error(made);
      sizes.push(made.frame.length);
      rev = made.rev;
    }
    expect(Math.max(...sizes)).toBeLessThanOrEqual(MAX_DELTA_BYTES);
    expect(sizes.filter((bytes) => bytes > MAX_DELTA_BYTES * 0.9).length).toBeGreaterThan(4);
  });

  it('encodes once for all who stand at one cursor, and anew when there is more to say', () => {
    const { deltas, window } = encoder([row(1, 'a', 'One')]);
    const first = deltas.after('catalog', 0);
    expect(deltas.after('catalog', 0)).toBe(first);
    expect(deltas.encodedCount).toBe(1);
    window.append([row(2, 'b', 'Two')]);
    expect(deltas.after('catalog', 0)).toMatchObject({ prevRev: 0, rev: 2 });
    expect(deltas.after('catalog', 1)).toMatchObject({ prevRev: 1, rev: 2 });
    expect(deltas.encodedCount).toBe(3);
  });

  it('does not hand out a frame whose rows have left the window', () => {
    const window = new LogWindow(0, { maxBytes: 20 });
    window.append([row(1, 'a', 'x')]);
    const deltas = new DeltaEncoder(() => window);
    deltas.after('catalog', 0);
    window.append([row(2, 'b', 'y')]);
    expect(deltas.after('catalog', 0)).toBe('behind');
  });
});
