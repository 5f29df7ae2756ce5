/** Fastify, kept to routing: it finds the route, runs the hook that authenticates, and hands the raw socket to a reply. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { GatewayError } from '@meridian/domain/error';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import type { Principal } from '../admission/authenticate.ts';
import type { RatePermit } from '../admission/rate-limit.ts';
import type { Dialect } from '../dialect/dialect.ts';
import { spokenAt } from '../dialect/place.ts';
import { type Spoken, WHERE_UNTOLD } from '../dialect/registry.ts';
import { type BodyLimits, BodyReader } from './body.ts';
import { HttpReply } from './reply.ts';

/** What one request carries from hook to hook. */
export interface Visit {
  readonly requestId: string;
  readonly arrivedMs: number;
  /** The dialect that the client speaks, errors included. */
  readonly spoken: Spoken;
  readonly reply: HttpReply;
  principal: Principal | undefined;
  /** Of a key with rate limits. */
  permit?: RatePermit;
  /** The request has come so far that whoever serves it releases its permit. */
  handled?: boolean;
}

declare module 'fastify' {
  interface FastifyRequest {
    visit: Visit;
    /** Reads the body and runs `serve` with it; the client is told of what goes wrong before, and of what `serve` throws. */
    readBody(serve: (body: Buffer) => void): void;
  }
  interface FastifyContextConfig {
    /** The route needs a key, which is looked at before the body. */
    readonly needsKey?: boolean;
    /** What is asked here counts in the rate limits of the key. */
    readonly isRateLimited?: boolean;
    readonly name?: string;
  }
}

export interface ServerDeps {
  readonly region: string;
  /** The dialect in which a client is answered, errors included. */
  readonly dialectOf: (spoken: Spoken) => Dialect;
  readonly newRequestId: () => string;
  readonly nowMs: () => number;
  /** Throws GatewayError. */
  readonly authenticate: (request: IncomingMessage, arrivedMs: number) => Principal;
  /** Undefined for a key without rate limits. */
  readonly enter: (principal: Principal) => RatePermit | undefined;
  readonly draining: () => boolean;
  /** Whether a request is taken out of HTTP; any other that asks for it is answered as if it had not. */
  readonly upgrades: (request: IncomingMessage) => boolean;
  readonly onStatus: (name: string, status: number) => void;
  readonly onError: (requestId: string, error: GatewayError) => void;
  /** A request has arrived; `onClosed` follows when its answer is out or its connection gone. */
  readonly onOpened: () => void;
  readonly onClosed: () => void;
}

/**
 * Bodies that are read before anybody has shown a key: of the account paths. They must not take the room of the model APIs', nor one
 * address that of all; what is small, as a login is, comes in from everywhere. They have 15 to 20 seconds to arrive.
 */
const ACCOUNT_BODY_LIMITS: BodyLimits = {
  maxBodyBytes: 1024 * 1024,
  maxBufferedBytes: 32 * 1024 * 1024,
  maxSenderBytes: 8 * 1024 * 1024,
  smallBodyBytes: 64 * 1024,
  windowMs: 5_000,
  minWindowBytes: 0,
  maxWindows: 3,
};
/** From a request's first byte to the last of its body: a full body over a slow line, and no longer. */
const REQUEST_TIMEOUT_MS = 600_000;
/** What is told on a bare socket gets so long to be read. */
const REFUSAL_LINGER_MS = 2_000;
const NO_BODY = Buffer.alloc(0);
/** Methods whose requests have a body. The framework is told that they have none: its way of reading one costs more than its routing. */
const METHODS_WITH_BODY = ['POST', 'PUT', 'PATCH', 'DELETE'];
/** A type and a subtype, and whatever parameters. */
const MEDIA_TYPE = /^\s*[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+\s*(;|$)/;

const CORS_HEADERS: readonly string[] = [
  'access-control-allow-origin',
  '*',
  'access-control-expose-headers',
  'x-request-id, request-id, x-meridian-region, x-meridian-provider, x-meridian-attempts, x-actual-model, x-meridian-cost-usd, x-meridian-loss, x-meridian-replay, retry-after, x-should-retry, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens',
];

const PREFLIGHT_HEADERS: readonly string[] = [
  ...CORS_HEADERS,
  'access-control-allow-methods',
  'GET, POST, PUT, PATCH, DELETE, OPTIONS',
  'access-control-allow-headers',
  '*, authorization',
  'access-control-max-age',
  '86400',
  'content-length',
  '0',
];

/** `/api` in front, doubled and trailing slashes are tolerated. */
export function plainPath(url: string): string {
  const queryAt = url.indexOf('?');
  const path = queryAt === -1 ? url : url.slice(0, queryAt);
  let plain = path.startsWith('/v1/') && !path.includes('//') ? path : path.replace(/\/{2,}/g, '/').replace(/^\/api(?=\/|$)/, '');
  if (plain.length > 1 && plain.endsWith('/')) plain = plain.slice(0, -1);
  if (plain === '') plain = '/';
  return queryAt === -1 ? plain : plain + url.slice(queryAt);
}

export function createServer(deps: ServerDeps): FastifyInstance<Server> {
  const bodies = new BodyReader();
  const accountBodies = new BodyReader(ACCOUNT_BODY_LIMITS);
  const replyFor = (request: IncomingMessage, response: ServerResponse, requestId: string, name: string, spoken: Spoken): HttpReply => {
    deps.onOpened();
    return new HttpReply(request, response, {
      requestId,
      region: deps.region,
      dialect: deps.dialectOf(spoken),
      standingHeaders: CORS_HEADERS,
      onError: (error) => deps.onError(requestId, error),
      onStatus: (status) => deps.onStatus(name, status),
      onClosed: deps.onClosed,
      closing: deps.draining,
    });
  };

  const server = Fastify<Server>({
    logger: false,
    genReqId: () => '',
    requestIdHeader: false,
    keepAliveTimeout: 75_000,
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
    http: { shouldUpgradeCallback: deps.upgrades },
    routerOptions: { maxParamLength: 1024 },
    rewriteUrl: (request) => plainPath(request.url ?? '/'),
    clientErrorHandler: (error, socket) => refuseRaw(deps, error, socket),
    frameworkErrors: (error, request, reply) => {
      reply.hijack();
      const requestId = deps.newRequestId();
      replyFor(request.raw, reply.raw, requestId, 'unknown', spokenAt(request.raw.url ?? '/', request.headers)).fail(
        new GatewayError('invalid_request_error', { message: 'The path of the request cannot be read.', cause: error }),
      );
    },
    exposeHeadRoutes: false,
  });

  for (const method of METHODS_WITH_BODY) server.addHttpMethod(method, { hasBody: false, overrideExisting: true });
  server.decorateRequest('readBody', function (this: FastifyRequest, serve) {
    const { raw, visit } = this;
    const type = raw.headers['content-type'];
    if (type !== undefined && type !== 'application/json' && !MEDIA_TYPE.test(type)) {
      const message = 'The content type cannot be read. Send application/json.';
      visit.reply.fail(new GatewayError('unsupported_media_type', { message }));
      return;
    }
    const reader = visit.principal === undefined ? accountBodies : bodies;
    // The address is gone with the connection, before the body is released.
    const sender = visit.principal?.key.id ?? raw.socket.remoteAddress ?? '';
    reader.read(raw, sender, (error, body = NO_BODY) => {
      if (error !== null) {
        visit.reply.fail(error);
        return;
      }
      visit.reply.whenClosed(() => reader.release(sender, body.length));
      try {
        serve(body);
      } catch (thrown) {
        visit.reply.fail(GatewayError.from(thrown));
      }
    });
  });
  server.decorateRequest('visit');
  server.addHook('onRequest', (request, reply, done) => {
    const { name = 'unknown', needsKey = false, isRateLimited = false } = request.routeOptions.config;
    const arrivedMs = deps.nowMs();
    const requestId = deps.newRequestId();
    if (request.method === 'OPTIONS') {
      reply.hijack();
      reply.raw.writeHead(204, [...PREFLIGHT_HEADERS]).end();
      return;
    }
    const spoken = spokenAt(request.raw.url ?? '/', request.raw.headers);
    const visit: Visit = {
      requestId,
      arrivedMs,
      spoken,
      reply: replyFor(request.raw, reply.raw, requestId, name, spoken),
      principal: undefined,
    };
    request.visit = visit;
    try {
      if (deps.draining()) throw new GatewayError('overloaded', { message: 'This node is shutting down.', retryAfterSeconds: 1 });
      if (needsKey) visit.principal = deps.authenticate(request.raw, arrivedMs);
      if (isRateLimited && visit.principal !== undefined) enter(visit, deps.enter(visit.principal));
    } catch (thrown) {
      reply.hijack();
      visit.reply.fail(GatewayError.from(thrown));
      return;
    }
    done();
  });

  server.setErrorHandler((error: unknown, request, reply) => {
    reply.hijack();
    request.visit.reply.fail(GatewayError.from(error));
  });
  return server;
}

/** Throws the refusal of a permit. One that is held is released by whoever serves the request, or here, when it does not come so far. */
function enter(visit: Visit, permit: RatePermit | undefined): void {
  if (permit === undefined) return;
  visit.permit = permit;
  visit.reply.rateLimits = permit;
  if (permit.refusal !== undefined) throw permit.refusal;
  visit.reply.whenClosed(() => {
    if (visit.handled !== true) permit.release();
  });
}

/** Node's own field: which answer a socket is in the middle of. There is no public one. */
type HttpSocket = Socket & { readonly _httpMessage?: ServerResponse | null };

interface Refusal {
  readonly line: string;
  readonly status: number;
  readonly message: string;
}

const REFUSALS: Readonly<Record<string, Refusal>> = {
  HPE_HEADER_OVERFLOW: { line: '431 Request Header Fields Too Large', status: 431, message: 'The headers of the request are too large.' },
  ERR_HTTP_REQUEST_TIMEOUT: { line: '408 Request Timeout', status: 408, message: 'The request did not arrive in time.' },
};
const NOT_HTTP: Refusal = {
  line: '400 Bad Request',
  status: 400,
  message: 'The request is not valid HTTP: a header or the request line has characters that may not stand there.',
};

/** A request that is not HTTP (control characters in a header, headers too large) or never ends: answered on the bare socket. */
function refuseRaw(deps: ServerDeps, error: Error & { code?: string }, socket: HttpSocket): void {
  // In the middle of an answer, another one would be read as a part of it.
  if (!socket.writable || error.code === 'ECONNRESET' || socket._httpMessage?.headersSent === true) {
    socket.destroy();
    return;
  }
  const { line, status, message } = REFUSALS[error.code ?? ''] ?? NOT_HTTP;
  const requestId = deps.newRequestId();
  const { body } = deps
    .dialectOf(WHERE_UNTOLD)
    .renderError(new GatewayError('invalid_request_error', { message, status, cause: error }), requestId);
  const head = [`HTTP/1.1 ${line}`, 'content-type: application/json', `content-length: ${body.length}`, `x-request-id: ${requestId}`];
  socket.end(`${[...head, 'connection: close'].join('\r\n')}\r\n\r\n${body.toString('utf8')}`);
  const timer = setTimeout(() => socket.destroy(), REFUSAL_LINGER_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}
