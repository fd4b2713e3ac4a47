-- The records of some keys: one look-up in the primary key for each, whatever the planner thinks of the table. Of one that
-- is filling up it has no statistics; then LATERAL with LIMIT keeps it from going through the table for every key, and
-- the bounds with their order, which say "equal" in a form that only the primary key serves, from taking the index of
-- another column.
SELECT held.*
FROM (SELECT DISTINCT * FROM UNNEST($1::bpchar[], $2::bpchar[]) AS asked (namespace_id, run_id)) AS asked
CROSS JOIN LATERAL (
  SELECT {columns}
  FROM executions_visibility
  WHERE (executions_visibility.namespace_id, executions_visibility.run_id) >= (asked.namespace_id, asked.run_id)
    AND (executions_visibility.namespace_id, executions_visibility.run_id) <= (asked.namespace_id, asked.run_id)
  ORDER BY executions_visibility.namespace_id, executions_visibility.run_id
  LIMIT 1
) AS held
