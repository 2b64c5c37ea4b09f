-- What a follow-up reads that names an answer, in tokens, so that it is held for at that and not at the context window. Filled where the
-- provider reported the answer's usage, and ran no tools for it: what those found was read, and may not have been counted. A background
-- response is noted again when it has ended; an id that is given to two answers loses what it has here.
ALTER TABLE stored_ids
  ADD COLUMN model          text,                     -- its provider's name: another model counts otherwise
  ADD COLUMN context_tokens integer,                  -- at most, of the answer and all that it followed
  ADD COLUMN answer_tokens  integer,                  -- of these, the answer
  ADD COLUMN thought_tokens integer,                  -- of these, thoughts: a follow-up may read them or not
  ADD CONSTRAINT stored_context_is_whole CHECK (num_nulls(model, context_tokens, answer_tokens, thought_tokens) IN (0, 4)),
  ADD CONSTRAINT stored_context_holds_the_answer
    CHECK (thought_tokens >= 0 AND thought_tokens <= answer_tokens AND answer_tokens <= context_tokens);
