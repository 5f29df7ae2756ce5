-- How a provider is authenticated to, where not as its adapter has it, and its ways of its own in a protocol that others share.
ALTER TABLE provider
  ADD COLUMN auth_header text CHECK (auth_header ~ '^[a-z][a-z0-9-]{0,63}$'),
  ADD COLUMN auth_prefix text,
  ADD COLUMN quirks text[] NOT NULL DEFAULT '{}',
  ADD CONSTRAINT provider_auth_is_whole CHECK ((auth_header IS NULL) = (auth_prefix IS NULL));
