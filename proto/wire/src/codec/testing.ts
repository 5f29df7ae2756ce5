/** Arbitrary configuration entries of every kind, for property tests of either plane. */

import { BUDGET_UNITS, CAP_SCOPES, CAP_WINDOWS, MAX_LIMIT } from '@meridian/domain/budget';
import { DIALECT_NAMES, OPERATIONS } from '@meridian/domain/dialect';
import { aliasId, normalizeModelName, REASONING_EFFORTS } from '@meridian/domain/model';
import { SERVICE_TIERS } from '@meridian/domain/price';
import { QUIRK_NAMES } from '@meridian/domain/quirk';
import type { ConfigBody, ConfigEntry, ConfigKind } from '@meridian/domain/snapshot';
import { COMPONENTS } from '@meridian/domain/usage';
import fc from 'fast-check';

const id = fc.stringMatching(/^[a-z0-9_./-]{1,24}$/);
const VARIANTS = ['cached_input:audio', 'per_image:1024x1024:high', 'per_tool_call:web_search'] as const;
const text = fc.string({ maxLength: 40, unit: 'grapheme' });
const timeMs = fc.integer({ min: 0, max: 4_102_444_800_000 });
const nano = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const price = fc.bigInt({ min: 0n, max: 2n ** 62n });
const region = fc.stringMatching(/^[a-z][a-z0-9-]{1,15}$/);
const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const rateLimits = fc.record({ requestsPerMinute: uint32, tokensPerMinute: uint32, concurrency: uint32 }, { requiredKeys: [] });

const card = fc.record({
  serviceTier: fc.constantFrom(...SERVICE_TIERS),
  aboveInputTokens: fc.nat(),
  prices: fc.record(Object.fromEntries([...COMPONENTS, ...VARIANTS].map((meter) => [meter, price])), { requiredKeys: [] }),
});

const priced = { version: fc.integer({ min: 1, max: 2 ** 32 - 1 }), effectiveFromMs: timeMs, cards: fc.array(card, { maxLength: 3 }) };

function bodyOf(entityId: string): Readonly<Record<ConfigKind, fc.Arbitrary<ConfigBody>>> {
  const own = fc.constant(entityId);
  return {
    account: body(
      'account',
      fc.record(
        {
          id: own,
          name: text,
          planId: id,
          status: fc.constantFrom('active', 'disabled'),
          balanceNano: nano,
          asOfMs: timeMs,
          unchargedCeilingUntilMs: timeMs,
        },
        { requiredKeys: ['id', 'name', 'planId', 'status', 'balanceNano', 'asOfMs'] },
      ),
    ),
    member: body(
      'member',
      fc.record({
        id: own,
        accountId: id,
        role: fc.constantFrom('owner', 'admin', 'member', 'billing'),
        status: fc.constantFrom('active', 'disabled'),
      }),
    ),
    api_key: body(
      'api_key',
      fc.record(
        {
          id: own,
          accountId: id,
          memberId: id,
          name: text,
          hash: fc.uint8Array({ minLength: 33, maxLength: 33 }).map((bytes) => Buffer.from(bytes).toString('hex')),
          status: fc.constantFrom('active', 'revoked', 'disabled'),
          expiresAtMs: fc.option(timeMs, { nil: undefined }),
          allowedModels: fc.array(id, { maxLength: 3 }),
          allowedRegions: fc.array(region, { maxLength: 3 }),
          rateLimits,
          modelRateLimits: rateLimits,
        },
        {
          requiredKeys: ['id', 'accountId', 'memberId', 'name', 'hash', 'status', 'expiresAtMs', 'allowedModels', 'allowedRegions'],
        },
      ),
    ),
    cap: body(
      'cap',
      fc.record({
        id: own,
        accountId: id,
        scope: fc.constantFrom(...CAP_SCOPES),
        scopeId: id,
        window: fc.constantFrom(...CAP_WINDOWS),
        unit: fc.constantFrom(...BUDGET_UNITS),
        limit: fc.integer({ min: 0, max: MAX_LIMIT }),
      }),
    ),
    plan: body(
      'plan',
      fc.record(
        {
          id: own,
          name: text,
          apiAccess: fc.boolean(),
          allowedModels: fc.array(id, { minLength: 1, maxLength: 3 }),
          maxMessageCharacters: uint32,
          rateLimits,
          modelRateLimits: rateLimits,
        },
        { requiredKeys: ['id', 'name', 'apiAccess'] },
      ),
    ),
    tier_assignment: body('tier_assignment', fc.record({ accountId: own, tierId: id, spend30dNano: nano, windowToMs: timeMs })),
    provider: body(
      'provider',
      fc.record(
        {
          id: own,
          name: text,
          origin: fc.constantFrom('https://api.example.com', 'http://127.0.0.1:8080'),
          basePath: fc.constantFrom('', '/v1'),
          adapter: id,
          enabled: fc.boolean(),
          auth: fc.record({ header: fc.constantFrom('authorization', 'api-key'), prefix: fc.constantFrom('', 'Bearer ') }),
          quirks: fc.subarray([...QUIRK_NAMES], { minLength: 1 }),
        },
        { requiredKeys: ['id', 'name', 'origin', 'basePath', 'adapter', 'enabled'] },
      ),
    ),
    credential: body(
      'credential',
      fc.record({ id: own, providerId: id, sealed: fc.uint8Array({ minLength: 29, maxLength: 90 }), enabled: fc.boolean() }),
    ),
    endpoint: body(
      'endpoint',
      fc.record({
        id: own,
        modelId: id,
        providerId: id,
        credentialId: id,
        upstreamModel: id,
        dialect: fc.constantFrom(...DIALECT_NAMES),
        operations: fc.subarray([...OPERATIONS]),
        regions: fc.array(region, { maxLength: 3 }),
        priority: uint32,
        enabled: fc.boolean(),
        cost: fc.record({ endpointId: own, ...priced }),
      }),
    ),
    model: body(
      'model',
      fc.record({
        id: own,
        vendor: id,
        displayName: text,
        mode: fc.constantFrom('chat', 'embedding', 'image_generation', 'image_edit', 'video_generation'),
        contextTokens: fc.option(uint32, { nil: undefined }),
        maxOutputTokens: fc.option(uint32, { nil: undefined }),
        inputModalities: fc.subarray(['text', 'image', 'audio', 'video', 'pdf']),
        outputModalities: fc.subarray(['text', 'image', 'audio', 'video', 'pdf']),
        capabilities: fc.array(id, { maxLength: 3 }),
        hidesReasoning: fc.boolean(),
        enabled: fc.boolean(),
      }),
    ),
    alias: body(
      'alias',
      fc
        .record(
          { modelId: id, settings: fc.record({ reasoningEffort: fc.constantFrom(...REASONING_EFFORTS) }) },
          { requiredKeys: ['modelId'] },
        )
        .map((rest) => ({ ...aliasNamed(entityId), ...rest })),
    ),
    price_book: body(
      'price_book',
      fc.record({ modelId: own, versions: fc.array(fc.record({ modelId: own, ...priced }), { maxLength: 3 }) }),
    ),
    ladder: body(
      'ladder',
      fc.record({
        id: own,
        tiers: fc
          .tuple(fc.uniqueArray(fc.bigInt({ min: 1n, max: 2n ** 52n }), { maxLength: 4 }), id, text, uint32)
          .map(([spends, tierId, name, markupBasisPoints]) =>
            [0n, ...spends.sort((a, b) => (a < b ? -1 : 1))].map((fromSpendNano) => ({
              id: tierId,
              name,
              fromSpendNano,
              markupBasisPoints,
            })),
          ),
      }),
    ),
  };
}

/** An entry of one kind: a body under its own id, or a tombstone. `entityId` and `version` may be fixed. */
export function arbitraryEntry(
  kind: ConfigKind,
  fixed: { readonly entityId?: fc.Arbitrary<string>; readonly version?: fc.Arbitrary<number> } = {},
): fc.Arbitrary<ConfigEntry> {
  const version = fixed.version ?? fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
  return (fixed.entityId ?? entityIdOf(kind)).chain((entityId) =>
    fc
      .tuple(version, fc.option(bodyOf(entityId)[kind], { nil: undefined, freq: 6 }))
      .map(([at, found]): ConfigEntry => ({ kind, id: entityId, version: at, body: found })),
  );
}

/** Aliases go by their normalised name and whom they are for. */
function entityIdOf(kind: ConfigKind): fc.Arbitrary<string> {
  if (kind !== 'alias') return id;
  const name = id.map(normalizeModelName).filter((name) => name !== '' && normalizeModelName(name) === name);
  const scope = fc.oneof(fc.constant({}), fc.record({ accountId: id }), fc.record({ planId: id }));
  return fc.tuple(name, scope).map(([name, scope]) => aliasId(name, scope));
}

function aliasNamed(entityId: string): { name: string; accountId?: string; planId?: string } {
  const [name = '', scope, scopeId = ''] = entityId.split(/@(ACCOUNT|PLAN):/);
  if (scope === undefined) return { name };
  return scope === 'ACCOUNT' ? { name, accountId: scopeId } : { name, planId: scopeId };
}

function body<Kind extends ConfigKind>(
  kind: Kind,
  value: fc.Arbitrary<Extract<ConfigBody, { kind: Kind }>['value']>,
): fc.Arbitrary<ConfigBody> {
  // The pair is a member of the union by construction, which the compiler cannot see through a generic kind.
  return value.map((found) => ({ kind, value: found }) as ConfigBody);
}
