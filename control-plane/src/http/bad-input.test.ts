/** Walks every route of the OpenAPI document with input that nobody should send: each answer is a clear error, none is ours. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ADMIN_TOKEN, type TestHttp, testHttp } from './testing.ts';

/** What is read of a JSON schema: enough to make a body that has every field. */
interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
}

const DOCUMENT = z.object({
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.object({
        parameters: z.array(z.object({ name: z.string(), in: z.string() })).default([]),
        requestBody: z.object({ content: z.object({ 'application/json': z.object({ schema: z.custom<Schema>() }) }) }).optional(),
      }),
    ),
  ),
});

const BAD_TEXTS = [
  '',
  'a\u0000b',
  '\u0000',
  '\ud800',
  "'; DROP TABLE account; --",
  '../../etc/passwd',
  '%',
  'ä'.repeat(256),
  'x'.repeat(5_000),
  '9'.repeat(12),
  '9999-12-31T23:59:59-23:59',
];
const BAD_VALUES = [...BAD_TEXTS, null, true, -1, 1.5, 3_000_000_000, 2 ** 53 - 1, 1e308, [], [null], {}, { data: [] }];
/** Good enough to get past the shape of a field, so that the field next to it is looked at. */
const BY_TYPE: Readonly<Record<string, unknown>> = { string: 'starter', integer: 1, number: 1, boolean: true };
const BY_NAME: Readonly<Record<string, unknown>> = {
  amount_usd: '1.00',
  base_path: '/v1',
  cards: [{ prices_usd_per_million: { input: '2.50' } }],
  cost: [{ prices_usd_per_million: { input: '2.50' } }],
  effective_from: '2026-12-01T00:00:00Z',
  expires_at: '2026-12-01T00:00:00Z',
  origin: 'https://api.example.com',
  regions: ['us'],
};

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

describe('every route', () => {
  let http: TestHttp;
  let token: string;
  /** Something real behind each kind of id, so that a request comes as far as its statement. */
  let ids: Readonly<Record<string, string>>;
  beforeAll(async () => {
    http = await testHttp();
    const { token: ownToken, accountId, ownerId } = await http.account('someone');
    token = ownToken;
    const made = async (url: string, body: unknown): Promise<string> => {
      const answer = (await http.admin('POST', url, body)).json();
      return answer.id ?? answer.data[0].id;
    };
    await made('/admin/v1/providers', { id: 'starter', name: 'Starter', origin: 'https://api.example.com' });
    const credentials = await made('/admin/v1/credentials', { provider_id: 'starter', secret: 'secret' });
    await made('/admin/v1/models', { id: 'starter', vendor: 'starter' });
    const endpoints = await made('/admin/v1/endpoints', {
      model_id: 'starter',
      provider_id: 'starter',
      upstream_model: 'other',
      cost: BY_NAME.cost,
    });
    const keys = (await http.as(token, 'POST', '/v1/keys', { name: 'one' })).json().id;
    const invites = (await http.as(token, 'POST', `/v1/teams/${accountId}/invites`, { role: 'member' })).json().id;
    ids = { accounts: accountId, teams: accountId, members: ownerId, credentials, endpoints, keys, invites };
  });
  afterAll(() => http.close());

  it('answers bad input with a clear error of the caller, never with one of ours', async () => {
    const { paths } = DOCUMENT.parse((await http.app.inject('/openapi.json')).json());
    const wrong: string[] = [];
    let sent = 0;
    const send = async (method: Method, url: string, body?: unknown) => {
      sent += 1;
      const bearer = url.startsWith('/admin/') ? ADMIN_TOKEN : token;
      const answer = await http.as(bearer, method, url, body, { 'idempotency-key': `bad-input-${sent}` });
      const isClear = answer.statusCode < 400 || (answer.statusCode < 500 && typeof answer.json().error.message === 'string');
      if (!isClear) wrong.push(`${answer.statusCode} ${method} ${url.slice(0, 120)} ${JSON.stringify(body)?.slice(0, 200)}`);
    };
    for (const [path, operations] of Object.entries(paths)) {
      for (const [verb, { parameters, requestBody }] of Object.entries(operations)) {
        const method = verb.toUpperCase() as Method;
        const schema = requestBody?.content['application/json'].schema;
        const filled = schema === undefined ? undefined : fill(schema);
        const good = path.replace(/(\w+)\/\{\w+\}/g, (_, kind: string) => `${kind}/${ids[kind] ?? 'starter'}`);
        for (const text of BAD_TEXTS) {
          const bad = encodeURIComponent(text.toWellFormed());
          if (path.includes('{')) await send(method, path.replace(/\{\w+\}/g, bad), filled);
          for (const { name } of parameters.filter((parameter) => parameter.in === 'query'))
            await send(method, `${good}?${name}=${bad}`, filled);
        }
        await send(method, `${good}?unknown=1`, filled);
        if (schema === undefined) continue;
        for (const value of BAD_VALUES) await send(method, good, value);
        for (const body of corruptions(filled)) await send(method, good, body);
      }
    }
    expect(wrong).toEqual([]);
    expect(sent).toBeGreaterThan(2_000);
  });
});

/** A body with every field of the schema. */
function fill(schema: Schema): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  if (schema.anyOf !== undefined) return schema.anyOf[0] === undefined ? null : fill(schema.anyOf.at(-1) ?? {});
  if (schema.properties !== undefined) {
    return Object.fromEntries(Object.entries(schema.properties).map(([name, field]) => [name, BY_NAME[name] ?? fill(field)]));
  }
  if (schema.type === 'array') return [fill(schema.items ?? {})];
  return BY_TYPE[schema.type ?? 'string'] ?? null;
}

/** The value with each of its leaves, one at a time, replaced by each bad value. */
function* corruptions(value: unknown): Generator<unknown> {
  if (Array.isArray(value)) {
    for (const item of value) for (const bad of corruptions(item)) yield [bad];
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, field] of Object.entries(value)) for (const bad of corruptions(field)) yield { ...value, [name]: bad };
  } else {
    yield* BAD_VALUES;
  }
}
