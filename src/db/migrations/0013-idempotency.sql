-- Idempotency keys of metered requests, and the answers kept under them. Meanings and states: src/gateway/idempotency/claims.ts.
-- An answer is sealed with a key that only the caller's API key gives; what the caller calls its key, and what it sent, are
-- here as MACs under the API key. So nothing of either can be read, or tried out, with the database alone.

CREATE TABLE idempotency (
  account_id  bigint NOT NULL,
  key_id      bigint NOT NULL,
  name        bytea NOT NULL,                         -- MAC of the Idempotency-Key
  fingerprint bytea NOT NULL,                         -- MAC of method, path, content type and body
  request_id  uuid NOT NULL,                          -- of the request that claimed it: its hold and receipt have this id
  owner       bigint NOT NULL,                        -- the gateway that works on it
  claimed_at  timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  size        integer NOT NULL DEFAULT 0,             -- bytes of the sealed answer
  state       smallint NOT NULL DEFAULT 0,            -- 0 running, 1 kept, 2 lost, 3 too large, 4 dropped for newer ones
  answer      bytea STORAGE EXTERNAL,                 -- does not compress: it is encrypted
  PRIMARY KEY (account_id, key_id, name),
  CONSTRAINT idempotency_macs_are_sha256 CHECK (octet_length(name) = 32 AND octet_length(fingerprint) = 32),
  CONSTRAINT idempotency_state_is_known CHECK (state BETWEEN 0 AND 4),
  CONSTRAINT idempotency_keeps_answers_of_known_size CHECK (
    (state = 1) = (answer IS NOT NULL) AND size = coalesce(octet_length(answer), 0))
);
-- Oldest first, of an account: what makes room. And of all, for the job that deletes.
CREATE INDEX idempotency_kept ON idempotency (account_id, claimed_at) WHERE state = 1;
CREATE INDEX idempotency_expiring ON idempotency (expires_at);

-- How much is kept for an account. Whoever changes both locks this row first.
CREATE TABLE idempotency_room (
  account_id bigint PRIMARY KEY,
  bytes      bigint NOT NULL DEFAULT 0,
  CONSTRAINT idempotency_room_is_not_negative CHECK (bytes >= 0)
) WITH (fillfactor = 70);

-- Claims an idempotency key for a request. One answer, the first that holds:
--   stale_policy  the caller's policy or catalog is old, or the account or key may not spend any more: read them again
--   claimed       nobody has it; or its 24 hours are over; or its gateway died before a hold was made
--   reused        it was claimed with another fingerprint
--   in_use        its request runs, or its gateway's lease has not run out, or a sweep has yet to end its hold
--   lost          its gateway died after the hold, or could not keep the answer; `request` has the receipt
--   too_large     its answer was larger than is kept
--   dropped       its answer made room for newer ones
--   kept          `answer` is what `request` was answered, sealed: its first `p_piece` bytes of `size`
-- A claim without a hold is taken over only after ten seconds: a gateway forwards nothing whose claim is older than five
-- (claims.ts), so one that was merely cut off from the database has then either its hold here, or given up.
CREATE FUNCTION idempotency_claim(
  p_account bigint, p_key bigint, p_name bytea, p_fingerprint bytea, p_request uuid, p_owner bigint, p_policy bigint,
  p_catalog bigint, p_piece integer, p_at timestamptz DEFAULT NULL,
  OUT outcome text, OUT request uuid, OUT answer bytea, OUT size integer
) LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := coalesce(p_at, clock_timestamp());
  r idempotency;
BEGIN
  PERFORM FROM wallets w JOIN spenders s USING (account_id)
    WHERE w.account_id = p_account AND s.key_id = p_key AND w.policy_version <= p_policy AND w.status = 0
      AND s.state = 0 AND s.expires_at > v_now AND p_catalog >=
        (SELECT version + (v_now >= next_change_at)::integer FROM catalog_state);
  IF NOT FOUND THEN outcome := 'stale_policy'; RETURN; END IF;
  LOOP
    SELECT * INTO r FROM idempotency t WHERE t.account_id = p_account AND t.key_id = p_key AND t.name = p_name;
    IF NOT FOUND THEN
      INSERT INTO idempotency (account_id, key_id, name, fingerprint, request_id, owner, claimed_at, expires_at)
        VALUES (p_account, p_key, p_name, p_fingerprint, p_request, p_owner, v_now, v_now + interval '24 hours')
        ON CONFLICT DO NOTHING;
      outcome := 'claimed';
    ELSE
      request := r.request_id;
      outcome := idempotency_standing(r, v_now);
      IF outcome = 'claimed' THEN
        PERFORM FROM idempotency_room t WHERE t.account_id = p_account FOR UPDATE;
        UPDATE idempotency t SET fingerprint = p_fingerprint, request_id = p_request, owner = p_owner, claimed_at = v_now,
            expires_at = v_now + interval '24 hours', size = 0, state = 0, answer = NULL
          WHERE t.account_id = p_account AND t.key_id = p_key AND t.name = p_name AND t.request_id = r.request_id
            AND t.state = r.state;
      ELSIF r.fingerprint <> p_fingerprint THEN
        outcome := 'reused';
      ELSIF outcome = 'kept' THEN
        answer := substring(r.answer FOR p_piece);
        size := r.size;
      END IF;
    END IF;
    IF outcome <> 'claimed' THEN RETURN; END IF;
    IF FOUND THEN
      UPDATE idempotency_room t SET bytes = t.bytes - r.size WHERE t.account_id = p_account AND r.size > 0;
      request := p_request;
      RETURN;
    END IF;
    -- Somebody was faster: look again.
  END LOOP;
END $$;

-- What a row says to a claim with its fingerprint. Each look is newer than the one before, so that a hold which ends meanwhile
-- is found as an entry. A hold that is there is in use, whatever the lease says: after an outage all leases look run out.
CREATE FUNCTION idempotency_standing(r idempotency, p_now timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  IF r.expires_at <= p_now THEN RETURN 'claimed'; END IF;
  IF r.state > 0 THEN RETURN (ARRAY['kept', 'lost', 'too_large', 'dropped'])[r.state]; END IF;
  PERFORM FROM holds WHERE account_id = r.account_id AND id = r.request_id;
  IF FOUND THEN RETURN 'in_use'; END IF;
  PERFORM FROM owners WHERE owner = r.owner AND lease_until > p_now;
  IF FOUND THEN RETURN 'in_use'; END IF;
  PERFORM FROM entries WHERE account_id = r.account_id AND id = r.request_id;
  IF FOUND THEN RETURN 'lost'; END IF;
  RETURN CASE WHEN r.claimed_at <= p_now - interval '10 seconds' THEN 'claimed' ELSE 'in_use' END;
END $$;

-- A piece of an answer that is kept, from the byte `p_from` (0 is the first): without a look at the others. NULL: it is not
-- kept any more.
CREATE FUNCTION idempotency_piece(
  p_account bigint, p_key bigint, p_name bytea, p_request uuid, p_from integer, p_piece integer
) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT substring(answer FROM p_from + 1 FOR p_piece) FROM idempotency
    WHERE account_id = p_account AND key_id = p_key AND name = p_name AND request_id = p_request AND state = 1
$$;

-- Ends the claim of a request: `p_state` 0 forgets it, all others as in the table. Does nothing where it has ended, or was
-- taken over. Of an account's answers the oldest are dropped until `p_room` bytes hold them all; their rows stay, so
-- that none of their requests is forwarded again.
CREATE FUNCTION idempotency_end(
  p_account bigint, p_key bigint, p_name bytea, p_request uuid, p_state smallint, p_answer bytea, p_room bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_bytes bigint;
  v_old record;
BEGIN
  IF p_state = 0 THEN
    DELETE FROM idempotency
      WHERE account_id = p_account AND key_id = p_key AND name = p_name AND request_id = p_request AND state = 0;
    RETURN;
  END IF;
  IF p_state = 1 THEN
    INSERT INTO idempotency_room AS t (account_id, bytes) VALUES (p_account, octet_length(p_answer))
      ON CONFLICT (account_id) DO UPDATE SET bytes = t.bytes + excluded.bytes
      RETURNING bytes INTO v_bytes;
  END IF;
  UPDATE idempotency SET state = p_state, answer = p_answer, size = coalesce(octet_length(p_answer), 0)
    WHERE account_id = p_account AND key_id = p_key AND name = p_name AND request_id = p_request AND state = 0;
  IF p_state <> 1 THEN RETURN; END IF;
  IF NOT FOUND THEN
    UPDATE idempotency_room SET bytes = bytes - octet_length(p_answer) WHERE account_id = p_account;
    RETURN;
  END IF;
  -- One walk from the oldest on: each look for the oldest would step over all that were dropped before it.
  IF v_bytes > p_room THEN
    FOR v_old IN SELECT key_id, name, size FROM idempotency
      WHERE account_id = p_account AND state = 1 AND request_id <> p_request ORDER BY claimed_at
    LOOP
      UPDATE idempotency SET state = 4, answer = NULL, size = 0
        WHERE account_id = p_account AND key_id = v_old.key_id AND name = v_old.name;
      v_bytes := v_bytes - v_old.size;
      EXIT WHEN v_bytes <= p_room;
    END LOOP;
  END IF;
  UPDATE idempotency_room SET bytes = v_bytes WHERE account_id = p_account AND bytes <> v_bytes;
END $$;

-- Deletes up to `p_limit` rows whose 24 hours are over. Returns how many. Rooms are locked in order, before their rows.
CREATE FUNCTION idempotency_expire(p_limit integer, p_at timestamptz DEFAULT NULL) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := coalesce(p_at, clock_timestamp());
  v_accounts bigint[];
  v_deleted integer;
BEGIN
  SELECT array_agg(DISTINCT t.account_id) INTO v_accounts
    FROM (SELECT account_id FROM idempotency WHERE expires_at <= v_now ORDER BY expires_at LIMIT p_limit) t;
  PERFORM FROM idempotency_room WHERE account_id = ANY (v_accounts) ORDER BY account_id FOR UPDATE;
  WITH due AS (
    SELECT account_id, key_id, name FROM idempotency
      WHERE expires_at <= v_now AND account_id = ANY (v_accounts) ORDER BY expires_at LIMIT p_limit
  ), gone AS (
    DELETE FROM idempotency t USING due d
      WHERE t.account_id = d.account_id AND t.key_id = d.key_id AND t.name = d.name AND t.expires_at <= v_now
      RETURNING t.account_id, t.size
  ), freed AS (
    UPDATE idempotency_room t SET bytes = t.bytes - g.bytes
      FROM (SELECT account_id, total(size::bigint) AS bytes FROM gone GROUP BY account_id) g WHERE t.account_id = g.account_id
  )
  SELECT count(*) INTO v_deleted FROM gone;
  RETURN v_deleted;
END $$;
