-- What the server and the table say of themselves; `reltuples` is negative before the first ANALYZE.
SELECT
  CURRENT_SETTING('server_version'),
  CURRENT_SETTING('server_encoding'),
  PG_IS_IN_RECOVERY(),
  TO_REGCLASS('schema_version') IS NOT NULL,
  COALESCE((SELECT reltuples::bigint FROM pg_class WHERE oid = TO_REGCLASS('executions_visibility')), -1),
  COALESCE(PG_TOTAL_RELATION_SIZE(TO_REGCLASS('executions_visibility')), 0)
