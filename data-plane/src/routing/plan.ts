/** Request + picture → candidates, each with the reason why it is there or not. Pure. */
import { withoutPrice } from '@meridian/domain/billed-usage';
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { type AliasScope, type Model, type ModelSettings, modelServes, nearestModelNames } from '@meridian/domain/model';
import type { ListPrice, RateCard, ServiceTier } from '@meridian/domain/price';
import type { Region } from '@meridian/domain/region';
import { type ApiKey, type Plan as CustomerPlan, type Endpoint, type Provider, priceInForce } from '@meridian/domain/snapshot';
import { type Component, componentOf, type Meter } from '@meridian/domain/usage';
import type { RequestFacts } from '../dialect/dialect.ts';
import type { Catalogue } from './catalogue.ts';

const NEAR_NAMES = 5;
/** Without a view of each provider's health a second try would double the wait for an outage that everybody sees; failover brings both. */
const MAX_CANDIDATES = 1;

/** One way the request can go. */
export interface Candidate {
  readonly model: Model;
  readonly endpoint: Endpoint;
  readonly provider: Provider;
  readonly secret: string;
  readonly listPrice: ListPrice;
}

export interface Plan {
  readonly model: Model;
  /** The name that was asked for is an alias of the model's. */
  readonly viaAlias?: boolean;
  /** How the alias wants the model to be used; never empty. Who sends the request as the client wrote it does not. */
  readonly settings?: ModelSettings | undefined;
  /** In the order in which they are tried; never empty. */
  readonly candidates: readonly [Candidate, ...Candidate[]];
  /** The list price of the asked model, pinned for the whole request. */
  readonly listPrice: ListPrice;
}

/** Why an endpoint cannot serve here and now; undefined when it can. */
export function unusable(catalogue: Catalogue, endpoint: Endpoint, region: Region): string | undefined {
  if (!endpoint.enabled) return 'the endpoint is disabled';
  if (endpoint.regions.length > 0 && !endpoint.regions.includes(region)) return `the endpoint does not serve ${region}`;
  if (catalogue.provider(endpoint.providerId)?.enabled !== true) return 'the provider is disabled';
  if (catalogue.credentialSecret(endpoint.credentialId) === undefined) return 'the endpoint has no usable credential';
  return undefined;
}

/** Who asks, and the plan of the account. */
export interface Entitled {
  readonly key: ApiKey;
  readonly plan: CustomerPlan;
}

/** Whose aliases apply. */
export function askerOf({ key, plan }: Entitled): AliasScope {
  return { accountId: key.accountId, planId: plan.id };
}

/** Whether the plan and the key let a model be used at all. */
export function mayUse({ key, plan }: Entitled, model: Model): boolean {
  return planAllows(plan, model) && (key.allowedModels.length === 0 || key.allowedModels.includes(model.id));
}

function planAllows({ allowedModels }: CustomerPlan, model: Model): boolean {
  return allowedModels === undefined || allowedModels.length === 0 || allowedModels.includes(model.id);
}

/**
 * Throws GatewayError 404 `model_not_found` (with near names), 403 `model_not_allowed`, 400 `invalid_request_error` for a
 * request that asks for something the model's list price has no price for, or 503 `overloaded` when the model exists but nothing can serve it here at the moment.
 */
export function plan(catalogue: Catalogue, facts: RequestFacts, who: Entitled, region: Region, nowMs: number): Plan {
  const found = catalogue.modelByName(facts.model, askerOf(who));
  if (found === undefined || !found.model.enabled) throw notFound(catalogue, facts.model, who);
  const { model, viaAlias, settings } = found;
  if (!mayUse(who, model)) {
    const message = planAllows(who.plan, model)
      ? `This key may not use the model '${model.id}'.`
      : `The plan of this account does not include the model '${model.id}'.`;
    throw new GatewayError('model_not_allowed', { message, param: 'model' });
  }
  if (!modelServes(model.mode, facts.operation)) {
    throw new GatewayError('model_not_found', {
      message: `The model '${model.id}' does not serve ${facts.operation}: it is for ${model.mode.replace('_', ' ')}.`,
      param: 'model',
    });
  }
  const book = catalogue.priceBook(model.id);
  const listPrice = book === undefined ? undefined : priceInForce(book, nowMs);
  if (listPrice === undefined) {
    throw new GatewayError('overloaded', {
      message: `The model '${model.id}' has no price in force.`,
      retryAfterSeconds: 5,
      cause: 'no list price',
    });
  }
  refuseUnpriced(model, listPrice, facts);
  const candidates: Candidate[] = [];
  const refused: string[] = [];
  for (const endpoint of catalogue.endpointsOf(model.id)) {
    const reason = endpoint.operations.includes(facts.operation)
      ? unusable(catalogue, endpoint, region)
      : `the endpoint does not serve ${facts.operation}`;
    const provider = catalogue.provider(endpoint.providerId);
    const secret = catalogue.credentialSecret(endpoint.credentialId);
    if (reason !== undefined || provider === undefined || secret === undefined) refused.push(`${endpoint.id}: ${reason}`);
    else candidates.push({ model, endpoint, provider, secret, listPrice });
  }
  const [first, ...others] = candidates.slice(0, MAX_CANDIDATES);
  if (first === undefined) {
    throw new GatewayError('overloaded', {
      message: `The model '${model.id}' cannot be reached from this region at the moment.`,
      retryAfterSeconds: 5,
      cause: refused.join('; ') || 'no endpoint',
    });
  }
  return { model, viaAlias, settings, candidates: [first, ...others], listPrice };
}

/** What has no price would be given away: the request is refused before anything is sent. */
function refuseUnpriced(model: Model, { cards }: ListPrice, { operation, serviceTier, beyondText = [] }: RequestFacts): void {
  const text = textWithoutPrice(operation, cards, serviceTier);
  if (text !== undefined) throw unpriced(model, text, 'model');
  for (const { meter, param } of beyondText) {
    if (withoutPrice([meter], cards, serviceTier).length > 0) throw unpriced(model, meter, param);
  }
}

/** What every request of an operation uses. */
const TEXT_METERS: Readonly<Record<Operation, readonly Meter[]>> = { chat: ['input', 'output'], embeddings: ['input'] };

/** Cards are immutable and few, requests are many. */
const textWithoutPriceByCards = new WeakMap<readonly RateCard[], Map<ServiceTier, Partial<Record<Operation, Meter | 'none'>>>>();

function textWithoutPrice(operation: Operation, cards: readonly RateCard[], serviceTier: ServiceTier): Meter | undefined {
  let byTier = textWithoutPriceByCards.get(cards);
  if (byTier === undefined) {
    byTier = new Map();
    textWithoutPriceByCards.set(cards, byTier);
  }
  let byOperation = byTier.get(serviceTier);
  if (byOperation === undefined) {
    byOperation = {};
    byTier.set(serviceTier, byOperation);
  }
  byOperation[operation] ??= withoutPrice(TEXT_METERS[operation], cards, serviceTier)[0] ?? 'none';
  const meter = byOperation[operation];
  return meter === 'none' ? undefined : meter;
}

/** Components in words; those that are missing speak for themselves. */
const IN_WORDS: Readonly<Partial<Record<Component, string>>> = {
  input: 'input',
  output: 'output',
  audio_in: 'audio input',
  audio_out: 'audio output',
  image_in: 'image input',
  image_out: 'image output',
  cache_write_1h: 'an hour of prompt cache',
  per_tool_call: "calls of the provider's own tools",
};

function unpriced(model: Model, meter: Meter, param: string): GatewayError {
  const what = IN_WORDS[componentOf(meter)];
  const name = what === undefined ? meter : `${what} (${meter})`;
  const remedy = param === 'model' ? 'choose another model.' : `leave out '${param}' or choose another model.`;
  return new GatewayError('invalid_request_error', {
    message: `The model '${model.id}' has no price for ${name}, so it cannot be used for this request: ${remedy}`,
    param,
  });
}

function notFound(catalogue: Catalogue, asked: string, who: Entitled): GatewayError {
  const names: string[] = [];
  for (const model of catalogue.models()) if (model.enabled && mayUse(who, model)) names.push(model.id);
  const near = nearestModelNames(asked, names, NEAR_NAMES);
  const hint = near.length === 0 ? '' : ` Did you mean ${near.map((name) => `'${name}'`).join(', ')}?`;
  return new GatewayError('model_not_found', {
    message: `The model '${asked}' does not exist.${hint}`,
    param: 'model',
    details: { near_names: near },
  });
}
