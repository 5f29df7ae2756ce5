/** What can be set of the local world: by flags, or by the environment. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PROJECT_ROOT } from './process.ts';

export const HELP = `Starts Meridian on this machine: PostgreSQL, the control plane, a node in each of two regions, and simulated providers.

  npm start -- [options]

  --port-base <n>   first of the ports (default 4100, or MERIDIAN_PORT_BASE):
                    +0 control plane HTTP, +1 its gRPC, +2 its health; +10 node us, +11 its health;
                    +20 node eu, +21 its health; +30 PostgreSQL; +40 simulated providers
  --folder <path>   where data, logs and local.json are kept (default .meridian, or MERIDIAN_FOLDER)
  --help            this text

Environment:
  DATABASE_URL                          a PostgreSQL server of yours instead of the embedded one
  REDIS_URL                             a Redis for what the nodes of a region share (rate limits, Idempotency-Key); none by default
  OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, OPENROUTER_API_KEY
                                        use the real provider instead of the simulated one
  OPENAI_BASE_URL, ANTHROPIC_BASE_URL, GEMINI_BASE_URL, OPENROUTER_BASE_URL
                                        another origin for a provider, with its path, for example http://127.0.0.1:8080/v1

Ctrl-C stops everything. A second start goes on with the same accounts, keys and balances.`;

const LAST_PORT_OFFSET = 40;
const MAX_PORT_BASE = 65_535 - LAST_PORT_OFFSET;

export interface ProviderSetting {
  readonly providerId: string;
  /** A real key; undefined: the simulated provider. */
  readonly apiKey: string | undefined;
  /** Base URL with its path, such as https://api.openai.com/v1; undefined: the vendor's. */
  readonly baseUrl: string | undefined;
}

export interface Ports {
  readonly controlHttp: number;
  readonly controlGrpc: number;
  readonly controlHealth: number;
  readonly nodes: readonly { readonly region: string; readonly port: number; readonly healthPort: number }[];
  readonly postgres: number;
  readonly upstream: number;
}

export interface LocalSettings {
  readonly folder: string;
  readonly ports: Ports;
  readonly databaseUrl: string | undefined;
  readonly redisUrl: string | undefined;
  readonly providers: readonly ProviderSetting[];
}

const REGIONS = ['us', 'eu'] as const;

/** Pure. An empty variable counts as absent. Throws an Error with one clear line, which never holds a key or a password. */
export function readSettings(args: readonly string[], env: Readonly<Record<string, string | undefined>>): LocalSettings | 'help' {
  const values = readFlags(args);
  if (values.help === true) return 'help';
  const base = readPortBase(values['port-base'], nonEmpty(env.MERIDIAN_PORT_BASE));
  const folder = values.folder ?? nonEmpty(env.MERIDIAN_FOLDER) ?? join(PROJECT_ROOT, '.meridian');
  if (folder === '') throw new Error('--folder must not be empty.');
  const provider = (providerId: string, name: string): ProviderSetting => ({
    providerId,
    apiKey: readKey(`${name}_API_KEY`, nonEmpty(env[`${name}_API_KEY`])),
    baseUrl: readBaseUrl(`${name}_BASE_URL`, nonEmpty(env[`${name}_BASE_URL`])),
  });
  return {
    folder,
    ports: {
      controlHttp: base,
      controlGrpc: base + 1,
      controlHealth: base + 2,
      nodes: REGIONS.map((region, index) => ({ region, port: base + 10 * (index + 1), healthPort: base + 10 * (index + 1) + 1 })),
      postgres: base + 30,
      upstream: base + LAST_PORT_OFFSET,
    },
    databaseUrl: readDatabaseUrl(nonEmpty(env.DATABASE_URL)),
    redisUrl: readRedisUrl(nonEmpty(env.REDIS_URL)),
    providers: [
      provider('openai', 'OPENAI'),
      provider('anthropic', 'ANTHROPIC'),
      provider('gemini', 'GEMINI'),
      provider('openrouter', 'OPENROUTER'),
    ],
  };
}

function readFlags(args: readonly string[]): { 'port-base'?: string; folder?: string; help?: boolean } {
  try {
    return parseArgs({
      args: [...args],
      options: { 'port-base': { type: 'string' }, folder: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    }).values;
  } catch (error) {
    const [reason = ''] = (error instanceof Error ? error.message : String(error)).split(/\.\s|\n/);
    throw new Error(`${reason.replace(/\.$/, '')}. "npm start -- --help" tells what can be set.`, { cause: error });
  }
}

function readPortBase(flag: string | undefined, variable: string | undefined): number {
  const text = flag ?? variable ?? '4100';
  const base = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (base >= 1 && base <= MAX_PORT_BASE) return base;
  throw new Error(
    `${flag === undefined ? 'MERIDIAN_PORT_BASE' : '--port-base'} must be a whole number from 1 to ${MAX_PORT_BASE}, not "${text}".`,
  );
}

function readDatabaseUrl(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text))
    throw new Error('DATABASE_URL must be a URL such as postgres://user:password@host:5432/database.');
  return text;
}

function readRedisUrl(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (!/^rediss?:\/\//.test(text) || !URL.canParse(text)) throw new Error('REDIS_URL must be a URL such as redis://host:6379.');
  return text;
}

/** It is sent as a header. */
function readKey(name: string, text: string | undefined): string | undefined {
  if (text !== undefined && !/^[!-~]{1,4096}$/.test(text)) throw new Error(`${name} must be printable ASCII without spaces.`);
  return text;
}

function readBaseUrl(name: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new Error(`${name} must be an http or https URL such as http://127.0.0.1:8080/v1.`);
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new Error(`${name} must be scheme, host, port and path: no user, password, query or fragment.`);
  }
  if (!/^(\/[A-Za-z0-9._~-]+)*\/?$/.test(url.pathname)) throw new Error(`${name} has a path that is not usable: ${url.pathname}`);
  return text;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === '' ? undefined : text.trim();
}
