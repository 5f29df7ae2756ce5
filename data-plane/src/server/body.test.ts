import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { gzipSync } from 'node:zlib';
import type { GatewayError } from '@meridian/domain/error';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { portOf, rawClient } from '../testing.ts';
import { BodyReader } from './body.ts';

const LIMITS = { maxBodyBytes: 10_000, maxBufferedBytes: 15_000 };

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
async function read(pieces: readonly Buffer[], headers: Record<string, string> = {}): Promise<Buffer | GatewayError> {
  const result = new Promise<Buffer | GatewayError>((resolve) => {
    arrived = (message) => bodies.read(message, (error, body) => resolve(error ?? body ?? Buffer.from('neither')));
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
    bodies.release(5_008);
    expect(bodies.bufferedBytes).toBe(0);
  });

  it('is held once: the pieces that it came in are let go', async () => {
    const reader = new BodyReader();
    const pieces: WeakRef<ArrayBufferLike>[] = [];
    const whole = new Promise<Buffer | undefined>((resolve) => {
      arrived = (message) => {
        reader.read(message, (_, body) => resolve(body));
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
    expect(await read([Buffer.alloc(9_000)])).toMatchObject({ code: 'overloaded', retryAfterSeconds: 1 });
    expect(bodies.bufferedBytes).toBe(9_000);
    bodies.release(9_000);
    expect(await read([Buffer.alloc(9_000)])).toHaveLength(9_000);
  });

  it.each([{}, { 'content-encoding': 'gzip' }])('whose client leaves in the middle counts no more (%o)', async (headers) => {
    const result = new Promise<GatewayError | null>((resolve) => {
      arrived = (message) => bodies.read(message, (error) => resolve(error));
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
