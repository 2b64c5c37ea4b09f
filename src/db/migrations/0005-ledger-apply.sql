-- Writes back a wallet row that the verbs changed.
CREATE FUNCTION ledger_store(w wallets) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE wallets SET posted = w.posted, held = w.held, debt = w.debt, dormant = w.dormant, seq = w.seq,
      head_lot = w.head_lot, head_left = w.head_left, next_change_at = w.next_change_at
    WHERE account_id = w.account_id;
END $$;

-- `ledger_apply`: many operations in one round trip and one commit. It locks the accounts in sorted order; then one
-- set-based statement does all operations of every account for which each is plain (holds that fit as a set, charges
-- the head lot pays, nothing repeated, nothing due); the other accounts are done one operation at a time. Both ways give
-- what a sequence of single operations gives, in this order: per account settles, releases and grants, then holds.
--
-- Arrays run in parallel, one element an operation: 1 settle, 2 release, 3 grant, 4 hold. `p_data` holds the receipts,
-- frozen facts and terms one after the other; `p_start` (from 1) and `p_length` say where. Answers come in any order:
-- `ord` names the operation each belongs to. `available` and `held` are those of the wallet after that operation.
-- `p_at` is for tests alone.
CREATE FUNCTION ledger_apply(
  p_op smallint[], p_account bigint[], p_id uuid[], p_key bigint[], p_amount bigint[], p_least bigint[], p_floor bigint[],
  p_version bigint[], p_catalog bigint[], p_on_orphan smallint[], p_start integer[],
  p_length integer[], p_data bytea, p_owner bigint, p_at timestamptz DEFAULT NULL,
  OUT ord bigint[], OUT outcome smallint[], OUT amount bigint[], OUT available bigint[], OUT held bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
  v_catalog bigint;
  v_distinct boolean;
  w wallets;
  o record;
  r record;
BEGIN
  PERFORM FROM wallets WHERE account_id = ANY (p_account) ORDER BY account_id FOR UPDATE;
  v_now := coalesce(p_at, clock_timestamp());
  SELECT version INTO v_catalog FROM catalog_state;
  SELECT count(DISTINCT u) = count(*) INTO v_distinct FROM unnest(p_id) u;

  WITH o AS MATERIALIZED (
    SELECT u.*, w.posted, w.held, w.overdraft, w.dormant, w.seq, w.head_lot, w.head_left, w.debt,
      h.amount AS freed, h.key_id AS hold_key,
      CASE u.op WHEN 1 THEN u.amount ELSE 0 END AS charge,
      CASE u.op WHEN 4 THEN u.amount ELSE 0 END AS want,
      v_distinct AND v_now < w.next_change_at AND CASE
        WHEN u.op IN (1, 2) THEN h.id IS NOT NULL
        WHEN u.op = 4 THEN h.id IS NULL AND s.state = 0 AND s.expires_at > v_now AND w.status = 0
          AND u.version >= w.policy_version AND u.catalog >= v_catalog
          AND NOT EXISTS (SELECT FROM entries e WHERE e.account_id = u.account_id AND e.id = u.id)
        ELSE false END AS plain
    FROM unnest(p_op, p_account, p_id, p_key, p_amount, p_floor, p_version, p_catalog, p_on_orphan, p_start,
        p_length) WITH ORDINALITY AS u (op, account_id, id, key_id, amount, floor, version, catalog, on_orphan, start, length, i)
      JOIN wallets w ON w.account_id = u.account_id
      LEFT JOIN holds h ON h.account_id = u.account_id AND h.id = u.id
      LEFT JOIN spenders s ON u.op = 4 AND s.account_id = u.account_id AND s.key_id = u.key_id
  ), v AS MATERIALIZED (
    SELECT *,
      bool_and(plain) OVER a AND total(charge) OVER a <= head_left
        AND (total(want) OVER a = 0
          OR total(want) OVER a <= posted - total(charge) OVER a - held + total(freed) OVER a + overdraft) AS fast,
      total(charge) OVER a AS all_charge, total(freed) OVER a AS all_freed, total(want) OVER a AS all_want,
      count(*) FILTER (WHERE op < 4) OVER a AS all_entries,
      total(charge) OVER r AS run_charge, total(freed) OVER r AS run_freed, total(want) OVER r AS run_want,
      row_number() OVER r AS n
    FROM o
    WINDOW r AS (PARTITION BY account_id ORDER BY op = 4, i ROWS UNBOUNDED PRECEDING),
      a AS (PARTITION BY account_id ORDER BY op = 4, i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
  ), ended AS (
    DELETE FROM holds h USING v WHERE v.fast AND v.op < 4 AND h.account_id = v.account_id AND h.id = v.id
  ), booked AS (
    INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, key_id, at, receipt)
    SELECT account_id, id, op + 1, seq + n, -charge, posted + dormant - run_charge, 1, 2,
      CASE WHEN charge > 0 THEN head_lot END, hold_key, v_now, substring(p_data FROM start FOR length)
    FROM v WHERE fast AND op < 4
  ), opened AS (
    INSERT INTO holds (account_id, id, key_id, amount, floor, owner, on_orphan, opened_at, frozen)
    SELECT account_id, id, key_id, want, least(v.floor, want), p_owner, on_orphan, v_now,
      substring(p_data FROM start FOR length)
    FROM v WHERE fast AND op = 4
  ), moved AS (
    UPDATE wallets w SET posted = w.posted - v.all_charge, held = w.held - v.all_freed + v.all_want,
      head_left = w.head_left - v.all_charge, seq = w.seq + v.all_entries
    FROM v WHERE v.fast AND v.n = 1 AND w.account_id = v.account_id
  )
  SELECT array_agg(i), array_agg(1::smallint), array_agg(charge + want),
      array_agg(posted - run_charge - v.held + run_freed - run_want), array_agg(v.held - run_freed + run_want)
    INTO ord, outcome, amount, available, held
    FROM v WHERE fast;

  IF cardinality(ord) = cardinality(p_op) THEN RETURN; END IF;

  FOR o IN
    SELECT * FROM unnest(p_op, p_account, p_id, p_key, p_amount, p_least, p_floor, p_version, p_catalog, p_on_orphan, p_start,
        p_length) WITH ORDINALITY
        AS u (op, account_id, id, key_id, amount, least, floor, version, catalog, on_orphan, start, length, i)
      WHERE ord IS NULL OR i <> ALL (ord)
      ORDER BY account_id, op = 4, i
  LOOP
    IF w.account_id IS DISTINCT FROM o.account_id THEN
      PERFORM ledger_store(w);
      SELECT * INTO w FROM wallets WHERE account_id = o.account_id;
    END IF;
    SELECT w, 0::smallint AS outcome, 0::bigint AS amount INTO r;
    IF w.account_id IS NOT NULL THEN
      IF v_now >= w.next_change_at THEN w := ledger_refresh(w, v_now); END IF;
      CASE o.op
        WHEN 1 THEN
          SELECT * INTO r FROM ledger_settle(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 2 THEN
          SELECT * INTO r FROM ledger_release(w, o.id, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 3 THEN
          SELECT * INTO r FROM ledger_grant(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 4 THEN
          SELECT * INTO r FROM ledger_hold(w, o.id, o.key_id, o.amount, o.least, o.floor, o.version, o.catalog, o.on_orphan,
              substring(p_data FROM o.start FOR o.length), p_owner, v_now);
      END CASE;
      w := r.w;
    END IF;
    ord := ord || o.i;
    outcome := outcome || r.outcome;
    amount := amount || r.amount;
    available := available || coalesce(w.posted - w.held, 0);
    held := held || coalesce(w.held, 0);
  END LOOP;
  PERFORM ledger_store(w);
END $$;
