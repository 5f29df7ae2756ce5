/**
 * Events a second that the control plane ingests: batches as they come from the wire, over streams that report at the same time, all on
 * one account or spread over a hundred. `node test/bench/ingest.ts [events]`: each run takes so many events (30,000 unless told), on an
 * embedded PostgreSQL of its own, once with fsync and once without. A batch's time is from its bytes to its commit: from then on
 * `/v1/usage` shows it.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type Database } from '@meridian/control-plane/database/connect';
import { migrate } from '@meridian/control-plane/database/migrate';
import type { UsageBatch } from '@meridian/control-plane/usage/batch';
import { createUsageService, type UsageAlarm, type UsageService } from '@meridian/control-plane/usage/service';
import { ADMITTED_AT_MS, openCredit, paidFromCredit, settledFinal, TEST_PRICES } from '@meridian/control-plane/usage/testing';
import { startPostgres } from '@meridian/local/postgres-server';
import { usageBatchFromWire, usageBatchToWire } from '@meridian/wire/codec/usage-batch';
import { sql } from 'kysely';
import { freePorts } from '../ports.ts';

const EVENTS_A_BATCH = 500;
/** What nodes are given of each account's credit: more than a run takes. */
const GRANTED = 2 ** 44;
/** What `meridian-control-plane` gives to ingest by its default settings is less; streams beyond it wait for a connection. */
const CONNECTIONS = 8;
const STREAMS = [1, 4, 8];
const ACCOUNTS = [1, 100];

type WireBatch = Parameters<typeof usageBatchFromWire>[0];

interface Figures {
  readonly eventsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of this process alone, which is the figure to compare on a machine that does other things as well. */
  readonly cpuMicrosAnEvent: number;
}

async function main(events: number): Promise<void> {
  console.log(`${availableParallelism()} processors; batches of ${EVENTS_A_BATCH} events, ${events} events a run`);
  for (const fsync of ['on', 'off']) {
    await onPostgres(fsync, async (db) => {
      for (const accounts of ACCOUNTS) {
        for (const streams of STREAMS) {
          const { eventsPerSecond, p50Ms, p99Ms, cpuMicrosAnEvent } = await run(db, streams, accounts, events);
          const name = `fsync ${fsync}, ${accounts} accounts, ${streams} streams`.padEnd(36);
          console.log(
            `${name} ${eventsPerSecond.toFixed(0).padStart(7)} events/s  batch p50 ${p50Ms.toFixed(0)} ms, p99 ${p99Ms.toFixed(0)} ms, own CPU ${cpuMicrosAnEvent.toFixed(0)} µs an event`,
          );
        }
      }
    });
  }
}

/** All streams at once, each its batches one after the other; the batches are encoded before. */
async function run(db: Database, streams: number, accounts: number, events: number): Promise<Figures> {
  const usage = createUsageService({ db, clock: { nowMs: Date.now }, prices: TEST_PRICES, onAlarm: fail });
  const accountIds = Array.from({ length: accounts }, (_, index) => `acc_${accounts}_${index}`);
  await sql`
    INSERT INTO ledger_balance (account_id, paid_nano) SELECT unnest(${accountIds}::text[]), ${2 ** 51}
    ON CONFLICT DO NOTHING`.execute(db);
  const batchesEach = Math.ceil(events / EVENTS_A_BATCH / streams);
  const spools = await Promise.all(
    Array.from({ length: streams }, async () => {
      const spoolId = `spl_${randomBytes(6).toString('hex')}`;
      await openCredit(db, spoolId, accountIds, GRANTED);
      const batches: WireBatch[] = [];
      for (let index = 0; index < batchesEach; index++) batches.push(await encode(spoolId, index, accountIds));
      return { spoolId, batches };
    }),
  );
  const startedAtMs = performance.now();
  const before = process.cpuUsage();
  const tookMs = (await Promise.all(spools.map(({ spoolId, batches }) => report(usage, spoolId, batches)))).flat().sort((a, b) => a - b);
  const seconds = (performance.now() - startedAtMs) / 1000;
  const { user, system } = process.cpuUsage(before);
  const count = tookMs.length * EVENTS_A_BATCH;
  const quantile = (share: number): number => tookMs[Math.min(tookMs.length - 1, Math.floor(tookMs.length * share))] ?? Number.NaN;
  return { eventsPerSecond: count / seconds, p50Ms: quantile(0.5), p99Ms: quantile(0.99), cpuMicrosAnEvent: (user + system) / count };
}

async function encode(spoolId: string, index: number, accountIds: readonly string[]): Promise<WireBatch> {
  const firstSeq = index * EVENTS_A_BATCH + 1;
  const finals = Array.from({ length: EVENTS_A_BATCH }, (_, offset) => {
    const seq = firstSeq + offset;
    const accountId = accountIds[seq % accountIds.length] ?? '';
    const requestId = `req_${randomBytes(12).toString('hex')}`;
    return { seq, final: paidFromCredit(spoolId, settledFinal({ requestId, accountId, admittedAtMs: ADMITTED_AT_MS + seq })) };
  });
  return usageBatchToWire({ incarnation: 1n, firstSeq, lastSeq: firstSeq + EVENTS_A_BATCH - 1, finals, leases: [] });
}

/** Returns how long each batch took. */
async function report(usage: UsageService, spoolId: string, batches: readonly WireBatch[]): Promise<number[]> {
  const took: number[] = [];
  for (const bytes of batches) {
    const startedAtMs = performance.now();
    const { records, ...span } = await usageBatchFromWire(bytes);
    const batch: UsageBatch = { spoolId, nodeId: 'nod_bench', region: 'us', ...span, records: records.flatMap(recordOf) };
    await usage.ingestBatch(batch);
    took.push(performance.now() - startedAtMs);
  }
  return took;
}

function recordOf(record: Awaited<ReturnType<typeof usageBatchFromWire>>['records'][number]): UsageBatch['records'] {
  if (!record.ok || record.kind !== 'final') throw new Error(`record ${record.seq} came back as another one`);
  return [{ seq: record.seq, final: record.final }];
}

/** Nothing in the benchmark's batches is out of order. */
function fail(alarm: UsageAlarm): void {
  throw new Error(`an alarm: ${alarm.kind}`);
}

async function onPostgres(fsync: string, work: (db: Database) => Promise<void>): Promise<void> {
  // Below /tmp, where the server's own account may go; a folder in memory would hide what fsync costs.
  const parent = mkdtempSync(join(tmpdir(), 'meridian-bench-'));
  chmodSync(parent, 0o711);
  const [port = 0] = await freePorts(1);
  const password = randomBytes(16).toString('hex');
  try {
    const server = await startPostgres({ folder: join(parent, 'postgres'), port, password, fsync }, () => false);
    const url = `postgresql://meridian:${password}@127.0.0.1:${port}/postgres`;
    const db = connect(url, { maxConnections: CONNECTIONS });
    try {
      await migrate(url);
      const usage = createUsageService({ db, clock: { nowMs: () => ADMITTED_AT_MS }, prices: TEST_PRICES, onAlarm: fail });
      await usage.makePartitions();
      await work(db);
    } finally {
      await db.destroy();
      await server.stop();
    }
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
}

await main(Number(process.argv[2] ?? 30_000));
