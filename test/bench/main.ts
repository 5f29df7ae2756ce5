/**
 * `npm run bench`: this gateway beside its references, in one run on one machine. Rounds are interleaved, so that a
 * noisy minute falls on all alike; figures are medians over rounds, and what counts is the ratio to the bare proxy.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Load, Measured } from './load.ts';
import { measure, median } from './measure.ts';
import {
  bareProxy,
  cpuSeconds,
  direct,
  gateway,
  LOAD_CORE,
  nginx,
  PROXY_CORE,
  pin,
  pinned,
  type Running,
  startNode,
  stop,
  type Target,
  translated,
} from './target.ts';

const HELP = `Usage: npm run bench -- [options]

  --seconds <n>   measured seconds of each run (default 3)
  --rounds <n>    interleaved rounds (default 5)
  --only <names>  targets to measure, by comma: direct, nginx, bare-proxy, gateway, translated
  --help

Prints a table and writes test/bench/results/<date>.json.
`;

const WORKLOADS = [
  { name: 'json, 32 connections', connections: 32, stream: false },
  { name: 'json, 1 connection', connections: 1, stream: false },
  { name: 'stream, 32 connections', connections: 32, stream: true },
  { name: 'stream, 1 connection', connections: 1, stream: true },
] as const;
const TARGETS: readonly Target[] = [direct, nginx, bareProxy, gateway, translated];
const WARMUP_MS = 500;
/** Before anything is measured: a node is compiled to the end after some 30,000 requests, a bare proxy after a tenth of them. */
const FIRST_WARMUP_MS = 10_000;
const REFERENCE = bareProxy.name;

interface Settings {
  readonly seconds: number;
  readonly rounds: number;
  readonly targets: readonly Target[];
}

function readSettings(args: readonly string[]): Settings | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '5' },
      only: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const names = values.only?.split(',') ?? TARGETS.map(({ name }) => name);
  for (const name of names) if (!TARGETS.some((target) => target.name === name)) throw new Error(`unknown target ${name}`);
  return {
    seconds: positive('seconds', values.seconds),
    rounds: positive('rounds', values.rounds),
    targets: TARGETS.filter(({ name }) => names.includes(name)),
  };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} takes a number above 0, not ${text}`);
  return value;
}

/** A round with what the forwarding process spent on it; NaN where that is not known. */
type Round = Measured & { readonly cpuMicrosPerRequest: number };

/** Processor time is the figure that a busy neighbour disturbs least. */
async function measureWithCpu(load: Load, pid: number | undefined): Promise<Round> {
  const before = pid === undefined ? undefined : cpuSeconds(pid);
  const startedMs = performance.now();
  const measured = await measure(load);
  const elapsedSeconds = (performance.now() - startedMs) / 1_000;
  const after = pid === undefined ? undefined : cpuSeconds(pid);
  if (before === undefined || after === undefined) return { ...measured, cpuMicrosPerRequest: Number.NaN };
  const activeSeconds = Math.min(elapsedSeconds, (load.warmupMs + load.measureMs) / 1_000);
  return { ...measured, cpuMicrosPerRequest: ((after - before) / activeSeconds / measured.requestsPerSecond) * 1e6 };
}

const FIGURES = [
  'requestsPerSecond',
  'chunksPerSecond',
  'p50Ms',
  'p99Ms',
  'firstByteP50Ms',
  'firstByteP99Ms',
  'failures',
  'cpuMicrosPerRequest',
] as const;
type Figures = Readonly<Record<(typeof FIGURES)[number], number>>;

function medians(rounds: readonly Round[]): Figures {
  return Object.fromEntries(FIGURES.map((figure) => [figure, median(rounds.map((round) => round[figure]))])) as Figures; // one entry for each figure
}

async function bench(settings: Settings): Promise<void> {
  // What this process does besides (it acknowledges the gateway's reports) belongs to the generator's core.
  pin(process.pid, LOAD_CORE);
  const upstream = await startNode('./upstream.ts', [], LOAD_CORE);
  const running = new Map<string, Running>();
  const skipped: Record<string, string> = {};
  try {
    for (const target of settings.targets) {
      const started = await target.start(upstream.origin);
      if ('skipped' in started) skipped[target.name] = started.skipped;
      else running.set(target.name, started);
    }
    const results: Record<string, Record<string, { rounds: Round[]; median: Figures }>> = {};
    for (const { connections, stream } of [WORKLOADS[0], WORKLOADS[2]]) {
      for (const { origin, apiKey, speaks } of running.values()) {
        await measure({ origin, apiKey, speaks, connections, stream, warmupMs: 0, measureMs: FIRST_WARMUP_MS });
      }
    }
    for (const workload of WORKLOADS) {
      const rounds = new Map<string, Round[]>([...running.keys()].map((name) => [name, []]));
      for (let round = 0; round < settings.rounds; round++) {
        for (const [name, { origin, apiKey, speaks, pid }] of running) {
          const { connections, stream } = workload;
          rounds
            .get(name)
            ?.push(
              await measureWithCpu(
                { origin, apiKey, speaks, connections, stream, warmupMs: WARMUP_MS, measureMs: settings.seconds * 1_000 },
                pid,
              ),
            );
        }
      }
      results[workload.name] = Object.fromEntries([...rounds].map(([name, all]) => [name, { rounds: all, median: medians(all) }]));
      print(workload.name, results[workload.name] ?? {});
    }
    for (const [name, reason] of Object.entries(skipped)) console.log(`skipped ${name}: ${reason}`);
    await write({ settings: { seconds: settings.seconds, rounds: settings.rounds }, skipped, results });
  } finally {
    for (const { close } of running.values()) await close();
    await stop(upstream.child);
  }
}

/** Throughput as a ratio to the bare proxy; latency as what is added to the direct call, in ratio to what the bare proxy adds. */
function print(workload: string, results: Readonly<Record<string, { readonly median: Figures }>>): void {
  const reference = results[REFERENCE]?.median;
  const base = results[direct.name]?.median;
  console.log(`\n${workload}`);
  console.table(
    Object.fromEntries(
      Object.entries(results).map(([name, { median: own }]) => [
        name,
        {
          'req/s': Math.round(own.requestsPerSecond),
          'chunks/s': Math.round(own.chunksPerSecond),
          '× bare': ratio(own.requestsPerSecond, reference?.requestsPerSecond),
          '× gateway': ratio(own.requestsPerSecond, results[gateway.name]?.median.requestsPerSecond),
          'cpu µs/req': Math.round(own.cpuMicrosPerRequest),
          'p50 ms': Number(own.p50Ms.toFixed(3)),
          'p99 ms': Number(own.p99Ms.toFixed(3)),
          'first byte p50 ms': Number(own.firstByteP50Ms.toFixed(3)),
          'first byte p99 ms': Number(own.firstByteP99Ms.toFixed(3)),
          'added p50 × bare': added(own.p50Ms, base?.p50Ms, reference?.p50Ms),
          'added first byte p50 × bare': added(own.firstByteP50Ms, base?.firstByteP50Ms, reference?.firstByteP50Ms),
          failures: own.failures,
        },
      ]),
    ),
  );
}

function ratio(own: number, reference: number | undefined): string {
  return reference === undefined ? '' : (own / reference).toFixed(2);
}

function added(own: number, base: number | undefined, reference: number | undefined): string {
  return base === undefined || reference === undefined || reference <= base ? '' : ((own - base) / (reference - base)).toFixed(2);
}

async function write(report: object): Promise<void> {
  const folder = new URL('./results/', import.meta.url);
  await mkdir(folder, { recursive: true });
  const at = new Date().toISOString();
  const machine = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    node: process.version,
    pinned: pinned ? { proxies: PROXY_CORE, load: LOAD_CORE } : false,
  };
  const file = new URL(`${at.slice(0, 19).replaceAll(':', '-')}.json`, folder);
  await writeFile(file, `${JSON.stringify({ at, machine, ...report }, undefined, 2)}\n`);
  console.log(`\nwritten to ${fileURLToPath(file)}`);
}

try {
  const settings = readSettings(process.argv.slice(2));
  if (settings === 'help') {
    process.stdout.write(HELP);
  } else {
    if (!pinned) console.log('not pinned: one core only, or no taskset; proxies and load share the cores');
    await bench(settings);
  }
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
