import { budgetId, prepaidCapId } from '@meridian/domain/budget';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chargeLeases, grantTo } from '../budgets/testing.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { transaction } from '../database/transaction.ts';
import { createLedger, type Ledger, spend } from './service.ts';

const clock = { nowMs: () => Date.UTC(2026, 4, 4, 12) };
const PREPAID = budgetId({ capId: prepaidCapId('acc_1'), windowStartMs: 0 });

let database: TestDatabase;
let ledger: Ledger;
let heard: [readonly string[], string][];

beforeEach(async () => {
  database = await testDatabase({ maxConnections: 20 });
  heard = [];
  ledger = createLedger({ db: database.db, clock, onLimitChanged: (ids, news) => void heard.push([ids, news]) });
});
afterEach(() => database.drop());

let keys = 0;
const request = (amountNano: bigint) => ({ idempotencyKey: `k${++keys}`, accountId: 'acc_1', amountNano });

function prepaid() {
  return database.db.selectFrom('budget').selectAll().where('id', '=', PREPAID).executeTakeFirstOrThrow();
}

const grant = (spoolId: string, amount: number) => grantTo(database.db, spoolId, { budgetId: PREPAID, amount, nowMs: clock.nowMs() });

/** Charges a lease and the wallet together, as ingest does. */
async function charge(leaseId: string | undefined, chargeNano: bigint): Promise<void> {
  expect(await chargeLeases(database.db, { [String(leaseId)]: chargeNano }, clock.nowMs())).toBe(true);
  const charges = [{ accountId: 'acc_1', chargeNano }];
  await transaction(database.db, (trx) => spend(trx, { batchId: 1n, postedAtMs: clock.nowMs(), charges, platform: [] }));
}

async function expectBooksAgree(): Promise<void> {
  const { limit_amount, settled, held } = await prepaid();
  const { paidNano, bonusNano } = await ledger.balanceOf('acc_1');
  expect((limit_amount ?? 0n) - settled).toBe(paidNano + bonusNano);
  expect(settled + held).toBeLessThanOrEqual(limit_amount ?? 0n);
}

describe('the limit of prepaid credit', () => {
  it('moves with every transfer but charges, and says so to those who hand out shares', async () => {
    await ledger.topUp(request(1_000n));
    await ledger.grant(request(200n));
    await ledger.adjust({ ...request(30n), credit: 'bonus' });
    await charge(await grant('spl_1', 500), 120n);
    await ledger.adjust(request(-10n));
    expect(await prepaid()).toMatchObject({ limit_amount: 1_220n, settled: 120n, held: 380n, account_id: 'acc_1', unit: 'nano_usd' });
    await expectBooksAgree();
    expect(heard).toEqual([...Array(3).fill([[PREPAID], 'raised']), [[PREPAID], 'lowered']]);
  });

  it('moves once for an idempotency key, and not at all where a request is refused', async () => {
    const topUp = request(1_000n);
    await Promise.all([1, 2, 3, 4].map(() => ledger.topUp(topUp)));
    await ledger.topUp(topUp);
    await expect(ledger.adjust(request(-1_001n))).rejects.toMatchObject({ code: 'invalid_state' });
    expect((await prepaid()).limit_amount).toBe(1_000n);
    expect(heard).toEqual([[[PREPAID], 'raised']]);
  });

  it('is not taken below what nodes hold: they are asked for it, and a later attempt finds what they gave back', async () => {
    await ledger.topUp(request(1_000_000_000n));
    const leaseId = (await grant('spl_1', 700_000_000)) ?? '';
    const down = request(-400_000_000n);
    await expect(ledger.adjust(down)).rejects.toMatchObject({
      code: 'invalid_state',
      message: 'Nodes hold 0.10 USD of this credit for requests. It is being called back: try again in some seconds.',
    });
    expect(heard.at(-1)).toEqual([[PREPAID], 'wanted']);
    expect(await ledger.balanceOf('acc_1')).toMatchObject({ paidNano: 1_000_000_000n });
    await charge(leaseId, 100_000_000n);
    await expect(ledger.adjust(down)).rejects.toMatchObject({ code: 'invalid_state' });
    await database.db.updateTable('lease').set({ returned: 100_000_000n }).where('id', '=', leaseId).execute();
    await database.db.updateTable('budget').set({ held: 500_000_000n }).where('id', '=', PREPAID).execute();
    await ledger.adjust(down);
    expect(await prepaid()).toMatchObject({ limit_amount: 600_000_000n, settled: 100_000_000n, held: 500_000_000n });
    await expectBooksAgree();
  });

  it('and grants at once never hold more than there is', async () => {
    await ledger.topUp(request(1_000n));
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: 10 }, (_, index) => grant(`spl_${index % 4}`, 90)),
      ...Array.from({ length: 10 }, () => ledger.adjust(request(-90n))),
    ]);
    const granted = outcomes.slice(0, 10).filter((each) => each.status === 'fulfilled' && each.value !== undefined).length;
    const lowered = outcomes.slice(10).filter((each) => each.status === 'fulfilled').length;
    expect(granted + lowered).toBe(11);
    await expectBooksAgree();
  });

  it('stays exact over a lifetime of payments: what is settled is taken off both sides before 2^52', async () => {
    const most = 2n ** 52n;
    await ledger.topUp(request(most));
    await charge(await grant('spl_1', 2 ** 51), 2n ** 51n);
    await ledger.topUp(request(7n));
    expect(await prepaid()).toMatchObject({ limit_amount: 2n ** 51n + 7n, settled: 0n, opening: -(2n ** 51n), held: 0n });
    await expectBooksAgree();
    await charge(await grant('spl_1', 10), 4n);
    expect(await prepaid()).toMatchObject({ settled: 4n, held: 6n });
    await expectBooksAgree();
  });

  it('covers what write-offs put on a credit that was short', async () => {
    await ledger.topUp(request(100n));
    const leaseId = await grant('spl_1', 100);
    await database.db.updateTable('ledger_balance').set({ paid_nano: 40n }).where('account_id', '=', 'acc_1').execute();
    await charge(leaseId, 90n);
    // 50 were put on the credit to charge 90 of 40.
    expect(await prepaid()).toMatchObject({ limit_amount: 150n, settled: 90n, held: 10n });
  });
});
