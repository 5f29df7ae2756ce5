import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { everyLane, LANES, type Lane } from '@meridian/domain/snapshot';
import { laneRevisionsFromWire } from '@meridian/wire/codec/lane';
import { ConfigEntrySchema } from '@meridian/wire/gen/config_pb';
import { SnapshotContentSchema } from '@meridian/wire/gen/sync_pb';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { transaction } from '../database/transaction.ts';
import { LogTail } from './log-tail.ts';
import { pruneLog } from './retention.ts';
import { publish } from './service.ts';
import { type Snapshot, SnapshotFiles } from './snapshot-files.ts';
import { selectLog } from './store.ts';
import { livingEntities, plan, publishNow, TestPicture, tombstone } from './testing.ts';

let database: TestDatabase;
let folder: string;
let nowMs: number;
const ids = { nowMs: () => nowMs, randomBytes: (count: number) => randomBytes(count) };

beforeEach(async () => {
  database = await testDatabase({ maxConnections: 20 });
  folder = await mkdtemp(join(tmpdir(), 'meridian-snapshots-'));
  nowMs = Date.UTC(2026, 5, 1);
});
afterEach(async () => {
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

/** Resolves when the number of transactions that wait for a lock is as given. */
async function waitingForLocks(count: number): Promise<void> {
  for (;;) {
    const { rows } = await sql<{ n: bigint }>`
      SELECT count(*) AS n FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()`.execute(
      database.db,
    );
    if (Number(rows[0]?.n) >= count) return;
  }
}

describe('the order of the log', () => {
  it('is the order of commits: who comes second waits, and a reader never passes over a rev that commits late', async () => {
    const tail = await LogTail.start({ db: database.db });
    const seen: number[] = [];
    tail.subscribe({ advanced: () => seen.push(tail.heads.catalog), reset: () => seen.push(-1) });
    const firstHasRev = Promise.withResolvers<void>();
    const commitFirst = Promise.withResolvers<void>();
    const first = transaction(database.db, async (trx) => {
      const { rev } = await publish(trx, 'catalog', [plan('first', 1)]);
      firstHasRev.resolve();
      await commitFirst.promise;
      return rev;
    });
    await firstHasRev.promise;
    let secondDone = false;
    const second = publishNow(database.db, 'catalog', [plan('second', 1)]).then((rev) => {
      secondDone = true;
      return rev;
    });
    await waitingForLocks(1);
    await tail.poll();
    expect([tail.heads.catalog, secondDone]).toEqual([0, false]);
    // Another lane is not held up.
    expect(await publishNow(database.db, 'security', [plan('third', 1)])).toBe(1);
    commitFirst.resolve();
    expect(await Promise.all([first, second])).toEqual([1, 2]);
    while (await tail.poll());
    expect(tail.heads).toEqual({ security: 1, customer: 0, catalog: 2, bulk: 0 });
    expect(seen).not.toContain(-1);
  });

  it('has no gap and no lost change with concurrent writers, some of which fail', async () => {
    const tail = await LogTail.start({ db: database.db });
    const resets: string[] = [];
    tail.subscribe({ advanced: () => undefined, reset: () => resets.push('reset') });
    let writing = true;
    const reading = (async () => {
      while (writing) await tail.poll();
      while (await tail.poll());
    })();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 120 }, (_, index) =>
        transaction(database.db, async (trx) => {
          const { rev } = await publish(trx, 'customer', [plan(`p${index}`, 1), plan(`q${index}`, 1)]);
          if (index % 3 === 0) throw new Error('rolled back');
          return rev;
        }),
      ),
    );
    writing = false;
    await reading;
    const revs = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : [])).sort((a, b) => a - b);
    expect(revs).toEqual(Array.from({ length: 80 }, (_, index) => (index + 1) * 2));
    expect(tail.heads.customer).toBe(160);
    expect(resets).toEqual([]);
    const names = new TestPicture();
    const range = tail.window('customer').after(0, 1_000_000);
    if (range === 'behind' || range === 'current') throw new Error(range);
    for (const payload of range.payloads) names.apply(payload);
    expect(names.living()).toEqual(await livingEntities(database.db));
  });
});

describe('LogTail', () => {
  it('begins with the newest part of what is there, within the bytes of its window', async () => {
    await publishNow(
      database.db,
      'catalog',
      Array.from({ length: 50 }, (_, index) => plan(`p${index}`, 1)),
    );
    const tail = await LogTail.start({ db: database.db, maxWindowBytes: 300 });
    const { base, head, byteCount } = tail.window('catalog');
    expect(head).toBe(50);
    expect(base).toBeGreaterThan(30);
    expect(byteCount).toBeLessThanOrEqual(300);
  });

  it('reads a page of each lane at a time, so that SECURITY does not wait for a long backlog', async () => {
    const tail = await LogTail.start({ db: database.db });
    await publishNow(
      database.db,
      'customer',
      Array.from({ length: 2_500 }, (_, index) => plan(`p${index}`, 1)),
    );
    expect(await tail.poll()).toBe(true);
    expect(tail.heads.customer).toBe(1_000);
    await publishNow(database.db, 'security', [plan('now', 1)]);
    expect(await tail.poll()).toBe(true);
    expect(tail.heads).toEqual({ security: 1, customer: 2_000, catalog: 0, bulk: 0 });
    expect(await tail.poll()).toBe(false);
    expect(tail.heads.customer).toBe(2_500);
  });

  it('starts anew when the database is another epoch, and when the log was cleared further than it has read', async () => {
    const tail = await LogTail.start({ db: database.db });
    const resets: Lane[] = [];
    tail.subscribe({ advanced: () => undefined, reset: () => resets.push('catalog') });
    for (let version = 1; version <= 5; version++) await publishNow(database.db, 'catalog', [plan('a', version)]);
    await pruneLog(database.db, 2);
    await tail.poll();
    expect([resets.length, tail.window('catalog').base, tail.heads.catalog]).toEqual([1, 3, 5]);
    await sql`UPDATE config_head SET db_epoch = fresh.id FROM (SELECT gen_random_uuid() AS id OFFSET 0) fresh`.execute(database.db);
    const before = tail.dbEpoch;
    await tail.poll();
    expect(resets.length).toBe(2);
    expect(tail.dbEpoch).not.toBe(before);
  });
});

describe('a snapshot', () => {
  async function read(snapshot: Snapshot): Promise<{ picture: TestPicture; heads: Record<Lane, number> }> {
    const content = gunzipSync(await readFile(snapshot.path));
    expect(createHash('sha256').update(content).digest().equals(snapshot.sha256)).toBe(true);
    const message = fromBinary(SnapshotContentSchema, content);
    expect(message.dbEpoch).toBe(snapshot.dbEpoch);
    const heads = laneRevisionsFromWire(message.heads);
    expect(heads).toEqual(snapshot.heads);
    const picture = new TestPicture();
    for (const entry of message.entries) picture.apply(toBinary(ConfigEntrySchema, entry));
    return { picture, heads: { ...everyLane(() => -1), ...heads } };
  }

  /** The picture as the log itself gives it, up to some revs. */
  async function replayed(heads: Readonly<Record<Lane, number>>): Promise<string[]> {
    const picture = new TestPicture();
    for (const lane of LANES) {
      for (const { payload } of await selectLog(database.db, lane, 0, heads[lane], { maxRows: 100_000, maxBytes: 100_000_000 }))
        picture.apply(payload);
    }
    return picture.living();
  }

  it('holds exactly what the log says up to its heads, and the log after them gives the rest, whatever is written while it is built', async () => {
    const tail = await LogTail.start({ db: database.db });
    // Entities of their own a lane, so that each has one writer at a time and versions that grow.
    let stop = false;
    const versions = new Map<string, number>();
    const write = async (lane: Lane) => {
      for (let round = 0; !stop; round++) {
        const id = `${lane}-${round % 7}`;
        const version = (versions.get(id) ?? 0) + 1;
        versions.set(id, version);
        await publishNow(database.db, lane, [round % 5 === 4 ? tombstone(id, version) : plan(id, version)]);
      }
    };
    const files = new SnapshotFiles({ db: database.db, tail, ids, folder, maxLagBytes: 0 });
    const writers = LANES.map(write);
    const snapshots: Snapshot[] = [];
    for (let round = 0; round < 8; round++) {
      snapshots.push(await files.current());
      nowMs += 600_000;
      await tail.poll();
    }
    stop = true;
    await Promise.all(writers);
    while (await tail.poll());
    const expected = await livingEntities(database.db);
    let differing = 0;
    for (const snapshot of snapshots.slice(-3)) {
      const { picture, heads } = await read(snapshot);
      if (picture.living().join() !== expected.join()) differing += 1;
      expect(picture.living()).toEqual(await replayed(heads));
      for (const lane of LANES) {
        const range = tail.window(lane).after(heads[lane], 10_000_000);
        if (range === 'behind') throw new Error('the window is too small for this test');
        if (range !== 'current') for (const payload of range.payloads) picture.apply(payload);
      }
      expect(picture.living()).toEqual(expected);
    }
    expect(differing).toBeGreaterThan(0);
    await files.close();
    expect(existsSync(folder)).toBe(false);
  });

  it('is built once for all who ask, and again when it is old, far behind, or of another epoch', async () => {
    await publishNow(database.db, 'catalog', [plan('a', 1), plan('gone', 1)]);
    await publishNow(database.db, 'catalog', [tombstone('gone', 2)]);
    const tail = await LogTail.start({ db: database.db });
    const built: string[] = [];
    const files = new SnapshotFiles({ db: database.db, tail, ids, folder, maxLagBytes: 100, onBuilt: ({ id }) => built.push(id) });
    const [first, second] = await Promise.all([files.current(), files.current(), files.current()]);
    expect(second).toBe(first);
    expect(await files.current()).toBe(first);
    expect(first).toMatchObject({ entityCount: 1, heads: { security: 0, customer: 0, catalog: 3 } });
    nowMs += 10 * 60_000;
    const third = await files.current();
    expect(third.id).not.toBe(first.id);
    for (let version = 2; version < 10; version++) await publishNow(database.db, 'catalog', [plan('a', version)]);
    await tail.poll();
    const fourth = await files.current();
    expect(fourth.heads.catalog).toBe(11);
    expect(built.length).toBe(3);
    expect(files.get(first.id)).toBe(first);
    nowMs += 10 * 60_000;
    await files.current();
    expect([files.get(first.id), existsSync(first.path)]).toEqual([undefined, false]);
    await files.close();
  });

  it('holds what is there in pages, in one transaction that reads the heads first', async () => {
    const entries = Array.from({ length: 4_321 }, (_, index) => plan(`p${index}`, 1));
    await publishNow(database.db, 'catalog', entries);
    const tail = await LogTail.start({ db: database.db });
    const files = new SnapshotFiles({ db: database.db, tail, ids, folder });
    const { picture } = await read(await files.current());
    expect(picture.living().length).toBe(4_321);
    await files.close();
  });
});

describe('the application’s role', () => {
  it('cannot make or remove a head', async () => {
    await expect(sql`DELETE FROM config_head`.execute(database.db)).rejects.toThrow('permission denied');
  });

  it('sees one epoch in all lanes, made with the database', async () => {
    const rows = await database.db.selectFrom('config_head').select('db_epoch').distinct().execute();
    expect(rows.length).toBe(1);
  });
});
