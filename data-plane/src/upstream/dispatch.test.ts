import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Upstream, UpstreamFailure, UpstreamHandler, UpstreamRequest, UpstreamTimeouts } from './call.ts';
import { Deadlines } from './deadline.ts';
import { createUpstream } from './dispatch.ts';

const TIMEOUTS: UpstreamTimeouts = { connectMs: 5_000, firstByteMs: 60_000, idleMs: 30_000, totalMs: 600_000 };

const clock = { timeMs: 0, nowMs: () => clock.timeMs };
let deadlines: Deadlines;
let upstream: Upstream;
let provider: Provider;
const others: Provider[] = [];

/** Lets time pass on the wheel, in ticks as the interval would. */
function pass(ms: number): void {
  for (let passed = 0; passed < ms; passed += 250) {
    clock.timeMs += 250;
    deadlines.advance();
  }
}

/** A provider at the level of bytes: what it reads is kept, what it writes is up to the test. */
interface Provider {
  readonly origin: string;
  readonly server: Server;
  readonly sockets: Socket[];
  /** The next connection on which a whole request has arrived, with the request's bytes. */
  request(): Promise<{ socket: Socket; bytes: Buffer }>;
}

async function startProvider(): Promise<Provider> {
  const sockets: Socket[] = [];
  const arrived: { socket: Socket; bytes: Buffer }[] = [];
  const waiting: ((request: { socket: Socket; bytes: Buffer }) => void)[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      const head = bytes.indexOf('\r\n\r\n');
      if (head === -1) return;
      const length = Number(/content-length: (\d+)/i.exec(bytes.toString('latin1', 0, head))?.[1] ?? 0);
      if (bytes.length < head + 4 + length) return;
      const request = { socket, bytes };
      bytes = Buffer.alloc(0);
      const next = waiting.shift();
      if (next === undefined) arrived.push(request);
      else next(request);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  return {
    origin: `http://127.0.0.1:${address.port}`,
    server,
    sockets,
    request: () => {
      const there = arrived.shift();
      return there === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(there);
    },
  };
}

async function stopProvider(stopped: Provider): Promise<void> {
  for (const socket of stopped.sockets) socket.destroy();
  if (!stopped.server.listening) return;
  stopped.server.close();
  await once(stopped.server, 'close');
}

/** Everything a call told, in order. */
class Listener implements UpstreamHandler {
  readonly events: string[] = [];
  readonly chunks: Buffer[] = [];
  status = 0;
  headers: Readonly<Record<string, string>> = {};
  failure: UpstreamFailure | undefined;
  onChunk: (chunk: Buffer) => void = () => {};
  readonly over: Promise<void>;
  readonly head: Promise<void>;
  #over: () => void = () => {};
  #head: () => void = () => {};
  #waits: { bytes: number; resolve: () => void }[] = [];

  constructor() {
    this.over = new Promise((resolve) => {
      this.#over = resolve;
    });
    this.head = new Promise((resolve) => {
      this.#head = resolve;
    });
  }

  get body(): string {
    return Buffer.concat(this.chunks).toString();
  }

  get bytes(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  received(bytes: number): Promise<void> {
    if (this.bytes >= bytes) return Promise.resolve();
    return new Promise((resolve) => this.#waits.push({ bytes, resolve }));
  }

  onHead(status: number, headers: Readonly<Record<string, string>>): void {
    this.events.push('head');
    this.status = status;
    this.headers = headers;
    this.#head();
  }

  onData(chunk: Buffer): void {
    if (this.events.at(-1) !== 'data') this.events.push('data');
    this.chunks.push(chunk);
    this.#waits = this.#waits.filter((wait) => {
      if (this.bytes < wait.bytes) return true;
      wait.resolve();
      return false;
    });
    this.onChunk(chunk);
  }

  onEnd(): void {
    this.events.push('end');
    this.#over();
  }

  onFailure(failure: UpstreamFailure): void {
    this.events.push('failure');
    this.failure = failure;
    this.#over();
  }
}

function request(change: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return {
    origin: provider.origin,
    path: '/v1/chat/completions',
    method: 'POST',
    headers: ['content-type', 'application/json', 'authorization', 'Bearer secret'],
    body: [Buffer.from('{"model":"m"}')],
    timeouts: TIMEOUTS,
    ...change,
  };
}

function dispatch(change: Partial<UpstreamRequest> = {}) {
  const listener = new Listener();
  return { listener, call: upstream.dispatch(request(change), listener) };
}

const answer = (body: string, headers = '') => `HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

beforeEach(async () => {
  clock.timeMs = 0;
  deadlines = new Deadlines(clock);
  upstream = createUpstream({ deadlines, connectionsPerOrigin: 2 });
  provider = await startProvider();
});

afterEach(async () => {
  await upstream.close();
  await Promise.all([provider, ...others.splice(0)].map(stopProvider));
  expect(deadlines.size).toBe(0);
});

describe('a call', () => {
  it('tells head, data and end, in this order, each once', async () => {
    const { listener } = dispatch();
    const { socket, bytes } = await provider.request();
    expect(bytes.toString()).toBe(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: ${new URL(provider.origin).host}\r\nconnection: keep-alive\r\n` +
        'content-type: application/json\r\nauthorization: Bearer secret\r\ncontent-length: 13\r\n\r\n{"model":"m"}',
    );
    socket.write(answer('hello', 'X-Request-Id: r1\r\nvary: a\r\nvary: b\r\n'));
    await listener.over;
    expect(listener.events).toEqual(['head', 'data', 'end']);
    expect(listener.status).toBe(200);
    expect(listener.headers['x-request-id']).toBe('r1');
    expect(listener.headers.vary).toBe('a, b');
    expect(listener.body).toBe('hello');
  });

  it('tells an answer of any status as it is', async () => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\ncontent-length: 2\r\n\r\n{}');
    await listener.over;
    expect(listener.status).toBe(429);
    expect(listener.events).toEqual(['head', 'data', 'end']);
  });

  it('tells an answer without a body', async () => {
    const { listener } = dispatch({ method: 'DELETE', body: [] });
    const { socket, bytes } = await provider.request();
    expect(bytes.toString()).not.toContain('content-length');
    socket.write('HTTP/1.1 204 No Content\r\n\r\n');
    await listener.over;
    expect(listener.events).toEqual(['head', 'end']);
  });

  it('passes over an informational answer', async () => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n');
    socket.write(answer('ok'));
    await listener.over;
    expect(listener.events).toEqual(['head', 'data', 'end']);
    expect(listener.status).toBe(200);
  });

  it('reads chunked answers as they come', async () => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n');
    await listener.received(3);
    socket.write('2\r\nde\r\n0\r\n\r\n');
    await listener.over;
    expect(listener.body).toBe('abcde');
    expect(listener.events).toEqual(['head', 'data', 'end']);
  });

  it('reads an answer that ends with its connection', async () => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it');
    await listener.over;
    expect(listener.events).toEqual(['head', 'data', 'end']);
    expect(listener.body).toBe('all of it');
  });

  it('uses a connection again', async () => {
    for (let count = 0; count < 3; count++) {
      const { listener } = dispatch();
      const { socket } = await provider.request();
      socket.write(answer(String(count)));
      await listener.over;
      expect(listener.body).toBe(String(count));
      await turn();
    }
    expect(provider.sockets).toHaveLength(1);
  });

  it('closes the connections of an origin that nobody has called for a while, not before', async () => {
    const { listener } = dispatch({ timeouts: { ...TIMEOUTS, firstByteMs: 600_000 } });
    const { socket } = await provider.request();
    const closed = once(socket, 'close');
    pass(302_000);
    expect(socket.destroyed).toBe(false);
    socket.write(answer('late'));
    await listener.over;
    expect(listener.body).toBe('late');
    pass(302_000);
    pass(302_000);
    await closed;
  });

  it('opens no more connections than it may, and the next call waits for one', async () => {
    const first = [dispatch(), dispatch(), dispatch()];
    const one = await provider.request();
    await provider.request();
    expect(provider.sockets).toHaveLength(2);
    one.socket.write(answer('first'));
    const third = await provider.request();
    expect(third.socket).toBe(one.socket);
    for (const { call } of first) call.cancel();
  });

  it.each([
    ['a few slices', [10, 20, 30]],
    ['slices with empty ones between', [0, 100, 0, 200, 0]],
    ['large slices', [300_000, 1, 500_000]],
  ])('sends %s as one body of exact length', async (_name, sizes) => {
    const slices = sizes.map((size, index) => Buffer.alloc(size, 97 + index));
    const { listener } = dispatch({ body: slices });
    const { socket, bytes } = await provider.request();
    const head = bytes.indexOf('\r\n\r\n');
    expect(bytes.toString('latin1', 0, head)).toContain(`content-length: ${sizes.reduce((sum, size) => sum + size, 0)}`);
    expect(bytes.subarray(head + 4).equals(Buffer.concat(slices))).toBe(true);
    socket.write(answer('ok'));
    await listener.over;
    expect(listener.events).toEqual(['head', 'data', 'end']);
  });

  it('hands over an answer that comes before the body was sent whole', async () => {
    const server = await startProvider();
    others.push(server);
    server.server.on('connection', (socket: Socket) =>
      socket.pause().once('readable', () => socket.write('HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}')),
    );
    const { listener } = dispatch({ origin: server.origin, body: [Buffer.alloc(8_000_000), Buffer.alloc(8_000_000)] });
    await listener.head;
    expect(listener.status).toBe(413);
    await listener.over;
    expect(listener.events).toEqual(['head', 'data', 'end']);
  });
});

describe('a failure', () => {
  it('is connect_failed, certain, when the connection is refused', async () => {
    await stopProvider(provider);
    const { listener } = dispatch();
    await listener.over;
    expect(listener.events).toEqual(['failure']);
    expect(listener.failure).toMatchObject({ kind: 'connect_failed', uncertain: false, cause: { code: 'ECONNREFUSED' } });
  });

  it('is told after dispatch has returned', async () => {
    const listener = new Listener();
    const call = upstream.dispatch(request({ origin: 'no origin' }), listener);
    expect(call).toBeDefined();
    expect(listener.events).toEqual([]);
    await listener.over;
    expect(listener.failure).toMatchObject({ kind: 'connect_failed', uncertain: false });
  });

  it('is not told when the call is cancelled in the turn of its dispatch', async () => {
    const { listener, call } = dispatch({ origin: 'no origin' });
    call.cancel();
    await turn();
    expect(listener.events).toEqual([]);
  });

  it('is protocol_error, certain, when the request cannot be sent as it is', async () => {
    const { listener } = dispatch({ headers: ['x-bad', 'line\r\nbreak'] });
    await listener.over;
    expect(listener.failure).toMatchObject({ kind: 'protocol_error', uncertain: false });
  });

  it('is connect_timeout, certain, when no connection comes free in time', async () => {
    const busy = [dispatch(), dispatch()];
    await provider.request();
    await provider.request();
    const { listener } = dispatch();
    pass(TIMEOUTS.connectMs - 250);
    expect(listener.events).toEqual([]);
    pass(500);
    expect(listener.failure).toEqual({ kind: 'connect_timeout', uncertain: false, cause: undefined });
    for (const { call } of busy) call.cancel();
  });

  it('is connect_failed, certain, when too many calls wait for a connection', async () => {
    const small = createUpstream({ deadlines, connectionsPerOrigin: 1, maxWaitingCallsPerOrigin: 2 });
    const calls = [new Listener(), new Listener(), new Listener()].map((listener) => ({
      listener,
      call: small.dispatch(request(), listener),
    }));
    await calls[2]?.listener.over;
    expect(calls[2]?.listener.failure).toMatchObject({ kind: 'connect_failed', uncertain: false });
    await provider.request();
    const next = new Listener();
    small.dispatch(request(), next);
    await turn();
    expect(next.events).toEqual([]);
    await small.close();
  });

  it('is first_byte_timeout, uncertain, when the provider is silent', async () => {
    const { listener } = dispatch();
    await provider.request();
    pass(TIMEOUTS.firstByteMs - 250);
    expect(listener.events).toEqual([]);
    pass(500);
    expect(listener.events).toEqual(['failure']);
    expect(listener.failure).toEqual({ kind: 'first_byte_timeout', uncertain: true, cause: undefined });
  });

  it('comes in time for a stage that is shorter than the one before it', async () => {
    const { listener } = dispatch({ timeouts: { ...TIMEOUTS, connectMs: 300_000, idleMs: 300_000, firstByteMs: 2_000 } });
    await provider.request();
    pass(2_500);
    expect(listener.failure?.kind).toBe('first_byte_timeout');
  });

  it('is idle_timeout, uncertain, when the body stops coming; every piece puts it off', async () => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
    await listener.head;
    for (let count = 1; count <= 4; count++) {
      pass(TIMEOUTS.idleMs - 250);
      expect(listener.events).not.toContain('failure');
      socket.write('1\r\na\r\n');
      await listener.received(count);
    }
    pass(TIMEOUTS.idleMs + 250);
    expect(listener.events).toEqual(['head', 'data', 'failure']);
    expect(listener.failure).toEqual({ kind: 'idle_timeout', uncertain: true, cause: undefined });
  });

  it('is idle_timeout when the provider does not take the request', async () => {
    const server = await startProvider();
    others.push(server);
    const connected = once(server.server, 'connection');
    server.server.on('connection', (socket: Socket) => socket.pause());
    const { listener } = dispatch({ origin: server.origin, body: [Buffer.alloc(16_000_000), Buffer.alloc(16_000_000)] });
    await connected;
    // Whatever the kernel takes of it has been taken when nothing new is on its way for some turns of the loop.
    for (let count = 0; count < 50; count++) await turn();
    pass(TIMEOUTS.idleMs + 500);
    expect(listener.failure).toEqual({ kind: 'idle_timeout', uncertain: true, cause: undefined });
  });

  it('is total_timeout although pieces keep coming', async () => {
    const { listener } = dispatch({ timeouts: { ...TIMEOUTS, totalMs: 60_000 } });
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
    await listener.head;
    for (let count = 1; count <= 3; count++) {
      pass(19_000);
      socket.write('1\r\na\r\n');
      await listener.received(count);
    }
    pass(3_500);
    expect(listener.failure).toEqual({ kind: 'total_timeout', uncertain: true, cause: undefined });
  });

  it('closes the connection after a timeout', async () => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    const closed = once(socket, 'close');
    pass(TIMEOUTS.firstByteMs + 500);
    await listener.over;
    await closed;
  });

  it('is reset, uncertain, when the connection goes before the head', async () => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    socket.resetAndDestroy();
    await listener.over;
    expect(listener.failure).toMatchObject({ kind: 'reset', uncertain: true });
  });

  it('is reset, uncertain, when a connection that was used before goes', async () => {
    const warm = dispatch();
    const first = await provider.request();
    first.socket.write(answer('ok'));
    await warm.listener.over;
    await turn();
    const { listener } = dispatch();
    const second = await provider.request();
    expect(second.socket).toBe(first.socket);
    second.socket.destroy();
    await listener.over;
    expect(listener.events).toEqual(['failure']);
    expect(listener.failure).toMatchObject({ kind: 'reset', uncertain: true });
  });

  it.each([
    ['reset mid-body', 'content-length: 100', (socket: Socket) => socket.resetAndDestroy()],
    ['a body shorter than its content-length', 'content-length: 100', (socket: Socket) => socket.end()],
    [
      'a body shorter than its content-length on a closing connection',
      'connection: close\r\ncontent-length: 100',
      (socket: Socket) => socket.end(),
    ],
    ['a chunked body without its last chunk', 'transfer-encoding: chunked', (socket: Socket) => socket.end()],
    [
      'a chunked body without its last chunk on a closing connection',
      'connection: close\r\ntransfer-encoding: chunked',
      (socket: Socket) => socket.end(),
    ],
  ])('is reset, uncertain, on %s', async (_name, header, cut) => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    socket.write(`HTTP/1.1 200 OK\r\n${header}\r\n\r\n3\r\nabc\r\n`);
    await listener.received(3);
    cut(socket);
    await listener.over;
    expect(listener.events).toEqual(['head', 'data', 'failure']);
    expect(listener.failure).toMatchObject({ kind: 'reset', uncertain: true });
  });

  it.each([
    ['not HTTP', 'SSH-2.0-OpenSSH_9.9\r\n'],
    ['a misplaced 101', 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'],
    ['a head without end', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`],
  ])('is protocol_error, uncertain, on %s', async (_name, bytes) => {
    const { listener } = dispatch();
    const { socket } = await provider.request();
    socket.write(bytes);
    await listener.over;
    expect(listener.events).toEqual(['failure']);
    expect(listener.failure).toMatchObject({ kind: 'protocol_error', uncertain: true });
  });

  it('is told with its cause when a receiver throws', async () => {
    const { listener } = dispatch();
    listener.onChunk = () => {
      throw new Error('a bug of the receiver');
    };
    const { socket } = await provider.request();
    socket.write(answer('ok'));
    await listener.over;
    expect(listener.failure).toMatchObject({ kind: 'protocol_error', cause: { message: 'a bug of the receiver' } });
  });

  it('is cancelled, for calls at any stage, when the upstream is closed', async () => {
    const calls = [dispatch(), dispatch(), dispatch()];
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc');
    await Promise.race(calls.map(({ listener }) => listener.head));
    await upstream.close();
    await Promise.all(calls.map(({ listener }) => listener.over));
    for (const { listener } of calls) expect(listener.failure?.kind).toBe('cancelled');
    const late = dispatch();
    await late.listener.over;
    expect(late.listener.failure?.uncertain).toBe(false);
  });
});

describe('cancel', () => {
  it('while waiting for a connection: the request is never sent and the connection serves the next', async () => {
    const busy = [dispatch(), dispatch()];
    const one = await provider.request();
    const two = await provider.request();
    const waiting = dispatch({ path: '/cancelled' });
    const next = dispatch({ path: '/next' });
    waiting.call.cancel();
    one.socket.write(answer('ok'));
    const third = await provider.request();
    expect(third.bytes.toString()).toContain('POST /next');
    expect(third.socket).toBe(one.socket);
    third.socket.write(answer('ok'));
    two.socket.write(answer('ok'));
    await Promise.all([next.listener.over, ...busy.map(({ listener }) => listener.over)]);
    expect(waiting.listener.events).toEqual([]);
    expect(provider.sockets).toHaveLength(2);
  });

  it.each([
    ['before the head', '', []],
    ['after the head', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n', ['head']],
    ['in the body', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', ['head', 'data']],
  ])('%s: the connection is closed and nothing more is told', async (_name, bytes, events) => {
    const { listener, call } = dispatch();
    const { socket } = await provider.request();
    const closed = once(socket, 'close');
    if (bytes !== '') {
      socket.write(bytes);
      await listener.head;
      if (events.includes('data')) await listener.received(3);
    }
    call.cancel();
    call.cancel();
    await closed;
    await turn();
    expect(listener.events).toEqual(events);
  });

  it('from within an event stops the rest of the same read', async () => {
    const { listener, call } = dispatch();
    listener.onChunk = () => call.cancel();
    const { socket } = await provider.request();
    const closed = once(socket, 'close');
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n');
    await closed;
    expect(listener.body).toBe('a');
    expect(listener.events).toEqual(['head', 'data']);
  });

  it('after the end does nothing and keeps the connection', async () => {
    const { listener, call } = dispatch();
    const { socket } = await provider.request();
    socket.write(answer('ok'));
    await listener.over;
    call.cancel();
    await turn();
    const again = dispatch();
    const second = await provider.request();
    expect(second.socket).toBe(socket);
    second.socket.write(answer('ok'));
    await again.listener.over;
  });

  it('while paused drops what is held', async () => {
    const { listener, call } = dispatch();
    listener.onChunk = () => call.pause();
    const { socket } = await provider.request();
    const closed = once(socket, 'close');
    socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it');
    await listener.received(1);
    for (let count = 0; count < 5; count++) await turn();
    call.cancel();
    call.resume();
    await closed;
    expect(listener.events).toEqual(['head', 'data']);
  });
});

describe('pause', () => {
  it('stops reading: the provider can write no more than the buffers of the kernel take', async () => {
    const { listener, call } = dispatch();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n');
    listener.onChunk = () => call.pause();
    await listener.head;
    let written = 0;
    const block = Buffer.alloc(1_000_000, 120);
    while (written < 100 && socket.write(block)) written++;
    await listener.received(1);
    const atPause = listener.bytes;
    for (let count = 0; count < 100; count++) await turn();
    expect(listener.bytes).toBe(atPause);
    expect(atPause).toBeLessThanOrEqual(65_536);

    listener.onChunk = () => {};
    call.resume();
    await listener.received(atPause + 1);
    call.cancel();
  });

  it('hands over piece by piece what the provider had written before it closed', async () => {
    const { listener, call } = dispatch();
    const { socket } = await provider.request();
    listener.onChunk = () => call.pause();
    socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n');
    for (let count = 1; count <= 3; count++) {
      await listener.received(count);
      for (let turns = 0; turns < 10; turns++) await turn();
      expect(listener.bytes).toBe(count);
      expect(listener.events).toEqual(['head', 'data']);
      call.resume();
    }
    await listener.over;
    expect(listener.body).toBe('abc');
    expect(listener.events).toEqual(['head', 'data', 'end']);
  });

  it('holds a piece that arrives after a pause from outside of an event', async () => {
    const { listener, call } = dispatch();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n');
    await listener.received(1);
    call.pause();
    await new Promise<void>((resolve) => socket.write('1\r\nb\r\n1\r\nc\r\n0\r\n\r\n', () => resolve()));
    for (let turns = 0; turns < 20; turns++) await turn();
    expect(listener.body).toBe('a');
    listener.onChunk = () => call.pause();
    call.resume();
    expect(listener.body).toBe('ab');
    call.resume();
    await listener.received(3);
    expect(listener.events).toEqual(['head', 'data']);
    call.resume();
    await listener.over;
    expect(listener.body).toBe('abc');
    expect(listener.events).toEqual(['head', 'data', 'end']);
  });

  it('holds an end that arrives after a pause from outside of an event', async () => {
    const { listener, call } = dispatch();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n');
    await listener.received(1);
    call.pause();
    await new Promise<void>((resolve) => socket.write('0\r\n\r\n', () => resolve()));
    for (let turns = 0; turns < 20; turns++) await turn();
    expect(listener.events).toEqual(['head', 'data']);
    call.resume();
    expect(listener.events).toEqual(['head', 'data', 'end']);
  });

  it('does not keep a failure back', async () => {
    const { listener, call } = dispatch();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc');
    await listener.received(3);
    call.pause();
    socket.resetAndDestroy();
    await listener.over;
    expect(listener.failure).toMatchObject({ kind: 'reset', uncertain: true });
  });

  it('keeps the order when a receiver pauses and resumes within an event', async () => {
    const { listener, call } = dispatch();
    const { socket } = await provider.request();
    listener.onChunk = () => {
      call.pause();
      call.resume();
    };
    const letters = 'abcdefghijklmnopqrstuvwxyz';
    socket.end(
      `HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n${[...letters].map((letter) => `1\r\n${letter}\r\n`).join('')}0\r\n\r\n`,
    );
    await listener.over;
    expect(listener.body).toBe(letters);
    expect(listener.events).toEqual(['head', 'data', 'end']);
  });

  it('stops the idle deadline, not the total', async () => {
    const { listener, call } = dispatch({ timeouts: { ...TIMEOUTS, totalMs: 100_000 } });
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc');
    await listener.received(3);
    call.pause();
    pass(TIMEOUTS.idleMs + 10_000);
    expect(listener.events).toEqual(['head', 'data']);
    call.resume();
    pass(TIMEOUTS.idleMs - 500);
    expect(listener.events).toEqual(['head', 'data']);
    call.pause();
    pass(40_000);
    expect(listener.failure).toEqual({ kind: 'total_timeout', uncertain: true, cause: undefined });
  });

  it('before the request is sent stops reading too', async () => {
    const { listener, call } = dispatch();
    call.pause();
    const { socket } = await provider.request();
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n');
    for (let count = 0; count < 100; count++) socket.write(Buffer.alloc(1_000_000));
    await listener.head;
    for (let turns = 0; turns < 200; turns++) await turn();
    expect(listener.bytes).toBe(0);
    expect(socket.writableLength).toBeGreaterThan(50_000_000);
    call.cancel();
  });

  it('before the head holds the body back', async () => {
    const { listener, call } = dispatch();
    call.pause();
    const { socket } = await provider.request();
    socket.write(answer('hello'));
    await listener.head;
    for (let count = 0; count < 5; count++) await turn();
    expect(listener.events).toEqual(['head']);
    call.resume();
    await listener.over;
    expect(listener.body).toBe('hello');
  });
});
