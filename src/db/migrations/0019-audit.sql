-- Who changed what through the admin API; who may; and how an account becomes nobody's.

-- Keys of the admin API beside the owner's own, which is in no database. What they change bears their name, so a name is given once.
CREATE TABLE admin_keys (
  key_id      bigint PRIMARY KEY,
  name        text NOT NULL,
  secret_hash bytea NOT NULL,                         -- SHA-256 of the secret, which is 196 random bits
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  revoked_at  timestamptz,
  CONSTRAINT admin_key_name_is_unique UNIQUE (name),
  CONSTRAINT admin_key_hash_is_sha256 CHECK (octet_length(secret_hash) = 32)
);

-- One row for each change, written in its transaction; what the ledger makes once per reference is told right after, once too.
CREATE TABLE audit (
  audit_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  author     text NOT NULL,
  action     text NOT NULL,
  account_id bigint,                                  -- of whom it may hold personal data
  target     text NOT NULL,
  reference  text,
  before     jsonb,                                   -- null: it was not there
  after      jsonb,                                   -- null: it is not there any more
  reason     text
);
CREATE UNIQUE INDEX audit_tells_references_once ON audit (action, target, reference) WHERE reference IS NOT NULL;
CREATE INDEX audit_of_target ON audit (target, audit_id);
CREATE INDEX audit_of_account ON audit (account_id, audit_id);
CREATE INDEX audit_of_author ON audit (author, audit_id);
CREATE INDEX audit_of_action ON audit (action, audit_id);
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit
  FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure('before', 'after', 'reason');
CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes an account nobody's, for ever: its keys end, it neither spends nor gets credits of a plan, and what is told of a person is
-- gone. What was booked stays, under its id. The same again changes nothing. Null: there is no such account.
CREATE FUNCTION account_erase(p_account bigint, p_at timestamptz DEFAULT NULL) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
  v_personal text[] := '{name,email,external_id,metadata,ip_ranges,reason}';
  v_at timestamptz;
BEGIN
  PERFORM FROM wallets WHERE account_id = p_account FOR UPDATE;
  UPDATE accounts SET name = 'erased', email = NULL, external_id = NULL, metadata = '{}',
      erased_at = coalesce(erased_at, p_at, clock_timestamp())
    WHERE account_id = p_account RETURNING erased_at INTO v_at;
  UPDATE api_keys SET name = NULL, ip_ranges = NULL, revoked_at = coalesce(revoked_at, v_at) WHERE account_id = p_account;
  UPDATE spenders SET state = 1 WHERE account_id = p_account AND key_id <> 0;
  UPDATE wallets SET status = 1, policy_version = policy_version + 1, policy_changes_at = 'infinity' WHERE account_id = p_account;
  UPDATE entitlements SET reason = NULL WHERE account_id = p_account AND reason IS NOT NULL;
  UPDATE price_overrides SET reason = NULL WHERE account_id = p_account AND reason IS NOT NULL;
  UPDATE audit SET before = before - v_personal, after = after - v_personal, reason = NULL WHERE account_id = p_account;
  RETURN v_at;
END $$;
