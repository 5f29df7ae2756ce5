import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import OpenAI from 'openai';
import { ResponsesWS } from 'openai/resources/responses/ws';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Sketch } from '../../control/testing.ts';
import { chatRequest, type Provider, rawClient, startTestNode, type TestNode } from '../../testing.ts';
import {
  CLOSE_WITHIN_MS,
  LIFETIME_MS,
  MAX_ARRIVAL_MS,
  MAX_CONNECTION_MESSAGE_BYTES,
  MAX_CONNECTIONS_PER_KEY,
  MAX_OVERTIME_MS,
  MAX_STEER_BYTES,
  PING_EVERY_MS,
  SILENT_MS,
  STALL_MS,
} from './limits.ts';
import { asking, counting, errorOf, notLetIn, type ResponseObject, type ResponseStream, TestClient } from './testing.ts';

const SPEAKS_RESPONSES: Sketch = { endpoint: { dialect: 'openai-responses' } };

let node: TestNode;
let clients: TestClient[];
beforeEach(() => {
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.ws.terminate();
  await node.stop();
});

async function start(provider: Provider, sketch: Sketch = {}): Promise<void> {
  node = await startTestNode(provider, { ...SPEAKS_RESPONSES, ...sketch });
}

function client(path = '/v1/responses', apiKey = node.apiKey, options: ConstructorParameters<typeof TestClient>[2] = {}): TestClient {
  const made = new TestClient(`${node.url.replace('http', 'ws')}${path}`, apiKey, options);
  clients.push(made);
  return made;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Waits for something that the node does by itself. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** Sockets of the server. */
const open = (): Promise<number> =>
  new Promise((resolve, reject) => {
    node.path.server.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
  });

async function metric(name: string): Promise<number> {
  return Number(/ ([\d.e+]+)$/m.exec((await node.metrics.registry.getSingleMetricAsString(name)).trim())?.[1]);
}

const connections = (): Promise<number> => metric('meridian_websocket_connections');

describe('a WebSocket is opened', () => {
  it.each(['/v1/responses', '/v1/responses/', '//v1//responses', '/api/v1/responses?x=1'])('at %s', async (path) => {
    const { provider } = counting();
    await start(provider);
    const opened = await client(path).opened();
    expect((await opened.turn({ input: 'x' })).status).toBe('completed');
    await node.finals(1);
  });

  it('with the headers that every answer has', async () => {
    await start(counting().provider);
    const raw = await rawClient(node.port);
    raw.socket.write(
      `GET /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${node.apiKey}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    const text = await raw.seen(/\r\n\r\n/);
    expect(text).toMatch(/^HTTP\/1\.1 101 .*x-request-id: req_.*x-meridian-region: us/s);
    raw.socket.destroy();
    await until(async () => (await connections()) === 0);
  });

  it.each([
    ['without a key', '', {}, 401, 'invalid_api_key'],
    ['with a wrong key', 'sk-mrd-wrong', {}, 401, 'invalid_api_key'],
    ['in a region that is not its own', undefined, { key: { allowedRegions: ['eu'] } }, 403, 'wrong_region'],
    ['on a plan without API access', undefined, { plan: { apiAccess: false } }, 403, 'insufficient_tier'],
  ] as const)('not %s: that is an answer over HTTP', async (_, apiKey, sketch, status, code) => {
    await start(counting().provider, sketch as Sketch);
    const refused = await notLetIn(client('/v1/responses', apiKey ?? node.apiKey));
    expect(refused).toMatchObject({ status, headers: { 'content-type': 'application/json', connection: 'close' } });
    expect(refused.headers['x-request-id']).toMatch(/^req_/);
    expect(JSON.parse(refused.body)).toMatchObject({ error: { code } });
    expect(node.path.running).toBe(0);
  });

  it('not, and then nothing is left of the attempt', async () => {
    await start(counting().provider);
    await notLetIn(client('/v1/responses', 'sk-mrd-wrong'));
    await until(async () => (await open()) === 0);
    // One that neither reads on nor closes.
    const socket = connect({ port: node.port, host: '127.0.0.1', allowHalfOpen: true });
    socket.write('GET /v1/responses HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    await once(socket, 'end');
    expect(text).toMatch(/^HTTP\/1\.1 401 .*invalid_api_key/s);
    expect(await open()).toBe(1);
    node.pass(CLOSE_WITHIN_MS);
    await until(async () => (await open()) === 0);
    await node.path.drain(30_000);
    socket.destroy();
  });

  it('not beyond the rate limits of the key', async () => {
    const { provider } = counting();
    await start(provider, { key: { rateLimits: { requestsPerMinute: 1 } } });
    const first = await client().opened();
    // A connection is no request yet.
    await first.turn({ input: 'x' });
    const refused = await notLetIn(client());
    expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': expect.stringMatching(/^\d+$/) } });
    expect(JSON.parse(refused.body)).toMatchObject({ error: { code: 'rate_limit_exceeded' } });
    node.pass(60_000);
    await client().opened();
    await node.finals(1);
  });

  it(`not more than ${MAX_CONNECTIONS_PER_KEY} times by one key`, async () => {
    await start(counting().provider);
    for (let index = 0; index < MAX_CONNECTIONS_PER_KEY; index++) client();
    await Promise.all(clients.map((each) => each.opened()));
    const refused = await notLetIn(client());
    expect(refused.status).toBe(429);
    expect(JSON.parse(refused.body)).toMatchObject({ error: { code: 'rate_limit_exceeded', limit: 'websocket_connections' } });
    await clients[0]?.close();
    await until(async () => (await connections()) < MAX_CONNECTIONS_PER_KEY);
    await client().opened();
  });

  it('not with a broken handshake, and not at another path', async () => {
    await start(counting().provider);
    const raw = await rawClient(node.port);
    const handshake = (path: string, key: string): string =>
      `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${node.apiKey}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n${key}\r\n`;
    raw.socket.write(handshake('/v1/responses', ''));
    const text = await raw.closed;
    expect(text).toMatch(/^HTTP\/1\.1 400 .*Sec-WebSocket-Key.*invalid_request_error/s);
    const other = await notLetIn(client('/v1/chat/completions'));
    expect(other.status).toBe(404);
    expect(JSON.parse(other.body)).toMatchObject({ error: { code: 'unsupported_endpoint' } });
  });

  it('not by a plain GET, which is told so', async () => {
    await start(counting().provider);
    const answer = await fetch(`${node.url}/api/v1/responses`);
    expect([answer.status, answer.headers.get('upgrade')]).toEqual([426, 'websocket']);
    expect(await answer.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
  });

  it('only where it is asked for: another upgrade is passed over', async () => {
    await start((_, response) => void response.writeHead(500).end());
    const raw = await rawClient(node.port);
    raw.socket.write(chatRequest('wrong', {}, ['connection: upgrade', 'upgrade: h2c', 'http2-settings: x']));
    expect(await raw.seen(/invalid_api_key/)).toMatch(/^HTTP\/1\.1 401 /);
    raw.socket.destroy();
  });
});

describe("OpenAI's SDK", () => {
  it('holds a conversation with it', async () => {
    const { provider } = counting();
    await start(provider);
    const openai = new OpenAI({ baseURL: `${node.url}/v1`, apiKey: node.apiKey });
    const socket = new ResponsesWS(openai);
    const events = socket.stream();
    const answer = async (): Promise<ResponseObject> => {
      for await (const event of { [Symbol.asyncIterator]: () => ({ next: () => events.next() }) }) {
        if (event.type === 'error') throw event.error;
        if (event.type !== 'message') continue;
        const { message } = event;
        if (message.type === 'response.completed') return message.response as unknown as ResponseObject;
      }
      throw new Error('closed');
    };
    socket.send({ type: 'response.create', model: 'm-1.5', store: false, input: 'ready?', generate: false });
    let previous = await answer();
    for (let index = 1; index <= 3; index++) {
      socket.send({ type: 'response.create', model: 'm-1.5', store: false, input: `turn ${index}`, previous_response_id: previous.id });
      previous = await answer();
      expect(previous.output[0]?.content?.[0]?.text).toBe(`answer ${index} to ${2 * index} items`);
    }
    socket.send({ type: 'response.create', model: 'm-1.5', store: false, input: 'x', previous_response_id: 'resp_gone' });
    await expect(answer()).rejects.toMatchObject({ error: { status: 400, error: { code: 'previous_response_not_found' } } });
    socket.close();
    await node.finals(3);
  });
});

describe('a connection', () => {
  it('is kept alive by messages while nothing comes from the provider', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const one = await client().opened();
    one.create({ stream_id: 'a', input: 'x' });
    const { stream } = await asked();
    node.pass(10_000);
    expect(await one.next('a')).toEqual({ stream_id: 'a', type: 'keepalive' });
    node.pass(15_000);
    expect(await one.next('a')).toEqual({ stream_id: 'a', type: 'keepalive' });
    stream.whole('late');
    expect((await one.answer('a')).at(-1)?.type).toBe('response.completed');
    await node.finals(1);
  });

  it('is pinged, and closed when its peer is silent for long', async () => {
    await start(counting().provider);
    const [answers, silent] = [await client().opened(), await client('/v1/responses', node.apiKey, { autoPong: false }).opened()];
    let pings = 0;
    silent.ws.on('ping', () => pings++);
    let pongs = 0;
    answers.ws.on('ping', () => pongs++);
    for (let count = 1; count <= SILENT_MS / PING_EVERY_MS; count++) {
      node.pass(PING_EVERY_MS);
      await until(() => pings === count && pongs === count);
      // The answer to the ping has to arrive before the next.
      await answers.refused({ model: 'no-such', input: 'x' });
    }
    node.pass(PING_EVERY_MS);
    expect((await silent.closed)[0]).toBe(1006);
    expect(await connections()).toBe(1);
    expect(answers.ws.readyState).toBe(answers.ws.OPEN);
  });

  it('ends after its lifetime: at once when it rests', async () => {
    const { provider } = counting();
    await start(provider);
    const one = await client('/v1/responses', node.apiKey).opened();
    await one.turn({ input: 'x' });
    // The hour passes without the answers to the pings in between, so it passes in parts.
    for (let passed = 0; passed < LIFETIME_MS; passed += SILENT_MS / 2) {
      node.pass(SILENT_MS / 2);
      if (passed + SILENT_MS / 2 < LIFETIME_MS) await one.refused({ model: 'no-such', input: 'x' });
    }
    const told = (await one.answer()).at(-1);
    expect(errorOf(told)).toEqual({
      status: 400,
      code: 'websocket_connection_limit_reached',
      message: 'Responses websocket connection limit reached (60 minutes). Create a new websocket connection to continue.',
      param: null,
    });
    expect((await one.closed)[0]).toBe(1001);
    await node.finals(1);
  });

  /** A turn of which some has come, on a connection that is as old as it may get. */
  async function overdue(): Promise<{ one: TestClient; stream: ResponseStream }> {
    const { provider, asked } = asking();
    await start(provider);
    const one = await client().opened();
    const lastMs = 30_000;
    for (let passedMs = lastMs; passedMs < LIFETIME_MS; passedMs += PING_EVERY_MS) {
      await one.refused({ model: 'no-such', input: 'x' });
      node.pass(PING_EVERY_MS);
    }
    one.create({ stream_id: 'a', input: 'x' });
    const { stream } = await asked();
    stream.begin();
    stream.text('so');
    while ((await one.next('a')).type !== 'response.output_text.delta');
    one.create({ stream_id: 'a', input: 'y' });
    node.pass(lastMs);
    // What waits is refused, and so is what comes.
    expect(errorOf((await one.answer('a')).at(-1)).code).toBe('websocket_connection_limit_reached');
    one.create({ stream_id: 'b', input: 'z' });
    expect(errorOf(await one.next('b')).code).toBe('websocket_connection_limit_reached');
    expect(one.ws.readyState).toBe(one.ws.OPEN);
    return { one, stream };
  }

  it('ends after its lifetime, when what runs has been finished', async () => {
    const { one, stream } = await overdue();
    stream.text(' far');
    stream.end('so far');
    expect((await one.answer('a')).at(-1)?.type).toBe('response.completed');
    expect(errorOf(await one.next()).code).toBe('websocket_connection_limit_reached');
    expect(await one.closed).toEqual([1001, 'connection limit reached']);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'success', exactness: 'exact' }]);
    expect(node.asked).toHaveLength(1);
  });

  it('ends after its lifetime and a while, though something still runs: it is charged as behind a client that leaves', async () => {
    const { one, stream } = await overdue();
    for (let passedMs = 0; passedMs < MAX_OVERTIME_MS; passedMs += PING_EVERY_MS) {
      // Neither side is silent.
      stream.text(' more');
      while ((await one.next('a')).type !== 'response.output_text.delta');
      one.create({ stream_id: 'b', input: 'z' });
      expect(errorOf(await one.next('b')).code).toBe('websocket_connection_limit_reached');
      node.pass(PING_EVERY_MS);
    }
    expect(errorOf(await one.next()).code).toBe('websocket_connection_limit_reached');
    expect(await one.closed).toEqual([1001, 'connection limit reached']);
    await until(async () => (await connections()) === 0);
    node.pass(10_000);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'client_gone', exactness: 'estimated' }]);
  });

  it('finishes what runs when the node stops, refuses what waits, and closes', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const [busy, idle] = [await client().opened(), await client().opened()];
    busy.create({ input: 'one' });
    const { stream } = await asked();
    busy.create({ input: 'two' });
    stream.begin();
    stream.text('so');
    while ((await busy.next()).type !== 'response.output_text.delta');
    let drained = false;
    const drain = node.path.drain(30_000).then(() => {
      drained = true;
    });
    expect((await idle.closed)[0]).toBe(1012);
    expect(errorOf(await busy.next())).toMatchObject({ status: 503, code: 'overloaded' });
    busy.create({ input: 'three' });
    expect(errorOf(await busy.next())).toMatchObject({ status: 503 });
    expect((await notLetIn(client())).status).toBe(503);
    expect(drained).toBe(false);
    stream.text(' far');
    stream.end('so far');
    expect((await busy.answer()).at(-1)?.type).toBe('response.completed');
    expect((await busy.closed)[0]).toBe(1012);
    await drain;
    expect(node.asked).toHaveLength(1);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'success' }]);
  });

  it('tells a turn that is cut when the time to stop is over', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const one = await client().opened();
    one.create({ input: 'one' });
    const { stream } = await asked();
    stream.begin();
    stream.text('so');
    while ((await one.next()).type !== 'response.output_text.delta');
    const drain = node.path.drain(5_000);
    node.pass(5_000);
    expect(errorOf((await one.answer()).at(-1))).toMatchObject({ status: 503, code: 'overloaded' });
    expect((await one.closed)[0]).toBe(1012);
    await drain;
    expect(await node.finals(1)).toMatchObject([{ outcome: 'failed', chargeNano: 0n }]);
  });

  it('does not wait for ever for a client that does not close', async () => {
    await start(counting().provider);
    const one = await client().opened();
    one.ws.pause();
    const drain = node.path.drain(30_000);
    await turn();
    expect(await connections()).toBe(1);
    node.pass(CLOSE_WITHIN_MS);
    await drain;
    expect(await connections()).toBe(0);
  });

  it('does not take more than a request may have, and closes by the rules', async () => {
    await start(counting().provider);
    const one = await client().opened();
    one.ws.send('x'.repeat(33 * 1024 * 1024));
    expect((await one.closed)[0]).toBe(1009);
    const two = await client().opened();
    two.ws.send(Buffer.from([0x22, 0xff, 0x22]), { binary: false });
    expect((await two.closed)[0]).toBe(1007);
    await until(async () => (await connections()) === 0);
    expect(await metric('meridian_websocket_message_bytes')).toBe(0);
  });

  it('does not wait for the rest of a message for ever, whatever comes of it meanwhile', async () => {
    await start(counting().provider);
    const accepted: Socket[] = [];
    node.path.server.server.on('connection', (socket) => accepted.push(socket));
    const one = await client().opened();
    const [socket] = accepted;
    if (socket === undefined) throw new Error('no connection');
    // A client that rests and answers pings is left alone for longer.
    for (let passedMs = 0; passedMs < 2 * MAX_ARRIVAL_MS; passedMs += PING_EVERY_MS) {
      const readBytes = socket.bytesRead;
      node.pass(PING_EVERY_MS);
      await until(() => socket.bytesRead > readBytes);
    }
    expect(await metric('meridian_websocket_message_bytes')).toBe(0);
    for (let passedMs = 0; passedMs < MAX_ARRIVAL_MS; passedMs += PING_EVERY_MS) {
      expect(one.ws.readyState).toBe(one.ws.OPEN);
      const readBytes = socket.bytesRead;
      one.ws.send('x'.repeat(1_000), { fin: false });
      await until(() => socket.bytesRead > readBytes + 1_000);
      node.pass(PING_EVERY_MS);
    }
    const closing = one.ws;
    await until(() => closing.readyState !== closing.OPEN);
    node.pass(CLOSE_WITHIN_MS);
    expect(await one.closed).toEqual([1008, 'a message took too long to arrive']);
    await until(async () => (await connections()) === 0);
    expect(await metric('meridian_websocket_message_bytes')).toBe(0);
  });

  it('holds no more than its share: a turn beyond it is refused', async () => {
    const { provider, asked } = asking();
    await start(provider, { account: { balanceNano: 1_000_000_000_000n } });
    const one = await client().opened();
    const input = 'x'.repeat(28 * 1024 * 1024);
    one.create({ stream_id: 'a', input });
    const { stream } = await asked();
    // The message of a turn and the request made of it; there is room for one more, not for what would be made of that.
    one.create({ stream_id: 'b', input });
    expect(errorOf(await one.next('b'))).toMatchObject({ status: 429, code: 'websocket_queue_limit_reached' });
    expect(await metric('meridian_websocket_message_bytes')).toBeLessThan(MAX_CONNECTION_MESSAGE_BYTES);
    expect(node.asked).toHaveLength(1);
    stream.whole('done');
    expect((await one.answer('a')).at(-1)?.type).toBe('response.completed');
    await until(async () => (await metric('meridian_websocket_message_bytes')) === 0);
    await node.finals(1);
  });
});

describe('a client that reads slowly', () => {
  const LONG = 'y'.repeat(32 * 1024);
  const MANY = 1_500;

  it('slows the provider down, and gets all of it', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const one = await client().opened();
    one.create({ input: 'x' });
    const { stream } = await asked();
    stream.begin();
    stream.text('first');
    while ((await one.next()).type !== 'response.output_text.delta');
    one.ws.pause();
    let written = 0;
    const write = (): void => {
      while (written < MANY) {
        written++;
        if (!stream.text(LONG)) {
          stream.response.once('drain', write);
          return;
        }
      }
      stream.end('all');
    };
    write();
    // The provider cannot get rid of it: what nobody reads is not held here.
    let before = -1;
    await until(async () => {
      if (written === before) return true;
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 200));
      return false;
    });
    expect(written).toBeLessThan(MANY);
    one.ws.resume();
    const messages = await one.answer();
    expect(messages.filter(({ type }) => type === 'response.output_text.delta')).toHaveLength(MANY);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'success' }]);
  });

  it('is disconnected when it reads nothing at all, and gets no further turn meanwhile', async () => {
    const { provider, asked } = asking();
    await start(provider);
    const one = await client().opened();
    one.create({ stream_id: 'a', input: 'x' });
    const { stream } = await asked();
    stream.begin();
    one.ws.pause();
    const write = (): void => {
      while (stream.text(LONG));
      stream.response.once('drain', write);
    };
    write();
    let resting = 0;
    let last = 0;
    await until(async () => {
      const sent = stream.response.socket?.bytesWritten ?? 0;
      resting = sent === last ? resting + 1 : 0;
      last = sent;
      await new Promise((resolve) => setTimeout(resolve, 20));
      return resting > 10;
    });
    one.create({ stream_id: 'b', input: 'y' });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(node.asked).toHaveLength(1);
    node.pass(STALL_MS + PING_EVERY_MS);
    await until(async () => (await connections()) === 0);
    // Its upstream is read on for a while, as behind any client that has left, and then cut.
    node.pass(10_000);
    expect(await node.finals(1)).toMatchObject([{ outcome: 'client_gone' }]);
    expect(node.asked).toHaveLength(1);
  });

  it('is not read from while it does not read what it gets for it', async () => {
    await start(counting().provider);
    const accepted: Socket[] = [];
    node.path.server.server.on('connection', (socket) => accepted.push(socket));
    const one = await client().opened();
    const [socket] = accepted;
    if (socket === undefined) throw new Error('no connection');
    one.ws.pause();
    const count = 1_500;
    // Each comes back whole.
    for (let sent = 0; sent < count; sent++) one.send({ type: 'response.steer', previous_response_id: 'r', input: LONG });
    await until(() => socket.bytesRead > LONG.length && socket.isPaused());
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(socket.bytesRead).toBeLessThan((LONG.length * count) / 2);
    expect(socket.writableLength).toBeLessThan(10 * LONG.length);
    one.ws.resume();
    await until(() => one.messages.length === count);
  });

  it('gets no large input for a turn that runs back', async () => {
    await start(counting().provider);
    const one = await client().opened();
    one.send({ type: 'response.steer', previous_response_id: 'r', input: 'x'.repeat(MAX_STEER_BYTES) });
    const told = await one.next();
    expect(errorOf(told)).toMatchObject({ status: 413, code: 'request_too_large' });
    expect(JSON.stringify(told).length).toBeLessThan(1_000);
    expect((await one.turn({ input: 'x' })).status).toBe('completed');
    await node.finals(1);
  });
});
