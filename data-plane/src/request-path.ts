/** The request path of a node, wired: the rooms of the pipeline behind the server, and the way it is drained. */
import type { IncomingMessage } from 'node:http';
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import { nanoToUsdNumberLiteral } from '@meridian/domain/money';
import type { Final, Intent } from '@meridian/domain/usage-record';
import { type AdmitRooms, type Admitted, admit } from './admission/admit.ts';
import { authenticate, type Principal, presentedKey } from './admission/authenticate.ts';
import { checkMessages } from './admission/entitle.ts';
import type { Grants } from './admission/grants.ts';
import type { KeyTable } from './admission/key-table.ts';
import type { RateLimiter } from './admission/rate-limit.ts';
import type { TokenCounts } from './admission/token-counter.ts';
import type { FoundMedium } from './canonical/media-urls.ts';
import type { Config } from './config.ts';
import type { Dialect } from './dialect/dialect.ts';
import { sniffedMediaType } from './dialect/media-type.ts';
import { modelListOf } from './dialect/model-lists.ts';
import type { Spoken } from './dialect/registry.ts';
import type { Exchange, Reply } from './exchange.ts';
import { Idempotency } from './idempotency/idempotency.ts';
import { MemoryStore } from './idempotency/memory-store.ts';
import type { RecordStore } from './idempotency/store.ts';
import { type Ending, settle } from './metering/settle.ts';
import type { UsageSink } from './metering/usage-sink.ts';
import { handle, type Rooms } from './pipeline.ts';
import { providerFor } from './provider/registry.ts';
import { type AttemptRooms, attempt, type RunningAttempt } from './routing/attempt.ts';
import type { Catalogue } from './routing/catalogue.ts';
import { LeftBehind } from './routing/left-behind.ts';
import { askerOf, plan } from './routing/plan.ts';
import { callableModel, callableModels } from './server/callable-models.ts';
import { countTokens } from './server/count-tokens.ts';
import { forward } from './server/forward.ts';
import { type MeRooms, me } from './server/me.ts';
import { quote } from './server/quote.ts';
import { registerRoutes } from './server/routes.ts';
import { createServer } from './server/server.ts';
import { WebSocketDoor, wantsWebSocket } from './server/websocket/door.ts';
import { prewarm } from './server/websocket/prewarm.ts';
import type { Logger } from './telemetry/logger.ts';
import type { Metrics } from './telemetry/metrics.ts';
import type { Upstream } from './upstream/call.ts';
import type { Deadlines } from './upstream/deadline.ts';
import { MAX_MEDIA_BYTES, type MediaFetch } from './upstream/media-fetch.ts';
import { MEDIA_ROOM_LIMITS, type MediaPlace, MediaRoom } from './upstream/media-room.ts';
import { patience } from './upstream/patience.ts';

/** What is left of the answers gets so long to reach its clients after the last request was settled or cut. */
const FLUSH_WITHIN_MS = 1_000;
/** What a request is thought to take of the tokens a minute until its usage is known: its input, at so many bytes a token. */
const BYTES_PER_TOKEN = 4;
/** Of the token by which a request holds its idempotency key. */
const OWNER_BYTES = 16;

export interface RequestPathDeps {
  readonly config: Config;
  /** Every dialect that clients and upstreams speak. */
  readonly dialectOf: (spoken: Spoken) => Dialect;
  readonly picture: KeyTable & Catalogue;
  readonly spool: UsageSink;
  readonly grants: Grants;
  readonly counter: TokenCounts;
  readonly upstream: Upstream;
  readonly media: MediaFetch;
  readonly deadlines: Deadlines;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly ids: IdSource;
  /** Without one, no rate is limited. */
  readonly rateLimiter?: RateLimiter;
  /** Where idempotency keys are known; in the process when absent. */
  readonly idempotencyStore?: RecordStore;
  /** How long a request may wait for another with the same idempotency key; 30 s when absent. */
  readonly idempotencyWaitMs?: number;
}

export interface RequestPath {
  /** Ready to listen. */
  readonly server: ReturnType<typeof createServer>;
  /** Requests whose final is not written yet. */
  readonly running: number;
  /** Streams that are read on after their client left. */
  readonly drainingStreams: number;
  readonly isDraining: boolean;
  /**
   * Refuses new requests from now on and resolves when all are answered. What still runs after `withinMs` is ended: it
   * is settled uncharged, and its client is told with an error in its dialect.
   */
  drain(withinMs: number): Promise<void>;
}

export function createRequestPath(deps: RequestPathDeps): RequestPath {
  const { config, dialectOf, picture, spool, grants, counter, upstream, media, deadlines, metrics, log, ids, rateLimiter } = deps;
  const { nowMs } = ids;
  const leftBehind = new LeftBehind(deadlines, config);
  const inFlight = new Set<RunningAttempt>();
  const mediaRoom = new MediaRoom({ ...MEDIA_ROOM_LIMITS, maxRequestBytes: MAX_MEDIA_BYTES });
  /** Of requests that hold fetched media, by id. */
  const mediaPlaces = new Map<string, MediaPlace>();
  let draining = false;
  /** Why attempts are ended at once, when the time to drain is over. */
  let cutWith: GatewayError | undefined;
  let running = 0;
  let openReplies = 0;
  let whenIdle: (() => void) | undefined;
  const checkIdle = (): void => {
    if (running === 0 && openReplies === 0) whenIdle?.();
  };

  const authenticateSettings = {
    keyPrefix: config.keyPrefix,
    pepper: config.keyPepper,
    region: config.region,
    regionUrls: config.regionUrls,
  };
  const authenticateRequest = (request: IncomingMessage, atMs: number): Principal =>
    authenticate(picture, authenticateSettings, presentedKey(request.headers, request.url), atMs);

  const attemptRooms: AttemptRooms = {
    upstream,
    providerFor,
    timeouts: (candidate, facts) => patience(config, facts, candidate.model.maxOutputTokens),
    nowMs,
  };
  const admitRooms: AdmitRooms = { grants, keys: picture, nowMs, counter };
  const rooms: Rooms = {
    plan: (facts, principal, atMs) => plan(picture, facts, principal, config.region, atMs),
    entitle: (exchange, facts, planned) => {
      checkMessages(exchange.principal.plan, facts.longestMessageBytes, exchange);
      exchange.permit?.plan(planned.model.id, Math.ceil(facts.inputTokensBound / BYTES_PER_TOKEN));
    },
    admit: (exchange, facts, planned, done) => admit(admitRooms, exchange.principal, facts, planned, done, exchange),
    release: ({ reservation }) =>
      grants.settle(
        reservation,
        reservation.leases.map(() => 0),
        nowMs(),
      ),
    open: (intent) =>
      new Promise((resolve, reject) => {
        spool.intent(intent, (error) => (error === undefined ? resolve() : reject(error)));
      }),
    dialectNamed: dialectOf,
    fetchMedia: (exchange, urls, reply) => {
      const place = mediaRoom.enter(exchange.principal.account.id);
      mediaPlaces.set(exchange.requestId, place);
      return fetchMedia(media, place, urls, reply);
    },
    attempt: (job) => {
      const started = attempt(attemptRooms, job);
      if (cutWith !== undefined) started.interrupt(cutWith);
      return started;
    },
    inFlight,
    settle: (intent, admitted, facts, ending) =>
      new Promise((resolve) => {
        const final = settled(log, intent, admitted, facts.inputTokensBound, ending);
        spool.final(final, (error) => {
          // The answer is not held back for a record that could not be written: the loss is ours, and it is told.
          if (error !== undefined) log.error({ request_id: final.requestId, err: error }, 'a final could not be written');
          count(metrics, log, final);
          logRequest(log, final);
          resolve(final);
        });
        // In this turn, and after the final was handed over: records are written, and ingested, in the order in which they
        // are handed to the spool. Whatever a recall takes back from now on stands behind the final that it must not take
        // from, and a lease's own sum in a record is that of the finals before it.
        grants.settle(
          admitted.reservation,
          final.leases.map(({ amount }) => Number(amount)),
          nowMs(),
        );
      }),
    leftBehind: (attempted, planned, facts) =>
      facts.stream ? leftBehind.stream(attempted, planned.model.hidesReasoning) : leftBehind.answer(attempted),
    costLiteral: (final) => nanoToUsdNumberLiteral(final.chargeNano),
    timers: deadlines,
    nowMs,
  };

  const meRooms: MeRooms = { upstream, controlUrl: config.controlUrl, keys: picture, grants, region: config.region, nowMs };

  const idempotency = new Idempotency({
    store: deps.idempotencyStore ?? recordsInProcess(deadlines, metrics),
    region: config.region,
    timers: deadlines,
    log,
    metrics,
    newOwner: () => Buffer.from(ids.randomBytes(OWNER_BYTES)).toString('base64url'),
    ...(deps.idempotencyWaitMs === undefined ? {} : { waitMs: deps.idempotencyWaitMs }),
  });

  /** Until the request has ended, whatever becomes of it. Never rejects. */
  const followed = async (exchange: Exchange, reply: Reply, served: Promise<void>): Promise<void> => {
    running++;
    try {
      await served;
    } catch (thrown) {
      log.error({ request_id: exchange.requestId, err: thrown }, 'a request ended in a way that was not foreseen');
      reply.fail(GatewayError.from(thrown));
    } finally {
      exchange.permit?.release();
      const place = mediaPlaces.get(exchange.requestId);
      if (place !== undefined) {
        place.release();
        mediaPlaces.delete(exchange.requestId);
      }
      running--;
      checkIdle();
    }
  };

  const visits = {
    newRequestId: () => newId('req', ids),
    nowMs,
    enter: (principal: Principal) => rateLimiter?.enter(principal),
    draining: () => draining,
    onStatus: (name: string, status: number) => metrics.countRequest(name, status),
    onError: (requestId: string, error: GatewayError) => {
      if (error.status >= 500) log.warn({ request_id: requestId, code: error.code, source: error.source, err: error.cause }, error.message);
    },
    onOpened: () => {
      openReplies++;
    },
    onClosed: () => {
      openReplies--;
      checkIdle();
    },
  };
  const server = createServer({
    ...visits,
    region: config.region,
    dialectOf,
    authenticate: authenticateRequest,
    upgrades: wantsWebSocket,
  });
  const door = new WebSocketDoor({
    ...visits,
    region: config.region,
    dialectOf,
    timers: deadlines,
    authenticatorOf: (request) => {
      const presented = presentedKey(request.headers, request.url);
      return (atMs) => authenticate(picture, authenticateSettings, presented, atMs);
    },
    rateRefusal: (principal) => rateLimiter?.refusal(principal),
    serve: (exchange, reply) => followed(exchange, reply, handle(rooms, exchange, reply)),
    reasons: (model, principal) => picture.modelByName(model, askerOf(principal))?.model.capabilities.includes('reasoning') === true,
    prewarm: (exchange, reply) => prewarm(rooms, exchange, reply),
  });
  server.server.on('upgrade', (request, socket, head) => door.upgrade(request, socket, head));
  server.addHook('preClose', (done) => {
    door.close();
    done();
  });
  metrics.gauge('meridian_websocket_connections', 'WebSocket connections that are open', () => door.connections);
  metrics.gauge('meridian_websocket_state_bytes', 'What WebSocket connections remember of their conversations', () => door.stateBytes);
  metrics.gauge('meridian_websocket_message_bytes', 'Messages of WebSockets that arrive, wait or are served', () => door.messageBytes);
  registerRoutes(server, {
    dialectOf,
    handle: (exchange, reply, request) => {
      const header = request.headers['idempotency-key'];
      const served =
        header === undefined
          ? handle(rooms, exchange, reply)
          : idempotency.serve(
              { ...exchange, header: String(header), apiKey: presentedKey(request.headers, request.url) ?? '' },
              reply,
              (recording) => handle(rooms, exchange, recording),
            );
      void followed(exchange, reply, served);
    },
    listModels: (principal, spoken, query) => modelListOf(spoken).list(callableModels(picture, principal, config.region, nowMs()), query),
    retrieveModel: (name, principal, spoken) => modelListOf(spoken).one(callableModel(picture, name, principal, config.region, nowMs())),
    me: (request, reply) => me(meRooms, request, reply),
    quote: (exchange, reply) => quote(rooms, exchange, reply),
    countTokens: (exchange, reply) => countTokens({ ...rooms, upstream, providerFor, counter }, exchange, reply),
    forward: (request, reply) => forward(upstream, config.controlUrl, request, reply),
    presentedApiKey: (request) => {
      const presented = presentedKey(request.headers, request.url);
      if (presented === undefined) return '';
      return presented.startsWith(config.keyPrefix) ? presented : undefined;
    },
    authenticate: (request) => authenticateRequest(request.raw, request.visit.arrivedMs),
  });

  return {
    server,
    get running() {
      return running;
    },
    get drainingStreams() {
      return leftBehind.drainingStreams;
    },
    get isDraining() {
      return draining;
    },
    async drain(withinMs) {
      draining = true;
      door.drain();
      await new Promise<void>((resolve) => {
        const idle = (): void => {
          timer.cancel();
          whenIdle = undefined;
          resolve();
        };
        let timer = deadlines.after(withinMs, () => {
          cutWith = new GatewayError('overloaded', { message: 'This node is shutting down.', retryAfterSeconds: 1 });
          for (const attempted of inFlight) attempted.interrupt(cutWith);
          idempotency.giveUpWaiting();
          timer = deadlines.after(FLUSH_WITHIN_MS, idle);
        });
        whenIdle = idle;
        checkIdle();
      });
    },
  };
}

function recordsInProcess(clock: Pick<Deadlines, 'nowMs'>, metrics: Metrics): MemoryStore {
  const store = new MemoryStore(() => clock.nowMs());
  store.reportTo(metrics);
  return store;
}

/** A client that leaves ends the fetching. Rejects with GatewayError. */
async function fetchMedia(
  media: MediaFetch,
  place: MediaPlace,
  urls: readonly string[],
  reply: Pick<Reply, 'onGone'>,
): Promise<ReadonlyMap<string, FoundMedium>> {
  const left = new AbortController();
  reply.onGone(() => left.abort());
  const fetched = await media.fetchAll(urls, left.signal);
  let fetchedBytes = 0;
  const found = new Map<string, FoundMedium>();
  for (const [url, { mediaType, bytes }] of fetched) {
    fetchedBytes += bytes.length;
    const data = bytes.toString('base64');
    found.set(url, { mediaType: sniffedMediaType(data) ?? mediaType, data });
  }
  place.fetched(fetchedBytes);
  return found;
}

/** What cannot be rated is not charged, and told; a request without its final would look as if it still ran. */
function settled(log: Logger, intent: Intent, { reservation }: Admitted, inputTokensBound: number, ending: Ending): Final {
  try {
    return settle(intent, reservation.leases, inputTokensBound, ending);
  } catch (thrown) {
    log.error({ request_id: intent.requestId, err: thrown }, 'a request could not be rated and is not charged');
    return settle(intent, reservation.leases, inputTokensBound, { ...ending, outcome: 'failed', served: undefined, calls: [] });
  }
}

function count(metrics: Metrics, log: Logger, final: Final): void {
  metrics.countOutcome(final.outcome, final.exactness);
  metrics.observeDurationMs(final.operation, final.durationMs);
  if (final.outcome === 'success' && final.exactness === 'estimated') {
    // Each of them is a provider that does not tell what it will bill.
    log.error(
      { request_id: final.requestId, model: final.answeringModelId, provider: final.attempts.at(-1)?.providerId },
      'an answer came without its usage and was counted here',
    );
  }
  if (final.varianceNano === 0n) return;
  metrics.countVariance();
  log.error(
    {
      request_id: final.requestId,
      account: final.accountId,
      model: final.answeringModelId,
      variance_nano: final.varianceNano.toString(),
      max_cost_nano: final.maxCostNano.toString(),
    },
    'a request was dearer than its bound',
  );
}

function logRequest(log: Logger, final: Final): void {
  log.request({
    requestId: final.requestId,
    account: final.accountId,
    model: final.answeringModelId ?? final.askedModel,
    outcome: final.outcome,
    status: final.status,
    code: final.errorCode,
    chargeNano: final.chargeNano,
    ms: final.durationMs,
  });
}
