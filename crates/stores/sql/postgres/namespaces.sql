-- The Namespaces that have records, by leaping from one to the next along the primary key.
WITH RECURSIVE found AS (
  (SELECT namespace_id FROM executions_visibility ORDER BY namespace_id LIMIT 1)
  UNION ALL
  SELECT (
    SELECT next.namespace_id
    FROM executions_visibility AS next
    WHERE next.namespace_id > found.namespace_id
    ORDER BY next.namespace_id
    LIMIT 1
  )
  FROM found
  WHERE found.namespace_id IS NOT NULL
)
SELECT namespace_id FROM found WHERE namespace_id IS NOT NULL
