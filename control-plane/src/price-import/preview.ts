/** What an import would do: offers of a list held against the catalogue as it is. */
import { completedCards } from '@meridian/domain/complete-cards';
import { modelNames, normalizeModelName } from '@meridian/domain/model';
import type { ListPrice, NanoPerMillion, RateCard, ServiceTier } from '@meridian/domain/price';
import type { Meter } from '@meridian/domain/usage';
import type { EndpointInput } from '../catalog/catalog.ts';
import { describeLoss, type EndpointName, endpointInWords, lossesAgainst } from '../catalog/loss.ts';
import { MODEL_NAME } from '../catalog/model-name-field.ts';
import { pricesOf, problemOfCards } from '../catalog/rate-card.ts';
import type { Offer, PriceList, RefusedOffer } from './offer.ts';

/** `new`: the model is made and priced · `priced`: it is there without a price · `changed`: its price becomes a new version. */
export type ImportAction = 'new' | 'priced' | 'changed' | 'unchanged';

export interface PriceChange {
  readonly serviceTier: ServiceTier;
  readonly aboveInputTokens: number;
  readonly meter: Meter;
  /** Undefined where there was, or will be, none. */
  readonly was: NanoPerMillion | undefined;
  readonly becomes: NanoPerMillion | undefined;
}

export interface ImportChange {
  readonly offer: Offer;
  /** Of the model as the catalogue has it, which may write its name otherwise. */
  readonly modelId: string;
  readonly action: ImportAction;
  /** Empty for a new model. */
  readonly prices: readonly PriceChange[];
  /** Why it is refused unless it is confirmed: the price lies under the cost of an endpoint, or a new cost above a price. */
  readonly needsConfirm: string | undefined;
}

export interface ImportPreview {
  readonly changes: readonly ImportChange[];
  readonly refused: readonly RefusedOffer[];
}

/** What to take of a list; an empty list of names takes all. */
export interface ImportFilter {
  readonly providers: readonly string[];
  readonly models: readonly string[];
  /** Only models that the catalogue has. */
  readonly existingOnly: boolean;
}

/** The catalogue as far as the offers need it. */
export interface Present {
  /** By a model's name as the list writes it: its id here. */
  readonly modelIds: ReadonlyMap<string, string>;
  /** By model id: the list prices that can still be charged, the newest last. */
  readonly prices: ReadonlyMap<string, readonly ListPrice[]>;
  /** By model id: what enabled endpoints cost that the import leaves as they are. */
  readonly endpoints: ReadonlyMap<string, readonly PresentEndpoint[]>;
  /** The enabled endpoint that comes to cost what is offered, where it is new or costs something else. */
  readonly offeredEndpoints: ReadonlyMap<Offer, EndpointName>;
  readonly lowestMarkupBasisPoints: number;
}

export type PresentEndpoint = Pick<EndpointInput, 'cost' | 'providerId' | 'upstreamModel'> & { readonly id: string };

export function chosenOf(list: PriceList, filter: ImportFilter): PriceList {
  const isChosen = (name: string, listedAs: string, provider: string): boolean =>
    (filter.providers.length === 0 || filter.providers.includes(provider)) &&
    (filter.models.length === 0 || filter.models.includes(listedAs) || filter.models.includes(name));
  return {
    offers: list.offers.filter(({ model, listedAs, listedProvider }) => isChosen(model.id, listedAs, listedProvider)),
    refused: list.refused.filter(({ listedAs, listedProvider }) => isChosen(listedAs, listedAs, listedProvider)),
  };
}

/**
 * Of two offers for one model the first stands; lists have the maker's own first. What a list names by a mere alias of a model here is
 * the price of whatever the vendor lets that name lead to: it never becomes the model's price, nor does it keep the model's own from it.
 */
export function previewOf(list: PriceList, present: Present, existingOnly: boolean): ImportPreview {
  const refused: RefusedOffer[] = [...list.refused];
  const taken = new Map<string, Offer>();
  const changes = new Map<Offer, ImportChange>();
  const aliases: { readonly offer: Offer; readonly modelId: string }[] = [];
  const refuse = ({ listedAs, listedProvider }: Offer, reason: string) => refused.push({ listedAs, listedProvider, reason });
  for (const offer of list.offers) {
    const { model } = offer;
    const modelId = present.modelIds.get(model.id) ?? model.id;
    const isThere = present.modelIds.has(model.id);
    if (existingOnly && !isThere) continue;
    const other = taken.get(normalizeModelName(modelId));
    const problem = problemOfCards(offer.cards);
    if (!MODEL_NAME.safeParse(model.id).success) refuse(offer, `${model.id} cannot be a model's id here`);
    else if (problem !== undefined) refuse(offer, `its prices cannot be used: ${problem}`);
    else if (isThere && !modelNames({ id: modelId, vendor: model.vendor }).includes(normalizeModelName(model.id)))
      aliases.push({ offer, modelId });
    else if (other !== undefined) refuse(offer, `it is the same model as ${other.listedAs}`);
    else {
      taken.set(normalizeModelName(modelId), offer);
      changes.set(offer, changeOf(offer, modelId, isThere, present));
    }
  }
  for (const { offer, modelId } of aliases) {
    const own = taken.get(normalizeModelName(modelId));
    const price = own?.cards ?? present.prices.get(modelId)?.at(-1)?.cards;
    if (price === undefined || !sameInEffect(price, offer.cards)) refuse(offer, `it is an alias of ${modelId} here, and its price another`);
    else if (own !== undefined) refuse(offer, `it is the same model as ${own.listedAs}`);
    else {
      taken.set(normalizeModelName(modelId), offer);
      changes.set(offer, changeOf(offer, modelId, true, present));
    }
  }
  return { changes: list.offers.flatMap((offer) => changes.get(offer) ?? []), refused };
}

function changeOf(offer: Offer, modelId: string, isThere: boolean, present: Present): ImportChange {
  const price = present.prices.get(modelId)?.at(-1);
  const change = { offer, modelId, prices: [], needsConfirm: undefined };
  if (!isThere) return { ...change, action: 'new' };
  const needsConfirm = lossOf(offer, modelId, present);
  if (price === undefined) return { ...change, action: 'priced', prices: differences([], offer.cards), needsConfirm };
  // Cards in another order, or one that names what the one before it says already.
  if (sameInEffect(price.cards, offer.cards)) return { ...change, action: 'unchanged', needsConfirm: lossOfCost(offer, modelId, present) };
  return { ...change, action: 'changed', prices: differences(price.cards, offer.cards), needsConfirm };
}

/** What the price would be refused for, in words. */
function lossOf({ cards }: Offer, modelId: string, { endpoints, lowestMarkupBasisPoints }: Present): string | undefined {
  for (const { id, cost } of endpoints.get(modelId) ?? []) {
    const [loss] = lossesAgainst(cards, cost, lowestMarkupBasisPoints);
    if (loss !== undefined) return describeLoss(loss, modelId, `endpoint ${id}`);
  }
  return undefined;
}

/**
 * What the cost of an endpoint would be refused for, in words, where the list price stays: the newest is the one offered, but may only
 * be announced, and what is charged until it begins may be less.
 */
function lossOfCost(offer: Offer, modelId: string, present: Present): string | undefined {
  const endpoint = present.offeredEndpoints.get(offer);
  if (endpoint === undefined) return undefined;
  for (const { cards } of present.prices.get(modelId) ?? []) {
    const [loss] = lossesAgainst(cards, offer.cards, present.lowestMarkupBasisPoints);
    if (loss !== undefined) return describeLoss(loss, modelId, endpointInWords(endpoint));
  }
  return undefined;
}

function sameInEffect(a: readonly RateCard[], b: readonly RateCard[]): boolean {
  return differences(a, b).length === 0;
}

/** Every price that differs, in the order of the new cards, then of the old ones; what follows from the cards is in them. */
function differences(was: readonly RateCard[], becomes: readonly RateCard[]): PriceChange[] {
  const before = flat(was);
  const after = flat(becomes);
  const changes: PriceChange[] = [];
  for (const [key, { place }] of new Map([...after, ...before])) {
    const old = before.get(key)?.price;
    const now = after.get(key)?.price;
    if (old !== now) changes.push({ ...place, was: old, becomes: now });
  }
  return changes;
}

type Place = Pick<PriceChange, 'serviceTier' | 'aboveInputTokens' | 'meter'>;

function keyOf({ serviceTier, aboveInputTokens, meter }: Place): string {
  return `${serviceTier} ${aboveInputTokens} ${meter}`;
}

function flat(cards: readonly RateCard[]): Map<string, { readonly place: Place; readonly price: NanoPerMillion }> {
  const prices = new Map<string, { readonly place: Place; readonly price: NanoPerMillion }>();
  for (const card of completedCards(cards)) {
    for (const [meter, price] of pricesOf(card)) {
      const place = { serviceTier: card.serviceTier, aboveInputTokens: card.aboveInputTokens, meter };
      prices.set(keyOf(place), { place, price });
    }
  }
  return prices;
}
