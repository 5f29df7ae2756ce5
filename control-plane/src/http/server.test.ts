import { connect as connectSocket } from 'node:net';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { connect } from '../database/connect.ts';
import { allRoutes } from '../routes.ts';
import { authorizedRoutes } from './authorize.ts';
import { openApiPath } from './openapi.ts';
import { addRoute } from './route.ts';
import { buildHttp, MAX_BODY_BYTES } from './server.ts';
import { ADMIN_TOKEN, type TestHttp, testHttp, testStack } from './testing.ts';

const JSON_BODY = { 'content-type': 'application/json' };

describe('the HTTP server', () => {
  let http: TestHttp;
  let token: string;
  beforeAll(async () => {
    http = await testHttp();
    ({ token } = await http.account('someone'));
  });
  afterAll(() => http.close());

  function post(payload: string | Buffer, headers: Record<string, string> = JSON_BODY) {
    return http.app.inject({ method: 'POST', url: '/v1/keys', headers: { authorization: `Bearer ${token}`, ...headers }, payload });
  }

  it.each([
    ['broken JSON', '{"name": ', JSON_BODY, 400, 'invalid_request_error'],
    ['invalid UTF-8', Buffer.from('{"name":"\xff"}', 'latin1'), JSON_BODY, 400, 'invalid_request_error'],
    ['another content type', 'name=k', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'unsupported_media_type'],
    ['no content type', Buffer.from('{"name":"k"}'), {}, 415, 'unsupported_media_type'],
    ['a compressed body', '{"name":"k"}', { ...JSON_BODY, 'content-encoding': 'gzip' }, 415, 'unsupported_media_type'],
    ['a body over the limit', Buffer.alloc(MAX_BODY_BYTES + 1, 32), JSON_BODY, 413, 'request_too_large'],
    ['a prototype in the body', '{"name":"k","__proto__":{"admin":true}}', JSON_BODY, 400, 'invalid_request_error'],
  ] as const)('answers %s with a clear error', async (_, payload, headers, status, code) => {
    const answer = await post(payload, headers);
    expect([answer.statusCode, answer.json().error.code]).toEqual([status, code]);
    expect(answer.json().error.type).toBe(code);
    expect(answer.body).not.toMatch(/at .*\.ts|node_modules|FST_/);
  });

  it('takes an answer that breaks its contract for our mistake, not for the caller’s', async () => {
    const { services } = http;
    const broken = buildHttp({
      productName: 'Meridian',
      version: '0',
      logger: false,
      newRequestId: () => 'request',
      sessions: services.sessions,
      trail: services.trail,
      trustedProxies: [],
      accountRoutes: [],
      operatorRoutes: [
        (app) =>
          addRoute(
            app,
            { method: 'GET', url: '/admin/v1/broken', summary: 'Broken.', answer: z.object({ id: z.string().max(3) }) },
            async () => ({
              id: 'too long',
            }),
          ),
      ],
    });
    const answer = await broken.inject({ url: '/admin/v1/broken', headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    await broken.close();
    expect([answer.statusCode, answer.json().error.code]).toEqual([500, 'internal_error']);
    expect(answer.body).not.toContain('too long');
  });

  it('logs routes, not paths, in which the token of an invite may stand, and no address', async () => {
    const lines: string[] = [];
    const { services } = http;
    const logged = buildHttp({
      ...{ productName: 'Meridian', version: '0', newRequestId: () => 'request', trustedProxies: ['127.0.0.1'] },
      logger: pino({ level: 'info' }, { write: (line: string) => void lines.push(line) }),
      ...allRoutes(services),
    });
    const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': '203.0.113.77' };
    for (const url of ['/v1/invites/inv-secret/accept', '/v1/invites/inv-secret/acept', '/v1/invites/inv-secret%/accept']) {
      await logged.inject({ method: 'POST', url, headers });
    }
    await logged.close();
    const text = lines.join('');
    expect(text).toContain('"route":"POST /v1/invites/:token/accept","status":404');
    expect(text).not.toMatch(/inv-secret|203\.0\.113|127\.0\.0\.1/);
  });

  it('names what is not there', async () => {
    const answer = await http.as(token, 'GET', '/v1/nothing?key=sk-secret');
    expect([answer.statusCode, answer.json().error]).toEqual([
      404,
      { message: 'There is no GET /v1/nothing.', type: 'unsupported_endpoint', code: 'unsupported_endpoint', param: null },
    ]);
  });

  it('answers a path that is no UTF-8 with 400', async () => {
    expect((await http.as(token, 'GET', '/v1/keys/%ff')).statusCode).toBe(400);
  });

  it('refuses query parameters it does not know, and limits that cannot be', async () => {
    for (const [query, param] of [
      ['color=red', 'color'],
      ['limit=0', 'limit'],
      ['limit=many', 'limit'],
      ['limit=1001', 'limit'],
    ]) {
      const answer = await http.as(token, 'GET', `/v1/keys?${query}`);
      expect([answer.statusCode, answer.json().error.param]).toEqual([400, param]);
    }
    expect((await http.as(token, 'GET', '/v1/me?x=1')).statusCode).toBe(400);
  });

  it('keeps a request id that is safe to log and makes one otherwise', async () => {
    expect((await http.as(token, 'GET', '/v1/me', undefined, { 'x-request-id': 'req_1' })).headers['x-request-id']).toBe('req_1');
    const made = await http.as(token, 'GET', '/v1/me', undefined, { 'x-request-id': 'bad id"' });
    expect(made.headers['x-request-id']).toMatch(/^request-\d+$/);
  });

  it('sends security headers and keeps answers out of caches', async () => {
    const { headers } = await http.as(token, 'GET', '/v1/me');
    expect(headers).toMatchObject({
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'content-security-policy': expect.stringContaining("default-src 'none'"),
      'strict-transport-security': expect.any(String),
    });
  });

  it('answers control characters in a header with 400 in our form, over a real socket', async () => {
    await http.app.listen({ host: '127.0.0.1', port: 0 });
    const address = http.app.server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connectSocket(address.port, '127.0.0.1', () =>
        socket.write('GET /v1/me HTTP/1.1\r\nhost: x\r\nx-a: b\u0001c\r\n\r\n'),
      );
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk;
      });
      socket.on('end', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n')))).toMatchObject({ error: { code: 'invalid_request_error' } });
  });

  describe('tokens', () => {
    it.each([
      ['none', {}],
      ['an empty one', { authorization: 'Bearer ' }],
      ['another scheme', { authorization: 'Basic c29tZTpvbmU=' }],
      ['nonsense', { authorization: 'Bearer a.b.c' }],
      ['the admin token', { authorization: `Bearer ${ADMIN_TOKEN}` }],
      ['an unsigned JWT', { authorization: `Bearer ${unsigned({ sub: 'mem_1', account: 'acc_1', exp: 9e9 })}` }],
    ])('refuses %s on the account API', async (_, headers) => {
      const answer = await http.app.inject({ method: 'GET', url: '/v1/account', headers });
      expect([answer.statusCode, answer.json().error.code]).toEqual([401, 'invalid_token']);
    });

    it.each([
      ['none', undefined],
      ['a wrong one of the same length', 'x'.repeat(ADMIN_TOKEN.length)],
      ['its beginning', ADMIN_TOKEN.slice(0, -1)],
    ])('refuses %s on the operator API', async (_, presented) => {
      const headers = presented === undefined ? {} : { authorization: `Bearer ${presented}` };
      const answer = await http.app.inject({ method: 'GET', url: '/admin/v1/accounts', headers });
      expect([answer.statusCode, answer.json().error.code]).toEqual([401, 'invalid_token']);
    });

    it('refuses an account token on the operator API', async () => {
      expect((await http.as(token, 'GET', '/admin/v1/accounts')).statusCode).toBe(401);
    });

    it('ends a token at its time, and with its member or account', async () => {
      const { accountId, ownerId } = await http.account('ending');
      const minted = await http.admin('POST', `/admin/v1/accounts/${accountId}/tokens`, { expires_in_seconds: 60 });
      expect(minted.json()).toEqual({
        object: 'account_token',
        token: expect.any(String),
        member_id: ownerId,
        expires_at: new Date(http.clock.nowMs() + 60_000).toISOString(),
      });
      const own: string = minted.json().token;
      const status = async () => (await http.as(own, 'GET', '/v1/account')).statusCode;
      expect(await status()).toBe(200);
      await http.admin('POST', `/admin/v1/accounts/${accountId}/disable`);
      expect(await status()).toBe(401);
      await http.admin('POST', `/admin/v1/accounts/${accountId}/enable`);
      expect(await status()).toBe(200);
      await http.admin('PATCH', `/admin/v1/accounts/${accountId}/members/${ownerId}`, { status: 'disabled' });
      expect(await status()).toBe(401);
      await http.admin('PATCH', `/admin/v1/accounts/${accountId}/members/${ownerId}`, { status: 'active' });
      expect(await status()).toBe(200);
      http.clock.advance(61_000);
      expect(await status()).toBe(401);
    });

    it('takes an API key where a key may ask about itself, and nowhere else', async () => {
      const { accountId, token: owner } = await http.account('keyed');
      const { id, key } = (await http.as(owner, 'POST', '/v1/keys', { name: 'k' })).json();
      expect((await http.as(key, 'GET', '/v1/me')).json().account.id).toBe(accountId);
      expect((await http.app.inject({ method: 'GET', url: '/v1/me', headers: { 'x-api-key': key } })).statusCode).toBe(200);
      expect((await http.as(key, 'GET', '/v1/keys')).statusCode).toBe(401);
      await http.as(owner, 'DELETE', `/v1/keys/${id}`);
      const revoked = await http.as(key, 'GET', '/v1/me');
      expect([revoked.statusCode, revoked.json().error.code]).toEqual([401, 'invalid_api_key']);
    });
  });

  it('documents every route in OpenAPI 3.1', async () => {
    const document = (await http.app.inject('/openapi.json')).json();
    expect(document.openapi).toBe('3.1.0');
    const documented = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item as object).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const served = routesOf(http.app.printRoutes({ commonPrefix: false }));
    expect(served.length).toBeGreaterThan(30);
    expect(documented.sort()).toEqual(served.filter((route) => route !== 'GET /openapi.json').sort());
    for (const route of authorizedRoutes()) expect(documented).toContain(openApiPath(route));
    const create = document.paths['/v1/keys'].post;
    expect(create.requestBody.content['application/json'].schema).toMatchObject({ required: ['name'], additionalProperties: false });
    expect(create.responses['201'].content['application/json'].schema.properties.key).toEqual({ type: 'string' });
    expect(JSON.stringify(document)).not.toContain('undefined');
    const ids = Object.values(document.paths).flatMap((item) =>
      Object.values(item as Record<string, { operationId: string }>).map((one) => one.operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe('when the database is away', () => {
  it('answers 503 control_plane_unavailable, without a word about the server', async () => {
    const db = connect('postgresql://someone:secret@127.0.0.1:1/nowhere', { maxConnections: 1 });
    const stack = testStack(db);
    const { token } = await stack.services.sessions.mint('mem_1', 'acc_1', 60);
    const answer = await stack.as(token, 'GET', '/v1/account');
    expect([answer.statusCode, answer.json().error.code, answer.headers['retry-after']]).toEqual([503, 'control_plane_unavailable', '1']);
    expect(answer.body).not.toMatch(/127\.0\.0\.1|secret|postgres|ECONN/i);
    await stack.app.close();
    await db.destroy();
  });
});

/** `GET /v1/keys/{id}` for each route of Fastify's tree. */
function routesOf(tree: string): string[] {
  const routes: string[] = [];
  const path: string[] = [];
  for (const line of tree.split('\n')) {
    const match = /^([│ ]*)(?:├── |└── )(\S*)(?: \((.*)\))?$/.exec(line);
    if (match === null) continue;
    const [, indent = '', segment = '', methods] = match;
    path.length = indent.length / 4;
    path.push(segment);
    for (const method of methods?.split(', ') ?? []) routes.push(`${method} ${openApiPath(path.join(''))}`);
  }
  return routes;
}

function unsigned(payload: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part(payload)}.x`;
}
