-- The end of the UTC day in which the account last passed its ceiling of uncharged cost; nodes charge its empty answers until then.
ALTER TABLE account ADD COLUMN uncharged_ceiling_until timestamptz;
