/** Usage as this family of providers writes it, and our disjoint components. */
import { type Component, componentOf, inputTokens, type Meter, outputTokens, type Usage } from '@meridian/domain/usage';
import type { JsonObject } from '../json.ts';
import { addToolCalls, count, isUsageObject, objectIn, takeParts, type UsageDraft } from '../usage-object.ts';

/**
 * Reads a `usage` object; undefined when it holds no token count at all.
 *
 * `prompt_tokens` contains what was read from a cache, written to one, audio, and pictures where they are told; those are
 * taken out of it. Reasoning is inside `completion_tokens` and stays in `output`; some providers leave it outside, which
 * `total_tokens` tells. A part that is larger than its whole (seen with one provider's cached tokens) is cut to it, so that
 * the sum is the provider's total.
 */
export function readUsage(raw: unknown): Usage | undefined {
  if (!isUsageObject(raw)) return undefined;
  const prompt = count(raw, 'prompt_tokens');
  const completion = count(raw, 'completion_tokens');
  const total = count(raw, 'total_tokens');
  if (prompt === undefined && completion === undefined && total === undefined) return undefined;
  const usage: UsageDraft = {};
  const promptDetails = objectIn(raw, 'prompt_tokens_details', 'prompt_token_details');
  const completionDetails = objectIn(raw, 'completion_tokens_details');
  const cached =
    count(promptDetails, 'cached_tokens') ??
    count(raw, 'prompt_cache_hit_tokens') ??
    count(raw, 'num_cached_tokens') ??
    count(raw, 'cached_tokens');
  usage.input = takeParts(usage, prompt ?? Math.max(0, (total ?? 0) - (completion ?? 0)), [
    ['cached_input', cached],
    ['cache_write_5m', count(promptDetails, 'cache_write_tokens')],
    ['audio_in', count(promptDetails, 'audio_tokens')],
    ['image_in', count(promptDetails, 'image_tokens')],
    ['image_in:video', count(promptDetails, 'video_tokens')],
  ]);

  // What the total has beyond its two parts is reasoning that was not put into the completion.
  const outside = total === undefined || prompt === undefined ? 0 : Math.max(0, total - prompt - (completion ?? 0));
  if (completion !== undefined || outside > 0) {
    usage.output = takeParts(usage, (completion ?? 0) + outside, [
      ['audio_out', count(completionDetails, 'audio_tokens')],
      ['image_out', count(completionDetails, 'image_tokens')],
    ]);
  }
  for (const [within, field, tool] of TOOL_CALLS) addToolCalls(usage, tool, count(within === '' ? raw : objectIn(raw, within), field));
  return usage;
}

/** Where the vendors of this family count the calls of their own tools: the object (none: the usage itself), its field, the tool. */
const TOOL_CALLS = [
  ['', 'num_search_queries', 'web_search'],
  ['', 'num_sources_used', 'web_source'],
  ['server_tool_use', 'web_search_requests', 'web_search'],
  ['server_tool_use_details', 'web_search_requests', 'web_search'],
  ['server_side_tool_usage_details', 'web_search_calls', 'web_search'],
  ['server_side_tool_usage_details', 'x_search_calls', 'x_search'],
  ['server_side_tool_usage_details', 'code_interpreter_calls', 'code_interpreter'],
] as const;

/** Usage as our chat answers carry it; `reasoningTokens` is a part of the output that is told apart for information. */
export function writeUsage(usage: Usage, reasoningTokens: number | undefined): JsonObject {
  const prompt = inputTokens(usage);
  const completion = outputTokens(usage);
  const promptDetails = told({
    cached_tokens: unitsTold(usage, 'cached_input'),
    audio_tokens: unitsTold(usage, 'audio_in'),
    image_tokens: usage.image_in,
    video_tokens: usage['image_in:video'],
    cache_write_tokens: unitsTold(usage, 'cache_write_5m', 'cache_write_1h'),
  });
  const completionDetails = told({
    reasoning_tokens: reasoningTokens ?? usage.reasoning,
    audio_tokens: unitsTold(usage, 'audio_out'),
    image_tokens: unitsTold(usage, 'image_out'),
  });
  const searches = usage['per_tool_call:web_search'];
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    ...(promptDetails === undefined ? {} : { prompt_tokens_details: promptDetails }),
    ...(completionDetails === undefined ? {} : { completion_tokens_details: completionDetails }),
    ...(searches === undefined ? {} : { server_tool_use: { web_search_requests: searches } }),
  };
}

/** The units of components with their variants; undefined where none of them was told. */
function unitsTold(usage: Usage, ...components: readonly Component[]): number | undefined {
  let units: number | undefined;
  for (const name in usage) {
    const meter = name as Meter; // the names in a usage are meters
    const counted = usage[meter];
    if (counted !== undefined && components.includes(componentOf(meter))) units = (units ?? 0) + counted;
  }
  return units;
}

/** Undefined for an object in which nothing stands. */
function told(fields: Readonly<Record<string, number | undefined>>): JsonObject | undefined {
  for (const name in fields) if (fields[name] !== undefined) return fields;
  return undefined;
}

/** Reasoning tokens as the provider tells them, whether inside the completion or beside it. */
export function reasoningTokens(raw: unknown): number | undefined {
  if (!isUsageObject(raw)) return undefined;
  return count(objectIn(raw, 'completion_tokens_details'), 'reasoning_tokens') ?? count(raw, 'reasoning_tokens');
}
