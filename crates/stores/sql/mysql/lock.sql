-- The records of some keys, kept from changing until the transaction ends, in the order of the primary key.
SELECT {columns}
FROM executions_visibility AS ev FORCE INDEX (PRIMARY)
{joins}
WHERE (ev.namespace_id, ev.run_id) IN ({keys})
FOR UPDATE
