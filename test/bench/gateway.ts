/** The gateway as the benchmark runs it: one node, with metering, spool and logs on, on a picture with one account. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_KEY_PREFIX, formatApiKey, hashApiKey } from '@meridian/domain/api-key';
import { MAX_BALANCE_NANO } from '@meridian/domain/money';
import type { RateLimits } from '@meridian/domain/rate-limit';
import { sealSecret } from '@meridian/domain/sealed-secret';
import type { ApiKey, ConfigBody } from '@meridian/domain/snapshot';
import { launchNode } from '@meridian/local/launch';
import { randomSecrets } from '@meridian/local/secrets';
import { startControlSink } from './control-sink.ts';

export interface RunningGateway {
  /** Without a path. */
  readonly url: string;
  readonly apiKey: string;
  /** Of a key with rate limits that no load reaches. */
  readonly limitedApiKey: string;
  /** Of `/metrics`. */
  readonly healthUrl: string;
  readonly pid: number;
  close(): Promise<void>;
}

/** Starts a node whose one model, `bench`, is served by the upstream at that origin under `/v1`. */
export async function startGateway(upstreamOrigin: string, { redisUrl }: { readonly redisUrl?: string } = {}): Promise<RunningGateway> {
  const secrets = randomSecrets();
  const pepper = Buffer.from(secrets.keyPepper, 'hex');
  const [apiKey, limitedApiKey] = [0, 1].map(() => formatApiKey(DEFAULT_KEY_PREFIX, randomBytes(20))) as [string, string];
  const folder = mkdtempSync(join(tmpdir(), 'meridian-bench-'));
  const sink = await startControlSink(
    picture(upstreamOrigin, hashApiKey(pepper, apiKey), hashApiKey(pepper, limitedApiKey), Buffer.from(secrets.sealingKey, 'hex')),
  );
  const stopSink = (): void => {
    sink.close();
    rmSync(folder, { recursive: true, force: true });
  };
  const node = await launchNode(
    { secrets, logFolder: folder },
    {
      nodeId: 'bench',
      region: 'us',
      folder,
      port: 0,
      healthPort: 0,
      controlGrpcAddress: sink.address,
      controlUrl: 'http://127.0.0.1:9',
      ...(redisUrl === undefined ? {} : { env: { MERIDIAN_REDIS_URL: redisUrl } }),
    },
  ).catch((error: unknown) => {
    stopSink();
    throw error;
  });
  return {
    url: node.readyText('url'),
    apiKey,
    limitedApiKey,
    healthUrl: node.readyText('healthUrl'),
    pid: node.pid,
    async close() {
      await node.stop();
      stopSink();
    },
  };
}

function key(id: string, hash: string): ApiKey {
  return {
    id,
    accountId: 'acc_bench',
    memberId: 'mem_bench',
    name: 'bench',
    hash,
    status: 'active',
    expiresAtMs: undefined,
    allowedModels: [],
    allowedRegions: [],
  };
}

/** Above what one machine can ask. */
const LIMITS: RateLimits = { requestsPerMinute: 100_000_000, tokensPerMinute: 4_000_000_000, concurrency: 100_000 };

function picture(origin: string, hash: string, limitedHash: string, sealingKey: Uint8Array): ConfigBody[] {
  const cards = [
    { serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 750_000_000n, cached_input: 75_000_000n, output: 4_500_000_000n } },
  ] as const;
  return [
    {
      kind: 'account',
      value: { id: 'acc_bench', name: 'Bench', planId: 'starter', status: 'active', balanceNano: MAX_BALANCE_NANO, asOfMs: 0 },
    },
    { kind: 'member', value: { id: 'mem_bench', accountId: 'acc_bench', role: 'owner', status: 'active' } },
    { kind: 'api_key', value: key('key_bench', hash) },
    { kind: 'api_key', value: { ...key('key_limited', limitedHash), rateLimits: LIMITS } },
    { kind: 'plan', value: { id: 'starter', name: 'Starter', apiAccess: true } },
    { kind: 'ladder', value: { id: 'ladder', tiers: [{ id: 'starter', name: 'Starter', fromSpendNano: 0n, markupBasisPoints: 4_000 }] } },
    { kind: 'provider', value: { id: 'bench', name: 'Bench', origin, basePath: '/v1', adapter: 'openai-compatible', enabled: true } },
    {
      kind: 'credential',
      value: {
        id: 'crd_bench',
        providerId: 'bench',
        sealed: sealSecret(sealingKey, 'crd_bench', 'sk-bench', randomBytes(12)),
        enabled: true,
      },
    },
    {
      kind: 'model',
      value: {
        id: 'bench',
        vendor: 'bench',
        displayName: 'Bench',
        mode: 'chat',
        contextTokens: 128_000,
        maxOutputTokens: 4_096,
        inputModalities: ['text'],
        outputModalities: ['text'],
        capabilities: [],
        hidesReasoning: false,
        enabled: true,
      },
    },
    {
      kind: 'endpoint',
      value: {
        id: 'end_bench',
        modelId: 'bench',
        providerId: 'bench',
        credentialId: 'crd_bench',
        upstreamModel: 'bench',
        dialect: 'openai-chat',
        operations: ['chat'],
        regions: [],
        priority: 0,
        enabled: true,
        cost: { endpointId: 'end_bench', version: 1, effectiveFromMs: 0, cards },
      },
    },
    { kind: 'price_book', value: { modelId: 'bench', versions: [{ modelId: 'bench', version: 1, effectiveFromMs: 0, cards }] } },
  ];
}
