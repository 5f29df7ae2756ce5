// The simulated providers' HTTP server: bodies in, replies out, one journal line for each call.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { controlReply } from './control.ts';
import { Delivery } from './delivery.ts';
import { FastLane } from './fast-lane.ts';
import { FaultRules } from './fault-rules.ts';
import { Journal, type JournalLine } from './journal.ts';
import { type Call, operationPath, type Served, type Surroundings, serve } from './operations.ts';
import { PromptCache } from './prompt-cache.ts';
import { ReplayLibrary } from './replay.ts';

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
}

/** A running simulated upstream. */
export interface Upstream {
  /** `http://host:port`; append `/v1` for OpenAI and `/api/v1` for OpenRouter. */
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

/** Ids that never repeat within a process, and hardly between two: the start time, then a count. */
function idSource(startMs: number): (length: number) => string {
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
  const prefix = `${encode(startMs)}${encode(process.pid)}`;
  return (length) => `${prefix}${encode(++count).padStart(Math.max(0, length - prefix.length), 'A')}`.slice(-length);
}

function headerText(request: IncomingMessage, name: string): string | null {
  const value = request.headers[name];
  return typeof value === 'string' && value !== '' ? value : null;
}

function keyOf(request: IncomingMessage): string | null {
  const bearer = /^Bearer\s+(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
  return bearer ?? headerText(request, 'x-api-key') ?? headerText(request, 'x-goog-api-key') ?? headerText(request, 'api-key');
}

/** Starts the simulated providers; resolves once the port accepts connections, rejects when it is taken. */
export async function startUpstream(options: UpstreamOptions): Promise<Upstream> {
  const now = options.clock ?? Date.now;
  const fast = options.fast === true;
  const journal = new Journal(fast ? null : (options.journalPath ?? null));
  const newId = idSource(now());
  const around: Surroundings = {
    rules: new FaultRules(),
    cache: new PromptCache(),
    replay: new ReplayLibrary(options.fixturesDir ?? null),
    paceMs: fast ? 0 : (options.paceMs ?? DEFAULT_PACE_MS),
    now,
    newId,
  };
  const lane = fast ? new FastLane() : null;
  const deliveries = new Set<Delivery>();
  let requests = 0;

  const providerHeaders = (call: Call, served: Served, startMs: number): { headers: string[]; id: string | null } => {
    if (operationPath(call.path) === null) return { headers: [], id: null };
    const own = served.reply.headers;
    const has = (name: string): boolean => own.some((header, at) => at % 2 === 0 && header.toLowerCase() === name);
    if (call.provider === 'openrouter') {
      return served.id === null || has('x-generation-id')
        ? { headers: [], id: served.id }
        : { headers: ['x-generation-id', served.id], id: served.id };
    }
    if (has('x-request-id'))
      return { headers: [], id: own[own.findIndex((header) => header.toLowerCase() === 'x-request-id') + 1] ?? null };
    const id = `req_${newId(32).toLowerCase()}`;
    const remaining = String(Math.max(0, 10000 - (++requests % 10000)));
    const limits = [
      'x-ratelimit-limit-requests',
      '10000',
      'x-ratelimit-remaining-requests',
      remaining,
      'x-ratelimit-reset-requests',
      '6ms',
    ];
    const spent = String(Math.max(1, Math.round(now() - startMs)));
    return { headers: ['x-request-id', id, 'openai-processing-ms', spent, 'openai-version', '2020-10-01', ...limits], id };
  };

  const answer = (request: IncomingMessage, response: ServerResponse, call: Call, startMs: number): void => {
    const key = lane?.keyOf(call) ?? null;
    const remembered = key === null ? undefined : lane?.get(key);
    if (remembered !== undefined) {
      response.writeHead(remembered.status, remembered.headers);
      response.end(remembered.body);
      return;
    }
    const served = serve(call, around);
    const extra = providerHeaders(call, served, startMs);
    const reply = { ...served.reply, headers: [...served.reply.headers, ...extra.headers] };
    if (key !== null) lane?.remember(key, reply, served.pace);
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
        request_id: headerText(request, 'x-meridian-request-id') ?? headerText(request, 'x-request-id'),
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
    deliveries.add(delivery);
    delivery.start();
  };

  const received = (request: IncomingMessage, response: ServerResponse, body: Buffer, startMs: number): void => {
    const path = request.url ?? '/';
    if (path.startsWith('/__sim/')) {
      const { status, text } = controlReply(
        { method: request.method ?? 'GET', path, body },
        { rules: around.rules, journal, open: () => deliveries.size },
      );
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
      response.end(text);
      return;
    }
    const provider = operationPath(path)?.provider ?? 'openai';
    const call: Call = { method: request.method ?? 'GET', path, provider, key: keyOf(request), sim: headerText(request, 'x-sim'), body };
    answer(request, response, call, startMs);
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
        for (const delivery of [...deliveries]) delivery.abandon();
        server.closeAllConnections();
      }).then(() => journal.close());
      return closing;
    },
  };
}
