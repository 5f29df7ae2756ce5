/** Tables of migration 0002_accounts, with the columns of 0012_plan_limits. */
import type { ColumnType, Generated } from 'kysely';

/** What a rate is limited to; absent is not limited. */
export interface RateLimitsJson {
  readonly requests_per_minute?: number | undefined;
  readonly tokens_per_minute?: number | undefined;
  readonly concurrency?: number | undefined;
}

/** Written as JSON text. */
type RateLimitsColumn = ColumnType<RateLimitsJson | null, string | null | undefined, string | null>;

export interface PlanTable {
  id: string;
  name: string;
  api_access: boolean;
  daily_chat_completions: bigint | null;
  daily_images: bigint | null;
  max_message_characters: number | null;
  allowed_models: Generated<string[]>;
  rate_limits: RateLimitsColumn;
  model_rate_limits: RateLimitsColumn;
  members_capped_to: string | null;
  version: Generated<number>;
  created_at: Date;
}

export interface AccountTable {
  id: string;
  name: string;
  plan_id: string;
  status: 'active' | 'disabled';
  version: Generated<number>;
  created_at: Date;
}

export interface MemberTable {
  id: string;
  account_id: string;
  name: string;
  role: 'owner' | 'admin' | 'member' | 'billing';
  status: 'active' | 'disabled';
  version: Generated<number>;
  created_at: Date;
}

export interface ApiKeyTable {
  id: string;
  account_id: string;
  member_id: string;
  name: string;
  display: string;
  hash: string;
  status: 'active' | 'revoked' | 'disabled';
  expires_at: Date | null;
  allowed_models: string[];
  allowed_regions: string[];
  rate_limits: RateLimitsColumn;
  model_rate_limits: RateLimitsColumn;
  version: Generated<number>;
  created_at: Date;
  revoked_at: ColumnType<Date | null, undefined, Date>;
}

export interface AccountTables {
  plan: PlanTable;
  account: AccountTable;
  member: MemberTable;
  api_key: ApiKeyTable;
}
