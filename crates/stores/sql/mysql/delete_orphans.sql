-- Deletes the search attributes of records that are no more. The server deletes from its tables one after another, and
-- not in a transaction (1.30.8: sqlplugin/mysql/visibility.go, `DeleteFromVisibility`), so that a write in between
-- leaves such rows.
DELETE attributes
FROM {table} AS attributes
LEFT JOIN executions_visibility AS ev
  ON ev.namespace_id = attributes.namespace_id AND ev.run_id = attributes.run_id
WHERE (attributes.namespace_id, attributes.run_id) IN ({keys}) AND ev.run_id IS NULL
