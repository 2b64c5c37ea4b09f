-- Stripe: what it told us, what was bought of us, and what was granted for it. Events are hints: what an object comes to is read from
-- Stripe, and only the difference to what stands here is posted, in one transaction.

-- The inbox.
--
--   waiting ──claimed: attempts + 1, due again when the claim is over──▶ waiting
--      ├──▶ processed   in the transaction that posted what it hinted at
--      ├──▶ ignored     nothing of ours
--      ├──error──▶ waiting, later each time ──too often──▶ dead ──replay──▶ waiting
--      └── (whoever claimed it died: it is due again)
CREATE TABLE stripe_events (
  event_id    text PRIMARY KEY,
  type        text NOT NULL,
  object_kind text NOT NULL,                          -- as Stripe's `object` names it
  object_id   text,                                   -- null: it has none, as invoice.upcoming
  api_version text,
  livemode    boolean NOT NULL,
  source      text NOT NULL,                          -- webhook, or poll: found undelivered
  created_at  timestamptz NOT NULL,                   -- by Stripe
  received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  state       text NOT NULL DEFAULT 'waiting',
  attempts    integer NOT NULL DEFAULT 0,
  due_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at    timestamptz,
  error       text,
  body        bytea,                                  -- as it was sent; null once it was dropped
  CONSTRAINT stripe_event_source_is_known CHECK (source IN ('webhook', 'poll')),
  CONSTRAINT stripe_event_state_is_known CHECK (state IN ('waiting', 'processed', 'ignored', 'dead')),
  CONSTRAINT stripe_event_ends_once CHECK ((state = 'waiting') = (ended_at IS NULL))
);
CREATE INDEX stripe_events_due ON stripe_events (due_at) WHERE state = 'waiting';
CREATE INDEX stripe_events_of_state ON stripe_events (state, received_at, event_id);
CREATE INDEX stripe_events_received ON stripe_events (received_at, event_id);

-- How often an object of Stripe was brought in line. Whoever reads it from Stripe notes the version before, and may post only while it
-- is the same: so what is posted was read after all that was posted before, whatever overtakes what.
CREATE TABLE stripe_syncs (
  object_id text PRIMARY KEY,
  version   bigint NOT NULL DEFAULT 0,
  synced_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What an account asked to buy: written before Stripe is asked, with the price and the credits as they were then.
--
--   open ──its session is complete──▶ complete      (paid or not: a payment says that)
--     └──its session ran out────────▶ expired
CREATE TABLE checkouts (
  checkout_id   bigint PRIMARY KEY,
  account_id    bigint NOT NULL REFERENCES accounts,
  kind          text NOT NULL,                        -- pack, plan
  name          text NOT NULL,
  version       integer NOT NULL,                     -- of the catalog's entry
  credits       bigint NOT NULL,                      -- of a pack; of plans invoices tell
  bonus_credits bigint NOT NULL,
  expires_days  integer,
  currency      text,                                 -- null: Stripe's price says
  amount_minor  bigint,
  stripe_price  text,
  quantity      integer NOT NULL DEFAULT 1,           -- of a plan: seats
  customer_id   text,                                 -- whom it was made for at Stripe
  once          text,                                 -- the Idempotency-Key that it was asked with
  asked         jsonb NOT NULL DEFAULT '{}',          -- what was asked of us
  request       jsonb NOT NULL DEFAULT '{}',          -- what is asked of Stripe: the same until it has answered
  session_id    text,
  status        text NOT NULL DEFAULT 'open',
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT checkout_session_is_unique UNIQUE (session_id),
  CONSTRAINT checkout_is_asked_once UNIQUE (account_id, once),
  CONSTRAINT checkout_kind_is_known CHECK (kind IN ('pack', 'plan')),
  CONSTRAINT checkout_status_is_known CHECK (status IN ('open', 'complete', 'expired')),
  CONSTRAINT checkout_is_priced CHECK ((currency IS NULL) = (amount_minor IS NULL) AND (amount_minor IS NOT NULL OR stripe_price IS NOT NULL)),
  CONSTRAINT checkout_credits_are_not_negative CHECK (credits >= 0 AND bonus_credits >= 0)
);
CREATE INDEX checkouts_of_account ON checkouts (account_id, checkout_id);

-- Since when a customer is being asked of Stripe for an account: after 24 hours its idempotency key is forgotten there.
CREATE TABLE customer_requests (
  account_id bigint PRIMARY KEY REFERENCES accounts,
  replaces   text,                                    -- the customer that was deleted there
  asked_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Money that was received, or an order for which nothing was due: once, whatever tells of it.
CREATE TABLE payments (
  payment_key     text PRIMARY KEY,                   -- the payment intent; the session when nothing was due; the invoice
  account_id      bigint NOT NULL REFERENCES accounts,
  kind            text NOT NULL,                      -- topup, recharge, subscription
  reference       text,                               -- our checkout or recharge; else the price that it was known by
  customer_id     text,
  payment_intent  text,
  session_id      text,
  invoice_id      text,
  subscription_id text,
  livemode        boolean NOT NULL,
  currency        text NOT NULL,
  paid_minor      bigint NOT NULL,                    -- in the currency's minor unit
  reversed_minor  bigint NOT NULL DEFAULT 0,          -- refunded, or withdrawn by disputes
  granted         bigint NOT NULL DEFAULT 0,          -- nano-credits, bonus included
  clawed          bigint NOT NULL DEFAULT 0,
  clawbacks       integer NOT NULL DEFAULT 0,         -- how often that changed: their references count
  paid_at         timestamptz NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT payment_kind_is_known CHECK (kind IN ('topup', 'recharge', 'subscription')),
  CONSTRAINT payment_reversed_is_within_paid CHECK (reversed_minor BETWEEN 0 AND paid_minor),
  CONSTRAINT payment_clawback_is_in_proportion CHECK (
    clawed = CASE WHEN paid_minor > 0 THEN div(granted::numeric * reversed_minor, paid_minor) ELSE 0 END)
);
CREATE INDEX payments_of_account ON payments (account_id, created_at);
CREATE INDEX payments_by_intent ON payments (payment_intent) WHERE payment_intent IS NOT NULL;
CREATE INDEX payments_of_subscription ON payments (subscription_id) WHERE subscription_id IS NOT NULL;

-- What was granted for a payment: never changed, so that no later price changes it.
CREATE TABLE payment_grants (
  payment_key text NOT NULL REFERENCES payments,
  line        text NOT NULL,                          -- of an invoice its line; 'credits', 'bonus'
  account_id  bigint NOT NULL,
  credits     bigint NOT NULL,
  lot_id      uuid,                                   -- null: its time was over when it came to light, so nothing was granted
  PRIMARY KEY (payment_key, line),
  CONSTRAINT payment_grant_is_its_lot CHECK (credits >= 0 AND (credits = 0) = (lot_id IS NULL))
);
CREATE TRIGGER payment_grants_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_grants
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

-- Payments that nobody's account could be found for, or whose price is not known: never matched by e-mail.
CREATE TABLE orphan_payments (
  object_id   text PRIMARY KEY,
  kind        text NOT NULL,                          -- as Stripe's `object` names it
  customer_id text,
  currency    text,
  amount_minor bigint,
  reason      text NOT NULL,
  seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  resolved_at timestamptz                             -- it was granted after all
);

-- Subscriptions as they were read last. What they allow stands in the statements of their accounts (source `subscription`).
CREATE TABLE subscriptions (
  subscription_id text PRIMARY KEY,
  account_id   bigint NOT NULL REFERENCES accounts,
  customer_id  text NOT NULL,
  status       text NOT NULL,
  plan         text,                                  -- null: none of the catalog has its price
  quantity     integer NOT NULL,
  period_start timestamptz,
  period_end   timestamptz,
  paid_until   timestamptz,
  cancel_at    timestamptz,
  ended_at     timestamptz,
  synced_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX subscriptions_of_account ON subscriptions (account_id);

-- Brings a payment in line with what Stripe says of it: grants what it has not granted yet, and claws back, or gives back, what the
-- share of its money that was reversed has come to be. The same again changes nothing. `p` has: key, account, kind, reference,
-- customer, payment_intent, session, invoice, subscription, livemode, currency, paid, reversed, refunded (of a subscription: of that,
-- by refunds, disputes and credit notes, and not by a change of its plan), paid_at, and grants, each with line, kind (of its lot, as in
-- 0001), credits (nano-credits), paid (of the payment, what was paid for it; null: it came with another), starts_at, expires_at,
-- reason. A line that was granted is not looked at again.
-- Returns how many nano-credits were granted and clawed back (signed) now. What stands here is told afresh each time, from the grants
-- and from the ledger. The account of a payment is the first that it was posted for.
CREATE FUNCTION payment_post(p jsonb, p_at timestamptz DEFAULT NULL, OUT granted bigint, OUT clawed bigint) LANGUAGE plpgsql AS $$
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
END $$;
