-- Budgets of keys and accounts. The caller has locked the wallet, which every operation of the account does first: that is
-- what keeps the counts right. An account's budget is that of key 0.

-- When the period of an instant began: 1 day, 2 month, both in UTC, 3 total.
CREATE FUNCTION period_floor(p_period smallint, p_at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE p_period WHEN 1 THEN date_trunc('day', p_at, 'UTC') WHEN 2 THEN date_trunc('month', p_at, 'UTC') ELSE '-infinity' END
$$;

-- Begins the period of `p_now` where another one is over: what that one's holds cost is its own affair.
CREATE FUNCTION ledger_budget_turn(p_account bigint, p_key bigint, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE spenders SET period_start = period_floor(period, p_now), held = 0, spent = 0
    WHERE account_id = p_account AND key_id IN (0, p_key) AND budget IS NOT NULL AND period_start < period_floor(period, p_now);
END $$;

-- What the budgets of a key and of its account leave at `p_now` to a hold opened at `p_opened_at`; null: none has a say. Late
-- charges may have made it negative.
CREATE FUNCTION ledger_budget_room(
  p_account bigint, p_key bigint, p_opened_at timestamptz, p_now timestamptz, OUT key_room bigint, OUT account_room bigint
) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ledger_budget_turn(p_account, p_key, p_now);
  SELECT min(budget - held - spent) FILTER (WHERE key_id <> 0), min(budget - held - spent) FILTER (WHERE key_id = 0)
    INTO key_room, account_room FROM spenders
    WHERE account_id = p_account AND key_id IN (0, p_key) AND budget IS NOT NULL AND period_start <= p_opened_at;
END $$;

-- A hold that a budget counts has ended, charged `p_charge`. Of an earlier period: nothing to do.
CREATE FUNCTION ledger_budget_end(h holds, p_charge bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE spenders SET held = held - h.amount, spent = spent + p_charge
    WHERE account_id = h.account_id AND key_id IN (0, h.key_id) AND budget IS NOT NULL AND h.opened_at >= period_start;
END $$;

-- A request that ended at `p_at` turned out to cost `p_more` more, or less. What comes back returns to a budget in total alone:
-- of which day or month it was part is not known for certain any more, and no other may be overspent by it.
CREATE FUNCTION ledger_budget_late(p_account bigint, p_key bigint, p_at timestamptz, p_more bigint, p_now timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ledger_budget_turn(p_account, p_key, p_now);
  UPDATE spenders SET spent = greatest(spent + p_more, 0)
    WHERE account_id = p_account AND key_id IN (0, p_key) AND budget IS NOT NULL AND p_at >= period_start
      AND (p_more > 0 OR period = 3);
END $$;

-- Gives a key, or its account (key 0), a budget, or takes it away (null). What the period has seen so far counts: holds that
-- are open by when they were opened, charges by when their requests began. Gateways read the policy again. False: no such key.
CREATE FUNCTION ledger_set_budget(
  p_account bigint, p_key bigint, p_budget bigint, p_period smallint, p_at timestamptz DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_start timestamptz;
  v_held bigint := 0;
  v_spent bigint := 0;
BEGIN
  UPDATE wallets SET policy_version = policy_version + 1, budgeted = CASE p_key WHEN 0 THEN p_budget IS NOT NULL ELSE budgeted END
    WHERE account_id = p_account;
  IF NOT FOUND THEN RETURN false; END IF;
  IF p_key = 0 THEN
    INSERT INTO spenders (account_id, key_id, state) VALUES (p_account, 0, 1) ON CONFLICT DO NOTHING;
  END IF;
  v_start := period_floor(p_period, coalesce(p_at, clock_timestamp()));
  IF p_budget IS NOT NULL THEN
    UPDATE holds SET budgeted = true WHERE account_id = p_account AND p_key IN (0, key_id) AND NOT budgeted;
    SELECT total(amount) INTO v_held FROM holds
      WHERE account_id = p_account AND p_key IN (0, key_id) AND opened_at >= v_start;
    SELECT greatest(-total(amount), 0) INTO v_spent FROM entries
      WHERE account_id = p_account AND p_key IN (0, key_id) AND kind IN (2, 4, 5, 8)
        AND id >= CASE WHEN v_start = '-infinity' THEN '00000000-0000-0000-0000-000000000000' ELSE uuid_floor(v_start) END;
  END IF;
  UPDATE spenders SET budget = p_budget, period = p_period, period_start = v_start, held = v_held, spent = v_spent
    WHERE account_id = p_account AND key_id = p_key;
  RETURN FOUND;
END $$;
