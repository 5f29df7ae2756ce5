import { unchargedCeilingNano } from '@meridian/domain/uncharged-ceiling';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';
import { createUsageService } from './service.ts';
import type { UnchargedDay } from './store.ts';
import { settledFinal, TEST_PRICES, withCredit } from './testing.ts';
import { UnchargedCeiling } from './uncharged-ceiling.ts';

const DAY_MS = 86_400_000;
const USD = 1_000_000_000n;

describe('the ceiling of uncharged cost', () => {
  let http: TestHttp;
  let seq = 0;
  beforeAll(async () => {
    http = await testHttp();
    await http.services.usage.makePartitions();
  });
  afterAll(() => http.close());

  const dayMs = (): number => http.clock.nowMs() - (http.clock.nowMs() % DAY_MS);

  /** What nodes were told of the account, oldest first. */
  async function told(accountId: string): Promise<(number | undefined)[]> {
    return (await published(http.db, accountId)).flatMap(({ lane, entry }) =>
      entry.body?.kind === 'account' && lane === 'customer' ? [entry.body.value.unchargedCeilingUntilMs] : [],
    );
  }

  function ceiling(): UnchargedCeiling {
    return new UnchargedCeiling({ db: http.db, clock: http.clock, accounts: http.services.accounts });
  }

  /** Ingests one failed call that cost us so much, and returns what its service is told. */
  async function lose(accountId: string, costNano: bigint, charged = 0n): Promise<readonly UnchargedDay[]> {
    const days: UnchargedDay[] = [];
    const usage = createUsageService({
      db: http.db,
      clock: http.clock,
      prices: TEST_PRICES,
      onAlarm: () => {},
      onUncharged: (some) => days.push(...some),
    });
    const [attempt = expect.fail()] = settledFinal({ requestId: '' }).attempts;
    const common = { accountId, admittedAtMs: http.clock.nowMs() };
    const lost = settledFinal({
      ...{ ...common, requestId: `req_lost_${++seq}`, outcome: 'failed' },
      attempts: [{ ...attempt, costNano, errorCode: 'upstream_error' }],
    });
    const paid = settledFinal({ ...common, requestId: `req_paid_${seq}`, chargeNano: charged, maxCostNano: charged });
    const finals = charged > 0n ? [lost, paid] : [lost];
    await usage.ingestBatch(
      await withCredit(http.db, {
        ...{ spoolId: 'spl_1', nodeId: 'nod_1', region: 'us', incarnation: BigInt(seq), firstSeq: 1, lastSeq: finals.length },
        records: finals.map((final, index) => ({ seq: index + 1, final })),
      }),
    );
    return days;
  }

  it('is nobody’s to pass below a dollar a day, and passed with the first nano-dollar above it', async () => {
    const { accountId } = await http.account('small');
    expect(await lose(accountId, USD)).toEqual([]);
    const days = await lose(accountId, 1n);
    expect(days).toEqual([{ accountId, dayMs: dayMs(), costNano: USD + 1n }]);
    const watch = ceiling();
    await watch.check(days);
    expect(await told(accountId)).toEqual([undefined, dayMs() + DAY_MS]);
    // Once a day, whoever looks again.
    await watch.check(await lose(accountId, 5n));
    await ceiling().check(await lose(accountId, 5n));
    expect(await told(accountId)).toHaveLength(2);
  });

  it('is 2 % of what the account spent in the day where that is more', async () => {
    const { accountId } = await http.account('large');
    const spend = 90n * USD;
    const below = await lose(accountId, unchargedCeilingNano(spend), spend);
    expect(below).toHaveLength(1);
    await ceiling().check(below);
    expect(await told(accountId)).toEqual([undefined]);
    await ceiling().check(await lose(accountId, 1n));
    expect(await told(accountId)).toEqual([undefined, dayMs() + DAY_MS]);
  });

  it('stays with the account when something else of it changes, and is passed anew on another day', async () => {
    const { accountId } = await http.account('twice');
    const watch = ceiling();
    const days = await lose(accountId, 2n * USD);
    await watch.check(days);
    const firstUntil = dayMs() + DAY_MS;
    await http.admin('PATCH', `/admin/v1/accounts/${accountId}`, { name: 'renamed' });
    expect(await told(accountId)).toEqual([undefined, firstUntil, firstUntil]);
    http.clock.advance(DAY_MS);
    // What comes in late is of a day that is over.
    await watch.check(days);
    expect(await told(accountId)).toHaveLength(3);
    await watch.check(await lose(accountId, 2n * USD));
    expect((await told(accountId)).at(-1)).toBe(firstUntil + DAY_MS);
  });
});
