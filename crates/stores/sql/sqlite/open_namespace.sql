-- A page of one Namespace's open executions, in the order of their keys. Times are text of varying length here and
-- compared by the caller.
SELECT namespace_id, run_id, workflow_id, workflow_type_name, start_time
FROM executions_visibility
WHERE namespace_id = :namespace_id AND run_id > :run_id AND status = 1
ORDER BY run_id
LIMIT :limit
