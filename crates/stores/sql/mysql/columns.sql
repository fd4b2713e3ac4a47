-- The columns of the tables that hold records; none when there are no such tables.
SELECT TABLE_NAME, COLUMN_NAME
FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE()
  AND TABLE_NAME IN ('executions_visibility', 'custom_search_attributes', 'chasm_search_attributes')
