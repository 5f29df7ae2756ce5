import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';

describe('/admin/v1/accounts/{id}/keys', () => {
  let http: TestHttp;
  beforeAll(async () => {
    http = await testHttp();
  });
  afterAll(() => http.close());

  const makeKey = async (token: string, name = 'k') => (await http.as(token, 'POST', '/v1/keys', { name })).json();

  it('lists the keys of everybody in an account, or of one member, in pages, and nothing of another account', async () => {
    const { accountId, ownerId, token } = await http.account('house');
    const colleague = await http.member(accountId, 'member');
    const first = await makeKey(token);
    const second = await makeKey(colleague.token);
    await makeKey((await http.account('stranger')).token);
    const list = async (query = '') => (await http.admin('GET', `/admin/v1/accounts/${accountId}/keys${query}`)).json();
    const all = await list();
    expect(all.data.map((key: { id: string }) => key.id).toSorted()).toEqual([first.id, second.id].toSorted());
    expect(JSON.stringify(all)).not.toContain(first.key);
    expect((await list('?limit=1')).has_more).toBe(true);
    expect((await list(`?member=${ownerId}`)).data).toMatchObject([{ id: first.id, member_id: ownerId, status: 'active' }]);
    expect((await http.admin('GET', '/admin/v1/accounts/acc_nobody/keys')).statusCode).toBe(404);
    expect((await http.as(token, 'GET', `/admin/v1/accounts/${accountId}/keys`)).statusCode).toBe(401);
  });

  it('disables a key at once, enables it again, and revokes it for good; all of it is in the trail', async () => {
    const { accountId, token } = await http.account('one');
    const { id } = await makeKey(token);
    const patch = (body: object, account = accountId) => http.admin('PATCH', `/admin/v1/accounts/${account}/keys/${id}`, body);
    const off = (await patch({ status: 'disabled' })).json();
    expect(off).toMatchObject({ id, status: 'disabled', rev: expect.any(Number) });
    // Its member can neither use it nor bring it back.
    expect((await http.as(token, 'PATCH', `/v1/keys/${id}`, { name: 'still mine' })).json().status).toBe('disabled');
    expect((await patch({ status: 'active', rate_limits: { requests_per_minute: 5 } })).json()).toMatchObject({
      status: 'active',
      rate_limits: { requests_per_minute: 5 },
    });
    expect((await patch({ rate_limits: null })).json()).toMatchObject({ status: 'active', rate_limits: null });
    expect((await patch({ status: 'revoked' })).json().status).toBe('revoked');
    expect((await patch({ status: 'revoked' })).statusCode).toBe(200);
    for (const body of [{ status: 'active' }, { status: 'disabled' }, { rate_limits: null }])
      expect((await patch(body)).statusCode).toBe(422);
    expect((await patch({ status: 'gone' })).statusCode).toBe(400);
    expect((await patch({ status: 'disabled' }, (await http.account('other')).accountId)).statusCode).toBe(404);
    const log = await published(http.db, id);
    expect(log.map(({ lane, entry }) => [lane, entry.body?.kind === 'api_key' && entry.body.value.status])).toEqual([
      ['customer', 'active'],
      ['security', 'disabled'],
      ['customer', 'disabled'],
      ['customer', 'active'],
      ['customer', 'active'],
      ['security', 'revoked'],
      ['security', 'revoked'],
    ]);
    expect(log[1]?.rev).toBe(off.rev);
    const { data } = (await http.admin('GET', `/admin/v1/trail?account_id=${accountId}&limit=100`)).json();
    const byOperator = data.filter((event: { route: string }) => event.route === 'PATCH /admin/v1/accounts/:id/keys/:key_id');
    expect(byOperator.length).toBeGreaterThanOrEqual(5);
    expect(byOperator[0]).toMatchObject({ subject: { kind: 'api_key', id }, actor: { kind: 'operator', id: 'admin' } });
  });

  it('enables no eleventh key, and none of a member who may not act', async () => {
    const { accountId, token } = await http.account('ten');
    const colleague = await http.member(accountId, 'member');
    const patch = (id: string, status: string) => http.admin('PATCH', `/admin/v1/accounts/${accountId}/keys/${id}`, { status });
    const first = await makeKey(token);
    await patch(first.id, 'disabled');
    for (let count = 0; count < 10; count++) await makeKey(token, `k${count}`);
    expect((await patch(first.id, 'active')).statusCode).toBe(409);
    const theirs = await makeKey(colleague.token);
    await patch(theirs.id, 'disabled');
    await http.admin('PATCH', `/admin/v1/accounts/${accountId}/members/${colleague.memberId}`, { status: 'disabled' });
    expect((await patch(theirs.id, 'active')).statusCode).toBe(409);
  });
});
