-- The Namespaces that have records, by leaping from one to the next along the primary key.
WITH RECURSIVE found (namespace_id) AS (
  SELECT MIN(namespace_id) FROM executions_visibility
  UNION ALL
  SELECT (SELECT MIN(namespace_id) FROM executions_visibility WHERE namespace_id > found.namespace_id)
  FROM found
  WHERE found.namespace_id IS NOT NULL
)
SELECT namespace_id FROM found WHERE namespace_id IS NOT NULL
