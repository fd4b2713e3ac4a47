-- A page of one Namespace's open executions that started before a time, in the order of their keys; bounded as in
-- scan_namespace.sql.
SELECT namespace_id, run_id, workflow_id, workflow_type_name, start_time
FROM executions_visibility
WHERE (namespace_id{collation}, run_id{collation}) > ($1, $2) AND namespace_id{collation} <= $1
  AND status = 1
  AND start_time < $4
ORDER BY namespace_id{collation}, run_id{collation}
LIMIT $3
