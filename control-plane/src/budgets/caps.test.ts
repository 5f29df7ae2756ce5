import { setTimeout } from 'node:timers/promises';
import { budgetId, grantable } from '@meridian/domain/budget';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { transaction } from '../database/transaction.ts';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';
import { lockBudgets } from './store.ts';
import { addHourlyCharge, chargeLeases, grantTo } from './testing.ts';

const TODAY = Date.UTC(2026, 6, 1);
const DAY_MS = 86_400_000;

let http: TestHttp;
beforeAll(async () => {
  http = await testHttp();
});
afterAll(() => http.close());

interface House {
  readonly accountId: string;
  readonly ownerId: string;
  readonly token: string;
}

async function keyWith(house: House, caps?: unknown) {
  const made = await http.as(house.token, 'POST', '/v1/keys', { name: 'k', ...(caps === undefined ? {} : { caps }) });
  expect([made.statusCode, made.body]).toEqual([201, made.body]);
  return made.json();
}

const setCaps = async (house: House, keyId: string, caps: unknown) =>
  (await http.as(house.token, 'PATCH', `/v1/keys/${keyId}`, { caps })).json();

const today = (capId: string) => budgetId({ capId, windowStartMs: TODAY });

async function budget(id: string) {
  const found = await transaction(http.db, (trx) => lockBudgets(trx, [id], http.clock.nowMs()));
  return found.get(id);
}

/** Until a transaction waits for another one's lock. */
async function somebodyWaits(): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    const { rows } = await sql<{ waiting: bigint }>`
      SELECT count(*) AS waiting FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()`.execute(
      http.db,
    );
    if ((rows[0]?.waiting ?? 0n) > 0n) return;
    await setTimeout(10);
  }
}

const grant = (id: string, spoolId: string, amount: number) =>
  grantTo(http.db, spoolId, { budgetId: id, amount, nowMs: http.clock.nowMs() });

describe('caps', () => {
  it('are set with a key, published before it, and shown with what is left', async () => {
    const house = await http.account('set');
    const { caps, id, ...key } = await keyWith(house, { daily_usd: 1.5, monthly_usd: '20.000000001', daily_images: 3 });
    expect(key).toMatchObject({ object: 'api_key' });
    expect(caps).toEqual([
      {
        ...{ id: expect.stringMatching(/^cap_/), object: 'cap', scope: 'key', scope_id: id, window: 'utc_day', unit: 'nano_usd' },
        ...{ limit_usd: '1.50', limit_nano: '1500000000', spent_usd: '0.00', spent_nano: '0' },
        ...{ reserved_usd: '0.00', reserved_nano: '0', left_usd: '1.50', left_nano: '1500000000' },
        resets_at: '2026-07-02T00:00:00.000Z',
      },
      expect.objectContaining({ window: 'utc_month', limit_nano: '20000000001', resets_at: '2026-08-01T00:00:00.000Z' }),
      {
        ...{ id: expect.stringMatching(/^cap_/), object: 'cap', scope: 'key', scope_id: id, window: 'utc_day', unit: 'images' },
        ...{ limit: 3, spent: 0, reserved: 0, left: 3, resets_at: '2026-07-02T00:00:00.000Z' },
      },
    ]);
    const [cap] = await published(http.db, caps[0].id);
    expect(cap).toMatchObject({ lane: 'customer', entry: { kind: 'cap', version: 1 } });
    expect(cap?.entry.body?.value).toEqual({
      ...{
        id: caps[0].id,
        accountId: house.accountId,
        scope: 'key',
        scopeId: id,
        window: 'utc_day',
        unit: 'nano_usd',
        limit: 1_500_000_000,
      },
    });
    const [made] = await published(http.db, id);
    for (const each of caps) expect((await published(http.db, each.id))[0]?.rev).toBeLessThan(made?.rev ?? 0);
    const listed = (await http.as(house.token, 'GET', '/v1/keys')).json();
    expect(listed.data[0].caps).toEqual(caps);
    expect((await http.as(house.token, 'GET', `/v1/keys/${id}`)).json().caps).toEqual(caps);
  });

  it('are there before the first request: questions that come at once meet the limit', async () => {
    const house = await http.account('first');
    const { caps } = await keyWith(house, { daily_chat_completions: 5 });
    const granted = await Promise.all(Array.from({ length: 12 }, (_, index) => grant(today(caps[0].id), `spl_first_${index}`, 1)));
    expect(granted.filter((leaseId) => leaseId !== undefined).length).toBe(5);
  });

  it('are changed by name: absent leaves, null removes, the same again is no change', async () => {
    const house = await http.account('changed');
    const { id, caps } = await keyWith(house, { daily_usd: 5, monthly_images: 10 });
    const [daily, images] = caps;
    const heard = http.limitChanges.length;
    const after = await setCaps(house, id, { daily_usd: '5.00', monthly_images: 20 });
    expect(after.caps).toMatchObject([
      { id: daily.id, limit_usd: '5.00' },
      { id: images.id, limit: 20 },
    ]);
    expect(http.limitChanges.slice(heard)).toEqual([
      { budgetIds: [budgetId({ capId: images.id, windowStartMs: TODAY })], direction: 'raised' },
    ]);
    const removed = await setCaps(house, id, { daily_usd: null, daily_images: null });
    expect(removed.caps.map((cap: { id: string }) => cap.id)).toEqual([images.id]);
    const entries = (await published(http.db, daily.id)).map(({ lane, entry }) => [lane, entry.version, entry.body?.kind]);
    expect(entries).toEqual([
      ['customer', 1, 'cap'],
      ['customer', 2, undefined],
    ]);
    expect((await published(http.db, images.id)).map(({ entry }) => entry.version)).toEqual([1, 2]);
    await setCaps(house, id, { daily_usd: 6 });
    expect((await published(http.db, daily.id)).map(({ entry }) => [entry.version, entry.body?.kind]).at(-1)).toEqual([3, 'cap']);
    const renamed = (await http.as(house.token, 'PATCH', `/v1/keys/${id}`, { name: 'renamed' })).json();
    expect(renamed).toMatchObject({ name: 'renamed', caps: [{ limit_usd: '6.00' }, { limit: 20 }] });
  });

  it.each([
    ['a negative amount', { daily_usd: -1 }, 'caps.daily_usd'],
    ['too many decimals', { daily_usd: '0.0000000001' }, 'caps.daily_usd'],
    ['a sum of floats', { daily_usd: 0.1 + 0.2 }, 'caps.daily_usd'],
    ['more than a cap can hold', { monthly_usd: '4503599.627370497' }, 'caps.monthly_usd'],
    ['no amount', { monthly_usd: 'much' }, 'caps.monthly_usd'],
    ['infinity', { monthly_usd: '1e400' }, 'caps.monthly_usd'],
    ['half a completion', { daily_chat_completions: 0.5 }, 'caps.daily_chat_completions'],
    ['a count as text', { daily_images: '3' }, 'caps.daily_images'],
    ['a negative count', { daily_images: -3 }, 'caps.daily_images'],
    ['a cap that there is not', { hourly_usd: 1 }, 'caps.hourly_usd'],
    ['no object', 5, 'caps'],
  ])('refuse %s', async (_, caps, param) => {
    const house = await http.account('refused');
    const answer = await http.as(house.token, 'POST', '/v1/keys', { name: 'k', caps });
    expect([answer.statusCode, answer.json().error.code, answer.json().error.param]).toEqual([400, 'invalid_request_error', param]);
    expect((await http.as(house.token, 'GET', '/v1/keys')).json().data).toEqual([]);
  });

  it('take every amount that they can hold, as a number or as text, exactly', async () => {
    const house = await http.account('exact');
    for (const [given, nano] of [
      [0, '0'],
      ['0', '0'],
      [1e-9, '1'],
      [0.1, '100000000'],
      ['4503599.627370496', '4503599627370496'],
      [1234.56789, '1234567890000'],
    ]) {
      const { caps } = await keyWith(house, { daily_usd: given });
      expect([given, caps[0].limit_nano]).toEqual([given, nano]);
      await http.as(house.token, 'DELETE', `/v1/keys/${caps[0].scope_id}`);
    }
  });

  it('count what their scope was charged since the window began, and nothing else', async () => {
    const house = await http.account('spent');
    const [one, other] = [await keyWith(house), await keyWith(house)];
    const second = await http.member(house.accountId, 'member');
    const charge = (keyId: string, memberId: string, hourMs: number, chargeNano: bigint) =>
      addHourlyCharge(http.db, { accountId: house.accountId, memberId, keyId, hourMs, chargeNano });
    await charge(one.id, house.ownerId, TODAY + 3_600_000, 1n);
    await charge(one.id, house.ownerId, TODAY - 3_600_000, 10n);
    await charge(other.id, house.ownerId, TODAY, 100n);
    await charge('key_x', second.memberId, TODAY, 1_000n);
    await charge('key_x', second.memberId, TODAY - DAY_MS, 10_000n);
    await charge(one.id, house.ownerId, TODAY + DAY_MS, 100_000n);
    const both = { daily_usd: 1, monthly_usd: 2, monthly_chat_completions: 9 };
    const spent = (caps: { spent_nano?: string; spent?: number }[]) => caps.map((cap) => cap.spent_nano ?? cap.spent);
    expect(spent((await setCaps(house, one.id, both)).caps)).toEqual(['1', '100001', 0]);
    const member = await http.as(house.token, 'PATCH', `/v1/account/members/${house.ownerId}`, { caps: both });
    expect(spent(member.json().caps)).toEqual(['101', '100101', 0]);
    const account = await http.as(house.token, 'PATCH', '/v1/account', { caps: both });
    expect(spent(account.json().caps)).toEqual(['1101', '101101', 0]);
    // So it is shown, too, of a window that nobody has asked for yet.
    http.clock.advance(DAY_MS);
    const tomorrow = await http.services.budgets.standings(house.accountId, [house.accountId]);
    http.clock.advance(-DAY_MS);
    expect(tomorrow.map((cap) => cap.spent)).toEqual([100_000n, 101_101n, 0n]);
    for (const day of [0, 20, 31]) await charge(one.id, house.ownerId, TODAY + (31 + day) * DAY_MS, 1n);
    http.clock.advance(31 * DAY_MS);
    const august = await http.services.budgets.standings(house.accountId, [one.id]);
    http.clock.advance(-31 * DAY_MS);
    expect(august.map((cap) => cap.spent)).toEqual([1n, 2n, 0n]);
  });

  it('that are lowered bind at once: what is held is said, called back, and comes off as it is returned', async () => {
    const house = await http.account('lowered');
    const { id, caps } = await keyWith(house, { daily_usd: 10 });
    const budgetOfCap = today(caps[0].id);
    const leaseId = (await grant(budgetOfCap, 'spl_lowered', 8_000_000_000)) ?? '';
    await chargeLeases(http.db, { [leaseId]: 3_000_000_000n }, http.clock.nowMs());
    const heard = http.limitChanges.length;
    const lowered = (await setCaps(house, id, { daily_usd: 4 })).caps[0];
    expect(lowered).toMatchObject({
      limit_usd: '4.00',
      spent_usd: '3.00',
      reserved_usd: '5.00',
      left_usd: '0.00',
      over_usd: '4.00',
      over_nano: '4000000000',
    });
    expect(http.limitChanges.slice(heard)).toEqual([{ budgetIds: [budgetOfCap], direction: 'lowered' }]);
    expect(await grant(budgetOfCap, 'spl_other', 1)).toBeUndefined();
    const raised = (await setCaps(house, id, { daily_usd: 9 })).caps[0];
    expect(raised).toMatchObject({ left_usd: '1.00', limit_usd: '9.00' });
    expect(raised).not.toHaveProperty('over_usd');
    expect(http.limitChanges.at(-1)).toEqual({ budgetIds: [budgetOfCap], direction: 'raised' });
    expect(await grant(budgetOfCap, 'spl_other', 1_000_000_000)).toBeDefined();
  });

  it('show the number that requests are refused by', async () => {
    const house = await http.account('one number');
    const { id, caps } = await keyWith(house, { daily_usd: 1, daily_chat_completions: 50 });
    for (const cap of caps) {
      const leaseId = (await grant(today(cap.id), `spl_shown_${cap.unit}`, 40)) ?? '';
      await chargeLeases(http.db, { [leaseId]: 15n }, http.clock.nowMs());
    }
    const shown = (await http.as(house.token, 'GET', `/v1/keys/${id}`)).json().caps;
    for (const cap of shown) {
      const book = await budget(today(cap.id));
      expect(book).toMatchObject({ settled: 15, held: 25 });
      if (book !== undefined) expect(Number(cap.left_nano ?? cap.left)).toBe(grantable(book));
      expect([Number(cap.spent_nano ?? cap.spent), Number(cap.reserved_nano ?? cap.reserved)]).toEqual([15, 25]);
      // What is shown as left is granted, and nothing more.
      const left = Number(cap.left_nano ?? cap.left);
      expect(await grant(today(cap.id), 'spl_greedy', left + 1)).toBeUndefined();
      expect(await grant(today(cap.id), 'spl_greedy', left)).toBeDefined();
    }
  });

  it('that were removed and are set again go on: with what was charged in between, or with what they had counted', async () => {
    const house = await http.account('again');
    const { id, caps } = await keyWith(house, { daily_usd: 10, daily_images: 10 });
    const [money, images] = caps.map((cap: { id: string }) => today(cap.id));
    const leases = [await grant(money, 'spl_again', 4_000), await grant(images, 'spl_again', 4)].map(String);
    await chargeLeases(http.db, { [leases[0] ?? '']: 1_000n, [leases[1] ?? '']: 2n }, http.clock.nowMs());
    const heard = http.limitChanges.length;
    expect((await setCaps(house, id, { daily_usd: null, daily_images: null })).caps).toEqual([]);
    expect(http.limitChanges.slice(heard)).toEqual([{ budgetIds: [money, images].sort(), direction: 'lowered' }]);
    expect(await grant(money, 'spl_again', 1)).toBeUndefined();
    // Requests under way are still charged on their leases.
    expect(await chargeLeases(http.db, { [leases[0] ?? '']: 500n, [leases[1] ?? '']: 1n }, http.clock.nowMs())).toBe(true);
    expect((await setCaps(house, id, { daily_usd: 10, daily_images: 5 })).caps).toMatchObject([
      { id: caps[0].id, spent_nano: '1500', reserved_nano: '2500' },
      { id: caps[1].id, spent: 3, reserved: 1, left: 1 },
    ]);
    await setCaps(house, id, { daily_usd: null });
    await addHourlyCharge(http.db, { accountId: house.accountId, memberId: house.ownerId, keyId: id, hourMs: TODAY, chargeNano: 9_000n });
    expect((await setCaps(house, id, { daily_usd: 10 })).caps).toMatchObject([{ spent_nano: '9000', reserved_nano: '2500' }, {}]);
    const row = await http.db.selectFrom('budget').selectAll().where('id', '=', money).executeTakeFirstOrThrow();
    expect(row).toMatchObject({ opening: 7_500n, settled: 9_000n, held: 2_500n });
  });

  it('give their limit to windows that were handed out ahead, too', async () => {
    const house = await http.account('ahead');
    const { id, caps } = await keyWith(house, { daily_chat_completions: 10 });
    const tomorrow = budgetId({ capId: caps[0].id, windowStartMs: TODAY + DAY_MS });
    const yesterday = budgetId({ capId: caps[0].id, windowStartMs: TODAY - DAY_MS });
    await grant(tomorrow, 'spl_ahead', 6);
    await grant(yesterday, 'spl_ahead', 6);
    const heard = http.limitChanges.length;
    await setCaps(house, id, { daily_chat_completions: 4 });
    expect([(await budget(tomorrow))?.limit, (await budget(yesterday))?.limit]).toEqual([4, 10]);
    expect(http.limitChanges.slice(heard)).toEqual([{ budgetIds: [today(caps[0].id), tomorrow].sort(), direction: 'lowered' }]);
  });

  it('set twice at once are one cap, at one of the two limits, on every window', async () => {
    const house = await http.account('race');
    for (let round = 0; round < 5; round++) {
      const { id } = await keyWith(house);
      await Promise.all([1, 2, 3, 4].map((limit) => setCaps(house, id, { daily_images: limit })));
      const rows = await http.db.selectFrom('cap').selectAll().where('scope_id', '=', id).execute();
      expect(rows.length).toBe(1);
      const windows = await http.db.selectFrom('budget').selectAll().where('cap_id', '=', String(rows[0]?.id)).execute();
      expect(windows.map((row) => row.limit_amount)).toEqual([rows[0]?.limit_amount]);
      expect((await published(http.db, String(rows[0]?.id))).at(-1)?.entry.body?.value).toMatchObject({
        limit: Number(rows[0]?.limit_amount),
      });
      await http.as(house.token, 'DELETE', `/v1/keys/${id}`);
    }
  });

  it('that are being changed are waited for by whoever makes a window of them', async () => {
    const house = await http.account('waited for');
    const { id, caps } = await keyWith(house, { daily_images: 10 });
    const tomorrow = budgetId({ capId: caps[0].id, windowStartMs: TODAY + DAY_MS });
    let making = budget('nothing');
    await transaction(http.db, async (trx) => {
      await http.services.budgets.setCapsIn(trx, { accountId: house.accountId, scope: 'key', scopeId: id }, { daily_images: 3n });
      making = budget(tomorrow);
      await Promise.race([making, somebodyWaits()]);
    });
    expect((await making)?.limit).toBe(3);
  });

  it('changed while shares are granted leave no window at an old limit, and no grant above the one of its moment', async () => {
    const house = await http.account('contended');
    const { id, caps } = await keyWith(house, { daily_images: 100 });
    const ids = [-1, 0, 1].map((days) => budgetId({ capId: caps[0].id, windowStartMs: TODAY + days * DAY_MS }));
    await Promise.all([
      ...[50, 40, 30].map((limit) => setCaps(house, id, { daily_images: limit })),
      ...ids.flatMap((budgetOfDay, day) => [0, 1, 2].map((spool) => grant(budgetOfDay, `spl_contended_${day}_${spool}`, 33))),
    ]);
    const cap = await http.db.selectFrom('cap').selectAll().where('id', '=', caps[0].id).executeTakeFirstOrThrow();
    for (const budgetOfDay of ids.slice(1)) {
      const book = await budget(budgetOfDay);
      expect(book?.limit).toBe(Number(cap.limit_amount));
      expect(book?.held).toBeLessThanOrEqual(100);
      // Nothing is left that the limit does not allow.
      if (book !== undefined) expect(await grant(budgetOfDay, 'spl_late', grantable(book) + 1)).toBeUndefined();
    }
  });

  it('of an account are for owners, admins and billing; of members for owners and admins; who reads them is told apart', async () => {
    const house = await http.account('roles');
    const [colleague, billing, admin] = await Promise.all(['member', 'billing', 'admin'].map((role) => http.member(house.accountId, role)));
    const other = await http.account('elsewhere');
    const caps = { monthly_usd: 100 };
    const status = async (token: string | undefined, method: 'GET' | 'PATCH', url: string) =>
      (await http.as(String(token), method, url, method === 'PATCH' ? { caps } : undefined)).statusCode;
    const member = `/v1/account/members/${colleague?.memberId}`;
    for (const who of [colleague, billing, admin]) expect(await status(who?.token, 'GET', '/v1/account')).toBe(200);
    expect(await Promise.all([colleague, billing, admin].map((who) => status(who?.token, 'PATCH', '/v1/account')))).toEqual([
      403, 200, 200,
    ]);
    expect(await Promise.all([colleague, billing, admin].map((who) => status(who?.token, 'PATCH', member)))).toEqual([403, 403, 200]);
    expect(await Promise.all([colleague, billing, admin].map((who) => status(who?.token, 'GET', member)))).toEqual([200, 404, 200]);
    expect(await status(other.token, 'GET', member)).toBe(404);
    expect(await status(other.token, 'PATCH', member)).toBe(404);
    expect(await http.db.selectFrom('cap').select('scope').where('account_id', '=', other.accountId).execute()).toEqual([]);
    // A key of another account cannot be capped either.
    const key = await keyWith(house);
    expect((await http.as(other.token, 'PATCH', `/v1/keys/${key.id}`, { caps })).statusCode).toBe(404);
  });

  it('are all that apply to the caller in /v1/me: of the key that asks, its member, the account', async () => {
    const house = await http.account('me');
    const { key, id, caps } = await keyWith(house, { daily_usd: 1 });
    await keyWith(house, { daily_usd: 2 });
    await http.as(house.token, 'PATCH', `/v1/account/members/${house.ownerId}`, { caps: { monthly_images: 3 } });
    await http.as(house.token, 'PATCH', '/v1/account', { caps: { monthly_usd: 4 } });
    const asKey = (await http.as(key, 'GET', '/v1/me')).json();
    expect(asKey.caps).toMatchObject([
      { scope: 'key', scope_id: id, id: caps[0].id, limit_usd: '1.00' },
      { scope: 'member', scope_id: house.ownerId, limit: 3 },
      { scope: 'account', scope_id: house.accountId, limit_usd: '4.00' },
    ]);
    const asMember = (await http.as(house.token, 'GET', '/v1/me')).json();
    expect(asMember.caps).toEqual(asKey.caps.slice(1));
  });
});
