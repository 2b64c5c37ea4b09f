-- Accounts and API keys. What the ledger must know of them stands in wallets and spenders, written in the same
-- transaction. Lookups that are not by account (external id, key id) live in these small tables.

CREATE TABLE accounts (
  account_id  bigint PRIMARY KEY,
  external_id text,
  name        text NOT NULL,
  email       text,
  plan        text,                                   -- null: the catalog's default plan
  plan_quantity integer NOT NULL DEFAULT 1,           -- as many times its credits: seats, for one
  metadata    jsonb NOT NULL DEFAULT '{}',
  stripe_customer_id text,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  erased_at   timestamptz,                            -- when it became nobody's, for ever: account_erase
  CONSTRAINT account_external_id_is_unique UNIQUE (external_id),
  CONSTRAINT account_plan_quantity_is_in_range CHECK (plan_quantity BETWEEN 1 AND 100000),
  CONSTRAINT account_stripe_customer_is_unique UNIQUE (stripe_customer_id),
  CONSTRAINT account_name_is_short CHECK (length(name) BETWEEN 1 AND 200),
  CONSTRAINT account_erased_is_nobodys CHECK (erased_at IS NULL
    OR (name = 'erased' AND email IS NULL AND external_id IS NULL AND metadata = '{}'))
);

-- Rows that never change, but for personal texts of an account that was erased: in the columns that are the trigger's arguments.
CREATE FUNCTION refuse_change_but_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND EXISTS (SELECT FROM accounts WHERE account_id = OLD.account_id AND erased_at IS NOT NULL) THEN
    IF NEW.reason IS NULL AND to_jsonb(NEW) - TG_ARGV = to_jsonb(OLD) - TG_ARGV THEN RETURN NEW; END IF;
  END IF;
  RAISE EXCEPTION '% are never changed: add a new one', replace(TG_TABLE_NAME, '_', ' ') USING ERRCODE = 'restrict_violation';
END $$;

CREATE TABLE api_keys (
  key_id      bigint PRIMARY KEY,
  account_id  bigint NOT NULL REFERENCES accounts,
  name        text,
  scopes      text[] NOT NULL,
  secret_hash bytea NOT NULL,                         -- SHA-256 of the secret, which is 196 random bits
  models      text[],                                 -- globs: the key may use no others; null: whatever its account may
  ip_ranges   text[],                                 -- addresses and CIDRs it may be used from; null: any
  limits      jsonb,                                  -- its own: rpm, tpm, concurrency, max_output_tokens
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at  timestamptz,
  revoked_at  timestamptz,
  replaced_by bigint REFERENCES api_keys,             -- until it ends it is another way to present that key: key_rotate
  CONSTRAINT key_hash_is_sha256 CHECK (octet_length(secret_hash) = 32),
  CONSTRAINT key_scopes_are_known CHECK (scopes <@ ARRAY['inference', 'read', 'consume', 'billing'])
);
CREATE INDEX api_keys_of_account ON api_keys (account_id, key_id);

-- Keys that act for whichever account a request names: they are the host application's own.
CREATE TABLE service_keys (
  key_id          bigint PRIMARY KEY,
  name            text NOT NULL,
  scopes          text[] NOT NULL,
  create_accounts boolean NOT NULL,                   -- whether an external id that nobody has becomes an account
  secret_hash     bytea NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at      timestamptz,                        -- of one that was replaced
  revoked_at      timestamptz,
  replaced_by     bigint REFERENCES service_keys,
  CONSTRAINT service_key_hash_is_sha256 CHECK (octet_length(secret_hash) = 32),
  CONSTRAINT service_key_scopes_are_known CHECK (scopes <@ ARRAY['inference', 'read', 'consume', 'billing'])
);
