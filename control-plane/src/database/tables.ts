/** Every table of the control plane: one file a migration, each named as its migration is. */
import type { AccountTables } from './tables/accounts.ts';
import type { BudgetTables } from './tables/budgets.ts';
import type { CatalogTables } from './tables/catalog.ts';
import type { ConfigTables } from './tables/config.ts';
import type { CreditTables } from './tables/credit.ts';
import type { DenialTables } from './tables/denials.ts';
import type { LeaseClockTables } from './tables/lease-clock.ts';
import type { LedgerTables } from './tables/ledger.ts';
import type { RestoreTables } from './tables/restore.ts';
import type { TierRunTables } from './tables/tier-runs.ts';
import type { TierTables } from './tables/tiers.ts';
import type { UsageTables } from './tables/usage.ts';

export interface Tables
  extends ConfigTables,
    AccountTables,
    CatalogTables,
    LedgerTables,
    CreditTables,
    UsageTables,
    TierTables,
    TierRunTables,
    BudgetTables,
    LeaseClockTables,
    RestoreTables,
    DenialTables {}
