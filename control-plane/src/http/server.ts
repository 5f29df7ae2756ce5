/** The HTTP server of the control plane: the account API under `/v1`, the operator API under `/admin/v1`. */
import helmet from '@fastify/helmet';
import { GatewayError } from '@meridian/domain/error';
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify';
import { isAuthorizedRoute, routeName } from './authorize.ts';
import { handleError, handleNotFound, handleParserError } from './error-handler.ts';
import { openApiDocument } from './openapi.ts';
import type { AnyRouteContract } from './route.ts';
import type { Sessions } from './session.ts';
import { checkDeclaration, type TrailRecorder } from './trail.ts';

/** Adds a feature's routes to a scope of the server. */
export type Routes = (app: FastifyInstance) => void;

export interface HttpDeps {
  /** The product's name, for the OpenAPI document. */
  readonly productName: string;
  readonly version: string;
  readonly sessions: Sessions;
  readonly trail: TrailRecorder;
  /** Addresses whose word is taken on whom they forward for: nodes, load balancers. */
  readonly trustedProxies: readonly string[];
  /** Routes for members; each stands in the table of authorize.ts. */
  readonly accountRoutes: readonly Routes[];
  /** Routes for operators, all under `/admin/v1`. */
  readonly operatorRoutes: readonly Routes[];
  readonly logger: FastifyBaseLogger | false;
  /** A fresh request id, for requests that come without a good one. */
  newRequestId(): string;
}

/** Bulk calls of the operator API need room; the account API is far below. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024;
const MAX_PARAM_CHARS = 512;
const REQUEST_TIMEOUT_MS = 30_000;
const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** Builds the server without listening: call `listen`, or `inject` in tests; end with `close()`. */
export function buildHttp(deps: HttpDeps): FastifyInstance {
  const contracts: AnyRouteContract[] = [];
  const app = fastify({
    ...(deps.logger === false ? { logger: false } : { loggerInstance: deps.logger }),
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Its lines have the whole path, in which the token of an invite may stand, and the whole address.
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: [...deps.trustedProxies],
    routerOptions: { maxParamLength: MAX_PARAM_CHARS, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true },
    genReqId: (request) => passableRequestId(request.headers['x-request-id']) ?? deps.newRequestId(),
    clientErrorHandler: handleParserError,
    frameworkErrors: (error, request, reply) => handleError(error, request, reply),
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
  });
  app.register(helmet, { contentSecurityPolicy: { directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } } });
  app.setErrorHandler(handleError);
  app.setNotFoundHandler(handleNotFound);
  app.decorateRequest('caller', undefined);
  app.decorateRequest('operator', undefined);
  app.decorate('trail', deps.trail);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
      throw new GatewayError('unsupported_media_type', { message: 'Bodies must be sent without content-encoding.' });
    }
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = routeName(request.method, request.routeOptions.url ?? 'no route');
    request.log.info({ route, status: reply.statusCode, durationMs: Math.round(reply.elapsedTime) }, 'answered');
  });
  readJsonBodies(app);
  app.get('/openapi.json', { config: {} }, async () => openApiDocument({ title: deps.productName, version: deps.version }, contracts));
  app.register(async (scope) => {
    scope.addHook('onRoute', (route) => {
      const name = routeName(String(route.method), route.url);
      if (!isAuthorizedRoute(name)) throw new Error(`${name} is not in the table of authorize.ts`);
      contracts.push(contractOf(route.config?.contract, name));
    });
    scope.addHook('onRequest', deps.sessions.requireMember);
    for (const routes of deps.accountRoutes) routes(scope);
  });
  app.register(async (scope) => {
    scope.addHook('onRoute', (route) => {
      const name = routeName(String(route.method), route.url);
      if (!route.url.startsWith('/admin/v1/')) throw new Error(`${name} is not under /admin/v1`);
      contracts.push(contractOf(route.config?.contract, name));
    });
    scope.addHook('onRequest', deps.sessions.requireOperator);
    for (const routes of deps.operatorRoutes) routes(scope);
  });
  return app;
}

/** JSON and nothing else: valid UTF-8, and an absent body stays absent whatever the content type says. */
function readJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    if (body.length === 0) return done(null, undefined);
    try {
      return done(null, JSON.parse(UTF8.decode(Buffer.from(body))));
    } catch (cause) {
      const message = cause instanceof SyntaxError ? 'The body is not valid JSON.' : 'The body is not valid UTF-8.';
      return done(new GatewayError('invalid_request_error', { message, cause }));
    }
  });
}

function contractOf(contract: AnyRouteContract | undefined, name: string): AnyRouteContract {
  if (contract === undefined) throw new Error(`${name} has no contract: add it with addRoute`);
  const { method, trail, url } = contract;
  if (method !== 'GET' && trail === undefined) throw new Error(`${name} does not say in \`trail\` what it changes`);
  if (trail !== undefined && trail !== 'only reads') checkDeclaration(name, url, trail);
  return contract;
}

/** An id that a node or a client chose is kept, as long as it is safe to log and to send back. */
function passableRequestId(value: unknown): string | undefined {
  return typeof value === 'string' && /^[A-Za-z0-9_.:-]{1,128}$/.test(value) ? value : undefined;
}
