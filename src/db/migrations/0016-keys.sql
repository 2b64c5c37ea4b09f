-- Keys that are replaced, and service keys.
--
--   good ──rotate──▶ replaced, good until its overlap is over ──▶ ended ◀──revoke── any

-- Replaces a key of an account by a new one with the same terms, and returns whether it could: null, there is no such key; false,
-- it has ended, or was replaced already. In the overlap (seconds) both secrets present the new key, which alone spends: so no
-- budget and no limit counts twice. Its budget goes on where the old one's stood; what that one holds still counts as spent.
CREATE FUNCTION key_rotate(
  p_account bigint, p_key bigint, p_new bigint, p_hash bytea, p_overlap integer, p_at timestamptz DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz;
  k api_keys;
BEGIN
  PERFORM FROM wallets WHERE account_id = p_account FOR UPDATE;
  v_now := coalesce(p_at, clock_timestamp());
  SELECT * INTO k FROM api_keys WHERE account_id = p_account AND key_id = p_key;
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF k.revoked_at IS NOT NULL OR k.expires_at <= v_now OR k.replaced_by IS NOT NULL THEN RETURN false; END IF;
  PERFORM policy_advance(p_account, v_now);
  PERFORM ledger_budget_turn(p_account, p_key, v_now);
  INSERT INTO api_keys (key_id, account_id, name, scopes, secret_hash, models, ip_ranges, limits, expires_at)
    VALUES (p_new, p_account, k.name, k.scopes, p_hash, k.models, k.ip_ranges, k.limits, k.expires_at);
  INSERT INTO spenders (account_id, key_id, expires_at, budget, period, period_start, spent)
    SELECT account_id, p_new, expires_at, budget, period, period_start, held + spent FROM spenders
      WHERE account_id = p_account AND key_id = p_key;
  UPDATE spenders SET state = 1 WHERE account_id = p_account AND key_id = p_key;
  -- One that this key replaced, and that has not ended, presents the new one from now on.
  UPDATE api_keys SET replaced_by = p_new WHERE account_id = p_account AND (key_id = p_key OR replaced_by = p_key);
  UPDATE api_keys SET expires_at = least(expires_at, v_now + make_interval(secs => p_overlap)) WHERE key_id = p_key;
  UPDATE wallets SET policy_version = policy_version + 1, policy_changes_at = policy_next_change(p_account, v_now)
    WHERE account_id = p_account;
  RETURN true;
END $$;

-- The same of a service key, which has no budget: there the old one stays itself in the overlap.
CREATE FUNCTION service_key_rotate(p_key bigint, p_new bigint, p_hash bytea, p_overlap integer)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := catalog_lock();
  k service_keys;
BEGIN
  SELECT * INTO k FROM service_keys WHERE key_id = p_key FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF k.revoked_at IS NOT NULL OR k.expires_at <= v_now OR k.replaced_by IS NOT NULL THEN RETURN false; END IF;
  INSERT INTO service_keys (key_id, name, scopes, create_accounts, secret_hash)
    VALUES (p_new, k.name, k.scopes, k.create_accounts, p_hash);
  UPDATE service_keys SET replaced_by = p_new, expires_at = v_now + make_interval(secs => p_overlap) WHERE key_id = p_key;
  PERFORM catalog_changed(v_now);
  RETURN true;
END $$;

-- Ends a service key at once; whether there is one. It spends from as many accounts as it likes, so it is the catalog's version that
-- rises, of which the next hold of every gateway hears: what it knows of service keys is then read again.
CREATE FUNCTION service_key_revoke(p_key bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := catalog_lock();
BEGIN
  UPDATE service_keys SET revoked_at = coalesce(revoked_at, v_now) WHERE key_id = p_key;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM catalog_changed(v_now);
  RETURN true;
END $$;

-- The account that a service key is told to act for, by its id or its external id, which may spend from it henceforth. An external
-- id that nobody has becomes an account, `p_new`, where the key may make any: with its wallet and what its plan includes, and
-- once, however many ask at a time. Null: there is no such account, or the key has ended.
CREATE FUNCTION service_account(p_key bigint, p_account bigint, p_external text, p_new bigint, p_at timestamptz DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := coalesce(p_at, clock_timestamp());
  v_may_create boolean;
  v_account bigint;
BEGIN
  SELECT create_accounts INTO v_may_create FROM service_keys
    WHERE key_id = p_key AND revoked_at IS NULL AND (expires_at > v_now) IS NOT FALSE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  SELECT account_id INTO v_account FROM accounts
    WHERE (account_id = p_account OR external_id = p_external) AND erased_at IS NULL;
  IF NOT FOUND THEN
    IF p_external IS NULL OR NOT v_may_create THEN RETURN NULL; END IF;
    INSERT INTO accounts (account_id, external_id, name) VALUES (p_new, p_external, left(p_external, 200))
      ON CONFLICT ON CONSTRAINT account_external_id_is_unique DO NOTHING;
    IF FOUND THEN
      INSERT INTO wallets (account_id) VALUES (p_new);
      PERFORM plan_advance(p_new, v_now);
    END IF;
    -- Somebody may have been faster: its account is there now.
    SELECT account_id INTO v_account FROM accounts WHERE external_id = p_external;
    IF NOT FOUND THEN RETURN NULL; END IF;
  END IF;
  INSERT INTO spenders (account_id, key_id) VALUES (v_account, p_key) ON CONFLICT DO NOTHING;
  RETURN v_account;
END $$;
