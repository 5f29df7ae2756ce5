import fc from 'fast-check';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { sqlState, transaction } from '../database/transaction.ts';
import { createLedger, type Ledger, ledgerBalances, spend, takeChangedBalances, transferSums, wallets } from './service.ts';
import { insertSnapshot } from './store.ts';

const clock = { nowMs: () => Date.UTC(2026, 4, 4, 12) };

let database: TestDatabase;
let ledger: Ledger;

beforeEach(async () => {
  database = await testDatabase({ maxConnections: 20 });
  ledger = createLedger({ db: database.db, clock });
});
afterEach(() => database.drop());

const taken = () => transaction(database.db, (trx) => takeChangedBalances(trx, 100));
const charge = (batchId: bigint, charges: { accountId: string; chargeNano: bigint }[]) =>
  transaction(database.db, (trx) => spend(trx, { batchId, postedAtMs: clock.nowMs(), charges, platform: [] }));

describe('credit', () => {
  it('is paid by a top-up, bonus by a grant, and either by an adjustment', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 100n, reference: 'invoice 7' });
    await ledger.grant({ idempotencyKey: 'b', accountId: 'acc_1', amountNano: 20n });
    const last = await ledger.adjust({ idempotencyKey: 'c', accountId: 'acc_1', amountNano: -30n });
    await ledger.adjust({ idempotencyKey: 'd', accountId: 'acc_1', amountNano: 5n, credit: 'bonus' });
    expect(last).toMatchObject({ accountId: 'acc_1', amountNano: -30n, balanceNano: 90n });
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 70n, bonusNano: 25n });
    expect(await ledgerBalances(database.db)).toEqual(
      new Map([
        ['paid:acc_1', 70n],
        ['bonus:acc_1', 25n],
        ['payment_clearing', -100n],
        ['promotion', -20n],
        ['adjustment', 25n],
      ]),
    );
  });

  it('is listed newest first, in pages', async () => {
    for (const [index, key] of ['a', 'b', 'c'].entries()) {
      await ledger.topUp({ idempotencyKey: key, accountId: 'acc_1', amountNano: BigInt(index + 1) });
    }
    await ledger.adjust({ idempotencyKey: 'd', accountId: 'acc_1', amountNano: -1n, reference: 'typing error' });
    await ledger.topUp({ idempotencyKey: 'other', accountId: 'acc_2', amountNano: 9n });
    const first = await ledger.listTransfers('acc_1', { limit: 2 });
    expect(first).toMatchObject([
      { code: 'adjustment', credit: 'paid', amountNano: -1n, reference: 'typing error', postedAtMs: clock.nowMs() },
      { code: 'top_up', amountNano: 3n, reference: undefined },
    ]);
    const after = first.at(-1)?.id ?? 0n;
    expect((await ledger.listTransfers('acc_1', { limit: 2, after })).map((each) => each.amountNano)).toEqual([2n, 1n]);
  });

  it('is not taken below zero nor raised above 2^52', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10n });
    await expect(ledger.adjust({ idempotencyKey: 'b', accountId: 'acc_1', amountNano: -11n })).rejects.toMatchObject({
      code: 'invalid_state',
    });
    await expect(ledger.topUp({ idempotencyKey: 'c', accountId: 'acc_1', amountNano: 2n ** 52n })).rejects.toMatchObject({
      code: 'invalid_state',
    });
    await expect(ledger.topUp({ idempotencyKey: 'd', accountId: 'acc_1', amountNano: -1n })).rejects.toMatchObject({
      code: 'invalid_request_error',
    });
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 10n, bonusNano: 0n });
    // A refused request has used no key.
    await ledger.adjust({ idempotencyKey: 'b', accountId: 'acc_1', amountNano: -10n });
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 0n, bonusNano: 0n });
  });
});

describe('an idempotency key', () => {
  it('moves money once under concurrency and gives everyone the same answer', async () => {
    const request = { idempotencyKey: 'payment-1', accountId: 'acc_1', amountNano: 100n };
    const answers = await Promise.all(Array.from({ length: 40 }, () => ledger.topUp(request)));
    expect(
      new Set(answers.map((answer) => JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? `${value}` : value)))).size,
    ).toBe(1);
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 100n, bonusNano: 0n });
  });

  it('repeats the first answer after the balance has moved on', async () => {
    const request = { idempotencyKey: 'a', accountId: 'acc_1', amountNano: -60n };
    await ledger.topUp({ idempotencyKey: 'top', accountId: 'acc_1', amountNano: 100n });
    const first = await ledger.adjust(request);
    await ledger.topUp({ idempotencyKey: 'more', accountId: 'acc_1', amountNano: 1n });
    expect(await ledger.adjust(request)).toEqual(first);
    expect(first.balanceNano).toBe(40n);
  });

  it('takes down once when the same adjustment comes many times at once and the balance covers only one', async () => {
    await ledger.topUp({ idempotencyKey: 'top', accountId: 'acc_1', amountNano: 100n });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => ledger.adjust({ idempotencyKey: 'down', accountId: 'acc_1', amountNano: -60n })),
    );
    expect(answers.every((answer) => answer.balanceNano === 40n)).toBe(true);
  });

  it.each([
    ['amount', { amountNano: 101n }],
    ['account', { accountId: 'acc_2' }],
    ['reference', { reference: 'other' }],
  ])('is refused with another %s, also at the same moment', async (_, change) => {
    const request = { idempotencyKey: 'a', accountId: 'acc_1', amountNano: 100n };
    const outcomes = await Promise.allSettled([ledger.topUp(request), ledger.topUp({ ...request, ...change })]);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused).toMatchObject([{ reason: { code: 'invalid_state' } }]);
    const all = await wallets(database.db);
    expect(all.filter((wallet) => wallet.paidNano > 0n)).toHaveLength(1);
  });

  it('is refused with another operation', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 100n });
    await expect(ledger.grant({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 100n })).rejects.toMatchObject({
      code: 'invalid_state',
    });
  });
});

describe('spend', () => {
  it('covers a shortfall by write-offs first and charges the whole', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10n });
    await ledger.grant({ idempotencyKey: 'b', accountId: 'acc_1', amountNano: 3n });
    const { shortfalls } = await charge(1n, [
      { accountId: 'acc_1', chargeNano: 20n },
      { accountId: 'acc_unknown', chargeNano: 4n },
    ]);
    expect(shortfalls).toEqual([
      { accountId: 'acc_1', shortfallNano: 7n },
      { accountId: 'acc_unknown', shortfallNano: 4n },
    ]);
    const balances = await ledgerBalances(database.db);
    expect(balances.get('revenue')).toBe(24n);
    expect(balances.get('write_off')).toBe(-11n);
    expect(balances.get('paid:acc_1')).toBe(0n);
    expect(await ledger.balanceOf('acc_1')).toEqual({ paidNano: 0n, bonusNano: 0n });
  });

  it('does not deadlock when batches name the same accounts in other orders', async () => {
    const ids = ['acc_1', 'acc_2', 'acc_3', 'acc_4'];
    await Promise.all(ids.map((accountId) => ledger.topUp({ idempotencyKey: accountId, accountId, amountNano: 1_000n })));
    let runs = 0;
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        transaction(database.db, (trx) => {
          runs += 1;
          const order = index % 2 === 0 ? ids : ids.toReversed();
          const charges = order.map((accountId) => ({ accountId, chargeNano: 1n }));
          return spend(trx, { batchId: BigInt(index), postedAtMs: clock.nowMs(), charges, platform: [] });
        }),
      ),
    );
    expect(runs).toBe(40);
    for (const id of ids) expect(await ledger.balanceOf(id)).toEqual({ paidNano: 960n, bonusNano: 0n });
  });
});

describe('changed balances', () => {
  it('are taken once, with the balance of the moment', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10n });
    await ledger.grant({ idempotencyKey: 'b', accountId: 'acc_2', amountNano: 4n });
    await charge(1n, [{ accountId: 'acc_1', chargeNano: 3n }]);
    expect(await taken()).toEqual([
      { accountId: 'acc_1', balanceNano: 7n },
      { accountId: 'acc_2', balanceNano: 4n },
    ]);
    expect(await taken()).toEqual([]);
  });

  it('are taken again when the publisher rolled back', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10n });
    const crash = transaction(database.db, async (trx) => {
      await takeChangedBalances(trx, 100);
      throw new Error('crashed');
    });
    await expect(crash).rejects.toThrow('crashed');
    expect(await taken()).toEqual([{ accountId: 'acc_1', balanceNano: 10n }]);
  });

  it('are not lost when a change commits while they are being taken', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10n });
    const spent = Promise.withResolvers<void>();
    const commit = Promise.withResolvers<void>();
    const spending = transaction(database.db, async (trx) => {
      await spend(trx, { batchId: 1n, postedAtMs: 0, charges: [{ accountId: 'acc_1', chargeNano: 4n }], platform: [] });
      spent.resolve();
      await commit.promise;
    });
    await spent.promise;
    // The old mark is committed, the change that renewed it is not: taking it now would publish 10 and forget the 6.
    expect(await taken()).toEqual([]);
    commit.resolve();
    await spending;
    expect(await taken()).toEqual([{ accountId: 'acc_1', balanceNano: 6n }]);
  });
});

describe("the application's role", () => {
  it.each([
    ['UPDATE ledger_transfer SET amount_nano = 1'],
    ['DELETE FROM ledger_transfer'],
    ['UPDATE ledger_transfer_20260501 SET amount_nano = 1'],
    ['DELETE FROM ledger_transfer_default'],
    ['TRUNCATE ledger_transfer'],
    ['UPDATE ledger_idempotency SET content = content'],
    ['DELETE FROM ledger_idempotency'],
    ['DELETE FROM ledger_snapshot'],
  ])('may not: %s', async (statement) => {
    await ledger.makePartitions();
    const error = await sql
      .raw(statement)
      .execute(database.db)
      .catch((thrown: unknown) => thrown);
    expect(sqlState(error)).toBe('42501');
  });
});

describe('partitions', () => {
  it('are survived when they are missing, and made with the rows that went elsewhere meanwhile', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10n });
    const inDefault = () =>
      sql<{ n: bigint }>`SELECT count(*) AS n FROM ledger_transfer_default`.execute(database.db).then(({ rows }) => rows[0]?.n);
    expect(await inDefault()).toBe(1n);
    expect(await ledger.makePartitions()).toBe(3);
    expect(await inDefault()).toBe(0n);
    expect(await ledger.makePartitions()).toBe(0);
    await ledger.topUp({ idempotencyKey: 'b', accountId: 'acc_1', amountNano: 10n });
    expect(await ledger.listTransfers('acc_1', { limit: 10 })).toHaveLength(2);
    expect(await inDefault()).toBe(0n);
  });
});

describe('a snapshot', () => {
  it('waits for a transfer that has its number but is not committed', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10n });
    const posted = Promise.withResolvers<void>();
    const commit = Promise.withResolvers<void>();
    const slow = transaction(database.db, async (trx) => {
      await spend(trx, { batchId: 1n, postedAtMs: 0, charges: [{ accountId: 'acc_1', chargeNano: 4n }], platform: [] });
      posted.resolve();
      await commit.promise;
    });
    await posted.promise;
    await ledger.topUp({ idempotencyKey: 'b', accountId: 'acc_2', amountNano: 5n });
    const snapshot = ledger.takeSnapshot();
    // The snapshot's session is seen to wait for a lock before the slow writer may commit.
    for (;;) {
      const { rows } = await sql`SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'`.execute(database.db);
      if (rows.length > 0) break;
    }
    commit.resolve();
    await slow;
    await snapshot;
    expect(await ledgerBalances(database.db)).toEqual(await transferSums(database.db));
  });
});

describe('two snapshots at once', () => {
  it('are taken one after the other, since each adds to the one before', async () => {
    await ledger.topUp({ idempotencyKey: 'a', accountId: 'acc_1', amountNano: 10n });
    const written = Promise.withResolvers<void>();
    const commit = Promise.withResolvers<void>();
    const first = transaction(database.db, async (trx) => {
      await insertSnapshot(trx, 1n, 0);
      written.resolve();
      await commit.promise;
    });
    await written.promise;
    await ledger.topUp({ idempotencyKey: 'b', accountId: 'acc_1', amountNano: 5n });
    let isDone = false;
    const second = ledger.takeSnapshot().finally(() => {
      isDone = true;
    });
    for (;;) {
      const { rows } = await sql`SELECT 1 FROM pg_locks
        WHERE NOT granted AND locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`.execute(
        database.db,
      );
      if (rows.length > 0) break;
      expect(isDone).toBe(false);
    }
    commit.resolve();
    await first;
    await second;
    expect(await ledgerBalances(database.db)).toEqual(await transferSums(database.db));
  });
});

describe('any sequence of operations', () => {
  it('keeps the sum of all accounts at zero and every balance equal to a model', async () => {
    const accounts = ['acc_1', 'acc_2', 'acc_3'];
    const account = fc.constantFrom(...accounts);
    const operation = fc.oneof(
      fc.record({ kind: fc.constantFrom('topUp' as const, 'grant' as const), account, amount: fc.bigInt({ min: 1n, max: 1_000n }) }),
      fc.record({
        kind: fc.constantFrom('adjustPaid' as const, 'adjustBonus' as const),
        account,
        amount: fc.bigInt({ min: -900n, max: 900n }),
      }),
      fc.record({ kind: fc.constant('spend' as const), account, amount: fc.bigInt({ min: 1n, max: 1_500n }) }),
      fc.record({ kind: fc.constant('snapshot' as const), account, amount: fc.constant(0n) }),
    );
    let serial = 0;
    const paid = new Map(accounts.map((id) => [id, 0n]));
    const bonus = new Map(accounts.map((id) => [id, 0n]));
    let revenue = 0n;
    let writeOff = 0n;
    const attempt = async (work: Promise<unknown>): Promise<boolean> =>
      work.then(
        () => true,
        () => false,
      );
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 15 }), async (operations) => {
        for (const { kind, account: accountId, amount: amountNano } of operations) {
          const request = { idempotencyKey: `key-${serial++}`, accountId, amountNano };
          const wallet = kind === 'grant' || kind === 'adjustBonus' ? bonus : paid;
          const before = wallet.get(accountId) ?? 0n;
          if (kind === 'snapshot') await ledger.takeSnapshot();
          else if (kind === 'spend') {
            await charge(BigInt(serial), [{ accountId, chargeNano: amountNano }]);
            const fromBonus = [bonus.get(accountId) ?? 0n, amountNano].reduce((a, b) => (a < b ? a : b));
            const fromPaid = [before, amountNano - fromBonus].reduce((a, b) => (a < b ? a : b));
            bonus.set(accountId, (bonus.get(accountId) ?? 0n) - fromBonus);
            paid.set(accountId, before - fromPaid);
            revenue += amountNano;
            writeOff -= amountNano - fromBonus - fromPaid;
          } else {
            const possible = amountNano !== 0n && before + amountNano >= 0n;
            const work = {
              topUp: () => ledger.topUp(request),
              grant: () => ledger.grant(request),
              adjustPaid: () => ledger.adjust(request),
              adjustBonus: () => ledger.adjust({ ...request, credit: 'bonus' }),
            }[kind];
            expect(await attempt(work())).toBe(possible);
            if (possible) wallet.set(accountId, before + amountNano);
          }
        }
        const balances = await ledgerBalances(database.db);
        expect([...balances.values()].reduce((sum, each) => sum + each, 0n)).toBe(0n);
        expect(balances.get('revenue') ?? 0n).toBe(revenue);
        expect(balances.get('write_off') ?? 0n).toBe(writeOff);
        for (const { account: platform, balanceNano } of await ledger.platformBalances()) {
          expect([platform, balanceNano]).toEqual([platform, balances.get(platform) ?? 0n]);
        }
        for (const id of accounts) {
          expect(balances.get(`paid:${id}`) ?? 0n).toBe(paid.get(id));
          expect(balances.get(`bonus:${id}`) ?? 0n).toBe(bonus.get(id));
          expect(await ledger.balanceOf(id)).toEqual({ paidNano: paid.get(id), bonusNano: bonus.get(id) });
        }
      }),
      { numRuns: 30 },
    );
  });
});
