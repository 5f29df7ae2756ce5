-- Accounts, who belongs to them, what they may do, the keys they call with.
-- `version` grows with each change of a row and orders the entries published from it.

CREATE TABLE plan (
  id text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_-]{0,31}$'),
  name text NOT NULL,
  api_access boolean NOT NULL,
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL
);

CREATE TABLE account (
  id text PRIMARY KEY,
  name text NOT NULL,
  plan_id text NOT NULL REFERENCES plan (id),
  status text NOT NULL CHECK (status IN ('active', 'disabled')),
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL
);

CREATE TABLE member (
  id text PRIMARY KEY,
  account_id text NOT NULL REFERENCES account (id),
  name text NOT NULL,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'billing')),
  status text NOT NULL CHECK (status IN ('active', 'disabled')),
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL
);
CREATE INDEX member_account ON member (account_id, id);

CREATE TABLE api_key (
  id text PRIMARY KEY,
  account_id text NOT NULL REFERENCES account (id),
  member_id text NOT NULL REFERENCES member (id),
  name text NOT NULL,
  -- What may be shown of it.
  display text NOT NULL,
  -- Version byte, then sha256(pepper, key), in hex. The key itself is stored nowhere.
  hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{66}$'),
  status text NOT NULL CHECK (status IN ('active', 'revoked', 'disabled')),
  expires_at timestamptz,
  allowed_models text[] NOT NULL,
  allowed_regions text[] NOT NULL,
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX api_key_account ON api_key (account_id, id);
CREATE INDEX api_key_member ON api_key (member_id) WHERE status = 'active';
