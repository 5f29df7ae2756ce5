-- Caps, budgets and leases. Amounts are in the cap's unit: nano-USD, or a count.
-- Ids are compared byte by byte: rows are locked in their order, and code that sorts ids must find the same one.

-- A cap that was removed keeps its row, so that one set again goes on with its budgets and counts its versions on.
CREATE TABLE cap (
  id text COLLATE "C" PRIMARY KEY,
  account_id text NOT NULL REFERENCES account (id),
  scope text NOT NULL CHECK (scope IN ('key', 'member', 'account')),
  -- The key, member or account that is capped.
  scope_id text NOT NULL,
  window_kind text NOT NULL CHECK (window_kind IN ('utc_day', 'utc_month')),
  unit text NOT NULL CHECK (unit IN ('nano_usd', 'chat_completions', 'images')),
  -- Null: the cap was removed.
  limit_amount bigint CHECK (limit_amount BETWEEN 0 AND 4503599627370496),
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (scope_id, scope, window_kind, unit)
);
CREATE INDEX cap_account ON cap (account_id);

-- One window of a cap, or an account's prepaid credit, whose cap is no row: its limit moves with the customer's credit.
-- A lowered limit may lie below settled + held.
CREATE TABLE budget (
  -- cap_id@window_start_ms
  id text COLLATE "C" PRIMARY KEY,
  cap_id text COLLATE "C" NOT NULL,
  -- Milliseconds since 1970; 0 for prepaid credit.
  window_start_ms bigint NOT NULL CHECK (window_start_ms >= 0),
  account_id text NOT NULL,
  unit text NOT NULL CHECK (unit IN ('nano_usd', 'chat_completions', 'images')),
  -- Null: the cap was removed, and nothing more is granted.
  limit_amount bigint CHECK (limit_amount >= 0),
  -- The part of `settled` that came without a lease: what was charged in the window before the cap was set. Below 0 where
  -- settled prepaid credit was taken off both sides, so that the figures of a long-lived account stay small.
  opening bigint NOT NULL DEFAULT 0,
  settled bigint NOT NULL DEFAULT 0 CHECK (settled >= 0),
  held bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
  CHECK (id = cap_id || '@' || window_start_ms),
  UNIQUE (cap_id, window_start_ms)
) WITH (fillfactor = 50);
CREATE INDEX budget_account ON budget (account_id);

-- The spools that hold leases, one a spool folder.
CREATE TABLE lease_spool (
  spool_id text COLLATE "C" PRIMARY KEY,
  node_id text NOT NULL,
  region text NOT NULL,
  last_seen_at timestamptz NOT NULL,
  -- For how long nothing was heard of it while the control plane was up.
  silent_ms bigint NOT NULL DEFAULT 0 CHECK (silent_ms >= 0),
  -- Given up: its leases are closed, and no epoch waits for it.
  retired_at timestamptz,
  -- The epoch of the database in which it last declared its leases, and to which it has replayed its records.
  declared_epoch uuid,
  replayed_epoch uuid
) WITH (fillfactor = 50);

-- One node's share of a budget: four counters that only grow.
CREATE TABLE lease (
  -- 32 hexadecimal digits.
  id text COLLATE "C" PRIMARY KEY,
  budget_id text COLLATE "C" NOT NULL REFERENCES budget (id),
  spool_id text COLLATE "C" NOT NULL REFERENCES lease_spool (spool_id),
  -- The spool's at the time.
  node_id text NOT NULL,
  region text NOT NULL,
  granted bigint NOT NULL CHECK (granted >= 0),
  returned bigint NOT NULL CHECK (returned >= 0),
  used bigint NOT NULL CHECK (used >= 0),
  written_off bigint NOT NULL CHECK (written_off >= 0),
  -- Gets no more grants; closed when nothing is held on it.
  retiring boolean NOT NULL DEFAULT false,
  opened_at timestamptz NOT NULL,
  last_granted_at timestamptz,
  closed_at timestamptz,
  CHECK (returned + used + written_off <= granted)
) WITH (fillfactor = 50);
-- Beside the one that is granted from there may be others that wait for their end, after a restore.
CREATE UNIQUE INDEX lease_open ON lease (budget_id, spool_id) WHERE closed_at IS NULL AND NOT retiring;
CREATE INDEX lease_open_of_spool ON lease (spool_id) WHERE closed_at IS NULL;
-- For the books of a budget, in which closed leases count as well.
CREATE INDEX lease_budget ON lease (budget_id);

-- What a window holds is changed by leases and limits, and never taken away.
REVOKE DELETE, TRUNCATE ON cap, budget, lease_spool, lease FROM meridian_app;

-- The part of a request's price that is charged to nobody: its leases could not pay.
ALTER TABLE usage_event ADD COLUMN written_off_nano bigint NOT NULL DEFAULT 0 CHECK (written_off_nano >= 0);
ALTER TABLE usage_hourly ADD COLUMN written_off_nano bigint NOT NULL DEFAULT 0;

-- Credit that accounts have already.
INSERT INTO budget (id, cap_id, window_start_ms, account_id, unit, limit_amount)
SELECT 'prepaid_' || owner.id || '@0', 'prepaid_' || owner.id, 0, owner.id, 'nano_usd', coalesce(b.paid_nano + b.bonus_nano, 0)
FROM (SELECT id FROM account UNION SELECT account_id FROM ledger_balance) owner (id)
LEFT JOIN ledger_balance b ON b.account_id = owner.id;
