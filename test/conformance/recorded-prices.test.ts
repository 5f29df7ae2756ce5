/**
 * Usage bodies that real providers sent, with the prices an independent library worked out for them, held against our
 * own reading and rating. The library reads a body with the extractors of every provider that it could be from, so that a
 * body has several prices. Where ours is another one, a rule says why, and what it says must give the expected price to
 * the nano-dollar; anything else is a failure.
 */
import { existsSync, readFileSync } from 'node:fs';
import * as anthropicMessages from '@meridian/data-plane/dialect/anthropic-messages/usage';
import * as bedrockConverse from '@meridian/data-plane/dialect/bedrock-converse/usage';
import * as cohereChat from '@meridian/data-plane/dialect/cohere-chat/usage';
import * as gemini from '@meridian/data-plane/dialect/gemini/usage';
import * as openaiChat from '@meridian/data-plane/dialect/openai-chat/usage';
import * as openaiResponses from '@meridian/data-plane/dialect/openai-responses/usage';
import { billedUsage } from '@meridian/domain/billed-usage';
import { divideHalfEven } from '@meridian/domain/money';
import type { RateCard } from '@meridian/domain/price';
import { rate } from '@meridian/domain/rating';
import { assertUsage, inputTokens, type Meter, outputTokens, type Usage } from '@meridian/domain/usage';
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
type Raw = Readonly<Record<string, unknown>>;
interface Recorded {
  readonly body: { readonly file: string; readonly usage?: Raw; readonly usageMetadata?: Raw; readonly meta?: Raw };
  readonly model?: string;
  readonly extracted: readonly { readonly extractors: readonly Reading[]; readonly usage: Readonly<Record<string, number>> }[];
}

/** The library's price fields and our meters; a field that is not here has none of ours. */
const METER_OF: Readonly<Record<string, Meter>> = {
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
  cache_audio_read_mtok: 'cached_input:audio',
  cache_image_read_mtok: 'cached_input:image',
  input_video_mtok: 'image_in:video',
  output_video_mtok: 'image_out:video',
  requests_kcount: 'per_request',
  web_searches_kcount: 'per_tool_call:web_search',
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
        const meter = METER_OF[field];
        if (meter === undefined) return [];
        const tiers = typeof price === 'number' ? [] : price.tiers.filter((tier) => tier.start <= start).sort((a, b) => b.start - a.start);
        const usd = typeof price === 'number' ? price : (tiers[0]?.price ?? price.base);
        return [[meter, nanoPerMillion(field, usd)]];
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

/** How a body is written; each reading of the library is of one of these, too. */
type Protocol = 'chat' | 'embeddings' | 'responses' | 'messages' | 'gemini' | 'converse' | 'cohere';

interface Read {
  readonly usage: Usage;
  readonly reasoningTokens: number | undefined;
  /** The provider's own total; undefined where it tells none. */
  readonly total: number | undefined;
}

function protocolOf({ usage, usageMetadata, meta }: Recorded['body']): Protocol {
  if (usageMetadata !== undefined) return 'gemini';
  if (meta !== undefined) return 'cohere';
  if (usage === undefined) throw new Error('a body without usage');
  if ('billed_units' in usage) return 'cohere';
  if ('inputTokens' in usage) return 'converse';
  if ('prompt_tokens' in usage) return 'completion_tokens' in usage ? 'chat' : 'embeddings';
  return 'total_tokens' in usage ? 'responses' : 'messages';
}

/** What each provider's `default` reading reads. */
const DEFAULT_PROTOCOLS: Readonly<Record<string, Protocol>> = {
  ...{ anthropic: 'messages', minimax: 'messages', google: 'gemini', aws: 'converse', cohere: 'cohere' },
  ...{ groq: 'chat', mistral: 'chat', perplexity: 'chat', 'x-ai': 'chat' },
};

function protocolOfReading({ provider_id: provider, api_flavor: flavor }: Reading): Protocol | undefined {
  switch (flavor) {
    case 'chat':
    case 'responses':
      return flavor;
    case 'embeddings':
      return provider === 'cohere' ? 'cohere' : flavor;
    case 'anthropic':
      return 'messages';
    case 'tokens':
      return 'cohere';
    default:
      return DEFAULT_PROTOCOLS[provider];
  }
}

function read(protocol: Protocol, { usage: raw, usageMetadata, meta }: Recorded['body']): Read {
  const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
  const reads = (usage: Usage | undefined, reasoningTokens: number | undefined, total: unknown): Read => {
    if (usage === undefined) throw new Error(`no usage read of ${JSON.stringify(raw)}`);
    return { usage, reasoningTokens, total: number(total) };
  };
  switch (protocol) {
    case 'gemini':
      return reads(gemini.readUsage(usageMetadata), gemini.reasoningTokens(usageMetadata), usageMetadata?.totalTokenCount);
    case 'messages':
      return reads(anthropicMessages.readUsage(raw), anthropicMessages.reasoningTokens(raw), undefined);
    case 'responses':
      return reads(openaiResponses.readUsage(raw), openaiResponses.reasoningTokens(raw), raw?.total_tokens);
    case 'converse':
      return reads(bedrockConverse.readUsage(raw), undefined, raw?.totalTokens);
    case 'cohere':
      return reads(cohereChat.readUsage(meta ?? raw), undefined, undefined);
    default:
      return reads(openaiChat.readUsage(raw), openaiChat.reasoningTokens(raw), raw?.total_tokens);
  }
}

interface Compared {
  readonly provider: string;
  readonly name: string;
  readonly own: boolean;
  readonly protocol: Protocol;
  readonly body: Recorded['body'];
  readonly read: Read;
  readonly cards: readonly RateCard[];
  readonly expectedNano: bigint;
  readonly oursNano: bigint;
  readonly unpriced: readonly Meter[];
}

const STANDARD = { serviceTier: 'standard', markupBasisPoints: 0 } as const;

function priceAt(cards: readonly RateCard[], usage: Usage, reasoningTokens?: number) {
  return rate(billedUsage(usage, reasoningTokens, cards), cards, STANDARD);
}

/** Every price that the library has for a body. */
function compare(recordings: readonly Recorded[]): Compared[] {
  const providers = new Map((JSON.parse(readFileSync(PRICES, 'utf8')) as PricedProvider[]).map((one) => [one.id, one]));
  const compared: Compared[] = [];
  for (const { body, model, extracted } of recordings) {
    const protocol = protocolOf(body);
    for (const reading of extracted.flatMap((one) => one.extractors)) {
      if (reading.input_price === undefined && reading.output_price === undefined) continue;
      if (model === undefined) throw new Error(`${body.file}: a price without a model`);
      const priced = modelOf(providers, reading.provider_id, model);
      if (priced === undefined) throw new Error(`${reading.provider_id} does not price ${model}`);
      const cards = cardsOf(pricesOf(priced));
      const own = protocolOfReading(reading) === protocol;
      const seen = read(protocol, body);
      const { amountNano, unpriced } = priceAt(cards, seen.usage, seen.reasoningTokens);
      compared.push({
        provider: reading.provider_id,
        name: `${reading.provider_id}/${reading.api_flavor} ${body.file} ${model}`,
        own,
        protocol,
        body,
        read: seen,
        cards,
        expectedNano:
          reading.total_price === undefined ? nanoOf(reading.input_price ?? '0', reading.output_price ?? '0') : nanoOf(reading.total_price),
        oursNano: amountNano,
        unpriced,
      });
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

/**
 * Why our price is not the library's. Each rule says what the library takes a usage for; rated so, it must give the expected
 * price. Undefined where the rule has nothing to say of a reading.
 */
const RULES: Readonly<Record<string, (one: Compared) => Usage | undefined>> = {
  // The two protocols that name `input_tokens` and `output_tokens` can be taken for each other: caches and searches are
  // read by neither's names. Every chat body can be taken for embeddings, which have no output.
  'read as another protocol': ({ own, protocol, body: { usage } }) => {
    if (own) return undefined;
    if (protocol === 'chat') return { input: Number(usage?.prompt_tokens) };
    return protocol === 'responses' || protocol === 'messages'
      ? { input: Number(usage?.input_tokens), output: Number(usage?.output_tokens) }
      : undefined;
  },
  // A sound is not sold at the price of text: it is refused before it is sent, and nobody is charged for it afterwards.
  'audio without a price, charged as text': ({ unpriced, read: { usage } }) =>
    unpriced.includes('audio_in') ? { ...usage, audio_in: 0, input: (usage.input ?? 0) + (usage.audio_in ?? 0) } : undefined,
  // The provider leaves reasoning out of the completion, counts it in the total, and bills it.
  'reasoning beside the completion, left out': ({ protocol, read: { usage }, body }) =>
    protocol === 'chat' ? { ...usage, output: Number(body.usage?.completion_tokens) } : undefined,
  // The library's reading of this cloud does not know the field; its reading of the vendor itself does.
  'cache writes overlooked': ({ provider, read: { usage } }) =>
    provider === 'azure' && (usage.cache_write_5m ?? 0) > 0
      ? { ...usage, cache_write_5m: 0, input: (usage.input ?? 0) + (usage.cache_write_5m ?? 0) }
      : undefined,
  'searches overlooked': ({ provider, read: { usage } }) =>
    provider === 'azure' && (usage['per_tool_call:web_search'] ?? 0) > 0 ? { ...usage, 'per_tool_call:web_search': 0 } : undefined,
  // Turns between the model's own (a compaction, an adviser) are billed, and stand in the list of iterations alone.
  'turns between left out': ({ protocol, body }) =>
    protocol === 'messages' ? anthropicMessages.readUsage({ ...body.usage, iterations: [] }) : undefined,
};

/** `equal`, the name of the rule that explains the difference, or `unexplained`. */
function verdictOn(one: Compared): string {
  if (one.oursNano === one.expectedNano) return 'equal';
  for (const [name, rule] of Object.entries(RULES)) {
    const theirs = rule(one);
    if (theirs !== undefined && priceAt(one.cards, theirs).amountNano === one.expectedNano) return name;
  }
  return 'unexplained';
}

function tally<T>(items: readonly T[], keyOf: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[keyOf(item)] = (counts[keyOf(item)] ?? 0) + 1;
  return counts;
}

describe.skipIf(!present)('recorded usage, rated with the prices it was made with', () => {
  const recordings = present ? (JSON.parse(readFileSync(RECORDED, 'utf8')) as Recorded[]) : [];
  const all = present ? compare(recordings) : [];
  const verdicts = new Map(all.map((one) => [one, verdictOn(one)]));

  it('gives every expected price to the nano-dollar, but where a rule says why not and what else it would be', () => {
    const counts = tally([...verdicts.values()], (verdict) => verdict);
    console.log(tableOf(all, verdicts));
    const own = [...verdicts].filter(([one, verdict]) => one.own && verdict !== 'equal');
    console.log(
      own
        .map(([{ name, oursNano, expectedNano }, verdict]) => `${verdict}: ${name}: ours ${oursNano}, expected ${expectedNano}`)
        .join('\n'),
    );
    expect(
      [...verdicts].flatMap(([{ name, oursNano, expectedNano }, verdict]) =>
        verdict === 'unexplained' ? [{ name, oursNano, expectedNano }] : [],
      ),
    ).toEqual([]);
    expect(counts).toEqual(EXPECTED_VERDICTS);
  });

  it('has an expected price for every body that names a model which the library sells, and says why for the others', () => {
    const byBody = recordings.map((recording) => {
      const own = all.filter((one) => one.body === recording.body && one.own).map((one) => verdicts.get(one) ?? '');
      if (own.length > 0) return own.find((verdict) => verdict !== 'equal') ?? 'equal';
      if (recording.model === undefined) return 'no price: the body names no model';
      const isSold = all.some((one) => one.body === recording.body);
      return isSold ? 'no price: sold by vendors of another protocol only' : 'no price: the library does not sell the model';
    });
    const counts = tally(byBody, (verdict) => verdict);
    console.log(`recorded bodies: ${recordings.length}`, counts);
    expect(counts).toEqual(EXPECTED_BODIES);
  });

  it("reads every body into units ≥ 0 that sum to the provider's own total", () => {
    let totals = 0;
    for (const { body } of recordings) {
      const { usage, total } = read(protocolOf(body), body);
      assertUsage(usage);
      if (total === undefined) continue;
      totals++;
      expect(`${body.file} ${inputTokens(usage) + outputTokens(usage)}`).toBe(`${body.file} ${total}`);
    }
    // Messages and Cohere tell no total, nor do embeddings of Gemini.
    expect({ totals, without: recordings.length - totals }).toEqual({ totals: 877, without: 174 });
  });

  it('counts as many tokens of input and output as the library does, but where a rule says why not', () => {
    const different = recordings.filter(({ body, extracted }) => {
      const protocol = protocolOf(body);
      const { usage } = read(protocol, body);
      const theirs = extracted.find(({ extractors }) => extractors.some((one) => protocolOfReading(one) === protocol))?.usage;
      if (theirs === undefined) throw new Error(`${body.file}: the library has no reading of it`);
      return inputTokens(usage) !== (theirs.input_tokens ?? 0) || outputTokens(usage) !== (theirs.output_tokens ?? 0);
    });
    expect(different.map(({ body }) => body.file).sort()).toEqual([
      'models/cassettes/test_anthropic/test_anthropic_advisor_tool.yaml',
      'models/cassettes/test_anthropic/test_anthropic_compaction_end_to_end.yaml',
      'models/cassettes/test_openai/test_compatible_api_with_tool_calls_without_id.yaml',
    ]);
  });

  it('leaves nothing unpriced but what the library prices as something else, or not at all', () => {
    expect(
      tally(
        all.flatMap((one) => one.unpriced.map((meter) => `${one.provider} ${meter}`)),
        (key) => key,
      ),
    ).toEqual(EXPECTED_UNPRICED);
  });
});

function tableOf(all: readonly Compared[], verdicts: ReadonlyMap<Compared, string>): string {
  const columns = ['equal', ...Object.keys(RULES), 'unexplained'];
  const rows = [...new Set(all.map((one) => one.provider))].sort().map((provider) => {
    const ofProvider = all.filter((one) => one.provider === provider);
    const counts = tally(ofProvider, (one) => verdicts.get(one) ?? '');
    return [provider, ...columns.map((column) => String(counts[column] ?? 0)), String(ofProvider.length)];
  });
  const sums = columns.map((column) => String(all.filter((one) => verdicts.get(one) === column).length));
  const lines = [['provider', ...columns.map((_, index) => String(index)), 'total'], ...rows, ['all', ...sums, String(all.length)]];
  const legend = columns.map((column, index) => `${index}: ${column}`).join(' · ');
  return [legend, ...lines.map((line) => line.map((cell, index) => (index === 0 ? cell.padEnd(26) : cell.padStart(6))).join(''))].join(
    '\n',
  );
}

/** Prices of the library by what became of them. */
const EXPECTED_VERDICTS = {
  equal: 2045,
  'read as another protocol': 297,
  'audio without a price, charged as text': 4,
  'reasoning beside the completion, left out': 1,
  'cache writes overlooked': 2,
  'searches overlooked': 4,
  'turns between left out': 8,
};

/** Bodies by their prices under readings of their own protocol. */
const EXPECTED_BODIES = {
  equal: 864,
  'audio without a price, charged as text': 2,
  'reasoning beside the completion, left out': 1,
  'cache writes overlooked': 2,
  'searches overlooked': 4,
  'turns between left out': 2,
  'no price: the body names no model': 156,
  'no price: the library does not sell the model': 14,
  'no price: sold by vendors of another protocol only': 6,
};

/** By vendor and meter: sound on models whose list has no price for it, searches where the list of a cloud has none. */
const EXPECTED_UNPRICED = {
  'azure audio_in': 4,
  'openai audio_in': 4,
  'aws per_tool_call:web_search': 4,
  'google per_tool_call:web_search': 4,
};
