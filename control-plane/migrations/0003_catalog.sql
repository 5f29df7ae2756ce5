-- What is sold and where it is bought: providers, credentials, models and their names, endpoints, prices.
-- `version` grows with each change of a row and orders the entries published from it.

CREATE TABLE provider (
  id text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9_-]{0,63}$'),
  name text NOT NULL,
  origin text NOT NULL,
  base_path text NOT NULL,
  adapter text NOT NULL,
  enabled boolean NOT NULL,
  -- Used by endpoints that name no credential of their own.
  default_credential_id text,
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL
);

CREATE TABLE credential (
  id text PRIMARY KEY,
  provider_id text NOT NULL REFERENCES provider (id),
  name text NOT NULL,
  -- AES-256-GCM; the id is authenticated with it.
  sealed bytea NOT NULL,
  last_four text NOT NULL,
  enabled boolean NOT NULL,
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  UNIQUE (id, provider_id)
);
ALTER TABLE provider ADD FOREIGN KEY (default_credential_id, id) REFERENCES credential (id, provider_id);

CREATE TABLE model (
  id text PRIMARY KEY,
  vendor text NOT NULL,
  display_name text NOT NULL,
  mode text NOT NULL CHECK (mode IN ('chat', 'embedding', 'image_generation', 'image_edit', 'video_generation')),
  context_tokens int CHECK (context_tokens > 0),
  max_output_tokens int CHECK (max_output_tokens > 0),
  input_modalities text[] NOT NULL,
  output_modalities text[] NOT NULL,
  capabilities text[] NOT NULL,
  hides_reasoning boolean NOT NULL,
  enabled boolean NOT NULL,
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL
);

-- Every name in its normalised form, a model's own names and aliases alike, so that no two models answer to one name.
CREATE TABLE model_name (
  name text PRIMARY KEY,
  model_id text NOT NULL REFERENCES model (id)
);
CREATE INDEX model_name_model ON model_name (model_id);

-- A deleted alias keeps its row: one made again under the same name must go on counting versions.
CREATE TABLE alias (
  name text PRIMARY KEY,
  written text NOT NULL,
  model_id text NOT NULL REFERENCES model (id),
  deleted boolean NOT NULL DEFAULT false,
  version int NOT NULL DEFAULT 1
);
CREATE INDEX alias_model ON alias (model_id);

CREATE TABLE endpoint (
  id text PRIMARY KEY,
  model_id text NOT NULL REFERENCES model (id),
  provider_id text NOT NULL REFERENCES provider (id),
  -- Null: the provider's default credential, whichever that is.
  credential_id text,
  upstream_model text NOT NULL,
  dialect text NOT NULL CHECK (dialect IN ('openai-chat', 'openai-responses', 'anthropic-messages', 'gemini')),
  operations text[] NOT NULL,
  regions text[] NOT NULL,
  priority int NOT NULL,
  enabled boolean NOT NULL,
  version int NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  FOREIGN KEY (credential_id, provider_id) REFERENCES credential (id, provider_id),
  UNIQUE NULLS NOT DISTINCT (model_id, provider_id, upstream_model, credential_id)
);
CREATE INDEX endpoint_provider ON endpoint (provider_id);

-- Cards are [{service_tier, above_input_tokens, prices: {component: nano-USD per million units, as text}}].
CREATE TABLE endpoint_cost (
  endpoint_id text NOT NULL REFERENCES endpoint (id),
  version int NOT NULL CHECK (version > 0),
  effective_from timestamptz NOT NULL,
  cards jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (endpoint_id, version)
);

CREATE TABLE list_price (
  model_id text NOT NULL REFERENCES model (id),
  version int NOT NULL CHECK (version > 0),
  effective_from timestamptz NOT NULL,
  cards jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (model_id, version)
);

-- A published price or cost is never changed: charges name its version.
REVOKE UPDATE, DELETE ON endpoint_cost, list_price FROM meridian_app;

-- What the catalogue file said when it was last applied, so that an edit through the API outlives a restart.
CREATE TABLE seed_item (
  kind text NOT NULL,
  id text NOT NULL,
  content_hash text NOT NULL,
  applied_at timestamptz NOT NULL,
  PRIMARY KEY (kind, id)
);
