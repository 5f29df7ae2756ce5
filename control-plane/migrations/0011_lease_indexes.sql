-- Closed leases stay for the books, and a budget that lasts gathers many of them: whoever grants from it reads the open ones only.
DROP INDEX lease_budget;
CREATE INDEX lease_open_of_budget ON lease (budget_id) WHERE closed_at IS NULL;

-- Asked for twice a second by every replica, and almost always none.
CREATE INDEX lease_closing ON lease (spool_id) WHERE closes_when_replayed AND closed_at IS NULL;
