/** Tables of migration 0006_tiers, with what 0014_tier_runs added to them. */
import type { Generated } from 'kysely';

export interface TierTables {
  tier_ladder: {
    id: string;
    version: Generated<number>;
    published_version: number | null;
  };
  tier: {
    ladder_id: string;
    id: string;
    name: string;
    from_spend_nano: bigint;
    markup_basis_points: number;
  };
  tier_assignment: {
    account_id: string;
    tier_id: string;
    spend_30d_nano: Generated<bigint>;
    window_to: Date;
    version: Generated<number>;
    lowered_at: Generated<Date | null>;
  };
}
