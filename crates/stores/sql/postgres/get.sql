-- The records of some keys.
SELECT {columns}
FROM executions_visibility
JOIN (SELECT DISTINCT * FROM UNNEST($1::bpchar[], $2::bpchar[]) AS asked (namespace_id, run_id)) AS asked
  USING (namespace_id, run_id)
