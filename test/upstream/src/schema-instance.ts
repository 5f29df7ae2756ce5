// Makes one JSON value that satisfies a JSON schema, the same value for the same schema and words.

import { isObject, type JsonObject, type JsonValue } from './json-value.ts';
import { matchingText } from './pattern-text.ts';

const FORMATS: Record<string, string> = {
  'date-time': '2026-01-15T09:30:00Z',
  date: '2026-01-15',
  time: '09:30:00Z',
  duration: 'P1D',
  email: 'ada@example.com',
  hostname: 'example.com',
  ipv4: '192.0.2.10',
  ipv6: '2001:db8::10',
  uri: 'https://example.com/a',
  'uri-reference': '/a',
  uuid: '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
};

/** Beyond this depth optional parts are left out and arrays stay as short as they may, so that recursive schemas end. */
const DEEP = 4;

/** Far beyond any finite schema: a schema that only refers to itself has no instance at all. */
const HOPELESS = 64;

interface Context {
  root: JsonObject;
  words: string[];
  used: number;
}

function deref(schema: JsonObject, root: JsonObject): JsonObject {
  let current = schema;
  for (let hop = 0; typeof current.$ref === 'string' && hop < 32; hop++) {
    let target: JsonValue | undefined = root;
    for (const step of current.$ref.replace(/^#\/?/, '').split('/')) {
      if (step === '') continue;
      const key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
      if (Array.isArray(target)) target = target[Number(key)];
      else target = isObject(target) ? target[key] : undefined;
    }
    if (!isObject(target)) return {};
    const { $ref: _, ...beside } = current;
    current = { ...target, ...beside };
  }
  return current;
}

function mergeAll(schema: JsonObject, context: Context): JsonObject {
  if (!Array.isArray(schema.allOf)) return schema;
  const { allOf, ...own } = schema;
  let merged: JsonObject = own;
  for (const branch of allOf) {
    if (!isObject(branch)) continue;
    const part = mergeAll(deref(branch, context.root), context);
    const properties = { ...objectOf(merged.properties), ...objectOf(part.properties) };
    const required = [...arrayOf(merged.required), ...arrayOf(part.required)];
    merged = { ...merged, ...part };
    if (Object.keys(properties).length > 0) merged.properties = properties;
    if (required.length > 0) merged.required = required;
  }
  return merged;
}

function objectOf(value: JsonValue | undefined): JsonObject {
  return isObject(value) ? value : {};
}

function arrayOf(value: JsonValue | undefined): JsonValue[] {
  return Array.isArray(value) ? value : [];
}

function numberOf(value: JsonValue | undefined): number | null {
  return typeof value === 'number' ? value : null;
}

function typeOf(schema: JsonObject): string {
  // A nullable type is answered with its other side: a null would leave the rest of the schema untried.
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  const chosen = types.find((type) => typeof type === 'string' && type !== 'null') ?? types[0];
  if (typeof chosen === 'string') return chosen;
  if (schema.properties !== undefined || schema.required !== undefined) return 'object';
  if (schema.items !== undefined || schema.prefixItems !== undefined) return 'array';
  if (schema.minimum !== undefined || schema.maximum !== undefined) return 'number';
  return 'string';
}

function numberInstance(schema: JsonObject, whole: boolean): number {
  const step = numberOf(schema.multipleOf) ?? (whole ? 1 : 0);
  const tiny = whole ? 1 : step || 0.5;
  const exclusiveLow = numberOf(schema.exclusiveMinimum);
  const exclusiveHigh = numberOf(schema.exclusiveMaximum);
  const low = exclusiveLow !== null ? (whole ? Math.floor(exclusiveLow) + 1 : exclusiveLow + tiny) : numberOf(schema.minimum);
  const high = exclusiveHigh !== null ? (whole ? Math.ceil(exclusiveHigh) - 1 : exclusiveHigh - tiny) : numberOf(schema.maximum);
  let value = low ?? (high !== null ? Math.min(high, 7) : 7);
  if (low !== null && high !== null && value > high) value = (Number(exclusiveLow ?? low) + Number(exclusiveHigh ?? high)) / 2;
  if (step > 0) {
    const up = Math.ceil(value / step) * step;
    value = high !== null && up > high ? Math.floor(high / step) * step : up;
  }
  return whole ? Math.round(value) : value;
}

function stringInstance(schema: JsonObject, name: string, context: Context): string {
  if (typeof schema.pattern === 'string') return matchingText(schema.pattern, numberOf(schema.minLength) ?? 0);
  if (typeof schema.format === 'string') {
    const known = FORMATS[schema.format];
    if (known !== undefined) return known;
  }
  const word = context.words[context.used++ % Math.max(1, context.words.length)];
  let text = word ?? `sample ${name}`;
  const shortest = numberOf(schema.minLength) ?? 0;
  const longest = numberOf(schema.maxLength) ?? Number.POSITIVE_INFINITY;
  while (text.length < shortest) text += ` ${name || 'text'}`;
  if (text.length > longest) text = text.slice(0, longest);
  return text;
}

function arrayInstance(schema: JsonObject, name: string, context: Context, depth: number): JsonValue[] {
  const shortest = numberOf(schema.minItems) ?? 0;
  const longest = numberOf(schema.maxItems) ?? Number.POSITIVE_INFINITY;
  const prefix = arrayOf(schema.prefixItems);
  const wanted = depth > DEEP ? shortest : Math.min(longest, Math.max(shortest, prefix.length, schema.uniqueItems === true ? 1 : 2));
  const items: JsonValue[] = [];
  const seen = new Set<string>();
  const choices = isObject(schema.items) ? arrayOf(deref(schema.items, context.root).enum) : [];
  for (let i = 0; i < wanted; i++) {
    const own = prefix[i];
    if (own === undefined && schema.items === false) break;
    let item = instance(isObject(own) ? own : objectOf(schema.items), name, context, depth + 1);
    if (schema.uniqueItems === true && seen.has(JSON.stringify(item))) {
      const other = choices.find((choice) => !seen.has(JSON.stringify(choice)));
      if (other !== undefined) item = other;
      else if (typeof item === 'number') item += i * (numberOf(objectOf(schema.items).multipleOf) ?? 1);
      else if (typeof item === 'string') item = `${item} ${i}`;
    }
    seen.add(JSON.stringify(item));
    items.push(item);
  }
  return items;
}

function objectInstance(schema: JsonObject, context: Context, depth: number): JsonObject {
  const properties = objectOf(schema.properties);
  const required = new Set(arrayOf(schema.required));
  const result: JsonObject = {};
  for (const [key, property] of Object.entries(properties)) {
    if (!required.has(key) && (depth > DEEP || property === false)) continue;
    result[key] = instance(objectOf(property), key, context, depth + 1);
  }
  for (const key of required) {
    if (typeof key === 'string' && result[key] === undefined) {
      result[key] = instance(objectOf(schema.additionalProperties), key, context, depth + 1);
    }
  }
  const fewest = numberOf(schema.minProperties) ?? 0;
  for (let i = 1; Object.keys(result).length < fewest; i++) {
    result[`extra${i}`] = instance(objectOf(schema.additionalProperties), `extra${i}`, context, depth + 1);
  }
  return result;
}

function instance(given: JsonObject, name: string, context: Context, depth: number): JsonValue {
  if (depth > HOPELESS) return null;
  const schema = mergeAll(deref(given, context.root), context);
  if (schema.const !== undefined) return schema.const;
  const choices = arrayOf(schema.enum);
  const firstChoice = choices[0];
  // The message may name the choice it wants; else the first stands.
  if (firstChoice !== undefined) {
    return choices.find((choice) => context.words.some((word) => word.toLowerCase() === String(choice).toLowerCase())) ?? firstChoice;
  }
  const branches = [...arrayOf(schema.anyOf), ...arrayOf(schema.oneOf)].filter(isObject);
  if (branches.length > 0) {
    const { anyOf: _any, oneOf: _one, ...beside } = schema;
    const ends = branches.find((branch) => branch.type === 'null' || branch.type === 'string' || branch.const !== undefined);
    const first = branches.find((branch) => branch.type !== 'null') ?? branches[0] ?? {};
    const branch = depth > DEEP ? (ends ?? first) : first;
    return instance(mergeAll({ ...beside, allOf: [branch] }, context), name, context, depth + 1);
  }
  switch (typeOf(schema)) {
    case 'object':
      return objectInstance(schema, context, depth);
    case 'array':
      return arrayInstance(schema, name, context, depth);
    case 'integer':
      return numberInstance(schema, true);
    case 'number':
      return numberInstance(schema, false);
    case 'boolean':
      return true;
    case 'null':
      return null;
    default:
      return stringInstance(schema, name, context);
  }
}

/**
 * Gives a value that satisfies `schema`: objects with all their properties, the first branch of a choice, the lower
 * bound of a range. `words` (say, the capitalised words of a message) fill free strings in turn.
 */
export function schemaInstance(schema: JsonObject, words: string[]): JsonValue {
  return instance(schema, '', { root: schema, words, used: 0 }, 0);
}
