/** Service tiers as both of OpenAI's protocols, and their relatives, name them. */
import type { ServiceTier } from '@meridian/domain/price';
import { invalid } from './json.ts';

/** Throws GatewayError 400 for any other word. */
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
