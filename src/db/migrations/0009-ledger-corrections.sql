-- Corrections are new entries: history is never changed. Called by `ledger_apply`, like the verbs of 0004.

-- Adds credits (a lot of kind adjustment; debt is repaid first) or takes them, in burn order; what is short becomes debt.
-- `p_terms` is JSON in UTF-8: reference, reason, book, per_usd.
CREATE FUNCTION ledger_adjust(
  INOUT w wallets, p_id uuid, p_amount bigint, p_terms bytea, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  v_book smallint := (t->>'book')::smallint;
  a adjustments;
  burnt record;
  v_lot uuid;
BEGIN
  SELECT * INTO a FROM adjustments WHERE account_id = w.account_id AND reference = t->>'reference';
  amount := coalesce(a.amount, 0);
  IF FOUND THEN
    outcome := CASE WHEN a.amount <> p_amount THEN 11 WHEN a.book <> v_book THEN 17 ELSE 2 END;
    RETURN;
  END IF;
  IF p_amount > 0 AND NOT ledger_scale_is((t->>'per_usd')::bigint) THEN outcome := 51; RETURN; END IF;

  amount := p_amount;
  INSERT INTO adjustments (account_id, reference, id, amount, at, book, reason)
    VALUES (w.account_id, t->>'reference', p_id, p_amount, p_now, v_book, t->>'reason');
  IF p_amount > 0 THEN
    v_lot := p_id;
    w.dormant := w.dormant + p_amount;
    INSERT INTO lots (account_id, lot_id, kind, state, granted, remaining, starts_at, created_at, reference, reason)
      VALUES (w.account_id, p_id, 14, 0, p_amount, p_amount, p_now, p_now, 'adjustment ' || p_id, t->>'reason');
  ELSE
    SELECT * INTO burnt FROM ledger_burn(w, -p_amount, p_id, 7::smallint, p_now);
    w := burnt.w;
    v_lot := burnt.paid_by;
  END IF;
  w.seq := w.seq + 1;
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
    VALUES (w.account_id, p_id, 7, w.seq, p_amount, w.posted + w.dormant, CASE WHEN p_amount > 0 THEN v_book ELSE 1 END,
            CASE WHEN p_amount > 0 THEN 1 ELSE v_book END, v_lot, p_now);
  w := ledger_refresh(w, p_now);
  outcome := 1;
END $$;

-- Gives back what a request was charged, or `p_amount` of it (-1: all), once: to debt first, then to the lots that paid, the
-- last one burnt first. `p_reason` is kept with the entry.
CREATE FUNCTION ledger_reverse(
  INOUT w wallets, p_id uuid, p_amount bigint, p_reason bytea, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  amount := 0;
  PERFORM FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN outcome := 54; RETURN; END IF;
  SELECT count(*) AS entries, -sum(e.amount) FILTER (WHERE kind <> 8) AS charged,
      sum(e.amount) FILTER (WHERE kind = 8) AS reversed,
      -sum(e.amount) FILTER (WHERE kind <> 8 AND seq < (SELECT seq FROM entries v
        WHERE v.account_id = w.account_id AND v.id = p_id AND v.kind = 8)) AS charged_then,
      min(key_id) AS key_id, min(at) FILTER (WHERE kind <> 8) AS ended_at
    INTO r FROM entries e WHERE e.account_id = w.account_id AND e.id = p_id AND kind IN (2, 3, 4, 5, 8, 9);
  IF r.entries = 0 THEN outcome := 20; RETURN; END IF;
  amount := CASE WHEN p_amount < 0 THEN coalesce(r.charged_then, r.charged) ELSE p_amount END;
  IF r.reversed IS NOT NULL THEN
    outcome := CASE WHEN amount = r.reversed THEN 2 ELSE 11 END;
    amount := r.reversed;
    RETURN;
  END IF;
  IF amount > r.charged OR amount = 0 THEN outcome := 55; amount := r.charged; RETURN; END IF;
  w := ledger_book_charge(w, p_id, 8::smallint, -amount, r.key_id, p_reason, p_now, p_now);
  PERFORM ledger_budget_late(w.account_id, r.key_id, r.ended_at, -amount, p_now);
  outcome := 1;
END $$;

-- Brings wallets to now that time alone has changed: for accounts that nobody uses, so that what expired is booked and holds
-- whose time is over end. Nothing depends on it. Returns how many. Up to 1,000 that cannot be brought to now are passed over.
CREATE FUNCTION ledger_expire_due(p_limit integer, p_at timestamptz DEFAULT NULL) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  w wallets;
  v_now timestamptz;
  v_done integer := 0;
BEGIN
  FOR w IN SELECT * FROM wallets WHERE next_change_at <= coalesce(p_at, clock_timestamp())
           ORDER BY next_change_at LIMIT p_limit + 1000 FOR UPDATE SKIP LOCKED LOOP
    EXIT WHEN v_done >= p_limit;
    BEGIN
      v_now := coalesce(p_at, clock_timestamp());
      PERFORM ledger_store(ledger_refresh(w, v_now));
      v_done := v_done + 1;
    EXCEPTION WHEN integrity_constraint_violation OR raise_exception OR data_exception THEN
      RAISE WARNING 'account % cannot be brought to now: %', w.account_id, sqlerrm;
    END;
  END LOOP;
  RETURN v_done;
END $$;
