-- The ledger's tables. Meanings, states and invariants: src/ledger/README.md.
-- Money is bigint nano-credits. Every key begins with account_id, so that an account is one shard.

CREATE TABLE wallets (
  account_id     bigint PRIMARY KEY,
  posted         bigint NOT NULL DEFAULT 0,           -- what live lots hold, less debt
  held           bigint NOT NULL DEFAULT 0,           -- sum of open holds
  debt           bigint NOT NULL DEFAULT 0,           -- charged, and paid by no lot
  overdraft      bigint NOT NULL DEFAULT 0,           -- how far holds may exceed what is available
  dormant        bigint NOT NULL DEFAULT 0,           -- in lots not started yet, or expired and not booked yet
  seq            bigint NOT NULL DEFAULT 0,           -- the last entry's number
  policy_version bigint NOT NULL DEFAULT 1,           -- rises with each change to what the account or a key may do
  head_left      bigint NOT NULL DEFAULT 0,           -- what remains of the lot being burnt: lots.remaining lags behind
  next_change_at timestamptz NOT NULL DEFAULT 'infinity', -- the next start or expiry of a lot
  policy_changes_at timestamptz NOT NULL DEFAULT 'infinity', -- when time alone will raise the policy version
  head_lot       uuid,
  status         smallint NOT NULL DEFAULT 0,         -- 0 active, 1 suspended
  budgeted       boolean NOT NULL DEFAULT false,      -- whether the account has a budget: spenders, key 0
  CONSTRAINT wallet_held_is_not_negative CHECK (held >= 0),
  CONSTRAINT wallet_debt_is_not_negative CHECK (debt >= 0),
  CONSTRAINT wallet_dormant_is_not_negative CHECK (dormant >= 0),
  CONSTRAINT wallet_overdraft_is_not_negative CHECK (overdraft >= 0),
  CONSTRAINT wallet_debt_leaves_no_live_credit CHECK (head_left >= 0 AND (debt = 0 OR head_left = 0)),
  CONSTRAINT wallet_amounts_fit CHECK (
    posted BETWEEN -1000000000000000000 AND 1000000000000000000
    -- What waits to start is counted too: when it does, nothing may stand in its way.
    AND posted + dormant <= 1000000000000000000
    AND held <= 1000000000000000000 AND overdraft <= 1000000000000000000 AND dormant <= 1000000000000000000),
  CONSTRAINT wallet_status_is_known CHECK (status IN (0, 1))
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
-- What time alone will change: for the job that looks after idle accounts.
CREATE INDEX wallets_due ON wallets (next_change_at) WHERE next_change_at <> 'infinity';
CREATE INDEX wallets_policy_due ON wallets (policy_changes_at) WHERE policy_changes_at <> 'infinity';

-- Who may spend from a wallet: its keys, and the account itself as key 0. Never a secret. A budget is the most that may be
-- spent in a period: what its holds reserve and what their requests were charged, counted where the hold was opened.
CREATE TABLE spenders (
  account_id bigint NOT NULL,
  key_id     bigint NOT NULL,
  expires_at timestamptz NOT NULL DEFAULT 'infinity',
  budget     bigint,                                  -- null: none
  held       bigint NOT NULL DEFAULT 0,
  spent      bigint NOT NULL DEFAULT 0,
  period_start timestamptz NOT NULL DEFAULT '-infinity',
  period     smallint NOT NULL DEFAULT 3,             -- 1 day, 2 month (UTC), 3 total
  state      smallint NOT NULL DEFAULT 0,             -- 0 active, 1 revoked
  PRIMARY KEY (account_id, key_id),
  CONSTRAINT spender_state_is_known CHECK (state IN (0, 1)),
  CONSTRAINT spender_budget_is_in_range CHECK (budget BETWEEN 0 AND 1000000000000000000),
  CONSTRAINT spender_counts_are_not_negative CHECK (held >= 0 AND spent >= 0),
  CONSTRAINT spender_period_is_known CHECK (period BETWEEN 1 AND 3)
) WITH (fillfactor = 70);

CREATE TABLE lots (
  account_id bigint NOT NULL,
  lot_id     uuid NOT NULL,
  kind       smallint NOT NULL,                       -- 10 topup, 11 subscription, 12 bonus, 13 promo, 14 adjustment
  state      smallint NOT NULL,                       -- 0 pending, 1 live, 2 expired and not booked, 3 closed
  priority   integer NOT NULL DEFAULT 0,
  granted    bigint NOT NULL,
  remaining  bigint NOT NULL,                         -- of the wallet's head lot: see wallets.head_left
  repaid     bigint NOT NULL DEFAULT 0,               -- of what was granted, what repaid debt
  expired    bigint NOT NULL DEFAULT 0,               -- of what was granted, what was booked as expired
  starts_at  timestamptz NOT NULL,
  expires_at timestamptz NOT NULL DEFAULT 'infinity',
  created_at timestamptz NOT NULL,
  reference  text NOT NULL,
  reason     text,
  paid_minor bigint,                                  -- what was paid for it, in the currency's minor unit
  currency   text,
  PRIMARY KEY (account_id, lot_id),
  CONSTRAINT lot_reference_is_unique UNIQUE (account_id, reference),
  CONSTRAINT lot_kind_is_known CHECK (kind BETWEEN 10 AND 14),
  CONSTRAINT lot_state_is_known CHECK (state BETWEEN 0 AND 3),
  CONSTRAINT lot_is_positive CHECK (granted > 0 AND granted <= 1000000000000000000),
  CONSTRAINT lot_remainder_is_within_grant CHECK (
    remaining >= 0 AND repaid >= 0 AND expired >= 0 AND remaining + repaid + expired <= granted),
  CONSTRAINT lot_starts_before_it_expires CHECK (starts_at < expires_at),
  CONSTRAINT lot_payment_is_whole CHECK ((paid_minor IS NULL) = (currency IS NULL) AND paid_minor >= 0)
);
-- In burn order; closed lots, which only grow in number, are left out.
CREATE INDEX lots_burn_order ON lots (account_id, priority, expires_at, created_at, lot_id) WHERE state < 3;

-- Only what is in flight is here: a hold that ends is deleted and leaves an entry.
CREATE TABLE holds (
  account_id bigint NOT NULL,
  key_id     bigint NOT NULL,
  amount     bigint NOT NULL,
  extended   bigint NOT NULL DEFAULT 0,               -- of the amount, what extensions added
  floor      bigint NOT NULL,                         -- charged at least, should its owner die
  metered    bigint NOT NULL DEFAULT 0,               -- what a long stream has used so far
  owner      bigint NOT NULL,                         -- 0: nobody's, it ends by itself
  opened_at  timestamptz NOT NULL,
  expires_at timestamptz NOT NULL DEFAULT 'infinity',
  id         uuid NOT NULL,
  on_orphan  smallint NOT NULL,                       -- 0 charge metered, 1 release, 2 charge the hold
  budgeted   boolean NOT NULL DEFAULT false,          -- whether a budget counts it
  frozen     bytea NOT NULL,                          -- what the receipt needs; opaque to the ledger
  PRIMARY KEY (account_id, id),
  CONSTRAINT hold_amount_is_not_negative CHECK (extended BETWEEN 0 AND amount AND amount <= 1000000000000000000),
  CONSTRAINT hold_floor_is_within_hold CHECK (floor >= 0 AND floor <= amount AND metered >= 0),
  CONSTRAINT hold_on_orphan_is_known CHECK (on_orphan BETWEEN 0 AND 2),
  CONSTRAINT hold_ends_by_itself_or_has_an_owner CHECK ((owner = 0) = (expires_at < 'infinity'))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX holds_expiring ON holds (account_id, expires_at) WHERE expires_at < 'infinity';

-- One row per transfer. `amount` is signed as the wallet sees it; books: 1 wallet, 2 revenue, 3 expired, 4 clawback,
-- 10 to 14 the source of a lot's kind. Kinds: 1 grant, 2 charge, 3 release, 4 recovered, 5 late, 6 expire (of a lot), 7 adjust,
-- 8 reverse, 9 lapse (of a hold that ended by itself).
CREATE TABLE entries (
  account_id    bigint NOT NULL,
  seq           bigint NOT NULL,
  amount        bigint NOT NULL,
  balance_after bigint NOT NULL,
  key_id        bigint,
  at            timestamptz NOT NULL,
  id            uuid NOT NULL,
  lot_id        uuid,                                 -- the one lot that paid, or was granted, or expired
  kind          smallint NOT NULL,
  debit         smallint NOT NULL,
  credit        smallint NOT NULL,
  receipt       bytea,                                -- opaque to the ledger
  PRIMARY KEY (account_id, id, kind),
  CONSTRAINT entry_kind_is_known CHECK (kind BETWEEN 1 AND 9),
  CONSTRAINT entry_moves_between_wallet_and_another_book CHECK (debit <> credit AND 1 IN (debit, credit)),
  CONSTRAINT entry_sign_follows_the_books CHECK (amount = 0 OR (amount > 0) = (credit = 1)),
  CONSTRAINT entry_sign_follows_the_kind CHECK (
    CASE kind WHEN 1 THEN amount > 0 WHEN 3 THEN amount = 0 WHEN 5 THEN true WHEN 6 THEN amount < 0 WHEN 7 THEN amount <> 0
      WHEN 8 THEN amount > 0 WHEN 9 THEN amount = 0 ELSE amount <= 0 END)
) PARTITION BY RANGE (id);

-- Which lots paid, when it was more than one; what no lot paid of a charge is debt. `kind` is that of the entry. Repayment
-- of debt moves nothing between books and has no entry: it stands here under kind + 100: 101 is what a lot (its id is
-- `id` too) gave to debt when it started; 105 and 108 are what a late refund or a reverse returned of such gifts.
CREATE TABLE allocations (
  account_id bigint NOT NULL,
  id         uuid NOT NULL,
  kind       smallint NOT NULL,
  lot_id     uuid NOT NULL,
  amount     bigint NOT NULL,
  PRIMARY KEY (account_id, id, kind, lot_id),
  CONSTRAINT allocation_is_positive CHECK (amount > 0)
);

-- What an adjustment was asked with; its entry has the same id. A positive one is a lot too.
CREATE TABLE adjustments (
  account_id bigint NOT NULL,
  reference  text NOT NULL,
  id         uuid NOT NULL,
  amount     bigint NOT NULL,
  at         timestamptz NOT NULL,
  book       smallint NOT NULL,                       -- 14 source:adjustment, 4 clawback
  reason     text NOT NULL,
  PRIMARY KEY (account_id, reference),
  CONSTRAINT adjustment_book_is_known CHECK (book IN (4, 14))
);

-- One lease per gateway process. It alone says whether a hold's owner lives.
CREATE TABLE owners (
  owner       bigint PRIMARY KEY,
  lease_until timestamptz NOT NULL,
  started_at  timestamptz NOT NULL
) WITH (fillfactor = 50);

-- The value of a credit: what the gateway that started last says, until the first grant fixes it.
CREATE TABLE credit_scale (
  only_row        boolean PRIMARY KEY DEFAULT true,
  credits_per_usd bigint NOT NULL,
  fixed           boolean NOT NULL DEFAULT true,
  CONSTRAINT credit_scale_is_one_row CHECK (only_row),
  CONSTRAINT credit_scale_is_in_range CHECK (credits_per_usd BETWEEN 1 AND 10000)
);

-- Append-only: the database refuses changes to everyone but a superuser who disables these triggers.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: % of % is refused; correct it with a new entry', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER entries_are_append_only BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER allocations_are_append_only BEFORE UPDATE OR DELETE ON allocations
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER allocations_are_not_truncated BEFORE TRUNCATE ON allocations
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER adjustments_are_append_only BEFORE UPDATE OR DELETE ON adjustments
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER adjustments_are_not_truncated BEFORE TRUNCATE ON adjustments
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The least UUID v7 of an instant: the bounds of the partitions.
CREATE FUNCTION uuid_floor(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- A UUID v7 of an instant, for entries that the database itself makes.
CREATE FUNCTION uuid_at(p_at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE AS $$
  SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || '7'
    || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;

-- Months of entries from last month to `p_ahead` months ahead. What falls outside goes to the default partition: an
-- entry is never refused for lack of one. Attaching locks the default partition, and what waits for a lock makes all behind it
-- wait: it gives up soon, there are months of days to try again. A month that has rows in the default partition already is
-- left there, with a warning: docs/ledger-archive.md says how to move them.
CREATE FUNCTION make_partitions(p_ahead integer) RETURNS integer LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
DECLARE
  v_month timestamp;                                    -- in UTC, whatever the session's zone
  v_name text;
  v_from uuid;
  v_to uuid;
  v_made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('tollgate.make_partitions'));
  FOR i IN -1 .. p_ahead LOOP
    v_month := date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i);
    v_name := 'entries_' || to_char(v_month, 'YYYY_MM');
    CONTINUE WHEN to_regclass('tollgate.' || v_name) IS NOT NULL;
    v_from := uuid_floor(v_month AT TIME ZONE 'UTC');
    v_to := uuid_floor((v_month + interval '1 month') AT TIME ZONE 'UTC');
    IF EXISTS (SELECT FROM tollgate.entries_default WHERE id >= v_from AND id < v_to) THEN
      RAISE WARNING 'entries of % stay in entries_default, where some of them are already', to_char(v_month, 'YYYY-MM');
      CONTINUE;
    END IF;
    EXECUTE format('CREATE TABLE tollgate.%I (LIKE tollgate.entries INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
    EXECUTE format('ALTER TABLE tollgate.entries ATTACH PARTITION tollgate.%I FOR VALUES FROM (%L) TO (%L)',
      v_name, v_from, v_to);
    EXECUTE format('CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON tollgate.%I
      FOR EACH STATEMENT EXECUTE FUNCTION tollgate.refuse_change()', v_name);
    v_made := v_made + 1;
  END LOOP;
  RETURN v_made;
END $$;

CREATE TABLE entries_default PARTITION OF entries DEFAULT;
CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON entries_default
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
SELECT make_partitions(3);

-- A sum of bigint that stays bigint: the hot path adds up a few rows, and overflow raises.
CREATE AGGREGATE total(bigint) (SFUNC = int8pl, STYPE = bigint, INITCOND = '0');
