/** How long a request asks a provider to keep what it writes to the prompt cache: an hour costs more than five minutes. */
import { type JsonCursor, scanObject, valueAt } from './json-scanner.ts';

/** The member, wherever a dialect lets it stand. */
export const CACHE_CONTROL = 'cache_control';

const LIFETIME: ReadonlySet<string> = new Set(['ttl']);

/** The first parameter of a request that asks for an hour. */
export interface CacheTally {
  hourOfCache: string | undefined;
}

/** Goes over the value of a `cache_control` that stands in `param` (`` or `tools[0].`). Throws JsonKeyError where it says twice how long. */
export function noteLifetime(cursor: JsonCursor, tally: CacheTally, param: string): void {
  const isObject = cursor.peek() === 'object';
  const span = cursor.skipValue();
  if (!isObject) return;
  const ttl = scanObject(cursor.body, LIFETIME, span).get('ttl');
  if (ttl !== undefined && valueAt(cursor.body, ttl) === '1h') tally.hourOfCache ??= `${param}${CACHE_CONTROL}.ttl`;
}
