/** Divides the connections of a replica, so that no kind of work can keep another waiting. */
import { type ConnectOptions, connect, type Database } from './connect.ts';

/** One that reads the log, and one for whatever else nodes wait for: a snapshot, a word about themselves. */
const NODE_CONNECTIONS = 2;
/** Nodes resend what is not acknowledged, so a batch may stand in line for as long as its stream. */
const INGEST_CONNECT_TIMEOUT_MS = 30_000;

export interface Pools {
  /** The HTTP side and the background jobs. */
  readonly api: Database;
  /** What nodes are told. A revocation waits for nobody here. */
  readonly nodes: Database;
  /** What nodes ask of budgets, while a request waits for it. */
  readonly leases: Database;
  /** What nodes report: as much of it at once as there are connections here. */
  readonly ingest: Database;
  close(): Promise<void>;
}

/** Pools on one database with `maxConnections` (≥ 5) in all: two for nodes, a quarter of the others for leases, the rest half and half. */
export function openPools(url: string, { maxConnections, ...options }: ConnectOptions): Pools {
  const leaseConnections = leaseConnectionsOf(maxConnections);
  const ingestConnections = Math.floor((maxConnections - NODE_CONNECTIONS - leaseConnections) / 2);
  const apiConnections = maxConnections - NODE_CONNECTIONS - leaseConnections - ingestConnections;
  const api = connect(url, { ...options, maxConnections: apiConnections });
  const nodes = connect(url, { ...options, maxConnections: NODE_CONNECTIONS });
  const leases = connect(url, { ...options, maxConnections: leaseConnections });
  const ingest = connect(url, { ...options, maxConnections: ingestConnections, connectTimeoutMs: INGEST_CONNECT_TIMEOUT_MS });
  return {
    api,
    nodes,
    leases,
    ingest,
    close: async () => {
      await Promise.all([api, nodes, leases, ingest].map((pool) => pool.destroy()));
    },
  };
}

/** Of `maxConnections` (≥ 5): as many transactions about leases go on at a time. */
export function leaseConnectionsOf(maxConnections: number): number {
  return Math.max(1, Math.floor((maxConnections - NODE_CONNECTIONS) / 4));
}
