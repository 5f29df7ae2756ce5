-- What nodes hold a copy of: a commit-ordered, gap-free log a lane, and the latest state of each entity.

-- One row a lane. A transaction takes its revs by UPDATE and holds the row until it commits, so that the order of revs
-- is the order of commits, and whoever sees a head sees every row up to it.
CREATE TABLE config_head (
  lane smallint PRIMARY KEY,
  rev bigint NOT NULL DEFAULT 0,
  -- Changes when the database is restored: revs and versions of another epoch mean nothing here.
  db_epoch uuid NOT NULL
) WITH (fillfactor = 50);

INSERT INTO config_head (lane, db_epoch)
SELECT lane, epoch.id FROM (SELECT gen_random_uuid() AS id) epoch, generate_series(1, 3) lane;

CREATE TABLE config_log (
  lane smallint NOT NULL REFERENCES config_head (lane),
  rev bigint NOT NULL,
  kind text NOT NULL,
  entity_id text NOT NULL,
  version bigint NOT NULL,
  -- The encoded wire ConfigEntry: deltas and snapshots are put together from these bytes without decoding them.
  payload bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (lane, rev)
);

-- A deleted entity keeps its row, so that one made again under the same id must go on counting versions.
CREATE TABLE config_entity (
  kind text NOT NULL,
  id text NOT NULL,
  version bigint NOT NULL,
  deleted boolean NOT NULL,
  lane smallint NOT NULL REFERENCES config_head (lane),
  payload bytea NOT NULL,
  PRIMARY KEY (kind, id)
);

-- The last that was seen of each node, by whichever replica it is connected to.
CREATE TABLE node (
  id text PRIMARY KEY,
  region text NOT NULL,
  spool_id text NOT NULL,
  -- An unsigned 64-bit number.
  incarnation numeric(20) NOT NULL,
  build text NOT NULL,
  db_epoch uuid NOT NULL,
  -- {lane: rev} of what the node has applied.
  applied jsonb NOT NULL,
  rejected_entries bigint NOT NULL,
  connected_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Heads only move forward; they are made here and never again.
REVOKE INSERT, DELETE, TRUNCATE ON config_head FROM meridian_app;
