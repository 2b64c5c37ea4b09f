-- What a repair needs beside a sync: for what no payment of Stripe's says, but somebody's hand.

-- The object of Stripe's that a reference names, whoever wrote it; null: none.
CREATE FUNCTION payment_named(p_reference text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT substring(p_reference FROM '(?:pi|in|cs_test|cs_live|cs)_[A-Za-z0-9]{8,}')
$$;
CREATE INDEX lots_of_payments ON lots (payment_named(reference)) WHERE payment_named(reference) IS NOT NULL;

-- Takes back a lot that was granted beside what its payment grants: once.
CREATE FUNCTION payment_take_back(p_account bigint, p_lot uuid, p_key text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_granted bigint;
BEGIN
  SELECT granted INTO STRICT v_granted FROM lots WHERE account_id = p_account AND lot_id = p_lot;
  PERFORM ledger_clawback(p_account, uuid_at(clock_timestamp()), -v_granted, format('double:%s', p_lot), ARRAY[p_lot],
    format('stripe:%s:double:%s', p_key, p_lot), format('Granted twice for %s', p_key));
END $$;

-- Moves a payment to the account that it is of: takes back from the other what it still has of it, and grants the same anew, as far
-- as its time is not over. How much is reversed is posted by the sync after it.
CREATE FUNCTION payment_move(p_key text, p_account bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  y payments;
  g record;
  v_now timestamptz;
  v_lots uuid[];
  v_left bigint;
  v_granted bigint := 0;
  v_lot uuid;
  v_outcome smallint;
  v_terms bytea;
BEGIN
  SELECT * INTO STRICT y FROM payments WHERE payment_key = p_key;
  PERFORM FROM wallets WHERE account_id IN (y.account_id, p_account) ORDER BY account_id FOR UPDATE;
  SELECT * INTO STRICT y FROM payments WHERE payment_key = p_key FOR UPDATE;
  IF y.account_id = p_account THEN RETURN; END IF;
  IF EXISTS (SELECT FROM payment_grants WHERE payment_key = p_key AND account_id = p_account) THEN
    RAISE EXCEPTION 'payment % was moved away from this account before: correct it by hand', p_key USING ERRCODE = 'check_violation';
  END IF;
  v_now := clock_timestamp();
  SELECT array_agg(lot_id), total(credits) INTO v_lots, v_left
    FROM payment_grants WHERE payment_key = p_key AND account_id = y.account_id AND lot_id IS NOT NULL;
  SELECT v_left + total(amount) INTO v_left FROM adjustments WHERE account_id = y.account_id AND payment = p_key;
  IF v_left > 0 THEN
    PERFORM ledger_clawback(y.account_id, uuid_at(v_now), -v_left, p_key, v_lots, format('stripe:%s:moved:%s', p_key, y.clawbacks + 1),
      'Moved to the account whose payment it is');
  END IF;
  FOR g IN SELECT d.line, l.* FROM payment_grants d JOIN lots l ON l.account_id = d.account_id AND l.lot_id = d.lot_id
      WHERE d.payment_key = p_key AND d.account_id = y.account_id AND l.expires_at > v_now LOOP
    v_lot := uuid_at(v_now);
    v_terms := convert_to(jsonb_build_object('kind', g.kind, 'reference', format('stripe:%s:%s@%s', p_key, g.line, y.clawbacks + 1), 'priority', g.priority,
      'starts_at', CASE WHEN g.starts_at > v_now THEN g.starts_at END, 'expires_at', CASE WHEN g.expires_at < 'infinity' THEN g.expires_at END,
      'reason', g.reason, 'paid_minor', g.paid_minor, 'currency', g.currency,
      'per_usd', (SELECT credits_per_usd FROM credit_scale))::text, 'UTF8');
    SELECT a.outcome[1] INTO v_outcome FROM ledger_apply(ARRAY[3]::smallint[], ARRAY[p_account], ARRAY[v_lot], ARRAY[0]::bigint[],
      ARRAY[g.granted], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::smallint[],
      ARRAY[0], ARRAY[1], ARRAY[octet_length(v_terms)], v_terms, 0::bigint) a;
    IF v_outcome <> 1 THEN
      RAISE EXCEPTION 'payment % was not moved: outcome %', p_key, v_outcome USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO payment_grants (payment_key, line, account_id, credits, lot_id)
      VALUES (p_key, format('%s@%s', g.line, y.clawbacks + 1), p_account, g.granted, v_lot);
    v_granted := v_granted + g.granted;
  END LOOP;
  UPDATE payments SET account_id = p_account, granted = v_granted, clawed = 0, reversed_minor = 0, clawbacks = y.clawbacks + 1
    WHERE payment_key = p_key;
END $$;
