/** Tables of migration 0005_usage. */
import type { Component } from '@meridian/domain/usage';
import type { Generated } from 'kysely';

type Units = { [component in Component]: bigint };

export interface UsageTables {
  ingest_cursor: {
    spool_id: string;
    incarnation: bigint;
    acked_seq: bigint;
    node_id: string;
    region: string;
    updated_at: Date;
  };
  usage_batch: {
    id: Generated<bigint>;
    kind: 'ingested' | 'lost';
    spool_id: string;
    incarnation: bigint;
    first_seq: bigint;
    last_seq: bigint;
    node_id: string;
    region: string;
    ingested_at: Date;
  };
  usage_event: {
    admitted_at: Date;
    request_id: string;
    batch_id: bigint;
    seq: bigint;
    region: string;
    account_id: string;
    member_id: string;
    key_id: string;
    operation: string;
    client_dialect: string;
    asked_model: string;
    answering_model_id: string | null;
    asked_price_version: number;
    answering_price_version: number;
    tier_id: string;
    markup_basis_points: number;
    service_tier: string;
    outcome: string;
    exactness: string;
    usage: unknown;
    leases: unknown;
    attempts: unknown;
    max_cost_nano: bigint;
    charge_nano: bigint;
    list_nano: bigint;
    variance_nano: bigint;
    cost_nano: bigint;
    written_off_nano: Generated<bigint>;
    stream: boolean;
    status: number;
    error_code: string | null;
    first_byte_ms: bigint;
    duration_ms: bigint;
  };
  usage_duplicate: {
    batch_id: bigint;
    seq: bigint;
    admitted_at: Date;
    request_id: string;
    account_id: string;
    charge_nano: bigint;
    differs: boolean;
    payload: unknown;
  };
  usage_dead_letter: {
    batch_id: bigint;
    seq: bigint;
    reason: string;
    account_id: string | null;
    request_id: string | null;
    charge_nano: string | null;
    leases: unknown;
    payload: Buffer;
  };
  usage_rating_mismatch: {
    batch_id: bigint;
    seq: bigint;
    admitted_at: Date;
    request_id: string;
    account_id: string;
    charge_nano: bigint;
    rated_nano: bigint | null;
  };
  usage_hourly: Units & {
    account_id: string;
    hour: Date;
    model_id: string;
    key_id: string;
    member_id: string;
    region: string;
    price_version: number;
    tier_id: string;
    requests: bigint;
    charged_requests: bigint;
    estimated_requests: bigint;
    charge_nano: bigint;
    list_nano: bigint;
    variance_nano: bigint;
    cost_nano: bigint;
    written_off_nano: Generated<bigint>;
  };
  usage_uncharged_daily: {
    account_id: string;
    day: Date;
    cost_nano: bigint;
  };
}
