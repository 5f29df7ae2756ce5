/** A database that is set back under nodes which know more: what they say on Leases and Report makes it whole again. */
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { type ClientDuplexStream, credentials, status } from '@grpc/grpc-js';
import { prepaidCapId } from '@meridian/domain/budget';
import type { LeaseRecord } from '@meridian/domain/lease';
import type { Final } from '@meridian/domain/usage-record';
import { finalToWire } from '@meridian/wire/codec/final';
import { leaseRecordToWire } from '@meridian/wire/codec/lease';
import {
  type ReportRequest,
  ReportRequestSchema,
  type ReportResponse,
  UsageRecordsSchema,
  UsageService as WireUsageService,
} from '@meridian/wire/gen/usage_pb';
import { channelOptions } from '@meridian/wire/grpc-options';
import { makeClient, type ServiceClient } from '@meridian/wire/grpc-service';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { audit } from '../audit/service.ts';
import { copyOfDatabase, type TestDatabase, testDatabase } from '../database/testing.ts';
import { createLedger, ledgerBalances } from '../ledger/service.ts';
import { type RestoreEvent, RestoreService } from '../restore/service.ts';
import { createUsageService, type UsageAlarm } from '../usage/service.ts';
import { ADMITTED_AT_MS, settledFinal, TEST_PRICES } from '../usage/testing.ts';
import { authorized, type Replica, startReplica } from './testing.ts';
import { budgetRow, TestLeaseNode } from './testing-leases.ts';

const clock = { nowMs: () => ADMITTED_AT_MS + 1_000 };
const CHARGE = 980_000;
const LIMIT = 100 * CHARGE;
const CREDIT = { capId: prepaidCapId('acc_1'), windowStartMs: 0 };
const RECORDS_A_BATCH = 3;

let live: TestDatabase;
let replica: Replica;
let alarms: UsageAlarm[];
let events: RestoreEvent[];
const closing: (() => Promise<void> | void)[] = [];

beforeEach(async () => {
  live = await testDatabase();
  closing.push(() => live.drop());
  alarms = [];
  events = [];
  const ledger = createLedger({ db: live.db, clock });
  await ledger.makePartitions();
  await ledger.topUp({ idempotencyKey: 'start', accountId: 'acc_1', amountNano: BigInt(LIMIT) });
  replica = await start(live);
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start({ db }: TestDatabase): Promise<Replica> {
  const restore = await RestoreService.start({ db, clock, onEvent: (event) => events.push(event) });
  const usage = createUsageService({
    ...{ db, clock, prices: TEST_PRICES, onAlarm: (alarm: UsageAlarm) => alarms.push(alarm) },
    onBehind: (sign) => restore.detected(sign),
  });
  await usage.makePartitions();
  const started = await startReplica({ db, usage, restore, nowMs: clock.nowMs, polling: false });
  closing.push(() => started.close(200));
  return started;
}

type SpoolRecord = { readonly final: Final } | { readonly lease: LeaseRecord };

/** A node's spool with its leases: it keeps every record, and sends what is not acknowledged. */
class TestSpool {
  readonly spoolId: string;
  readonly records: SpoolRecord[] = [];
  leases: TestLeaseNode | undefined;
  ackedSeq = 0;
  dbEpoch = '';
  readonly #incarnation = randomBytes(8).readBigUInt64BE();
  #client: ServiceClient<typeof WireUsageService> | undefined;
  #stream: ClientDuplexStream<ReportRequest, ReportResponse> | undefined;

  constructor(spoolId: string) {
    this.spoolId = spoolId;
    closing.push(() => this.disconnect());
  }

  /** Opens Leases and declares what it has. */
  async declare(at: Replica, db: TestDatabase): Promise<void> {
    const from = this.leases;
    this.leases = await TestLeaseNode.open(at.address, db.db, { spoolId: this.spoolId, ...(from === undefined ? {} : { from }) });
    await from?.close();
  }

  get held(): TestLeaseNode {
    return this.leases ?? expect.fail('no leases');
  }

  /** Asks for credit; the lease is written down as it is received. */
  async ask(need: number): Promise<boolean> {
    const answer = await this.held.ask(CREDIT, need);
    if (answer.granted) this.#note();
    return answer.granted;
  }

  /** Serves requests on its lease on the credit. */
  serve(count: number): void {
    const lease = this.held.lease(CREDIT) ?? expect.fail('no lease');
    for (let index = 0; index < count; index++) {
      expect(this.held.free(CREDIT)).toBeGreaterThanOrEqual(CHARGE);
      lease.taken += CHARGE;
      const requestId = `req_${this.spoolId}_${this.records.length}`;
      this.records.push({ final: settledFinal({ requestId, leases: [{ leaseId: lease.leaseId, amount: BigInt(CHARGE) }] }) });
    }
  }

  /** Gives back what is free: a record of its spool, as a node's returns are. */
  giveBack(): void {
    const lease = this.held.lease(CREDIT) ?? expect.fail('no lease');
    lease.returned += this.held.free(CREDIT);
    this.#note();
  }

  /** Opens Report and sends what is not acknowledged. Rejects when it is refused. */
  async report(at: Replica): Promise<void> {
    this.disconnect();
    const client = makeClient(WireUsageService, at.address, credentials.createInsecure(), channelOptions());
    const stream = client.calls.report(authorized());
    this.#client = client;
    this.#stream = stream;
    await new Promise<void>((resolve, reject) => {
      stream.on('error', reject);
      stream.on('data', ({ frame }: ReportResponse) => {
        if (frame.case === 'opened') {
          this.dbEpoch = frame.value.dbEpoch;
          this.ackedSeq = Number(frame.value.acked[0]?.ackedSeq ?? 0n);
          this.#sendAll(stream);
        }
        if (frame.case === 'ack') this.ackedSeq = Number(frame.value.ackedSeq);
        if (this.ackedSeq === this.records.length) resolve();
      });
      const range = { incarnation: this.#incarnation, firstSeq: 1n, lastSeq: BigInt(this.records.length), ackedSeq: BigInt(this.ackedSeq) };
      const open = { nodeId: `nod_${this.spoolId}`, region: 'us', spoolId: this.spoolId, dbEpoch: this.dbEpoch, incarnations: [range] };
      stream.write(create(ReportRequestSchema, { frame: { case: 'open', value: open } }));
    });
  }

  disconnect(): void {
    this.#stream?.on('error', () => undefined);
    this.#stream?.cancel();
    this.#client?.channel.close();
    this.#stream = undefined;
  }

  #note(): void {
    const { leaseId, budget, granted, returned, taken, closed } = this.held.lease(CREDIT) ?? expect.fail('no lease');
    this.records.push({ lease: { leaseId, budget, granted, returned, used: taken, closed } });
  }

  #sendAll(stream: ClientDuplexStream<ReportRequest, ReportResponse>): void {
    for (let from = this.ackedSeq; from < this.records.length; from += RECORDS_A_BATCH) {
      const part = this.records.slice(from, from + RECORDS_A_BATCH);
      const records = part.map((each, index) => ({
        seq: BigInt(from + index + 1),
        record:
          'final' in each
            ? { case: 'final' as const, value: finalToWire(each.final) }
            : { case: 'lease' as const, value: leaseRecordToWire(each.lease) },
      }));
      const value = {
        incarnation: this.#incarnation,
        firstSeq: BigInt(from + 1),
        lastSeq: BigInt(from + part.length),
        recordsGzip: gzipSync(toBinary(UsageRecordsSchema, create(UsageRecordsSchema, { records }))),
      };
      stream.write(create(ReportRequestSchema, { frame: { case: 'batch', value } }));
    }
  }
}

/** What the nodes hold of the credit, and what they have charged to it. */
function truth(...spools: TestSpool[]) {
  const leases = spools.flatMap((spool) => [...spool.held.leases.values()]);
  const settled = leases.reduce((sum, lease) => sum + lease.taken, 0);
  const held = leases.reduce((sum, lease) => sum + lease.granted - lease.returned - lease.taken, 0);
  return { limit: LIMIT, settled, held };
}

/** Two nodes at work: some of it is in the backup, more came after it, the last was not even uploaded. */
async function work({ givesBack = true } = {}): Promise<{ a: TestSpool; b: TestSpool; backup: TestDatabase }> {
  const [a, b] = [new TestSpool('spl_a'), new TestSpool('spl_b')];
  for (const spool of [a, b]) {
    await spool.declare(replica, live);
    expect(await spool.ask(5 * CHARGE)).toBe(true);
    spool.serve(2);
    await spool.report(replica);
  }
  const backup = await copyOfDatabase(live);
  closing.push(() => backup.drop());
  expect(await a.ask(20 * CHARGE)).toBe(true);
  expect(await b.ask(30 * CHARGE)).toBe(true);
  a.serve(7);
  b.serve(3);
  if (givesBack) b.giveBack();
  await a.report(replica);
  await b.report(replica);
  expect(await budgetRow(live.db, CREDIT)).toEqual(truth(a, b));
  a.serve(4);
  return { a, b, backup };
}

/** All that the nodes served is charged once, and what they hold is held. */
async function expectWhole(database: TestDatabase, a: TestSpool, b: TestSpool): Promise<void> {
  const whole = truth(a, b);
  expect(await budgetRow(database.db, CREDIT)).toEqual(whole);
  expect((await ledgerBalances(database.db)).get('revenue')).toBe(BigInt(whole.settled));
  const { paidNano } = await createLedger({ db: database.db, clock }).balanceOf('acc_1');
  expect(paidNano).toBe(BigInt(LIMIT - whole.settled));
  expect((await audit(database.db, clock)).checks.filter((check) => !check.ok)).toEqual([]);
  expect(alarms).toEqual([]);
}

describe('a database that was set back, and an operator who says so', () => {
  it('grants nothing until all nodes have declared and replayed, and is whole then', async () => {
    const { a, b, backup } = await work();
    const restored = await start(backup);
    const before = restored.restore.dbEpoch();
    await restored.restore.declareRestored('restored from the backup of today');
    expect(restored.restore.dbEpoch()).not.toBe(before);
    // What a node has not declared, its usage could not be charged to.
    await expect(a.report(restored)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await a.declare(restored, backup);
    await a.report(restored);
    expect(restored.restore.frozen()).toBe(true);
    expect(await a.held.ask(CREDIT, CHARGE)).toMatchObject({ granted: false, reason: 'unreachable' });
    // It serves all the while, from what it holds.
    a.serve(1);
    await a.report(restored);
    await b.declare(restored, backup);
    expect(restored.restore.frozen()).toBe(true);
    await b.report(restored);
    await expect.poll(() => restored.restore.frozen()).toBe(false);
    await expectWhole(backup, a, b);
    expect(events.map(({ kind }) => kind)).toEqual(['restored', 'thawed']);
    // Whatever is granted from now on, there is nothing granted twice.
    const { settled, held } = truth(a, b);
    expect(await b.held.ask(CREDIT, LIMIT - settled - held)).toEqual({ granted: true });
    await a.held.ask(CREDIT, CHARGE);
    const full = await budgetRow(backup.db, CREDIT);
    expect(full.settled + full.held).toBeLessThanOrEqual(LIMIT);
    expect(full).toEqual(truth(a, b));
  });

  it('goes on without a node that does not come back; when it does, it gets what is left', async () => {
    const { a, b, backup } = await work({ givesBack: false });
    const restored = await start(backup);
    await restored.restore.declareRestored('a test');
    await a.declare(restored, backup);
    await a.report(restored);
    expect((await restored.restore.status()).spools.filter(({ replayed }) => !replayed).map(({ spoolId }) => spoolId)).toEqual(['spl_b']);
    await restored.restore.thaw('its disk is gone');
    const { limit, settled, held } = await budgetRow(backup.db, CREDIT);
    expect(await a.held.ask(CREDIT, limit - settled - held)).toEqual({ granted: true });
    await b.declare(restored, backup);
    await b.report(restored);
    const after = await budgetRow(backup.db, CREDIT);
    expect(after.settled + after.held).toBeLessThanOrEqual(LIMIT);
    // There is no room for its lease any more: what it served since the backup is charged to nobody.
    expect(alarms.map(({ kind }) => kind)).toEqual(['written_off', 'written_off', 'written_off']);
    expect(after.settled).toBe(truth(a, b).settled - 3 * CHARGE);
    await expect.poll(() => b.held.lease(CREDIT)).toBeUndefined();
    expect((await audit(backup.db, clock)).checks.filter((check) => !check.ok)).toEqual([]);
  });
});

describe('a database that was set back, and nobody says so', () => {
  it('is given away by what a spool was acknowledged', async () => {
    const { a, b, backup } = await work();
    const restored = await start(backup);
    await expect(a.report(restored)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    expect(events).toMatchObject([{ kind: 'restored', reason: expect.stringContaining('spool spl_a was acknowledged') }]);
    for (const spool of [a, b]) {
      await spool.declare(restored, backup);
      await spool.report(restored);
    }
    await expect.poll(() => restored.restore.frozen()).toBe(false);
    await expectWhole(backup, a, b);
  });

  it('is given away by a lease that is declared with more than is known', async () => {
    const { a, b, backup } = await work();
    const restored = await start(backup);
    // The first to hear of the new epoch are the streams that were opened in the old one: they come again.
    await a.declare(restored, backup).catch(() => a.declare(restored, backup));
    expect(events).toMatchObject([{ kind: 'restored', reason: expect.stringContaining('was granted') }]);
    await b.declare(restored, backup);
    for (const spool of [a, b]) await spool.report(restored);
    await expect.poll(() => restored.restore.frozen()).toBe(false);
    await expectWhole(backup, a, b);
  });

  it('is given away by a lease in a report, before any of it is charged', async () => {
    const a = new TestSpool('spl_a');
    await a.declare(replica, live);
    await a.ask(5 * CHARGE);
    a.serve(1);
    await a.report(replica);
    const backup = await copyOfDatabase(live);
    closing.push(() => backup.drop());
    await a.ask(20 * CHARGE);
    a.serve(9);
    const restored = await start(backup);
    await expect(a.report(restored)).rejects.toMatchObject({ code: status.UNAVAILABLE });
    expect(events).toMatchObject([{ kind: 'restored', reason: expect.stringContaining('was granted') }]);
    await a.declare(restored, backup);
    await a.report(restored);
    await expect.poll(() => restored.restore.frozen()).toBe(false);
    expect(alarms).toEqual([]);
    expect(await budgetRow(backup.db, CREDIT)).toEqual(truth(a));
  });
});
