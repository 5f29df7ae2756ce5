/** The settings of a control-plane replica: the environment read once, checked as a whole, frozen. */
import { isIP } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';

export interface Config {
  readonly databaseUrl: string;
  readonly maxDatabaseConnections: number;
  /** What one question of a customer about usage may take. */
  readonly usageQueryTimeoutMs: number;
  readonly httpHost: string;
  readonly httpPort: number;
  /** Addresses or networks whose `x-forwarded-for` is believed: the nodes, and load balancers before them. */
  readonly trustedProxies: readonly string[];
  readonly grpcHost: string;
  readonly grpcPort: number;
  readonly healthHost: string;
  readonly healthPort: number;
  /** Who may call the operator API: `admin` first, then those that have a name and a token of their own. */
  readonly operators: readonly { readonly name: string; readonly token: string }[];
  readonly joinToken: string;
  readonly jwtSecret: Uint8Array;
  readonly keyPepper: Uint8Array;
  readonly sealingKey: Uint8Array;
  readonly keyPrefix: string;
  readonly catalogueFile: string;
  readonly logLevel: string;
  readonly shutdownTimeoutMs: number;
  /** Whether this replica takes part in what is done at hours of the day. */
  readonly scheduler: boolean;
}

/** The product's name as customers read it. */
export const PRODUCT_NAME = 'Meridian';

const CATALOGUE_FILE = join(import.meta.dirname, '../seed/catalogue.yaml');
const MIN_JWT_SECRET_BYTES = 32;

const port = z.coerce.number().int().min(0).max(65_535);
const host = z.string().min(1).default('127.0.0.1');
/** As the trail names whoever has `MERIDIAN_ADMIN_TOKEN`. */
const FIRST_OPERATOR = 'admin';
const MIN_TOKEN_CHARS = 16;

const token = z.string().min(MIN_TOKEN_CHARS, `must have at least ${MIN_TOKEN_CHARS} characters`);
const hex = (leastBytes: number, mostBytes: number) =>
  z
    .string()
    .regex(
      new RegExp(`^([0-9a-f]{2}){${leastBytes},${mostBytes}}$`, 'i'),
      `must be ${leastBytes === mostBytes ? '' : 'at least '}${leastBytes} bytes in hex digits`,
    )
    .transform((text) => new Uint8Array(Buffer.from(text, 'hex')));

/** `10.0.0.0/8,192.0.2.7`. */
const proxies = z
  .string()
  .transform((text) => text.split(',').map((entry) => entry.trim()))
  .refine((entries) => entries.every(isNetwork), 'must be addresses or networks such as 10.0.0.0/8, with commas between them');

function operatorsOf(text: string): { readonly name: string; readonly token: string }[] {
  return text.split(',').map((entry) => {
    const [name = '', ...rest] = entry.trim().split(':');
    return { name, token: rest.join(':') };
  });
}

/** `ada:token,ben:token`. */
const operators = z.string().transform((text, context) => {
  const named = operatorsOf(text);
  const fault = named.some(({ name }) => !/^[a-z][a-z0-9._-]{0,63}$/.test(name) || name === FIRST_OPERATOR)
    ? `must name each operator in lower-case letters, digits, dots and dashes, and none of them ${FIRST_OPERATOR}`
    : named.some(({ token }) => token.length < MIN_TOKEN_CHARS)
      ? `must give each operator a token of at least ${MIN_TOKEN_CHARS} characters: name:token,name:token`
      : new Set(named.map(({ name }) => name)).size < named.length
        ? 'must name each operator once'
        : new Set(named.map(({ token }) => token)).size < named.length
          ? 'must give each operator another token'
          : undefined;
  if (fault !== undefined) context.addIssue({ code: 'custom', message: fault });
  return named;
});

const schema = z.object({
  DATABASE_URL: z.string().regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL'),
  MERIDIAN_DATABASE_CONNECTIONS: z.coerce.number().int().min(6).max(1_000).default(20),
  MERIDIAN_USAGE_QUERY_TIMEOUT_MS: z.coerce.number().int().min(100).max(60_000).default(5_000),
  MERIDIAN_HTTP_HOST: host,
  MERIDIAN_HTTP_PORT: port.default(8100),
  MERIDIAN_GRPC_HOST: host,
  MERIDIAN_GRPC_PORT: port.default(8101),
  MERIDIAN_HEALTH_HOST: host,
  MERIDIAN_HEALTH_PORT: port.default(8102),
  MERIDIAN_ADMIN_TOKEN: token,
  MERIDIAN_OPERATOR_TOKENS: operators.default([]),
  MERIDIAN_TRUSTED_PROXIES: proxies.default(['127.0.0.1/8', '::1/128']),
  MERIDIAN_JOIN_TOKEN: token,
  MERIDIAN_JWT_SECRET: hex(MIN_JWT_SECRET_BYTES, 1024),
  MERIDIAN_KEY_PEPPER: hex(32, 32),
  MERIDIAN_SEALING_KEY: hex(32, 32),
  MERIDIAN_KEY_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,32}$/, 'must be 1 to 32 letters, digits, dashes')
    .default('sk-mrd-'),
  MERIDIAN_CATALOGUE_FILE: z.string().min(1).default(CATALOGUE_FILE),
  MERIDIAN_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  MERIDIAN_SCHEDULER: z.enum(['on', 'off']).default('on'),
  MERIDIAN_SHUTDOWN_TIMEOUT_MS: z.coerce.number().int().min(100).max(600_000).default(10_000),
});

const SECRETS = [
  'MERIDIAN_ADMIN_TOKEN',
  'MERIDIAN_JOIN_TOKEN',
  'MERIDIAN_JWT_SECRET',
  'MERIDIAN_KEY_PEPPER',
  'MERIDIAN_SEALING_KEY',
] as const;
const PORTS = ['MERIDIAN_HTTP_PORT', 'MERIDIAN_GRPC_PORT', 'MERIDIAN_HEALTH_PORT'] as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** Pure. An empty variable counts as absent. Throws an Error whose message lists every problem, without any secret's value. */
export function loadConfig(env: Environment): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = schema.safeParse(given);
  const problems = [
    ...(parsed.success
      ? []
      : parsed.error.issues.map(
          (issue) => `${issue.path.join('.')}: ${given[String(issue.path[0])] === undefined ? 'is missing' : issue.message}`,
        )),
    ...contradictions(given),
  ];
  if (!parsed.success || problems.length > 0) {
    throw new Error(['The settings of the control plane are not usable:', ...problems.map((problem) => `  ${problem}`)].join('\n'));
  }
  const settings = parsed.data;
  return Object.freeze({
    databaseUrl: settings.DATABASE_URL,
    maxDatabaseConnections: settings.MERIDIAN_DATABASE_CONNECTIONS,
    usageQueryTimeoutMs: settings.MERIDIAN_USAGE_QUERY_TIMEOUT_MS,
    httpHost: settings.MERIDIAN_HTTP_HOST,
    httpPort: settings.MERIDIAN_HTTP_PORT,
    grpcHost: settings.MERIDIAN_GRPC_HOST,
    grpcPort: settings.MERIDIAN_GRPC_PORT,
    healthHost: settings.MERIDIAN_HEALTH_HOST,
    healthPort: settings.MERIDIAN_HEALTH_PORT,
    operators: [{ name: FIRST_OPERATOR, token: settings.MERIDIAN_ADMIN_TOKEN }, ...settings.MERIDIAN_OPERATOR_TOKENS],
    trustedProxies: settings.MERIDIAN_TRUSTED_PROXIES,
    joinToken: settings.MERIDIAN_JOIN_TOKEN,
    jwtSecret: settings.MERIDIAN_JWT_SECRET,
    keyPepper: settings.MERIDIAN_KEY_PEPPER,
    sealingKey: settings.MERIDIAN_SEALING_KEY,
    keyPrefix: settings.MERIDIAN_KEY_PREFIX,
    catalogueFile: settings.MERIDIAN_CATALOGUE_FILE,
    logLevel: settings.MERIDIAN_LOG_LEVEL,
    shutdownTimeoutMs: settings.MERIDIAN_SHUTDOWN_TIMEOUT_MS,
    scheduler: settings.MERIDIAN_SCHEDULER === 'on',
  });
}

/** Settings that are each good and together are not: whoever learns one secret must not have learnt another. */
function contradictions(env: Environment): string[] {
  return [
    ...sharedBy(env, SECRETS, 'have the same value'),
    ...sharedBy(env, PORTS, 'are the same port'),
    // An operator who has the first one's token would be named as the first one.
    ...SECRETS.filter((name) => env[name] !== undefined && operatorTokens(env).includes(env[name])).map(
      (name) => `MERIDIAN_OPERATOR_TOKENS and ${name} have the same value`,
    ),
  ];
}

function operatorTokens(env: Environment): string[] {
  return operatorsOf(env.MERIDIAN_OPERATOR_TOKENS ?? '').map(({ token }) => token);
}

function sharedBy(env: Environment, names: readonly string[], complaint: string): string[] {
  const problems: string[] = [];
  for (const [index, name] of names.entries()) {
    for (const other of names.slice(index + 1)) {
      if (env[name] !== undefined && env[name] !== '0' && env[name] === env[other]) problems.push(`${name} and ${other} ${complaint}`);
    }
  }
  return problems;
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const family = isIP(address);
  return family !== 0 && rest.length === 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)));
}
