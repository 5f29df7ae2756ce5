/**
 * JSON as Google's services read it: names in camelCase or snake_case, one object where a list of one is meant, whole numbers also as
 * strings. What is written here is in camelCase.
 */
import { invalid, isObject, type JsonObject } from '../json.ts';

/** The members of this object, not of those inside it, under their camelCase names; the same object where nothing changes. */
export function camelKeys(value: JsonObject): JsonObject {
  let changed: Record<string, unknown> | undefined;
  for (const key of Object.keys(value)) {
    if (!key.includes('_')) continue;
    changed ??= { ...value };
    delete changed[key];
    const camel = camelName(key);
    if (changed[camel] === undefined) changed[camel] = value[key];
  }
  return changed ?? value;
}

export function camelName(key: string): string {
  return key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `object` with its names in camelCase; an empty one for anything else. */
export function fieldsOf(value: unknown): JsonObject {
  return isObject(value) ? camelKeys(value) : EMPTY;
}

const EMPTY: JsonObject = Object.freeze({});

/** Absent and null are the empty list. */
export function listOf(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return NOTHING;
  return Array.isArray(value) ? value : [value];
}

const NOTHING: readonly unknown[] = Object.freeze([]);

/** Undefined where there is none, or nothing that can be one. */
export function integer(value: unknown): number | undefined {
  const read = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value;
  return typeof read === 'number' && Number.isSafeInteger(read) ? read : undefined;
}

/** Throws GatewayError 400. */
export function optionalPositive(value: unknown, param: string, max = Number.MAX_SAFE_INTEGER): number | undefined {
  if (value === undefined || value === null) return undefined;
  const read = integer(value);
  if (read === undefined || read < 1) throw invalid(`The parameter '${param}' must be a positive integer.`, param);
  if (read > max) throw invalid(`The parameter '${param}' may be at most ${max}.`, param);
  return read;
}

/** The word of an enumeration, in capitals; undefined for none. */
export function enumWord(value: unknown): string | undefined {
  return typeof value === 'string' ? value.toUpperCase() : undefined;
}

/** Bytes are written in either alphabet of base64; everybody else reads the standard one only. */
export function standardBase64(data: string): string {
  return data.includes('-') || data.includes('_') ? data.replaceAll('-', '+').replaceAll('_', '/') : data;
}
