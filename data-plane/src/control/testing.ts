/** A picture as the control plane would publish it, for tests of the rooms that read one. */
import { randomBytes } from 'node:crypto';
import { formatApiKey, hashApiKey } from '@meridian/domain/api-key';
import type { ComponentPrices, RateCard } from '@meridian/domain/price';
import { sealSecret } from '@meridian/domain/sealed-secret';
import type { Account, Alias, ApiKey, ConfigBody, Endpoint, Member, Plan } from '@meridian/domain/snapshot';
import { configEntityId } from '@meridian/wire/codec/entry';
import { Picture } from './picture.ts';

export const PEPPER = new Uint8Array(32).fill(7);
const SEALING_KEY = new Uint8Array(32).fill(9);

export interface Sketch {
  readonly account?: Partial<Account>;
  readonly member?: Partial<Member>;
  readonly key?: Partial<ApiKey>;
  readonly plan?: Partial<Plan>;
  readonly endpoint?: Partial<Endpoint>;
  /** Of the provider; `openai-compatible` when absent. */
  readonly adapter?: string;
  /** Beside `m-latest`, which is `m-1.5`. */
  readonly aliases?: readonly Alias[];
  /** Of all models; none when absent. */
  readonly capabilities?: readonly string[];
  /** List and cost of all models. */
  readonly prices?: ComponentPrices;
  readonly priorityPrices?: ComponentPrices;
}

/** One account with a key, two chat models and an embedding model; parts as the sketch says. */
export function samplePicture(sketch: Sketch = {}): { picture: Picture; apiKey: string } {
  const picture = new Picture({ sealingKey: SEALING_KEY });
  const apiKey = formatApiKey('sk-mrd-', randomBytes(20));
  const { prices = { input: 1_000_000_000n, output: 4_000_000_000n }, priorityPrices } = sketch;
  const cards: RateCard[] = [{ serviceTier: 'standard', aboveInputTokens: 0, prices }];
  if (priorityPrices !== undefined) cards.push({ serviceTier: 'priority', aboveInputTokens: 0, prices: priorityPrices });
  const model = {
    vendor: 'acme',
    displayName: 'M',
    contextTokens: 1000,
    maxOutputTokens: 100,
    inputModalities: ['text'],
    outputModalities: ['text'],
    capabilities: sketch.capabilities ?? [],
    hidesReasoning: false,
    enabled: true,
  } as const;
  const endpoint = (id: string, modelId: string, operation: 'chat' | 'embeddings'): ConfigBody => ({
    kind: 'endpoint',
    value: {
      id,
      modelId,
      providerId: 'prv_1',
      credentialId: 'crd_1',
      upstreamModel: `up-${modelId}`,
      dialect: 'openai-chat',
      operations: [operation],
      regions: [],
      priority: 0,
      enabled: true,
      cost: { endpointId: id, version: 1, effectiveFromMs: 0, cards },
      ...sketch.endpoint,
    },
  });
  const bodies: readonly ConfigBody[] = [
    {
      kind: 'account',
      value: { id: 'acc_1', name: 'A', planId: 'starter', status: 'active', balanceNano: 5_000_000_000n, asOfMs: 0, ...sketch.account },
    },
    { kind: 'member', value: { id: 'mem_1', accountId: 'acc_1', role: 'owner', status: 'active', ...sketch.member } },
    {
      kind: 'api_key',
      value: {
        id: 'key_1',
        accountId: 'acc_1',
        memberId: 'mem_1',
        name: 'k',
        hash: hashApiKey(PEPPER, apiKey),
        status: 'active',
        expiresAtMs: undefined,
        allowedModels: [],
        allowedRegions: [],
        ...sketch.key,
      },
    },
    { kind: 'plan', value: { id: 'starter', name: 'Starter', apiAccess: true, ...sketch.plan } },
    {
      kind: 'ladder',
      value: {
        id: 'ladder',
        tiers: [
          { id: 'starter', name: 'Starter', fromSpendNano: 0n, markupBasisPoints: 4000 },
          { id: 'growth', name: 'Growth', fromSpendNano: 50_000_000_000n, markupBasisPoints: 3000 },
        ],
      },
    },
    {
      kind: 'provider',
      value: { id: 'prv_1', name: 'P', origin: 'http://127.0.0.1:1', basePath: '/v1', adapter: 'openai-compatible', enabled: true },
    },
    {
      kind: 'credential',
      value: { id: 'crd_1', providerId: 'prv_1', sealed: sealSecret(SEALING_KEY, 'crd_1', 'secret', randomBytes(12)), enabled: true },
    },
    { kind: 'model', value: { ...model, id: 'm-1.5', mode: 'chat' } },
    { kind: 'model', value: { ...model, id: 'm-2', mode: 'chat' } },
    { kind: 'model', value: { ...model, id: 'embed-1', mode: 'embedding' } },
    { kind: 'alias', value: { name: 'm-latest', modelId: 'm-1.5' } },
    ...(sketch.aliases ?? []).map((value) => ({ kind: 'alias', value }) as const),
    endpoint('end_1', 'm-1.5', 'chat'),
    endpoint('end_2', 'embed-1', 'embeddings'),
    {
      kind: 'price_book',
      value: {
        modelId: 'm-1.5',
        versions: [
          { modelId: 'm-1.5', version: 1, effectiveFromMs: 0, cards },
          { modelId: 'm-1.5', version: 2, effectiveFromMs: 1_000, cards },
        ],
      },
    },
    { kind: 'price_book', value: { modelId: 'm-2', versions: [{ modelId: 'm-2', version: 1, effectiveFromMs: 0, cards }] } },
    { kind: 'price_book', value: { modelId: 'embed-1', versions: [{ modelId: 'embed-1', version: 1, effectiveFromMs: 0, cards }] } },
  ];
  for (const body of bodies) picture.apply({ kind: body.kind, id: configEntityId(body), version: 1, body });
  return { picture, apiKey };
}
