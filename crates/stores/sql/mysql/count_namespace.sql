-- One Namespace's records per status.
SELECT namespace_id, status, COUNT(*)
FROM executions_visibility
WHERE namespace_id = ?
GROUP BY namespace_id, status
