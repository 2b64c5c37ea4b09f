-- Credits of a payment that was taken back (a refund, a dispute), and given back again when that failed or was won. Called inside
-- its caller's transaction, which also says how much: the ledger knows no money but credits.

-- Of a clawback: whose credits it took or gave back.
ALTER TABLE adjustments ADD COLUMN payment text;
ALTER TABLE adjustments ADD CONSTRAINT adjustment_of_a_payment_is_a_clawback CHECK (payment IS NULL OR book = 4) NOT VALID;
ALTER TABLE adjustments VALIDATE CONSTRAINT adjustment_of_a_payment_is_a_clawback;
CREATE INDEX adjustments_of_payment ON adjustments (account_id, payment) WHERE payment IS NOT NULL;

-- Takes `p_amount` from the wallet: first what is left of `p_lots`, those that start last before the others and those that
-- expired last of all; then of other live lots, in burn order; what is left over becomes debt. Records the allocations as
-- `ledger_burn` does. The caller writes the entry and then refreshes the wallet.
CREATE FUNCTION ledger_claw(INOUT w wallets, p_amount bigint, p_id uuid, p_lots uuid[], OUT paid_by uuid)
LANGUAGE plpgsql AS $$
DECLARE
  l lots;
  v_left bigint := p_amount;
  v_part bigint;
  v_lots uuid[] := '{}';
  v_parts bigint[] := '{}';
BEGIN
  UPDATE lots SET remaining = w.head_left WHERE account_id = w.account_id AND lot_id = w.head_lot;
  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND remaining > 0
             AND (state = 1 OR state < 3 AND lot_id = ANY (p_lots))
           ORDER BY lot_id = ANY (p_lots) DESC, state, CASE state WHEN 0 THEN starts_at END DESC,
             priority, expires_at, created_at, lot_id LOOP
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
      SELECT w.account_id, p_id, 7, t.lot_id, t.amount FROM unnest(v_lots, v_parts) AS t (lot_id, amount);
  END IF;
END $$;

-- Puts `p_amount` back: debt is repaid first; then each of `p_lots`, in their order, gets up to its share of `p_shares`; then any
-- other that was burnt or repaid debt (what they paid may have become another charge's debt, repaid since), live ones before
-- pending ones before expired ones, each the last in burn order first. A pending lot stays one. `p_kind` is the entry's. The
-- caller writes the entry and then refreshes the wallet.
CREATE FUNCTION ledger_put_back(
  INOUT w wallets, p_amount bigint, p_id uuid, p_kind smallint, p_lots uuid[], p_shares bigint[], p_now timestamptz
) LANGUAGE plpgsql AS $$
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
    WITH spent AS (
      SELECT t.*, s.n, CASE WHEN t.state < 3 THEN t.state WHEN t.expires_at <= p_now THEN 2 ELSE 1 END AS stands,
          t.granted - t.expired - t.remaining AS room, t.granted - t.expired - t.remaining - t.repaid AS burnt,
          least(t.granted - t.expired - t.remaining, coalesce(s.share, 0)) AS share
        FROM lots t LEFT JOIN unnest(p_lots, p_shares) WITH ORDINALITY AS s (lot_id, share, n) ON s.lot_id = t.lot_id
        WHERE t.account_id = w.account_id
    )
    SELECT s.lot_id, s.stands, p.room, p.burnt
      FROM spent s, LATERAL (VALUES
        (s.n, s.share, least(s.share, s.burnt)), (NULL, s.room - s.share, s.burnt - least(s.share, s.burnt))
      ) AS p (turn, room, burnt)
      WHERE p.room > 0
      ORDER BY p.turn NULLS LAST, CASE s.stands WHEN 1 THEN 0 WHEN 0 THEN 1 ELSE 2 END,
        s.priority DESC, s.expires_at DESC, s.created_at DESC, s.lot_id DESC
  LOOP
    EXIT WHEN v_left = 0;
    v_part := least(v_left, l.room);
    v_burnt := least(v_part, l.burnt);
    v_left := v_left - v_part;
    UPDATE lots SET remaining = remaining + v_part, repaid = repaid - (v_part - v_burnt), state = l.stands
      WHERE account_id = w.account_id AND lot_id = l.lot_id;
    IF l.lot_id = w.head_lot THEN w.head_left := w.head_left + v_part; END IF;
    IF l.stands = 1 THEN w.posted := w.posted + v_part; ELSE w.dormant := w.dormant + v_part; END IF;
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

-- As it was in 0003: gives `p_amount` of what request `p_id` was charged back, to each lot that paid what is left of its share, the
-- last one burnt first. What goes to other lots now finds live ones first, and knows pending ones, which a clawback can have
-- emptied. `p_kind` is 5 when a recovered charge turns out to have been too high, 8 for a reverse.
CREATE OR REPLACE FUNCTION ledger_give_back(INOUT w wallets, p_amount bigint, p_id uuid, p_kind smallint, p_now timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
  v_lots uuid[];
  v_shares bigint[];
BEGIN
  SELECT array_agg(l.lot_id ORDER BY l.priority DESC, l.expires_at DESC, l.created_at DESC, l.lot_id DESC),
      array_agg(s.share ORDER BY l.priority DESC, l.expires_at DESC, l.created_at DESC, l.lot_id DESC)
    INTO v_lots, v_shares
    FROM (
      SELECT c.lot_id, total(c.amount) AS share FROM (
        SELECT a.lot_id, CASE WHEN e.amount > 0 THEN -a.amount ELSE a.amount END AS amount FROM allocations a
          JOIN entries e ON e.account_id = a.account_id AND e.id = a.id AND e.kind = a.kind
          WHERE a.account_id = w.account_id AND a.id = p_id
        UNION ALL SELECT e.lot_id, -e.amount FROM entries e WHERE e.account_id = w.account_id AND e.id = p_id
      ) c GROUP BY c.lot_id HAVING total(c.amount) > 0
    ) s JOIN lots l ON l.account_id = w.account_id AND l.lot_id = s.lot_id;
  w := ledger_put_back(w, p_amount, p_id, p_kind, v_lots, v_shares, p_now);
END $$;

-- What the takes of a payment got from each lot and has not come back: in the opposite order, the last taken first.
CREATE FUNCTION ledger_clawed(p_account bigint, p_payment text, p_lots uuid[], OUT taken_from uuid[], OUT shares bigint[])
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
  SELECT array_agg(o.lot_id ORDER BY o.n), array_agg(o.share ORDER BY o.n) INTO taken_from, shares
    FROM (
      SELECT s.lot_id, s.share, row_number() OVER (ORDER BY s.seq DESC, l.lot_id = ANY (p_lots),
          CASE WHEN l.starts_at > s.at THEN 0 WHEN l.expires_at > s.at THEN 1 ELSE 2 END DESC,
          CASE WHEN l.starts_at > s.at THEN l.starts_at END,
          l.priority DESC, l.expires_at DESC, l.created_at DESC, l.lot_id DESC) AS n
        FROM (
          SELECT g.lot_id, total(CASE WHEN e.amount < 0 THEN g.amount ELSE -g.amount END) AS share,
              max(e.seq) FILTER (WHERE e.amount < 0) AS seq, max(e.at) FILTER (WHERE e.amount < 0) AS at
            FROM adjustments d
              JOIN entries e ON e.account_id = d.account_id AND e.id = d.id AND e.kind = 7
              CROSS JOIN LATERAL (
                SELECT a.lot_id, a.amount FROM allocations a WHERE a.account_id = e.account_id AND a.id = e.id AND a.kind = 7
                UNION ALL SELECT e.lot_id, abs(e.amount) WHERE e.lot_id IS NOT NULL
              ) AS g (lot_id, amount)
            WHERE d.account_id = p_account AND d.payment = p_payment
            GROUP BY g.lot_id
        ) s JOIN lots l ON l.account_id = p_account AND l.lot_id = s.lot_id
        WHERE s.share > 0
    ) o;
END $$;

-- Takes credits of a payment back (`p_amount` < 0), or gives back what earlier takes of the payment took (> 0): one entry between
-- the wallet and the book `clawback`. `p_lots` are those the payment granted. Never clamped: what no lot has is debt. Answers
-- as an adjust does, once for each reference: 0 no such account, 1 done, 2 repeated, 11 another amount before, 17 another
-- book or payment before. Raises `clawback_returns_what_was_taken` where more would come back than was taken, and
-- `clawback_is_within_the_grant` where more would be taken in all than `p_lots` were granted; then nothing has moved.
-- `p_at` is for tests alone.
CREATE FUNCTION ledger_clawback(
  p_account bigint, p_id uuid, p_amount bigint, p_payment text, p_lots uuid[], p_reference text, p_reason text,
  p_at timestamptz DEFAULT NULL
) RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
  w wallets;
  a adjustments;
  v_now timestamptz;
  v_taken bigint;
  v_lot uuid;
  r record;
BEGIN
  SELECT * INTO w FROM wallets WHERE account_id = p_account FOR UPDATE;
  IF NOT FOUND THEN RETURN 0; END IF;
  SELECT * INTO a FROM adjustments WHERE account_id = p_account AND reference = p_reference;
  IF FOUND THEN
    RETURN CASE WHEN a.amount <> p_amount THEN 11 WHEN a.payment IS DISTINCT FROM p_payment THEN 17 ELSE 2 END;
  END IF;
  IF p_payment IS NULL OR p_lots IS NULL THEN
    RAISE EXCEPTION 'a clawback is of a payment and its lots' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  SELECT -total(amount) INTO v_taken FROM adjustments WHERE account_id = p_account AND payment = p_payment;
  IF v_taken < p_amount THEN
    RAISE EXCEPTION 'giving back % of payment % exceeds the % that was taken', p_amount, p_payment, v_taken
      USING ERRCODE = 'check_violation', CONSTRAINT = 'clawback_returns_what_was_taken', TABLE = 'adjustments';
  END IF;
  IF p_amount < 0 AND v_taken - p_amount > (SELECT total(granted) FROM lots
      WHERE account_id = p_account AND lot_id = ANY (p_lots)) THEN
    RAISE EXCEPTION 'taking % of payment % after % exceeds what it granted', -p_amount, p_payment, v_taken
      USING ERRCODE = 'check_violation', CONSTRAINT = 'clawback_is_within_the_grant', TABLE = 'adjustments';
  END IF;

  v_now := coalesce(p_at, clock_timestamp());
  IF v_now >= w.next_change_at THEN w := ledger_refresh(w, v_now); END IF;
  IF p_amount > 0 THEN
    SELECT * INTO r FROM ledger_clawed(p_account, p_payment, p_lots);
    w := ledger_put_back(w, p_amount, p_id, 7::smallint, r.taken_from, r.shares, v_now);
  ELSE
    SELECT * INTO r FROM ledger_claw(w, -p_amount, p_id, p_lots);
    w := r.w;
    v_lot := r.paid_by;
  END IF;
  INSERT INTO adjustments (account_id, reference, id, amount, at, book, reason, payment)
    VALUES (p_account, p_reference, p_id, p_amount, v_now, 4, p_reason, p_payment);
  w.seq := w.seq + 1;
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
    VALUES (p_account, p_id, 7, w.seq, p_amount, w.posted + w.dormant, CASE WHEN p_amount > 0 THEN 4 ELSE 1 END,
            CASE WHEN p_amount > 0 THEN 1 ELSE 4 END, v_lot, v_now);
  PERFORM ledger_store(ledger_refresh(w, v_now));
  RETURN 1;
END $$;
