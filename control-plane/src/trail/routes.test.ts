import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { connect } from '../database/connect.ts';
import { testDatabase } from '../database/testing.ts';
import { addRoute } from '../http/route.ts';
import { buildHttp } from '../http/server.ts';
import { ADMIN_TOKEN, OPERATORS, type TestHttp, testHttp } from '../http/testing.ts';

const ANSWER = z.object({ ok: z.boolean() });

/** Tables whose rows no request changes, or that only follow from those that are watched or from what the event says. */
const UNWATCHED: ReadonlySet<string> = new Set([
  // The trail, and the log of migrations.
  ...['trail_event', 'trail_change', 'schema_migration'],
  // What is published, and to whom: it follows from the rows it was made of.
  ...['config_head', 'config_log', 'config_entity', 'node', 'denial'],
  // What the catalogue file said; the names of a model, which is a row of its own.
  ...['seed_item', 'model_name'],
  // Money: what was asked for is in the event's note or in a row of credit; the ledger is a trail of its own.
  ...['ledger_transfer', 'ledger_balance', 'ledger_balance_changed', 'ledger_snapshot', 'ledger_snapshot_run', 'ledger_idempotency'],
  ...['credit_lot', 'credit_dispute_lot', 'credit_trial_address'],
  // Usage, as nodes report it; budgets and leases, as nodes use caps.
  ...['ingest_cursor', 'usage_batch', 'usage_event', 'usage_hourly', 'usage_duplicate', 'usage_dead_letter', 'usage_rating_mismatch'],
  ...['usage_uncharged_daily', 'budget', 'lease', 'lease_spool', 'lease_clock'],
  // What runs reckon; of the ladder, its steps are watched.
  ...['tier_ladder', 'tier_ladder_version', 'tier_assignment', 'tier_run', 'tier_run_spend', 'audit_run'],
  // Who a member is: it has nothing but an id.
  'person',
]);

interface Event {
  readonly id: string;
  readonly at: string;
  readonly request_id: string;
  readonly actor: { readonly kind: string; readonly id: string | null };
  readonly network: string | null;
  readonly route: string;
  readonly account_id: string | null;
  readonly subject: { readonly kind: string; readonly id: string | null };
  readonly note: Readonly<Record<string, unknown>> | null;
  readonly changes: readonly { readonly kind: string; readonly id: string; readonly before: object; readonly after: object }[];
  readonly change_count: number;
}

let http: TestHttp;
beforeAll(async () => {
  http = await testHttp();
});
afterAll(() => http.close());

/** As the bearer of a token, a moment after what was before. */
const as: TestHttp['as'] = (...call) => {
  http.clock.advance(1);
  return http.as(...call);
};
const admin: TestHttp['admin'] = (...call) => as(ADMIN_TOKEN, ...call);
const trail = async (query: string): Promise<Event[]> => (await http.admin('GET', `/admin/v1/trail?${query}`)).json().data;
const ownTrail = async (token: string, query = ''): Promise<Event[]> =>
  (await http.as(token, 'GET', `/v1/account/trail?${query}`)).json().data;
const countEvents = async () => (await sql<{ n: bigint }>`SELECT count(*) AS n FROM trail_event`.execute(http.db)).rows[0]?.n;

describe('the trail', () => {
  it('tells who, when, from which network, by which route, and what is another than before', async () => {
    const { accountId, ownerId, token } = await http.account('told');
    http.clock.advance(1_000);
    const { id } = (await as(token, 'POST', '/v1/keys', { name: 'first', caps: { daily_usd: '5' } })).json();
    http.clock.advance(1_000);
    await as(token, 'PATCH', `/v1/keys/${id}`, { name: 'second', regions: ['eu'] }, { 'x-forwarded-for': '203.0.113.77' });
    const [changed, made] = await trail(`object_id=${id}`);
    expect(changed).toEqual({
      ...{ id: expect.stringMatching(/^trl_/), object: 'trail_event', at: new Date(http.clock.nowMs()).toISOString() },
      ...{ request_id: expect.any(String), actor: { kind: 'member', id: ownerId }, network: '203.0.113.0/24', route: 'PATCH /v1/keys/:id' },
      ...{ account_id: accountId, subject: { kind: 'api_key', id }, note: null, change_count: 1 },
      changes: [
        { kind: 'api_key', id, before: { name: 'first', allowed_regions: [] }, after: { name: 'second', allowed_regions: ['eu'] } },
      ],
    });
    // The key is made by the request: its id is in the change. Of its hash only that there is one.
    expect(made?.subject).toEqual({ kind: 'api_key', id: null });
    expect(made?.changes.map(({ kind }) => kind).sort()).toEqual(['api_key', 'cap']);
    const key = made?.changes.find(({ kind }) => kind === 'api_key');
    expect(key).toMatchObject({ id, before: {}, after: { name: 'first', status: 'active', hash: 'another secret' } });
  });

  it('names operators by their tokens', async () => {
    const { accountId } = await http.account('named');
    const [, ada] = OPERATORS;
    await as(String(ada?.token), 'PATCH', `/admin/v1/accounts/${accountId}`, { name: 'by ada' });
    await admin('PATCH', `/admin/v1/accounts/${accountId}`, { name: 'by admin' });
    const events = await trail(`object_id=${accountId}&object_kind=account`);
    expect(events.map(({ actor, changes }) => [actor.id, changes[0]?.after])).toEqual([
      ['admin', { name: 'by admin' }],
      ['ada', { name: 'by ada' }],
    ]);
    expect((await trail(`account_id=${accountId}&actor=ada`)).length).toBe(1);
  });

  it('holds what was asked where no row tells it, and tokens never', async () => {
    const { accountId, ownerId } = await http.account('noted');
    const credited = await admin(
      'POST',
      `/admin/v1/accounts/${accountId}/credits`,
      { type: 'topup', amount_usd: '12.50', reference: 'wire 7' },
      { 'idempotency-key': 'noted-1' },
    );
    expect(credited.statusCode).toBe(201);
    const minted = (await admin('POST', `/admin/v1/accounts/${accountId}/tokens`, { expires_in_seconds: 60 })).json();
    const [token, credit] = await trail(`account_id=${accountId}`);
    expect(credit).toMatchObject({
      ...{ route: 'POST /admin/v1/accounts/:id/credits', subject: { kind: 'account', id: accountId } },
      note: { type: 'topup', amount_usd: '12.50', reference: 'wire 7' },
    });
    expect(token).toMatchObject({ subject: { kind: 'account_token', id: null }, note: { expires_in_seconds: 60 }, changes: [] });
    expect(minted.member_id).toBe(ownerId);
    const { rows } = await sql<{
      row: string;
    }>`SELECT to_jsonb(e)::text AS row FROM trail_event e UNION SELECT to_jsonb(c)::text FROM trail_change c`.execute(http.db);
    const whole = rows.map(({ row }) => row).join();
    for (const secret of [minted.token, ADMIN_TOKEN]) expect(whole).not.toContain(secret);
  });

  it('tells what a package and a promotion became', async () => {
    await admin('POST', '/admin/v1/packages', { id: 'told-1', price_usd: '1', bonus_percent: 5 });
    await admin('POST', '/admin/v1/packages', { id: 'told-1', price_usd: '1', bonus_percent: 50 });
    const [changed, made] = await trail('object_id=told-1');
    expect(changed?.changes).toMatchObject([{ before: { bonus_basis_points: 500 }, after: { bonus_basis_points: 5_000 } }]);
    expect(made?.changes).toMatchObject([{ kind: 'credit_package', before: {}, after: { bonus_basis_points: 500, active: true } }]);
    await admin('POST', '/admin/v1/promotions', { id: 'TOLD', amount_usd: '5' });
    expect((await trail('object_id=TOLD'))[0]?.changes).toMatchObject([{ kind: 'credit_promotion', after: { amount_nano: 5e9 } }]);
  });

  it('keeps secrets out of what it tells of credentials, keys and invites', async () => {
    const { accountId, token } = await http.account('secretive');
    await admin('POST', '/admin/v1/providers', { id: 'vault', name: 'Vault', origin: 'https://api.example.com' });
    const { id } = (await admin('POST', '/admin/v1/credentials', { provider_id: 'vault', secret: 'sk-very-secret-0001' })).json();
    await admin('PATCH', `/admin/v1/credentials/${id}`, { secret: 'sk-very-secret-0002' });
    const invite = (await as(token, 'POST', `/v1/teams/${accountId}/invites`, { role: 'member', email: 'who@example.com' })).json();
    const [rotated] = await trail(`object_id=${id}&limit=1`);
    expect(rotated?.changes[0]).toMatchObject({ before: { sealed: 'secret', last_four: '0001' }, after: { sealed: 'another secret' } });
    const { rows } = await sql<{ row: string }>`SELECT to_jsonb(c)::text AS row FROM trail_change c`.execute(http.db);
    const whole = rows.map(({ row }) => row).join();
    const { sealed } = await http.db.selectFrom('credential').select('sealed').where('id', '=', id).executeTakeFirstOrThrow();
    const { token_hash } = await http.db.selectFrom('invite').select('token_hash').where('id', '=', invite.id).executeTakeFirstOrThrow();
    const hashes = await http.db.selectFrom('api_key').select('hash').execute();
    const secrets = ['very-secret', invite.token, 'who@example.com', sealed.toString('hex'), token_hash, ...hashes.map(({ hash }) => hash)];
    for (const secret of secrets) expect(whole).not.toContain(secret);
  });

  it('has nothing of what was refused or rolled back, nor of what is only read', async () => {
    const { accountId, token } = await http.account('calm');
    const before = await countEvents();
    await as(token, 'GET', '/v1/keys');
    await as(token, 'POST', '/v1/keys', { name: '' });
    await as(token, 'PATCH', '/v1/keys/key_nothing', { name: 'x' });
    await as(token, 'DELETE', `/v1/teams/${accountId}/members/mem_nothing`);
    await admin('PATCH', `/admin/v1/accounts/${accountId}`, { plan_id: 'nothing' });
    await as('a.b.c', 'POST', '/v1/keys', { name: 'x' });
    expect(await countEvents()).toBe(before);
  });

  it('stands or falls with the change', async () => {
    const { token } = await http.account('broken');
    const { id } = (await as(token, 'POST', '/v1/keys', { name: 'kept' })).json();
    // The transaction fails after the row is changed, when it is published: nodes would have heard of a later version.
    const entity = http.db.updateTable('config_entity').where('id', '=', id);
    await entity.set({ version: 100n }).execute();
    const before = await countEvents();
    expect((await as(token, 'PATCH', `/v1/keys/${id}`, { name: 'lost' })).statusCode).toBe(500);
    expect(await countEvents()).toBe(before);
    await entity.set({ version: 1n }).execute();
    expect((await as(token, 'PATCH', `/v1/keys/${id}`, { name: 'changed' })).statusCode).toBe(200);
    const events = await trail(`object_id=${id}`);
    expect(events.map(({ changes }) => changes[0]?.after)).toEqual([{ name: 'changed' }, expect.objectContaining({ name: 'kept' })]);
  });

  it('has one event of a request that makes a thousand rows, and shows the first of them in lists', async () => {
    const data = Array.from({ length: 30 }, (_, index) => ({ id: `bulk-${index}`, name: 'b', origin: 'https://api.example.com' }));
    for (const provider of data) await admin('POST', '/admin/v1/providers', provider);
    const models = { data: data.map(({ id }) => ({ id, vendor: 'bulk' })) };
    expect((await admin('POST', '/admin/v1/models', models)).statusCode).toBe(201);
    const [event] = await trail('object_id=bulk-7&object_kind=model');
    expect(event).toMatchObject({ route: 'POST /admin/v1/models', change_count: 30 });
    expect(event?.changes.length).toBe(20);
    const whole = (await admin('GET', `/admin/v1/trail/${event?.id}`)).json();
    expect(whole.changes.map(({ id }: { id: string }) => id).sort()).toEqual(data.map(({ id }) => id).sort());
    expect((await admin('GET', '/admin/v1/trail/trl_nothing')).statusCode).toBe(404);
  });

  it('is paged newest first, and asked by time and request', async () => {
    const { accountId, token } = await http.account('paged');
    const startMs = http.clock.nowMs();
    for (let index = 0; index < 5; index++) {
      http.clock.advance(1_000);
      await as(token, 'PATCH', '/v1/account', { caps: { daily_usd: String(index + 1) } }, { 'x-request-id': `paged-${index}` });
    }
    const seen: string[] = [];
    for (let after = ''; ; ) {
      const page = (await admin('GET', `/admin/v1/trail?account_id=${accountId}&limit=2${after}`)).json();
      seen.push(...page.data.map((event: Event) => event.request_id));
      if (!page.has_more) break;
      after = `&after=${page.data.at(-1).id}`;
    }
    expect(seen).toEqual(['paged-4', 'paged-3', 'paged-2', 'paged-1', 'paged-0']);
    const at = (seconds: number) => new Date(startMs + seconds * 1_000).toISOString();
    const between = await trail(`account_id=${accountId}&from=${at(2)}&to=${at(4)}`);
    expect(between.map(({ request_id }) => request_id)).toEqual(['paged-2', 'paged-1']);
    expect((await trail('request_id=paged-3')).map(({ request_id }) => request_id)).toEqual(['paged-3']);
  });

  it('can only be added to', async () => {
    await http.account('fixed');
    for (const table of ['trail_event', 'trail_change']) {
      for (const statement of [`UPDATE ${table} SET object_kind = 'x'`, `DELETE FROM ${table}`, `TRUNCATE ${table}`]) {
        await expect(sql.raw(statement).execute(http.db)).rejects.toThrow(/permission denied/);
      }
    }
  });
});

describe("an account's trail", () => {
  it('shows its owner what members and operators did, without the names of operators', async () => {
    const { accountId, ownerId, token } = await http.account('own');
    await as(token, 'PATCH', '/v1/account', { caps: { daily_usd: '1' } });
    await admin('POST', `/admin/v1/accounts/${accountId}/credits`, { type: 'grant', amount_usd: '1' }, { 'idempotency-key': 'own-1' });
    await admin('POST', `/admin/v1/accounts/${accountId}/disable`);
    await admin('POST', `/admin/v1/accounts/${accountId}/enable`);
    const events = await ownTrail(token);
    expect(events.map(({ actor, route, network, note }) => [actor, route.split(' ')[1], network, note])).toEqual([
      [{ kind: 'operator', id: null }, '/admin/v1/accounts/:id/enable', null, null],
      [{ kind: 'operator', id: null }, '/admin/v1/accounts/:id/disable', null, null],
      [{ kind: 'operator', id: null }, '/admin/v1/accounts/:id/credits', null, null],
      [{ kind: 'member', id: ownerId }, '/v1/account', '127.0.0.0/24', null],
    ]);
    expect(await Promise.all([ownTrail(token, 'actor=admin'), ownTrail(token, `actor=${ownerId}`)])).toEqual([[], [events[3]]]);
    expect(events[1]?.changes).toEqual([{ kind: 'account', id: accountId, before: { status: 'active' }, after: { status: 'disabled' } }]);
  });

  it('tells of nobody else: neither of another account, nor who somebody is there', async () => {
    const host = await http.account('host');
    const guest = await http.account('guest');
    const { token: invite } = (await as(host.token, 'POST', `/v1/teams/${host.accountId}/invites`, { role: 'member' })).json();
    const joined = (await as(guest.token, 'POST', `/v1/invites/${invite}/accept`)).json();
    const [seen] = await ownTrail(host.token);
    expect(seen).toMatchObject({ actor: { kind: 'member', id: null }, network: null, route: 'POST /v1/invites/:token/accept' });
    expect(seen?.changes.map(({ kind }) => kind).sort()).toEqual(['invite', 'member']);
    expect(JSON.stringify(seen)).not.toContain(guest.accountId);
    expect(JSON.stringify(seen)).not.toContain(guest.ownerId);
    expect(JSON.stringify(seen)).not.toContain(invite);
    const [own] = await ownTrail(guest.token);
    expect(own).toMatchObject({ actor: { id: guest.ownerId }, changes: [], change_count: 0 });
    expect(JSON.stringify(own)).not.toContain(joined.member_id);
    expect(await ownTrail((await http.account('stranger')).token)).toEqual([]);
    // Nor is what happened elsewhere found by its kind or its name.
    expect((await ownTrail(host.token, 'object_kind=member')).length).toBe(1);
    expect(await ownTrail(guest.token, `object_id=${joined.member_id}`)).toEqual([]);
    expect(await ownTrail(guest.token, 'object_kind=invite')).toEqual([]);
  });
});

describe('what changes something', () => {
  it('does not start without saying what', async () => {
    const server = buildHttp({
      ...{ productName: 'Meridian', version: '0', logger: false, newRequestId: () => 'request', trustedProxies: [] },
      ...{ sessions: http.services.sessions, trail: http.services.trail, accountRoutes: [] },
      operatorRoutes: [
        (app) =>
          addRoute(app, { method: 'POST', url: '/admin/v1/silent', summary: 'Says nothing.', answer: ANSWER }, async () => ({ ok: true })),
      ],
    });
    await expect(server.ready()).rejects.toThrow('POST /admin/v1/silent does not say in `trail` what it changes');
  });

  it('says so of every table that the API changes, or the table has its reason not to be watched', async () => {
    const { rows } = await sql<{ name: string; watched: boolean }>`
      SELECT c.relname AS name, EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'trail') AS watched
      FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition`.execute(http.db);
    expect(rows.filter(({ name, watched }) => watched === UNWATCHED.has(name)).map(({ name }) => name)).toEqual([]);
  });

  it('tells of no column that holds a secret', async () => {
    const { rows } = await sql<{ name: string; secrets: string }>`
      SELECT c.relname || '.' || a.attname AS name, split_part(encode(t.tgargs, 'escape'), '\\000', 2) AS secrets
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
      WHERE t.tgname = 'trail' AND (a.attname ~ '(hash|secret|sealed|token|password)$' OR a.atttypid = 'bytea'::regtype)`.execute(http.db);
    expect(rows.length).toBeGreaterThanOrEqual(3);
    expect(rows.filter(({ name, secrets }) => !secrets.split(',').includes(name.split('.')[1] ?? ''))).toEqual([]);
  });
});

it('makes partitions ahead, and does without', async () => {
  const database = await testDatabase();
  const db = connect(database.url, { maxConnections: 1 });
  const made = async () =>
    (await sql<{ made: number }>`SELECT make_trail_partitions('2026-07-15T00:00:00Z', 2) AS made`.execute(db)).rows[0]?.made;
  await sql`INSERT INTO trail_change (at, event_id, changed_at, object_kind, object_id, before, after)
    VALUES ('2026-08-02T00:00:00Z', 'trl_1', now(), 'plan', 'p', '{}', '{}')`.execute(db);
  expect([await made(), await made()]).toEqual([6, 0]);
  const { rows } = await sql<{ part: string }>`SELECT tableoid::regclass::text AS part FROM trail_change`.execute(db);
  expect(rows).toEqual([{ part: 'trail_change_20260801' }]);
  await expect(sql`UPDATE trail_change_20260801 SET object_kind = 'x'`.execute(db)).rejects.toThrow(/permission denied/);
  await db.destroy();
  await database.drop();
});
