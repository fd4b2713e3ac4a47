-- A page of one Namespace's records, in the order of their keys.
SELECT {columns}
FROM executions_visibility AS ev FORCE INDEX (PRIMARY)
{joins}
WHERE {namespace_id} = ? AND {run_id} > ?
ORDER BY {namespace_id}, {run_id}
LIMIT ?
