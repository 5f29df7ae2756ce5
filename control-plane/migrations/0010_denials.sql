-- Refusals that a database which was set back had forgotten, and that nodes told it: each once in an epoch, so that a node that says it
-- again, or later than another one, does not undo what an operator has decided since.
CREATE TABLE denial (
  db_epoch uuid NOT NULL REFERENCES database_epoch (db_epoch),
  kind text NOT NULL CHECK (kind IN ('account', 'member', 'api_key')),
  entity_id text NOT NULL,
  status text NOT NULL CHECK (status IN ('revoked', 'disabled')),
  -- Who said it, and the version that the node had been told it at.
  node_id text NOT NULL,
  told_version bigint NOT NULL,
  taken_at timestamptz NOT NULL,
  PRIMARY KEY (db_epoch, kind, entity_id, status)
);
REVOKE UPDATE, DELETE, TRUNCATE ON denial FROM meridian_app;
