-- How long spools are silent is counted while the control plane is up: each replica adds the time since any of them last did.
CREATE TABLE lease_clock (
  id boolean PRIMARY KEY DEFAULT true CHECK (id),
  ticked_at timestamptz NOT NULL
);
INSERT INTO lease_clock (ticked_at) VALUES (now());
REVOKE INSERT, DELETE, TRUNCATE ON lease_clock FROM meridian_app;
