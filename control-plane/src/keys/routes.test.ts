import { hashApiKey, isWellFormedApiKey } from '@meridian/domain/api-key';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../database/connect.ts';
import { KEY_PREFIX, PEPPER, type TestHttp, testHttp } from '../http/testing.ts';
import { published } from '../snapshots/published.ts';

describe('/v1/keys', () => {
  let http: TestHttp;
  beforeAll(async () => {
    http = await testHttp();
    await http.admin('POST', '/admin/v1/models', { id: 'gpt-5.4', vendor: 'openai' });
  });
  afterAll(() => http.close());

  it('shows a key once, stores only its keyed hash, and publishes it on CUSTOMER', async () => {
    const { accountId, ownerId, token } = await http.account('one');
    const made = await http.as(token, 'POST', '/v1/keys', {
      name: 'laptop',
      expires_at: '2027-01-01T00:00:00Z',
      models: ['openai/gpt-5.4'],
      regions: ['us'],
      rate_limits: { requests_per_minute: 60, concurrency: 5 },
    });
    expect(made.statusCode).toBe(201);
    const { key, ...shown } = made.json();
    expect(isWellFormedApiKey(KEY_PREFIX, key)).toBe(true);
    expect(shown).toEqual({
      id: expect.stringMatching(/^key_/),
      object: 'api_key',
      prefix: key.slice(0, KEY_PREFIX.length + 4),
      name: 'laptop',
      status: 'active',
      member_id: ownerId,
      models: ['gpt-5.4'],
      regions: ['us'],
      rate_limits: { requests_per_minute: 60, concurrency: 5 },
      model_rate_limits: null,
      expires_at: '2027-01-01T00:00:00.000Z',
      caps: [],
      created_at: '2026-07-01T12:00:00.000Z',
    });
    expect((await http.as(token, 'GET', `/v1/keys/${shown.id}`)).json()).toEqual(shown);
    const slower = { rate_limits: null, model_rate_limits: { tokens_per_minute: 1_000 } };
    const { accountId: _, ...other } = await http.account('other');
    const mine = (await http.as(other.token, 'POST', '/v1/keys', { name: 'k', rate_limits: { concurrency: 1 } })).json();
    expect((await http.as(other.token, 'PATCH', `/v1/keys/${mine.id}`, slower)).json()).toMatchObject(slower);
    expect((await http.as(other.token, 'PATCH', `/v1/keys/${mine.id}`, { name: 'renamed' })).json()).toMatchObject(slower);
    expect((await http.as(token, 'GET', '/v1/keys')).body).not.toContain(key);
    const row = await http.db.selectFrom('api_key').selectAll().where('id', '=', shown.id).executeTakeFirstOrThrow();
    expect(row.hash).toBe(hashApiKey(PEPPER, key));
    expect(JSON.stringify(row)).not.toContain(key);
    const [first, ...more] = await published(http.db, shown.id);
    expect(more).toEqual([]);
    expect(first?.lane).toBe('customer');
    expect(first?.entry.body).toEqual({
      kind: 'api_key',
      value: {
        id: shown.id,
        accountId,
        memberId: ownerId,
        name: 'laptop',
        hash: row.hash,
        status: 'active',
        expiresAtMs: Date.UTC(2027, 0, 1),
        allowedModels: ['gpt-5.4'],
        allowedRegions: ['us'],
        rateLimits: { requestsPerMinute: 60, concurrency: 5 },
      },
    });
  });

  it('revokes on SECURITY and answers with the rev; again, it is no error', async () => {
    const { token } = await http.account('revoker');
    const { id } = (await http.as(token, 'POST', '/v1/keys', { name: 'k' })).json();
    const revoked = await http.as(token, 'DELETE', `/v1/keys/${id}`);
    expect(revoked.json()).toEqual({ id, object: 'api_key', deleted: true, rev: expect.any(Number) });
    const log = await published(http.db, id);
    expect(log.map((one) => one.lane)).toEqual(['customer', 'security']);
    expect(log[1]).toMatchObject({ rev: revoked.json().rev, entry: { version: 2, body: { value: { status: 'revoked' } } } });
    const again = await http.as(token, 'DELETE', `/v1/keys/${id}`);
    expect(again.statusCode).toBe(200);
    expect(again.json().rev).toBeGreaterThan(revoked.json().rev);
    expect((await http.as(token, 'GET', '/v1/keys')).json().data).toEqual([]);
    expect((await http.as(token, 'GET', '/v1/keys?include_revoked=true')).json().data).toMatchObject([{ id, status: 'revoked' }]);
    const changed = await http.as(token, 'PATCH', `/v1/keys/${id}`, { name: 'back' });
    expect([changed.statusCode, changed.json().error.code]).toEqual([422, 'invalid_state']);
  });

  it('refuses the eleventh active key of a member, also when they are asked for at once, and counts each member apart', async () => {
    const { accountId, token } = await http.account('many');
    const first = (await http.as(token, 'POST', '/v1/keys', { name: 'first' })).json();
    for (let index = 0; index < 8; index++) await http.as(token, 'POST', '/v1/keys', { name: `k${index}` });
    // All five are under way before any may finish: the head that each publishes on is held.
    const asked: ReturnType<TestHttp['as']>[] = [];
    await http.db.transaction().execute(async (trx) => {
      await trx.selectFrom('config_head').selectAll().forUpdate().execute();
      for (let index = 0; index < 5; index++) asked.push(http.as(token, 'POST', '/v1/keys', { name: 'tenth' }));
      for (const answer of asked) answer.catch(() => {});
      await untilWaitingForLocks(http.db, 5);
    });
    const answers = await Promise.all(asked);
    const refused = answers.filter((answer) => answer.statusCode !== 201);
    expect(refused.map((answer) => [answer.statusCode, answer.json().error.code])).toEqual(Array(4).fill([409, 'conflict']));
    const other = await http.member(accountId, 'member');
    expect((await http.as(other.token, 'POST', '/v1/keys', { name: 'theirs' })).statusCode).toBe(201);
    await http.as(token, 'DELETE', `/v1/keys/${first.id}`);
    expect((await http.as(token, 'POST', '/v1/keys', { name: 'in its place' })).statusCode).toBe(201);
  });

  it('does not count expired keys, and shows them as expired', async () => {
    const { token } = await http.account('expiring');
    const expires_at = new Date(http.clock.nowMs() + 1_000).toISOString();
    for (let index = 0; index < 10; index++) await http.as(token, 'POST', '/v1/keys', { name: 'brief', expires_at });
    expect((await http.as(token, 'POST', '/v1/keys', { name: 'x' })).statusCode).toBe(409);
    http.clock.advance(1_000);
    expect((await http.as(token, 'POST', '/v1/keys', { name: 'x' })).statusCode).toBe(201);
    const statuses = (await http.as(token, 'GET', '/v1/keys')).json().data.map((key: { status: string }) => key.status);
    expect(statuses).toEqual(['active', ...Array(10).fill('expired')]);
  });

  it('changes terms; what restricts a key goes out on SECURITY', async () => {
    const { token } = await http.account('changer');
    const { id } = (await http.as(token, 'POST', '/v1/keys', { name: 'k' })).json();
    const renamed = await http.as(token, 'PATCH', `/v1/keys/${id}`, { name: 'renamed' });
    expect(renamed.json()).toMatchObject({ name: 'renamed', models: [], regions: [], expires_at: null });
    const bound = await http.as(token, 'PATCH', `/v1/keys/${id}`, { regions: ['eu'], models: ['gpt-5-4'] });
    expect(bound.json()).toMatchObject({ name: 'renamed', models: ['gpt-5.4'], regions: ['eu'] });
    const freed = await http.as(token, 'PATCH', `/v1/keys/${id}`, { regions: [], models: [], expires_at: null });
    expect(freed.json()).toMatchObject({ models: [], regions: [], expires_at: null });
    const log = await published(http.db, id);
    expect(log.map((one) => [one.entry.version, one.lane])).toEqual([
      [1, 'customer'],
      [2, 'customer'],
      [3, 'security'],
      [4, 'security'],
    ]);
  });

  it('pages newest first', async () => {
    const { token } = await http.account('pager');
    const made: string[] = [];
    for (let index = 0; index < 5; index++) {
      http.clock.advance(1);
      made.unshift((await http.as(token, 'POST', '/v1/keys', { name: `k${index}` })).json().id);
    }
    const seen: string[] = [];
    let after = '';
    for (const more of [true, true, false]) {
      const page = (await http.as(token, 'GET', `/v1/keys?limit=2${after}`)).json();
      expect(page.has_more).toBe(more);
      seen.push(...page.data.map((key: { id: string }) => key.id));
      after = `&after=${seen.at(-1)}`;
    }
    expect(seen).toEqual(made);
  });

  it("hides one member's keys from a colleague, and one account's from another", async () => {
    const { accountId, token } = await http.account('house');
    const stranger = await http.account('stranger');
    const colleague = await http.member(accountId, 'member');
    const { id } = (await http.as(token, 'POST', '/v1/keys', { name: "owner's" })).json();
    const own = (await http.as(colleague.token, 'POST', '/v1/keys', { name: "colleague's" })).json();
    for (const outsider of [colleague.token, stranger.token]) {
      for (const [method, body] of [['GET'], ['PATCH', { name: 'mine now' }], ['DELETE']] as const) {
        expect((await http.as(outsider, method, `/v1/keys/${id}`, body)).statusCode).toBe(404);
      }
    }
    const listed = (await http.as(colleague.token, 'GET', '/v1/keys')).json().data;
    expect(listed.map((key: { id: string }) => key.id)).toEqual([own.id]);
    expect((await http.as(token, 'GET', '/v1/keys')).json().data.length).toBe(2);
    expect((await http.as(token, 'DELETE', `/v1/keys/${own.id}`)).statusCode).toBe(200);
  });

  it.each([
    ['an absent body', undefined, undefined],
    ['a body that is a list', [], undefined],
    ['no name', {}, 'name'],
    ['an empty name', { name: '  ' }, 'name'],
    ['a name of another type', { name: 7 }, 'name'],
    ['a name with control characters', { name: 'a\u0000b' }, 'name'],
    ['a field that is not there', { name: 'k', daily_cap: '5' }, 'daily_cap'],
    ['a date without a time', { name: 'k', expires_at: '2027-01-01' }, 'expires_at'],
    ['a time that has passed', { name: 'k', expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
    ['a time in the year 10000 of UTC', { name: 'k', expires_at: '9999-12-31T23:59:59-23:59' }, 'expires_at'],
    ['an unknown model', { name: 'k', models: ['gpt-5.4', 'gpt-nothing'] }, 'models[1]'],
    ['a model of another type', { name: 'k', models: [{}] }, 'models[0]'],
    ['a region that cannot be one', { name: 'k', regions: ['us', 'U S'] }, 'regions[1]'],
  ])('refuses %s with the parameter at fault', async (_, body, param) => {
    const { token } = await http.account('clumsy');
    const answer = await http.as(token, 'POST', '/v1/keys', body);
    expect(answer.statusCode).toBe(400);
    expect(answer.json().error).toEqual({
      message: expect.any(String),
      type: 'invalid_request_error',
      code: 'invalid_request_error',
      param: param ?? null,
    });
  });
});

/** Asks the server until that many of the test database's sessions wait for a lock. */
async function untilWaitingForLocks(db: Database, sessions: number): Promise<void> {
  for (;;) {
    const { rows } = await sql<{ n: bigint }>`
      SELECT count(DISTINCT pid) AS n FROM pg_locks JOIN pg_stat_activity USING (pid)
      WHERE NOT granted AND datname = current_database()`.execute(db);
    if (Number(rows[0]?.n) >= sessions) return;
  }
}
