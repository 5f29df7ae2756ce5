import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';

const LIMITED = { id: 'limited', name: 'Limited', api_access: true, daily_chat_completions: 100, daily_images: 20 };

describe('plans', () => {
  let http: TestHttp;
  beforeAll(async () => {
    http = await testHttp();
    for (const id of ['small', 'large']) {
      const model = { id, vendor: 'acme', name: id, mode: 'chat', input: ['text'], output: ['text'] };
      expect((await http.admin('POST', '/admin/v1/models', model)).json().data).toMatchObject([{ id }]);
    }
    expect((await http.admin('POST', '/admin/v1/plans', LIMITED)).statusCode).toBe(200);
  });
  afterAll(() => http.close());

  const accountOn = async (planId: string): Promise<{ accountId: string; ownerId: string; token: string }> => {
    const { account, owner } = await http.services.accounts.create({ name: 'A', ownerName: 'O', planId });
    const { token } = await http.services.sessions.mint(owner.id, account.id, 3_600);
    return { accountId: account.id, ownerId: owner.id, token };
  };
  const addMember = async (accountId: string): Promise<string> =>
    (await http.admin('POST', `/admin/v1/accounts/${accountId}/members`, { name: 'M', role: 'member' })).json().id;
  /** The daily limits of a member by unit. */
  const limits = async (accountId: string, memberId: string): Promise<Record<string, bigint>> =>
    Object.fromEntries((await http.services.budgets.standings(accountId, [memberId])).map((cap) => [cap.unit, cap.limit]));
  const settle = async (): Promise<number> => {
    let runs = 0;
    while (await http.services.plans.capNextMembers(2)) runs += 1;
    return runs;
  };

  it('are saved by id with all they allow, published on CATALOG when they change, and not when they do not', async () => {
    const plan = {
      id: 'whole',
      name: 'Whole',
      api_access: true,
      models: ['acme/small', 'large'],
      daily_chat_completions: 1_000,
      daily_images: null,
      max_message_characters: 40_000,
      rate_limits: { requests_per_minute: 600, concurrency: 20 },
      model_rate_limits: { tokens_per_minute: 100_000 },
    };
    const shown = { ...plan, object: 'plan', models: ['small', 'large'] };
    expect((await http.admin('POST', '/admin/v1/plans', plan)).json()).toEqual(shown);
    await http.admin('POST', '/admin/v1/plans', plan);
    expect((await http.admin('GET', '/admin/v1/plans/whole')).json()).toEqual(shown);
    expect((await published(http.db, 'whole')).map(({ lane, entry }) => [lane, entry.version, entry.body?.value])).toEqual([
      [
        'catalog',
        1,
        {
          id: 'whole',
          name: 'Whole',
          apiAccess: true,
          allowedModels: ['small', 'large'],
          maxMessageCharacters: 40_000,
          rateLimits: { requestsPerMinute: 600, concurrency: 20 },
          modelRateLimits: { tokensPerMinute: 100_000 },
        },
      ],
    ]);
    // What is left out is without limit.
    const bare = { id: 'whole', name: 'Whole', api_access: true };
    expect((await http.admin('POST', '/admin/v1/plans', bare)).json()).toMatchObject({
      models: [],
      rate_limits: null,
      daily_chat_completions: null,
    });
    expect((await published(http.db, 'whole')).at(-1)?.entry.body?.value).toEqual({ id: 'whole', name: 'Whole', apiAccess: true });
    for (const [change, param] of [
      [{ models: ['nothing'] }, 'models[0]'],
      [{ daily_images: -1 }, 'daily_images'],
      [{ rate_limits: { requests_per_minute: 0 } }, 'rate_limits.requests_per_minute'],
    ] as const) {
      const refused = await http.admin('POST', '/admin/v1/plans', { ...bare, ...change });
      expect([refused.statusCode, refused.json().error.param]).toEqual([400, param]);
    }
    expect((await http.admin('GET', '/admin/v1/plans/nothing')).statusCode).toBe(404);
  });

  it('cap each member from the moment in which they are made, published before them', async () => {
    const { accountId, ownerId } = await accountOn('limited');
    const memberId = await addMember(accountId);
    for (const id of [ownerId, memberId]) expect(await limits(accountId, id)).toEqual({ chat_completions: 100n, images: 20n });
    const revs = async (kind: string, of: string): Promise<number[]> => {
      const rows = await http.db.selectFrom('cap').select('id').where('scope_id', '=', of).execute();
      const ids = kind === 'cap' ? rows.map((row) => row.id) : [of];
      return (await Promise.all(ids.map((id) => published(http.db, id)))).flat().map(({ rev }) => rev);
    };
    expect(Math.max(...(await revs('cap', memberId)))).toBeLessThan(Math.min(...(await revs('member', memberId))));
    expect(await limits(...(Object.values(await http.account('without')).slice(0, 2) as [string, string]))).toEqual({});
  });

  it('change the caps of all members when they change, in pages, and tell those who hand out shares', async () => {
    await settle();
    const plan = { ...LIMITED, id: 'moving' };
    await http.admin('POST', '/admin/v1/plans', plan);
    const accounts = [await accountOn('moving'), await accountOn('moving')];
    const members = accounts.map(({ accountId, ownerId }) => [accountId, ownerId] as [string, string]);
    for (const { accountId } of accounts) for (let count = 0; count < 2; count++) members.push([accountId, await addMember(accountId)]);
    const other = await accountOn('limited');
    expect(await settle()).toBe(0);
    // One of the members has a window with a holder, as one that was used has.
    const [accountId, memberId] = members[3] ?? ['', ''];
    await http.services.budgets.setCaps({ accountId, scope: 'member', scopeId: memberId }, { daily_chat_completions: 100n });
    http.limitChanges.length = 0;

    await http.admin('POST', '/admin/v1/plans', { ...plan, daily_chat_completions: 50, daily_images: null });
    expect(await settle()).toBeGreaterThanOrEqual(3);
    for (const [account, member] of members) expect(await limits(account, member)).toEqual({ chat_completions: 50n });
    expect(await limits(other.accountId, other.ownerId)).toEqual({ chat_completions: 100n, images: 20n });
    expect(http.limitChanges.map(({ direction, budgetIds }) => [direction, budgetIds.length])).toEqual([['lowered', 1]]);
    const [cap] = await http.db.selectFrom('cap').select('id').where('scope_id', '=', memberId).where('unit', '=', 'images').execute();
    expect((await published(http.db, cap?.id ?? '')).map(({ lane }) => lane)).toEqual(['customer', 'bulk']);
    // A change of the name alone goes over nobody.
    await http.admin('POST', '/admin/v1/plans', { ...plan, daily_chat_completions: 50, daily_images: null, name: 'Renamed' });
    expect(await settle()).toBe(0);
  });

  it('are followed by the caps of an account that is moved to another one', async () => {
    const { accountId, ownerId } = await accountOn('limited');
    const memberId = await addMember(accountId);
    await http.admin('PATCH', `/admin/v1/accounts/${accountId}`, { plan_id: 'starter' });
    for (const id of [ownerId, memberId]) expect(await limits(accountId, id)).toEqual({});
    await http.admin('PATCH', `/admin/v1/accounts/${accountId}`, { plan_id: 'limited' });
    for (const id of [ownerId, memberId]) expect(await limits(accountId, id)).toEqual({ chat_completions: 100n, images: 20n });
  });

  it('are the most that an account may choose for a member', async () => {
    const { accountId, ownerId, token } = await accountOn('limited');
    const choose = (caps: object) => http.as(token, 'PATCH', `/v1/account/members/${ownerId}`, { caps });
    await choose({ daily_chat_completions: 10 });
    expect(await limits(accountId, ownerId)).toEqual({ chat_completions: 10n, images: 20n });
    await choose({ daily_chat_completions: 5_000, daily_images: 0 });
    expect(await limits(accountId, ownerId)).toEqual({ chat_completions: 100n, images: 0n });
    // What was chosen counts again under a plan that allows it.
    await http.admin('PATCH', `/admin/v1/accounts/${accountId}`, { plan_id: 'starter' });
    expect(await limits(accountId, ownerId)).toEqual({ chat_completions: 5_000n, images: 0n });
    await http.admin('PATCH', `/admin/v1/accounts/${accountId}`, { plan_id: 'limited' });
    await choose({ daily_chat_completions: null, daily_images: null });
    expect(await limits(accountId, ownerId)).toEqual({ chat_completions: 100n, images: 20n });
  });

  it('give way to what an operator sets for a member, until that is given back', async () => {
    const plan = { ...LIMITED, id: 'given-way' };
    await http.admin('POST', '/admin/v1/plans', plan);
    const { accountId, ownerId } = await accountOn('given-way');
    const url = `/admin/v1/accounts/${accountId}/members/${ownerId}/limits`;
    const raised = await http.admin('PATCH', url, { daily_chat_completions: 7_000, daily_images: null });
    expect(raised.json()).toMatchObject({
      object: 'member_limits',
      member_id: ownerId,
      caps: [{ unit: 'chat_completions', limit: 7_000 }],
    });
    await http.admin('POST', '/admin/v1/plans', { ...plan, daily_chat_completions: 1, daily_images: 2 });
    await settle();
    expect(await limits(accountId, ownerId)).toEqual({ chat_completions: 7_000n });
    await http.admin('PATCH', url, { daily_images: 'plan' });
    expect(await limits(accountId, ownerId)).toEqual({ chat_completions: 7_000n, images: 2n });
    await http.admin('PATCH', url, { daily_chat_completions: 'plan' });
    expect(await limits(accountId, ownerId)).toEqual({ chat_completions: 1n, images: 2n });
    expect((await http.admin('PATCH', url.replace(ownerId, 'mem_nobody'), { daily_images: 1 })).statusCode).toBe(404);
  });

  it('cap whoever is made, or moved, while they are being changed', async () => {
    const plan = { ...LIMITED, id: 'racing' };
    await http.admin('POST', '/admin/v1/plans', plan);
    const first = await accountOn('racing');
    const work: Promise<unknown>[] = [];
    for (let round = 1; round <= 5; round++) {
      work.push(
        http.services.plans.save({ id: 'racing', name: 'Racing', apiAccess: true, dailyChatCompletions: round, dailyImages: round }),
      );
      work.push(accountOn('racing'), addMember(first.accountId));
      work.push(accountOn('limited').then(({ accountId }) => http.services.accounts.change(accountId, { planId: 'racing' })));
      work.push(settle());
    }
    await Promise.all(work);
    await settle();
    const last = await http.services.plans.get('racing');
    const members = await http.db
      .selectFrom('member')
      .innerJoin('account', 'account.id', 'member.account_id')
      .where('account.plan_id', '=', 'racing')
      .select(['member.id', 'member.account_id'])
      .execute();
    expect(members.length).toBe(16);
    for (const member of members) {
      expect(await limits(member.account_id, member.id)).toEqual({
        chat_completions: last.daily_chat_completions,
        images: last.daily_images,
      });
    }
  });
});
