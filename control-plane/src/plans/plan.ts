/** What a plan is, and how it is published. */
import type { ConfigEntry, Plan } from '@meridian/domain/snapshot';
import type { Ceilings } from '../budgets/caps.ts';
import { type RateLimitsJson, rateLimitsOf } from './rate-limits.ts';

export interface PlanRow {
  readonly id: string;
  readonly name: string;
  readonly api_access: boolean;
  readonly daily_chat_completions: bigint | null;
  readonly daily_images: bigint | null;
  readonly max_message_characters: number | null;
  readonly allowed_models: string[];
  readonly rate_limits: RateLimitsJson | null;
  readonly model_rate_limits: RateLimitsJson | null;
  readonly members_capped_to: string | null;
  readonly version: number;
  readonly created_at: Date;
}

/** What a plan says. A limit that is absent is none. */
export interface PlanTerms extends Plan {
  /** Of each member. */
  readonly dailyChatCompletions?: number | undefined;
  readonly dailyImages?: number | undefined;
}

/** The plan of an account that was made without naming one. */
export const DEFAULT_PLAN_ID = 'starter';

export const MAX_MODELS_PER_PLAN = 500;

/** Nodes are told what they decide by: the daily counts reach them as caps of the members. */
export function planEntry(row: PlanRow): ConfigEntry {
  const rateLimits = rateLimitsOf(row.rate_limits);
  const modelRateLimits = rateLimitsOf(row.model_rate_limits);
  return {
    kind: 'plan',
    id: row.id,
    version: row.version,
    body: {
      kind: 'plan',
      value: {
        id: row.id,
        name: row.name,
        apiAccess: row.api_access,
        ...(row.allowed_models.length === 0 ? {} : { allowedModels: row.allowed_models }),
        ...(row.max_message_characters === null ? {} : { maxMessageCharacters: row.max_message_characters }),
        ...(rateLimits === undefined ? {} : { rateLimits }),
        ...(modelRateLimits === undefined ? {} : { modelRateLimits }),
      },
    },
  };
}

/** What each member of an account on this plan may use in a day. */
export function ceilingsOf(row: Pick<PlanRow, 'daily_chat_completions' | 'daily_images'>): Ceilings {
  return { chat_completions: row.daily_chat_completions ?? undefined, images: row.daily_images ?? undefined };
}
