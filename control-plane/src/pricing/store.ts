/** The SQL of list prices: rows are only ever added. */
import type { ListPrice } from '@meridian/domain/price';
import { sql } from 'kysely';
import { readCards, storeCards } from '../catalog/rate-card.ts';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import type { StoredCard } from '../database/tables/catalog.ts';
import type { Transaction } from '../database/transaction.ts';

/** All versions of a model's price, oldest first. */
export async function priceVersions(db: Database, modelId: string): Promise<ListPrice[]> {
  const rows = await db.selectFrom('list_price').selectAll().where('model_id', '=', modelId).orderBy('version').execute();
  return rows.map(listPrice);
}

/** Certain versions, those that exist. */
export async function somePriceVersions(
  db: Database,
  wanted: readonly { readonly modelId: string; readonly version: number }[],
): Promise<ListPrice[]> {
  if (wanted.length === 0) return [];
  const rows = await db
    .selectFrom('list_price')
    .selectAll()
    .where((eb) => eb.or(wanted.map((one) => eb.and({ model_id: one.modelId, version: one.version }))))
    .execute();
  return rows.map(listPrice);
}

/** The newest version of each model's price, by model id; one row more than the page holds, if there is one. */
export async function newestPrices(db: Database, page: Page): Promise<ListPrice[]> {
  let query = db
    .selectFrom('list_price')
    .selectAll()
    .distinctOn('model_id')
    .orderBy('model_id')
    .orderBy('version', 'desc')
    .limit(page.limit + 1);
  if (page.after !== undefined) query = query.where('model_id', '>', page.after);
  return (await query.execute()).map(listPrice);
}

/** All versions of the prices of these models, each model's oldest first. */
export async function priceVersionsOf(db: Database, modelIds: readonly string[]): Promise<ListPrice[]> {
  if (modelIds.length === 0) return [];
  const rows = await db
    .selectFrom('list_price')
    .selectAll()
    .where(sql<boolean>`model_id = ANY(${modelIds}::text[])`)
    .orderBy('model_id')
    .orderBy('version')
    .execute();
  return rows.map(listPrice);
}

export async function insertPrice(trx: Transaction, price: ListPrice, now: Date): Promise<void> {
  await trx
    .insertInto('list_price')
    .values({
      model_id: price.modelId,
      version: price.version,
      effective_from: new Date(price.effectiveFromMs),
      cards: storeCards(price.cards),
      created_at: now,
    })
    .execute();
}

function listPrice(row: { model_id: string; version: number; effective_from: Date; cards: StoredCard[] }): ListPrice {
  return { modelId: row.model_id, version: row.version, effectiveFromMs: row.effective_from.getTime(), cards: readCards(row.cards) };
}
