-- Secrets of the installation, made once by whichever gateway starts first and the same for all of them, for ever: what is
-- derived from one stays what it is. Who has the database has them: they keep nothing from its owner.
CREATE TABLE installation_secrets (
  name       text PRIMARY KEY,                        -- what it is for: `tenants`, src/gateway/tenancy.ts
  secret     bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT installation_secrets_are_long CHECK (octet_length(secret) >= 32)
);
