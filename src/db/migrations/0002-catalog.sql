-- The catalog: models, plans, packs and operations, as versions. A change is a new row. `catalog_state` says which are in force: of
-- an entry the highest version that is effective before `next_change_at`; later ones wait. Its version rises with every change, and
-- when `next_change_at` has come (0014-price-versions.sql): a hold judged by an older one is told `stale_policy`.

CREATE TABLE catalog_entries (
  kind        text NOT NULL,
  name        text NOT NULL,
  version     integer NOT NULL,
  body        jsonb NOT NULL,
  source      text NOT NULL,
  file_digest text,                                   -- of the entry as the file had it
  author      text,
  deleted     boolean NOT NULL DEFAULT false,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  effective_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  fields      text[],                                 -- of the body, those that this version set; null: all of it
  PRIMARY KEY (kind, name, version),
  CONSTRAINT catalog_kind_is_known CHECK (kind IN ('model', 'operation', 'plan', 'pack')),
  CONSTRAINT catalog_source_is_known CHECK (source IN ('file', 'api')),
  CONSTRAINT catalog_version_is_positive CHECK (version > 0),
  CONSTRAINT catalog_body_is_an_object CHECK (jsonb_typeof(body) = 'object')
);

CREATE TABLE catalog_state (
  only_row boolean PRIMARY KEY DEFAULT true,
  version  bigint NOT NULL DEFAULT 1,
  next_change_at timestamptz NOT NULL DEFAULT 'infinity', -- when time alone will raise the version
  CONSTRAINT catalog_state_is_one_row CHECK (only_row)
);
INSERT INTO catalog_state DEFAULT VALUES;

CREATE FUNCTION refuse_catalog_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% are versions and never change: add a new one', replace(TG_TABLE_NAME, '_', ' ')
    USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER catalog_entries_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_entries
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();
