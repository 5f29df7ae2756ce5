/** The body of a configuration entry, kind by kind. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { BUDGET_UNITS, CAP_SCOPES, CAP_WINDOWS, type Cap, MAX_LIMIT } from '@meridian/domain/budget';
import { DIALECT_NAMES, OPERATIONS } from '@meridian/domain/dialect';
import { type Modality, type Model, type ModelMode, REASONING_EFFORTS } from '@meridian/domain/model';
import { isAuthHeader, isAuthPrefix } from '@meridian/domain/provider-auth';
import { QUIRK_NAMES } from '@meridian/domain/quirk';
import type { RateLimits } from '@meridian/domain/rate-limit';
import { isRegion, type Region } from '@meridian/domain/region';
import type {
  Account,
  Alias,
  ApiKey,
  ConfigBody,
  Credential,
  Endpoint,
  Member,
  Plan,
  PriceBook,
  Provider,
  TierAssignment,
} from '@meridian/domain/snapshot';
import type { Ladder } from '@meridian/domain/tier';
import type * as wire from '../gen/meridian/v1/config_pb.js';
import { ConfigEntrySchema } from '../gen/meridian/v1/config_pb.js';
import { readKnownWords, readNonNegative, readSafeInteger, readText, readWord } from './field.ts';
import { priceVersionFromWire, priceVersionToWire } from './price.ts';
import { WireFormatError } from './wire-format-error.ts';

type WireBody = wire.ConfigEntry['body'];

const ACCOUNT_STATUSES = ['active', 'disabled'] as const;
const MEMBER_ROLES = ['owner', 'admin', 'member', 'billing'] as const;
/** What a member was called in pictures and logs of configuration that were written before. */
const FORMER_MEMBER_ROLE = 'developer';
const KEY_STATUSES = ['active', 'revoked', 'disabled'] as const;
const MODES = ['chat', 'embedding', 'image_generation', 'image_edit', 'video_generation'] as const satisfies readonly ModelMode[];
const MODALITIES = ['text', 'image', 'audio', 'video', 'pdf'] as const satisfies readonly Modality[];

/** Version byte and sha256. */
const KEY_HASH_BYTES = 33;

/** What comes before the ciphertext of a sealed secret: version, nonce, tag. */
const SEALED_HEADER_BYTES = 29;

export function bodyToWire(body: ConfigBody): WireBody {
  return create(ConfigEntrySchema, { body: bodyInit(body) }).body;
}

function bodyInit(body: ConfigBody): NonNullable<MessageInitShape<typeof ConfigEntrySchema>['body']> {
  switch (body.kind) {
    case 'account': {
      const { asOfMs, unchargedCeilingUntilMs, ...rest } = body.value;
      return {
        case: 'account',
        value: {
          ...rest,
          asOfMs: BigInt(asOfMs),
          ...(unchargedCeilingUntilMs === undefined ? {} : { unchargedCeilingUntilMs: BigInt(unchargedCeilingUntilMs) }),
        },
      };
    }
    case 'member':
      return { case: 'member', value: body.value };
    case 'api_key': {
      const { expiresAtMs, hash, allowedModels, allowedRegions, rateLimits, modelRateLimits, ...rest } = body.value;
      return {
        case: 'apiKey',
        value: {
          ...rest,
          hash: Buffer.from(hash, 'hex'),
          allowedModels: [...allowedModels],
          allowedRegions: [...allowedRegions],
          ...(expiresAtMs === undefined ? {} : { expiresAtMs: BigInt(expiresAtMs) }),
          ...(rateLimits === undefined ? {} : { rateLimits }),
          ...(modelRateLimits === undefined ? {} : { modelRateLimits }),
        },
      };
    }
    case 'cap':
      return {
        case: 'cap',
        value: { ...body.value, limit: BigInt(body.value.limit) },
      };
    case 'plan':
      return { case: 'plan', value: { ...body.value, allowedModels: [...(body.value.allowedModels ?? [])] } };
    case 'tier_assignment':
      return { case: 'tierAssignment', value: { ...body.value, windowToMs: BigInt(body.value.windowToMs) } };
    case 'provider': {
      const { auth, quirks, ...rest } = body.value;
      const sent = auth === undefined ? {} : { authHeader: auth.header, authPrefix: auth.prefix };
      return { case: 'provider', value: { ...rest, ...sent, quirks: [...(quirks ?? [])] } };
    }
    case 'credential':
      return { case: 'credential', value: { ...body.value, sealed: Uint8Array.from(body.value.sealed) } };
    case 'endpoint': {
      const { cost, operations, regions, ...rest } = body.value;
      return {
        case: 'endpoint',
        value: { ...rest, operations: [...operations], regions: [...regions], cost: priceVersionToWire(cost) },
      };
    }
    case 'model': {
      const { contextTokens, maxOutputTokens, inputModalities, outputModalities, capabilities, ...rest } = body.value;
      return {
        case: 'model',
        value: {
          ...rest,
          inputModalities: [...inputModalities],
          outputModalities: [...outputModalities],
          capabilities: [...capabilities],
          ...(contextTokens === undefined ? {} : { contextTokens }),
          ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
        },
      };
    }
    case 'alias': {
      const { settings, ...alias } = body.value;
      return { case: 'alias', value: { ...alias, ...settings } };
    }
    case 'price_book':
      return { case: 'priceBook', value: { modelId: body.value.modelId, versions: body.value.versions.map(priceVersionToWire) } };
    case 'ladder':
      return { case: 'ladder', value: { id: body.value.id, tiers: body.value.tiers.map((tier) => ({ ...tier })) } };
    default:
      return body satisfies never;
  }
}

/** Throws WireFormatError naming the field at fault. */
export function bodyFromWire(body: WireBody): ConfigBody {
  switch (body.case) {
    case 'account':
      return { kind: 'account', value: account(body.value) };
    case 'member':
      return { kind: 'member', value: member(body.value) };
    case 'apiKey':
      return { kind: 'api_key', value: apiKey(body.value) };
    case 'cap':
      return { kind: 'cap', value: cap(body.value) };
    case 'plan':
      return { kind: 'plan', value: plan(body.value) };
    case 'tierAssignment':
      return { kind: 'tier_assignment', value: tierAssignment(body.value) };
    case 'provider':
      return { kind: 'provider', value: provider(body.value) };
    case 'credential':
      return { kind: 'credential', value: credential(body.value) };
    case 'endpoint':
      return { kind: 'endpoint', value: endpoint(body.value) };
    case 'model':
      return { kind: 'model', value: model(body.value) };
    case 'alias':
      return { kind: 'alias', value: alias(body.value) };
    case 'priceBook':
      return { kind: 'price_book', value: priceBook(body.value) };
    case 'ladder':
      return { kind: 'ladder', value: { id: readText('ladder.id', body.value.id), tiers: tiers(body.value.tiers) } };
    case undefined:
      throw new WireFormatError('body', 'is absent');
    default:
      return body satisfies never;
  }
}

function account(value: wire.Account): Account {
  return {
    id: readText('account.id', value.id),
    name: value.name,
    planId: readText('account.plan_id', value.planId),
    status: readWord('account.status', value.status, ACCOUNT_STATUSES),
    balanceNano: value.balanceNano,
    asOfMs: readSafeInteger('account.as_of_ms', value.asOfMs),
    ...(value.unchargedCeilingUntilMs === undefined
      ? {}
      : { unchargedCeilingUntilMs: readSafeInteger('account.uncharged_ceiling_until_ms', value.unchargedCeilingUntilMs) }),
  };
}

function member(value: wire.Member): Member {
  return {
    id: readText('member.id', value.id),
    accountId: readText('member.account_id', value.accountId),
    role: value.role === FORMER_MEMBER_ROLE ? 'member' : readWord('member.role', value.role, MEMBER_ROLES),
    status: readWord('member.status', value.status, ACCOUNT_STATUSES),
  };
}

function apiKey(value: wire.ApiKey): ApiKey {
  if (value.hash.length !== KEY_HASH_BYTES)
    throw new WireFormatError('api_key.hash', `has ${value.hash.length} bytes, not ${KEY_HASH_BYTES}`);
  return {
    id: readText('api_key.id', value.id),
    accountId: readText('api_key.account_id', value.accountId),
    memberId: readText('api_key.member_id', value.memberId),
    name: value.name,
    hash: Buffer.from(value.hash.buffer, value.hash.byteOffset, value.hash.byteLength).toString('hex'),
    status: readWord('api_key.status', value.status, KEY_STATUSES),
    expiresAtMs: value.expiresAtMs === undefined ? undefined : readSafeInteger('api_key.expires_at_ms', value.expiresAtMs),
    allowedModels: value.allowedModels.map((id, index) => readText(`api_key.allowed_models[${index}]`, id)),
    // An empty list means everywhere, so a region that cannot be read must not be dropped from it.
    allowedRegions: regions('api_key.allowed_regions', value.allowedRegions),
    ...(value.rateLimits === undefined ? {} : { rateLimits: rateLimits(value.rateLimits) }),
    ...(value.modelRateLimits === undefined ? {} : { modelRateLimits: rateLimits(value.modelRateLimits) }),
  };
}

function cap(value: wire.Cap): Cap {
  const limit = readSafeInteger('cap.limit', value.limit);
  if (limit > MAX_LIMIT) throw new WireFormatError('cap.limit', `is above 2^52: ${limit}`);
  return {
    id: readText('cap.id', value.id),
    accountId: readText('cap.account_id', value.accountId),
    scope: readWord('cap.scope', value.scope, CAP_SCOPES),
    scopeId: readText('cap.scope_id', value.scopeId),
    window: readWord('cap.window', value.window, CAP_WINDOWS),
    unit: readWord('cap.unit', value.unit, BUDGET_UNITS),
    limit,
  };
}

function plan(value: wire.Plan): Plan {
  const { allowedModels, maxMessageCharacters } = value;
  return {
    id: readText('plan.id', value.id),
    name: value.name,
    apiAccess: value.apiAccess,
    ...(allowedModels.length === 0
      ? {}
      : { allowedModels: allowedModels.map((id, index) => readText(`plan.allowed_models[${index}]`, id)) }),
    ...(maxMessageCharacters === undefined ? {} : { maxMessageCharacters }),
    ...(value.rateLimits === undefined ? {} : { rateLimits: rateLimits(value.rateLimits) }),
    ...(value.modelRateLimits === undefined ? {} : { modelRateLimits: rateLimits(value.modelRateLimits) }),
  };
}

function rateLimits({ requestsPerMinute, tokensPerMinute, concurrency }: wire.RateLimits): RateLimits {
  return {
    ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
    ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
}

function tierAssignment(value: wire.TierAssignment): TierAssignment {
  return {
    accountId: readText('tier_assignment.account_id', value.accountId),
    tierId: readText('tier_assignment.tier_id', value.tierId),
    spend30dNano: value.spend30dNano,
    windowToMs: readSafeInteger('tier_assignment.window_to_ms', value.windowToMs),
  };
}

function provider(value: wire.Provider): Provider {
  const url = URL.canParse(value.origin) ? new URL(value.origin) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:') || url.pathname !== '/') {
    throw new WireFormatError('provider.origin', `is not a scheme, host and port: ${JSON.stringify(value.origin.slice(0, 128))}`);
  }
  if (value.basePath !== '' && !value.basePath.startsWith('/'))
    throw new WireFormatError('provider.base_path', 'does not start with a slash');
  return {
    id: readText('provider.id', value.id),
    name: value.name,
    origin: value.origin,
    basePath: value.basePath,
    adapter: readText('provider.adapter', value.adapter),
    enabled: value.enabled,
    ...providerAuth(value),
    ...(value.quirks.length === 0 ? {} : { quirks: readKnownWords(value.quirks, QUIRK_NAMES) }),
  };
}

function providerAuth({ authHeader, authPrefix = '' }: wire.Provider): Pick<Provider, 'auth'> {
  if (authHeader === undefined) return {};
  if (!isAuthHeader(authHeader) || !isAuthPrefix(authPrefix)) throw new WireFormatError('provider.auth_header', 'cannot carry a secret');
  return { auth: { header: authHeader, prefix: authPrefix } };
}

function credential(value: wire.Credential): Credential {
  if (value.sealed.length < SEALED_HEADER_BYTES) throw new WireFormatError('credential.sealed', `has only ${value.sealed.length} bytes`);
  return {
    id: readText('credential.id', value.id),
    providerId: readText('credential.provider_id', value.providerId),
    // A copy: the decoded bytes are a view that would keep the whole message alive.
    sealed: Uint8Array.from(value.sealed),
    enabled: value.enabled,
  };
}

function endpoint(value: wire.Endpoint): Endpoint {
  if (value.cost === undefined) throw new WireFormatError('endpoint.cost', 'is absent');
  const id = readText('endpoint.id', value.id);
  return {
    id,
    modelId: readText('endpoint.model_id', value.modelId),
    providerId: readText('endpoint.provider_id', value.providerId),
    // Empty while its provider has no credential: known here, not usable.
    credentialId: value.credentialId,
    upstreamModel: readText('endpoint.upstream_model', value.upstreamModel),
    dialect: readWord('endpoint.dialect', value.dialect, DIALECT_NAMES),
    operations: readKnownWords(value.operations, OPERATIONS),
    regions: regions('endpoint.regions', value.regions),
    priority: value.priority,
    enabled: value.enabled,
    cost: { endpointId: id, ...priceVersionFromWire('endpoint.cost', value.cost) },
  };
}

function model(value: wire.Model): Model {
  return {
    id: readText('model.id', value.id),
    vendor: readText('model.vendor', value.vendor),
    displayName: value.displayName,
    mode: readWord('model.mode', value.mode, MODES),
    contextTokens: value.contextTokens,
    maxOutputTokens: value.maxOutputTokens,
    inputModalities: readKnownWords(value.inputModalities, MODALITIES),
    outputModalities: readKnownWords(value.outputModalities, MODALITIES),
    capabilities: value.capabilities,
    hidesReasoning: value.hidesReasoning,
    enabled: value.enabled,
  };
}

function alias({ name, modelId, accountId, planId, reasoningEffort }: wire.Alias): Alias {
  if (accountId !== undefined && planId !== undefined) throw new WireFormatError('alias.plan_id', 'stands beside an account_id');
  return {
    name: readText('alias.name', name),
    modelId: readText('alias.model_id', modelId),
    ...(accountId === undefined ? {} : { accountId: readText('alias.account_id', accountId) }),
    ...(planId === undefined ? {} : { planId: readText('alias.plan_id', planId) }),
    ...(reasoningEffort === undefined
      ? {}
      : { settings: { reasoningEffort: readWord('alias.reasoning_effort', reasoningEffort, REASONING_EFFORTS) } }),
  };
}

function priceBook(value: wire.PriceBook): PriceBook {
  const modelId = readText('price_book.model_id', value.modelId);
  return {
    modelId,
    versions: value.versions.map((version, index) => ({ modelId, ...priceVersionFromWire(`price_book.versions[${index}]`, version) })),
  };
}

function tiers(values: readonly wire.Tier[]): Ladder {
  const ladder = values.map((value, index) => ({
    id: readText(`ladder.tiers[${index}].id`, value.id),
    name: value.name,
    fromSpendNano: readNonNegative(`ladder.tiers[${index}].from_spend_nano`, value.fromSpendNano),
    markupBasisPoints: value.markupBasisPoints,
  }));
  if (ladder[0]?.fromSpendNano !== 0n) throw new WireFormatError('ladder.tiers', 'has no first tier that starts at 0');
  for (const [index, tier] of ladder.entries()) {
    const before = ladder[index - 1];
    if (before !== undefined && tier.fromSpendNano <= before.fromSpendNano) {
      throw new WireFormatError(`ladder.tiers[${index}].from_spend_nano`, 'is not above the tier before it');
    }
  }
  return ladder;
}

function regions(field: string, texts: readonly string[]): Region[] {
  const wrong = texts.findIndex((text) => !isRegion(text));
  if (wrong !== -1) throw new WireFormatError(`${field}[${wrong}]`, `is not a region: ${JSON.stringify(texts[wrong]?.slice(0, 32))}`);
  return [...texts];
}
