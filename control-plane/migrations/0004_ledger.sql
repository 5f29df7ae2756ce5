-- Double entry. A transfer is one row with a debit, a credit and an amount > 0, so that it balances by construction.
-- A ledger account is named by its kind (`revenue`) or by its kind and its owner (`paid:acc_…`); its balance is Σ credits − Σ debits.

CREATE SEQUENCE ledger_transfer_id;

CREATE TABLE ledger_transfer (
  id bigint NOT NULL DEFAULT nextval('ledger_transfer_id'),
  posted_at timestamptz NOT NULL,
  code text NOT NULL,
  debit text NOT NULL,
  credit text NOT NULL,
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  -- The customer whose credit moved; null between platform accounts.
  account_id text,
  -- The usage batch that was posted; null for everything else.
  batch_id bigint,
  -- What it was for: a payment's id, an operator's reason.
  reference text,
  CHECK (debit <> credit),
  PRIMARY KEY (posted_at, id)
) PARTITION BY RANGE (posted_at);
CREATE TABLE ledger_transfer_default PARTITION OF ledger_transfer DEFAULT;
CREATE INDEX ledger_transfer_account ON ledger_transfer (account_id, id) WHERE account_id IS NOT NULL;
CREATE INDEX ledger_transfer_number ON ledger_transfer (id);

-- One wallet a customer. Platform accounts have no row here: every batch would wait for it.
CREATE TABLE ledger_balance (
  account_id text PRIMARY KEY,
  paid_nano bigint NOT NULL DEFAULT 0 CHECK (paid_nano >= 0),
  bonus_nano bigint NOT NULL DEFAULT 0 CHECK (bonus_nano >= 0),
  CHECK (paid_nano + bonus_nano <= 4503599627370496)
) WITH (fillfactor = 50);

-- Accounts whose balance changed since it was last published.
CREATE TABLE ledger_balance_changed (
  account_id text PRIMARY KEY,
  changes bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 50);

CREATE TABLE ledger_idempotency (
  key text PRIMARY KEY,
  -- What was asked for, so that the same key with another content is refused.
  content text NOT NULL,
  transfer_id bigint NOT NULL,
  balance_after_nano bigint NOT NULL,
  created_at timestamptz NOT NULL
);

-- Balances of all ledger accounts that moved, up to and with a transfer; the rest is the tail.
CREATE TABLE ledger_snapshot_run (
  upto_id bigint PRIMARY KEY,
  taken_at timestamptz NOT NULL
);
CREATE TABLE ledger_snapshot (
  ledger_account text NOT NULL,
  upto_id bigint NOT NULL REFERENCES ledger_snapshot_run,
  balance_nano bigint NOT NULL,
  PRIMARY KEY (ledger_account, upto_id)
);

-- What was written once is never changed.
REVOKE UPDATE, DELETE, TRUNCATE ON
  ledger_transfer, ledger_transfer_default, ledger_idempotency, ledger_snapshot_run, ledger_snapshot
FROM meridian_app;

-- Makes the partition of `parent` for one span of time, unless it is there. Rows that went to the default partition while it
-- was missing move over. Owner's business: the application calls it through the functions that fix the parent.
CREATE FUNCTION make_time_partition(parent text, starts timestamptz, ends timestamptz, may_update boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
  part text := parent || '_' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDD');
  spare text := parent || '_default';
  key_column text;
BEGIN
  IF to_regclass(part) IS NOT NULL THEN
    RETURN false;
  END IF;
  SELECT a.attname INTO STRICT key_column
    FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
    WHERE p.partrelid = to_regclass(parent);
  EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', parent);
  IF to_regclass(part) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
  EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= $1 AND %I < $2 RETURNING *) INSERT INTO %I SELECT * FROM moved', spare, key_column, key_column, part)
    USING starts, ends;
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, starts, ends);
  IF NOT may_update THEN
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM meridian_app', part);
  END IF;
  RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION make_time_partition FROM PUBLIC;

-- Monthly partitions of transfers: this month and `months_ahead` more. Returns how many were made.
CREATE FUNCTION make_ledger_partitions(from_day timestamptz, months_ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  starts timestamp := date_trunc('month', from_day AT TIME ZONE 'UTC');
  made int := 0;
BEGIN
  FOR month IN 0..months_ahead LOOP
    IF make_time_partition('ledger_transfer',
      (starts + make_interval(months => month)) AT TIME ZONE 'UTC',
      (starts + make_interval(months => month + 1)) AT TIME ZONE 'UTC', false) THEN
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END
$$;

-- The newest transfer such that no older one can still be committed: waits for the writers of this moment.
-- Call it in a transaction of its own, since the lock is kept to its end.
CREATE FUNCTION ledger_settled_id() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  LOCK TABLE ledger_transfer IN SHARE MODE;
  RETURN (SELECT coalesce(max(id), 0) FROM ledger_transfer);
END
$$;
