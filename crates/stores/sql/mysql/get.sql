-- The records of some keys.
SELECT {columns}
FROM executions_visibility AS ev FORCE INDEX (PRIMARY)
{joins}
WHERE (ev.namespace_id, ev.run_id) IN ({keys})
