import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabase } from '../database/testing.ts';
import { transaction } from '../database/transaction.ts';
import { publish } from '../snapshots/service.ts';
import { createTierService, type TierService } from './service.ts';

const clock = { nowMs: () => Date.UTC(2026, 4, 4, 12) };

let database: TestDatabase;
let tiers: TierService;

beforeEach(async () => {
  database = await testDatabase();
  tiers = createTierService({ db: database.db, clock, publish });
});
afterEach(() => database.drop());

async function published(): Promise<string[]> {
  const { rows } = await sql<{ entry: string }>`
    SELECT lane || ' ' || kind || ' ' || entity_id || ' ' || version AS entry FROM config_log ORDER BY lane, rev`.execute(database.db);
  return rows.map((row) => row.entry);
}

describe('the ladder', () => {
  it('rises in spend and falls in markup, from Starter at nothing to Strategic', async () => {
    const usd = (amount: bigint) => amount * 1_000_000_000n;
    expect((await tiers.ladder()).map((tier) => [tier.name, tier.fromSpendNano, tier.markupBasisPoints])).toEqual([
      ['Starter', 0n, 4000],
      ['Growth', usd(50n), 3000],
      ['Scale', usd(200n), 2200],
      ['Enterprise', usd(1_000n), 1500],
      ['Strategic', usd(5_000n), 1000],
    ]);
    expect(await tiers.lowestMarkupBasisPoints()).toBe(1000);
  });

  it('is published once, also when replicas start together', async () => {
    const outcomes = await Promise.all([tiers.publishLadder(), tiers.publishLadder(), tiers.publishLadder()]);
    expect(outcomes.filter(Boolean)).toHaveLength(1);
    expect(await published()).toEqual(['3 ladder standard 1']);
  });

  it('is published again when the first time rolled back', async () => {
    const broken = createTierService({ db: database.db, clock, publish: () => Promise.reject(new Error('no')) });
    await expect(broken.publishLadder()).rejects.toThrow('no');
    expect(await tiers.publishLadder()).toBe(true);
  });
});

describe('an account', () => {
  it('stands on Starter, assigned or not, with Growth next', async () => {
    const before = await tiers.standing('acc_1');
    expect(before).toMatchObject({ tier: { id: 'starter' }, next: { id: 'growth' }, spend30dNano: 0n, windowToMs: undefined });
    expect(await tiers.assignFirst(['acc_1', 'acc_2'])).toBe(2);
    expect(await tiers.standing('acc_1')).toMatchObject({ tier: { id: 'starter' }, windowToMs: clock.nowMs() });
    expect(await published()).toEqual(['2 tier_assignment acc_1 1', '2 tier_assignment acc_2 1']);
  });

  it('keeps the tier it has', async () => {
    await tiers.assignFirst(['acc_1']);
    await sql`UPDATE tier_assignment SET tier_id = 'strategic'`.execute(database.db);
    expect(await transaction(database.db, (trx) => tiers.assignFirstIn(trx, ['acc_1']))).toEqual([]);
    expect(await tiers.standing('acc_1')).toMatchObject({ tier: { id: 'strategic' }, next: undefined });
  });
});
