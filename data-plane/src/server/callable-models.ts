/** The models that a key can call now, whatever shape they are told in. */
import { customerPrices } from '@meridian/domain/customer-price';
import { OPERATIONS } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { type Model, modelServes, nearestModelNames } from '@meridian/domain/model';
import type { Region } from '@meridian/domain/region';
import { priceInForce } from '@meridian/domain/snapshot';
import type { Principal } from '../admission/authenticate.ts';
import { endpointsOf } from '../dialect/endpoints.ts';
import type { ListedModel } from '../dialect/listed-model.ts';
import type { Catalogue } from '../routing/catalogue.ts';
import { askerOf, mayUse, unusable } from '../routing/plan.ts';

const NEAR_NAMES = 5;

/** Every model that this key and its account's plan may use and that a live endpoint in this region serves, by id. */
export function callableModels(catalogue: Catalogue, principal: Principal, region: Region, nowMs: number): ListedModel[] {
  const found: ListedModel[] = [];
  for (const model of catalogue.models()) {
    const callable = callableAs(catalogue, model, principal, region, nowMs);
    if (callable !== undefined) found.push(callable);
  }
  return found.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** One model by any of its names; throws 404 `model_not_found`. */
export function callableModel(catalogue: Catalogue, name: string, principal: Principal, region: Region, nowMs: number): ListedModel {
  const named = catalogue.modelByName(name, askerOf(principal));
  const found = named === undefined ? undefined : callableAs(catalogue, named.model, principal, region, nowMs);
  if (found !== undefined) return found;
  const callable = callableModels(catalogue, principal, region, nowMs).map((model) => model.id);
  throw new GatewayError('model_not_found', {
    message: `The model '${name}' does not exist or cannot be called with this key.`,
    param: 'model',
    details: { near_names: nearestModelNames(name, callable, NEAR_NAMES) },
  });
}

/** Undefined for a model that the key cannot call now. */
function callableAs(catalogue: Catalogue, model: Model, principal: Principal, region: Region, nowMs: number): ListedModel | undefined {
  if (!model.enabled || !mayUse(principal, model)) return undefined;
  const book = catalogue.priceBook(model.id);
  const price = book === undefined ? undefined : priceInForce(book, nowMs);
  if (book === undefined || price === undefined) return undefined;
  const live = catalogue.endpointsOf(model.id).filter((endpoint) => unusable(catalogue, endpoint, region) === undefined);
  const operations = OPERATIONS.filter(
    (operation) => modelServes(model.mode, operation) && live.some((endpoint) => endpoint.operations.includes(operation)),
  );
  if (operations.length === 0) return undefined;
  const [id, ...aliases] = namesOf(catalogue, model, principal);
  if (id === undefined) return undefined;
  return {
    id,
    model,
    createdMs: book.versions[0]?.effectiveFromMs ?? 0,
    operations,
    endpoints: operations.flatMap(endpointsOf),
    aliases,
    prices: customerPrices(price.cards, principal.standing.tier.markupBasisPoints),
  };
}

/** Its own names before those that were made for it; a name that stands for another model for this account is none of them. */
function namesOf(catalogue: Catalogue, model: Model, principal: Principal): string[] {
  const asker = askerOf(principal);
  const names = new Set([model.id, `${model.vendor}/${model.id}`, ...catalogue.aliasesOf(model.id, asker)]);
  return [...names].filter((name) => catalogue.modelByName(name, asker)?.model.id === model.id);
}
