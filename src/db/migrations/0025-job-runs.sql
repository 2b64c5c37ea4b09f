-- Work that one process does for all of them, such as asking Stripe for events that did not arrive.
--
--   due ──taken: due again when the lease is over──▶ running ──it ended well──▶ resting ──▶ due
--    ▲                                                 └──it failed, or its process died──▶ due, when the lease is over
--    └───────────────────────────────────────────────────────┘
CREATE TABLE job_runs (
  job        text PRIMARY KEY,
  due_at     timestamptz NOT NULL,
  last_began timestamptz                              -- the last run that ended well; null: none has
);

-- What else is known of an object, which one sync brings in line.
CREATE INDEX stripe_events_of_object ON stripe_events (object_kind, object_id) WHERE state IN ('waiting', 'dead');
-- Bodies that are still kept.
CREATE INDEX stripe_events_with_body ON stripe_events (received_at) WHERE body IS NOT NULL;
