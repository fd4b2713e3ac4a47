-- A page of one Namespace's records, in the order of their keys.
SELECT {columns}
FROM executions_visibility
WHERE namespace_id = :namespace_id AND run_id > :run_id
ORDER BY run_id
LIMIT :limit
