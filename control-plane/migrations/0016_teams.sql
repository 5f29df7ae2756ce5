-- Roles as the product names them, people who are members of several accounts, invites by link.

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
