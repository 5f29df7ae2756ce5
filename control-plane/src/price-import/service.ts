/** Use cases of price lists: what an import would change, and the import itself. */

import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import type { Model, ModelMode } from '@meridian/domain/model';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import type { CatalogService } from '../catalog/service.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { PricingService } from '../pricing/service.ts';
import type { Publish } from '../snapshots/publish.ts';
import type { TierService } from '../tiers/service.ts';
import { readLitellm } from './litellm.ts';
import { readModelsDev } from './models-dev.ts';
import type { PriceList, RefusedOffer } from './offer.ts';
import {
  chosenOf,
  type ImportChange,
  type ImportFilter,
  type ImportPreview,
  type Present,
  type PresentEndpoint,
  previewOf,
} from './preview.ts';

export const LIST_FORMATS = ['litellm', 'models-dev'] as const;
export type ListFormat = (typeof LIST_FORMATS)[number];

const READERS: Readonly<Record<ListFormat, (list: unknown) => PriceList>> = { litellm: readLitellm, 'models-dev': readModelsDev };

/** Models in one transaction: it holds the catalogue's head, which nodes and other operators wait for. */
const MODELS_A_TRANSACTION = 100;
const OPERATIONS_BY_MODE: Readonly<Partial<Record<ModelMode, Operation>>> = { chat: 'chat', embedding: 'embeddings' };

export interface ImportRequest {
  readonly format: ListFormat;
  /** The parsed file. */
  readonly list: unknown;
  readonly filter: ImportFilter;
  /** By the list's name of a provider: the id of ours that its models are bought from, at the listed price. */
  readonly endpoints: ReadonlyMap<string, string>;
  /** Prices may lie under the cost of an endpoint. */
  readonly confirm: boolean;
}

export interface PriceImportDeps {
  readonly db: Database;
  readonly publish: Publish;
  readonly catalog: CatalogService;
  readonly pricing: PricingService;
  readonly tiers: Pick<TierService, 'lowestMarkupBasisPoints'>;
}

export class PriceImportService {
  readonly #deps: PriceImportDeps;

  constructor(deps: PriceImportDeps) {
    this.#deps = deps;
  }

  /** Changes nothing. Throws `invalid_request_error` for a list that is not of the format. */
  async preview({ format, list, filter, endpoints }: ImportRequest): Promise<ImportPreview> {
    for (const providerId of new Set(endpoints.values())) await this.#deps.catalog.provider(providerId);
    const chosen = chosenOf(readList(format, list), filter);
    const modelIds = await this.#deps.catalog.resolveModels(chosen.offers.map(({ model }) => model.id));
    const prices = await this.#deps.pricing.newestOf([...new Set(modelIds.values())]);
    const present: Present = {
      modelIds,
      prices: new Map(prices.map((price) => [price.modelId, price])),
      endpoints: await this.#endpointsLeft(chosen, modelIds, endpoints),
      lowestMarkupBasisPoints: await this.#deps.tiers.lowestMarkupBasisPoints(),
    };
    return previewOf(chosen, present, filter.existingOnly);
  }

  /** By model id: the endpoints whose cost does not come with the list. */
  async #endpointsLeft(
    { offers }: PriceList,
    modelIds: ReadonlyMap<string, string>,
    endpoints: ReadonlyMap<string, string>,
  ): Promise<Map<string, PresentEndpoint[]>> {
    const offered = new Set<string>();
    for (const { model, listedAs, listedProvider } of offers) {
      const providerId = endpoints.get(listedProvider);
      if (providerId !== undefined) offered.add(keyOf(modelIds.get(model.id), providerId, upstreamModelOf(listedAs, listedProvider)));
    }
    const present = await this.#deps.catalog.enabledEndpointsOf([...new Set(modelIds.values())]);
    const left = present.filter(
      ({ modelId, providerId, upstreamModel, credentialId }) =>
        credentialId !== undefined || !offered.has(keyOf(modelId, providerId, upstreamModel)),
    );
    return Map.groupBy(left, ({ modelId }) => modelId);
  }

  /**
   * Does what the preview says, some models at a time: what is done stays done when a later one fails. A model that cannot be taken
   * is among the refused, with the reason. An import that was cut off is simply sent again.
   */
  async apply(request: ImportRequest): Promise<ImportPreview> {
    const { changes, refused } = await this.preview(request);
    const markup = await this.#deps.tiers.lowestMarkupBasisPoints();
    const done: ImportChange[] = [];
    const failed: RefusedOffer[] = [];
    for (let at = 0; at < changes.length; at += MODELS_A_TRANSACTION) {
      const some = changes.slice(at, at + MODELS_A_TRANSACTION);
      const whole = await this.#applyAll(some, request, markup).then(
        () => true,
        (error: unknown) => {
          if (error instanceof GatewayError) return false;
          throw error;
        },
      );
      if (whole) {
        done.push(...some);
        continue;
      }
      for (const change of some) {
        try {
          await this.#applyAll([change], request, markup);
          done.push(change);
        } catch (error) {
          if (!(error instanceof GatewayError)) throw error;
          const { listedAs, listedProvider } = change.offer;
          failed.push({ listedAs, listedProvider, reason: error.message });
        }
      }
    }
    return { changes: done, refused: [...refused, ...failed] };
  }

  #applyAll(changes: readonly ImportChange[], request: ImportRequest, markup: number): Promise<void> {
    return transaction(this.#deps.db, async (trx) => {
      const entries: ConfigEntry[] = [];
      for (const change of changes) entries.push(...(await this.#applyIn(trx, change, request, markup)));
      if (entries.length > 0) await this.#deps.publish(trx, 'catalog', entries);
    });
  }

  async #applyIn(
    trx: Transaction,
    { offer, modelId, action }: ImportChange,
    { endpoints, confirm }: ImportRequest,
    markup: number,
  ): Promise<ConfigEntry[]> {
    const { catalog, pricing } = this.#deps;
    const entries: ConfigEntry[] = [];
    // What the catalogue says of a model that it has is the operator's; only its price comes from the list.
    if (action === 'new') entries.push(...(await catalog.saveModelIn(trx, offer.model, 'refuse')).entries);
    const providerId = endpoints.get(offer.listedProvider);
    const operation = OPERATIONS_BY_MODE[offer.model.mode];
    // Before the price, which is held against the cost that goes with it.
    if (providerId !== undefined && operation !== undefined) {
      const endpoint = endpointOf(offer.model, modelId, offer.listedAs, offer.listedProvider, providerId, operation);
      entries.push(...(await catalog.offerEndpointIn(trx, { ...endpoint, cost: offer.cards })).entries);
    }
    if (action !== 'unchanged') {
      const input = { modelId, effectiveFromMs: undefined, cards: offer.cards, confirm };
      entries.push(...(await pricing.publishPriceIn(trx, input, markup)).entries);
    }
    return entries;
  }
}

/** In all regions, behind endpoints that an operator put first. */
function endpointOf(model: Model, modelId: string, listedAs: string, listedProvider: string, providerId: string, operation: Operation) {
  return {
    modelId,
    providerId,
    credentialId: undefined,
    upstreamModel: upstreamModelOf(listedAs, listedProvider),
    dialect: 'openai-chat' as const,
    operations: [operation],
    regions: [],
    priority: 10,
    enabled: model.enabled,
  };
}

function upstreamModelOf(listedAs: string, listedProvider: string): string {
  const prefix = `${listedProvider}/`;
  return listedAs.startsWith(prefix) ? listedAs.slice(prefix.length) : listedAs;
}

function keyOf(modelId: string | undefined, providerId: string, upstreamModel: string): string {
  return JSON.stringify([modelId, providerId, upstreamModel]);
}

function readList(format: ListFormat, list: unknown): PriceList {
  try {
    return READERS[format](list);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new GatewayError('invalid_request_error', { message: `list: ${error.message}.`, param: 'list' });
  }
}
