/** Applies the catalogue file: what is new or changed in it, and nothing else. */
import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { IdSource } from '@meridian/domain/ids';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import type { CatalogService } from '../catalog/service.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { PlanService } from '../plans/service.ts';
import type { PricingService } from '../pricing/service.ts';
import type { Publish } from '../snapshots/publish.ts';
import type { TrailService } from '../trail/service.ts';
import { type Catalogue, readCatalogue } from './catalogue-file.ts';
import { itemKey, lockSeed, saveSeedItem, seedItems } from './store.ts';

export interface SeedDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  readonly plans: PlanService;
  readonly catalog: CatalogService;
  readonly pricing: PricingService;
  readonly trail: Pick<TrailService, 'openFileIn'>;
}

/** How many items of the file were applied, and how many stand as they did when it was last applied. */
export interface SeedResult {
  readonly applied: number;
  readonly unchanged: number;
}

interface Item {
  readonly kind: 'plan' | 'provider' | 'model' | 'alias' | 'endpoint' | 'price';
  readonly id: string;
  readonly content: unknown;
  apply(trx: Transaction): Promise<readonly ConfigEntry[]>;
}

/**
 * Brings the database to what the file says, in one transaction, which is in the trail under the file's name and hash. An item is applied when the file says something else about it than
 * when it was last applied, so an edit through the API stands until the file is edited too. What is gone from the file stays in the
 * database. A changed price becomes a new version. Throws CatalogueFileError for a file that cannot be used.
 */
export async function applySeed(deps: SeedDeps, file: string): Promise<SeedResult> {
  const text = await readFile(file, 'utf8');
  const catalogue = readCatalogue(file, text);
  const items = itemsOf(deps, catalogue);
  return transaction(deps.db, async (trx) => {
    await lockSeed(trx);
    const known = await seedItems(trx);
    const changed = items
      .map((item) => ({ item, contentHash: hash('sha256', contentText(item.content), 'hex') }))
      .filter(({ item, contentHash }) => known.get(itemKey(item.kind, item.id)) !== contentHash);
    // A start that finds everything as it was is no event.
    if (changed.length > 0) {
      await deps.trail.openFileIn(trx, { name: basename(file), sha256: hash('sha256', text, 'hex'), kind: 'catalogue' });
    }
    const entries: ConfigEntry[] = [];
    for (const { item, contentHash } of changed) {
      entries.push(...(await item.apply(trx)));
      await saveSeedItem(trx, item.kind, item.id, contentHash, new Date(deps.ids.nowMs()));
    }
    if (entries.length > 0) await deps.publish(trx, 'catalog', entries);
    return { applied: changed.length, unchanged: items.length - changed.length };
  });
}

/** In the order in which they may refer to each other. */
function itemsOf(deps: SeedDeps, catalogue: Catalogue): Item[] {
  const { plans, catalog, pricing } = deps;
  const models = catalogue.models;
  return [
    ...catalogue.plans.map((plan): Item => ({ kind: 'plan', id: plan.id, content: plan, apply: (trx) => plans.saveIn(trx, plan) })),
    ...catalogue.providers.map(
      (provider): Item => ({
        kind: 'provider',
        id: provider.id,
        content: provider,
        apply: async (trx) => (await catalog.saveProviderIn(trx, provider, 'replace')).entries,
      }),
    ),
    ...models.map(
      ({ model }): Item => ({
        kind: 'model',
        id: model.id,
        content: model,
        apply: async (trx) => (await catalog.saveModelIn(trx, model, 'replace')).entries,
      }),
    ),
    ...models.flatMap(({ aliases }) =>
      aliases.map(
        (alias): Item => ({
          kind: 'alias',
          id: alias.name,
          content: alias,
          apply: async (trx) => (await catalog.saveAliasIn(trx, alias, 'replace')).entries,
        }),
      ),
    ),
    ...models.map(
      ({ model, price }): Item => ({
        kind: 'price',
        id: model.id,
        content: price,
        // Whoever edits the file has the cost beside the price: writing both down is the confirmation.
        apply: async (trx) =>
          (await pricing.publishPriceIn(trx, { modelId: model.id, effectiveFromMs: undefined, cards: price, confirm: true }, 0)).entries,
      }),
    ),
    ...models.flatMap(({ endpoints }) =>
      endpoints.map(
        (endpoint): Item => ({
          kind: 'endpoint',
          id: `${endpoint.modelId} ${endpoint.providerId} ${endpoint.upstreamModel}`,
          content: endpoint,
          apply: async (trx) => (await catalog.saveEndpointIn(trx, endpoint, 'replace')).entries,
        }),
      ),
    ),
  ];
}

/** JSON, with amounts as decimal digits. */
function contentText(content: unknown): string {
  return JSON.stringify(content, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
}
