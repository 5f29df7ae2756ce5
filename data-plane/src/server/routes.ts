/** The table of what a customer can call on a node. */
import type { IncomingMessage } from 'node:http';
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Principal } from '../admission/authenticate.ts';
import type { Dialect, RequestPlace } from '../dialect/dialect.ts';
import type { Query } from '../dialect/page-query.ts';
import { COUNT_PATH, LIST_PREFIXES, METHOD_PATHS, MODEL_PATHS, methodCall, NOTHING_SAID, placeOf } from '../dialect/place.ts';
import type { Spoken } from '../dialect/registry.ts';
import type { Exchange, Reply } from '../exchange.ts';
import type { UpstreamRequest } from '../upstream/call.ts';
import type { ForwardedRequest } from './forward.ts';
import type { MeRequest } from './me.ts';
import { quotedOperation } from './quote.ts';
import type { HttpReply } from './reply.ts';
import type { Visit } from './server.ts';
import { WEBSOCKET_PATH } from './websocket/door.ts';

export interface RouteDeps {
  readonly dialectOf: (spoken: Spoken) => Dialect;
  readonly handle: (exchange: Exchange, reply: HttpReply, request: IncomingMessage) => void;
  /** In the shape of the dialect. Throws 400 for a page that cannot be told. */
  readonly listModels: (principal: Principal, spoken: Spoken, query: Query) => unknown;
  /** In the shape of the dialect. Throws 404 `model_not_found`. */
  readonly retrieveModel: (name: string, principal: Principal, spoken: Spoken) => unknown;
  readonly me: (request: MeRequest, reply: HttpReply) => void;
  /** Rejects with GatewayError. */
  readonly quote: (exchange: Exchange, reply: Reply) => Promise<unknown>;
  /** Rejects with GatewayError. */
  readonly countTokens: (exchange: Exchange, reply: HttpReply) => Promise<void>;
  readonly forward: (request: ForwardedRequest, reply: HttpReply) => void;
  /** The API key of the request, empty where it shows none; undefined for another credential. */
  readonly presentedApiKey: (request: FastifyRequest) => string | undefined;
  /** Throws GatewayError. */
  readonly authenticate: (request: FastifyRequest) => Principal;
}

/** Forwarded to the control plane with all that is below them. */
const ACCOUNT_PATHS = [
  '/auth',
  '/v1/keys',
  '/v1/account',
  '/v1/byok',
  '/v1/credits',
  '/v1/usage',
  '/v1/teams',
  '/v1/invites',
  '/v1/webhooks',
  '/v1/regions',
];

/** What to use instead of an endpoint that we do not have. */
const INSTEAD: readonly { readonly path: RegExp; readonly use: string }[] = [
  { path: /^\/v1\/(completions|engines|edits)(\/|$)/, use: 'POST /v1/chat/completions' },
  { path: /^\/v1\/(assistants|threads)(\/|$)/, use: 'POST /v1/chat/completions' },
  { path: /^\/v1\/chat(\/|$)/, use: 'POST /v1/chat/completions' },
  { path: /^\/v1\/embeddings?(\/|$)/, use: 'POST /v1/embeddings' },
  { path: /^\/v1\/models?(\/|$)/, use: 'GET /v1/models or GET /v1/models/{id}' },
  { path: /^\/(chat|embeddings|models|me)(\/|$)/, use: 'the same path under /v1: set base_url to end in /v1' },
];

export function registerRoutes(server: FastifyInstance, deps: RouteDeps): void {
  for (const { path, operation } of MODEL_PATHS) {
    server.post(path, { config: { needsKey: true, isRateLimited: true, name: operation } }, (request, reply) => {
      reply.hijack();
      const { visit, raw } = request;
      request.readBody((body) => {
        const exchange = exchangeOf(visit, body, operation, placeOf(visit.spoken, raw.headers), deps);
        visit.handled = true;
        deps.handle(exchange, visit.reply, raw);
      });
    });
  }
  for (const path of METHOD_PATHS) {
    server.post(path, { config: { needsKey: true, isRateLimited: true, name: 'method' } }, (request, reply) => {
      reply.hijack();
      const { visit, raw } = request;
      request.readBody((body) => {
        const call = methodCall((request.params as { '*': string })['*']);
        if (call.kind === 'count_tokens') {
          count(visit, body, call.place, deps);
          return;
        }
        const exchange = exchangeOf(visit, body, call.operation, call.place, deps);
        visit.handled = true;
        deps.handle(exchange, visit.reply, raw);
      });
    });
  }
  server.post(COUNT_PATH, { config: { needsKey: true, isRateLimited: true, name: 'count_tokens' } }, (request, reply) => {
    reply.hijack();
    const { visit, headers } = request;
    request.readBody((body) => count(visit, body, placeOf(visit.spoken, headers), deps));
  });
  // Asked for as a WebSocket it does not come here.
  server.get(WEBSOCKET_PATH, { config: { name: 'websocket' } }, (request, reply) => {
    reply.hijack();
    const message = `GET ${WEBSOCKET_PATH} is for WebSockets. Send the headers of a WebSocket, or use POST.`;
    const error = new GatewayError('invalid_request_error', { message, status: 426 });
    const { visit } = request;
    const { status, headers, body } = deps.dialectOf(visit.spoken).renderError(error, visit.requestId);
    visit.reply.forwarded(status, [...headers, 'upgrade', 'websocket'], [body]);
  });
  server.post('/v1/quote', { config: { needsKey: true, name: 'quote' } }, (request, reply) => {
    reply.hijack();
    const { visit } = request;
    // A parameter that stands twice is an array, which is no operation.
    const { operation } = request.query as { operation?: unknown };
    request.readBody((body) => {
      deps.quote(exchangeOf(visit, body, quotedOperation(operation, body), NOTHING_SAID, deps), visit.reply).then(
        (quote) => visit.reply.json(200, quote),
        (thrown: unknown) => visit.reply.fail(GatewayError.from(thrown)),
      );
    });
  });

  for (const prefix of LIST_PREFIXES) {
    server.get(`${prefix}/models`, { config: { needsKey: true, name: 'models' } }, (request, reply) => {
      reply.hijack();
      answer(request, () => deps.listModels(principalOf(request.visit), request.visit.spoken, request.query as Query));
    });
    server.get(`${prefix}/models/*`, { config: { needsKey: true, name: 'models' } }, (request, reply) => {
      reply.hijack();
      const { '*': name } = request.params as { '*': string };
      answer(request, () => deps.retrieveModel(name, principalOf(request.visit), request.visit.spoken));
    });
  }
  server.get('/v1/me', { config: { name: 'me' } }, (request, reply) => {
    reply.hijack();
    const { visit } = request;
    const apiKey = deps.presentedApiKey(request);
    if (apiKey === undefined) {
      forward(request, deps);
      return;
    }
    try {
      deps.me({ principal: deps.authenticate(request), apiKey, requestId: visit.requestId }, visit.reply);
    } catch (thrown) {
      visit.reply.fail(GatewayError.from(thrown));
    }
  });

  for (const path of ACCOUNT_PATHS) {
    for (const url of [path, `${path}/*`]) {
      server.route({
        method: ['GET', 'POST', 'PATCH', 'PUT', 'DELETE'],
        url,
        config: { name: 'account' },
        handler: (request, reply) => {
          reply.hijack();
          forward(request, deps);
        },
      });
    }
  }

  server.setNotFoundHandler((request, reply) => {
    reply.hijack();
    const path = request.url.split('?')[0] ?? request.url;
    const instead = INSTEAD.find((entry) => entry.path.test(path))?.use;
    const message = `There is no ${request.method} ${path.slice(0, 256)} here.${instead === undefined ? '' : ` Use ${instead}.`}`;
    request.visit.reply.fail(new GatewayError('unsupported_endpoint', { message }));
  });
}

/** Its place in the rate limits goes back when it is answered: it is not one of the requests that the pipeline serves. */
function count(visit: Visit, body: Buffer, place: RequestPlace, deps: RouteDeps): void {
  deps
    .countTokens(exchangeOf(visit, body, 'chat', place, deps), visit.reply)
    .catch((thrown: unknown) => visit.reply.fail(GatewayError.from(thrown)));
}

function exchangeOf(visit: Visit, body: Buffer, operation: Operation, place: RequestPlace, deps: Pick<RouteDeps, 'dialectOf'>): Exchange {
  const { requestId, arrivedMs, permit, spoken } = visit;
  return { requestId, dialect: deps.dialectOf(spoken), operation, principal: principalOf(visit), permit, body, place, arrivedMs };
}

function answer(request: FastifyRequest, value: () => unknown): void {
  try {
    request.visit.reply.json(200, value());
  } catch (thrown) {
    request.visit.reply.fail(GatewayError.from(thrown));
  }
}

/** With the body that the method has. */
function forward(request: FastifyRequest, deps: RouteDeps): void {
  const { visit } = request;
  const send = (body: Buffer): void =>
    deps.forward(
      {
        method: request.method as UpstreamRequest['method'],
        path: request.url,
        headers: request.headers,
        body,
        requestId: visit.requestId,
        address: request.ip,
      },
      visit.reply,
    );
  if (request.method === 'GET') send(NO_BODY);
  else request.readBody(send);
}

const NO_BODY = Buffer.alloc(0);

function principalOf({ principal }: Visit): Principal {
  if (principal === undefined) throw new GatewayError('internal_error', { cause: 'a route without authentication asked who it is' });
  return principal;
}
