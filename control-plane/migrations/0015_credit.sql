-- What customers bought and were given, and what was taken back of it.

-- What can be bought: a price, and a bonus on it.
CREATE TABLE credit_package (
  id text PRIMARY KEY,
  price_nano bigint NOT NULL CHECK (price_nano > 0),
  bonus_basis_points int NOT NULL CHECK (bonus_basis_points BETWEEN 0 AND 10000),
  -- Whether it is sold now.
  active boolean NOT NULL DEFAULT true,
  updated_at timestamptz NOT NULL
);
INSERT INTO credit_package (id, price_nano, bonus_basis_points, updated_at) VALUES
  ('usd-10', 10000000000, 500, now()),
  ('usd-50', 50000000000, 800, now()),
  ('usd-200', 200000000000, 1200, now());

-- One payment of a customer. The paid credit it gave is its price.
CREATE TABLE credit_purchase (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id text NOT NULL,
  -- Null: an amount of the customer's choice.
  package_id text REFERENCES credit_package (id),
  price_nano bigint NOT NULL CHECK (price_nano > 0),
  bonus_nano bigint NOT NULL CHECK (bonus_nano >= 0),
  -- The payment, as its processor names it.
  reference text,
  purchased_at timestamptz NOT NULL
);
CREATE INDEX credit_purchase_account ON credit_purchase (account_id, id);

-- Credit that came in with one transfer. Usage is taken from the wallet alone, oldest lot first by definition: what is unspent of a
-- lot follows from the wallet and the lots that are newer, so that charging a batch has nothing to do with lots.
CREATE TABLE credit_lot (
  -- Grows within an account: it is drawn under the wallet's lock.
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('paid', 'bonus')),
  source text NOT NULL CHECK (source IN ('purchase', 'trial', 'promotion', 'grant', 'adjustment', 'opening')),
  purchase_id bigint REFERENCES credit_purchase (id),
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  -- What anything but usage took of it: a refund, a dispute, an adjustment.
  taken_nano bigint NOT NULL DEFAULT 0 CHECK (taken_nano BETWEEN 0 AND amount_nano)
) WITH (fillfactor = 80);
CREATE INDEX credit_lot_account ON credit_lot (account_id, id);

-- Credit that accounts were given already, as one lot of each kind.
INSERT INTO credit_lot (account_id, kind, source, amount_nano)
SELECT account_id, kind, 'opening', sum(amount) FROM (
  SELECT account_id, split_part(credit, ':', 1) AS kind, amount_nano AS amount FROM ledger_transfer
    WHERE credit = ANY (ARRAY['paid:' || account_id, 'bonus:' || account_id]) AND code NOT IN ('usage', 'shortfall')
  UNION ALL
  SELECT account_id, split_part(debit, ':', 1), -amount_nano FROM ledger_transfer
    WHERE debit = ANY (ARRAY['paid:' || account_id, 'bonus:' || account_id]) AND code NOT IN ('usage', 'shortfall')
) moved GROUP BY account_id, kind HAVING sum(amount) > 0 ORDER BY account_id, kind DESC;

-- Bonus credit given by name: an amount at once, or a share of a purchase that is made with it.
CREATE TABLE credit_promotion (
  id text PRIMARY KEY,
  -- `trial` is given for a verified address, and cannot be redeemed by its name.
  kind text NOT NULL CHECK (kind IN ('trial', 'code')),
  amount_nano bigint CHECK (amount_nano > 0),
  basis_points int CHECK (basis_points BETWEEN 1 AND 10000),
  -- Null: without an end on this side.
  starts_at timestamptz,
  ends_at timestamptz,
  -- What it may give to all accounts together; null: any amount.
  budget_nano bigint CHECK (budget_nano >= 0),
  given_nano bigint NOT NULL DEFAULT 0 CHECK (given_nano >= 0),
  active boolean NOT NULL DEFAULT true,
  updated_at timestamptz NOT NULL,
  CHECK (num_nonnulls(amount_nano, basis_points) = 1),
  CHECK (starts_at < ends_at),
  CHECK (kind = 'code' OR amount_nano IS NOT NULL)
);
INSERT INTO credit_promotion (id, kind, amount_nano, updated_at) VALUES ('trial', 'trial', 10000000000, now());

-- Once an account.
CREATE TABLE credit_redemption (
  promotion_id text NOT NULL REFERENCES credit_promotion (id),
  account_id text NOT NULL,
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  redeemed_at timestamptz NOT NULL,
  PRIMARY KEY (promotion_id, account_id)
);

-- Addresses that had their trial, as keyed hashes of their normalised form.
CREATE TABLE credit_trial_address (
  address_hash bytea PRIMARY KEY,
  account_id text NOT NULL,
  granted_at timestamptz NOT NULL
);

CREATE TABLE credit_refund (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id text NOT NULL,
  purchase_id bigint NOT NULL REFERENCES credit_purchase (id),
  state text NOT NULL CHECK (state IN ('requested', 'recalling', 'posted', 'refused')),
  -- What was refunded, and what was cancelled of the purchase's bonus; 0 until it is posted.
  amount_nano bigint NOT NULL DEFAULT 0 CHECK (amount_nano >= 0),
  bonus_cancelled_nano bigint NOT NULL DEFAULT 0 CHECK (bonus_cancelled_nano >= 0),
  -- What nodes held of the credit when it was tried last.
  held_nano bigint NOT NULL DEFAULT 0 CHECK (held_nano >= 0),
  reason text,
  -- Why it was refused.
  refusal text,
  requested_at timestamptz NOT NULL,
  tried_at timestamptz,
  closed_at timestamptz
);
CREATE UNIQUE INDEX credit_refund_under_way ON credit_refund (purchase_id) WHERE state IN ('requested', 'recalling');
CREATE INDEX credit_refund_account ON credit_refund (account_id, id);
CREATE INDEX credit_refund_purchase ON credit_refund (purchase_id);

CREATE TABLE credit_dispute (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id text NOT NULL,
  purchase_id bigint NOT NULL REFERENCES credit_purchase (id),
  state text NOT NULL CHECK (state IN ('open', 'won', 'lost')),
  -- What the bank took back: `taken` of the purchase's unspent credit, `missing` is the customer's debt.
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  taken_nano bigint NOT NULL CHECK (taken_nano >= 0),
  missing_nano bigint NOT NULL CHECK (missing_nano >= 0),
  -- Of the missing part, once it is lost: paid by the account's other credit, and written off.
  collected_nano bigint NOT NULL DEFAULT 0 CHECK (collected_nano >= 0),
  written_off_nano bigint NOT NULL DEFAULT 0 CHECK (written_off_nano >= 0),
  reference text,
  opened_at timestamptz NOT NULL,
  closed_at timestamptz,
  CHECK (taken_nano + missing_nano = amount_nano),
  CHECK (state <> 'lost' OR collected_nano + written_off_nano = missing_nano)
);
CREATE UNIQUE INDEX credit_dispute_open ON credit_dispute (purchase_id) WHERE state = 'open';
CREATE INDEX credit_dispute_account ON credit_dispute (account_id, id);
CREATE INDEX credit_dispute_purchase ON credit_dispute (purchase_id);

-- What a dispute took of each lot: paid credit, and the bonus that is withheld. It is given back when the dispute is won.
CREATE TABLE credit_dispute_lot (
  dispute_id bigint NOT NULL REFERENCES credit_dispute (id),
  lot_id bigint NOT NULL REFERENCES credit_lot (id),
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  PRIMARY KEY (dispute_id, lot_id)
);

-- What was given back of a request's charge after it was settled.
CREATE TABLE ledger_correction (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id text NOT NULL,
  request_id text NOT NULL,
  -- paid + bonus + what write-offs had covered.
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  paid_nano bigint NOT NULL CHECK (paid_nano >= 0),
  bonus_nano bigint NOT NULL CHECK (bonus_nano >= 0),
  covered_nano bigint NOT NULL CHECK (covered_nano >= 0),
  reason text,
  created_at timestamptz NOT NULL,
  CHECK (paid_nano + bonus_nano + covered_nano = amount_nano)
);
CREATE INDEX ledger_correction_request ON ledger_correction (request_id);
CREATE INDEX ledger_correction_account ON ledger_correction (account_id, id);

-- Not every request moves money at once: some keys name the thing that it made.
ALTER TABLE ledger_idempotency
  ALTER COLUMN transfer_id DROP NOT NULL,
  ADD COLUMN subject_id bigint,
  ADD CHECK (num_nonnulls(transfer_id, subject_id) > 0);

-- What was written once is never changed, and nothing is taken away.
REVOKE UPDATE, DELETE, TRUNCATE ON
  credit_purchase, credit_lot, credit_redemption, credit_trial_address, credit_dispute_lot, ledger_correction
FROM meridian_app;
GRANT UPDATE (taken_nano) ON credit_lot TO meridian_app;
REVOKE DELETE, TRUNCATE ON credit_package, credit_promotion, credit_refund, credit_dispute FROM meridian_app;
