import fc from 'fast-check';
import { sql } from 'kysely';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { sqlState } from '../database/transaction.ts';
import { createLedger, type Ledger, ledgerBalances } from '../ledger/service.ts';
import { type BatchRecord, MAX_BATCH_RECORDS, SequenceGapError, type UsageBatch } from './batch.ts';
import { createUsageService, type UsageAlarm, type UsageService } from './service.ts';
import { ADMITTED_AT_MS, hourlySums, settledFinal, TEST_PRICES, withCredit } from './testing.ts';

const clock = { nowMs: () => ADMITTED_AT_MS + 1_000 };
const CHARGE = 980_000n;

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
  await ledger.topUp({ idempotencyKey: 'start', accountId: 'acc_1', amountNano: 1_000_000_000n });
});
afterEach(() => database.drop());

/** A batch of one successful call for each seq of the span, unless told. */
function batch(span: Partial<UsageBatch> & { readonly firstSeq: number; readonly lastSeq: number }): UsageBatch {
  const spoolId = span.spoolId ?? 'spl_1';
  const incarnation = span.incarnation ?? 2n ** 64n - 5n;
  const records: BatchRecord[] = [];
  for (let seq = span.firstSeq; seq <= span.lastSeq; seq++) {
    records.push({ seq, final: settledFinal({ requestId: `req_${spoolId}_${incarnation}_${seq}` }) });
  }
  return { spoolId, nodeId: 'nod_1', region: 'us', incarnation, records, ...span };
}

/** Ingests it, its spool having leases on the credit that it charges. */
async function ingest(given: UsageBatch): Promise<{ ackedSeq: number }> {
  return usage.ingestBatch(await withCredit(database.db, given));
}

async function spentNano(): Promise<bigint> {
  const { paidNano, bonusNano } = await ledger.balanceOf('acc_1');
  return 1_000_000_000n - paidNano - bonusNano;
}

async function count(table: string): Promise<number> {
  const { rows } = await sql<{ n: bigint }>`SELECT count(*) AS n FROM ${sql.table(table)}`.execute(database.db);
  return Number(rows[0]?.n);
}

describe('a batch', () => {
  it('charges its calls, posts one transfer for the account, and is acknowledged', async () => {
    expect(await ingest(batch({ firstSeq: 1, lastSeq: 10 }))).toEqual({ ackedSeq: 10 });
    expect(await spentNano()).toBe(10n * CHARGE);
    expect(await ledger.listTransfers('acc_1', { limit: 10 })).toMatchObject([
      { code: 'usage', credit: 'paid', amountNano: -10n * CHARGE },
      { code: 'top_up' },
    ]);
    const balances = await ledgerBalances(database.db);
    expect(balances.get('revenue')).toBe(10n * CHARGE);
    expect(balances.get('upstream_cost')).toBe(-5_000_000n);
    expect(await usage.cursors('spl_1')).toEqual([{ incarnation: 2n ** 64n - 5n, ackedSeq: 10 }]);
    expect(alarms).toEqual([]);
  });

  it('is counted once when it comes twice, one after the other and at the same time', async () => {
    const same = batch({ firstSeq: 1, lastSeq: 10 });
    expect(await ingest(same)).toEqual({ ackedSeq: 10 });
    const again = await Promise.all(Array.from({ length: 10 }, () => ingest(same)));
    expect(again).toEqual(Array.from({ length: 10 }, () => ({ ackedSeq: 10 })));
    const next = batch({ firstSeq: 11, lastSeq: 20 });
    await Promise.all(Array.from({ length: 10 }, () => ingest(next)));
    expect(await spentNano()).toBe(20n * CHARGE);
    expect(await count('usage_event')).toBe(20);
    expect(await count('usage_duplicate')).toBe(0);
    expect(await count('usage_batch')).toBe(2);
  });

  it('is skipped as far as it was ingested before', async () => {
    await ingest(batch({ firstSeq: 1, lastSeq: 10 }));
    expect(await ingest(batch({ firstSeq: 6, lastSeq: 15 }))).toEqual({ ackedSeq: 15 });
    expect(await ingest(batch({ firstSeq: 2, lastSeq: 3 }))).toEqual({ ackedSeq: 15 });
    expect(await spentNano()).toBe(15n * CHARGE);
    expect(await count('usage_duplicate')).toBe(0);
  });

  it('that leaves a gap is refused whole, and says what is awaited', async () => {
    await ingest(batch({ firstSeq: 1, lastSeq: 10 }));
    const error = await ingest(batch({ firstSeq: 12, lastSeq: 20 })).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SequenceGapError);
    expect(error).toMatchObject({ expectedSeq: 11 });
    expect(await count('usage_event')).toBe(10);
    expect(await usage.cursors('spl_1')).toMatchObject([{ ackedSeq: 10 }]);
  });

  it('without any final moves the cursor', async () => {
    expect(await ingest(batch({ firstSeq: 1, lastSeq: 7, records: [] }))).toEqual({ ackedSeq: 7 });
  });

  it.each([
    ['that ends before it starts', { firstSeq: 2, lastSeq: 1, records: [] }],
    ['that starts at 0', { firstSeq: 0, lastSeq: 1, records: [] }],
    ['with a record beyond its end', { firstSeq: 1, lastSeq: 1, records: batch({ firstSeq: 1, lastSeq: 2 }).records }],
    ['with records out of order', { firstSeq: 1, lastSeq: 2, records: batch({ firstSeq: 1, lastSeq: 2 }).records.toReversed() }],
  ])('%s is refused', async (_, span) => {
    await expect(ingest(batch(span))).rejects.toMatchObject({ code: 'invalid_request_error' });
  });

  it('of another incarnation or spool has its own cursor', async () => {
    await ingest(batch({ firstSeq: 1, lastSeq: 3, incarnation: 1n }));
    await ingest(batch({ firstSeq: 1, lastSeq: 2, incarnation: 2n }));
    await ingest(batch({ firstSeq: 1, lastSeq: 4, spoolId: 'spl_2' }));
    expect(await spentNano()).toBe(9n * CHARGE);
    expect((await usage.cursors('spl_1')).toSorted((a, b) => a.ackedSeq - b.ackedSeq)).toEqual([
      { incarnation: 2n, ackedSeq: 2 },
      { incarnation: 1n, ackedSeq: 3 },
    ]);
  });

  it('leaves nothing when the connection breaks before the commit, and is ingested when it comes again', async () => {
    const first = batch({ firstSeq: 1, lastSeq: 10 });
    const other = new pg.Client({ connectionString: database.url });
    await other.connect();
    // Somebody holds the wallet: the ingest has inserted its events by the time it waits for it.
    await other.query("BEGIN; SELECT * FROM ledger_balance WHERE account_id = 'acc_1' FOR UPDATE");
    const outcome = ingest(first).catch((thrown: unknown) => thrown);
    let killed = 0;
    while (killed === 0) {
      const { rows } = await other.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
      );
      killed = rows.length;
    }
    expect(await outcome).toBeInstanceOf(Error);
    await other.query('ROLLBACK');
    await other.end();
    expect(await spentNano()).toBe(0n);
    expect([await count('usage_event'), await count('usage_batch'), await count('usage_hourly'), await count('ingest_cursor')]).toEqual([
      0, 0, 0, 0,
    ]);
    expect(await ingest(first)).toEqual({ ackedSeq: 10 });
    expect(await spentNano()).toBe(10n * CHARGE);
  });

  it('is acknowledged only after its commit', async () => {
    const other = new pg.Client({ connectionString: database.url });
    await other.connect();
    await other.query("BEGIN; SELECT * FROM ledger_balance WHERE account_id = 'acc_1' FOR UPDATE");
    let acked = false;
    const ingesting = ingest(batch({ firstSeq: 1, lastSeq: 1 })).then(() => {
      acked = true;
    });
    const waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while ((await other.query(waiting)).rowCount === 0);
    expect(acked).toBe(false);
    await other.query('COMMIT');
    await other.end();
    await ingesting;
    expect(await spentNano()).toBe(CHARGE);
  });
});

describe('many nodes at once', () => {
  it('charge one hot account exactly, without a deadlock', async () => {
    const spools = Array.from({ length: 50 }, (_, index) => `spl_hot_${index}`);
    await Promise.all(
      spools.map(async (spoolId) => {
        await ingest(batch({ spoolId, firstSeq: 1, lastSeq: 5 }));
        await ingest(batch({ spoolId, firstSeq: 6, lastSeq: 10 }));
      }),
    );
    expect(await spentNano()).toBe(500n * CHARGE);
    const sums = { requests: 500n, chargeNano: 500n * CHARGE, listNano: 500n * 700_000n, costNano: 500n * 500_000n };
    expect(await hourlySums(database.db, 'acc_1')).toMatchObject(sums);
    expect(alarms).toEqual([]);
  });

  it('take the rows of several accounts in one order', async () => {
    const accounts = ['acc_a', 'acc_b', 'acc_c', 'acc_d'];
    const recordsFor = (spoolId: string, order: readonly string[]) =>
      order.map((accountId, index) => ({ seq: index + 1, final: settledFinal({ requestId: `${spoolId}_${accountId}`, accountId }) }));
    await Promise.all(
      Array.from({ length: 30 }, (_, index) => {
        const spoolId = `spl_${index}`;
        const order = index % 2 === 0 ? accounts : accounts.toReversed();
        return ingest(batch({ spoolId, firstSeq: 1, lastSeq: 4, records: recordsFor(spoolId, order) }));
      }),
    );
    const { rows } = await sql<{ n: bigint }>`SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()`.execute(
      database.db,
    );
    expect(rows[0]?.n).toBe(0n);
    expect((await ledgerBalances(database.db)).get('revenue')).toBe(120n * CHARGE);
  });
});

describe('a request with two finals', () => {
  it('is charged by the first that was ingested, whichever node or incarnation sends the other', async () => {
    const one = settledFinal({ requestId: 'req_1' });
    await ingest(batch({ firstSeq: 1, lastSeq: 1, incarnation: 1n, records: [{ seq: 1, final: one }] }));
    await ingest(batch({ firstSeq: 1, lastSeq: 1, incarnation: 2n, records: [{ seq: 1, final: one }] }));
    expect(await spentNano()).toBe(CHARGE);
    expect(await count('usage_duplicate')).toBe(1);
    expect(alarms).toEqual([]);
  });

  it('is charged once when both are in one batch, and alarms when they differ', async () => {
    const recovered = settledFinal({ requestId: 'req_1', outcome: 'recovered', answeringModelId: undefined, usage: {}, attempts: [] });
    await ingest(
      batch({
        firstSeq: 1,
        lastSeq: 2,
        records: [
          { seq: 1, final: recovered },
          { seq: 2, final: settledFinal({ requestId: 'req_1' }) },
        ],
      }),
    );
    expect(await spentNano()).toBe(0n);
    expect(alarms).toEqual([{ kind: 'duplicate_differs', requestId: 'req_1' }]);
    const { rows } = await sql`SELECT outcome, charge_nano FROM usage_event`.execute(database.db);
    expect(rows).toEqual([{ outcome: 'recovered', charge_nano: 0n }]);
  });

  it('is charged once when two nodes send it at the same moment', async () => {
    const final = settledFinal({ requestId: 'req_1' });
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        ingest(batch({ spoolId: `spl_${index}`, firstSeq: 1, lastSeq: 1, records: [{ seq: 1, final }] })),
      ),
    );
    expect(await spentNano()).toBe(CHARGE);
    expect(await count('usage_duplicate')).toBe(19);
  });
});

describe('a record that cannot be ingested', () => {
  const good = (seq: number): BatchRecord => ({ seq, final: settledFinal({ requestId: `req_${seq}` }) });

  it.each([
    ['a negative charge', { chargeNano: -1n }],
    ['a charge above max_cost', { maxCostNano: 1n }],
    ['a charge for a failure', { outcome: 'failed' as const, chargeNano: 5n }],
    ['a text with a zero byte', { askedModel: 'a\0b' }],
    ['a text that is no Unicode', { upstream: 1, memberId: '\ud800' }],
    ['a lease whose name has a zero byte', { leases: [{ leaseId: 'a\0\ud800', amount: 0n }] }],
    ['negative units', { usage: { input: -1 }, chargeNano: 0n }],
    ['a time outside this century', { admittedAtMs: 1e17 }],
    ['a status that is no number', { status: Number.NaN }],
  ])('(%s) becomes a dead letter, and the rest is charged', async (_, change) => {
    const records = [good(1), { seq: 2, final: settledFinal({ requestId: 'req_2', ...change }) }, good(3)];
    expect(await ingest(batch({ firstSeq: 1, lastSeq: 3, records }))).toEqual({ ackedSeq: 3 });
    expect(await spentNano()).toBe(2n * CHARGE);
    expect(alarms).toMatchObject([{ kind: 'dead_letter', spoolId: 'spl_1', seq: 2 }]);
    const letter = await database.db.selectFrom('usage_dead_letter').selectAll().executeTakeFirstOrThrow();
    expect(letter).toMatchObject({ seq: 2n, account_id: 'acc_1' });
    expect(JSON.parse(letter.payload.toString('utf8'))).toMatchObject({ requestId: 'req_2' });
  });

  it('does not stop a spool that holds nothing else', async () => {
    const payload = Uint8Array.of(1);
    const unreadable = { reason: 'torn', accountId: undefined, requestId: undefined, chargeNano: undefined, leases: [], payload };
    const records = Array.from({ length: MAX_BATCH_RECORDS }, (_, index) => ({ seq: index + 1, unreadable }));
    await ingest(batch({ firstSeq: 1, lastSeq: MAX_BATCH_RECORDS, records }));
    expect(await count('usage_dead_letter')).toBe(MAX_BATCH_RECORDS);
  });

  it('keeps what could be read of one that was not decoded', async () => {
    const payload = Uint8Array.of(0, 255, 1);
    const unreadable = { reason: 'no such outcome', accountId: 'acc_\0', requestId: undefined, chargeNano: 2n ** 80n, leases: [], payload };
    await ingest(batch({ firstSeq: 1, lastSeq: 2, records: [good(1), { seq: 2, unreadable }] }));
    const letter = await database.db.selectFrom('usage_dead_letter').selectAll().executeTakeFirstOrThrow();
    expect(letter).toMatchObject({ reason: 'no such outcome', account_id: 'acc_\ufffd', charge_nano: `${2n ** 80n}` });
    expect([...letter.payload]).toEqual([0, 255, 1]);
    expect(await spentNano()).toBe(CHARGE);
  });

  it('is found alone when only the database refuses it', async () => {
    const owner = new pg.Client({ connectionString: database.url });
    await owner.connect();
    await owner.query("ALTER TABLE usage_event ADD CONSTRAINT unforeseen CHECK (asked_model <> 'unforeseen')");
    await owner.end();
    const records = [good(1), { seq: 2, final: settledFinal({ requestId: 'req_2', askedModel: 'unforeseen' }) }, good(3)];
    expect(await ingest(batch({ firstSeq: 1, lastSeq: 3, records }))).toEqual({ ackedSeq: 3 });
    expect(await spentNano()).toBe(2n * CHARGE);
    expect(alarms).toMatchObject([{ kind: 'dead_letter', seq: 2, reason: expect.stringContaining('unforeseen') }]);
  });
});

describe('rating', () => {
  it("posts the node's figure when ours differs, and says so", async () => {
    const records = [{ seq: 1, final: settledFinal({ requestId: 'req_1', chargeNano: CHARGE - 1n }) }];
    await ingest(batch({ firstSeq: 1, lastSeq: 1, records }));
    expect(await spentNano()).toBe(CHARGE - 1n);
    expect(alarms).toEqual([{ kind: 'rating_mismatch', requestId: 'req_1', chargedNano: CHARGE - 1n, ratedNano: CHARGE }]);
    expect(await database.db.selectFrom('usage_rating_mismatch').selectAll().execute()).toMatchObject([{ rated_nano: CHARGE }]);
  });

  it('cannot confirm a price version that is not known here', async () => {
    const records = [{ seq: 1, final: settledFinal({ requestId: 'req_1', answeringPriceVersion: 9 }) }];
    await ingest(batch({ firstSeq: 1, lastSeq: 1, records }));
    expect(await spentNano()).toBe(CHARGE);
    expect(alarms).toMatchObject([{ kind: 'rating_mismatch', ratedNano: undefined }]);
  });

  it('confirms a charge that was cut at max_cost, whose rest is ours', async () => {
    const final = settledFinal({ requestId: 'req_1', maxCostNano: 900_000n, chargeNano: 900_000n, varianceNano: 80_000n });
    await ingest(batch({ firstSeq: 1, lastSeq: 1, records: [{ seq: 1, final }] }));
    expect(alarms).toEqual([{ kind: 'variance', requestId: 'req_1', varianceNano: 80_000n }]);
    const balances = await ledgerBalances(database.db);
    expect(balances.get('variance')).toBe(-80_000n);
    expect(balances.get('revenue')).toBe(980_000n);
  });
});

describe('money', () => {
  it('that shows what the list price does not cover alarms, whether that cost us anything or not, and charges nobody for it', async () => {
    const usage = { input: 100, output: 50, 'per_tool_call:web_search': 2, audio_out: 7 };
    const dear = settledFinal({ requestId: 'req_1', usage, varianceNano: 20_000n });
    expect(dear.chargeNano).toBe(CHARGE);
    const free = settledFinal({ requestId: 'req_2', usage: { input: 100, audio_in: 0, 'per_image:1024x1024': 1 } });
    await ingest(batch({ firstSeq: 1, lastSeq: 2, records: [dear, free].map((final, index) => ({ seq: index + 1, final })) }));
    const modelId = dear.answeringModelId;
    expect(alarms).toEqual([
      { kind: 'variance', requestId: 'req_1', varianceNano: 20_000n },
      { kind: 'unpriced', requestId: 'req_1', modelId, meters: ['audio_out', 'per_tool_call:web_search'] },
      { kind: 'unpriced', requestId: 'req_2', modelId, meters: ['per_image:1024x1024'] },
    ]);
    const { rows } = await sql<{ calls: bigint; images: bigint; audio: bigint }>`
      SELECT sum(per_tool_call)::bigint AS calls, sum(per_image)::bigint AS images, sum(audio_out)::bigint AS audio FROM usage_hourly`.execute(
      database.db,
    );
    expect(rows).toEqual([{ calls: 2n, images: 1n, audio: 7n }]);
  });

  it('with more meters than any answer has is a dead letter', async () => {
    const usage = Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`per_tool_call:t${index}`, 1]));
    await ingest(
      batch({ firstSeq: 1, lastSeq: 1, records: [{ seq: 1, final: settledFinal({ requestId: 'req_1', usage, chargeNano: 0n }) }] }),
    );
    expect(alarms).toMatchObject([{ kind: 'dead_letter', reason: 'more than 64 meters' }]);
  });

  it('that an account does not have is written off, alarmed, and charged', async () => {
    const final = settledFinal({ requestId: 'req_1', accountId: 'acc_poor' });
    await ingest(batch({ firstSeq: 1, lastSeq: 1, records: [{ seq: 1, final }] }));
    expect(alarms).toEqual([{ kind: 'shortfall', accountId: 'acc_poor', shortfallNano: CHARGE }]);
    expect((await ledgerBalances(database.db)).get('write_off')).toBe(-CHARGE);
  });

  it('is taken from bonus and paid credit in one transfer each', async () => {
    await ledger.grant({ idempotencyKey: 'g', accountId: 'acc_1', amountNano: 1_500_000n });
    await ingest(batch({ firstSeq: 1, lastSeq: 3 }));
    const posted = (await ledger.listTransfers('acc_1', { limit: 10 })).filter(({ code }) => code === 'usage');
    expect(posted.map(({ credit, amountNano }) => [credit, amountNano])).toEqual([
      ['paid', -3n * CHARGE + 1_500_000n],
      ['bonus', -1_500_000n],
    ]);
  });

  it('that we spend without a charge is summed by account and day', async () => {
    const nextDay = ADMITTED_AT_MS + 12 * 3_600_000;
    const failedCall = {
      ...(settledFinal({ requestId: '' }).attempts[0] ?? expect.fail()),
      errorCode: 'upstream_error' as const,
      costNano: 7n,
    };
    const finals = [
      settledFinal({ requestId: 'req_1', outcome: 'failed' }),
      settledFinal({ requestId: 'req_2', attempts: [failedCall, ...settledFinal({ requestId: '' }).attempts] }),
      settledFinal({ requestId: 'req_3', outcome: 'empty', admittedAtMs: nextDay }),
    ];
    await ingest(batch({ firstSeq: 1, lastSeq: 3, records: finals.map((final, index) => ({ seq: index + 1, final })) }));
    expect(await usage.unchargedCost('acc_1', ADMITTED_AT_MS)).toEqual([
      { day: '2026-05-04', costNano: 500_007n },
      { day: '2026-05-05', costNano: 500_000n },
    ]);
  });
});

describe('what is read back', () => {
  it('is the list amount of charged calls in a window, free of any markup', async () => {
    const finals = [settledFinal({ requestId: 'req_1' }), settledFinal({ requestId: 'req_2', outcome: 'empty' })];
    await ingest(batch({ firstSeq: 1, lastSeq: 2, records: finals.map((final, index) => ({ seq: index + 1, final })) }));
    const toMs = ADMITTED_AT_MS + 3_600_000;
    expect(await usage.listSpend({ fromMs: toMs - 30 * 86_400_000, toMs })).toEqual([{ accountId: 'acc_1', listNano: 700_000n }]);
  });

  it.each([50_000, 1e12])('is no more than what is charged of a call that used more than it had reserved: %s tokens', async (output) => {
    const used = { usage: { input: 100, output }, maxCostNano: CHARGE, chargeNano: CHARGE };
    const final = settledFinal({ requestId: 'req_1', ...used });
    await ingest(batch({ firstSeq: 1, lastSeq: 1, records: [{ seq: 1, final }] }));
    const toMs = ADMITTED_AT_MS + 3_600_000;
    expect(await usage.listSpend({ fromMs: toMs - 30 * 86_400_000, toMs })).toEqual([{ accountId: 'acc_1', listNano: 700_000n }]);
    expect(await hourlySums(database.db, 'acc_1')).toMatchObject({ chargeNano: CHARGE, listNano: 700_000n });
    expect(alarms.filter(({ kind }) => kind === 'rating_mismatch')).toEqual([]);
  });
});

describe('a spool that opens', () => {
  const spool = { spoolId: 'spl_1', nodeId: 'nod_1', region: 'us' };

  it('learns what is acknowledged of each incarnation', async () => {
    await ingest(batch({ firstSeq: 1, lastSeq: 4, incarnation: 1n }));
    const retained = [
      { incarnation: 2n, firstSeq: 1, lastSeq: 9 },
      { incarnation: 1n, firstSeq: 1, lastSeq: 6 },
    ];
    expect(await usage.open({ ...spool, retained })).toEqual([
      { incarnation: 1n, ackedSeq: 4 },
      { incarnation: 2n, ackedSeq: 0 },
    ]);
  });

  it('goes on behind records that it no longer has, which are recorded as lost', async () => {
    await ingest(batch({ firstSeq: 1, lastSeq: 4, incarnation: 1n }));
    const retained = [{ incarnation: 1n, firstSeq: 8, lastSeq: 9 }];
    expect(await usage.open({ ...spool, retained })).toEqual([{ incarnation: 1n, ackedSeq: 7 }]);
    expect(alarms).toEqual([{ kind: 'records_lost', spoolId: 'spl_1', firstSeq: 5, lastSeq: 7 }]);
    expect(await ingest(batch({ firstSeq: 8, lastSeq: 9, incarnation: 1n }))).toEqual({ ackedSeq: 9 });
  });
});

describe('partitions', () => {
  it('are made for the next seven days, once', async () => {
    const { rows } = await sql<{ name: string }>`
      SELECT relid::text AS name FROM pg_partition_tree('usage_event') WHERE isleaf ORDER BY 1`.execute(database.db);
    expect(rows.map((row) => row.name)).toEqual([
      ...['02', '03', '04', '05', '06', '07', '08', '09', '10', '11'].map((day) => `usage_event_202605${day}`),
      'usage_event_default',
    ]);
    expect(await usage.makePartitions()).toBe(0);
  });

  it('are survived when they are missing: the first final still counts, before and after they are made', async () => {
    const final = settledFinal({ requestId: 'req_late', admittedAtMs: ADMITTED_AT_MS + 8 * 86_400_000 });
    const send = (spoolId: string) => ingest(batch({ spoolId, firstSeq: 1, lastSeq: 1, records: [{ seq: 1, final }] }));
    await send('spl_1');
    expect(await count('usage_event_default')).toBe(1);
    const later = createUsageService({
      db: database.db,
      clock: { nowMs: () => ADMITTED_AT_MS + 86_400_000 },
      prices: TEST_PRICES,
      onAlarm: () => {},
    });
    expect(await later.makePartitions()).toBe(1);
    expect(await count('usage_event_default')).toBe(0);
    await send('spl_2');
    expect(await count('usage_event')).toBe(1);
    expect(await spentNano()).toBe(CHARGE);
  });

  it('alarm when nobody has made them in time, and take in what came meanwhile', async () => {
    const nowMs = ADMITTED_AT_MS + 10 * 86_400_000;
    const finals = ['req_1', 'req_2'].map((requestId) => settledFinal({ requestId, admittedAtMs: nowMs }));
    await ingest(batch({ firstSeq: 1, lastSeq: 2, records: finals.map((final, index) => ({ seq: index + 1, final })) }));
    const heard: UsageAlarm[] = [];
    const late = createUsageService({
      db: database.db,
      clock: { nowMs: () => nowMs },
      prices: TEST_PRICES,
      onAlarm: (alarm) => heard.push(alarm),
    });
    await late.makePartitions();
    await late.makePartitions();
    expect(heard).toEqual([{ kind: 'partition_missing', events: 2 }]);
    expect([await count('usage_event_20260514'), await count('usage_event_default')]).toEqual([2, 0]);
    expect(await spentNano()).toBe(2n * CHARGE);
  });

  it.each(['usage_event', 'usage_event_20260504', 'usage_batch', 'usage_dead_letter', 'usage_duplicate', 'usage_rating_mismatch'])(
    'and %s may not be changed by the application',
    async (table) => {
      const error = await sql
        .raw(`DELETE FROM ${table}`)
        .execute(database.db)
        .catch((thrown: unknown) => thrown);
      expect(sqlState(error)).toBe('42501');
      const { rows } = await sql<{ may: boolean }>`SELECT has_table_privilege(${table}, 'UPDATE, TRUNCATE') AS may`.execute(database.db);
      expect(rows).toEqual([{ may: false }]);
    },
  );
});

describe('any sequence of deliveries', () => {
  it('charges each request once, whatever is sent again, overlaps, comes twice at once or out of order', async () => {
    let round = 0;
    const delivery = fc.record({ first: fc.integer({ min: 1, max: 12 }), size: fc.integer({ min: 1, max: 8 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(delivery, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 }), async (waves) => {
        const spoolId = `spl_property_${round++}`;
        const before = await spentNano();
        let acked = 0;
        for (const wave of waves) {
          const outcomes = await Promise.allSettled(
            wave.map(({ first, size }) => ingest(batch({ spoolId, firstSeq: first, lastSeq: first + size - 1 }))),
          );
          for (const outcome of outcomes) {
            if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(SequenceGapError);
            else acked = Math.max(acked, outcome.value.ackedSeq);
          }
        }
        const [cursor] = await usage.cursors(spoolId);
        expect(cursor?.ackedSeq ?? 0).toBe(acked);
        expect((await spentNano()) - before).toBe(BigInt(acked) * CHARGE);
        expect(await count('usage_duplicate')).toBe(0);
      }),
      { numRuns: 25 },
    );
  });
});
