-- What a provider has stored of an account's answers: responses, their items, and the containers that their code ran in. All accounts
-- share the provider's account, so that whoever knows an id could read, continue or delete what it names: an id serves the account
-- alone that it was first answered to, and one that is not here serves nobody.
--
--   (unknown) ──answered──▶ owned ──its account deletes the response, or 31 days──▶ (unknown)
--
-- The key is the provider's, since it must be unique over all accounts; it is looked up by id. Written once and never changed.
CREATE TABLE stored_ids (
  id         text NOT NULL,
  provider   text NOT NULL,
  account_id bigint NOT NULL,
  request    uuid NOT NULL,                           -- the request that it was answered to
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (id, provider),
  CONSTRAINT stored_id_is_short CHECK (length(id) BETWEEN 1 AND 200)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- Rows lie in the order of their age, but for where older ones were deleted.
CREATE INDEX stored_ids_by_age ON stored_ids USING brin (at) WITH (autosummarize = on);
