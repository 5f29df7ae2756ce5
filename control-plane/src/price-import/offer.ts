/** What is read from a published price list: models as they could be sold here, and what cannot be. */
import type { Model } from '@meridian/domain/model';
import type { RateCard } from '@meridian/domain/price';

export interface Offer {
  /** As the list names it. */
  readonly listedAs: string;
  /** The list's name of who serves it at this price. */
  readonly listedProvider: string;
  readonly model: Model;
  readonly cards: readonly RateCard[];
  /** What of the listed prices is not sold here, by the list's own words. */
  readonly notSold: readonly string[];
  /** What else whoever publishes these prices should know of them. */
  readonly notes: readonly string[];
}

export interface RefusedOffer {
  readonly listedAs: string;
  readonly listedProvider: string;
  readonly reason: string;
}

/** Each name of the list is in one of the two, variants of one model being one offer. */
export interface PriceList {
  readonly offers: readonly Offer[];
  readonly refused: readonly RefusedOffer[];
}

/**
 * Who makes models and sells them itself, by the names that lists have for them. Its price is the list price, so its models keep their
 * bare names. Anybody else's models are named with the seller in front: they are the seller's offer, at the seller's price.
 */
const MAKERS: Readonly<Record<string, string>> = {
  ai21: 'ai21',
  anthropic: 'anthropic',
  alibaba: 'qwen',
  black_forest_labs: 'black-forest-labs',
  cohere: 'cohere',
  cohere_chat: 'cohere',
  dashscope: 'qwen',
  deepseek: 'deepseek',
  gemini: 'google',
  google: 'google',
  minimax: 'minimax',
  mistral: 'mistralai',
  moonshot: 'moonshotai',
  moonshotai: 'moonshotai',
  openai: 'openai',
  perplexity: 'perplexity',
  stability: 'stability',
  voyage: 'voyage',
  xai: 'x-ai',
  zai: 'z-ai',
  zhipuai: 'z-ai',
};

/** The id and the vendor that a listed model has here. */
export function nameOffer(listedAs: string, listedProvider: string): { readonly id: string; readonly vendor: string } {
  const prefix = `${listedProvider}/`;
  const bare = listedAs.startsWith(prefix) ? listedAs.slice(prefix.length) : listedAs;
  const maker = Object.hasOwn(MAKERS, listedProvider) ? MAKERS[listedProvider] : undefined;
  if (maker !== undefined) return { id: bare, vendor: maker };
  const seller = listedProvider.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  return { id: `${seller}/${bare}`, vendor: seller };
}
