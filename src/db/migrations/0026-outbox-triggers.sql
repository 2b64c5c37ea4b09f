-- What the outbox tells of wallets, lots and budgets: written by triggers, so that whatever moves them tells of it, in its transaction.

-- Credits as the APIs write them: a decimal of up to nine places.
CREATE FUNCTION credits_text(p_nano bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT trim_scale(p_nano * 0.000000001)::text
$$;

CREATE FUNCTION public_uuid(p_prefix text, p_id uuid) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT p_prefix || '_' || replace(p_id::text, '-', '')
$$;

-- An instant as the APIs write it; null: none, or without end.
CREATE FUNCTION time_text(p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN isfinite(p_at) THEN to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') END
$$;

CREATE FUNCTION tell_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM outbox_tell(NEW.account_id, 'credits.granted', NEW.lot_id::text, jsonb_build_object(
    'lot_id', public_uuid('lot', NEW.lot_id),
    'kind', (ARRAY['topup', 'subscription', 'bonus', 'promo', 'adjustment'])[NEW.kind - 9],
    'credits', credits_text(NEW.granted), 'reference', NEW.reference,
    'starts_at', time_text(NEW.starts_at), 'expires_at', time_text(NEW.expires_at)));
  RETURN NULL;
END $$;
CREATE TRIGGER lots_tell_of_themselves AFTER INSERT ON lots FOR EACH ROW EXECUTE FUNCTION tell_grant();

-- The balance has fallen below what the account calls low, or there is none left: told each time that happens. One that is low
-- is topped up by itself, where that is asked for: the wish is written here, in the transaction of the charge that made it low.
CREATE FUNCTION tell_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  v_said jsonb := jsonb_build_object('balance', credits_text(NEW.posted), 'held', credits_text(NEW.held));
BEGIN
  IF NEW.posted < NEW.low_below AND NOT OLD.posted < OLD.low_below THEN
    PERFORM outbox_tell(NEW.account_id, 'balance.low', NULL, v_said || jsonb_build_object('threshold', credits_text(NEW.low_below)));
    INSERT INTO recharge_wanted (account_id) SELECT account_id FROM auto_recharge WHERE account_id = NEW.account_id AND enabled
      ON CONFLICT DO NOTHING;
  END IF;
  IF NEW.posted <= 0 AND OLD.posted > 0 THEN
    PERFORM outbox_tell(NEW.account_id, 'balance.exhausted', NULL, v_said);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER wallets_tell_when_low AFTER UPDATE ON wallets FOR EACH ROW
  WHEN (NEW.posted < NEW.low_below AND NOT OLD.posted < OLD.low_below OR NEW.posted <= 0 AND OLD.posted > 0)
  EXECUTE FUNCTION tell_balance();

-- Once for each period of a budget: what was spent has come up to it, or something that was asked for did not fit any more.
CREATE FUNCTION tell_budget(s spenders) RETURNS void LANGUAGE sql AS $$
  SELECT outbox_tell(s.account_id, 'budget.reached', format('%s %s %s', s.key_id, s.period_start, s.budget), jsonb_build_object(
    'key', nullif(s.key_id, 0)::text, 'budget', credits_text(s.budget), 'spent', credits_text(s.spent),
    'held', credits_text(s.held), 'period', (ARRAY['day', 'month', 'total'])[s.period], 'since', time_text(s.period_start)))
$$;

CREATE FUNCTION tell_spent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM tell_budget(NEW);
  RETURN NULL;
END $$;
CREATE TRIGGER spenders_tell_when_spent AFTER UPDATE ON spenders FOR EACH ROW
  WHEN (NEW.spent >= NEW.budget AND NOT coalesce(OLD.spent >= OLD.budget AND OLD.period_start = NEW.period_start, false))
  EXECUTE FUNCTION tell_spent();

-- As in 0004 and 0010; tells of a budget that something did not fit into. A budget of 0 is a refusal by intent, and is not told of.
CREATE OR REPLACE FUNCTION ledger_take(INOUT w wallets, p_key bigint, p_want bigint, p_least bigint, p_has bigint, p_opened_at timestamptz,
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
  IF outcome IN (42, 43) THEN
    PERFORM tell_budget(s) FROM spenders s WHERE s.account_id = w.account_id AND s.key_id = CASE outcome WHEN 42 THEN p_key ELSE 0 END
      AND s.budget > 0;
  END IF;
  IF outcome <> 1 OR p_want = 0 THEN RETURN; END IF;
  granted := least(p_want, v_free, b.key_room, b.account_room);
  w.held := w.held + granted;
  IF budgeted THEN
    UPDATE spenders SET held = held + granted
      WHERE account_id = w.account_id AND key_id IN (0, p_key) AND budget IS NOT NULL AND period_start <= p_opened_at;
  END IF;
END $$;

-- Tells of credits that will expire within `p_within` and are not spent: once for each lot, at most `p_limit` of them at a time, the
-- soonest first. Of the lot that is being burnt the wallet knows what is left. Returns how many.
CREATE FUNCTION tell_expiring(p_within interval, p_limit integer, p_at timestamptz DEFAULT NULL) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  l record;
  v_until timestamptz := coalesce(p_at, clock_timestamp()) + p_within;
  v_told integer := 0;
BEGIN
  FOR l IN
    SELECT t.account_id, t.lot_id, t.expires_at, CASE WHEN t.lot_id = w.head_lot THEN w.head_left ELSE t.remaining END AS credits
      FROM wallets w JOIN lots t ON t.account_id = w.account_id
      WHERE w.next_change_at <= v_until AND t.state = 1 AND t.expires_at <= v_until
        AND t.expires_at > coalesce(p_at, clock_timestamp())
        AND CASE WHEN t.lot_id = w.head_lot THEN w.head_left ELSE t.remaining END > 0
        AND NOT EXISTS (SELECT FROM outbox o WHERE o.account_id = t.account_id AND o.type = 'credits.expiring' AND o.key = t.lot_id::text)
      ORDER BY t.expires_at LIMIT p_limit
  LOOP
    PERFORM outbox_tell(l.account_id, 'credits.expiring', l.lot_id::text, jsonb_build_object(
      'lot_id', public_uuid('lot', l.lot_id), 'credits', credits_text(l.credits), 'expires_at', time_text(l.expires_at)));
    v_told := v_told + 1;
  END LOOP;
  RETURN v_told;
END $$;
