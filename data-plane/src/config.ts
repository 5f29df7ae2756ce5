/** The only reader of the node's environment. */
import { isNodeId } from '@meridian/domain/node-id';
import { isRegion, type Region } from '@meridian/domain/region';
import { z } from 'zod';

export interface Config {
  readonly nodeId: string;
  readonly region: Region;
  readonly dataFolder: string;
  readonly host: string;
  readonly port: number;
  readonly healthHost: string;
  readonly healthPort: number;
  /** host:port of the control plane's gRPC. */
  readonly controlGrpcAddress: string;
  /** Origin of the account API. */
  readonly controlUrl: string;
  readonly joinToken: string;
  readonly keyPepper: Uint8Array;
  readonly sealingKey: Uint8Array;
  readonly keyPrefix: string;
  readonly regionUrls: Readonly<Record<Region, string>>;
  readonly logLevel: string;
  readonly upstreamConnectTimeoutMs: number;
  readonly upstreamFirstByteTimeoutMs: number;
  readonly upstreamIdleTimeoutMs: number;
  readonly upstreamTotalTimeoutMs: number;
  readonly connectionsPerOrigin: number;
  readonly drainTimeoutMs: number;
  /** Streams of clients that left, read on at a time. */
  readonly maxAbandonedStreams: number;
  readonly maxAbandonedStreamMs: number;
  /** Whole answers to clients that left, finished at a time. */
  readonly maxAbandonedAnswers: number;
  /** Which addresses media of customers are fetched from, for models that cannot fetch them: of the public internet, or any (development only). */
  readonly mediaFetch: 'public' | 'any';
  /** The region's Redis; undefined: limits are this node's own. */
  readonly redisUrl: string | undefined;
}

const port = z.coerce.number().int().min(0).max(65_535);
const milliseconds = z.coerce.number().int().min(1).max(86_400_000);
const key32 = z
  .string()
  .regex(/^[0-9a-f]{64}$/i, 'must be 64 hex digits (32 bytes)')
  .transform((hex) => new Uint8Array(Buffer.from(hex, 'hex')));

const schema = z.object({
  MERIDIAN_NODE_ID: z.string().refine(isNodeId, 'must be 1 to 64 letters, digits, dots, dashes'),
  MERIDIAN_REGION: z.string().refine(isRegion, 'must be a region such as us or eu'),
  MERIDIAN_DATA_FOLDER: z.string().min(1),
  MERIDIAN_HOST: z.string().default('127.0.0.1'),
  MERIDIAN_PORT: port,
  MERIDIAN_HEALTH_HOST: z.string().default('127.0.0.1'),
  MERIDIAN_HEALTH_PORT: port,
  MERIDIAN_CONTROL_GRPC: z.string().regex(/^[^/\s]+:\d{1,5}$/, 'must be host:port'),
  MERIDIAN_CONTROL_URL: z.url({ protocol: /^https?$/ }).transform((url) => new URL(url).origin),
  MERIDIAN_JOIN_TOKEN: z.string().min(16),
  MERIDIAN_KEY_PEPPER: key32,
  MERIDIAN_SEALING_KEY: key32,
  MERIDIAN_KEY_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,32}$/)
    .default('sk-mrd-'),
  MERIDIAN_REGION_URLS: z
    .string()
    .default('')
    .transform((text, context) => {
      const urls: Record<Region, string> = {};
      for (const part of text.split(',').filter((item) => item !== '')) {
        const [region = '', url = ''] = part.split(/=(.*)/s);
        if (!isRegion(region) || !URL.canParse(url)) {
          context.addIssue({ code: 'custom', message: 'must be a list such as us=https://us.example.com,eu=https://eu.example.com' });
          return z.NEVER;
        }
        urls[region] = url;
      }
      return urls;
    }),
  MERIDIAN_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  MERIDIAN_UPSTREAM_CONNECT_TIMEOUT_MS: milliseconds.default(5_000),
  MERIDIAN_UPSTREAM_FIRST_BYTE_TIMEOUT_MS: milliseconds.default(60_000),
  MERIDIAN_UPSTREAM_IDLE_TIMEOUT_MS: milliseconds.default(60_000),
  MERIDIAN_UPSTREAM_TOTAL_TIMEOUT_MS: milliseconds.default(1_800_000),
  MERIDIAN_CONNECTIONS_PER_ORIGIN: z.coerce.number().int().min(1).max(65_536).default(8192),
  MERIDIAN_DRAIN_TIMEOUT_MS: milliseconds.default(30_000),
  MERIDIAN_MAX_ABANDONED_STREAMS: z.coerce.number().int().min(0).max(65_536).default(64),
  MERIDIAN_MAX_ABANDONED_STREAM_MS: milliseconds.default(10_000),
  MERIDIAN_MAX_ABANDONED_ANSWERS: z.coerce.number().int().min(0).max(65_536).default(256),
  MERIDIAN_MEDIA_FETCH: z.enum(['public', 'any']).default('public'),
  MERIDIAN_REDIS_URL: z.url({ protocol: /^rediss?$/, error: 'must be redis://host:port or rediss://host:port' }).optional(),
});

/** Pure. Throws an Error that lists every problem at once. */
export function loadConfig(env: Readonly<Record<string, string | undefined>>): Config {
  // `NAME=` in a file of settings means that there is none, not port 0 or every interface.
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(env).filter(([, value]) => value !== '')));
  if (!parsed.success) {
    throw new Error(
      `The settings of this node are not usable:\n${parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`).join('\n')}`,
    );
  }
  const settings = parsed.data;
  return Object.freeze({
    nodeId: settings.MERIDIAN_NODE_ID,
    region: settings.MERIDIAN_REGION,
    dataFolder: settings.MERIDIAN_DATA_FOLDER,
    host: settings.MERIDIAN_HOST,
    port: settings.MERIDIAN_PORT,
    healthHost: settings.MERIDIAN_HEALTH_HOST,
    healthPort: settings.MERIDIAN_HEALTH_PORT,
    controlGrpcAddress: settings.MERIDIAN_CONTROL_GRPC,
    controlUrl: settings.MERIDIAN_CONTROL_URL,
    joinToken: settings.MERIDIAN_JOIN_TOKEN,
    keyPepper: settings.MERIDIAN_KEY_PEPPER,
    sealingKey: settings.MERIDIAN_SEALING_KEY,
    keyPrefix: settings.MERIDIAN_KEY_PREFIX,
    regionUrls: settings.MERIDIAN_REGION_URLS,
    logLevel: settings.MERIDIAN_LOG_LEVEL,
    upstreamConnectTimeoutMs: settings.MERIDIAN_UPSTREAM_CONNECT_TIMEOUT_MS,
    upstreamFirstByteTimeoutMs: settings.MERIDIAN_UPSTREAM_FIRST_BYTE_TIMEOUT_MS,
    upstreamIdleTimeoutMs: settings.MERIDIAN_UPSTREAM_IDLE_TIMEOUT_MS,
    upstreamTotalTimeoutMs: settings.MERIDIAN_UPSTREAM_TOTAL_TIMEOUT_MS,
    connectionsPerOrigin: settings.MERIDIAN_CONNECTIONS_PER_ORIGIN,
    drainTimeoutMs: settings.MERIDIAN_DRAIN_TIMEOUT_MS,
    maxAbandonedStreams: settings.MERIDIAN_MAX_ABANDONED_STREAMS,
    maxAbandonedStreamMs: settings.MERIDIAN_MAX_ABANDONED_STREAM_MS,
    maxAbandonedAnswers: settings.MERIDIAN_MAX_ABANDONED_ANSWERS,
    mediaFetch: settings.MERIDIAN_MEDIA_FETCH,
    redisUrl: settings.MERIDIAN_REDIS_URL,
  });
}
