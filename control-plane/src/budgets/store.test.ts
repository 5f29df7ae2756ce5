import { budgetId } from '@meridian/domain/budget';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { transaction } from '../database/transaction.ts';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { escrowOf, lockBudgets, putSpool, writeBack } from './store.ts';
import { addHourlyCharge, chargeLeases, grantTo } from './testing.ts';

const DAY_MS = 86_400_000;
const TODAY = Date.UTC(2026, 6, 1);
const THIS_MONTH = TODAY;

let http: TestHttp;
beforeAll(async () => {
  http = await testHttp();
});
afterAll(() => http.close());

async function cappedKey(
  caps: Record<string, unknown>,
): Promise<{ keyId: string; accountId: string; memberId: string; token: string; capId: string }> {
  const { accountId, ownerId, token } = await http.account('capped');
  const made = (await http.as(token, 'POST', '/v1/keys', { name: 'k', caps })).json();
  return { keyId: made.id, accountId, memberId: ownerId, token, capId: made.caps[0].id };
}

function lock(ids: readonly string[]) {
  return transaction(http.db, (trx) => lockBudgets(trx, ids, http.clock.nowMs()));
}

const day = (capId: string, days: number) => budgetId({ capId, windowStartMs: TODAY + days * DAY_MS });

describe('locking budgets', () => {
  it('makes the previous, the present and the next window of a cap, and no other', async () => {
    const { capId, accountId } = await cappedKey({ daily_usd: 5 });
    const { capId: monthly } = await cappedKey({ monthly_images: 7 });
    const month = (at: number) => budgetId({ capId: monthly, windowStartMs: at });
    const made = [
      day(capId, -1),
      day(capId, 0),
      day(capId, 1),
      month(Date.UTC(2026, 5, 1)),
      month(THIS_MONTH),
      month(Date.UTC(2026, 7, 1)),
    ];
    const others = [
      day(capId, -2),
      day(capId, 2),
      `${capId}@${TODAY + 1}`,
      month(Date.UTC(2026, 4, 1)),
      month(Date.UTC(2026, 8, 1)),
      month(Date.UTC(2026, 6, 2)),
      `cap_unknown@${TODAY}`,
      'prepaid_acc_unknown@0',
      'nonsense',
    ];
    const locked = await lock([...others, ...made]);
    expect([...locked.keys()]).toEqual([...made].sort());
    expect(locked.get(day(capId, 1))).toEqual({
      ref: { capId, windowStartMs: TODAY + DAY_MS },
      accountId,
      unit: 'nano_usd',
      limit: 5_000_000_000,
      settled: 0,
      held: 0,
    });
    expect(locked.get(month(THIS_MONTH))).toMatchObject({ unit: 'images', limit: 7 });
    expect([...(await lock(made)).keys()]).toEqual([...made].sort());
  });

  it('opens a window with what its scope was charged in it, to the nano-dollar and to the hour', async () => {
    const { capId, keyId, accountId, memberId } = await cappedKey({ daily_usd: 5 });
    const charge = (keyOf: string, hourMs: number, chargeNano: bigint) =>
      addHourlyCharge(http.db, { accountId, memberId, keyId: keyOf, hourMs, chargeNano });
    await charge(keyId, TODAY - 3_600_000, 1n);
    await charge(keyId, TODAY - DAY_MS, 10n);
    await charge('key_other', TODAY - 3_600_000, 100n);
    await charge(keyId, TODAY, 1_000n);
    await charge(keyId, TODAY - DAY_MS - 3_600_000, 10_000n);
    expect((await lock([day(capId, -1)])).get(day(capId, -1))?.settled).toBe(11);
  });

  it('of a removed cap gives those that are there, without a limit to grant from, and makes none', async () => {
    const { capId, token, keyId } = await cappedKey({ daily_usd: 5 });
    await http.as(token, 'PATCH', `/v1/keys/${keyId}`, { caps: { daily_usd: null } });
    const locked = await lock([day(capId, 0), day(capId, 1)]);
    expect([...locked.keys()]).toEqual([day(capId, 0)]);
    expect(locked.get(day(capId, 0))?.limit).toBe(0);
  });

  it('makes each budget once, whoever comes first', async () => {
    const { capId } = await cappedKey({ daily_chat_completions: 10 });
    const ids = [day(capId, 1), day(capId, 0), day(capId, -1)];
    const all = await Promise.all(Array.from({ length: 8 }, (_, index) => lock(index % 2 === 0 ? ids : ids.toReversed())));
    for (const locked of all) expect([...locked.keys()]).toEqual(ids.toSorted());
  });
});

describe('grants', () => {
  it('that come at once never pass the limit, and leave nothing of it ungranted', async () => {
    const { capId } = await cappedKey({ daily_chat_completions: 100 });
    const id = day(capId, 0);
    const granted = await Promise.all(
      Array.from({ length: 16 }, (_, index) =>
        grantTo(http.db, `spl_${index % 5}_${capId}`, { budgetId: id, amount: 10, nowMs: http.clock.nowMs() }),
      ),
    );
    expect(granted.filter((leaseId) => leaseId !== undefined).length).toBe(10);
    expect((await lock([id])).get(id)).toMatchObject({ limit: 100, settled: 0, held: 100 });
    const leases = await http.db.selectFrom('lease').select(['granted', 'node_id', 'region']).where('budget_id', '=', id).execute();
    expect(leases.reduce((sum, lease) => sum + lease.granted, 0n)).toBe(100n);
    expect(leases[0]).toMatchObject({ region: 'us', node_id: expect.stringContaining('nod_spl_') });
  });

  it('and charges at once leave settled and held that their leases add up to', async () => {
    const { capId } = await cappedKey({ daily_chat_completions: 1_000 });
    const id = day(capId, 0);
    const nowMs = http.clock.nowMs();
    const leases = await Promise.all([1, 2, 3].map((n) => grantTo(http.db, `spl_c${n}_${capId}`, { budgetId: id, amount: 100, nowMs })));
    const ids = leases.flatMap((leaseId) => leaseId ?? []);
    expect(ids.length).toBe(3);
    const paid = await Promise.all(
      Array.from({ length: 30 }, (_, index) => {
        const [one = '', other = ''] = [ids[index % 3], ids[(index + 1) % 3]];
        return chargeLeases(http.db, { [one]: 4n, [other]: 1n }, nowMs);
      }),
    );
    expect(paid.every(Boolean)).toBe(true);
    expect((await lock([id])).get(id)).toMatchObject({ settled: 150, held: 150 });
  });

  it('are refused by the table when the rules would be broken: a second open lease, a lease of no spool, more used than granted', async () => {
    const { capId } = await cappedKey({ daily_chat_completions: 100 });
    const id = day(capId, 0);
    const spoolId = `spl_t_${capId}`;
    const leaseId = await grantTo(http.db, spoolId, { budgetId: id, amount: 10, nowMs: http.clock.nowMs() });
    const lease = { spoolId, budgetId: id, granted: 1, returned: 0, used: 0, writtenOff: 0, closed: false, retiring: false };
    const write = (change: Partial<typeof lease> & { id: string }) =>
      transaction(http.db, (trx) => writeBack(trx, { budgets: [], leases: [{ ...lease, ...change }] }, http.clock.nowMs()));
    await expect(write({ id: 'second' })).rejects.toThrow('lease_open');
    await expect(write({ id: 'nowhere', spoolId: 'spl_unknown' })).rejects.toThrow();
    await expect(write({ id: leaseId ?? '', used: 2 })).rejects.toThrow('check');
  });

  it('close one lease and open the next in one step, and keep when it was', async () => {
    const { capId } = await cappedKey({ daily_chat_completions: 100 });
    const id = day(capId, 0);
    const spoolId = `spl_r_${capId}`;
    const nowMs = http.clock.nowMs();
    const first = (await grantTo(http.db, spoolId, { budgetId: id, amount: 10, nowMs })) ?? '';
    await transaction(http.db, async (trx) => {
      const escrow = await escrowOf(trx, { spoolId }, { nowMs });
      escrow.close(first);
      escrow.open({ id: `next_${capId}`, budgetId: id, spoolId });
      escrow.grant(`next_${capId}`, 5);
      await writeBack(trx, escrow.changes(), nowMs + 1_000);
    });
    const rows = await http.db.selectFrom('lease').selectAll().where('spool_id', '=', spoolId).orderBy('opened_at').execute();
    expect(rows).toMatchObject([
      {
        id: first,
        granted: 10n,
        written_off: 10n,
        opened_at: new Date(nowMs),
        last_granted_at: new Date(nowMs),
        closed_at: new Date(nowMs + 1_000),
      },
      { granted: 5n, opened_at: new Date(nowMs + 1_000), last_granted_at: new Date(nowMs + 1_000), closed_at: null },
    ]);
    expect((await lock([id])).get(id)).toMatchObject({ settled: 0, held: 5 });
    // A closed lease is found by its id only.
    const byId = await transaction(http.db, (trx) => escrowOf(trx, { leaseIds: [first] }, { nowMs }));
    expect(byId.lease(first)?.closed).toBe(true);
    const open = await transaction(http.db, (trx) => escrowOf(trx, { budgetIds: [id] }, { nowMs }));
    expect([...open.leases()].map((each) => each.id)).toEqual([`next_${capId}`]);
  });

  it('forget how long a spool was silent as soon as it is heard of', async () => {
    await putSpool(http.db, { spoolId: 'spl_s', nodeId: 'nod_1', region: 'us' }, 1_000);
    await http.db.updateTable('lease_spool').set({ silent_ms: 5_000n }).where('spool_id', '=', 'spl_s').execute();
    await putSpool(http.db, { spoolId: 'spl_s', nodeId: 'nod_2', region: 'eu' }, 2_000);
    const row = await http.db.selectFrom('lease_spool').selectAll().where('spool_id', '=', 'spl_s').executeTakeFirstOrThrow();
    expect(row).toMatchObject({ node_id: 'nod_2', region: 'eu', silent_ms: 0n, last_seen_at: new Date(2_000) });
  });
});
