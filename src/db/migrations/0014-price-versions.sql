-- Prices that wait for their instant, and prices of single accounts. What is in force is told by `catalog_state` alone, never
-- by the clock of whoever reads: the clock only moves that row, forward, and by the database's time.

-- What an account pays for a model instead of the price of its plan or the model: versions, as in the catalog, with the same rule.
CREATE TABLE price_overrides (
  account_id   bigint NOT NULL REFERENCES accounts,
  model        text NOT NULL,
  version      integer NOT NULL,
  price        jsonb,                                 -- a price, or a multiple of the model's; null: none any more
  reason       text,
  author       text NOT NULL,
  effective_at timestamptz NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (account_id, model, version),
  CONSTRAINT override_version_is_positive CHECK (version > 0),
  CONSTRAINT override_price_is_an_object CHECK (jsonb_typeof(price) = 'object')
);
CREATE INDEX price_overrides_waiting ON price_overrides (effective_at);
CREATE TRIGGER price_overrides_are_append_only BEFORE UPDATE OR DELETE ON price_overrides
  FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure('reason');
CREATE TRIGGER price_overrides_are_not_truncated BEFORE TRUNCATE ON price_overrides
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();

-- When, after an instant, the next version becomes effective, or a service key ends: no account's policy version tells of that.
-- A version that was replaced meanwhile counts too: it costs a reading.
CREATE FUNCTION catalog_next_change(p_after timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT least((SELECT min(effective_at) FROM catalog_entries WHERE effective_at > p_after),
    (SELECT min(effective_at) FROM price_overrides WHERE effective_at > p_after),
    (SELECT min(expires_at) FROM service_keys WHERE expires_at > p_after), 'infinity')
$$;

-- Puts in force what is due. Gateways do so when they read the catalog, which the first hold after the instant makes them do.
-- The row is locked by a statement of its own, so that the next one sees what whoever had it before has written.
CREATE FUNCTION catalog_advance(p_at timestamptz DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := coalesce(p_at, clock_timestamp());
BEGIN
  PERFORM FROM catalog_state WHERE next_change_at <= v_now FOR UPDATE;
  IF FOUND THEN
    UPDATE catalog_state SET version = version + 1, next_change_at = catalog_next_change(v_now);
  END IF;
END $$;

-- One change at a time: locks the catalog, puts in force what is due, and returns the instant of what is changed now, which is
-- before `next_change_at`. Whoever changed the catalog ends with `catalog_changed` of that instant; whoever changed prices of
-- accounts, of which their policy versions tell, with `catalog_awaits`.
CREATE FUNCTION catalog_lock() RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz;
BEGIN
  PERFORM FROM catalog_state FOR UPDATE;
  v_now := clock_timestamp();
  PERFORM catalog_advance(v_now);
  RETURN v_now;
END $$;

CREATE FUNCTION catalog_awaits(p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE catalog_state SET next_change_at = catalog_next_change(p_now);
END $$;

CREATE FUNCTION catalog_changed(p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE catalog_state SET version = version + 1, next_change_at = catalog_next_change(p_now);
END $$;

-- The catalog as of now, in the order in which its entries were written, the deleted ones too; without any entry, one row that
-- has the version. One statement reads both, so that they are of one instant. `p_at` is for tests alone.
CREATE FUNCTION catalog_in_force(p_at timestamptz DEFAULT NULL)
RETURNS TABLE (catalog_version bigint, kind text, name text, version integer, body jsonb, deleted boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM catalog_advance(p_at);
  RETURN QUERY
    SELECT s.version, e.kind, e.name, e.version, e.body, e.deleted
      FROM catalog_state s LEFT JOIN (
        SELECT DISTINCT ON (t.kind, t.name) t.* FROM catalog_entries t, catalog_state c WHERE t.effective_at < c.next_change_at
          ORDER BY t.kind, t.name, t.version DESC) e ON true
      ORDER BY e.created_at;
END $$;

-- The catalog as it was in force at an instant, for explaining what was decided then: reads alone, and puts nothing in force.
CREATE FUNCTION catalog_at(p_at timestamptz)
RETURNS TABLE (kind text, name text, version integer, body jsonb, deleted boolean) LANGUAGE sql STABLE AS $$
  SELECT e.kind, e.name, e.version, e.body, e.deleted FROM (
    SELECT DISTINCT ON (t.kind, t.name) t.* FROM catalog_entries t WHERE t.created_at <= p_at AND t.effective_at <= p_at
      ORDER BY t.kind, t.name, t.version DESC) e
    ORDER BY e.created_at
$$;
