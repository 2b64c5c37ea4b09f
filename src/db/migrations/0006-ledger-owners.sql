-- Gateways and the holds they own. A lease lasts 15 seconds by the database's clock; its gateway renews it every 5.

-- Renews the caller's lease, and takes it again where a sweeper took it away. Also notes what long streams have metered.
CREATE FUNCTION ledger_heartbeat(p_owner bigint, p_account bigint[], p_id uuid[], p_metered bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO owners (owner, lease_until, started_at)
    VALUES (p_owner, clock_timestamp() + interval '15 seconds', clock_timestamp())
    ON CONFLICT (owner) DO UPDATE SET lease_until = excluded.lease_until;
  -- Takes no lock that it would have to wait for: a hold that is being settled needs no note.
  UPDATE holds h SET metered = u.metered
    FROM (
      SELECT t.account_id, t.id, n.metered FROM unnest(p_account, p_id, p_metered) AS n (account_id, id, metered)
        JOIN holds t ON t.account_id = n.account_id AND t.id = n.id AND t.metered < n.metered
        FOR UPDATE OF t SKIP LOCKED
    ) u
    WHERE h.account_id = u.account_id AND h.id = u.id;
END $$;

-- Ends a hold whose owner died, as its on_orphan says: at least its floor, at most the hold. The entry keeps what was frozen
-- with the hold, and behind it the amount of the hold in eight bytes and on_orphan in one: nothing else remembers them. That
-- last byte tells such a release from those of gateways, whose receipts are text.
CREATE FUNCTION ledger_recover(INOUT w wallets, h holds, p_now timestamptz) LANGUAGE plpgsql AS $$
DECLARE
  v_charge bigint := CASE h.on_orphan WHEN 1 THEN 0 WHEN 2 THEN h.amount ELSE least(h.amount, greatest(h.floor, h.metered)) END;
BEGIN
  w := ledger_close_hold(w, h, v_charge);
  w := ledger_book_charge(w, h.id, CASE h.on_orphan WHEN 1 THEN 3 ELSE 4 END::smallint, v_charge, h.key_id,
    h.frozen || int8send(h.amount) || set_byte('\x00', 0, h.on_orphan), h.opened_at, p_now);
END $$;

-- Ends up to `p_limit` holds of one owner, whose death the caller has established. Returns how many; the owner's lease
-- goes with its last hold. An account that cannot be brought right is passed over, with a warning: no other waits for it.
CREATE FUNCTION ledger_end_owner(p_owner bigint, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  h holds;
  w wallets;
  v_account bigint;
  v_accounts bigint[];
  v_now timestamptz;
  v_ended integer := 0;
  v_of_account integer;
BEGIN
  SELECT array_agg(DISTINCT t.account_id) INTO v_accounts
    FROM (SELECT account_id FROM holds WHERE owner = p_owner ORDER BY account_id, id LIMIT p_limit) t;
  PERFORM FROM wallets WHERE account_id = ANY (v_accounts) ORDER BY account_id FOR UPDATE;
  v_now := clock_timestamp();
  FOREACH v_account IN ARRAY coalesce(v_accounts, '{}') LOOP
    BEGIN
      v_of_account := 0;
      SELECT * INTO w FROM wallets WHERE account_id = v_account;
      IF v_now >= w.next_change_at THEN w := ledger_refresh(w, v_now); END IF;
      FOR h IN SELECT * FROM holds WHERE owner = p_owner AND account_id = v_account ORDER BY id LIMIT p_limit - v_ended LOOP
        w := ledger_recover(w, h, v_now);
        v_of_account := v_of_account + 1;
      END LOOP;
      PERFORM ledger_store(w);
      v_ended := v_ended + v_of_account;
    EXCEPTION WHEN integrity_constraint_violation OR raise_exception OR data_exception THEN
      RAISE WARNING 'the holds of account % cannot be ended: %', v_account, sqlerrm;
    END;
  END LOOP;
  DELETE FROM owners o WHERE o.owner = p_owner AND NOT EXISTS (SELECT FROM holds t WHERE t.owner = p_owner);
  RETURN v_ended;
END $$;

-- Ends up to `p_limit` holds of one gateway whose lease ran out; the next call takes the next. One gateway in a
-- transaction: it locks accounts in sorted order, which those of several gateways together would not be. One sweeper at a
-- time takes a given owner; others pass it by. Holds of owner 0 end by themselves. A sweeper whose own lease ran out has been
-- cut off, and so perhaps have all: it sweeps nobody. Returns how many; 0: no more can be ended.
CREATE FUNCTION ledger_sweep(p_limit integer, p_sweeper bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_owner bigint;
  v_ended integer;
BEGIN
  IF NOT EXISTS (SELECT FROM owners WHERE owner = p_sweeper AND lease_until > clock_timestamp()) THEN RETURN 0; END IF;
  FOR v_owner IN SELECT owner FROM owners WHERE lease_until <= clock_timestamp() ORDER BY owner FOR UPDATE SKIP LOCKED
  LOOP
    v_ended := ledger_end_owner(v_owner, p_limit);
    -- Those without a hold lock no account, and go along.
    IF v_ended > 0 THEN RETURN v_ended; END IF;
  END LOOP;
  -- A hold whose owner has no lease at all was committed after its gateway was swept.
  FOR v_owner IN SELECT DISTINCT h.owner FROM holds h
    WHERE h.owner <> 0 AND NOT EXISTS (SELECT FROM owners o WHERE o.owner = h.owner)
  LOOP
    v_ended := ledger_end_owner(v_owner, p_limit);
    IF v_ended > 0 THEN RETURN v_ended; END IF;
  END LOOP;
  RETURN 0;
END $$;
