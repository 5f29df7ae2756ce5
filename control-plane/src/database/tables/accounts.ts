/** Tables of migration 0002_accounts, with the columns of 0012_plan_limits, and the tables of 0016_teams. */
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
  uncharged_ceiling_until: Generated<Date | null>;
}

export interface MemberTable {
  id: string;
  account_id: string;
  person_id: string;
  name: string;
  role: 'owner' | 'admin' | 'member' | 'billing';
  status: 'active' | 'disabled';
  version: Generated<number>;
  created_at: Date;
  removed_at: ColumnType<Date | null, undefined, Date>;
}

export interface PersonTable {
  id: string;
  created_at: Date;
}

export interface InviteTable {
  id: string;
  account_id: string;
  role: 'admin' | 'member' | 'billing';
  email: string | null;
  token_hash: string;
  invited_by: string;
  created_at: Date;
  expires_at: Date;
  revoked_at: ColumnType<Date | null, undefined, Date>;
  accepted_at: ColumnType<Date | null, undefined, Date>;
  member_id: ColumnType<string | null, undefined, string>;
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
  person: PersonTable;
  invite: InviteTable;
  api_key: ApiKeyTable;
}
