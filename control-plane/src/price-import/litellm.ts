/**
 * The price list of LiteLLM (`model_prices_and_context_window.json`): one object, a key for each model, prices in USD for one
 * unit in fields whose names tell the unit, the service tier and the long-context step.
 */
import type { Modality, ModelMode } from '@meridian/domain/model';
import type { ServiceTier } from '@meridian/domain/price';
import { priceFromText } from '@meridian/domain/price-text';
import type { Meter } from '@meridian/domain/usage';
import { isMeter } from '@meridian/domain/usage';
import { CardBuilder } from './card-builder.ts';
import { isObject, type Listed, tokensOf } from './listed.ts';
import { nameOffer, type Offer, type PriceList, type RefusedOffer } from './offer.ts';

const MODES: Readonly<Record<string, ModelMode>> = {
  chat: 'chat',
  responses: 'chat',
  completion: 'chat',
  embedding: 'embedding',
  image_generation: 'image_generation',
  image_edit: 'image_edit',
  video_generation: 'video_generation',
};

/** The field without its tier and step → what it prices. */
const METERS: Readonly<Record<string, Meter>> = {
  input_cost_per_token: 'input',
  cache_read_input_token_cost: 'cached_input',
  input_cost_per_token_cache_hit: 'cached_input',
  cache_creation_input_token_cost: 'cache_write_5m',
  cache_creation_input_token_cost_above_1hr: 'cache_write_1h',
  output_cost_per_token: 'output',
  output_cost_per_reasoning_token: 'reasoning',
  input_cost_per_audio_token: 'audio_in',
  cache_read_input_audio_token_cost: 'cached_input:audio',
  output_cost_per_audio_token: 'audio_out',
  input_cost_per_image_token: 'image_in',
  output_cost_per_image_token: 'image_out',
  output_cost_per_image: 'per_image',
  output_cost_per_second: 'per_second',
  output_cost_per_video_per_second: 'per_second',
  output_cost_per_second_1080p: 'per_second:1080p',
  input_cost_per_request: 'per_request',
};

const TIER_SUFFIXES: Readonly<Record<string, ServiceTier>> = { priority: 'priority', flex: 'flex', batches: 'batch' };
const SEARCH_FIELD = 'search_context_cost_per_query';
const WEB_SEARCH: Meter = 'per_tool_call:web_search';
/** Not a model but a description of the fields. */
const SPECIMEN = 'sample_spec';
/** `1024-x-1024/50-steps/name`, `hd/1024-x-1792/name`: the price of a variant, under the size that it has. */
const VARIANT = /^(?:(?<quality>low|medium|high|standard|hd)\/)?(?<width>\d+)-x-(?<height>\d+)\/(?:(?<steps>\d+|max)-steps\/)?(?<name>.+)$/;

/** Reads the parsed file. Throws TypeError when it is not an object of objects. */
export function readLitellm(list: unknown): PriceList {
  if (!isObject(list)) throw new TypeError('a price list of LiteLLM is a JSON object with a key for each model');
  const groups = new Map<string, { listedAs: string; provider: string; entries: { variant: string | undefined; listed: Listed }[] }>();
  const refused: RefusedOffer[] = [];
  for (const [listedAs, listed] of Object.entries(list)) {
    if (listedAs === SPECIMEN || !isObject(listed)) continue;
    const provider = textOf(listed.litellm_provider) ?? '';
    if (provider === '') {
      refused.push({ listedAs, listedProvider: provider, reason: 'it names no provider' });
      continue;
    }
    const { name, variant } = variantOf(listedAs, provider);
    const { id } = nameOffer(name, provider);
    const group = groups.get(`${provider} ${id}`) ?? { listedAs: name, provider, entries: [] };
    groups.set(`${provider} ${id}`, group);
    if (variant === undefined) group.listedAs = listedAs;
    group.entries.push({ variant, listed });
  }
  const offers: Offer[] = [];
  for (const { listedAs, provider, entries } of groups.values()) {
    const read = readGroup(listedAs, provider, entries);
    if ('reason' in read) refused.push(read);
    else offers.push(read);
  }
  return { offers, refused };
}

function readGroup(
  listedAs: string,
  listedProvider: string,
  entries: readonly { readonly variant: string | undefined; readonly listed: Listed }[],
): Offer | RefusedOffer {
  const refuse = (reason: string): RefusedOffer => ({ listedAs, listedProvider, reason });
  const main = (entries.find(({ variant }) => variant === undefined) ?? entries[0])?.listed ?? {};
  const modeText = textOf(main.mode);
  const mode = modeText !== undefined && Object.hasOwn(MODES, modeText) ? MODES[modeText] : undefined;
  if (mode === undefined) return refuse(modeText === undefined ? 'it names no mode' : `models for ${modeText} are not offered`);
  const cards = new CardBuilder();
  const notSold = new Set<string>();
  for (const { variant, listed } of entries) addPrices(cards, notSold, listed, variant, mode);
  if (cards.isEmpty) return refuse(notSold.size === 0 ? 'it has no price' : `it is priced only by ${[...notSold].sort().join(', ')}`);
  if (cards.isFree) return refuse('all its prices are zero');
  const input = modalitiesOf(main, mode, 'in');
  cards.addMediaInput(input);
  return {
    listedAs,
    listedProvider,
    model: {
      ...nameOffer(listedAs, listedProvider),
      displayName: nameOffer(listedAs, listedProvider).id,
      mode,
      contextTokens: limitOf(main.max_input_tokens) ?? limitOf(main.max_tokens),
      maxOutputTokens: mode === 'embedding' ? undefined : (limitOf(main.max_output_tokens) ?? limitOf(main.max_tokens)),
      inputModalities: input,
      outputModalities: modalitiesOf(main, mode, 'out'),
      capabilities: capabilitiesOf(main),
      hidesReasoning: main.supports_reasoning === true,
      enabled: true,
    },
    cards: cards.build(),
    notSold: [...notSold].sort(),
    notes: cards.notes(),
  };
}

function addPrices(cards: CardBuilder, notSold: Set<string>, listed: Listed, variant: string | undefined, mode: ModelMode): void {
  for (const [field, value] of Object.entries(listed)) {
    if (field === 'tiered_pricing') {
      addSteps(cards, notSold, value);
    } else if (field === SEARCH_FIELD) {
      addSearch(cards, value);
    } else if (isPrice(field, value)) {
      const place = placeOf(field, mode);
      const price = priceFromText(String(value), 1);
      if (place === undefined || price === undefined) notSold.add(field);
      else cards.add(place.tier, place.above, variant !== undefined && place.meter === 'per_image' ? meterOf(variant) : place.meter, price);
    }
  }
}

/** `[{range: [0, 256000], input_cost_per_token: …}, …]` */
function addSteps(cards: CardBuilder, notSold: Set<string>, steps: unknown): void {
  for (const step of Array.isArray(steps) ? steps : []) {
    if (!isObject(step) || !Array.isArray(step.range)) continue;
    const above = limitOf(step.range[0]) ?? 0;
    for (const [field, value] of Object.entries(step)) {
      if (!isPrice(field, value)) continue;
      const meter = Object.hasOwn(METERS, field) ? METERS[field] : undefined;
      const price = priceFromText(String(value), 1);
      if (meter === undefined || price === undefined) notSold.add(field);
      else cards.add('standard', above, meter, price);
    }
  }
}

/** A search costs by the size of its context; which one it was is not always told, so the dearest is the general price. */
function addSearch(cards: CardBuilder, sizes: unknown): void {
  if (!isObject(sizes)) return;
  for (const value of Object.values(sizes)) {
    const price = typeof value === 'number' ? priceFromText(String(value), 1) : undefined;
    if (price !== undefined) cards.add('standard', 0, WEB_SEARCH, price);
  }
}

/** `output_cost_per_token_above_200k_tokens_priority` → output, above 200,000, priority. */
function placeOf(
  field: string,
  mode: ModelMode,
): { readonly tier: ServiceTier; readonly above: number; readonly meter: Meter } | undefined {
  const [, base = field, suffix] = /^(.*)_(priority|flex|batches)$/.exec(field) ?? [];
  const tier = suffix === undefined ? 'standard' : (TIER_SUFFIXES[suffix] ?? 'standard');
  const [, name = base, thousands] = /^(.*)_above_(\d+)k_tokens$/.exec(base) ?? [];
  // An image generator's input that is priced by the image is its output, in the list's older words.
  const known = name === 'input_cost_per_image' && mode === 'image_generation' ? 'output_cost_per_image' : name;
  if (!Object.hasOwn(METERS, known)) return undefined;
  const meter = METERS[known];
  return meter === undefined ? undefined : { tier, above: thousands === undefined ? 0 : Number(thousands) * 1_000, meter };
}

function variantOf(listedAs: string, provider: string): { readonly name: string; readonly variant: string | undefined } {
  const prefix = `${provider}/`;
  const bare = listedAs.startsWith(prefix) ? listedAs.slice(prefix.length) : listedAs;
  const { quality, width, height, steps, name } = VARIANT.exec(bare)?.groups ?? {};
  if (name === undefined) return { name: listedAs, variant: undefined };
  const parts = [`${width}x${height}`, quality, steps === undefined ? undefined : `${steps}-steps`].filter((part) => part !== undefined);
  return { name: name.startsWith(prefix) ? name.slice(prefix.length) : name, variant: parts.join(':') };
}

function meterOf(variant: string): Meter {
  const meter = `per_image:${variant}`;
  return isMeter(meter) ? meter : 'per_image';
}

function isPrice(field: string, value: unknown): value is number {
  return typeof value === 'number' && /(^|_)(cost|price)(_|$)/.test(field);
}

const CAPABILITIES: Readonly<Record<string, string>> = {
  supports_function_calling: 'tools',
  supports_tool_choice: 'tool_choice',
  supports_parallel_function_calling: 'parallel_tools',
  supports_response_schema: 'json_schema',
  supports_reasoning: 'reasoning',
  supports_prompt_caching: 'prompt_caching',
  supports_web_search: 'web_search',
  supports_system_messages: 'system_messages',
};

function capabilitiesOf(listed: Listed): string[] {
  return Object.entries(CAPABILITIES).flatMap(([field, capability]) => (listed[field] === true ? [capability] : []));
}

function modalitiesOf(listed: Listed, mode: ModelMode, way: 'in' | 'out'): Modality[] {
  if (way === 'out') {
    if (mode === 'image_generation' || mode === 'image_edit') return ['image'];
    if (mode === 'video_generation') return ['video'];
    return listed.supports_audio_output === true ? ['text', 'audio'] : ['text'];
  }
  const found: Modality[] = ['text'];
  if (listed.supports_vision === true || mode === 'image_edit') found.push('image');
  if (listed.supports_audio_input === true) found.push('audio');
  if (listed.supports_video_input === true) found.push('video');
  if (listed.supports_pdf_input === true) found.push('pdf');
  return found;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** This list writes some numbers as text. */
function limitOf(value: unknown): number | undefined {
  return tokensOf(typeof value === 'string' ? Number(value) : value);
}
