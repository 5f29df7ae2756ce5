/** What providers, models, aliases and endpoints are, and how they are published. */
import { DIALECT_NAMES, type DialectName, OPERATIONS, type Operation } from '@meridian/domain/dialect';
import {
  type AliasScope,
  type Modality,
  type Model,
  type ModelMode,
  modelNames,
  modelServes,
  normalizeModelName,
  type ReasoningEffort,
} from '@meridian/domain/model';
import type { RateCard } from '@meridian/domain/price';
import type { ProviderAuth } from '@meridian/domain/provider-auth';
import { isQuirk, type Quirk } from '@meridian/domain/quirk';
import type { Alias, ConfigEntry } from '@meridian/domain/snapshot';
import type { StoredCard } from '../database/tables/catalog.ts';
import { readCards } from './rate-card.ts';

export { DIALECT_NAMES, OPERATIONS };

export const MODALITIES = ['text', 'image', 'audio', 'video', 'pdf'] as const satisfies readonly Modality[];
export const MODEL_MODES = [
  'chat',
  'embedding',
  'image_generation',
  'image_edit',
  'video_generation',
] as const satisfies readonly ModelMode[];

export interface ProviderInput {
  readonly id: string;
  readonly name: string;
  readonly origin: string;
  readonly basePath: string;
  readonly adapter: string;
  readonly enabled: boolean;
  /** Null where the adapter's own way will do. */
  readonly auth: ProviderAuth | null;
  readonly quirks: readonly Quirk[];
}

export interface ProviderRow {
  readonly id: string;
  readonly name: string;
  readonly origin: string;
  readonly base_path: string;
  readonly adapter: string;
  readonly enabled: boolean;
  readonly auth_header: string | null;
  readonly auth_prefix: string | null;
  readonly quirks: string[];
  readonly default_credential_id: string | null;
  readonly version: number;
  readonly created_at: Date;
}

export interface ModelRow {
  readonly id: string;
  readonly vendor: string;
  readonly display_name: string;
  readonly mode: ModelMode;
  readonly context_tokens: number | null;
  readonly max_output_tokens: number | null;
  readonly input_modalities: Modality[];
  readonly output_modalities: Modality[];
  readonly capabilities: string[];
  readonly hides_reasoning: boolean;
  readonly enabled: boolean;
  readonly version: number;
  readonly created_at: Date;
}

/** At most one of account and plan; for everybody where there is none. */
export interface AliasInput extends AliasScope {
  /** As it is to be written. */
  readonly name: string;
  readonly modelId: string;
  readonly reasoningEffort?: ReasoningEffort | undefined;
}

export interface AliasRow {
  /** As `aliasId` makes it. */
  readonly id: string;
  /** Normalised. */
  readonly name: string;
  readonly written: string;
  readonly model_id: string;
  readonly account_id: string | null;
  readonly plan_id: string | null;
  readonly reasoning_effort: ReasoningEffort | null;
  readonly deleted: boolean;
  readonly version: number;
}

export interface EndpointInput {
  readonly modelId: string;
  readonly providerId: string;
  /** Absent: the provider's default credential, whichever that is. */
  readonly credentialId: string | undefined;
  readonly upstreamModel: string;
  readonly dialect: DialectName;
  readonly operations: readonly Operation[];
  readonly regions: readonly string[];
  readonly priority: number;
  readonly enabled: boolean;
  readonly cost: readonly RateCard[];
}

/** An endpoint with its newest cost and the credential it uses now. */
export interface EndpointRow {
  readonly id: string;
  readonly model_id: string;
  readonly provider_id: string;
  readonly credential_id: string | null;
  readonly default_credential_id: string | null;
  readonly upstream_model: string;
  readonly dialect: DialectName;
  readonly operations: Operation[];
  readonly regions: string[];
  readonly priority: number;
  readonly enabled: boolean;
  readonly version: number;
  readonly created_at: Date;
  readonly cost_version: number;
  readonly cost_effective_from: Date;
  readonly cost_cards: StoredCard[];
}

export function providerOf(row: ProviderRow): ProviderInput {
  const { id, name, origin, adapter, enabled, auth_header: header, auth_prefix: prefix } = row;
  return {
    id,
    name,
    origin,
    basePath: row.base_path,
    adapter,
    enabled,
    auth: header === null ? null : { header, prefix: prefix ?? '' },
    quirks: row.quirks.filter(isQuirk),
  };
}

export function providerEntry(row: ProviderRow): ConfigEntry {
  const { auth, quirks, ...value } = providerOf(row);
  return {
    kind: 'provider',
    id: row.id,
    version: row.version,
    body: {
      kind: 'provider',
      value: { ...value, ...(auth === null ? {} : { auth }), ...(quirks.length === 0 ? {} : { quirks }) },
    },
  };
}

export function modelEntry(row: ModelRow): ConfigEntry {
  return { kind: 'model', id: row.id, version: row.version, body: { kind: 'model', value: modelOf(row) } };
}

export function modelOf(row: ModelRow): Model {
  return {
    id: row.id,
    vendor: row.vendor,
    displayName: row.display_name,
    mode: row.mode,
    contextTokens: row.context_tokens ?? undefined,
    maxOutputTokens: row.max_output_tokens ?? undefined,
    inputModalities: row.input_modalities,
    outputModalities: row.output_modalities,
    capabilities: row.capabilities,
    hidesReasoning: row.hides_reasoning,
    enabled: row.enabled,
  };
}

/** A deleted alias is a tombstone at its next version. */
export function aliasEntry(row: AliasRow): ConfigEntry {
  return {
    kind: 'alias',
    id: row.id,
    version: row.version,
    body: row.deleted ? undefined : { kind: 'alias', value: publishedAlias(row) },
  };
}

function publishedAlias(row: AliasRow): Alias {
  return {
    name: row.written,
    modelId: row.model_id,
    ...(row.account_id === null ? {} : { accountId: row.account_id }),
    ...(row.plan_id === null ? {} : { planId: row.plan_id }),
    ...(row.reasoning_effort === null ? {} : { settings: { reasoningEffort: row.reasoning_effort } }),
  };
}

export function aliasOf(row: AliasRow): AliasInput {
  return {
    name: row.written,
    modelId: row.model_id,
    accountId: row.account_id ?? undefined,
    planId: row.plan_id ?? undefined,
    reasoningEffort: row.reasoning_effort ?? undefined,
  };
}

/** Whether it is for one account or plan: such a one keeps no name from others, and may be the name of a model. */
export function isScoped({ accountId, planId }: AliasScope): boolean {
  return accountId !== undefined || planId !== undefined;
}

/** An endpoint whose provider has no credential yet carries an empty credential id: nodes know it and cannot use it. */
export function endpointEntry(row: EndpointRow): ConfigEntry {
  return {
    kind: 'endpoint',
    id: row.id,
    version: row.version,
    body: {
      kind: 'endpoint',
      value: {
        id: row.id,
        modelId: row.model_id,
        providerId: row.provider_id,
        credentialId: row.credential_id ?? row.default_credential_id ?? '',
        upstreamModel: row.upstream_model,
        dialect: row.dialect,
        operations: row.operations,
        regions: row.regions,
        priority: row.priority,
        enabled: row.enabled,
        cost: {
          endpointId: row.id,
          version: row.cost_version,
          effectiveFromMs: row.cost_effective_from.getTime(),
          cards: readCards(row.cost_cards),
        },
      },
    },
  };
}

/** The names a model claims for itself, each once. */
export function ownNames(model: { readonly id: string; readonly vendor: string }): string[] {
  return [...new Set(modelNames(model))];
}

/** The form in which an alias is compared and kept apart from all other names. */
export function aliasKey(name: string): string {
  return normalizeModelName(name);
}

/** The operations that a model of this mode can be asked for; none while its kind of work is not served. */
export function operationsOf(mode: ModelMode): Operation[] {
  return OPERATIONS.filter((operation) => modelServes(mode, operation));
}
