/**
 * The price list of models.dev (`api.json`): an object of providers, each with an object of models; prices in USD for a million tokens.
 */
import type { Modality } from '@meridian/domain/model';
import { priceFromText } from '@meridian/domain/price-text';
import type { Meter } from '@meridian/domain/usage';
import { CardBuilder } from './card-builder.ts';
import { isObject, type Listed, tokensOf } from './listed.ts';
import { nameOffer, type Offer, type PriceList, type RefusedOffer } from './offer.ts';

const METERS: Readonly<Record<string, Meter>> = {
  input: 'input',
  output: 'output',
  cache_read: 'cached_input',
  cache_write: 'cache_write_5m',
  reasoning: 'reasoning',
  input_audio: 'audio_in',
  output_audio: 'audio_out',
};

/** `context_over_200k: {input, output, …}` */
const STEP = /^context_over_(\d+)k$/;
const MODALITIES: readonly Modality[] = ['text', 'image', 'audio', 'video', 'pdf'];

/** Reads the parsed file. Throws TypeError when it is not an object of providers. */
export function readModelsDev(list: unknown): PriceList {
  if (!isObject(list)) throw new TypeError('a price list of models.dev is a JSON object with a key for each provider');
  const offers: Offer[] = [];
  const refused: RefusedOffer[] = [];
  for (const [listedProvider, provider] of Object.entries(list)) {
    if (!isObject(provider) || !isObject(provider.models)) throw new TypeError(`the provider ${listedProvider} has no models`);
    for (const [listedAs, listed] of Object.entries(provider.models)) {
      const read = isObject(listed) ? readModel(listedAs, listedProvider, listed) : 'it is not an object';
      if (typeof read === 'string') refused.push({ listedAs, listedProvider, reason: read });
      else offers.push(read);
    }
  }
  return { offers, refused };
}

/** The offer, or why there is none. */
function readModel(listedAs: string, listedProvider: string, listed: Listed): Offer | string {
  const modalities = isObject(listed.modalities) ? listed.modalities : {};
  const output = modalitiesOf(modalities.output);
  if (output.length > 0 && !output.includes('text')) return `models that only make ${output.join(' and ')} have no prices in this list`;
  const cards = new CardBuilder();
  const notSold = new Set<string>();
  addPrices(cards, notSold, isObject(listed.cost) ? listed.cost : {}, 0);
  if (cards.isEmpty) return notSold.size === 0 ? 'it has no price' : `it is priced only by ${[...notSold].sort().join(', ')}`;
  if (cards.isFree) return 'all its prices are zero';
  const { id, vendor } = nameOffer(listedAs, listedProvider);
  const limit = isObject(listed.limit) ? listed.limit : {};
  const input = modalitiesOf(modalities.input);
  cards.addMediaInput(input);
  return {
    listedAs,
    listedProvider,
    model: {
      id,
      vendor,
      displayName: typeof listed.name === 'string' && listed.name !== '' ? listed.name : id,
      mode: 'chat',
      contextTokens: tokensOf(limit.context),
      maxOutputTokens: tokensOf(limit.output),
      inputModalities: input.length > 0 ? input : ['text'],
      outputModalities: output.length > 0 ? output : ['text'],
      capabilities: [...(listed.tool_call === true ? ['tools'] : []), ...(listed.reasoning === true ? ['reasoning'] : [])],
      hidesReasoning: listed.reasoning === true,
      enabled: true,
    },
    cards: cards.build(),
    notSold: [...notSold].sort(),
    notes: cards.notes(),
  };
}

function addPrices(cards: CardBuilder, notSold: Set<string>, cost: Listed, above: number): void {
  for (const [field, value] of Object.entries(cost)) {
    const [, thousands] = STEP.exec(field) ?? [];
    if (thousands !== undefined && isObject(value) && above === 0) {
      addPrices(cards, notSold, value, Number(thousands) * 1_000);
      continue;
    }
    const meter = Object.hasOwn(METERS, field) ? METERS[field] : undefined;
    const price = typeof value === 'number' ? priceFromText(String(value), 1_000_000) : undefined;
    if (meter === undefined || price === undefined) notSold.add(field);
    else cards.add('standard', above, meter, price);
  }
}

function modalitiesOf(value: unknown): Modality[] {
  return Array.isArray(value) ? MODALITIES.filter((modality) => value.includes(modality)) : [];
}
