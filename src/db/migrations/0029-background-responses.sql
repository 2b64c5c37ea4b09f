-- Responses that a provider makes after their request has ended. The hold of such a request belongs to no gateway, and ends by itself in
-- the end; this row is the job that reads what the response cost and settles it. It is written before the hold, so that there is no
-- hold without a job.
--
--   opened ──held, sent, answered with an id──▶ running ──due: claimed for a minute, read──▶ running, due later
--     │                                            │         └──its claimer died: due again when the minute is over
--     │                                            └──it has ended, or is too old──▶ its hold is settled ──▶ (deleted)
--     ├──refused, failed, or ended at once: settled or released as any request──▶ (deleted)
--     └──its gateway died before the id was noted──▶ its hold is ended as that of a dead gateway ──▶ (deleted)
CREATE TABLE background_responses (
  account_id  bigint NOT NULL,
  request     uuid NOT NULL,                          -- its hold has the same id
  owner       bigint NOT NULL,                        -- the gateway that creates it
  provider    text,                                   -- null: not answered yet
  response_id text,
  facts       jsonb NOT NULL,                         -- what its charge and receipt need beside the hold
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  due_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (account_id, request),
  CONSTRAINT background_response_has_both_names CHECK ((provider IS NULL) = (response_id IS NULL))
) WITH (fillfactor = 50);

CREATE INDEX background_responses_due ON background_responses (due_at);
