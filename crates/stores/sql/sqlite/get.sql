-- The record of one key.
SELECT {columns}
FROM executions_visibility
WHERE namespace_id = :namespace_id AND run_id = :run_id
