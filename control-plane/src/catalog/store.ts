/** The SQL of providers, models, aliases and endpoints. */
import type { AliasScope, Model } from '@meridian/domain/model';
import type { EndpointCost } from '@meridian/domain/price';
import { sql } from 'kysely';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import type { Transaction } from '../database/transaction.ts';
import type { AliasRow, EndpointInput, EndpointRow, ModelRow, ProviderInput, ProviderRow } from './catalog.ts';
import { readCards, storeCards } from './rate-card.ts';

const NEXT_VERSION = sql<number>`version + 1`;

export function lockProvider(trx: Transaction, id: string): Promise<ProviderRow | undefined> {
  return trx.selectFrom('provider').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export function findProvider(db: Database, id: string): Promise<ProviderRow | undefined> {
  return db.selectFrom('provider').selectAll().where('id', '=', id).executeTakeFirst();
}

export function listProviders(db: Database): Promise<ProviderRow[]> {
  return db.selectFrom('provider').selectAll().orderBy('id').execute();
}

export function insertProvider(trx: Transaction, provider: ProviderInput, now: Date): Promise<ProviderRow> {
  return trx
    .insertInto('provider')
    .values({ id: provider.id, ...providerColumns(provider), created_at: now })
    .returningAll()
    .executeTakeFirstOrThrow();
}

export function updateProvider(trx: Transaction, provider: ProviderInput): Promise<ProviderRow> {
  return trx
    .updateTable('provider')
    .set({ ...providerColumns(provider), version: NEXT_VERSION })
    .where('id', '=', provider.id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** The default credential is not part of the provider's entry, so its version stays. */
export async function setDefaultCredential(trx: Transaction, providerId: string, credentialId: string): Promise<void> {
  await trx.updateTable('provider').set({ default_credential_id: credentialId }).where('id', '=', providerId).execute();
}

export function lockModel(trx: Transaction, id: string): Promise<ModelRow | undefined> {
  return trx.selectFrom('model').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export function findModel(db: Database, id: string): Promise<ModelRow | undefined> {
  return db.selectFrom('model').selectAll().where('id', '=', id).executeTakeFirst();
}

/** By id; one row more than the page holds, if there is one. */
export function listModels(db: Database, page: Page): Promise<ModelRow[]> {
  let query = db
    .selectFrom('model')
    .selectAll()
    .orderBy('id')
    .limit(page.limit + 1);
  if (page.after !== undefined) query = query.where('id', '>', page.after);
  return query.execute();
}

export function insertModel(trx: Transaction, model: Model, now: Date): Promise<ModelRow> {
  return trx
    .insertInto('model')
    .values({ id: model.id, ...modelColumns(model), created_at: now })
    .returningAll()
    .executeTakeFirstOrThrow();
}

export function updateModel(trx: Transaction, model: Model): Promise<ModelRow> {
  return trx
    .updateTable('model')
    .set({ ...modelColumns(model), version: NEXT_VERSION })
    .where('id', '=', model.id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** Claims names for a model; returns who holds the first one that is another model's. */
export async function claimNames(
  trx: Transaction,
  modelId: string,
  names: readonly string[],
): Promise<{ name: string; modelId: string } | undefined> {
  await trx
    .insertInto('model_name')
    .values(names.map((name) => ({ name, model_id: modelId })))
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const taken = await trx
    .selectFrom('model_name')
    .selectAll()
    .where('name', 'in', names)
    .where('model_id', '!=', modelId)
    .orderBy('name')
    .executeTakeFirst();
  return taken === undefined ? undefined : { name: taken.name, modelId: taken.model_id };
}

export async function releaseNames(trx: Transaction, modelId: string, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await trx.deleteFrom('model_name').where('model_id', '=', modelId).where('name', 'in', names).execute();
}

/** Model ids by normalised name. */
export async function modelIdsByName(db: Database, names: readonly string[]): Promise<Map<string, string>> {
  if (names.length === 0) return new Map();
  const rows = await db.selectFrom('model_name').selectAll().where('name', 'in', names).execute();
  return new Map(rows.map((row) => [row.name, row.model_id]));
}

/** Model ids by the normalised names that only an account has, or the accounts of its plan; its own go before its plan's. */
export async function modelIdsByScopedName(db: Database, names: readonly string[], accountId: string): Promise<Map<string, string>> {
  if (names.length === 0) return new Map();
  const rows = await db
    .selectFrom('alias')
    .select(['name', 'model_id'])
    .where('deleted', '=', false)
    .where('name', 'in', names)
    .where((eb) =>
      eb.or([eb('account_id', '=', accountId), eb('plan_id', '=', eb.selectFrom('account').select('plan_id').where('id', '=', accountId))]),
    )
    // The last one of a name stays.
    .orderBy(sql`account_id NULLS FIRST`)
    .execute();
  return new Map(rows.map((row) => [row.name, row.model_id]));
}

export function findAlias(db: Database, id: string): Promise<AliasRow | undefined> {
  return db.selectFrom('alias').selectAll().where('id', '=', id).executeTakeFirst();
}

export function lockAlias(trx: Transaction, id: string): Promise<AliasRow | undefined> {
  return trx.selectFrom('alias').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();
}

export function saveAlias(trx: Transaction, alias: Omit<AliasRow, 'version'>): Promise<AliasRow> {
  const { written, model_id, reasoning_effort, deleted } = alias;
  return trx
    .insertInto('alias')
    .values(alias)
    .onConflict((conflict) =>
      conflict.column('id').doUpdateSet({ written, model_id, reasoning_effort, deleted, version: sql`alias.version + 1` }),
    )
    .returningAll()
    .executeTakeFirstOrThrow();
}

/** By id; one row more than the page holds, if there is one. */
export function listAliases(db: Database, scope: AliasScope, page: Page): Promise<AliasRow[]> {
  let query = db
    .selectFrom('alias')
    .selectAll()
    .where('deleted', '=', false)
    .orderBy('id')
    .limit(page.limit + 1);
  if (scope.accountId !== undefined) query = query.where('account_id', '=', scope.accountId);
  if (scope.planId !== undefined) query = query.where('plan_id', '=', scope.planId);
  if (page.after !== undefined) query = query.where('id', '>', page.after);
  return query.execute();
}

export interface EndpointFilter {
  readonly id?: string;
  readonly modelId?: string;
  readonly modelIds?: readonly string[];
  readonly providerId?: string;
  /** Only those that use their provider's default credential. */
  readonly usesDefaultCredential?: true;
}

/** By id, each with its newest cost; one row more than the page holds, if there is one. */
export function listEndpoints(db: Database, filter: EndpointFilter, page?: Page): Promise<EndpointRow[]> {
  let query = db
    .selectFrom('endpoint')
    .innerJoin('provider', 'provider.id', 'endpoint.provider_id')
    .innerJoinLateral(
      (eb) =>
        eb
          .selectFrom('endpoint_cost')
          .whereRef('endpoint_cost.endpoint_id', '=', 'endpoint.id')
          .orderBy('endpoint_cost.version', 'desc')
          .limit(1)
          .select(['version as cost_version', 'effective_from as cost_effective_from', 'cards as cost_cards'])
          .as('cost'),
      (join) => join.onTrue(),
    )
    .selectAll('endpoint')
    .select(['provider.default_credential_id', 'cost.cost_version', 'cost.cost_effective_from', 'cost.cost_cards'])
    .orderBy('endpoint.id');
  if (filter.id !== undefined) query = query.where('endpoint.id', '=', filter.id);
  if (filter.modelId !== undefined) query = query.where('endpoint.model_id', '=', filter.modelId);
  if (filter.modelIds !== undefined) query = query.where(sql<boolean>`endpoint.model_id = ANY(${filter.modelIds}::text[])`);
  if (filter.providerId !== undefined) query = query.where('endpoint.provider_id', '=', filter.providerId);
  if (filter.usesDefaultCredential) query = query.where('endpoint.credential_id', 'is', null);
  if (page?.after !== undefined) query = query.where('endpoint.id', '>', page.after);
  if (page !== undefined) query = query.limit(page.limit + 1);
  return query.execute();
}

/** The endpoint that leads the same way: same model, provider, upstream model and credential. */
export async function lockEndpointLike(trx: Transaction, endpoint: EndpointInput): Promise<string | undefined> {
  const row = await trx
    .selectFrom('endpoint')
    .select('id')
    .where('model_id', '=', endpoint.modelId)
    .where('provider_id', '=', endpoint.providerId)
    .where('upstream_model', '=', endpoint.upstreamModel)
    .where('credential_id', endpoint.credentialId === undefined ? 'is' : '=', endpoint.credentialId ?? null)
    .forUpdate()
    .executeTakeFirst();
  return row?.id;
}

export async function lockEndpoint(trx: Transaction, id: string): Promise<boolean> {
  return (await trx.selectFrom('endpoint').select('id').where('id', '=', id).forUpdate().executeTakeFirst()) !== undefined;
}

export async function insertEndpoint(trx: Transaction, id: string, endpoint: EndpointInput, now: Date): Promise<void> {
  await trx
    .insertInto('endpoint')
    .values({ id, ...endpointColumns(endpoint), created_at: now })
    .execute();
}

export async function updateEndpoint(trx: Transaction, id: string, endpoint: EndpointInput): Promise<void> {
  await trx
    .updateTable('endpoint')
    .set({ ...endpointColumns(endpoint), version: NEXT_VERSION })
    .where('id', '=', id)
    .execute();
}

/** The next version of every endpoint that uses its provider's default credential. */
export async function bumpEndpointsOfProvider(trx: Transaction, providerId: string): Promise<void> {
  await trx
    .updateTable('endpoint')
    .set({ version: NEXT_VERSION })
    .where('provider_id', '=', providerId)
    .where('credential_id', 'is', null)
    .execute();
}

export async function insertCost(trx: Transaction, cost: EndpointCost, now: Date): Promise<void> {
  await trx
    .insertInto('endpoint_cost')
    .values({
      endpoint_id: cost.endpointId,
      version: cost.version,
      effective_from: new Date(cost.effectiveFromMs),
      cards: storeCards(cost.cards),
      created_at: now,
    })
    .execute();
}

/** Certain versions of costs, those that exist. */
export async function costVersions(
  db: Database,
  wanted: readonly { readonly endpointId: string; readonly version: number }[],
): Promise<EndpointCost[]> {
  if (wanted.length === 0) return [];
  const rows = await db
    .selectFrom('endpoint_cost')
    .selectAll()
    .where((eb) => eb.or(wanted.map((one) => eb.and({ endpoint_id: one.endpointId, version: one.version }))))
    .execute();
  return rows.map((row) => ({
    endpointId: row.endpoint_id,
    version: row.version,
    effectiveFromMs: row.effective_from.getTime(),
    cards: readCards(row.cards),
  }));
}

function providerColumns(provider: ProviderInput) {
  return {
    name: provider.name,
    origin: provider.origin,
    base_path: provider.basePath,
    adapter: provider.adapter,
    enabled: provider.enabled,
    auth_header: provider.auth?.header ?? null,
    auth_prefix: provider.auth?.prefix ?? null,
    quirks: [...provider.quirks],
  };
}

function modelColumns(model: Model) {
  return {
    vendor: model.vendor,
    display_name: model.displayName,
    mode: model.mode,
    context_tokens: model.contextTokens ?? null,
    max_output_tokens: model.maxOutputTokens ?? null,
    input_modalities: [...model.inputModalities],
    output_modalities: [...model.outputModalities],
    capabilities: [...model.capabilities],
    hides_reasoning: model.hidesReasoning,
    enabled: model.enabled,
  };
}

function endpointColumns(endpoint: EndpointInput) {
  return {
    model_id: endpoint.modelId,
    provider_id: endpoint.providerId,
    credential_id: endpoint.credentialId ?? null,
    upstream_model: endpoint.upstreamModel,
    dialect: endpoint.dialect,
    operations: [...endpoint.operations],
    regions: [...endpoint.regions],
    priority: endpoint.priority,
    enabled: endpoint.enabled,
  };
}
