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
  OPENAI_API_KEY, OPENROUTER_API_KEY    use the real provider instead of the simulated one
  OPENAI_BASE_URL, OPENROUTER_BASE_URL  another origin for a provider, for example http://127.0.0.1:8080/v1

Ctrl-C stops everything. A second start goes on with the same accounts, keys and balances.`;

export interface ProviderSetting {
  readonly providerId: string;
  /** A real key; undefined: the simulated provider. */
  readonly apiKey: string | undefined;
  /** Base URL with its path, such as https://api.openai.com/v1; undefined: the catalogue's. */
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
  readonly providers: readonly ProviderSetting[];
}

const REGIONS = ['us', 'eu'] as const;

/** Pure. Throws an Error with one clear line. */
export function readSettings(args: readonly string[], env: Readonly<Record<string, string | undefined>>): LocalSettings | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: { 'port-base': { type: 'string' }, folder: { type: 'string' }, help: { type: 'boolean' } },
  });
  if (values.help === true) return 'help';
  const base = Number(values['port-base'] ?? env.MERIDIAN_PORT_BASE ?? 4100);
  if (!Number.isInteger(base) || base < 1 || base > 65_000) throw new Error('--port-base must be a number from 1 to 65000');
  const provider = (providerId: string, name: string): ProviderSetting => ({
    providerId,
    apiKey: nonEmpty(env[`${name}_API_KEY`]),
    baseUrl: httpUrl(`${name}_BASE_URL`, nonEmpty(env[`${name}_BASE_URL`])),
  });
  return {
    folder: values.folder ?? env.MERIDIAN_FOLDER ?? join(PROJECT_ROOT, '.meridian'),
    ports: {
      controlHttp: base,
      controlGrpc: base + 1,
      controlHealth: base + 2,
      nodes: REGIONS.map((region, index) => ({ region, port: base + 10 * (index + 1), healthPort: base + 10 * (index + 1) + 1 })),
      postgres: base + 30,
      upstream: base + 40,
    },
    databaseUrl: nonEmpty(env.DATABASE_URL),
    providers: [provider('openai', 'OPENAI'), provider('openrouter', 'OPENROUTER')],
  };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === '' ? undefined : text.trim();
}

function httpUrl(name: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new Error(`${name} must be an http or https URL, not ${text}`);
  return text;
}
