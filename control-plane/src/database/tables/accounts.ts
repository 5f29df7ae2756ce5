/** Tables of migration 0002_accounts. */
import type { ColumnType, Generated } from 'kysely';

export interface PlanTable {
  id: string;
  name: string;
  api_access: boolean;
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
