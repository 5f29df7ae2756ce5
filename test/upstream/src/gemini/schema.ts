// Google's own schemas: a part of OpenAPI's, which knows fewer keywords than JSON Schema.

import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';

const KEYWORDS = new Set(
  'type format title description nullable enum maxItems minItems properties required minProperties maxProperties minLength maxLength pattern example anyOf propertyOrdering default items minimum maximum'.split(
    ' ',
  ),
);

/** The keywords that Google's schemas do not have, each with the path of the schema it stands in. */
export function foreignKeywords(schema: JsonValue | undefined, at: string): Array<{ name: string; at: string }> {
  if (!isObject(schema)) return [];
  const found: Array<{ name: string; at: string }> = [];
  for (const [given, inner] of Object.entries(schema)) {
    const name = given.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (!KEYWORDS.has(name)) found.push({ name: given, at });
    else if (name === 'items') found.push(...foreignKeywords(inner, `${at}.items`));
    else if (name === 'anyOf' && Array.isArray(inner)) {
      inner.forEach((branch, index) => {
        found.push(...foreignKeywords(branch, `${at}.any_of[${index}]`));
      });
    } else if (name === 'properties' && isObject(inner)) {
      Object.values(inner).forEach((property, index) => {
        found.push(...foreignKeywords(property, `${at}.properties[${index}].value`));
      });
    }
  }
  return found;
}

/** The paths of schemas whose `type` is a list, which Google's schemas do not allow. */
export function listedTypes(schema: JsonValue | undefined, at: string): string[] {
  if (!isObject(schema)) return [];
  const own = Array.isArray(schema.type) ? [`${at}.type`] : [];
  const items = listedTypes(schema.items, `${at}.items`);
  const properties = isObject(schema.properties) ? Object.values(schema.properties) : [];
  return [...own, ...items, ...properties.flatMap((property, index) => listedTypes(property, `${at}.properties[${index}].value`))];
}

/** The same schema as JSON Schema: types in small letters, `nullable` as a type. */
export function asJsonSchema(schema: JsonObject): JsonObject {
  const { nullable, ...rest } = schema;
  const plain: JsonObject = {};
  for (const [name, inner] of Object.entries(rest)) {
    if (name === 'type' && typeof inner === 'string') plain.type = nullable === true ? [inner.toLowerCase(), 'null'] : inner.toLowerCase();
    else if (name === 'items' && isObject(inner)) plain.items = asJsonSchema(inner);
    else if (name === 'anyOf' && Array.isArray(inner))
      plain.anyOf = inner.map((branch) => (isObject(branch) ? asJsonSchema(branch) : branch));
    else if (name === 'properties' && isObject(inner)) {
      plain.properties = Object.fromEntries(
        Object.entries(inner).map(([field, property]) => [field, isObject(property) ? asJsonSchema(property) : property]),
      );
    } else plain[name] = inner;
  }
  return plain;
}
