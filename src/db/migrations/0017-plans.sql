-- Credits that plans include. An account has one clock of months, whatever plans it is on; each period is granted once. Of plans
-- with Stripe prices invoices grant, and not this.
--
--   no clock ──on a plan that includes credits──▶ period 0 ──its end──▶ period 1 ──▶ …          every: month, and period, which is one
--      ▲                                              └──a plan that includes more is assigned: the difference, to the period's end
--      └──the plan includes none when a period ends   └──one that includes less: nothing is taken away, the next period has less
--
--   So what the grants of a period come to is at any time what the largest of its plans includes: never less, never more.

-- One row for each grant: that of a period, and others of the same end where more was included later in it.
CREATE TABLE plan_periods (
  account_id bigint NOT NULL REFERENCES accounts,
  plan       text NOT NULL,
  starts_at  timestamptz NOT NULL,
  ends_at    timestamptz NOT NULL DEFAULT 'infinity', -- of credits that come once
  anchor     timestamptz NOT NULL,                    -- the clock's beginning: period n begins n months after it
  n          integer NOT NULL,
  credits    bigint NOT NULL,
  lot_id     uuid,                                    -- null: the wallet had no room, so nothing was granted
  PRIMARY KEY (account_id, plan, starts_at),
  CONSTRAINT period_starts_before_it_ends CHECK (starts_at < ends_at),
  CONSTRAINT period_follows_its_clock CHECK (n >= 0 AND anchor <= starts_at),
  CONSTRAINT period_grants_its_lot CHECK (credits >= 0 AND (credits = 0) = (lot_id IS NULL))
);
CREATE TRIGGER plan_periods_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON plan_periods
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

-- An entry of the catalog as it is in force; null: there is none.
CREATE FUNCTION catalog_body(p_kind text, p_name text) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN NOT deleted THEN body END FROM catalog_entries, catalog_state
    WHERE kind = p_kind AND name = p_name AND effective_at < next_change_at ORDER BY catalog_entries.version DESC LIMIT 1
$$;

-- The plan of accounts that have none of their own: of several the one that was written last; null: there is none.
CREATE FUNCTION default_plan() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT name FROM (
    SELECT DISTINCT ON (e.name) e.* FROM catalog_entries e, catalog_state s
      WHERE e.kind = 'plan' AND e.effective_at < s.next_change_at ORDER BY e.name, e.version DESC) p
    WHERE NOT deleted AND body->'default' = 'true' ORDER BY created_at DESC LIMIT 1
$$;

-- The plan that an account is on: the one assigned, else the default.
CREATE FUNCTION plan_at(p_account bigint, p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT value #>> '{}' FROM entitlements_at(p_account, p_at) WHERE source = 'plan' AND key = 'plan'), default_plan())
$$;

-- `p_n` months after an instant, by the calendar of UTC, whatever the session's zone: a 31st becomes the last of a shorter month.
CREATE FUNCTION months_after(p_anchor timestamptz, p_n integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT (p_anchor AT TIME ZONE 'UTC' + make_interval(months => p_n)) AT TIME ZONE 'UTC'
$$;

-- Grants one period of a plan: a lot that ends with it, unless what is left rolls over; no more of it than the wallet has room for,
-- since a turn of time that failed would fail at each request of the account. The caller has locked the wallet.
CREATE FUNCTION plan_grant(
  p_account bigint, p_plan text, p_starts timestamptz, p_ends timestamptz, p_anchor timestamptz, p_n integer, p_credits numeric,
  p_rolls_over boolean, p_now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  w wallets;
  v_credits bigint;
  v_lot uuid;
  v_outcome smallint;
  v_terms bytea := convert_to(jsonb_build_object(
    'kind', 11,
    'reference', format('plan:%s:%s', p_plan, to_char(p_starts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
    'priority', 0,
    'expires_at', CASE WHEN NOT p_rolls_over AND p_ends < 'infinity' THEN p_ends END,
    'reason', format('Included in the plan "%s"', p_plan),
    'per_usd', (SELECT credits_per_usd FROM credit_scale))::text, 'UTF8');
BEGIN
  SELECT * INTO w FROM wallets WHERE account_id = p_account;
  IF w.next_change_at <= p_now THEN
    -- What has expired makes room.
    w := ledger_refresh(w, p_now);
    PERFORM ledger_store(w);
  END IF;
  v_credits := least(p_credits, 1000000000000000000 - greatest(w.posted, 0) - w.dormant);
  IF v_credits > 0 THEN
    v_lot := uuid_at(p_now);
    SELECT a.outcome[1] INTO v_outcome FROM ledger_apply(ARRAY[3]::smallint[], ARRAY[p_account], ARRAY[v_lot], ARRAY[0]::bigint[],
      ARRAY[v_credits], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::smallint[],
      ARRAY[0], ARRAY[1], ARRAY[octet_length(v_terms)], v_terms, 0::bigint, p_now) a;
    IF v_outcome <> 1 THEN
      RAISE EXCEPTION 'the credits of plan % were not granted: outcome %', p_plan, v_outcome USING ERRCODE = 'integrity_constraint_violation';
    END IF;
  END IF;
  INSERT INTO plan_periods (account_id, plan, starts_at, ends_at, anchor, n, credits, lot_id)
    VALUES (p_account, p_plan, p_starts, p_ends, p_anchor, p_n, greatest(v_credits, 0), v_lot);
  UPDATE wallets SET policy_changes_at = least(policy_changes_at, p_ends) WHERE account_id = p_account;
END $$;

-- Grants what the plan of an account includes and is due. `p_assigned`: it has just been assigned, or has come to include more.
-- Whoever changes the plan has called `policy_advance` before, so that a period which ended was the plan's before.
CREATE FUNCTION plan_advance(p_account bigint, p_at timestamptz DEFAULT NULL, p_assigned boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  w wallets;
  v_now timestamptz;
  v_plan text;
  v_body jsonb;
  v_rolls_over boolean;
  v_credits numeric;                                    -- of a period
  v_granted bigint;                                     -- in the period that runs
  last plan_periods;
BEGIN
  SELECT * INTO w FROM wallets WHERE account_id = p_account FOR UPDATE;
  v_now := coalesce(p_at, clock_timestamp());
  v_plan := plan_at(p_account, v_now);
  v_body := catalog_body('plan', v_plan);
  IF v_body->'included_credits' IS NULL OR coalesce(v_body->'stripe_prices', '[]') <> '[]' THEN RETURN; END IF;
  v_rolls_over := v_body->'included_credits'->>'rollover' IS NOT DISTINCT FROM 'all';
  v_credits := (v_body->'included_credits'->>'credits')::numeric * 1000000000
    * (SELECT plan_quantity FROM accounts WHERE account_id = p_account AND erased_at IS NULL);
  -- Nothing is included, or the account was erased.
  IF coalesce(v_credits, 0) = 0 THEN RETURN; END IF;
  IF p_assigned AND v_credits > 1000000000000000000 THEN
    RAISE EXCEPTION 'plan % includes more for this account than a wallet holds', v_plan
      USING ERRCODE = 'check_violation', CONSTRAINT = 'included_credits_fit_a_wallet';
  END IF;

  IF v_body->'included_credits'->>'every' = 'once' THEN
    IF NOT EXISTS (SELECT FROM plan_periods WHERE account_id = p_account AND plan = v_plan AND ends_at = 'infinity') THEN
      PERFORM plan_grant(p_account, v_plan, v_now, 'infinity', v_now, 0, v_credits, v_rolls_over, v_now);
    END IF;
    RETURN;
  END IF;

  SELECT * INTO last FROM plan_periods WHERE account_id = p_account AND ends_at < 'infinity'
    ORDER BY ends_at DESC, starts_at DESC LIMIT 1;
  IF last.ends_at > v_now THEN
    SELECT sum(credits) INTO v_granted FROM plan_periods WHERE account_id = p_account AND ends_at = last.ends_at;
    IF p_assigned AND v_credits > v_granted THEN
      -- A clock that was set back does not begin two of them at one instant.
      PERFORM plan_grant(p_account, v_plan, greatest(v_now, last.starts_at + interval '1 microsecond'), last.ends_at, last.anchor,
        last.n, v_credits - v_granted, v_rolls_over, v_now);
    END IF;
  ELSIF w.policy_changes_at <= last.ends_at THEN
    -- Its end is only noticed now. Periods that were missed since are gone with what would have been left of them, or roll over.
    FOR n IN last.n + 1 .. last.n + 1200 LOOP
      EXIT WHEN months_after(last.anchor, n) > v_now;
      CONTINUE WHEN months_after(last.anchor, n + 1) <= v_now AND NOT v_rolls_over;
      PERFORM plan_grant(p_account, v_plan, months_after(last.anchor, n), months_after(last.anchor, n + 1), last.anchor, n, v_credits,
        v_rolls_over, v_now);
    END LOOP;
  ELSE
    PERFORM plan_grant(p_account, v_plan, v_now, months_after(v_now, 1), v_now, 0, v_credits, v_rolls_over, v_now);
  END IF;
END $$;

-- Accounts, in order after one of them, and whether they have what their plan includes: it may have come to include credits.
CREATE FUNCTION plans_begun(p_after bigint, p_limit integer, p_at timestamptz DEFAULT NULL)
RETURNS TABLE (account_id bigint, begun boolean) LANGUAGE sql STABLE AS $$
  WITH included AS MATERIALIZED (
    SELECT name, body->'included_credits'->>'every' = 'once' AS once
      FROM (SELECT DISTINCT ON (e.name) e.* FROM catalog_entries e, catalog_state s
        WHERE e.kind = 'plan' AND e.effective_at < s.next_change_at ORDER BY e.name, e.version DESC) p
      WHERE NOT deleted AND body ? 'included_credits' AND coalesce(body->'stripe_prices', '[]') = '[]'
  ), d AS MATERIALIZED (SELECT default_plan() AS name)
  SELECT a.account_id, i.name IS NULL OR EXISTS (
      SELECT FROM plan_periods p WHERE p.account_id = a.account_id
        AND CASE WHEN i.once THEN p.plan = i.name AND p.ends_at = 'infinity'
          ELSE p.ends_at < 'infinity' AND p.ends_at > coalesce(p_at, clock_timestamp()) END)
    FROM (SELECT * FROM accounts WHERE account_id > p_after AND erased_at IS NULL ORDER BY account_id LIMIT p_limit) a
      CROSS JOIN d LEFT JOIN included i ON i.name = coalesce(a.plan, d.name)
    ORDER BY a.account_id
$$;
