-- What the server and the tables say of themselves.
SELECT
  VERSION(),
  @@hostname,
  @@port,
  DATABASE(),
  @@global.read_only,
  COALESCE((
    SELECT TABLE_COLLATION
    FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'executions_visibility'
  ), ''),
  EXISTS (
    SELECT 1
    FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'schema_version'
  ),
  (
    SELECT TABLE_ROWS
    FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'executions_visibility'
  ),
  (
    SELECT CAST(SUM(DATA_LENGTH + INDEX_LENGTH) AS UNSIGNED)
    FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE()
      AND TABLE_NAME IN ('executions_visibility', 'custom_search_attributes', 'chasm_search_attributes')
  )
