// How OpenAI reads single parameters, and refuses them.

import { type ApiError, invalid } from '../api-error.ts';
import { type JsonObject, type JsonValue, typeName } from '../json-value.ts';

/** The refusal of a parameter that is missing. */
export function required(name: string): ApiError {
  return invalid(`Missing required parameter: '${name}'.`, name, 'missing_required_parameter');
}

/** The refusal of a value of a wrong type. */
export function wrongType(name: string, expected: string, value: JsonValue | undefined): ApiError {
  return invalid(`Invalid type for '${name}': expected ${expected}, but got ${typeName(value)} instead.`, name, 'invalid_type');
}

/** Whether a parameter was given: null counts as absent. */
export function present(value: JsonValue | undefined): value is JsonValue {
  return value !== undefined && value !== null;
}

/** A whole number of at least `minimum`; null where it is absent. */
export function readInteger(body: JsonObject, name: string, minimum: number): number | null {
  const value = body[name];
  if (!present(value)) return null;
  if (typeof value !== 'number' || !Number.isInteger(value)) throw wrongType(name, 'an integer', value);
  if (value < minimum) {
    throw invalid(
      `Invalid '${name}': integer below minimum value. Expected a value >= ${minimum}, but got ${value} instead.`,
      name,
      'integer_below_min_value',
    );
  }
  return value;
}

/** Throws where a number is out of its range. */
export function checkDecimal(body: JsonObject, name: string, minimum: number, maximum: number): void {
  const value = body[name];
  if (!present(value)) return;
  if (typeof value !== 'number') throw wrongType(name, 'a decimal', value);
  if (value > maximum) {
    throw invalid(
      `Invalid '${name}': decimal above maximum value. Expected a value <= ${maximum}, but got ${value} instead.`,
      name,
      'decimal_above_max_value',
    );
  }
  if (value < minimum) {
    throw invalid(
      `Invalid '${name}': decimal below minimum value. Expected a value >= ${minimum}, but got ${value} instead.`,
      name,
      'decimal_below_min_value',
    );
  }
}

/** A switch; `fallback` where it is absent. */
export function readBoolean(body: JsonObject, name: string, fallback: boolean): boolean {
  const value = body[name];
  if (!present(value)) return fallback;
  if (typeof value !== 'boolean') throw wrongType(name, 'a boolean', value);
  return value;
}
