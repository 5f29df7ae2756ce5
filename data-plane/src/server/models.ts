/** `GET /v1/models`: what this key can call now. */
import { customerPrices } from '@meridian/domain/customer-price';
import { OPERATIONS, type Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { type Model, modelServes, nearestModelNames } from '@meridian/domain/model';
import { priceInForce } from '@meridian/domain/snapshot';
import type { Principal } from '../admission/authenticate.ts';
import type { Catalogue } from '../routing/catalogue.ts';
import { askerOf, mayUse, unusable } from '../routing/plan.ts';

const PATHS: Readonly<Record<Operation, string>> = { chat: '/v1/chat/completions', embeddings: '/v1/embeddings' };

/** A model in OpenAI's shape, with what our customers ask about added. */
export interface ModelObject {
  readonly id: string;
  readonly object: 'model';
  /** When its first price came into force (seconds since 1970). */
  readonly created: number;
  readonly owned_by: string;
  readonly [extension: string]: unknown;
}

/** Every model that this key and its account's plan may use and that a live endpoint in this region serves, by id. */
export function listModels(
  catalogue: Catalogue,
  principal: Principal,
  region: string,
  nowMs: number,
): { object: 'list'; data: ModelObject[] } {
  const data: ModelObject[] = [];
  for (const model of catalogue.models()) {
    const object = modelObject(catalogue, model, principal, region, nowMs);
    if (object !== undefined) data.push(object);
  }
  return { object: 'list', data: data.sort((a, b) => (a.id < b.id ? -1 : 1)) };
}

/** One model by any of its names; throws 404 `model_not_found`. */
export function retrieveModel(catalogue: Catalogue, name: string, principal: Principal, region: string, nowMs: number): ModelObject {
  const found = catalogue.modelByName(name, askerOf(principal));
  const object = found === undefined ? undefined : modelObject(catalogue, found.model, principal, region, nowMs);
  if (object !== undefined) return object;
  const callable = listModels(catalogue, principal, region, nowMs).data.map((model) => model.id);
  const near = nearestModelNames(name, callable, 5);
  throw new GatewayError('model_not_found', {
    message: `The model '${name}' does not exist or cannot be called with this key.`,
    param: 'model',
    details: { near_names: near },
  });
}

/** Undefined for a model that the key cannot call now. */
function modelObject(catalogue: Catalogue, model: Model, principal: Principal, region: string, nowMs: number): ModelObject | undefined {
  if (!model.enabled || !mayUse(principal, model)) return undefined;
  const book = catalogue.priceBook(model.id);
  const price = book === undefined ? undefined : priceInForce(book, nowMs);
  if (book === undefined || price === undefined) return undefined;
  const live = catalogue.endpointsOf(model.id).filter((endpoint) => unusable(catalogue, endpoint, region) === undefined);
  const operations = OPERATIONS.filter(
    (operation) => modelServes(model.mode, operation) && live.some((endpoint) => endpoint.operations.includes(operation)),
  );
  if (operations.length === 0) return undefined;
  return {
    id: model.id,
    object: 'model',
    created: Math.floor((book.versions[0]?.effectiveFromMs ?? 0) / 1000),
    owned_by: model.vendor,
    name: model.displayName,
    context_length: model.contextTokens ?? null,
    max_output_tokens: model.maxOutputTokens ?? null,
    input_modalities: model.inputModalities,
    output_modalities: model.outputModalities,
    capabilities: model.capabilities,
    supported_endpoints: operations.map((operation) => PATHS[operation]),
    aliases: [`${model.vendor}/${model.id}`, ...catalogue.aliasesOf(model.id, askerOf(principal))],
    pricing: customerPrices(price.cards, principal.standing.tier.markupBasisPoints),
  };
}
