-- What accounts may do: statements, never changed. What they mean, and which is the strongest, is said by src/entitlements/;
-- which are in force at an instant is said here.
--
--   A slot is (source, key, reference). Its newest statement that has started speaks for it; when the time of that one is over,
--   or its value is null, the slot is silent.
--
--   waits ──valid_from──▶ in force ──valid_until──▶ over
--     └──────a newer one of its slot starts───────▶ replaced, or with a null value: withdrawn

CREATE TABLE entitlements (
  account_id     bigint NOT NULL REFERENCES accounts,
  version        integer NOT NULL,                    -- of the account: the order in which they were made
  entitlement_id bigint NOT NULL,
  source         text NOT NULL,
  key            text NOT NULL,                       -- model:<glob>, feature:, limit:, config:<name>, or plan
  reference      text NOT NULL DEFAULT '',
  value          jsonb,                               -- null: withdraws the slot
  valid_from     timestamptz NOT NULL,
  valid_until    timestamptz NOT NULL DEFAULT 'infinity',
  reason         text,
  author         text NOT NULL,
  created_at     timestamptz NOT NULL,
  PRIMARY KEY (account_id, version),
  CONSTRAINT entitlement_source_is_known CHECK (source IN ('block', 'override', 'grant', 'subscription', 'plan')),
  CONSTRAINT entitlement_key_is_known CHECK (key ~ '^(model|feature|limit|config):.' OR key = 'plan'),
  CONSTRAINT entitlement_plan_is_no_exception CHECK (key <> 'plan' OR source IN ('grant', 'subscription', 'plan')),
  CONSTRAINT entitlement_value_fits_its_key CHECK (CASE split_part(key, ':', 1)
    WHEN 'limit' THEN jsonb_typeof(value) = 'number'
    WHEN 'plan' THEN jsonb_typeof(value) = 'string'
    WHEN 'config' THEN true
    ELSE jsonb_typeof(value) = 'boolean' END),
  CONSTRAINT entitlement_block_only_denies CHECK (source <> 'block' OR coalesce(value, 'false') = 'false'
    OR jsonb_typeof(value) = 'number'),
  CONSTRAINT entitlement_only_gives CHECK (source IN ('block', 'override') OR key !~ '^(model|feature):'
    OR coalesce(value, 'true') = 'true'),
  CONSTRAINT entitlement_starts_before_it_ends CHECK (valid_from < valid_until)
);
CREATE TRIGGER entitlements_are_append_only BEFORE UPDATE OR DELETE ON entitlements
  FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure('reason');
CREATE TRIGGER entitlements_are_not_truncated BEFORE TRUNCATE ON entitlements
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

-- The statements in force at an instant, as they were known then.
CREATE FUNCTION entitlements_at(p_account bigint, p_at timestamptz) RETURNS SETOF entitlements LANGUAGE sql STABLE AS $$
  SELECT * FROM (
    SELECT DISTINCT ON (source, key, reference) * FROM entitlements
      WHERE account_id = p_account AND created_at <= p_at AND valid_from <= p_at
      ORDER BY source, key, reference, version DESC) e
    WHERE value IS NOT NULL AND p_at < valid_until
    ORDER BY version
$$;

-- What time alone will change after an instant: what is stated, credits that a plan includes, a key that was replaced. What was
-- replaced meanwhile counts too: it costs a reading.
CREATE FUNCTION policy_next_change(p_account bigint, p_after timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN least((SELECT min(valid_from) FROM entitlements WHERE account_id = p_account AND valid_from > p_after),
    (SELECT min(valid_until) FROM entitlements WHERE account_id = p_account AND valid_until > p_after),
    (SELECT min(ends_at) FROM plan_periods WHERE account_id = p_account AND ends_at > p_after),
    (SELECT min(expires_at) FROM api_keys WHERE account_id = p_account AND replaced_by IS NOT NULL AND expires_at > p_after),
    'infinity');
END $$;

-- Does what is due of an account by time alone: then what gateways know of it is old. They call it when they read it again, which
-- the first hold after the instant makes them do.
CREATE FUNCTION policy_advance(p_account bigint, p_at timestamptz DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := coalesce(p_at, clock_timestamp());
BEGIN
  PERFORM FROM wallets WHERE account_id = p_account AND policy_changes_at <= v_now FOR UPDATE;
  IF FOUND THEN
    PERFORM plan_advance(p_account, v_now);
    UPDATE wallets SET policy_version = policy_version + 1, policy_changes_at = policy_next_change(p_account, v_now)
      WHERE account_id = p_account;
  END IF;
END $$;

-- Makes a statement, effective at the next request on every gateway, or when its time begins. `p_from` null: now. No row: no such
-- account.
CREATE FUNCTION entitlement_put(
  p_account bigint, p_id bigint, p_source text, p_key text, p_reference text, p_value jsonb, p_from timestamptz,
  p_until timestamptz, p_reason text, p_author text, p_at timestamptz DEFAULT NULL
) RETURNS SETOF entitlements LANGUAGE plpgsql AS $$
DECLARE
  v_last record;
  v_now timestamptz;
BEGIN
  PERFORM FROM wallets WHERE account_id = p_account FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  SELECT max(version) AS version, max(created_at) AS created_at INTO v_last FROM entitlements WHERE account_id = p_account;
  -- A clock that was set back must not make a newer statement older than the ones before it.
  v_now := greatest(coalesce(p_at, clock_timestamp()), v_last.created_at);
  PERFORM policy_advance(p_account, v_now);
  RETURN QUERY INSERT INTO entitlements (account_id, version, entitlement_id, source, key, reference, value, valid_from, valid_until,
      reason, author, created_at)
    VALUES (p_account, coalesce(v_last.version, 0) + 1, p_id, p_source, p_key, p_reference, p_value, coalesce(p_from, v_now),
      coalesce(p_until, 'infinity'), p_reason, p_author, v_now)
    RETURNING *;
  IF p_source = 'plan' THEN PERFORM plan_advance(p_account, v_now, true); END IF;
  UPDATE wallets SET policy_version = policy_version + 1, policy_changes_at = policy_next_change(p_account, v_now)
    WHERE account_id = p_account;
END $$;

-- The statements in force now, for whoever will remember them: by an instant that is not before any of them was made, so that
-- none is missed that the policy version counts already. `due`: time has changed what the account may do, and `policy_advance`
-- has not said so yet.
CREATE FUNCTION entitlements_now(p_account bigint, OUT at timestamptz, OUT due boolean, OUT statements jsonb) LANGUAGE plpgsql AS $$
BEGIN
  at := greatest(clock_timestamp(), (SELECT max(e.created_at) FROM entitlements e WHERE e.account_id = p_account));
  due := at >= (SELECT w.policy_changes_at FROM wallets w WHERE w.account_id = p_account);
  SELECT jsonb_agg(jsonb_build_object('id', e.entitlement_id::text, 'version', e.version, 'source', e.source, 'key', e.key,
      'reference', e.reference, 'value', e.value, 'from', e.valid_from,
      'until', CASE WHEN e.valid_until < 'infinity' THEN e.valid_until END, 'reason', e.reason, 'author', e.author,
      'created', e.created_at)) INTO statements
    FROM entitlements_at(p_account, at) e;
END $$;
