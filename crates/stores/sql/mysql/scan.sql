-- A page of records of all Namespaces, in the order of their keys. The condition is not a comparison of rows, which the
-- optimizer does not look up in an index.
SELECT {columns}
FROM executions_visibility AS ev FORCE INDEX (PRIMARY)
{joins}
WHERE {namespace_id} > ? OR ({namespace_id} = ? AND {run_id} > ?)
ORDER BY {namespace_id}, {run_id}
LIMIT ?
