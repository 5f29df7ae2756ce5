-- The role the application works under. It owns nothing; what it may not do to a table is revoked where the table is made.
-- Roles belong to the server, not to the database: another database's migration may have made it, even at this moment.
DO $$
BEGIN
  CREATE ROLE meridian_app NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END
$$;

-- A creator that is no superuser may administer a role without being allowed to become it.
DO $$
BEGIN
  IF NOT pg_has_role(CURRENT_USER, 'meridian_app', 'SET') THEN
    EXECUTE format('GRANT meridian_app TO %I', CURRENT_USER);
  END IF;
END
$$;

GRANT USAGE ON SCHEMA public TO meridian_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO meridian_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO meridian_app;
