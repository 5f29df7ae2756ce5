import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { type ClientDuplexStream, credentials, status } from '@grpc/grpc-js';
import { finalToWire } from '@meridian/wire/codec/final';
import { MAX_UNPACKED_BYTES } from '@meridian/wire/codec/usage-batch';
import {
  type ReportRequest,
  ReportRequestSchema,
  type ReportResponse,
  type UsageBatch,
  UsageBatchSchema,
  UsageRecordsSchema,
  UsageService as WireUsageService,
} from '@meridian/wire/gen/usage_pb';
import { channelOptions } from '@meridian/wire/grpc-options';
import { makeClient } from '@meridian/wire/grpc-service';
import { sql } from 'kysely';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { createLedger, type Ledger } from '../ledger/service.ts';
import { createUsageService, type UsageAlarm, type UsageService } from '../usage/service.ts';
import { ADMITTED_AT_MS, openCredit, paidFromCredit, settledFinal, TEST_PRICES } from '../usage/testing.ts';
import { authorized, type Replica, startReplica } from './testing.ts';

const clock = { nowMs: () => ADMITTED_AT_MS + 1_000 };
const CHARGE = 980_000n;
const CREDIT = 1_000_000_000n;
const INCARNATION = 2n ** 64n - 3n;

let database: TestDatabase;
let ledger: Ledger;
let usage: UsageService;
let alarms: UsageAlarm[];
let replica: Replica;
const closing: (() => Promise<void> | void)[] = [];

beforeEach(async () => {
  database = await testDatabase();
  ledger = createLedger({ db: database.db, clock });
  alarms = [];
  usage = createUsageService({ db: database.db, clock, prices: TEST_PRICES, onAlarm: (alarm) => alarms.push(alarm) });
  await usage.makePartitions();
  await ledger.topUp({ idempotencyKey: 'start', accountId: 'acc_1', amountNano: CREDIT });
  await openCredit(database.db, 'spl_1', ['acc_1']);
  replica = await startReplica({ db: database.db, usage, polling: false });
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await replica.close();
  await database.drop();
});

class Reporter {
  readonly responses: ReportResponse[] = [];
  readonly ended: Promise<{ code: number; details: string } | undefined>;
  readonly #stream: ClientDuplexStream<ReportRequest, ReportResponse>;

  constructor(address: string, token?: string) {
    const client = makeClient(WireUsageService, address, credentials.createInsecure(), channelOptions());
    this.#stream = client.calls.report(authorized(token));
    this.#stream.on('data', (response) => this.responses.push(response));
    this.ended = new Promise((resolve) => {
      this.#stream.on('error', (error) => resolve(error as Error & { code: number; details: string }));
      this.#stream.on('end', () => resolve(undefined));
    });
    closing.push(() => client.channel.close());
    closing.push(() => this.#stream.cancel());
  }

  open(ranges: readonly (readonly [first: number, last: number])[] = [[1, 100]]): void {
    const incarnations = ranges.map(([first, last]) => ({
      incarnation: INCARNATION,
      firstSeq: BigInt(first),
      lastSeq: BigInt(last),
      ackedSeq: 0n,
    }));
    this.#send({
      case: 'open',
      value: {
        $typeName: 'meridian.v1.ReportOpen',
        nodeId: 'nod_1',
        region: 'us',
        spoolId: 'spl_1',
        dbEpoch: '',
        replacesSpoolId: '',
        incarnations: incarnations.map((each) => ({ $typeName: 'meridian.v1.RetainedIncarnation', ...each })),
      },
    });
  }

  batch(value: UsageBatch): void {
    this.#send({ case: 'batch', value });
  }

  /** The responses as text, once there are so many. */
  async answers(count: number): Promise<string[]> {
    while (this.responses.length < count) {
      const ended = await Promise.race([once(this.#stream, 'data').then(() => 'data'), this.ended]);
      if (ended !== 'data' && this.responses.length < count)
        throw new Error(`ended after ${this.responses.length}: ${JSON.stringify(ended)}`);
    }
    return this.responses.map(({ frame }) => {
      if (frame.case === 'opened') return `opened ${frame.value.acked.map(({ ackedSeq }) => ackedSeq).join()}`;
      return frame.case === 'ack' ? `ack ${frame.value.ackedSeq}` : 'nothing';
    });
  }

  cancel(): void {
    this.#stream.cancel();
  }

  halfClose(): void {
    this.#stream.end();
  }

  #send(frame: ReportRequest['frame']): void {
    this.#stream.write(create(ReportRequestSchema, { frame }));
  }
}

function reporter(token?: string): Reporter {
  return new Reporter(replica.address, token);
}

/** One successful call for each seq; `spoil` makes a record unreadable. */
function batch(firstSeq: number, lastSeq: number, spoil?: number): UsageBatch {
  const records = Array.from({ length: lastSeq - firstSeq + 1 }, (_, index) => {
    const seq = firstSeq + index;
    const final = finalToWire(paidFromCredit('spl_1', settledFinal({ requestId: `req_${seq}` })));
    if (seq === spoil) final.outcome = 'who knows';
    return { seq: BigInt(seq), record: { case: 'final' as const, value: final } };
  });
  const recordsGzip = gzipSync(toBinary(UsageRecordsSchema, create(UsageRecordsSchema, { records })));
  return create(UsageBatchSchema, { incarnation: INCARNATION, firstSeq: BigInt(firstSeq), lastSeq: BigInt(lastSeq), recordsGzip });
}

async function spentNano(): Promise<bigint> {
  const { paidNano, bonusNano } = await ledger.balanceOf('acc_1');
  return CREDIT - paidNano - bonusNano;
}

describe('Report', () => {
  it('acknowledges each batch once it is committed, several being in flight', async () => {
    const node = reporter();
    node.open();
    node.batch(batch(1, 10));
    node.batch(batch(11, 11));
    node.batch(batch(12, 40));
    expect(await node.answers(4)).toEqual(['opened 0', 'ack 10', 'ack 11', 'ack 40']);
    expect(await spentNano()).toBe(40n * CHARGE);
    node.halfClose();
    expect(await node.ended).toBeUndefined();
  });

  it('counts what is sent again once', async () => {
    const node = reporter();
    node.open();
    node.batch(batch(1, 10));
    node.batch(batch(1, 10));
    node.batch(batch(6, 15));
    expect(await node.answers(4)).toEqual(['opened 0', 'ack 10', 'ack 10', 'ack 15']);
    const again = reporter();
    again.open();
    expect(await again.answers(1)).toEqual(['opened 15']);
    expect(await spentNano()).toBe(15n * CHARGE);
  });

  it('closes the stream at a gap, having committed what came before it and nothing after', async () => {
    const node = reporter();
    node.open();
    node.batch(batch(1, 10));
    node.batch(batch(12, 20));
    node.batch(batch(11, 20));
    expect(await node.ended).toMatchObject({ code: status.FAILED_PRECONDITION });
    expect(await node.answers(2)).toEqual(['opened 0', 'ack 10']);
    expect(await spentNano()).toBe(10n * CHARGE);
  });

  it('passes a bad record on to the dead letters and takes the rest', async () => {
    const node = reporter();
    node.open();
    node.batch(batch(1, 3, 2));
    expect(await node.answers(2)).toEqual(['opened 0', 'ack 3']);
    expect(await spentNano()).toBe(2n * CHARGE);
    expect(alarms).toMatchObject([{ kind: 'dead_letter', seq: 2 }]);
    const { rows } = await sql<{ account_id: string; charge_nano: string }>`SELECT account_id, charge_nano FROM usage_dead_letter`.execute(
      database.db,
    );
    expect(rows).toEqual([{ account_id: 'acc_1', charge_nano: String(CHARGE) }]);
  });

  it.each([
    ['no gzip', () => Buffer.from('not gzip')],
    ['a bomb', () => gzipSync(Buffer.alloc(MAX_UNPACKED_BYTES + 1))],
  ])('refuses a batch that is %s, without ending the process', async (_, recordsGzip) => {
    const node = reporter();
    node.open();
    node.batch(create(UsageBatchSchema, { incarnation: INCARNATION, firstSeq: 1n, lastSeq: 1n, recordsGzip: recordsGzip() }));
    expect(await node.ended).toMatchObject({ code: status.INVALID_ARGUMENT });
    const next = reporter();
    next.open();
    expect(await next.answers(1)).toEqual(['opened 0']);
  });

  it('begins with one Open', async () => {
    const early = reporter();
    early.batch(batch(1, 1));
    expect(await early.ended).toMatchObject({ code: status.FAILED_PRECONDITION });
    const twice = reporter();
    twice.open();
    twice.open();
    expect(await twice.ended).toMatchObject({ code: status.FAILED_PRECONDITION });
    const stranger = reporter('some-other-token-of-length');
    stranger.open();
    expect(await stranger.ended).toMatchObject({ code: status.UNAUTHENTICATED });
    expect(await spentNano()).toBe(0n);
  });

  it('charges once when the stream is cut in the middle of a batch, at whatever point, and the batch is sent again', async () => {
    let committed = 0;
    for (let round = 0; round < 12; round++) {
      const first = round * 20 + 1;
      const node = reporter();
      node.open([[1, 1_000]]);
      await node.answers(1);
      node.batch(batch(first, first + 19));
      // From before the batch is read until after it is acknowledged.
      for (let turn = 0; turn < round * 3; turn++) await new Promise((resolve) => setImmediate(resolve));
      node.cancel();
      await node.ended;
      const again = reporter();
      again.open([[1, 1_000]]);
      const [opened] = await again.answers(1);
      if (opened === `opened ${first + 19}`) committed += 1;
      again.batch(batch(first, first + 19));
      expect((await again.answers(2))[1]).toBe(`ack ${first + 19}`);
      again.halfClose();
      await again.ended;
    }
    expect(await spentNano()).toBe(240n * CHARGE);
    expect(committed).toBeLessThan(12);
  });

  it('charges once when a replica is cut off in the middle and the node goes to another', async () => {
    const other = await startReplica({ db: database.db, usage, polling: false });
    closing.push(() => other.close());
    const node = reporter();
    node.open();
    for (let seq = 1; seq <= 10; seq++) node.batch(batch(seq, seq));
    await node.answers(3);
    await replica.close(1);
    await node.ended;
    const again = new Reporter(other.address);
    again.open();
    const [opened] = await again.answers(1);
    const acked = Number(opened?.replace('opened ', ''));
    expect(acked).toBeGreaterThanOrEqual(2);
    again.batch(batch(1, 10));
    expect((await again.answers(2))[1]).toBe('ack 10');
    expect(await spentNano()).toBe(10n * CHARGE);
    replica = await startReplica({ db: database.db, usage, polling: false });
  });

  it('charges once when the node goes to another replica while its batch is being committed', async () => {
    const other = await startReplica({ db: database.db, usage, polling: false });
    closing.push(() => other.close());
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query("BEGIN; SELECT FROM budget WHERE account_id = 'acc_1' FOR UPDATE");
    const node = reporter();
    node.open();
    node.batch(batch(1, 5));
    node.batch(batch(6, 10));
    // Over a connection of its own: within a transaction the answer stays the same.
    const watcher = new pg.Client({ connectionString: database.url });
    await watcher.connect();
    const waiting = async (): Promise<number | null> => {
      const found = await watcher.query("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'");
      return found.rowCount;
    };
    await expect.poll(waiting, { timeout: 10_000 }).toBe(1);
    node.cancel();
    await node.ended;
    const again = new Reporter(other.address);
    again.open();
    again.batch(batch(1, 10));
    again.batch(batch(8, 20));
    // The other replica waits at the cursor for the first one's transaction.
    await expect.poll(waiting, { timeout: 10_000 }).toBe(2);
    await holder.query('COMMIT');
    await Promise.all([holder.end(), watcher.end()]);
    expect(await again.answers(3)).toEqual(['opened 5', 'ack 10', 'ack 20']);
    expect(await spentNano()).toBe(20n * CHARGE);
    const [lease] = await database.db.selectFrom('lease').select('used').execute();
    expect(lease?.used).toBe(20n * CHARGE);
    expect(alarms).toEqual([]);
  });

  it('ends its streams when a replica stops', async () => {
    const node = reporter();
    node.open();
    await node.answers(1);
    const stopped = replica.close();
    expect(await node.ended).toMatchObject({ code: status.UNAVAILABLE });
    await stopped;
    expect(replica.reports.streamCount).toBe(0);
    replica = await startReplica({ db: database.db, usage, polling: false });
  });
});
