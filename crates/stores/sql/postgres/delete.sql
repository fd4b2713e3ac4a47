-- Deletes records up to a version each.
DELETE FROM executions_visibility
USING UNNEST($1::bpchar[], $2::bpchar[], $3::bigint[]) AS condemned (namespace_id, run_id, at_most)
WHERE executions_visibility.namespace_id = condemned.namespace_id
  AND executions_visibility.run_id = condemned.run_id
  AND (condemned.at_most IS NULL OR {version} <= condemned.at_most)
