-- A page of one Namespace's open executions that started before a time, in the order of their keys.
SELECT namespace_id, run_id, workflow_id, workflow_type_name, start_time
FROM executions_visibility
WHERE namespace_id = $1 AND run_id{collation} > $2 AND status = 1 AND start_time < $4
ORDER BY run_id{collation}
LIMIT $3
