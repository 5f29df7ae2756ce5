/** Usage as Messages answers carry it, and our disjoint components. */
import type { ServiceTier } from '@meridian/domain/price';
import { inputTokens, isMeter, outputTokens, type Usage, unitsOf } from '@meridian/domain/usage';
import type { JsonObject } from '../json.ts';
import { addToolCalls, count, isUsageObject, objectIn, type UsageDraft, type UsageObject } from '../usage-object.ts';
import { writeTier } from './schema.ts';

/**
 * Reads a `usage` object; undefined when it holds no token count. In a stream, `message_start` and each `message_delta`
 * are merged first (`mergeUsage`): what the delta leaves out keeps what the start said, and its counts are totals.
 *
 * `input_tokens` is without what was read from a cache or written to one. Thinking is inside `output_tokens`. Turns that
 * the provider takes between the model's own, such as a compaction of the conversation, are billed and stand in
 * `iterations` alone; those of another model are counted as variants in its name.
 */
export function readUsage(raw: unknown): Usage | undefined {
  if (!isUsageObject(raw)) return undefined;
  if (count(raw, 'input_tokens') === undefined && count(raw, 'output_tokens') === undefined) return undefined;
  const usage: UsageDraft = {};
  addTokens(usage, raw, undefined);
  for (const iteration of Array.isArray(raw.iterations) ? raw.iterations : []) {
    if (isUsageObject(iteration) && iteration.type !== 'message') addTokens(usage, iteration, iteration.model);
  }
  const tools = objectIn(raw, 'server_tool_use');
  addToolCalls(usage, 'web_search', count(tools, 'web_search_requests'));
  return usage;
}

function addTokens(usage: UsageDraft, raw: UsageObject, model: unknown): void {
  const creation = objectIn(raw, 'cache_creation');
  const oneHour = count(creation, 'ephemeral_1h_input_tokens');
  const fiveMinutes = count(creation, 'ephemeral_5m_input_tokens');
  const written = count(raw, 'cache_creation_input_tokens');
  // Without its parts, what was written is the shorter kind, which is the default.
  const rest = written === undefined ? undefined : Math.max(0, written - (oneHour ?? 0) - (fiveMinutes ?? 0));
  for (const [component, tokens] of [
    ['input', count(raw, 'input_tokens')],
    ['cached_input', count(raw, 'cache_read_input_tokens')],
    ['cache_write_5m', fiveMinutes === undefined && rest === undefined ? undefined : (fiveMinutes ?? 0) + (rest ?? 0)],
    ['cache_write_1h', oneHour],
    ['output', count(raw, 'output_tokens')],
  ] as const) {
    if (tokens === undefined) continue;
    const variant = `${component}:${String(model).toLowerCase()}`;
    const meter = typeof model === 'string' && isMeter(variant) ? variant : component;
    usage[meter] = (usage[meter] ?? 0) + tokens;
  }
}

/** Thinking tokens, a part of the output; undefined where they were not told. */
export function reasoningTokens(raw: unknown): number | undefined {
  return isUsageObject(raw) ? count(objectIn(raw, 'output_tokens_details'), 'thinking_tokens') : undefined;
}

/** The tier that a `usage` says was served; undefined when it says none that is known. */
export function servedTier(raw: unknown): ServiceTier | undefined {
  switch (isUsageObject(raw) ? raw.service_tier : undefined) {
    case 'standard':
      return 'standard';
    case 'priority':
      return 'priority';
    case 'batch':
      return 'batch';
    default:
      return undefined;
  }
}

/**
 * Usage as our answers carry it, with every field that the protocol's clients read. `reasoningTokens` is a part of the output that is told
 * apart for information. What has no bucket here (sounds, pictures) is in the plain count of its side.
 */
export function writeUsage(usage: Usage, reasoningTokens: number | undefined, serviceTier: ServiceTier | undefined): JsonObject {
  const fiveMinutes = unitsOf(usage, 'cache_write_5m');
  const oneHour = unitsOf(usage, 'cache_write_1h');
  const cached = unitsOf(usage, 'cached_input');
  const thinking = reasoningTokens ?? usage.reasoning;
  const searches = usage['per_tool_call:web_search'];
  return {
    input_tokens: inputTokens(usage) - cached - fiveMinutes - oneHour,
    cache_creation_input_tokens: fiveMinutes + oneHour,
    cache_read_input_tokens: cached,
    cache_creation: { ephemeral_5m_input_tokens: fiveMinutes, ephemeral_1h_input_tokens: oneHour },
    output_tokens: outputTokens(usage),
    ...(thinking === undefined ? {} : { output_tokens_details: { thinking_tokens: thinking } }),
    server_tool_use: searches === undefined ? null : { web_search_requests: searches, web_fetch_requests: 0 },
    service_tier: serviceTier === undefined ? null : writeTier(serviceTier),
    inference_geo: null,
  };
}
