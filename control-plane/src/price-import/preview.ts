/** What an import would do: offers of a list held against the catalogue as it is. */
import { normalizeModelName } from '@meridian/domain/model';
import type { ListPrice, NanoPerMillion, RateCard, ServiceTier } from '@meridian/domain/price';
import type { Meter } from '@meridian/domain/usage';
import { MODEL_NAME } from '../catalog/model-name-field.ts';
import { pricesOf, problemOfCards, sameCards } from '../catalog/rate-card.ts';
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
  /** By model id: the newest list price. */
  readonly prices: ReadonlyMap<string, ListPrice>;
}

export function chosenOf(list: PriceList, filter: ImportFilter): PriceList {
  const isChosen = (name: string, listedAs: string, provider: string): boolean =>
    (filter.providers.length === 0 || filter.providers.includes(provider)) &&
    (filter.models.length === 0 || filter.models.includes(listedAs) || filter.models.includes(name));
  return {
    offers: list.offers.filter(({ model, listedAs, listedProvider }) => isChosen(model.id, listedAs, listedProvider)),
    refused: list.refused.filter(({ listedAs, listedProvider }) => isChosen(listedAs, listedAs, listedProvider)),
  };
}

/** Of two offers for one model the first stands; lists have the maker's own first. */
export function previewOf(list: PriceList, present: Present, existingOnly: boolean): ImportPreview {
  const changes: ImportChange[] = [];
  const refused: RefusedOffer[] = [...list.refused];
  const taken = new Map<string, string>();
  for (const offer of list.offers) {
    const { model, cards, listedAs, listedProvider } = offer;
    const modelId = present.modelIds.get(model.id) ?? model.id;
    const isThere = present.modelIds.has(model.id);
    if (existingOnly && !isThere) continue;
    const name = normalizeModelName(modelId);
    const other = taken.get(name);
    const problem = problemOfCards(cards);
    if (!MODEL_NAME.safeParse(model.id).success)
      refused.push({ listedAs, listedProvider, reason: `${model.id} cannot be a model's id here` });
    else if (other !== undefined) refused.push({ listedAs, listedProvider, reason: `it is the same model as ${other}` });
    else if (problem !== undefined) refused.push({ listedAs, listedProvider, reason: `its prices cannot be used: ${problem}` });
    else {
      taken.set(name, listedAs);
      changes.push(changeOf(offer, modelId, isThere, present.prices.get(modelId)));
    }
  }
  return { changes, refused };
}

function changeOf(offer: Offer, modelId: string, isThere: boolean, price: ListPrice | undefined): ImportChange {
  if (!isThere) return { offer, modelId, action: 'new', prices: [] };
  if (price === undefined) return { offer, modelId, action: 'priced', prices: differences([], offer.cards) };
  if (sameCards(price.cards, offer.cards)) return { offer, modelId, action: 'unchanged', prices: [] };
  const prices = differences(price.cards, offer.cards);
  // Cards in another order, or one that names what the one before it says already.
  return { offer, modelId, action: prices.length === 0 ? 'unchanged' : 'changed', prices };
}

/** Every price that differs, in the order of the new cards, then of the old ones. */
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
  for (const card of cards) {
    for (const [meter, price] of pricesOf(card)) {
      const place = { serviceTier: card.serviceTier, aboveInputTokens: card.aboveInputTokens, meter };
      prices.set(keyOf(place), { place, price });
    }
  }
  return prices;
}
