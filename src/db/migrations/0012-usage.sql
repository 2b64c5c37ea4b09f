-- What each account used a day, by key and model: a projection of its entries, kept by src/metering/usage-fold.ts. Requests write
-- nothing here: what they add is folded in when somebody reads, or by a job. It can be dropped, and is made anew, equal.

CREATE TABLE usage_days (
  account_id    bigint NOT NULL,
  day           date   NOT NULL,                      -- UTC, of the entry: when it was booked
  key_id        bigint NOT NULL,
  model         text   NOT NULL,
  requests      bigint NOT NULL,
  input_tokens  bigint NOT NULL,
  output_tokens bigint NOT NULL,
  credits       bigint NOT NULL,                      -- nano-credits; negative where more was given back than charged
  PRIMARY KEY (account_id, day, key_id, model)
) WITH (fillfactor = 70);

-- How far an account is folded. One that has no row is not folded at all.
CREATE TABLE usage_folds (
  account_id bigint PRIMARY KEY,
  seq        bigint NOT NULL,                         -- entries up to this number are in usage_days, no other
  balance    bigint NOT NULL                          -- balance_after of the last of them: what proves the sums
) WITH (fillfactor = 70);

-- What a request books when it ends lies where its id does, among the newest; all else may belong to an old id. It is rare, so
-- that this index costs a request nothing but the look at its kind.
CREATE INDEX entries_apart ON entries (account_id, seq) WHERE kind NOT IN (2, 3);
