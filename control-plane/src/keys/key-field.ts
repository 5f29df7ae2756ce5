/** API keys in answers. */
import { z } from 'zod';
import { CAP_OUT, presentCap } from '../budgets/cap-field.ts';
import type { CapStanding } from '../budgets/caps.ts';
import { TIME_OUT, time } from '../http/field.ts';
import { RATE_LIMITS_OUT } from '../plans/rate-limits.ts';
import { type KeyRow, shownStatus } from './key.ts';

export const KEY_FIELDS = {
  id: z.string(),
  object: z.literal('api_key'),
  prefix: z.string().describe('What may be shown of the key.'),
  name: z.string(),
  status: z.enum(['active', 'expired', 'disabled', 'revoked']),
  member_id: z.string(),
  models: z.array(z.string()).describe('Models the key may use; empty means all.'),
  regions: z.array(z.string()).describe('Regions the key may be used in; empty means all.'),
  rate_limits: RATE_LIMITS_OUT.describe("Besides those of the account's plan."),
  model_rate_limits: RATE_LIMITS_OUT.describe('For each model.'),
  expires_at: TIME_OUT.nullable(),
  caps: z.array(CAP_OUT),
  created_at: TIME_OUT,
};
export const KEY = z.object(KEY_FIELDS);

/** With the caps of the key itself. */
export function presentKey(row: KeyRow, caps: readonly CapStanding[], nowMs: number): z.infer<typeof KEY> {
  return {
    id: row.id,
    object: 'api_key',
    prefix: row.display,
    name: row.name,
    status: shownStatus(row, nowMs),
    member_id: row.member_id,
    models: row.allowed_models,
    regions: row.allowed_regions,
    rate_limits: row.rate_limits,
    model_rate_limits: row.model_rate_limits,
    expires_at: row.expires_at === null ? null : time(row.expires_at),
    caps: caps.map(presentCap),
    created_at: time(row.created_at),
  };
}
