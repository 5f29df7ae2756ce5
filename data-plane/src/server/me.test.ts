import type { Cap } from '@meridian/domain/budget';
import { afterEach, describe, expect, it } from 'vitest';
import { ANSWER, answerWith, chatRequest, type Provider, rawClient, startTestNode, type TestNode } from '../testing.ts';

let node: TestNode;
afterEach(() => node.stop());

const CAPS: readonly Cap[] = [
  { id: 'cap_k', accountId: 'acc_1', scope: 'key', scopeId: 'key_1', window: 'utc_day', unit: 'nano_usd', limit: 1_000_000_000 },
  { id: 'cap_m', accountId: 'acc_1', scope: 'member', scopeId: 'mem_1', window: 'utc_month', unit: 'chat_completions', limit: 40 },
];

/** As the control plane presents it. */
const TOLD = {
  object: 'me',
  account: { id: 'acc_1', name: 'A', status: 'active' },
  member: { id: 'mem_1', role: 'owner' },
  key: { id: 'key_1', name: 'k' },
  region: null,
  plan: { id: 'starter', name: 'Starter', api_access: true },
  tier: {
    id: 'starter',
    name: 'Starter',
    markup_percent: 40,
    spend_30d_usd: '1.25',
    next: { id: 'growth', name: 'Growth', markup_percent: 30, missing_usd: '48.75' },
  },
  balance: { balance_usd: '3.50', balance_nano: '3500000000', as_of: '2026-02-03T04:05:06.000Z' },
  caps: [
    {
      id: 'cap_k',
      object: 'cap',
      scope: 'key',
      scope_id: 'key_1',
      window: 'utc_day',
      unit: 'nano_usd',
      limit_usd: '1.00',
      limit_nano: '1000000000',
      spent_usd: '0.25',
      spent_nano: '250000000',
      reserved_usd: '0.50',
      reserved_nano: '500000000',
      left_usd: '0.25',
      left_nano: '250000000',
      resets_at: '2026-09-22T00:00:00.000Z',
    },
    {
      id: 'cap_m',
      object: 'cap',
      scope: 'member',
      scope_id: 'mem_1',
      window: 'utc_month',
      unit: 'chat_completions',
      limit: 40,
      spent: 3,
      reserved: 20,
      left: 17,
      resets_at: '2026-10-01T00:00:00.000Z',
    },
  ],
} as const;

/** Answers for models, and on the account paths as the control plane would. */
function plane(control: Provider): Provider {
  return (request, response, body) => (request.url === '/v1/me' ? control : answerWith(ANSWER))(request, response, body);
}

type Json = Readonly<Record<string, unknown>>;

async function ask(): Promise<Json> {
  const response = await fetch(`${node.url}/v1/me`, { headers: { authorization: `Bearer ${node.apiKey}` } });
  expect(response.status).toBe(200);
  return (await response.json()) as Json;
}

async function chat(): Promise<void> {
  const client = await rawClient(node.port);
  client.socket.write(chatRequest(node.apiKey, { max_tokens: 10 }, ['connection: close']));
  expect(await client.closed).toMatch(/^HTTP\/1\.1 200 /);
}

/** The names of all fields, and which of them hold objects. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== 'object' || value === null) return 'value';
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, shapeOf(member)]));
}

describe('/v1/me', () => {
  it('tells the control plane’s figures, and what this node has at hand', async () => {
    node = await startTestNode(plane(answerWith(JSON.stringify(TOLD))), {}, CAPS);
    await chat();
    const me = await ask();
    const free = (capId: string, windowStartMs: number): number => node.bank.desk.room([{ capId, windowStartMs }]).free;
    const day = Math.floor(node.ids.nowMs() / 86_400_000) * 86_400_000;
    expect(free('cap_k', day)).toBeGreaterThan(0);
    expect(me).toEqual({
      ...TOLD,
      region: 'us',
      as_of: TOLD.balance.as_of,
      balance: {
        ...TOLD.balance,
        available_now_usd: expect.stringMatching(/^2\.\d+$/),
        available_now_nano: String(free('prepaid_acc_1', 0)),
      },
      caps: [
        { ...TOLD.caps[0], available_now_usd: expect.stringMatching(/^0\.\d+$/), available_now_nano: String(free('cap_k', day)) },
        { ...TOLD.caps[1], available_now: 19 },
      ],
    });
    const asked = node.asked.find((request) => request.url === '/v1/me');
    expect(asked?.headers.authorization).toBe(`Bearer ${node.apiKey}`);
  });

  it.each<[string, Provider]>([
    ['fails', (_, response) => void response.writeHead(503).end('{}')],
    ['knows no such key', (_, response) => void response.writeHead(401).end('{}')],
    ['answers with something else', answerWith('{"object":"me"}')],
    ['answers with what is no JSON', answerWith('<html>')],
    ['breaks off', (request) => void request.socket.destroy()],
    ['sends without end', (_, response) => void response.writeHead(200).end('x'.repeat(2_000_000))],
  ])('tells the node’s own copy, in the same shape, where the control plane %s', async (_, control) => {
    node = await startTestNode(plane(answerWith(JSON.stringify(TOLD))), { account: { asOfMs: Date.UTC(2026, 0, 2) } }, CAPS);
    const told = await ask();
    await node.stop();
    node = await startTestNode(plane(control), { account: { asOfMs: Date.UTC(2026, 0, 2) } }, CAPS);
    await chat();
    const own = await ask();
    expect(shapeOf(own)).toEqual(shapeOf(told));
    expect(own).toMatchObject({
      region: 'us',
      as_of: '2026-01-02T00:00:00.000Z',
      tier: { id: 'starter', markup_percent: 40, next: { id: 'growth', missing_usd: '50.00' } },
      balance: { balance_nano: '5000000000', balance_usd: '5.00', as_of: '2026-01-02T00:00:00.000Z' },
      caps: [
        { id: 'cap_k', limit_usd: '1.00', spent_usd: null, reserved_nano: null, left_usd: null, resets_at: TOLD.caps[0].resets_at },
        { id: 'cap_m', limit: 40, spent: null, left: null, available_now: 19, resets_at: TOLD.caps[1].resets_at },
      ],
    });
  });

  it('waits no more than a second for the control plane', async () => {
    node = await startTestNode(
      plane(() => {}),
      {},
      CAPS,
    );
    const answer = ask();
    while (node.asked.length === 0) await new Promise((resolve) => setImmediate(resolve));
    node.pass(1_500);
    expect(await answer).toMatchObject({ caps: [{ spent_usd: null }, { spent: null }] });
  });

  it('refuses a key that is not let in, without asking anybody', async () => {
    node = await startTestNode(plane(answerWith(JSON.stringify(TOLD))), { key: { status: 'revoked' } });
    const response = await fetch(`${node.url}/v1/me`, { headers: { authorization: `Bearer ${node.apiKey}` } });
    expect(response.status).toBe(401);
    expect(node.asked).toEqual([]);
  });

  it('is the control plane’s own for the token of a session', async () => {
    node = await startTestNode(plane(answerWith('{"object":"me","key":null}')));
    const response = await fetch(`${node.url}/v1/me`, { headers: { authorization: 'Bearer a.session.token' } });
    expect(await response.json()).toEqual({ object: 'me', key: null });
  });
});
