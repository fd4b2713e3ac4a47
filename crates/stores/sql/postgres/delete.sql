-- Deletes a record up to a version.
DELETE FROM executions_visibility
WHERE namespace_id = $1 AND run_id = $2 AND ($3::bigint IS NULL OR {version} <= $3::bigint)
