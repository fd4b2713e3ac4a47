-- A page of records of all Namespaces, in the order of their keys.
SELECT {columns}
FROM executions_visibility
WHERE (namespace_id, run_id) > (:namespace_id, :run_id)
ORDER BY namespace_id, run_id
LIMIT :limit
