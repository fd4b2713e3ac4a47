-- Which of some keys exist, and in which version.
SELECT namespace_id, run_id, {version}
FROM executions_visibility
JOIN UNNEST($1::bpchar[], $2::bpchar[]) AS asked (namespace_id, run_id) USING (namespace_id, run_id)
