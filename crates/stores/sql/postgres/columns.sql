-- The table's columns, wherever the search path finds it; none when there is no such table.
SELECT attname::text
FROM pg_attribute
WHERE attrelid = TO_REGCLASS('executions_visibility') AND attnum > 0 AND NOT attisdropped
