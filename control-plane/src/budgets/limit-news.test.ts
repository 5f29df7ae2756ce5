/** What a change of a limit makes of the leases on it: from the ledger and the caps to the words that nodes hear. */
import { randomBytes } from 'node:crypto';
import { budgetId, prepaidCapId } from '@meridian/domain/budget';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { createLedger, type Ledger } from '../ledger/service.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import type { LimitListener } from './caps.ts';
import { Leases } from './leases.ts';
import { QuestionsRunner } from './questions-runner.ts';
import { grantTo } from './testing.ts';

const NOW_MS = Date.UTC(2026, 4, 4, 12);
const PREPAID = budgetId({ capId: prepaidCapId('acc_1'), windowStartMs: 0 });

let database: TestDatabase;
let questions: QuestionsRunner;
let ledger: Ledger;
let calls: Promise<void>[];
let recalled: string[];

beforeEach(async () => {
  database = await testDatabase();
  calls = [];
  recalled = [];
  const ids = { nowMs: () => NOW_MS, randomBytes: (count: number) => randomBytes(count) };
  questions = new QuestionsRunner({
    leases: new Leases({ db: database.db, background: database.db, isFrozenIn: async () => false, ids }),
    clock: ids,
    newRecallId: () => randomBytes(6).readUIntBE(0, 6),
    frozen: () => false,
    signal: () => {},
    maxConcurrent: 2,
    metrics: createMetrics(),
    logger: createLogger('silent'),
  });
  const onLimitChanged: LimitListener = (budgetIds, news) => {
    if (news === 'raised') questions.room(budgetIds);
    else calls.push(news === 'lowered' ? questions.lowered(budgetIds) : questions.wanted(budgetIds));
  };
  ledger = createLedger({ db: database.db, clock: ids, onLimitChanged });
  questions.connect('spl_1', {
    grants: () => {},
    denial: () => {},
    recall: (_, leaseId) => recalled.push(leaseId),
    closed: () => {},
    cut: () => {},
  });
  await ledger.topUp({ idempotencyKey: 'top', accountId: 'acc_1', amountNano: 1_000n });
});
afterEach(async () => {
  await questions.close();
  await database.drop();
});

it('a correction that nodes leave no room for has them asked for what they hold; one that they do asks nobody', async () => {
  const leaseId = await grantTo(database.db, 'spl_1', { budgetId: PREPAID, amount: 700, nowMs: NOW_MS });
  await ledger.adjust({ idempotencyKey: 'small', accountId: 'acc_1', amountNano: -300n });
  await Promise.all(calls);
  expect(recalled).toEqual([]);
  const large = ledger.adjust({ idempotencyKey: 'large', accountId: 'acc_1', amountNano: -1n });
  await expect(large).rejects.toMatchObject({ code: 'invalid_state' });
  await Promise.all(calls);
  expect(recalled).toEqual([leaseId]);
});
