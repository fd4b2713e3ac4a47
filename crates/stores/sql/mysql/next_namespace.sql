-- The first Namespace after one that has records, by the primary key.
SELECT namespace_id
FROM executions_visibility FORCE INDEX (PRIMARY)
WHERE namespace_id > ?
ORDER BY namespace_id
LIMIT 1
