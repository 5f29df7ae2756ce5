/** The request path of a node for tests: real server, spool and upstream connections, one account, and a clock that is held. */
import { once } from 'node:events';
import fs from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, type Server, type Socket } from 'node:net';
import { type Cap, isPrepaidCapId } from '@meridian/domain/budget';
import type { Final } from '@meridian/domain/usage-record';
import { RateLimiter } from './admission/rate-limit.ts';
import { TestBank } from './admission/testing.ts';
import { TokenCounter } from './admission/token-counter.ts';
import { loadConfig } from './config.ts';
import type { Picture } from './control/picture.ts';
import { type Sketch, samplePicture } from './control/testing.ts';
import { dialectOf } from './dialect/registry.ts';
import type { Spool } from './metering/spool/spool.ts';
import { type HeldIds, newFolder, openTestSpool, retainedFinals } from './metering/spool/testing.ts';
import { createRequestPath, type RequestPath, type RequestPathDeps } from './request-path.ts';
import { createLogger, type Logger } from './telemetry/logger.ts';
import { createMetrics, type Metrics } from './telemetry/metrics.ts';
import { Deadlines } from './upstream/deadline.ts';
import { createUpstream } from './upstream/dispatch.ts';
import { createMediaFetch } from './upstream/media-fetch.ts';

export type Provider = (request: IncomingMessage, response: ServerResponse, body: string) => void;

export interface TestNode {
  readonly url: string;
  readonly port: number;
  readonly apiKey: string;
  readonly path: RequestPath;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly spool: Spool;
  readonly picture: Picture;
  readonly bank: TestBank;
  readonly ids: HeldIds;
  readonly deadlines: Deadlines;
  /** Requests that the provider has seen. */
  readonly asked: IncomingMessage[];
  /** Lets time pass on the wheel of deadlines. */
  pass(ms: number): void;
  /** All finals, once `count` of them are written. */
  finals(count: number): Promise<Final[]>;
  stop(): Promise<void>;
}

const HEX_32 = '07'.repeat(32);

/**
 * Starts a node whose provider (and control plane, for the account paths) is `provider`, on a port of this machine. Its
 * leases come from a bank that has the account's balance, and the caps.
 */
export async function startTestNode(
  provider: Provider,
  sketch: Sketch = {},
  caps: readonly Cap[] = [],
  idempotency: Pick<RequestPathDeps, 'idempotencyStore' | 'idempotencyWaitMs'> = {},
): Promise<TestNode> {
  const asked: IncomingMessage[] = [];
  const vendor = createServer((request, response) => {
    asked.push(request);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => provider(request, response, Buffer.concat(chunks).toString('utf8')));
    response.on('error', () => {});
  });
  const origin = `http://127.0.0.1:${await listening(vendor)}`;

  const { picture, apiKey } = samplePicture(sketch);
  const body = {
    kind: 'provider',
    value: { id: 'prv_1', name: 'P', origin, basePath: '/v1', adapter: sketch.adapter ?? 'openai-compatible', enabled: true },
  } as const;
  picture.apply({ kind: 'provider', id: 'prv_1', version: 2, body });
  for (const cap of caps) picture.apply({ kind: 'cap', id: cap.id, version: 1, body: { kind: 'cap', value: cap } });
  const config = loadConfig({
    MERIDIAN_NODE_ID: 'n1',
    MERIDIAN_REGION: 'us',
    MERIDIAN_DATA_FOLDER: '/nowhere',
    MERIDIAN_PORT: '0',
    MERIDIAN_HEALTH_PORT: '0',
    MERIDIAN_CONTROL_GRPC: '127.0.0.1:1',
    MERIDIAN_CONTROL_URL: origin,
    MERIDIAN_JOIN_TOKEN: 'a-join-token-for-tests',
    MERIDIAN_KEY_PEPPER: HEX_32,
    MERIDIAN_SEALING_KEY: HEX_32,
    MERIDIAN_LOG_LEVEL: 'silent',
  });
  let timeMs = 1_000_000;
  const deadlines = new Deadlines({ nowMs: () => timeMs });
  const folder = newFolder();
  const { spool, ids } = await openTestSpool(folder, 1n);
  const balance = Number(picture.account('acc_1')?.balanceNano ?? 0n);
  const bank = new TestBank({
    limitOf: (capId) => (isPrepaidCapId(capId) ? balance : (caps.find((cap) => cap.id === capId)?.limit ?? 0)),
    nowMs: ids.nowMs,
    write: (record, written) => spool.lease(record, written),
  });
  const upstream = createUpstream({ deadlines });
  // What tests fetch stands on this machine.
  const media = createMediaFetch({ allows: () => true });
  const metrics = createMetrics();
  const log = createLogger('silent', {});
  const counter = new TokenCounter({ after: (delayMs, expired) => deadlines.after(delayMs, expired), log });
  const rateLimiter = new RateLimiter({ counters: undefined, nowMs: () => timeMs, regionNodes: () => 1 });
  const path = createRequestPath({
    config,
    dialectOf,
    picture,
    spool,
    grants: bank.desk,
    counter,
    upstream,
    media,
    deadlines,
    metrics,
    log,
    ids,
    rateLimiter,
    ...idempotency,
  });
  await path.server.listen({ host: '127.0.0.1', port: 0 });
  const port = portOf(path.server.server);

  return {
    url: `http://127.0.0.1:${port}`,
    port,
    apiKey,
    path,
    metrics,
    log,
    spool,
    picture,
    bank,
    ids,
    deadlines,
    asked,
    pass(ms) {
      for (let passed = 0; passed < ms; passed += 250) {
        timeMs += 250;
        deadlines.advance();
      }
    },
    async finals(count) {
      for (;;) {
        let more: () => void = () => {};
        const written = new Promise<void>((resolve) => {
          more = resolve;
        });
        // Before the look: what becomes durable during it counts as news.
        const stop = spool.onDurable(more);
        const finals = await retainedFinals(spool);
        if (finals.length < count) await written;
        stop();
        if (finals.length >= count) return finals;
      }
    },
    async stop() {
      await path.server.close();
      rateLimiter.close();
      await counter.close();
      await spool.close();
      await media.close();
      await upstream.close();
      vendor.closeAllConnections();
      vendor.close();
      await once(vendor, 'close');
      fs.rmSync(folder, { recursive: true });
    },
  };
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return portOf(server);
}

export function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server does not listen on a port');
  return address.port;
}

/** A client at the level of bytes. */
export interface RawClient {
  readonly socket: Socket;
  /** All that has come so far. */
  readonly text: string;
  /** Resolves when what has come matches; rejects when the connection closes without. */
  seen(pattern: RegExp): Promise<string>;
  closed: Promise<string>;
}

export async function rawClient(port: number): Promise<RawClient> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    socket.emit('more');
  });
  const closed = once(socket, 'close').then(() => text);
  await once(socket, 'connect');
  return {
    socket,
    closed,
    get text() {
      return text;
    },
    seen: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!pattern.test(text)) return;
          socket.off('more', look);
          resolve(text);
        };
        socket.on('more', look);
        look();
        void closed.then(() => reject(new Error(`closed without ${pattern}: ${text.slice(0, 500)}`)));
      }),
  };
}

/** A chat request as it goes over the wire. */
export function chatRequest(apiKey: string, fields: object = {}, headers: readonly string[] = []): string {
  const body = JSON.stringify({ model: 'm-1.5', messages: [{ role: 'user', content: 'Hi' }], ...fields });
  const head = ['POST /v1/chat/completions HTTP/1.1', 'host: x', `authorization: Bearer ${apiKey}`, 'content-type: application/json'];
  return `${[...head, ...headers, `content-length: ${Buffer.byteLength(body)}`].join('\r\n')}\r\n\r\n${body}`;
}

/** An event of a provider's stream. */
export function event(delta: object, more: object = {}): string {
  return `data: ${JSON.stringify({ id: 'c1', object: 'chat.completion.chunk', model: 'up-m-1.5', choices: [{ index: 0, delta, finish_reason: null }], ...more })}\n\n`;
}

const USAGE = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };
/** The last events of a provider's stream. */
export const ENDING = `data: ${JSON.stringify({ id: 'c1', model: 'up-m-1.5', choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\ndata: ${JSON.stringify({ id: 'c1', model: 'up-m-1.5', choices: [], usage: USAGE })}\n\ndata: [DONE]\n\n`;
/** A provider's whole answer. */
export const ANSWER = JSON.stringify({
  id: 'c1',
  object: 'chat.completion',
  model: 'up-m-1.5',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hello there' }, finish_reason: 'stop' }],
  usage: USAGE,
});

export function streamHead(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
}

export function answerWith(text: string): Provider {
  return (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(text);
}
