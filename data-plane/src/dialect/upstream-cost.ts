/** What providers tell us of their own bill: our cost, which is no business of the client's. */
import type { JsonObject } from './json.ts';

const UPSTREAM_COST_KEYS: ReadonlySet<string> = new Set(['cost', 'cost_details', 'is_byok', 'cost_in_usd_ticks', 'cost_usd']);

/** The usage object with its counts only; the same object where nothing else is in it. */
export function withoutUpstreamCost(usage: JsonObject): JsonObject {
  const members = Object.entries(usage);
  const own = members.filter(([key]) => !UPSTREAM_COST_KEYS.has(key));
  return own.length === members.length ? usage : Object.fromEntries(own);
}
