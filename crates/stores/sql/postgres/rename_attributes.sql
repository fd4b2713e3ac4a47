-- Writes up to $5 rows after ($1, $2) of the Namespaces $3 again that have attributes by the names $4, so that the trigger
-- moves them; gives the last of them and how many they are.
WITH named AS MATERIALIZED (
  SELECT namespace_id, run_id FROM executions_visibility
  WHERE (namespace_id, run_id) > ($1::bpchar, $2::bpchar) AND namespace_id = ANY($3::bpchar[])
    AND search_attributes ?| $4::text[]
  ORDER BY namespace_id, run_id
  LIMIT $5
), written AS (
  UPDATE executions_visibility AS held SET search_attributes = held.search_attributes
  FROM named WHERE held.namespace_id = named.namespace_id AND held.run_id = named.run_id
)
SELECT namespace_id::text, run_id::text, (SELECT COUNT(*) FROM named)
FROM named ORDER BY namespace_id DESC, run_id DESC LIMIT 1
