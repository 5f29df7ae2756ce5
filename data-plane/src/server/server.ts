/** Fastify, kept to routing: it finds the route, runs the hook that authenticates, and hands the raw socket to a reply. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { GatewayError } from '@meridian/domain/error';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import type { Principal } from '../admission/authenticate.ts';
import type { Dialect } from '../dialect/dialect.ts';
import { BodyReader, MAX_BODY_BYTES } from './body.ts';
import { HttpReply } from './reply.ts';

/** What one request carries from hook to hook. */
export interface Visit {
  readonly requestId: string;
  readonly arrivedMs: number;
  readonly reply: HttpReply;
  principal: Principal | undefined;
}

declare module 'fastify' {
  interface FastifyRequest {
    visit: Visit;
  }
  interface FastifyContextConfig {
    /** The route needs a key, which is looked at before the body. */
    readonly needsKey?: boolean;
    readonly name?: string;
  }
}

export interface ServerDeps {
  readonly region: string;
  /** The dialect in which errors of a path are rendered. */
  readonly dialect: Dialect;
  readonly newRequestId: () => string;
  readonly nowMs: () => number;
  /** Throws GatewayError. */
  readonly authenticate: (request: IncomingMessage, arrivedMs: number) => Principal;
  readonly draining: () => boolean;
  readonly onStatus: (name: string, status: number) => void;
  readonly onError: (requestId: string, error: GatewayError) => void;
}

const CORS_HEADERS: readonly string[] = [
  'access-control-allow-origin',
  '*',
  'access-control-expose-headers',
  'x-request-id, x-meridian-region, x-meridian-provider, x-meridian-attempts, x-actual-model, x-meridian-cost-usd, retry-after',
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
  return queryAt === -1 ? plain : plain + url.slice(queryAt);
}

export function createServer(deps: ServerDeps): FastifyInstance<Server> {
  const bodies = new BodyReader(MAX_BODY_BYTES);
  const replyFor = (request: IncomingMessage, response: ServerResponse, requestId: string, name: string): HttpReply =>
    new HttpReply(request, response, {
      requestId,
      region: deps.region,
      dialect: deps.dialect,
      standingHeaders: CORS_HEADERS,
      onError: (error) => deps.onError(requestId, error),
      onStatus: (status) => deps.onStatus(name, status),
    });

  const server = Fastify<Server>({
    logger: false,
    genReqId: () => '',
    requestIdHeader: false,
    bodyLimit: MAX_BODY_BYTES,
    keepAliveTimeout: 75_000,
    requestTimeout: 0,
    routerOptions: { maxParamLength: 1024 },
    rewriteUrl: (request) => plainPath(request.url ?? '/'),
    clientErrorHandler: (error, socket) => refuseRaw(deps, error, socket),
    frameworkErrors: (error, request, reply) => {
      reply.hijack();
      const requestId = deps.newRequestId();
      replyFor(request.raw, reply.raw, requestId, 'unknown').fail(
        new GatewayError('invalid_request_error', { message: 'The path of the request cannot be read.', cause: error }),
      );
    },
    exposeHeadRoutes: false,
  });

  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (request: FastifyRequest, _payload, done) => {
    bodies.read(request.raw, (error, body) => {
      if (body !== undefined) request.visit.reply.whenClosed(() => bodies.release(body.length));
      done(error, body);
    });
  });

  server.decorateRequest('visit');
  server.addHook('onRequest', (request, reply, done) => {
    const { name = 'unknown', needsKey = false } = request.routeOptions.config;
    const arrivedMs = deps.nowMs();
    const requestId = deps.newRequestId();
    if (request.method === 'OPTIONS') {
      reply.hijack();
      reply.raw.writeHead(204, [...PREFLIGHT_HEADERS]).end();
      return;
    }
    const visit: Visit = { requestId, arrivedMs, reply: replyFor(request.raw, reply.raw, requestId, name), principal: undefined };
    request.visit = visit;
    try {
      if (deps.draining()) throw new GatewayError('overloaded', { message: 'This node is shutting down.', retryAfterSeconds: 1 });
      if (needsKey) visit.principal = deps.authenticate(request.raw, arrivedMs);
    } catch (thrown) {
      reply.hijack();
      visit.reply.fail(GatewayError.from(thrown));
      return;
    }
    done();
  });

  server.setErrorHandler((error: unknown, request, reply) => {
    reply.hijack();
    request.visit.reply.fail(borderError(error));
  });
  return server;
}

/** What Fastify throws before a handler runs, in our words. */
function borderError(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error;
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new GatewayError('request_too_large', { message: `The request body is larger than ${MAX_BODY_BYTES} bytes.` });
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return new GatewayError('unsupported_media_type', { message: 'The content type cannot be read. Send application/json.' });
  if (code === 'FST_ERR_CTP_INVALID_CONTENT_LENGTH')
    return new GatewayError('invalid_request_error', { message: 'The body is not as long as content-length says.' });
  return GatewayError.from(error);
}

/** A request that is not HTTP (control characters in a header, headers too large): answered on the bare socket. */
function refuseRaw(deps: ServerDeps, error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW';
  const message = tooLarge
    ? 'The headers of the request are too large.'
    : 'The request is not valid HTTP: a header or the request line has characters that may not stand there.';
  const rendered = deps.dialect.renderError(
    new GatewayError('invalid_request_error', { message, ...(tooLarge ? { status: 431 } : {}), cause: error }),
    deps.newRequestId(),
  );
  const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request';
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${rendered.body.length}\r\nconnection: close\r\n\r\n${rendered.body.toString('utf8')}`,
  );
}
