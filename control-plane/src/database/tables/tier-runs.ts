/** Tables of migration 0014_tier_runs. The scheduler's own are not among them. */
import type { ColumnType, Generated, GeneratedAlways } from 'kysely';

export interface TierRunTables {
  tier_run: {
    window_to: Date;
    position: Generated<string>;
    spending_accounts: bigint;
    accounts: Generated<bigint>;
    raised: Generated<bigint>;
    lowered: Generated<bigint>;
    rev: bigint | null;
    started_at: Date;
    finished_at: Date | null;
  };
  tier_run_spend: {
    window_to: Date;
    account_id: string;
    list_nano: bigint;
  };
  tier_ladder_version: {
    ladder_id: string;
    version: number;
    /** Written as JSON text. */
    tiers: ColumnType<unknown, string, never>;
    set_at: Date;
  };
  audit_run: {
    id: GeneratedAlways<bigint>;
    started_at: Date;
    finished_at: Date;
    ok: boolean;
    /** Written as JSON text, read back parsed. */
    checks: ColumnType<AuditedCheck[], string, never>;
  };
}

/** A check as it is kept: figures are integers as text. */
export interface AuditedCheck {
  readonly check: string;
  readonly ok: boolean;
  readonly figures: Readonly<Record<string, string>>;
  readonly examples: readonly string[];
}
