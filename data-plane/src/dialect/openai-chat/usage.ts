/** Usage as this family of providers writes it, and our disjoint components. */
import { inputTokens, outputTokens, type Usage } from '@meridian/domain/usage';
import { isObject, type JsonObject } from './schema.ts';

/**
 * Reads a `usage` object; undefined when it holds no token count at all.
 *
 * `prompt_tokens` contains what was read from a cache, written to one, and audio; those are taken out of it. Prompt
 * tokens of images stay in `input`, where every chat price list has them. Reasoning is inside `completion_tokens` and
 * stays in `output`; some providers leave it outside, which `total_tokens` tells. A part that is larger than its whole
 * (seen with one provider's cached tokens) is cut to it, so that the sum is the provider's total.
 */
export function readUsage(raw: unknown): Usage | undefined {
  if (!isObject(raw)) return undefined;
  const prompt = count(raw, 'prompt_tokens');
  const completion = count(raw, 'completion_tokens');
  const total = count(raw, 'total_tokens');
  if (prompt === undefined && completion === undefined && total === undefined) return undefined;
  const usage: { -readonly [Component in keyof Usage]: number } = {};
  const promptDetails = details(raw, 'prompt_tokens_details', 'prompt_token_details');
  const completionDetails = details(raw, 'completion_tokens_details');

  let input = prompt ?? Math.max(0, (total ?? 0) - (completion ?? 0));
  const cached =
    count(promptDetails, 'cached_tokens') ??
    count(raw, 'prompt_cache_hit_tokens') ??
    count(raw, 'num_cached_tokens') ??
    count(raw, 'cached_tokens');
  const written = count(promptDetails, 'cache_write_tokens');
  const audioIn = count(promptDetails, 'audio_tokens');
  for (const [component, tokens] of [
    ['cached_input', cached],
    ['cache_write_5m', written],
    ['audio_in', audioIn],
  ] as const) {
    if (tokens === undefined) continue;
    usage[component] = Math.min(tokens, input);
    input -= usage[component];
  }
  usage.input = input;

  // What the total has beyond its two parts is reasoning that was not put into the completion.
  const outside = total === undefined || prompt === undefined ? 0 : Math.max(0, total - prompt - (completion ?? 0));
  if (completion !== undefined || outside > 0) {
    let output = (completion ?? 0) + outside;
    for (const [component, tokens] of [
      ['audio_out', count(completionDetails, 'audio_tokens')],
      ['image_out', count(completionDetails, 'image_tokens')],
    ] as const) {
      if (tokens === undefined) continue;
      usage[component] = Math.min(tokens, output);
      output -= usage[component];
    }
    usage.output = output;
  }
  return usage;
}

/** Usage as our chat answers carry it; `reasoningTokens` is a part of the output that is told apart for information. */
export function writeUsage(usage: Usage, reasoningTokens: number | undefined): JsonObject {
  const prompt = inputTokens(usage);
  const completion = outputTokens(usage);
  const written = (usage.cache_write_5m ?? 0) + (usage.cache_write_1h ?? 0);
  const reasoning = reasoningTokens ?? usage.reasoning;
  const promptDetails = {
    ...(usage.cached_input === undefined ? {} : { cached_tokens: usage.cached_input }),
    ...(usage.audio_in === undefined ? {} : { audio_tokens: usage.audio_in }),
    ...(usage.cache_write_5m === undefined && usage.cache_write_1h === undefined ? {} : { cache_write_tokens: written }),
  };
  const completionDetails = {
    ...(reasoning === undefined ? {} : { reasoning_tokens: reasoning }),
    ...(usage.audio_out === undefined ? {} : { audio_tokens: usage.audio_out }),
    ...(usage.image_out === undefined ? {} : { image_tokens: usage.image_out }),
  };
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    ...(Object.keys(promptDetails).length === 0 ? {} : { prompt_tokens_details: promptDetails }),
    ...(Object.keys(completionDetails).length === 0 ? {} : { completion_tokens_details: completionDetails }),
  };
}

/** Reasoning tokens as the provider tells them, whether inside the completion or beside it. */
export function reasoningTokens(raw: unknown): number | undefined {
  return isObject(raw) ? count(details(raw, 'completion_tokens_details'), 'reasoning_tokens') : undefined;
}

/**
 * Usage is a register: of several reports in a stream the last one wins field by field, and a field that a later
 * report leaves out, or gives as null, keeps what it had.
 */
export function mergeUsage(previous: JsonObject | undefined, next: JsonObject): JsonObject {
  if (previous === undefined) return next;
  const merged: Record<string, unknown> = { ...previous };
  for (const [key, value] of Object.entries(next)) {
    if (value === null || value === undefined) continue;
    const before = merged[key];
    merged[key] = isObject(value) && isObject(before) ? mergeUsage(before, value) : value;
  }
  return merged;
}

function details(raw: JsonObject, ...keys: readonly string[]): JsonObject {
  for (const key of keys) {
    const value = raw[key];
    if (isObject(value)) return value;
  }
  return {};
}

function count(raw: JsonObject, key: string): number | undefined {
  const value = raw[key];
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) return undefined;
  return Math.min(Math.ceil(value), Number.MAX_SAFE_INTEGER);
}

/** What a provider tells us of its own bill: our cost, which is no business of the client's. */
export const UPSTREAM_COST_KEYS: ReadonlySet<string> = new Set(['cost', 'cost_details', 'is_byok', 'cost_in_usd_ticks', 'cost_usd']);

/** The usage object with its counts only. */
export function withoutUpstreamCost(usage: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(usage).filter(([key]) => !UPSTREAM_COST_KEYS.has(key)));
}
