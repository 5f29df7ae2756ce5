import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';
import { MAX_NEW_INVITES_PER_ACCOUNT_PER_DAY, MAX_OPEN_INVITES_PER_ACCOUNT } from './invite.ts';
import { MAX_ACCOUNTS_OWNED_PER_PERSON } from './team.ts';

const DAY_MS = 86_400_000;

interface Person {
  readonly memberId: string;
  readonly token: string;
}

let http: TestHttp;
beforeAll(async () => {
  http = await testHttp();
});
afterAll(() => http.close());

/** A team with an owner, an admin and a member, each with a token of this account. */
async function team() {
  const { accountId, ownerId, token } = await http.account('team');
  const owner: Person = { memberId: ownerId, token };
  return { id: accountId, owner, admin: await http.member(accountId, 'admin'), member: await http.member(accountId, 'member') };
}

/** Somebody with an account of their own. */
async function somebody(name = 'somebody'): Promise<Person> {
  const { ownerId, token } = await http.account(name);
  return { memberId: ownerId, token };
}

async function call(who: Person, method: 'GET' | 'POST' | 'PATCH' | 'DELETE', url: string, body?: unknown) {
  const answer = await http.as(who.token, method, url, body);
  return { ...answer.json(), answered: answer.statusCode };
}

async function invited(to: { readonly id: string; readonly owner: Person }, body: object = { role: 'member' }): Promise<string> {
  return (await call(to.owner, 'POST', `/v1/teams/${to.id}/invites`, body)).token;
}

describe('teams', () => {
  it('are made by anybody, who owns them, and are accounts with a plan, a tier and a wallet', async () => {
    const founder = await somebody('founder');
    const endsAtMs = Math.floor(http.clock.nowMs() / 1000) * 1000 + 3_600_000;
    http.clock.advance(1_234);
    const made = await call(founder, 'POST', '/v1/teams', { name: 'Founders' });
    expect(made).toMatchObject({ answered: 201, object: 'team', name: 'Founders', plan_id: 'starter', role: 'owner' });
    const listed = (await call(founder, 'GET', '/v1/teams')).data;
    expect(listed.map((one: { name: string }) => one.name)).toEqual(['Founders', 'founder']);
    const page = await call(founder, 'GET', '/v1/teams?limit=1');
    expect([page.data.length, page.has_more]).toEqual([1, true]);
    expect((await call(founder, 'GET', `/v1/teams?limit=1&after=${page.data[0].id}`)).data[0].name).toBe('founder');
    const { token, expires_at, member_id } = await call(founder, 'POST', `/v1/teams/${made.id}/tokens`);
    // It ends with the token that asked for it.
    expect(expires_at).toBe(new Date(endsAtMs).toISOString());
    const me = (await http.as(token, 'GET', '/v1/me')).json();
    expect(me).toMatchObject({ account: { id: made.id }, member: { id: member_id, role: 'owner' }, balance: { balance_usd: '0.00' } });
    const lanes = (await published(http.db, made.id)).map(({ lane, entry }) => `${lane} ${entry.kind}`);
    expect(lanes.sort()).toEqual(['customer account', 'customer tier_assignment']);
  });

  it('are owned by a person only so many at a time', async () => {
    const founder = await somebody();
    for (let count = 1; count < MAX_ACCOUNTS_OWNED_PER_PERSON; count++) {
      expect((await call(founder, 'POST', '/v1/teams', { name: `t${count}` })).answered).toBe(201);
    }
    const refused = await call(founder, 'POST', '/v1/teams', { name: 'one more' });
    expect([refused.answered, refused.error.code]).toEqual([409, 'conflict']);
  });

  it('are the same account with a token of it and with one of another account of the person', async () => {
    const founder = await somebody();
    const { id, member_id } = await call(founder, 'POST', '/v1/teams', { name: 'mine' });
    const { token } = await call(founder, 'POST', `/v1/teams/${id}/tokens`);
    await call(founder, 'PATCH', `/v1/teams/${id}`, { name: 'renamed', caps: { monthly_usd: '12' } });
    const account = (await http.as(token, 'GET', '/v1/account')).json();
    expect(account).toMatchObject({ id, name: 'renamed', caps: [{ limit_usd: '12.00' }], members: [{ id: member_id }] });
    expect(await call({ memberId: member_id, token }, 'GET', `/v1/teams/${id}`)).toEqual(await call(founder, 'GET', `/v1/teams/${id}`));
  });

  it('let admins set the caps of members, and nobody their own beyond them', async () => {
    const { id, admin, member } = await team();
    const path = `/v1/teams/${id}/members/${member.memberId}`;
    const capped = await call(admin, 'PATCH', path, { caps: { daily_usd: '3' } });
    expect(capped.caps).toMatchObject([{ scope: 'member', limit_usd: '3.00' }]);
    expect((await call(member, 'PATCH', path, { caps: { daily_usd: null } })).answered).toBe(403);
    expect((await call(member, 'GET', path)).caps).toMatchObject([{ limit_usd: '3.00' }]);
  });

  it('let a member lower, and neither raise nor remove, what an admin has set on a key of theirs', async () => {
    const { admin, member } = await team();
    const { id } = await call(member, 'POST', '/v1/keys', { name: 'k', caps: { daily_usd: '50', daily_images: 9 } });
    const set = async (who: Person, caps: object) => {
      const { answered, error, caps: now } = await call(who, 'PATCH', `/v1/keys/${id}`, { caps });
      return answered === 200
        ? now.map((cap: { limit_usd?: string; limit?: number }) => cap.limit_usd ?? cap.limit)
        : [answered, error.param];
    };
    // Their own caps are theirs.
    expect(await set(member, { daily_usd: '60', daily_images: null })).toEqual(['60.00']);
    expect(await set(admin, { daily_usd: '5' })).toEqual(['5.00']);
    expect(await set(member, { daily_usd: '5.000000001' })).toEqual([403, 'caps.daily_usd']);
    expect(await set(member, { daily_usd: null })).toEqual([403, 'caps.daily_usd']);
    expect(await set(member, { daily_usd: '2' })).toEqual(['2.00']);
    expect(await set(member, { daily_usd: '5', monthly_usd: '7' })).toEqual(['5.00', '7.00']);
    // One refused leaves the others as they were.
    expect(await set(member, { monthly_usd: '8', daily_usd: '6' })).toEqual([403, 'caps.daily_usd']);
    expect(await set(member, { monthly_usd: null })).toEqual(['5.00']);
    expect(await set(admin, { daily_usd: '1' })).toEqual(['1.00']);
    expect(await set(member, { daily_usd: '5' })).toEqual([403, 'caps.daily_usd']);
    expect(await set(admin, { daily_usd: null })).toEqual([]);
    expect(await set(member, { daily_usd: '100' })).toEqual(['100.00']);
  });
});

describe('owners', () => {
  it('are made, changed and removed by owners only', async () => {
    const { id, owner, admin, member } = await team();
    const path = (who: Person) => `/v1/teams/${id}/members/${who.memberId}`;
    const status = async (by: Person, method: 'PATCH' | 'DELETE', of: Person, body?: object) =>
      (await call(by, method, path(of), body)).answered;
    expect(await status(admin, 'PATCH', member, { role: 'owner' })).toBe(403);
    expect(await status(admin, 'PATCH', admin, { role: 'owner' })).toBe(403);
    expect(await status(admin, 'PATCH', owner, { role: 'member' })).toBe(403);
    expect(await status(admin, 'PATCH', owner, { status: 'disabled' })).toBe(403);
    expect(await status(admin, 'PATCH', owner, { name: 'x' })).toBe(403);
    expect(await status(admin, 'DELETE', owner)).toBe(403);
    expect((await call(admin, 'POST', `/v1/teams/${id}/invites`, { role: 'owner' })).error.param).toBe('role');
    expect((await call(owner, 'PATCH', path(member), { role: 'owner' })).role).toBe('owner');
    expect(await status(member, 'DELETE', owner)).toBe(200);
  });

  it.each([
    ['leave', 'DELETE', undefined],
    ['become a member', 'PATCH', { role: 'member' }],
    ['be disabled', 'PATCH', { status: 'disabled' }],
  ] as const)('cannot %s as long as there is no other who can act', async (_, method, body) => {
    const { id, owner, member } = await team();
    const own = `/v1/teams/${id}/members/${owner.memberId}`;
    const refused = await call(owner, method, own, body);
    expect([refused.answered, refused.error.code]).toEqual([422, 'invalid_state']);
    await call(owner, 'PATCH', `/v1/teams/${id}/members/${member.memberId}`, { role: 'owner' });
    await call(owner, 'PATCH', `/v1/teams/${id}/members/${member.memberId}`, { status: 'disabled' });
    expect((await call(owner, method, own, body)).answered).toBe(422);
    await call(owner, 'PATCH', `/v1/teams/${id}/members/${member.memberId}`, { status: 'active' });
    expect((await call(owner, method, own, body)).answered).toBe(200);
  });

  it('cannot be made members by an operator where no other is left', async () => {
    const { id, owner, member } = await team();
    const change = (who: Person, body: object) => http.admin('PATCH', `/admin/v1/accounts/${id}/members/${who.memberId}`, body);
    expect((await change(owner, { role: 'billing' })).statusCode).toBe(422);
    await change(member, { role: 'owner' });
    expect((await change(owner, { role: 'billing' })).statusCode).toBe(200);
  });

  it('who demote each other at the same moment leave one', async () => {
    const { id, owner, member } = await team();
    await call(owner, 'PATCH', `/v1/teams/${id}/members/${member.memberId}`, { role: 'owner' });
    const answers = await Promise.all([
      call(owner, 'PATCH', `/v1/teams/${id}/members/${member.memberId}`, { role: 'member' }),
      call(member, 'PATCH', `/v1/teams/${id}/members/${owner.memberId}`, { role: 'member' }),
    ]);
    // Whoever came second is no owner any more.
    expect(answers.map(({ answered }) => answered).sort()).toEqual([200, 403]);
    const left = await http.services.accounts.listMembers(id);
    expect(left.filter(({ role }) => role === 'owner').length).toBe(1);
  });

  it('hand a team over in one step', async () => {
    const { id, owner, admin, member } = await team();
    const url = `/v1/teams/${id}/transfer`;
    expect((await call(owner, 'POST', url, { member_id: owner.memberId })).answered).toBe(422);
    expect((await call(owner, 'POST', url, { member_id: 'mem_nothing' })).answered).toBe(404);
    await call(owner, 'PATCH', `/v1/teams/${id}/members/${admin.memberId}`, { status: 'disabled' });
    expect((await call(owner, 'POST', url, { member_id: admin.memberId })).answered).toBe(422);
    expect(await call(owner, 'POST', url, { member_id: member.memberId })).toMatchObject({
      answered: 200,
      id: member.memberId,
      role: 'owner',
    });
    expect((await call(owner, 'POST', url, { member_id: owner.memberId })).answered).toBe(403);
    const { data } = await call(member, 'GET', `/v1/teams/${id}/members`);
    const roleOf = (who: Person) => data.find((one: { id: string }) => one.id === who.memberId)?.role;
    expect([owner, admin, member].map(roleOf)).toEqual(['admin', 'admin', 'owner']);
  });
});

describe('a member who is removed', () => {
  it('is out at once with all keys, in one step on SECURITY, and is in no list', async () => {
    const { id, admin, member } = await team();
    const keys = [await call(member, 'POST', '/v1/keys', { name: 'a' }), await call(member, 'POST', '/v1/keys', { name: 'b' })];
    const gone = await call(admin, 'DELETE', `/v1/teams/${id}/members/${member.memberId}`);
    expect(gone).toEqual({ answered: 200, id: member.memberId, object: 'member', deleted: true, revoked_keys: 2, rev: expect.any(Number) });
    expect((await call(member, 'GET', '/v1/account')).answered).toBe(401);
    for (const { key, id: keyId } of keys) {
      expect((await http.as(key, 'GET', '/v1/me')).json().error.code).toBe('invalid_api_key');
      const last = (await published(http.db, keyId)).at(-1);
      expect([last?.lane, last?.entry.body?.kind === 'api_key' && last.entry.body.value.status]).toEqual(['security', 'revoked']);
    }
    const last = (await published(http.db, member.memberId)).at(-1);
    expect([last?.lane, last?.entry.body?.kind === 'member' && last.entry.body.value.status]).toEqual(['security', 'disabled']);
    const ids = async (url: string) => (await http.as(admin.token, 'GET', url)).json();
    expect(JSON.stringify([await ids('/v1/account'), await ids(`/v1/teams/${id}/members`)])).not.toContain(member.memberId);
    expect((await call(admin, 'DELETE', `/v1/teams/${id}/members/${member.memberId}`)).answered).toBe(404);
    // Not even an operator brings somebody back.
    expect((await http.admin('PATCH', `/admin/v1/accounts/${id}/members/${member.memberId}`, { status: 'active' })).statusCode).toBe(404);
  });

  it('gets no key that was asked for before', async () => {
    const { id, member, owner } = await team();
    const removed = call(owner, 'DELETE', `/v1/teams/${id}/members/${member.memberId}`);
    const asked = Array.from({ length: 5 }, () => call(member, 'POST', '/v1/keys', { name: 'late' }));
    await Promise.all([removed, ...asked]);
    const { data } = await call(owner, 'GET', '/v1/keys');
    expect(
      data.filter((key: { member_id: string; status: string }) => key.member_id === member.memberId && key.status === 'active'),
    ).toEqual([]);
  });

  it('may leave without a word of anybody, and come back by another invite as somebody new', async () => {
    const it = await team();
    const guest = await somebody('guest');
    const { member_id } = await call(guest, 'POST', `/v1/invites/${await invited(it)}/accept`);
    expect((await call(guest, 'DELETE', `/v1/teams/${it.id}/members/${it.member.memberId}`)).answered).toBe(404);
    expect((await call(guest, 'DELETE', `/v1/teams/${it.id}/members/${member_id}`)).answered).toBe(200);
    expect((await call(guest, 'GET', `/v1/teams/${it.id}`)).answered).toBe(404);
    const again = await call(guest, 'POST', `/v1/invites/${await invited(it)}/accept`);
    expect([again.answered, again.member_id === member_id]).toEqual([200, false]);
  });
});

describe('invites', () => {
  it('make whoever opens them first a member with their role, once', async () => {
    const it = await team();
    const [first, second] = [await somebody('first'), await somebody('second')];
    const made = await call(it.admin, 'POST', `/v1/teams/${it.id}/invites`, { role: 'billing', email: 'first@example.com' });
    expect(made).toMatchObject({
      ...{ answered: 201, object: 'invite', account_id: it.id, role: 'billing', email: 'first@example.com', member_id: null },
      ...{ invited_by: it.admin.memberId, expires_at: new Date(http.clock.nowMs() + 7 * DAY_MS).toISOString() },
    });
    expect(made.token).toMatch(/^inv-[0-9A-Za-z]{33}$/);
    expect(made.url).toBe(`/v1/invites/${made.token}/accept`);
    const joined = await call(first, 'POST', made.url);
    expect(joined).toMatchObject({ answered: 200, object: 'team', id: it.id, role: 'billing' });
    expect((await published(http.db, joined.member_id)).map(({ lane }) => lane)).toEqual(['customer']);
    for (const who of [first, second]) {
      const refused = await call(who, 'POST', `/v1/invites/${made.token}/accept`);
      expect([refused.answered, refused.error.code]).toEqual([409, 'conflict']);
    }
    const read = (await http.as(it.owner.token, 'GET', `/v1/teams/${it.id}/invites/${made.id}`)).json();
    expect([read.status, read.member_id]).toEqual(['accepted', joined.member_id]);
    expect((await http.as(it.owner.token, 'GET', `/v1/teams/${it.id}/invites`)).body).not.toContain(made.token);
    expect(JSON.stringify(await http.db.selectFrom('invite').selectAll().execute())).not.toContain(made.token);
  });

  it('are used up by one of two who open them at the same moment', async () => {
    const it = await team();
    const token = await invited(it);
    const people = [await somebody(), await somebody(), await somebody()];
    const statuses = (await Promise.all(people.map((who) => call(who, 'POST', `/v1/invites/${token}/accept`)))).map(
      ({ answered }) => answered,
    );
    expect(statuses.sort()).toEqual([200, 409, 409]);
  });

  it('end with their time, with a word, and with the right of whoever made them', async () => {
    const it = await team();
    const guest = await somebody('late');
    const tries = async (token: string) => {
      const { answered, error } = await call(guest, 'POST', `/v1/invites/${token}/accept`);
      return [answered, error?.code];
    };
    const url = `/v1/teams/${it.id}/invites`;
    const brief = await call(it.owner, 'POST', url, { role: 'member', expires_at: new Date(http.clock.nowMs() + 60_000).toISOString() });
    const revoked = await call(it.owner, 'POST', url, { role: 'member' });
    const admins = await call(it.admin, 'POST', url, { role: 'admin' });
    const statusOf = async ({ id }: { id: string }) => (await http.as(it.owner.token, 'GET', `${url}/${id}`)).json().status;
    expect(await Promise.all([brief, revoked, admins].map(statusOf))).toEqual(['open', 'open', 'open']);
    expect((await call(it.owner, 'DELETE', `${url}/${revoked.id}`)).deleted).toBe(true);
    expect((await call(it.owner, 'DELETE', `${url}/${revoked.id}`)).deleted).toBe(true);
    await call(it.owner, 'DELETE', `/v1/teams/${it.id}/members/${it.admin.memberId}`);
    http.clock.advance(60_000);
    expect(await Promise.all([brief, revoked, admins].map(statusOf))).toEqual(['expired', 'revoked', 'revoked']);
    for (const { token } of [brief, revoked, admins]) expect(await tries(token)).toEqual([422, 'invalid_state']);
    expect(await tries(`${brief.token.slice(0, -1)}${brief.token.endsWith('0') ? '1' : '0'}`)).toEqual([404, 'not_found']);
    expect(await tries('nothing')).toEqual([404, 'not_found']);
    await http.admin('POST', `/admin/v1/accounts/${it.id}/disable`);
    await http.admin('POST', `/admin/v1/accounts/${it.id}/enable`);
    const used = await call(it.owner, 'POST', url, { role: 'member' });
    await call(guest, 'POST', `/v1/invites/${used.token}/accept`);
    expect((await call(it.owner, 'DELETE', `${url}/${used.id}`)).answered).toBe(422);
  });

  it('let nobody into an account that is disabled, nor back in who is disabled there', async () => {
    const it = await team();
    const guest = await somebody();
    const { member_id } = await call(guest, 'POST', `/v1/invites/${await invited(it)}/accept`);
    const other = await invited(it);
    await call(it.owner, 'PATCH', `/v1/teams/${it.id}/members/${member_id}`, { status: 'disabled' });
    for (const below of ['', '/members']) expect((await call(guest, 'GET', `/v1/teams/${it.id}${below}`)).answered).toBe(404);
    expect((await call(guest, 'POST', `/v1/invites/${other}/accept`)).answered).toBe(409);
    await call(it.owner, 'PATCH', `/v1/teams/${it.id}/members/${member_id}`, { status: 'active' });
    expect((await call(guest, 'GET', `/v1/teams/${it.id}/members`)).answered).toBe(200);
    await http.admin('POST', `/admin/v1/accounts/${it.id}/disable`);
    expect((await call(guest, 'GET', `/v1/teams/${it.id}/members`)).answered).toBe(404);
    expect((await call(await somebody(), 'POST', `/v1/invites/${other}/accept`)).answered).toBe(422);
  });

  it.each([
    ['a time that has passed', (nowMs: number) => ({ role: 'member', expires_at: new Date(nowMs).toISOString() }), 'expires_at'],
    [
      'more than 30 days',
      (nowMs: number) => ({ role: 'member', expires_at: new Date(nowMs + 30 * DAY_MS + 1).toISOString() }),
      'expires_at',
    ],
    ['the role of an owner', () => ({ role: 'owner' }), 'role'],
    ['an address that is none', () => ({ role: 'member', email: 'nobody' }), 'email'],
  ])('are refused with %s', async (_, bodyOf, param) => {
    const it = await team();
    const refused = await call(it.owner, 'POST', `/v1/teams/${it.id}/invites`, bodyOf(http.clock.nowMs()));
    expect([refused.answered, refused.error.param]).toEqual([400, param]);
  });

  it('are open only so many at a time, and made only so many a day', async () => {
    const it = await team();
    const url = `/v1/teams/${it.id}/invites`;
    const make = () => call(it.owner, 'POST', url, { role: 'member' });
    const fill = async (count: number) => {
      const ids: string[] = [];
      for (let made = 0; made < count; made++) ids.push((await make()).id);
      return ids;
    };
    let made = await fill(MAX_OPEN_INVITES_PER_ACCOUNT);
    const full = await make();
    expect([full.answered, full.error.code]).toEqual([409, 'conflict']);
    for (let total = MAX_OPEN_INVITES_PER_ACCOUNT; total < MAX_NEW_INVITES_PER_ACCOUNT_PER_DAY; total += made.length) {
      await http.db
        .updateTable('invite')
        .set({ revoked_at: new Date(http.clock.nowMs()) })
        .where('id', 'in', made)
        .execute();
      made = await fill(Math.min(MAX_OPEN_INVITES_PER_ACCOUNT, MAX_NEW_INVITES_PER_ACCOUNT_PER_DAY - total));
    }
    await http.db
      .updateTable('invite')
      .set({ revoked_at: new Date(http.clock.nowMs()) })
      .where('id', 'in', made)
      .execute();
    http.clock.advance(1_000);
    const answer = await http.as(it.owner.token, 'POST', url, { role: 'member' });
    expect([answer.statusCode, answer.json().error.code, answer.headers['retry-after']]).toEqual([429, 'rate_limit_exceeded', '86399']);
  });
});
