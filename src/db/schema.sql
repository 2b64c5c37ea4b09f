-- Made by `npm run schema` from the migrations. Read it, do not edit it.

-- Sequences

CREATE SEQUENCE audit_audit_id_seq AS bigint START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1;

CREATE SEQUENCE migrations_id_seq AS integer START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1;

CREATE SEQUENCE outbox_event_id_seq AS bigint START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1;

-- Tables

CREATE TABLE accounts (
  account_id bigint NOT NULL,
  external_id text,
  name text NOT NULL,
  email text,
  plan text,
  plan_quantity integer DEFAULT 1 NOT NULL,
  metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
  stripe_customer_id text,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  erased_at timestamp with time zone,
  CONSTRAINT accounts_pkey PRIMARY KEY (account_id),
  CONSTRAINT account_erased_is_nobodys CHECK (((erased_at IS NULL) OR ((name = 'erased'::text) AND (email IS NULL) AND (external_id IS NULL) AND (metadata = '{}'::jsonb)))),
  CONSTRAINT account_external_id_is_unique UNIQUE (external_id),
  CONSTRAINT account_name_is_short CHECK (((length(name) >= 1) AND (length(name) <= 200))),
  CONSTRAINT account_plan_quantity_is_in_range CHECK (((plan_quantity >= 1) AND (plan_quantity <= 100000))),
  CONSTRAINT account_stripe_customer_is_unique UNIQUE (stripe_customer_id)
);

CREATE TABLE adjustments (
  account_id bigint NOT NULL,
  reference text NOT NULL,
  id uuid NOT NULL,
  amount bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  book smallint NOT NULL,
  reason text NOT NULL,
  payment text,
  CONSTRAINT adjustments_pkey PRIMARY KEY (account_id, reference),
  CONSTRAINT adjustment_book_is_known CHECK ((book = ANY (ARRAY[4, 14]))),
  CONSTRAINT adjustment_of_a_payment_is_a_clawback CHECK (((payment IS NULL) OR (book = 4)))
);

CREATE TABLE admin_keys (
  key_id bigint NOT NULL,
  name text NOT NULL,
  secret_hash bytea NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  revoked_at timestamp with time zone,
  CONSTRAINT admin_keys_pkey PRIMARY KEY (key_id),
  CONSTRAINT admin_key_hash_is_sha256 CHECK ((octet_length(secret_hash) = 32)),
  CONSTRAINT admin_key_name_is_unique UNIQUE (name)
);

CREATE TABLE allocations (
  account_id bigint NOT NULL,
  id uuid NOT NULL,
  kind smallint NOT NULL,
  lot_id uuid NOT NULL,
  amount bigint NOT NULL,
  CONSTRAINT allocations_pkey PRIMARY KEY (account_id, id, kind, lot_id),
  CONSTRAINT allocation_is_positive CHECK ((amount > 0))
);

CREATE TABLE api_keys (
  key_id bigint NOT NULL,
  account_id bigint NOT NULL,
  name text,
  scopes text[] NOT NULL,
  secret_hash bytea NOT NULL,
  models text[],
  ip_ranges text[],
  limits jsonb,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone,
  replaced_by bigint,
  CONSTRAINT api_keys_pkey PRIMARY KEY (key_id),
  CONSTRAINT api_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id),
  CONSTRAINT api_keys_replaced_by_fkey FOREIGN KEY (replaced_by) REFERENCES api_keys(key_id),
  CONSTRAINT key_hash_is_sha256 CHECK ((octet_length(secret_hash) = 32)),
  CONSTRAINT key_scopes_are_known CHECK ((scopes <@ ARRAY['inference'::text, 'read'::text, 'consume'::text, 'billing'::text]))
);

CREATE TABLE audit (
  audit_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  author text NOT NULL,
  action text NOT NULL,
  account_id bigint,
  target text NOT NULL,
  reference text,
  before jsonb,
  after jsonb,
  reason text,
  CONSTRAINT audit_pkey PRIMARY KEY (audit_id)
);

CREATE TABLE auto_recharge (
  account_id bigint NOT NULL,
  enabled boolean NOT NULL,
  threshold bigint NOT NULL,
  pack text,
  monthly_cap_minor bigint,
  customer text,
  payment_method text,
  fingerprint text,
  brand text,
  last4 text,
  method_read_at timestamp with time zone,
  failures integer DEFAULT 0 NOT NULL,
  retry_at timestamp with time zone,
  stopped_at timestamp with time zone,
  stopped_reason text,
  stopped_fingerprint text,
  changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT auto_recharge_pkey PRIMARY KEY (account_id),
  CONSTRAINT auto_recharge_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id),
  CONSTRAINT auto_recharge_cap_is_in_range CHECK (((monthly_cap_minor >= 0) AND (monthly_cap_minor <= 100000000))),
  CONSTRAINT auto_recharge_failures_are_counted CHECK ((failures >= 0)),
  CONSTRAINT auto_recharge_has_a_pack_and_a_cap CHECK (((NOT enabled) OR ((pack IS NOT NULL) AND (monthly_cap_minor IS NOT NULL)))),
  CONSTRAINT auto_recharge_stop_has_a_reason CHECK (((stopped_at IS NULL) = (stopped_reason IS NULL))),
  CONSTRAINT auto_recharge_stop_is_known CHECK ((stopped_reason = ANY (ARRAY['declined'::text, 'declined_repeatedly'::text, 'authentication_required'::text, 'card_expired'::text, 'payment_method_gone'::text, 'customer_deleted'::text, 'refused'::text, 'payment_reversed'::text, 'pack_unavailable'::text, 'monthly_cap'::text, 'daily_attempts'::text, 'balance_limit'::text]))),
  CONSTRAINT auto_recharge_threshold_is_in_range CHECK (((threshold >= 0) AND (threshold <= '1000000000000000000'::bigint)))
);

CREATE TABLE background_responses (
  account_id bigint NOT NULL,
  request uuid NOT NULL,
  owner bigint NOT NULL,
  provider text,
  response_id text,
  facts jsonb NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT background_responses_pkey PRIMARY KEY (account_id, request),
  CONSTRAINT background_response_has_both_names CHECK (((provider IS NULL) = (response_id IS NULL)))
) WITH (fillfactor=50);

CREATE TABLE catalog_entries (
  kind text NOT NULL,
  name text NOT NULL,
  version integer NOT NULL,
  body jsonb NOT NULL,
  source text NOT NULL,
  file_digest text,
  author text,
  deleted boolean DEFAULT false NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  effective_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  fields text[],
  CONSTRAINT catalog_entries_pkey PRIMARY KEY (kind, name, version),
  CONSTRAINT catalog_body_is_an_object CHECK ((jsonb_typeof(body) = 'object'::text)),
  CONSTRAINT catalog_kind_is_known CHECK ((kind = ANY (ARRAY['model'::text, 'operation'::text, 'plan'::text, 'pack'::text, 'passthrough'::text]))),
  CONSTRAINT catalog_source_is_known CHECK ((source = ANY (ARRAY['file'::text, 'api'::text]))),
  CONSTRAINT catalog_version_is_positive CHECK ((version > 0))
);

CREATE TABLE catalog_state (
  only_row boolean DEFAULT true NOT NULL,
  version bigint DEFAULT 1 NOT NULL,
  next_change_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
  CONSTRAINT catalog_state_pkey PRIMARY KEY (only_row),
  CONSTRAINT catalog_state_is_one_row CHECK (only_row)
);

CREATE TABLE checkouts (
  checkout_id bigint NOT NULL,
  account_id bigint NOT NULL,
  kind text NOT NULL,
  name text NOT NULL,
  version integer NOT NULL,
  credits bigint NOT NULL,
  bonus_credits bigint NOT NULL,
  expires_days integer,
  currency text,
  amount_minor bigint,
  stripe_price text,
  quantity integer DEFAULT 1 NOT NULL,
  customer_id text,
  once text,
  asked jsonb DEFAULT '{}'::jsonb NOT NULL,
  request jsonb DEFAULT '{}'::jsonb NOT NULL,
  session_id text,
  status text DEFAULT 'open'::text NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT checkouts_pkey PRIMARY KEY (checkout_id),
  CONSTRAINT checkout_credits_are_not_negative CHECK (((credits >= 0) AND (bonus_credits >= 0))),
  CONSTRAINT checkout_is_asked_once UNIQUE (account_id, once),
  CONSTRAINT checkout_is_priced CHECK ((((currency IS NULL) = (amount_minor IS NULL)) AND ((amount_minor IS NOT NULL) OR (stripe_price IS NOT NULL)))),
  CONSTRAINT checkout_kind_is_known CHECK ((kind = ANY (ARRAY['pack'::text, 'plan'::text]))),
  CONSTRAINT checkout_session_is_unique UNIQUE (session_id),
  CONSTRAINT checkout_status_is_known CHECK ((status = ANY (ARRAY['open'::text, 'complete'::text, 'expired'::text]))),
  CONSTRAINT checkouts_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id)
);

CREATE TABLE credit_scale (
  only_row boolean DEFAULT true NOT NULL,
  credits_per_usd bigint NOT NULL,
  fixed boolean DEFAULT true NOT NULL,
  CONSTRAINT credit_scale_pkey PRIMARY KEY (only_row),
  CONSTRAINT credit_scale_is_in_range CHECK (((credits_per_usd >= 1) AND (credits_per_usd <= 10000))),
  CONSTRAINT credit_scale_is_one_row CHECK (only_row)
);

CREATE TABLE customer_requests (
  account_id bigint NOT NULL,
  replaces text,
  asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT customer_requests_pkey PRIMARY KEY (account_id),
  CONSTRAINT customer_requests_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id)
);

CREATE TABLE entitlements (
  account_id bigint NOT NULL,
  version integer NOT NULL,
  entitlement_id bigint NOT NULL,
  source text NOT NULL,
  key text NOT NULL,
  reference text DEFAULT ''::text NOT NULL,
  value jsonb,
  valid_from timestamp with time zone NOT NULL,
  valid_until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
  reason text,
  author text NOT NULL,
  created_at timestamp with time zone NOT NULL,
  CONSTRAINT entitlements_pkey PRIMARY KEY (account_id, version),
  CONSTRAINT entitlement_block_only_denies CHECK (((source <> 'block'::text) OR (COALESCE(value, 'false'::jsonb) = 'false'::jsonb) OR (jsonb_typeof(value) = 'number'::text))),
  CONSTRAINT entitlement_key_is_known CHECK (((key ~ '^(model|feature|limit|config):.'::text) OR (key = 'plan'::text))),
  CONSTRAINT entitlement_only_gives CHECK (((source = ANY (ARRAY['block'::text, 'override'::text])) OR (key !~ '^(model|feature):'::text) OR (COALESCE(value, 'true'::jsonb) = 'true'::jsonb))),
  CONSTRAINT entitlement_plan_is_no_exception CHECK (((key <> 'plan'::text) OR (source = ANY (ARRAY['grant'::text, 'subscription'::text, 'plan'::text])))),
  CONSTRAINT entitlement_source_is_known CHECK ((source = ANY (ARRAY['block'::text, 'override'::text, 'grant'::text, 'subscription'::text, 'plan'::text]))),
  CONSTRAINT entitlement_starts_before_it_ends CHECK ((valid_from < valid_until)),
  CONSTRAINT entitlement_value_fits_its_key CHECK (
CASE split_part(key, ':'::text, 1)
    WHEN 'limit'::text THEN (jsonb_typeof(value) = 'number'::text)
    WHEN 'plan'::text THEN (jsonb_typeof(value) = 'string'::text)
    WHEN 'config'::text THEN true
    ELSE (jsonb_typeof(value) = 'boolean'::text)
END),
  CONSTRAINT entitlements_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id)
);

CREATE TABLE entries (
  account_id bigint NOT NULL,
  seq bigint NOT NULL,
  amount bigint NOT NULL,
  balance_after bigint NOT NULL,
  key_id bigint,
  at timestamp with time zone NOT NULL,
  id uuid NOT NULL,
  lot_id uuid,
  kind smallint NOT NULL,
  debit smallint NOT NULL,
  credit smallint NOT NULL,
  receipt bytea,
  CONSTRAINT entries_pkey PRIMARY KEY (account_id, id, kind),
  CONSTRAINT entry_kind_is_known CHECK (((kind >= 1) AND (kind <= 9))),
  CONSTRAINT entry_moves_between_wallet_and_another_book CHECK (((debit <> credit) AND ((1 = debit) OR (1 = credit)))),
  CONSTRAINT entry_sign_follows_the_books CHECK (((amount = 0) OR ((amount > 0) = (credit = 1)))),
  CONSTRAINT entry_sign_follows_the_kind CHECK (
CASE kind
    WHEN 1 THEN (amount > 0)
    WHEN 3 THEN (amount = 0)
    WHEN 5 THEN true
    WHEN 6 THEN (amount < 0)
    WHEN 7 THEN (amount <> 0)
    WHEN 8 THEN (amount > 0)
    WHEN 9 THEN (amount = 0)
    ELSE (amount <= 0)
END)
) PARTITION BY RANGE (id);

CREATE TABLE holds (
  account_id bigint NOT NULL,
  key_id bigint NOT NULL,
  amount bigint NOT NULL,
  extended bigint DEFAULT 0 NOT NULL,
  floor bigint NOT NULL,
  metered bigint DEFAULT 0 NOT NULL,
  owner bigint NOT NULL,
  opened_at timestamp with time zone NOT NULL,
  expires_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
  id uuid NOT NULL,
  on_orphan smallint NOT NULL,
  budgeted boolean DEFAULT false NOT NULL,
  frozen bytea NOT NULL,
  CONSTRAINT holds_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT hold_amount_is_not_negative CHECK ((((extended >= 0) AND (extended <= amount)) AND (amount <= '1000000000000000000'::bigint))),
  CONSTRAINT hold_ends_by_itself_or_has_an_owner CHECK (((owner = 0) = (expires_at < 'infinity'::timestamp with time zone))),
  CONSTRAINT hold_floor_is_within_hold CHECK (((floor >= 0) AND (floor <= amount) AND (metered >= 0))),
  CONSTRAINT hold_on_orphan_is_known CHECK (((on_orphan >= 0) AND (on_orphan <= 2)))
) WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000, autovacuum_vacuum_cost_delay=0);

CREATE TABLE idempotency (
  account_id bigint NOT NULL,
  key_id bigint NOT NULL,
  name bytea NOT NULL,
  fingerprint bytea NOT NULL,
  request_id uuid NOT NULL,
  owner bigint NOT NULL,
  claimed_at timestamp with time zone NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  size integer DEFAULT 0 NOT NULL,
  state smallint DEFAULT 0 NOT NULL,
  answer bytea STORAGE EXTERNAL,
  CONSTRAINT idempotency_pkey PRIMARY KEY (account_id, key_id, name),
  CONSTRAINT idempotency_keeps_answers_of_known_size CHECK ((((state = 1) = (answer IS NOT NULL)) AND (size = COALESCE(octet_length(answer), 0)))),
  CONSTRAINT idempotency_macs_are_sha256 CHECK (((octet_length(name) = 32) AND (octet_length(fingerprint) = 32))),
  CONSTRAINT idempotency_state_is_known CHECK (((state >= 0) AND (state <= 4)))
);

CREATE TABLE idempotency_room (
  account_id bigint NOT NULL,
  bytes bigint DEFAULT 0 NOT NULL,
  CONSTRAINT idempotency_room_pkey PRIMARY KEY (account_id),
  CONSTRAINT idempotency_room_is_not_negative CHECK ((bytes >= 0))
) WITH (fillfactor=70);

CREATE TABLE installation_secrets (
  name text NOT NULL,
  secret bytea NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT installation_secrets_pkey PRIMARY KEY (name),
  CONSTRAINT installation_secrets_are_long CHECK ((octet_length(secret) >= 32))
);

CREATE TABLE job_runs (
  job text NOT NULL,
  due_at timestamp with time zone NOT NULL,
  last_began timestamp with time zone,
  CONSTRAINT job_runs_pkey PRIMARY KEY (job)
);

CREATE TABLE lots (
  account_id bigint NOT NULL,
  lot_id uuid NOT NULL,
  kind smallint NOT NULL,
  state smallint NOT NULL,
  priority integer DEFAULT 0 NOT NULL,
  granted bigint NOT NULL,
  remaining bigint NOT NULL,
  repaid bigint DEFAULT 0 NOT NULL,
  expired bigint DEFAULT 0 NOT NULL,
  starts_at timestamp with time zone NOT NULL,
  expires_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
  created_at timestamp with time zone NOT NULL,
  reference text NOT NULL,
  reason text,
  paid_minor bigint,
  currency text,
  CONSTRAINT lots_pkey PRIMARY KEY (account_id, lot_id),
  CONSTRAINT lot_is_positive CHECK (((granted > 0) AND (granted <= '1000000000000000000'::bigint))),
  CONSTRAINT lot_kind_is_known CHECK (((kind >= 10) AND (kind <= 14))),
  CONSTRAINT lot_payment_is_whole CHECK ((((paid_minor IS NULL) = (currency IS NULL)) AND (paid_minor >= 0))),
  CONSTRAINT lot_reference_is_unique UNIQUE (account_id, reference),
  CONSTRAINT lot_remainder_is_within_grant CHECK (((remaining >= 0) AND (repaid >= 0) AND (expired >= 0) AND (((remaining + repaid) + expired) <= granted))),
  CONSTRAINT lot_starts_before_it_expires CHECK ((starts_at < expires_at)),
  CONSTRAINT lot_state_is_known CHECK (((state >= 0) AND (state <= 3)))
);

CREATE TABLE migrations (
  id integer DEFAULT nextval('migrations_id_seq'::regclass) NOT NULL,
  name character varying(255) NOT NULL,
  run_on timestamp without time zone NOT NULL,
  CONSTRAINT migrations_pkey PRIMARY KEY (id)
);

CREATE TABLE named_operations (
  account_id bigint NOT NULL,
  kind smallint NOT NULL,
  name text NOT NULL,
  id uuid NOT NULL,
  amount bigint NOT NULL,
  at timestamp with time zone NOT NULL,
  expires_at timestamp with time zone,
  fields jsonb NOT NULL,
  CONSTRAINT named_operations_pkey PRIMARY KEY (account_id, kind, name),
  CONSTRAINT named_operation_amount_is_in_range CHECK (((amount >= 0) AND (amount <= '1000000000000000000'::bigint))),
  CONSTRAINT named_operation_expires_where_it_holds CHECK (((kind = 2) = (expires_at IS NOT NULL))),
  CONSTRAINT named_operation_kind_is_known CHECK (((kind >= 1) AND (kind <= 3)))
);

CREATE TABLE orphan_payments (
  object_id text NOT NULL,
  kind text NOT NULL,
  customer_id text,
  currency text,
  amount_minor bigint,
  reason text NOT NULL,
  seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  resolved_at timestamp with time zone,
  CONSTRAINT orphan_payments_pkey PRIMARY KEY (object_id)
);

CREATE TABLE outbox (
  event_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
  account_id bigint NOT NULL,
  type text NOT NULL,
  key text,
  data jsonb NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT outbox_pkey PRIMARY KEY (event_id),
  CONSTRAINT outbox_type_is_known CHECK ((type = ANY (ARRAY['balance.low'::text, 'balance.exhausted'::text, 'credits.granted'::text, 'credits.expiring'::text, 'payment.failed'::text, 'recharge.stopped'::text, 'subscription.changed'::text, 'budget.reached'::text])))
);

CREATE TABLE owners (
  owner bigint NOT NULL,
  lease_until timestamp with time zone NOT NULL,
  started_at timestamp with time zone NOT NULL,
  CONSTRAINT owners_pkey PRIMARY KEY (owner)
) WITH (fillfactor=50);

CREATE TABLE payment_grants (
  payment_key text NOT NULL,
  line text NOT NULL,
  account_id bigint NOT NULL,
  credits bigint NOT NULL,
  lot_id uuid,
  CONSTRAINT payment_grants_pkey PRIMARY KEY (payment_key, line),
  CONSTRAINT payment_grant_is_its_lot CHECK (((credits >= 0) AND ((credits = 0) = (lot_id IS NULL)))),
  CONSTRAINT payment_grants_payment_key_fkey FOREIGN KEY (payment_key) REFERENCES payments(payment_key)
);

CREATE TABLE payments (
  payment_key text NOT NULL,
  account_id bigint NOT NULL,
  kind text NOT NULL,
  reference text,
  customer_id text,
  payment_intent text,
  session_id text,
  invoice_id text,
  subscription_id text,
  livemode boolean NOT NULL,
  currency text NOT NULL,
  paid_minor bigint NOT NULL,
  reversed_minor bigint DEFAULT 0 NOT NULL,
  granted bigint DEFAULT 0 NOT NULL,
  clawed bigint DEFAULT 0 NOT NULL,
  clawbacks integer DEFAULT 0 NOT NULL,
  paid_at timestamp with time zone NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT payments_pkey PRIMARY KEY (payment_key),
  CONSTRAINT payment_clawback_is_in_proportion CHECK (((clawed)::numeric =
CASE
    WHEN (paid_minor > 0) THEN div(((granted)::numeric * (reversed_minor)::numeric), (paid_minor)::numeric)
    ELSE (0)::numeric
END)),
  CONSTRAINT payment_kind_is_known CHECK ((kind = ANY (ARRAY['topup'::text, 'recharge'::text, 'subscription'::text]))),
  CONSTRAINT payment_reversed_is_within_paid CHECK (((reversed_minor >= 0) AND (reversed_minor <= paid_minor))),
  CONSTRAINT payments_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id)
);

CREATE TABLE plan_periods (
  account_id bigint NOT NULL,
  plan text NOT NULL,
  starts_at timestamp with time zone NOT NULL,
  ends_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
  anchor timestamp with time zone NOT NULL,
  n integer NOT NULL,
  credits bigint NOT NULL,
  lot_id uuid,
  CONSTRAINT plan_periods_pkey PRIMARY KEY (account_id, plan, starts_at),
  CONSTRAINT period_follows_its_clock CHECK (((n >= 0) AND (anchor <= starts_at))),
  CONSTRAINT period_grants_its_lot CHECK (((credits >= 0) AND ((credits = 0) = (lot_id IS NULL)))),
  CONSTRAINT period_starts_before_it_ends CHECK ((starts_at < ends_at)),
  CONSTRAINT plan_periods_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id)
);

CREATE TABLE price_overrides (
  account_id bigint NOT NULL,
  model text NOT NULL,
  version integer NOT NULL,
  price jsonb,
  reason text,
  author text NOT NULL,
  effective_at timestamp with time zone NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT price_overrides_pkey PRIMARY KEY (account_id, model, version),
  CONSTRAINT override_price_is_an_object CHECK ((jsonb_typeof(price) = 'object'::text)),
  CONSTRAINT override_version_is_positive CHECK ((version > 0)),
  CONSTRAINT price_overrides_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id)
);

CREATE TABLE recharge_wanted (
  account_id bigint NOT NULL,
  CONSTRAINT recharge_wanted_pkey PRIMARY KEY (account_id)
);

CREATE TABLE recharges (
  recharge_id bigint NOT NULL,
  account_id bigint NOT NULL,
  pack text NOT NULL,
  version integer NOT NULL,
  packs integer NOT NULL,
  credits bigint NOT NULL,
  bonus_credits bigint NOT NULL,
  expires_days integer,
  amount_minor bigint NOT NULL,
  currency text DEFAULT 'usd'::text NOT NULL,
  customer text NOT NULL,
  payment_method text,
  fingerprint text,
  status text DEFAULT 'created'::text NOT NULL,
  payment_intent text,
  error text,
  attempts integer DEFAULT 0 NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  sent_at timestamp with time zone,
  due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  ended_at timestamp with time zone,
  CONSTRAINT recharges_pkey PRIMARY KEY (recharge_id),
  CONSTRAINT recharge_buys_something CHECK (((packs > 0) AND (credits >= 0) AND (bonus_credits >= 0) AND ((credits + bonus_credits) > 0) AND ((amount_minor >= 1) AND (amount_minor <= 99999999)))),
  CONSTRAINT recharge_ends_once CHECK (((status = ANY (ARRAY['succeeded'::text, 'failed'::text, 'canceled'::text])) = (ended_at IS NOT NULL))),
  CONSTRAINT recharge_intent_is_unique UNIQUE (payment_intent),
  CONSTRAINT recharge_status_is_known CHECK ((status = ANY (ARRAY['created'::text, 'charging'::text, 'processing'::text, 'requires_action'::text, 'unknown'::text, 'succeeded'::text, 'failed'::text, 'canceled'::text]))),
  CONSTRAINT recharges_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id)
);

CREATE TABLE service_keys (
  key_id bigint NOT NULL,
  name text NOT NULL,
  scopes text[] NOT NULL,
  create_accounts boolean NOT NULL,
  secret_hash bytea NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone,
  replaced_by bigint,
  CONSTRAINT service_keys_pkey PRIMARY KEY (key_id),
  CONSTRAINT service_key_hash_is_sha256 CHECK ((octet_length(secret_hash) = 32)),
  CONSTRAINT service_key_scopes_are_known CHECK ((scopes <@ ARRAY['inference'::text, 'read'::text, 'consume'::text, 'billing'::text])),
  CONSTRAINT service_keys_replaced_by_fkey FOREIGN KEY (replaced_by) REFERENCES service_keys(key_id)
);

CREATE TABLE spenders (
  account_id bigint NOT NULL,
  key_id bigint NOT NULL,
  expires_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
  budget bigint,
  held bigint DEFAULT 0 NOT NULL,
  spent bigint DEFAULT 0 NOT NULL,
  period_start timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
  period smallint DEFAULT 3 NOT NULL,
  state smallint DEFAULT 0 NOT NULL,
  CONSTRAINT spenders_pkey PRIMARY KEY (account_id, key_id),
  CONSTRAINT spender_budget_is_in_range CHECK (((budget >= 0) AND (budget <= '1000000000000000000'::bigint))),
  CONSTRAINT spender_counts_are_not_negative CHECK (((held >= 0) AND (spent >= 0))),
  CONSTRAINT spender_period_is_known CHECK (((period >= 1) AND (period <= 3))),
  CONSTRAINT spender_state_is_known CHECK ((state = ANY (ARRAY[0, 1])))
) WITH (fillfactor=70);

CREATE TABLE stored_ids (
  id text NOT NULL,
  provider text NOT NULL,
  account_id bigint NOT NULL,
  request uuid NOT NULL,
  at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  model text,
  input_tokens integer,
  output_tokens integer,
  thought_tokens integer,
  items smallint,
  is_bound boolean,
  CONSTRAINT stored_ids_pkey PRIMARY KEY (id, provider),
  CONSTRAINT stored_context_counts_from_nothing CHECK (((input_tokens >= 0) AND (thought_tokens >= 0) AND (thought_tokens <= output_tokens) AND (items >= 0))) NOT VALID,
  CONSTRAINT stored_context_is_whole CHECK ((num_nulls(model, input_tokens, output_tokens, thought_tokens, items, is_bound) = ANY (ARRAY[0, 6]))) NOT VALID,
  CONSTRAINT stored_id_is_short CHECK (((length(id) >= 1) AND (length(id) <= 200)))
) WITH (autovacuum_vacuum_scale_factor=0.02);

CREATE TABLE stripe_events (
  event_id text NOT NULL,
  type text NOT NULL,
  object_kind text NOT NULL,
  object_id text,
  api_version text,
  livemode boolean NOT NULL,
  source text NOT NULL,
  created_at timestamp with time zone NOT NULL,
  received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  state text DEFAULT 'waiting'::text NOT NULL,
  attempts integer DEFAULT 0 NOT NULL,
  due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  ended_at timestamp with time zone,
  error text,
  body bytea,
  CONSTRAINT stripe_events_pkey PRIMARY KEY (event_id),
  CONSTRAINT stripe_event_ends_once CHECK (((state = 'waiting'::text) = (ended_at IS NULL))),
  CONSTRAINT stripe_event_source_is_known CHECK ((source = ANY (ARRAY['webhook'::text, 'poll'::text]))),
  CONSTRAINT stripe_event_state_is_known CHECK ((state = ANY (ARRAY['waiting'::text, 'processed'::text, 'ignored'::text, 'dead'::text])))
);

CREATE TABLE stripe_syncs (
  object_id text NOT NULL,
  version bigint DEFAULT 0 NOT NULL,
  synced_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT stripe_syncs_pkey PRIMARY KEY (object_id)
);

CREATE TABLE subscriptions (
  subscription_id text NOT NULL,
  account_id bigint NOT NULL,
  customer_id text NOT NULL,
  status text NOT NULL,
  plan text,
  quantity integer NOT NULL,
  period_start timestamp with time zone,
  period_end timestamp with time zone,
  paid_until timestamp with time zone,
  cancel_at timestamp with time zone,
  ended_at timestamp with time zone,
  synced_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT subscriptions_pkey PRIMARY KEY (subscription_id),
  CONSTRAINT subscriptions_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts(account_id)
);

CREATE TABLE usage_days (
  account_id bigint NOT NULL,
  day date NOT NULL,
  key_id bigint NOT NULL,
  model text NOT NULL,
  requests bigint NOT NULL,
  input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  credits bigint NOT NULL,
  CONSTRAINT usage_days_pkey PRIMARY KEY (account_id, day, key_id, model)
) WITH (fillfactor=70);

CREATE TABLE usage_folds (
  account_id bigint NOT NULL,
  seq bigint NOT NULL,
  balance bigint NOT NULL,
  CONSTRAINT usage_folds_pkey PRIMARY KEY (account_id)
) WITH (fillfactor=70);

CREATE TABLE wallets (
  account_id bigint NOT NULL,
  posted bigint DEFAULT 0 NOT NULL,
  held bigint DEFAULT 0 NOT NULL,
  debt bigint DEFAULT 0 NOT NULL,
  overdraft bigint DEFAULT 0 NOT NULL,
  dormant bigint DEFAULT 0 NOT NULL,
  seq bigint DEFAULT 0 NOT NULL,
  policy_version bigint DEFAULT 1 NOT NULL,
  head_left bigint DEFAULT 0 NOT NULL,
  next_change_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
  policy_changes_at timestamp with time zone DEFAULT 'infinity'::timestamp with time zone NOT NULL,
  head_lot uuid,
  status smallint DEFAULT 0 NOT NULL,
  budgeted boolean DEFAULT false NOT NULL,
  low_below bigint DEFAULT 0 NOT NULL,
  CONSTRAINT wallets_pkey PRIMARY KEY (account_id),
  CONSTRAINT wallet_amounts_fit CHECK ((((posted >= '-1000000000000000000'::bigint) AND (posted <= '1000000000000000000'::bigint)) AND ((posted + dormant) <= '1000000000000000000'::bigint) AND (held <= '1000000000000000000'::bigint) AND (overdraft <= '1000000000000000000'::bigint) AND (dormant <= '1000000000000000000'::bigint))),
  CONSTRAINT wallet_debt_is_not_negative CHECK ((debt >= 0)),
  CONSTRAINT wallet_debt_leaves_no_live_credit CHECK (((head_left >= 0) AND ((debt = 0) OR (head_left = 0)))),
  CONSTRAINT wallet_dormant_is_not_negative CHECK ((dormant >= 0)),
  CONSTRAINT wallet_held_is_not_negative CHECK ((held >= 0)),
  CONSTRAINT wallet_overdraft_is_not_negative CHECK ((overdraft >= 0)),
  CONSTRAINT wallet_status_is_known CHECK ((status = ANY (ARRAY[0, 1])))
) WITH (fillfactor=30, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=2000, autovacuum_vacuum_cost_delay=0);

CREATE TABLE entries_default PARTITION OF entries DEFAULT;

-- Indexes

CREATE INDEX adjustments_of_payment ON tollgate.adjustments USING btree (account_id, payment) WHERE (payment IS NOT NULL);

CREATE INDEX api_keys_of_account ON tollgate.api_keys USING btree (account_id, key_id);

CREATE INDEX audit_of_account ON tollgate.audit USING btree (account_id, audit_id);

CREATE INDEX audit_of_action ON tollgate.audit USING btree (action, audit_id);

CREATE INDEX audit_of_author ON tollgate.audit USING btree (author, audit_id);

CREATE INDEX audit_of_target ON tollgate.audit USING btree (target, audit_id);

CREATE UNIQUE INDEX audit_tells_references_once ON tollgate.audit USING btree (action, target, reference) WHERE (reference IS NOT NULL);

CREATE INDEX auto_recharge_enabled ON tollgate.auto_recharge USING btree (account_id) WHERE enabled;

CREATE INDEX auto_recharge_of_customer ON tollgate.auto_recharge USING btree (customer) WHERE (customer IS NOT NULL);

CREATE INDEX background_responses_due ON tollgate.background_responses USING btree (due_at);

CREATE INDEX checkouts_of_account ON tollgate.checkouts USING btree (account_id, checkout_id);

CREATE INDEX entries_apart ON ONLY tollgate.entries USING btree (account_id, seq) WHERE (kind <> ALL (ARRAY[2, 3]));

CREATE INDEX holds_expiring ON tollgate.holds USING btree (account_id, expires_at) WHERE (expires_at < 'infinity'::timestamp with time zone);

CREATE INDEX idempotency_expiring ON tollgate.idempotency USING btree (expires_at);

CREATE INDEX idempotency_kept ON tollgate.idempotency USING btree (account_id, claimed_at) WHERE (state = 1);

CREATE INDEX lots_burn_order ON tollgate.lots USING btree (account_id, priority, expires_at, created_at, lot_id) WHERE (state < 3);

CREATE INDEX lots_of_payments ON tollgate.lots USING btree (payment_named(reference)) WHERE (payment_named(reference) IS NOT NULL);

CREATE INDEX outbox_order ON tollgate.outbox USING btree (xid, event_id);

CREATE UNIQUE INDEX outbox_tells_once ON tollgate.outbox USING btree (account_id, type, key) WHERE (key IS NOT NULL);

CREATE INDEX payments_by_intent ON tollgate.payments USING btree (payment_intent) WHERE (payment_intent IS NOT NULL);

CREATE INDEX payments_of_account ON tollgate.payments USING btree (account_id, created_at);

CREATE INDEX payments_of_subscription ON tollgate.payments USING btree (subscription_id) WHERE (subscription_id IS NOT NULL);

CREATE INDEX price_overrides_waiting ON tollgate.price_overrides USING btree (effective_at);

CREATE UNIQUE INDEX recharge_in_flight_is_one ON tollgate.recharges USING btree (account_id) WHERE (ended_at IS NULL);

CREATE INDEX recharges_due ON tollgate.recharges USING btree (due_at) WHERE (ended_at IS NULL);

CREATE INDEX recharges_of_account ON tollgate.recharges USING btree (account_id, created_at);

CREATE INDEX stored_ids_by_age ON tollgate.stored_ids USING brin (at) WITH (autosummarize='on');

CREATE INDEX stripe_events_due ON tollgate.stripe_events USING btree (due_at) WHERE (state = 'waiting'::text);

CREATE INDEX stripe_events_of_object ON tollgate.stripe_events USING btree (object_kind, object_id) WHERE (state = ANY (ARRAY['waiting'::text, 'dead'::text]));

CREATE INDEX stripe_events_of_state ON tollgate.stripe_events USING btree (state, received_at, event_id);

CREATE INDEX stripe_events_received ON tollgate.stripe_events USING btree (received_at, event_id);

CREATE INDEX stripe_events_with_body ON tollgate.stripe_events USING btree (received_at) WHERE (body IS NOT NULL);

CREATE INDEX subscriptions_of_account ON tollgate.subscriptions USING btree (account_id);

CREATE INDEX wallets_due ON tollgate.wallets USING btree (next_change_at) WHERE (next_change_at <> 'infinity'::timestamp with time zone);

CREATE INDEX wallets_policy_due ON tollgate.wallets USING btree (policy_changes_at) WHERE (policy_changes_at <> 'infinity'::timestamp with time zone);

-- Functions

CREATE OR REPLACE FUNCTION tollgate.account_erase(p_account bigint, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.catalog_advance(p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_now timestamptz := coalesce(p_at, clock_timestamp());
BEGIN
  PERFORM FROM catalog_state WHERE next_change_at <= v_now FOR UPDATE;
  IF FOUND THEN
    UPDATE catalog_state SET version = version + 1, next_change_at = catalog_next_change(v_now);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.catalog_at(p_at timestamp with time zone)
 RETURNS TABLE(kind text, name text, version integer, body jsonb, deleted boolean)
 LANGUAGE sql
 STABLE
AS $function$
  SELECT e.kind, e.name, e.version, e.body, e.deleted FROM (
    SELECT DISTINCT ON (t.kind, t.name) t.* FROM catalog_entries t WHERE t.created_at <= p_at AND t.effective_at <= p_at
      ORDER BY t.kind, t.name, t.version DESC) e
    ORDER BY e.created_at
$function$;

CREATE OR REPLACE FUNCTION tollgate.catalog_awaits(p_now timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE catalog_state SET next_change_at = catalog_next_change(p_now);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.catalog_body(p_kind text, p_name text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  SELECT CASE WHEN NOT deleted THEN body END FROM catalog_entries, catalog_state
    WHERE kind = p_kind AND name = p_name AND effective_at < next_change_at ORDER BY catalog_entries.version DESC LIMIT 1
$function$;

CREATE OR REPLACE FUNCTION tollgate.catalog_changed(p_now timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE catalog_state SET version = version + 1, next_change_at = catalog_next_change(p_now);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.catalog_in_force(p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS TABLE(catalog_version bigint, kind text, name text, version integer, body jsonb, deleted boolean)
 LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
BEGIN
  PERFORM catalog_advance(p_at);
  RETURN QUERY
    SELECT s.version, e.kind, e.name, e.version, e.body, e.deleted
      FROM catalog_state s LEFT JOIN (
        SELECT DISTINCT ON (t.kind, t.name) t.* FROM catalog_entries t, catalog_state c WHERE t.effective_at < c.next_change_at
          ORDER BY t.kind, t.name, t.version DESC) e ON true
      ORDER BY e.created_at;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.catalog_lock()
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_now timestamptz;
BEGIN
  PERFORM FROM catalog_state FOR UPDATE;
  v_now := clock_timestamp();
  PERFORM catalog_advance(v_now);
  RETURN v_now;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.catalog_next_change(p_after timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE
AS $function$
  SELECT least((SELECT min(effective_at) FROM catalog_entries WHERE effective_at > p_after),
    (SELECT min(effective_at) FROM price_overrides WHERE effective_at > p_after),
    (SELECT min(expires_at) FROM service_keys WHERE expires_at > p_after), 'infinity')
$function$;

CREATE OR REPLACE FUNCTION tollgate.credits_text(p_nano bigint)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  SELECT trim_scale(p_nano * 0.000000001)::text
$function$;

CREATE OR REPLACE FUNCTION tollgate.default_plan()
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  SELECT name FROM (
    SELECT DISTINCT ON (e.name) e.* FROM catalog_entries e, catalog_state s
      WHERE e.kind = 'plan' AND e.effective_at < s.next_change_at ORDER BY e.name, e.version DESC) p
    WHERE NOT deleted AND body->'default' = 'true' ORDER BY created_at DESC LIMIT 1
$function$;

CREATE OR REPLACE FUNCTION tollgate.entitlement_put(p_account bigint, p_id bigint, p_source text, p_key text, p_reference text, p_value jsonb, p_from timestamp with time zone, p_until timestamp with time zone, p_reason text, p_author text, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS SETOF entitlements
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.entitlements_at(p_account bigint, p_at timestamp with time zone)
 RETURNS SETOF entitlements
 LANGUAGE sql
 STABLE
AS $function$
  SELECT * FROM (
    SELECT DISTINCT ON (source, key, reference) * FROM entitlements
      WHERE account_id = p_account AND created_at <= p_at AND valid_from <= p_at
      ORDER BY source, key, reference, version DESC) e
    WHERE value IS NOT NULL AND p_at < valid_until
    ORDER BY version
$function$;

CREATE OR REPLACE FUNCTION tollgate.entitlements_now(p_account bigint, OUT at timestamp with time zone, OUT due boolean, OUT statements jsonb)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
BEGIN
  at := greatest(clock_timestamp(), (SELECT max(e.created_at) FROM entitlements e WHERE e.account_id = p_account));
  due := at >= (SELECT w.policy_changes_at FROM wallets w WHERE w.account_id = p_account);
  SELECT jsonb_agg(jsonb_build_object('id', e.entitlement_id::text, 'version', e.version, 'source', e.source, 'key', e.key,
      'reference', e.reference, 'value', e.value, 'from', e.valid_from,
      'until', CASE WHEN e.valid_until < 'infinity' THEN e.valid_until END, 'reason', e.reason, 'author', e.author,
      'created', e.created_at)) INTO statements
    FROM entitlements_at(p_account, at) e;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.idempotency_claim(p_account bigint, p_key bigint, p_name bytea, p_fingerprint bytea, p_request uuid, p_owner bigint, p_policy bigint, p_catalog bigint, p_piece integer, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone, OUT outcome text, OUT request uuid, OUT answer bytea, OUT size integer)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.idempotency_end(p_account bigint, p_key bigint, p_name bytea, p_request uuid, p_state smallint, p_answer bytea, p_room bigint)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.idempotency_expire(p_limit integer, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.idempotency_piece(p_account bigint, p_key bigint, p_name bytea, p_request uuid, p_from integer, p_piece integer)
 RETURNS bytea
 LANGUAGE sql
 STABLE
AS $function$
  SELECT substring(answer FROM p_from + 1 FOR p_piece) FROM idempotency
    WHERE account_id = p_account AND key_id = p_key AND name = p_name AND request_id = p_request AND state = 1
$function$;

CREATE OR REPLACE FUNCTION tollgate.idempotency_standing(r idempotency, p_now timestamp with time zone)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.key_rotate(p_account bigint, p_key bigint, p_new bigint, p_hash bytea, p_overlap integer, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_adjust(INOUT w wallets, p_id uuid, p_amount bigint, p_terms bytea, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  v_book smallint := (t->>'book')::smallint;
  a adjustments;
  burnt record;
  v_lot uuid;
BEGIN
  SELECT * INTO a FROM adjustments WHERE account_id = w.account_id AND reference = t->>'reference';
  amount := coalesce(a.amount, 0);
  IF FOUND THEN
    outcome := CASE WHEN a.amount <> p_amount THEN 11 WHEN a.book <> v_book THEN 17 ELSE 2 END;
    RETURN;
  END IF;
  IF p_amount > 0 AND NOT ledger_scale_is((t->>'per_usd')::bigint) THEN outcome := 51; RETURN; END IF;

  amount := p_amount;
  INSERT INTO adjustments (account_id, reference, id, amount, at, book, reason)
    VALUES (w.account_id, t->>'reference', p_id, p_amount, p_now, v_book, t->>'reason');
  IF p_amount > 0 THEN
    v_lot := p_id;
    w.dormant := w.dormant + p_amount;
    INSERT INTO lots (account_id, lot_id, kind, state, granted, remaining, starts_at, created_at, reference, reason)
      VALUES (w.account_id, p_id, 14, 0, p_amount, p_amount, p_now, p_now, 'adjustment ' || p_id, t->>'reason');
  ELSE
    SELECT * INTO burnt FROM ledger_burn(w, -p_amount, p_id, 7::smallint, p_now);
    w := burnt.w;
    v_lot := burnt.paid_by;
  END IF;
  w.seq := w.seq + 1;
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
    VALUES (w.account_id, p_id, 7, w.seq, p_amount, w.posted + w.dormant, CASE WHEN p_amount > 0 THEN v_book ELSE 1 END,
            CASE WHEN p_amount > 0 THEN 1 ELSE v_book END, v_lot, p_now);
  w := ledger_refresh(w, p_now);
  outcome := 1;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_apply(p_op smallint[], p_account bigint[], p_id uuid[], p_key bigint[], p_amount bigint[], p_least bigint[], p_floor bigint[], p_version bigint[], p_catalog bigint[], p_on_orphan smallint[], p_ttl integer[], p_start integer[], p_length integer[], p_data bytea, p_owner bigint, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone, OUT ord bigint[], OUT outcome smallint[], OUT amount bigint[], OUT available bigint[], OUT held bigint[])
 RETURNS record
 LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
DECLARE
  v_now timestamptz;
  v_catalog bigint;
  -- New ids are about as old as the batch: the partitions of other months are left out when the plan starts, however many
  -- there are. An id from outside, of a gateway whose clock is days off, is no plain one.
  v_from uuid;
  v_to uuid;
  v_distinct boolean;
  v_missed bigint;
  w wallets;
  o record;
  r record;
BEGIN
  PERFORM FROM wallets WHERE account_id = ANY (p_account) ORDER BY account_id FOR UPDATE;
  v_now := coalesce(p_at, clock_timestamp());
  v_from := uuid_floor(v_now - interval '2 days');
  v_to := uuid_floor(v_now + interval '2 days');
  SELECT version + (v_now >= next_change_at)::integer INTO v_catalog FROM catalog_state;
  SELECT count(DISTINCT u) = count(*) INTO v_distinct FROM unnest(p_id) u;

  WITH o AS (
    SELECT u.i, u.op, u.account_id, w.ctid AS wallet, w.posted - w.held AS free, w.overdraft, w.held, w.posted + w.dormant AS book,
      w.seq, w.head_lot, w.head_left, coalesce(h.amount, 0) AS freed, h.key_id AS hold_key,
      h.ctid AS hold,
      CASE u.op WHEN 1 THEN u.amount ELSE 0 END AS charge,
      CASE u.op WHEN 4 THEN u.amount ELSE 0 END AS want,
      coalesce(v_distinct AND v_now < w.next_change_at AND CASE
        WHEN u.op IN (1, 2) THEN h.id IS NOT NULL AND NOT h.budgeted
        WHEN u.op = 4 THEN h.id IS NULL AND s.state = 0 AND s.expires_at > v_now AND w.status = 0
          AND s.budget IS NULL AND NOT w.budgeted AND p_ttl[u.i] = 0
          AND p_version[u.i] >= w.policy_version AND v_now < w.policy_changes_at AND p_catalog[u.i] >= v_catalog
          AND u.id >= v_from AND u.id < v_to AND NOT EXISTS (SELECT FROM entries e
            WHERE e.account_id = u.account_id AND e.id = u.id AND e.id >= v_from AND e.id < v_to)
        ELSE false END, false) AS plain
    FROM unnest(p_op, p_account, p_id, p_amount) WITH ORDINALITY AS u (op, account_id, id, amount, i)
      JOIN wallets w ON w.account_id = u.account_id
      LEFT JOIN holds h ON h.account_id = u.account_id AND h.id = u.id
      LEFT JOIN spenders s ON u.op = 4 AND s.account_id = u.account_id AND s.key_id = p_key[u.i]
  ), v AS MATERIALIZED (
    SELECT i, op, account_id, wallet, seq, hold, hold_key, head_lot, charge, want,
      bool_and(plain) OVER a AND total(charge) OVER a <= head_left
        AND (total(want) OVER a = 0 OR total(want) OVER a <= free - total(charge) OVER a + total(freed) OVER a + overdraft) AS fast,
      total(charge) OVER a AS all_charge, total(want - freed) OVER a AS all_held, count(*) FILTER (WHERE op < 4) OVER a AS all_entries,
      book - total(charge) OVER r AS balance, free - total(charge + want - freed) OVER r AS free,
      held + total(want - freed) OVER r AS held, row_number() OVER r AS n
    FROM o
    WINDOW r AS (PARTITION BY account_id ORDER BY op = 4, i ROWS UNBOUNDED PRECEDING),
      a AS (PARTITION BY account_id ORDER BY op = 4, i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
  ), ended AS (
    DELETE FROM holds h USING (SELECT hold FROM v WHERE fast AND op < 4 OFFSET 0) d WHERE h.ctid = d.hold RETURNING 1
  ), booked AS (
    INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, key_id, at, receipt)
    SELECT account_id, p_id[i], op + 1, seq + n, -charge, balance, 1, 2,
      CASE WHEN charge > 0 THEN head_lot END, hold_key, v_now, substring(p_data FROM p_start[i] FOR p_length[i])
    FROM v WHERE fast AND op < 4
  ), opened AS (
    INSERT INTO holds (account_id, id, key_id, amount, floor, owner, on_orphan, opened_at, frozen)
    SELECT account_id, p_id[i], p_key[i], want, least(p_floor[i], want), p_owner, p_on_orphan[i], v_now,
      substring(p_data FROM p_start[i] FOR p_length[i])
    FROM v WHERE fast AND op = 4
  ), moved AS (
    UPDATE wallets w SET posted = w.posted - d.all_charge, held = w.held + d.all_held,
      head_left = w.head_left - d.all_charge, seq = w.seq + d.all_entries
    FROM (SELECT wallet, all_charge, all_held, all_entries FROM v WHERE fast AND n = 1 OFFSET 0) d WHERE w.ctid = d.wallet
  )
  SELECT array_agg(i), array_agg(1::smallint), array_agg(charge + want), array_agg(free), array_agg(v.held),
      count(*) FILTER (WHERE op < 4) - (SELECT count(*) FROM ended)
    INTO ord, outcome, amount, available, held, v_missed
    FROM v WHERE fast;
  -- A heartbeat moved a row between the look and the deletion. All else waits for the wallet's lock.
  IF v_missed > 0 THEN RAISE EXCEPTION 'a hold was being noted' USING ERRCODE = 'serialization_failure'; END IF;

  IF cardinality(ord) = cardinality(p_op) THEN RETURN; END IF;

  FOR o IN
    SELECT * FROM unnest(p_op, p_account, p_id, p_key, p_amount, p_least, p_floor, p_version, p_catalog, p_on_orphan, p_ttl,
        p_start, p_length) WITH ORDINALITY
        AS u (op, account_id, id, key_id, amount, least, floor, version, catalog, on_orphan, ttl, start, length, i)
      WHERE ord IS NULL OR i <> ALL (ord)
      ORDER BY account_id, op IN (4, 8, 9), i
  LOOP
    IF w.account_id IS DISTINCT FROM o.account_id THEN
      PERFORM ledger_store(w);
      SELECT * INTO w FROM wallets WHERE account_id = o.account_id;
    END IF;
    SELECT w, 0::smallint AS outcome, 0::bigint AS amount INTO r;
    IF w.account_id IS NOT NULL THEN
      IF v_now >= w.next_change_at THEN w := ledger_refresh(w, v_now); END IF;
      CASE o.op
        WHEN 1 THEN
          SELECT * INTO r FROM ledger_settle(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 2 THEN
          SELECT * INTO r FROM ledger_release(w, o.id, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 3 THEN
          SELECT * INTO r FROM ledger_grant(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 4 THEN
          SELECT * INTO r FROM ledger_hold(w, o.id, o.key_id, o.amount, o.least, o.floor, o.version, o.catalog, o.on_orphan,
              o.ttl, substring(p_data FROM o.start FOR o.length), p_owner, v_now);
        WHEN 5 THEN
          SELECT * INTO r FROM ledger_extend(w, o.id, o.amount, o.least, v_now);
        WHEN 6 THEN
          SELECT * INTO r FROM ledger_adjust(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 7 THEN
          SELECT * INTO r FROM ledger_reverse(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
        WHEN 8 THEN
          SELECT * INTO r FROM ledger_consume(w, o.id, o.key_id, o.amount, o.version, o.catalog,
              substring(p_data FROM o.start FOR o.length), p_owner, v_now);
        WHEN 9 THEN
          SELECT * INTO r FROM ledger_reserve(w, o.id, o.key_id, o.amount, o.version, o.catalog, o.ttl,
              substring(p_data FROM o.start FOR o.length), p_owner, v_now);
        WHEN 10 THEN
          SELECT * INTO r FROM ledger_enlarge(w, o.id, o.amount, substring(p_data FROM o.start FOR o.length), v_now);
      END CASE;
      w := r.w;
    END IF;
    ord := ord || o.i;
    outcome := outcome || r.outcome;
    amount := amount || r.amount;
    available := available || coalesce(w.posted - w.held, 0);
    held := held || coalesce(w.held, 0);
  END LOOP;
  PERFORM ledger_store(w);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_book_charge(INOUT w wallets, p_id uuid, p_kind smallint, p_amount bigint, p_key bigint, p_receipt bytea, p_opened_at timestamp with time zone, p_now timestamp with time zone)
 RETURNS wallets
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_plain boolean := p_amount BETWEEN 0 AND w.head_left AND p_now < w.next_change_at; -- the head lot alone pays
  burnt record;
  v_lot uuid;
BEGIN
  IF v_plain THEN
    w.posted := w.posted - p_amount;
    w.head_left := w.head_left - p_amount;
    v_lot := CASE WHEN p_amount > 0 THEN w.head_lot END;
  ELSIF p_amount >= 0 THEN
    SELECT * INTO burnt FROM ledger_burn(w, p_amount, p_id, p_kind, p_opened_at);
    w := burnt.w;
    v_lot := burnt.paid_by;
  ELSE
    w := ledger_give_back(w, -p_amount, p_id, p_kind, p_now);
  END IF;
  w.seq := w.seq + 1;
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, key_id, at, receipt)
    VALUES (w.account_id, p_id, p_kind, w.seq, -p_amount, w.posted + w.dormant, CASE WHEN p_amount < 0 THEN 2 ELSE 1 END,
            CASE WHEN p_amount < 0 THEN 1 ELSE 2 END, v_lot, p_key, p_now, p_receipt);
  IF NOT v_plain THEN w := ledger_refresh(w, p_now); END IF;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_budget_end(h holds, p_charge bigint)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE spenders SET held = held - h.amount, spent = spent + p_charge
    WHERE account_id = h.account_id AND key_id IN (0, h.key_id) AND budget IS NOT NULL AND h.opened_at >= period_start;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_budget_late(p_account bigint, p_key bigint, p_at timestamp with time zone, p_more bigint, p_now timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM ledger_budget_turn(p_account, p_key, p_now);
  UPDATE spenders SET spent = greatest(spent + p_more, 0)
    WHERE account_id = p_account AND key_id IN (0, p_key) AND budget IS NOT NULL AND p_at >= period_start
      AND (p_more > 0 OR period = 3);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_budget_room(p_account bigint, p_key bigint, p_opened_at timestamp with time zone, p_now timestamp with time zone, OUT key_room bigint, OUT account_room bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM ledger_budget_turn(p_account, p_key, p_now);
  SELECT min(budget - held - spent) FILTER (WHERE key_id <> 0), min(budget - held - spent) FILTER (WHERE key_id = 0)
    INTO key_room, account_room FROM spenders
    WHERE account_id = p_account AND key_id IN (0, p_key) AND budget IS NOT NULL AND period_start <= p_opened_at;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_budget_turn(p_account bigint, p_key bigint, p_now timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE spenders SET period_start = period_floor(period, p_now), held = 0, spent = 0
    WHERE account_id = p_account AND key_id IN (0, p_key) AND budget IS NOT NULL AND period_start < period_floor(period, p_now);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_burn(INOUT w wallets, p_amount bigint, p_id uuid, p_kind smallint, p_opened_at timestamp with time zone, OUT paid_by uuid)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  l lots;
  v_left bigint := p_amount;
  v_part bigint;
  v_lots uuid[] := '{}';
  v_parts bigint[] := '{}';
BEGIN
  UPDATE lots SET remaining = w.head_left WHERE account_id = w.account_id AND lot_id = w.head_lot;
  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND remaining > 0
             AND (state = 1 OR state = 2 AND expires_at > p_opened_at)
           ORDER BY state DESC, priority, expires_at, created_at, lot_id LOOP
    EXIT WHEN v_left = 0;
    v_part := least(v_left, l.remaining);
    v_left := v_left - v_part;
    IF l.state = 1 THEN w.posted := w.posted - v_part; ELSE w.dormant := w.dormant - v_part; END IF;
    UPDATE lots SET remaining = remaining - v_part WHERE account_id = l.account_id AND lot_id = l.lot_id;
    IF l.lot_id = w.head_lot THEN w.head_left := w.head_left - v_part; END IF;
    v_lots := v_lots || l.lot_id;
    v_parts := v_parts || v_part;
  END LOOP;
  w.debt := w.debt + v_left;
  w.posted := w.posted - v_left;
  IF cardinality(v_lots) = 1 AND v_left = 0 THEN
    paid_by := v_lots[1];
  ELSE
    INSERT INTO allocations (account_id, id, kind, lot_id, amount)
      SELECT w.account_id, p_id, p_kind, t.lot_id, t.amount FROM unnest(v_lots, v_parts) AS t (lot_id, amount);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_claw(INOUT w wallets, p_amount bigint, p_id uuid, p_lots uuid[], OUT paid_by uuid)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  l lots;
  v_left bigint := p_amount;
  v_part bigint;
  v_lots uuid[] := '{}';
  v_parts bigint[] := '{}';
BEGIN
  UPDATE lots SET remaining = w.head_left WHERE account_id = w.account_id AND lot_id = w.head_lot;
  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND remaining > 0
             AND (state = 1 OR state < 3 AND lot_id = ANY (p_lots))
           ORDER BY lot_id = ANY (p_lots) DESC, state, CASE state WHEN 0 THEN starts_at END DESC,
             priority, expires_at, created_at, lot_id LOOP
    EXIT WHEN v_left = 0;
    v_part := least(v_left, l.remaining);
    v_left := v_left - v_part;
    IF l.state = 1 THEN w.posted := w.posted - v_part; ELSE w.dormant := w.dormant - v_part; END IF;
    UPDATE lots SET remaining = remaining - v_part WHERE account_id = l.account_id AND lot_id = l.lot_id;
    IF l.lot_id = w.head_lot THEN w.head_left := w.head_left - v_part; END IF;
    v_lots := v_lots || l.lot_id;
    v_parts := v_parts || v_part;
  END LOOP;
  w.debt := w.debt + v_left;
  w.posted := w.posted - v_left;
  IF cardinality(v_lots) = 1 AND v_left = 0 THEN
    paid_by := v_lots[1];
  ELSE
    INSERT INTO allocations (account_id, id, kind, lot_id, amount)
      SELECT w.account_id, p_id, 7, t.lot_id, t.amount FROM unnest(v_lots, v_parts) AS t (lot_id, amount);
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_clawback(p_account bigint, p_id uuid, p_amount bigint, p_payment text, p_lots uuid[], p_reference text, p_reason text, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS smallint
 LANGUAGE plpgsql
AS $function$
DECLARE
  w wallets;
  a adjustments;
  v_now timestamptz;
  v_taken bigint;
  v_lot uuid;
  r record;
BEGIN
  SELECT * INTO w FROM wallets WHERE account_id = p_account FOR UPDATE;
  IF NOT FOUND THEN RETURN 0; END IF;
  SELECT * INTO a FROM adjustments WHERE account_id = p_account AND reference = p_reference;
  IF FOUND THEN
    RETURN CASE WHEN a.amount <> p_amount THEN 11 WHEN a.payment IS DISTINCT FROM p_payment THEN 17 ELSE 2 END;
  END IF;
  IF p_payment IS NULL OR p_lots IS NULL THEN
    RAISE EXCEPTION 'a clawback is of a payment and its lots' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  SELECT -total(amount) INTO v_taken FROM adjustments WHERE account_id = p_account AND payment = p_payment;
  IF v_taken < p_amount THEN
    RAISE EXCEPTION 'giving back % of payment % exceeds the % that was taken', p_amount, p_payment, v_taken
      USING ERRCODE = 'check_violation', CONSTRAINT = 'clawback_returns_what_was_taken', TABLE = 'adjustments';
  END IF;
  IF p_amount < 0 AND v_taken - p_amount > (SELECT total(granted) FROM lots
      WHERE account_id = p_account AND lot_id = ANY (p_lots)) THEN
    RAISE EXCEPTION 'taking % of payment % after % exceeds what it granted', -p_amount, p_payment, v_taken
      USING ERRCODE = 'check_violation', CONSTRAINT = 'clawback_is_within_the_grant', TABLE = 'adjustments';
  END IF;

  v_now := coalesce(p_at, clock_timestamp());
  IF v_now >= w.next_change_at THEN w := ledger_refresh(w, v_now); END IF;
  IF p_amount > 0 THEN
    SELECT * INTO r FROM ledger_clawed(p_account, p_payment, p_lots);
    w := ledger_put_back(w, p_amount, p_id, 7::smallint, r.taken_from, r.shares, v_now);
  ELSE
    SELECT * INTO r FROM ledger_claw(w, -p_amount, p_id, p_lots);
    w := r.w;
    v_lot := r.paid_by;
  END IF;
  INSERT INTO adjustments (account_id, reference, id, amount, at, book, reason, payment)
    VALUES (p_account, p_reference, p_id, p_amount, v_now, 4, p_reason, p_payment);
  w.seq := w.seq + 1;
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
    VALUES (p_account, p_id, 7, w.seq, p_amount, w.posted + w.dormant, CASE WHEN p_amount > 0 THEN 4 ELSE 1 END,
            CASE WHEN p_amount > 0 THEN 1 ELSE 4 END, v_lot, v_now);
  PERFORM ledger_store(ledger_refresh(w, v_now));
  RETURN 1;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_clawed(p_account bigint, p_payment text, p_lots uuid[], OUT taken_from uuid[], OUT shares bigint[])
 RETURNS record
 LANGUAGE plpgsql
 STABLE
AS $function$
#variable_conflict use_column
BEGIN
  SELECT array_agg(o.lot_id ORDER BY o.n), array_agg(o.share ORDER BY o.n) INTO taken_from, shares
    FROM (
      SELECT s.lot_id, s.share, row_number() OVER (ORDER BY s.seq DESC, l.lot_id = ANY (p_lots),
          CASE WHEN l.starts_at > s.at THEN 0 WHEN l.expires_at > s.at THEN 1 ELSE 2 END DESC,
          CASE WHEN l.starts_at > s.at THEN l.starts_at END,
          l.priority DESC, l.expires_at DESC, l.created_at DESC, l.lot_id DESC) AS n
        FROM (
          SELECT g.lot_id, total(CASE WHEN e.amount < 0 THEN g.amount ELSE -g.amount END) AS share,
              max(e.seq) FILTER (WHERE e.amount < 0) AS seq, max(e.at) FILTER (WHERE e.amount < 0) AS at
            FROM adjustments d
              JOIN entries e ON e.account_id = d.account_id AND e.id = d.id AND e.kind = 7
              CROSS JOIN LATERAL (
                SELECT a.lot_id, a.amount FROM allocations a WHERE a.account_id = e.account_id AND a.id = e.id AND a.kind = 7
                UNION ALL SELECT e.lot_id, abs(e.amount) WHERE e.lot_id IS NOT NULL
              ) AS g (lot_id, amount)
            WHERE d.account_id = p_account AND d.payment = p_payment
            GROUP BY g.lot_id
        ) s JOIN lots l ON l.account_id = p_account AND l.lot_id = s.lot_id
        WHERE s.share > 0
    ) o;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_close_hold(INOUT w wallets, h holds, p_charge bigint)
 RETURNS wallets
 LANGUAGE plpgsql
AS $function$
BEGIN
  DELETE FROM holds WHERE account_id = h.account_id AND id = h.id;
  w.held := w.held - h.amount;
  IF h.budgeted THEN PERFORM ledger_budget_end(h, p_charge); END IF;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_consume(INOUT w wallets, p_id uuid, p_key bigint, p_amount bigint, p_version bigint, p_catalog bigint, p_terms bytea, p_owner bigint, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  v_want bigint := CASE WHEN (t->>'may_owe')::boolean THEN 0 ELSE p_amount END;
  r record;
BEGIN
  SELECT n.outcome, n.amount INTO outcome, amount FROM ledger_named(w.account_id, 1::smallint, t) n;
  IF outcome IS NOT NULL THEN RETURN; END IF;
  SELECT * INTO r FROM ledger_hold(w, p_id, p_key, v_want, v_want, 0::bigint, p_version, p_catalog, 0::smallint, 0, ''::bytea,
      p_owner, p_now);
  outcome := r.outcome;
  amount := 0;
  IF outcome <> 1 THEN RETURN; END IF;
  SELECT * INTO r FROM ledger_settle(r.w, p_id, p_amount, convert_to(t->>'receipt', 'UTF8'), p_now);
  w := r.w;
  amount := p_amount;
  INSERT INTO named_operations (account_id, kind, name, id, amount, at, fields)
    VALUES (w.account_id, 1, t->>'name', p_id, p_amount, p_now, t->'fields');
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_end_owner(p_owner bigint, p_limit integer)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  h holds;
  w wallets;
  v_account bigint;
  v_accounts bigint[];
  v_now timestamptz;
  v_ended integer := 0;
  v_of_account integer;
BEGIN
  SELECT array_agg(DISTINCT t.account_id) INTO v_accounts
    FROM (SELECT account_id FROM holds WHERE owner = p_owner ORDER BY account_id, id LIMIT p_limit) t;
  PERFORM FROM wallets WHERE account_id = ANY (v_accounts) ORDER BY account_id FOR UPDATE;
  v_now := clock_timestamp();
  FOREACH v_account IN ARRAY coalesce(v_accounts, '{}') LOOP
    BEGIN
      v_of_account := 0;
      SELECT * INTO w FROM wallets WHERE account_id = v_account;
      IF v_now >= w.next_change_at THEN w := ledger_refresh(w, v_now); END IF;
      FOR h IN SELECT * FROM holds WHERE owner = p_owner AND account_id = v_account ORDER BY id LIMIT p_limit - v_ended LOOP
        w := ledger_recover(w, h, v_now);
        v_of_account := v_of_account + 1;
      END LOOP;
      PERFORM ledger_store(w);
      v_ended := v_ended + v_of_account;
    EXCEPTION WHEN integrity_constraint_violation OR raise_exception OR data_exception THEN
      RAISE WARNING 'the holds of account % cannot be ended: %', v_account, sqlerrm;
    END;
  END LOOP;
  DELETE FROM owners o WHERE o.owner = p_owner AND NOT EXISTS (SELECT FROM holds t WHERE t.owner = p_owner);
  RETURN v_ended;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_enlarge(INOUT w wallets, p_id uuid, p_amount bigint, p_terms bytea, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  v_whole bigint;
  r record;
BEGIN
  SELECT n.outcome, n.amount INTO outcome, amount FROM ledger_named(w.account_id, 3::smallint, t) n;
  IF outcome IS NOT NULL THEN RETURN; END IF;
  SELECT p_amount + h.amount INTO v_whole FROM holds h WHERE h.account_id = w.account_id AND h.id = p_id;
  SELECT * INTO r FROM ledger_extend(w, p_id, v_whole, v_whole, p_now);
  outcome := r.outcome;
  amount := 0;
  IF outcome <> 1 THEN RETURN; END IF;
  w := r.w;
  amount := p_amount;
  INSERT INTO named_operations (account_id, kind, name, id, amount, at, fields)
    VALUES (w.account_id, 3, t->>'name', p_id, p_amount, p_now, t->'fields');
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_expire_due(p_limit integer, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  w wallets;
  v_now timestamptz;
  v_done integer := 0;
BEGIN
  FOR w IN SELECT * FROM wallets WHERE next_change_at <= coalesce(p_at, clock_timestamp())
           ORDER BY next_change_at LIMIT p_limit + 1000 FOR UPDATE SKIP LOCKED LOOP
    EXIT WHEN v_done >= p_limit;
    BEGIN
      v_now := coalesce(p_at, clock_timestamp());
      PERFORM ledger_store(ledger_refresh(w, v_now));
      v_done := v_done + 1;
    EXCEPTION WHEN integrity_constraint_violation OR raise_exception OR data_exception THEN
      RAISE WARNING 'account % cannot be brought to now: %', w.account_id, sqlerrm;
    END;
  END LOOP;
  RETURN v_done;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_extend(INOUT w wallets, p_id uuid, p_want bigint, p_least bigint, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  h holds;
  t record;
BEGIN
  amount := 0;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF NOT FOUND THEN
    PERFORM FROM entries WHERE account_id = w.account_id AND id = p_id;
    outcome := CASE WHEN FOUND THEN 10 ELSE 20 END;
    RETURN;
  END IF;
  amount := h.amount;
  IF amount >= p_least THEN outcome := 2; RETURN; END IF;
  SELECT * INTO t FROM ledger_take(w, h.key_id, p_want - amount, p_least - amount, amount, h.opened_at, p_now);
  outcome := t.outcome;
  IF outcome <> 1 THEN RETURN; END IF;
  w := t.w;
  amount := amount + t.granted;
  UPDATE holds SET amount = h.amount + t.granted, extended = h.extended + t.granted, budgeted = h.budgeted OR t.budgeted
    WHERE account_id = w.account_id AND id = p_id;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_give_back(INOUT w wallets, p_amount bigint, p_id uuid, p_kind smallint, p_now timestamp with time zone)
 RETURNS wallets
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_lots uuid[];
  v_shares bigint[];
BEGIN
  SELECT array_agg(l.lot_id ORDER BY l.priority DESC, l.expires_at DESC, l.created_at DESC, l.lot_id DESC),
      array_agg(s.share ORDER BY l.priority DESC, l.expires_at DESC, l.created_at DESC, l.lot_id DESC)
    INTO v_lots, v_shares
    FROM (
      SELECT c.lot_id, total(c.amount) AS share FROM (
        SELECT a.lot_id, CASE WHEN e.amount > 0 THEN -a.amount ELSE a.amount END AS amount FROM allocations a
          JOIN entries e ON e.account_id = a.account_id AND e.id = a.id AND e.kind = a.kind
          WHERE a.account_id = w.account_id AND a.id = p_id
        UNION ALL SELECT e.lot_id, -e.amount FROM entries e WHERE e.account_id = w.account_id AND e.id = p_id
      ) c GROUP BY c.lot_id HAVING total(c.amount) > 0
    ) s JOIN lots l ON l.account_id = w.account_id AND l.lot_id = s.lot_id;
  w := ledger_put_back(w, p_amount, p_id, p_kind, v_lots, v_shares, p_now);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_grant(INOUT w wallets, p_lot uuid, p_amount bigint, p_terms bytea, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  l lots;
  v_kind smallint := (t->>'kind')::smallint;
  v_starts timestamptz := coalesce((t->>'starts_at')::timestamptz, p_now);
  v_expires timestamptz := coalesce((t->>'expires_at')::timestamptz, 'infinity');
BEGIN
  SELECT * INTO l FROM lots WHERE account_id = w.account_id AND reference = t->>'reference';
  amount := coalesce(l.granted, 0);
  IF FOUND THEN
    outcome := CASE
      WHEN l.granted <> p_amount THEN 11
      WHEN l.kind <> v_kind THEN 13
      WHEN l.expires_at <> v_expires THEN 14
      WHEN t->>'starts_at' IS NOT NULL AND l.starts_at <> v_starts THEN 15
      WHEN l.priority <> (t->>'priority')::integer THEN 16
      ELSE 2 END;
    RETURN;
  END IF;
  IF v_starts >= v_expires OR v_expires <= p_now THEN outcome := 52; RETURN; END IF;
  IF NOT ledger_scale_is((t->>'per_usd')::bigint) THEN outcome := 51; RETURN; END IF;

  amount := p_amount;
  w.dormant := w.dormant + p_amount;
  w.seq := w.seq + 1;
  INSERT INTO lots (account_id, lot_id, kind, state, priority, granted, remaining, starts_at, expires_at, created_at,
                    reference, reason, paid_minor, currency)
    VALUES (w.account_id, p_lot, v_kind, 0, (t->>'priority')::integer, p_amount, p_amount, v_starts, v_expires, p_now,
            t->>'reference', t->>'reason', (t->>'paid_minor')::bigint, t->>'currency');
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
    VALUES (w.account_id, p_lot, 1, w.seq, p_amount, w.posted + w.dormant, v_kind, 1, p_lot, p_now);
  w := ledger_refresh(w, p_now);
  outcome := 1;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_heartbeat(p_owner bigint, p_account bigint[], p_id uuid[], p_metered bigint[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  INSERT INTO owners (owner, lease_until, started_at)
    VALUES (p_owner, clock_timestamp() + interval '15 seconds', clock_timestamp())
    ON CONFLICT (owner) DO UPDATE SET lease_until = excluded.lease_until;
  -- Takes no lock that it would have to wait for: a hold that is being settled needs no note.
  UPDATE holds h SET metered = u.metered
    FROM (
      SELECT t.account_id, t.id, n.metered FROM unnest(p_account, p_id, p_metered) AS n (account_id, id, metered)
        JOIN holds t ON t.account_id = n.account_id AND t.id = n.id AND t.metered < n.metered
        FOR UPDATE OF t SKIP LOCKED
    ) u
    WHERE h.account_id = u.account_id AND h.id = u.id;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_hold(INOUT w wallets, p_id uuid, p_key bigint, p_want bigint, p_least bigint, p_floor bigint, p_version bigint, p_catalog bigint, p_on_orphan smallint, p_ttl integer, p_frozen bytea, p_owner bigint, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  h holds;
  t record;
  v_state smallint;
  v_expires timestamptz := CASE WHEN p_ttl > 0 THEN p_now + make_interval(secs => p_ttl) ELSE 'infinity' END;
BEGIN
  amount := 0;
  PERFORM FROM entries WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN outcome := 10; RETURN; END IF;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN
    amount := h.amount - h.extended;
    outcome := CASE WHEN h.key_id <> p_key THEN 12 WHEN amount NOT BETWEEN p_least AND p_want THEN 11 ELSE 2 END;
    RETURN;
  END IF;
  -- Policy and catalog as of now: what is due by time alone counts, though nobody has read them since.
  IF p_version < w.policy_version OR p_now >= w.policy_changes_at
    OR p_catalog < (SELECT version + (p_now >= next_change_at)::integer FROM catalog_state) THEN
    outcome := 30;
    RETURN;
  END IF;
  IF w.status <> 0 THEN outcome := 31; RETURN; END IF;
  SELECT CASE WHEN expires_at <= p_now THEN 1 ELSE state END INTO v_state
    FROM spenders WHERE account_id = w.account_id AND key_id = p_key;
  IF v_state IS DISTINCT FROM 0 THEN outcome := 32; RETURN; END IF;
  SELECT * INTO t FROM ledger_take(w, p_key, p_want, p_least, 0, p_now, p_now);
  outcome := t.outcome;
  IF outcome <> 1 THEN RETURN; END IF;
  w := t.w;
  amount := t.granted;
  w.next_change_at := least(w.next_change_at, v_expires);
  INSERT INTO holds (account_id, id, key_id, amount, floor, owner, on_orphan, opened_at, expires_at, budgeted, frozen)
    VALUES (w.account_id, p_id, p_key, amount, least(p_floor, amount), CASE WHEN p_ttl > 0 THEN 0 ELSE p_owner END,
            p_on_orphan, p_now, v_expires, t.budgeted, p_frozen);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_lapse(INOUT w wallets, h holds)
 RETURNS wallets
 LANGUAGE plpgsql
AS $function$
BEGIN
  w := ledger_close_hold(w, h, 0);
  w.seq := w.seq + 1;
  INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, key_id, at, receipt)
    VALUES (w.account_id, h.id, 9, w.seq, 0, w.posted + w.dormant, 1, 2, h.key_id, h.expires_at, h.frozen || int8send(h.amount));
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_named(p_account bigint, p_kind smallint, t jsonb, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE sql
 STABLE
AS $function$
  SELECT (CASE WHEN n.fields = t->'fields' THEN 2 ELSE 18 END)::smallint, n.amount FROM named_operations n
    WHERE n.account_id = p_account AND n.kind = p_kind AND n.name = t->>'name'
$function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_put_back(INOUT w wallets, p_amount bigint, p_id uuid, p_kind smallint, p_lots uuid[], p_shares bigint[], p_now timestamp with time zone)
 RETURNS wallets
 LANGUAGE plpgsql
AS $function$
DECLARE
  l record;
  v_left bigint := p_amount;
  v_part bigint;
  v_burnt bigint;                                       -- of the part, what had been burnt; the rest had repaid debt
  v_lots uuid[] := '{}';
  v_parts bigint[] := '{}';
  v_gifts bigint[] := '{}';
BEGIN
  UPDATE lots SET remaining = w.head_left WHERE account_id = w.account_id AND lot_id = w.head_lot;
  v_part := least(v_left, w.debt);
  w.debt := w.debt - v_part;
  w.posted := w.posted + v_part;
  v_left := v_left - v_part;
  FOR l IN
    WITH spent AS (
      SELECT t.*, s.n, CASE WHEN t.state < 3 THEN t.state WHEN t.expires_at <= p_now THEN 2 ELSE 1 END AS stands,
          t.granted - t.expired - t.remaining AS room, t.granted - t.expired - t.remaining - t.repaid AS burnt,
          least(t.granted - t.expired - t.remaining, coalesce(s.share, 0)) AS share
        FROM lots t LEFT JOIN unnest(p_lots, p_shares) WITH ORDINALITY AS s (lot_id, share, n) ON s.lot_id = t.lot_id
        WHERE t.account_id = w.account_id
    )
    SELECT s.lot_id, s.stands, p.room, p.burnt
      FROM spent s, LATERAL (VALUES
        (s.n, s.share, least(s.share, s.burnt)), (NULL, s.room - s.share, s.burnt - least(s.share, s.burnt))
      ) AS p (turn, room, burnt)
      WHERE p.room > 0
      ORDER BY p.turn NULLS LAST, CASE s.stands WHEN 1 THEN 0 WHEN 0 THEN 1 ELSE 2 END,
        s.priority DESC, s.expires_at DESC, s.created_at DESC, s.lot_id DESC
  LOOP
    EXIT WHEN v_left = 0;
    v_part := least(v_left, l.room);
    v_burnt := least(v_part, l.burnt);
    v_left := v_left - v_part;
    UPDATE lots SET remaining = remaining + v_part, repaid = repaid - (v_part - v_burnt), state = l.stands
      WHERE account_id = w.account_id AND lot_id = l.lot_id;
    IF l.lot_id = w.head_lot THEN w.head_left := w.head_left + v_part; END IF;
    IF l.stands = 1 THEN w.posted := w.posted + v_part; ELSE w.dormant := w.dormant + v_part; END IF;
    v_lots := v_lots || l.lot_id;
    v_parts := v_parts || v_burnt;
    v_gifts := v_gifts || (v_part - v_burnt);
  END LOOP;
  IF v_left > 0 THEN
    RAISE EXCEPTION 'giving back % exceeds what was charged to account %', p_amount, w.account_id;
  END IF;
  INSERT INTO allocations (account_id, id, kind, lot_id, amount)
    SELECT w.account_id, p_id, k.kind, t.lot_id, sum(k.amount)
      FROM unnest(v_lots, v_parts, v_gifts) AS t (lot_id, part, gift),
        LATERAL (VALUES (p_kind, t.part), (p_kind + 100, t.gift)) AS k (kind, amount)
      GROUP BY k.kind, t.lot_id HAVING sum(k.amount) > 0;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_rebuild(p_account bigint, p_seq_found bigint, p_seq bigint, p_debt bigint, p_lot uuid[], p_remaining bigint[], p_repaid bigint[], p_expired bigint[], p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  w wallets;
  v_now timestamptz;
BEGIN
  SELECT * INTO STRICT w FROM wallets WHERE account_id = p_account FOR UPDATE;
  v_now := coalesce(p_at, clock_timestamp());
  IF w.seq = p_seq_found THEN w.seq := p_seq; END IF;
  w.debt := w.debt + p_debt;

  UPDATE lots SET remaining = w.head_left WHERE account_id = p_account AND lot_id = w.head_lot;
  UPDATE lots l SET remaining = l.remaining + d.remaining, repaid = l.repaid + d.repaid, expired = l.expired + d.expired
    FROM unnest(p_lot, p_remaining, p_repaid, p_expired) AS d (lot_id, remaining, repaid, expired)
    WHERE l.account_id = p_account AND l.lot_id = d.lot_id;

  -- A lot that starts repays debt. So beside debt no lot that is live has a remainder: one with it has not started, though its
  -- time has come. One that has also expired meanwhile was live before, unless nothing has happened since it was to start.
  UPDATE lots l SET state = s.state
    FROM (
      SELECT t.lot_id, CASE
          WHEN t.starts_at > v_now THEN 0
          WHEN t.remaining = 0 THEN 3
          WHEN t.expires_at > v_now THEN CASE WHEN w.debt > 0 THEN 0 ELSE 1 END
          WHEN w.debt > 0 AND NOT EXISTS (SELECT FROM entries e WHERE e.account_id = p_account AND e.at >= t.starts_at
            AND e.id >= uuid_floor(t.starts_at - interval '1 hour')) THEN 0
          ELSE 2 END AS state
        FROM lots t WHERE t.account_id = p_account
    ) s
    WHERE l.account_id = p_account AND l.lot_id = s.lot_id AND l.state <> s.state;
  IF EXISTS (SELECT FROM lots l JOIN allocations a ON a.account_id = l.account_id AND a.id = l.lot_id AND a.kind = 101
      WHERE l.account_id = p_account AND l.state = 0) THEN
    RAISE EXCEPTION 'debt of % stands beside a lot that has repaid debt before: correct it with an adjustment', w.debt;
  END IF;

  SELECT total(remaining) FILTER (WHERE state = 1) - w.debt, total(remaining) FILTER (WHERE state IN (0, 2)),
      least(min(CASE state WHEN 0 THEN starts_at WHEN 1 THEN expires_at WHEN 2 THEN v_now END),
        (SELECT min(expires_at) FROM holds WHERE account_id = p_account), 'infinity')
    INTO w.posted, w.dormant, w.next_change_at FROM lots WHERE account_id = p_account;
  SELECT total(amount) INTO w.held FROM holds WHERE account_id = p_account;
  SELECT lot_id, remaining INTO w.head_lot, w.head_left FROM lots
    WHERE account_id = p_account AND state = 1 ORDER BY priority, expires_at, created_at, lot_id LIMIT 1;
  w.head_left := coalesce(w.head_left, 0);
  PERFORM ledger_store(w);

  UPDATE spenders s SET held = t.held
    FROM (
      SELECT b.key_id, total(h.amount) AS held FROM spenders b
        LEFT JOIN holds h ON h.account_id = p_account AND b.key_id IN (0, h.key_id) AND h.budgeted
          AND h.opened_at >= b.period_start AND b.budget IS NOT NULL
        WHERE b.account_id = p_account GROUP BY b.key_id
    ) t
    WHERE s.account_id = p_account AND s.key_id = t.key_id AND s.held <> t.held;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_recover(INOUT w wallets, h holds, p_now timestamp with time zone)
 RETURNS wallets
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_charge bigint := CASE h.on_orphan WHEN 1 THEN 0 WHEN 2 THEN h.amount ELSE least(h.amount, greatest(h.floor, h.metered)) END;
BEGIN
  w := ledger_close_hold(w, h, v_charge);
  w := ledger_book_charge(w, h.id, CASE h.on_orphan WHEN 1 THEN 3 ELSE 4 END::smallint, v_charge, h.key_id,
    h.frozen || int8send(h.amount) || set_byte('\x00', 0, h.on_orphan), h.opened_at, p_now);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_refresh(INOUT w wallets, p_now timestamp with time zone)
 RETURNS wallets
 LANGUAGE plpgsql
AS $function$
DECLARE
  h holds;
  l lots;
  v_repaid bigint;
  v_oldest timestamptz;
BEGIN
  FOR h IN SELECT * FROM holds WHERE account_id = w.account_id AND expires_at <= p_now ORDER BY expires_at, id LOOP
    w := ledger_lapse(w, h);
  END LOOP;

  UPDATE lots SET remaining = w.head_left WHERE account_id = w.account_id AND lot_id = w.head_lot;

  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND state = 0 AND starts_at <= p_now
           ORDER BY starts_at, created_at, lot_id LOOP
    v_repaid := least(w.debt, l.remaining);
    w.debt := w.debt - v_repaid;
    w.posted := w.posted + l.remaining;
    w.dormant := w.dormant - l.remaining;
    UPDATE lots SET state = 1, remaining = remaining - v_repaid, repaid = v_repaid
      WHERE account_id = l.account_id AND lot_id = l.lot_id;
    IF v_repaid > 0 THEN
      INSERT INTO allocations (account_id, id, kind, lot_id, amount)
        VALUES (l.account_id, l.lot_id, 101, l.lot_id, v_repaid);
    END IF;
  END LOOP;

  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND state = 1 AND expires_at <= p_now LOOP
    w.posted := w.posted - l.remaining;
    w.dormant := w.dormant + l.remaining;
    UPDATE lots SET state = 2 WHERE account_id = l.account_id AND lot_id = l.lot_id;
  END LOOP;

  -- Holds opened before a lot expired may still be paid by it: it is booked when the last of them has ended.
  FOR l IN SELECT * FROM lots WHERE account_id = w.account_id AND state = 2 ORDER BY expires_at, created_at, lot_id LOOP
    IF v_oldest IS NULL THEN
      SELECT coalesce(min(opened_at), 'infinity') INTO v_oldest FROM holds WHERE account_id = w.account_id;
    END IF;
    CONTINUE WHEN l.remaining > 0 AND v_oldest < l.expires_at;
    IF l.remaining > 0 THEN
      w.dormant := w.dormant - l.remaining;
      w.seq := w.seq + 1;
      INSERT INTO entries (account_id, id, kind, seq, amount, balance_after, debit, credit, lot_id, at)
      VALUES (w.account_id, uuid_at(p_now), 6, w.seq, -l.remaining, w.posted + w.dormant, 1, 3, l.lot_id, p_now);
    END IF;
    UPDATE lots SET state = 3, remaining = 0, expired = expired + remaining
      WHERE account_id = l.account_id AND lot_id = l.lot_id;
  END LOOP;

  UPDATE lots SET state = 3 WHERE account_id = w.account_id AND state = 1 AND remaining = 0;

  SELECT lot_id, remaining INTO w.head_lot, w.head_left FROM lots
    WHERE account_id = w.account_id AND state = 1 ORDER BY priority, expires_at, created_at, lot_id LIMIT 1;
  w.head_left := coalesce(w.head_left, 0);
  -- A lot that waits to be booked keeps the wallet due, so that the next operation looks again.
  SELECT coalesce(least(min(CASE state WHEN 0 THEN starts_at WHEN 1 THEN expires_at ELSE p_now END),
      (SELECT min(expires_at) FROM holds WHERE account_id = w.account_id AND expires_at < 'infinity')), 'infinity')
    INTO w.next_change_at FROM lots WHERE account_id = w.account_id AND state < 3;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_release(INOUT w wallets, p_id uuid, p_receipt bytea, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  h holds;
  v_kind smallint;
BEGIN
  amount := 0;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN
    w := ledger_close_hold(w, h, 0);
    w := ledger_book_charge(w, p_id, 3::smallint, 0::bigint, h.key_id, p_receipt, h.opened_at, p_now);
    outcome := 1;
    RETURN;
  END IF;
  SELECT kind INTO v_kind FROM entries WHERE account_id = w.account_id AND id = p_id AND kind IN (2, 3, 4, 9);
  outcome := CASE WHEN v_kind IS NULL THEN 20 WHEN v_kind = 3 THEN 2 WHEN v_kind = 9 THEN 53 ELSE 50 END;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_reserve(INOUT w wallets, p_id uuid, p_key bigint, p_amount bigint, p_version bigint, p_catalog bigint, p_ttl integer, p_terms bytea, p_owner bigint, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  t jsonb := convert_from(p_terms, 'UTF8')::jsonb;
  r record;
BEGIN
  SELECT n.outcome, n.amount INTO outcome, amount FROM ledger_named(w.account_id, 2::smallint, t) n;
  IF outcome IS NOT NULL THEN RETURN; END IF;
  amount := 0;
  IF (SELECT count(*) FROM holds WHERE account_id = w.account_id AND expires_at < 'infinity') >= (t->>'most')::integer THEN
    outcome := 56;
    RETURN;
  END IF;
  SELECT * INTO r FROM ledger_hold(w, p_id, p_key, p_amount, p_amount, 0::bigint, p_version, p_catalog, 1::smallint, p_ttl,
      convert_to(t->>'frozen', 'UTF8'), p_owner, p_now);
  outcome := r.outcome;
  IF outcome <> 1 THEN RETURN; END IF;
  w := r.w;
  amount := p_amount;
  INSERT INTO named_operations (account_id, kind, name, id, amount, at, expires_at, fields)
    VALUES (w.account_id, 2, t->>'name', p_id, p_amount, p_now, p_now + make_interval(secs => p_ttl), t->'fields');
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_reverse(INOUT w wallets, p_id uuid, p_amount bigint, p_reason bytea, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  r record;
BEGIN
  amount := 0;
  PERFORM FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN outcome := 54; RETURN; END IF;
  SELECT count(*) AS entries, -sum(e.amount) FILTER (WHERE kind <> 8) AS charged,
      sum(e.amount) FILTER (WHERE kind = 8) AS reversed,
      -sum(e.amount) FILTER (WHERE kind <> 8 AND seq < (SELECT seq FROM entries v
        WHERE v.account_id = w.account_id AND v.id = p_id AND v.kind = 8)) AS charged_then,
      min(key_id) AS key_id, min(at) FILTER (WHERE kind <> 8) AS ended_at
    INTO r FROM entries e WHERE e.account_id = w.account_id AND e.id = p_id AND kind IN (2, 3, 4, 5, 8, 9);
  IF r.entries = 0 THEN outcome := 20; RETURN; END IF;
  amount := CASE WHEN p_amount < 0 THEN coalesce(r.charged_then, r.charged) ELSE p_amount END;
  IF r.reversed IS NOT NULL THEN
    outcome := CASE WHEN amount = r.reversed THEN 2 ELSE 11 END;
    amount := r.reversed;
    RETURN;
  END IF;
  IF amount > r.charged OR amount = 0 THEN outcome := 55; amount := r.charged; RETURN; END IF;
  w := ledger_book_charge(w, p_id, 8::smallint, -amount, r.key_id, p_reason, p_now, p_now);
  PERFORM ledger_budget_late(w.account_id, r.key_id, r.ended_at, -amount, p_now);
  outcome := 1;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_scale_is(p_per_usd bigint)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF NOT EXISTS (SELECT FROM credit_scale WHERE fixed) THEN
    INSERT INTO credit_scale AS s (credits_per_usd) VALUES (p_per_usd)
      ON CONFLICT (only_row) DO UPDATE SET credits_per_usd = p_per_usd, fixed = true WHERE NOT s.fixed;
  END IF;
  RETURN p_per_usd = (SELECT credits_per_usd FROM credit_scale);
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_set_budget(p_account bigint, p_key bigint, p_budget bigint, p_period smallint, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_start timestamptz;
  v_held bigint := 0;
  v_spent bigint := 0;
BEGIN
  UPDATE wallets SET policy_version = policy_version + 1, budgeted = CASE p_key WHEN 0 THEN p_budget IS NOT NULL ELSE budgeted END
    WHERE account_id = p_account;
  IF NOT FOUND THEN RETURN false; END IF;
  IF p_key = 0 THEN
    INSERT INTO spenders (account_id, key_id, state) VALUES (p_account, 0, 1) ON CONFLICT DO NOTHING;
  END IF;
  v_start := period_floor(p_period, coalesce(p_at, clock_timestamp()));
  IF p_budget IS NOT NULL THEN
    UPDATE holds SET budgeted = true WHERE account_id = p_account AND p_key IN (0, key_id) AND NOT budgeted;
    SELECT total(amount) INTO v_held FROM holds
      WHERE account_id = p_account AND p_key IN (0, key_id) AND opened_at >= v_start;
    SELECT greatest(-total(amount), 0) INTO v_spent FROM entries
      WHERE account_id = p_account AND p_key IN (0, key_id) AND kind IN (2, 4, 5, 8)
        AND id >= CASE WHEN v_start = '-infinity' THEN '00000000-0000-0000-0000-000000000000' ELSE uuid_floor(v_start) END;
  END IF;
  UPDATE spenders SET budget = p_budget, period = p_period, period_start = v_start, held = v_held, spent = v_spent
    WHERE account_id = p_account AND key_id = p_key;
  RETURN FOUND;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_settle(INOUT w wallets, p_id uuid, p_amount bigint, p_receipt bytea, p_now timestamp with time zone, OUT outcome smallint, OUT amount bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  h holds;
  ended entries;
  late entries;
  reversed entries;
  v_more bigint;
BEGIN
  amount := p_amount;
  SELECT * INTO h FROM holds WHERE account_id = w.account_id AND id = p_id;
  IF FOUND THEN
    w := ledger_close_hold(w, h, p_amount);
    w := ledger_book_charge(w, p_id, 2::smallint, p_amount, h.key_id, p_receipt, h.opened_at, p_now);
    outcome := 1;
    RETURN;
  END IF;
  SELECT * INTO ended FROM entries WHERE account_id = w.account_id AND id = p_id AND kind IN (2, 3, 4, 9);
  IF NOT FOUND THEN outcome := 20; amount := 0; RETURN; END IF;
  SELECT * INTO reversed FROM entries WHERE account_id = w.account_id AND id = p_id AND kind = 8;
  -- What was given back by a reverse is not given back again.
  v_more := greatest(p_amount + ended.amount, ended.amount + coalesce(reversed.amount, 0));
  IF ended.kind <> 2 THEN
    SELECT * INTO late FROM entries WHERE account_id = w.account_id AND id = p_id AND kind = 5;
    IF NOT FOUND THEN
      w := ledger_book_charge(w, p_id, 5::smallint, v_more, ended.key_id, p_receipt, ended.at, p_now);
      PERFORM ledger_budget_late(w.account_id, ended.key_id, ended.at, v_more, p_now);
      amount := v_more - ended.amount;
      outcome := 3;
      RETURN;
    END IF;
  END IF;
  amount := -(ended.amount + coalesce(late.amount, 0));
  outcome := CASE WHEN amount = p_amount OR (reversed.seq < late.seq AND late.amount = -v_more) THEN 2 ELSE 11 END;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_store(w wallets)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE wallets SET posted = w.posted, held = w.held, debt = w.debt, dormant = w.dormant, seq = w.seq,
      head_lot = w.head_lot, head_left = w.head_left, next_change_at = w.next_change_at
    WHERE account_id = w.account_id;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_sweep(p_limit integer, p_sweeper bigint)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_owner bigint;
  v_ended integer;
BEGIN
  IF NOT EXISTS (SELECT FROM owners WHERE owner = p_sweeper AND lease_until > clock_timestamp()) THEN RETURN 0; END IF;
  FOR v_owner IN SELECT owner FROM owners WHERE lease_until <= clock_timestamp() ORDER BY owner FOR UPDATE SKIP LOCKED
  LOOP
    v_ended := ledger_end_owner(v_owner, p_limit);
    -- Those without a hold lock no account, and go along.
    IF v_ended > 0 THEN RETURN v_ended; END IF;
  END LOOP;
  -- A hold whose owner has no lease at all was committed after its gateway was swept.
  FOR v_owner IN SELECT DISTINCT h.owner FROM holds h
    WHERE h.owner <> 0 AND NOT EXISTS (SELECT FROM owners o WHERE o.owner = h.owner)
  LOOP
    v_ended := ledger_end_owner(v_owner, p_limit);
    IF v_ended > 0 THEN RETURN v_ended; END IF;
  END LOOP;
  RETURN 0;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.ledger_take(INOUT w wallets, p_key bigint, p_want bigint, p_least bigint, p_has bigint, p_opened_at timestamp with time zone, p_now timestamp with time zone, OUT outcome smallint, OUT granted bigint, OUT budgeted boolean)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.make_partitions(p_ahead integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET lock_timeout TO '200ms'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.months_after(p_anchor timestamp with time zone, p_n integer)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE
AS $function$
  SELECT (p_anchor AT TIME ZONE 'UTC' + make_interval(months => p_n)) AT TIME ZONE 'UTC'
$function$;

CREATE OR REPLACE FUNCTION tollgate.outbox_tell(p_account bigint, p_type text, p_key text, p_data jsonb)
 RETURNS void
 LANGUAGE sql
AS $function$
  INSERT INTO outbox (account_id, type, key, data) VALUES (p_account, p_type, p_key, p_data)
    ON CONFLICT (account_id, type, key) WHERE key IS NOT NULL DO NOTHING
$function$;

CREATE OR REPLACE FUNCTION tollgate.payment_move(p_key text, p_account bigint)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  y payments;
  g record;
  v_now timestamptz;
  v_lots uuid[];
  v_left bigint;
  v_granted bigint := 0;
  v_lot uuid;
  v_outcome smallint;
  v_terms bytea;
BEGIN
  SELECT * INTO STRICT y FROM payments WHERE payment_key = p_key;
  PERFORM FROM wallets WHERE account_id IN (y.account_id, p_account) ORDER BY account_id FOR UPDATE;
  SELECT * INTO STRICT y FROM payments WHERE payment_key = p_key FOR UPDATE;
  IF y.account_id = p_account THEN RETURN; END IF;
  IF EXISTS (SELECT FROM payment_grants WHERE payment_key = p_key AND account_id = p_account) THEN
    RAISE EXCEPTION 'payment % was moved away from this account before: correct it by hand', p_key USING ERRCODE = 'check_violation';
  END IF;
  v_now := clock_timestamp();
  SELECT array_agg(lot_id), total(credits) INTO v_lots, v_left
    FROM payment_grants WHERE payment_key = p_key AND account_id = y.account_id AND lot_id IS NOT NULL;
  SELECT v_left + total(amount) INTO v_left FROM adjustments WHERE account_id = y.account_id AND payment = p_key;
  IF v_left > 0 THEN
    PERFORM ledger_clawback(y.account_id, uuid_at(v_now), -v_left, p_key, v_lots, format('stripe:%s:moved:%s', p_key, y.clawbacks + 1),
      'Moved to the account whose payment it is');
  END IF;
  FOR g IN SELECT d.line, l.* FROM payment_grants d JOIN lots l ON l.account_id = d.account_id AND l.lot_id = d.lot_id
      WHERE d.payment_key = p_key AND d.account_id = y.account_id AND l.expires_at > v_now LOOP
    v_lot := uuid_at(v_now);
    v_terms := convert_to(jsonb_build_object('kind', g.kind, 'reference', format('stripe:%s:%s@%s', p_key, g.line, y.clawbacks + 1), 'priority', g.priority,
      'starts_at', CASE WHEN g.starts_at > v_now THEN g.starts_at END, 'expires_at', CASE WHEN g.expires_at < 'infinity' THEN g.expires_at END,
      'reason', g.reason, 'paid_minor', g.paid_minor, 'currency', g.currency,
      'per_usd', (SELECT credits_per_usd FROM credit_scale))::text, 'UTF8');
    SELECT a.outcome[1] INTO v_outcome FROM ledger_apply(ARRAY[3]::smallint[], ARRAY[p_account], ARRAY[v_lot], ARRAY[0]::bigint[],
      ARRAY[g.granted], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::smallint[],
      ARRAY[0], ARRAY[1], ARRAY[octet_length(v_terms)], v_terms, 0::bigint) a;
    IF v_outcome <> 1 THEN
      RAISE EXCEPTION 'payment % was not moved: outcome %', p_key, v_outcome USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO payment_grants (payment_key, line, account_id, credits, lot_id)
      VALUES (p_key, format('%s@%s', g.line, y.clawbacks + 1), p_account, g.granted, v_lot);
    v_granted := v_granted + g.granted;
  END LOOP;
  UPDATE payments SET account_id = p_account, granted = v_granted, clawed = 0, reversed_minor = 0, clawbacks = y.clawbacks + 1
    WHERE payment_key = p_key;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.payment_named(p_reference text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  SELECT substring(p_reference FROM '(?:pi|in|cs_test|cs_live|cs)_[A-Za-z0-9]{8,}')
$function$;

CREATE OR REPLACE FUNCTION tollgate.payment_post(p jsonb, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone, OUT granted bigint, OUT clawed bigint)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
  y payments;
  g record;
  v_now timestamptz;
  v_lot uuid;
  v_outcome smallint;
  v_terms bytea;
  v_clawed bigint;
  v_target bigint;
BEGIN
  granted := 0;
  INSERT INTO payments (payment_key, account_id, kind, reference, customer_id, payment_intent, session_id, invoice_id, subscription_id,
      livemode, currency, paid_minor, paid_at)
    VALUES (p->>'key', (p->>'account')::bigint, p->>'kind', p->>'reference', p->>'customer', p->>'payment_intent', p->>'session',
      p->>'invoice', p->>'subscription', (p->>'livemode')::boolean, p->>'currency', (p->>'paid')::bigint, (p->>'paid_at')::timestamptz)
    ON CONFLICT (payment_key) DO NOTHING;
  SELECT * INTO STRICT y FROM payments WHERE payment_key = p->>'key' FOR UPDATE;
  PERFORM FROM wallets WHERE account_id = y.account_id FOR UPDATE;
  v_now := coalesce(p_at, clock_timestamp());

  FOR g IN SELECT * FROM jsonb_to_recordset(p->'grants')
      AS t (line text, kind smallint, credits bigint, paid bigint, starts_at timestamptz, expires_at timestamptz, reason text)
      WHERE NOT EXISTS (SELECT FROM payment_grants d WHERE d.payment_key = y.payment_key AND d.line = t.line) LOOP
    CONTINUE WHEN g.credits = 0;
    v_lot := NULL;
    IF g.expires_at IS NULL OR g.expires_at > v_now THEN
      v_lot := uuid_at(v_now);
      v_terms := convert_to(jsonb_build_object('kind', g.kind, 'reference', format('stripe:%s:%s', y.payment_key, g.line), 'priority', 0,
        'starts_at', CASE WHEN g.starts_at > v_now THEN g.starts_at END, 'expires_at', g.expires_at, 'reason', g.reason,
        'paid_minor', g.paid, 'currency', CASE WHEN g.paid IS NOT NULL THEN y.currency END,
        'per_usd', (SELECT credits_per_usd FROM credit_scale))::text, 'UTF8');
      SELECT a.outcome[1] INTO v_outcome FROM ledger_apply(ARRAY[3]::smallint[], ARRAY[y.account_id], ARRAY[v_lot], ARRAY[0]::bigint[],
        ARRAY[g.credits], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::bigint[], ARRAY[0]::smallint[],
        ARRAY[0], ARRAY[1], ARRAY[octet_length(v_terms)], v_terms, 0::bigint, p_at) a;
      IF v_outcome <> 1 THEN
        RAISE EXCEPTION 'payment % was not granted: outcome %', y.payment_key, v_outcome USING ERRCODE = 'integrity_constraint_violation';
      END IF;
    END IF;
    INSERT INTO payment_grants (payment_key, line, account_id, credits, lot_id)
      VALUES (y.payment_key, g.line, y.account_id, CASE WHEN v_lot IS NULL THEN 0 ELSE g.credits END, v_lot);
    granted := granted + CASE WHEN v_lot IS NULL THEN 0 ELSE g.credits END;
  END LOOP;

  y.paid_minor := (p->>'paid')::bigint;
  SELECT total(credits) INTO y.granted FROM payment_grants WHERE payment_key = y.payment_key AND account_id = y.account_id;
  SELECT -total(amount) INTO v_clawed FROM adjustments WHERE account_id = y.account_id AND payment = y.payment_key;
  v_target := CASE WHEN y.paid_minor > 0 THEN div(y.granted::numeric * (p->>'reversed')::bigint, y.paid_minor) ELSE 0 END;
  clawed := v_target - v_clawed;
  IF clawed <> 0 THEN
    y.clawbacks := y.clawbacks + 1;
    SELECT ledger_clawback(y.account_id, uuid_at(v_now), -clawed, y.payment_key,
        (SELECT array_agg(lot_id) FROM payment_grants d
          WHERE d.payment_key = y.payment_key AND d.account_id = y.account_id AND lot_id IS NOT NULL),
        format('stripe:%s:clawback:%s', y.payment_key, y.clawbacks),
        format('%s of %s %s reversed', p->>'reversed', y.paid_minor, y.currency), p_at) INTO v_outcome;
    IF v_outcome <> 1 THEN
      RAISE EXCEPTION 'payment % was not clawed back: outcome %', y.payment_key, v_outcome USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- What goes back of a subscription may be a change of its plan.
    IF clawed > 0 AND (y.kind <> 'subscription' OR (p->>'refunded')::bigint > 0) THEN
      PERFORM recharge_reversed(y.account_id, y.customer_id, y.payment_key, y.clawbacks);
    END IF;
  END IF;
  UPDATE payments SET paid_minor = y.paid_minor, granted = y.granted, clawed = v_target, clawbacks = y.clawbacks,
      reversed_minor = (p->>'reversed')::bigint,
      payment_intent = coalesce(p->>'payment_intent', payment_intent), session_id = coalesce(p->>'session', session_id)
    WHERE payment_key = y.payment_key;
  UPDATE orphan_payments SET resolved_at = v_now WHERE object_id = y.payment_key AND resolved_at IS NULL;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.payment_take_back(p_account bigint, p_lot uuid, p_key text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_granted bigint;
BEGIN
  SELECT granted INTO STRICT v_granted FROM lots WHERE account_id = p_account AND lot_id = p_lot;
  PERFORM ledger_clawback(p_account, uuid_at(clock_timestamp()), -v_granted, format('double:%s', p_lot), ARRAY[p_lot],
    format('stripe:%s:double:%s', p_key, p_lot), format('Granted twice for %s', p_key));
END $function$;

CREATE OR REPLACE FUNCTION tollgate.period_floor(p_period smallint, p_at timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE
AS $function$
  SELECT CASE p_period WHEN 1 THEN date_trunc('day', p_at, 'UTC') WHEN 2 THEN date_trunc('month', p_at, 'UTC') ELSE '-infinity' END
$function$;

CREATE OR REPLACE FUNCTION tollgate.plan_advance(p_account bigint, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_assigned boolean DEFAULT false)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.plan_at(p_account bigint, p_at timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  SELECT coalesce((SELECT value #>> '{}' FROM entitlements_at(p_account, p_at) WHERE source = 'plan' AND key = 'plan'), default_plan())
$function$;

CREATE OR REPLACE FUNCTION tollgate.plan_grant(p_account bigint, p_plan text, p_starts timestamp with time zone, p_ends timestamp with time zone, p_anchor timestamp with time zone, p_n integer, p_credits numeric, p_rolls_over boolean, p_now timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.plans_begun(p_after bigint, p_limit integer, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS TABLE(account_id bigint, begun boolean)
 LANGUAGE sql
 STABLE
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION tollgate.policy_advance(p_account bigint, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_now timestamptz := coalesce(p_at, clock_timestamp());
BEGIN
  PERFORM FROM wallets WHERE account_id = p_account AND policy_changes_at <= v_now FOR UPDATE;
  IF FOUND THEN
    PERFORM plan_advance(p_account, v_now);
    UPDATE wallets SET policy_version = policy_version + 1, policy_changes_at = policy_next_change(p_account, v_now)
      WHERE account_id = p_account;
  END IF;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.policy_next_change(p_account bigint, p_after timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 STABLE
AS $function$
BEGIN
  RETURN least((SELECT min(valid_from) FROM entitlements WHERE account_id = p_account AND valid_from > p_after),
    (SELECT min(valid_until) FROM entitlements WHERE account_id = p_account AND valid_until > p_after),
    (SELECT min(ends_at) FROM plan_periods WHERE account_id = p_account AND ends_at > p_after),
    (SELECT min(expires_at) FROM api_keys WHERE account_id = p_account AND replaced_by IS NOT NULL AND expires_at > p_after),
    'infinity');
END $function$;

CREATE OR REPLACE FUNCTION tollgate.public_uuid(p_prefix text, p_id uuid)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  SELECT p_prefix || '_' || replace(p_id::text, '-', '')
$function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_begin(p_account bigint, p_recharge bigint, p jsonb)
 RETURNS text
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_claim(p_limit integer, p_lease interval)
 RETURNS TABLE(todo text, recharge recharges)
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_find(p_intent text, p_recharge bigint, p_customer text, p_amount bigint, p_currency text)
 RETURNS SETOF recharges
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM FROM wallets WHERE account_id = (SELECT account_id FROM recharges
    WHERE payment_intent = p_intent OR recharge_id = p_recharge ORDER BY payment_intent = p_intent DESC NULLS LAST LIMIT 1) FOR UPDATE;
  RETURN QUERY SELECT * FROM recharges
    WHERE (payment_intent = p_intent OR (recharge_id = p_recharge AND payment_intent IS NULL))
      AND customer = p_customer AND amount_minor = p_amount AND currency = p_currency
    ORDER BY payment_intent NULLS LAST LIMIT 1 FOR UPDATE;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_forget()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  UPDATE auto_recharge SET enabled = false, payment_method = NULL, fingerprint = NULL, stopped_fingerprint = NULL, brand = NULL,
    last4 = NULL WHERE account_id = NEW.account_id;
  UPDATE recharges SET payment_method = NULL, fingerprint = NULL WHERE account_id = NEW.account_id;
  UPDATE wallets SET low_below = 0 WHERE account_id = NEW.account_id;
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_note(p_recharge bigint, p_public text, p_intent text, p_status text, p_code text, p_reason text)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_reversed(p_account bigint, p_customer text, p_payment text, p_times integer)
 RETURNS void
 LANGUAGE sql
AS $function$
  SELECT recharge_stop(p_account, 'payment_reversed', format('%s:reversed:%s', p_payment, p_times), jsonb_build_object('payment', p_payment))
    FROM auto_recharge JOIN accounts USING (account_id)
    WHERE account_id = p_account AND enabled AND coalesce(recharge_stop_passes(stopped_reason), true) AND stripe_customer_id = p_customer
$function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_spent(p_account bigint, p_now timestamp with time zone)
 RETURNS bigint
 LANGUAGE sql
 STABLE
AS $function$
  SELECT coalesce(sum(amount_minor), 0)::bigint FROM recharges
  WHERE account_id = p_account AND status NOT IN ('failed', 'canceled')
    AND (ended_at IS NULL OR ended_at >= date_trunc('month', p_now AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
$function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_stop(p_account bigint, p_reason text, p_key text, p_data jsonb, p_retry_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS void
 LANGUAGE sql
AS $function$
  UPDATE auto_recharge SET stopped_at = clock_timestamp(), stopped_reason = p_reason, retry_at = p_retry_at,
      stopped_fingerprint = CASE WHEN p_reason NOT IN ('payment_method_gone', 'customer_deleted') THEN fingerprint END
    WHERE account_id = p_account;
  SELECT outbox_tell(p_account, 'recharge.stopped', p_key, p_data || jsonb_build_object('reason', p_reason));
$function$;

CREATE OR REPLACE FUNCTION tollgate.recharge_stop_passes(p_reason text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  SELECT p_reason IN ('monthly_cap', 'daily_attempts', 'balance_limit', 'pack_unavailable')
$function$;

CREATE OR REPLACE FUNCTION tollgate.refuse_catalog_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  RAISE EXCEPTION '% are versions and never change: add a new one', replace(TG_TABLE_NAME, '_', ' ')
    USING ERRCODE = 'restrict_violation';
END $function$;

CREATE OR REPLACE FUNCTION tollgate.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: % of % is refused; correct it with a new entry', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $function$;

CREATE OR REPLACE FUNCTION tollgate.refuse_change_but_erasure()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  IF TG_OP = 'UPDATE' AND EXISTS (SELECT FROM accounts WHERE account_id = OLD.account_id AND erased_at IS NOT NULL) THEN
    IF NEW.reason IS NULL AND to_jsonb(NEW) - TG_ARGV = to_jsonb(OLD) - TG_ARGV THEN RETURN NEW; END IF;
  END IF;
  RAISE EXCEPTION '% are never changed: add a new one', replace(TG_TABLE_NAME, '_', ' ') USING ERRCODE = 'restrict_violation';
END $function$;

CREATE OR REPLACE FUNCTION tollgate.service_account(p_key bigint, p_account bigint, p_external text, p_new bigint, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.service_key_revoke(p_key bigint)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
DECLARE
  v_now timestamptz := catalog_lock();
BEGIN
  UPDATE service_keys SET revoked_at = coalesce(revoked_at, v_now) WHERE key_id = p_key;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM catalog_changed(v_now);
  RETURN true;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.service_key_rotate(p_key bigint, p_new bigint, p_hash bytea, p_overlap integer)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.tell_balance()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.tell_budget(s spenders)
 RETURNS void
 LANGUAGE sql
AS $function$
  SELECT outbox_tell(s.account_id, 'budget.reached', format('%s %s %s', s.key_id, s.period_start, s.budget), jsonb_build_object(
    'key', nullif(s.key_id, 0)::text, 'budget', credits_text(s.budget), 'spent', credits_text(s.spent),
    'held', credits_text(s.held), 'period', (ARRAY['day', 'month', 'total'])[s.period], 'since', time_text(s.period_start)))
$function$;

CREATE OR REPLACE FUNCTION tollgate.tell_expiring(p_within interval, p_limit integer, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION tollgate.tell_grant()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM outbox_tell(NEW.account_id, 'credits.granted', NEW.lot_id::text, jsonb_build_object(
    'lot_id', public_uuid('lot', NEW.lot_id),
    'kind', (ARRAY['topup', 'subscription', 'bonus', 'promo', 'adjustment'])[NEW.kind - 9],
    'credits', credits_text(NEW.granted), 'reference', NEW.reference,
    'starts_at', time_text(NEW.starts_at), 'expires_at', time_text(NEW.expires_at)));
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.tell_spent()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  PERFORM tell_budget(NEW);
  RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION tollgate.time_text(p_at timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
  SELECT CASE WHEN isfinite(p_at) THEN to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') END
$function$;

CREATE AGGREGATE total(bigint) (SFUNC = int8pl, STYPE = bigint, INITCOND = '0');

CREATE OR REPLACE FUNCTION tollgate.uuid_at(p_at timestamp with time zone)
 RETURNS uuid
 LANGUAGE sql
AS $function$
  SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || '7'
    || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$function$;

CREATE OR REPLACE FUNCTION tollgate.uuid_floor(p_at timestamp with time zone)
 RETURNS uuid
 LANGUAGE sql
 IMMUTABLE
AS $function$
  SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$function$;

-- Triggers

CREATE TRIGGER accounts_erased_recharge_nothing AFTER UPDATE OF erased_at ON tollgate.accounts FOR EACH ROW WHEN (((old.erased_at IS NULL) AND (new.erased_at IS NOT NULL))) EXECUTE FUNCTION recharge_forget();

CREATE TRIGGER adjustments_are_append_only BEFORE DELETE OR UPDATE ON tollgate.adjustments FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER adjustments_are_not_truncated BEFORE TRUNCATE ON tollgate.adjustments FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER allocations_are_append_only BEFORE DELETE OR UPDATE ON tollgate.allocations FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER allocations_are_not_truncated BEFORE TRUNCATE ON tollgate.allocations FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER audit_is_append_only BEFORE DELETE OR UPDATE ON tollgate.audit FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure('before', 'after', 'reason');

CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON tollgate.audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER catalog_entries_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tollgate.catalog_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

CREATE TRIGGER entitlements_are_append_only BEFORE DELETE OR UPDATE ON tollgate.entitlements FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure('reason');

CREATE TRIGGER entitlements_are_not_truncated BEFORE TRUNCATE ON tollgate.entitlements FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

CREATE TRIGGER entries_are_append_only BEFORE DELETE OR UPDATE ON tollgate.entries FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON tollgate.entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER entries_are_not_truncated BEFORE TRUNCATE ON tollgate.entries_default FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER lots_tell_of_themselves AFTER INSERT ON tollgate.lots FOR EACH ROW EXECUTE FUNCTION tell_grant();

CREATE TRIGGER named_operations_are_append_only BEFORE DELETE OR UPDATE ON tollgate.named_operations FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER named_operations_are_not_truncated BEFORE TRUNCATE ON tollgate.named_operations FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER payment_grants_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tollgate.payment_grants FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

CREATE TRIGGER plan_periods_are_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON tollgate.plan_periods FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

CREATE TRIGGER price_overrides_are_append_only BEFORE DELETE OR UPDATE ON tollgate.price_overrides FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure('reason');

CREATE TRIGGER price_overrides_are_not_truncated BEFORE TRUNCATE ON tollgate.price_overrides FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

CREATE TRIGGER spenders_tell_when_spent AFTER UPDATE ON tollgate.spenders FOR EACH ROW WHEN (((new.spent >= new.budget) AND (NOT COALESCE(((old.spent >= old.budget) AND (old.period_start = new.period_start)), false)))) EXECUTE FUNCTION tell_spent();

CREATE TRIGGER wallets_tell_when_low AFTER UPDATE ON tollgate.wallets FOR EACH ROW WHEN ((((new.posted < new.low_below) AND (NOT (old.posted < old.low_below))) OR ((new.posted <= 0) AND (old.posted > 0)))) EXECUTE FUNCTION tell_balance();
