/** Tables of migration 0004_ledger; 0015_credit lets an idempotency key name what it made. */
import type { Generated } from 'kysely';

export interface LedgerTables {
  ledger_transfer: {
    id: Generated<bigint>;
    posted_at: Date;
    code: string;
    debit: string;
    credit: string;
    amount_nano: bigint;
    account_id: string | null;
    batch_id: bigint | null;
    reference: string | null;
  };
  ledger_balance: {
    account_id: string;
    paid_nano: Generated<bigint>;
    bonus_nano: Generated<bigint>;
  };
  ledger_balance_changed: {
    account_id: string;
    changes: Generated<bigint>;
  };
  ledger_idempotency: {
    key: string;
    content: string;
    transfer_id: bigint | null;
    subject_id: bigint | null;
    balance_after_nano: bigint;
    created_at: Date;
  };
  ledger_snapshot_run: {
    upto_id: bigint;
    taken_at: Date;
  };
  ledger_snapshot: {
    ledger_account: string;
    upto_id: bigint;
    balance_nano: bigint;
  };
}
