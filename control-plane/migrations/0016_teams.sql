-- Roles as the product names them, people who are members of several accounts, invites by link, and the trail of who changed what.

ALTER TABLE member DROP CONSTRAINT member_role_check;
UPDATE member SET role = 'member' WHERE role = 'developer';
ALTER TABLE member ADD CONSTRAINT member_role_check CHECK (role IN ('owner', 'admin', 'member', 'billing'));

-- Who a member is: one person may be a member of several accounts, once in each.
CREATE TABLE person (
  id text PRIMARY KEY,
  created_at timestamptz NOT NULL
);
ALTER TABLE member
  ADD COLUMN person_id text REFERENCES person (id),
  -- A member who was removed keeps the row, since keys, usage and receipts name it; it stays disabled for good.
  ADD COLUMN removed_at timestamptz,
  ADD CONSTRAINT member_removed_is_disabled CHECK (removed_at IS NULL OR status = 'disabled');
INSERT INTO person (id, created_at) SELECT 'per' || substr(id, 4), created_at FROM member;
UPDATE member SET person_id = 'per' || substr(id, 4);
ALTER TABLE member ALTER COLUMN person_id SET NOT NULL;
CREATE UNIQUE INDEX member_person ON member (person_id, account_id) WHERE removed_at IS NULL;

CREATE TABLE invite (
  id text PRIMARY KEY,
  account_id text NOT NULL REFERENCES account (id),
  -- An owner comes by transfer or by an owner's word, never by a link.
  role text NOT NULL CHECK (role IN ('admin', 'member', 'billing')),
  -- For whom it is meant; whoever has the link may use it.
  email text,
  -- Version byte, then sha256(pepper, token), in hex. The token itself is stored nowhere.
  token_hash text NOT NULL UNIQUE CHECK (token_hash ~ '^[0-9a-f]{66}$'),
  invited_by text NOT NULL REFERENCES member (id),
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  accepted_at timestamptz,
  -- The member that it became.
  member_id text REFERENCES member (id),
  CHECK ((accepted_at IS NULL) = (member_id IS NULL)),
  CHECK (accepted_at IS NULL OR revoked_at IS NULL)
);
CREATE INDEX invite_account ON invite (account_id, id);
REVOKE DELETE, TRUNCATE ON invite FROM meridian_app;

-- The trail: what was changed through the API, by whom. One row for each request that changed something, and one for each row that
-- it changed, written by the database itself in the transaction that makes the change.

CREATE TABLE trail_event (
  at timestamptz NOT NULL,
  id text NOT NULL,
  request_id text NOT NULL,
  actor_kind text NOT NULL CHECK (actor_kind IN ('operator', 'member')),
  -- The name of an operator, the id of a member.
  actor_id text NOT NULL,
  -- The network that the request came from, not the host.
  address text NOT NULL,
  -- Method and path, with the names of parameters in the place of their values.
  route text NOT NULL,
  -- Null: about no account.
  account_id text,
  object_kind text NOT NULL,
  -- Null where the request made it: the change tells.
  object_id text,
  -- Fields of the request that no row tells of.
  note jsonb,
  PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE TABLE trail_event_default PARTITION OF trail_event DEFAULT;
CREATE INDEX trail_event_object ON trail_event (object_id);
CREATE INDEX trail_event_account ON trail_event (account_id);
CREATE INDEX trail_event_actor ON trail_event (actor_id);
CREATE INDEX trail_event_request ON trail_event (request_id);

CREATE TABLE trail_change (
  -- That of the event, so that both are in partitions of the same month.
  at timestamptz NOT NULL,
  event_id text NOT NULL,
  changed_at timestamptz NOT NULL,
  -- Null: a row of no account.
  account_id text,
  object_kind text NOT NULL,
  object_id text NOT NULL,
  -- The columns that differ; empty before it was made, and after it was removed.
  before jsonb NOT NULL,
  after jsonb NOT NULL
) PARTITION BY RANGE (at);
CREATE TABLE trail_change_default PARTITION OF trail_change DEFAULT;
CREATE INDEX trail_change_event ON trail_change (event_id);
CREATE INDEX trail_change_object ON trail_change (object_id);
CREATE INDEX trail_change_account ON trail_change (account_id);

REVOKE UPDATE, DELETE, TRUNCATE ON trail_event, trail_event_default, trail_change, trail_change_default FROM meridian_app;

-- Monthly partitions: this month and `months_ahead` more. Returns how many were made.
CREATE FUNCTION make_trail_partitions(now_at timestamptz, months_ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  starts timestamp := date_trunc('month', now_at AT TIME ZONE 'UTC');
  parent text;
  made int := 0;
BEGIN
  FOREACH parent IN ARRAY ARRAY['trail_event', 'trail_change'] LOOP
    FOR month IN 0..months_ahead LOOP
      IF make_time_partition(parent,
        (starts + make_interval(months => month)) AT TIME ZONE 'UTC',
        (starts + make_interval(months => month + 1)) AT TIME ZONE 'UTC', false) THEN
        made := made + 1;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END
$$;

-- Writes down what a statement did to a row, in a transaction that `meridian.trail` names the event of. Its arguments are the columns
-- of the row's id, those of secrets, of which only that they changed is told, and those that are bookkeeping.
CREATE FUNCTION trail_note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  event jsonb := current_setting('meridian.trail')::jsonb;
  secrets text[] := string_to_array(TG_ARGV[1], ',');
  untold text[] := string_to_array(TG_ARGV[2], ',') || ARRAY['version', 'created_at', 'updated_at'];
  old_row jsonb := coalesce(to_jsonb(OLD), '{}') - untold;
  new_row jsonb := coalesce(to_jsonb(NEW), '{}') - untold;
  whole jsonb := coalesce(to_jsonb(NEW), to_jsonb(OLD));
  before jsonb;
  after jsonb;
BEGIN
  SELECT coalesce(jsonb_object_agg(key, CASE WHEN key = ANY (secrets) THEN '"secret"' ELSE value END), '{}') INTO before
    FROM jsonb_each(old_row) WHERE new_row -> key IS DISTINCT FROM value;
  SELECT coalesce(jsonb_object_agg(key, CASE WHEN key = ANY (secrets) THEN '"another secret"' ELSE value END), '{}') INTO after
    FROM jsonb_each(new_row) WHERE old_row -> key IS DISTINCT FROM value;
  IF before <> '{}' OR after <> '{}' THEN
    INSERT INTO trail_change (at, event_id, changed_at, account_id, object_kind, object_id, before, after) VALUES (
      (event ->> 'at')::timestamptz, event ->> 'id', clock_timestamp(),
      CASE WHEN TG_TABLE_NAME = 'account' THEN whole ->> 'id' ELSE whole ->> 'account_id' END,
      TG_TABLE_NAME,
      (SELECT string_agg(whole ->> name, '/' ORDER BY place) FROM unnest(string_to_array(TG_ARGV[0], ',')) WITH ORDINALITY AS c (name, place)),
      before, after);
  END IF;
  RETURN NULL;
END
$$;

-- From here on, what the API does to rows of the table is in the trail. Everybody else who changes them pays for one comparison.
CREATE FUNCTION trail_watch(watched regclass, id_columns text, secret_columns text DEFAULT '', untold_columns text DEFAULT '') RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format(
    'CREATE TRIGGER trail AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW WHEN (current_setting(''meridian.trail'', true) <> '''') EXECUTE FUNCTION trail_note(%L, %L, %L)',
    watched, id_columns, secret_columns, untold_columns);
END
$$;
REVOKE EXECUTE ON FUNCTION trail_watch FROM PUBLIC;

SELECT trail_watch('plan', 'id', '', 'members_capped_to');
SELECT trail_watch('account', 'id');
SELECT trail_watch('member', 'id', '', 'person_id');
SELECT trail_watch('api_key', 'id', 'hash');
SELECT trail_watch('invite', 'id', 'token_hash,email');
SELECT trail_watch('cap', 'id');
SELECT trail_watch('provider', 'id');
SELECT trail_watch('credential', 'id', 'sealed');
SELECT trail_watch('model', 'id');
SELECT trail_watch('alias', 'name');
SELECT trail_watch('endpoint', 'id');
SELECT trail_watch('endpoint_cost', 'endpoint_id,version');
SELECT trail_watch('list_price', 'model_id,version');
SELECT trail_watch('tier', 'ladder_id,id');
SELECT trail_watch('database_epoch', 'db_epoch');
SELECT trail_watch('credit_package', 'id');
SELECT trail_watch('credit_promotion', 'id', '', 'given_nano');
SELECT trail_watch('credit_purchase', 'id');
SELECT trail_watch('credit_redemption', 'promotion_id,account_id');
SELECT trail_watch('credit_refund', 'id', '', 'tried_at');
SELECT trail_watch('credit_dispute', 'id');
SELECT trail_watch('ledger_correction', 'id');
