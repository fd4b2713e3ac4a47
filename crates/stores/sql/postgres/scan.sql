-- A page of records of all Namespaces, in the order of their keys.
SELECT {columns}
FROM executions_visibility
WHERE (namespace_id{collation}, run_id{collation}) > ($1, $2)
ORDER BY namespace_id{collation}, run_id{collation}
LIMIT $3
