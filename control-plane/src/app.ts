/** The composition root: builds the services, puts HTTP, gRPC and the background jobs on them, and takes them down again. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { newId } from '@meridian/domain/ids';
import { AccountService } from './accounts/service.ts';
import { TeamService } from './accounts/team-service.ts';
import { plainCheck } from './audit/audit.ts';
import { AuditRuns } from './audit/runs.ts';
import type { LimitListener } from './budgets/caps.ts';
import { LeaseSignals } from './budgets/lease-signals.ts';
import { Leases } from './budgets/leases.ts';
import { LeaseUpkeep } from './budgets/leases-upkeep.ts';
import { isPrepaidBudgetId } from './budgets/prepaid.ts';
import { QuestionsRunner } from './budgets/questions-runner.ts';
import { BudgetService } from './budgets/service.ts';
import { CatalogService } from './catalog/service.ts';
import { type Config, PRODUCT_NAME } from './config.ts';
import { CredentialService } from './credentials/service.ts';
import { migrate } from './database/migrate.ts';
import { leaseConnectionsOf, openPools, type Pools } from './database/pools.ts';
import { buildHttp } from './http/server.ts';
import { Sessions } from './http/session.ts';
import { startJobs } from './jobs/jobs.ts';
import { repeat } from './jobs/repeat.ts';
import { type Scheduler, startScheduler } from './jobs/scheduled.ts';
import { ScheduledFigures } from './jobs/scheduled-figures.ts';
import { scheduledJobs } from './jobs/scheduled-jobs.ts';
import { KeyService } from './keys/service.ts';
import { createCreditServices } from './ledger/credit.ts';
import { createLedger } from './ledger/service.ts';
import { NodeService } from './nodes/service.ts';
import { PlanService } from './plans/service.ts';
import { PriceImportService } from './price-import/service.ts';
import { PricingService, salesOf } from './pricing/service.ts';
import { DenialService } from './restore/denials.ts';
import { RestoreService } from './restore/service.ts';
import { allRoutes } from './routes.ts';
import { HelloAdmission } from './rpc/hello-admission.ts';
import { LeaseHub } from './rpc/lease-service.ts';
import { joinTokenIdentity } from './rpc/node-identity.ts';
import { startRpc } from './rpc/server.ts';
import { SnapshotDownloads } from './rpc/snapshot-download.ts';
import { SyncHub } from './rpc/sync-service.ts';
import { UsageReports } from './rpc/usage-service.ts';
import { applySeed } from './seed/service.ts';
import { LogTail } from './snapshots/log-tail.ts';
import { openReplicaFolder } from './snapshots/replica-folder.ts';
import { publish, readHeads } from './snapshots/service.ts';
import { SnapshotFiles } from './snapshots/snapshot-files.ts';
import { createHealthServer } from './telemetry/health.ts';
import { createLogger, type Logger } from './telemetry/logger.ts';
import { createMetrics, type Metrics } from './telemetry/metrics.ts';
import { TierRuns } from './tiers/runs.ts';
import { createTierService } from './tiers/service.ts';
import { TrailService } from './trail/service.ts';
import { createUsageService, type UsageAlarm } from './usage/service.ts';
import { UnchargedCeiling } from './usage/uncharged-ceiling.ts';

const VERSION = '0.1.0';
/** A log that was not read for this long makes a replica unready: it would keep changes from its nodes. */
const STALE_LOG_MS = 5_000;
const SCHEDULED_FIGURES_MS = 60_000;

export interface App {
  readonly httpUrl: string;
  /** host:port */
  readonly grpcAddress: string;
  readonly healthUrl: string;
  /** Sends nodes and clients away, ends what is under way within the shutdown time, closes everything. Idempotent. */
  close(): Promise<void>;
}

/** Migrates and seeds the database, then listens. Rejects with an error whose message says in one line what is in the way. */
export async function startApp(config: Config, logger: Logger = createLogger(config.logLevel)): Promise<App> {
  await migrate(config.databaseUrl);
  const metrics = createMetrics();
  const pools = openPools(config.databaseUrl, {
    maxConnections: config.maxDatabaseConnections,
    usageQueryTimeoutMs: config.usageQueryTimeoutMs,
    applicationName: 'meridian-control-plane',
    onIdleError: (error) => logger.warn({ err: error }, 'a connection to the database broke'),
  });
  /** Taken down in the reverse order in which they came up, also when the start fails half-way. */
  const closers: (() => Promise<void>)[] = [() => pools.close()];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) {
      await close().catch((error: unknown) => logger.error({ err: error }, 'something did not close'));
    }
  };
  try {
    return await start(config, { pools, logger, metrics }, closers, closeAll);
  } catch (error) {
    await closeAll();
    throw error;
  }
}

type HttpServer = ReturnType<typeof buildHttp>;

interface Base {
  readonly pools: Pools;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

async function start(config: Config, base: Base, closers: (() => Promise<void>)[], closeAll: () => Promise<void>): Promise<App> {
  const { pools, logger, metrics } = base;
  const clock = { nowMs: () => Date.now() };
  const ids = { ...clock, randomBytes: (count: number) => randomBytes(count) };
  const restore = await RestoreService.start({
    db: pools.api,
    clock,
    onEvent: (event) => {
      metrics.countRestoreEvent(event.kind);
      logger.error(event, `the database: ${event.kind}`);
    },
  });
  const services = buildServices(config, base, ids, restore);
  const { accounts, plans, keys, catalog, pricing, ledger, tiers, nodes, ingest } = services;

  const seeded = await applySeed({ db: pools.api, ids, publish, plans, catalog, pricing, trail: services.trail }, config.catalogueFile);
  await tiers.publishLadder();
  logger.info(seeded, 'catalogue applied');

  const tail = await LogTail.start({ db: pools.nodes });
  const self = { pid: process.pid, startedAtMs: clock.nowMs() - process.uptime() * 1000 };
  const folder = await openReplicaFolder(tmpdir(), self);
  const onBuilt = (snapshot: { byteCount: number; entityCount: number }, durationMs: number): void => {
    metrics.observeSnapshot(durationMs, snapshot.byteCount);
    logger.info({ durationMs, byteCount: snapshot.byteCount, entityCount: snapshot.entityCount }, 'snapshot built');
  };
  const snapshots = new SnapshotFiles({ db: pools.nodes, tail, ids, folder, onBuilt });
  closers.push(() => snapshots.close());

  const requireNode = joinTokenIdentity(config.joinToken);
  const admission = new HelloAdmission(clock.nowMs());
  const sync = new SyncHub({
    requireNode,
    tail,
    snapshots,
    nodes,
    admission,
    readHeads: async () => (await readHeads(pools.nodes)).revs,
    restore,
    denials: new DenialService({ db: pools.nodes, clock, publish, accounts, keys }),
    ids,
    metrics,
    logger,
  });
  const downloads = new SnapshotDownloads({ requireNode, snapshots, logger });
  const { leases, questions, leaseUpkeep } = startLeases(config, base, { services, restore, ids, closers });
  const leaseHub = new LeaseHub({ requireNode, leases, runner: questions, declarations: restore, clock, logger });
  const reports = new UsageReports({ requireNode, usage: ingest, restore, leases: questions, clock, metrics, logger });
  let polledAtMs = clock.nowMs();
  const jobs = startJobs({
    db: pools.api,
    tail,
    sync,
    nodes,
    accounts,
    plans,
    usage: services.usage,
    ledger,
    trail: services.trail,
    refunds: services.credit.refunds,
    restore,
    leaseHub,
    questions,
    leaseUpkeep,
    onPolled: () => {
      polledAtMs = clock.nowMs();
    },
    onError: (job, error) => {
      metrics.countJobFailure(job);
      logger.error({ err: error, job }, 'a background job failed');
    },
  });
  // The last word of the nodes that were just sent away.
  closers.push(() => nodes.flush());
  closers.push(() => jobs.stop());
  const scheduled = startScheduled(config, base, { services, clock, dbEpoch: () => tail.dbEpoch, closers });
  // Whoever has just paid is served at once, not a second later.
  services.limitListeners.push((budgetIds) => {
    if (budgetIds.some(isPrepaidBudgetId)) jobs.publishBalancesSoon();
  });

  metrics.gauge('meridian_sync_streams', 'Nodes connected to this replica', () => nodes.connectedCount);
  metrics.gauge('meridian_grants_frozen', '1 while the database was set back and nothing is granted', () => (restore.frozen() ? 1 : 0));
  metrics.gauge('meridian_lease_streams', 'Streams of leases', () => leaseHub.streamCount);
  metrics.gauge('meridian_lease_shortages', 'Budgets for which other holders are asked', () => questions.shortages);
  metrics.gauge('meridian_leases_open', 'Open leases', () => leaseUpkeep.figures.openLeases);
  metrics.gauge('meridian_leases_held', 'What open leases hold, by unit', () => leaseUpkeep.figures.held);
  metrics.gauge('meridian_leases_settled', 'What was charged on open leases, by unit', () => leaseUpkeep.figures.settled);
  metrics.gauge('meridian_silent_spools', 'Spools with open leases, silent for a minute', () => leaseUpkeep.figures.silentSpools);
  metrics.gauge('meridian_report_streams', 'Streams of usage', () => reports.streamCount);
  metrics.gauge('meridian_snapshot_downloads', 'Snapshots being fetched', () => downloads.running);
  metrics.gauge('meridian_config_head', 'Newest rev of each lane that this replica has read', () => ({ ...tail.heads }));
  metrics.gauge('meridian_log_age_seconds', 'Since the log was last read', () => (clock.nowMs() - polledAtMs) / 1000);

  restore.subscribe(() => {
    leaseHub.restart();
    reports.restart();
  });
  const rpc = await startRpc({ host: config.grpcHost, port: config.grpcPort, sync, downloads, leases: leaseHub, reports });
  closers.push(() => rpc.close(config.shutdownTimeoutMs / 2));
  const http = buildHttp({
    productName: PRODUCT_NAME,
    version: VERSION,
    logger,
    newRequestId: () => newId('req', ids),
    trustedProxies: config.trustedProxies,
    ...allRoutes({
      ...services,
      restore,
      ...scheduled,
      db: pools.api,
      dbEpoch: () => tail.dbEpoch,
      clock,
    }),
  });
  closers.push(() => closeHttp(http, config.shutdownTimeoutMs / 4));
  const httpUrl = await listenHttp(http, config);
  const health = createHealthServer({
    registry: metrics.registry,
    checks: async () => ({
      database: await readHeads(pools.api).then(
        () => true,
        () => false,
      ),
      log: clock.nowMs() - polledAtMs < STALE_LOG_MS,
    }),
  });
  closers.push(() => closeServer(health));
  const healthUrl = await listenHealth(health, config);

  let closing: Promise<void> | undefined;
  return {
    httpUrl,
    grpcAddress: rpc.address,
    healthUrl,
    close: () => {
      closing ??= closeAll();
      return closing;
    },
  };
}

function buildServices(
  config: Config,
  { pools, logger, metrics }: Base,
  ids: { nowMs(): number; randomBytes(count: number): Uint8Array },
  restore: RestoreService,
) {
  const db = pools.api;
  const tiers = createTierService({ db, clock: ids, publish });
  /** Whoever hands out shares of budgets hears of changed limits here. */
  const limitListeners: LimitListener[] = [];
  const onLimitChanged: LimitListener = (budgetIds, news) => {
    for (const listen of limitListeners) listen(budgetIds, news);
  };
  const budgets = new BudgetService({ db, ids, publish, onLimitChanged });
  const catalog = new CatalogService({ db, ids, publish, sales: salesOf(tiers) });
  const pricing = new PricingService({ db, ids, publish, catalog, tiers });
  const plans = new PlanService({ db, ids, publish, budgets, catalog });
  const accounts = new AccountService({ db, ids, publish, tiers, plans });
  const keys = new KeyService({ db, ids, publish, budgets, catalog, keyPrefix: config.keyPrefix, pepper: config.keyPepper });
  const teams = new TeamService({ db, ids, publish, accounts, keys, budgets, pepper: config.keyPepper });
  const credentials = new CredentialService({ db, ids, publish, catalog, sealingKey: config.sealingKey });
  const sessions = new Sessions({ jwtSecret: config.jwtSecret, operators: config.operators, nowMs: ids.nowMs }, accounts, keys);
  const ledger = createLedger({ db, clock: ids, onLimitChanged });
  const usageDeps = {
    clock: ids,
    prices: pricing,
    onAlarm: (alarm: UsageAlarm) => {
      metrics.countUsageAlarm(alarm.kind);
      logger.error({ alarm: readable(alarm) }, `usage: ${alarm.kind}`);
    },
  };
  // Members read on other connections than those on which nodes report.
  const usage = createUsageService({ db, readingDb: pools.reports, ...usageDeps });
  const credit = createCreditServices({
    ...{ db, clock: ids, onLimitChanged, addressKey: config.keyPepper },
    chargeOf: async (accountId, requestId) => (await usage.receipt(accountId, requestId)).chargeNano,
  });
  const ceiling = new UnchargedCeiling({ db, clock: ids, accounts });
  const ingest = createUsageService({
    ...{ db: pools.ingest, ...usageDeps, onLimitChanged },
    onBehind: (sign) => restore.detected(sign),
    onUncharged: (days) => {
      ceiling.check(days).catch((error: unknown) => logger.error({ err: error }, 'a ceiling of uncharged cost could not be looked at'));
    },
  });
  const nodes = new NodeService({ db: pools.nodes, clock: ids });
  const trail = new TrailService({ db, ids });
  const priceImports = new PriceImportService({ db, publish, catalog, pricing, tiers });
  return {
    accounts,
    teams,
    plans,
    budgets,
    limitListeners,
    catalog,
    pricing,
    priceImports,
    keys,
    credentials,
    sessions,
    ledger,
    credit,
    usage,
    ingest,
    tiers,
    nodes,
    trail,
  };
}

interface ScheduledParts {
  readonly services: ReturnType<typeof buildServices>;
  readonly clock: { nowMs(): number };
  readonly dbEpoch: () => string;
  readonly closers: (() => Promise<void>)[];
}

/** What is done at hours of the day, together with the other replicas. */
function startScheduled(config: Config, { pools, logger, metrics }: Base, { services, clock, dbEpoch, closers }: ScheduledParts) {
  const db = pools.api;
  const { nodes } = services;
  const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  const tierRuns = new TierRuns({ db, clock, publish, slowestOnBulk: () => nodes.slowest(dbEpoch(), 'bulk'), pause });
  const auditRuns = new AuditRuns({
    db,
    clock,
    onBroken: ({ checks }) => logger.error({ broken: checks.filter((check) => !check.ok).map(plainCheck) }, 'THE BOOKS ARE NOT IN ORDER'),
  });
  const onError = (job: string, error: unknown): void => {
    metrics.countJobFailure(job);
    logger.error({ err: error, job }, 'scheduled work failed');
  };
  const figures = new ScheduledFigures({ auditRuns, tierRuns, clock });
  metrics.gauge('meridian_books_broken', '1 while the newest audit found that the books are not in order', () =>
    figures.booksAreBroken ? 1 : 0,
  );
  metrics.gauge('meridian_audit_age_seconds', 'Since the newest audit', () => figures.auditAgeSeconds);
  metrics.gauge(
    'meridian_tier_age_seconds',
    'Since the end of the 30 days that tiers were last reckoned from',
    () => figures.tierAgeSeconds,
  );
  let scheduler: Scheduler | undefined;
  if (config.scheduler) {
    scheduler = startScheduler({ db: pools.scheduler, jobs: scheduledJobs({ tierRuns, auditRuns }), onError });
    const refreshing = repeat({
      name: 'scheduled figures',
      retryMs: SCHEDULED_FIGURES_MS,
      onError,
      run: async () => {
        await figures.refresh();
        return SCHEDULED_FIGURES_MS;
      },
    });
    closers.push(async () => {
      await Promise.all([scheduler?.stop(), refreshing.stop()]);
    });
  }
  const runSoon = async (job: string): Promise<boolean> => {
    if (scheduler === undefined) throw new Error('this replica has no scheduler');
    return scheduler.runSoon(job);
  };
  return { tierRuns, auditRuns, runSoon };
}

interface LeaseParts {
  readonly services: ReturnType<typeof buildServices>;
  readonly restore: RestoreService;
  readonly ids: { nowMs(): number; randomBytes(count: number): Uint8Array };
  readonly closers: (() => Promise<void>)[];
}

/** Hands out shares of budgets, together with the other replicas. */
function startLeases(config: Config, { pools, logger, metrics }: Base, { services, restore, ids, closers }: LeaseParts) {
  const leases = new Leases({ db: pools.leases, background: pools.api, isFrozenIn: (trx) => restore.isFrozenIn(trx), ids });
  const questions = new QuestionsRunner({
    leases,
    clock: ids,
    newRecallId: () => randomBytes(6).readUIntBE(0, 6),
    frozen: () => restore.frozen(),
    signal: (signal) => signals.publish(signal),
    maxConcurrent: leaseConnectionsOf(config.maxDatabaseConnections),
    metrics,
    logger,
  });
  const signals = new LeaseSignals({
    url: config.databaseUrl,
    replicaId: randomBytes(8).toString('hex'),
    onSignal: (signal) => questions.receive(signal),
    onError: (error) => logger.warn({ err: error }, 'replicas cannot tell each other about leases'),
  });
  closers.push(() => signals.close());
  closers.push(() => questions.close());
  const failed = (error: unknown): void => logger.error({ err: error }, 'leases could not be called back');
  services.limitListeners.push((budgetIds, news) => {
    if (news === 'raised') questions.room(budgetIds);
    else if (news === 'lowered') questions.lowered(budgetIds).catch(failed);
    else questions.wanted(budgetIds).catch(failed);
  });
  return { leases, questions, leaseUpkeep: new LeaseUpkeep({ leases, runner: questions }) };
}

/** Amounts are bigint, which JSON does not have. */
function readable(alarm: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(alarm).map(([name, value]) => [name, typeof value === 'bigint' ? String(value) : value]));
}

async function listenHttp(http: HttpServer, { httpHost: host, httpPort: port }: Config): Promise<string> {
  try {
    return await http.listen({ host, port });
  } catch (error) {
    throw cannotListen('HTTP', host, port, error);
  }
}

async function listenHealth(server: Server, { healthHost: host, healthPort: port }: Config): Promise<string> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    throw cannotListen('the health server', host, port, error);
  }
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the health server has no address');
  return `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`;
}

function cannotListen(who: string, host: string, port: number, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Error(`${who} cannot listen on ${host}:${port}: ${reason.includes('EADDRINUSE') ? 'the port is taken' : reason}`, { cause });
}

/** Requests under way get `graceMs`; then their connections are cut. */
async function closeHttp(http: HttpServer, graceMs: number): Promise<void> {
  const timer = setTimeout(() => http.server.closeAllConnections(), graceMs);
  await http.close();
  clearTimeout(timer);
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
