/** What batches do to the rows of budgets and leases. */
import { randomBytes } from 'node:crypto';
import { budgetId, prepaidCapId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Final } from '@meridian/domain/usage-record';
import { sql } from 'kysely';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { audit } from '../audit/service.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { createLedger, type Ledger, ledgerBalances } from '../ledger/service.ts';
import type { BatchRecord, UsageBatch } from './batch.ts';
import { createUsageService, type UsageAlarm, type UsageService } from './service.ts';
import { ADMITTED_AT_MS, creditLeaseId, hourlySums, openCredit, paidFromCredit, settledFinal, TEST_PRICES } from './testing.ts';

const clock = { nowMs: () => ADMITTED_AT_MS + 1_000 };
const CHARGE = 980_000n;
const CREDIT = 1_000_000_000n;
const LEASE = creditLeaseId('spl_1', 'acc_1');
const BUDGET = { capId: prepaidCapId('acc_1'), windowStartMs: 0 };

let database: TestDatabase;
let ledger: Ledger;
let usage: UsageService;
let alarms: UsageAlarm[];

beforeEach(async () => {
  database = await testDatabase({ maxConnections: 20 });
  ledger = createLedger({ db: database.db, clock });
  alarms = [];
  usage = createUsageService({ db: database.db, clock, prices: TEST_PRICES, onAlarm: (alarm) => alarms.push(alarm) });
  await usage.makePartitions();
  await ledger.makePartitions();
  await ledger.topUp({ idempotencyKey: 'start', accountId: 'acc_1', amountNano: CREDIT });
});
afterEach(() => database.drop());

function batchOf(records: readonly BatchRecord[], change: Partial<UsageBatch> = {}): UsageBatch {
  const seqs = records.map(({ seq }) => seq);
  const span = { firstSeq: seqs[0] ?? 1, lastSeq: seqs.at(-1) ?? 1 };
  return { spoolId: 'spl_1', nodeId: 'nod_1', region: 'us', incarnation: 1n, ...span, records, ...change };
}

function final(seq: number, change: Partial<Final> = {}, spoolId = 'spl_1'): BatchRecord {
  return { seq, final: { ...paidFromCredit(spoolId, settledFinal({ requestId: `req_${spoolId}_${seq}`, ...change })), ...pick(change) } };
}

function pick({ leases }: Partial<Final>): Partial<Final> {
  return leases === undefined ? {} : { leases };
}

function said(seq: number, change: Partial<LeaseRecord>): BatchRecord {
  const lease = { leaseId: LEASE, budget: BUDGET, granted: 0, returned: 0, used: 0, closed: false, ...change };
  return { seq, lease };
}

async function lease(id = LEASE) {
  const row = await database.db.selectFrom('lease').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  return { granted: row.granted, returned: row.returned, used: row.used, writtenOff: row.written_off, open: row.closed_at === null };
}

async function budget(ref = BUDGET) {
  const row = await database.db.selectFrom('budget').selectAll().where('id', '=', budgetId(ref)).executeTakeFirstOrThrow();
  return { limit: row.limit_amount, settled: row.settled, held: row.held };
}

async function balance(accountId = 'acc_1'): Promise<bigint> {
  const { paidNano, bonusNano } = await ledger.balanceOf(accountId);
  return paidNano + bonusNano;
}

describe('a batch', () => {
  it('settles its charges on their leases: what is left of the budget is the balance', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1'], 500_000_000);
    await usage.ingestBatch(batchOf([final(1), final(2), final(3, { outcome: 'failed' })]));
    expect(await lease()).toMatchObject({ used: 2n * CHARGE, writtenOff: 0n });
    const { limit, settled, held } = await budget();
    expect([settled, held]).toEqual([2n * CHARGE, 500_000_000n - 2n * CHARGE]);
    expect((limit ?? 0n) - settled).toBe(await balance());
  });

  it('tells of a budget that holds more than a lowered limit allows, until all of it is back', async () => {
    const told: string[] = [];
    const onLimitChanged = (ids: readonly string[], news: string) => told.push(...ids.map((id) => `${news} ${id}`));
    usage = createUsageService({ db: database.db, clock, prices: TEST_PRICES, onAlarm: () => {}, onLimitChanged });
    await openCredit(database.db, 'spl_1', ['acc_1'], 5_000_000);
    await usage.ingestBatch(batchOf([final(1)]));
    expect(told).toEqual([]);
    await database.db
      .updateTable('budget')
      .set({ limit_amount: 2n * CHARGE })
      .execute();
    await usage.ingestBatch(batchOf([final(2)]));
    expect(told).toEqual([`lowered ${budgetId(BUDGET)}`]);
    // Sent again, it changes nothing.
    await usage.ingestBatch(batchOf([final(2)]));
    await usage.ingestBatch(batchOf([said(3, { granted: 5_000_000, returned: 5_000_000 - 2 * Number(CHARGE), used: 2 * Number(CHARGE) })]));
    expect(await budget()).toMatchObject({ settled: 2n * CHARGE, held: 0n });
    expect(told).toHaveLength(1);
  });

  it('charges to nobody what its lease has no room for, in its place, and books it as ours', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1'], 1_500_000);
    await usage.ingestBatch(batchOf([final(1), final(2), final(3, { usage: { input: 10 } })]));
    expect(alarms).toMatchObject([
      { kind: 'written_off', requestId: 'req_spl_1_2', chargeNano: CHARGE },
      { kind: 'written_off', requestId: 'req_spl_1_3', chargeNano: 28_000n },
    ]);
    expect(CREDIT - (await balance())).toBe(CHARGE);
    expect(await lease()).toMatchObject({ used: CHARGE, writtenOff: 1_500_000n - CHARGE });
    expect(await budget()).toMatchObject({ settled: CHARGE, held: 0n });
    const balances = await ledgerBalances(database.db);
    expect([balances.get('write_off'), balances.get('revenue')]).toEqual([-CHARGE - 28_000n, 2n * CHARGE + 28_000n]);
    const refused = await sql`SELECT outcome, charge_nano FROM usage_event WHERE request_id = 'req_spl_1_2'`.execute(database.db);
    expect(refused.rows).toEqual([{ outcome: 'success', charge_nano: 0n }]);
    expect(await hourlySums(database.db, 'acc_1')).toMatchObject({
      requests: 3n,
      chargedRequests: 1n,
      chargeNano: CHARGE,
      listNano: 700_000n,
      writtenOffNano: CHARGE + 28_000n,
    });
    expect(await usage.unchargedCost('acc_1', 0)).toEqual([{ day: '2026-05-04', costNano: 1_000_000n }]);
    expect((await audit(database.db, clock)).checks.filter((check) => !check.ok)).toEqual([]);
  });

  it('counts a request once when it is sent again after it was charged to nobody', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1'], 1);
    await usage.ingestBatch(batchOf([final(1)]));
    const [record] = batchOf([final(1)]).records;
    await usage.ingestBatch(batchOf([record ?? expect.fail()], { incarnation: 2n }));
    expect(alarms.map(({ kind }) => kind)).toEqual(['written_off']);
    expect(await balance()).toBe(CREDIT);
  });

  it('charges to nobody what names no lease', async () => {
    await usage.ingestBatch(batchOf([final(1, { leases: [] })]));
    expect(alarms).toMatchObject([{ kind: 'written_off', reason: 'no lease on the credit of its account is named' }]);
    expect(await balance()).toBe(CREDIT);
  });

  it('gives back what a lease record says, at its place in the order', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1'], 1_000_000);
    const records = [final(1), said(2, { granted: 1_000_000, returned: 20_000, used: Number(CHARGE) }), final(3)];
    await usage.ingestBatch(batchOf(records));
    expect(await lease()).toMatchObject({ used: CHARGE, returned: 20_000n, writtenOff: 0n });
    expect(alarms).toMatchObject([{ kind: 'written_off', requestId: 'req_spl_1_3' }]);
    expect(await budget()).toMatchObject({ settled: CHARGE, held: 0n });
  });

  it('writes off what a second final holds beyond all before it, and once', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1'], 5_000_000);
    const recovered = settledFinal({ requestId: 'r', outcome: 'recovered', answeringModelId: undefined, usage: {}, attempts: [] });
    const late: BatchRecord = { seq: 1, final: paidFromCredit('spl_1', settledFinal({ requestId: 'r' })) };
    await usage.ingestBatch(batchOf([{ seq: 1, final: recovered }], { incarnation: 2n }));
    await usage.ingestBatch(batchOf([late, { ...late, seq: 2 }], { incarnation: 1n }));
    await usage.ingestBatch(batchOf([late], { incarnation: 3n }));
    expect(await lease()).toMatchObject({ used: 0n, writtenOff: CHARGE });
    expect(await balance()).toBe(CREDIT);
  });

  it('writes off the leases of a record that becomes a dead letter', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1'], 5_000_000);
    await usage.ingestBatch(batchOf([final(1, { maxCostNano: 1n }), final(2)]));
    expect(alarms).toMatchObject([{ kind: 'dead_letter', seq: 1 }]);
    expect(await lease()).toMatchObject({ used: CHARGE, writtenOff: CHARGE });
  });

  it('counts on the leases of the spool that its own replaces', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1']);
    await usage.ingestBatch(batchOf([final(1)], { spoolId: 'spl_2', replacesSpoolId: 'spl_1' }));
    await usage.ingestBatch(batchOf([final(1, { requestId: 'other' })], { spoolId: 'spl_3' }));
    expect(await lease()).toMatchObject({ used: CHARGE });
    expect(alarms).toMatchObject([{ kind: 'written_off', reason: expect.stringContaining('another spool') }]);
  });

  it('that says more of a lease than is known is refused until the database is found to be sound', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1'], 5_000_000);
    const signs: string[] = [];
    const restored = [true, false];
    const watchful = createUsageService({
      ...{ db: database.db, clock, prices: TEST_PRICES, onAlarm: (alarm: UsageAlarm) => alarms.push(alarm) },
      onBehind: async ({ reason }) => {
        signs.push(reason);
        return restored.shift() ?? false;
      },
    });
    const batch = batchOf([final(1), said(2, { granted: 6_000_000, used: Number(CHARGE) })]);
    await expect(watchful.ingestBatch(batch)).rejects.toMatchObject({ code: 'overloaded' });
    expect([await balance(), await watchful.cursors('spl_1')]).toEqual([CREDIT, []]);
    expect(await watchful.ingestBatch(batch)).toEqual({ ackedSeq: 2 });
    expect(signs).toEqual(Array.from({ length: 2 }, () => `lease ${LEASE} was granted 6000000, and 5000000 is known`));
    expect(alarms).toMatchObject([{ kind: 'lease_ahead' }]);
    expect(CREDIT - (await balance())).toBe(CHARGE);
  });

  it('of a stream that was opened in another epoch is refused', async () => {
    const { db_epoch: epoch } = await database.db.selectFrom('config_head').select('db_epoch').limit(1).executeTakeFirstOrThrow();
    await openCredit(database.db, 'spl_1', ['acc_1']);
    await expect(usage.ingestBatch(batchOf([final(1)]), '00000000-0000-4000-8000-000000000000')).rejects.toMatchObject({
      code: 'overloaded',
    });
    expect(await usage.ingestBatch(batchOf([final(1)]), epoch)).toEqual({ ackedSeq: 1 });
  });
});

describe('many streams', () => {
  /** Deadlocks that came up in this database; a transaction that met one was run again. */
  async function deadlocks(): Promise<bigint> {
    const { rows } = await sql<{ n: bigint }>`SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()`.execute(
      database.db,
    );
    return rows[0]?.n ?? -1n;
  }

  it('of the same accounts, beside grants and top-ups, charge exactly and never wait for each other in a circle', async () => {
    const accounts = Array.from({ length: 6 }, (_, index) => `acc_${index}`);
    const spools = Array.from({ length: 8 }, (_, index) => `spl_${index}`);
    for (const accountId of accounts) {
      await ledger.topUp({ idempotencyKey: `start_${accountId}`, accountId, amountNano: CREDIT });
    }
    const before = new Map(await Promise.all(accounts.map(async (accountId) => [accountId, await balance(accountId)] as const)));
    for (const spoolId of spools) await openCredit(database.db, spoolId, accounts);
    const charged = new Map<string, bigint>();
    const report = async (spoolId: string): Promise<void> => {
      let seq = 0;
      for (let round = 0; round < 12; round++) {
        const records = Array.from(randomBytes(12), (byte) => {
          const accountId = accounts[byte % accounts.length] ?? expect.fail();
          charged.set(accountId, (charged.get(accountId) ?? 0n) + CHARGE);
          seq += 1;
          return final(seq, { accountId, requestId: `${spoolId}_${seq}` }, spoolId);
        });
        await usage.ingestBatch(batchOf(records, { spoolId }));
      }
    };
    const topUp = async (index: number): Promise<void> => {
      for (let round = 0; round < 12; round++) {
        const accountId = accounts[(index + round) % accounts.length] ?? expect.fail();
        await ledger.topUp({ idempotencyKey: `${index}_${round}`, accountId, amountNano: 1n });
        before.set(accountId, (before.get(accountId) ?? 0n) + 1n);
      }
    };
    await Promise.all([...spools.map(report), ...[0, 1, 2].map(topUp)]);
    expect(await deadlocks()).toBe(0n);
    for (const accountId of accounts) {
      expect((before.get(accountId) ?? 0n) - (await balance(accountId))).toBe(charged.get(accountId));
      const { settled } = await budget({ capId: prepaidCapId(accountId), windowStartMs: 0 });
      expect(settled).toBe(charged.get(accountId));
    }
    expect(alarms).toEqual([]);
  });

  it('that report the same requests at once charge each of them once', async () => {
    const spools = Array.from({ length: 8 }, (_, index) => `spl_${index}`);
    for (const spoolId of spools) await openCredit(database.db, spoolId, ['acc_1']);
    const report = (spoolId: string, reversed: boolean) => {
      const records = Array.from({ length: 20 }, (_, index) => {
        const requestId = `shared_${reversed ? 20 - index : index + 1}`;
        return final(index + 1, { requestId }, spoolId);
      });
      return usage.ingestBatch(batchOf(records, { spoolId }));
    };
    await Promise.all(spools.map((spoolId, index) => report(spoolId, index % 2 === 1)));
    expect(await deadlocks()).toBe(0n);
    expect(CREDIT - (await balance())).toBe(20n * CHARGE);
    const { settled } = await budget();
    expect(settled).toBe(20n * CHARGE);
  });

  it('take another look when a lease changes between the events and its lock', async () => {
    await openCredit(database.db, 'spl_1', ['acc_1'], 5_000_000);
    const other = new pg.Client({ connectionString: database.url });
    await other.connect();
    // Somebody closes the lease while the batch, whose events are inserted as charged by then, waits for the budget.
    await other.query('BEGIN');
    await other.query('SELECT FROM budget WHERE id = $1 FOR UPDATE', [budgetId(BUDGET)]);
    const ingesting = usage.ingestBatch(batchOf([final(1)]));
    const waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while ((await other.query(waiting)).rowCount === 0);
    await other.query('UPDATE lease SET closed_at = now(), written_off = granted WHERE id = $1', [LEASE]);
    await other.query('UPDATE budget SET held = 0 WHERE id = $1', [budgetId(BUDGET)]);
    await other.query('COMMIT');
    await other.end();
    expect(await ingesting).toEqual({ ackedSeq: 1 });
    expect(alarms).toMatchObject([{ kind: 'written_off', reason: expect.stringContaining('is closed') }]);
    expect(await balance()).toBe(CREDIT);
    expect((await audit(database.db, clock)).checks.filter((check) => !check.ok)).toEqual([]);
  });
});
