-- Volume tiers: the ladder, and the tier of each account. `version` orders what is published from a row.

CREATE TABLE tier_ladder (
  id text PRIMARY KEY,
  version int NOT NULL DEFAULT 1,
  -- The version that nodes were last told of; null before the first time.
  published_version int
);

CREATE TABLE tier (
  ladder_id text NOT NULL REFERENCES tier_ladder (id),
  id text NOT NULL,
  name text NOT NULL,
  -- Spend of 30 days, valued at the first tier's markup, from which the tier applies.
  from_spend_nano bigint NOT NULL CHECK (from_spend_nano >= 0),
  markup_basis_points int NOT NULL CHECK (markup_basis_points >= 0),
  PRIMARY KEY (ladder_id, id),
  UNIQUE (ladder_id, from_spend_nano)
);

CREATE TABLE tier_assignment (
  account_id text PRIMARY KEY,
  tier_id text NOT NULL,
  spend_30d_nano bigint NOT NULL DEFAULT 0,
  window_to timestamptz NOT NULL,
  version int NOT NULL DEFAULT 1
);

INSERT INTO tier_ladder (id) VALUES ('standard');
INSERT INTO tier (ladder_id, id, name, from_spend_nano, markup_basis_points) VALUES
  ('standard', 'starter', 'Starter', 0, 4000),
  ('standard', 'growth', 'Growth', 50000000000, 3000),
  ('standard', 'scale', 'Scale', 200000000000, 2200),
  ('standard', 'enterprise', 'Enterprise', 1000000000000, 1500),
  ('standard', 'strategic', 'Strategic', 5000000000000, 1000);
