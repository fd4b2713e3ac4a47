-- Which of some keys do not exist, by their places; looked up as in get.sql. Where nothing was deleted there is no answer to
-- send or read.
SELECT asked.place
FROM UNNEST($1::bpchar[], $2::bpchar[]) WITH ORDINALITY AS asked (namespace_id, run_id, place)
LEFT JOIN LATERAL (
  SELECT TRUE AS is_there
  FROM executions_visibility
  WHERE executions_visibility.namespace_id = asked.namespace_id AND executions_visibility.run_id = asked.run_id
  LIMIT 1
) AS held ON TRUE
WHERE held.is_there IS NULL
