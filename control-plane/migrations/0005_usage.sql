-- Usage as the nodes report it: events, what became of each batch, hourly sums.

-- How far each incarnation of a spool is ingested.
CREATE TABLE ingest_cursor (
  spool_id text NOT NULL,
  -- An unsigned 64-bit number, kept as the signed one with the same bits.
  incarnation bigint NOT NULL,
  acked_seq bigint NOT NULL CHECK (acked_seq >= 0),
  node_id text NOT NULL,
  region text NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (spool_id, incarnation)
) WITH (fillfactor = 50);

-- One row for each step of a cursor: `ingested`, or `lost` where the node no longer had the records.
CREATE TABLE usage_batch (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL CHECK (kind IN ('ingested', 'lost')),
  spool_id text NOT NULL,
  incarnation bigint NOT NULL,
  first_seq bigint NOT NULL,
  last_seq bigint NOT NULL CHECK (last_seq >= first_seq),
  node_id text NOT NULL,
  region text NOT NULL,
  ingested_at timestamptz NOT NULL,
  UNIQUE (spool_id, incarnation, first_seq)
);

-- One row a request: its first ingested FINAL. Partitioned by day; a receipt is found by its request id in each.
CREATE TABLE usage_event (
  admitted_at timestamptz NOT NULL,
  request_id text NOT NULL,
  batch_id bigint NOT NULL,
  seq bigint NOT NULL,
  region text NOT NULL,
  account_id text NOT NULL,
  member_id text NOT NULL,
  key_id text NOT NULL,
  operation text NOT NULL,
  client_dialect text NOT NULL,
  asked_model text NOT NULL,
  answering_model_id text,
  asked_price_version int NOT NULL,
  answering_price_version int NOT NULL,
  tier_id text NOT NULL,
  markup_basis_points int NOT NULL,
  service_tier text NOT NULL,
  outcome text NOT NULL,
  exactness text NOT NULL,
  usage jsonb NOT NULL,
  leases jsonb NOT NULL,
  attempts jsonb NOT NULL,
  max_cost_nano bigint NOT NULL,
  charge_nano bigint NOT NULL CHECK (charge_nano >= 0),
  -- The charge without the markup; 0 where nothing is charged or the price version is unknown here.
  list_nano bigint NOT NULL,
  variance_nano bigint NOT NULL CHECK (variance_nano >= 0),
  cost_nano bigint NOT NULL CHECK (cost_nano >= 0),
  stream boolean NOT NULL,
  status int NOT NULL,
  error_code text,
  first_byte_ms bigint NOT NULL,
  duration_ms bigint NOT NULL,
  PRIMARY KEY (request_id, admitted_at)
) PARTITION BY RANGE (admitted_at);
CREATE TABLE usage_event_default PARTITION OF usage_event DEFAULT;

-- A FINAL of a request that already had one: it changes no figure.
CREATE TABLE usage_duplicate (
  batch_id bigint NOT NULL,
  seq bigint NOT NULL,
  admitted_at timestamptz NOT NULL,
  request_id text NOT NULL,
  account_id text NOT NULL,
  charge_nano bigint NOT NULL,
  -- Whether it says something else than the one that counts.
  differs boolean NOT NULL,
  payload jsonb NOT NULL,
  PRIMARY KEY (batch_id, seq)
);

-- Records that cannot be ingested, whole: charged to nobody, counted by every audit.
CREATE TABLE usage_dead_letter (
  batch_id bigint NOT NULL,
  seq bigint NOT NULL,
  reason text NOT NULL,
  -- As far as they could be read.
  account_id text,
  request_id text,
  charge_nano numeric,
  leases jsonb NOT NULL,
  payload bytea NOT NULL,
  PRIMARY KEY (batch_id, seq)
);

-- Charges that our own rating does not confirm: the node's figure stands.
CREATE TABLE usage_rating_mismatch (
  batch_id bigint NOT NULL,
  seq bigint NOT NULL,
  admitted_at timestamptz NOT NULL,
  request_id text NOT NULL,
  account_id text NOT NULL,
  charge_nano bigint NOT NULL,
  -- Null when the price version is not known here.
  rated_nano bigint,
  PRIMARY KEY (batch_id, seq)
);

-- Sums by the hour of admission; the narrow table that usage pages and volume tiers read.
CREATE TABLE usage_hourly (
  account_id text NOT NULL,
  hour timestamptz NOT NULL,
  -- The model that answered; empty where none did.
  model_id text NOT NULL,
  key_id text NOT NULL,
  member_id text NOT NULL,
  region text NOT NULL,
  price_version int NOT NULL,
  tier_id text NOT NULL,
  requests bigint NOT NULL,
  charged_requests bigint NOT NULL,
  estimated_requests bigint NOT NULL,
  input bigint NOT NULL,
  cached_input bigint NOT NULL,
  cache_write_5m bigint NOT NULL,
  cache_write_1h bigint NOT NULL,
  output bigint NOT NULL,
  reasoning bigint NOT NULL,
  audio_in bigint NOT NULL,
  audio_out bigint NOT NULL,
  image_in bigint NOT NULL,
  image_out bigint NOT NULL,
  per_image bigint NOT NULL,
  per_second bigint NOT NULL,
  per_request bigint NOT NULL,
  per_tool_call bigint NOT NULL,
  charge_nano bigint NOT NULL,
  list_nano bigint NOT NULL,
  variance_nano bigint NOT NULL,
  cost_nano bigint NOT NULL,
  PRIMARY KEY (account_id, hour, model_id, key_id, member_id, region, price_version, tier_id)
) PARTITION BY RANGE (hour);
CREATE TABLE usage_hourly_default PARTITION OF usage_hourly DEFAULT;

-- What calls of an account cost us without a charge, by the day of admission (UTC).
CREATE TABLE usage_uncharged_daily (
  account_id text NOT NULL,
  day date NOT NULL,
  cost_nano bigint NOT NULL,
  PRIMARY KEY (account_id, day)
) WITH (fillfactor = 50);

REVOKE UPDATE, DELETE, TRUNCATE ON
  usage_batch, usage_event, usage_event_default, usage_duplicate, usage_dead_letter, usage_rating_mismatch
FROM meridian_app;

-- Daily partitions of events, from two days ago (for what nodes held back) to `days_ahead`; monthly ones of the hourly sums.
-- Returns how many were made.
CREATE FUNCTION make_usage_partitions(now_at timestamptz, days_ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  today timestamp := date_trunc('day', now_at AT TIME ZONE 'UTC');
  this_month timestamp := date_trunc('month', now_at AT TIME ZONE 'UTC');
  made int := 0;
BEGIN
  FOR day IN -2..days_ahead LOOP
    IF make_time_partition('usage_event',
      (today + make_interval(days => day)) AT TIME ZONE 'UTC',
      (today + make_interval(days => day + 1)) AT TIME ZONE 'UTC', false) THEN
      made := made + 1;
    END IF;
  END LOOP;
  FOR month IN 0..1 LOOP
    IF make_time_partition('usage_hourly',
      (this_month + make_interval(months => month)) AT TIME ZONE 'UTC',
      (this_month + make_interval(months => month + 1)) AT TIME ZONE 'UTC', true) THEN
      made := made + 1;
    END IF;
  END LOOP;
  RETURN made;
END
$$;
