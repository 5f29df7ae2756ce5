// The simulated providers' HTTP server: bodies in, replies out, one journal line for each call.

import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { controlReply } from './control.ts';
import { Delivery } from './delivery.ts';
import { FastLane } from './fast-lane.ts';
import { FaultRules } from './fault-rules.ts';
import { Journal, type JournalLine } from './journal.ts';
import { serve, type Workshop } from './operations.ts';
import { PromptCache } from './prompt-cache.ts';
import { HeaderWriter } from './provider-headers.ts';
import { ReplayLibrary } from './replay.ts';
import { type Route, routeOf } from './routes.ts';
import { StoredResponses } from './stored-responses.ts';
import type { Call } from './wire.ts';

/** How a simulated upstream is started. */
export interface UpstreamOptions {
  /** 0 takes a free port. */
  port: number;
  host?: string;
  /** The journal's file; without it the journal is kept in memory only. */
  journalPath?: string;
  /** The folder of recordings that `sim/<name>` plays. */
  fixturesDir?: string;
  /** No journal, no pacing, and answers remembered by their request: for benchmarks. */
  fast?: boolean;
  /** Milliseconds between the pieces of a stream; 2 unless given. */
  paceMs?: number;
  /** Milliseconds since 1970. */
  clock?: () => number;
  /** The start of every answer id; random unless given, so that several upstreams never give the same id. */
  idPrefix?: string;
}

/** A running simulated upstream. */
export interface Upstream {
  /** `http://host:port`; append `/v1` for OpenAI, `/api/v1` for OpenRouter, `/anthropic/v1` for Anthropic, `/gemini/v1beta` for Gemini. */
  origin: string;
  /** The calls that have ended, oldest first. */
  journal(): JournalLine[];
  /** Calls that have not ended yet. */
  open(): number;
  /** Cuts open calls, writes the journal out and frees the port. */
  close(): Promise<void>;
}

const DEFAULT_PACE_MS = 2;
const MOST_BODY_BYTES = 256 * 1024 * 1024;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** Ids that never repeat: a text of this upstream's own, then a count. */
function idSource(own: string): (length: number) => string {
  let count = 0;
  const encode = (value: number): string => {
    let rest = value;
    let text = '';
    do {
      text = (ALPHABET[rest % 62] ?? '') + text;
      rest = Math.floor(rest / 62);
    } while (rest > 0);
    return text;
  };
  return (length) => `${own}${encode(++count).padStart(length - own.length, 'A')}`;
}

function headerText(request: IncomingMessage, name: string): string | null {
  const value = request.headers[name];
  return typeof value === 'string' && value !== '' ? value : null;
}

/** Starts the simulated providers; resolves once the port accepts connections, rejects when it is taken. */
export async function startUpstream(options: UpstreamOptions): Promise<Upstream> {
  const now = options.clock ?? Date.now;
  const fast = options.fast === true;
  const journal = new Journal(fast ? null : (options.journalPath ?? null));
  const newId = idSource(options.idPrefix ?? Array.from(randomBytes(8), (byte) => ALPHABET[byte % 62]).join(''));
  const shop: Workshop = {
    rules: new FaultRules(),
    cache: new PromptCache(),
    stored: new StoredResponses(),
    replay: new ReplayLibrary(options.fixturesDir ?? null),
    paceMs: fast ? 0 : (options.paceMs ?? DEFAULT_PACE_MS),
    now,
    newId,
  };
  const lane = fast ? new FastLane() : null;
  /** With the client's marker of each. */
  const deliveries = new Map<Delivery, string | null>();
  const headerWriter = new HeaderWriter(newId);

  const answer = (request: IncomingMessage, response: ServerResponse, call: Call, route: Route, startMs: number): void => {
    // Rules are drawn for each call, so that nothing may be remembered while there are any.
    const key = lane === null || shop.rules.any() ? null : lane.keyOf(call);
    const remembered = key === null ? undefined : lane?.get(key);
    if (remembered !== undefined) {
      response.writeHead(remembered.status, remembered.headers);
      response.end(remembered.body);
      return;
    }
    const served = serve(call, route.wire, route.known, shop);
    const extra = headerWriter.write(call, route.known, served, now() - startMs);
    const reply = { ...served.reply, headers: [...served.reply.headers, ...extra.headers] };
    if (key !== null && served.model?.startsWith('sim/') !== true) lane?.remember(key, reply, served.pace);
    const delivery = new Delivery(response, reply, served.pace, (delivered) => {
      deliveries.delete(delivery);
      if (fast) return;
      journal.append({
        id: served.id,
        t_start: startMs,
        t_end: now(),
        path: call.path,
        provider: call.provider,
        model: served.model,
        stream: served.stream,
        key_fingerprint: call.key?.slice(-4) ?? null,
        request_id: headerText(request, 'x-client-request-id') ?? headerText(request, 'x-request-id'),
        upstream_request_id: extra.id,
        client_marker: served.marker,
        status: reply.status,
        head_sent: delivered.headSent,
        fault: served.fault,
        usage: served.usage,
        usage_sent: delivered.usageSent,
        completed: delivered.completed,
        aborted_by_client: delivered.abortedByClient,
        pieces_sent: delivered.piecesSent,
      });
    });
    deliveries.set(delivery, served.marker);
    delivery.start();
  };

  const received = (request: IncomingMessage, response: ServerResponse, body: Buffer, startMs: number): void => {
    const path = request.url ?? '/';
    if (path.startsWith('/__sim/')) {
      const { status, text } = controlReply(
        { method: request.method ?? 'GET', path, body },
        { rules: shop.rules, journal, open: () => [...deliveries.values()] },
      );
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
      response.end(text);
      return;
    }
    const { headers } = request;
    const route = routeOf(path, headers);
    const call: Call = {
      method: request.method ?? 'GET',
      path,
      provider: route.provider,
      operation: route.operation,
      key: route.wire.keyOf(headers, path),
      headers,
      sim: headerText(request, 'x-sim'),
      body,
    };
    answer(request, response, call, route, startMs);
  };

  const server = createServer({ keepAliveTimeout: 75_000, requestTimeout: 0 }, (request, response) => {
    const startMs = now();
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MOST_BODY_BYTES) chunks.push(chunk);
      else request.destroy();
    });
    request.on('end', () => {
      const only = chunks.length === 1 ? chunks[0] : undefined;
      received(request, response, only ?? Buffer.concat(chunks), startMs);
    });
    // A caller that goes away while sending has made no call: there is nothing to answer or to record.
    request.on('error', () => {});
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host ?? '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  }).catch((error: unknown) => {
    journal.close();
    throw error;
  });

  // A TCP server's address is an object once it listens.
  const { address, port, family } = server.address() as AddressInfo;
  let closing: Promise<void> | null = null;
  return {
    origin: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    journal: () => journal.since(0),
    open: () => deliveries.size,
    close: () => {
      closing ??= new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const delivery of deliveries.keys().toArray()) delivery.abandon();
        server.closeAllConnections();
      }).then(() => journal.close());
      return closing;
    },
  };
}
