-- A page of one Namespace's records, in the order of their keys. The Namespace is a bound and not a condition of its own,
-- so that the primary key is the only index which serves it.
SELECT {columns}
FROM executions_visibility
WHERE (namespace_id{collation}, run_id{collation}) > ($1, $2) AND namespace_id{collation} <= $1
ORDER BY namespace_id{collation}, run_id{collation}
LIMIT $3
