/** The local world: started in the order in which its parts need each other, stopped in the other. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative, resolve } from 'node:path';
import { lockFolder } from '@meridian/data-plane/metering/spool/lock';
import { greeting, type LocalWorldFile } from './greeting.ts';
import { type Common, launchControlPlane, launchNode, launchPostgres, launchUpstream } from './launch.ts';
import { ApiClient } from './operator.ts';
import type { ManagedProcess } from './process.ts';
import { keyWorks, providerTarget, provisionAccount, provisionKey, provisionProvider } from './provision.ts';
import { loadSecrets } from './secrets.ts';
import type { LocalSettings, ProviderSetting } from './settings.ts';

const DEMO_CREDIT_USD = '25';

export interface LocalWorld {
  readonly greeting: string;
  /** Resolves with a line when a process stops that should not. */
  readonly broken: Promise<string>;
  stop(): Promise<void>;
}

/** Throws an Error with one clear line when something cannot start; what had been started is stopped then. */
export async function startLocalWorld(settings: LocalSettings, say: (line: string) => void, stopAsked: () => boolean): Promise<LocalWorld> {
  const folder = resolve(settings.folder);
  const logFolder = join(folder, 'logs');
  mkdirSync(logFolder, { recursive: true });
  const lock = lockFolder(folder);
  const started: ManagedProcess[] = [];
  const stop = async (): Promise<void> => {
    // Nodes first: their last usage has to reach the control plane, and the control plane its database.
    const nodes = started.filter((process) => process.name.startsWith('node-'));
    await Promise.all(nodes.map((node) => node.stop()));
    for (const process of started.filter((one) => !nodes.includes(one)).reverse()) await process.stop();
    lock.release();
  };
  const up = async (step: string, launched: Promise<ManagedProcess>): Promise<ManagedProcess> => {
    say(`  ${step} …`);
    const process = await launched;
    started.push(process);
    if (stopAsked()) throw new Error('Stopped while starting.');
    return process;
  };

  try {
    const { ports } = settings;
    const simulated = settings.providers.filter((provider) => provider.apiKey === undefined && provider.baseUrl === undefined);
    await refuseTakenPorts(settings, simulated.length > 0);
    const regionUrls = Object.fromEntries(ports.nodes.map(({ region, port }) => [region, `http://127.0.0.1:${port}`]));
    const common: Common = {
      secrets: loadSecrets(join(folder, 'secrets.json')),
      logFolder,
      regionUrls: Object.entries(regionUrls)
        .map(([region, url]) => `${region}=${url}`)
        .join(','),
    };
    say('Starting Meridian');
    const databaseUrl =
      settings.databaseUrl ??
      (await up('PostgreSQL', launchPostgres(common, { folder: join(folder, 'postgres'), port: ports.postgres, fsync: true }))).readyText(
        'url',
      );
    const upstreamUrl =
      simulated.length === 0
        ? undefined
        : (
            await up(
              'simulated providers',
              launchUpstream(common, { port: ports.upstream, journalFile: join(folder, 'upstream-journal.jsonl') }),
            )
          ).readyText('origin');
    const control = await up(
      'control plane',
      launchControlPlane(common, {
        databaseUrl,
        httpPort: ports.controlHttp,
        grpcPort: ports.controlGrpc,
        healthPort: ports.controlHealth,
      }),
    );
    const controlUrl = control.readyText('httpUrl');
    const operator = new ApiClient(controlUrl, common.secrets.adminToken);
    for (const provider of settings.providers) {
      const target = targetOf(provider, upstreamUrl);
      if (target !== undefined) await provisionProvider(operator, target);
    }
    const customer = await provisionAccount(operator, 'Local', DEMO_CREDIT_USD);
    const nodes = ports.nodes.map(({ region, port, healthPort }) =>
      up(
        `node ${region}`,
        launchNode(common, {
          nodeId: `node-${region}`,
          region,
          folder: join(folder, `node-${region}`),
          port,
          healthPort,
          controlGrpcAddress: control.readyText('grpcAddress'),
          controlUrl,
        }),
      ),
    );
    const launched = await Promise.allSettled(nodes);
    for (const node of launched) if (node.status === 'rejected') throw node.reason;

    const file = join(folder, 'local.json');
    const [firstUrl = ''] = Object.values(regionUrls);
    const world: LocalWorldFile = {
      control_plane_url: controlUrl,
      admin_token: common.secrets.adminToken,
      account_token: customer.accountToken,
      regions: regionUrls,
      api_key: await keyOf(file, firstUrl, new ApiClient(controlUrl, customer.accountToken)),
    };
    writeFileSync(file, `${JSON.stringify(world, null, 2)}\n`, { mode: 0o600 });
    return {
      greeting: greeting(world, settings.providers.map(note), relative(process.cwd(), file)),
      broken: Promise.race(
        started.map((one) =>
          one.exited.then((exit) => `${one.name} stopped (${exit.signal ?? `exit code ${exit.code}`}); its log is in ${logFolder}`),
        ),
      ),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A real provider where there is a key, another origin where one is set, else the simulated one. */
function targetOf(provider: ProviderSetting, upstreamUrl: string | undefined): ReturnType<typeof providerTarget> | undefined {
  const basePaths: Readonly<Record<string, string>> = { openai: '/v1', openrouter: '/api/v1' };
  const vendors: Readonly<Record<string, string>> = { openai: 'https://api.openai.com/v1', openrouter: 'https://openrouter.ai/api/v1' };
  const key = provider.apiKey ?? 'sk-simulated-local-provider';
  const baseUrl =
    provider.baseUrl ??
    (provider.apiKey === undefined ? `${upstreamUrl}${basePaths[provider.providerId] ?? '/v1'}` : vendors[provider.providerId]);
  return baseUrl === undefined ? undefined : providerTarget(provider.providerId, baseUrl, key);
}

function note(provider: ProviderSetting): string {
  const where = provider.baseUrl ?? (provider.apiKey === undefined ? 'simulated' : 'real');
  return `${provider.providerId}: ${where}`;
}

/** The key of an earlier start where it still works, else a new one. */
async function keyOf(file: string, nodeUrl: string, account: ApiClient): Promise<string> {
  let known: unknown;
  try {
    known = JSON.parse(readFileSync(file, 'utf8')).api_key;
  } catch {
    known = undefined;
  }
  if (typeof known === 'string' && (await keyWorks(nodeUrl, known))) return known;
  const key = await provisionKey(account, 'local');
  const until = Date.now() + 5_000;
  while (!(await keyWorks(nodeUrl, key))) {
    if (Date.now() > until) throw new Error('a new key did not reach the node within 5 s');
    await new Promise((next) => setTimeout(next, 20));
  }
  return key;
}

async function refuseTakenPorts(settings: LocalSettings, simulates: boolean): Promise<void> {
  const { ports } = settings;
  const wanted: (readonly [string, number])[] = [
    ['control plane', ports.controlHttp],
    ['control plane gRPC', ports.controlGrpc],
    ['control plane health', ports.controlHealth],
    ...ports.nodes.flatMap(({ region, port, healthPort }) => [
      [`node ${region}`, port] as const,
      [`node ${region} health`, healthPort] as const,
    ]),
  ];
  if (settings.databaseUrl === undefined) wanted.push(['PostgreSQL', ports.postgres]);
  if (simulates) wanted.push(['simulated providers', ports.upstream]);
  for (const [name, port] of wanted) {
    const free = await new Promise<boolean>((answer) => {
      const probe = createServer();
      probe.once('error', () => answer(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => answer(true)));
    });
    if (!free) throw new Error(`Port ${port} (${name}) is taken. Stop what listens there, or choose other ports with --port-base.`);
  }
}
