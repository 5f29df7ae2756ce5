/**
 * The spool on a real disk: what it takes at most, how long a record waits until it is durable at a given rate, and how long
 * a start takes with a large folder.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { openSpool, SPOOL_LIMITS, type Spool, type SpoolLimits } from '@meridian/data-plane/metering/spool/spool';
import { finalOf, intentOf, leaseIdOf, leaseOf } from '@meridian/data-plane/metering/spool/testing';
import type { IdSource } from '@meridian/domain/ids';
import type { Final, Intent } from '@meridian/domain/usage-record';

const HELP = `Usage: node test/bench/spool.ts [options]

  --folder <path>      where the spool's folders are made and removed (default: the system's folder for temporary files)
  --seconds <n>        of each measurement (default 10)
  --rate <n>           records a second for the waiting times (default 20000)
  --interval <ms>      from one fdatasync to the next (default ${SPOOL_LIMITS.syncIntervalMs})
  --recovery-mib <n>   size of the folder whose start is measured; 0 leaves that out (default 1024)
  --help
`;

const IDS: IdSource = { nowMs: Date.now, randomBytes: (count) => randomBytes(count) };
const WARMUP_MS = 2000;
/** Requests that each wait for their own records before they go on. */
const WRITERS = 512;
const TICK_MS = 1;
/** How many open requests lie between an intent and its final. */
const OPEN_REQUESTS = 200;

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: os.tmpdir() },
    seconds: { type: 'string', default: '10' },
    rate: { type: 'string', default: '20000' },
    interval: { type: 'string', default: String(SPOOL_LIMITS.syncIntervalMs) },
    'recovery-mib': { type: 'string', default: '1024' },
    help: { type: 'boolean', default: false },
  },
});

function newFolder(): string {
  return fs.mkdtempSync(path.join(values.folder, 'spool-bench-'));
}

/** The intent of a request that reserves in two leases, as one of 500 accounts. */
function numberedIntent(count: number): Intent {
  const account = count % 500;
  const name = (prefix: string, number: number): string => `${prefix}_01KAJ3${number.toString().padStart(20, '0')}`;
  return {
    ...intentOf(name('req', count), name('acc', account)),
    admittedAtMs: 1_790_000_000_000 + count,
    leases: [
      { leaseId: leaseIdOf(account), amount: 5_000_000n },
      { leaseId: leaseIdOf(1000 + account), amount: 5_000_000n },
    ],
  };
}

function settled(intent: Intent): Final {
  const { admittedAtMs, leases } = intent;
  return {
    ...finalOf(intent.requestId, 1_000_000n, intent.accountId),
    admittedAtMs,
    leases: leases.map(({ leaseId }) => ({ leaseId, amount: 1_000_000n })),
  };
}

function open(folder: string, incarnation: bigint, limits: Partial<SpoolLimits> = {}): Promise<Spool> {
  const alarm = (message: string, fields: Readonly<Record<string, unknown>>) => console.error(message, fields);
  return openSpool({ folder, incarnation, ids: IDS, alarm, limits: { syncIntervalMs: Number(values.interval), ...limits } });
}

/** Writes as fast as records are taken, with a bounded number of requests that wait; gives records a second. */
async function sustained(seconds: number): Promise<{ recordsPerSecond: number; mibPerSecond: number }> {
  const folder = newFolder();
  const spool = await open(folder, 1n);
  let count = 0;
  let stopping = false;
  const running = Array.from(
    { length: WRITERS },
    () =>
      new Promise<void>((resolve) => {
        const next = () => {
          if (stopping) return resolve();
          const intent = numberedIntent(count++);
          spool.intent(intent, () => spool.final(settled(intent), next));
        };
        next();
      }),
  );
  await pause(WARMUP_MS);
  const [startSeq, startMs, startBytes] = [spool.durableSeq, performance.now(), bytesOf(folder)];
  await pause(seconds * 1000);
  const elapsedMs = performance.now() - startMs;
  const records = spool.durableSeq - startSeq;
  const bytes = bytesOf(folder) - startBytes;
  stopping = true;
  await Promise.all(running);
  await spool.close();
  fs.rmSync(folder, { recursive: true });
  return { recordsPerSecond: (records * 1000) / elapsedMs, mibPerSecond: (bytes / 2 ** 20 / elapsedMs) * 1000 };
}

/** Hands in records at a fixed rate, whatever the spool does, and measures from when each was due until it was durable. */
async function openLoop(seconds: number, rate: number) {
  const folder = newFolder();
  const spool = await open(folder, 1n);
  const total = Math.ceil((seconds + WARMUP_MS / 1000) * rate) + rate;
  const dueMs = new Float64Array(total + 1);
  const waitedMs: number[] = [];
  let measuring = false;
  let seen = 0;
  let syncs = 0;
  spool.onDurable((seq) => {
    const nowMs = performance.now();
    syncs++;
    for (; seen < seq; seen++) if (measuring) waitedMs.push(nowMs - (dueMs[seen + 1] ?? nowMs));
  });
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const beganMs = performance.now();
  const opened: Intent[] = [];
  let records = 0;
  let turn = false;
  let cpu = process.cpuUsage();
  let measuredFromMs = 0;
  while (records < total) {
    const nowMs = performance.now();
    const elapsedMs = nowMs - beganMs;
    if (elapsedMs > seconds * 1000 + WARMUP_MS) break;
    if (!measuring && elapsedMs > WARMUP_MS) {
      measuring = true;
      measuredFromMs = nowMs;
      syncs = 0;
      cpu = process.cpuUsage();
      delay.enable();
    }
    for (const due = Math.floor((elapsedMs / 1000) * rate); records < due && records < total; turn = !turn) {
      dueMs[++records] = beganMs + (records / rate) * 1000;
      const oldest = opened[0];
      if (turn && oldest !== undefined && opened.length > OPEN_REQUESTS) {
        opened.shift();
        spool.final(settled(oldest), ignore);
      } else {
        const intent = numberedIntent(records);
        opened.push(intent);
        spool.intent(intent, ignore);
      }
    }
    await pause(TICK_MS);
  }
  const used = process.cpuUsage(cpu);
  const elapsedMs = performance.now() - measuredFromMs;
  delay.disable();
  await spool.close();
  fs.rmSync(folder, { recursive: true });
  waitedMs.sort((a, b) => a - b);
  return {
    recordsPerSecond: (waitedMs.length * 1000) / elapsedMs,
    p50Ms: at(waitedMs, 0.5),
    p99Ms: at(waitedMs, 0.99),
    p999Ms: at(waitedMs, 0.999),
    maxMs: at(waitedMs, 1),
    syncsPerSecond: (syncs * 1000) / elapsedMs,
    cpuShare: (used.user + used.system) / 1000 / elapsedMs,
    loopDelayP99Ms: delay.percentile(99) / 1e6,
  };
}

/** Fills a folder, then starts on it: once with nothing acknowledged, once with everything. */
async function recovery(mib: number) {
  const folder = newFolder();
  const first = await open(folder, 1n, { undurableBytes: 2 ** 40 });
  let count = 0;
  const opened: Intent[] = [];
  for (let number = 0; number < 500; number++) for (const id of [number, 1000 + number]) first.lease(leaseOf(id, 2 ** 50), ignore);
  while (bytesOf(folder) < mib * 2 ** 20) {
    for (let index = 0; index < 2000; index++) {
      const intent = numberedIntent(count++);
      first.intent(intent, ignore);
      opened.push(intent);
      const oldest = opened.length > OPEN_REQUESTS ? opened.shift() : undefined;
      if (oldest !== undefined) first.final(settled(oldest), ignore);
    }
    await pause(0);
  }
  await first.close();
  const bytes = bytesOf(folder);
  const beganMs = performance.now();
  const second = await open(folder, 2n);
  const unackedMs = performance.now() - beganMs;
  for (const range of second.incarnations()) second.acknowledge(range.incarnation, range.lastSeq);
  const records = first.lastSeq;
  await second.close();
  const againMs = performance.now();
  const third = await open(folder, 3n);
  const ackedMs = performance.now() - againMs;
  await third.close();
  fs.rmSync(folder, { recursive: true });
  return { mib: bytes / 2 ** 20, records, unackedMs, ackedMs, rssMib: process.memoryUsage.rss() / 2 ** 20 };
}

function ignore(error: unknown): void {
  if (error !== undefined) throw error;
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function bytesOf(folder: string): number {
  let bytes = 0;
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith('.seg')) bytes += fs.statSync(path.join(entry.parentPath, entry.name)).size;
  }
  return bytes;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => (ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms)));
}

function print(title: string, figures: Readonly<Record<string, number>>): void {
  const parts = Object.entries(figures).map(([name, value]) => `${name} ${value >= 100 ? Math.round(value) : value.toFixed(2)}`);
  console.log(`${title}: ${parts.join(' · ')}`);
}

if (values.help) {
  console.log(HELP);
} else {
  const seconds = Number(values.seconds);
  print('sustained', await sustained(seconds));
  print(`open loop, interval ${values.interval} ms`, await openLoop(seconds, Number(values.rate)));
  if (Number(values['recovery-mib']) > 0) print('recovery', await recovery(Number(values['recovery-mib'])));
}
