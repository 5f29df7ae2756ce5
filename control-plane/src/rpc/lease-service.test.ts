import { status } from '@grpc/grpc-js';
import { type BudgetRef, budgetId } from '@meridian/domain/budget';
import { MAX_GRANTED } from '@meridian/domain/lease';
import { nextWindowStartMs, windowStartMs } from '@meridian/domain/window';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SILENT_AFTER_MS } from '../budgets/leases.ts';
import { LeaseUpkeep } from '../budgets/leases-upkeep.ts';
import { chargeLeases } from '../budgets/testing.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { type Replica, type ReplicaOptions, startReplica } from './testing.ts';
import { budgetRow, makeCap, TestLeaseNode, type TestLeaseNodeOptions } from './testing-leases.ts';

const TODAY = windowStartMs('utc_day', Date.now());
const DAY_MS = 86_400_000;
const dayOf = (capId: string): BudgetRef => ({ capId, windowStartMs: TODAY });

let database: TestDatabase;
/** The replicas' clock; ahead of the process's by what a test adds. */
let aheadMs: number;
let replica: Replica;
const closing: (() => Promise<void>)[] = [];

beforeEach(async () => {
  database = await testDatabase({ maxConnections: 20 });
  // A test that runs over midnight asks for today's budgets all the same.
  aheadMs = TODAY + DAY_MS / 2 - Date.now();
  replica = await start();
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await database.drop();
});

async function start(options: Partial<ReplicaOptions> = {}): Promise<Replica> {
  const nowMs = () => Date.now() + aheadMs;
  const started = await startReplica({ db: database.db, nowMs, polling: false, ...options });
  closing.push(() => started.close(200));
  return started;
}

async function node(spoolId: string, options: Partial<TestLeaseNodeOptions> & { at?: Replica } = {}): Promise<TestLeaseNode> {
  const { at = replica, ...rest } = options;
  const opened = await TestLeaseNode.open(at.address, database.db, { spoolId, ...rest });
  closing.push(() => opened.close());
  return opened;
}

const book = (budget: BudgetRef) => budgetRow(database.db, budget);

describe('a question', () => {
  it('is answered with a grant that is in the database, for this window and for the next', async () => {
    await makeCap(database.db, 'cap_1', { limit: 1_000 });
    const a = await node('spl_a');
    expect(await a.ask(dayOf('cap_1'), 1)).toEqual({ granted: true });
    expect(a.free(dayOf('cap_1'))).toBe(500);
    expect(a.lease(dayOf('cap_1'))?.leaseId).toMatch(/^[0-9a-f]{32}$/);
    expect(await book(dayOf('cap_1'))).toEqual({ limit: 1_000, settled: 0, held: 500 });
    const tomorrow = { capId: 'cap_1', windowStartMs: TODAY + DAY_MS };
    expect(a.free(tomorrow)).toBe(500);
    expect(await book(tomorrow)).toEqual({ limit: 1_000, settled: 0, held: 500 });
    // Raised to, never added: half of what is left comes on top of what is held.
    await a.ask(dayOf('cap_1'), 1);
    expect(a.free(dayOf('cap_1'))).toBe(750);
    expect(a.free(tomorrow)).toBe(750);
  });

  it('for a month provides for the next month', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100, window: 'utc_month' });
    const a = await node('spl_a');
    const startMs = windowStartMs('utc_month', TODAY);
    await a.ask({ capId: 'cap_1', windowStartMs: startMs }, 1);
    expect(a.free({ capId: 'cap_1', windowStartMs: nextWindowStartMs('utc_month', startMs) ?? 0 })).toBe(50);
  });

  it('is granted carefully from prepaid credit, which has one window', async () => {
    await sql`
      INSERT INTO budget (id, cap_id, window_start_ms, account_id, unit, limit_amount)
      VALUES ('prepaid_acc_1@0', 'prepaid_acc_1', 0, 'acc_1', 'nano_usd', 1000)`.execute(database.db);
    const a = await node('spl_a');
    await a.ask({ capId: 'prepaid_acc_1', windowStartMs: 0 }, 1);
    expect(a.free({ capId: 'prepaid_acc_1', windowStartMs: 0 })).toBe(200);
    expect(a.leases.size).toBe(1);
  });

  it('is answered in one go with the others that came with it', async () => {
    const budgets: BudgetRef[] = [];
    for (let index = 0; index < 30; index++) {
      await makeCap(database.db, `cap_${index}`, { limit: 10 });
      budgets.push(dayOf(`cap_${index}`));
    }
    const a = await node('spl_a');
    const answers = await Promise.all(budgets.map((budget) => a.ask(budget, 2)));
    expect(answers.every((answer) => answer.granted)).toBe(true);
    for (const budget of budgets) expect(a.free(budget)).toBe(5);
  });

  it('for what no cap limits, or no window, is told to come back', async () => {
    await makeCap(database.db, 'cap_1', { limit: 10 });
    await makeCap(database.db, 'cap_removed', { limit: 10 });
    const a = await node('spl_a');
    await a.ask(dayOf('cap_removed'), 1);
    await sql`UPDATE cap SET limit_amount = NULL WHERE id = 'cap_removed'`.execute(database.db);
    await sql`UPDATE budget SET limit_amount = NULL WHERE cap_id = 'cap_removed'`.execute(database.db);
    expect(await a.ask(dayOf('cap_unknown'), 1)).toMatchObject({ reason: 'unreachable' });
    expect(await a.ask({ capId: 'cap_1', windowStartMs: TODAY + 5 * DAY_MS }, 1)).toMatchObject({ reason: 'unreachable' });
    expect(await a.ask(dayOf('cap_removed'), 100)).toMatchObject({ reason: 'unreachable' });
  });

  it('that no database can be asked ends the stream of its node, and spoils no answer to another one', async () => {
    await makeCap(database.db, 'cap_1', { limit: 10 });
    const [a, b] = [await node('spl_a'), await node('spl_b')];
    const spoiled = a.ask(dayOf('cap_\0'), 1);
    expect(await b.ask(dayOf('cap_1'), 1)).toEqual({ granted: true });
    expect(await Promise.race([spoiled, a.ended])).toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  it('of one node waits for no other node', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    await makeCap(database.db, 'cap_2', { limit: 100 });
    const [a, b, silent] = [await node('spl_a'), await node('spl_b'), await node('spl_silent')];
    await silent.ask(dayOf('cap_1'), 100);
    silent.answering = false;
    const waiting = a.ask(dayOf('cap_1'), 10);
    expect(await b.ask(dayOf('cap_2'), 10)).toEqual({ granted: true });
    expect(await waiting).toMatchObject({ reason: 'unreachable' });
  });

  it('is denied while the grants are frozen', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    const a = await node('spl_a');
    await replica.restore.declareRestored('a test');
    // Every node comes again in the new epoch, and declares.
    await a.ended;
    const again = await node('spl_a', { from: a });
    expect(await again.ask(dayOf('cap_1'), 1)).toMatchObject({ reason: 'unreachable' });
    // The database has the last word, also where this replica has not heard yet.
    const other = await start();
    const b = await node('spl_b', { at: other });
    Object.defineProperty(other.restore, 'frozen', { value: () => false });
    expect(await b.ask(dayOf('cap_1'), 1)).toMatchObject({ reason: 'unreachable' });
  });
});

describe('a shortage', () => {
  it('is met with what another node gives back', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    const [a, b] = [await node('spl_a'), await node('spl_b')];
    await a.ask(dayOf('cap_1'), 100);
    const lease = a.lease(dayOf('cap_1'));
    if (lease !== undefined) lease.taken = 30;
    expect(await b.ask(dayOf('cap_1'), 60)).toEqual({ granted: true });
    expect(a.recalls).toMatchObject([{ leaseId: lease?.leaseId, retire: false }]);
    expect(b.free(dayOf('cap_1'))).toBe(60);
    expect(await book(dayOf('cap_1'))).toEqual({ limit: 100, settled: 0, held: 90 });
  });

  it('that nobody can meet is told as exhausted, with how the budget stands', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    const [a, b] = [await node('spl_a'), await node('spl_b')];
    await a.ask(dayOf('cap_1'), 100);
    const lease = a.lease(dayOf('cap_1'));
    if (lease === undefined) throw new Error('no lease');
    lease.taken = 70;
    await chargeLeases(database.db, { [lease.leaseId]: 40n }, Date.now());
    const answer = await b.ask(dayOf('cap_1'), 31);
    expect(answer).toMatchObject({ reason: 'exhausted', left: 30, frame: { limit: 100n, settled: 40n, held: 30n } });
    // It is granted what is left.
    expect(await b.ask(dayOf('cap_1'), 30)).toEqual({ granted: true });
  });

  it('hangs on a node that is gone no longer than 400 ms', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    const a = await node('spl_a');
    await a.ask(dayOf('cap_1'), 100);
    await a.close();
    const b = await node('spl_b');
    const startedMs = performance.now();
    expect(await b.ask(dayOf('cap_1'), 10)).toMatchObject({ reason: 'unreachable' });
    expect(performance.now() - startedMs).toBeGreaterThan(350);
  });

  it('is over for a denied node when a limit is raised: it is granted what it needed', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    const a = await node('spl_a');
    expect(await a.ask(dayOf('cap_1'), 150)).toMatchObject({ reason: 'exhausted', left: 100 });
    await sql`UPDATE budget SET limit_amount = 400 WHERE cap_id = 'cap_1'`.execute(database.db);
    replica.questions.room([budgetId(dayOf('cap_1'))]);
    await a.until(() => a.free(dayOf('cap_1')) === 200);
  });

  it('begins when a limit is lowered: all holders give back what is free', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    await makeCap(database.db, 'cap_2', { limit: 100 });
    const [a, b] = [await node('spl_a'), await node('spl_b')];
    await a.ask(dayOf('cap_1'), 50);
    await b.ask(dayOf('cap_1'), 40);
    await b.ask(dayOf('cap_2'), 40);
    await sql`UPDATE budget SET limit_amount = 60`.execute(database.db);
    await replica.questions.lowered([budgetId(dayOf('cap_1')), budgetId(dayOf('cap_2'))]);
    await a.until(() => a.free(dayOf('cap_1')) === 0);
    await b.until(() => b.free(dayOf('cap_1')) === 0);
    // There was room for it under the lower limit.
    expect(b.free(dayOf('cap_2'))).toBe(50);
  });
});

describe('a node that comes back', () => {
  it('is told all its open leases in full, whatever it knows of them', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    const a = await node('spl_a');
    await a.ask(dayOf('cap_1'), 10);
    await a.close();
    const again = await node('spl_a');
    await again.until(() => again.free(dayOf('cap_1')) === 50);
    expect(again.frames[0]?.frame).toMatchObject({ case: 'opened', value: { frozen: false } });
    expect(await again.ask(dayOf('cap_1'), 1)).toEqual({ granted: true });
    expect(again.leases.size).toBe(2);
  });

  it('takes the place of its older stream', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    const older = await node('spl_a');
    const newer = await node('spl_a');
    expect(await older.ended).toBeUndefined();
    expect(await newer.ask(dayOf('cap_1'), 10)).toEqual({ granted: true });
    expect(replica.leaseHub.streamCount).toBe(1);
  });

  it('gives back at once what it holds of a budget that is overdrawn since', async () => {
    await makeCap(database.db, 'cap_1', { limit: 100 });
    const a = await node('spl_a');
    await a.ask(dayOf('cap_1'), 80);
    await a.close();
    await sql`UPDATE budget SET limit_amount = 10`.execute(database.db);
    const again = await node('spl_a', { from: a });
    await again.until(() => again.recalls.length > 0);
    await again.until(() => again.free(dayOf('cap_1')) === 0);
  });
});

describe('two replicas', () => {
  let other: Replica;
  beforeEach(async () => {
    const signalsUrl = database.url;
    replica = await start({ signalsUrl });
    other = await start({ signalsUrl });
    for (const each of [replica, other]) await listening(each);
    await makeCap(database.db, 'cap_1', { limit: 100 });
  });

  async function listening(each: Replica): Promise<void> {
    const untilMs = Date.now() + 10_000;
    while (each.signals?.listening !== true) {
      if (Date.now() > untilMs) throw new Error('a replica does not listen');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  it('recall what a node of the other one holds', async () => {
    const a = await node('spl_a', { at: other });
    const b = await node('spl_b');
    await a.ask(dayOf('cap_1'), 100);
    expect(await b.ask(dayOf('cap_1'), 60)).toEqual({ granted: true });
    expect(a.recalls).toHaveLength(1);
  });

  it('recall from a node that has moved', async () => {
    const a = await node('spl_a');
    await a.ask(dayOf('cap_1'), 100);
    const moved = await node('spl_a', { at: other, from: a });
    const b = await node('spl_b');
    // The older stream is dead and not seen to be.
    a.answering = false;
    const answer = await b.ask(dayOf('cap_1'), 60);
    if (!answer.granted) {
      expect(answer.reason).toBe('unreachable');
      await a.close();
      expect(await b.ask(dayOf('cap_1'), 60)).toEqual({ granted: true });
    }
    expect(moved.free(dayOf('cap_1')) + b.free(dayOf('cap_1'))).toBeLessThanOrEqual(100);
  });

  it('push to denied nodes of the other one when there is more room', async () => {
    const b = await node('spl_b', { at: other });
    expect(await b.ask(dayOf('cap_1'), 150)).toMatchObject({ reason: 'exhausted' });
    await sql`UPDATE budget SET limit_amount = 1000 WHERE cap_id = 'cap_1'`.execute(database.db);
    replica.questions.room([budgetId(dayOf('cap_1'))]);
    await b.until(() => b.free(dayOf('cap_1')) === 500);
  });

  it('survive that one is killed in the middle of a recall: unreachable, then granted when the holder is back', async () => {
    const a = await node('spl_a', { at: other });
    const b = await node('spl_b');
    await a.ask(dayOf('cap_1'), 100);
    a.answering = false;
    const asked = b.ask(dayOf('cap_1'), 60);
    await a.until(() => a.recalls.length > 0);
    await other.close(0);
    expect(await asked).toMatchObject({ granted: false, reason: 'unreachable' });
    expect(await book(dayOf('cap_1'))).toEqual({ limit: 100, settled: 0, held: 100 });
    // It is asked again where it comes back, and what it gives back goes to the node that was denied.
    const again = await node('spl_a', { from: a });
    await again.until(() => again.recalls.length > 0);
    expect(again.frames[0]?.frame.case).toBe('opened');
    await b.until(() => b.free(dayOf('cap_1')) >= 60);
    expect((await book(dayOf('cap_1'))).held).toBeLessThanOrEqual(100);
  });

  it('lose nothing but time when their words are lost', async () => {
    const a = await node('spl_a', { at: other });
    const b = await node('spl_b');
    await a.ask(dayOf('cap_1'), 100);
    await other.signals?.close();
    expect(await b.ask(dayOf('cap_1'), 60)).toMatchObject({ reason: 'unreachable' });
    expect(a.recalls).toEqual([]);
    const lease = a.lease(dayOf('cap_1'));
    if (lease === undefined) throw new Error('no lease');
    // Given back by itself while b is asking again: the try at the deadline finds it, though nobody says so.
    const asked = b.ask(dayOf('cap_1'), 60);
    await a.giveBack(lease);
    expect(await asked).toEqual({ granted: true });
  });
});

describe('leases that nobody asks about', () => {
  let upkeep: LeaseUpkeep;
  beforeEach(async () => {
    upkeep = new LeaseUpkeep({ leases: replica.leases, runner: replica.questions });
    await makeCap(database.db, 'cap_1', { limit: 100 });
    await upkeep.silence();
  });

  /** As many ticks as a time has, of which each counts 30 s at most. */
  async function pass(ms: number, stepMs = 30_000): Promise<void> {
    for (let passed = 0; passed < ms; passed += stepMs) {
      await sql`UPDATE lease_clock SET ticked_at = ticked_at - make_interval(secs => ${stepMs / 1_000})`.execute(database.db);
      await upkeep.silence();
    }
  }

  it('close when their spool was silent for a day: what they held is written off, and the node is told', async () => {
    const [a, b] = [await node('spl_a'), await node('spl_b')];
    await a.ask(dayOf('cap_1'), 40);
    await b.ask(dayOf('cap_1'), 10);
    const lease = a.lease(dayOf('cap_1'));
    if (lease === undefined) throw new Error('no lease');
    await chargeLeases(database.db, { [lease.leaseId]: 15n }, Date.now());
    await a.close();
    await sql`UPDATE lease_spool SET silent_ms = ${SILENT_AFTER_MS - 60_000}`.execute(database.db);
    await untilGone('spl_a');
    await pass(30_000);
    const { held } = await book(dayOf('cap_1'));
    expect(held).toBe(a.free(dayOf('cap_1')) - 15 + b.free(dayOf('cap_1')));
    await pass(30_000);
    // The connected one is not silent, whatever was counted before.
    expect(await book(dayOf('cap_1'))).toMatchObject({ settled: 15, held: b.free(dayOf('cap_1')) });
    expect(b.lease(dayOf('cap_1'))).toBeDefined();
    // Later charges are nobody's.
    expect(await chargeLeases(database.db, { [lease.leaseId]: 5n }, Date.now())).toBe(false);
    const again = await node('spl_a', { from: a });
    await again.until(() => again.leases.get(lease.leaseId)?.closed === true);
    expect(await again.ask(dayOf('cap_1'), 20)).toEqual({ granted: true });
    expect(again.lease(dayOf('cap_1'))?.leaseId).not.toBe(lease.leaseId);
  });

  it('are not waited for where a spool never had any: it is given up all the same', async () => {
    const a = await node('spl_a');
    await a.close();
    await untilGone('spl_a');
    await sql`UPDATE lease_spool SET silent_ms = ${SILENT_AFTER_MS - 30_000}`.execute(database.db);
    const retired = () => database.db.selectFrom('lease_spool').select(['spool_id', 'retired_at']).execute();
    expect(await retired()).toEqual([{ spool_id: 'spl_a', retired_at: null }]);
    await pass(30_000);
    expect(await retired()).toEqual([{ spool_id: 'spl_a', retired_at: expect.any(Date) }]);
    await upkeep.count();
    expect(upkeep.figures.silentSpools).toBe(0);
  });

  it('count no silence for time in which no replica ran', async () => {
    const a = await node('spl_a');
    await a.ask(dayOf('cap_1'), 40);
    await a.close();
    await untilGone('spl_a');
    await pass(4 * SILENT_AFTER_MS, SILENT_AFTER_MS);
    expect((await book(dayOf('cap_1'))).held).toBe(50);
    const { silent_ms: silentMs } = await database.db.selectFrom('lease_spool').select('silent_ms').executeTakeFirstOrThrow();
    expect(Number(silentMs)).toBe(120_000);
  });

  it('are not silent while usage of their spool is ingested, or another replica has their stream', async () => {
    const second = await start();
    const [a, b] = [await node('spl_a'), await node('spl_b', { at: second })];
    await a.ask(dayOf('cap_1'), 10);
    await b.ask(dayOf('cap_1'), 10);
    await a.close();
    await untilGone('spl_a');
    await pass(30_000);
    await sql`
      INSERT INTO ingest_cursor (spool_id, incarnation, acked_seq, node_id, region, updated_at)
      VALUES ('spl_a', 1, 1, 'nod_a', 'us', clock_timestamp())`.execute(database.db);
    await pass(30_000);
    const silence = async () => {
      const rows = await database.db.selectFrom('lease_spool').select(['spool_id', 'silent_ms']).execute();
      return Object.fromEntries(rows.map((row) => [row.spool_id, Number(row.silent_ms)]));
    };
    // The other replica has not counted yet.
    expect(await silence()).toEqual({ spl_a: 0, spl_b: 60_000 });
    await second.leases.tick(second.questions.spools);
    expect((await silence()).spl_b).toBe(0);
  });

  it('are silent no longer than it was, whatever the clocks of replicas say', async () => {
    const second = await start();
    const a = await node('spl_a');
    await a.close();
    await untilGone('spl_a');
    const ownMs = aheadMs;
    for (let turn = 0; turn < 4; turn++) {
      aheadMs = ownMs + 20_000;
      await replica.leases.tick([]);
      aheadMs = ownMs;
      await second.leases.tick([]);
    }
    const { silent_ms: silentMs } = await database.db.selectFrom('lease_spool').select('silent_ms').executeTakeFirstOrThrow();
    expect(Number(silentMs)).toBeLessThan(20_000);
  });

  it('of windows that are over close when nothing is held on them, and are called back when something is', async () => {
    const [a, b] = [await node('spl_a'), await node('spl_b')];
    await a.ask(dayOf('cap_1'), 40);
    await b.ask(dayOf('cap_1'), 10);
    await upkeep.ended();
    expect(a.recalls).toEqual([]);
    aheadMs += DAY_MS;
    a.answering = false;
    await upkeep.ended();
    await a.until(() => a.recalls.length > 0);
    await b.until(() => b.recalls.length > 0);
    await b.until(() => b.free(dayOf('cap_1')) === 0);
    await untilHeld(50);
    await upkeep.ended();
    // Tomorrow, which is today now, is left alone.
    await b.until(() => b.lease(dayOf('cap_1')) === undefined);
    expect(b.lease({ capId: 'cap_1', windowStartMs: TODAY + DAY_MS })).toBeDefined();
    expect(a.lease(dayOf('cap_1'))).toBeDefined();
  });

  it('are handed out ahead to one node of each region, on budgets in use', async () => {
    const [us, eu1, eu2] = [await node('spl_us'), await node('spl_eu1', { region: 'eu' }), await node('spl_eu2', { region: 'eu' })];
    await makeCap(database.db, 'cap_big', { limit: 100_000 });
    await makeCap(database.db, 'cap_idle', { limit: 100_000 });
    await us.ask(dayOf('cap_big'), 10);
    await upkeep.seeds();
    const seeded = () => [eu1, eu2].filter((each) => each.free(dayOf('cap_big')) === 20);
    await Promise.race([eu1, eu2].map((each) => each.until(() => seeded().length > 0)));
    await upkeep.seeds();
    expect(seeded()).toHaveLength(1);
    expect((await book(dayOf('cap_big'))).held).toBe(us.free(dayOf('cap_big')) + 20);
    expect([eu1, eu2].some((each) => each.lease(dayOf('cap_idle')) !== undefined)).toBe(false);
  });

  it('spread over the nodes of a region by budget', async () => {
    const [us, eu1, eu2] = [await node('spl_us'), await node('spl_eu1', { region: 'eu' }), await node('spl_eu2', { region: 'eu' })];
    const caps = Array.from({ length: 40 }, (_, index) => `cap_s${index}`);
    for (const capId of caps) await makeCap(database.db, capId, { limit: 10_000 });
    await Promise.all(caps.map((capId) => us.ask(dayOf(capId), 1)));
    await upkeep.seeds();
    await eventually(async () => eu1.leases.size + eu2.leases.size === caps.length);
    expect(eu1.leases.size).toBeGreaterThan(8);
    expect(eu2.leases.size).toBeGreaterThan(8);
  });

  it('are replaced when they were granted so much that their counters would lose exactness', async () => {
    const a = await node('spl_a');
    await a.ask(dayOf('cap_1'), 10);
    const lease = a.lease(dayOf('cap_1'));
    if (lease === undefined) throw new Error('no lease');
    // Granted and given back over the years.
    await sql`
      UPDATE lease SET granted = granted + ${MAX_GRANTED}, returned = returned + ${MAX_GRANTED} WHERE id = ${lease.leaseId}`.execute(
      database.db,
    );
    lease.granted += MAX_GRANTED;
    lease.returned += MAX_GRANTED;
    lease.taken = 5;
    expect(await a.ask(dayOf('cap_1'), 10)).toMatchObject({ reason: 'unreachable' });
    await a.until(() => a.recalls.some((recall) => recall.retire && recall.leaseId === lease.leaseId));
    await untilHeld(5);
    expect(await a.ask(dayOf('cap_1'), 10)).toMatchObject({ reason: 'unreachable' });
    await chargeLeases(database.db, { [lease.leaseId]: 5n }, Date.now());
    expect(await a.ask(dayOf('cap_1'), 10)).toEqual({ granted: true });
    const rows = await database.db
      .selectFrom('lease')
      .select(['id', 'closed_at'])
      .where('budget_id', '=', budgetId(dayOf('cap_1')))
      .execute();
    expect(rows.filter((row) => row.closed_at === null)).toHaveLength(1);
    expect(rows.find((row) => row.id === lease.leaseId)?.closed_at).not.toBeNull();
  });

  it('are counted', async () => {
    const a = await node('spl_a');
    await a.ask(dayOf('cap_1'), 10);
    await upkeep.count();
    expect(upkeep.figures).toEqual({ held: { chat_completions: 100 }, settled: { chat_completions: 0 }, openLeases: 2, silentSpools: 0 });
  });

  /** The replica hears a moment later that a stream is gone. */
  async function untilGone(spoolId: string): Promise<void> {
    await eventually(async () => !replica.questions.spools.includes(spoolId));
  }

  async function untilHeld(held: number): Promise<void> {
    await eventually(async () => (await book(dayOf('cap_1'))).held === held);
  }
});

describe('a stream', () => {
  it('needs the join token', async () => {
    const stranger = new TestLeaseNode(replica.address, database.db, { spoolId: 'spl_a', token: 'wrong' });
    expect(await stranger.ended).toMatchObject({ code: status.UNAUTHENTICATED });
    await stranger.close();
  });

  it('begins with Open and declarations, once', async () => {
    const faults: ((wrong: TestLeaseNode) => void)[] = [
      (wrong) => void wrong.ask(dayOf('cap_1'), 1),
      (wrong) => wrong.declare(),
      (wrong) => {
        wrong.say();
        wrong.say();
      },
      (wrong) => {
        wrong.say();
        wrong.declare();
        wrong.declare();
      },
      (wrong) => wrong.say('No region'),
      (wrong) => {
        wrong.say();
        wrong.declare(Array.from({ length: 1_001 }, () => record('0'.repeat(32))));
      },
      (wrong) => {
        wrong.say();
        wrong.declare([record('not a lease id')]);
      },
    ];
    for (const fault of faults) {
      const wrong = new TestLeaseNode(replica.address, database.db, { spoolId: 'spl_wrong' });
      fault(wrong);
      const error = await wrong.ended;
      expect([status.INVALID_ARGUMENT, status.FAILED_PRECONDITION]).toContain((error as { code?: number } | undefined)?.code);
      await wrong.close();
    }
    expect(replica.leaseHub.streamCount).toBe(0);
  });

  it('takes no question number twice', async () => {
    const a = await node('spl_a');
    const value = { questionId: 1n, budget: { capId: 'cap_1', windowStartMs: 0n }, need: 1n, want: 1n, ratePer30s: 0n };
    a.send({ case: 'question', value });
    a.send({ case: 'question', value });
    expect(await a.ended).toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  it('declares in several frames', async () => {
    const a = new TestLeaseNode(replica.address, database.db, { spoolId: 'spl_a' });
    closing.push(() => a.close());
    a.say();
    a.declare([], false);
    a.declare([], false);
    a.declare([], true);
    await a.until(() => a.frames.some(({ frame }) => frame.case === 'opened'));
  });

  it('is ended where nothing is declared in time', async () => {
    const a = new TestLeaseNode(replica.address, database.db, { spoolId: 'spl_a' });
    a.say();
    await eventually(async () => replica.leaseHub.streamCount === 1);
    replica.leaseHub.tick();
    expect(replica.leaseHub.streamCount).toBe(1);
    aheadMs += 30_000;
    replica.leaseHub.tick();
    expect(await a.ended).toBeInstanceOf(Error);
    await a.close();
  });

  it('is ended where its node takes no answers, which wait in a bounded queue', async () => {
    const a = await node('spl_a');
    a.pause();
    const grant = { leaseId: '0'.repeat(32), spoolId: 'spl_a', budget: dayOf('cap_1'), granted: 1 };
    for (let frame = 0; frame < 50_000 && replica.leaseHub.streamCount > 0; frame++) {
      replica.questions.granted('spl_a', [grant]);
      if (frame % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(replica.leaseHub.streamCount).toBe(0);
  });

  it('is sent away when the replica stops', async () => {
    const a = await node('spl_a');
    replica.leaseHub.drain();
    expect(await a.ended).toMatchObject({ code: status.UNAVAILABLE });
    const late = new TestLeaseNode(replica.address, database.db, { spoolId: 'spl_b' });
    expect(await late.ended).toMatchObject({ code: status.UNAVAILABLE });
    await late.close();
  });
});

describe('under contention', () => {
  it('twenty nodes on two replicas never hold more than the limit together, and get nearly all of it', async () => {
    const limit = 50_000;
    await makeCap(database.db, 'cap_1', { limit });
    const other = await start();
    const nodes = await Promise.all(
      Array.from({ length: 20 }, (_, index) => node(`spl_${index}`, { at: index % 2 === 0 ? replica : other })),
    );
    for (const each of nodes) each.answering = false;
    const budget = dayOf('cap_1');
    await Promise.all(
      nodes.map(async (each) => {
        for (let round = 0; round < 10; round++) await each.ask(budget, 0, { want: 300, rate: 200 });
      }),
    );
    const total = nodes.reduce((sum, each) => sum + each.free(budget), 0);
    const { held, settled } = await book(budget);
    expect(held + settled).toBeLessThanOrEqual(limit);
    expect(total).toBe(held);
    expect(total).toBeGreaterThan(0.95 * limit);
    const { rows } = await sql<{ granted: bigint }>`
      SELECT sum(granted)::bigint AS granted FROM lease WHERE budget_id = ${budgetId(budget)}`.execute(database.db);
    expect(Number(rows[0]?.granted)).toBe(held);
  });
});

function record(leaseId: string) {
  return { leaseId, budget: dayOf('cap_1'), granted: 0, returned: 0, used: 0, closed: false };
}

async function eventually(wanted: () => Promise<boolean>): Promise<void> {
  const untilMs = Date.now() + 10_000;
  while (!(await wanted())) {
    if (Date.now() > untilMs) throw new Error('it did not come about');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
