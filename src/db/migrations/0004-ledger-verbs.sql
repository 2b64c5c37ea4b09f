-- The verbs, one operation at a time, and `ledger_apply`, which takes many. src/ledger/outcomes.ts names the numbers of
-- operations and outcomes and states their precedence; the table in test/ledger/verbs.table.test.ts is the specification.
-- Each verb takes a wallet row that `ledger_apply` has locked and brought to `p_now`, and returns it changed.

-- How much of `p_want` may be held: all of it if it fits, else all that fits if that is at least `p_least`, else nothing and
-- the first that is short, in this order: the key's budget, the account's, the credits. Takes what it grants. Budgets whose
-- period began after the hold was opened have no say: it counts in its own. `p_has` is what the hold has already.
CREATE FUNCTION ledger_take(INOUT w wallets, p_key bigint, p_want bigint, p_least bigint, p_has bigint, p_opened_at timestamptz,
  p_now timestamptz, OUT outcome smallint, OUT granted bigint, OUT budgeted boolean) LANGUAGE plpgsql AS $$
DECLARE
  v_free bigint := w.posted - w.held + w.overdraft;
  b record;
BEGIN
  granted := 0;
  SELECT * INTO b FROM ledger_budget_room(w.account_id, p_key, p_opened_at, p_now);
  budgeted := b.key_room IS NOT NULL OR b.account_room IS NOT NULL;
  outcome := CASE
    WHEN p_want = 0 THEN 1
    WHEN p_least > b.key_room THEN 42
    WHEN p_least > b.account_room THEN 43
    WHEN p_least > v_free THEN CASE WHEN p_least > v_free + w.held - p_has THEN 40 ELSE 41 END
    ELSE 1 END;
  IF outcome <> 1 OR p_want = 0 THEN RETURN; END IF;
  granted := least(p_want, v_free, b.key_room, b.account_room);
  w.held := w.held + granted;
  IF budgeted THEN
    UPDATE spenders SET held = held + granted
      WHERE account_id = w.account_id AND key_id IN (0, p_key) AND budget IS NOT NULL AND period_start <= p_opened_at;
  END IF;
END $$;

-- `p_ttl` in seconds: the hold ends by itself after it, whoever opened it; 0: it is its gateway's.
CREATE FUNCTION ledger_hold(
  INOUT w wallets, p_id uuid, p_key bigint, p_want bigint, p_least bigint, p_floor bigint, p_version bigint,
  p_catalog bigint, p_on_orphan smallint, p_ttl integer, p_frozen bytea, p_owner bigint, p_now timestamptz,
  OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  h holds;
  t record;
  v_state smallint;
  v_expires timestamptz := CASE WHEN p_ttl > 0 THEN p_now + make_interval(secs => p_ttl) ELSE 'infinity' END;
BEGIN
  amount := 0;
  PERFORM FROM entries WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN outcome := 10; RETURN; END IF;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN
    amount := h.amount - h.extended;
    outcome := CASE WHEN h.key_id <> p_key THEN 12 WHEN amount NOT BETWEEN p_least AND p_want THEN 11 ELSE 2 END;
    RETURN;
  END IF;
  -- Policy and catalog as of now: what is due by time alone counts, though nobody has read them since.
  IF p_version < w.policy_version OR p_now >= w.policy_changes_at
    OR p_catalog < (SELECT version + (p_now >= next_change_at)::integer FROM catalog_state) THEN
    outcome := 30;
    RETURN;
  END IF;
  IF w.status <> 0 THEN outcome := 31; RETURN; END IF;
  SELECT CASE WHEN expires_at <= p_now THEN 1 ELSE state END INTO v_state
    FROM spenders WHERE account_id = w.account_id AND key_id = p_key;
  IF v_state IS DISTINCT FROM 0 THEN outcome := 32; RETURN; END IF;
  SELECT * INTO t FROM ledger_take(w, p_key, p_want, p_least, 0, p_now, p_now);
  outcome := t.outcome;
  IF outcome <> 1 THEN RETURN; END IF;
  w := t.w;
  amount := t.granted;
  w.next_change_at := least(w.next_change_at, v_expires);
  INSERT INTO holds (account_id, id, key_id, amount, floor, owner, on_orphan, opened_at, expires_at, budgeted, frozen)
    VALUES (w.account_id, p_id, p_key, amount, least(p_floor, amount), CASE WHEN p_ttl > 0 THEN 0 ELSE p_owner END,
            p_on_orphan, p_now, v_expires, t.budgeted, p_frozen);
END $$;

-- Makes a hold at least `p_least`, at best `p_want` in all. A running request was admitted: policy is not asked again.
CREATE FUNCTION ledger_extend(
  INOUT w wallets, p_id uuid, p_want bigint, p_least bigint, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  h holds;
  t record;
BEGIN
  amount := 0;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF NOT FOUND THEN
    PERFORM FROM entries WHERE account_id = w.account_id AND id = p_id;
    outcome := CASE WHEN FOUND THEN 10 ELSE 20 END;
    RETURN;
  END IF;
  amount := h.amount;
  IF amount >= p_least THEN outcome := 2; RETURN; END IF;
  SELECT * INTO t FROM ledger_take(w, h.key_id, p_want - amount, p_least - amount, amount, h.opened_at, p_now);
  outcome := t.outcome;
  IF outcome <> 1 THEN RETURN; END IF;
  w := t.w;
  amount := amount + t.granted;
  UPDATE holds SET amount = h.amount + t.granted, extended = h.extended + t.granted, budgeted = h.budgeted OR t.budgeted
    WHERE account_id = w.account_id AND id = p_id;
END $$;

-- Ends a hold: it leaves the table, the wallet and the budgets that count it.
CREATE FUNCTION ledger_close_hold(INOUT w wallets, h holds, p_charge bigint) LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM holds WHERE account_id = h.account_id AND id = h.id;
  w.held := w.held - h.amount;
  IF h.budgeted THEN PERFORM ledger_budget_end(h, p_charge); END IF;
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
    w := ledger_give_back(w, -p_amount, p_id, p_kind, p_now);
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
  reversed entries;
  v_more bigint;
BEGIN
  amount := p_amount;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN
    w := ledger_close_hold(w, h, p_amount);
    w := ledger_book_charge(w, p_id, 2::smallint, p_amount, h.key_id, p_receipt, h.opened_at, p_now);
    outcome := 1;
    RETURN;
  END IF;
  SELECT * INTO ended FROM entries WHERE account_id = w.account_id AND id = p_id AND kind IN (2, 3, 4, 9);
  IF NOT FOUND THEN outcome := 20; amount := 0; RETURN; END IF;
  SELECT * INTO reversed FROM entries WHERE account_id = w.account_id AND id = p_id AND kind = 8;
  -- What was given back by a reverse is not given back again.
  v_more := greatest(p_amount + ended.amount, ended.amount + coalesce(reversed.amount, 0));
  IF ended.kind <> 2 THEN
    SELECT * INTO late FROM entries WHERE account_id = w.account_id AND id = p_id AND kind = 5;
    IF NOT FOUND THEN
      w := ledger_book_charge(w, p_id, 5::smallint, v_more, ended.key_id, p_receipt, ended.at, p_now);
      PERFORM ledger_budget_late(w.account_id, ended.key_id, ended.at, v_more, p_now);
      amount := v_more - ended.amount;
      outcome := 3;
      RETURN;
    END IF;
  END IF;
  amount := -(ended.amount + coalesce(late.amount, 0));
  outcome := CASE WHEN amount = p_amount OR (reversed.seq < late.seq AND late.amount = -v_more) THEN 2 ELSE 11 END;
END $$;

CREATE FUNCTION ledger_release(
  INOUT w wallets, p_id uuid, p_receipt bytea, p_now timestamptz, OUT outcome smallint, OUT amount bigint
) LANGUAGE plpgsql AS $$
DECLARE
  h holds;
  v_kind smallint;
BEGIN
  amount := 0;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN
    w := ledger_close_hold(w, h, 0);
    w := ledger_book_charge(w, p_id, 3::smallint, 0::bigint, h.key_id, p_receipt, h.opened_at, p_now);
    outcome := 1;
    RETURN;
  END IF;
  SELECT kind INTO v_kind FROM entries WHERE account_id = w.account_id AND id = p_id AND kind IN (2, 3, 4, 9);
  outcome := CASE WHEN v_kind IS NULL THEN 20 WHEN v_kind = 3 THEN 2 WHEN v_kind = 9 THEN 53 ELSE 50 END;
END $$;

-- Ends a hold whose own time is over, released: at the instant it expired, whenever that is noticed. The entry keeps what a
-- recovered one keeps.
CREATE FUNCTION ledger_lapse(INOUT w wallets, h holds) LANGUAGE plpgsql AS $$
BEGIN
  w := ledger_close_hold(w, h, 0);
  w.seq := w.seq + 1;
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, key_id, at, receipt)
    VALUES (w.account_id, h.id, 9, w.seq, 0, w.posted + w.dormant, 1, 2, h.key_id, h.expires_at, h.frozen || int8send(h.amount));
END $$;

-- Fixes the value of a credit with the first credits given; whether it is this one.
CREATE FUNCTION ledger_scale_is(p_per_usd bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM credit_scale WHERE fixed) THEN
    INSERT INTO credit_scale AS s (credits_per_usd) VALUES (p_per_usd)
      ON CONFLICT (only_row) DO UPDATE SET credits_per_usd = p_per_usd, fixed = true WHERE NOT s.fixed;
  END IF;
  RETURN p_per_usd = (SELECT credits_per_usd FROM credit_scale);
END $$;

-- `p_terms` is JSON in UTF-8: kind, reference, starts_at, expires_at, priority, reason, paid_minor, currency, per_usd.
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
  IF NOT ledger_scale_is((t->>'per_usd')::bigint) THEN outcome := 51; RETURN; END IF;

  amount := p_amount;
  w.dormant := w.dormant + p_amount;
  w.seq := w.seq + 1;
  INSERT INTO lots (account_id, lot_id, kind, state, priority, granted, remaining, starts_at, expires_at, created_at,
                    reference, reason, paid_minor, currency)
    VALUES (w.account_id, p_lot, v_kind, 0, (t->>'priority')::integer, p_amount, p_amount, v_starts, v_expires, p_now,
            t->>'reference', t->>'reason', (t->>'paid_minor')::bigint, t->>'currency');
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
    VALUES (w.account_id, p_lot, 1, w.seq, p_amount, w.posted + w.dormant, v_kind, 1, p_lot, p_now);
  w := ledger_refresh(w, p_now);
  outcome := 1;
END $$;
