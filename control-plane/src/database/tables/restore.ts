/** Tables of migration 0009_restore. */
import type { Generated } from 'kysely';

export interface RestoreTables {
  database_epoch: {
    db_epoch: string;
    number: Generated<bigint>;
    declared_at: Date;
    sign: string;
    reason: string;
    thawed_at: Date | null;
    thaw_reason: string | null;
  };
}
