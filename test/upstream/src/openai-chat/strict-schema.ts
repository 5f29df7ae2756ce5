// What OpenAI asks of a schema to which arguments or answers are held.

import { invalid } from '../api-error.ts';
import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';

function objectSchemas(schema: JsonValue | undefined): JsonObject[] {
  if (Array.isArray(schema)) return schema.flatMap(objectSchemas);
  if (!isObject(schema)) return [];
  const own = schema.type === 'object' || isObject(schema.properties) ? [schema] : [];
  return [...own, ...Object.values(schema).flatMap(objectSchemas)];
}

/** What `strict` asks of a schema: nothing beside what is named, and everything named required. */
export function checkStrictSchema(schema: JsonObject, whose: string, param: string, code: string | null): void {
  for (const part of objectSchemas(schema)) {
    const names = Object.keys(isObject(part.properties) ? part.properties : {});
    const needed = Array.isArray(part.required) ? part.required : [];
    if (part.additionalProperties !== false) {
      throw invalid(
        `Invalid schema for ${whose}: In context=(), 'additionalProperties' is required to be supplied and to be false.`,
        param,
        code,
      );
    }
    const missing = names.find((name) => !needed.includes(name));
    if (missing === undefined) continue;
    throw invalid(
      `Invalid schema for ${whose}: In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing '${missing}'.`,
      param,
      code,
    );
  }
}
