-- One Namespace's records, open (1) and closed.
SELECT namespace_id, status = 1, COUNT(*)
FROM executions_visibility
WHERE namespace_id = $1
GROUP BY 1, 2
