/** How long a request asks a provider to keep what it writes to the prompt cache: an hour costs more than five minutes. */
import { type JsonCursor, scanObject, valueAt } from './json-scanner.ts';

/** The member, wherever a dialect lets it stand. */
export const CACHE_CONTROL = 'cache_control';

const LIFETIME: ReadonlySet<string> = new Set(['ttl']);

/** Goes over the value of a `cache_control`: whether it asks for an hour. Throws JsonKeyError where it says twice how long. */
export function asksForAnHour(cursor: JsonCursor): boolean {
  const isObject = cursor.peek() === 'object';
  const span = cursor.skipValue();
  if (!isObject) return false;
  const ttl = scanObject(cursor.body, LIFETIME, span).get('ttl');
  return ttl !== undefined && valueAt(cursor.body, ttl) === '1h';
}
