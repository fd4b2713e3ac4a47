-- Inserts a record, or replaces one of a lower version: the server's own rule
-- (1.30.8: common/persistence/sql/sqlplugin/sqlite/visibility.go). Never INSERT OR REPLACE: that would not run the
-- triggers which keep the full text tables.
INSERT INTO executions_visibility ({columns})
VALUES ({parameters})
ON CONFLICT (namespace_id, run_id) DO UPDATE SET {assignments}
WHERE executions_visibility._version < EXCLUDED._version
