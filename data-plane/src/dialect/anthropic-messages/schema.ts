/** What this dialect reads of requests and answers, and its limits. */
import type { ServiceTier } from '@meridian/domain/price';
import { invalid, isObject } from '../json.ts';

export const DIALECT = 'anthropic-messages';

/** Breakpoints of the prompt cache that one request may set. */
export const MAX_CACHE_BREAKPOINTS = 4;

/** Names at the top of a request that are read or written; every other one is carried through untouched. */
export const MESSAGES_KEYS: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'system',
  'max_tokens',
  'stream',
  'tools',
  'tool_choice',
  'thinking',
  'output_config',
  'output_format',
  'service_tier',
  'cache_control',
  'mcp_servers',
  'container',
  'speed',
  'inference_geo',
]);

/**
 * Fields that multiply the price of a whole request, by values that change nothing: no list price knows the others, so they are refused
 * before anything is sent.
 */
const PRICED_APART: Readonly<Record<string, readonly unknown[]>> = {
  speed: [undefined, null, 'standard'],
  inference_geo: [undefined, null, 'global'],
};

/** Throws GatewayError 400 where a field asks for what has no price. */
export function refusePricedApart(field: (key: string) => unknown): void {
  for (const [key, unpriced] of Object.entries(PRICED_APART)) {
    const value = field(key);
    if (!unpriced.includes(value)) {
      throw invalid(`The parameter '${key}' may only be '${String(unpriced.at(-1))}' here: anything else has no price.`, key);
    }
  }
}

/** What is asked for is never more than the standard tier; an answer tells what was served. */
export function requestedTier(value: unknown): ServiceTier {
  if (value === undefined || value === null || value === 'auto' || value === 'standard_only') return 'standard';
  throw invalid("The parameter 'service_tier' must be auto or standard_only.", 'service_tier');
}

/** A tool that the client describes and runs itself; all others have a type of the provider's. */
export function isClientTool(type: unknown): boolean {
  return type === undefined || type === null || type === 'custom';
}

export type ThinkingType = 'enabled' | 'adaptive' | 'disabled';

/** Undefined where nothing is said. Throws GatewayError 400 on a type that is not known. */
export function thinkingType(thinking: unknown): ThinkingType | undefined {
  if (thinking === undefined || thinking === null) return undefined;
  const type = isObject(thinking) ? thinking.type : undefined;
  if (type === 'enabled' || type === 'adaptive' || type === 'disabled') return type;
  throw invalid("The parameter 'thinking.type' must be enabled, adaptive or disabled.", 'thinking.type');
}

/** The tier as a `usage` of this dialect writes it; null for one that it has no word for. */
export function writeTier(tier: ServiceTier): string | null {
  return tier === 'flex' ? null : tier;
}
