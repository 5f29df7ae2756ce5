/** Divides the connections of a replica, so that no kind of work can keep another waiting. */
import { type ConnectOptions, connect, connectPlain, type Database, type PlainDatabase } from './connect.ts';

/** One that reads the log, and one for whatever else nodes wait for: a snapshot, a word about themselves. */
const NODE_CONNECTIONS = 2;
/** Nodes resend what is not acknowledged, so a batch may stand in line for as long as its stream. */
const INGEST_CONNECT_TIMEOUT_MS = 30_000;
/** The scheduler's statements stand in line for its one connection. */
const SCHEDULER_CONNECT_TIMEOUT_MS = 30_000;

/** Sums of many hours are put together in memory, and each statement is made for one answer, which is sooner there than its machine code. */
const REPORT_SETTINGS = { work_mem: '32MB', jit: 'off' };

export interface Pools {
  /** The HTTP side and the background jobs. */
  readonly api: Database;
  /** What customers read of their usage, which may be millions of rows: nothing else waits for it. */
  readonly reports: Database;
  /** What nodes are told. A revocation waits for nobody here. */
  readonly nodes: Database;
  /** What nodes ask of budgets, while a request waits for it. */
  readonly leases: Database;
  /** What nodes report: as much of it at once as there are connections here. */
  readonly ingest: Database;
  /** The scheduler's own statements, one at a time, on a connection beside the others. What it starts works on `api`. */
  readonly scheduler: PlainDatabase;
  close(): Promise<void>;
}

export interface PoolOptions extends Omit<ConnectOptions, 'statementTimeoutMs'> {
  /** What one question about usage may take. */
  readonly usageQueryTimeoutMs: number;
}

/**
 * Pools on one database with `maxConnections` (≥ 6) in all: two for nodes, a quarter of the others for leases, half of the rest for
 * ingest; of the other half a third for reports. One more is the scheduler's, if there is one.
 */
export function openPools(url: string, { maxConnections, usageQueryTimeoutMs, ...options }: PoolOptions): Pools {
  const leaseConnections = leaseConnectionsOf(maxConnections);
  const ingestConnections = Math.floor((maxConnections - NODE_CONNECTIONS - leaseConnections) / 2);
  const otherConnections = maxConnections - NODE_CONNECTIONS - leaseConnections - ingestConnections;
  const reportConnections = Math.max(1, Math.floor(otherConnections / 3));
  const apiConnections = otherConnections - reportConnections;
  const api = connect(url, { ...options, maxConnections: apiConnections });
  const reports = connect(url, {
    ...options,
    maxConnections: reportConnections,
    statementTimeoutMs: usageQueryTimeoutMs,
    settings: REPORT_SETTINGS,
  });
  const nodes = connect(url, { ...options, maxConnections: NODE_CONNECTIONS });
  const leases = connect(url, { ...options, maxConnections: leaseConnections });
  const ingest = connect(url, { ...options, maxConnections: ingestConnections, connectTimeoutMs: INGEST_CONNECT_TIMEOUT_MS });
  const scheduler = connectPlain(url, { ...options, maxConnections: 1, connectTimeoutMs: SCHEDULER_CONNECT_TIMEOUT_MS });
  return {
    api,
    reports,
    nodes,
    leases,
    ingest,
    scheduler,
    close: async () => {
      await Promise.all([scheduler.close(), ...[api, reports, nodes, leases, ingest].map((pool) => pool.destroy())]);
    },
  };
}

/** Of `maxConnections` (≥ 6): as many transactions about leases go on at a time. */
export function leaseConnectionsOf(maxConnections: number): number {
  return Math.max(1, Math.floor((maxConnections - NODE_CONNECTIONS) / 4));
}
