/**
 * The JSON Schemas to which OpenAI's protocols hold arguments and answers with `strict`. Whoever sends another one with it is refused, so a
 * schema that was written for a provider with other rules has to be looked at first.
 */
import { isObject, type JsonObject, setMember } from './json.ts';

/** Whoever writes `strict` in words of OpenAI's own knows its rules, and is told by the provider itself where they are not kept. */
const KNOWN_TO: ReadonlySet<string> = new Set(['openai-chat', 'openai-responses']);

/** Keywords that say something about one value, and are taken as they are. */
const PLAIN: ReadonlySet<string> = new Set([
  '$schema',
  'title',
  'description',
  'pattern',
  'multipleOf',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'minItems',
  'maxItems',
]);
const FORMATS: ReadonlySet<unknown> = new Set(['date-time', 'time', 'date', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uuid']);
const NAMED: ReadonlySet<string> = new Set(['$defs', 'definitions']);

const MAX_OBJECT_PROPERTIES = 5_000;
const MAX_ENUM_VALUES = 1_000;
const MAX_NESTED_OBJECTS = 10;

const NO_ARGUMENTS: JsonObject = { type: 'object', properties: {} };

/** `openAiStrictSchema` of a tool's parameters; those of a tool without any are an empty object. */
export function openAiStrictParameters(parameters: JsonObject | undefined, from: string): JsonObject | undefined {
  return openAiStrictSchema(parameters ?? NO_ARGUMENTS, from);
}

/**
 * The schema as it may be sent with `strict`, from a request of the dialect `from`; undefined where what it says cannot be held to. Objects
 * that are silent about members beside the described ones are closed: providers that hold to a schema write none.
 */
export function openAiStrictSchema(schema: JsonObject, from: string): JsonObject | undefined {
  if (KNOWN_TO.has(from)) return schema;
  // Its root is an object, and no choice between several.
  if (schema.type !== 'object' || schema.anyOf !== undefined) return undefined;
  return strictly(schema, 0, { properties: 0, enumValues: 0 });
}

interface Counts {
  properties: number;
  enumValues: number;
}

function strictly(schema: unknown, depth: number, counts: Counts): JsonObject | undefined {
  if (!isObject(schema)) return undefined;
  if (schema.$ref !== undefined) return Object.keys(schema).length === 1 ? schema : undefined;
  const isOfObjects = schema.type === 'object' || (Array.isArray(schema.type) && schema.type.includes('object'));
  const inside = isOfObjects ? depth + 1 : depth;
  if (inside > MAX_NESTED_OBJECTS) return undefined;
  if (isOfObjects !== isObject(schema.properties)) return undefined;
  if (schema.type === undefined && schema.anyOf === undefined && schema.enum === undefined && schema.const === undefined) return undefined;
  const written: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(schema)) {
    const taken = writeKeyword(key, value, schema, inside, counts);
    if (taken === undefined) return undefined;
    setMember(written, key, taken);
  }
  return isOfObjects ? { required: [], ...written, additionalProperties: false } : written;
}

/** Undefined for a keyword, or a value of one, that is refused. */
function writeKeyword(key: string, value: unknown, schema: JsonObject, depth: number, counts: Counts): unknown {
  if (PLAIN.has(key) || key === 'type' || key === 'const') return value;
  switch (key) {
    case 'format':
      return FORMATS.has(value) ? value : undefined;
    case 'enum':
      if (!Array.isArray(value)) return undefined;
      counts.enumValues += value.length;
      return counts.enumValues > MAX_ENUM_VALUES ? undefined : value;
    case 'items':
      return strictly(value, depth, counts);
    case 'anyOf':
      return Array.isArray(value) ? all(value.map((item) => strictly(item, depth, counts))) : undefined;
    case 'properties': {
      const names = Object.keys(isObject(value) ? value : {});
      counts.properties += names.length;
      if (counts.properties > MAX_OBJECT_PROPERTIES) return undefined;
      const required: ReadonlySet<unknown> = new Set(Array.isArray(schema.required) ? schema.required : []);
      return names.every((name) => required.has(name)) ? named(value, depth, counts) : undefined;
    }
    case 'required':
      return Array.isArray(value) && value.every((name) => isObject(schema.properties) && Object.hasOwn(schema.properties, String(name)))
        ? value
        : undefined;
    case 'additionalProperties':
      return value === false ? value : undefined;
    default:
      return NAMED.has(key) ? named(value, depth, counts) : undefined;
  }
}

function named(value: unknown, depth: number, counts: Counts): JsonObject | undefined {
  if (!isObject(value)) return undefined;
  const written = Object.entries(value).map(([name, item]) => [name, strictly(item, depth, counts)] as const);
  return written.some(([, item]) => item === undefined) ? undefined : Object.fromEntries(written);
}

function all(items: readonly (JsonObject | undefined)[]): readonly unknown[] | undefined {
  return items.includes(undefined) ? undefined : items;
}
