-- Routes that the catalog declares are entries of it, by their method and path.
ALTER TABLE catalog_entries DROP CONSTRAINT catalog_kind_is_known;
ALTER TABLE catalog_entries ADD CONSTRAINT catalog_kind_is_known
  CHECK (kind IN ('model', 'operation', 'plan', 'pack', 'passthrough'));
