/** Usage as Bedrock's Converse answers carry it, and our disjoint components. */
import type { Usage } from '@meridian/domain/usage';
import { addToolCalls, count, isUsageObject, objectIn, type UsageDraft } from '../usage-object.ts';

/**
 * Reads a `usage` object; undefined when it holds no token count. `inputTokens` is without what was read from a cache or
 * written to one; `cacheDetails` tells how long what was written is kept.
 */
export function readUsage(raw: unknown): Usage | undefined {
  if (!isUsageObject(raw)) return undefined;
  const input = count(raw, 'inputTokens');
  const output = count(raw, 'outputTokens');
  if (input === undefined && output === undefined) return undefined;
  const usage: UsageDraft = {};
  if (input !== undefined) usage.input = input;
  const cached = count(raw, 'cacheReadInputTokens');
  if (cached !== undefined) usage.cached_input = cached;
  const written = count(raw, 'cacheWriteInputTokens');
  if (written !== undefined) {
    let oneHour = 0;
    for (const detail of Array.isArray(raw.cacheDetails) ? raw.cacheDetails : []) {
      if (isUsageObject(detail) && detail.ttl === '1h') oneHour += count(detail, 'inputTokens') ?? 0;
    }
    oneHour = Math.min(oneHour, written);
    usage.cache_write_5m = written - oneHour;
    if (oneHour > 0) usage.cache_write_1h = oneHour;
  }
  if (output !== undefined) usage.output = output;
  addToolCalls(usage, 'web_search', count(objectIn(raw, 'serverToolUsage'), 'webSearchRequests'));
  return usage;
}
