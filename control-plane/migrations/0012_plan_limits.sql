-- What a plan allows: a member each day, a message, a key each minute.
ALTER TABLE plan
  ADD COLUMN daily_chat_completions bigint CHECK (daily_chat_completions BETWEEN 0 AND 4503599627370496),
  ADD COLUMN daily_images bigint CHECK (daily_images BETWEEN 0 AND 4503599627370496),
  ADD COLUMN max_message_characters int CHECK (max_message_characters > 0),
  -- Empty: all.
  ADD COLUMN allowed_models text[] NOT NULL DEFAULT '{}',
  -- {"requests_per_minute", "tokens_per_minute", "concurrency"}, each absent where it is not limited.
  ADD COLUMN rate_limits jsonb,
  ADD COLUMN model_rate_limits jsonb,
  -- The last member whose caps are known to be as the plan has them since its daily limits changed; null: all are.
  ADD COLUMN members_capped_to text COLLATE "C";

-- An account's own, besides its plan's.
ALTER TABLE api_key
  ADD COLUMN rate_limits jsonb,
  ADD COLUMN model_rate_limits jsonb;

-- A member's cap is the lesser of what the account has chosen and of its ceiling: what the plan allows, or an operator in its place.
-- Where neither is set the cap is removed.
ALTER TABLE cap
  ADD COLUMN chosen_amount bigint CHECK (chosen_amount BETWEEN 0 AND 4503599627370496),
  ADD COLUMN ceiling_amount bigint CHECK (ceiling_amount BETWEEN 0 AND 4503599627370496),
  -- An operator's ceiling, which no change of plan moves.
  ADD COLUMN ceiling_is_own boolean NOT NULL DEFAULT false;
UPDATE cap SET chosen_amount = limit_amount;

CREATE INDEX account_plan ON account (plan_id, id);
