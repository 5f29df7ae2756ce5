-- Aliases for one account or the accounts of one plan, and how the model is used under such a name.

-- What an alias is known by: its normalised name, and whom it is for where that is not everybody.
ALTER TABLE alias ADD COLUMN id text;
UPDATE alias SET id = name;
ALTER TABLE alias
  DROP CONSTRAINT alias_pkey,
  ADD PRIMARY KEY (id),
  ADD COLUMN account_id text REFERENCES account (id),
  ADD COLUMN plan_id text REFERENCES plan (id),
  -- In the place of what a request asks for.
  ADD COLUMN reasoning_effort text CHECK (reasoning_effort IN ('none', 'minimal', 'low', 'medium', 'high', 'xhigh')),
  ADD CONSTRAINT alias_scope CHECK (account_id IS NULL OR plan_id IS NULL),
  ADD CONSTRAINT alias_of_all_goes_by_name CHECK (account_id IS NOT NULL OR plan_id IS NOT NULL OR id = name);
CREATE INDEX alias_account ON alias (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX alias_plan ON alias (plan_id) WHERE plan_id IS NOT NULL;

DROP TRIGGER trail ON alias;
SELECT trail_watch('alias', 'id');
