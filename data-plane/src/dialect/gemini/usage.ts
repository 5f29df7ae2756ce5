/** `usageMetadata` as Gemini writes it, and our disjoint components. */
import type { ServiceTier } from '@meridian/domain/price';
import { componentOf, inputTokens, type Meter, metersOf, outputTokens, type Usage } from '@meridian/domain/usage';
import type { JsonObject } from '../json.ts';
import { count, isUsageObject, takeParts, type UsageDraft, type UsageObject } from '../usage-object.ts';
import { HostedCalls } from './hosted-calls.ts';

/**
 * Reads a `usageMetadata` object; undefined when it holds no token count.
 *
 * `promptTokenCount` contains what was read from a cache; what the provider's own tools gave the model to read stands
 * beside it and is billed as input. `candidatesTokenCount` is without thoughts, which are billed as output. Modalities are
 * told in lists that may be shorter than their whole: what they leave out is text.
 */
export function readUsage(raw: unknown): Usage | undefined {
  if (!isUsageObject(raw)) return undefined;
  const prompt = count(raw, 'promptTokenCount');
  const candidates = count(raw, 'candidatesTokenCount');
  const thoughts = count(raw, 'thoughtsTokenCount');
  const total = count(raw, 'totalTokenCount');
  if (prompt === undefined && candidates === undefined && total === undefined) return undefined;
  const usage: UsageDraft = {};
  readInput(usage, raw, prompt ?? Math.max(0, (total ?? 0) - (candidates ?? 0) - (thoughts ?? 0)));

  const told = (prompt ?? 0) + (candidates ?? 0) + (thoughts ?? 0) + (count(raw, 'toolUsePromptTokenCount') ?? 0);
  // What the total has beyond its parts was generated as well.
  const outside = total === undefined || prompt === undefined ? 0 : Math.max(0, total - told);
  if (candidates !== undefined || thoughts !== undefined || outside > 0) {
    const made = modalities(raw, 'candidatesTokensDetails');
    const text = takeParts(usage, candidates ?? 0, [
      ['audio_out', made.AUDIO],
      ['image_out', made.IMAGE],
      ['image_out:video', made.VIDEO],
    ]);
    usage.output = text + (thoughts ?? 0) + outside;
  }
  return usage;
}

function readInput(usage: UsageDraft, raw: UsageObject, prompt: number): void {
  const given = modalities(raw, 'promptTokensDetails', 'promptTokenDetails');
  const cachedTotal = count(raw, 'cachedContentTokenCount');
  const cachedModalities = modalities(raw, 'cacheTokensDetails');
  const cached = Math.min(cachedTotal ?? 0, prompt);
  const cachedParts = { ...cachedModalities };
  if (cachedTotal !== undefined) {
    usage.cached_input = takeParts(usage, cached, [
      ['cached_input:audio', cachedModalities.AUDIO],
      ['cached_input:image', sum(cachedModalities.IMAGE, cachedModalities.DOCUMENT)],
      ['cached_input:video', cachedModalities.VIDEO],
    ]);
  }
  const fresh = (modality: Modality): number | undefined => {
    const tokens = given[modality];
    return tokens === undefined ? undefined : Math.max(0, tokens - (cachedParts[modality] ?? 0));
  };
  usage.input = takeParts(usage, prompt - cached, [
    ['audio_in', fresh('AUDIO')],
    ['image_in', sum(fresh('IMAGE'), fresh('DOCUMENT'))],
    ['image_in:video', fresh('VIDEO')],
  ]);
  const tools = modalities(raw, 'toolUsePromptTokensDetails');
  usage.input += takeParts(usage, count(raw, 'toolUsePromptTokenCount') ?? 0, [
    ['audio_in', tools.AUDIO],
    ['image_in', sum(tools.IMAGE, tools.DOCUMENT)],
    ['image_in:video', tools.VIDEO],
  ]);
}

const MODALITIES = ['TEXT', 'AUDIO', 'IMAGE', 'DOCUMENT', 'VIDEO'] as const;
type Modality = (typeof MODALITIES)[number];

const NONE_TOLD: Partial<Record<Modality, number>> = Object.freeze({});

function modalities(raw: UsageObject, ...keys: readonly string[]): Partial<Record<Modality, number>> {
  let found: Partial<Record<Modality, number>> | undefined;
  for (const key of keys) {
    const list = raw[key];
    if (!Array.isArray(list)) continue;
    for (const entry of list) {
      if (!isUsageObject(entry)) continue;
      const modality = MODALITIES.find((known) => known === entry.modality);
      if (modality === undefined) continue;
      found ??= {};
      found[modality] = (found[modality] ?? 0) + (count(entry, 'tokenCount') ?? 0);
    }
  }
  return found ?? NONE_TOLD;
}

function sum(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined && b === undefined ? undefined : (a ?? 0) + (b ?? 0);
}

/**
 * The usage of a whole answer: its `usageMetadata`, and the calls of Google's own tools that its candidates show; of a stream, those that
 * were added up.
 */
export function readAnswerUsage(answer: UsageObject, calls = callsIn(answer.candidates)): Usage | undefined {
  const usage = readUsage(answer.usageMetadata);
  if (usage === undefined) return undefined;
  const shown: UsageDraft = {};
  calls.addTo(shown, answer.modelVersion);
  return { ...usage, ...shown };
}

function callsIn(candidates: unknown): HostedCalls {
  const calls = new HostedCalls();
  calls.add(candidates);
  return calls;
}

/** Thought tokens, a part of the output; undefined where they were not told. */
export function reasoningTokens(raw: unknown): number | undefined {
  return isUsageObject(raw) ? count(raw, 'thoughtsTokenCount') : undefined;
}

/** Tier words of the developer's API and of the cloud's. Bought throughput is not billed by the token; nobody else has it. */
const TIERS: ReadonlyMap<string, ServiceTier> = new Map([
  ['standard', 'standard'],
  ['on_demand', 'standard'],
  ['provisioned_throughput', 'standard'],
  ['priority', 'priority'],
  ['on_demand_priority', 'priority'],
  ['flex', 'flex'],
  ['on_demand_flex', 'flex'],
  ['batch', 'batch'],
]);

/** The tier that a `usageMetadata` says was served; undefined when it says none that is known. */
export function servedTier(raw: unknown): ServiceTier | undefined {
  if (!isUsageObject(raw)) return undefined;
  const word = raw.serviceTier ?? raw.trafficType;
  return typeof word === 'string' ? TIERS.get(word.toLowerCase()) : undefined;
}

/** Usage as our answers carry it; `reasoningTokens` is a part of the output that this protocol writes beside the rest of it. */
export function writeUsage(usage: Usage, reasoningTokens: number | undefined, serviceTier: ServiceTier | undefined): JsonObject {
  const prompt = inputTokens(usage);
  const output = outputTokens(usage);
  const thoughts = Math.min(reasoningTokens ?? usage.reasoning ?? 0, output);
  const isCached = (meter: Meter): boolean => componentOf(meter) === 'cached_input';
  const given = byModality(usage, (meter) => INPUT_MODALITIES[meter]);
  const cached = byModality(usage, (meter) => (isCached(meter) ? INPUT_MODALITIES[meter] : undefined));
  const made = byModality(usage, (meter) => OUTPUT_MODALITIES[meter]);
  if (thoughts > 0 && made.TEXT !== undefined) made.TEXT = Math.max(0, made.TEXT - thoughts);
  const isCachedTold = metersOf(usage).some(isCached);
  return {
    promptTokenCount: prompt,
    ...(isCachedTold ? { cachedContentTokenCount: total(cached) } : {}),
    ...(metersOf(usage).some((meter) => OUTPUT_MODALITIES[meter] !== undefined) ? { candidatesTokenCount: output - thoughts } : {}),
    ...(thoughts === 0 ? {} : { thoughtsTokenCount: thoughts }),
    totalTokenCount: prompt + output,
    ...details('promptTokensDetails', given),
    ...(total(cached) === 0 ? {} : details('cacheTokensDetails', cached)),
    ...(isTextOnly(made) ? {} : details('candidatesTokensDetails', made)),
    ...(serviceTier === undefined ? {} : { serviceTier }),
  };
}

const INPUT_MODALITIES: Readonly<Partial<Record<Meter, Modality>>> = {
  input: 'TEXT',
  cached_input: 'TEXT',
  cache_write_5m: 'TEXT',
  cache_write_1h: 'TEXT',
  audio_in: 'AUDIO',
  'cached_input:audio': 'AUDIO',
  image_in: 'IMAGE',
  'cached_input:image': 'IMAGE',
  'image_in:video': 'VIDEO',
  'cached_input:video': 'VIDEO',
};

const OUTPUT_MODALITIES: Readonly<Partial<Record<Meter, Modality>>> = {
  output: 'TEXT',
  reasoning: 'TEXT',
  audio_out: 'AUDIO',
  image_out: 'IMAGE',
  'image_out:video': 'VIDEO',
};

type ByModality = Partial<Record<Modality, number>>;

function byModality(usage: Usage, modalityOf: (meter: Meter) => Modality | undefined): ByModality {
  const found: ByModality = {};
  for (const meter of metersOf(usage)) {
    const modality = modalityOf(meter);
    if (modality !== undefined) found[modality] = (found[modality] ?? 0) + (usage[meter] ?? 0);
  }
  return found;
}

function total(tokens: ByModality): number {
  return MODALITIES.reduce((tally, modality) => tally + (tokens[modality] ?? 0), 0);
}

function isTextOnly(tokens: ByModality): boolean {
  return MODALITIES.every((modality) => modality === 'TEXT' || (tokens[modality] ?? 0) === 0);
}

function details(name: string, tokens: ByModality): JsonObject {
  const told = MODALITIES.filter((modality) => (tokens[modality] ?? 0) > 0);
  return told.length === 0 ? {} : { [name]: told.map((modality) => ({ modality, tokenCount: tokens[modality] })) };
}
