/** Where two JSON values differ, by path. */
export interface Difference {
  /** `.messages[2].content`. */
  readonly path: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** Absent and undefined are the same. */
export function differencesOf(before: unknown, after: unknown, path = ''): Difference[] {
  if (Object.is(before, after)) return [];
  if (Array.isArray(before) && Array.isArray(after)) {
    return Array.from({ length: Math.max(before.length, after.length) }, (_, index) =>
      differencesOf(before[index], after[index], `${path}[${index}]`),
    ).flat();
  }
  if (isObject(before) && isObject(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...keys].flatMap((key) => differencesOf(before[key], after[key], `${path}.${key}`));
  }
  return [{ path, before, after }];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Throws where two values differ, with the first differences and what `shown` tells. */
export function expectSame(before: unknown, after: unknown, shown: () => string): void {
  const differences = differencesOf(before, after);
  if (differences.length === 0) return;
  const lines = differences
    .slice(0, 6)
    .map(({ path, before: was, after: is }) => `${path}: ${JSON.stringify(was)} became ${JSON.stringify(is)}`);
  throw new Error(`${lines.join('\n')}\n\n${shown().slice(0, 3_000)}`);
}
