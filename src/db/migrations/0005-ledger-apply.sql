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
-- what a sequence of single operations gives, in this order: per account all but what asks for credits, then that.
--
-- Arrays run in parallel, one element an operation: 1 settle, 2 release, 3 grant, 4 hold, 5 extend, 6 adjust, 7 reverse, and of
-- 0018 8 consume, 9 reserve, 10 enlarge.
-- `p_data` holds the receipts, frozen facts and terms one after the other; `p_start` (from 1) and `p_length` say where. Answers come in any order:
-- `ord` names the operation each belongs to. `available` and `held` are those of the wallet after that operation.
-- `p_at` is for tests alone.
CREATE FUNCTION ledger_apply(
  p_op smallint[], p_account bigint[], p_id uuid[], p_key bigint[], p_amount bigint[], p_least bigint[], p_floor bigint[],
  p_version bigint[], p_catalog bigint[], p_on_orphan smallint[], p_ttl integer[],
  p_start integer[], p_length integer[], p_data bytea, p_owner bigint, p_at timestamptz DEFAULT NULL,
  OUT ord bigint[], OUT outcome smallint[], OUT amount bigint[], OUT available bigint[], OUT held bigint[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
  v_catalog bigint;
  -- New ids are about as old as the batch: the partitions of other months are left out when the plan starts, however many
  -- there are. An id from outside, of a gateway whose clock is days off, is no plain one.
  v_from uuid;
  v_to uuid;
  v_distinct boolean;
  v_missed bigint;
  w wallets;
  o record;
  r record;
BEGIN
  PERFORM FROM wallets WHERE account_id = ANY (p_account) ORDER BY account_id FOR UPDATE;
  v_now := coalesce(p_at, clock_timestamp());
  v_from := uuid_floor(v_now - interval '2 days');
  v_to := uuid_floor(v_now + interval '2 days');
  SELECT version + (v_now >= next_change_at)::integer INTO v_catalog FROM catalog_state;
  SELECT count(DISTINCT u) = count(*) INTO v_distinct FROM unnest(p_id) u;

  WITH o AS (
    SELECT u.i, u.op, u.account_id, w.ctid AS wallet, w.posted - w.held AS free, w.overdraft, w.held, w.posted + w.dormant AS book,
      w.seq, w.head_lot, w.head_left, coalesce(h.amount, 0) AS freed, h.key_id AS hold_key,
      h.ctid AS hold,
      CASE u.op WHEN 1 THEN u.amount ELSE 0 END AS charge,
      CASE u.op WHEN 4 THEN u.amount ELSE 0 END AS want,
      coalesce(v_distinct AND v_now < w.next_change_at AND CASE
        WHEN u.op IN (1, 2) THEN h.id IS NOT NULL AND NOT h.budgeted
        WHEN u.op = 4 THEN h.id IS NULL AND s.state = 0 AND s.expires_at > v_now AND w.status = 0
          AND s.budget IS NULL AND NOT w.budgeted AND p_ttl[u.i] = 0
          AND p_version[u.i] >= w.policy_version AND v_now < w.policy_changes_at AND p_catalog[u.i] >= v_catalog
          AND u.id >= v_from AND u.id < v_to AND NOT EXISTS (SELECT FROM entries e
            WHERE e.account_id = u.account_id AND e.id = u.id AND e.id >= v_from AND e.id < v_to)
        ELSE false END, false) AS plain
    FROM unnest(p_op, p_account, p_id, p_amount) WITH ORDINALITY AS u (op, account_id, id, amount, i)
      JOIN wallets w ON w.account_id = u.account_id
      LEFT JOIN holds h ON h.account_id = u.account_id AND h.id = u.id
      LEFT JOIN spenders s ON u.op = 4 AND s.account_id = u.account_id AND s.key_id = p_key[u.i]
  ), v AS MATERIALIZED (
    SELECT i, op, account_id, wallet, seq, hold, hold_key, head_lot, charge, want,
      bool_and(plain) OVER a AND total(charge) OVER a <= head_left
        AND (total(want) OVER a = 0 OR total(want) OVER a <= free - total(charge) OVER a + total(freed) OVER a + overdraft) AS fast,
      total(charge) OVER a AS all_charge, total(want - freed) OVER a AS all_held, count(*) FILTER (WHERE op < 4) OVER a AS all_entries,
      book - total(charge) OVER r AS balance, free - total(charge + want - freed) OVER r AS free,
      held + total(want - freed) OVER r AS held, row_number() OVER r AS n
    FROM o
    WINDOW r AS (PARTITION BY account_id ORDER BY op = 4, i ROWS UNBOUNDED PRECEDING),
      a AS (PARTITION BY account_id ORDER BY op = 4, i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
  ), ended AS (
    DELETE FROM holds h USING (SELECT hold FROM v WHERE fast AND op < 4 OFFSET 0) d WHERE h.ctid = d.hold RETURNING 1
  ), booked AS (
    INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, key_id, at, receipt)
    SELECT account_id, p_id[i], op + 1, seq + n, -charge, balance, 1, 2,
      CASE WHEN charge > 0 THEN head_lot END, hold_key, v_now, substring(p_data FROM p_start[i] FOR p_length[i])
    FROM v WHERE fast AND op < 4
  ), opened AS (
    INSERT INTO holds (account_id, id, key_id, amount, floor, owner, on_orphan, opened_at, frozen)
    SELECT account_id, p_id[i], p_key[i], want, least(p_floor[i], want), p_owner, p_on_orphan[i], v_now,
      substring(p_data FROM p_start[i] FOR p_length[i])
    FROM v WHERE fast AND op = 4
  ), moved AS (
    UPDATE wallets w SET posted = w.posted - d.all_charge, held = w.held + d.all_held,
      head_left = w.head_left - d.all_charge, seq = w.seq + d.all_entries
    FROM (SELECT wallet, all_charge, all_held, all_entries FROM v WHERE fast AND n = 1 OFFSET 0) d WHERE w.ctid = d.wallet
  )
  SELECT array_agg(i), array_agg(1::smallint), array_agg(charge + want), array_agg(free), array_agg(v.held),
      count(*) FILTER (WHERE op < 4) - (SELECT count(*) FROM ended)
    INTO ord, outcome, amount, available, held, v_missed
    FROM v WHERE fast;
  -- A heartbeat moved a row between the look and the deletion. All else waits for the wallet's lock.
  IF v_missed > 0 THEN RAISE EXCEPTION 'a hold was being noted' USING ERRCODE = 'serialization_failure'; END IF;

  IF cardinality(ord) = cardinality(p_op) THEN RETURN; END IF;

  FOR o IN
    SELECT * FROM unnest(p_op, p_account, p_id, p_key, p_amount, p_least, p_floor, p_version, p_catalog, p_on_orphan, p_ttl,
        p_start, p_length) WITH ORDINALITY
        AS u (op, account_id, id, key_id, amount, least, floor, version, catalog, on_orphan, ttl, start, length, i)
      WHERE ord IS NULL OR i <> ALL (ord)
      ORDER BY account_id, op IN (4, 8, 9), i
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
              o.ttl, substring(p_data FROM o.start FOR o.length), p_owner, v_now);
        WHEN 5 THEN
          SELECT * INTO r FROM ledger_extend(w, o.id, o.amount, o.least, v_now);
        WHEN 6 THEN
          SELECT * INTO r FROM ledger_adjust(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 7 THEN
          SELECT * INTO r FROM ledger_reverse(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 8 THEN
          SELECT * INTO r FROM ledger_consume(w, o.id, o.key_id, o.amount, o.version, o.catalog,
              substring(p_data FROM o.start FOR o.length), p_owner, v_now);
        WHEN 9 THEN
          SELECT * INTO r FROM ledger_reserve(w, o.id, o.key_id, o.amount, o.version, o.catalog, o.ttl,
              substring(p_data FROM o.start FOR o.length), p_owner, v_now);
        WHEN 10 THEN
          SELECT * INTO r FROM ledger_enlarge(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
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
