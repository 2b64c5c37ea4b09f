-- How lots start, burn and expire. Each function takes a wallet row that the caller has locked, and returns it changed:
-- the caller writes it back once.

-- Brings a wallet to the instant `p_now`: ends holds whose time is over, starts lots that are due (debt is repaid first),
-- ends those that expired, books as expired what no older hold can claim any more, and chooses the next lot to burn. Right
-- without any job: every operation on the account calls it when `next_change_at` has come.
CREATE FUNCTION ledger_refresh(INOUT w wallets, p_now timestamptz) LANGUAGE plpgsql AS $$
DECLARE
  h holds;
  l lots;
  v_repaid bigint;
  v_oldest timestamptz;
BEGIN
  FOR h IN SELECT * FROM holds WHERE account_id = w.account_id AND expires_at <= p_now ORDER BY expires_at, id LOOP
    w := ledger_lapse(w, h);
  END LOOP;

  UPDATE lots SET remaining = w.head_left WHERE account_id = w.account_id AND lot_id = w.head_lot;

  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND state = 0 AND starts_at <= p_now
           ORDER BY starts_at, created_at, lot_id LOOP
    v_repaid := least(w.debt, l.remaining);
    w.debt := w.debt - v_repaid;
    w.posted := w.posted + l.remaining;
    w.dormant := w.dormant - l.remaining;
    UPDATE lots SET state = 1, remaining = remaining - v_repaid, repaid = v_repaid
      WHERE account_id = l.account_id AND lot_id = l.lot_id;
    IF v_repaid > 0 THEN
      INSERT INTO allocations (account_id, id, kind, lot_id, amount)
        VALUES (l.account_id, l.lot_id, 101, l.lot_id, v_repaid);
    END IF;
  END LOOP;

  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND state = 1 AND expires_at <= p_now LOOP
    w.posted := w.posted - l.remaining;
    w.dormant := w.dormant + l.remaining;
    UPDATE lots SET state = 2 WHERE account_id = l.account_id AND lot_id = l.lot_id;
  END LOOP;

  -- Holds opened before a lot expired may still be paid by it: it is booked when the last of them has ended.
  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND state = 2 ORDER BY expires_at, created_at, lot_id LOOP
    IF v_oldest IS NULL THEN
      SELECT coalesce(min(opened_at), 'infinity') INTO v_oldest FROM holds WHERE account_id = w.account_id;
    END IF;
    CONTINUE WHEN l.remaining > 0 AND v_oldest < l.expires_at;
    IF l.remaining > 0 THEN
      w.dormant := w.dormant - l.remaining;
      w.seq := w.seq + 1;
      INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
      VALUES (w.account_id, uuid_at(p_now), 6, w.seq, -l.remaining, w.posted + w.dormant, 1, 3, l.lot_id, p_now);
    END IF;
    UPDATE lots SET state = 3, remaining = 0, expired = expired + remaining
      WHERE account_id = l.account_id AND lot_id = l.lot_id;
  END LOOP;

  UPDATE lots SET state = 3 WHERE account_id = w.account_id AND state = 1 AND remaining = 0;

  SELECT lot_id, remaining INTO w.head_lot, w.head_left FROM lots
    WHERE account_id = w.account_id AND state = 1 ORDER BY priority, expires_at, created_at, lot_id LIMIT 1;
  w.head_left := coalesce(w.head_left, 0);
  -- A lot that waits to be booked keeps the wallet due, so that the next operation looks again.
  SELECT coalesce(least(min(CASE state WHEN 0 THEN starts_at WHEN 1 THEN expires_at ELSE p_now END),
      (SELECT min(expires_at) FROM holds WHERE account_id = w.account_id AND expires_at < 'infinity')), 'infinity')
    INTO w.next_change_at FROM lots WHERE account_id = w.account_id AND state < 3;
END $$;

-- Takes `p_amount` from the wallet in burn order: first from lots that expired after the hold was opened, then from
-- live ones; what is left over becomes debt. Records the allocations when more than one lot pays, or none pays all.
-- The caller writes the entry and then refreshes the wallet: what that books as expired comes after the charge.
CREATE FUNCTION ledger_burn(
  INOUT w wallets, p_amount bigint, p_id uuid, p_kind smallint, p_opened_at timestamptz, OUT paid_by uuid
) LANGUAGE plpgsql AS $$
DECLARE
  l lots;
  v_left bigint := p_amount;
  v_part bigint;
  v_lots uuid[] := '{}';
  v_parts bigint[] := '{}';
BEGIN
  UPDATE lots SET remaining = w.head_left WHERE account_id = w.account_id AND lot_id = w.head_lot;
  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND remaining > 0
             AND (state = 1 OR state = 2 AND expires_at > p_opened_at)
           ORDER BY state DESC, priority, expires_at, created_at, lot_id LOOP
    EXIT WHEN v_left = 0;
    v_part := least(v_left, l.remaining);
    v_left := v_left - v_part;
    IF l.state = 1 THEN w.posted := w.posted - v_part; ELSE w.dormant := w.dormant - v_part; END IF;
    UPDATE lots SET remaining = remaining - v_part WHERE account_id = l.account_id AND lot_id = l.lot_id;
    IF l.lot_id = w.head_lot THEN w.head_left := w.head_left - v_part; END IF;
    v_lots := v_lots || l.lot_id;
    v_parts := v_parts || v_part;
  END LOOP;
  w.debt := w.debt + v_left;
  w.posted := w.posted - v_left;
  IF cardinality(v_lots) = 1 AND v_left = 0 THEN
    paid_by := v_lots[1];
  ELSE
    INSERT INTO allocations (account_id, id, kind, lot_id, amount)
      SELECT w.account_id, p_id, p_kind, t.lot_id, t.amount FROM unnest(v_lots, v_parts) AS t (lot_id, amount);
  END IF;
END $$;

-- Gives `p_amount` of what request `p_id` was charged back: debt is repaid first; then each lot that paid the charge
-- gets up to what is left of its share, the last one burnt first; then any other that was burnt or repaid debt (what they
-- paid may have become another charge's debt, repaid since). `p_kind` is the entry's: 5 when a recovered charge turns out
-- to have been too high, 8 for a reverse. The caller writes the entry and then refreshes the wallet.
CREATE FUNCTION ledger_give_back(INOUT w wallets, p_amount bigint, p_id uuid, p_kind smallint, p_now timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
  l record;
  v_left bigint := p_amount;
  v_part bigint;
  v_burnt bigint;                                       -- of the part, what had been burnt; the rest had repaid debt
  v_lots uuid[] := '{}';
  v_parts bigint[] := '{}';
  v_gifts bigint[] := '{}';
BEGIN
  UPDATE lots SET remaining = w.head_left WHERE account_id = w.account_id AND lot_id = w.head_lot;
  v_part := least(v_left, w.debt);
  w.debt := w.debt - v_part;
  w.posted := w.posted + v_part;
  v_left := v_left - v_part;
  FOR l IN
    WITH charged AS (
      SELECT a.lot_id, CASE WHEN e.amount > 0 THEN -a.amount ELSE a.amount END AS amount FROM allocations a
        JOIN entries e ON e.account_id = a.account_id AND e.id = a.id AND e.kind = a.kind
        WHERE a.account_id = w.account_id AND a.id = p_id
      UNION ALL SELECT e.lot_id, -e.amount FROM entries e WHERE e.account_id = w.account_id AND e.id = p_id
    ), spent AS (
      SELECT t.*, t.granted - t.expired - t.remaining AS room, t.granted - t.expired - t.remaining - t.repaid AS burnt,
          least(t.granted - t.expired - t.remaining,
            (SELECT greatest(total(c.amount), 0) FROM charged c WHERE c.lot_id = t.lot_id)) AS share
        FROM lots t WHERE t.account_id = w.account_id
    )
    SELECT s.lot_id, s.expires_at, p.room, p.burnt
      FROM spent s, LATERAL (VALUES
        (1, s.share, least(s.share, s.burnt)), (2, s.room - s.share, s.burnt - least(s.share, s.burnt))
      ) AS p (pass, room, burnt)
      WHERE p.room > 0
      ORDER BY p.pass, s.priority DESC, s.expires_at DESC, s.created_at DESC, s.lot_id DESC
  LOOP
    EXIT WHEN v_left = 0;
    v_part := least(v_left, l.room);
    v_burnt := least(v_part, l.burnt);
    v_left := v_left - v_part;
    UPDATE lots SET remaining = remaining + v_part, repaid = repaid - (v_part - v_burnt),
        state = CASE WHEN expires_at <= p_now THEN 2 ELSE 1 END
      WHERE account_id = w.account_id AND lot_id = l.lot_id;
    IF l.lot_id = w.head_lot THEN w.head_left := w.head_left + v_part; END IF;
    IF l.expires_at <= p_now THEN w.dormant := w.dormant + v_part; ELSE w.posted := w.posted + v_part; END IF;
    v_lots := v_lots || l.lot_id;
    v_parts := v_parts || v_burnt;
    v_gifts := v_gifts || (v_part - v_burnt);
  END LOOP;
  IF v_left > 0 THEN
    RAISE EXCEPTION 'giving back % exceeds what was charged to account %', p_amount, w.account_id;
  END IF;
  INSERT INTO allocations (account_id, id, kind, lot_id, amount)
    SELECT w.account_id, p_id, k.kind, t.lot_id, sum(k.amount)
      FROM unnest(v_lots, v_parts, v_gifts) AS t (lot_id, part, gift),
        LATERAL (VALUES (p_kind, t.part), (p_kind + 100, t.gift)) AS k (kind, amount)
      GROUP BY k.kind, t.lot_id HAVING sum(k.amount) > 0;
END $$;
