/** The control plane's metrics. */
import type { Lane } from '@meridian/domain/snapshot';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Why a stream was closed by us, or a call refused. */
export type StreamEnd = 'resync' | 'goaway' | 'superseded' | 'protocol' | 'client';

export interface Metrics {
  readonly registry: Registry;
  /** From the write of a row to a node's acknowledgement (by the database's clock and ours). */
  observePropagationMs(lane: Lane, durationMs: number): void;
  countDelta(lane: Lane, frameBytes: number): void;
  countStreamEnd(reason: StreamEnd): void;
  countRejectedEntries(count: number): void;
  observeSnapshot(durationMs: number, byteCount: number): void;
  /** One batch that was committed. */
  observeIngest(records: number, durationMs: number): void;
  countUsageAlarm(kind: string): void;
  /** The database was found or declared to be set back, or grants go on after it. */
  countRestoreEvent(kind: string): void;
  /** Refusals that nodes told to a restored database: taken, or told when none are taken. */
  countDenials(outcome: 'taken' | 'refused', count: number): void;
  countJobFailure(job: string): void;
  /** A node asked for more of a budget. */
  countLeaseQuestion(): void;
  /** Totals of leases told to nodes, those repeated at connect left out. */
  countLeaseGrants(count: number): void;
  countLeaseDenial(reason: 'exhausted' | 'unreachable'): void;
  /** Asked to give back what is free, over this replica's streams. */
  countLeaseRecall(): void;
  /** Closed by us: their window is over, or their spool was given up. */
  countLeasesClosed(count: number, reason: 'ended' | 'given_up'): void;
  /** Leases that held something when they were closed: it is charged to nobody. */
  countLeaseWriteOffs(count: number): void;
  /** A figure read at scrape, by label where there is one. */
  gauge(name: string, help: string, read: () => number | Readonly<Record<string, number>>): void;
}

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.4, 0.7, 1, 2.5, 10, 30];

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const histogram = <Label extends string>(name: string, help: string, labelNames: Label[]): Histogram<Label> =>
    new Histogram({ name, help, labelNames, buckets: SECONDS, registers });
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> =>
    new Counter({ name, help, labelNames, registers });
  const propagation = histogram('meridian_propagation_seconds', 'From the write of a change to its acknowledgement by a node', ['lane']);
  const deltas = counter('meridian_deltas_total', 'Deltas sent', ['lane']);
  const deltaBytes = counter('meridian_delta_bytes_total', 'Bytes of deltas sent', ['lane']);
  const ends = counter('meridian_sync_streams_ended_total', 'Streams of configuration that ended', ['reason']);
  const rejected = counter('meridian_rejected_entries_total', 'Entries that a node could not read or apply', []);
  const snapshots = histogram('meridian_snapshot_build_seconds', 'Time to build a snapshot', []);
  const snapshotBytes = new Gauge({ name: 'meridian_snapshot_bytes', help: 'Size of the newest snapshot', registers });
  const ingest = histogram('meridian_ingest_batch_seconds', 'From the arrival of a usage batch to its commit', []);
  const records = counter('meridian_ingested_records_total', 'Usage records in committed batches', []);
  const alarms = counter('meridian_usage_alarms_total', 'What must not happen, found in committed batches', ['kind']);
  const restores = counter('meridian_restores_total', 'The database found or declared to be set back, and grants that go on', ['kind']);
  const denials = counter('meridian_denials_total', 'Refusals that nodes told to a restored database', ['outcome']);
  const jobFailures = counter('meridian_job_failures_total', 'Failed runs of background jobs', ['job']);
  const leaseQuestions = counter('meridian_lease_questions_total', 'Questions of nodes for more of a budget', []);
  const leaseGrants = counter('meridian_lease_grants_total', 'Totals of leases told to nodes, those at connect left out', []);
  const leaseDenials = counter('meridian_lease_denials_total', 'Questions denied', ['reason']);
  const leaseRecalls = counter('meridian_lease_recalls_total', 'Recalls sent to nodes', []);
  const leasesClosed = counter('meridian_leases_closed_total', 'Leases closed', ['reason']);
  const leaseWriteOffs = counter('meridian_lease_write_offs_total', 'Leases closed while something was held on them', []);
  return {
    registry,
    observePropagationMs: (lane, durationMs) => propagation.observe({ lane }, Math.max(0, durationMs) / 1000),
    countDelta: (lane, frameBytes) => {
      deltas.inc({ lane });
      deltaBytes.inc({ lane }, frameBytes);
    },
    countStreamEnd: (reason) => ends.inc({ reason }),
    countRejectedEntries: (count) => rejected.inc(count),
    observeSnapshot: (durationMs, byteCount) => {
      snapshots.observe(durationMs / 1000);
      snapshotBytes.set(byteCount);
    },
    observeIngest: (count, durationMs) => {
      records.inc(count);
      ingest.observe(durationMs / 1000);
    },
    countUsageAlarm: (kind) => alarms.inc({ kind }),
    countRestoreEvent: (kind) => restores.inc({ kind }),
    countDenials: (outcome, count) => denials.inc({ outcome }, count),
    countJobFailure: (job) => jobFailures.inc({ job }),
    countLeaseQuestion: () => leaseQuestions.inc(),
    countLeaseGrants: (count) => leaseGrants.inc(count),
    countLeaseDenial: (reason) => leaseDenials.inc({ reason }),
    countLeaseRecall: () => leaseRecalls.inc(),
    countLeasesClosed: (count, reason) => leasesClosed.inc({ reason }, count),
    countLeaseWriteOffs: (count) => leaseWriteOffs.inc(count),
    gauge: (name, help, read) => {
      new Gauge({
        name,
        help,
        labelNames: ['label'],
        registers,
        collect() {
          const value = read();
          // A label that is not there any more would keep its last figure.
          this.reset();
          if (typeof value === 'number') this.set(value);
          else for (const [label, figure] of Object.entries(value)) this.set({ label }, figure);
        },
      });
    },
  };
}
