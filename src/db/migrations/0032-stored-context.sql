-- What a follow-up reads that names an answer, in tokens as the provider counted them, so that it is held for at that and not at the
-- context window. Empty where the provider reported nothing. A background response is noted again when it has ended; an id that is given
-- to two answers loses what it has here. The rows that are there have none of it: looking through them would keep answers waiting.
ALTER TABLE stored_ids
  ADD COLUMN model          text,                     -- its provider's name: another model counts otherwise
  ADD COLUMN input_tokens   integer,                  -- of what the answer followed, and of what was said to it
  ADD COLUMN output_tokens  integer,                  -- of the answer, with its thoughts
  ADD COLUMN thought_tokens integer,                  -- of these, thoughts: a follow-up may read them or not
  ADD COLUMN items          smallint,                 -- that the answer has
  ADD COLUMN is_bound       boolean,                  -- no follow-up reads more of it: nothing was read that was not counted
  ADD CONSTRAINT stored_context_is_whole
    CHECK (num_nulls(model, input_tokens, output_tokens, thought_tokens, items, is_bound) IN (0, 6)) NOT VALID,
  ADD CONSTRAINT stored_context_counts_from_nothing
    CHECK (input_tokens >= 0 AND thought_tokens >= 0 AND thought_tokens <= output_tokens AND items >= 0) NOT VALID;
