/** Tables of migration 0001_config. */
import type { Lane } from '@meridian/domain/snapshot';
import type { ColumnType, Generated } from 'kysely';

export interface ConfigTables {
  config_head: {
    /** From 1 in the order of `LANES`. */
    lane: number;
    rev: bigint;
    db_epoch: string;
  };
  config_log: {
    lane: number;
    rev: bigint;
    kind: string;
    entity_id: string;
    version: bigint;
    payload: Buffer;
    created_at: Generated<Date>;
  };
  config_entity: {
    kind: string;
    id: string;
    version: bigint;
    deleted: boolean;
    lane: number;
    payload: Buffer;
  };
  node: {
    id: string;
    region: string;
    spool_id: string;
    /** Decimal digits. */
    incarnation: string;
    build: string;
    db_epoch: string;
    /** Written as JSON text, read back parsed. */
    applied: ColumnType<Partial<Record<Lane, number>>, string, string>;
    rejected_entries: bigint;
    connected_at: Date;
    last_seen_at: Date;
  };
}
