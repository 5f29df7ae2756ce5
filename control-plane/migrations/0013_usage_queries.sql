-- What customers read of their requests: the newest of an account first, in the partitions of the days they ask for. Without the request
-- id, since the few requests of one millisecond are sorted when they are read, while every row of the index is written at ingest.
CREATE INDEX usage_event_account ON usage_event (account_id, admitted_at);
