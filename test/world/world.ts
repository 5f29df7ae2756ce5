/**
 * A whole world for a test: control plane, a node in each of two regions and the simulated providers, as separate processes
 * on a database of their own. Stopping it fails when anything is left running.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestDatabase, testDatabase } from '@meridian/control-plane/database/testing';
import { type Common, launchControlPlane, launchNode, launchUpstream } from '@meridian/local/launch';
import { ApiClient } from '@meridian/local/operator';
import type { ManagedProcess } from '@meridian/local/process';
import { keyWorks, providerTarget, provisionAccount, provisionKey, provisionProvider } from '@meridian/local/provision';
import { randomSecrets } from '@meridian/local/secrets';
import { freePorts } from '../ports.ts';
import type { JournalLine } from '../upstream/src/journal.ts';

export const REGIONS = ['us', 'eu'] as const;
export type RegionName = (typeof REGIONS)[number];

/** Where the simulated providers answer. */
const BASE_PATHS = { openai: '/v1', openrouter: '/api/v1', anthropic: '/anthropic/v1', gemini: '/gemini/v1beta' } as const;
export type WorldProvider = keyof typeof BASE_PATHS;
/** Both speak chat completions, so that every request passes through. */
const DEFAULT_PROVIDERS: readonly WorldProvider[] = ['openai', 'openrouter'];
/** With the vendors' own APIs: `claude-…` is bought from Anthropic then and `gemini-…` from Google, each in its own protocol. */
export const ALL_PROVIDERS: readonly WorldProvider[] = ['openai', 'openrouter', 'anthropic', 'gemini'];

export interface WorldOptions {
  /** The providers with a credential; a model goes to the first of its endpoints that has one. */
  readonly providers?: readonly WorldProvider[];
  readonly creditUsd?: string;
  /** Where the logs go: else the folder that MERIDIAN_TEST_LOG_FOLDER names, else nowhere. */
  readonly logFolder?: string;
  /** The control plane does nothing at hours of the day unless this says so. */
  readonly controlEnv?: Readonly<Record<string, string>>;
  readonly nodeEnv?: Readonly<Record<string, string>>;
  /** Beside `nodeEnv`, for the node of one region. */
  readonly regionEnv?: Readonly<Partial<Record<RegionName, Readonly<Record<string, string>>>>>;
}

export class World {
  readonly database: TestDatabase;
  readonly folder: string;
  readonly common: Common;
  readonly upstreamUrl: string;
  readonly operator: ApiClient;
  readonly account: ApiClient;
  readonly accountId: string;
  readonly apiKey: string;
  readonly #options: WorldOptions;
  readonly #ports: Ports;
  readonly #upstream: ManagedProcess;
  #control: ManagedProcess;
  readonly #nodes: Map<RegionName, ManagedProcess>;

  private constructor(parts: {
    options: WorldOptions;
    database: TestDatabase;
    folder: string;
    common: Common;
    ports: Ports;
    upstream: ManagedProcess;
    control: ManagedProcess;
    nodes: Map<RegionName, ManagedProcess>;
    operator: ApiClient;
    account: ApiClient;
    accountId: string;
    apiKey: string;
  }) {
    this.#options = parts.options;
    this.database = parts.database;
    this.folder = parts.folder;
    this.common = parts.common;
    this.#ports = parts.ports;
    this.#upstream = parts.upstream;
    this.upstreamUrl = parts.upstream.readyText('origin');
    this.#control = parts.control;
    this.#nodes = parts.nodes;
    this.operator = parts.operator;
    this.account = parts.account;
    this.accountId = parts.accountId;
    this.apiKey = parts.apiKey;
  }

  static async start(options: WorldOptions = {}): Promise<World> {
    const database = await testDatabase({ maxConnections: 2 });
    const folder = mkdtempSync(join(tmpdir(), 'meridian-world-'));
    const logFolder = options.logFolder ?? process.env.MERIDIAN_TEST_LOG_FOLDER;
    const common: Common = {
      secrets: randomSecrets(),
      logLevel: 'info',
      ...(logFolder === undefined ? {} : { logFolder }),
    };
    const [controlHttp = 0, controlGrpc = 0, us = 0, eu = 0] = await freePorts(4);
    const ports: Ports = { controlHttp, controlGrpc, nodes: { us, eu } };
    const started: ManagedProcess[] = [];
    try {
      const [upstream, control] = await Promise.all([
        launchUpstream(common, { port: 0, journalFile: join(folder, 'journal.jsonl') }),
        launchControlPlane(common, controlOptions(database.url, ports, options)),
      ]);
      started.push(upstream, control);
      const controlUrl = control.readyText('httpUrl');
      const operator = new ApiClient(controlUrl, common.secrets.adminToken);
      const upstreamUrl = upstream.readyText('origin');
      for (const provider of options.providers ?? DEFAULT_PROVIDERS) {
        await provisionProvider(operator, providerTarget(provider, upstreamUrl + BASE_PATHS[provider], `sk-simulated-${provider}`));
      }
      // Tests send more in a minute than the starter plan allows a member in a day.
      const customer = await provisionAccount(operator, 'World', options.creditUsd ?? '1000', 'unlimited');
      const account = new ApiClient(controlUrl, customer.accountToken);
      const apiKey = await provisionKey(account, 'world');
      const nodes = new Map<RegionName, ManagedProcess>();
      await Promise.all(
        REGIONS.map(async (region) => {
          const node = await launchNode(common, nodeOptions(region, folder, ports, options));
          started.push(node);
          nodes.set(region, node);
        }),
      );
      const world = new World({
        options,
        database,
        folder,
        common,
        ports,
        upstream,
        control,
        nodes,
        operator,
        account,
        accountId: customer.accountId,
        apiKey,
      });
      for (const region of REGIONS) await until(() => keyWorks(world.url(region), apiKey), `the key to work in ${region}`);
      return world;
    } catch (error) {
      await Promise.all(started.map((process) => process.kill()));
      await database.drop();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get controlUrl(): string {
    return `http://127.0.0.1:${this.#ports.controlHttp}`;
  }

  get control(): ManagedProcess {
    return this.#control;
  }

  /** Without a path: clients add `/v1`. */
  url(region: RegionName): string {
    return `http://127.0.0.1:${this.#ports.nodes[region]}`;
  }

  healthUrl(region: RegionName): string {
    return this.node(region).readyText('healthUrl');
  }

  node(region: RegionName): ManagedProcess {
    const node = this.#nodes.get(region);
    if (node === undefined) throw new Error(`there is no node in ${region}`);
    return node;
  }

  /** Starts a node again on its folder and port. */
  async startNode(region: RegionName): Promise<void> {
    this.#nodes.set(region, await launchNode(this.common, nodeOptions(region, this.folder, this.#ports, this.#options)));
  }

  /** Starts the control plane again on its database and ports. */
  async startControl(): Promise<void> {
    this.#control = await launchControlPlane(this.common, controlOptions(this.database.url, this.#ports, this.#options));
  }

  /** Everything the simulated providers have served, in the order in which calls ended. */
  async journal(): Promise<JournalLine[]> {
    const response = await fetch(`${this.upstreamUrl}/__sim/journal`);
    return (await response.json()) as JournalLine[];
  }

  /** Waits until no provider call is open any more: abandoned streams are drained by then. */
  async upstreamIdle(withinMs = 30_000): Promise<void> {
    await until(
      async () => {
        const response = await fetch(`${this.upstreamUrl}/__sim/health`);
        return ((await response.json()) as { open: number }).open === 0;
      },
      'the providers to be idle',
      withinMs,
    );
  }

  /** Waits until each node has reported all it has written. */
  async reported(withinMs = 30_000): Promise<void> {
    for (const region of REGIONS) {
      await until(
        async () => (await this.gauge(region, 'meridian_spool_unacked_records')) === 0,
        `the spool of ${region} to be empty`,
        withinMs,
      );
    }
  }

  /** One metric of a node; NaN when it does not have it. */
  async gauge(region: RegionName, name: string): Promise<number> {
    const response = await fetch(`${this.healthUrl(region)}/metrics`);
    const line = (await response.text()).split('\n').find((text) => text.startsWith(`${name} `));
    return Number(line?.slice(name.length + 1) ?? Number.NaN);
  }

  async stop(): Promise<void> {
    const all = [...this.#nodes.values(), this.#control, this.#upstream];
    await Promise.all([...this.#nodes.values()].map((node) => node.stop()));
    await this.#control.stop();
    await this.#upstream.stop();
    await this.database.drop();
    rmSync(this.folder, { recursive: true, force: true });
    const left = all.filter((process) => process.running || isAlive(process.pid));
    if (left.length > 0) throw new Error(`left running: ${left.map((process) => `${process.name} (${process.pid})`).join(', ')}`);
  }
}

/** Polls until a condition holds; throws with the description when it does not in time. */
export async function until(condition: () => Promise<boolean>, description: string, withinMs = 15_000): Promise<void> {
  const end = Date.now() + withinMs;
  for (;;) {
    if (await condition().catch(() => false)) return;
    if (Date.now() > end) throw new Error(`waited ${withinMs} ms for ${description}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

interface Ports {
  readonly controlHttp: number;
  readonly controlGrpc: number;
  readonly nodes: Readonly<Record<RegionName, number>>;
}

function controlOptions(databaseUrl: string, ports: Ports, options: WorldOptions): Parameters<typeof launchControlPlane>[1] {
  const env = { MERIDIAN_SCHEDULER: 'off', ...options.controlEnv };
  return { databaseUrl, httpPort: ports.controlHttp, grpcPort: ports.controlGrpc, healthPort: 0, env };
}

function nodeOptions(region: RegionName, folder: string, ports: Ports, options: WorldOptions): Parameters<typeof launchNode>[1] {
  return {
    nodeId: `node-${region}`,
    region,
    folder: join(folder, region),
    port: ports.nodes[region],
    healthPort: 0,
    controlGrpcAddress: `127.0.0.1:${ports.controlGrpc}`,
    controlUrl: `http://127.0.0.1:${ports.controlHttp}`,
    // What tests let a node fetch stands on this machine.
    env: { MERIDIAN_MEDIA_FETCH: 'any', ...options.nodeEnv, ...options.regionEnv?.[region] },
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
