import { everyLane, type Lane } from '@meridian/domain/snapshot';
import { describe, expect, it } from 'vitest';
import { DeltaEncoder } from '../snapshots/delta.ts';
import { LogWindow } from '../snapshots/log-window.ts';
import { SyncStream } from './sync-stream.ts';

const START = everyLane(() => 0);

function world(maxWindowBytes?: number) {
  const windows = everyLane(() => new LogWindow(0, maxWindowBytes === undefined ? {} : { maxBytes: maxWindowBytes }));
  const encoder = new DeltaEncoder((lane) => windows[lane]);
  const log: string[] = [];
  const state = { nowMs: 0, room: true };
  const stream = new SyncStream({
    outlet: { write: () => state.room },
    window: (lane) => windows[lane],
    delta: (lane, prevRev) => encoder.after(lane, prevRev),
    clock: { nowMs: () => state.nowMs },
    onSent: (lane) => log.push(`sent ${lane}`),
    onApplied: (lane, rev) => log.push(`applied ${lane} ${rev}`),
    onSnapshotApplied: () => log.push('snapshot applied'),
    onResync: (reason) => log.push(`resync: ${reason}`),
  });
  const write = (lane: Lane, count = 1) => {
    for (let index = 0; index < count; index++) {
      const rev = windows[lane].head + 1;
      windows[lane].append([{ rev, kind: 'plan', entityId: `p${rev}`, payload: Buffer.alloc(10), writtenAtMs: 0 }]);
    }
    stream.pump();
  };
  /** What happened since it was last asked. */
  const happened = () => log.splice(0);
  return { stream, state, write, happened };
}

describe('SyncStream', () => {
  it('has one unacknowledged delta in a lane and 64 in SECURITY; no lane waits for another', () => {
    const { stream, write, happened } = world();
    stream.follow(START);
    for (let round = 0; round < 70; round++) {
      write('security');
      write('catalog');
    }
    const sent = happened();
    expect(sent.filter((line) => line === 'sent security').length).toBe(64);
    expect(sent.filter((line) => line === 'sent catalog').length).toBe(1);
    write('customer');
    expect(happened()).toEqual(['sent customer']);
    stream.acknowledge('catalog', 1);
    expect(happened()).toEqual(['applied catalog 1', 'sent catalog']);
    stream.acknowledge('security', 10);
    expect(happened()).toEqual(['applied security 10', 'sent security']);
  });

  it('moves a cursor on an acknowledgement and on nothing else', () => {
    const { stream, state, write, happened } = world();
    stream.follow(START);
    write('catalog', 2);
    happened();
    state.nowMs = 29_999;
    stream.check();
    stream.pump();
    expect(happened()).toEqual([]);
    state.nowMs = 30_000;
    stream.check();
    expect(happened()).toEqual(['resync: catalog was not acknowledged in time']);
  });

  it('takes a repeated or older acknowledgement for what it is', () => {
    const { stream, write, happened } = world();
    stream.follow(START);
    write('catalog', 2);
    stream.acknowledge('catalog', 1);
    stream.acknowledge('catalog', 1);
    happened();
    write('catalog');
    expect(stream.acknowledge('catalog', 1)).toBeUndefined();
    expect(happened()).toEqual([]);
    expect(stream.acknowledge('catalog', 4)).toContain('catalog 4 was acknowledged');
  });

  it('sends nothing on a lane until the snapshot’s head of it is acknowledged', () => {
    const { stream, write, happened } = world();
    write('catalog', 5);
    stream.fetch({ security: 0, customer: 0, catalog: 5 });
    write('catalog');
    write('security');
    expect(happened()).toEqual([]);
    stream.acknowledge('security', 0);
    expect(happened()).toEqual(['applied security 0', 'sent security']);
    stream.acknowledge('customer', 0);
    stream.acknowledge('catalog', 5);
    expect(happened()).toEqual(['applied customer 0', 'applied catalog 5', 'snapshot applied', 'sent catalog']);
    expect(stream.acknowledge('customer', 1)).toContain('customer 1 was acknowledged');
  });

  it('does not take an acknowledgement of anything but the head for the snapshot', () => {
    const { stream } = world();
    stream.fetch({ security: 0, customer: 7, catalog: 5 });
    expect(stream.acknowledge('customer', 6)).toContain('the snapshot ends at 7');
  });

  it('gives up a snapshot that is not applied in two minutes', () => {
    const { stream, state, happened } = world();
    stream.fetch(START);
    state.nowMs = 119_999;
    stream.check();
    expect(happened()).toEqual([]);
    state.nowMs = 120_000;
    stream.check();
    expect(happened()).toEqual(['resync: the snapshot was not applied in time']);
  });

  it('writes nothing while the connection is full, then goes on with what waits, coalesced', () => {
    const { stream, state, write, happened } = world();
    stream.follow(START);
    state.room = false;
    write('security');
    expect(happened()).toEqual(['sent security']);
    write('security', 3);
    write('catalog', 3);
    expect(stream.writeNow(Buffer.alloc(0))).toBe(false);
    expect(happened()).toEqual([]);
    state.room = true;
    stream.resume();
    expect(happened()).toEqual(['sent security', 'sent catalog']);
    stream.acknowledge('security', 4);
    expect(happened()).toEqual(['applied security 4']);
  });

  it('tells a node once to resync when the log has left it behind, and writes no more', () => {
    const { stream, write, happened } = world(30);
    stream.follow(START);
    write('catalog');
    happened();
    write('catalog', 5);
    stream.check();
    stream.check();
    expect(happened()).toEqual(['resync: catalog lags too far behind']);
    write('security');
    expect(stream.writeNow(Buffer.alloc(0))).toBe(false);
    expect(happened()).toEqual([]);
  });
});
