import { randomBytes } from 'node:crypto';
import { budgetId, prepaidCapId } from '@meridian/domain/budget';
import { heldOf, type LeaseRecord, NO_COUNTERS } from '@meridian/domain/lease';
import fc from 'fast-check';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Budget, Escrow, type Lease } from '../budgets/escrow.ts';
import { Leases } from '../budgets/leases.ts';
import type { Question } from '../budgets/questions.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { transaction } from '../database/transaction.ts';
import { makeCap } from '../rpc/testing-leases.ts';
import { mayThaw, mergeDeclared, type SpoolState } from './restore.ts';
import { type RestoreEvent, RestoreService } from './service.ts';

const TODAY = Date.UTC(2026, 4, 4);
const DAY_MS = 86_400_000;
const NOON = TODAY + DAY_MS / 2;
const hex = (letter: string): string => letter.repeat(32);
const spool = (spoolId: string) => ({ spoolId, nodeId: `nod_${spoolId}`, region: 'us' });

let database: TestDatabase;
let events: RestoreEvent[];
let restore: RestoreService;

beforeEach(async () => {
  database = await testDatabase();
  events = [];
  restore = await start();
  await makeCap(database.db, 'cap_1', { limit: 100 });
});
afterEach(() => database.drop());

function start(): Promise<RestoreService> {
  return RestoreService.start({ db: database.db, clock: { nowMs: () => NOON }, onEvent: (event) => events.push(event) });
}

function record(leaseId: string, change: Partial<LeaseRecord> = {}): LeaseRecord {
  return { leaseId, budget: { capId: 'cap_1', windowStartMs: TODAY }, granted: 60, returned: 0, used: 0, closed: false, ...change };
}

async function leases() {
  const rows = await database.db.selectFrom('lease').selectAll().orderBy('id').execute();
  return rows.map((row) => ({
    id: row.id.slice(0, 1),
    figures: [row.granted, row.returned, row.used, row.written_off].map(Number),
    open: row.closed_at === null,
  }));
}

async function book(capId = 'cap_1', windowStartMs = TODAY) {
  const row = await database.db
    .selectFrom('budget')
    .selectAll()
    .where('id', '=', budgetId({ capId, windowStartMs }))
    .executeTakeFirstOrThrow();
  return { limit: row.limit_amount, settled: Number(row.settled), held: Number(row.held) };
}

describe('a database that was never set back', () => {
  it('grants, and lets every spool report', async () => {
    expect(restore.frozen()).toBe(false);
    expect(await restore.admit({ spoolId: 'spl_1', dbEpoch: '', acked: [{ incarnation: 1n, ackedSeq: 9 }] }, [])).toEqual({
      dbEpoch: restore.dbEpoch(),
    });
    await restore.replayed('spl_1');
    expect(await restore.declare(spool('spl_1'), [])).toEqual({ closed: [] });
    await expect(restore.thaw('why not')).rejects.toMatchObject({ code: 'invalid_state' });
    expect(events).toEqual([]);
  });

  it('tells a node which of its leases are closed', async () => {
    await restore.declareRestored('a test');
    await restore.declare(spool('spl_1'), [record(hex('a')), record(hex('b'), { closed: true })]);
    await restore.replayed('spl_1');
    const again = await restore.declare(spool('spl_1'), [record(hex('a')), record(hex('b'), { closed: true })]);
    expect(again).toEqual({ closed: [hex('b')] });
  });
});

describe('a new epoch', () => {
  it('begins in all lanes at once, and freezes grants on every replica', async () => {
    const other = await start();
    await restore.declare(spool('spl_1'), []);
    await sql`INSERT INTO lease_spool (spool_id, node_id, region, last_seen_at) VALUES ('spl_1', 'n', 'us', now())`.execute(database.db);
    const before = restore.dbEpoch();
    await restore.declareRestored(' the disk was lost ');
    const heads = await database.db.selectFrom('config_head').select('db_epoch').execute();
    expect(new Set(heads.map((head) => head.db_epoch))).toEqual(new Set([restore.dbEpoch()]));
    expect(restore.dbEpoch()).not.toBe(before);
    expect([restore.frozen(), other.frozen()]).toEqual([true, false]);
    // The database has the last word.
    expect(await transaction(database.db, (trx) => other.isFrozenIn(trx))).toBe(true);
    await other.refresh();
    expect([other.frozen(), other.dbEpoch()]).toEqual([true, restore.dbEpoch()]);
    expect(events).toMatchObject([{ kind: 'restored', reason: 'the disk was lost' }]);
    await expect(restore.declareRestored(' ')).rejects.toMatchObject({ code: 'invalid_request_error' });
  });

  it('begins once for a sign, however many see it, and once for all that was seen in one epoch', async () => {
    await sql`INSERT INTO lease_spool (spool_id, node_id, region, last_seen_at) VALUES ('spl_1', 'n', 'us', now())`.execute(database.db);
    const dbEpoch = restore.dbEpoch();
    const signs = Array.from({ length: 10 }, (_, index) => ({ key: `sign ${index % 5}`, reason: 'r', dbEpoch }));
    expect(await Promise.all(signs.map((sign) => restore.detected(sign)))).toEqual(signs.map(() => true));
    expect(events).toHaveLength(1);
    const present = restore.dbEpoch();
    const first = await database.db.selectFrom('database_epoch').select('sign').executeTakeFirstOrThrow();
    expect(await restore.detected({ key: first.sign, reason: 'r', dbEpoch: present })).toBe(false);
    expect(restore.dbEpoch()).toBe(present);
  });

  it('is given away by what a node was acknowledged, in the epoch that it knows', async () => {
    const dbEpoch = restore.dbEpoch();
    const acked = [{ incarnation: 1n, ackedSeq: 9 }];
    await expect(restore.admit({ spoolId: 'spl_1', dbEpoch: 'another', acked }, [{ incarnation: 1n, ackedSeq: 8 }])).resolves.toBeDefined();
    await expect(restore.admit({ spoolId: 'spl_1', dbEpoch, acked }, [{ incarnation: 1n, ackedSeq: 9 }])).resolves.toBeDefined();
    await expect(restore.admit({ spoolId: 'spl_1', dbEpoch, acked }, [{ incarnation: 1n, ackedSeq: 8 }])).rejects.toMatchObject({
      code: 'overloaded',
    });
    expect(events).toMatchObject([{ kind: 'restored', reason: 'spool spl_1 was acknowledged 9, and 8 is known' }, { kind: 'thawed' }]);
  });

  it('is given away by a lease that was granted more than is known', async () => {
    const before = restore.dbEpoch();
    expect(await restore.declare(spool('spl_1'), [record(hex('a'))])).toEqual({ closed: [] });
    expect(restore.dbEpoch()).not.toBe(before);
    expect(await leases()).toEqual([{ id: 'a', figures: [60, 0, 0, 0], open: true }]);
  });

  it('refuses reports until the spool has declared, and grants until all have declared and replayed', async () => {
    await restore.declareRestored('first');
    await restore.declare(spool('spl_1'), []);
    await restore.declare(spool('spl_2'), []);
    await restore.declareRestored('second');
    const open = { spoolId: 'spl_1', dbEpoch: '', acked: [] };
    await expect(restore.admit(open, [])).rejects.toMatchObject({ code: 'overloaded' });
    // What has not declared cannot have replayed.
    await restore.replayed('spl_1');
    await restore.declare(spool('spl_1'), []);
    await expect(restore.admit(open, [])).resolves.toBeDefined();
    expect((await restore.status()).spools).toMatchObject([
      { spoolId: 'spl_1', declared: true, replayed: false },
      { spoolId: 'spl_2', declared: false, replayed: false },
    ]);
    await restore.replayed('spl_1');
    expect(restore.frozen()).toBe(true);
    await restore.declare(spool('spl_2'), []);
    expect(restore.frozen()).toBe(true);
    await restore.replayed('spl_2');
    expect(restore.frozen()).toBe(false);
    expect((await restore.status()).restored).toMatchObject({ thawReason: 'every spool has declared and replayed' });
  });

  it('waits for no spool that was given up, nor longer than an operator wants', async () => {
    await restore.declareRestored('first');
    await restore.declare(spool('spl_1'), []);
    await restore.declareRestored('second');
    expect(restore.frozen()).toBe(true);
    await restore.giveUp('spl_1');
    expect(restore.frozen()).toBe(false);
    await restore.declare(spool('spl_1'), []);
    await restore.declareRestored('third');
    expect(await restore.thaw('the node burnt down')).toMatchObject({ restored: { thawReason: 'the node burnt down' } });
    expect([restore.frozen(), (await restore.status()).spools[0]?.retired]).toEqual([false, false]);
  });
});

describe('a grant under way', () => {
  /** Transactions that wait for the lock between grants and epochs. */
  async function waiting(): Promise<number> {
    const { rows } = await sql<{ count: bigint }>`
      SELECT count(*) AS count FROM pg_locks
      WHERE NOT granted AND locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`.execute(
      database.db,
    );
    return Number(rows[0]?.count ?? 0n);
  }

  it('is committed before an epoch begins, and one that comes after it sees the epoch', async () => {
    const order: string[] = [];
    let begun: Promise<unknown> = Promise.resolve();
    let asked: Promise<unknown> = Promise.resolve();
    const ids = { nowMs: () => NOON, randomBytes: (count: number) => randomBytes(count) };
    const late = new Leases({ db: database.db, background: database.db, ids, isFrozenIn: (trx) => restore.isFrozenIn(trx) });
    const grant = new Leases({
      db: database.db,
      background: database.db,
      ids,
      isFrozenIn: async (trx) => {
        const frozen = await restore.isFrozenIn(trx);
        // Between the look at the epoch and the grant.
        begun = restore.declareRestored('a test').then(() => order.push('epoch'));
        await expect.poll(waiting).toBe(1);
        asked = late.attempt([question('spl_2')]).then(([attempt]) => order.push(`late ${attempt?.type}`));
        await expect.poll(waiting).toBe(2);
        return frozen;
      },
    });
    for (const spoolId of ['spl_1', 'spl_2']) await grant.open(spool(spoolId), []);
    const [attempt] = await grant.attempt([question('spl_1')]);
    expect(attempt?.type).toBe('granted');
    await Promise.all([begun, asked]);
    expect(order).toContain('late refused');
    const holders = await database.db.selectFrom('lease').select('spool_id').distinct().execute();
    expect(holders).toEqual([{ spool_id: 'spl_1' }]);
    expect(restore.frozen()).toBe(true);
  });

  function question(spoolId: string): Question {
    return { spoolId, budget: { capId: 'cap_1', windowStartMs: TODAY }, need: 10, want: 10, ratePer30s: 0, streamId: 1, questionId: 1 };
  }
});

describe('a declaration', () => {
  /** So that nothing is thawed: a spool that stays away. */
  beforeEach(async () => {
    await sql`INSERT INTO lease_spool (spool_id, node_id, region, last_seen_at) VALUES ('spl_away', 'n', 'us', now())`.execute(database.db);
    await restore.declareRestored('a test');
  });

  it('is merged by the higher counters, also beyond the limit while grants are frozen', async () => {
    await restore.declare(spool('spl_1'), [record(hex('a'), { granted: 40 })]);
    await restore.declareRestored('again');
    await restore.declare(spool('spl_1'), [record(hex('a'), { granted: 90, returned: 20, used: 33 })]);
    await restore.declare(spool('spl_2'), [record(hex('b'), { granted: 60 })]);
    expect(await leases()).toEqual([
      { id: 'a', figures: [90, 20, 0, 0], open: true },
      { id: 'b', figures: [60, 0, 0, 0], open: true },
    ]);
    expect(await book()).toEqual({ limit: 100n, settled: 0, held: 130 });
  });

  it('that comes after the thaw is taken as far as the limit leaves room, and else closed', async () => {
    await restore.thaw('a test');
    expect(await restore.declare(spool('spl_1'), [record(hex('a'))])).toEqual({ closed: [] });
    expect(await restore.declare(spool('spl_2'), [record(hex('b'))])).toEqual({ closed: [hex('b')] });
    expect(await restore.declare(spool('spl_3'), [record(hex('c'), { returned: 20 })])).toEqual({ closed: [] });
    expect(await leases()).toEqual([
      { id: 'a', figures: [60, 0, 0, 0], open: true },
      { id: 'b', figures: [60, 0, 0, 60], open: false },
      { id: 'c', figures: [60, 20, 0, 0], open: true },
    ]);
    expect(await book()).toEqual({ limit: 100n, settled: 0, held: 100 });
  });

  it('keeps what the node has done with open until everything is replayed', async () => {
    await restore.declare(spool('spl_1'), [record(hex('a'), { closed: true }), record(hex('b'))]);
    await restore.declareRestored('again');
    // It does not declare the first one any more, and has another instead of the second.
    await restore.declare(spool('spl_1'), [record(hex('b'), { closed: true }), record(hex('c'))]);
    expect((await leases()).map(({ open }) => open)).toEqual([true, true, true]);
    expect(await book()).toMatchObject({ held: 180 });
    await restore.replayed('spl_1');
    expect(await leases()).toEqual([
      { id: 'a', figures: [60, 0, 0, 60], open: false },
      { id: 'b', figures: [60, 0, 0, 60], open: false },
      { id: 'c', figures: [60, 0, 0, 0], open: true },
    ]);
    expect(await book()).toMatchObject({ held: 60 });
  });

  it('makes the budgets that the database lost: of credit, of a cap that is set, and of one that is not known', async () => {
    const credit = { capId: prepaidCapId('acc_1'), windowStartMs: 0 };
    await sql`INSERT INTO ledger_balance (account_id, paid_nano) VALUES ('acc_1', 500)`.execute(database.db);
    await sql`DELETE FROM budget`.execute(database.db).catch(() => undefined);
    const records = [
      record(hex('a'), { budget: credit }),
      record(hex('b'), { budget: { capId: 'cap_1', windowStartMs: TODAY - 9 * DAY_MS } }),
      record(hex('c'), { budget: { capId: 'cap_lost', windowStartMs: TODAY } }),
    ];
    expect(await restore.declare(spool('spl_1'), records)).toEqual({ closed: [] });
    expect(await book(credit.capId, 0)).toEqual({ limit: 500n, settled: 0, held: 60 });
    expect(await book('cap_1', TODAY - 9 * DAY_MS)).toEqual({ limit: 100n, settled: 0, held: 60 });
    expect(await book('cap_lost')).toEqual({ limit: null, settled: 0, held: 60 });
  });

  it('of another spool’s lease is not taken', async () => {
    await restore.declare(spool('spl_1'), [record(hex('a'))]);
    expect(await restore.declare(spool('spl_2'), [record(hex('a'), { granted: 90 })])).toEqual({ closed: [hex('a')] });
    expect(await leases()).toEqual([{ id: 'a', figures: [60, 0, 0, 0], open: true }]);
  });

  it('holds at any number of leases', async () => {
    const many = Array.from({ length: 1_500 }, (_, index) => record(index.toString(16).padStart(32, '0'), { closed: true }));
    await restore.declare(spool('spl_1'), many);
    await restore.replayed('spl_1');
    expect((await leases()).filter(({ open }) => open)).toEqual([]);
    expect(await book()).toMatchObject({ held: 0 });
  });
});

/** Whether another record of the lease names the budget that it is on. */
function isTaken(lease: Lease, records: readonly LeaseRecord[]): boolean {
  return records.some((record) => record.leaseId === lease.id && budgetId(record.budget) === lease.budgetId);
}

describe('the rules', () => {
  const state = (change: Partial<SpoolState>): SpoolState => {
    const { spoolId, nodeId, region } = spool('spl_1');
    return { spoolId, nodeId, region, lastSeenAtMs: 0, retired: false, declared: true, replayed: true, ...change };
  };

  it('let grants go on when nobody is waited for', () => {
    expect(mayThaw([])).toBe(true);
    expect(mayThaw([state({}), state({ retired: true, declared: false, replayed: false })])).toBe(true);
    expect(mayThaw([state({}), state({ replayed: false })])).toBe(false);
    expect(mayThaw([state({ declared: false })])).toBe(false);
  });

  it('keep each budget’s sums, and after the thaw its limit, whatever is declared', () => {
    const ids = ['a', 'b', 'c', 'd'].map(hex);
    const caps = ['cap_1', 'cap_2'];
    const known = fc.record({
      id: fc.constantFrom(...ids),
      capId: fc.constantFrom(...caps),
      spoolId: fc.constantFrom('spl_1', 'spl_2'),
      granted: fc.integer({ min: 0, max: 40 }),
      used: fc.integer({ min: 0, max: 40 }),
      closed: fc.boolean(),
    });
    /** A spool has one open lease on a budget. */
    const oneOpenEach = <T extends { capId: string; spoolId: string; closed: boolean }>(rows: readonly T[]): T[] => {
      const first = new Set<string>();
      return rows.map((row) => {
        const place = `${row.capId} ${row.spoolId}`;
        const closed = row.closed || first.has(place);
        if (!closed) first.add(place);
        return { ...row, closed };
      });
    };
    const declared = fc.record({
      leaseId: fc.constantFrom(...ids),
      budget: fc.constantFrom(...caps).map((capId) => ({ capId, windowStartMs: TODAY })),
      granted: fc.integer({ min: 0, max: 90 }),
      returned: fc.integer({ min: 0, max: 90 }),
      used: fc.constant(0),
      closed: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(known, { selector: ({ id }) => id }).map(oneOpenEach),
        fc.array(declared, { maxLength: 6 }),
        fc.boolean(),
        (rows, records, thawed) => {
          const stored: Lease[] = rows.map(({ id, capId, spoolId, granted, used, closed }) => {
            const spent = Math.min(granted, used);
            const budget = budgetId({ capId, windowStartMs: TODAY });
            return {
              ...{ ...NO_COUNTERS, id, budgetId: budget, spoolId, granted, used: spent, retiring: false, closed },
              writtenOff: closed ? granted - spent : 0,
            };
          });
          const sumsOf = (id: string, all: readonly Lease[]) => ({
            settled: all.filter((lease) => lease.budgetId === id).reduce((sum, lease) => sum + lease.used, 0),
            held: all.filter((lease) => lease.budgetId === id).reduce((sum, lease) => sum + heldOf(lease), 0),
          });
          const budgets = caps.map((capId): Budget => {
            const ref = { capId, windowStartMs: TODAY };
            return { ref, accountId: 'acc_1', unit: 'chat_completions', limit: 100, ...sumsOf(budgetId(ref), stored) };
          });
          const rules = new Escrow(budgets, stored);
          const { closed } = mergeDeclared(rules, 'spl_1', records, thawed);
          for (const before of budgets) {
            const id = budgetId(before.ref);
            const after = rules.budget(id);
            expect(after).toMatchObject(sumsOf(id, [...rules.leases()]));
            const taken = (after?.settled ?? 0) + (after?.held ?? 0);
            if (thawed) expect(taken).toBeLessThanOrEqual(Math.max(100, before.settled + before.held));
          }
          for (const lease of rules.leases()) expect(heldOf(lease)).toBeGreaterThanOrEqual(0);
          // At most one is open for grants on each budget.
          const usable = [...rules.leases()].filter((lease) => lease.spoolId === 'spl_1' && !lease.closed && !lease.retiring);
          expect(new Set(usable.map((lease) => lease.budgetId)).size).toBe(usable.length);
          for (const leaseId of closed) {
            const lease = rules.lease(leaseId);
            if (lease?.spoolId === 'spl_1' && !lease.closed) expect(lease.retiring || isTaken(lease, records)).toBe(true);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
