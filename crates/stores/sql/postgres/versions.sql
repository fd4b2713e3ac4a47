-- Which of some keys exist, and in which version; looked up as in get.sql.
SELECT held.*
FROM UNNEST($1::bpchar[], $2::bpchar[]) AS asked (namespace_id, run_id)
CROSS JOIN LATERAL (
  SELECT namespace_id, run_id, {version}
  FROM executions_visibility
  WHERE executions_visibility.namespace_id = asked.namespace_id AND executions_visibility.run_id = asked.run_id
  LIMIT 1
) AS held
