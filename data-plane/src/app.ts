/** The composition root of a node: builds the rooms, wires them, and takes them down in order. */
import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { IdSource } from '@meridian/domain/ids';
import { LeaseDesk } from './admission/lease-desk.ts';
import { RateLimiter } from './admission/rate-limit.ts';
import { TokenCounter } from './admission/token-counter.ts';
import type { Config } from './config.ts';
import { handBack } from './control/hand-back.ts';
import { LeaseClient } from './control/lease-client.ts';
import { registerLeaseMetrics } from './control/lease-metrics.ts';
import { Picture } from './control/picture.ts';
import { SnapshotStore } from './control/snapshot-store.ts';
import { startSyncClient } from './control/sync-client.ts';
import { startUsageClient } from './control/usage-client.ts';
import { dialectOf } from './dialect/registry.ts';
import { RedisStore } from './idempotency/redis-store.ts';
import { openSpool } from './metering/spool/spool.ts';
import { connectRegionRedis } from './redis/client.ts';
import { RateCounters } from './redis/rate-counters.ts';
import { createRequestPath } from './request-path.ts';
import { createHealthServer } from './server/health.ts';
import { createLogger } from './telemetry/logger.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { Deadlines } from './upstream/deadline.ts';
import { createUpstream } from './upstream/dispatch.ts';
import { createMediaFetch } from './upstream/media-fetch.ts';

const BUILD = '0.1.0';
/** Usage and returned leases that are not acknowledged by then stay in the spool and are reported by the next start. */
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
  const media = createMediaFetch(config.mediaFetch === 'any' ? { allows: () => true } : {});
  const picture = new Picture({ sealingKey: config.sealingKey });
  const link = {
    address: config.controlGrpcAddress,
    joinToken: config.joinToken,
    nodeId: config.nodeId,
    region: config.region,
    random: Math.random,
  };
  const store = await SnapshotStore.open({
    dataFolder: config.dataFolder,
    sealingKey: config.sealingKey,
    alarm: (message, fields) => log.error(fields, message),
  });
  const sync = startSyncClient({ ...link, spoolId: spool.spoolId, incarnation, build: BUILD, picture, store, clock: ids, log });
  const tell = (message: string, fields: Readonly<Record<string, unknown>>): void => log.info(fields, message);
  const leases = new LeaseClient({
    ...link,
    spool,
    dbEpoch: () => sync.status().dbEpoch,
    hurry: () => usage.hurry(),
    clock: ids,
    log: tell,
  });
  const desk = new LeaseDesk({ recovered: spool.leases(), spoolId: spool.spoolId, effects: leases.effects, nowMs: ids.nowMs() });
  const usage = startUsageClient({ ...link, spool, onAcknowledged: (seq) => desk.acknowledged(seq, ids.nowMs()), log: tell });
  leases.start(desk);

  const counter = new TokenCounter({ after: (delayMs, expired) => deadlines.after(delayMs, expired), log });
  const redis =
    config.redisUrl === undefined
      ? undefined
      : connectRegionRedis({ url: config.redisUrl, log, nowMs: () => performance.now(), random: Math.random });
  /** As the control plane has said it last. */
  let regionNodes = 1;
  const rateLimiter = new RateLimiter({
    counters:
      redis === undefined
        ? undefined
        : new RateCounters({ redis, region: config.region, node: `${config.nodeId}:${incarnation.toString(36)}` }),
    nowMs: () => Math.floor(performance.now()),
    regionNodes: () => {
      regionNodes = sync.status().regionNodes ?? regionNodes;
      return regionNodes;
    },
  });
  const path = createRequestPath({
    config,
    dialectOf,
    picture,
    spool,
    grants: desk,
    counter,
    upstream,
    media,
    deadlines,
    metrics,
    log,
    ids,
    ...(redis === undefined ? {} : { idempotencyStore: new RedisStore(redis) }),
    rateLimiter,
  });

  const health = createHealthServer(metrics, () => {
    const checks = { picture: sync.status().dbEpoch !== '', spool: !spool.refusing, serving: !path.isDraining };
    return { ready: Object.values(checks).every(Boolean), checks };
  });
  registerLeaseMetrics(metrics, { desk, client: leases, unitOfCap: (id) => picture.cap(id)?.unit, clock: ids });
  metrics.gauge('meridian_rate_limited_keys', 'Keys whose rate limits are remembered', () => rateLimiter.keys);
  metrics.gauge('meridian_rate_limit_share', 'The part of each rate limit that this node may use', () => rateLimiter.share);
  metrics.gauge('meridian_rate_unlimited_requests', 'Requests of keys for whose limits there was no room', () => rateLimiter.unlimited);
  metrics.gauge('meridian_redis_away', "1 while the region's Redis is not asked", () => (redis?.away === true ? 1 : 0));
  metrics.gauge('meridian_running_requests', 'Requests that are being served', () => path.running);
  metrics.gauge('meridian_draining_streams', 'Streams that are read on after their client left', () => path.drainingStreams);
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
    await listen(() => path.server.listen({ host: config.host, port: config.port }), config.port);
  } catch (error) {
    health.close();
    health.closeAllConnections();
    rateLimiter.close();
    redis?.close();
    leases.close();
    usage.close();
    await sync.close();
    await store.close();
    await spool.close();
    throw error;
  }
  log.info({ port: addressOf(path.server.server).port }, 'serving');

  return {
    url: `http://${config.host}:${addressOf(path.server.server).port}`,
    healthUrl: `http://${config.healthHost}:${addressOf(health).port}`,
    async close(why) {
      log.info({ why, running: path.running }, 'draining');
      await path.drain(config.drainTimeoutMs);
      await path.server.close();
      rateLimiter.close();
      redis?.close();
      await counter.close();
      const reported = await handBack({ desk, leases, usage, clock: ids }, REPORT_WITHIN_MS);
      if (!reported) log.warn({ records: unacked() }, 'the control plane has not acknowledged everything: the next start reports the rest');
      leases.close();
      usage.close();
      await sync.close();
      await store.close();
      await spool.close();
      await media.close();
      await upstream.close();
      const healthClosed = new Promise((resolve) => health.close(resolve));
      // A probe that keeps its connection open, or never asked anything on it, is not waited for.
      health.closeAllConnections();
      await healthClosed;
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
