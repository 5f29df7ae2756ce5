/**
 * Usage bodies that real providers sent, with the prices an independent library worked out for them, held against our
 * own reading and rating. What differs is listed below, reading by reading; anything else is a failure.
 */
import { existsSync, readFileSync } from 'node:fs';
import { readUsage } from '@meridian/data-plane/dialect/openai-chat/usage';
import { divideHalfEven } from '@meridian/domain/money';
import type { RateCard } from '@meridian/domain/price';
import { rate } from '@meridian/domain/rating';
import { COMPONENTS, type Component, inputTokens, type Meter, outputTokens, type Usage } from '@meridian/domain/usage';
import { describe, expect, it } from 'vitest';

const RECORDED = new URL('../../../shared/data/usage-prices-recorded.json', import.meta.url);
const PRICES = new URL('../../../shared/data/genai-prices-v2.json', import.meta.url);
const present = existsSync(RECORDED) && existsSync(PRICES);
if (!present) console.log('recorded prices: skipped, ../shared/data is not there');

type Clause =
  | { readonly starts_with: string }
  | { readonly ends_with: string }
  | { readonly contains: string }
  | { readonly equals: string }
  | { readonly regex: string }
  | { readonly or: readonly Clause[] }
  | { readonly and: readonly Clause[] };
type Price = number | { readonly base: number; readonly tiers: readonly { readonly start: number; readonly price: number }[] };
type Prices = Readonly<Record<string, Price>>;
interface Conditional {
  readonly constraint?: { readonly start_date?: string };
  readonly prices: Prices;
}
interface PricedModel {
  readonly id: string;
  readonly match: Clause;
  readonly prices: Prices | readonly Conditional[];
}
interface PricedProvider {
  readonly id: string;
  readonly models: readonly PricedModel[];
  readonly fallback_model_providers?: readonly string[];
}
interface Reading {
  readonly provider_id: string;
  readonly api_flavor: string;
  readonly input_price?: string;
  readonly output_price?: string;
  readonly total_price?: string;
}
interface Recorded {
  readonly body: { readonly file: string; readonly usage?: Readonly<Record<string, unknown>> };
  readonly model?: string;
  readonly extracted: readonly { readonly extractors: readonly Reading[] }[];
}

/** The library's price fields and our components; a field that is not here has no component of ours. */
const COMPONENT_OF: Readonly<Record<string, Component>> = {
  input_mtok: 'input',
  cache_read_mtok: 'cached_input',
  cache_write_mtok: 'cache_write_5m',
  cache_write_1h_mtok: 'cache_write_1h',
  output_mtok: 'output',
  output_reasoning_mtok: 'reasoning',
  input_audio_mtok: 'audio_in',
  output_audio_mtok: 'audio_out',
  input_image_mtok: 'image_in',
  output_image_mtok: 'image_out',
  requests_kcount: 'per_request',
};

function matches(clause: Clause, name: string): boolean {
  if ('starts_with' in clause) return name.startsWith(clause.starts_with);
  if ('ends_with' in clause) return name.endsWith(clause.ends_with);
  if ('contains' in clause) return name.includes(clause.contains);
  if ('equals' in clause) return name === clause.equals;
  if ('regex' in clause) return new RegExp(clause.regex).test(name);
  if ('or' in clause) return clause.or.some((one) => matches(one, name));
  return clause.and.every((one) => matches(one, name));
}

/** The prices that the recordings were priced with: the last that had started; the pricing was done in the daytime, so daytime prices hold. */
function pricesOf(model: PricedModel): Prices {
  if (!Array.isArray(model.prices)) return model.prices as Prices; // the union's other member
  const conditional = model.prices as readonly Conditional[];
  return conditional.filter((one) => (one.constraint?.start_date ?? '') <= PRICED_ON).at(-1)?.prices ?? {};
}
const PRICED_ON = '2026-07-24';

/** A JSON number in USD per million (or per thousand requests) as nano-USD per million, by its digits. */
function nanoPerMillion(field: string, price: number): bigint {
  const [mantissa = '', exponent = '0'] = price.toString().split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  const scale = 9 + (field.endsWith('_kcount') ? 3 : 0) + Number(exponent) - fraction.length;
  const digits = BigInt(whole + fraction);
  // A third of a cent in binary has more digits than our unit; what is cut is below a nano-dollar per million tokens.
  return scale < 0 ? divideHalfEven(digits, 10n ** BigInt(-scale)) : digits * 10n ** BigInt(scale);
}

function cardsOf(prices: Prices): RateCard[] {
  const starts = new Set([0]);
  for (const price of Object.values(prices)) if (typeof price !== 'number') for (const tier of price.tiers) starts.add(tier.start);
  return [...starts].map((start) => ({
    serviceTier: 'standard',
    aboveInputTokens: start,
    prices: Object.fromEntries(
      Object.entries(prices).flatMap(([field, price]) => {
        const component = COMPONENT_OF[field];
        if (component === undefined) return [];
        const tiers = typeof price === 'number' ? [] : price.tiers.filter((tier) => tier.start <= start).sort((a, b) => b.start - a.start);
        const usd = typeof price === 'number' ? price : (tiers[0]?.price ?? price.base);
        return [[component, nanoPerMillion(field, usd)]];
      }),
    ),
  }));
}

/** A sum of decimal strings in USD, as nano-USD, rounded half to even. */
function nanoOf(...usd: readonly string[]): bigint {
  const DIGITS = 24;
  let sum = 0n;
  for (const text of usd) {
    const [mantissa = '', exponent = '0'] = text.toLowerCase().split('e');
    const [whole = '', fraction = ''] = mantissa.split('.');
    sum += BigInt(whole + fraction) * 10n ** BigInt(DIGITS + Number(exponent) - fraction.length);
  }
  return divideHalfEven(sum, 10n ** BigInt(DIGITS - 9));
}

interface Compared {
  readonly reading: string;
  readonly recording: string;
  readonly usage: Usage;
  readonly seen: Readonly<Record<string, unknown>>;
  readonly prices: Prices;
  readonly expectedNano: bigint;
  readonly oursNano: bigint;
  readonly unpriced: readonly Meter[];
}

/** What a reading sees of a body, in the names of chat answers; undefined when the body is of another family. */
function seenBy(reading: Reading, raw: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | undefined {
  // Another family has `input_tokens` too, without the cached ones and without a total.
  if (reading.api_flavor === 'responses' && 'input_tokens' in raw && 'total_tokens' in raw) {
    return {
      prompt_tokens: raw.input_tokens,
      prompt_tokens_details: raw.input_tokens_details,
      completion_tokens: raw.output_tokens,
      completion_tokens_details: raw.output_tokens_details,
      total_tokens: raw.total_tokens,
    };
  }
  if (!('prompt_tokens' in raw)) return undefined;
  // An embeddings answer has a prompt only, whatever else the body holds.
  return reading.api_flavor === 'embeddings' ? { prompt_tokens: raw.prompt_tokens } : raw;
}

/** Every reading of a body in this family's form that the library could price. */
function compare(): Compared[] {
  const providers = new Map((JSON.parse(readFileSync(PRICES, 'utf8')) as PricedProvider[]).map((one) => [one.id, one]));
  const recordings = JSON.parse(readFileSync(RECORDED, 'utf8')) as Recorded[];
  const compared: Compared[] = [];
  for (const { body, model, extracted } of recordings) {
    const raw = body.usage;
    if (raw === undefined) continue;
    for (const { extractors } of extracted) {
      for (const reading of extractors) {
        const seen = seenBy(reading, raw);
        if (seen === undefined || reading.input_price === undefined || reading.output_price === undefined || model === undefined) continue;
        const priced = modelOf(providers, reading.provider_id, model);
        if (priced === undefined) throw new Error(`${reading.provider_id} does not price ${model}`);
        const tokens = readUsage(seen);
        if (tokens === undefined) throw new Error(`${body.file}: no usage read`);
        const prices = pricesOf(priced);
        const usage = prices.requests_kcount === undefined ? tokens : { ...tokens, per_request: 1 };
        const { amountNano, unpriced } = rate(usage, cardsOf(prices), { serviceTier: 'standard', markupBasisPoints: 0 });
        compared.push({
          reading: `${reading.provider_id}/${reading.api_flavor}`,
          recording: `${body.file} ${model}`,
          usage,
          seen,
          prices,
          expectedNano: reading.total_price === undefined ? nanoOf(reading.input_price, reading.output_price) : nanoOf(reading.total_price),
          oursNano: amountNano,
          unpriced,
        });
      }
    }
  }
  return compared;
}

function modelOf(providers: ReadonlyMap<string, PricedProvider>, providerId: string, model: string): PricedModel | undefined {
  const provider = providers.get(providerId);
  const found = provider?.models.find((one) => matches(one.match, model.toLowerCase()));
  if (found !== undefined) return found;
  for (const other of provider?.fallback_model_providers ?? []) {
    const fallback = modelOf(providers, other, model);
    if (fallback !== undefined) return fallback;
  }
  return undefined;
}

describe.skipIf(!present)('recorded usage, rated with the prices it was made with', () => {
  const all = present ? compare() : [];
  const different = all.filter((one) => one.oursNano !== one.expectedNano);
  const named = (one: Compared) => `${one.reading} ${one.recording}`;

  it('gives the expected price to the nano-dollar but for the differences below', () => {
    const equal = all.length - different.length;
    const readings = new Map<string, number>();
    for (const one of all) readings.set(one.reading, (readings.get(one.reading) ?? 0) + 1);
    console.log(
      `recorded prices: ${all.length} readings of ${new Set(all.map((one) => one.recording)).size} recordings, ${equal} equal, ${different.length} different`,
    );
    console.log([...readings].map(([reading, count]) => `${reading} ${count}`).join(' · '));
    expect(all.length).toBeGreaterThan(800);
    expect(different.map(named).sort()).toEqual(
      [...AUDIO_WITHOUT_A_PRICE, ...REASONING_BESIDE_THE_COMPLETION, ...CACHE_WRITES_OVERLOOKED].sort(),
    );
  });

  it('does not charge audio at the text price where the list has none for audio: it is reported, and nothing else differs', () => {
    for (const one of different.filter((each) => AUDIO_WITHOUT_A_PRICE.includes(named(each)))) {
      expect(one.unpriced).toEqual(['audio_in']);
      expect('input_audio_mtok' in one.prices).toBe(false);
      const asText = { ...one.usage, audio_in: 0, input: (one.usage.input ?? 0) + (one.usage.audio_in ?? 0) };
      expect(rate(asText, cardsOf(one.prices), { serviceTier: 'standard', markupBasisPoints: 0 }).amountNano).toBe(one.expectedNano);
    }
  });

  it('charges reasoning that a provider left out of the completion but counted in the total, and nothing else differs', () => {
    for (const one of different.filter((each) => REASONING_BESIDE_THE_COMPLETION.includes(named(each)))) {
      const { prompt_tokens: prompt, completion_tokens: completion, total_tokens: total } = one.seen;
      expect(outputTokens(one.usage)).toBe(Number(total) - Number(prompt));
      expect(outputTokens(one.usage)).toBeGreaterThan(Number(completion));
      const shownOnly = { ...one.usage, output: Number(completion) };
      expect(rate(shownOnly, cardsOf(one.prices), { serviceTier: 'standard', markupBasisPoints: 0 }).amountNano).toBe(one.expectedNano);
    }
  });

  it('charges cache writes that the other reading overlooks, and nothing else differs', () => {
    for (const one of different.filter((each) => CACHE_WRITES_OVERLOOKED.includes(named(each)))) {
      expect(one.usage.cache_write_5m).toBeGreaterThan(0);
      const overlooked = { ...one.usage, cache_write_5m: 0, input: (one.usage.input ?? 0) + (one.usage.cache_write_5m ?? 0) };
      expect(rate(overlooked, cardsOf(one.prices), { serviceTier: 'standard', markupBasisPoints: 0 }).amountNano).toBe(one.expectedNano);
      // The same body under the reading that knows the field has our price.
      const knowing = all.find((each) => each.recording === one.recording && each.reading === 'openai/responses');
      expect(knowing?.expectedNano).toBe(one.oursNano);
    }
  });

  it("reads every body into components ≥ 0 that sum to the provider's own total", () => {
    for (const one of all) {
      for (const component of COMPONENTS) expect(one.usage[component] ?? 0).toBeGreaterThanOrEqual(0);
      const total = one.reading.endsWith('/embeddings') ? one.seen.prompt_tokens : one.seen.total_tokens;
      expect(`${named(one)} ${inputTokens(one.usage) + outputTokens(one.usage)}`).toBe(`${named(one)} ${total}`);
    }
  });

  it('leaves nothing else unpriced', () => {
    expect(
      all
        .filter((one) => one.unpriced.length > 0)
        .map(named)
        .sort(),
    ).toEqual([...AUDIO_WITHOUT_A_PRICE].sort());
  });
});

const AUDIO_WITHOUT_A_PRICE: readonly string[] = ['azure/chat', 'openai/chat'].flatMap((reading) => [
  `${reading} models/cassettes/test_openai/test_audio_as_binary_content_input.yaml gpt-4o-audio-preview-2024-12-17`,
  `${reading} models/cassettes/test_openai/test_openai_audio_url_input.yaml gpt-4o-audio-preview-2024-12-17`,
]);

const REASONING_BESIDE_THE_COMPLETION: readonly string[] = [
  'google/chat models/cassettes/test_openai/test_compatible_api_with_tool_calls_without_id.yaml gemini-2.5-pro-preview-05-06',
];

const CACHE_WRITES_OVERLOOKED: readonly string[] = [
  'azure/responses models/cassettes/test_openai_prompt_cache/test_openai_responses_prompt_cache_e2e.yaml gpt-5.6-sol',
  'azure/responses models/cassettes/test_openai_responses/test_openai_responses_model_web_search_tool_without_external_access.yaml gpt-5.6-sol',
];
