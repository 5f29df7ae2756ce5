/**
 * What is tortured: PostgreSQL, Redis, two replicas of the control plane, a node in each of two regions and the simulated
 * providers, as processes of their own. Every connection between the planes, to the database and from the clients runs
 * through a proxy that can be disturbed; the providers are reached directly, since their journal is what the books are
 * compared with.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noRedisServer, startTestRedis, type TestRedis } from '@meridian/data-plane/redis/testing';
import { type Common, launchControlPlane, launchNode, launchPostgres, launchUpstream } from '@meridian/local/launch';
import { ApiClient } from '@meridian/local/operator';
import type { ManagedProcess } from '@meridian/local/process';
import { providerTarget, provisionProvider } from '@meridian/local/provision';
import { randomSecrets, type Secrets } from '@meridian/local/secrets';
import pg from 'pg';
import { freePorts } from '../ports.ts';
import type { JournalLine } from '../upstream/src/journal.ts';
import { REGIONS, type RegionName, until } from '../world/world.ts';
import { FaultyProxy } from './faulty-proxy.ts';

export const REPLICAS = [0, 1] as const;
export type Replica = (typeof REPLICAS)[number];

/** What can be killed, stopped or paused. */
export type Victim =
  | { readonly kind: 'node'; readonly region: RegionName }
  | { readonly kind: 'control'; readonly replica: Replica }
  | { readonly kind: 'postgres' }
  | { readonly kind: 'redis' };

/** What became of memory that is nowhere else: Redis keeps nothing, and a node what it still owes to it. */
export interface Losses {
  /** Redis was started anew, and is empty. */
  readonly redisEmptied: number[];
  /** Redis stood still or was away, from and until (ms since 1970). */
  readonly redisAway: { readonly fromMs: number; readonly untilMs: number }[];
  readonly nodeEnded: { readonly region: RegionName; readonly atMs: number }[];
}

/** Each in its own protocol, and where the simulator answers for it. */
const PROVIDERS = [
  ['openai', '/v1'],
  ['anthropic', '/anthropic/v1'],
  ['gemini', '/gemini/v1beta'],
] as const;

interface Ports {
  readonly postgres: number;
  readonly controlHttp: readonly number[];
  readonly controlGrpc: readonly number[];
  readonly nodes: Readonly<Record<RegionName, number>>;
}

export class Arena {
  readonly folder: string;
  readonly common: Common;
  /** At each replica, for when the other is down. */
  readonly operators: readonly ApiClient[];
  readonly losses: Losses = { redisEmptied: [], redisAway: [], nodeEnded: [] };
  /** Undefined where there is no redis-server. */
  readonly redis: TestRedis | undefined;
  /** Every proxy, by what runs through it. */
  readonly proxies: ReadonlyMap<string, FaultyProxy>;
  readonly upstream: ManagedProcess;
  readonly #ports: Ports;
  readonly #running = new Map<string, ManagedProcess>();
  /** What is being ended by intention. */
  readonly #ending = new Set<string>();
  readonly #died = Promise.withResolvers<never>();
  #restarts = 0;

  private constructor(parts: {
    folder: string;
    common: Common;
    ports: Ports;
    proxies: ReadonlyMap<string, FaultyProxy>;
    upstream: ManagedProcess;
    running: ReadonlyMap<string, ManagedProcess>;
    operators: readonly ApiClient[];
    redis: TestRedis | undefined;
  }) {
    this.folder = parts.folder;
    this.common = parts.common;
    this.#ports = parts.ports;
    this.proxies = parts.proxies;
    this.upstream = parts.upstream;
    // Whoever races with it hears of it.
    this.#died.promise.catch(() => undefined);
    for (const [name, process] of parts.running) this.#run(name, process);
    this.operators = parts.operators;
    this.redis = parts.redis;
  }

  static async start(options: { readonly logFolder?: string }): Promise<Arena> {
    const folder = mkdtempSync(join(tmpdir(), 'meridian-torture-'));
    // Where the test runs as root, PostgreSQL does not, and has to get through.
    chmodSync(folder, 0o711);
    if (options.logFolder !== undefined) mkdirSync(options.logFolder, { recursive: true });
    const common: Common = {
      secrets: randomSecrets(),
      logLevel: 'info',
      ...(options.logFolder === undefined ? {} : { logFolder: options.logFolder }),
    };
    const [postgres = 0, http0 = 0, http1 = 0, grpc0 = 0, grpc1 = 0, us = 0, eu = 0] = await freePorts(7);
    const ports: Ports = { postgres, controlHttp: [http0, http1], controlGrpc: [grpc0, grpc1], nodes: { us, eu } };
    const proxies = new Map<string, FaultyProxy>();
    const running = new Map<string, ManagedProcess>();
    let upstream: ManagedProcess | undefined;
    let redis: TestRedis | undefined;
    try {
      let turn = 0;
      /** One replica after the other, so that a stream that breaks goes on at the other one. */
      const inTurn = (of: readonly number[]): number => of[turn++ % of.length] ?? 0;
      for (const replica of REPLICAS) proxies.set(`postgres of replica ${replica}`, await FaultyProxy.listen(0, () => ports.postgres));
      for (const region of REGIONS) {
        proxies.set(`control plane of ${region}`, await FaultyProxy.listen(0, () => inTurn(ports.controlGrpc)));
        proxies.set(`account API of ${region}`, await FaultyProxy.listen(0, () => inTurn(ports.controlHttp)));
        proxies.set(`clients of ${region}`, await FaultyProxy.listen(0, () => ports.nodes[region]));
      }
      if (noRedisServer === undefined) redis = await startTestRedis();
      const launcher = new Launcher(common, folder, ports, proxies, redis);
      running.set('postgres', await launcher.postgres());
      upstream = await launchUpstream(common, { port: 0, journalFile: join(folder, 'journal.jsonl') });
      // The first one migrates.
      for (const replica of REPLICAS) running.set(`control-${replica}`, await launcher.control(replica));
      const operators = ports.controlHttp.map((port) => new ApiClient(`http://127.0.0.1:${port}`, common.secrets.adminToken));
      const [operator] = operators;
      if (operator === undefined) throw new Error('there is no replica');
      const origin = upstream.readyText('origin');
      for (const [provider, basePath] of PROVIDERS) {
        await provisionProvider(operator, providerTarget(provider, origin + basePath, `sk-simulated-${provider}`));
      }
      for (const region of REGIONS) running.set(region, await launcher.node(region));
      return new Arena({ folder, common, ports, proxies, upstream, running, operators, redis });
    } catch (error) {
      // Its watcher, killed, would leave the database's server behind.
      for (const [name, process] of running) await (name === 'postgres' ? process.stop() : process.kill());
      await upstream?.kill();
      await redis?.stop();
      for (const proxy of proxies.values()) await proxy.close();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Where clients of a region go: through the proxy. */
  clientUrl(region: RegionName): string {
    return `http://127.0.0.1:${this.#proxy(`clients of ${region}`).port}`;
  }

  /** Rejects when a process ends that nobody has ended. */
  get died(): Promise<never> {
    return this.#died.promise;
  }

  /** Of each replica of the control plane. */
  get controlUrls(): readonly string[] {
    return this.#ports.controlHttp.map((port) => `http://127.0.0.1:${port}`);
  }

  /** The node itself. */
  nodeUrl(region: RegionName): string {
    return `http://127.0.0.1:${this.#ports.nodes[region]}`;
  }

  get databaseUrl(): string {
    return databaseUrl(this.common.secrets, this.#ports.postgres);
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** The signal, and a new process on the same ports and folders where the old one has ended by it. Resolves when it serves again. */
  async kill(victim: Victim, how: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (victim.kind === 'redis') {
      await this.#emptyRedis();
      this.#restarts++;
      return;
    }
    const name = nameOf(victim);
    const process = this.#process(name);
    this.#ending.add(name);
    if (victim.kind === 'postgres' && how === 'SIGKILL') {
      // The server itself, whose watcher ends then; its backends see that it is gone.
      const pid = Number(readFileSync(join(this.folder, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
      globalThis.process.kill(pid, 'SIGKILL');
      await process.exited;
    } else if (how === 'SIGKILL') {
      await process.kill();
    } else {
      await process.stop(30_000);
    }
    if (victim.kind === 'node') this.losses.nodeEnded.push({ region: victim.region, atMs: Date.now() });
    await this.#startAgain(victim);
    this.#ending.delete(name);
    this.#restarts++;
  }

  /** Ends one backend of PostgreSQL by kill -9: the server throws all connections out and recovers. */
  async killBackend(): Promise<void> {
    const client = new pg.Client({ connectionString: this.databaseUrl });
    client.on('error', () => undefined);
    await client.connect();
    try {
      const { rows } = await client.query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1`,
      );
      const pid = rows[0]?.pid;
      if (pid !== undefined) globalThis.process.kill(pid, 'SIGKILL');
    } finally {
      await client.end().catch(() => undefined);
    }
    this.#restarts++;
  }

  /** SIGSTOP, and SIGCONT after the time. Its sockets stay open meanwhile. */
  async pause(victim: Victim, forMs: number): Promise<void> {
    if (victim.kind === 'redis') {
      const fromMs = Date.now();
      this.redis?.pause();
      await new Promise((resolve) => setTimeout(resolve, forMs));
      this.redis?.resume();
      this.losses.redisAway.push({ fromMs, untilMs: Date.now() });
      return;
    }
    const process = this.#process(nameOf(victim));
    process.signal('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, forMs));
    process.signal('SIGCONT');
  }

  /** kill -9, and a server on the same port that knows nothing. */
  async #emptyRedis(): Promise<void> {
    const fromMs = Date.now();
    await this.redis?.kill();
    this.losses.redisEmptied.push(Date.now());
    await this.redis?.restart();
    this.losses.redisAway.push({ fromMs, untilMs: Date.now() });
  }

  heal(): void {
    for (const proxy of this.proxies.values()) proxy.heal();
  }

  async journal(): Promise<JournalLine[]> {
    const response = await fetch(`${this.upstream.readyText('origin')}/__sim/journal`);
    return (await response.json()) as JournalLine[];
  }

  /** Waits until no call to a provider is open and no node has anything left to report. */
  async quiet(withinMs: number): Promise<void> {
    await until(
      async () => {
        const response = await fetch(`${this.upstream.readyText('origin')}/__sim/health`);
        return ((await response.json()) as { open: number }).open === 0;
      },
      'the providers to be idle',
      withinMs,
    );
    for (const region of REGIONS) {
      await until(
        async () => (await this.#gauge(region, 'meridian_running_requests')) === 0,
        `the requests of ${region} to be settled`,
        withinMs,
      );
      await until(
        async () => (await this.#gauge(region, 'meridian_spool_unacked_records')) === 0,
        `the spool of ${region} to be empty`,
        withinMs,
      );
    }
  }

  /**
   * Asks the nodes to stop, which gives back what they hold. One after the other: what one gives back may be pushed to another that was
   * refused, and to one that is just going it would come too late.
   */
  async stopNodes(): Promise<void> {
    for (const region of REGIONS) {
      this.#ending.add(region);
      await this.#process(region).stop(30_000);
    }
  }

  async stop(): Promise<void> {
    const all = [...this.#running.entries()];
    for (const [name] of all) this.#ending.add(name);
    for (const [name, process] of all) if (name !== 'postgres') await process.stop();
    await this.upstream.stop();
    await this.#running.get('postgres')?.stop();
    await this.redis?.stop();
    for (const proxy of this.proxies.values()) await proxy.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #startAgain(victim: Exclude<Victim, { kind: 'redis' }>): Promise<void> {
    const launcher = new Launcher(this.common, this.folder, this.#ports, this.proxies, this.redis);
    const start = (): Promise<ManagedProcess> => {
      if (victim.kind === 'postgres') return launcher.postgres();
      return victim.kind === 'node' ? launcher.node(victim.region) : launcher.control(victim.replica);
    };
    // A control plane does not start while its database is down, and a database not while an old backend still ends.
    for (let attempt = 1; ; attempt++) {
      try {
        this.#run(nameOf(victim), await start());
        return;
      } catch (error) {
        if (attempt >= 40) throw error;
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
  }

  #run(name: string, process: ManagedProcess): void {
    this.#running.set(name, process);
    void process.exited.then(({ code, signal }) => {
      if (this.#ending.has(name) || this.#running.get(name) !== process) return;
      this.#died.reject(new Error(`${name} ended by itself (${code ?? signal}):\n${process.lastLines.slice(-10).join('\n')}`));
    });
  }

  async #gauge(region: RegionName, name: string): Promise<number> {
    const response = await fetch(`${this.#process(region).readyText('healthUrl')}/metrics`);
    const line = (await response.text()).split('\n').find((text) => text.startsWith(`${name} `));
    return Number(line?.slice(name.length + 1) ?? Number.NaN);
  }

  #process(name: string): ManagedProcess {
    const process = this.#running.get(name);
    if (process === undefined) throw new Error(`there is no ${name}`);
    return process;
  }

  #proxy(name: string): FaultyProxy {
    const proxy = this.proxies.get(name);
    if (proxy === undefined) throw new Error(`there is no proxy of the ${name}`);
    return proxy;
  }
}

export function nameOf(victim: Victim): string {
  if (victim.kind === 'node') return victim.region;
  return victim.kind === 'control' ? `control-${victim.replica}` : victim.kind;
}

/** How each process of the arena is started, the first time and again. */
class Launcher {
  readonly #common: Common;
  readonly #folder: string;
  readonly #ports: Ports;
  readonly #proxies: ReadonlyMap<string, FaultyProxy>;
  readonly #redis: TestRedis | undefined;

  constructor(common: Common, folder: string, ports: Ports, proxies: ReadonlyMap<string, FaultyProxy>, redis: TestRedis | undefined) {
    this.#redis = redis;
    this.#common = common;
    this.#folder = folder;
    this.#ports = ports;
    this.#proxies = proxies;
  }

  postgres(): Promise<ManagedProcess> {
    return launchPostgres(this.#common, { folder: join(this.#folder, 'postgres'), port: this.#ports.postgres, fsync: true });
  }

  control(replica: Replica): Promise<ManagedProcess> {
    return launchControlPlane(this.#common, {
      databaseUrl: databaseUrl(this.#common.secrets, this.#port(`postgres of replica ${replica}`)),
      httpPort: this.#ports.controlHttp[replica] ?? 0,
      grpcPort: this.#ports.controlGrpc[replica] ?? 0,
      healthPort: 0,
    });
  }

  node(region: RegionName): Promise<ManagedProcess> {
    return launchNode(this.#common, {
      nodeId: `node-${region}`,
      region,
      folder: join(this.#folder, region),
      port: this.#ports.nodes[region],
      healthPort: 0,
      controlGrpcAddress: `127.0.0.1:${this.#port(`control plane of ${region}`)}`,
      controlUrl: `http://127.0.0.1:${this.#port(`account API of ${region}`)}`,
      env: {
        MERIDIAN_DRAIN_TIMEOUT_MS: '3000',
        ...(this.#redis === undefined ? {} : { MERIDIAN_REDIS_URL: this.#redis.url }),
      },
    });
  }

  #port(name: string): number {
    return this.#proxies.get(name)?.port ?? 0;
  }
}

function databaseUrl(secrets: Secrets, port: number): string {
  return `postgres://meridian:${secrets.databasePassword}@127.0.0.1:${port}/meridian`;
}
