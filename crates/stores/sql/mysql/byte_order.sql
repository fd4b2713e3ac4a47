-- Whether the key's own order is that of its bytes.
SELECT COUNT(*) = 0
FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'executions_visibility'
  AND COLUMN_NAME IN ('namespace_id', 'run_id')
  AND COLLATION_NAME NOT LIKE '%\_bin'
