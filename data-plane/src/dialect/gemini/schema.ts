/** What this dialect reads of requests and answers, and its limits. */
import type { ServiceTier } from '@meridian/domain/price';
import { invalid } from '../json.ts';

export const DIALECT = 'gemini';

export const MAX_CHOICES = 8;
export const MAX_STOP_SEQUENCES = 5;
export const MAX_EMBEDDING_INPUTS = 100;
export const MAX_EMBEDDING_INPUT_CHARACTERS = 100_000;

/** Names at the top of a chat request that are read or written; every other one is carried through untouched. */
export const CHAT_KEYS: ReadonlySet<string> = new Set([
  'model',
  'contents',
  'systemInstruction',
  'tools',
  'toolConfig',
  'generationConfig',
  'cachedContent',
  'serviceTier',
]);

/** Throws GatewayError 400. */
export function requestedTier(value: unknown): ServiceTier {
  const word = typeof value === 'string' ? value.toLowerCase().replace(/^service_tier_/, '') : (value ?? undefined);
  switch (word) {
    case undefined:
    case 'standard':
    case 'unspecified':
      return 'standard';
    case 'priority':
      return 'priority';
    case 'flex':
      return 'flex';
    default:
      throw invalid("The parameter 'serviceTier' must be one of standard, flex, priority.", 'serviceTier');
  }
}

/** A model's name without the collection that it may be written in. */
export function bareModel(name: string): string {
  return name.startsWith('models/') ? name.slice('models/'.length) : name;
}
