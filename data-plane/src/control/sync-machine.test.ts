import { type ConfigEntry, everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Picture } from './picture.ts';
import {
  BACKOFF_BASE_MS,
  BACKOFF_MAX_MS,
  CONNECT_TIMEOUT_MS,
  MAX_PENDING_DELTAS,
  SILENCE_TIMEOUT_MS,
  type SyncEffect,
  type SyncInput,
  SyncMachine,
} from './sync-machine.ts';

const HERE = { dbEpoch: 'e1', cursors: { security: 4, customer: 7, catalog: 2 } };

function delta(lane: Lane, prevRev: number, rev: number): SyncInput {
  return { type: 'delta', lane, prevRev, rev };
}

function snapshotRef(heads: LaneRevisions, dbEpoch = 'e1'): SyncInput {
  return { type: 'snapshot_ref', snapshot: { snapshotId: 'snp_1', dbEpoch, heads, sha256: new Uint8Array(32) } };
}

function connected(position: { dbEpoch: string; cursors: LaneRevisions } = HERE, dbEpoch = 'e1', random = () => 0): SyncMachine {
  const machine = new SyncMachine(position, random);
  machine.step({ type: 'start' });
  machine.step({ type: 'opened' });
  machine.step({ type: 'welcome', dbEpoch });
  return machine;
}

/** The effects that are not timers or remarks. */
function deeds(effects: readonly SyncEffect[]): string[] {
  return effects.filter((effect) => effect.type !== 'timer' && effect.type !== 'note').map((effect) => effect.type);
}

/** What the machine says Hello with after it has reconnected. */
function nextHello(machine: SyncMachine): SyncEffect | undefined {
  expect(machine.step({ type: 'retry' }).map((effect) => effect.type)).toContain('connect');
  return machine.step({ type: 'opened' }).find((effect) => effect.type === 'send_hello');
}

describe('a connection', () => {
  it('begins with Hello at the stored position', () => {
    const machine = new SyncMachine(HERE, () => 0);
    expect(deeds(machine.step({ type: 'start' }))).toEqual(['connect']);
    expect(machine.step({ type: 'opened' })).toEqual([
      { type: 'timer', timer: 'connect_timeout', delayMs: CONNECT_TIMEOUT_MS },
      { type: 'send_hello', dbEpoch: 'e1', cursors: HERE.cursors },
    ]);
  });

  it('that gets no Welcome in time is dropped', () => {
    const machine = new SyncMachine(HERE, () => 0);
    machine.step({ type: 'start' });
    machine.step({ type: 'opened' });
    expect(deeds(machine.step({ type: 'connect_timeout' }))).toEqual(['disconnect']);
    expect(machine.state).toBe('waiting');
  });

  it('on which any frame comes is watched anew, and dropped when none does', () => {
    const machine = connected();
    const watch = { type: 'timer', timer: 'silence', delayMs: SILENCE_TIMEOUT_MS };
    expect(machine.step({ type: 'heartbeat', heads: {}, regionNodes: 1 })).toContainEqual(watch);
    expect(machine.step(delta('catalog', 2, 3))).toContainEqual(watch);
    expect(deeds(machine.step({ type: 'silence' }))).toEqual(['disconnect']);
  });

  it('that is lost is tried again with full jitter between 0.2 and 10 s, and from the start once it has held', () => {
    const delays = (random: () => number): (number | undefined)[] => {
      const machine = new SyncMachine(HERE, random);
      machine.step({ type: 'start' });
      return Array.from({ length: 8 }, () => {
        machine.step({ type: 'opened' });
        const retry = machine.step({ type: 'stream_ended', reason: '' }).findLast((effect) => effect.type === 'timer');
        machine.step({ type: 'retry' });
        return retry?.delayMs;
      });
    };
    expect(delays(() => 0)).toEqual(Array.from({ length: 8 }, () => BACKOFF_BASE_MS));
    expect(delays(() => 1)).toEqual([400, 800, 1600, 3200, 6400, BACKOFF_MAX_MS, BACKOFF_MAX_MS, BACKOFF_MAX_MS]);

    const machine = connected(HERE, 'e1', () => 1);
    const retryMs = () => machine.step({ type: 'stream_ended', reason: '' }).findLast((effect) => effect.type === 'timer')?.delayMs;
    expect(retryMs()).toBe(400);
    machine.step({ type: 'retry' });
    machine.step({ type: 'opened' });
    machine.step({ type: 'welcome', dbEpoch: 'e1' });
    machine.step({ type: 'heartbeat', heads: {}, regionNodes: 1 });
    expect(retryMs()).toBe(400);
  });

  it('from which the node is sent away comes back after the time it was told, spread out', () => {
    const away = (random: number) =>
      connected(HERE, 'e1', () => random)
        .step({ type: 'goaway', retryAfterMs: 4000, reason: 'drain' })
        .findLast((effect) => effect.type === 'timer');
    expect(away(0)).toEqual({ type: 'timer', timer: 'retry', delayMs: 4000 });
    expect(away(0.5)).toEqual({ type: 'timer', timer: 'retry', delayMs: 5000 });
  });

  it('is over for good once closed', () => {
    const machine = connected();
    expect(deeds(machine.step({ type: 'close' }))).toEqual(['disconnect']);
    expect(machine.step({ type: 'retry' })).toEqual([]);
    expect(machine.step(delta('catalog', 2, 3))).toEqual([]);
  });
});

describe('refusals that were kept', () => {
  it('are told at each Welcome of the same epoch', () => {
    const machine = new SyncMachine(HERE, () => 0);
    machine.step({ type: 'start' });
    machine.step({ type: 'opened' });
    expect(machine.step({ type: 'welcome', dbEpoch: 'e1' })).toContainEqual({ type: 'send_denials', dbEpoch: 'e1' });
  });

  it('of another epoch are told behind its snapshot, before anything of it is acknowledged', () => {
    const machine = new SyncMachine(HERE, () => 0);
    machine.step({ type: 'start' });
    machine.step({ type: 'opened' });
    expect(deeds(machine.step({ type: 'welcome', dbEpoch: 'e2' }))).toEqual([]);
    machine.step(snapshotRef({ security: 1 }, 'e2'));
    expect(machine.step({ type: 'snapshot_applied', dbEpoch: 'e2', heads: { security: 1 } })).toEqual([
      { type: 'send_denials', dbEpoch: 'e2' },
      { type: 'send_ack', lane: 'security', rev: 1 },
    ]);
  });

  it('wait for the connection, where the one is gone that brought the snapshot', () => {
    const machine = connected(HERE, 'e2');
    machine.step(snapshotRef({ security: 1 }, 'e2'));
    machine.step({ type: 'stream_ended', reason: '' });
    expect(deeds(machine.step({ type: 'snapshot_applied', dbEpoch: 'e2', heads: { security: 1 } }))).toEqual([]);
    machine.step({ type: 'retry' });
    machine.step({ type: 'opened' });
    expect(deeds(machine.step({ type: 'welcome', dbEpoch: 'e2' }))).toEqual(['send_denials']);
  });
});

describe('a delta', () => {
  it.each<[string, SyncInput[], string[]]>([
    ['that follows on is applied', [delta('catalog', 2, 5)], ['apply_delta']],
    [
      'that follows on an accepted one is applied without waiting for it',
      [delta('security', 4, 5), delta('security', 5, 6)],
      ['apply_delta'],
    ],
    ['that is a repetition is acknowledged again', [delta('catalog', 1, 2)], ['send_ack']],
    ['of long ago is acknowledged at the cursor', [delta('customer', 1, 3)], ['send_ack']],
    ['that repeats an accepted one is not applied twice', [delta('catalog', 2, 5), delta('catalog', 2, 5)], ['send_ack']],
    ['after a hole asks for a resync', [delta('catalog', 3, 4)], ['disconnect']],
    ['that overlaps asks for a resync', [delta('catalog', 1, 4)], ['disconnect']],
    ['that comes before the one it follows asks for a resync', [delta('security', 5, 6)], ['disconnect']],
    ['of another lane’s position asks for a resync', [delta('security', 7, 8)], ['disconnect']],
  ])('%s', (_, inputs, expected) => {
    const machine = connected();
    expect(
      deeds(inputs.flatMap((input, index) => (index === inputs.length - 1 ? machine.step(input) : machine.step(input) && []))),
    ).toEqual(expected);
  });

  it('moves the cursor, and is acknowledged, only when it has been applied and stored', () => {
    const machine = connected();
    machine.step(delta('catalog', 2, 5));
    expect(machine.position.cursors.catalog).toBe(2);
    expect(machine.step({ type: 'delta_applied', lane: 'catalog', rev: 5 })).toEqual([{ type: 'send_ack', lane: 'catalog', rev: 5 }]);
    expect(machine.position.cursors).toEqual({ security: 4, customer: 7, catalog: 5 });
  });

  it('after a hole leads to a Hello without cursors, and the cursor stays where it was', () => {
    const machine = connected();
    machine.step(delta('catalog', 3, 4));
    expect(machine.position).toEqual(HERE);
    expect(nextHello(machine)).toEqual({ type: 'send_hello', dbEpoch: 'e1', cursors: {} });
  });

  it('that was not applied before the connection was lost is asked for again', () => {
    const machine = connected();
    machine.step(delta('catalog', 2, 5));
    machine.step({ type: 'stream_ended', reason: '' });
    expect(nextHello(machine)).toMatchObject({ cursors: { catalog: 2 } });
    machine.step({ type: 'welcome', dbEpoch: 'e1' });
    expect(deeds(machine.step(delta('catalog', 2, 5)))).toEqual(['apply_delta']);
  });

  it('beyond what may wait asks for a resync', () => {
    const machine = connected();
    for (let rev = 4; rev < 4 + MAX_PENDING_DELTAS; rev++)
      expect(deeds(machine.step(delta('security', rev, rev + 1)))).toEqual(['apply_delta']);
    const last = 4 + MAX_PENDING_DELTAS;
    expect(deeds(machine.step(delta('security', last, last + 1)))).toEqual(['disconnect']);
  });

  it('is not taken by a node without a position, not even from the first one on', () => {
    const machine = connected({ dbEpoch: '', cursors: {} });
    expect(deeds(machine.step(delta('catalog', 0, 1)))).toEqual(['disconnect']);
  });
});

describe('a heartbeat', () => {
  it('tells how far the lanes are, and never moves a cursor', () => {
    const machine = connected();
    machine.step({ type: 'heartbeat', heads: { security: 4, customer: 9, catalog: 2 }, regionNodes: 3 });
    expect(machine.position).toEqual(HERE);
    expect(machine.isCurrent).toBe(false);
    expect([machine.heads?.customer, machine.regionNodes]).toEqual([9, 3]);
    machine.step(delta('customer', 7, 9));
    machine.step({ type: 'delta_applied', lane: 'customer', rev: 9 });
    expect(machine.isCurrent).toBe(true);
    machine.step({ type: 'stream_ended', reason: '' });
    expect(machine.isCurrent).toBe(false);
  });

  it.each<SyncInput>([{ type: 'silence' }, { type: 'stream_ended', reason: '' }, { type: 'goaway', retryAfterMs: 0, reason: '' }])(
    'that told of more than came leaves Hello where the node stands, after $type as well',
    (end) => {
      const machine = connected();
      machine.step({ type: 'heartbeat', heads: { security: 4, customer: 9, catalog: 2 }, regionNodes: 3 });
      machine.step(end);
      expect(machine.position).toEqual(HERE);
      expect(nextHello(machine)).toMatchObject({ cursors: HERE.cursors });
    },
  );
});

describe('a snapshot', () => {
  const heads = { security: 40, customer: 70, catalog: 20, bulk: 5 };

  it('is fetched, and its heads become the position and are acknowledged', () => {
    const machine = connected({ dbEpoch: '', cursors: {} });
    expect(deeds(machine.step(snapshotRef(heads)))).toEqual(['fetch_snapshot']);
    expect(machine.position.cursors).toEqual({});
    expect(machine.step({ type: 'snapshot_applied', dbEpoch: 'e1', heads })).toEqual([
      { type: 'send_denials', dbEpoch: 'e1' },
      ...LANES.map((lane) => ({ type: 'send_ack', lane, rev: heads[lane] })),
    ]);
    expect(machine.position).toEqual({ dbEpoch: 'e1', cursors: heads });
    expect(deeds(machine.step(delta('security', 40, 41)))).toEqual(['apply_delta']);
  });

  it('that fails leaves the position and is asked for again', () => {
    const machine = connected();
    machine.step({ type: 'resync_required', reason: 'lag' });
    expect(nextHello(machine)).toMatchObject({ cursors: {} });
    machine.step({ type: 'welcome', dbEpoch: 'e1' });
    machine.step(snapshotRef(heads));
    expect(deeds(machine.step({ type: 'snapshot_failed', reason: 'cut' }))).toEqual(['disconnect']);
    expect(machine.position).toEqual(HERE);
    expect(nextHello(machine)).toMatchObject({ cursors: {} });
  });

  it('that was being applied when the connection was lost counts', () => {
    const machine = connected({ dbEpoch: '', cursors: {} });
    machine.step(snapshotRef(heads));
    machine.step({ type: 'stream_ended', reason: '' });
    expect(machine.step({ type: 'snapshot_applied', dbEpoch: 'e1', heads })).toEqual([]);
    expect(nextHello(machine)).toMatchObject({ dbEpoch: 'e1', cursors: heads });
  });

  it('under way leaves deltas aside: the control plane goes on from its heads', () => {
    const machine = connected({ dbEpoch: '', cursors: {} });
    machine.step(snapshotRef(heads));
    expect(deeds(machine.step(delta('security', 40, 41)))).toEqual([]);
    machine.step({ type: 'snapshot_applied', dbEpoch: 'e1', heads });
    expect(deeds(machine.step(delta('security', 40, 41)))).toEqual(['apply_delta']);
  });
});

describe('another database epoch', () => {
  it('takes a whole snapshot, marked as such, and no delta before it', () => {
    const machine = connected(HERE, 'e2');
    expect(machine.step(snapshotRef({ catalog: 1 }, 'e2'))).toContainEqual(
      expect.objectContaining({ type: 'fetch_snapshot', newEpoch: true }),
    );
    machine.step({ type: 'snapshot_applied', dbEpoch: 'e2', heads: { catalog: 1 } });
    expect(machine.position).toEqual({ dbEpoch: 'e2', cursors: { catalog: 1 } });

    const hasty = connected(HERE, 'e2');
    expect(deeds(hasty.step(delta('catalog', 2, 3)))).toEqual(['disconnect']);
    expect(hasty.position).toEqual(HERE);
  });

  it('than the Welcome’s is not taken from a snapshot', () => {
    expect(deeds(connected(HERE, 'e1').step(snapshotRef({}, 'e2')))).toEqual(['disconnect']);
  });
});

/** One change in a lane's log, of an entity whose versions grow over all lanes. */
interface Change {
  readonly lane: Lane;
  readonly rev: number;
  readonly entry: ConfigEntry;
}

const IDS = ['a', 'b', 'c', 'd'];

function commit(changes: readonly { lane: Lane; id: string; deleted: boolean }[]): Change[] {
  const revs = everyLane(() => 0);
  const versions = new Map<string, number>();
  return changes.map(({ lane, id, deleted }) => {
    const version = (versions.get(id) ?? 0) + 1;
    versions.set(id, version);
    const body = deleted ? undefined : ({ kind: 'plan', value: { id, name: `at ${version}`, apiAccess: true } } as const);
    return { lane, rev: ++revs[lane], entry: { kind: 'plan', id, version, body } };
  });
}

describe('whatever a control plane sends', () => {
  it('the picture is in the end what the log in order gives: snapshots of any moment, holes, repetitions, lost connections', () => {
    const changes = fc.array(fc.record({ lane: fc.constantFrom(...LANES), id: fc.constantFrom(...IDS), deleted: fc.boolean() }), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(changes, fc.array(fc.nat({ max: 10_000 }), { minLength: 60, maxLength: 200 }), (logged, choices) => {
        const log = commit(logged);
        let turn = 0;
        const pick = (bound: number): number => (choices[turn++ % choices.length] ?? 0) % bound;
        const node = new Node(log);
        for (let round = 0; round < 50; round++) {
          const lane = LANES[pick(LANES.length)] ?? 'security';
          const cursor = node.machine.position.cursors[lane] ?? 0;
          switch (pick(8)) {
            case 0:
              node.say(pick(2) === 0 ? { type: 'silence' } : { type: 'stream_ended', reason: '' });
              break;
            case 1:
              node.connect(() => pick(log.length + 1));
              break;
            case 2:
              node.say({ type: 'heartbeat', heads: { [lane]: 99 }, regionNodes: 1 });
              break;
            case 3:
              node.sendDelta(lane, cursor + pick(4) - 2, 1 + pick(3));
              break;
            default:
              node.sendDelta(lane, cursor, 1 + pick(3));
          }
        }
        node.say({ type: 'stream_ended', reason: '' });
        node.connect(() => pick(log.length + 1));
        for (const lane of LANES) node.sendDelta(lane, node.machine.position.cursors[lane] ?? 0, 1000);

        const reference = new Picture({ sealingKey: new Uint8Array(32) });
        for (const change of log) reference.apply(change.entry);
        expect(node.picture.digest()).toEqual(reference.digest());
        for (const id of IDS) expect(node.picture.plan(id)).toEqual(reference.plan(id));
      }),
      { numRuns: 1000 },
    );
  });
});

/** A node whose machine, picture and control plane are all here, so that nothing takes time. */
class Node {
  readonly picture = new Picture({ sealingKey: new Uint8Array(32) });
  readonly machine = new SyncMachine({ dbEpoch: '', cursors: {} }, () => 0);
  readonly #log: readonly Change[];

  constructor(log: readonly Change[]) {
    this.#log = log;
    this.machine.step({ type: 'start' });
  }

  say(input: SyncInput): readonly SyncEffect[] {
    return this.machine.step(input);
  }

  /** Connects as the control plane would answer: from the cursors, or by a snapshot of some moment. */
  connect(moment: () => number): void {
    this.say({ type: 'retry' });
    const hello = this.say({ type: 'opened' }).find((effect) => effect.type === 'send_hello');
    if (hello === undefined) return;
    this.say({ type: 'welcome', dbEpoch: 'e1' });
    if (Object.keys(hello.cursors).length > 0) return;
    const before = this.#log.slice(0, moment());
    const heads = everyLane(() => 0);
    for (const change of before) heads[change.lane] = change.rev;
    const content = new Picture({ sealingKey: new Uint8Array(32) });
    for (const change of before) content.apply(change.entry);
    for (const effect of this.say(snapshotRef(heads))) {
      if (effect.type !== 'fetch_snapshot') continue;
      const diff = this.picture.beginSnapshot(heads, { newEpoch: effect.newEpoch });
      for (const entry of content.entries()) if (entry.body !== undefined) diff.apply(entry);
      for (const _ of diff.removeAbsent());
      this.say({ type: 'snapshot_applied', dbEpoch: 'e1', heads });
    }
  }

  /** What the lane's log holds after a rev, up to so many changes, as one delta: wrong ones included. */
  sendDelta(lane: Lane, prevRev: number, count: number): void {
    const entries = this.#log.filter((change) => change.lane === lane && change.rev > prevRev && change.rev <= prevRev + count);
    const rev = entries.at(-1)?.rev;
    if (rev === undefined) return;
    for (const effect of this.say(delta(lane, prevRev, rev))) {
      if (effect.type !== 'apply_delta') continue;
      for (const change of entries) this.picture.apply(change.entry, { [lane]: prevRev + 1 });
      this.say({ type: 'delta_applied', lane, rev });
    }
  }
}
