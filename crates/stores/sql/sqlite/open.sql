-- A page of the open executions of all Namespaces, in the order of their keys. Times are text of varying length here
-- and compared by the caller.
SELECT namespace_id, run_id, workflow_id, workflow_type_name, start_time
FROM executions_visibility
WHERE (namespace_id, run_id) > (:namespace_id, :run_id) AND status = 1
ORDER BY namespace_id, run_id
LIMIT :limit
