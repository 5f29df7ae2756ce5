/** Rate limits as they are stored, and in requests and answers. */
import type { RateLimits } from '@meridian/domain/rate-limit';
import { z } from 'zod';
import type { RateLimitsJson } from '../database/tables/accounts.ts';

export type { RateLimitsJson } from '../database/tables/accounts.ts';

/** As wide as the wire's field. */
const MAX_RATE = 2 ** 32 - 1;
const RATE = z.int().min(1).max(MAX_RATE).optional();

/** What is left out is not limited. */
export const RATE_LIMITS = z
  .strictObject({ requests_per_minute: RATE, tokens_per_minute: RATE, concurrency: RATE })
  .describe('Counted in a region; what is absent is not limited.');

export const RATE_LIMITS_OUT = z
  .object({ requests_per_minute: z.int().optional(), tokens_per_minute: z.int().optional(), concurrency: z.int().optional() })
  .nullable();

/** Undefined where nothing is limited. */
export function rateLimitsOf(json: RateLimitsJson | null | undefined): RateLimits | undefined {
  if (json === null || json === undefined) return undefined;
  const { requests_per_minute, tokens_per_minute, concurrency } = json;
  const limits = {
    ...(requests_per_minute === undefined ? {} : { requestsPerMinute: requests_per_minute }),
    ...(tokens_per_minute === undefined ? {} : { tokensPerMinute: tokens_per_minute }),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
  return Object.keys(limits).length === 0 ? undefined : limits;
}

/** JSON text for the column; null where nothing is limited. */
export function rateLimitsText(limits: RateLimits | undefined): string | null {
  if (limits === undefined) return null;
  const { requestsPerMinute, tokensPerMinute, concurrency } = limits;
  const json: RateLimitsJson = { requests_per_minute: requestsPerMinute, tokens_per_minute: tokensPerMinute, concurrency };
  return Object.values(json).every((each) => each === undefined) ? null : JSON.stringify(json);
}
