-- What the host application should hear of: each row is written in the transaction that causes it, so that none is lost and none
-- tells of what did not happen. Readers go by (xid, event_id): a row is shown once every older transaction has ended, so none that
-- commits late is passed over.
CREATE TABLE outbox (
  event_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
  account_id bigint NOT NULL,
  type       text NOT NULL,
  key        text,                                    -- tells what is told once from what is told again; null: always told
  data       jsonb NOT NULL,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT outbox_type_is_known CHECK (type IN ('balance.low', 'balance.exhausted', 'credits.granted', 'credits.expiring',
    'payment.failed', 'recharge.stopped', 'subscription.changed', 'budget.reached'))
);
CREATE INDEX outbox_order ON outbox (xid, event_id);
CREATE UNIQUE INDEX outbox_tells_once ON outbox (account_id, type, key) WHERE key IS NOT NULL;

-- Tells of something; with a key, once for ever.
CREATE FUNCTION outbox_tell(p_account bigint, p_type text, p_key text, p_data jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO outbox (account_id, type, key, data) VALUES (p_account, p_type, p_key, p_data)
    ON CONFLICT (account_id, type, key) WHERE key IS NOT NULL DO NOTHING
$$;
