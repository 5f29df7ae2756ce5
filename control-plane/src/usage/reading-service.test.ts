import type { Final } from '@meridian/domain/usage-record';
import fc from 'fast-check';
import { sql } from 'kysely';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../database/connect.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { createCorrections } from '../ledger/corrections.ts';
import { groupOfId, idOfGroup, USAGE_DIMENSIONS, type UsageDimension, type UsageQuery, type UsageRow } from './reading.ts';
import { createUsageReading, type UsageReading } from './reading-service.ts';
import { createUsageService } from './service.ts';
import { ADMITTED_AT_MS, requestIdAt, settledFinal, TEST_PRICES, withCredit } from './testing.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const MIDNIGHT_MS = Date.UTC(2026, 4, 5);
const CHARGE = 980_000n;

let database: TestDatabase;
let usage: UsageReading;
let accounts = 0;
let spools = 0;
let accountId: string;

beforeAll(async () => {
  database = await testDatabase();
  usage = createUsageReading({ db: database.db, prices: TEST_PRICES });
});
afterAll(() => database.drop());
afterEach(() => {
  accounts += 1;
});

/** Ingests finals of an account of the test's own, one region after the other, and returns their request ids. */
async function ingest(changes: readonly (Partial<Final> & { readonly region?: string })[]): Promise<string[]> {
  accountId = `acc_${accounts}`;
  const service = createUsageService({
    ...{ db: database.db, clock: { nowMs: () => ADMITTED_AT_MS }, prices: TEST_PRICES, onAlarm: () => {} },
  });
  await service.makePartitions();
  const finals = changes.map(({ region = 'us', ...change }) => {
    const requestId = requestIdAt(change.admittedAtMs ?? ADMITTED_AT_MS);
    return { region, final: settledFinal({ requestId, accountId, ...change }) };
  });
  for (const region of new Set(finals.map((each) => each.region))) {
    const records = finals.filter((each) => each.region === region).map(({ final }, index) => ({ seq: index + 1, final }));
    const spoolId = `spl_${++spools}`;
    const batch = { spoolId, nodeId: 'nod_1', region, incarnation: 1n, firstSeq: 1, lastSeq: records.length, records };
    await service.ingestBatch(await withCredit(database.db, batch));
  }
  return finals.map(({ final }) => final.requestId);
}

describe('usage', () => {
  const query = (change: Partial<UsageQuery> & Pick<UsageQuery, 'groupBy'>): UsageQuery => ({
    ...{ accountId, fromMs: MIDNIGHT_MS - DAY_MS, toMs: MIDNIGHT_MS + DAY_MS, limit: 100 },
    ...change,
  });
  const requestsBy = async (change: Parameters<typeof query>[0]) =>
    (await usage.listUsage(query(change))).map((row) => [...Object.values(row.group), row.requests]);

  it('belongs to the UTC day of its admission, whatever the time zone of the server', async () => {
    await ingest([
      { admittedAtMs: MIDNIGHT_MS - 1 },
      { admittedAtMs: MIDNIGHT_MS, usage: { input: 1, cached_input: 2 }, chargeNano: 0n, outcome: 'failed' },
      { admittedAtMs: MIDNIGHT_MS + DAY_MS - 1 },
      { admittedAtMs: MIDNIGHT_MS + DAY_MS },
    ]);
    const db = connect(`${database.url}?options=-c%20TimeZone%3DAsia/Kolkata`, { maxConnections: 1 });
    for (const reading of [usage, createUsageReading({ db, prices: TEST_PRICES })]) {
      expect(await reading.listUsage(query({ groupBy: ['day'] }))).toMatchObject([
        { group: { day: '2026-05-04' }, requests: 1n, chargedRequests: 1n, chargeNano: CHARGE, units: { input: 100n, output: 50n } },
        { group: { day: '2026-05-05' }, requests: 2n, chargedRequests: 1n, units: { input: 101n, cached_input: 2n, output: 50n } },
      ]);
      // The hour that holds the begin is whole, that in which the end lies too.
      const hour = { fromMs: MIDNIGHT_MS + 45 * 60_000, toMs: MIDNIGHT_MS + 90 * 60_000 };
      expect(await reading.listUsage(query({ ...hour, groupBy: [] }))).toMatchObject([{ group: {}, requests: 1n }]);
    }
    await db.destroy();
  });

  it('is summed by any dimensions and narrowed to any key, member, model, region and tier', async () => {
    await ingest([
      {},
      { keyId: 'key_2', memberId: 'mem_2', tierId: 'growth' },
      { region: 'eu' },
      { region: 'eu', answeringModelId: undefined, outcome: 'failed', attempts: [] },
    ]);
    expect(await requestsBy({ groupBy: ['key', 'member'] })).toEqual([
      ['key_1', 'mem_1', 3n],
      ['key_2', 'mem_2', 1n],
    ]);
    expect(await requestsBy({ groupBy: ['region', 'model'] })).toEqual([
      ['eu', '', 1n],
      ['eu', 'gpt-test', 1n],
      ['us', 'gpt-test', 2n],
    ]);
    const narrowed = (filters: UsageQuery['filters'] & object) => requestsBy({ groupBy: [], filters });
    expect(await narrowed({ keyId: 'key_2' })).toEqual([[1n]]);
    expect(await narrowed({ memberId: 'mem_1' })).toEqual([[3n]]);
    expect(await narrowed({ modelId: 'gpt-test' })).toEqual([[3n]]);
    expect(await narrowed({ region: 'eu', modelId: 'gpt-test' })).toEqual([[1n]]);
    expect(await narrowed({ tierId: 'growth' })).toEqual([[1n]]);
    expect(await requestsBy({ groupBy: ['key'], accountId: 'acc_of_nobody' })).toEqual([]);
  });

  it('comes in pages that together are the whole, by whatever dimensions, and that rows which are added between do not shift', async () => {
    const changes = [];
    for (const dayOffset of [-1, 0]) {
      for (const keyId of ['key_a', 'key_b', 'key,c%', 'key_ä']) {
        for (const region of ['eu', 'us']) changes.push({ admittedAtMs: MIDNIGHT_MS + dayOffset * HOUR_MS, keyId, region });
      }
    }
    await ingest(changes);
    const dimensions = fc.shuffledSubarray([...USAGE_DIMENSIONS], { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(dimensions, fc.integer({ min: 1, max: 5 }), async (groupBy, limit) => {
        const whole = await usage.listUsage(query({ groupBy }));
        const paged: UsageRow[] = [];
        for (let after: string[] | undefined; ; ) {
          const page = await usage.listUsage(query({ groupBy, after, limit }));
          paged.push(...page);
          if (page.length < limit) break;
          after = groupOfId(idOf(page.at(-1), groupBy), groupBy);
        }
        expect(paged).toEqual(whole);
      }),
      { numRuns: 30 },
    );
    const groupBy = ['key'] as const;
    const [first] = await usage.listUsage(query({ groupBy, limit: 2 }));
    const before = await usage.listUsage(query({ groupBy, after: [first?.group.key ?? ''] }));
    await sql`
      INSERT INTO usage_hourly SELECT (jsonb_populate_record(h, '{"key_id": "key"}')).* FROM usage_hourly h
      WHERE account_id = ${accountId} AND key_id = 'key_a'`.execute(database.db);
    expect(await usage.listUsage(query({ groupBy, after: [first?.group.key ?? ''] }))).toEqual(before);
  });

  function idOf(row: UsageRow | undefined, groupBy: readonly UsageDimension[]): string {
    return idOfGroup(groupBy.map((dimension) => row?.group[dimension] ?? expect.fail()));
  }
});

describe('the log of requests', () => {
  const logged = async (change: Partial<Parameters<UsageReading['listRequests']>[0]> = {}) =>
    (
      await usage.listRequests({
        ...{ accountId, fromMs: MIDNIGHT_MS - DAY_MS, toMs: MIDNIGHT_MS + DAY_MS, filters: {}, limit: 100 },
        ...change,
      })
    ).map((row) => row.requestId);

  it('is newest first, of its account only, and tells of each request what it came to', async () => {
    await ingest([{}]);
    accounts += 1;
    const [last] = settledFinal({ requestId: '' }).attempts;
    const [old = '', young = ''] = await ingest([
      {},
      { admittedAtMs: ADMITTED_AT_MS + 5, exactness: 'estimated', attempts: last === undefined ? [] : [last, last] },
    ]);
    expect(await logged()).toEqual([young, old]);
    const [row] = await usage.listRequests({ accountId, fromMs: ADMITTED_AT_MS, toMs: ADMITTED_AT_MS + 6, filters: {}, limit: 1 });
    expect(row).toEqual({
      requestId: young,
      admittedAtMs: ADMITTED_AT_MS + 5,
      ...{ region: 'us', keyId: 'key_1', memberId: 'mem_1', operation: 'chat', askedModel: 'GPT-Test', answeringModelId: 'gpt-test' },
      ...{ outcome: 'success', exactness: 'estimated', units: { input: 100, output: 50 }, serviceTier: 'standard', chargeNano: CHARGE },
      ...{ attemptCount: 2, stream: false, status: 200, errorCode: undefined, firstByteMs: 70, durationMs: 90 },
    });
    expect(await logged({ fromMs: ADMITTED_AT_MS, toMs: ADMITTED_AT_MS + 5 })).toEqual([old]);
    expect(await logged({ fromMs: ADMITTED_AT_MS + 1 })).toEqual([young]);
  });

  it('is narrowed to what is asked for, and comes in pages that together are the whole', async () => {
    const changes: Partial<Final>[] = [];
    for (let index = 0; index < 60; index++) {
      const failed = index % 7 === 0;
      changes.push({
        // Several in one millisecond, over three hours of two days.
        admittedAtMs: MIDNIGHT_MS - HOUR_MS + Math.floor(index / 4) * 12 * 60_000,
        keyId: `key_${index % 3}`,
        memberId: `mem_${index % 2}`,
        usage: { input: 100 * (index % 5), output: 50 },
        ...(failed ? { outcome: 'failed', chargeNano: 0n, answeringModelId: undefined, status: 502, errorCode: 'upstream_error' } : {}),
        ...(index % 11 === 1 ? { outcome: 'empty', emptyIsCharged: true } : {}),
      });
    }
    const ids = await ingest(changes);
    const all = ids
      .map((requestId, index) => ({ requestId, final: settledFinal({ requestId, ...changes[index] }) }))
      .sort((a, b) => b.final.admittedAtMs - a.final.admittedAtMs || (a.requestId < b.requestId ? 1 : -1));
    const some = <T>(values: readonly T[]) => fc.option(fc.constantFrom(...values), { nil: undefined });
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          ...{ keyId: some(['key_0', 'key_1', 'key_9']), memberId: some(['mem_0', 'mem_1']), modelId: some(['gpt-test', 'gpt-none']) },
          ...{ outcome: some(['success', 'failed', 'empty'] as const), status: some([200, 502]) },
          minChargeNano: some([0n, 980_000n, 1_000_000n]),
        }),
        fc.record({ from: fc.integer({ min: 0, max: 30 }), minutes: fc.integer({ min: 1, max: 300 }) }),
        fc.integer({ min: 1, max: 20 }),
        async (filters, { from, minutes }, limit) => {
          const fromMs = MIDNIGHT_MS - HOUR_MS + from * 6 * 60_000;
          const toMs = fromMs + minutes * 60_000;
          const expected = all.filter(
            ({ final }) =>
              final.admittedAtMs >= fromMs &&
              final.admittedAtMs < toMs &&
              (filters.keyId ?? final.keyId) === final.keyId &&
              (filters.memberId ?? final.memberId) === final.memberId &&
              (filters.modelId ?? final.answeringModelId) === final.answeringModelId &&
              (filters.outcome ?? final.outcome) === final.outcome &&
              (filters.status ?? final.status) === final.status &&
              final.chargeNano >= (filters.minChargeNano ?? 0n),
          );
          const paged: string[] = [];
          for (let after: string | undefined; ; after = paged.at(-1)) {
            const page = await logged({ fromMs, toMs, filters, limit, after });
            paged.push(...page);
            if (page.length < limit) break;
          }
          expect(paged).toEqual(expected.map(({ requestId }) => requestId));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('goes on after a request, whatever came in since, and refuses one that is not in it', async () => {
    const [first = '', second = ''] = await ingest([{ admittedAtMs: ADMITTED_AT_MS + 1 }, {}]);
    expect(await logged({ after: first })).toEqual([second]);
    expect(await logged({ after: second })).toEqual([]);
    await expect(logged({ after: requestIdAt() })).rejects.toMatchObject({ code: 'invalid_request_error', param: 'after' });
    accounts += 1;
    await ingest([{}]);
    await expect(logged({ after: first })).rejects.toMatchObject({ param: 'after' });
  });
});

describe('a receipt', () => {
  it('holds units, price version, tier, charge, attempts and what the charge is made of, for its own account only', async () => {
    const [id = ''] = await ingest([{ exactness: 'estimated' }]);
    expect(await usage.receipt(accountId, id)).toMatchObject({
      ...{ admittedAtMs: ADMITTED_AT_MS, region: 'us', units: { input: 100, output: 50 }, listPriceVersion: 3, tierId: 'starter' },
      ...{ markupBasisPoints: 4000, chargeNano: CHARGE, exactness: 'estimated', attempts: settledFinal({ requestId: id }).attempts },
      price: {
        items: [
          { meter: 'input', units: 100, listNanoPerMillion: 2_000_000_000n, listUsd: '0.0002' },
          { meter: 'output', units: 50, listNanoPerMillion: 10_000_000_000n, listUsd: '0.0005' },
        ],
        ...{ serviceTierPercent: 100, listUsd: '0.0007', unroundedUsd: '0.00098', amountNano: CHARGE },
      },
    });
    await expect(usage.receipt('acc_other', id)).rejects.toMatchObject({ code: 'not_found' });
    await expect(usage.receipt(accountId, requestIdAt())).rejects.toMatchObject({ code: 'not_found' });
    await expect(usage.receipt(accountId, 'req_1')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('shows what was given back since', async () => {
    const [id = '', other = ''] = await ingest([{}, {}]);
    let nowMs = ADMITTED_AT_MS + DAY_MS;
    const corrections = createCorrections({
      ...{ db: database.db, clock: { nowMs: () => nowMs }, chargeOf: async () => CHARGE },
      onLimitChanged: () => {},
    });
    const correct = (amountNano: bigint) =>
      corrections.correct({ accountId, requestId: id, amountNano, idempotencyKey: `${id} ${amountNano}` });
    await correct(300_000n);
    nowMs += 1;
    await correct(80_000n);
    const given = [
      { amountNano: 300_000n, createdAtMs: ADMITTED_AT_MS + DAY_MS },
      { amountNano: 80_000n, createdAtMs: nowMs },
    ];
    expect(await usage.receipt(accountId, id)).toMatchObject({ chargeNano: CHARGE, corrections: given });
    expect((await usage.receipt(accountId, other)).corrections).toEqual([]);
  });

  it('says nothing of a price where nothing was charged, or the version is not known', async () => {
    const [free = '', unknown = ''] = await ingest([{ outcome: 'failed' }, { answeringPriceVersion: 99 }]);
    expect((await usage.receipt(accountId, free)).price).toBeUndefined();
    expect((await usage.receipt(accountId, unknown)).price).toBeUndefined();
  });

  it('is found where its id was made up to a day before it was admitted, and looked for in those days only', async () => {
    const made = { requestId: requestIdAt(ADMITTED_AT_MS - DAY_MS), admittedAtMs: ADMITTED_AT_MS };
    await ingest([made]);
    expect(await usage.receipt(accountId, made.requestId)).toMatchObject({ admittedAtMs: ADMITTED_AT_MS });
    const lost = { requestId: requestIdAt(ADMITTED_AT_MS - 2 * DAY_MS), admittedAtMs: ADMITTED_AT_MS };
    await ingest([lost]);
    await expect(usage.receipt(accountId, lost.requestId)).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('the days that are asked for', () => {
  it('are the only ones whose partitions are opened', async () => {
    const [young = '', id = ''] = await ingest([{ admittedAtMs: ADMITTED_AT_MS + 1 }, {}]);
    const db = connect(database.url, { maxConnections: 2, statementTimeoutMs: 10_000 });
    const reading = createUsageReading({ db, prices: TEST_PRICES });
    const locker = new pg.Client(database.url);
    await locker.connect();
    await locker.query('BEGIN; LOCK TABLE usage_event_20260502, usage_event_20260507, usage_event_default');
    expect(await reading.receipt(accountId, id)).toMatchObject({ requestId: id });
    const day = { accountId, fromMs: MIDNIGHT_MS - DAY_MS, toMs: MIDNIGHT_MS, limit: 10 };
    for (const filters of [{}, { keyId: 'key_1' }]) {
      for (const after of [undefined, young]) {
        const rows = await reading.listRequests({ ...day, filters, after });
        expect(rows.map((row) => row.requestId)).toEqual(after === undefined ? [young, id] : [id]);
      }
    }
    await locker.query('ROLLBACK');
    await locker.end();
    await db.destroy();
  });
});

describe('a question that takes too long', () => {
  it('is given up with a word about it, and the account’s next one is answered', async () => {
    const [id = ''] = await ingest([{}]);
    const db = connect(database.url, { maxConnections: 2, statementTimeoutMs: 2_000 });
    const reading = createUsageReading({ db, prices: TEST_PRICES });
    const locker = new pg.Client(database.url);
    await locker.connect();
    await locker.query('BEGIN; LOCK TABLE usage_event');
    const waits = reading.receipt(accountId, id);
    await expect(waits).rejects.toMatchObject({ code: 'overloaded', status: 503, retryAfterSeconds: 5 });
    await locker.query('ROLLBACK');
    await locker.end();
    expect(await reading.receipt(accountId, id)).toMatchObject({ requestId: id });
    await db.destroy();
  });
});
