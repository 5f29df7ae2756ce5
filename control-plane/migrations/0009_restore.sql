-- A database that was set back: every epoch that began so, and what nodes have to say before anything is granted in it.

-- The newest row is of the present epoch; without any the database was never set back. Until it is thawed, nothing is granted.
CREATE TABLE database_epoch (
  db_epoch uuid PRIMARY KEY,
  number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  declared_at timestamptz NOT NULL,
  -- What gave it away. The same sign again makes no further epoch.
  sign text NOT NULL UNIQUE,
  reason text NOT NULL,
  -- Set when every spool had declared and replayed, or by an operator, who says why.
  thawed_at timestamptz,
  thaw_reason text
);
REVOKE DELETE, TRUNCATE ON database_epoch FROM meridian_app;

-- Heads are locked in the order of their lanes, and no publisher sees lanes of different epochs.
CREATE FUNCTION change_db_epoch(epoch uuid) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM config_head ORDER BY lane FOR UPDATE;
  UPDATE config_head SET db_epoch = epoch;
END
$$;

-- The node has done with it, and it takes only what is still replayed: it is closed when its spool has replayed everything.
ALTER TABLE lease ADD COLUMN closes_when_replayed boolean NOT NULL DEFAULT false;

-- One that gets no more grants may stand beside the one that has taken its place.
DROP INDEX lease_open;
CREATE UNIQUE INDEX lease_open ON lease (budget_id, spool_id) WHERE closed_at IS NULL AND NOT retiring;

-- What a request was counted with before a further final of it.
CREATE INDEX usage_duplicate_request ON usage_duplicate (request_id, admitted_at);
