/** Who may do what: every route of the account API × role × whose object it is, asked of the running server. */
import type { LightMyRequestResponse } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestIdAt, settledFinal, withCredit } from '../usage/testing.ts';
import { authorizedRoutes, type Role } from './authorize.ts';
import { ADMIN_TOKEN, type TestHttp, testHttp } from './testing.ts';

const ROLES = ['owner', 'admin', 'member', 'billing'] as const satisfies readonly Role[];

interface Person {
  readonly memberId: string;
  readonly token: string;
}

/** An account with one member of each role, and another one of the role `member`. */
interface House {
  readonly accountId: string;
  readonly people: Readonly<Record<Role | 'colleague', Person>>;
}

/** An object whose id stands in a path, made for one person of a house. */
type Kind = 'account' | 'member' | 'key' | 'receipt' | 'invite' | 'token of an invite';

/** Statuses: of one's own object, of a colleague's, of another account's. One alone where a route is about no object in particular. */
type Cells = readonly [own: number, colleagues: number, foreign: number] | readonly [status: number];

interface Row {
  /** What each parameter of the path names, from left to right. */
  readonly path?: readonly Kind[];
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** May name somebody of the house that the path is about. */
  readonly body?: object | ((house: House) => object);
  /** The call uses its object up: the next one is about another house. */
  readonly spends?: true;
  /** Whose answers must not tell of a colleague's objects. */
  readonly ownOnly?: readonly Role[];
  readonly owner: Cells;
  readonly admin: Cells;
  readonly member: Cells;
  readonly billing: Cells;
}

const ALL: Cells = [200, 200, 404];
const OWN: Cells = [200, 404, 404];
/** By the role alone, whatever the object. */
const REFUSED: Cells = [403, 403, 403];
/** A team that one is not in is not there, whatever one is elsewhere. */
const REFUSED_IN_TEAM: Cells = [403, 403, 404];
const MADE: Cells = [201, 201, 404];
/** Nobody joins a team twice. */
const JOINED: Cells = [409, 409, 200];

/** Each route of the account API. A route that is served and has no row here fails the test. */
const TABLE: Readonly<Record<string, Row>> = {
  'GET /v1/me': { owner: [200], admin: [200], member: [200], billing: [200], ownOnly: ['member', 'billing'] },
  'GET /v1/regions': { owner: [200], admin: [200], member: [200], billing: [200] },
  'GET /v1/account': { owner: [200], admin: [200], member: [200], billing: [200] },
  'PATCH /v1/account': { body: { caps: { daily_usd: '5' } }, owner: [200], admin: [200], member: [403], billing: [200] },
  'GET /v1/account/trail': { owner: [200], admin: [403], member: [403], billing: [403] },
  'GET /v1/account/members/{id}': { path: ['member'], owner: ALL, admin: ALL, member: OWN, billing: OWN },
  'PATCH /v1/account/members/{id}': {
    ...{ path: ['member'], body: { caps: { daily_usd: '5' } } },
    ...{ owner: ALL, admin: ALL, member: REFUSED, billing: REFUSED },
  },
  'GET /v1/teams': { owner: [200], admin: [200], member: [200], billing: [200] },
  'POST /v1/teams': { body: { name: 'new' }, owner: [201], admin: [201], member: [201], billing: [201] },
  'GET /v1/teams/{id}': { path: ['account'], owner: ALL, admin: ALL, member: ALL, billing: ALL },
  'PATCH /v1/teams/{id}': {
    ...{ path: ['account'], body: { name: 'renamed', caps: { daily_usd: '5' } } },
    ...{ owner: ALL, admin: ALL, member: REFUSED_IN_TEAM, billing: REFUSED_IN_TEAM },
  },
  'POST /v1/teams/{id}/tokens': { path: ['account'], owner: MADE, admin: MADE, member: MADE, billing: MADE },
  'POST /v1/teams/{id}/transfer': {
    ...{ path: ['account'], body: ({ people }) => ({ member_id: people.colleague.memberId }), spends: true },
    ...{ owner: ALL, admin: REFUSED_IN_TEAM, member: REFUSED_IN_TEAM, billing: REFUSED_IN_TEAM },
  },
  'GET /v1/teams/{id}/members': { path: ['account'], owner: ALL, admin: ALL, member: ALL, billing: ALL },
  'GET /v1/teams/{id}/members/{member_id}': { path: ['account', 'member'], owner: ALL, admin: ALL, member: OWN, billing: OWN },
  'PATCH /v1/teams/{id}/members/{member_id}': {
    ...{ path: ['account', 'member'], body: { name: 'renamed', caps: { daily_usd: '5' } } },
    ...{ owner: ALL, admin: ALL, member: REFUSED_IN_TEAM, billing: REFUSED_IN_TEAM },
  },
  // The one owner there is cannot leave.
  'DELETE /v1/teams/{id}/members/{member_id}': {
    ...{ path: ['account', 'member'], spends: true, owner: [422, 200, 404], admin: ALL, member: OWN, billing: OWN },
  },
  'POST /v1/teams/{id}/invites': {
    ...{ path: ['account'], body: { role: 'member' }, owner: MADE, admin: MADE, member: REFUSED_IN_TEAM, billing: REFUSED_IN_TEAM },
  },
  'GET /v1/teams/{id}/invites': { path: ['account'], owner: ALL, admin: ALL, member: REFUSED_IN_TEAM, billing: REFUSED_IN_TEAM },
  'GET /v1/teams/{id}/invites/{invite_id}': {
    ...{ path: ['account', 'invite'], owner: ALL, admin: ALL, member: REFUSED_IN_TEAM, billing: REFUSED_IN_TEAM },
  },
  'DELETE /v1/teams/{id}/invites/{invite_id}': {
    ...{ path: ['account', 'invite'], spends: true, owner: ALL, admin: ALL, member: REFUSED_IN_TEAM, billing: REFUSED_IN_TEAM },
  },
  'POST /v1/invites/{token}/accept': {
    ...{ path: ['token of an invite'], spends: true, owner: JOINED, admin: JOINED, member: JOINED, billing: JOINED },
  },
  'POST /v1/keys': { body: { name: 'new' }, owner: [201], admin: [201], member: [201], billing: [403] },
  'GET /v1/keys': { owner: [200], admin: [200], member: [200], billing: [403], ownOnly: ['member'] },
  'GET /v1/keys/{id}': { path: ['key'], owner: ALL, admin: ALL, member: OWN, billing: REFUSED },
  'PATCH /v1/keys/{id}': { path: ['key'], body: { name: 'renamed' }, owner: ALL, admin: ALL, member: OWN, billing: REFUSED },
  'DELETE /v1/keys/{id}': { path: ['key'], spends: true, owner: ALL, admin: ALL, member: OWN, billing: REFUSED },
  'GET /v1/credits': { owner: [200], admin: [200], member: [403], billing: [200] },
  'GET /v1/credits/packages': { owner: [200], admin: [200], member: [403], billing: [200] },
  'GET /v1/credits/purchases': { owner: [200], admin: [200], member: [403], billing: [200] },
  'POST /v1/credits/promotions': {
    ...{ body: { promotion: 'welcome' }, headers: { 'idempotency-key': 'once' } },
    ...{ owner: [201], admin: [201], member: [403], billing: [201] },
  },
  'GET /v1/usage': { query: 'group_by=member', owner: [200], admin: [200], member: [200], billing: [200], ownOnly: ['member'] },
  'GET /v1/usage/requests': { owner: [200], admin: [200], member: [200], billing: [200], ownOnly: ['member'] },
  'GET /v1/usage/requests/{id}': { path: ['receipt'], owner: ALL, admin: ALL, member: OWN, billing: ALL },
};

interface Operation {
  readonly route: string;
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly audience: 'account' | 'operator';
}

let http: TestHttp;
let operations: readonly Operation[];
let sequence = 0;

beforeAll(async () => {
  http = await testHttp();
  await http.services.usage.makePartitions();
  await http.admin('POST', '/admin/v1/promotions', { id: 'welcome', amount_usd: '1' });
  const { paths } = (await http.app.inject('/openapi.json')).json();
  operations = Object.entries(paths as Record<string, Record<string, { tags: ['account' | 'operator'] }>>).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, { tags }]) => {
      const method = verb.toUpperCase() as Operation['method'];
      return { route: `${method} ${path}`, method, path, audience: tags[0] };
    }),
  );
});
afterAll(() => http.close());

async function makeHouse(): Promise<House> {
  const { accounts, sessions } = http.services;
  const { account, owner } = await accounts.create({ name: 'house', ownerName: 'owner' });
  const person = async (memberId: string): Promise<Person> => ({
    memberId,
    token: (await sessions.mint(memberId, account.id, 3_600)).token,
  });
  const add = async (role: Role) => person((await accounts.addMember(account.id, { name: role, role })).id);
  const [admin, member, billing, colleague] = await Promise.all([add('admin'), add('member'), add('billing'), add('member')]);
  return { accountId: account.id, people: { owner: await person(owner.id), admin, member, billing, colleague } };
}

const made = new Map<string, string>();

/** The id of an object of that person; the same one when asked again. */
async function objectOf(kind: Kind, house: House, { memberId }: Person): Promise<string> {
  const { accountId } = house;
  if (kind === 'account') return accountId;
  if (kind === 'member') return memberId;
  const name = `${kind} ${memberId}`;
  // Only who manages a team invites: an invite is nobody's in particular.
  const maker = kind === 'key' || kind === 'receipt' ? memberId : house.people.owner.memberId;
  const id = made.get(name) ?? (await MAKERS[kind](accountId, maker));
  made.set(name, id);
  return id;
}

const MAKERS: Readonly<Record<Exclude<Kind, 'account' | 'member'>, (accountId: string, memberId: string) => Promise<string>>> = {
  key: async (accountId, memberId) => (await http.services.keys.create({ accountId, memberId }, KEY_TERMS)).row.id,
  async receipt(accountId, memberId) {
    sequence += 1;
    const requestId = requestIdAt(http.clock.nowMs() - 60_000);
    const final = settledFinal({ requestId, accountId, memberId, keyId: `key of ${memberId}`, admittedAtMs: http.clock.nowMs() - 60_000 });
    const batch = {
      ...{ spoolId: 'spl_1', nodeId: 'nod_1', region: 'us', incarnation: 1n },
      ...{ firstSeq: sequence, lastSeq: sequence, records: [{ seq: sequence, final }] },
    };
    await http.services.usage.ingestBatch(await withCredit(http.db, batch));
    return requestId;
  },
  invite: async (accountId, memberId) => (await http.services.teams.invite({ accountId, memberId }, { role: 'member' })).invite.id,
  'token of an invite': async (accountId, memberId) =>
    (await http.services.teams.invite({ accountId, memberId }, { role: 'member' })).token,
};
const KEY_TERMS = { name: 'made before', expiresAtMs: undefined, models: [], regions: [] };

/** What tells of a person's objects: ids that an answer to somebody else must not hold. */
async function tracesOf(house: House, person: Person): Promise<string[]> {
  return [await objectOf('key', house, person), await objectOf('receipt', house, person)];
}

interface About {
  readonly ids: readonly string[];
  /** Whom the body may name. */
  readonly house?: House;
}

function call(operation: Operation, row: Row, { ids, house }: About, token: string | undefined): Promise<LightMyRequestResponse> {
  const rest = [...ids];
  const body = typeof row.body === 'function' ? house && row.body(house) : row.body;
  const path = operation.path.replace(/\{\w+\}/g, () => encodeURIComponent(rest.shift() ?? 'nothing'));
  return http.app.inject({
    method: operation.method,
    url: row.query === undefined ? path : `${path}?${row.query}`,
    headers: { ...row.headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    ...(body === undefined ? {} : { payload: body }),
  });
}

function rowOf(route: string): Row {
  const row = TABLE[route];
  if (row === undefined) throw new Error(`${route} has no row in the table`);
  return row;
}

const accountOperations = () => operations.filter(({ audience }) => audience === 'account');

describe('the table of the account API', () => {
  it('has a row for each route that is served, and none besides', () => {
    expect(Object.keys(TABLE).sort()).toEqual(
      accountOperations()
        .map(({ route }) => route)
        .sort(),
    );
    expect(authorizedRoutes().length).toBe(accountOperations().length);
  });

  it.each(ROLES)('holds for a member who is %s, and no answer tells of another account', async (role) => {
    let [home, abroad] = await Promise.all([makeHouse(), makeHouse()]);
    const wrong: string[] = [];
    for (const operation of accountOperations()) {
      const row = rowOf(operation.route);
      for (const [index, expected] of row[role].entries()) {
        const caller = home.people[role];
        const [house, person] =
          (
            [
              [home, caller],
              [home, home.people.colleague],
              [abroad, abroad.people.member],
            ] as const
          )[index] ?? [];
        if (house === undefined || person === undefined) throw new Error('a cell too many');
        const secrets = [abroad.accountId, ...Object.values(abroad.people).map(({ memberId }) => memberId)];
        secrets.push(...(await tracesOf(abroad, abroad.people.member)));
        if (row.ownOnly?.includes(role)) secrets.push(...(await tracesOf(home, home.people.colleague)));
        const ids = await Promise.all((row.path ?? []).map((kind) => objectOf(kind, house, person)));
        const answer = await call(operation, row, { ids, house }, caller.token);
        // Whoever has just come in may know where.
        const hasJoined = operation.route === 'POST /v1/invites/{token}/accept' && answer.statusCode === 200;
        const told = hasJoined ? [] : secrets.filter((secret) => !ids.includes(secret) && answer.body.includes(secret));
        if (answer.statusCode !== expected || told.length > 0) {
          wrong.push(
            `${operation.route}, ${['own', "a colleague's", "another account's"][index]}: ${answer.statusCode}, not ${expected} ${told}`,
          );
        }
        if (row.spends === true && answer.statusCode < 300) {
          home = await makeHouse();
          if (index === 2) abroad = await makeHouse();
        }
        const code = { 403: 'permission_denied', 404: 'not_found', 409: 'conflict', 422: 'invalid_state' }[answer.statusCode];
        if (code !== undefined) expect([operation.route, answer.json().error.code]).toEqual([operation.route, code]);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('says of an object of another account what it says of one that is nowhere', async () => {
    const [home, abroad] = await Promise.all([makeHouse(), makeHouse()]);
    for (const operation of accountOperations()) {
      const row = rowOf(operation.route);
      // A token is good for whoever has it.
      if (row.path === undefined || row.path.includes('token of an invite')) continue;
      const foreign = await Promise.all(row.path.map((kind) => objectOf(kind, abroad, abroad.people.member)));
      const nowhere = foreign.map((id) => `${id.slice(0, -6)}000000`);
      const [there, not] = [
        await call(operation, row, { ids: foreign, house: abroad }, home.people.owner.token),
        await call(operation, row, { ids: nowhere, house: abroad }, home.people.owner.token),
      ];
      const plain = (answer: LightMyRequestResponse, ids: readonly string[]) =>
        ids.reduce((text, id) => text.replaceAll(id, '…'), `${answer.statusCode} ${answer.body}`);
      expect([operation.route, plain(there, foreign)]).toEqual([operation.route, plain(not, nowhere)]);
    }
  });

  it("finds nothing of another account under the caller's own team", async () => {
    const [home, abroad] = await Promise.all([makeHouse(), makeHouse()]);
    const nested = accountOperations().filter(({ route }) => rowOf(route).path?.length === 2);
    expect(nested.length).toBeGreaterThan(4);
    for (const operation of nested) {
      const row = rowOf(operation.route);
      const [, kind = 'member'] = row.path ?? [];
      const ids = [home.accountId, await objectOf(kind, abroad, abroad.people.member)];
      expect([operation.route, (await call(operation, row, { ids, house: abroad }, home.people.owner.token)).statusCode]).toEqual([
        operation.route,
        404,
      ]);
    }
  });
});

describe('who is not a member', () => {
  let house: House | undefined;
  it.each([
    ['nobody', async () => undefined],
    ['a token that says nothing', async () => 'a.b.c'],
    ['the admin token', async () => ADMIN_TOKEN],
    [
      'a member who was disabled',
      async () => {
        const { accountId, people } = await makeHouse();
        await http.services.accounts.changeMember(accountId, people.admin.memberId, { status: 'disabled' });
        return people.admin.token;
      },
    ],
    [
      'the owner of an account that was disabled',
      async () => {
        const { accountId, people } = await makeHouse();
        await http.services.accounts.setStatus(accountId, 'disabled');
        return people.owner.token;
      },
    ],
    [
      'a token of a member that names another account',
      async () => {
        const [home, abroad] = await Promise.all([makeHouse(), makeHouse()]);
        return (await http.services.sessions.mint(home.people.owner.memberId, abroad.accountId, 60)).token;
      },
    ],
  ] as readonly (readonly [string, () => Promise<string | undefined>])[])('gets nothing from the account API: %s', async (_, tokenOf) => {
    const token = await tokenOf();
    house ??= await makeHouse();
    for (const operation of accountOperations()) {
      const row = rowOf(operation.route);
      const about = house;
      const ids = await Promise.all((row.path ?? []).map((kind) => objectOf(kind, about, about.people.owner)));
      const answer = await call(operation, row, { ids, house: about }, token);
      const { code } = answer.json().error;
      expect([operation.route, answer.statusCode]).toEqual([operation.route, 401]);
      expect(['invalid_token', 'invalid_api_key']).toContain(code);
    }
  });

  it('gets nothing with an API key but what a key may ask about itself', async () => {
    const { accountId, people } = await makeHouse();
    const { key } = await http.services.keys.create({ accountId, memberId: people.owner.memberId }, KEY_TERMS);
    const open: string[] = [];
    for (const operation of accountOperations()) {
      const answer = await call(operation, rowOf(operation.route), { ids: [] }, key);
      if (answer.statusCode !== 401) open.push(operation.route);
    }
    expect(open.sort()).toEqual(['GET /v1/me', 'GET /v1/regions']);
  });
});

describe('the operator API', () => {
  it('is closed to everybody but operators, on each of its routes', async () => {
    const { accountId, people } = await makeHouse();
    const { key } = await http.services.keys.create({ accountId, memberId: people.owner.memberId }, KEY_TERMS);
    const routes = operations.filter(({ audience }) => audience === 'operator');
    expect(routes.length).toBeGreaterThan(25);
    const open: string[] = [];
    for (const operation of routes) {
      for (const token of [undefined, people.owner.token, people.admin.token, key, `${ADMIN_TOKEN}x`, 'a.b.c']) {
        const answer = await call(operation, { owner: [401], admin: [401], member: [401], billing: [401] }, { ids: [accountId] }, token);
        if (answer.statusCode !== 401 || answer.json().error.code !== 'invalid_token') open.push(`${operation.route} ${token}`);
      }
    }
    expect(open).toEqual([]);
  });

  it('lies under /admin/v1, and nothing of the account API does', () => {
    for (const { route, path, audience } of operations)
      expect([route, path.startsWith('/admin/v1/')]).toEqual([route, audience === 'operator']);
  });
});
