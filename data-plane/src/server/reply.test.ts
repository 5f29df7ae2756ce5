import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { GatewayError } from '@meridian/domain/error';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { anthropicMessages } from '../dialect/anthropic-messages/index.ts';
import { openaiChat } from '../dialect/openai-chat/index.ts';
import { openaiResponses } from '../dialect/openai-responses/index.ts';
import { portOf, type RawClient, rawClient } from '../testing.ts';
import { HttpReply, type ReplyTerms } from './reply.ts';

const META = { providerId: 'p1', attempts: 2, actualModel: 'm\u00fc-1\r\nx: y', costUsdLiteral: '0.000012' };

let server: Server;
let client: RawClient;
let statuses: number[];
let closes: number;
let errors: string[];
let closing: boolean;

beforeEach(async () => {
  statuses = [];
  errors = [];
  closes = 0;
  closing = false;
  server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  client = await rawClient(portOf(server));
});
afterEach(async () => {
  client.socket.destroy();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

async function replyTo(request = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n', terms: Partial<ReplyTerms> = {}): Promise<HttpReply> {
  const made = new Promise<HttpReply>((resolve) => {
    server.once('request', (message: IncomingMessage, response: ServerResponse) =>
      resolve(
        new HttpReply(message, response, {
          requestId: 'req_1',
          region: 'us',
          dialect: openaiChat,
          standingHeaders: ['access-control-allow-origin', '*'],
          onError: (error) => errors.push(error.code),
          onStatus: (status) => statuses.push(status),
          onClosed: () => closes++,
          closing: () => closing,
          ...terms,
        }),
      ),
    );
  });
  client.socket.write(request);
  return made;
}

describe('an answer', () => {
  it('goes out with what is known of it, and no header can be smuggled in by a name from outside', async () => {
    const reply = await replyTo();
    const done = new Promise<void>((resolve) => reply.whenClosed(resolve));
    reply.answer(META, [Buffer.from('{"a":'), Buffer.from('1}')]);
    const text = await client.seen(/\{"a":1\}$/);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text).toContain(
      'x-meridian-provider: p1\r\nx-meridian-attempts: 2\r\nx-actual-model: m?-1??x: y\r\nx-meridian-cost-usd: 0.000012\r\n',
    );
    expect(text).toContain('content-length: 7\r\n');
    await done;
    expect({ statuses, closes, gone: reply.gone }).toEqual({ statuses: [200], closes: 1, gone: false });
  });

  it('has its id by the name under which the SDKs of its dialect look for it, too', async () => {
    const ids = (text: string): string[] => text.split('\r\n').filter((line) => line.startsWith('request-id:'));
    const body = [Buffer.from('{"done":1}')];
    const error = new GatewayError('overloaded');
    const stored = { requestId: 'req_0', meta: undefined, body: body[0] as Buffer };
    for (const [write, id] of [
      [(reply: HttpReply) => reply.answer(META, body), 'req_1'],
      [(reply: HttpReply) => reply.jsonBytes(200, body[0] as Buffer), 'req_1'],
      [(reply: HttpReply) => reply.replay({ ...stored, stream: false }), 'req_0'],
      [(reply: HttpReply) => reply.replay({ ...stored, stream: true }), 'req_0'],
      [(reply: HttpReply) => reply.fail(error), 'req_1'],
      [
        (reply: HttpReply) => {
          reply.open(META);
          reply.finish(body);
        },
        'req_1',
      ],
    ] as const) {
      for (const [dialect, expected] of [
        [anthropicMessages, [`request-id: ${id}`]],
        [openaiChat, []],
      ] as const) {
        client.socket.destroy();
        client = await rawClient(portOf(server));
        write(await replyTo(undefined, { dialect }));
        const text = await client.seen(/"done":1|"error"/);
        expect(text).toContain(`x-request-id: ${id}`);
        expect(ids(text)).toEqual(expected);
      }
    }
  });

  it('is the first one only', async () => {
    const reply = await replyTo();
    reply.json(200, { ok: true });
    reply.fail(new GatewayError('internal_error'));
    reply.json(200, { ok: false });
    const text = await client.seen(/\{"ok":true\}/);
    expect(text).not.toContain('internal_error');
    expect(statuses).toEqual([200]);
  });

  it('without a body has no length, and slices above the joined size come out in order', async () => {
    (await replyTo()).forwarded(204, ['cache-control', 'no-store'], []);
    expect(await client.seen(/\r\n\r\n$/)).not.toMatch(/content-length/i);
    const parts = [Buffer.alloc(50_000, 'a'), Buffer.alloc(50_000, 'b'), Buffer.alloc(3, 'c')];
    (await replyTo()).answer(META, parts);
    expect(await client.seen(/ccc$/)).toMatch(/\r\n\r\na{50000}b{50000}ccc$/);
  });

  it('closes the connection while the node is being drained', async () => {
    closing = true;
    (await replyTo()).json(200, {});
    expect(await client.closed).toMatch(/connection: close/i);
  });
});

describe('a stream', () => {
  it('goes out whole, and an error in it comes in the dialect’s form', async () => {
    const reply = await replyTo();
    reply.open(undefined);
    expect(reply.write([Buffer.from('data: 1\n\n')])).toBe(true);
    reply.keepAlive();
    reply.breakOff(new GatewayError('upstream_timeout', { cause: new Error('a secret of ours') }));
    const text = await client.seen(/\r\n0\r\n\r\n$/);
    expect(text).toMatch(/content-type: text\/event-stream/);
    expect(text).toMatch(/data: 1\n\n.*"code":"upstream_timeout"/s);
    expect(text).not.toContain('secret');
    expect(errors).toEqual(['upstream_timeout']);
  });

  it('is kept alive by other bytes before its first event than after it, where the dialect has such', async () => {
    const reply = await replyTo(undefined, { dialect: openaiResponses });
    reply.open(undefined);
    reply.keepAlive();
    reply.write([Buffer.from('data: 1\n\n')]);
    reply.keepAlive();
    reply.finish([]);
    const text = await client.seen(/\r\n0\r\n\r\n$/);
    expect(text).toMatch(/: keep-alive\n[^k]*data: 1\n\n[^k]*event: keepalive\ndata: {"type":"keepalive"}\n\n/);
  });

  it('that has begun tells of a failure that nobody foresaw', async () => {
    const reply = await replyTo();
    reply.open(undefined);
    reply.fail(new GatewayError('internal_error'));
    expect(await client.seen(/\r\n0\r\n\r\n$/)).toContain('data: {"error"');
    expect(statuses).toEqual([200]);
  });

  it('asks to wait for a slow client, and calls when it has read', async () => {
    const reply = await replyTo();
    reply.open(undefined);
    client.socket.pause();
    const block = Buffer.alloc(200_000, 'x');
    let blocks = 1;
    while (reply.write([block])) {
      blocks++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    const drained = new Promise<void>((resolve) => reply.onDrain(resolve));
    client.socket.resume();
    await drained;
    reply.finish([]);
    expect((await client.seen(/\r\n0\r\n\r\n$/)).match(/x/g)?.length).toBeGreaterThanOrEqual(blocks * 200_000);
  });

  it.each(['in the middle', 'at its end'])('whose client takes nothing any more %s is disconnected', async (when) => {
    const reply = await replyTo(undefined, { stallMs: 40 });
    const gone = new Promise<void>((resolve) => reply.onGone(resolve));
    reply.open(undefined);
    client.socket.pause();
    const blocks = Array.from({ length: 200 }, () => Buffer.alloc(100_000, 'x'));
    if (when === 'in the middle') {
      expect(reply.write(blocks)).toBe(false);
      reply.onDrain(() => {});
    } else {
      reply.finish(blocks);
    }
    await gone;
    expect(reply.gone).toBe(true);
    expect(closes).toBe(1);
  });
});

describe('a client that leaves', () => {
  it('is noticed once, also by who asks later; what is written after that goes nowhere', async () => {
    const reply = await replyTo();
    let calls = 0;
    const gone = new Promise<void>((resolve) =>
      reply.onGone(() => {
        calls++;
        resolve();
      }),
    );
    client.socket.destroy();
    await gone;
    reply.onGone(() => calls++);
    reply.answer(META, [Buffer.from('{}')]);
    reply.open(META);
    expect(reply.write([Buffer.from('x')])).toBe(true);
    reply.finish([]);
    expect({ calls, closes, statuses, gone: reply.gone }).toEqual({ calls: 2, closes: 1, statuses: [], gone: true });
  });
});
