/** What this dialect reads of requests and answers, its limits, and the checks of single fields. */
import { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';

const MAX_MODEL_NAME_BYTES = 256;
export const MAX_CHOICES = 128;
export const MAX_EMBEDDING_INPUTS = 100;
export const MAX_EMBEDDING_INPUT_CHARACTERS = 100_000;

/** Names at the top of a chat request that are read or written; every other one is carried through untouched. */
export const CHAT_KEYS: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'stream',
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
  'n',
  'service_tier',
  'tools',
  'functions',
  'response_format',
  'reasoning_effort',
  'modalities',
  'prediction',
  'web_search_options',
  'search_parameters',
  'plugins',
  'enable_search',
  'prompt',
  'previous_response_id',
  'conversation',
  'cached_content',
  'extra_body',
]);

/**
 * Parameters by which the model is given input that is not in the body: what the provider searches for, or has stored.
 * `false` and null ask for nothing.
 */
export const INPUT_FROM_ELSEWHERE: readonly string[] = [
  'web_search_options',
  'search_parameters',
  'plugins',
  'enable_search',
  'prompt',
  'previous_response_id',
  'conversation',
  'cached_content',
];

export const EMBEDDINGS_KEYS: ReadonlySet<string> = new Set(['model', 'input', 'encoding_format', 'dimensions', 'user']);

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

/** The members that are not named: what a dialect of ours has no word for, carried along. */
export function rest(value: JsonObject, known: readonly string[]): JsonObject {
  let others: Record<string, unknown> | undefined;
  for (const [key, member] of Object.entries(value)) {
    if (known.includes(key)) continue;
    others ??= {};
    others[key] = member;
  }
  return others ?? NO_REST;
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

export function requestedTier(value: unknown): ServiceTier {
  switch (value) {
    case undefined:
    case null:
    case 'auto':
    case 'default':
      return 'standard';
    case 'priority':
    case 'fast':
      return 'priority';
    case 'flex':
      return 'flex';
    default:
      throw invalid("The parameter 'service_tier' must be one of auto, default, flex, priority, fast.", 'service_tier');
  }
}

/** The tier an answer names; undefined when it names none that is known. */
export function servedTier(value: unknown): ServiceTier | undefined {
  switch (value) {
    case 'default':
    case 'standard':
    case 'auto':
    case 'on_demand':
      return 'standard';
    case 'priority':
    case 'fast':
      return 'priority';
    case 'flex':
      return 'flex';
    case 'batch':
      return 'batch';
    default:
      return undefined;
  }
}

export function writeTier(tier: ServiceTier): string {
  return tier === 'standard' ? 'default' : tier;
}
