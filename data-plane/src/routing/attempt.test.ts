import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { GatewayError } from '@meridian/domain/error';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { samplePicture } from '../control/testing.ts';
import type { PassThroughRequest } from '../dialect/dialect.ts';
import { openaiChat } from '../dialect/openai-chat/index.ts';
import { passThroughLane } from '../dialect/pass-through-lane.ts';
import { providerFor } from '../provider/registry.ts';
import { ANSWER, ENDING, event, portOf } from '../testing.ts';
import type { Upstream } from '../upstream/call.ts';
import { Deadlines } from '../upstream/deadline.ts';
import { createUpstream } from '../upstream/dispatch.ts';
import { type AttemptEnd, type AttemptJob, attempt, MAX_ANSWER_BYTES, type RunningAttempt } from './attempt.ts';
import { type ClientStream, Delivery } from './commit.ts';
import type { Candidate } from './plan.ts';

type Vendor = (request: IncomingMessage, response: ServerResponse) => void;

let server: Server;
let vendors: Vendor[];
/** Bodies that the vendors were sent. */
let asked: string[];
let upstream: Upstream;
let deadlines: Deadlines;
let timeMs: number;
let origin: string;

beforeEach(async () => {
  timeMs = 0;
  deadlines = new Deadlines({ nowMs: () => timeMs });
  upstream = createUpstream({ deadlines });
  vendors = [];
  asked = [];
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => {
      body += piece.toString();
    });
    response.on('error', () => {});
    request.on('end', () => {
      asked.push(body);
      vendors.shift()?.(request, response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${portOf(server)}`;
});
afterEach(async () => {
  await upstream.close();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

function pass(ms: number): void {
  for (let passed = 0; passed < ms; passed += 250) {
    timeMs += 250;
    deadlines.advance();
  }
}

function candidate(id: string, adapter = 'openai-compatible'): Candidate {
  const { picture } = samplePicture();
  const [endpoint] = picture.endpointsOf('m-1.5');
  const model = picture.model('m-1.5');
  const listPrice = picture.priceBook('m-1.5')?.versions[0];
  if (endpoint === undefined || model === undefined || listPrice === undefined) throw new Error('the sample has no such model');
  const provider = { id, name: id, origin, basePath: '/v1', adapter, enabled: true };
  return { model, endpoint: { ...endpoint, id: `end_${id}` }, provider, secret: 'secret', listPrice };
}

interface Run {
  readonly running: RunningAttempt;
  /** What reached the client of a stream. */
  readonly seen: string[];
  /** How many events were handed on at a time. */
  readonly handedOn: number[];
}

function run(
  answers: readonly Vendor[],
  options: { stream?: boolean; candidates?: AttemptJob['candidates']; request?: PassThroughRequest; upstream?: Upstream } = {},
): Run {
  vendors = [...answers];
  const stream = options.stream ?? false;
  const body = Buffer.from(JSON.stringify({ model: 'm-1.5', messages: [{ role: 'user', content: 'Hi' }], stream }));
  const seen: string[] = [];
  const handedOn: number[] = [];
  const client: ClientStream = {
    open: (meta) => seen.push(`open ${meta?.providerId ?? '-'} ${meta?.attempts ?? 0}`),
    write: (events) => {
      seen.push(...events.map(String));
      handedOn.push(events.length);
      return true;
    },
    onDrain: () => {},
    keepAlive: () => {},
    finish: () => seen.push('finish'),
    breakOff: (error) => seen.push(`break ${error.code}`),
  };
  const delivery = stream ? new Delivery(client, deadlines) : undefined;
  const request = options.request ?? openaiChat.readPassThrough('chat', body);
  const running = attempt(
    {
      upstream: options.upstream ?? upstream,
      providerFor,
      timeouts: () => ({ connectMs: 1_000, firstByteMs: 5_000, idleMs: 5_000, totalMs: 20_000 }),
      nowMs: () => timeMs,
    },
    {
      requestId: 'req_1',
      facts: request.facts,
      laneTo: () => passThroughLane(openaiChat, 'chat', request, {}),
      candidates: options.candidates ?? [candidate('p1')],
      maxOutputTokens: undefined,
      model: undefined,
      streamTerms: stream ? { wantsStreamUsage: false, model: undefined } : undefined,
      delivery,
    },
  );
  void running.done.then(() => delivery?.dispose());
  return { running, seen, handedOn };
}

const respond =
  (status: number, body: string | Buffer, headers: Record<string, string> = { 'content-type': 'application/json' }): Vendor =>
  (_, response) =>
    void response.writeHead(status, headers).end(body);
const EVENTS = { 'content-type': 'text/event-stream; charset=utf-8' };

function errorOf(end: AttemptEnd): GatewayError {
  if (end.kind !== 'failed') throw new Error(`it ended as ${end.kind}`);
  return end.error;
}

describe('a call that answers', () => {
  it('gives the whole answer with its facts', async () => {
    const { running } = run([respond(200, ANSWER, { 'content-type': 'application/json', 'x-request-id': 'up_1' })]);
    const end = await running.done;
    expect(end.kind).toBe('answer');
    expect(running.traces).toMatchObject([
      { status: 200, errorCode: undefined, upstreamRequestId: 'up_1', facts: { usage: { input: 10 } } },
    ]);
  });

  it('hands on a stream and keeps its end back', async () => {
    const { running, seen } = run([respond(200, event({ content: 'Hi' }) + ENDING, { 'content-type': 'Text/Event-Stream' })], {
      stream: true,
    });
    const end = await running.done;
    expect(end.kind).toBe('stream');
    expect(seen[0]).toBe('open p1 1');
    expect(seen.join('')).not.toContain('[DONE]');
  });
});

describe('an answer that is not what was asked for', () => {
  it.each<[string, boolean, Vendor]>([
    ['gzip in JSON', false, respond(200, gzipSync(ANSWER), { 'content-type': 'application/json', 'content-encoding': 'gzip' })],
    ['gzip in a stream', true, respond(200, gzipSync(event({ content: 'x' }) + ENDING), { ...EVENTS, 'content-encoding': 'gzip' })],
    ['an event stream for JSON', false, respond(200, event({ content: 'x' }) + ENDING, EVENTS)],
    ['JSON for a stream', true, respond(200, ANSWER)],
    ['nothing', false, respond(204, '', {})],
    ['a redirect', false, respond(302, '', { location: 'http://127.0.0.1:1/' })],
    ['an HTML page', false, respond(200, '<html></html>', { 'content-type': 'text/html' })],
    ['not modified', true, respond(304, '', {})],
  ])('(%s) is an upstream_error that tells nothing of the inside', async (_, stream, vendor) => {
    const { running, seen } = run([vendor], { stream });
    const error = errorOf(await running.done);
    expect(error).toMatchObject({ code: 'upstream_error', status: 502, source: 'upstream' });
    expect(error.message).not.toMatch(/127\.0\.0\.1|gzip|html|JSON\.parse|token/);
    expect(seen).toEqual([]);
  });

  it('is read for the error in it: a stream that was refused in JSON with status 200', async () => {
    const body = JSON.stringify({ error: { message: 'The tool schema is broken.', code: 400 } });
    const { running } = run([respond(200, body)], { stream: true });
    expect(errorOf(await running.done)).toMatchObject({ status: 400, message: expect.stringContaining('The tool schema is broken.') });
  });

  it('keeps its status though its body is packed', async () => {
    const { running } = run([respond(429, gzipSync('{}'), { 'content-encoding': 'gzip', 'retry-after': '7' })]);
    expect(errorOf(await running.done)).toMatchObject({ code: 'upstream_error', retryAfterSeconds: 7 });
  });

  it('is cut when it is larger than what is held', async () => {
    const piece = Buffer.alloc(1024 * 1024, 0x20);
    const { running } = run([
      (_, response) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        const more = (): void => {
          while (!response.destroyed && response.write(piece));
        };
        response.on('drain', more);
        more();
      },
    ]);
    const error = errorOf(await running.done);
    expect(error).toMatchObject({ code: 'upstream_error', message: 'The provider sent an answer that is too large.' });
    expect(MAX_ANSWER_BYTES).toBe(64 * 1024 * 1024);
  });

  it('may have an error body without an end', async () => {
    const { running } = run([
      (_, response) => {
        response.writeHead(500);
        const more = (): void => {
          while (!response.destroyed && response.write('x'.repeat(16_384)));
        };
        response.on('drain', more);
        more();
      },
    ]);
    expect(errorOf(await running.done)).toMatchObject({ code: 'upstream_error', status: 502 });
    expect(running.traces).toMatchObject([{ status: 500 }]);
  });
});

describe('the next candidate', () => {
  it('is asked in the way of its own provider', async () => {
    const [first, second] = [candidate('p1'), candidate('p2')];
    const older = { ...first, provider: { ...first.provider, quirks: ['max_tokens'] as const } };
    const body = '{"model":"m-1.5","max_completion_tokens":5,"messages":[{"role":"user","content":"Hi"}]}';
    const { running } = run([respond(503, '{}'), respond(503, '{}')], {
      candidates: [older, second],
      request: openaiChat.readPassThrough('chat', Buffer.from(body)),
    });
    await running.done;
    expect(asked.map((text) => JSON.parse(text).max_tokens)).toEqual([5, undefined]);
  });

  it('is tried after a failure that is the upstream’s, and each call leaves its trace', async () => {
    const { running } = run([respond(503, '{}'), respond(200, ANSWER)], { candidates: [candidate('p1'), candidate('p2')] });
    expect(await running.done).toMatchObject({ kind: 'answer', served: { candidate: { provider: { id: 'p2' } } } });
    expect(running.traces).toMatchObject([
      { status: 503, errorCode: 'upstream_error' },
      { status: 200, errorCode: undefined },
    ]);
  });

  it('is not tried for what the client did wrong, nor after the commit', async () => {
    const refused = run([respond(400, '{"error":{"message":"bad"}}'), respond(200, ANSWER)], {
      candidates: [candidate('p1'), candidate('p2')],
    });
    expect(errorOf(await refused.running.done).status).toBe(400);
    expect(refused.running.traces).toHaveLength(1);
    const cut: Vendor = (_, response) => {
      response.writeHead(200, EVENTS);
      response.write(event({ content: 'begun' }), () => response.destroy());
    };
    const begun = run([cut, respond(200, event({ content: 'again' }) + ENDING, EVENTS)], {
      stream: true,
      candidates: [candidate('p1'), candidate('p2')],
    });
    expect(errorOf(await begun.running.done).code).toBe('upstream_error');
    expect(begun.running.traces).toHaveLength(1);
    expect(begun.seen.join('')).not.toContain('again');
  });

  /** The head and some events, each a piece of its own, in one write. */
  const inOneWrite = (...events: string[]): string =>
    [
      'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n',
      ...events.map((text) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`),
    ].join('');

  it('hands on together what comes together', async () => {
    let vendor: ServerResponse | undefined;
    const { running, seen, handedOn } = run(
      [
        (_, response) => {
          vendor = response;
          response.socket?.write(inOneWrite(event({ role: 'assistant' }), event({ content: 'a' }), event({ content: 'b' })));
        },
      ],
      { stream: true },
    );
    await expect.poll(() => seen.length).toBe(4);
    expect(handedOn).toEqual([3]);
    const next = event({ content: 'c' });
    vendor?.socket?.write(`${next.length.toString(16)}\r\n${next}\r\n`);
    await expect.poll(() => seen.length).toBe(5);
    vendor?.socket?.write(`${ENDING.length.toString(16)}\r\n${ENDING}\r\n0\r\n\r\n`);
    expect((await running.done).kind).toBe('stream');
  });

  it('hands on what came before a failure that is told in the same turn, and is committed by it', async () => {
    const atOnce: Upstream = {
      dispatch: (_, handler) => {
        queueMicrotask(() => {
          handler.onHead(200, EVENTS);
          handler.onData(Buffer.from(event({ content: 'begun' })));
          handler.onFailure({ kind: 'reset', uncertain: true, cause: undefined });
        });
        return { pause: () => {}, resume: () => {}, cancel: () => {} };
      },
      close: () => Promise.resolve(),
    };
    const { running, seen } = run([], { stream: true, candidates: [candidate('p1'), candidate('p2')], upstream: atOnce });
    expect(errorOf(await running.done).code).toBe('upstream_error');
    expect(running.traces).toHaveLength(1);
    expect(seen.join('')).toContain('begun');
  });

  it('takes over unseen before the first content', async () => {
    const silent: Vendor = (_, response) => {
      response.writeHead(200, EVENTS);
      response.write(event({ role: 'assistant' }), () => response.destroy());
    };
    const { running, seen } = run([silent, respond(200, event({ content: 'Hi' }) + ENDING, EVENTS)], {
      stream: true,
      candidates: [candidate('p1'), candidate('p2')],
    });
    expect((await running.done).kind).toBe('stream');
    expect(seen[0]).toBe('open p2 2');
  });

  it.each([true, false])('is not tried for a client that has left (stream: %s)', async (stream) => {
    let response: ServerResponse | undefined;
    const waiting: Vendor = (_, opened) => {
      response = opened;
    };
    const { running, seen } = run([waiting, respond(200, ANSWER)], { stream, candidates: [candidate('p1'), candidate('p2')] });
    await expect.poll(() => response).toBeDefined();
    running.clientGone();
    response?.writeHead(503).end('{}');
    expect(errorOf(await running.done).code).toBe('upstream_error');
    expect(running.traces).toHaveLength(1);
    expect(asked).toHaveLength(1);
    expect(seen).toEqual([]);
  });

  it('takes over from a stream that begins with an error, which is told where nobody is left', async () => {
    const failed = respond(200, 'data: {"error":{"message":"Overloaded","type":"server_error","code":null,"param":null}}\n\n', EVENTS);
    const candidates = [candidate('p1'), candidate('p2')] as const;
    const taken = run([failed, respond(200, event({ content: 'Hi' }) + ENDING, EVENTS)], { stream: true, candidates });
    expect((await taken.running.done).kind).toBe('stream');
    expect(taken.seen[0]).toBe('open p2 2');
    const last = run([failed, failed], { stream: true, candidates });
    expect(errorOf(await last.running.done)).toMatchObject({ code: 'upstream_error', status: 502 });
    expect(last.running.traces).toHaveLength(2);
    // Nothing was opened, so that the error has a status of its own.
    expect(last.seen).toEqual([]);
  });
});

describe('an attempt', () => {
  it('that cannot be made ends as a failure, not as an exception', async () => {
    const request: PassThroughRequest = {
      facts: openaiChat.readPassThrough('chat', Buffer.from('{"model":"m-1.5","messages":[{"role":"user","content":"x"}]}')).facts,
      rewrite: () => {
        throw new Error('a bug of ours');
      },
    };
    expect(errorOf(await run([], { request }).running.done).code).toBe('internal_error');
    expect(errorOf(await run([], { candidates: [candidate('p1', 'no-such-adapter')] }).running.done).code).toBe('upstream_error');
  });

  it('times out by its stage', async () => {
    let asked: () => void = () => {};
    const arrived = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const { running } = run([() => asked()]);
    await arrived;
    pass(6_000);
    expect(errorOf(await running.done)).toMatchObject({ code: 'upstream_timeout', status: 504 });
  });

  it.each(['abandon', 'interrupt'] as const)('ends at once and cuts its call on %s, once, with what was read', async (how) => {
    let vendorResponse: ServerResponse | undefined;
    const { running, seen } = run(
      [
        (_, response) => {
          vendorResponse = response;
          response.writeHead(200, EVENTS);
          response.write(event({ content: 'some words that were generated' }));
        },
      ],
      { stream: true },
    );
    while (seen.length < 2) await new Promise((resolve) => setImmediate(resolve));
    if (vendorResponse === undefined) throw new Error('the vendor was not asked');
    const closed = once(vendorResponse, 'close');
    for (let times = 0; times < 2; times++) {
      if (how === 'abandon') running.abandon();
      else running.interrupt(new GatewayError('overloaded'));
    }
    const end = await running.done;
    expect(end.kind).toBe(how === 'abandon' ? 'abandoned' : 'failed');
    expect(running.traces[0]?.facts?.countedOutputTokens).toBeGreaterThan(0);
    await closed;
  });
});
