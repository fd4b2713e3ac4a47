-- A page of one Namespace's open executions that started before a time, in the order of their keys.
SELECT ev.namespace_id, ev.run_id, ev.workflow_id, ev.workflow_type_name, ev.start_time
FROM executions_visibility AS ev FORCE INDEX (PRIMARY)
WHERE {namespace_id} = ? AND {run_id} > ? AND ev.status = 1 AND ev.start_time < ?
ORDER BY {namespace_id}, {run_id}
LIMIT ?
