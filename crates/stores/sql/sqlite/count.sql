-- Records per Namespace, open (1) and closed.
SELECT namespace_id, status = 1, COUNT(*)
FROM executions_visibility
WHERE :namespace_id IS NULL OR namespace_id = :namespace_id
GROUP BY 1, 2
