/** The local world: started in the order in which its parts need each other, stopped in the other. */
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { type FolderLock, lockFolder } from '@meridian/data-plane/metering/spool/lock';
import { greeting, type LocalWorldFile } from './greeting.ts';
import { type Common, launchControlPlane, launchNode, launchPostgres, launchUpstream } from './launch.ts';
import { endLeftovers, ProcessNotes } from './leftovers.ts';
import { ApiClient } from './operator.ts';
import { refuseTakenPorts } from './ports.ts';
import { type ManagedProcess, PROJECT_ROOT, StartError } from './process.ts';
import { keyWorks, type ProviderTarget, providerTarget, provisionAccount, provisionKey, provisionProvider } from './provision.ts';
import { provisionRecordings, RECORDINGS_FOLDER, recordedChats, switchOffRecordings } from './recordings.ts';
import { loadSecrets, type Secrets, writeSecretFile } from './secrets.ts';
import type { LocalSettings, ProviderSetting } from './settings.ts';

const DEMO_CREDIT_USD = '25';
const KEY_ARRIVES_WITHIN_MS = 5_000;
/** With the time for its last report it stays below the time after which a process is killed. */
const NODE_DRAINS_WITHIN_MS = 8_000;
const BASE_URLS: Readonly<Record<string, { readonly real: string; readonly simulatedPath: string }>> = {
  openai: { real: 'https://api.openai.com/v1', simulatedPath: '/v1' },
  openrouter: { real: 'https://openrouter.ai/api/v1', simulatedPath: '/api/v1' },
  anthropic: { real: 'https://api.anthropic.com/v1', simulatedPath: '/anthropic/v1' },
  gemini: { real: 'https://generativelanguage.googleapis.com/v1beta', simulatedPath: '/gemini/v1beta' },
};

export interface LocalWorld {
  readonly greeting: string;
  /** Resolves with a line when a process stops that should not. */
  readonly broken: Promise<string>;
  stop(): Promise<void>;
}

/** Throws an Error with one clear line when something cannot start, or when `abort` comes first; what had been started is stopped then. */
export async function startLocalWorld(settings: LocalSettings, say: (line: string) => void, abort: AbortSignal): Promise<LocalWorld> {
  const folder = resolve(settings.folder);
  const logFolder = join(folder, 'logs');
  const lock = takeFolder(folder, logFolder);
  const notes = new ProcessNotes(folder);
  const started: ManagedProcess[] = [];
  const stop = async (): Promise<void> => {
    // Nodes first: their last usage has to reach the control plane, and the control plane its database.
    const nodes = started.filter((process) => process.name.startsWith('node-'));
    await Promise.all(nodes.map((node) => node.stop()));
    for (const process of started.filter((one) => !nodes.includes(one)).reverse()) await process.stop();
    notes.clear();
    lock.release();
  };
  const up = async (step: string, launched: Promise<ManagedProcess>): Promise<ManagedProcess> => {
    say(`  ${step} …`);
    const process = await launched;
    started.push(process);
    abort.throwIfAborted();
    return process;
  };

  try {
    say('Starting Meridian');
    await endLeftovers(notes, join(folder, 'postgres'), say);
    abort.throwIfAborted();
    const { ports } = settings;
    const simulates = settings.providers.some(isSimulated);
    await refuseTakenPorts(settings, simulates);
    keepLastLogs(logFolder);
    const regions = Object.fromEntries(ports.nodes.map(({ region, port }) => [region, `http://127.0.0.1:${port}`]));
    const common: Common = {
      secrets: secretsOf(folder),
      logFolder,
      regionUrls: Object.entries(regions)
        .map(([region, url]) => `${region}=${url}`)
        .join(','),
      abort,
      onSpawn: (pid, entry) => notes.add({ pid, command: entry }),
    };
    const [postgres, upstream] = await all([
      settings.databaseUrl === undefined
        ? up('PostgreSQL', launchPostgres(common, { folder: join(folder, 'postgres'), port: ports.postgres, fsync: true }))
        : undefined,
      simulates
        ? up('simulated providers', launchUpstream(common, { port: ports.upstream, journalFile: join(folder, 'upstream-journal.jsonl') }))
        : undefined,
    ]);
    const control = await up(
      'control plane',
      launchControlPlane(common, {
        databaseUrl: settings.databaseUrl ?? postgres?.readyText('url') ?? '',
        httpPort: ports.controlHttp,
        grpcPort: ports.controlGrpc,
        healthPort: ports.controlHealth,
      }),
    );
    const controlUrl = control.readyText('httpUrl');
    const operator = new ApiClient(controlUrl, common.secrets.adminToken);
    const recordings = await provisionProviders(operator, settings.providers, upstream?.readyText('origin'));
    abort.throwIfAborted();

    const file = join(folder, 'local.json');
    const customer = await provisionAccount(operator, 'Local', DEMO_CREDIT_USD);
    const key = await keyOf(file, controlUrl, new ApiClient(controlUrl, customer.accountToken));
    await all(
      ports.nodes.map(({ region, port, healthPort }) =>
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
            env: {
              MERIDIAN_DRAIN_TIMEOUT_MS: String(NODE_DRAINS_WITHIN_MS),
              ...(settings.redisUrl === undefined ? {} : { MERIDIAN_REDIS_URL: settings.redisUrl }),
            },
          }),
        ),
      ),
    );
    if (key.isNew) for (const url of Object.values(regions)) await keyArrives(url, key.text);
    const world: LocalWorldFile = {
      control_plane_url: controlUrl,
      admin_token: common.secrets.adminToken,
      account_token: customer.accountToken,
      regions,
      api_key: key.text,
    };
    writeSecretFile(file, world);
    return {
      greeting: greeting({
        world,
        notes: [...settings.providers.map(note), ...(recordings === 0 ? [] : [`${recordings} recorded exchanges: models sim/<name>`])],
        file: shown(file),
        projectFolder: resolve(PROJECT_ROOT),
      }),
      broken: Promise.race(
        started.map((one) =>
          one.exited.then(
            (exit) =>
              `${one.name} stopped (${exit.signal ?? `exit code ${exit.code}`}); its log is ${shown(join(logFolder, `${one.name}.log`))}`,
          ),
        ),
      ),
      stop,
    };
  } catch (error) {
    await stop();
    throw explained(error, settings, logFolder);
  }
}

/** Makes the folder and takes it for this process alone. */
function takeFolder(folder: string, logFolder: string): FolderLock {
  try {
    mkdirSync(logFolder, { recursive: true });
    for (const path of [folder, logFolder]) accessSync(path, constants.W_OK);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new Error(`The folder ${folder} cannot be written (${code}). Choose another with --folder.`, { cause: error });
  }
  try {
    return lockFolder(folder);
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('data folder in use')) {
      throw new Error(`Meridian already runs in ${folder}. Stop it there, or choose another folder with --folder (and --port-base).`, {
        cause: error,
      });
    }
    throw new Error(`The folder ${folder} cannot be locked: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Data without its secrets cannot be used, and new secrets would only hide that. */
function secretsOf(folder: string): Secrets {
  const file = join(folder, 'secrets.json');
  if (!existsSync(file) && existsSync(join(folder, 'postgres'))) {
    throw new Error(`${file} is gone, and the data beside it cannot be used without it. Put it back, or delete ${folder} to start afresh.`);
  }
  return loadSecrets(file);
}

/** Each start writes new logs and keeps those of the start before. */
function keepLastLogs(logFolder: string): void {
  for (const name of readdirSync(logFolder)) if (name.endsWith('.log')) renameSync(join(logFolder, name), join(logFolder, `${name}.1`));
}

/** Like Promise.all, but nothing is under way any more when it rejects. */
async function all<T>(parts: readonly T[]): Promise<Awaited<T>[]> {
  const settled = await Promise.allSettled(parts);
  return settled.map((one) => {
    if (one.status === 'rejected') throw one.reason;
    return one.value;
  });
}

function isSimulated(provider: ProviderSetting): boolean {
  return provider.apiKey === undefined && provider.baseUrl === undefined;
}

/** Points the providers where the settings say; gives the number of recordings that can be called. */
async function provisionProviders(
  operator: ApiClient,
  providers: readonly ProviderSetting[],
  upstreamUrl: string | undefined,
): Promise<number> {
  for (const provider of providers) await provisionProvider(operator, targetOf(provider, upstreamUrl));
  if (upstreamUrl === undefined) {
    await switchOffRecordings(operator);
    return 0;
  }
  const names = recordedChats(RECORDINGS_FOLDER);
  await provisionRecordings(operator, upstreamUrl, names);
  return names.length;
}

/** A real provider where there is a key, another origin where one is set, else the simulated one. */
function targetOf(provider: ProviderSetting, upstreamUrl: string | undefined): ProviderTarget {
  const urls = BASE_URLS[provider.providerId];
  if (urls === undefined) throw new Error(`there is no base URL for ${provider.providerId}`);
  const baseUrl = provider.baseUrl ?? (isSimulated(provider) ? `${upstreamUrl}${urls.simulatedPath}` : urls.real);
  return providerTarget(provider.providerId, baseUrl, provider.apiKey ?? 'sk-simulated-local-provider');
}

function note(provider: ProviderSetting): string {
  return `${provider.providerId}: ${provider.baseUrl ?? (isSimulated(provider) ? 'simulated' : 'real')}`;
}

/** The key of an earlier start where it still works, else a new one. */
async function keyOf(file: string, controlUrl: string, account: ApiClient): Promise<{ text: string; isNew: boolean }> {
  let known: unknown;
  try {
    known = JSON.parse(readFileSync(file, 'utf8')).api_key;
  } catch {
    known = undefined;
  }
  if (typeof known === 'string' && /^[!-~]+$/.test(known) && (await keyWorks(controlUrl, known))) return { text: known, isNew: false };
  return { text: await provisionKey(account, 'local'), isNew: true };
}

async function keyArrives(nodeUrl: string, key: string): Promise<void> {
  const until = Date.now() + KEY_ARRIVES_WITHIN_MS;
  while (!(await keyWorks(nodeUrl, key))) {
    if (Date.now() > until) throw new Error(`A new key did not reach ${nodeUrl} within ${KEY_ARRIVES_WITHIN_MS / 1000} s.`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

/** Relative to where the user is, when it is below. */
function shown(file: string): string {
  const path = relative(process.cwd(), file);
  return path.startsWith('..') || isAbsolute(path) ? file : path;
}

/** What a process said when it could not start, with what the user can do about it. */
function explained(error: unknown, settings: LocalSettings, logFolder: string): unknown {
  if (!(error instanceof StartError)) return error;
  if (error.processName === 'control-plane' && settings.databaseUrl !== undefined && error.message.includes('PostgreSQL server'))
    return new Error(`DATABASE_URL: ${error.message}`, { cause: error });
  // PostgreSQL's owner names it by itself.
  const who = error.processName === 'postgres' ? '' : `${error.processName} did not start: `;
  const log = error.message.includes('\n') ? `\nIts log is ${shown(join(logFolder, `${error.processName}.log`))}` : '';
  return new Error(`${who}${error.message}${log}`, { cause: error });
}
