import { budgetId, prepaidCapId } from '@meridian/domain/budget';
import { GatewayError } from '@meridian/domain/error';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { audit } from '../audit/service.ts';
import { escrowOf, writeBack } from '../budgets/books.ts';
import { chargeLeases, grantTo } from '../budgets/testing.ts';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { transaction } from '../database/transaction.ts';
import { type CreditServices, createCreditServices } from './credit.ts';
import { createLedger, type Ledger, ledgerBalances, spend, transferSums } from './service.ts';
import { CreditModel } from './testing.ts';

const DAY_MS = 86_400_000;
const START_MS = Date.UTC(2026, 4, 4, 12);
/** What finals would have told: this file charges leases and wallets as ingest does, without events. */
const OF_EVENTS = ['the charges of each batch = its transfers', 'leases have used what events took from them', 'corrections ≤ charges'];

const OPERATION = fc.oneof(
  { weight: 3, arbitrary: fc.record({ type: fc.constant('top_up' as const), amount: fc.bigInt(1n, 900n) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('package' as const), promoted: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('grant' as const), amount: fc.bigInt(1n, 200n) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('redeem' as const), name: fc.constantFrom('SPRING', 'SUMMER') }) },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('adjust' as const), kind: fc.constantFrom('paid', 'bonus'), amount: fc.bigInt(-600n, 100n) }),
  },
  { weight: 6, arbitrary: fc.record({ type: fc.constant('hold' as const), part: fc.integer({ min: 70, max: 100 }) }) },
  { weight: 5, arbitrary: fc.record({ type: fc.constant('use' as const), part: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('return' as const), part: fc.integer({ min: 1, max: 100 }) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('refund' as const), which: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('advance' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('dispute' as const),
      which: fc.nat(),
      amount: fc.option(fc.bigInt(1n, 500n), { nil: undefined }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('close' as const), which: fc.nat(), won: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('correct' as const), which: fc.nat(), part: fc.integer({ min: 1, max: 120 }) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('wait' as const), days: fc.integer({ min: 1, max: 20 }) }) },
);
type Operation = typeof OPERATION extends fc.Arbitrary<infer T> ? T : never;

let database: TestDatabase;
let ledger: Ledger;
let credit: CreditServices;
let nowMs = START_MS;
const clock = { nowMs: () => nowMs };
/** By request. */
const charges = new Map<string, bigint>();

beforeAll(async () => {
  database = await testDatabase({ maxConnections: 10 });
  ledger = createLedger({ db: database.db, clock });
  const chargeOf = async (_: string, requestId: string): Promise<bigint> => charges.get(requestId) ?? 0n;
  credit = createCreditServices({ db: database.db, clock, addressKey: new Uint8Array(32), chargeOf });
  await credit.purchases.savePackage({ id: 'small', priceNano: 400n, bonusBasisPoints: 1_000, active: true });
  const always = { startsAtMs: undefined, endsAtMs: undefined, budgetNano: undefined, active: true };
  await credit.promotions.save({ id: 'SPRING', gives: { amountNano: 50n }, ...always });
  await credit.promotions.save({ id: 'SUMMER', gives: { amountNano: 75n }, ...always });
  await credit.promotions.save({ id: 'MORE', gives: { basisPoints: 2_500 }, ...always });
});
afterAll(() => database.drop());

let keys = 0;

/** One account, moved in the database and in the model alike. */
class Run {
  readonly model = new CreditModel();
  readonly accountId = `acc_${++keys}`;
  readonly budgetId = budgetId({ capId: prepaidCapId(this.accountId), windowStartMs: 0 });
  readonly requests: { readonly id: string; readonly charge: bigint; corrected: bigint }[] = [];
  leaseId: string | undefined;

  get key() {
    return { idempotencyKey: `key_${++keys}`, accountId: this.accountId };
  }

  async step(operation: Operation): Promise<void> {
    const { model, accountId } = this;
    const purchases = await credit.purchases.list(accountId, { limit: 100 });
    const purchaseAt = (which: number) => {
      const index = which % Math.max(purchases.length, 1);
      return { index, id: purchases.toReversed()[index]?.id };
    };
    switch (operation.type) {
      case 'top_up':
        return this.expect(model.buy(operation.amount, 0n), ledger.topUp({ ...this.key, amountNano: operation.amount }));
      case 'package': {
        const promoted = operation.promoted && !model.redeemed.has('MORE');
        if (promoted) model.redeemed.add('MORE');
        model.buy(400n, 40n);
        // The promotion's share is a lot of its own beside the package's bonus.
        if (promoted) model.give('bonus', 100n, model.purchases.length - 1);
        const promotionId = promoted ? 'MORE' : undefined;
        return this.expect(true, credit.purchases.buy({ ...this.key, what: { packageId: 'small' }, promotionId }));
      }
      case 'grant':
        return this.expect(model.give('bonus', operation.amount), ledger.grant({ ...this.key, amountNano: operation.amount }));
      case 'redeem': {
        const amount = operation.name === 'SPRING' ? 50n : 75n;
        return this.expect(model.redeem(operation.name, amount), credit.promotions.redeem({ ...this.key, promotionId: operation.name }));
      }
      case 'adjust': {
        const { amount, kind } = operation;
        if (amount === 0n) return;
        const may = amount > 0n ? model.give(kind, amount) : model.adjustDown(kind, -amount);
        return this.expect(may, ledger.adjust({ ...this.key, amountNano: amount, credit: kind }));
      }
      case 'hold': {
        const amount = (model.total * BigInt(operation.part)) / 100n;
        if (amount === 0n) return;
        const may = model.hold(amount);
        const leaseId = await grantTo(database.db, `spl_${accountId}`, { budgetId: this.budgetId, amount: Number(amount), nowMs });
        expect(leaseId !== undefined).toBe(may);
        this.leaseId ??= leaseId;
        return;
      }
      case 'use': {
        const charge = (model.held * BigInt(operation.part)) / 100n;
        if (charge === 0n) return;
        model.use(charge);
        expect(await chargeLeases(database.db, { [String(this.leaseId)]: charge }, nowMs)).toBe(true);
        const id = `req_${++keys}`;
        charges.set(id, charge);
        this.requests.push({ id, charge, corrected: 0n });
        const batch = { batchId: BigInt(keys), postedAtMs: nowMs, charges: [{ accountId, chargeNano: charge }], platform: [] };
        await transaction(database.db, (trx) => spend(trx, batch));
        return;
      }
      case 'return': {
        const amount = (model.held * BigInt(operation.part)) / 100n;
        if (amount === 0n) return;
        model.held -= amount;
        const leaseId = String(this.leaseId);
        await transaction(database.db, async (trx) => {
          const escrow = await escrowOf(trx, { leaseIds: [leaseId] }, { nowMs });
          escrow.takeBack({ leaseId, returned: (escrow.lease(leaseId)?.returned ?? 0) + Number(amount) });
          await writeBack(trx, escrow.changes(), nowMs);
        });
        return;
      }
      case 'refund': {
        const { index, id } = purchaseAt(operation.which);
        if (id === undefined) return;
        return this.expect(model.requestRefund(index), credit.refunds.request({ ...this.key, purchaseId: id }));
      }
      case 'advance':
        for (const index of model.refunds.keys()) model.tryRefund(index);
        await credit.refunds.advance();
        return;
      case 'dispute': {
        const { index, id } = purchaseAt(operation.which);
        if (id === undefined) return;
        const { amount } = operation;
        return this.expect(model.openDispute(index, amount), credit.disputes.open({ ...this.key, purchaseId: id, amountNano: amount }));
      }
      case 'close': {
        const disputes = (await credit.disputes.list(accountId, { limit: 100 })).toReversed();
        const index = operation.which % Math.max(disputes.length, 1);
        const found = disputes[index];
        if (found === undefined) return;
        const outcome = operation.won ? 'won' : 'lost';
        return this.expect(model.closeDispute(index, outcome), credit.disputes.close({ ...this.key, disputeId: found.id, outcome }));
      }
      case 'correct': {
        const request = this.requests[operation.which % Math.max(this.requests.length, 1)];
        if (request === undefined) return;
        const amount = (request.charge * BigInt(operation.part)) / 100n;
        if (amount === 0n) return;
        const may = request.corrected + amount <= request.charge;
        if (may) {
          request.corrected += amount;
          model.correct(amount);
        }
        return this.expect(may, credit.corrections.correct({ ...this.key, requestId: request.id, amountNano: amount }));
      }
      case 'wait':
        nowMs += operation.days * DAY_MS;
        model.day += operation.days;
        return;
      default:
        return operation satisfies never;
    }
  }

  async expect(may: boolean, done: Promise<unknown>): Promise<void> {
    const outcome = await done.then(
      () => true,
      (error: unknown) => {
        if (error instanceof GatewayError && error.code === 'invalid_state') return false;
        throw error;
      },
    );
    expect(outcome).toBe(may);
  }

  async check(): Promise<void> {
    const { model, accountId } = this;
    const balance = await ledger.balanceOf(accountId);
    expect(balance).toEqual({ paidNano: model.balance('paid'), bonusNano: model.balance('bonus') });
    const budget = await database.db.selectFrom('budget').selectAll().where('id', '=', this.budgetId).executeTakeFirst();
    expect((budget?.limit_amount ?? 0n) - (budget?.settled ?? 0n)).toBe(model.total);
    expect(budget?.held ?? 0n).toBe(model.held);
    const purchases = (await credit.purchases.list(accountId, { limit: 100 })).toReversed();
    expect(
      purchases.map((one) => [one.unspentNano, one.bonusUnspentNano, one.refundedNano + one.chargedBackNano, one.refundableNano]),
    ).toEqual(
      model.purchases.map((one, index) => [
        model.unspentOfPurchase(index, 'paid'),
        model.unspentOfPurchase(index, 'bonus'),
        one.paidBack,
        model.refundable(index, model.day) ?? 0n,
      ]),
    );
    for (const one of purchases) expect(one.refundedNano + one.chargedBackNano).toBeLessThanOrEqual(one.priceNano);
    const refunds = (await credit.refunds.list(accountId, { limit: 100 })).toReversed();
    expect(refunds.map((one) => [one.state, one.amountNano])).toEqual(model.refunds.map((one) => [one.state, one.amount]));
  }
}

describe('credit', () => {
  it('moves as a simple model of it does, and its books agree after any sequence', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(OPERATION, { minLength: 8, maxLength: 24 }), async (operations) => {
        const run = new Run();
        await run.expect(run.model.buy(500n, 0n), ledger.topUp({ ...run.key, amountNano: 500n }));
        for (const operation of operations) {
          await run.step(operation);
          await run.check();
        }
        // What this run leaves under way would be tried by the next one.
        await close(run);
      }),
      { numRuns: 25 },
    );
    await ledger.takeSnapshot();
    const balances = await ledgerBalances(database.db);
    expect([...balances.values()].reduce((sum, each) => sum + each, 0n)).toBe(0n);
    expect(balances).toEqual(await transferSums(database.db));
    const report = await audit(database.db, clock);
    expect(report.checks.filter((check) => !check.ok && !OF_EVENTS.includes(check.check))).toEqual([]);
  });
});

async function close(run: Run): Promise<void> {
  await run.step({ type: 'return', part: 100 });
  await run.step({ type: 'advance' });
  await run.check();
}
