-- Proves one account: its projections equal its entries, its lots equal what was taken from them. One row a difference,
-- none when all is well. Call it in a REPEATABLE READ transaction, so that its statements see one instant.
CREATE FUNCTION ledger_verify_account(p_account bigint) RETURNS TABLE (subject text, expected text, found text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  w wallets;
BEGIN
  SELECT * INTO w FROM wallets WHERE account_id = p_account;

  RETURN QUERY SELECT format('entry %s/%s balance_after', e.id, e.kind), e.running::text, e.balance_after::text
    FROM (SELECT t.id, t.kind, t.balance_after, sum(t.amount) OVER (ORDER BY t.seq) AS running
            FROM entries t WHERE t.account_id = p_account) e
    WHERE e.running <> e.balance_after;
  RETURN QUERY SELECT format('entry %s/%s seq', e.id, e.kind), e.n::text, e.seq::text
    FROM (SELECT t.id, t.kind, t.seq, row_number() OVER (ORDER BY t.seq) AS n FROM entries t WHERE t.account_id = p_account) e
    WHERE e.n <> e.seq;
  RETURN QUERY SELECT c.subject, c.expected::text, c.found::text FROM (VALUES
      ('wallet seq', (SELECT count(*) FROM entries WHERE account_id = p_account), w.seq::numeric),
      ('wallet posted + dormant', (SELECT coalesce(sum(e.amount), 0) FROM entries e WHERE e.account_id = p_account),
        w.posted::numeric + w.dormant),
      ('wallet held', (SELECT coalesce(sum(h.amount), 0) FROM holds h WHERE h.account_id = p_account), w.held::numeric),
      ('wallet posted', (SELECT coalesce(sum(CASE WHEN l.lot_id = w.head_lot THEN w.head_left ELSE l.remaining END), 0)
        FROM lots l WHERE l.account_id = p_account AND l.state = 1) - w.debt, w.posted::numeric),
      ('wallet dormant', (SELECT coalesce(sum(l.remaining), 0) FROM lots l
        WHERE l.account_id = p_account AND l.state IN (0, 2)), w.dormant::numeric)
    ) AS c (subject, expected, found) WHERE c.expected <> c.found;

  RETURN QUERY SELECT format('lot %s %s', t.lot_id, t.what), t.expected::text, t.found::text
    FROM (
      SELECT l.lot_id, c.what, c.expected, c.found
        FROM lots l
        CROSS JOIN LATERAL (
          SELECT
            (SELECT coalesce(sum(-e.amount), 0) FROM entries e
              WHERE e.account_id = p_account AND e.lot_id = l.lot_id AND e.kind IN (2, 4, 5))
            + (SELECT coalesce(sum(CASE WHEN e.amount < 0 THEN a.amount ELSE -a.amount END), 0)
                FROM allocations a JOIN entries e ON e.account_id = a.account_id AND e.id = a.id AND e.kind = a.kind
                WHERE a.account_id = p_account AND a.lot_id = l.lot_id) AS burnt,
            (SELECT coalesce(sum(e.amount), 0) FROM entries e
              WHERE e.account_id = p_account AND e.lot_id = l.lot_id AND e.kind = 1) AS granted,
            (SELECT coalesce(sum(-e.amount), 0) FROM entries e
              WHERE e.account_id = p_account AND e.lot_id = l.lot_id AND e.kind = 6) AS expired
        ) s
        CROSS JOIN LATERAL (VALUES
          ('granted', s.granted, l.granted::numeric),
          ('expired', s.expired, l.expired::numeric),
          ('remaining', s.granted - s.burnt - s.expired - l.repaid,
            CASE WHEN l.lot_id = w.head_lot THEN w.head_left ELSE l.remaining END::numeric)
        ) AS c (what, expected, found)
        WHERE l.account_id = p_account
    ) t WHERE t.expected <> t.found;

  RETURN QUERY SELECT format('hold %s owner', h.id), 'a gateway with a lease', h.owner::text
    FROM holds h WHERE h.account_id = p_account AND NOT EXISTS (SELECT FROM owners o WHERE o.owner = h.owner);
END $$;
