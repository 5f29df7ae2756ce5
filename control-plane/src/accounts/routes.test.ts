import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { transaction } from '../database/transaction.ts';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';

describe('accounts', () => {
  let http: TestHttp;
  beforeAll(async () => {
    http = await testHttp();
  });
  afterAll(() => http.close());

  it('are made with an owner on the starter plan and the first tier, and published on CUSTOMER', async () => {
    const made = await http.admin('POST', '/admin/v1/accounts', { name: 'Acme', owner: { name: 'Owner' } });
    expect(made.statusCode).toBe(201);
    const { id, owner } = made.json();
    expect(made.json()).toMatchObject({
      object: 'account',
      name: 'Acme',
      plan_id: 'starter',
      status: 'active',
      owner: { role: 'owner', account_id: id },
    });
    const prepaid = await http.db.selectFrom('budget').selectAll().where('account_id', '=', id).execute();
    expect(prepaid).toMatchObject([{ id: `prepaid_${id}@0`, limit_amount: 0n, settled: 0n, held: 0n, unit: 'nano_usd' }]);
    const asOfMs = http.clock.nowMs();
    const log = await published(http.db, id);
    expect(log.map(({ lane, entry }) => [lane, entry.version, entry.body?.kind]).sort()).toEqual([
      ['customer', 1, 'account'],
      ['customer', 1, 'tier_assignment'],
    ]);
    expect(log.find((one) => one.entry.kind === 'account')?.entry.body?.value).toEqual({
      id,
      name: 'Acme',
      planId: 'starter',
      status: 'active',
      balanceNano: 0n,
      asOfMs,
    });
    expect((await published(http.db, owner.id)).map((one) => one.lane)).toEqual(['customer']);
    expect((await http.admin('GET', `/admin/v1/accounts/${id}`)).json()).toMatchObject({
      id,
      balance_usd: '0.00',
      balance_nano: '0',
      members: [owner],
      plan: { id: 'starter', api_access: true },
      tier: { id: 'starter', markup_percent: 40, spend_30d_usd: '0.00', next: { id: 'growth' } },
      caps: [],
    });
    expect((await http.admin('GET', '/admin/v1/accounts?limit=1')).json().data.length).toBe(1);
  });

  it('are disabled on SECURITY at once, with the rev, and enabled again on CUSTOMER', async () => {
    const { accountId } = await http.account('switched');
    const off = (await http.admin('POST', `/admin/v1/accounts/${accountId}/disable`)).json();
    const on = (await http.admin('POST', `/admin/v1/accounts/${accountId}/enable`)).json();
    expect([off.status, on.status]).toEqual(['disabled', 'active']);
    const log = (await published(http.db, accountId)).filter((one) => one.entry.kind === 'account');
    expect(log.map(({ lane, rev, entry }) => [lane, rev, entry.version])).toEqual([
      ['customer', expect.any(Number), 1],
      ['security', off.rev, 2],
      ['customer', on.rev, 3],
    ]);
  });

  it('carry their balance, published once for each change, never an older one under a later version', async () => {
    const { accountId } = await http.account('rich');
    const credits = (key: string, body: object) =>
      http.admin('POST', `/admin/v1/accounts/${accountId}/credits`, body, { 'idempotency-key': key });
    await credits('rich-1', { type: 'topup', amount_usd: '12.5' });
    expect(await http.services.accounts.publishChangedBalances(100)).toBe(1);
    expect(await http.services.accounts.publishChangedBalances(100)).toBe(0);
    await credits('rich-2', { type: 'grant', amount_usd: '0.000000001' });
    await http.admin('PATCH', `/admin/v1/accounts/${accountId}`, { name: 'richer' });
    expect(await http.services.accounts.publishChangedBalances(100)).toBe(1);
    const values = (await published(http.db, accountId)).flatMap(({ entry }) =>
      entry.body?.kind === 'account' ? [[entry.version, entry.body.value.balanceNano, entry.body.value.name]] : [],
    );
    expect(values).toEqual([
      [1, 0n, 'rich'],
      [2, 12_500_000_000n, 'rich'],
      [3, 12_500_000_001n, 'richer'],
      [4, 12_500_000_001n, 'richer'],
    ]);
  });

  it('keep nobody from spending while their balance waits to be published', async () => {
    const { accountId } = await http.account('held');
    const credit = (key: string) =>
      http.admin('POST', `/admin/v1/accounts/${accountId}/credits`, { type: 'topup', amount_usd: '1' }, { 'idempotency-key': key });
    await credit('held-1');
    const publishBalances = () => http.services.accounts.publishChangedBalances(100);
    await transaction(http.db, async (trx) => {
      // As long as a plan is being brought to its members, say, who may wait for what ingest holds.
      await trx.selectFrom('account').select('id').where('id', '=', accountId).forShare().execute();
      expect(await publishBalances()).toBe(0);
      expect((await credit('held-2')).statusCode).toBe(201);
      expect(await publishBalances()).toBe(0);
    });
    expect([await publishBalances(), await publishBalances()]).toEqual([1, 0]);
    const entries = (await published(http.db, accountId)).flatMap(({ entry }) => (entry.body?.kind === 'account' ? [entry] : []));
    expect(entries.at(-1)).toMatchObject({ version: 2, body: { value: { balanceNano: 2_000_000_000n } } });
  });

  it('tell their members who they are, where they stand and what is left', async () => {
    const { accountId, ownerId, token } = await http.account('me');
    await http.admin('POST', `/admin/v1/accounts/${accountId}/credits`, { type: 'topup', amount_usd: '5' }, { 'idempotency-key': 'me-1' });
    const asMember = (await http.as(token, 'GET', '/v1/me')).json();
    expect(asMember).toEqual({
      object: 'me',
      account: { id: accountId, name: 'me', status: 'active' },
      member: { id: ownerId, role: 'owner' },
      key: null,
      region: null,
      plan: { id: 'starter', name: 'Starter', api_access: true },
      tier: {
        id: 'starter',
        name: 'Starter',
        markup_percent: 40,
        spend_30d_usd: '0.00',
        next: { id: 'growth', name: 'Growth', markup_percent: 30, missing_usd: '50.00' },
      },
      balance: {
        balance_usd: '5.00',
        balance_nano: '5000000000',
        as_of: new Date(http.clock.nowMs()).toISOString(),
        unreported_usd: '0.00',
      },
      caps: [],
    });
    const { id, key } = (await http.as(token, 'POST', '/v1/keys', { name: 'mine' })).json();
    expect((await http.as(key, 'GET', '/v1/me')).json()).toEqual({ ...asMember, key: { id, name: 'mine' } });
    const account = (await http.as(token, 'GET', '/v1/account')).json();
    expect(account).toMatchObject({ id: accountId, members: [{ id: ownerId, role: 'owner' }] });
  });

  it('move to another plan; plans are saved by id and published on CATALOG when they change', async () => {
    const { accountId } = await http.account('mover');
    expect((await http.admin('PATCH', `/admin/v1/accounts/${accountId}`, { plan_id: 'nothing' })).json().error.param).toBe('plan_id');
    const plan = { id: 'no-api', name: 'No API', api_access: false };
    expect((await http.admin('POST', '/admin/v1/plans', plan)).json()).toMatchObject({ object: 'plan', ...plan });
    await http.admin('POST', '/admin/v1/plans', plan);
    await http.admin('POST', '/admin/v1/plans', { ...plan, name: 'Nothing' });
    expect((await published(http.db, 'no-api')).map(({ lane, entry }) => [lane, entry.version])).toEqual([
      ['catalog', 1],
      ['catalog', 2],
    ]);
    expect((await http.admin('PATCH', `/admin/v1/accounts/${accountId}`, { plan_id: 'no-api' })).json().plan_id).toBe('no-api');
  });

  it('have a person once', async () => {
    const { accountId } = await http.account('one of each');
    const members = `/admin/v1/accounts/${accountId}/members`;
    const { id, person_id } = (await http.admin('POST', members, { name: 'first', role: 'member' })).json();
    const again = { name: 'again', role: 'admin', person_id };
    const refused = await http.admin('POST', members, again);
    expect([refused.statusCode, refused.json().error.code]).toEqual([409, 'conflict']);
    // Whoever was removed may come back, once as well.
    const { token } = await http.member(accountId, 'owner');
    expect((await http.as(token, 'DELETE', `/v1/teams/${accountId}/members/${id}`)).statusCode).toBe(200);
    const both = await Promise.all([http.admin('POST', members, again), http.admin('POST', members, again)]);
    expect(both.map(({ statusCode }) => statusCode).sort()).toEqual([201, 409]);
  });

  it('refuse what is not there', async () => {
    const { accountId } = await http.account('here');
    for (const [method, url, body] of [
      ['GET', '/admin/v1/accounts/acc_nothing', undefined],
      ['PATCH', '/admin/v1/accounts/acc_nothing', { name: 'x' }],
      ['POST', '/admin/v1/accounts/acc_nothing/disable', undefined],
      ['POST', '/admin/v1/accounts/acc_nothing/members', { name: 'x', role: 'admin' }],
      ['POST', '/admin/v1/accounts/acc_nothing/tokens', {}],
      ['POST', `/admin/v1/accounts/${accountId}/tokens`, { member_id: 'mem_nothing' }],
      ['PATCH', `/admin/v1/accounts/${accountId}/members/mem_nothing`, { role: 'admin' }],
    ] as const) {
      const answer = await http.admin(method, url, body);
      expect([url, answer.statusCode, answer.json().error.code]).toEqual([url, 404, 'not_found']);
    }
  });
});
