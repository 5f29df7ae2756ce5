/** Use cases of list prices: published, announced, looked up. */
import { GatewayError } from '@meridian/domain/error';
import type { IdSource } from '@meridian/domain/ids';
import type { ListPrice, RateCard } from '@meridian/domain/price';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import { describeLoss, lossesAgainst, pricesFrom } from '../catalog/loss.ts';
import { problemOfCards, sameCards } from '../catalog/rate-card.ts';
import type { CatalogService, Sales } from '../catalog/service.ts';
import type { Database } from '../database/connect.ts';
import type { Page } from '../database/page.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { Publish } from '../snapshots/publish.ts';
import type { TierService } from '../tiers/service.ts';
import { mayBegin, priceBookEntry } from './price.ts';
import * as store from './store.ts';

export interface PricingDeps {
  readonly db: Database;
  readonly ids: IdSource;
  readonly publish: Publish;
  readonly catalog: CatalogService;
  readonly tiers: Pick<TierService, 'lowestMarkupBasisPoints'>;
}

export interface PriceInput {
  readonly modelId: string;
  /** At once when absent. */
  readonly effectiveFromMs: number | undefined;
  readonly cards: readonly RateCard[];
  /** The price may lie under the cost of an endpoint. */
  readonly confirm: boolean;
}

/** What the catalogue is to know of the prices that its costs are held against. */
export function salesOf(tiers: PricingDeps['tiers']): Sales {
  return { listPricesIn: store.priceVersions, lowestMarkupBasisPoints: () => tiers.lowestMarkupBasisPoints() };
}

const PRICES_A_PAGE = 200;

export class PricingService {
  readonly #deps: PricingDeps;

  constructor(deps: PricingDeps) {
    this.#deps = deps;
  }

  /**
   * Publishes the next version of each model's price; all or none. The price that is in force already makes no new version.
   * Throws `invalid_state` when a price lies under the cost of an endpoint and is not confirmed.
   */
  async publishPrices(inputs: readonly PriceInput[]): Promise<ListPrice[]> {
    const markup = await this.#deps.tiers.lowestMarkupBasisPoints();
    return transaction(this.#deps.db, async (trx) => {
      const prices: ListPrice[] = [];
      const entries: ConfigEntry[] = [];
      for (const input of inputs) {
        const published = await this.publishPriceIn(trx, input, markup);
        prices.push(published.price);
        entries.push(...published.entries);
      }
      if (entries.length > 0) await this.#deps.publish(trx, 'catalog', entries);
      return prices;
    });
  }

  /** One price within a transaction of the caller, who publishes the entries on CATALOG. */
  async publishPriceIn(
    trx: Transaction,
    input: PriceInput,
    lowestMarkupBasisPoints: number,
  ): Promise<{ price: ListPrice; entries: readonly ConfigEntry[] }> {
    await this.#deps.catalog.requireModelIn(trx, input.modelId);
    const problem = problemOfCards(input.cards);
    if (problem !== undefined) throw new GatewayError('invalid_request_error', { message: `cards: ${problem}.`, param: 'cards' });
    const versions = await store.priceVersions(trx, input.modelId);
    const newest = versions.at(-1);
    const nowMs = this.#deps.ids.nowMs();
    const isInForce = newest !== undefined && newest.effectiveFromMs <= nowMs;
    if (isInForce && input.effectiveFromMs === undefined && sameCards(newest.cards, input.cards)) return { price: newest, entries: [] };
    const price: ListPrice = {
      modelId: input.modelId,
      version: (newest?.version ?? 0) + 1,
      effectiveFromMs: input.effectiveFromMs ?? nowMs,
      cards: input.cards,
    };
    if (!mayBegin(price.effectiveFromMs, nowMs)) {
      throw new GatewayError('invalid_request_error', {
        message: 'effective_from: a price cannot begin in the past.',
        param: 'effective_from',
      });
    }
    if (!input.confirm) await this.#requireNoLoss(trx, price, lowestMarkupBasisPoints);
    await store.insertPrice(trx, price, new Date(nowMs));
    const entry = priceBookEntry({ modelId: input.modelId, versions: [...versions, price] });
    return { price, entries: entry === undefined ? [] : [entry] };
  }

  /** All versions of a model's price, oldest first. */
  versionsOf(modelId: string): Promise<ListPrice[]> {
    return store.priceVersions(this.#deps.db, modelId);
  }

  /** Certain versions, those that exist: for rating a request again. */
  find(wanted: readonly { readonly modelId: string; readonly version: number }[]): Promise<ListPrice[]> {
    return store.somePriceVersions(this.#deps.db, wanted);
  }

  /** By model id, for those that have any: the prices that can still be charged, oldest first, announced ones included. */
  async pricesFromNowOf(modelIds: readonly string[]): Promise<Map<string, ListPrice[]>> {
    const nowMs = this.#deps.ids.nowMs();
    const versions = Map.groupBy(await store.priceVersionsOf(this.#deps.db, modelIds), ({ modelId }) => modelId);
    return new Map([...versions].map(([modelId, all]) => [modelId, pricesFrom({ modelId, versions: all }, nowMs)]));
  }

  listNewest(page: Page): Promise<ListPrice[]> {
    return store.newestPrices(this.#deps.db, page);
  }

  /** Throws `invalid_state` when some model would be sold under the cost of an endpoint to whoever has this markup. */
  async requireNoLossAt(markupBasisPoints: number): Promise<void> {
    await transaction(this.#deps.db, async (trx) => {
      for (let after: string | undefined; ; ) {
        const prices = await store.newestPrices(trx, { limit: PRICES_A_PAGE, after });
        for (const price of prices) await this.#requireNoLoss(trx, price, markupBasisPoints);
        after = prices.at(-1)?.modelId;
        if (prices.length < PRICES_A_PAGE) return;
      }
    });
  }

  async #requireNoLoss(trx: Transaction, price: ListPrice, lowestMarkupBasisPoints: number): Promise<void> {
    for (const cost of await this.#deps.catalog.costsOfModelIn(trx, price.modelId)) {
      const [loss] = lossesAgainst(price.cards, cost.cards, lowestMarkupBasisPoints);
      if (loss !== undefined) {
        const message = describeLoss(loss, price.modelId, `endpoint ${cost.endpointId}`);
        throw new GatewayError('invalid_state', { message, param: 'confirm' });
      }
    }
  }
}
