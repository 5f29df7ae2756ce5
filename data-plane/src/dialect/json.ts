/** Checks of single JSON values, shared by all dialects. */
import { GatewayError } from '@meridian/domain/error';

const MAX_MODEL_NAME_BYTES = 256;

export function invalid(message: string, param?: string, cause?: unknown): GatewayError {
  return new GatewayError('invalid_request_error', {
    message,
    ...(param === undefined ? {} : { param }),
    ...(cause === undefined ? {} : { cause }),
  });
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The members that are not named: what a dialect of ours has no word for, carried along. `value` is read from JSON. */
export function rest(value: JsonObject, known: readonly string[]): JsonObject {
  let others: Record<string, unknown> | undefined;
  // Objects from JSON inherit no members that can be walked.
  for (const key in value) {
    if (known.includes(key)) continue;
    others ??= {};
    setMember(others, key, value[key]);
  }
  return others ?? NO_REST;
}

/** Sets a member whose name comes from outside: `__proto__` is a name like any other there. */
export function setMember(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  else object[key] = value;
}

export const NO_REST: JsonObject = Object.freeze({});

export function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

export function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

export function modelName(value: unknown): string {
  if (value === undefined) throw invalid("The parameter 'model' is missing.", 'model');
  if (typeof value !== 'string') throw invalid("The parameter 'model' must be a string.", 'model');
  if (value.trim() === '') throw invalid("The parameter 'model' may not be empty.", 'model');
  if (Buffer.byteLength(value) > MAX_MODEL_NAME_BYTES) {
    throw invalid(`The parameter 'model' may have at most ${MAX_MODEL_NAME_BYTES} bytes.`, 'model');
  }
  return value;
}

/** Absent and null are the same in this protocol. */
export function optionalBoolean(value: unknown, param: string): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value !== 'boolean') throw invalid(`The parameter '${param}' must be true or false.`, param);
  return value;
}

export function optionalPositiveInteger(value: unknown, param: string, max = Number.MAX_SAFE_INTEGER): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1) {
    throw invalid(`The parameter '${param}' must be a positive integer.`, param);
  }
  if (value > max) throw invalid(`The parameter '${param}' may be at most ${max}.`, param);
  return value;
}

/** The JSON text of an object with one more member, whose digits are written as they were given; undefined adds none. */
export function withLiteral(value: JsonObject, name: string, literal: string | undefined): string {
  const members = JSON.stringify(value);
  if (literal === undefined) return members;
  return `${members.slice(0, -1)}${members === '{}' ? '' : ','}${JSON.stringify(name)}:${literal}}`;
}
