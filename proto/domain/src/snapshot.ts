/**
 * The configuration that the control plane owns and nodes hold a copy of: entities, each at a version that grows
 * with every change, published on lanes. Each entry carries the entity's full state, so the newest version wins
 * whichever way it came.
 */
import type { Cap } from './budget.ts';
import type { DialectName, Operation } from './dialect.ts';
import type { Model, ModelSettings } from './model.ts';
import type { Nano } from './money.ts';
import type { EndpointCost, ListPrice } from './price.ts';
import type { ProviderAuth } from './provider-auth.ts';
import type { Quirk } from './quirk.ts';
import type { RateLimits } from './rate-limit.ts';
import type { Region } from './region.ts';
import type { Ladder } from './tier.ts';

/** Lanes have their own head, cursor and window each, so that a bulk change cannot delay a revocation. */
export type Lane = 'security' | 'customer' | 'catalog' | 'bulk';

/** In lock order: heads are locked, and read, in this order. */
export const LANES: readonly Lane[] = ['security', 'customer', 'catalog', 'bulk'];

/** Something for each lane, made in lock order. */
export function everyLane<T>(of: (lane: Lane) => T): Record<Lane, T> {
  return { security: of('security'), customer: of('customer'), catalog: of('catalog'), bulk: of('bulk') };
}

export type AccountStatus = 'active' | 'disabled';

export interface Account {
  readonly id: string;
  readonly name: string;
  readonly planId: string;
  readonly status: AccountStatus;
  readonly balanceNano: Nano;
  /** When the control plane read the balance (ms since 1970). */
  readonly asOfMs: number;
  /** Until then (ms since 1970, the end of a UTC day) the account is above its ceiling of uncharged cost. */
  readonly unchargedCeilingUntilMs?: number;
}

export interface Member {
  readonly id: string;
  readonly accountId: string;
  readonly role: 'owner' | 'admin' | 'member' | 'billing';
  readonly status: 'active' | 'disabled';
}

export interface ApiKey {
  readonly id: string;
  readonly accountId: string;
  readonly memberId: string;
  readonly name: string;
  /** As `hashApiKey` makes it: hex of version byte ‖ sha256. */
  readonly hash: string;
  readonly status: 'active' | 'revoked' | 'disabled';
  readonly expiresAtMs: number | undefined;
  /** Model ids this key may use; empty means all. */
  readonly allowedModels: readonly string[];
  /** Regions this key may be used in; empty means all. */
  readonly allowedRegions: readonly Region[];
  /** Besides those of the account's plan. */
  readonly rateLimits?: RateLimits;
  /** For each model. */
  readonly modelRateLimits?: RateLimits;
}

export interface Plan {
  readonly id: string;
  readonly name: string;
  readonly apiAccess: boolean;
  /** Model ids that accounts on this plan may use; absent means all. */
  readonly allowedModels?: readonly string[];
  /** The longest text of one message, in UTF-16 units. */
  readonly maxMessageCharacters?: number;
  /** For each API key. */
  readonly rateLimits?: RateLimits;
  /** For each API key and model. */
  readonly modelRateLimits?: RateLimits;
}

export interface TierAssignment {
  readonly accountId: string;
  readonly tierId: string;
  /** Spend of the 30 days before `windowToMs`, valued at the first tier's markup. */
  readonly spend30dNano: Nano;
  readonly windowToMs: number;
}

/** Who we buy from. Nothing here is code: any OpenAI-compatible origin is a row. */
export interface Provider {
  readonly id: string;
  readonly name: string;
  /** Scheme, host and port: `https://api.openai.com`. */
  readonly origin: string;
  /** What stands between the origin and the operation's path: `/v1`, `/api/v1`. */
  readonly basePath: string;
  /** Names the code in `provider/` that knows this provider's ways: `openai`, `openrouter`, `openai-compatible`. */
  readonly adapter: string;
  readonly enabled: boolean;
  /** How a call carries the secret, where not as the adapter has it. */
  readonly auth?: ProviderAuth;
  /** Beside those of its adapter. */
  readonly quirks?: readonly Quirk[];
}

export interface Credential {
  readonly id: string;
  readonly providerId: string;
  /** The secret under the key that both planes hold (`sealSecret`, context = id); the wire and disks carry only this. */
  readonly sealed: Uint8Array;
  readonly enabled: boolean;
}

/** One way to reach a model: a provider, the provider's name for it, a credential, and what it costs us. */
export interface Endpoint {
  readonly id: string;
  readonly modelId: string;
  readonly providerId: string;
  readonly credentialId: string;
  readonly upstreamModel: string;
  readonly dialect: DialectName;
  readonly operations: readonly Operation[];
  /** Regions whose nodes may use it; empty means all. */
  readonly regions: readonly Region[];
  /** Lower is tried first. */
  readonly priority: number;
  readonly enabled: boolean;
  readonly cost: EndpointCost;
}

/** Another name for a model: a dated name, a `-latest`, another vendor's model that this one stands in for. */
export interface Alias {
  /** As written; compared in normalised form. One for an account or a plan may be the name of another model, which it hides there. */
  readonly name: string;
  readonly modelId: string;
  /** Only for this account; it goes before one for the account's plan, and that before one for everybody. */
  readonly accountId?: string;
  /** Only for the accounts of this plan. Never beside `accountId`. */
  readonly planId?: string;
  readonly settings?: ModelSettings;
}

/** All current and announced versions of one model's list price, oldest first. */
export interface PriceBook {
  readonly modelId: string;
  readonly versions: readonly ListPrice[];
}

export type ConfigBody =
  | { readonly kind: 'account'; readonly value: Account }
  | { readonly kind: 'member'; readonly value: Member }
  | { readonly kind: 'api_key'; readonly value: ApiKey }
  | { readonly kind: 'cap'; readonly value: Cap }
  | { readonly kind: 'plan'; readonly value: Plan }
  | { readonly kind: 'tier_assignment'; readonly value: TierAssignment }
  | { readonly kind: 'provider'; readonly value: Provider }
  | { readonly kind: 'credential'; readonly value: Credential }
  | { readonly kind: 'endpoint'; readonly value: Endpoint }
  | { readonly kind: 'model'; readonly value: Model }
  | { readonly kind: 'alias'; readonly value: Alias }
  | { readonly kind: 'price_book'; readonly value: PriceBook }
  | { readonly kind: 'ladder'; readonly value: { readonly id: string; readonly tiers: Ladder } };

export type ConfigKind = ConfigBody['kind'];

export const CONFIG_KINDS = [
  'account',
  'member',
  'api_key',
  'cap',
  'plan',
  'tier_assignment',
  'provider',
  'credential',
  'endpoint',
  'model',
  'alias',
  'price_book',
  'ladder',
] as const satisfies readonly ConfigKind[];

/** One entity at one version. `body` is absent when the entity was deleted (a tombstone). */
export interface ConfigEntry {
  readonly kind: ConfigKind;
  readonly id: string;
  readonly version: number;
  readonly body: ConfigBody | undefined;
}

/** That an entity is refused: of a key `revoked` is the stricter one, and final. */
export type Denial =
  | { readonly kind: 'api_key'; readonly id: string; readonly version: number; readonly status: 'revoked' | 'disabled' }
  | { readonly kind: 'account' | 'member'; readonly id: string; readonly version: number; readonly status: 'disabled' };

/** The version of the list price that is in force at a moment: the newest whose `effectiveFromMs` has come. */
export function priceInForce(book: PriceBook, atMs: number): ListPrice | undefined {
  let found: ListPrice | undefined;
  for (const version of book.versions) {
    if (version.effectiveFromMs <= atMs && (found === undefined || version.version > found.version)) found = version;
  }
  return found;
}
