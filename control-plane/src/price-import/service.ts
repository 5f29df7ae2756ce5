/** Use cases of price lists: what an import would change, and the import itself. */

import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import type { Model, ModelMode } from '@meridian/domain/model';
import type { ConfigEntry } from '@meridian/domain/snapshot';
import type { EndpointInput, EndpointRow } from '../catalog/catalog.ts';
import type { EndpointName } from '../catalog/loss.ts';
import { sameCards } from '../catalog/rate-card.ts';
import type { CatalogService, Saved } from '../catalog/service.ts';
import type { Database } from '../database/connect.ts';
import { type Transaction, transaction } from '../database/transaction.ts';
import type { PricingService } from '../pricing/service.ts';
import type { Publish } from '../snapshots/publish.ts';
import type { TierService } from '../tiers/service.ts';
import { readLitellm } from './litellm.ts';
import { readModelsDev } from './models-dev.ts';
import type { Offer, PriceList, RefusedOffer } from './offer.ts';
import { chosenOf, type ImportChange, type ImportFilter, type ImportPreview, type Present, previewOf } from './preview.ts';

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
  /** Prices may lie under the cost of an endpoint, and costs above a price. */
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
    const present: Present = {
      modelIds,
      prices: await this.#deps.pricing.pricesFromNowOf([...new Set(modelIds.values())]),
      ...(await this.#endpoints(chosen, modelIds, endpoints)),
      lowestMarkupBasisPoints: await this.#deps.tiers.lowestMarkupBasisPoints(),
    };
    return previewOf(chosen, present, filter.existingOnly);
  }

  /** The endpoints whose cost does not come with the list, and those whose cost does. */
  async #endpoints(
    { offers }: PriceList,
    modelIds: ReadonlyMap<string, string>,
    endpoints: ReadonlyMap<string, string>,
  ): Promise<Pick<Present, 'endpoints' | 'offeredEndpoints'>> {
    const left = new Map(
      (await this.#deps.catalog.endpointsOf([...new Set(modelIds.values())])).map((endpoint) => [keyOf(endpoint), endpoint]),
    );
    const present = new Map(left);
    const offeredEndpoints = new Map<Offer, EndpointName>();
    for (const offer of offers) {
      const { model, listedAs, listedProvider } = offer;
      const providerId = endpoints.get(listedProvider);
      const operation = OPERATIONS_BY_MODE[model.mode];
      if (providerId === undefined || operation === undefined) continue;
      const made = endpointOf(model, modelIds.get(model.id) ?? model.id, listedAs, listedProvider, providerId, operation);
      const endpoint = present.get(keyOf(made));
      left.delete(keyOf(made));
      if (endpoint !== undefined && sameCards(endpoint.cost, offer.cards)) continue;
      if ((endpoint ?? made).enabled) offeredEndpoints.set(offer, { ...made, id: endpoint?.id });
    }
    const enabled = [...left.values()].filter((endpoint) => endpoint.enabled);
    return { endpoints: Map.groupBy(enabled, ({ modelId }) => modelId), offeredEndpoints };
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
    let endpoint: Saved<EndpointRow> | undefined;
    // Before the price, which is held against the cost that goes with it.
    if (providerId !== undefined && operation !== undefined) {
      const made = endpointOf(offer.model, modelId, offer.listedAs, offer.listedProvider, providerId, operation);
      endpoint = await catalog.offerEndpointIn(trx, { ...made, cost: offer.cards });
      entries.push(...endpoint.entries);
    }
    if (action !== 'unchanged') {
      const input = { modelId, effectiveFromMs: undefined, cards: offer.cards, confirm };
      entries.push(...(await pricing.publishPriceIn(trx, input, markup)).entries);
    }
    // A price that stays may be one that is only announced, with a lower one in force until then.
    if (endpoint !== undefined && endpoint.entries.length > 0 && !confirm) await catalog.requireNoLossIn(trx, endpoint.row, markup);
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

/** Equal for what is one endpoint. */
function keyOf({ modelId, providerId, upstreamModel, credentialId }: Omit<EndpointInput, 'cost'>): string {
  return JSON.stringify([modelId, providerId, upstreamModel, credentialId]);
}

function readList(format: ListFormat, list: unknown): PriceList {
  try {
    return READERS[format](list);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new GatewayError('invalid_request_error', { message: `list: ${error.message}.`, param: 'list' });
  }
}
