import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import type { GatewayError } from '@meridian/domain/error';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { portOf, rawClient } from '../testing.ts';
import { type BodyLimits, BodyReader } from './body.ts';

const LIMITS: BodyLimits = {
  ...{ maxBodyBytes: 10_000, maxBufferedBytes: 15_000, maxSenderBytes: 12_000, smallBodyBytes: 100 },
  // The tests end windows themselves.
  ...{ windowMs: 3_600_000, minWindowBytes: 1_000 },
};

let server: Server;
let port: number;
let bodies: BodyReader;
let arrived: (message: IncomingMessage) => void;

beforeEach(async () => {
  bodies = new BodyReader(LIMITS);
  server = createServer((message, response) => {
    response.on('error', () => {});
    message.on('close', () => response.end());
    arrived(message);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = portOf(server);
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

/** What the reader says of a body that is sent in these pieces. */
async function read(pieces: readonly Buffer[], headers: Record<string, string> = {}, sender = 'a'): Promise<Buffer | GatewayError> {
  const result = new Promise<Buffer | GatewayError>((resolve) => {
    arrived = (message) => bodies.read(message, sender, (error, body) => resolve(error ?? body ?? Buffer.from('neither')));
  });
  const client = request({ port, host: '127.0.0.1', method: 'POST', headers });
  client.on('error', () => {});
  client.on('response', (response) => response.resume());
  for (const piece of pieces) client.write(piece);
  client.end();
  return result;
}

describe('a body', () => {
  it('comes whole, in one piece or many, and counts until it is released', async () => {
    const body = await read([Buffer.from('one '), Buffer.alloc(5_000, 0x78), Buffer.from(' two')]);
    expect(Buffer.isBuffer(body) && body.toString()).toBe(`one ${'x'.repeat(5_000)} two`);
    expect(bodies.bufferedBytes).toBe(5_008);
    bodies.release('a', 5_008);
    expect(bodies.bufferedBytes).toBe(0);
  });

  it('is held once: the pieces that it came in are let go', async () => {
    const reader = new BodyReader();
    const pieces: WeakRef<ArrayBufferLike>[] = [];
    const whole = new Promise<Buffer | undefined>((resolve) => {
      arrived = (message) => {
        reader.read(message, 'a', (_, body) => resolve(body));
        message.on('data', (piece: Buffer) => pieces.push(new WeakRef(piece.buffer)));
      };
    });
    const seen = once(server, 'request');
    const client = await rawClient(port);
    client.socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n');
    client.socket.write(Buffer.alloc(4_000_000));
    // What the request's listeners reach is reached as long as the request is.
    const [request] = await seen;
    expect(await whole).toHaveLength(4_000_000);
    expect(pieces.length).toBeGreaterThan(20);
    setFlagsFromString('--expose-gc');
    const collect: () => void = runInNewContext('gc');
    const held = () => pieces.filter((piece) => piece.deref() !== undefined).length;
    for (let round = 0; round < 20 && held() > 5; round++) {
      await setImmediate();
      collect();
    }
    expect(held()).toBeLessThanOrEqual(5);
    expect(request).toBeDefined();
    client.socket.destroy();
  });

  it('is unpacked', async () => {
    expect(await read([gzipSync('hello')], { 'content-encoding': 'GZIP' })).toEqual(Buffer.from('hello'));
  });

  it.each<[string, number, readonly Buffer[], Record<string, string>]>([
    ['too long by what it declares', 413, [], { 'content-length': '10001' }],
    ['too long by what comes', 413, [Buffer.alloc(6_000), Buffer.alloc(6_000)], {}],
    ['small and unpacks to more than the limit', 413, [gzipSync(Buffer.alloc(1_000_000))], { 'content-encoding': 'gzip' }],
    ['no gzip', 400, [Buffer.from('plain text')], { 'content-encoding': 'gzip' }],
    ['a part of a gzip', 400, [gzipSync('hello').subarray(0, 12)], { 'content-encoding': 'gzip' }],
    ['packed in another way', 415, [Buffer.from('x')], { 'content-encoding': 'br' }],
    ['packed twice', 415, [Buffer.from('x')], { 'content-encoding': 'gzip, gzip' }],
  ])('that is %s: %i, and nothing stays counted', async (_, status, pieces, headers) => {
    const error = await read(pieces, headers);
    expect(error).toMatchObject({ name: 'GatewayError', status });
    expect(bodies.bufferedBytes).toBe(0);
  });

  it('is refused while others fill the room of all, with a time to come back', async () => {
    expect(await read([Buffer.alloc(9_000)])).toHaveLength(9_000);
    expect(await read([Buffer.alloc(9_000)], {}, 'b')).toMatchObject({ code: 'overloaded', retryAfterSeconds: 1 });
    expect([bodies.bufferedBytes, bodies.senders]).toEqual([9_000, 1]);
    bodies.release('a', 9_000);
    expect(bodies.senders).toBe(0);
    expect(await read([Buffer.alloc(9_000)], {}, 'b')).toHaveLength(9_000);
  });

  it('is refused to a sender who has taken a share, and to no other', async () => {
    expect(await read([Buffer.alloc(9_000)])).toHaveLength(9_000);
    const refused = await read([Buffer.alloc(4_000)]);
    expect(refused).toMatchObject({ code: 'rate_limit_exceeded', retryAfterSeconds: 1, details: { limit: 'body_bytes' } });
    expect(await read([Buffer.alloc(4_000)], {}, 'b')).toHaveLength(4_000);
    expect([bodies.bufferedBytes, bodies.senders]).toEqual([13_000, 2]);
    bodies.release('a', 9_000);
    expect(await read([Buffer.alloc(4_000)])).toHaveLength(4_000);
  });

  it('that is small comes in though there is no room, and counts', async () => {
    expect(await read([Buffer.alloc(9_000)])).toHaveLength(9_000);
    expect(await read([Buffer.alloc(6_000)], {}, 'b')).toHaveLength(6_000);
    for (const sender of ['a', 'b', 'c']) {
      expect(await read([Buffer.alloc(100)], {}, sender)).toHaveLength(100);
      expect(await read([Buffer.alloc(101)], {}, sender)).toMatchObject({ name: 'GatewayError', retryAfterSeconds: 1 });
    }
    expect(bodies.bufferedBytes).toBe(15_300);
  });

  describe('that comes slowly', () => {
    /** So much of a body of 9,000 bytes has come; `send` sends more of it. */
    async function begun(bytes: number, reader = bodies) {
      bodies = reader;
      const refused = Promise.withResolvers<GatewayError | null>();
      arrived = (message) => bodies.read(message, 'a', (error) => refused.resolve(error));
      const client = await rawClient(port);
      client.socket.on('error', () => {});
      let sent = bodies.bufferedBytes;
      const send = async (more: number): Promise<void> => {
        sent += more;
        client.socket.write(Buffer.alloc(more));
        await vi.waitUntil(() => bodies.bufferedBytes === sent, { timeout: 10_000, interval: 2 });
      };
      client.socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n');
      await send(bytes);
      return { send, refused: refused.promise };
    }

    it('is refused after a whole window in which too little came, and gives back its room', async () => {
      // The window in which it begins is not a whole one.
      const { send, refused } = await begun(500);
      bodies.endWindow();
      await send(1_000);
      bodies.endWindow();
      await send(999);
      expect(bodies.bufferedBytes).toBe(2_499);
      bodies.endWindow();
      expect(bodies.bufferedBytes).toBe(0);
      expect(await refused).toMatchObject({ code: 'invalid_request_error', status: 408 });
    });

    it('is read to its end while it keeps coming, or is small', async () => {
      await begun(100);
      const large = await begun(1_000);
      for (let window = 0; window < 7; window++) {
        bodies.endWindow();
        await large.send(1_000);
      }
      expect(bodies.bufferedBytes).toBe(8_100);
      await large.send(1_000);
      expect(await large.refused).toBeNull();
    });

    it('is refused when it is not whole in time, where there is one', async () => {
      const { send, refused } = await begun(1, new BodyReader({ ...LIMITS, maxWindows: 2 }));
      bodies.endWindow();
      await send(2_000);
      bodies.endWindow();
      await send(2_000);
      bodies.endWindow();
      expect(bodies.bufferedBytes).toBe(0);
      expect(await refused).toMatchObject({ status: 408 });
    });

    it('is looked at without being asked', async () => {
      bodies = new BodyReader({ ...LIMITS, windowMs: 20 });
      const refused = Promise.withResolvers<GatewayError | null>();
      arrived = (message) => bodies.read(message, 'a', (error) => refused.resolve(error));
      const client = await rawClient(port);
      client.socket.on('error', () => {});
      client.socket.write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n${'x'.repeat(5_000)}`);
      expect(await refused.promise).toMatchObject({ status: 408 });
    });
  });

  it.each([{}, { 'content-encoding': 'gzip' }])('whose client leaves in the middle counts no more (%o)', async (headers) => {
    const result = new Promise<GatewayError | null>((resolve) => {
      arrived = (message) => bodies.read(message, 'a', (error) => resolve(error));
    });
    const seen = once(server, 'request');
    const client = await rawClient(port);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    client.socket.write(`POST / HTTP/1.1\r\nhost: x\r\n${lines.join('')}content-length: 5000\r\n\r\n`);
    client.socket.write(gzipSync('some of it').subarray(0, 15));
    await seen;
    client.socket.destroy();
    expect(await result).toMatchObject({ code: 'client_closed_request' });
    expect(bodies.bufferedBytes).toBe(0);
  });
});
