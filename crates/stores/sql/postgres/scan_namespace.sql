-- A page of one Namespace's records, in the order of their keys.
SELECT {columns}
FROM executions_visibility
WHERE namespace_id = $1 AND run_id{collation} > $2
ORDER BY run_id{collation}
LIMIT $3
