-- The records of some keys, kept from changing until the transaction ends; looked up as in get.sql, and locked in the
-- order in which the keys are given.
SELECT held.*
FROM UNNEST($1::bpchar[], $2::bpchar[]) AS asked (namespace_id, run_id)
CROSS JOIN LATERAL (
  SELECT {columns}
  FROM executions_visibility
  WHERE executions_visibility.namespace_id = asked.namespace_id AND executions_visibility.run_id = asked.run_id
  LIMIT 1
  FOR UPDATE
) AS held
