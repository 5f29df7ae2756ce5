import { request as httpRequest } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { ANSWER, chatRequest, event, type Provider, rawClient, startTestNode, streamHead, type TestNode } from '../testing.ts';
import { plainPath } from './server.ts';

describe('a path', () => {
  it.each([
    ['/v1/models', '/v1/models'],
    ['/v1/models/', '/v1/models'],
    ['//v1//models', '/v1/models'],
    ['/api/v1/models?x=//', '/v1/models?x=//'],
    ['/apis/v1', '/apis/v1'],
    ['/api', '/'],
    ['/v1/models/acme%2Fm-2', '/v1/models/acme%2Fm-2'],
    ['/', '/'],
    ['*', '*'],
  ])('%s is taken for %s', (given, plain) => {
    expect(plainPath(given)).toBe(plain);
  });
});

describe('the server', () => {
  let node: TestNode;
  let provider: Provider;
  beforeEach(async () => {
    provider = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER);
    node = await startTestNode((request, response, body) => provider(request, response, body));
  });
  afterEach(() => node.stop());

  const get = (path: string, key = 'x'): string => `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`;

  it('keeps the connection of a request without a body, also after an error', async () => {
    const client = await rawClient(node.port);
    client.socket.write(get('/v1/models'));
    await client.seen(/^HTTP\/1\.1 401 /);
    client.socket.write(get('/v1/models', node.apiKey));
    await client.seen(/HTTP\/1\.1 200 .*"m-1\.5"/s);
    client.socket.write(get('/nothing'));
    await client.seen(/HTTP\/1\.1 404 .*unsupported_endpoint/s);
    client.socket.write(chatRequest('wrong') + chatRequest(node.apiKey));
    await client.seen(/cost_usd/);
    expect(client.text).not.toMatch(/connection: close/i);
    client.socket.destroy();
  });

  it('answers a refused upload before it has come, and then closes', async () => {
    const client = await rawClient(node.port);
    const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\ncontent-length: 30000000\r\n\r\n`;
    client.socket.write(head);
    const text = await client.seen(/invalid_api_key/);
    expect(text).toMatch(/^HTTP\/1\.1 401 /);
    expect(text).toMatch(/connection: close/i);
    client.socket.write(Buffer.alloc(30_000_000));
    await client.closed;
  });

  it('does not read a body for a path that does not exist', async () => {
    const client = await rawClient(node.port);
    client.socket.write('POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n\r\n');
    expect(await client.seen(/unsupported_endpoint/)).toMatch(/^HTTP\/1\.1 404 /);
    client.socket.destroy();
    await client.closed;
  });

  it('takes no more than a megabyte on the account paths, which need no key', async () => {
    const client = await rawClient(node.port);
    client.socket.write('POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2000000\r\n\r\n');
    expect(await client.seen(/request_too_large/)).toMatch(/^HTTP\/1\.1 413 /);
    client.socket.destroy();
    await client.closed;
  });

  it('gives back the room of each body that was answered', async () => {
    // More than all account bodies may take together at one moment.
    for (let sent = 0; sent < 36; sent++) {
      const response = await fetch(`${node.url}/auth/login`, { method: 'POST', body: Buffer.alloc(1024 * 1024) });
      expect(await response.text()).not.toContain('Too many large requests');
    }
  });

  it('leaves room on the account paths for others, and takes it back from bodies that do not end', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    onTestFinished(() => void vi.useRealTimers());
    const MEBIBYTE = 1024 * 1024;
    const head = `POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: ${MEBIBYTE}\r\n\r\n`;
    const clients = await Promise.all(Array.from({ length: 12 }, () => rawClient(node.port)));
    for (const { socket } of clients) {
      socket.on('error', () => {});
      socket.write(head);
      socket.write(Buffer.alloc(MEBIBYTE - 1));
    }
    const told = (what: string): number => clients.filter(({ text }) => text.includes(what)).length;
    // Of one address there is room for eight.
    await vi.waitUntil(() => told('rate_limit_exceeded') >= 4, { timeout: 10_000 });
    const fromElsewhere = await new Promise<number | undefined>((resolve, reject) => {
      const other = httpRequest({ port: node.port, host: '127.0.0.1', localAddress: '127.0.0.2', method: 'POST', path: '/auth/login' });
      other.on('response', (response) => resolve(response.resume().statusCode)).on('error', reject);
      other.end(Buffer.alloc(MEBIBYTE));
    });
    expect(fromElsewhere).not.toBe(429);
    const small = await fetch(`${node.url}/auth/login`, { method: 'POST', body: '{}' });
    expect(small.status).not.toBe(429);
    vi.advanceTimersByTime(20_000);
    await vi.waitUntil(() => told('HTTP/1.1 429') + told('HTTP/1.1 408') === 12, { timeout: 10_000 });
    expect(told('HTTP/1.1 408')).toBeGreaterThan(0);
    for (const { socket } of clients) socket.destroy();
  });

  it('never writes into a stream that runs when nonsense follows its request', async () => {
    let end: (() => void) | undefined;
    provider = (_, response) => {
      streamHead(response);
      response.write(event({ content: 'partial' }));
      end = () => response.end();
    };
    const client = await rawClient(node.port);
    client.socket.write(chatRequest(node.apiKey, { stream: true }));
    await client.seen(/partial/);
    client.socket.write('\u0001\u0002 nonsense\r\n\r\n');
    const text = await client.closed;
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
    end?.();
    await node.finals(1);
  });

  it.each([
    ['a control character in a header', 'GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: a\u0001b\r\n\r\n', 400],
    ['headers of 20 KB', `GET /v1/models HTTP/1.1\r\nhost: x\r\nx-long: ${'y'.repeat(20_000)}\r\n\r\n`, 431],
    ['no HTTP at all', 'hello\r\n\r\n', 400],
  ])('answers %s on the bare socket, and closes it though the client does not', async (_, bytes, status) => {
    const client = await rawClient(node.port);
    client.socket.write(bytes);
    const text = await client.closed;
    expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(text).toMatch(/x-request-id: req_/);
    expect(text).toContain('"invalid_request_error"');
  });

  it('answers what cannot be routed in its own form', async () => {
    for (const [line, status] of [
      ['GET /v1/models/%zz', 400],
      ['HEAD /v1/models', 404],
      ['PROPFIND /v1/models', 404],
      ['OPTIONS /nothing/here', 204],
      ['OPTIONS *', 204],
    ] as const) {
      const client = await rawClient(node.port);
      client.socket.write(`${line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
      const text = await client.closed;
      expect(text, line).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(text).toMatch(/access-control-allow-origin: \*/);
      // A page's SDK goes by these before it asks again.
      expect(text).toMatch(/access-control-expose-headers: .*retry-after, x-should-retry/);
      expect(text).not.toMatch(/FST_|fastify|statusCode/);
    }
  });

  it('says 100 Continue to who waits for it', async () => {
    const client = await rawClient(node.port);
    const [head = '', body = ''] = chatRequest(node.apiKey, {}, ['expect: 100-continue']).split('\r\n\r\n');
    client.socket.write(`${head}\r\n\r\n`);
    await client.seen(/^HTTP\/1\.1 100 Continue/);
    client.socket.write(body);
    await client.seen(/HTTP\/1\.1 200 .*cost_usd/s);
    client.socket.destroy();
  });

  it('bounds how long a request may take to arrive', () => {
    const { server } = node.path.server;
    expect(server.requestTimeout).toBeGreaterThan(0);
    expect(server.headersTimeout).toBeGreaterThan(0);
    expect(server.headersTimeout).toBeLessThanOrEqual(60_000);
  });

  it('reads packed bodies, refuses other packings, and works on', async () => {
    const body = gzipSync(JSON.stringify({ model: 'm-1.5', messages: [{ role: 'user', content: 'Hi' }] }));
    const send = (encoding: string, bytes: Buffer): Promise<Response> =>
      fetch(`${node.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': 'application/json', 'content-encoding': encoding },
        body: new Uint8Array(bytes),
      });
    expect((await (await send('gzip', body)).text()).length).toBeGreaterThan(0);
    expect((await send('br', body)).status).toBe(415);
    expect((await send('gzip', body.subarray(0, -4))).status).toBe(400);
    expect((await send('gzip', gzipSync(Buffer.alloc(40_000_000)))).status).toBe(413);
    expect((await send('gzip', body)).status).toBe(200);
  });

  it.each([
    ['text/plain', 200],
    ['APPLICATION/JSON ; charset=utf-8', 200],
    ['json', 415],
    ['application/json, text/plain', 415],
    ['application/', 415],
  ])('takes a body of the type %j: %i', async (type, status) => {
    const response = await fetch(`${node.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${node.apiKey}`, 'content-type': type },
      body: JSON.stringify({ model: 'm-1.5', messages: [{ role: 'user', content: 'Hi' }] }),
    });
    expect(response.status).toBe(status);
    if (status === 415) expect(await response.text()).toContain('The content type cannot be read');
  });

  it('sends HTTP/1.0 clients their answer and closes', async () => {
    const client = await rawClient(node.port);
    client.socket.write(get('/v1/models', node.apiKey).replace('HTTP/1.1', 'HTTP/1.0'));
    expect(await client.closed).toMatch(/200 OK.*"m-1\.5"/s);
  });
});
