-- The lane BULK, the six-hourly recomputation of volume tiers, the audits that were made, and the room of the scheduler.

INSERT INTO config_head (lane, db_epoch) SELECT 4, db_epoch FROM config_head WHERE lane = 1;

-- The end of the 30 days that last brought the tier a step down; null for a tier that never went down.
ALTER TABLE tier_assignment ADD COLUMN lowered_at timestamptz;

-- One row for each moment at which tiers were reckoned anew. A run goes through the accounts in order and may be taken up where it
-- stopped, by any replica: the row is locked for each page.
CREATE TABLE tier_run (
  -- The 30 days before this moment were counted.
  window_to timestamptz PRIMARY KEY,
  -- The last account that is done.
  position text NOT NULL DEFAULT '',
  spending_accounts bigint NOT NULL,
  accounts bigint NOT NULL DEFAULT 0,
  raised bigint NOT NULL DEFAULT 0,
  lowered bigint NOT NULL DEFAULT 0,
  -- The last rev of BULK that it published; null when nobody's tier changed.
  rev bigint,
  started_at timestamptz NOT NULL,
  finished_at timestamptz
) WITH (fillfactor = 50);

-- What each account spent in the 30 days of a run that is not finished, at list prices: what is taken up later counts the same.
CREATE TABLE tier_run_spend (
  window_to timestamptz NOT NULL REFERENCES tier_run (window_to),
  account_id text NOT NULL,
  list_nano bigint NOT NULL,
  PRIMARY KEY (window_to, account_id)
);

-- The ladder as it was from each version on.
CREATE TABLE tier_ladder_version (
  ladder_id text NOT NULL REFERENCES tier_ladder (id),
  version int NOT NULL,
  tiers jsonb NOT NULL,
  set_at timestamptz NOT NULL,
  PRIMARY KEY (ladder_id, version)
);
INSERT INTO tier_ladder_version (ladder_id, version, tiers, set_at)
SELECT l.id, l.version, jsonb_agg(jsonb_build_object('id', t.id, 'name', t.name, 'from_spend_nano', t.from_spend_nano::text,
  'markup_basis_points', t.markup_basis_points) ORDER BY t.from_spend_nano), now()
FROM tier_ladder l JOIN tier t ON t.ladder_id = l.id GROUP BY l.id, l.version;

-- What audits found.
CREATE TABLE audit_run (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  ok boolean NOT NULL,
  checks jsonb NOT NULL
);

REVOKE DELETE, TRUNCATE ON tier_run FROM meridian_app;
REVOKE UPDATE, DELETE, TRUNCATE ON tier_ladder_version, audit_run FROM meridian_app;

-- The scheduler keeps its jobs here, in tables that it makes itself as the application. No money is in them.
CREATE SCHEMA scheduler AUTHORIZATION meridian_app;
