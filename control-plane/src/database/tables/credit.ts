/** Tables of migration 0015_credit. */
import type { Generated } from 'kysely';

export interface CreditTables {
  credit_package: {
    id: string;
    price_nano: bigint;
    bonus_basis_points: number;
    active: Generated<boolean>;
    updated_at: Date;
  };
  credit_purchase: {
    id: Generated<bigint>;
    account_id: string;
    package_id: string | null;
    price_nano: bigint;
    bonus_nano: bigint;
    reference: string | null;
    purchased_at: Date;
  };
  credit_lot: {
    id: Generated<bigint>;
    account_id: string;
    kind: string;
    source: string;
    purchase_id: bigint | null;
    amount_nano: bigint;
    taken_nano: Generated<bigint>;
  };
  credit_promotion: {
    id: string;
    kind: string;
    amount_nano: bigint | null;
    basis_points: number | null;
    starts_at: Date | null;
    ends_at: Date | null;
    budget_nano: bigint | null;
    given_nano: Generated<bigint>;
    active: Generated<boolean>;
    updated_at: Date;
  };
  credit_redemption: {
    promotion_id: string;
    account_id: string;
    amount_nano: bigint;
    redeemed_at: Date;
  };
  credit_trial_address: {
    address_hash: Uint8Array;
    account_id: string;
    granted_at: Date;
  };
  credit_refund: {
    id: Generated<bigint>;
    account_id: string;
    purchase_id: bigint;
    state: string;
    amount_nano: Generated<bigint>;
    bonus_cancelled_nano: Generated<bigint>;
    held_nano: Generated<bigint>;
    reason: string | null;
    refusal: string | null;
    requested_at: Date;
    tried_at: Date | null;
    closed_at: Date | null;
  };
  credit_dispute: {
    id: Generated<bigint>;
    account_id: string;
    purchase_id: bigint;
    state: string;
    amount_nano: bigint;
    taken_nano: bigint;
    missing_nano: bigint;
    collected_nano: Generated<bigint>;
    written_off_nano: Generated<bigint>;
    reference: string | null;
    opened_at: Date;
    closed_at: Date | null;
  };
  credit_dispute_lot: {
    dispute_id: bigint;
    lot_id: bigint;
    amount_nano: bigint;
  };
  ledger_correction: {
    id: Generated<bigint>;
    account_id: string;
    request_id: string;
    amount_nano: bigint;
    paid_nano: bigint;
    bonus_nano: bigint;
    covered_nano: bigint;
    reason: string | null;
    created_at: Date;
  };
}
