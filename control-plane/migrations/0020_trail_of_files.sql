-- What the catalogue file publishes at a start is in the trail too, under the name of the file.
ALTER TABLE trail_event
  DROP CONSTRAINT trail_event_actor_kind_check,
  ADD CONSTRAINT trail_event_actor_kind_check CHECK (actor_kind IN ('operator', 'member', 'file'));
