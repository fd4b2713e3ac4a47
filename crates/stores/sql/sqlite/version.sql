-- Whether one key exists, and in which version.
SELECT {version}
FROM executions_visibility
WHERE namespace_id = :namespace_id AND run_id = :run_id
