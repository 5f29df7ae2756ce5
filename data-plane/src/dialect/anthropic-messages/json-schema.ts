/** JSON Schemas as this provider takes them where an answer or a call is held to them. */
import { isObject, type JsonObject, setMember } from '../json.ts';

/** Keywords that are refused; what they say is added to the description, for the model to heed. */
const REFUSED: ReadonlySet<string> = new Set([
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'maxItems',
  'uniqueItems',
  'contains',
  'minContains',
  'maxContains',
  'minProperties',
  'maxProperties',
  'patternProperties',
  'propertyNames',
  'unevaluatedProperties',
  'dependentRequired',
  'dependentSchemas',
  'prefixItems',
  'not',
  'if',
  'then',
  'else',
]);

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
const ONE: ReadonlySet<string> = new Set(['items']);
const SEVERAL: ReadonlySet<string> = new Set(['anyOf', 'allOf', 'oneOf']);
const NAMED: ReadonlySet<string> = new Set(['properties', '$defs', 'definitions']);

export interface StrictSchema {
  readonly schema: JsonObject;
  /** Where something was taken out, as `properties.age.minimum`. */
  readonly removed: readonly string[];
}

/** A schema that is taken for strict output. An object is closed: nobody misses members that were not described. */
export function strictSchema(schema: JsonObject): StrictSchema {
  const removed: string[] = [];
  return { schema: strictly(schema, '', removed), removed };
}

function strictly(schema: JsonObject, path: string, removed: string[]): JsonObject {
  const written: Record<string, unknown> = {};
  const hints: string[] = [];
  for (const [key, value] of Object.entries(schema)) {
    const at = path === '' ? key : `${path}.${key}`;
    if (REFUSED.has(key) || (key === 'minItems' && value !== 0 && value !== 1)) {
      removed.push(at);
      hints.push(`${key}: ${JSON.stringify(value)}`);
    } else if (ONE.has(key) && isObject(value)) written[key] = strictly(value, at, removed);
    else if (SEVERAL.has(key) && Array.isArray(value)) {
      // One of several and any of several are told apart by nobody who writes one answer.
      const name = key === 'oneOf' ? 'anyOf' : key;
      written[name] = value.map((item, index) => (isObject(item) ? strictly(item, `${at}[${index}]`, removed) : item));
    } else if (NAMED.has(key) && isObject(value)) {
      written[key] = Object.fromEntries(
        Object.entries(value).map(([name, item]) => [name, isObject(item) ? strictly(item, `${at}.${name}`, removed) : item]),
      );
    } else setMember(written, key, value);
  }
  const isOfObjects =
    schema.type === 'object' || isObject(schema.properties) || (Array.isArray(schema.type) && schema.type.includes('object'));
  if (isOfObjects) {
    const { additionalProperties: others } = schema;
    if (others !== undefined && others !== false) removed.push(path === '' ? 'additionalProperties' : `${path}.additionalProperties`);
    written.additionalProperties = false;
  }
  if (hints.length > 0) {
    const described = typeof schema.description === 'string' ? `${schema.description}\n` : '';
    written.description = `${described}(${hints.join(', ')})`;
  }
  return written;
}
