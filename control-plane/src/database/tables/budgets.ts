/** Tables of migration 0007_budgets, with the columns of 0012_plan_limits. */
import type { BudgetUnit, CapScope, CapWindow } from '@meridian/domain/budget';
import type { Generated } from 'kysely';

export interface BudgetTables {
  cap: {
    id: string;
    account_id: string;
    scope: CapScope;
    scope_id: string;
    window_kind: CapWindow;
    unit: BudgetUnit;
    /** Null: removed. */
    limit_amount: bigint | null;
    chosen_amount: bigint | null;
    ceiling_amount: bigint | null;
    ceiling_is_own: Generated<boolean>;
    version: Generated<number>;
    created_at: Date;
  };
  budget: {
    id: string;
    cap_id: string;
    window_start_ms: bigint;
    account_id: string;
    unit: BudgetUnit;
    /** Null: the cap was removed. */
    limit_amount: bigint | null;
    opening: Generated<bigint>;
    settled: Generated<bigint>;
    held: Generated<bigint>;
  };
  lease_spool: {
    spool_id: string;
    node_id: string;
    region: string;
    last_seen_at: Date;
    silent_ms: Generated<bigint>;
    retired_at: Date | null;
    declared_epoch: string | null;
    replayed_epoch: string | null;
  };
  lease: {
    id: string;
    budget_id: string;
    spool_id: string;
    node_id: string;
    region: string;
    granted: bigint;
    returned: bigint;
    used: bigint;
    written_off: bigint;
    retiring: Generated<boolean>;
    opened_at: Date;
    last_granted_at: Date | null;
    closed_at: Date | null;
  };
}
