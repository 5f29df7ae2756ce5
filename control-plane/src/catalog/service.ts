/** Use cases of the catalogue: providers, models with their names, and endpoints with their cost. */
import { isDeepStrictEqual } from 'node:util';
import { GatewayError } from '@meridian/domain/error';
import { type IdSource, newId } from '@meridian/domain/ids';
import { type AliasScope, aliasId, type Model, type ReasoningEffort } from '@meridian/domain/model';
import type { EndpointCost, ListPrice } from '@meridian/domain/price';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import { FOREIGN_KEY_VIOLATION, sqlState, type Transaction, transaction, UNIQUE_VIOLATION } from '../database/transaction.ts';
import type { Publish } from '../snapshots/publish.ts';
import {
  type AliasInput,
  type AliasRow,
  aliasEntry,
  aliasKey,
  aliasOf,
  type EndpointInput,
  type EndpointRow,
  endpointEntry,
  isScoped,
  type ModelRow,
  modelEntry,
  modelOf,
  ownNames,
  type ProviderInput,
  type ProviderRow,
  providerEntry,
  providerOf,
} from './catalog.ts';
import { describeLoss, endpointInWords, lossesAgainst, pricesFrom } from './loss.ts';
import { problemOfCards, readCards, sameCards } from './rate-card.ts';
import * as store from './store.ts';

/** At what models are sold, which a cost must not lie above unless that is confirmed. */
export interface Sales {
  /** All versions of a model's list price, oldest first. */
  listPricesIn(trx: Transaction, modelId: string): Promise<ListPrice[]>;
  lowestMarkupBasisPoints(): Promise<number>;
}

export interface CatalogDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  readonly sales: Sales;
}

/** An operator says yes to selling under cost. */
interface Confirmable {
  readonly confirm: boolean;
}

/** What to do when the thing is there already with other content. The same content is never an error. */
export type OnDifferent = 'refuse' | 'replace';

/** Absent leaves a term as it is. */
export interface AliasChange {
  readonly modelId?: string | undefined;
  readonly reasoningEffort?: ReasoningEffort | null | undefined;
}

const NO_TERMS: Pick<AliasInput, 'accountId' | 'planId' | 'reasoningEffort'> = {
  accountId: undefined,
  planId: undefined,
  reasoningEffort: undefined,
};

/** What a transaction did: the row as it is now, and what is to be published on CATALOG (nothing when nothing changed). */
export interface Saved<Row> {
  readonly row: Row;
  readonly entries: readonly ConfigEntry[];
}

export class CatalogService {
  readonly #deps: CatalogDeps;

  constructor(deps: CatalogDeps) {
    this.#deps = deps;
  }

  // Providers

  createProvider(input: ProviderInput): Promise<ProviderRow> {
    return this.#publishing(async (trx) => this.saveProviderIn(trx, input, 'refuse'));
  }

  async changeProvider(id: string, change: Partial<Omit<ProviderInput, 'id'>>): Promise<ProviderRow> {
    return this.#publishing(async (trx) => {
      const present = (await store.lockProvider(trx, id)) ?? notFound('provider', id);
      return this.saveProviderIn(trx, { ...providerOf(present), ...change }, 'replace');
    });
  }

  listProviders(): Promise<ProviderRow[]> {
    return store.listProviders(this.#deps.db);
  }

  /** Throws `not_found`. */
  async provider(id: string): Promise<ProviderRow> {
    return (await store.findProvider(this.#deps.db, id)) ?? notFound('provider', id);
  }

  async saveProviderIn(trx: Transaction, input: ProviderInput, onDifferent: OnDifferent): Promise<Saved<ProviderRow>> {
    const present = await store.lockProvider(trx, input.id);
    if (present !== undefined) {
      if (isDeepStrictEqual(providerOf(present), { ...input })) return { row: present, entries: [] };
      refuseDifferent(onDifferent, 'provider', input.id);
    }
    const row = present === undefined ? await store.insertProvider(trx, input, this.#now()) : await store.updateProvider(trx, input);
    return { row, entries: [providerEntry(row)] };
  }

  /** Moves the endpoints of a provider that name no credential of their own to this one. */
  async setDefaultCredentialIn(trx: Transaction, providerId: string, credentialId: string): Promise<ConfigEntry[]> {
    await store.setDefaultCredential(trx, providerId, credentialId);
    await store.bumpEndpointsOfProvider(trx, providerId);
    const moved = await store.listEndpoints(trx, { providerId, usesDefaultCredential: true });
    return moved.map(endpointEntry);
  }

  /** Locks the provider's row. Throws `invalid_request_error`. */
  async requireProviderIn(trx: Transaction, id: string): Promise<ProviderRow> {
    return (await store.lockProvider(trx, id)) ?? unknown('provider', 'provider_id', id);
  }

  // Models

  /** All or none. Throws `conflict` for a name that another model has. */
  createModels(inputs: readonly Model[]): Promise<ModelRow[]> {
    return this.#publishingAll(inputs, (trx, input) => this.saveModelIn(trx, input, 'refuse'));
  }

  async changeModel(id: string, change: Partial<Omit<Model, 'id'>>): Promise<ModelRow> {
    return this.#publishing(async (trx) => {
      const present = (await store.lockModel(trx, id)) ?? notFound('model', id);
      return this.saveModelIn(trx, { ...modelOf(present), ...change }, 'replace');
    });
  }

  listModels(page: Page): Promise<ModelRow[]> {
    return store.listModels(this.#deps.db, page);
  }

  /** By id or by any other name. Throws `model_not_found`. */
  async model(name: string): Promise<ModelRow> {
    const id = (await this.resolveModels([name])).get(name);
    const row = id === undefined ? undefined : await store.findModel(this.#deps.db, id);
    if (row === undefined) throw new GatewayError('model_not_found', { message: `There is no model ${name}.` });
    return row;
  }

  /**
   * Model ids by the names given, for those that exist: bare or prefixed, dots or dashes, aliases; those of an account and its plan
   * where one is named.
   */
  async resolveModels(names: readonly string[], accountId?: string): Promise<Map<string, string>> {
    const keys = [...new Set(names.map(aliasKey))];
    const found = await store.modelIdsByName(this.#deps.db, keys);
    const scoped = accountId === undefined ? undefined : await store.modelIdsByScopedName(this.#deps.db, keys, accountId);
    return new Map(
      names.flatMap((name) => {
        const id = scoped?.get(aliasKey(name)) ?? found.get(aliasKey(name));
        return id === undefined ? [] : [[name, id] satisfies [string, string]];
      }),
    );
  }

  async saveModelIn(trx: Transaction, input: Model, onDifferent: OnDifferent): Promise<Saved<ModelRow>> {
    const present = await store.lockModel(trx, input.id);
    if (present !== undefined) {
      if (isDeepStrictEqual(modelOf(present), { ...input })) return { row: present, entries: [] };
      refuseDifferent(onDifferent, 'model', input.id);
      if (present.vendor !== input.vendor) await store.releaseNames(trx, input.id, ownNames(present));
    }
    const row = present === undefined ? await store.insertModel(trx, input, this.#now()) : await store.updateModel(trx, input);
    await claim(trx, input.id, ownNames(input));
    return { row, entries: [modelEntry(row)] };
  }

  /** Locks the model's row, which serialises what belongs to it. Throws `invalid_request_error`. */
  async requireModelIn(trx: Transaction, id: string): Promise<ModelRow> {
    return (await store.lockModel(trx, id)) ?? unknown('model', 'model_id', id);
  }

  // Aliases

  /** All or none. Throws `conflict` for a name that another model has. */
  createAliases(inputs: readonly AliasInput[]): Promise<AliasRow[]> {
    return this.#publishingAll(inputs, (trx, input) => this.saveAliasIn(trx, input, 'refuse'));
  }

  /** By id, or by the name of one for everybody. `null` takes a setting away. Throws `not_found`. */
  changeAlias(idOrName: string, change: AliasChange): Promise<AliasRow> {
    return this.#publishing(async (trx) => {
      const { id, model_id } = await aliasRow(store.findAlias, trx, idOrName);
      // In the order of those who make aliases.
      await this.requireModelIn(trx, change.modelId ?? model_id);
      const present = aliasOf(await aliasRow(store.lockAlias, trx, id));
      const { modelId = present.modelId, reasoningEffort = present.reasoningEffort } = change;
      return this.saveAliasIn(trx, { ...present, modelId, reasoningEffort: reasoningEffort ?? undefined }, 'replace');
    });
  }

  /** By id, or by the name of one for everybody. Throws `not_found`. */
  async deleteAlias(idOrName: string): Promise<AliasRow> {
    return this.#publishing(async (trx) => {
      const present = await aliasRow(store.lockAlias, trx, idOrName);
      if (!isScoped(aliasOf(present))) await store.releaseNames(trx, present.model_id, [present.name]);
      const { version: _, ...rest } = present;
      const row = await store.saveAlias(trx, { ...rest, deleted: true });
      return { row, entries: [aliasEntry(row)] };
    });
  }

  listAliases(scope: AliasScope, page: Page): Promise<AliasRow[]> {
    return store.listAliases(this.#deps.db, scope, page);
  }

  /** Throws `conflict`, and `invalid_request_error` for an account, plan or model that is not there. */
  async saveAliasIn(trx: Transaction, input: AliasInput, onDifferent: OnDifferent): Promise<Saved<AliasRow>> {
    const model = await this.requireModelIn(trx, input.modelId);
    const name = aliasKey(input.name);
    const forAll = !isScoped(input);
    if (forAll && ownNames(model).includes(name)) {
      throw new GatewayError('conflict', { message: `${model.id} answers to ${input.name} without an alias.`, param: 'name' });
    }
    if (input.reasoningEffort !== undefined && model.mode !== 'chat') {
      const message = `${model.id} is not for chat, so it takes no reasoning effort.`;
      throw new GatewayError('invalid_request_error', { message, param: 'reasoning_effort' });
    }
    const id = aliasId(input.name, input);
    const present = await store.lockAlias(trx, id);
    if (present !== undefined && !present.deleted) {
      if (isDeepStrictEqual(aliasOf(present), { ...NO_TERMS, ...input })) return { row: present, entries: [] };
      refuseDifferent(onDifferent, 'alias', id);
      if (forAll) await store.releaseNames(trx, present.model_id, [name]);
    }
    if (forAll) await claim(trx, input.modelId, [name]);
    const { accountId, planId, reasoningEffort } = input;
    const row = await store
      .saveAlias(trx, {
        id,
        name,
        written: input.name,
        model_id: input.modelId,
        account_id: accountId ?? null,
        plan_id: planId ?? null,
        reasoning_effort: reasoningEffort ?? null,
        deleted: false,
      })
      .catch((error: unknown) => refusedAlias(error, input));
    return { row, entries: [aliasEntry(row)] };
  }

  // Endpoints

  /**
   * All or none. The same way to the same model is one endpoint. Throws `invalid_state` when one would cost more than its
   * model is sold at, which is not confirmed.
   */
  async createEndpoints(inputs: readonly (EndpointInput & Confirmable)[]): Promise<EndpointRow[]> {
    const markup = await this.#deps.sales.lowestMarkupBasisPoints();
    return this.#publishingAll(inputs, async (trx, { confirm, ...input }) => {
      const saved = await this.saveEndpointIn(trx, input, 'refuse');
      if (saved.entries.length > 0 && !confirm) await this.requireNoLossIn(trx, saved.row, markup);
      return saved;
    });
  }

  /**
   * A changed cost becomes a new version; the versions before it stay as they are. Throws `invalid_state` when the endpoint
   * comes to cost more than its model is sold at, which is not confirmed.
   */
  async changeEndpoint(
    id: string,
    change: Partial<Omit<EndpointInput, 'modelId' | 'providerId'>>,
    { confirm }: Confirmable,
  ): Promise<EndpointRow> {
    const markup = await this.#deps.sales.lowestMarkupBasisPoints();
    return this.#publishing(async (trx) => {
      const { model_id: modelId } = await endpointRow(trx, id);
      // In the order of those who make endpoints; a price that is published meanwhile waits, and sees the new cost.
      await this.requireModelIn(trx, modelId);
      if (!(await store.lockEndpoint(trx, id))) return notFound('endpoint', id);
      const before = await endpointRow(trx, id);
      const saved = await this.#putEndpoint(trx, id, (present) => ({ ...endpointOf(present), ...change }));
      const isDearer = saved.row.cost_version !== before.cost_version || (saved.row.enabled && !before.enabled);
      if (isDearer && !confirm) await this.requireNoLossIn(trx, saved.row, markup);
      return saved;
    });
  }

  listEndpoints(filter: store.EndpointFilter, page: Page): Promise<EndpointRow[]> {
    return store.listEndpoints(this.#deps.db, filter, page);
  }

  async saveEndpointIn(trx: Transaction, input: EndpointInput, onDifferent: OnDifferent): Promise<Saved<EndpointRow>> {
    await this.requireModelIn(trx, input.modelId);
    await this.requireProviderIn(trx, input.providerId);
    const id = await store.lockEndpointLike(trx, input);
    if (id !== undefined) return this.#putEndpoint(trx, id, () => input, onDifferent);
    requireSoundCards(input.cost);
    const now = this.#now();
    const newEndpointId = newId('end', this.#deps.ids);
    await store.insertEndpoint(trx, newEndpointId, input, now).catch((error: unknown) => refusedEndpoint(error, input));
    const cost = { endpointId: newEndpointId, version: 1, effectiveFromMs: now.getTime(), cards: input.cost };
    await store.insertCost(trx, cost, now);
    const row = await endpointRow(trx, newEndpointId);
    return { row, entries: [endpointEntry(row)] };
  }

  /**
   * Makes an endpoint, or takes the cost alone for one that is there: the rest of it is the operator's. Whether the cost is a loss is
   * for the caller to ask, after the prices that go with it are published.
   */
  async offerEndpointIn(trx: Transaction, input: EndpointInput): Promise<Saved<EndpointRow>> {
    await this.requireModelIn(trx, input.modelId);
    await this.requireProviderIn(trx, input.providerId);
    const id = await store.lockEndpointLike(trx, input);
    if (id === undefined) return this.saveEndpointIn(trx, input, 'refuse');
    return this.#putEndpoint(trx, id, (present) => ({ ...endpointOf(present), cost: input.cost }));
  }

  /** The endpoints of these models, each with its newest cost. */
  async endpointsOf(modelIds: readonly string[]): Promise<(EndpointInput & { readonly id: string })[]> {
    const rows = modelIds.length === 0 ? [] : await store.listEndpoints(this.#deps.db, { modelIds });
    return rows.map((row) => ({ ...endpointOf(row), id: row.id }));
  }

  /** The newest cost of each enabled endpoint of a model. */
  async costsOfModelIn(trx: Transaction, modelId: string): Promise<EndpointCost[]> {
    const rows = await store.listEndpoints(trx, { modelId });
    return rows
      .filter((row) => row.enabled)
      .map((row) => ({
        endpointId: row.id,
        version: row.cost_version,
        effectiveFromMs: row.cost_effective_from.getTime(),
        cards: readCards(row.cost_cards),
      }));
  }

  /** Certain versions of costs, those that exist: for rating a request again. */
  costVersions(wanted: readonly { readonly endpointId: string; readonly version: number }[]): Promise<EndpointCost[]> {
    return store.costVersions(this.#deps.db, wanted);
  }

  /**
   * Throws `invalid_state` when the endpoint costs more than its model is sold at, now or at a price that is announced. A disabled
   * endpoint serves nobody: it is looked at when it is enabled.
   */
  async requireNoLossIn(trx: Transaction, row: EndpointRow, lowestMarkupBasisPoints: number): Promise<void> {
    if (!row.enabled) return;
    const versions = await this.#deps.sales.listPricesIn(trx, row.model_id);
    for (const price of pricesFrom({ modelId: row.model_id, versions }, this.#deps.ids.nowMs())) {
      const [loss] = lossesAgainst(price.cards, readCards(row.cost_cards), lowestMarkupBasisPoints);
      if (loss === undefined) continue;
      const endpoint = endpointInWords({ id: row.id, upstreamModel: row.upstream_model, providerId: row.provider_id });
      throw new GatewayError('invalid_state', { message: describeLoss(loss, row.model_id, endpoint), param: 'confirm' });
    }
  }

  async #putEndpoint(
    trx: Transaction,
    id: string,
    change: (present: EndpointRow) => EndpointInput,
    onDifferent: OnDifferent = 'replace',
  ): Promise<Saved<EndpointRow>> {
    const present = await endpointRow(trx, id);
    const input = change(present);
    const presentCost = readCards(present.cost_cards);
    const costChanged = !sameCards(presentCost, input.cost);
    if (!costChanged && isDeepStrictEqual({ ...endpointOf(present), cost: [] }, { ...input, cost: [] })) {
      return { row: present, entries: [] };
    }
    refuseDifferent(onDifferent, 'endpoint', id);
    requireSoundCards(input.cost);
    await store.updateEndpoint(trx, id, input).catch((error: unknown) => refusedEndpoint(error, input));
    if (costChanged) {
      const now = this.#now();
      const cost = { endpointId: id, version: present.cost_version + 1, effectiveFromMs: now.getTime(), cards: input.cost };
      await store.insertCost(trx, cost, now);
    }
    const row = await endpointRow(trx, id);
    return { row, entries: [endpointEntry(row)] };
  }

  async #publishing<Row>(work: (trx: Transaction) => Promise<Saved<Row>>): Promise<Row> {
    const [row] = await this.#publishingAll([undefined], work);
    if (row === undefined) throw new Error('one piece of work has one result');
    return row;
  }

  async #publishingAll<Input, Row>(
    inputs: readonly Input[],
    work: (trx: Transaction, input: Input, index: number) => Promise<Saved<Row>>,
  ): Promise<Row[]> {
    return transaction(this.#deps.db, async (trx) => {
      const rows: Row[] = [];
      const entries: ConfigEntry[] = [];
      for (const [index, input] of inputs.entries()) {
        const saved = await work(trx, input, index);
        rows.push(saved.row);
        entries.push(...saved.entries);
      }
      if (entries.length > 0) await this.#deps.publish(trx, 'catalog', entries);
      return rows;
    });
  }

  #now(): Date {
    return new Date(this.#deps.ids.nowMs());
  }
}

function endpointOf(row: EndpointRow): EndpointInput {
  return {
    modelId: row.model_id,
    providerId: row.provider_id,
    credentialId: row.credential_id ?? undefined,
    upstreamModel: row.upstream_model,
    dialect: row.dialect,
    operations: row.operations,
    regions: row.regions,
    priority: row.priority,
    enabled: row.enabled,
    cost: readCards(row.cost_cards),
  };
}

async function endpointRow(trx: Transaction, id: string): Promise<EndpointRow> {
  const [row] = await store.listEndpoints(trx, { id });
  return row ?? notFound('endpoint', id);
}

async function claim(trx: Transaction, modelId: string, names: readonly string[]): Promise<void> {
  const taken = await store.claimNames(trx, modelId, names);
  if (taken !== undefined) throw new GatewayError('conflict', { message: `The name ${taken.name} belongs to the model ${taken.modelId}.` });
}

function requireSoundCards(cards: EndpointInput['cost']): void {
  const problem = problemOfCards(cards);
  if (problem !== undefined) throw new GatewayError('invalid_request_error', { message: `cost: ${problem}.`, param: 'cost' });
}

/** By id, or by the name of one for everybody. */
async function aliasRow(
  read: (trx: Transaction, id: string) => Promise<AliasRow | undefined>,
  trx: Transaction,
  idOrName: string,
): Promise<AliasRow> {
  const row = (await read(trx, idOrName)) ?? (await read(trx, aliasKey(idOrName)));
  return row === undefined || row.deleted ? notFound('alias', idOrName) : row;
}

/** What the table itself refuses of an alias, in words. */
function refusedAlias(error: unknown, { accountId, planId }: AliasInput): never {
  if (sqlState(error) !== FOREIGN_KEY_VIOLATION) throw error;
  if (accountId !== undefined) unknown('account', 'account_id', accountId);
  return unknown('plan', 'plan_id', planId ?? '');
}

/** What the table itself refuses of an endpoint, in words. */
function refusedEndpoint(error: unknown, input: EndpointInput): never {
  switch (sqlState(error)) {
    case FOREIGN_KEY_VIOLATION:
      return unknown(`credential of ${input.providerId}`, 'credential_id', input.credentialId ?? '');
    case UNIQUE_VIOLATION:
      throw new GatewayError('conflict', {
        message: `There is already an endpoint of ${input.modelId} that leads to ${input.upstreamModel} of ${input.providerId}.`,
        cause: error,
      });
    default:
      throw error;
  }
}

function refuseDifferent(onDifferent: OnDifferent, kind: string, id: string): void {
  if (onDifferent === 'refuse') {
    throw new GatewayError('conflict', { message: `There is already a ${kind} ${id} with other content: change it with PATCH.` });
  }
}

function unknown(kind: string, param: string, id: string): never {
  throw new GatewayError('invalid_request_error', { message: `There is no ${kind} ${id}.`, param });
}

function notFound(kind: string, id: string): never {
  throw new GatewayError('not_found', { message: `There is no ${kind} ${id}.` });
}
