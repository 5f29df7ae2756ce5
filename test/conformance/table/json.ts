/** Narrowing of parsed JSON, apart from the dialects' own: what checks them shares no code with them. */
export type Json = Readonly<Record<string, unknown>>;

export function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An object without members where there is none. */
export function objectAt(value: unknown, key: string): Json {
  const member = isJson(value) ? value[key] : undefined;
  return isJson(member) ? member : {};
}

/** The objects of a list; none where there is no list. */
export function objectsAt(value: unknown, key: string): readonly Json[] {
  const member = isJson(value) ? value[key] : undefined;
  return Array.isArray(member) ? member.filter(isJson) : [];
}

/** Empty where there is no text. */
export function textAt(value: unknown, key: string): string {
  const member = isJson(value) ? value[key] : undefined;
  return typeof member === 'string' ? member : '';
}

export function optionalTextAt(value: unknown, key: string): string | undefined {
  const member = isJson(value) ? value[key] : undefined;
  return typeof member === 'string' ? member : undefined;
}

export function numberAt(value: unknown, key: string): number | undefined {
  const member = isJson(value) ? value[key] : undefined;
  return typeof member === 'number' ? member : undefined;
}

/** The value of a JSON text; the text itself where it is none. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The same text for values that are the same, whatever the order of their members; absent and undefined are one. */
export function canonicalText(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    isJson(member) ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1))) : member,
  );
}
