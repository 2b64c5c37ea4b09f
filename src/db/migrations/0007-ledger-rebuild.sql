-- Corrects the projections of one account: src/ledger/rebuild.ts tells by how much they differ from what the entries say.
-- What differs by an amount still differs by it after any operation since, so that nothing needs to stand still meanwhile;
-- what is no sum (states, the head lot, what changes next, what holds come to) is told afresh, as of now. `p_seq` replaces the
-- wallet's number only while that is `p_seq_found`. Refuses, by raising, what the tables do not allow.
CREATE FUNCTION ledger_rebuild(
  p_account bigint, p_seq_found bigint, p_seq bigint, p_debt bigint,
  p_lot uuid[], p_remaining bigint[], p_repaid bigint[], p_expired bigint[], p_at timestamptz DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  w wallets;
  v_now timestamptz;
BEGIN
  SELECT * INTO STRICT w FROM wallets WHERE account_id = p_account FOR UPDATE;
  v_now := coalesce(p_at, clock_timestamp());
  IF w.seq = p_seq_found THEN w.seq := p_seq; END IF;
  w.debt := w.debt + p_debt;

  UPDATE lots SET remaining = w.head_left WHERE account_id = p_account AND lot_id = w.head_lot;
  UPDATE lots l SET remaining = l.remaining + d.remaining, repaid = l.repaid + d.repaid, expired = l.expired + d.expired
    FROM unnest(p_lot, p_remaining, p_repaid, p_expired) AS d (lot_id, remaining, repaid, expired)
    WHERE l.account_id = p_account AND l.lot_id = d.lot_id;

  -- A lot that starts repays debt. So beside debt no lot that is live has a remainder: one with it has not started, though its
  -- time has come. One that has also expired meanwhile was live before, unless nothing has happened since it was to start.
  UPDATE lots l SET state = s.state
    FROM (
      SELECT t.lot_id, CASE
          WHEN t.starts_at > v_now THEN 0
          WHEN t.remaining = 0 THEN 3
          WHEN t.expires_at > v_now THEN CASE WHEN w.debt > 0 THEN 0 ELSE 1 END
          WHEN w.debt > 0 AND NOT EXISTS (SELECT FROM entries e WHERE e.account_id = p_account AND e.at >= t.starts_at
            AND e.id >= uuid_floor(t.starts_at - interval '1 hour')) THEN 0
          ELSE 2 END AS state
        FROM lots t WHERE t.account_id = p_account
    ) s
    WHERE l.account_id = p_account AND l.lot_id = s.lot_id AND l.state <> s.state;
  IF EXISTS (SELECT FROM lots l JOIN allocations a ON a.account_id = l.account_id AND a.id = l.lot_id AND a.kind = 101
      WHERE l.account_id = p_account AND l.state = 0) THEN
    RAISE EXCEPTION 'debt of % stands beside a lot that has repaid debt before: correct it with an adjustment', w.debt;
  END IF;

  SELECT total(remaining) FILTER (WHERE state = 1) - w.debt, total(remaining) FILTER (WHERE state IN (0, 2)),
      least(min(CASE state WHEN 0 THEN starts_at WHEN 1 THEN expires_at WHEN 2 THEN v_now END),
        (SELECT min(expires_at) FROM holds WHERE account_id = p_account), 'infinity')
    INTO w.posted, w.dormant, w.next_change_at FROM lots WHERE account_id = p_account;
  SELECT total(amount) INTO w.held FROM holds WHERE account_id = p_account;
  SELECT lot_id, remaining INTO w.head_lot, w.head_left FROM lots
    WHERE account_id = p_account AND state = 1 ORDER BY priority, expires_at, created_at, lot_id LIMIT 1;
  w.head_left := coalesce(w.head_left, 0);
  PERFORM ledger_store(w);

  UPDATE spenders s SET held = t.held
    FROM (
      SELECT b.key_id, total(h.amount) AS held FROM spenders b
        LEFT JOIN holds h ON h.account_id = p_account AND b.key_id IN (0, h.key_id) AND h.budgeted
          AND h.opened_at >= b.period_start AND b.budget IS NOT NULL
        WHERE b.account_id = p_account GROUP BY b.key_id
    ) t
    WHERE s.account_id = p_account AND s.key_id = t.key_id AND s.held <> t.held;
END $$;
