-- What a host application consumes and holds by names of its own, each of which means one thing for ever. Called by
-- `ledger_apply`, like the verbs of 0004: these are holds and charges like any other, and end by the same verbs.
--
--   usage      (new) ──consume──▶ charged, in one step                          the same again: as it was answered
--   hold       (new) ──reserve──▶ open ──settle, release, its own time──▶ ended   the same again: as it is now
--                                  ↺ enlarge
--   refused: no row, and the name may be used again

CREATE TABLE named_operations (
  account_id bigint NOT NULL,
  kind       smallint NOT NULL,                       -- 1 usage, 2 hold, 3 enlargement of a hold
  name       text NOT NULL,
  id         uuid NOT NULL,                           -- of the entry, or of the hold
  amount     bigint NOT NULL,                         -- what was charged, held, or added
  at         timestamptz NOT NULL,
  expires_at timestamptz,                             -- of a hold
  fields     jsonb NOT NULL,                          -- what it was asked with; opaque to the ledger
  PRIMARY KEY (account_id, kind, name),
  CONSTRAINT named_operation_kind_is_known CHECK (kind BETWEEN 1 AND 3),
  CONSTRAINT named_operation_amount_is_in_range CHECK (amount BETWEEN 0 AND 1000000000000000000),
  CONSTRAINT named_operation_expires_where_it_holds CHECK ((kind = 2) = (expires_at IS NOT NULL))
);
CREATE TRIGGER named_operations_are_append_only BEFORE UPDATE OR DELETE ON named_operations
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER named_operations_are_not_truncated BEFORE TRUNCATE ON named_operations
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What a name was used for before: repeated, or with other fields; nothing: it is free.
CREATE FUNCTION ledger_named(p_account bigint, p_kind smallint, t jsonb, OUT outcome smallint, OUT amount bigint) LANGUAGE sql STABLE AS $$
  SELECT (CASE WHEN n.fields = t->'fields' THEN 2 ELSE 18 END)::smallint, n.amount FROM named_operations n
    WHERE n.account_id = p_account AND n.kind = p_kind AND n.name = t->>'name'
$$;

-- Charges `p_amount` without a hold before it: a hold and its settle in one step, so that policy, budgets and credits are judged as
-- they are for any request. `may_owe`: it is used already, so that what is short becomes debt; only policy can refuse it.
-- `p_terms` is JSON in UTF-8: name, fields, receipt, may_owe.
CREATE FUNCTION ledger_consume(
  INOUT w wallets, p_id uuid, p_key bigint, p_amount bigint, p_version bigint, p_catalog bigint, p_terms bytea, p_owner bigint,
  p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  v_want bigint := CASE WHEN (t->>'may_owe')::boolean THEN 0 ELSE p_amount END;
  r record;
BEGIN
  SELECT n.outcome, n.amount INTO outcome, amount FROM ledger_named(w.account_id, 1::smallint, t) n;
  IF outcome IS NOT NULL THEN RETURN; END IF;
  SELECT * INTO r FROM ledger_hold(w, p_id, p_key, v_want, v_want, 0::bigint, p_version, p_catalog, 0::smallint, 0, ''::bytea,
      p_owner, p_now);
  outcome := r.outcome;
  amount := 0;
  IF outcome <> 1 THEN RETURN; END IF;
  SELECT * INTO r FROM ledger_settle(r.w, p_id, p_amount, convert_to(t->>'receipt', 'UTF8'), p_now);
  w := r.w;
  amount := p_amount;
  INSERT INTO named_operations (account_id, kind, name, id, amount, at, fields)
    VALUES (w.account_id, 1, t->>'name', p_id, p_amount, p_now, t->'fields');
END $$;

-- Opens a hold that ends by itself after `p_ttl` seconds, under a name of the caller's. `p_terms`: name, fields, frozen, most (how
-- many such holds may be open).
CREATE FUNCTION ledger_reserve(
  INOUT w wallets, p_id uuid, p_key bigint, p_amount bigint, p_version bigint, p_catalog bigint, p_ttl integer, p_terms bytea,
  p_owner bigint, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  r record;
BEGIN
  SELECT n.outcome, n.amount INTO outcome, amount FROM ledger_named(w.account_id, 2::smallint, t) n;
  IF outcome IS NOT NULL THEN RETURN; END IF;
  amount := 0;
  IF (SELECT count(*) FROM holds WHERE account_id = w.account_id AND expires_at < 'infinity') >= (t->>'most')::integer THEN
    outcome := 56;
    RETURN;
  END IF;
  SELECT * INTO r FROM ledger_hold(w, p_id, p_key, p_amount, p_amount, 0::bigint, p_version, p_catalog, 1::smallint, p_ttl,
      convert_to(t->>'frozen', 'UTF8'), p_owner, p_now);
  outcome := r.outcome;
  IF outcome <> 1 THEN RETURN; END IF;
  w := r.w;
  amount := p_amount;
  INSERT INTO named_operations (account_id, kind, name, id, amount, at, expires_at, fields)
    VALUES (w.account_id, 2, t->>'name', p_id, p_amount, p_now, p_now + make_interval(secs => p_ttl), t->'fields');
END $$;

-- Adds `p_amount` to a hold, once by its name. `p_terms`: name, fields.
CREATE FUNCTION ledger_enlarge(
  INOUT w wallets, p_id uuid, p_amount bigint, p_terms bytea, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  v_whole bigint;
  r record;
BEGIN
  SELECT n.outcome, n.amount INTO outcome, amount FROM ledger_named(w.account_id, 3::smallint, t) n;
  IF outcome IS NOT NULL THEN RETURN; END IF;
  SELECT p_amount + h.amount INTO v_whole FROM holds h WHERE h.account_id = w.account_id AND h.id = p_id;
  SELECT * INTO r FROM ledger_extend(w, p_id, v_whole, v_whole, p_now);
  outcome := r.outcome;
  amount := 0;
  IF outcome <> 1 THEN RETURN; END IF;
  w := r.w;
  amount := p_amount;
  INSERT INTO named_operations (account_id, kind, name, id, amount, at, fields)
    VALUES (w.account_id, 3, t->>'name', p_id, p_amount, p_now, t->'fields');
END $$;
