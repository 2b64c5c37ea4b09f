-- The verbs, one operation at a time, and `ledger_apply`, which takes many. src/ledger/outcomes.ts names the numbers of
-- operations and outcomes and states their precedence; the table in test/ledger/verbs.table.test.ts is the specification.
-- Each verb takes a wallet row that `ledger_apply` has locked and brought to `p_now`, and returns it changed.

CREATE FUNCTION ledger_hold(
  INOUT w wallets, p_id uuid, p_key bigint, p_want bigint, p_least bigint, p_floor bigint, p_version bigint,
  p_catalog bigint, p_on_orphan smallint, p_frozen bytea, p_owner bigint, p_now timestamptz,
  OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  h holds;
  v_free bigint := w.posted - w.held + w.overdraft;
  v_state smallint;
BEGIN
  amount := 0;
  PERFORM FROM entries WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN outcome := 10; RETURN; END IF;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN
    amount := h.amount;
    outcome := CASE WHEN h.key_id <> p_key THEN 12 WHEN h.amount NOT BETWEEN p_least AND p_want THEN 11 ELSE 2 END;
    RETURN;
  END IF;
  IF p_version < w.policy_version OR p_catalog < (SELECT version FROM catalog_state) THEN outcome := 30; RETURN; END IF;
  IF w.status <> 0 THEN outcome := 31; RETURN; END IF;
  SELECT CASE WHEN expires_at <= p_now THEN 1 ELSE state END INTO v_state
    FROM spenders WHERE account_id = w.account_id AND key_id = p_key;
  IF v_state IS DISTINCT FROM 0 THEN outcome := 32; RETURN; END IF;
  IF p_least > v_free AND p_want > 0 THEN
    outcome := CASE WHEN p_least > v_free + w.held THEN 40 ELSE 41 END;
    RETURN;
  END IF;
  outcome := 1;
  amount := CASE WHEN p_want = 0 THEN 0 ELSE least(p_want, v_free) END;
  w.held := w.held + amount;
  INSERT INTO holds (account_id, id, key_id, amount, floor, owner, on_orphan, opened_at, frozen)
    VALUES (w.account_id, p_id, p_key, amount, least(p_floor, amount), p_owner, p_on_orphan, p_now, p_frozen);
END $$;

-- Books one transfer between the wallet and revenue for a request. `p_amount` is the charge: negative gives back.
CREATE FUNCTION ledger_book_charge(
  INOUT w wallets, p_id uuid, p_kind smallint, p_amount bigint, p_key bigint, p_receipt bytea, p_opened_at timestamptz,
  p_now timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
  v_plain boolean := p_amount BETWEEN 0 AND w.head_left AND p_now < w.next_change_at; -- the head lot alone pays
  burnt record;
  v_lot uuid;
BEGIN
  IF v_plain THEN
    w.posted := w.posted - p_amount;
    w.head_left := w.head_left - p_amount;
    v_lot := CASE WHEN p_amount > 0 THEN w.head_lot END;
  ELSIF p_amount >= 0 THEN
    SELECT * INTO burnt FROM ledger_burn(w, p_amount, p_id, p_kind, p_opened_at);
    w := burnt.w;
    v_lot := burnt.paid_by;
  ELSE
    w := ledger_give_back(w, -p_amount, p_id, p_now);
  END IF;
  w.seq := w.seq + 1;
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, key_id, at, receipt)
    VALUES (w.account_id, p_id, p_kind, w.seq, -p_amount, w.posted + w.dormant, CASE WHEN p_amount < 0 THEN 2 ELSE 1 END,
            CASE WHEN p_amount < 0 THEN 1 ELSE 2 END, v_lot, p_key, p_now, p_receipt);
  IF NOT v_plain THEN w := ledger_refresh(w, p_now); END IF;
END $$;

CREATE FUNCTION ledger_settle(
  INOUT w wallets, p_id uuid, p_amount bigint, p_receipt bytea, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  h holds;
  ended entries;
  late entries;
BEGIN
  amount := p_amount;
  DELETE FROM holds WHERE account_id = w.account_id AND id = p_id RETURNING * INTO h;
  IF FOUND THEN
    w.held := w.held - h.amount;
    w := ledger_book_charge(w, p_id, 2::smallint, p_amount, h.key_id, p_receipt, h.opened_at, p_now);
    outcome := 1;
    RETURN;
  END IF;
  SELECT * INTO ended FROM entries WHERE account_id = w.account_id AND id = p_id AND kind IN (2, 3, 4);
  IF NOT FOUND THEN outcome := 20; amount := 0; RETURN; END IF;
  IF ended.kind <> 2 THEN
    SELECT * INTO late FROM entries WHERE account_id = w.account_id AND id = p_id AND kind = 5;
    IF NOT FOUND THEN
      w := ledger_book_charge(w, p_id, 5::smallint, p_amount + ended.amount, ended.key_id, p_receipt, ended.at, p_now);
      outcome := 3;
      RETURN;
    END IF;
  END IF;
  amount := -(ended.amount + coalesce(late.amount, 0));
  outcome := CASE WHEN amount = p_amount THEN 2 ELSE 11 END;
END $$;

CREATE FUNCTION ledger_release(
  INOUT w wallets, p_id uuid, p_receipt bytea, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  h holds;
  v_kind smallint;
BEGIN
  amount := 0;
  DELETE FROM holds WHERE account_id = w.account_id AND id = p_id RETURNING * INTO h;
  IF FOUND THEN
    w.held := w.held - h.amount;
    w := ledger_book_charge(w, p_id, 3::smallint, 0::bigint, h.key_id, p_receipt, h.opened_at, p_now);
    outcome := 1;
    RETURN;
  END IF;
  SELECT kind INTO v_kind FROM entries WHERE account_id = w.account_id AND id = p_id AND kind IN (2, 3, 4)
    ORDER BY kind LIMIT 1;
  outcome := CASE WHEN v_kind IS NULL THEN 20 WHEN v_kind = 3 THEN 2 ELSE 50 END;
END $$;

-- `p_terms` is JSON in UTF-8: kind, reference, starts_at, expires_at, priority, reason, per_usd.
CREATE FUNCTION ledger_grant(
  INOUT w wallets, p_lot uuid, p_amount bigint, p_terms bytea, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  l lots;
  v_kind smallint := (t->>'kind')::smallint;
  v_starts timestamptz := coalesce((t->>'starts_at')::timestamptz, p_now);
  v_expires timestamptz := coalesce((t->>'expires_at')::timestamptz, 'infinity');
BEGIN
  SELECT * INTO l FROM lots WHERE account_id = w.account_id AND reference = t->>'reference';
  amount := coalesce(l.granted, 0);
  IF FOUND THEN
    outcome := CASE
      WHEN l.granted <> p_amount THEN 11
      WHEN l.kind <> v_kind THEN 13
      WHEN l.expires_at <> v_expires THEN 14
      WHEN t->>'starts_at' IS NOT NULL AND l.starts_at <> v_starts THEN 15
      WHEN l.priority <> (t->>'priority')::integer THEN 16
      ELSE 2 END;
    RETURN;
  END IF;
  IF v_starts >= v_expires OR v_expires <= p_now THEN outcome := 52; RETURN; END IF;
  INSERT INTO credit_scale (credits_per_usd) VALUES ((t->>'per_usd')::bigint) ON CONFLICT DO NOTHING;
  IF (t->>'per_usd')::bigint <> (SELECT credits_per_usd FROM credit_scale) THEN outcome := 51; RETURN; END IF;

  amount := p_amount;
  w.dormant := w.dormant + p_amount;
  w.seq := w.seq + 1;
  INSERT INTO lots (account_id, lot_id, kind, state, priority, granted, remaining, starts_at, expires_at, created_at,
                    reference, reason)
    VALUES (w.account_id, p_lot, v_kind, 0, (t->>'priority')::integer, p_amount, p_amount, v_starts, v_expires, p_now,
            t->>'reference', t->>'reason');
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
    VALUES (w.account_id, p_lot, 1, w.seq, p_amount, w.posted + w.dormant, v_kind, 1, p_lot, p_now);
  w := ledger_refresh(w, p_now);
  outcome := 1;
END $$;
