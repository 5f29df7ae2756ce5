/** JSON texts that say the same. */
import { parseExact } from '@meridian/data-plane/dialect/exact-json';

/** The text of an object with its members in one order, its numbers with the digits they had; a text that is none, as it is. */
export function sameJsonText(text: string): string {
  try {
    return JSON.stringify(sorted(parseExact(text === '' ? '{}' : text)));
  } catch {
    return text;
  }
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null || (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(value))
    return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}
