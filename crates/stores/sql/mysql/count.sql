-- Records per Namespace and status.
SELECT namespace_id, status, COUNT(*)
FROM executions_visibility
GROUP BY namespace_id, status
