/** Readings of single fields of a published list, which may hold anything. */

export type Listed = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Listed {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A number of tokens that a model may have; undefined for anything else. */
export function tokensOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 && value < 2 ** 31 ? value : undefined;
}
