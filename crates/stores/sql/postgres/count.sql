-- Records per Namespace, open (1) and closed.
SELECT namespace_id, status = 1, COUNT(*)
FROM executions_visibility
GROUP BY 1, 2
