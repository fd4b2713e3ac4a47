-- The records of some keys. LATERAL with LIMIT is one look-up for each, whatever the planner thinks of the table: of one
-- that is filling up it has no statistics, and would go through all of it for every key.
SELECT held.*
FROM (SELECT DISTINCT * FROM UNNEST($1::bpchar[], $2::bpchar[]) AS asked (namespace_id, run_id)) AS asked
CROSS JOIN LATERAL (
  SELECT {columns}
  FROM executions_visibility
  WHERE executions_visibility.namespace_id = asked.namespace_id AND executions_visibility.run_id = asked.run_id
  LIMIT 1
) AS held
