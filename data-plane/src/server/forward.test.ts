import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { type Provider, rawClient, startTestNode, type TestNode } from '../testing.ts';
import { MAX_FORWARDED_ANSWER_BYTES } from './forward.ts';

let node: TestNode;
afterEach(() => node.stop());

/** The control plane's side, as the test's provider. */
async function withControlPlane(controlPlane: Provider): Promise<void> {
  node = await startTestNode(controlPlane);
}

const SESSION = { authorization: 'Bearer a.session.token' };

describe('an account path', () => {
  it('is forwarded with its query, body and session, and answered as it comes', async () => {
    let seen = '';
    await withControlPlane((request, response, body) => {
      seen = `${request.method} ${request.url} ${request.headers.authorization} ${request.headers['content-type']} ${body}`;
      response.writeHead(201, { 'content-type': 'application/json', 'retry-after': '3', 'x-internal': 'secret' }).end('{"id":"key_1"}');
    });
    const response = await fetch(`${node.url}/api/v1/keys/?limit=2&after=a%2Fb`, {
      method: 'POST',
      headers: { ...SESSION, 'content-type': 'application/json' },
      body: '{"name":"k"}',
    });
    expect(seen).toBe('POST /v1/keys?limit=2&after=a%2Fb Bearer a.session.token application/json {"name":"k"}');
    expect(response.status).toBe(201);
    expect(await response.json()).toEqual({ id: 'key_1' });
    expect(response.headers.get('retry-after')).toBe('3');
    expect(response.headers.get('x-internal')).toBeNull();
    expect(response.headers.get('x-request-id')).toBe(node.asked[0]?.headers['x-request-id']);
  });

  it('says whom it is forwarded for, after whoever forwarded it here', async () => {
    await withControlPlane((_, response) => void response.writeHead(200).end('{}'));
    await fetch(`${node.url}/v1/keys`, { headers: SESSION });
    await fetch(`${node.url}/v1/invites/inv-x/accept`, {
      method: 'POST',
      headers: { ...SESSION, 'x-forwarded-for': '203.0.113.7, 10.0.0.1' },
    });
    const told = node.asked.map((request) => [request.url, request.headers['x-forwarded-for']]);
    expect(told).toEqual([
      ['/v1/keys', '127.0.0.1'],
      ['/v1/invites/inv-x/accept', '203.0.113.7, 10.0.0.1, 127.0.0.1'],
    ]);
  });

  it.each([
    ['GET', '/v1/credits', 200],
    ['DELETE', '/v1/keys/key_1', 204],
    ['PATCH', '/v1/account', 404],
    ['POST', '/auth/login', 401],
  ])('%s %s keeps the status %i', async (method, path, status) => {
    await withControlPlane((_, response) => void response.writeHead(status).end());
    const response = await fetch(node.url + path, { method, headers: SESSION, ...(method === 'POST' ? { body: '{}' } : {}) });
    expect(response.status).toBe(status);
    expect(await response.text()).toBe('');
  });

  it('goes by the credential at /v1/me: a session is forwarded, a key is answered here with what the control plane says of it', async () => {
    await withControlPlane((_, response) => void response.writeHead(200).end('{"from":"control plane"}'));
    expect(await (await fetch(`${node.url}/v1/me`, { headers: SESSION })).json()).toEqual({ from: 'control plane' });
    const mine = await (await fetch(`${node.url}/v1/me`, { headers: { 'x-api-key': node.apiKey } })).json();
    expect(mine).toMatchObject({ object: 'me', account: { id: 'acc_1' } });
    expect((await fetch(`${node.url}/v1/me`)).status).toBe(401);
    expect(node.asked.map((request) => request.headers.authorization)).toEqual([SESSION.authorization, `Bearer ${node.apiKey}`]);
  });

  it.each<[string, Provider]>([
    ['cuts the connection', (_, response) => response.destroy()],
    ['cuts its answer', (_, response) => void response.writeHead(200).write('{"half', () => response.destroy())],
    [
      'sends more than is held',
      (_, response) => {
        response.writeHead(200);
        response.end(Buffer.alloc(MAX_FORWARDED_ANSWER_BYTES + 1));
      },
    ],
  ])('is 503 with a time to come back when the control plane %s', async (_, controlPlane) => {
    await withControlPlane(controlPlane);
    const response = await fetch(`${node.url}/v1/usage`, { headers: SESSION });
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('5');
    const text = await response.text();
    expect(text).toContain('"control_plane_unavailable"');
    expect(text).not.toMatch(/127\.0\.0\.1|ECONN|too large/);
  });

  it('is given up with its client', async () => {
    let cut: Promise<unknown> | undefined;
    let asked: () => void = () => {};
    const arrived = new Promise<void>((resolve) => {
      asked = resolve;
    });
    await withControlPlane((_, response) => {
      cut = once(response, 'close');
      asked();
    });
    const client = await rawClient(node.port);
    client.socket.write('GET /v1/usage HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a.b.c\r\n\r\n');
    await arrived;
    client.socket.destroy();
    await cut;
  });
});
