-- The first page of a Namespace's records in the order of lists.
SELECT {columns}
FROM executions_visibility
WHERE namespace_id = $1
ORDER BY COALESCE(close_time, '9999-12-31 23:59:59') DESC, start_time DESC, run_id
LIMIT $2
