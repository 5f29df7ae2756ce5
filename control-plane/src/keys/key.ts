/** What an API key of the account API is, and how it is published. */
import type { ConfigEntry } from '@meridian/domain/snapshot';
import { type RateLimitsJson, rateLimitsOf } from '../plans/rate-limits.ts';

/** Active and unexpired keys one member may have. */
export const MAX_ACTIVE_KEYS_PER_MEMBER = 10;
export const MAX_MODELS_PER_KEY = 100;
export const MAX_REGIONS_PER_KEY = 32;
export const KEY_RANDOM_BYTES = 20;

export interface KeyRow {
  readonly id: string;
  readonly account_id: string;
  readonly member_id: string;
  readonly name: string;
  readonly display: string;
  readonly hash: string;
  readonly status: 'active' | 'revoked' | 'disabled';
  readonly expires_at: Date | null;
  readonly allowed_models: string[];
  readonly allowed_regions: string[];
  readonly rate_limits: RateLimitsJson | null;
  readonly model_rate_limits: RateLimitsJson | null;
  readonly version: number;
  readonly created_at: Date;
  readonly revoked_at: Date | null;
}

export function keyEntry(row: KeyRow): ConfigEntry {
  const rateLimits = rateLimitsOf(row.rate_limits);
  const modelRateLimits = rateLimitsOf(row.model_rate_limits);
  return {
    kind: 'api_key',
    id: row.id,
    version: row.version,
    body: {
      kind: 'api_key',
      value: {
        id: row.id,
        accountId: row.account_id,
        memberId: row.member_id,
        name: row.name,
        hash: row.hash,
        status: row.status,
        expiresAtMs: row.expires_at?.getTime(),
        allowedModels: row.allowed_models,
        allowedRegions: row.allowed_regions,
        ...(rateLimits === undefined ? {} : { rateLimits }),
        ...(modelRateLimits === undefined ? {} : { modelRateLimits }),
      },
    },
  };
}

/** What people read: an active key whose time has come is `expired`. */
export function shownStatus(row: Pick<KeyRow, 'status' | 'expires_at'>, nowMs: number): 'active' | 'revoked' | 'disabled' | 'expired' {
  return row.status === 'active' && row.expires_at !== null && row.expires_at.getTime() <= nowMs ? 'expired' : row.status;
}
