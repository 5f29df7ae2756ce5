/**
 * What is tortured: PostgreSQL, two replicas of the control plane, a node in each of two regions and the simulated
 * providers, as processes of their own. Every connection between the planes, to the database and from the clients runs
 * through a proxy that can be disturbed; the providers are reached directly, since their journal is what the books are
 * compared with.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Common, launchControlPlane, launchNode, launchPostgres, launchUpstream } from '@meridian/local/launch';
import { ApiClient } from '@meridian/local/operator';
import type { ManagedProcess } from '@meridian/local/process';
import { providerTarget, provisionAccount, provisionProvider } from '@meridian/local/provision';
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
  | { readonly kind: 'postgres' };

interface Ports {
  readonly postgres: number;
  readonly controlHttp: readonly number[];
  readonly controlGrpc: readonly number[];
  readonly nodes: Readonly<Record<RegionName, number>>;
}

export class Arena {
  readonly folder: string;
  readonly common: Common;
  readonly operator: ApiClient;
  /** The customer's, at the first replica … */
  readonly account: ApiClient;
  /** … and at the other one, for when the first is down. */
  readonly otherAccount: ApiClient;
  readonly accountId: string;
  /** Every proxy, by what runs through it. */
  readonly proxies: ReadonlyMap<string, FaultyProxy>;
  readonly upstream: ManagedProcess;
  readonly #ports: Ports;
  readonly #running = new Map<string, ManagedProcess>();
  #restarts = 0;

  private constructor(parts: {
    folder: string;
    common: Common;
    ports: Ports;
    proxies: ReadonlyMap<string, FaultyProxy>;
    upstream: ManagedProcess;
    running: ReadonlyMap<string, ManagedProcess>;
    operator: ApiClient;
    account: ApiClient;
    otherAccount: ApiClient;
    accountId: string;
  }) {
    this.folder = parts.folder;
    this.common = parts.common;
    this.#ports = parts.ports;
    this.proxies = parts.proxies;
    this.upstream = parts.upstream;
    this.#running = new Map(parts.running);
    this.operator = parts.operator;
    this.account = parts.account;
    this.otherAccount = parts.otherAccount;
    this.accountId = parts.accountId;
  }

  static async start(options: { readonly creditUsd: string; readonly logFolder?: string }): Promise<Arena> {
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
      const launcher = new Launcher(common, folder, ports, proxies);
      running.set('postgres', await launcher.postgres());
      upstream = await launchUpstream(common, { port: 0, journalFile: join(folder, 'journal.jsonl') });
      // The first one migrates.
      for (const replica of REPLICAS) running.set(`control-${replica}`, await launcher.control(replica));
      const controlUrl = `http://127.0.0.1:${http0}`;
      const operator = new ApiClient(controlUrl, common.secrets.adminToken);
      await provisionProvider(operator, providerTarget('openai', `${upstream.readyText('origin')}/v1`, 'sk-simulated-openai'));
      const customer = await provisionAccount(operator, 'Torture', options.creditUsd, 'unlimited');
      const account = new ApiClient(controlUrl, customer.accountToken);
      const otherAccount = new ApiClient(`http://127.0.0.1:${http1}`, customer.accountToken);
      for (const region of REGIONS) running.set(region, await launcher.node(region));
      return new Arena({
        folder,
        common,
        ports,
        proxies,
        upstream,
        running,
        operator,
        account,
        otherAccount,
        accountId: customer.accountId,
      });
    } catch (error) {
      // Its watcher, killed, would leave the database's server behind.
      for (const [name, process] of running) await (name === 'postgres' ? process.stop() : process.kill());
      await upstream?.kill();
      for (const proxy of proxies.values()) await proxy.close();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Where clients of a region go: through the proxy. */
  clientUrl(region: RegionName): string {
    return `http://127.0.0.1:${this.#proxy(`clients of ${region}`).port}`;
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
    const name = nameOf(victim);
    const process = this.#process(name);
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
    await this.#startAgain(victim);
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
    const process = this.#process(nameOf(victim));
    process.signal('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, forMs));
    process.signal('SIGCONT');
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
    for (const region of REGIONS) await this.#process(region).stop(30_000);
  }

  async stop(): Promise<void> {
    const all = [...this.#running.entries()];
    for (const [name, process] of all) if (name !== 'postgres') await process.stop();
    await this.upstream.stop();
    await this.#running.get('postgres')?.stop();
    for (const proxy of this.proxies.values()) await proxy.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #startAgain(victim: Victim): Promise<void> {
    const launcher = new Launcher(this.common, this.folder, this.#ports, this.proxies);
    const start = (): Promise<ManagedProcess> => {
      if (victim.kind === 'postgres') return launcher.postgres();
      return victim.kind === 'node' ? launcher.node(victim.region) : launcher.control(victim.replica);
    };
    // A control plane does not start while its database is down, and a database not while an old backend still ends.
    for (let attempt = 1; ; attempt++) {
      try {
        this.#running.set(nameOf(victim), await start());
        return;
      } catch (error) {
        if (attempt >= 40) throw error;
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
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
  return victim.kind === 'control' ? `control-${victim.replica}` : 'postgres';
}

/** How each process of the arena is started, the first time and again. */
class Launcher {
  readonly #common: Common;
  readonly #folder: string;
  readonly #ports: Ports;
  readonly #proxies: ReadonlyMap<string, FaultyProxy>;

  constructor(common: Common, folder: string, ports: Ports, proxies: ReadonlyMap<string, FaultyProxy>) {
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
      env: { MERIDIAN_DRAIN_TIMEOUT_MS: '3000' },
    });
  }

  #port(name: string): number {
    return this.#proxies.get(name)?.port ?? 0;
  }
}

function databaseUrl(secrets: Secrets, port: number): string {
  return `postgres://meridian:${secrets.databasePassword}@127.0.0.1:${port}/meridian`;
}
