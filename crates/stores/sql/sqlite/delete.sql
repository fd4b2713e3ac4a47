-- Deletes a record up to a version.
DELETE FROM executions_visibility
WHERE namespace_id = :namespace_id AND run_id = :run_id AND (:at_most IS NULL OR {version} <= :at_most)
