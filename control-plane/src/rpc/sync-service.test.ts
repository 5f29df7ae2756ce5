import { randomBytes } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import type { Lane } from '@meridian/domain/snapshot';
import type { Lane as WireLane } from '@meridian/wire/gen/config_pb';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '../database/connect.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { livingEntities, plan, publishNow, revokedKey } from '../snapshots/testing.ts';
import { type Replica, type ReplicaOptions, startReplica, TestNode } from './testing.ts';

let database: TestDatabase;
const closing: (() => Promise<void>)[] = [];

beforeEach(async () => {
  database = await testDatabase({ maxConnections: 20 });
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await database.drop();
});

async function replica(options: Partial<ReplicaOptions> = {}): Promise<Replica> {
  const started = await startReplica({ db: database.db, ...options });
  closing.push(() => started.close());
  return started;
}

function node(address: string, nodeId: string, token?: string): TestNode {
  const made = new TestNode(address, nodeId, token);
  closing.push(() => made.close());
  return made;
}

async function following(address: string, nodeId: string, region?: string): Promise<TestNode> {
  const made = await TestNode.follow(address, nodeId, region);
  closing.push(() => made.close());
  return made;
}

/** Entries that take about as many bytes each. */
function bulk(prefix: string, count: number, version: number, nameBytes = 100) {
  return Array.from({ length: count }, (_, index) => plan(`${prefix}${index}`, version, randomBytes(nameBytes / 2).toString('hex')));
}

describe('a node', () => {
  it('without a picture gets a snapshot, then what comes after it', async () => {
    await publishNow(database.db, 'catalog', bulk('p', 300, 1));
    const { address, hub } = await replica();
    const eu = node(address, 'eu-1');
    eu.hello();
    const welcome = await eu.next('welcome');
    expect(welcome).toMatchObject({ protocol: 1, heartbeatIntervalMs: 1_000 });
    const ref = await eu.next('snapshotRef');
    // Written while the node fetches: it waits for the acknowledgement.
    await publishNow(database.db, 'catalog', [plan('late', 1)]);
    await eu.fetchSnapshot(ref);
    expect(eu.dbEpoch).toBe(welcome.dbEpoch);
    await eu.at('catalog', 301);
    const rev = await publishNow(database.db, 'security', [revokedKey('key_1', 2)]);
    await eu.at('security', rev);
    expect(eu.picture.living()).toEqual(await livingEntities(database.db));
    expect(hub.streamCount).toBe(1);
  });

  it('that comes back goes on from its cursors, without a snapshot', async () => {
    const { address } = await replica();
    const first = await following(address, 'us-1');
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await first.at('catalog', 1);
    await first.close();
    await publishNow(database.db, 'catalog', [plan('a', 2), plan('b', 1)]);
    const second = node(address, 'us-1');
    second.hello({ from: first });
    await second.at('catalog', 3);
    expect(second.frames.map(({ frame }) => frame.case)).toEqual(['welcome', 'delta']);
    expect(second.picture.living()).toEqual(['plan/a@2', 'plan/b@1']);
  });

  it('that comes back to a replica which has read less of the log goes on all the same', async () => {
    const ahead = await replica();
    const behind = await replica({ polling: false });
    const first = await following(ahead.address, 'us-1');
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await first.at('catalog', 1);
    const second = node(behind.address, 'us-1');
    second.hello({ from: first });
    await second.next('welcome');
    expect(behind.tail.heads.catalog).toBe(0);
    await publishNow(database.db, 'catalog', [plan('a', 2)]);
    while (await behind.tail.poll());
    await second.at('catalog', 2);
    expect(second.frames.map(({ frame }) => frame.case)).toEqual(['welcome', 'delta']);
  });

  it.each([
    ['of another epoch', { dbEpoch: 'another' }],
    ['that lacks a lane', { cursors: { security: 0, customer: 0, bulk: 0 } }],
    ['from before it followed BULK', { cursors: { security: 0, customer: 0, catalog: 1 } }],
  ])('%s gets a snapshot', async (_, position) => {
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    const { address } = await replica();
    const first = await following(address, 'us-1');
    const second = node(address, 'us-2');
    second.dbEpoch = first.dbEpoch;
    Object.assign(second.cursors, { security: 0, customer: 0, catalog: 1, bulk: 0 });
    Object.assign(second, 'dbEpoch' in position ? position : {});
    // A lane may be absent from what a node says.
    const cursors = 'cursors' in position ? (position.cursors as Partial<Record<Lane, number>>) : undefined;
    second.hello(cursors === undefined ? {} : { cursors });
    await second.fetchSnapshot(await second.next('snapshotRef'));
    expect(second.picture.living()).toEqual(['plan/a@1']);
  });

  it('ahead of the database gives away that it was set back, and is served in the epoch that begins', async () => {
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    const { address, tail } = await replica();
    const first = await following(address, 'us-1');
    const ahead = node(address, 'us-2');
    ahead.dbEpoch = first.dbEpoch;
    ahead.hello({ cursors: { security: 0, customer: 0, catalog: 9, bulk: 0 } });
    expect(await ahead.ended).toMatchObject({ code: status.UNAVAILABLE });
    await first.ended;
    expect(tail.dbEpoch).not.toBe(first.dbEpoch);
    const again = node(address, 'us-2');
    again.dbEpoch = first.dbEpoch;
    again.hello({ cursors: { security: 0, customer: 0, catalog: 9, bulk: 0 } });
    await again.fetchSnapshot(await again.next('snapshotRef'));
    expect(again.picture.living()).toEqual(['plan/a@1']);
    expect(again.dbEpoch).toBe(tail.dbEpoch);
  });

  it('that stands before what is kept of the log gets a snapshot', async () => {
    const { address, tail } = await replica({ maxWindowBytes: 2_000, polling: false });
    const first = await following(address, 'us-1');
    await first.close();
    await publishNow(database.db, 'catalog', bulk('p', 100, 1));
    await tail.poll();
    const second = node(address, 'us-1');
    second.hello({ from: first });
    await second.next('snapshotRef');
  });

  it('of a build that does not follow BULK is sent nothing of it, from a snapshot and from its cursors', async () => {
    const { address, nodes } = await replica();
    await publishNow(database.db, 'bulk', [plan('a', 1)]);
    const old = node(address, 'us-1');
    old.lanes = [];
    old.hello();
    await old.fetchSnapshot(await old.next('snapshotRef'));
    expect(old.picture.living()).toEqual(['plan/a@1']);
    const present = await following(address, 'us-2');
    await publishNow(database.db, 'bulk', [plan('a', 2)]);
    await present.at('bulk', 2);
    await publishNow(database.db, 'catalog', [plan('b', 1)]);
    await old.at('catalog', 1);
    await old.close();
    const again = node(address, 'us-1');
    again.lanes = [];
    delete old.cursors.bulk;
    again.hello({ from: old });
    await publishNow(database.db, 'catalog', [plan('b', 2)]);
    await again.at('catalog', 2);
    expect(again.frames.map(({ frame }) => frame.case).filter((kind) => kind !== 'heartbeat')).toEqual(['welcome', 'delta']);
    expect(again.picture.living()).toEqual(['plan/a@1', 'plan/b@2']);
    const [first, second] = await nodes.list();
    expect(Object.keys(first?.applied ?? {})).toEqual(['security', 'customer', 'catalog']);
    expect(Object.keys(second?.applied ?? {})).toContain('bulk');
  });

  it('without our token is refused', async () => {
    const { address } = await replica();
    const stranger = node(address, 'us-1', 'another-token-of-that-length');
    stranger.hello();
    expect(await stranger.ended).toMatchObject({ code: status.UNAUTHENTICATED });
  });

  it.each([
    ['a bad name', { nodeId: 'a/b' }, status.INVALID_ARGUMENT],
    ['a bad region', { region: 'X' }, status.INVALID_ARGUMENT],
    ['a protocol that is not spoken here', { protocolMin: 2, protocolMax: 3 }, status.FAILED_PRECONDITION],
  ])('with %s is refused', async (_, change, code) => {
    const { address } = await replica();
    const odd = node(address, 'odd');
    odd.send({ case: 'hello', value: { nodeId: 'odd', region: 'us', build: '', protocolMin: 1, protocolMax: 1, ...change } });
    expect(await odd.ended).toMatchObject({ code });
  });

  it('that sends a lane which does not exist loses its stream, and nobody else does', async () => {
    const { address } = await replica();
    const good = await following(address, 'us-1');
    const odd = await following(address, 'us-2');
    // What a build would send that has more lanes.
    odd.send({ case: 'ack', value: { lane: 9 as WireLane, rev: 1n } });
    expect(await odd.ended).toMatchObject({ code: status.INVALID_ARGUMENT });
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await good.at('catalog', 1);
  });

  it('that acknowledges what it was not sent has to resync', async () => {
    const { address } = await replica();
    const odd = await following(address, 'us-1');
    odd.ack('catalog', 5);
    expect((await odd.next('resyncRequired')).reason).toContain('catalog 5 was acknowledged');
  });

  it('that connects twice is one node: the older stream ends', async () => {
    const { address, nodes, hub } = await replica();
    const first = await following(address, 'us-1');
    const second = await following(address, 'us-1');
    expect(await first.ended).toBeUndefined();
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await second.at('catalog', 1);
    expect([nodes.connectedCount, hub.streamCount]).toEqual([1, 1]);
  });
});

describe('what waits for a node', () => {
  it('goes one delta at a time, coalesced by entity, when the one before is acknowledged', async () => {
    const { address, tail } = await replica({ polling: false });
    const us = await following(address, 'us-1');
    us.acknowledging = false;
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await tail.poll();
    await us.at('catalog', 1);
    for (let version = 2; version <= 30; version++)
      await publishNow(database.db, 'catalog', [plan('a', version), plan(`b${version % 3}`, version)]);
    await tail.poll();
    // Whatever was sent of it on the other lane would have come before this.
    await publishNow(database.db, 'security', [revokedKey('key_1', 1)]);
    await tail.poll();
    await us.at('security', 1);
    expect(us.deltas.length).toBe(2);
    us.acknowledging = true;
    us.ack('catalog', 1);
    await us.at('catalog', 59);
    const last = us.deltas.at(-1);
    expect(last).toMatchObject({ prevRev: 1n, rev: 59n });
    expect(last?.entries.length).toBe(4);
    expect(us.picture.living()).toEqual(await livingEntities(database.db));
  });

  it('in SECURITY does not wait for acknowledgements, up to 64 deltas', async () => {
    const { address, tail } = await replica({ polling: false });
    const us = await following(address, 'us-1');
    us.acknowledging = false;
    for (let rev = 1; rev <= 70; rev++) {
      await publishNow(database.db, 'security', [revokedKey(`key_${rev}`, 1)]);
      await tail.poll();
    }
    await us.at('security', 64);
    expect(us.deltas.length).toBe(64);
    us.acknowledging = true;
    us.ack('security', 64);
    await us.at('security', 70);
    expect(us.deltas.at(-1)).toMatchObject({ prevRev: 64n, rev: 70n });
  });

  it('is encoded once for all nodes at one cursor', async () => {
    const { address, hub } = await replica();
    const all = await Promise.all(['us-1', 'us-2', 'us-3'].map((id) => following(address, id)));
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await Promise.all(all.map((each) => each.at('catalog', 1)));
    expect(hub.encodedDeltas).toBe(1);
  });

  it('stays within 64 KiB a delta, in order, under a bulk load; a revocation overtakes it', async () => {
    const { address } = await replica();
    const us = await following(address, 'us-1');
    const loads: Promise<number>[] = [];
    for (let load = 0; load < 12; load++) loads.push(publishNow(database.db, 'customer', bulk(`l${load}-`, 1_000, 1, 400)));
    await us.until((frame) => frame.case === 'delta');
    const rev = await publishNow(database.db, 'security', [revokedKey('key_1', 2)]);
    await us.at('security', rev);
    const loadedBefore = us.cursors.customer ?? 0;
    await Promise.all(loads);
    await us.at('customer', 12_000);
    expect(loadedBefore).toBeLessThan(12_000);
    expect(us.picture.living().length).toBe(12_001);
    const sizes = us.frames
      .map((response) => response.frame)
      .flatMap((frame) => (frame.case === 'delta' ? [frame.value.entries.length] : []));
    expect(Math.max(...sizes)).toBeLessThan(200);
  });
});

describe('a slow node', () => {
  it('that does not acknowledge keeps its cursor, and has to resync when the log has gone on without it', async () => {
    const { address, hub, tail } = await replica({ maxWindowBytes: 50_000 });
    const slow = await following(address, 'slow');
    const quick = await following(address, 'quick');
    slow.acknowledging = false;
    await publishNow(database.db, 'customer', [plan('a', 1)]);
    await slow.at('customer', 1);
    for (let load = 0; load < 10; load++) {
      await publishNow(database.db, 'customer', bulk(`l${load}-`, 50, 1, 400));
      await quick.at('customer', 1 + (load + 1) * 50);
      hub.tick();
      expect(tail.window('customer').byteCount).toBeLessThanOrEqual(50_000);
    }
    expect((await slow.next('resyncRequired')).reason).toContain('customer lags');
    expect(await slow.ended).toBeUndefined();
    expect(slow.deltas.length).toBe(1);
    // It comes back without cursors, and catches up.
    const again = await following(address, 'slow');
    await again.at('customer', 501);
    expect(again.picture.living()).toEqual(await livingEntities(database.db));
  });

  it('that keeps silent for 30 s has to resync, and not before', async () => {
    let nowMs = 1_000_000;
    const { address, hub } = await replica({ nowMs: () => nowMs });
    const slow = await following(address, 'slow');
    slow.acknowledging = false;
    await publishNow(database.db, 'customer', [plan('a', 1)]);
    await slow.at('customer', 1);
    nowMs += 29_999;
    hub.tick();
    expect(hub.streamCount).toBe(1);
    nowMs += 1;
    hub.tick();
    expect((await slow.next('resyncRequired')).reason).toContain('not acknowledged in time');
  });

  it('that does not apply its snapshot gives its place to others', async () => {
    let nowMs = 1_000_000;
    const { address, hub, admission } = await replica({ nowMs: () => nowMs });
    const slow = node(address, 'slow');
    slow.hello();
    await slow.fetchSnapshot(await slow.next('snapshotRef'), false);
    expect(admission.snapshotStreams).toBe(1);
    nowMs += 120_000;
    hub.tick();
    await slow.next('resyncRequired');
    expect(admission.snapshotStreams).toBe(0);
  });

  it('that says no Hello is sent away', async () => {
    let nowMs = 1_000_000;
    const { address, hub } = await replica({ nowMs: () => nowMs });
    const mute = node(address, 'mute');
    mute.send({ case: 'nack', value: { lane: 1 } });
    const other = await following(address, 'other');
    nowMs += 5_000;
    hub.tick();
    expect(await mute.ended).toMatchObject({ code: status.FAILED_PRECONDITION });
    await other.next('heartbeat');
  });
});

describe('nodes that come back together', () => {
  it('are let in at a rate; the others are told when to come again', async () => {
    const { address } = await replica({ hellosPerSecond: 3, nowMs: () => 1_000_000 });
    const all = ['a', 'b', 'c', 'd', 'e'].map((id) => node(address, id));
    for (const each of all) each.hello();
    await Promise.all(all.map((each) => each.until((frame) => frame.case === 'welcome' || frame.case === 'goaway')));
    const sentAway = all.flatMap((each) => each.frames.flatMap(({ frame }) => (frame.case === 'goaway' ? [frame.value.retryAfterMs] : [])));
    expect(sentAway.length).toBe(2);
    expect(Math.min(...sentAway)).toBeGreaterThanOrEqual(1_000);
  });

  it('take at most so many snapshots at once', async () => {
    const { address } = await replica({ maxSnapshots: 2 });
    const first = node(address, 'a');
    first.hello();
    const ref = await first.next('snapshotRef');
    const second = node(address, 'b');
    second.hello();
    await second.next('snapshotRef');
    const third = node(address, 'c');
    third.hello();
    expect((await third.next('goaway')).retryAfterMs).toBeGreaterThan(0);
    await first.fetchSnapshot(ref);
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await first.at('catalog', 1);
    const fourth = node(address, 'c');
    fourth.hello();
    await fourth.next('snapshotRef');
  });

  it('are sent away when a replica stops, and it stops without waiting for them', async () => {
    const { address, close } = await startReplica({ db: database.db });
    const us = await following(address, 'us-1');
    const stopped = close();
    expect(await us.next('goaway')).toMatchObject({ reason: 'this replica is stopping' });
    await us.close();
    await stopped;
  });
});

describe('a heartbeat', () => {
  it('tells the heads and how many nodes are in the node’s region, over all replicas', async () => {
    const one = await replica();
    const other = await replica();
    const us = await following(one.address, 'us-1', 'us');
    await following(one.address, 'eu-1', 'eu');
    await following(other.address, 'us-2', 'us');
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await us.at('catalog', 1);
    await other.nodes.flush();
    await one.nodes.flush();
    one.hub.tick();
    const { heads, regionNodes } = await us.next('heartbeat');
    expect(regionNodes).toBe(2);
    expect(heads.map(({ lane, rev }) => [lane, rev])).toEqual([
      [1, 0n],
      [2, 0n],
      [3, 1n],
      [4, 0n],
    ]);
  });
});

describe('two replicas on one database', () => {
  it('bring their nodes the same picture, and either knows where a rev has arrived', async () => {
    const second = connect(database.url, { maxConnections: 5 });
    closing.push(() => second.destroy());
    const [one, other] = [await replica(), await replica({ db: second })];
    const us = await following(one.address, 'us-1');
    const eu = await following(other.address, 'eu-1', 'eu');
    eu.acknowledging = false;
    const rev = await publishNow(database.db, 'security', [revokedKey('key_1', 2)]);
    await Promise.all([us.at('security', rev), eu.at('security', rev)]);
    expect(us.picture.living()).toEqual(eu.picture.living());
    await other.nodes.flush();
    const epoch = one.tail.dbEpoch;
    // The second delta of this lane comes only when the server has the acknowledgement of the first, and all before it.
    for (const version of [1, 2]) {
      await publishNow(database.db, 'catalog', [plan('a', version)]);
      await us.at('catalog', version);
    }
    expect(await one.nodes.propagation(epoch, 'security', rev)).toEqual({ applied: ['us-1'], pending: ['eu-1'], unreachable: [] });
  });
});

describe('a restored database', () => {
  it('makes every node take the whole picture of the new epoch', async () => {
    const { address } = await replica();
    const us = await following(address, 'us-1');
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await us.at('catalog', 1);
    await sql`UPDATE config_head SET db_epoch = fresh.id FROM (SELECT gen_random_uuid() AS id OFFSET 0) fresh`.execute(database.db);
    await us.next('resyncRequired');
    const again = node(address, 'us-1');
    again.hello({ from: us });
    const ref = await again.next('snapshotRef');
    expect(ref.dbEpoch).not.toBe(us.dbEpoch);
  });
});

describe('a rejected entry', () => {
  it('is kept to be seen by the operator, and the stream goes on', async () => {
    const { address, nodes } = await replica();
    const us = await following(address, 'us-1');
    const entry = { kind: 'plan', id: 'a', version: 1n, code: 'invalid', detail: 'name: is empty' };
    us.send({ case: 'nack', value: { lane: 3, rev: 1n, entries: [entry] } });
    await publishNow(database.db, 'catalog', [plan('a', 1)]);
    await us.at('catalog', 1);
    const [listed] = await nodes.list();
    expect(listed).toMatchObject({ nodeId: 'us-1', rejectedEntries: 1, reachable: true });
    expect(listed?.rejections).toEqual([{ lane: 'catalog', kind: 'plan', id: 'a', version: 1, code: 'invalid', detail: 'name: is empty' }]);
  });
});
