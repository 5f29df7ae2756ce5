/** The composition root of a node: builds the rooms, wires them, and takes them down in order. */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { isWellFormedApiKey } from '@meridian/domain/api-key';
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import { nanoToUsdNumberLiteral } from '@meridian/domain/money';
import { admit } from './admission/admit.ts';
import { authenticate, type Principal, presentedKey } from './admission/authenticate.ts';
import type { Config } from './config.ts';
import { Picture } from './control/picture.ts';
import { SnapshotStore } from './control/snapshot-store.ts';
import { startSyncClient } from './control/sync-client.ts';
import { startUsageClient } from './control/usage-client.ts';
import { openaiChat } from './dialect/openai-chat/index.ts';
import { settle } from './metering/settle.ts';
import { openSpool } from './metering/spool/spool.ts';
import { handle, type Rooms } from './pipeline.ts';
import { providerFor } from './provider/registry.ts';
import { attempt } from './routing/attempt.ts';
import { LeftBehind } from './routing/left-behind.ts';
import { plan } from './routing/plan.ts';
import { forward } from './server/forward.ts';
import { createHealthServer } from './server/health.ts';
import { me } from './server/me.ts';
import { listModels, retrieveModel } from './server/models.ts';
import { registerRoutes } from './server/routes.ts';
import { createServer } from './server/server.ts';
import { createLogger } from './telemetry/logger.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { Deadlines } from './upstream/deadline.ts';
import { createUpstream } from './upstream/dispatch.ts';
import { patience } from './upstream/patience.ts';

const BUILD = '0.1.0';
/** Usage that is not acknowledged by then stays in the spool and is reported by the next start. */
const REPORT_WITHIN_MS = 10_000;
/** Random bytes are drawn in blocks: a draw for each request id would be a call into the kernel. */
const RANDOM_BLOCK_BYTES = 4096;

export interface RunningNode {
  readonly url: string;
  readonly healthUrl: string;
  /** Stops admitting, finishes or bounds what runs, reports, and gives the folder free. */
  close(why: string): Promise<void>;
}

/** Starts a node; resolves when it serves. Throws an Error with one clear line for a taken port or a folder in use. */
export async function createNode(config: Config): Promise<RunningNode> {
  const log = createLogger(config.logLevel, { node: config.nodeId, region: config.region });
  const metrics = createMetrics();
  const ids = idSource();
  const nowMs = Date.now;
  const deadlines = new Deadlines({ nowMs: () => performance.now() });
  deadlines.start();

  const incarnation = randomIncarnation();
  const spool = await openSpool({
    folder: join(config.dataFolder, 'spool'),
    incarnation,
    ids,
    alarm: (message, fields) => log.error(fields, message),
  });
  const upstream = createUpstream({ deadlines, connectionsPerOrigin: config.connectionsPerOrigin });
  const picture = new Picture({ sealingKey: config.sealingKey });
  const link = {
    address: config.controlGrpcAddress,
    joinToken: config.joinToken,
    nodeId: config.nodeId,
    region: config.region,
    random: Math.random,
  };
  const store = await SnapshotStore.open(config.dataFolder);
  const sync = startSyncClient({ ...link, spoolId: spool.spoolId, incarnation, build: BUILD, picture, store, clock: { nowMs }, log });
  const usage = startUsageClient({ ...link, spool, log: (message, fields) => log.info(fields, message) });

  let draining = false;
  let running = 0;
  const leftBehind = new LeftBehind(deadlines);
  const authenticateSettings = {
    keyPrefix: config.keyPrefix,
    pepper: config.keyPepper,
    region: config.region,
    regionUrls: config.regionUrls,
  };
  const authenticateRequest = (request: IncomingMessage, atMs: number): Principal =>
    authenticate(picture, authenticateSettings, presentedKey(request.headers), atMs);

  const rooms: Rooms = {
    plan: (facts, principal, atMs) => plan(picture, facts, principal.key, config.region, atMs),
    admit: (principal, demand) => admit(principal, demand, spool),
    open: (intent) =>
      new Promise((resolve, reject) => {
        spool.intent(intent, (error) => (error === undefined ? resolve() : reject(error)));
      }),
    attempt: (job) =>
      attempt(
        {
          upstream,
          providerFor,
          timeouts: (candidate, request) => patience(config, request.facts, candidate.model.maxOutputTokens),
          nowMs,
        },
        job,
      ),
    settle: (intent, facts, ending) =>
      new Promise((resolve) => {
        const final = settle(intent, facts.inputTokensBound, ending);
        spool.final(final, (error) => {
          // The answer is not held back for a record that could not be written: the loss is ours, and it is told.
          if (error !== undefined) log.error({ request_id: final.requestId, err: error }, 'a final could not be written');
          metrics.countOutcome(final.outcome, final.exactness);
          metrics.observeDurationMs(final.operation, final.durationMs);
          if (final.varianceNano > 0n) metrics.countVariance();
          log.info(
            {
              request_id: final.requestId,
              account: final.accountId,
              model: final.answeringModelId ?? final.askedModel,
              outcome: final.outcome,
              status: final.status,
              code: final.errorCode,
              charge_nano: final.chargeNano.toString(),
              ms: final.durationMs,
            },
            'request',
          );
          resolve(final);
        });
      }),
    leftBehind: (attempted, planned, facts) =>
      facts.stream ? leftBehind.stream(attempted, planned.model.hidesReasoning) : leftBehind.answer(attempted),
    costLiteral: (final) => nanoToUsdNumberLiteral(final.chargeNano),
    timers: deadlines,
    nowMs,
  };

  const server = createServer({
    region: config.region,
    dialect: openaiChat,
    newRequestId: () => newId('req', ids),
    nowMs,
    authenticate: authenticateRequest,
    draining: () => draining,
    onStatus: (name, status) => metrics.countRequest(name, status),
    onError: (requestId, error) => {
      if (error.status >= 500) log.warn({ request_id: requestId, code: error.code, source: error.source, err: error.cause }, error.message);
    },
  });
  registerRoutes(server, {
    handle: (exchange, reply) => {
      running++;
      handle(rooms, { ...exchange, dialect: openaiChat }, reply)
        .catch((thrown: unknown) => {
          log.error({ request_id: exchange.requestId, err: thrown }, 'a request ended in a way that was not foreseen');
          reply.fail(GatewayError.from(thrown));
        })
        .finally(() => {
          running--;
        });
    },
    listModels: (principal) => listModels(picture, principal, config.region, nowMs()),
    retrieveModel: (name, principal) => retrieveModel(picture, name, principal, config.region, nowMs()),
    me: (principal) => me(picture, principal, spool.unackedChargeNano(principal.account.id), config.region),
    forward: (request, reply) => forward(upstream, config.controlUrl, request, reply),
    presentsApiKey: (request) => {
      const presented = presentedKey(request.headers);
      return presented === undefined || presented.startsWith(config.keyPrefix) || isWellFormedApiKey(config.keyPrefix, presented);
    },
    authenticate: (request) => authenticateRequest(request.raw, request.visit.arrivedMs),
  });

  const health = createHealthServer(metrics, () => {
    const checks = { picture: sync.status().dbEpoch !== '', spool: !spool.refusing, serving: !draining };
    return { ready: Object.values(checks).every(Boolean), checks };
  });
  metrics.gauge('meridian_running_requests', 'Requests that are being served', () => running);
  metrics.gauge('meridian_draining_streams', 'Streams that are read on after their client left', () => leftBehind.drainingStreams);
  metrics.gauge('meridian_spool_last_seq', 'Last record written to the spool', () => spool.lastSeq);
  metrics.gauge('meridian_spool_unacked_records', 'Records that the control plane has not acknowledged', () => unacked());
  metrics.gauge(
    'meridian_config_age_seconds',
    'Since the control plane was last heard',
    () => (sync.status().configAgeMs ?? Number.NaN) / 1000,
  );
  metrics.gauge('meridian_control_connected', '1 while the Sync stream is up', () => (sync.status().connected ? 1 : 0));
  const unacked = (): number =>
    spool.incarnations().reduce((sum, range) => sum + Math.max(0, range.lastSeq - spool.ackedSeq(range.incarnation)), 0);

  try {
    // Liveness can be asked from the start; customers are let in with the first picture, of whatever age.
    await listen(
      () => new Promise<void>((resolve, reject) => health.once('error', reject).listen(config.healthPort, config.healthHost, resolve)),
      config.healthPort,
    );
    await sync.ready;
    await listen(() => server.listen({ host: config.host, port: config.port }), config.port);
  } catch (error) {
    usage.close();
    await sync.close();
    await store.close();
    await spool.close();
    throw error;
  }
  log.info({ port: addressOf(server.server).port }, 'serving');

  return {
    url: `http://${config.host}:${addressOf(server.server).port}`,
    healthUrl: `http://${config.healthHost}:${addressOf(health).port}`,
    async close(why) {
      draining = true;
      log.info({ why, running }, 'draining');
      const until = performance.now() + config.drainTimeoutMs;
      while (running > 0 && performance.now() < until) await new Promise<void>((resolve) => deadlines.after(50, resolve));
      server.server.closeAllConnections();
      await server.close();
      // Requests that were cut off above still settle; their finals belong to this report.
      while (running > 0 && performance.now() < until + 1_000) await new Promise((resolve) => setImmediate(resolve));
      await usage.drain(REPORT_WITHIN_MS);
      usage.close();
      await sync.close();
      await store.close();
      await spool.close();
      await upstream.close();
      await new Promise((resolve) => health.close(resolve));
      health.closeAllConnections();
      deadlines.stop();
      log.info('stopped');
      await new Promise<void>((resolve) => log.flush(() => resolve()));
    },
  };
}

async function listen(start: () => Promise<unknown>, port: number): Promise<void> {
  try {
    await start();
  } catch (cause) {
    const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
    if (code === 'EADDRINUSE') throw new Error(`Port ${port} is taken.`, { cause });
    throw cause;
  }
}

function addressOf(server: Server): AddressInfo {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server does not listen on a port');
  return address;
}

function idSource(): IdSource {
  let block = randomBytes(RANDOM_BLOCK_BYTES);
  let used = 0;
  return {
    nowMs: Date.now,
    randomBytes(count) {
      if (used + count > block.length) {
        block = randomBytes(RANDOM_BLOCK_BYTES);
        used = 0;
      }
      used += count;
      return block.subarray(used - count, used);
    },
  };
}

/** 63 random bits: fits a signed column, and never repeats. */
function randomIncarnation(): bigint {
  return randomBytes(8).readBigUInt64BE() >> 1n;
}
