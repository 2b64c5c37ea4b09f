-- Auto-recharge: an account buys a pack by itself when its credits run low. Level-triggered: what decides is what stands here and in
-- the wallet, so that a crash loses nothing. Docs: docs/auto-recharge.md.

-- Below this an account is low: its threshold, whether or not it recharges by itself; 0 where it has set none. `posted` decides, not
-- what holds leave of it: a hold is no charge yet, and a burst of them would buy what nobody spends.
ALTER TABLE wallets ADD COLUMN low_below bigint NOT NULL DEFAULT 0;

-- Accounts whose credits fell below `low_below`, written in the transaction that did it: looked at at once. It is a hint; the sweep
-- of each minute finds the same accounts without it.
CREATE TABLE recharge_wanted (
  account_id bigint PRIMARY KEY
);

-- What an account asked for, the card it is charged to, and the breaker.
--
--   closed ──declined for good · declined 3 times in a row · card or customer gone · refused · money went back──▶ stopped
--     ▲ └──monthly cap · attempts of a day · balance at its limit · pack not sold──▶ stopped, and looked at again each hour
--     └──another card · a person enables it · (of the second kind) nothing is in its way any more──┘
CREATE TABLE auto_recharge (
  account_id        bigint PRIMARY KEY REFERENCES accounts,
  enabled           boolean NOT NULL,
  threshold         bigint NOT NULL,                  -- nano-credits
  pack              text,
  monthly_cap_minor bigint,                           -- US cents of a month (UTC)
  customer          text,                             -- at Stripe: whose the card is
  payment_method    text,                             -- null: none is known
  fingerprint       text,                             -- the same for the same card, whoever adds it again
  brand             text,
  last4             text,
  method_read_at    timestamptz,                      -- when the card was last asked of Stripe
  failures          integer NOT NULL DEFAULT 0,       -- declined in a row
  retry_at          timestamptz,                      -- not before that
  stopped_at        timestamptz,
  stopped_reason    text,
  stopped_fingerprint text,                           -- another card than this closes the breaker; null: any does
  changed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT auto_recharge_threshold_is_in_range CHECK (threshold BETWEEN 0 AND 1000000000000000000),
  CONSTRAINT auto_recharge_cap_is_in_range CHECK (monthly_cap_minor BETWEEN 0 AND 100000000),
  CONSTRAINT auto_recharge_has_a_pack_and_a_cap CHECK (NOT enabled OR (pack IS NOT NULL AND monthly_cap_minor IS NOT NULL)),
  CONSTRAINT auto_recharge_failures_are_counted CHECK (failures >= 0),
  CONSTRAINT auto_recharge_stop_has_a_reason CHECK ((stopped_at IS NULL) = (stopped_reason IS NULL)),
  CONSTRAINT auto_recharge_stop_is_known CHECK (stopped_reason IN ('declined', 'declined_repeatedly', 'authentication_required',
    'card_expired', 'payment_method_gone', 'customer_deleted', 'refused', 'payment_reversed', 'pack_unavailable', 'monthly_cap',
    'daily_attempts', 'balance_limit'))
);
CREATE INDEX auto_recharge_enabled ON auto_recharge (account_id) WHERE enabled;
CREATE INDEX auto_recharge_of_customer ON auto_recharge (customer) WHERE customer IS NOT NULL;

-- Each purchase, written before Stripe is asked, with all that is asked of it: what is sent again is the same.
--
--   created ──claimed──▶ charging ──answer──▶ succeeded · failed
--      │                  │  ▲  └──▶ processing · requires_action ──▶ succeeded · failed · canceled (after 23 h without the customer)
--      │   no answer, 5xx ▼  │ again with the same key, within 23 h
--      │                 unknown ──later: looked up──▶ what became of it; nothing: canceled
--      └──not wanted any more──▶ canceled
--
--   succeeded ends it for ever; failed or canceled become succeeded should Stripe say that the money came after all.
CREATE TABLE recharges (
  recharge_id    bigint PRIMARY KEY,
  account_id     bigint NOT NULL REFERENCES accounts,
  pack           text NOT NULL,
  version        integer NOT NULL,                    -- of the pack
  packs          integer NOT NULL,
  credits        bigint NOT NULL,                     -- nano-credits, of all packs together
  bonus_credits  bigint NOT NULL,
  expires_days   integer,
  amount_minor   bigint NOT NULL,
  currency       text NOT NULL DEFAULT 'usd',
  customer       text NOT NULL,
  payment_method text,                                -- null: its account was erased
  fingerprint    text,
  status         text NOT NULL DEFAULT 'created',
  payment_intent text,
  error          text,                                -- Stripe's code
  attempts       integer NOT NULL DEFAULT 0,          -- at the call that charges
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  sent_at        timestamptz,                         -- first
  due_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at       timestamptz,
  CONSTRAINT recharge_status_is_known CHECK (status IN ('created', 'charging', 'processing', 'requires_action', 'unknown',
    'succeeded', 'failed', 'canceled')),
  CONSTRAINT recharge_ends_once CHECK ((status IN ('succeeded', 'failed', 'canceled')) = (ended_at IS NOT NULL)),
  CONSTRAINT recharge_intent_is_unique UNIQUE (payment_intent),
  CONSTRAINT recharge_buys_something CHECK (packs > 0 AND credits >= 0 AND bonus_credits >= 0 AND credits + bonus_credits > 0
    AND amount_minor BETWEEN 1 AND 99999999)
);
-- The database is what lets one alone be in flight, whoever asks.
CREATE UNIQUE INDEX recharge_in_flight_is_one ON recharges (account_id) WHERE ended_at IS NULL;
CREATE INDEX recharges_due ON recharges (due_at) WHERE ended_at IS NULL;
CREATE INDEX recharges_of_account ON recharges (account_id, created_at);

-- Whether a stop passes by itself: by time, a payment or the catalog. It is looked at again each hour.
CREATE FUNCTION recharge_stop_passes(p_reason text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT p_reason IN ('monthly_cap', 'daily_attempts', 'balance_limit', 'pack_unavailable')
$$;

-- Stops an account's recharges and tells of it, once by `p_key`.
CREATE FUNCTION recharge_stop(p_account bigint, p_reason text, p_key text, p_data jsonb, p_retry_at timestamptz DEFAULT NULL)
RETURNS void LANGUAGE sql AS $$
  UPDATE auto_recharge SET stopped_at = clock_timestamp(), stopped_reason = p_reason, retry_at = p_retry_at,
      stopped_fingerprint = CASE WHEN p_reason NOT IN ('payment_method_gone', 'customer_deleted') THEN fingerprint END
    WHERE account_id = p_account;
  SELECT outbox_tell(p_account, 'recharge.stopped', p_key, p_data || jsonb_build_object('reason', p_reason));
$$;

-- Money of a payment went back, and its credits with it: that may leave the account low, and it would buy anew what was just given
-- back, of whoever disputes it too. A person enables it again. Who paid for an account as another customer stops nothing of it.
CREATE FUNCTION recharge_reversed(p_account bigint, p_customer text, p_payment text, p_times integer) RETURNS void LANGUAGE sql AS $$
  SELECT recharge_stop(p_account, 'payment_reversed', format('%s:reversed:%s', p_payment, p_times), jsonb_build_object('payment', p_payment))
    FROM auto_recharge JOIN accounts USING (account_id)
    WHERE account_id = p_account AND enabled AND coalesce(recharge_stop_passes(stopped_reason), true) AND stripe_customer_id = p_customer
$$;

-- US cents that recharges have charged, or may have, in the month (UTC) of `p_now`. A recharge counts in each month it was in flight
-- in: it may have been charged at any instant of that time.
CREATE FUNCTION recharge_spent(p_account bigint, p_now timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(amount_minor), 0)::bigint FROM recharges
  WHERE account_id = p_account AND status NOT IN ('failed', 'canceled')
    AND (ended_at IS NULL OR ended_at >= date_trunc('month', p_now AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
$$;

-- Decides, under the wallet's lock, whether an account buys now, and writes the purchase. `p` is the pack as it is sold now: pack,
-- version, credits and bonus (nano-credits), expires_days, amount (US cents; null: it is not sold). It buys enough once: the fewest packs that bring the
-- account above its threshold. Answers begun, or why nothing is bought: off, stopped, enough, in_flight, later,
-- needs_payment_method, pack_changed, or the reason that stopped it now.
CREATE FUNCTION recharge_begin(p_account bigint, p_recharge bigint, p jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  w wallets;
  a auto_recharge;
  c accounts;
  v_now timestamptz;
  v_outcome text;
  v_each numeric := (p->>'credits')::numeric + (p->>'bonus')::numeric;
  v_packs numeric;
BEGIN
  SELECT * INTO w FROM wallets WHERE account_id = p_account FOR UPDATE;
  v_now := clock_timestamp();
  IF w.next_change_at <= v_now THEN
    w := ledger_refresh(w, v_now);
    PERFORM ledger_store(w);
  END IF;
  DELETE FROM recharge_wanted WHERE account_id = p_account;
  SELECT * INTO a FROM auto_recharge WHERE account_id = p_account;
  SELECT * INTO c FROM accounts WHERE account_id = p_account;
  v_outcome := CASE
    WHEN NOT coalesce(a.enabled, false) OR w.status <> 0 OR c.erased_at IS NOT NULL THEN 'off'
    WHEN NOT recharge_stop_passes(a.stopped_reason) THEN 'stopped'
    WHEN w.posted >= a.threshold THEN 'enough'
    WHEN EXISTS (SELECT FROM recharges WHERE account_id = p_account AND ended_at IS NULL) THEN 'in_flight'
    WHEN a.retry_at > v_now THEN 'later'
    WHEN a.payment_method IS NULL OR a.customer IS DISTINCT FROM c.stripe_customer_id THEN 'needs_payment_method'
    WHEN a.pack <> p->>'pack' THEN 'pack_changed' END;
  IF v_outcome IS NOT NULL THEN RETURN v_outcome; END IF;

  v_packs := div(a.threshold::numeric - w.posted, v_each) + 1;
  v_outcome := CASE
    WHEN v_packs IS NULL OR p->>'amount' IS NULL THEN 'pack_unavailable'
    WHEN (SELECT count(*) FROM recharges WHERE account_id = p_account
        AND created_at >= date_trunc('day', v_now AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') >= 10 THEN 'daily_attempts'
    WHEN w.posted::numeric + w.dormant + v_packs * v_each > 1000000000000000000 THEN 'balance_limit'
    -- Nor does Stripe take more than that at once.
    WHEN v_packs * (p->>'amount')::numeric > least(a.monthly_cap_minor - recharge_spent(p_account, v_now), 99999999)
      THEN 'monthly_cap' END;
  IF v_outcome IS NOT NULL THEN
    -- What time or a payment heals is looked at again, and told once in its period.
    PERFORM recharge_stop(p_account, v_outcome, v_outcome || ':' || to_char(v_now AT TIME ZONE 'UTC',
      CASE v_outcome WHEN 'monthly_cap' THEN 'YYYY-MM' ELSE 'YYYY-MM-DD' END), '{}', least(v_now + interval '1 hour',
      (date_trunc('day', v_now AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC'));
    RETURN v_outcome;
  END IF;
  UPDATE auto_recharge SET stopped_at = NULL, stopped_reason = NULL, stopped_fingerprint = NULL, retry_at = NULL
    WHERE account_id = p_account AND stopped_at IS NOT NULL;
  INSERT INTO recharges (recharge_id, account_id, pack, version, packs, credits, bonus_credits, expires_days, amount_minor, customer,
      payment_method, fingerprint)
    VALUES (p_recharge, p_account, a.pack, (p->>'version')::integer, v_packs, v_packs * (p->>'credits')::bigint,
      v_packs * (p->>'bonus')::bigint, (p->>'expires_days')::integer, v_packs * (p->>'amount')::bigint, a.customer,
      a.payment_method, a.fingerprint);
  RETURN 'begun';
END $$;

-- Takes purchases that are due, each for `p_lease`, and says what is to be done: send (the call that charges, the same as before),
-- look_up (never blindly again), sync (its intent is known), cancel (the customer had 23 hours to confirm it). One that was not sent
-- and is not wanted any more ends here.
CREATE FUNCTION recharge_claim(p_limit integer, p_lease interval)
RETURNS TABLE (todo text, recharge recharges) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  r recharges;
  v_now timestamptz := clock_timestamp();
  v_wanted boolean;
BEGIN
  FOR r IN SELECT * FROM recharges WHERE ended_at IS NULL AND due_at <= v_now ORDER BY due_at LIMIT p_limit FOR UPDATE SKIP LOCKED LOOP
    v_wanted := EXISTS (SELECT FROM auto_recharge a JOIN wallets w USING (account_id) JOIN accounts c USING (account_id)
      WHERE a.account_id = r.account_id AND a.enabled AND w.status = 0 AND c.erased_at IS NULL AND r.payment_method IS NOT NULL
        AND (a.stopped_at IS NULL OR recharge_stop_passes(a.stopped_reason)));
    IF r.sent_at IS NULL AND NOT v_wanted THEN
      UPDATE recharges SET status = 'canceled', error = 'not_wanted', ended_at = v_now WHERE recharge_id = r.recharge_id;
      CONTINUE;
    END IF;
    todo := CASE
      WHEN r.payment_intent IS NOT NULL AND r.status = 'requires_action' AND r.sent_at <= v_now - interval '23 hours' THEN 'cancel'
      WHEN r.payment_intent IS NOT NULL THEN 'sync'
      WHEN v_wanted AND coalesce(r.sent_at, v_now) > v_now - interval '23 hours' THEN 'send'
      ELSE 'look_up' END;
    UPDATE recharges SET due_at = v_now + p_lease,
        status = CASE todo WHEN 'send' THEN 'charging' ELSE status END,
        sent_at = CASE todo WHEN 'send' THEN coalesce(sent_at, v_now) ELSE sent_at END,
        attempts = attempts + CASE todo WHEN 'send' THEN 1 ELSE 0 END
      WHERE recharge_id = r.recharge_id RETURNING * INTO recharge;
    RETURN NEXT;
  END LOOP;
END $$;

-- The purchase that a payment intent is: the one that has it, or that its metadata names, and then only if all else agrees and no
-- other intent is known of it. Locks the wallet, then the purchase. Nothing: it is none of ours.
CREATE FUNCTION recharge_find(p_intent text, p_recharge bigint, p_customer text, p_amount bigint, p_currency text)
RETURNS SETOF recharges LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM wallets WHERE account_id = (SELECT account_id FROM recharges
    WHERE payment_intent = p_intent OR recharge_id = p_recharge ORDER BY payment_intent = p_intent DESC NULLS LAST LIMIT 1) FOR UPDATE;
  RETURN QUERY SELECT * FROM recharges
    WHERE (payment_intent = p_intent OR (recharge_id = p_recharge AND payment_intent IS NULL))
      AND customer = p_customer AND amount_minor = p_amount AND currency = p_currency
    ORDER BY payment_intent NULLS LAST LIMIT 1 FOR UPDATE;
END $$;

-- Notes what Stripe says of a purchase: `p_status` in our words. `p_reason`: why a failure stops at once; null: it may be tried
-- again. `p_public`: its public id, for who is told. Says whether that was news.
CREATE FUNCTION recharge_note(p_recharge bigint, p_public text, p_intent text, p_status text, p_code text, p_reason text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  r recharges;
  a auto_recharge;
  v_now timestamptz;
  v_told jsonb;
  v_reason text := p_reason;
BEGIN
  PERFORM FROM wallets WHERE account_id = (SELECT account_id FROM recharges WHERE recharge_id = p_recharge) FOR UPDATE;
  SELECT * INTO STRICT r FROM recharges WHERE recharge_id = p_recharge FOR UPDATE;
  v_now := clock_timestamp();
  IF r.payment_intent IS NULL AND p_intent IS NOT NULL THEN
    UPDATE recharges SET payment_intent = p_intent WHERE recharge_id = p_recharge;
  END IF;
  IF r.status = p_status OR (r.ended_at IS NOT NULL AND (r.status = 'succeeded' OR p_status <> 'succeeded')) THEN RETURN false; END IF;
  UPDATE recharges SET status = p_status, error = p_code,
      ended_at = CASE WHEN p_status IN ('succeeded', 'failed', 'canceled') THEN v_now END,
      due_at = least(v_now + interval '1 hour', greatest(v_now, coalesce(sent_at, v_now) + interval '23 hours'))
    WHERE recharge_id = p_recharge;
  -- Still low, or low again: looked at at once, and not at the next sweep.
  IF p_status IN ('succeeded', 'canceled') THEN
    INSERT INTO recharge_wanted (account_id) VALUES (r.account_id) ON CONFLICT DO NOTHING;
  END IF;

  SELECT * INTO a FROM auto_recharge WHERE account_id = r.account_id;
  IF p_status = 'succeeded' THEN
    UPDATE auto_recharge SET failures = 0, retry_at = NULL WHERE account_id = r.account_id;
    RETURN true;
  END IF;
  v_told := jsonb_build_object('recharge', p_public, 'payment_intent', p_intent, 'amount_minor', r.amount_minor::text,
    'currency', r.currency, 'code', p_code);
  IF p_status = 'requires_action' THEN
    PERFORM outbox_tell(r.account_id, 'payment.failed', p_intent || ':action', v_told);
  ELSIF p_status = 'canceled' AND r.status = 'requires_action' THEN
    v_reason := 'authentication_required';
  ELSIF p_status = 'failed' THEN
    PERFORM outbox_tell(r.account_id, 'payment.failed', coalesce(p_intent, p_public) || ':1', v_told);
  END IF;
  -- What an earlier card was refused says nothing of the one that took its place.
  IF a.fingerprint IS DISTINCT FROM r.fingerprint OR p_status NOT IN ('failed', 'canceled') THEN RETURN true; END IF;
  IF p_status = 'failed' THEN
    UPDATE auto_recharge SET failures = failures + 1, retry_at = v_now + interval '1 hour' * CASE WHEN failures = 0 THEN 1 ELSE 6 END
      WHERE account_id = r.account_id;
    IF a.failures >= 2 THEN v_reason := coalesce(v_reason, 'declined_repeatedly'); END IF;
  END IF;
  IF v_reason IS NOT NULL THEN
    PERFORM recharge_stop(r.account_id, v_reason, coalesce(p_intent, p_public),
      jsonb_build_object('recharge', p_public, 'code', p_code));
  END IF;
  RETURN true;
END $$;

-- An account that is nobody's buys nothing, and nothing is kept of its card.
CREATE FUNCTION recharge_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE auto_recharge SET enabled = false, payment_method = NULL, fingerprint = NULL, stopped_fingerprint = NULL, brand = NULL,
    last4 = NULL WHERE account_id = NEW.account_id;
  UPDATE recharges SET payment_method = NULL, fingerprint = NULL WHERE account_id = NEW.account_id;
  UPDATE wallets SET low_below = 0 WHERE account_id = NEW.account_id;
  RETURN NULL;
END $$;
CREATE TRIGGER accounts_erased_recharge_nothing AFTER UPDATE OF erased_at ON accounts
  FOR EACH ROW WHEN (OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL) EXECUTE FUNCTION recharge_forget();
